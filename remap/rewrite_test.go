package remap

import (
	"regexp"
	"strings"
	"testing"

	"millrace/httpparse"
)

func TestRewrites(t *testing.T) {
	w := NewRewrites([]RewriteRule{
		{"uri", regexp.MustCompile(`^/a/(.*)$`), template(t, "/b/$1")},
		{"uri", regexp.MustCompile(`^/b/`), template(t, "/c")},
		{"uri", regexp.MustCompile(`^/bare/(.*)$`), template(t, "$1")},
		{"uri", regexp.MustCompile(`^/dots(.*)$`), template(t, "/x/$1")},
		{"uri", regexp.MustCompile(`^/many(x*)$`), template(t, "/"+strings.Repeat("$1", 2000))},
	})
	for _, tt := range []struct {
		in, want    string
		changed, ok bool
	}{
		{"/a/x?y", "/b/x?y", true, true},
		{"/%61//./x?%79", "/b/x?%79", true, true},
		{"/b/x?y", "/c", true, true},
		{"/bare/x", "/x", true, true},
		{"/bare/", "/", true, true},
		{"/d/%7e", "", false, true},
		{"/dots..", "/x/..", true, false},
		{"/dots/a", "/x//a", true, true},
		{"/%zz", "", false, false},
		{"/many" + strings.Repeat("x", 2000), "", true, false},
	} {
		out, changed, ok := w.Append([]byte("before"), []byte(tt.in))
		if changed != tt.changed || ok != tt.ok || changed && ok && string(out) != "before"+tt.want {
			t.Errorf("%s became %.100q, %v, %v, want %q", tt.in[:min(len(tt.in), 100)], out, changed, ok, tt.want)
		}
	}
	if NewRewrites(nil) != nil {
		t.Error("no rules are rules")
	}
}

// FuzzRewrites: what is not refused has a normal form, and is a target that our own parser takes.
func FuzzRewrites(f *testing.F) {
	f.Add("/a/%62?c", "^/a/(.*)", "/x/$1")
	f.Add("/up..", "^/up(.*)$", "/x/$1")
	f.Add("/?/..", "(.*)", "$1$1")
	f.Fuzz(func(t *testing.T, target, pattern, value string) {
		if len(pattern) > 50 || len(value) > 200 || !httpparse.ValidTarget([]byte(target)) {
			return
		}
		re, err := regexp.Compile(pattern)
		if err != nil {
			return
		}
		tp, err := ParseTemplate(value, TemplateScope{Groups: re.NumSubexp(), GroupsOnly: true})
		if err != nil {
			return
		}
		out, changed, ok := NewRewrites([]RewriteRule{{RewriteTarget, re, tp}}).Append(nil, []byte(target))
		if !changed || !ok {
			return
		}
		head := []byte("GET " + string(out) + " HTTP/1.1\r\nHost: h\r\n\r\n")
		r := &httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 4)}}
		if n, err := httpparse.ParseRequest(head, 0, r); err != nil || n != len(head) {
			t.Fatalf("%q became %q: %v", target, out, err)
		}
		if path := r.Path.Of(head); climbs(path) {
			t.Fatalf("%q became %q", target, out)
		}
	})
}

// TestMappedExtensions: a path that ends with one of a pair goes by the rules for the other, before all others.
func TestMappedExtensions(t *testing.T) {
	table := New([]Rule{
		{Prefix: "/pre"},
		{Extension: ".jsp", Hosts: []string{"a.example"}},
		{Extension: ".jsp", Methods: []string{"POST"}},
		{Path: "/"},
	}, Mapping{".do", ".jsp"}, Mapping{".x.do", ".php"})
	for _, tt := range []struct {
		line, host string
		want       int
	}{
		{"GET /pre/a.do", "a.example", 1},
		{"GET /a.x.do", "a.example", 1},
		{"GET /pre/a.jsp", "a.example", 0},
		{"GET /a.do", "b.example", 3},
		{"POST /a.do", "b.example", 2},
		{"GET /a", "b.example", 3},
	} {
		text := head(tt.line+" HTTP/1.1", "Host: "+tt.host)
		r := parseRequest(t, text)
		i, ok := table.Match(&Incoming{Path: r.Path.Of([]byte(text)), Req: r, Head: []byte(text)})
		if !ok || i != tt.want {
			t.Errorf("%s of %s: %d, %v, want %d", tt.line, tt.host, i, ok, tt.want)
		}
	}
	none := New([]Rule{{Extension: ".jsp"}}, Mapping{".do", ".jsp"})
	text := head("GET /a HTTP/1.1", "Host: a.example")
	r := parseRequest(t, text)
	if i, ok := none.Match(&Incoming{Path: []byte("/a"), Req: r, Head: []byte(text)}); ok {
		t.Errorf("rule %d for what none is for", i)
	}
}
