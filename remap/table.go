package remap

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
)

// Rule says which requests a route is for: those that meet every condition that is set.
type Rule struct {
	// Listeners holds the indexes of the listeners that the request may have come by. Empty: any.
	Listeners []int
	// Hosts holds the hosts that the request may be for: "www.example.org", "*.example.org" for everything
	// below example.org but not itself, "example.*" for whatever begins so, "*". Case does not matter. A
	// pattern with a port matches that port only, one without matches any. Empty: any host, or none at all.
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
}

// Table chooses routes. It is immutable and may be used by several goroutines.
type Table struct {
	rules []rule
}

// rule is a Rule made ready for matching.
type rule struct {
	listeners []int
	hosts     []hostPattern
	path      string // empty also for "/"
	prefix    string
	extension string
	pattern   *regexp.Regexp
}

// New returns a table that tries the rules in the given order. A host that is no pattern in the sense of
// Rule.Hosts matches nothing; it is the caller's business to have refused it.
func New(rules []Rule) *Table {
	t := &Table{rules: make([]rule, len(rules))}
	for i, r := range rules {
		t.rules[i] = rule{
			listeners: slices.Clone(r.Listeners),
			hosts:     hostPatterns(r.Hosts),
			path:      r.Path,
			prefix:    r.Prefix,
			extension: r.Extension,
			pattern:   r.Pattern,
		}
		if r.Path == "/" {
			t.rules[i].path = ""
		}
	}
	return t
}

// maxHost is the length of the longest name of a host, with room to spare: DNS has 253 characters.
const maxHost = 256

// Match returns the index of the first rule that a request meets. Host is the authority that the request is
// for, as received: in any case, with or without a port, or empty. A name too long for DNS is no host's. Path is
// the path in its NormalPath form.
func (t *Table) Match(listener int, host, path []byte) (rule int, ok bool) {
	name, port := splitHost(host)
	var b [maxHost]byte
	name = lowerHost(&b, name)
	for i := range t.rules {
		if t.rules[i].match(listener, name, port, path) {
			return i, true
		}
	}
	return 0, false
}

// match reports whether a request meets all conditions, the cheap ones first.
func (r *rule) match(listener int, name, port, path []byte) bool {
	return (len(r.listeners) == 0 || slices.Contains(r.listeners, listener)) &&
		(r.path == "" || isBelow(path, r.path)) &&
		(r.prefix == "" || hasPrefix(path, r.prefix)) &&
		(r.extension == "" || hasSuffix(path, r.extension)) &&
		(len(r.hosts) == 0 || matchesAny(r.hosts, name, port)) &&
		(r.pattern == nil || r.pattern.Match(path))
}

// isBelow reports whether path is root, which is not empty, or of segments below it.
func isBelow(path []byte, root string) bool {
	return hasPrefix(path, root) &&
		(len(path) == len(root) || root[len(root)-1] == '/' || path[len(root)] == '/')
}

func hasPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix
}

func hasSuffix(b []byte, suffix string) bool {
	return len(b) >= len(suffix) && string(b[len(b)-len(suffix):]) == suffix
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
