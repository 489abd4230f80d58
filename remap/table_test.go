package remap

import (
	"regexp"
	"strings"
	"testing"

	"millrace/httpparse"
)

// incoming is a request of which only these are known.
func incoming(listener int, host, path string) *Incoming {
	r := &httpparse.Request{Authority: httpparse.View{End: uint32(len(host))}}
	return &Incoming{Listener: listener, Path: []byte(path), Req: r, Head: []byte(host)}
}

func TestMatchHost(t *testing.T) {
	for _, tt := range []struct {
		pattern, host string
		want          bool
	}{
		{"example.org", "example.org", true},
		{"example.org", "EXAMPLE.Org", true},
		{"Example.ORG", "example.org", true},
		{"example.org", "example.org:8080", true},
		{"example.org", "example.org:", true},
		{"example.org", "example.org.", true},
		{"example.org", "example.org.:80", true},
		{"example.org.", "example.org", true},
		{"example.org", "www.example.org", false},
		{"example.org", "example.orgx", false},
		{"example.org", "", false},
		{"example.org", ".", false},
		{"example.org", ":80", false},

		{"example.org:8080", "example.org:8080", true},
		{"example.org:8080", "EXAMPLE.org.:8080", true},
		{"example.org:8080", "example.org", false},
		{"example.org:8080", "example.org:808", false},
		{"example.org:8080", "example.org:80800", false},
		{"*.example.org:81", "a.example.org:81", true},
		{"*.example.org:81", "a.example.org:82", false},
		{"example.*:81", "example.org:81", true},
		{"example.*:81", "example.org", false},

		{"*.example.org", "www.example.org", true},
		{"*.example.org", "a.B.Example.org:80", true},
		{"*.example.org", "example.org", false},
		{"*.example.org", ".example.org", false},
		{"*.example.org", "wwwexample.org", false},
		{"*.example.org", "www.example.org.evil", false},
		{"*.example.org", "", false},

		{"example.*", "example.org", true},
		{"example.*", "EXAMPLE.co.uk:80", true},
		{"example.*", "example", false},
		{"example.*", "example.", false},
		{"example.*", "www.example.org", false},
		{"example.*", "examples.org", false},

		{"*", "anything", true},
		{"*", "", true},
		{"*:80", "anything:80", true},
		{"*:80", "anything", false},

		{"10.0.0.1", "10.0.0.1:80", true},
		{"[2001:db8::1]", "[2001:DB8::1]", true},
		{"[2001:db8::1]", "[2001:db8::1]:80", true},
		{"[2001:db8::1]:80", "[2001:db8::1]:80", true},
		{"[2001:db8::1]:80", "[2001:db8::1]", false},
		{"[::1]", "[::2]", false},

		// No patterns, and so nothing that a host can equal.
		{"*example.org", "anexample.org", false},
		{"a.*.org", "a.b.org", false},
	} {
		t.Run(tt.pattern+" "+tt.host, func(t *testing.T) {
			table := New([]Rule{{Hosts: []string{"other.example", tt.pattern}}})
			if _, ok := table.Match(incoming(0, tt.host, "/")); ok != tt.want {
				t.Errorf("%v, want %v", ok, tt.want)
			}
		})
	}
}

func TestAHostTooLongForDNSMatchesNoName(t *testing.T) {
	for _, tt := range []struct {
		length int
		want   bool
	}{{maxHost, true}, {maxHost + 1, false}, {10000, false}} {
		host := strings.Repeat("A", tt.length-len(".example.org")) + ".EXAMPLE.org:80"
		if _, ok := New([]Rule{{Hosts: []string{"*.example.org"}}}).Match(incoming(0, host, "/")); ok != tt.want {
			t.Errorf("%d characters: %v", tt.length, ok)
		}
		if _, ok := New([]Rule{{}}).Match(incoming(0, host, "/")); !ok {
			t.Errorf("%d characters: no match where any host is right", tt.length)
		}
	}
}

func TestMatchPath(t *testing.T) {
	for _, tt := range []struct {
		name string
		rule Rule
		path string
		want bool
	}{
		{"no condition", Rule{}, "/x", true},
		{"root", Rule{Path: "/"}, "/x", true},
		{"root", Rule{Path: "/"}, "/", true},
		{"root", Rule{Path: "/"}, "*", true},
		{"path", Rule{Path: "/api"}, "/api", true},
		{"path", Rule{Path: "/api"}, "/api/", true},
		{"path", Rule{Path: "/api"}, "/api/x", true},
		{"path", Rule{Path: "/api"}, "/apix", false},
		{"path", Rule{Path: "/api"}, "/ap", false},
		{"path", Rule{Path: "/api"}, "/API", false},
		{"path", Rule{Path: "/api"}, "/x/api", false},
		{"path", Rule{Path: "/api/"}, "/api", false},
		{"path", Rule{Path: "/api/"}, "/api/", true},
		{"path", Rule{Path: "/api/"}, "/api/x", true},
		{"prefix", Rule{Prefix: "/pre"}, "/prefix/z", true},
		{"prefix", Rule{Prefix: "/pre"}, "/pr", false},
		{"prefix", Rule{Prefix: "/pre"}, "*", false},
		{"extension", Rule{Extension: ".jsp"}, "/x/y.jsp", true},
		{"extension", Rule{Extension: ".jsp"}, "/x/y.jspx", false},
		{"extension", Rule{Extension: ".jsp"}, "jsp", false},
		{"pattern", Rule{Pattern: regexp.MustCompile(`^/(.*)\.do$`)}, "/x.do", true},
		{"pattern", Rule{Pattern: regexp.MustCompile(`^/(.*)\.do$`)}, "/x.dot", false},
		{"all", Rule{Path: "/a", Prefix: "/a/b", Extension: ".c", Pattern: regexp.MustCompile("x")}, "/a/bx.c", true},
		{"all but path", Rule{Path: "/b", Prefix: "/a/b", Extension: ".c", Pattern: regexp.MustCompile("x")}, "/a/bx.c", false},
		{"all but prefix", Rule{Path: "/a", Prefix: "/a/c", Extension: ".c", Pattern: regexp.MustCompile("x")}, "/a/bx.c", false},
		{"all but extension", Rule{Path: "/a", Prefix: "/a/b", Extension: ".d", Pattern: regexp.MustCompile("x")}, "/a/bx.c", false},
		{"all but pattern", Rule{Path: "/a", Prefix: "/a/b", Extension: ".c", Pattern: regexp.MustCompile("y")}, "/a/bx.c", false},
	} {
		t.Run(tt.name+" "+tt.path, func(t *testing.T) {
			if _, ok := New([]Rule{tt.rule}).Match(incoming(0, "", tt.path)); ok != tt.want {
				t.Errorf("%v, want %v", ok, tt.want)
			}
		})
	}
}

func TestFirstMatchWins(t *testing.T) {
	table := New([]Rule{
		{Listeners: []int{1, 3}, Path: "/admin"},
		{Hosts: []string{"static.example.org"}},
		{Hosts: []string{"*.example.org"}, Extension: ".jsp"},
		{Hosts: []string{"*.example.org"}, Path: "/api"},
		{Listeners: []int{0}},
	})
	for _, tt := range []struct {
		listener   int
		host, path string
		want       int // -1: none
	}{
		{1, "static.example.org", "/admin/x", 0},
		{3, "", "/admin", 0},
		{0, "static.example.org", "/admin/x", 1},
		{0, "www.example.org", "/api/x.jsp", 2},
		{0, "www.example.org", "/api/x", 3},
		{0, "www.example.org", "/x", 4},
		{2, "www.example.org", "/x", -1},
		{0, "", "/", 4},
	} {
		got, ok := table.Match(incoming(tt.listener, tt.host, tt.path))
		if !ok {
			got = -1
		}
		if got != tt.want {
			t.Errorf("listener %d, host %q, path %s: rule %d, want %d", tt.listener, tt.host, tt.path, got, tt.want)
		}
	}
	if i, ok := New(nil).Match(incoming(0, "", "/")); ok {
		t.Errorf("a table without rules matched %d", i)
	}
}

func TestTableKeepsNothingOfTheCallers(t *testing.T) {
	rules := []Rule{{Listeners: []int{0}, Hosts: []string{"a"}}}
	table := New(rules)
	rules[0].Listeners[0], rules[0].Hosts[0], rules[0].Path = 9, "b", "/x"
	if _, ok := table.Match(incoming(0, "a", "/")); !ok {
		t.Error("no match")
	}
}
