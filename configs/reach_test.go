package configs

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestReachIsThatOfComparingAllRoutes: the warnings are those of comparing every route with all before it.
func TestReachIsThatOfComparingAllRoutes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	covering := 0
	for range 300 {
		text := strings.Builder{}
		text.WriteString("[[listener]]\nname = 'a'\naddress = ':80'\n[[listener]]\nname = 'b'\naddress = ':81'\n[backend.app]\nservers = ['127.0.0.1:8080']\n")
		for range 2 + r.IntN(12) {
			text.WriteString("[[route]]\nbackend = 'app'\n")
			for key, values := range map[string][]string{
				"hosts":     {"['a.b']", "['*.b']", "['*', 'x']", "['A.B', 'c.a.b']", "['c.a.b']", "['*.a.b']"},
				"path":      {"'/'", "'/a'", "'/a/'", "'/a/b'", "'/ab'"},
				"prefix":    {"'/'", "'/a'", "'/a/'", "'/a/b'", "'/ab'"},
				"extension": {"'b'", "'.b'", "'a.b'"},
				"methods":   {"['GET']", "['GET', 'PUT']"},
				"listeners": {"['a']", "['a', 'b']"},
			} {
				if r.IntN(4) == 0 {
					fmt.Fprintf(&text, "%s = %s\n", key, pick(values...))
				}
			}
		}
		rep := &report{src: newSource("f", []byte(text.String()))}
		f := decode(rep)
		f.setDefaults()
		validate(rep, f, 0)
		if len(rep.problems) > 0 {
			t.Fatalf("%v in\n%s", rep.problems, &text)
		}
		got, want := "", ""
		for _, w := range rep.warnings {
			if strings.Contains(w.Error(), "is never reached") {
				got += w.Error() + "\n"
			}
		}
		for i, route := range f.Routes.items {
			for j, earlier := range f.Routes.items[:i] {
				if earlier.covers(route) {
					want += fmt.Sprintf("%s: route[%d]: is never reached: route[%d] takes every request that it would match (%s)\n",
						rep.src.at(route.place), i, j, rep.src.at(earlier.place))
					covering++
					break
				}
			}
		}
		if got != want {
			t.Fatalf("%s\nwant\n%s\nof\n%s", got, want, &text)
		}
	}
	if covering < 300 {
		t.Errorf("only %d routes were not reached", covering)
	}
}
