package configs

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"millrace/remap"
)

const routed = `
[[listener]]
address = ":80"
[backend.app]
servers = ["10.0.0.1"]
[[route]]
backend = "app"
`

func TestConditionsOfRoutes(t *testing.T) {
	f := decodeOK(t, routed+`
path = "/x"
methods = ["GET", "PURGE"]
headers = ["X-Env: staging ", "Cookie:*"]
query = ["a=b=c", "d="]
clients = ["10.0.0.0/8", "192.0.2.1", "::ffff:192.0.2.2", "2001:db8::/32"]
[route.not]
hosts = ["a.example"]
prefix = "/xy"
methods = ["HEAD"]
`)
	want := remap.Rule{
		Path: "/x", Methods: []string{"GET", "PURGE"},
		Headers: []remap.Pair{{Name: "X-Env", Value: "staging"}, {Name: "Cookie", Value: "*"}},
		Query:   []remap.Pair{{Name: "a", Value: "b=c"}, {Name: "d"}},
		Clients: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32"),
			netip.MustParsePrefix("2001:db8::/32"),
		},
		Not: &remap.Rule{Hosts: []string{"a.example"}, Prefix: "/xy", Methods: []string{"HEAD"}},
	}
	if diff := cmp.Diff(want, f.Routes.items[0].rule, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
}

// decodeOK returns the model of a file that is right.
func decodeOK(t *testing.T, text string) *file {
	t.Helper()
	r := &report{src: newSource("f", []byte(text))}
	f := decode(r)
	if f == nil {
		t.Fatal(r.problems)
	}
	f.setDefaults()
	validate(r, f, 0)
	if len(r.problems) > 0 {
		t.Fatal(r.problems)
	}
	return f
}

func TestProblemsOfConditions(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"methods = ['get']", `route[0].methods[0]: "get" matches nothing, since the case of methods matters: write "GET"`},
		{"methods = ['GE T']", `route[0].methods[0]: "GE T" is not a method`},
		{"methods = []", `route[0].methods: is empty, which no method matches`},
		{"headers = ['X-Env']", `route[0].headers[0]: "X-Env" is not a header: write "Name: value", or "Name: *" for any value`},
		{"headers = ['X Env: a']", `route[0].headers[0]: "X Env: a" is not a header`},
		{"headers = [\"A: b\\nc\"]", `route[0].headers[0]: "A: b\nc" matches nothing: no value has control characters`},
		{"query = ['a']", `route[0].query[0]: "a" is not a parameter: write "name=value", or "name=*" for any value`},
		{"query = ['=a']", `is not a parameter`},
		{"clients = ['10.0.0.1/8']", `route[0].clients[0]: "10.0.0.1/8" has bits behind its prefix: write "10.0.0.0/8" for the network`},
		{"clients = ['example.org']", `route[0].clients[0]: "example.org" is neither an address nor a network: allowed are`},
		{"clients = ['::ffff:10.0.0.0/104']", `is neither an address nor a network`},
		{"clients = ['fe80::1%eth0']", `is neither an address nor a network`},
		{"clients = []", `route[0].clients: is empty: leave it out`},
		{"[route.not]\npath = '/a/../b'", `route[0].not.path: "/a/../b" matches nothing`},
		{"[route.not]\npattern = '('", `route[0].not.pattern: "(" is not a regular expression`},
		{"[route.not]\nlisteners = ['a']", `route[0].not.listeners: unknown key`},
	} {
		got := problemsOf(t, routed+c.text)
		if !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%s\ngot  %s\nwant %s", c.text, got, c.want)
		}
	}
}

func TestRoutesThatAreNeverReached(t *testing.T) {
	for _, c := range []struct {
		earlier, later string
		covered        bool
	}{
		{"path = '/a'", "path = '/a/b'", true},
		{"path = '/a'", "path = '/a'", true},
		{"path = '/a'", "path = '/ab'", false},
		{"path = '/a/'", "path = '/a'", false},
		{"path = '/a/'", "path = '/a/b'", true},
		{"path = '/a'", "prefix = '/a/b'", true},
		{"path = '/a'", "prefix = '/a'", false},
		{"path = '/a'", "hosts = ['x']", false},
		{"prefix = '/a'", "path = '/ab'", true},
		{"prefix = '/a'", "prefix = '/ab'", true},
		{"prefix = '/ab'", "prefix = '/a'", false},
		{"extension = '.a'", "path = '/b'\nextension = '.b.a'", true},
		{"extension = '.a'", "extension = '.b'", false},
		{"pattern = 'a'", "pattern = 'a'\npath = '/x'", true},
		{"pattern = 'a'", "path = '/a'", false},
		{"methods = ['GET', 'PUT']", "methods = ['PUT']", true},
		{"methods = ['GET']", "methods = ['GET', 'PUT']", false},
		{"methods = ['GET']", "path = '/a'", false},
		{"hosts = ['a', '*.b']", "hosts = ['A', 'x.b', '*.y.b']", true},
		{"hosts = ['*.b']", "hosts = ['b']", false},
		{"hosts = ['*.b']", "hosts = ['x.b', 'c']", false},
		{"hosts = ['a.b:80']", "hosts = ['a.b']", false},
		{"hosts = ['*']", "hosts = ['b']", true},
		{"headers = ['A: *']", "headers = ['a: 1', 'B: 2']", true},
		{"headers = ['A: 1', 'B: 2']", "headers = ['b: 2', 'A: 1']", true},
		{"headers = ['A: 1']", "headers = ['A: *']", false},
		{"headers = ['A: *']", "path = '/a'", false},
		{"query = ['a=*']", "query = ['a=1']", true},
		{"query = ['a=*']", "query = ['A=1']", false},
		{"clients = ['10.0.0.0/8', '192.0.2.1']", "clients = ['192.0.2.1', '10.1.0.0/16']", true},
		{"clients = ['10.1.0.0/16']", "clients = ['10.0.0.0/8']", false},
		{"clients = ['10.0.0.0/8']", "path = '/a'", false},
		{"path = '/'\n[route.not]\npath = '/b'", "path = '/a'", false},
		{"not = { methods = ['GET'], path = '/b' }", "path = '/a'\nnot = { methods = ['PUT', 'GET'], path = '/b', query = ['a=*'] }", true},
		{"not = { methods = ['GET', 'PUT'] }", "not = { methods = ['GET'] }", false},
		{"not = { headers = ['A: 1'] }", "not = { headers = ['a: *'] }", true},
		{"not = { headers = ['A: *'] }", "not = { headers = ['a: 1'] }", false},
		{"not = { clients = ['10.1.0.0/16'] }", "not = { clients = ['10.0.0.0/8'] }", true},
		{"path = '/a'", "path = '/a/b'\n[route.not]\npath = '/a/b/c'", true},
	} {
		f := decodeOK(t, routed+c.earlier+"\n[[route]]\nbackend = 'app'\n"+c.later+"\n")
		if got := f.Routes.items[0].covers(f.Routes.items[1]); got != c.covered {
			t.Errorf("%q covers %q: %v", c.earlier, c.later, got)
		}
	}
}
