package remap

import (
	"math/rand/v2"
	"net/netip"
	"regexp"
	"testing"

	"millrace/httpparse"
)

// TestTheIndexFindsWhatAScanFinds compares tables with trying their rules one after the other. All parts are few, so
// that rules and requests meet often, and in every way.
func TestTheIndexFindsWhatAScanFinds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	some := func(f func()) {
		if r.IntN(3) == 0 {
			f()
		}
	}
	host := func() string {
		return pick("a", "a.b", "b.a.b", "*.b", "*.a.b", "a.*", "a.b.*", "*", "*:80", "a.b:80", "*.b:81", "A.B", "a.b.")
	}
	path := func() string { return pick("/", "/a", "/a/", "/a/b", "/ab", "/a/bc/", "/b", "/\xff") }
	patterns := []*regexp.Regexp{
		regexp.MustCompile("^/a"), regexp.MustCompile("^/a/b$"), regexp.MustCompile("b"), regexp.MustCompile("(?i)^/A/"),
		regexp.MustCompile("^/a|^/b"), regexp.MustCompile("^/a?b"), regexp.MustCompile("^/\ufffd"), regexp.MustCompile("(?m)^/a"), regexp.MustCompile("^(/a)+"),
	}
	conditions := func(rule *Rule) {
		some(func() { rule.Listeners = []int{r.IntN(2)} })
		for r.IntN(2) == 0 {
			rule.Hosts = append(rule.Hosts, host())
		}
		some(func() { rule.Path = path() })
		some(func() { rule.Prefix = path() })
		some(func() { rule.Extension = pick("b", "/b", "ab", "c/", "bc") })
		some(func() { rule.Pattern = patterns[r.IntN(len(patterns))] })
		some(func() { rule.Methods = []string{pick("GET", "PUT")} })
		some(func() { rule.Clients = []netip.Prefix{netip.MustParsePrefix(pick("10.0.0.0/8", "2001:db8::/32"))} })
	}
	found := 0
	for range 2000 {
		rules := make([]Rule, r.IntN(12))
		for i := range rules {
			conditions(&rules[i])
			some(func() {
				rules[i].Not = new(Rule)
				conditions(rules[i].Not)
			})
		}
		table := New(rules)
		for range 20 {
			in := incoming(r.IntN(2), pick("", "a", "a.b", "b.a.b", "c.b", "a.c.b:80", "A.B:81", ".b", "a.", "a..b"), path()+pick("", "b", "/b", "c"))
			in.Client = netip.MustParseAddr(pick("10.1.1.1", "::ffff:10.1.1.1", "192.0.2.1", "2001:db8::1"))
			method := pick("GET", "PUT", "POST")
			in.Req.MethodName = httpparse.View{Start: uint32(len(in.Head)), End: uint32(len(in.Head) + len(method))}
			in.Head = append(in.Head, method...)
			want := len(rules)
			for i := range rules {
				if alone, ok := New(rules[i : i+1]).Match(in); ok && alone == 0 && table.rules[i].match(subjectOf(in)) {
					want = i
					break
				} else if ok != table.rules[i].match(subjectOf(in)) {
					t.Fatalf("rule %+v (not %+v) alone: %v for %s %s on %d", rules[i], rules[i].Not, ok, in.Head, in.Path, in.Listener)
				}
			}
			got, ok := table.Match(in)
			if got != want || ok != (want < len(rules)) {
				t.Fatalf("rule %d, want %d of %+v for %s %s on %d", got, want, rules, in.Head, in.Path, in.Listener)
			}
			if ok {
				found++
			}
		}
	}
	if found < 10000 {
		t.Errorf("only %d of 40000 requests met a rule", found)
	}
}

// subjectOf is what Match makes of a request.
func subjectOf(in *Incoming) *subject {
	s := &subject{Incoming: in}
	s.name, s.port = splitHost(in.Req.Authority.Of(in.Head))
	s.name = lowerHost(new([maxHost]byte), s.name)
	return s
}

func TestLiteralPrefix(t *testing.T) {
	for expression, want := range map[string]string{
		"^/api/(.*)": "/api/", `\A/a\.b$`: "/a.b", "^/a*": "/", "^/ab?c": "/a", "/a": "", "^(/a)": "", "(?i)^/a": "", "^": "",
		"(?m)^/a": "", "^/a|^/b": "", "^/x\ufffdy": "/x", "^/é": "/é", "(": "",
	} {
		if got := LiteralPrefix(expression); got != want {
			t.Errorf("%s: %q, want %q", expression, got, want)
		}
	}
}
