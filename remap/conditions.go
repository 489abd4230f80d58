package remap

import (
	"bytes"
	"net/netip"
	"regexp"
	"slices"

	"millrace/httpparse"
)

// conditions are those of a Rule, made ready for matching.
type conditions struct {
	listeners []int
	hosts     []hostPattern
	path      string
	prefix    string
	extension string
	pattern   *regexp.Regexp
	methods   []string
	headers   []pair
	query     []pair
	clients   []netip.Prefix
}

func compile(c *Rule) conditions {
	return conditions{
		listeners: slices.Clone(c.Listeners),
		hosts:     hostPatterns(c.Hosts),
		path:      c.Path,
		prefix:    c.Prefix,
		extension: c.Extension,
		pattern:   c.Pattern,
		methods:   slices.Clone(c.Methods),
		headers:   compilePairs(c.Headers),
		query:     compilePairs(c.Query),
		clients:   slices.Clone(c.Clients),
	}
}

// empty reports whether no condition is set.
func (c *conditions) empty() bool {
	return len(c.listeners)+len(c.hosts)+len(c.methods)+len(c.headers)+len(c.query)+len(c.clients) == 0 &&
		c.path == "" && c.prefix == "" && c.extension == "" && c.pattern == nil
}

// allHold reports whether a request meets all conditions that are set, the cheap ones first.
func (c *conditions) allHold(s *subject) bool {
	return (len(c.listeners) == 0 || slices.Contains(c.listeners, s.Listener)) &&
		(c.path == "" || isBelow(s.Path, c.path)) &&
		(c.prefix == "" || hasPrefix(s.Path, c.prefix)) &&
		(c.extension == "" || hasSuffix(s.Path, c.extension)) &&
		(len(c.hosts) == 0 || matchesAny(c.hosts, s.name, s.port)) &&
		(len(c.methods) == 0 || isAny(c.methods, s.Req.MethodName.Of(s.Head))) &&
		(len(c.clients) == 0 || inAny(c.clients, s.Client)) &&
		!slices.ContainsFunc(c.headers, func(p pair) bool { return !p.inFields(s) }) &&
		!slices.ContainsFunc(c.query, func(p pair) bool { return !p.inQuery(s) }) &&
		(c.pattern == nil || c.pattern.Match(s.Path))
}

// oneHolds reports whether a request meets at least one of the conditions that are set.
func (c *conditions) oneHolds(s *subject) bool {
	return len(c.listeners) > 0 && slices.Contains(c.listeners, s.Listener) ||
		c.path != "" && isBelow(s.Path, c.path) ||
		c.prefix != "" && hasPrefix(s.Path, c.prefix) ||
		c.extension != "" && hasSuffix(s.Path, c.extension) ||
		len(c.hosts) > 0 && matchesAny(c.hosts, s.name, s.port) ||
		len(c.methods) > 0 && isAny(c.methods, s.Req.MethodName.Of(s.Head)) ||
		len(c.clients) > 0 && inAny(c.clients, s.Client) ||
		slices.ContainsFunc(c.headers, func(p pair) bool { return p.inFields(s) }) ||
		slices.ContainsFunc(c.query, func(p pair) bool { return p.inQuery(s) }) ||
		c.pattern != nil && c.pattern.Match(s.Path)
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

func isAny(words []string, b []byte) bool {
	for _, w := range words {
		if string(b) == w {
			return true
		}
	}
	return false
}

func inAny(networks []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap() // a client of an IPv4 network may have come by a socket of both families
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// pair is a Pair made ready for matching.
type pair struct {
	name  []byte
	value glob
}

func compilePairs(list []Pair) []pair {
	var pairs []pair
	for _, p := range list {
		pairs = append(pairs, pair{[]byte(p.Name), bytes.Split([]byte(p.Value), star)})
	}
	return pairs
}

// inFields reports whether a field line of the request is such a pair.
func (p *pair) inFields(s *subject) bool {
	for i := range s.Req.Fields {
		f := &s.Req.Fields[i]
		if f.Name.Len() != len(p.name) || !bytes.EqualFold(f.Name.Of(s.Head), p.name) {
			continue
		}
		value := f.Value
		if f.ID == httpparse.FieldHost {
			value = s.Req.Authority // which overrides it in absolute-form (RFC 9112, 3.2.2)
		}
		if p.value.match(value.Of(s.Head)) {
			return true
		}
	}
	return false
}

// inQuery reports whether a parameter of the request is such a pair. Parameters are what forms send: separated by "&",
// with "+" for a space. One without "=" has an empty value.
func (p *pair) inQuery(s *subject) bool {
	target := s.Target
	if target == nil {
		target = s.Req.PathQuery.Of(s.Head)
	}
	_, query, _ := bytes.Cut(target, questionMark)
	var nameRoom, valueRoom [128]byte
	for len(query) > 0 {
		var parameter []byte
		parameter, query, _ = bytes.Cut(query, ampersand)
		name, value, _ := bytes.Cut(parameter, equalsSign)
		if bytes.Equal(appendParameter(nameRoom[:0], name), p.name) && p.value.match(appendParameter(valueRoom[:0], value)) {
			return true
		}
	}
	return false
}

var questionMark, ampersand, equalsSign, star = []byte("?"), []byte("&"), []byte("="), []byte("*")

// appendParameter appends a name or a value of a query decoded. A percent sign that begins no escape is itself.
func appendParameter(dst, b []byte) []byte {
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '+' {
			c = ' '
		} else if c == '%' && i+2 < len(b) {
			if high, low := unhex(b[i+1]), unhex(b[i+2]); high != 0xff && low != 0xff {
				c = high<<4 | low
				i += 2
			}
		}
		dst = append(dst, c)
	}
	return dst
}

// glob is a text with stars: what is between them.
type glob [][]byte

// match reports whether b is such a text.
func (g glob) match(b []byte) bool {
	first, last := g[0], g[len(g)-1]
	if len(g) == 1 {
		return bytes.Equal(b, first)
	}
	if len(b) < len(first)+len(last) || !bytes.HasPrefix(b, first) || !bytes.HasSuffix(b, last) {
		return false
	}
	b = b[len(first) : len(b)-len(last)]
	for _, part := range g[1 : len(g)-1] {
		// The earliest place leaves the most for the rest.
		i := bytes.Index(b, part)
		if i < 0 {
			return false
		}
		b = b[i+len(part):]
	}
	return true
}
