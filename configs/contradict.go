package configs

import (
	"slices"
	"strings"

	"millrace/remap"
)

// contradictions warns of a route whose conditions no request can meet together. It gives one warning: when that has been put
// right, there may be another.
func (v validator) contradictions(r *route) {
	if !v.apart(r) && r.Not.given {
		v.nothingLeft(r)
	}
}

// apart warns of conditions about paths that have nothing in common, and reports whether there are such.
func (v validator) apart(r *route) bool {
	c := r.conditions()
	literal := ""
	if r.rule.Pattern != nil {
		literal = remap.LiteralPrefix(c.pattern.v)
	}
	var a, b *value[string]
	switch {
	case c.path.given && c.prefix.given && !meet(c.path.v, c.prefix.v):
		a, b = c.path, c.prefix
	case c.path.given && !meet(c.path.v, literal):
		a, b = c.path, c.pattern
	case c.prefix.given && !strings.HasPrefix(c.prefix.v, literal) && !strings.HasPrefix(literal, c.prefix.v):
		a, b = c.prefix, c.pattern
	default:
		return false
	}
	v.warn(b.place, "%s and %s = %s (%s) have no path in common: no request takes this route", quoted(b.v), a.key, quoted(a.v), v.src.at(a.place))
	return true
}

// meet reports whether a path that begins with prefix can be at root or below it.
func meet(root, prefix string) bool {
	root = strings.TrimSuffix(root, "/")
	return strings.HasPrefix(root+"/", prefix) || strings.HasPrefix(prefix, root+"/")
}

// nothingLeft warns of a table "not" that excludes all that its route is for.
func (v validator) nothingLeft(r *route) {
	c, n := r.conditions(), r.Not.conditions()
	below := func(root string) *value[string] { // what has all paths at root or below it
		switch {
		case !isRoot(c.path) && hasSegments(c.path, root):
			return c.path
		case hasRoot(c.prefix, strings.TrimSuffix(root, "/")+"/"):
			return c.prefix
		}
		return nil
	}
	begins := func(root string) *value[string] {
		switch {
		case !isRoot(c.path) && hasRoot(c.path, root):
			return c.path
		case hasRoot(c.prefix, root):
			return c.prefix
		}
		return nil
	}
	warn := func(not, of place) {
		v.warn(not, "excludes all that %s is for (%s): no request takes this route", of.key, v.src.at(of))
	}
	switch {
	case n.path.given && below(n.path.v) != nil:
		warn(n.path.place, below(n.path.v).place)
	case n.prefix.given && begins(n.prefix.v) != nil:
		warn(n.prefix.place, begins(n.prefix.v).place)
	case n.extension.given && n.extension.v != "" && !v.f.Routing.maps(*c.extension) && c.extension.given && strings.HasSuffix(c.extension.v, n.extension.v):
		warn(n.extension.place, c.extension.place)
	case n.pattern.given && c.pattern.given && n.pattern.v == c.pattern.v:
		warn(n.pattern.place, c.pattern.place)
	case slices.ContainsFunc(n.hosts.v, func(h value[string]) bool { return h.v == "*" }):
		v.warn(n.hosts.place, `"*" excludes every request: no request takes this route`)
	case len(c.hosts.v) > 0 && covered(c.hosts.v, n.hosts.v, coversHost):
		warn(n.hosts.place, c.hosts.place)
	case len(c.methods.v) > 0 && covered(c.methods.v, n.methods.v, equal):
		warn(n.methods.place, c.methods.place)
	case len(r.rule.Clients) > 0 && within(r.rule.Clients, r.Not.rule.Clients):
		warn(n.clients.place, c.clients.place)
	case impliesAny(r.rule.Headers, r.Not.rule.Headers, strings.EqualFold):
		warn(n.headers.place, c.headers.place)
	case impliesAny(r.rule.Query, r.Not.rule.Query, equal):
		warn(n.query.place, c.query.place)
	}
}

// impliesAny reports whether whatever has all of some pairs has one of others.
func impliesAny(has, unwanted []remap.Pair, sameName func(a, b string) bool) bool {
	return slices.ContainsFunc(unwanted, func(q remap.Pair) bool { return impliesEach(has, []remap.Pair{q}, sameName) })
}
