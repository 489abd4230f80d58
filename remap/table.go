package remap

import (
	"bytes"
	"net/netip"
	"regexp"
	"strings"

	"millrace/httpparse"
)

// Rule says which requests a route is for: those that meet every condition that is set. A condition is set that is
// not empty.
type Rule struct {
	// Listeners holds the indexes of the listeners that the request may have come by.
	Listeners []int
	// Hosts holds the hosts that the request may be for: "www.example.org", "*.example.org" for everything
	// below example.org but not itself, "example.*" for whatever begins so, "*". Case does not matter. A
	// pattern with a port matches that port only, one without matches any.
	Hosts []string
	// Path matches itself and what is below it: "/api" matches /api and /api/x, but not /apix; "/api/" matches
	// /api/ and /api/x, but not /api. "/" matches everything.
	Path string
	// Prefix is what the path begins with, segments or not.
	Prefix string
	// Extension is what the path ends with.
	Extension string
	// Pattern is found in the path.
	Pattern *regexp.Regexp
	// Methods holds the methods that the request may have. Case matters (RFC 9110, 9.1).
	Methods []string
	// Headers are field lines, all of which the request must have. Case does not matter in their names.
	Headers []Pair
	// Query are parameters, all of which the request must have. They are compared decoded.
	Query []Pair
	// Clients holds networks in one of which the client's address must be.
	Clients []netip.Prefix
	// Not holds conditions of which the request must meet none that is set. It has no Not of its own.
	Not *Rule
}

// Pair is a field or a parameter: a name, and what its value must be like. In Value a star stands for any text, also
// for none; every other character for itself. Of several values of one name any may be the one.
type Pair struct{ Name, Value string }

// Incoming is a request that a route is looked for.
type Incoming struct {
	// Listener is the index of the listener that it came by.
	Listener int
	// Client is the client's address; the zero value if it has none, as on a unix socket.
	Client netip.Addr
	// Path is the path in its NormalPath form.
	Path []byte
	// Req holds views into Head.
	Req  *httpparse.Request
	Head []byte
	// Target is path and query where they are not those of the request, because they were rewritten; else nil.
	Target []byte
}

// Table chooses routes. It is immutable and may be used by several goroutines.
type Table struct {
	rules []rule
	index index
	hosts bool // a rule looks at the host
	// mapped has the rules for endings that are mapped, which come first, and origins which rule each of them is of; nil: none
	// is mapped.
	mapped  *Table
	origins []int
}

// rule is a Rule made ready for matching.
type rule struct {
	all  conditions
	none *conditions // nil without Rule.Not
	any  bool        // every request meets it
}

// New returns a table in which the first of the rules that a request meets is the one that counts. A host that is no
// pattern in the sense of Rule.Hosts matches nothing; it is the caller's business to have refused it.
//
// Before that, a path that ends with the From of one of the extensions goes by the rules whose Extension is its To, as if
// it ended so.
func New(rules []Rule, extensions ...Mapping) *Table {
	t := &Table{rules: make([]rule, len(rules))}
	for i, r := range rules {
		made := &t.rules[i]
		made.all = compile(&r)
		if made.all.path == "/" {
			made.all.path = "" // it begins every path, and "*", which is none
		}
		t.hosts = t.hosts || len(made.all.hosts) > 0
		if r.Not != nil {
			none := compile(r.Not)
			made.none = &none
			t.hosts = t.hosts || len(none.hosts) > 0
		}
		made.any = made.none == nil && made.all.empty()
	}
	t.index.build(t.rules)
	var mapped []Rule
	for _, x := range extensions {
		for i, r := range rules {
			if r.Extension == x.To {
				r.Extension = x.From
				mapped = append(mapped, r)
				t.origins = append(t.origins, i)
			}
		}
	}
	if len(mapped) > 0 {
		t.mapped = New(mapped)
	}
	return t
}

// maxHost is the length of the longest name of a host, with room to spare: DNS has 253 characters.
const maxHost = 256

// subject is a request as rules look at it.
type subject struct {
	*Incoming
	name, port []byte // of the host, the name in lower case
}

// Match returns the index of the first rule that a request meets. A host's name too long for DNS is no host's.
func (t *Table) Match(in *Incoming) (rule int, ok bool) {
	if t.mapped != nil {
		if i, ok := t.mapped.Match(in); ok {
			return t.origins[i], true
		}
	}
	s := subject{Incoming: in}
	i := 0
	if t.hosts {
		var b [maxHost]byte
		s.name, s.port = host(in, &b)
		i = t.index.first(t.rules, &s)
	} else {
		i = t.index.any.first(t.rules, &s, len(t.rules))
	}
	return i, i < len(t.rules)
}

// host returns what the host of a request is, its name in lower case, in b.
func host(in *Incoming, b *[maxHost]byte) (name, port []byte) {
	name, port = splitHost(in.Req.Authority.Of(in.Head))
	return lowerHost(b, name), port
}

// Mapped reports whether the rule that Match chooses is chosen because the path's ending is mapped.
func (t *Table) Mapped(in *Incoming) bool {
	if t.mapped == nil {
		return false
	}
	_, ok := t.mapped.Match(in)
	return ok
}

func (r *rule) match(s *subject) bool {
	return r.any || r.all.allHold(s) && (r.none == nil || !r.none.oneHolds(s))
}

// hostPattern is one of Rule.Hosts.
type hostPattern struct {
	kind hostKind
	name string // in lower case
	port string // empty: any
}

// hostKind says what of a host a pattern's name is compared with.
type hostKind uint8

const (
	wholeHost hostKind = iota
	hostSuffix
	hostPrefix
	anyHost
)

func hostPatterns(hosts []string) []hostPattern {
	patterns := make([]hostPattern, len(hosts))
	for i, h := range hosts {
		name, port := splitHost([]byte(strings.ToLower(h)))
		p := hostPattern{wholeHost, string(name), string(port)}
		switch {
		case p.name == "*":
			p.kind, p.name = anyHost, ""
		case strings.HasPrefix(p.name, "*."):
			p.kind, p.name = hostSuffix, p.name[1:]
		case strings.HasSuffix(p.name, ".*"):
			p.kind, p.name = hostPrefix, p.name[:len(p.name)-1]
		}
		patterns[i] = p
	}
	return patterns
}

// matchesAny reports whether a host is one that any of the patterns stands for.
func matchesAny(patterns []hostPattern, name, port []byte) bool {
	for i := range patterns {
		if patterns[i].match(name, port) {
			return true
		}
	}
	return false
}

// match reports whether a host, in lower case, is one that the pattern stands for.
func (p *hostPattern) match(name, port []byte) bool {
	if p.port != "" && string(port) != p.port {
		return false
	}
	n := len(p.name)
	switch p.kind {
	case wholeHost:
		return string(name) == p.name
	case hostSuffix: // a star stands for one character at least
		return len(name) > n && hasSuffix(name, p.name)
	case hostPrefix:
		return len(name) > n && hasPrefix(name, p.name)
	default:
		return true
	}
}

// HostName returns the name in an authority, as rules see it but for its case: without the port, and without the dot that may
// end it.
func HostName(authority []byte) []byte {
	name, _ := splitHost(authority)
	return name
}

// splitHost divides an authority into name and port, either of which may be empty. An IPv6 address keeps its
// brackets. The dot that may end a fully qualified name is not part of the result: www.example.org. is
// www.example.org.
func splitHost(authority []byte) (name, port []byte) {
	name = authority
	if i := bytes.LastIndexByte(authority, ':'); i >= 0 && bytes.IndexByte(authority[i:], ']') < 0 {
		name, port = authority[:i], authority[i+1:]
	}
	if n := len(name); n > 1 && name[n-1] == '.' {
		name = name[:n-1]
	}
	return name, port
}

// lowerHost returns name in lower case, in b, or nothing if it is too long. ASCII letters are all the letters that
// a host on the wire has.
func lowerHost(b *[maxHost]byte, name []byte) []byte {
	if len(name) > len(b) {
		return nil
	}
	return appendLower(b[:0], name)
}

// appendLower appends b with its ASCII letters in lower case.
func appendLower(dst, b []byte) []byte {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
