package configs

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"millrace/httpparse"
	"millrace/remap"
)

// writeConditions writes conditions of a route, each with a chance of one in n.
func writeConditions(text *strings.Builder, r *rand.Rand, table string, n int) {
	for _, c := range []struct {
		key    string
		values []string
	}{
		{"hosts", []string{"['a.b']", "['*.b']", "['*', 'x']", "['A.B', 'c.a.b']", "['c.a.b']", "['*.a.b']"}},
		{"path", []string{"'/'", "'/a'", "'/a/'", "'/a/b'", "'/ab'"}},
		{"prefix", []string{"'/'", "'/a'", "'/a/'", "'/a/b'", "'/ab'"}},
		{"extension", []string{"'b'", "'.b'", "'a.b'"}},
		{"pattern", []string{"'^/a'", "'b$'", "'^/a/b'", "'^/[ab]'", "'^/abc'"}},
		{"methods", []string{"['GET']", "['GET', 'PUT']"}},
		{"headers", []string{"['X: 1']", "['x: *']", "['X: 1', 'Y: *']"}},
		{"query", []string{"['q=1']", "['q=*']", "['q=1', 'p=*']"}},
		{"clients", []string{"['10.0.0.0/8']", "['10.0.0.1', '192.0.2.0/24']", "['10.0.0.1']"}},
	} {
		if r.IntN(n) == 0 {
			fmt.Fprintf(text, "%s%s = %s\n", table, c.key, c.values[r.IntN(len(c.values))])
		}
	}
}

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
			if r.IntN(4) == 0 {
				fmt.Fprintf(&text, "listeners = %s\n", pick("['a']", "['a', 'b']"))
			}
			writeConditions(&text, r, "", 5)
			if r.IntN(4) == 0 {
				writeConditions(&text, r, "not.", 8)
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

// TestWhatIsSaidToBeTakenByNothingIs: no request takes a route that there is a warning of.
func TestWhatIsSaidToBeTakenByNothingIs(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	warned, taken := map[string]int{}, 0
	for range 300 {
		text := strings.Builder{}
		text.WriteString("[[listener]]\naddress = ':80'\n[backend.app]\nservers = ['127.0.0.1:8080']\n")
		for range 1 + r.IntN(5) {
			text.WriteString("[[route]]\nbackend = 'app'\n")
			writeConditions(&text, r, "", 4)
			if r.IntN(2) == 0 {
				writeConditions(&text, r, "not.", 5)
			}
		}
		rep := &report{src: newSource("f", []byte(text.String()))}
		f := decode(rep)
		f.setDefaults()
		validate(rep, f, 0)
		if len(rep.problems) > 0 {
			t.Fatalf("%v in\n%s", rep.problems, &text)
		}
		nothing := make(map[int]string)
		for _, w := range rep.warnings {
			for _, kind := range []string{"is never reached", "have no path in common", "excludes all that", "excludes every request"} {
				if i := 0; strings.Contains(w.Message, kind) {
					if _, err := fmt.Sscanf(w.Key, "route[%d]", &i); err != nil {
						t.Fatal(w)
					}
					nothing[i] = w.Error()
					warned[kind]++
				}
			}
		}
		var rules []remap.Rule
		for _, route := range f.Routes.items {
			rules = append(rules, route.rule)
		}
		table := remap.New(rules)
		for range 400 {
			path := pick("/", "/a", "/a/", "/a/b", "/ab", "/abc", "/b", "/a/a.b", "/a/b/x.b", "/x")
			head := []byte(pick("GET", "PUT", "POST") + " " + path + pick("", "?q=1", "?q=2", "?q=1&p=") + " HTTP/1.1\r\nHost: " +
				pick("a.b", "c.a.b", "x", "b", "y.b") + "\r\n" + pick("", "X: 1\r\n", "X: 2\r\n", "X: 1\r\nY: 3\r\n") + "\r\n")
			req := &httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 8)}}
			if _, err := httpparse.ParseRequest(head, 0, req); err != nil {
				t.Fatal(err)
			}
			in := remap.Incoming{Client: netip.MustParseAddr(pick("10.0.0.1", "10.1.1.1", "192.0.2.7", "203.0.113.1")), Path: []byte(path), Req: req, Head: head}
			i, ok := table.Match(&in)
			if w, said := nothing[i]; ok && said {
				t.Fatalf("%q from %s takes route[%d], of which there is the warning\n%s\nin\n%s", head, in.Client, i, w, &text)
			}
			if ok {
				taken++
			}
		}
	}
	for _, kind := range []string{"is never reached", "have no path in common", "excludes all that", "excludes every request"} {
		if warned[kind] < 5 {
			t.Errorf("only %d warnings that %q", warned[kind], kind)
		}
	}
	if taken < 10_000 {
		t.Errorf("only %d requests took a route", taken)
	}
}

func TestMappedExtensionsAreReached(t *testing.T) {
	const routes = "[routing]\nmap_extensions = [['.do', '.jsp']]\n[[listener]]\naddress = ':80'\n[backend.app]\nservers = ['10.0.0.1']\n" +
		"[[route]]\nbackend = 'app'\n[[route]]\nbackend = 'app'\n"
	for text, want := range map[string]string{
		"extension = '.jsp'":                                                 "",
		"extension = '.jsp'\nnot.extension = '.jsp'":                         "",
		"extension = '.jsp'\n[[route]]\nbackend = 'app'\nextension = '.jsp'": "route[2]: is never reached: route[1] takes",
		"extension = '.php'":                                                 "route[1]: is never reached: route[0] takes",
	} {
		var warnings Problems
		file := routes + text
		if strings.Contains(text, ".php") {
			file += "\n[[route]]\nbackend = 'app'\nextension = '.jsp'"
		}
		if _, err := Parse(t.Context(), "f", []byte(file), hosts{}, WithWarnings(&warnings)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if got := warnings.Error(); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s\ngot  %s\nwant %s", text, got, want)
		}
	}
}

func TestWarningsOfContradictions(t *testing.T) {
	for _, c := range []struct{ conditions, want string }{
		{"path = '/api'\nprefix = '/ap'", ""},
		{"path = '/api'\nprefix = '/api/x'", ""},
		{"path = '/api'\nprefix = '/apix'", `f:9:10: route[0].prefix: "/apix" and route[0].path = "/api" (f:8:8) have no path in common: no request takes this route`},
		{"path = '/api'\npattern = '^/v[0-9]'", `f:9:11: route[0].pattern: "^/v[0-9]" and route[0].path = "/api" (f:8:8) have no path in common: no request takes this route`},
		{"path = '/api/'\npattern = '^/a'", ""},
		{"path = '/api'\npattern = '/v[0-9]'", ""},
		{"prefix = '/api'\npattern = '^/x'", `f:9:11: route[0].pattern: "^/x" and route[0].prefix = "/api" (f:8:10) have no path in common: no request takes this route`},
		{"path = '/api'\nnot.path = '/'", `f:9:12: route[0].not.path: excludes all that route[0].path is for (f:8:8): no request takes this route`},
		{"path = '/api'\nnot.path = '/api/'", ""},
		{"prefix = '/api/'\nnot.path = '/api'", `route[0].not.path: excludes all that route[0].prefix is for`},
		{"prefix = '/api'\nnot.path = '/api'", ""},
		{"path = '/api'\nnot.prefix = '/a'", `route[0].not.prefix: excludes all that route[0].path is for`},
		{"not.path = '/'", ""}, // but for OPTIONS *
		{"extension = '.x.jsp'\nnot.extension = '.jsp'", `route[0].not.extension: excludes all that route[0].extension is for`},
		{"hosts = ['a.org', 'b.org']\nnot.hosts = ['*.org']", `route[0].not.hosts: excludes all that route[0].hosts is for`},
		{"hosts = ['a.org', 'b.com']\nnot.hosts = ['*.org']", ""},
		{"not.hosts = ['*']", `f:8:13: route[0].not.hosts: "*" excludes every request: no request takes this route`},
		{"methods = ['GET']\nnot.methods = ['PUT', 'GET']", `route[0].not.methods: excludes all that route[0].methods is for`},
		{"clients = ['10.0.0.1']\nnot.clients = ['10.0.0.0/8']", `route[0].not.clients: excludes all that route[0].clients is for`},
		{"clients = ['10.0.0.0/8']\nnot.clients = ['10.0.0.1']", ""},
		{"headers = ['X-A: 1']\nnot.headers = ['x-a: *']", `route[0].not.headers: excludes all that route[0].headers is for`},
		{"headers = ['X-A: *']\nnot.headers = ['x-a: 1']", ""},
		{"query = ['a=1']\nnot.query = ['A=*', 'a=1']", `route[0].not.query: excludes all that route[0].query is for`},
	} {
		var warnings Problems
		if _, err := Parse(t.Context(), "f", []byte(routed+c.conditions), hosts{}, WithWarnings(&warnings)); err != nil {
			t.Errorf("%s: %v", c.conditions, err)
		}
		if got := warnings.Error(); !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%s\ngot  %s\nwant %s", c.conditions, got, c.want)
		}
	}
}
