package configs

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"millrace/remap"
)

// covers reports whether r certainly matches whatever other matches. Where that would take more than comparing texts
// it says no.
func (r *route) covers(other *route) bool {
	a, b := r.conditions(), other.conditions()
	begins := func(p *value[string]) bool {
		// A path of "/" also takes "*", the target of OPTIONS, which begins with nothing.
		return !isRoot(b.path) && hasRoot(b.path, p.v) || hasRoot(b.prefix, p.v)
	}
	switch {
	case !isRoot(a.path) && !hasSegments(b.path, a.path.v) && !hasRoot(b.prefix, strings.TrimSuffix(a.path.v, "/")+"/"):
	case a.prefix.given && !begins(a.prefix):
	case a.extension.given && !(b.extension.given && strings.HasSuffix(b.extension.v, a.extension.v)):
	case a.pattern.given && !(b.pattern.given && b.pattern.v == a.pattern.v):
	case a.headers.given && !impliesEach(other.rule.Headers, r.rule.Headers, strings.EqualFold):
	case a.query.given && !impliesEach(other.rule.Query, r.rule.Query, equal):
	case a.clients.given && !(len(other.rule.Clients) > 0 && within(other.rule.Clients, r.rule.Clients)):
	case r.Not.given && !other.excludesAllOf(r):
	case r.Listeners.given && !(other.Listeners.given && subset(other.listeners, r.listeners)):
	case a.methods.given && !(b.methods.given && covered(b.methods.v, a.methods.v, equal)):
	case a.hosts.given && !(b.hosts.given && covered(b.hosts.v, a.hosts.v, coversHost)):
	default:
		return true
	}
	return false
}

// excludesAllOf reports whether the table "not" of r certainly excludes whatever that of other does.
func (r *route) excludesAllOf(other *route) bool {
	a, b := r.Not.conditions(), other.Not.conditions()
	same := func(a, b *value[string]) bool { return !b.given || a.given && a.v == b.v }
	return same(a.path, b.path) && same(a.prefix, b.prefix) && same(a.extension, b.extension) && same(a.pattern, b.pattern) &&
		covered(b.methods.v, a.methods.v, equal) && covered(b.hosts.v, a.hosts.v, coversHost) && within(other.Not.rule.Clients, r.Not.rule.Clients) &&
		impliesOne(other.Not.rule.Headers, r.Not.rule.Headers, strings.EqualFold) && impliesOne(other.Not.rule.Query, r.Not.rule.Query, equal)
}

func equal(a, b string) bool { return a == b }

// implies reports whether whatever has the pair p has q.
func implies(p, q remap.Pair, sameName func(a, b string) bool) bool {
	return sameName(p.Name, q.Name) && (p.Value == q.Value || q.Value == "*")
}

// impliesEach reports whether whatever has all of some pairs has all of others.
func impliesEach(has, wanted []remap.Pair, sameName func(a, b string) bool) bool {
	return !slices.ContainsFunc(wanted, func(q remap.Pair) bool {
		return !slices.ContainsFunc(has, func(p remap.Pair) bool { return implies(p, q, sameName) })
	})
}

// impliesOne reports whether whatever has one of some pairs has one of others.
func impliesOne(has, wanted []remap.Pair, sameName func(a, b string) bool) bool {
	return !slices.ContainsFunc(has, func(p remap.Pair) bool {
		return !slices.ContainsFunc(wanted, func(q remap.Pair) bool { return implies(p, q, sameName) })
	})
}

// within reports whether each of some networks is in one of others.
func within(part, whole []netip.Prefix) bool {
	return !slices.ContainsFunc(part, func(p netip.Prefix) bool {
		return !slices.ContainsFunc(whole, func(w netip.Prefix) bool { return w.Bits() <= p.Bits() && w.Contains(p.Addr()) })
	})
}

func isRoot(p *value[string]) bool { return !p.given || p.v == "/" }

func hasRoot(p *value[string], root string) bool { return p.given && strings.HasPrefix(p.v, root) }

// hasSegments reports whether p is a path at root or below it.
func hasSegments(p *value[string], root string) bool {
	return p.given && (p.v == root || strings.HasPrefix(p.v, strings.TrimSuffix(root, "/")+"/"))
}

// covered reports whether each of part is covered by one of whole.
func covered(part, whole []value[string], covers func(a, b string) bool) bool {
	return !slices.ContainsFunc(part, func(b value[string]) bool {
		return !slices.ContainsFunc(whole, func(a value[string]) bool { return covers(a.v, b.v) })
	})
}

// coversHost reports whether every host that b stands for is one that a stands for.
func coversHost(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	return a == b || a == "*" || strings.HasPrefix(a, "*.") && strings.HasSuffix(b, a[1:]) && len(b) > len(a)-1
}

// conditions checks what a request must be like, or must not, and makes a rule of it.
func (v validator) conditions(c conditions) remap.Rule {
	rule := remap.Rule{Path: c.path.v, Prefix: c.prefix.v, Extension: c.extension.v}
	if v.notEmpty(*c.hosts, "host") {
		for i, h := range c.hosts.v {
			if wrong := checkHost(h.v); wrong != "" {
				v.value(h.place, "%s", wrong)
			} else if listed(c.hosts.v[:i], h.v) {
				v.value(h.place, "%s is listed twice", quoted(h.v))
			}
			rule.Hosts = append(rule.Hosts, h.v)
		}
	}
	v.path(*c.path, "")
	v.path(*c.prefix, "x")
	if x := c.extension; x.given && x.ok {
		switch {
		case x.v == "":
			v.value(x.place, `"" is the end of every path: leave it out instead`)
		case strings.HasPrefix(x.v, "/"):
			v.value(x.place, "%s begins with /, and an extension is the end of a path: write prefix = %s", quoted(x.v), quoted(x.v))
		}
	}
	if p := c.pattern; p.given && p.ok {
		if _, err := regexp.Compile(p.v); err != nil {
			v.value(p.place, "%s", badPattern(p.v, err))
		} else {
			// A path may have a line feed, encoded, and an expression for all that is below /admin is to find that, too.
			rule.Pattern = regexp.MustCompile("(?s)" + p.v)
		}
	}
	if v.notEmpty(*c.methods, "method") {
		for _, m := range c.methods.v {
			v.method(m)
			rule.Methods = append(rule.Methods, m.v)
		}
	}
	if v.notEmpty(*c.headers, "request") {
		rule.Headers = v.headerPairs(c.headers.v)
	}
	if v.notEmpty(*c.query, "request") {
		rule.Query = v.queryPairs(c.query.v)
	}
	rule.Clients = v.prefixes(*c.clients)
	return rule
}

// tokens is what methods and names of fields are made of (RFC 9110, 5.6.2).
var tokens = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// registered are the methods that everybody means who writes them in another case.
var registered = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}

func (v validator) method(m value[string]) {
	upper := strings.ToUpper(m.v)
	switch {
	case !tokens.MatchString(m.v):
		v.value(m.place, "%s is not a method", quoted(m.v))
	case m.v != upper && slices.Contains(registered, upper):
		v.value(m.place, "%s matches nothing, since the case of methods matters: write %s", quoted(m.v), quoted(upper))
	}
}

func (v validator) headerPairs(list []value[string]) (pairs []remap.Pair) {
	for _, h := range list {
		name, text, found := strings.Cut(h.v, ":")
		text = strings.Trim(text, " \t")
		switch {
		case !found || !tokens.MatchString(name):
			v.value(h.place, `%s is not a header: write "Name: value", or "Name: *" for any value`, quoted(h.v))
		case strings.ContainsFunc(text, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }):
			v.value(h.place, "%s matches nothing: no value has control characters", quoted(h.v))
		}
		pairs = append(pairs, remap.Pair{Name: name, Value: text})
	}
	return pairs
}

func (v validator) queryPairs(list []value[string]) (pairs []remap.Pair) {
	for _, q := range list {
		name, text, found := strings.Cut(q.v, "=")
		if !found || name == "" {
			v.value(q.place, `%s is not a parameter: write "name=value", or "name=*" for any value`, quoted(q.v))
		}
		pairs = append(pairs, remap.Pair{Name: name, Value: text})
	}
	return pairs
}

func listed(list []value[string], s string) bool {
	return slices.ContainsFunc(list, func(v value[string]) bool { return strings.EqualFold(v.v, s) })
}

// escape matches what would be a percent-encoded byte in a URL.
var escape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// path checks a path or, if rest is not empty, a prefix that rest may follow. Requests are matched by their
// normalised path, so what is not normalised would match nothing.
func (v validator) path(p value[string], rest string) {
	if !p.given || !p.ok {
		return
	}
	if !strings.HasPrefix(p.v, "/") {
		v.value(p.place, "%s must begin with /", quoted(p.v))
		return
	}
	// Paths are decoded when they are matched, so a percent sign here is one. With it encoded, and a slash to begin
	// with, there is nothing that has no normal form.
	encoded := strings.ReplaceAll(p.v+rest, "%", "%25")
	normal, _ := remap.NormalPath(nil, []byte(encoded))
	if want := strings.TrimSuffix(string(normal), rest); want != p.v {
		v.value(p.place, "%s matches nothing, since paths are matched in their normal form: write %s", quoted(p.v), quoted(want))
	}
	if e := escape.FindString(p.v); e != "" {
		v.warn(p.place, "paths are matched decoded: %s stands for these three characters", e)
	}
}
