package configs

import (
	"os"
	"regexp"
	"testing"
)

// TestFilesOfMigrationsAreRight: internal/e2e tries what they do.
func TestFilesOfMigrationsAreRight(t *testing.T) {
	const page = "../docs/migrating.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	files := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllSubmatch(text, -1)
	for _, m := range files {
		var warnings Problems
		if _, err := Parse(t.Context(), page, m[1], hosts{}, WithWarnings(&warnings)); err != nil || len(warnings) > 0 {
			t.Errorf("%v %v in\n%s", err, warnings, m[1])
		}
	}
	if len(files) < 6 {
		t.Errorf("only %d files", len(files))
	}
}
