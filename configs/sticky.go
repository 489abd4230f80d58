package configs

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"millrace/balance"
	"millrace/loop"
)

// stickyCookie is the table that has clients told which server has answered them.
type stickyCookie struct {
	section
	Name     value[string]        `toml:"name"`
	Secret   value[string]        `toml:"secret"`
	Path     value[string]        `toml:"path"`
	Domain   value[string]        `toml:"domain"`
	MaxAge   value[time.Duration] `toml:"max_age"`
	HTTPOnly value[bool]          `toml:"http_only"`
	Secure   value[bool]          `toml:"secure"`
	SameSite value[string]        `toml:"same_site"`
}

func (b *backend) setStickyDefaults() {
	setDefault(&b.StickySessionSep, ".")
	setDefault(&b.ScolonPathDelim, false)
	setDefault(&b.NoFailover, false)
	setDefault(&b.StickyCookie.Path, "/")
	setDefault(&b.StickyCookie.Domain, "")
	setDefault(&b.StickyCookie.MaxAge, 0)
	setDefault(&b.StickyCookie.HTTPOnly, true)
	setDefault(&b.StickyCookie.Secure, false)
	setDefault(&b.StickyCookie.SameSite, "lax")
}

// The ranges of what is said of sessions.
const (
	maxRoute    = 63 // as Apache has it
	minSecret   = 16 // fewer characters could be tried out
	minMaxAge   = time.Second
	maxMaxAge   = 400 * 24 * time.Hour // browsers keep none for longer (RFC 6265bis, 5.5)
	secretHelp  = `at least 16 characters that nobody else knows, such as what "openssl rand -hex 16" prints, the same on all proxies before the same servers`
	sessionHelp = `allowed are "COOKIE|PARAMETER", and one name for both, of visible characters but none of ; , = & ? and "`
	routeHelp   = `allowed are 1 to 63 visible characters, but none of ; , & ? and "`
	stickyKeys  = "sticky_session, sticky_header or [%s.sticky_cookie]"
)

// endsSession has the characters at which the id of a session ends, in a URL or a cookie, and those that are in
// neither.
func endsSession(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`;,&?"`, c) }

// sticky checks how sessions find their servers. The servers have been checked.
func (v validator) sticky(b *backend) {
	s := &loop.Sticky{NoFailover: b.NoFailover.v}
	v.stickySession(b, s)
	if h := b.StickyHeader; h.given && h.ok {
		if s.Header = h.v; !tokens.MatchString(h.v) {
			v.value(h.place, "%s is not the name of a field: allowed are letters, digits and -, as in \"X-Route\"", quoted(h.v))
		}
	}
	if b.StickyCookie.given {
		s.Own = v.stickyCookie(b)
	}
	given := b.StickySession.given || b.StickyHeader.given || b.StickyCookie.given
	unsure := b.StickySession.near || b.StickyHeader.near || b.StickyCookie.near
	if given {
		b.sticky = s
	}
	if n := b.NoFailover; n.given && n.v && !given && !unsure {
		v.key(n.place, "has no effect without "+stickyKeys, b.key)
	}
	routes, routesUnread := v.routesOf(b, given || unsure)
	if len(routes) > 0 || routesUnread {
		return
	}
	for _, k := range []*value[string]{&b.StickySession, &b.StickyHeader} {
		if k.given {
			v.key(k.place, "has no effect: no server has a route; give each its own, in [[%s.server]]", b.key)
		}
	}
}

// stickySession reads where the ids of sessions are, and where the route is in them.
func (v validator) stickySession(b *backend, s *loop.Sticky) {
	k, sep := b.StickySession, b.StickySessionSep
	if k.given && k.ok {
		var two bool
		if s.Cookie, s.Param, two = strings.Cut(k.v, "|"); !two {
			s.Param = s.Cookie
		}
		bad := func(name string) bool {
			return name == "" || strings.ContainsFunc(name, endsSession) || strings.Contains(name, "=")
		}
		if bad(s.Cookie) || bad(s.Param) {
			v.value(k.place, "%s is not where sessions are: %s", quoted(k.v), sessionHelp)
		}
	}
	if sep.ok && !strings.EqualFold(sep.v, "off") {
		if len(sep.v) != 1 || strings.ContainsFunc(sep.v, endsSession) {
			v.value(sep.place, `%s is not a separator: allowed are one visible character, but none of ; , & ? and ", and "off"`, quoted(sep.v))
		} else {
			s.Separator = sep.v[0]
		}
	}
	s.SemicolonEnds = b.ScolonPathDelim.v
	if k.absent() {
		for _, x := range []struct {
			given bool
			place
		}{
			{sep.given && sep.ok && sep.v != ".", sep.place},
			{b.ScolonPathDelim.given && b.ScolonPathDelim.v, b.ScolonPathDelim.place},
		} {
			if x.given {
				v.key(x.place, "has no effect without sticky_session")
			}
		}
	}
}

// routesOf checks the routes of a backend's servers and returns them. unread says that there may be others.
func (v validator) routesOf(b *backend, sticky bool) (routes []string, unread bool) {
	unread = b.Server.unread()
	for _, s := range b.Server.items {
		unread = unread || s.Route.near || s.Route.given && !s.Route.ok
		if r := s.Route; r.given && r.ok {
			if r.v == "" || len(r.v) > maxRoute || strings.ContainsFunc(r.v, endsSession) {
				v.value(r.place, "%s is not a route: %s", quoted(r.v), routeHelp)
			}
			routes = append(routes, r.v)
		}
	}
	for _, s := range b.Server.items {
		for _, k := range []*value[string]{&s.Route, &s.Redirect} {
			if k.given && !sticky {
				v.key(k.place, "has no effect without "+stickyKeys, b.key)
			}
		}
		r := s.Redirect
		switch {
		case !r.given || !r.ok || unread:
		case !slices.Contains(routes, r.v):
			v.value(r.place, "%s", unknownName(r.v, "route", routes))
		case s.Route.v == r.v:
			v.value(r.place, "%s is the route of this very server: name that of another", quoted(r.v))
		}
	}
	return routes, unread
}

// cookieDomain is a name of a host, as RFC 6265, 4.1.2.3 has it.
var cookieDomain = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)

// sameSites are the words of same_site with what the attribute says.
var sameSites = map[string]string{"lax": "Lax", "strict": "Strict", "none": "None", "": ""}

// stickyCookie checks the cookie that clients are given.
func (v validator) stickyCookie(b *backend) *loop.StickyCookie {
	t := &b.StickyCookie
	name, secret := t.Name, t.Secret
	switch {
	case name.absent():
		v.missing(t.place, "name", `is missing: name the cookie, such as "SERVERID"`)
	case name.given && name.ok && !tokens.MatchString(name.v):
		v.value(name.place, "%s is not the name of a cookie: allowed are letters, digits and other characters of a token (RFC 6265, 4.1.1)", quoted(name.v))
	case name.given && name.ok && b.StickySession.given && name.v == strings.SplitN(b.StickySession.v, "|", 2)[0]:
		v.value(name.place, "%s is the cookie of sticky_session, which is the server's: this one would take its place", quoted(name.v))
	}
	// What the file has for a secret is not said again: messages go to terminals and logs.
	switch {
	case secret.absent():
		v.missing(t.place, "secret", "is missing: write %s", secretHelp)
	case secret.given && secret.ok && len(secret.v) < minSecret:
		v.value(secret.place, "is too short: write %s", secretHelp)
	}
	if p := t.Path; p.ok && (!strings.HasPrefix(p.v, "/") || strings.ContainsFunc(p.v, func(c rune) bool { return c < ' ' || c > '~' || c == ';' })) {
		v.value(p.place, "%s is not a path for a cookie: allowed is what begins with / and has no semicolon", quoted(p.v))
	}
	if d := t.Domain; d.ok && d.v != "" && !cookieDomain.MatchString(d.v) {
		v.value(d.place, `%s is not a domain: allowed are a name such as "example.org", without a port, and "" for the host that is asked, and no other`, quoted(d.v))
	}
	between(v, t.MaxAge, minMaxAge, maxMaxAge, "0 for as long as the client runs, or ", formatDuration)
	if a := t.MaxAge; a.ok && a.v%time.Second != 0 && a.v > minMaxAge {
		v.value(a.place, "%s is not a number of whole seconds, which a cookie's age is", a.text)
	}
	sameSite, known := sameSites[t.SameSite.v]
	switch {
	case t.SameSite.ok && !known:
		v.value(t.SameSite.place, `%s is not what same_site can be: allowed are "lax", "strict", "none" and "" to say nothing`, quoted(t.SameSite.v))
	case sameSite == "None" && t.Secure.ok && !t.Secure.v:
		v.value(t.SameSite.place, `%s needs secure = true: browsers refuse the cookie without`, quoted(t.SameSite.v))
	}
	// RFC 6265bis, 4.1.3: names that promise attributes.
	host := strings.HasPrefix(name.v, "__Host-")
	if (host || strings.HasPrefix(name.v, "__Secure-")) && t.Secure.ok && !t.Secure.v {
		v.value(name.place, "%s needs secure = true: browsers refuse the cookie without", quoted(name.v))
	}
	if host && (t.Path.v != "/" || t.Domain.v != "") {
		v.value(name.place, `%s needs path = "/" and no domain: browsers refuse the cookie otherwise`, quoted(name.v))
	}
	return &loop.StickyCookie{
		Name: name.v, Path: t.Path.v, Domain: t.Domain.v, SameSite: sameSite, HTTPOnly: t.HTTPOnly.v, Secure: t.Secure.v,
		MaxAge: int64(t.MaxAge.v / time.Second), Secret: []byte(secret.v),
	}
}

// sticksRaw checks that a sock listener's backend does not go by what only a request has.
func (v validator) sticksRaw(l *listener) {
	if l.backend < 0 {
		return
	}
	b := v.f.Backends.items[l.backend]
	for _, k := range []struct {
		given bool
		place
	}{
		{b.StickySession.given, b.StickySession.place},
		{b.StickyHeader.given, b.StickyHeader.place},
		{b.StickyCookie.given, b.StickyCookie.place},
	} {
		if k.given {
			v.value(l.Backend.place, `%s finds sessions in requests (%s), and a sock listener parses none: write balance = "sticky", in a backend of its own`,
				quoted(l.Backend.v), v.src.at(k.place))
			return
		}
	}
}

// sticky makes what a backend's requests find their servers by.
func (c *compiler) sticky(b *backend, backend *loop.Backend) {
	if b.sticky == nil {
		return
	}
	backend.Sticky = b.sticky
	if own := b.sticky.Own; own != nil {
		own.Backend = backend.Name
	}
}

// nameSessions gives servers the names that their sessions call them by in our own cookie.
func (b *backend) nameSessions(servers []*loop.BackendServer, members []balance.Server) {
	if b.sticky == nil || b.sticky.Own == nil {
		return
	}
	for i, s := range servers {
		members[i].Token = b.sticky.Own.Token(s.Name)
		s.SetCookie = b.sticky.Own.Field(members[i].Token)
	}
}
