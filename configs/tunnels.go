package configs

import (
	"regexp"
	"slices"
	"strings"

	"millrace/loop"
)

// protocolName is the name of a protocol, with or without a version (RFC 9110, 7.8).
var protocolName = regexp.MustCompile("^[-!#$%&'*+.^_`|~0-9A-Za-z]+(/[-!#$%&'*+.^_`|~0-9A-Za-z]+)?$")

// tunnels checks what requests of a route may become besides responses.
func (v validator) tunnels(r *route, excluded bool) {
	u := r.Upgrade
	if excluded && u.given {
		v.key(u.place, "has no effect with exclude = true: what matches is not proxied")
	}
	if excluded && r.Connect.given {
		v.key(r.Connect.place, "has no effect with exclude = true: what matches is not proxied")
	}
	if u.given && u.ok && !u.v.any && u.v.list != nil && len(u.v.list) == 0 {
		v.value(u.place, "is empty: write false to allow no protocol")
	}
	for i, p := range u.v.list {
		switch {
		case !protocolName.MatchString(p.v):
			v.value(p.place, `%s is not a protocol: allowed are a name, such as "websocket", and a name with a version`, quoted(p.v))
		case strings.EqualFold(p.v, "h2c"):
			v.value(p.place, "%s cannot be allowed: the requests inside of it would be seen by no route", quoted(p.v))
		case listed(u.v.list[:i], p.v):
			v.value(p.place, "%s is listed twice", quoted(p.v))
		}
	}
	if !r.Connect.ok || !r.Connect.v {
		return
	}
	root := func(p value[string]) bool { return !p.given || p.v == "/" }
	if !root(r.Path) || !root(r.Prefix) || r.Extension.given || r.rule.Pattern != nil && !r.rule.Pattern.MatchString("/") {
		v.key(r.Connect.place, "has no effect: CONNECT has no path and matches as if for /, which the conditions of this route do not")
	}
	if m := r.Methods; m.given && m.ok && !slices.ContainsFunc(m.v, func(name value[string]) bool { return name.v == "CONNECT" }) {
		v.key(r.Connect.place, "has no effect: CONNECT is not among the methods of this route")
	}
}

// balancesRaw checks that a sock listener's backend goes by nothing that only a request has.
func (v validator) balancesRaw(l *listener) {
	if l.backend < 0 {
		return
	}
	b := v.f.Backends.items[l.backend]
	if k := b.hashKey.Source; k == loop.KeyNone || k == loop.KeyClient {
		return
	}
	v.value(l.Backend.place, `%s has balance = %s, whose key is a part of a request (%s), and a sock listener parses none: `+
		`write balance = "sticky", or hash_key = "client"`, quoted(l.Backend.v), quoted(b.Balance.v), v.src.at(b.Balance.place))
}
