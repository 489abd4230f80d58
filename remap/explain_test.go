package remap

import (
	"net/netip"
	"regexp"
	"slices"
	"testing"

	"millrace/httpparse"
)

func TestMissesNameEachConditionThatIsNotMet(t *testing.T) {
	all := Rule{
		Listeners: []int{3}, Hosts: []string{"*.other"}, Path: "/p", Prefix: "/q", Extension: ".x", Pattern: regexp.MustCompile("^/z"),
		Methods: []string{"PUT"}, Headers: []Pair{{"A", "1"}, {"B", "*"}}, Query: []Pair{{"k", "v"}}, Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}
	head := []byte("GET /a?b=1 HTTP/1.1\r\nHost: a.example\r\nB: 2\r\n\r\n")
	r := httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 8)}}
	if _, err := httpparse.ParseRequest(head, 0, &r); err != nil {
		t.Fatal(err)
	}
	in := &Incoming{Client: netip.MustParseAddr("192.0.2.1"), Path: []byte("/a"), Req: &r, Head: head}
	met := Rule{Not: &Rule{Hosts: []string{"a.*"}, Methods: []string{"PUT"}, Headers: []Pair{{"A", "*"}, {"b", "2"}}}}
	table := New([]Rule{all, met, {Path: "/"}})
	want := []Miss{
		{Key: "listeners", Index: -1},
		{Key: "hosts", Index: -1},
		{Key: "path", Index: -1},
		{Key: "prefix", Index: -1},
		{Key: "extension", Index: -1},
		{Key: "pattern", Index: -1},
		{Key: "methods", Index: -1},
		{Key: "clients", Index: -1},
		{Key: "headers", Index: 0},
		{Key: "query", Index: 0},
	}
	if got := table.Misses(in, 0); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	want = []Miss{{Not: true, Key: "hosts", Index: -1}, {Not: true, Key: "headers", Index: 1}}
	if got := table.Misses(in, 1); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := table.Misses(in, 2); got != nil {
		t.Errorf("got %v of a rule that is met", got)
	}
}

func TestOptionsThatRefuseATarget(t *testing.T) {
	const all = NormalizeURL | RejectCtrls | RejectInvalidUTF8 | Reject2F | RejectDotSegments
	for target, want := range map[string]string{
		"/a":          "",
		"/a%":         "", // refused for what it is
		"/a%01":       "url_ctrls_reject",
		"/a%2fb":      "url_path_2f_reject",
		"/a/../b%2f":  "url_path_2f_reject, url_path_dotseg_reject",
		"/%ff":        "url_invalid_utf8_reject",
		"/a?b=%01&%f": "url_ctrls_reject",
	} {
		if got := all.Refusing([]byte(target)).String(); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
	if got := (RejectCtrls | Reject2F).First(); got != "url_ctrls_reject" {
		t.Errorf("got %q", got)
	}
}

func TestReadingsHaveWords(t *testing.T) {
	for r, want := range map[Reading]string{
		0:                         "",
		readDots:                  "dot segments are taken for names",
		readAuthority:             "what follows two slashes is taken for a host",
		readDots | readParameters: "dot segments are taken for names, what follows a semicolon is left out",
		readEscapedSlash:          "an encoded slash is taken for a part of a name",
		readBackslash:             "a backslash is taken for a slash",
	} {
		if got := r.String(); got != want {
			t.Errorf("%d: %q, want %q", r, got, want)
		}
	}
}
