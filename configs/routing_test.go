package configs

import (
	"strings"
	"testing"
)

func TestProblemsOfRouting(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"rewrite_once = []", `routing.rewrite_once: is empty: leave it out`},
		{"rewrite_once = [['a']]", `routing.rewrite_once[0]: has 1 strings, and a rule has two: ['pattern', 'target']`},
		{"rewrite_once = [['(', '/']]", `f:9:18: routing.rewrite_once[0][0]: "(" is not a regular expression`},
		{"rewrite_once = [['(a)', '/$2']]", `f:9:27: routing.rewrite_once[0][1]: there is no group $2: the pattern has 1`},
		{"rewrite_once = [['a', '/$host']]", `$host is not allowed here: allowed are the groups of a pattern`},
		{"rewrite_once = [['a', '/ b']]", `routing.rewrite_once[0][1]: "/ b" cannot be in a target`},
		{"map_extensions = [['.do', '.php']]", `routing.map_extensions[0][1]: ".php" is the extension of no route`},
		{"map_extensions = [['/do', '.jsp']]", `routing.map_extensions[0][0]: "/do" is not the end of a path`},
		{"map_extensions = [['.do']]", `routing.map_extensions[0]: has 1 strings, and a mapping has two`},
		{"map_extensions = []", `routing.map_extensions: is empty: leave it out`},
	} {
		text := paged("extension = '.jsp'", "") + "[routing]\n" + c.text
		got := problemsOf(t, text)
		if !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%s\ngot  %s\nwant %s", c.text, got, c.want)
		}
	}
	plan, err := Parse(t.Context(), "f", []byte(paged("extension = '.jsp'", "")), nil)
	if err != nil || plan.Rewrites != nil {
		t.Errorf("%v, %v without rules", plan.Rewrites, err)
	}
}
