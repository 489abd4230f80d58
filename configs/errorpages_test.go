package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// paged is a whole file with a route that has more keys, and then tables.
func paged(route, tables string) string {
	return "[[listener]]\naddress = ':8080'\n[[route]]\nbackend = 'app'\n" + route + "\n[backend.app]\nservers = ['10.0.0.1:80']\n" + tables
}

func TestErrorPages(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sorry.html"), []byte("<p>sorry"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := paged("error_override = ['404', '500-599']", `
[[error_page]]
status = ["500-502"]
file = "sorry.html"
[[error_page]]
status = ["502", "503"]
text = "busy"
content_type = "text/plain"
errors_of = "proxy"
[[error_page]]
status = ["404"]
text = "nothing"
errors_of = "servers"
`)
	plan, err := Parse(t.Context(), filepath.Join(dir, "millrace.toml"), []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	for status, want := range map[int][2]string{ // of our own answers, of servers
		404: {"", "text/html; charset=utf-8: nothing"},
		500: {"text/html; charset=utf-8: <p>sorry", "text/html; charset=utf-8: <p>sorry"},
		502: {"text/html; charset=utf-8: <p>sorry", "text/html; charset=utf-8: <p>sorry"},
		503: {"text/plain: busy", ""},
		504: {"", ""},
	} {
		var got [2]string
		if p := plan.OwnErrors[status]; p != nil {
			got[0] = p.ContentType + ": " + string(p.Body)
		}
		if p := plan.ServerErrors[status]; p != nil {
			got[1] = p.ContentType + ": " + string(p.Body)
		}
		if got != want {
			t.Errorf("%d has %q, want %q", status, got, want)
		}
	}
	for status, want := range map[int]bool{403: false, 404: true, 500: true, 599: true} {
		if plan.Routes[0].ErrorOverride.Has(status) != want {
			t.Errorf("%d is replaced: %v", status, !want)
		}
	}
}

func TestProblemsOfErrorPages(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "large"), make([]byte, maxPageBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ route, tables, want string }{
		{"error_override = []", "", `route[0].error_override: is empty: leave it out`},
		{"error_override = ['302']", "", `route[0].error_override[0]: "302" is no error: allowed are statuses from 400 to 599`},
		{"error_override = ['x']", "", `route[0].error_override[0]: "x" is not a status`},
		{"", "[[error_page]]\ntext = 'a'", `error_page[0].status: is missing: list the statuses`},
		{"", "[[error_page]]\nstatus = []\ntext = 'a'", `error_page[0].status: is empty: list at least one status`},
		{"", "[[error_page]]\nstatus = ['500']", `error_page[0].file: is missing: name a file, or write the page as text`},
		{"", "[[error_page]]\nstatus = ['500']\nfile = 'a'\ntext = 'a'", `error_page[0].text: has no effect beside file`},
		{"", "[[error_page]]\nstatus = ['500']\nfile = 'nothing'", "nothing\" cannot be read: no such file"},
		{"", "[[error_page]]\nstatus = ['500']\nfile = '.'", " cannot be read: not a file"},
		{"", "[[error_page]]\nstatus = ['500']\nfile = 'large'", "large\" cannot be read: larger than 64KiB"},
		{"", "[[error_page]]\nstatus = ['500']\ntext = '" + strings.Repeat("a", maxPageBytes+1) + "'", "has 65537 bytes: a page has 64KiB at most"},
		{"", "[[error_page]]\nstatus = ['500']\ntext = 'a'\ncontent_type = \"a\\nb/c\"", `error_page[0].content_type: "a\nb/c" is not a media type`},
		{"", "[[error_page]]\nstatus = ['500']\ntext = 'a'\nerrors_of = 'us'", `error_page[0].errors_of: "us" is not allowed: allowed are "all", "proxy" or "servers"`},
	} {
		_, err := Parse(t.Context(), filepath.Join(dir, "f"), []byte(paged(c.route, c.tables)), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n%s\ngot  %v\nwant %s", c.route, c.tables, err, c.want)
		}
	}
	var warnings Problems
	const unused = "[[error_page]]\nstatus = ['500']\ntext = 'a'\nerrors_of = 'servers'"
	if _, err := Parse(t.Context(), "f", []byte(paged("", unused)), nil, WithWarnings(&warnings)); err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0].String(), "has no effect: no route has error_override") {
		t.Errorf("warnings: %v", warnings)
	}
}
