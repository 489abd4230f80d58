package configs

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/balance"
	"millrace/httpparse"
	"millrace/internal/accesslog"
	"millrace/loop"
)

// The ranges of values. A bound is where a value stops making sense, not where it stops being wise.
const (
	maxLoops       = 1024       // several for each CPU of the largest machines
	maxConnections = 10_000_000 // more than fit into the memory of one machine
	minTimeout     = time.Millisecond
	maxTimeout     = 30 * 24 * time.Hour // a month: longer is as good as none, which is 0
	minHeaderBytes = 1 << 10             // browsers send about as much
	maxHeaderBytes = 1 << 20             // a head is buffered whole
	maxFields      = 1024                // each is looked at several times
	maxBodyBytes   = 1 << 50
	minSplice      = 4 << 10 // a page: less than that costs more through a pipe than copied
	maxSplice      = 1 << 30 // nothing is copied cheaper from there on
	maxIdle        = 1_000_000
	maxNameLength  = 64       // names go into every line of the log
	minMemory      = 32 << 20 // the program itself takes about half of it
	maxMemory      = 1 << 50
	maxClientRate  = 1 << 20 // it is against those who do next to nothing
	maxRate        = 1_000_000
)

const noLimit = "0 for no limit, or "

// validator checks what decode could read against everything else, and leaves in the model what it parsed on the
// way.
type validator struct {
	*report
	f *file
}

func validate(r *report, f *file, fileLimit uint64) {
	v := validator{r, f}
	v.server(fileLimit)
	v.defaultTimeouts()
	v.limits()
	v.parseopts(&f.Parseopts, &f.Parseopts)
	v.accessLog()
	v.routing()
	v.errorPages()
	v.resolver()
	for i := range f.Backends.items {
		v.backend(i)
	}
	for _, l := range f.Listeners.items {
		v.listener(l)
		v.guardListener(l)
		v.proxyProtocol(l)
		v.listenerSocket(l)
	}
	v.distinctNames()
	v.distinctAddresses()
	for _, rt := range f.Routes.items {
		v.route(rt)
		v.guardRoute(rt)
	}
	v.distinctRouteNames()
	v.tests()
	v.admin()
	v.nothingMissing()
	v.nothingUnused()
	for _, b := range f.Backends.items {
		v.retries(b)
	}
	for _, r := range f.Routes.items {
		v.contradictions(r)
	}
	v.everythingReached()
}

func (v validator) server(fileLimit uint64) {
	s := &v.f.Server
	between(v, s.Loops, 1, maxLoops, "0 for one a CPU, or ", decimal)
	between(v, s.MaxConnections, 1, maxConnections, "0 to derive it from the open-file limit, or ", decimal)
	if s.Name.given && s.Name.ok && s.Name.v != "" && !httpparse.ValidAuthority([]byte(s.Name.v)) {
		v.value(s.Name.place, `%s is not a name of a host: allowed are "proxy.example.org", with a port if it is needed, and "" for none`, quoted(s.Name.v))
	}
	between(v, s.DrainTimeout, minTimeout, maxTimeout, noLimit, formatDuration)
	if _, known := splices[s.Splice.v]; s.Splice.ok && !known {
		v.value(s.Splice.place, `%s is not a way to splice: allowed are "auto", "on" and "off"`, quoted(s.Splice.v))
	}
	between(v, s.SpliceThreshold, minSplice, maxSplice, "", formatSize)
	between(v, s.MemoryLimit, minMemory, maxMemory, "0 for 90 % of the cgroup's, or ", formatSize)
	v.account(s.User)
	v.account(s.Group)
	if n := s.MaxConnections; n.ok && n.v > 0 && n.v <= maxConnections && fileLimit > 0 && uint64(n.v) > fileLimit/2 {
		v.warn(n.place, "%d connections take up to %d file descriptors, one to the client and one to a server each, "+
			"and the open-file limit is %d", n.v, 2*n.v, fileLimit)
	}
}

// splices are the words for server.splice.
var splices = map[string]loop.Splice{"auto": loop.SpliceAuto, "on": loop.SpliceOn, "off": loop.SpliceOff}

func (v validator) limits() {
	l := &v.f.Limits
	between(v, l.HeaderBytes, minHeaderBytes, maxHeaderBytes, "", formatSize)
	between(v, l.HeaderFields, 1, maxFields, "", decimal)
	between(v, l.BodyBytes, 1, maxBodyBytes, noLimit, formatSize)
	between(v, l.ClientRate, 1, maxClientRate, noLimit, formatSize)
	between(v, l.ConnectionsPerClient, 1, loop.MaxConnectionsPerClient, noLimit, decimal)
}

func (v validator) accessLog() {
	a := &v.f.AccessLog
	if a.Path.ok && (a.Path.v == "" || strings.Contains(a.Path.v, "\x00")) {
		v.value(a.Path.place, `%s is not a path: allowed are a file, "stdout" and "off"`, quoted(a.Path.v))
	}
	if a.Format.ok {
		format, err := accesslog.Compile(a.Format.v)
		if err != nil {
			v.value(a.Format.place, `%v; allowed are "common", "combined", "json" and a template`, err)
		}
		a.format = format
	}
}

// scope is where a table of timeouts stands.
type scope uint8

const (
	ofListener scope = 1 << iota
	ofRoute
	ofBackend
)

// scopes says in which tables a timeout has an effect, in the order of the model: until a request has its route,
// only the listener is known, and what waits for the client is none of the backend's.
var scopes = [...]scope{
	ofListener,                       // client_header
	ofListener | ofRoute,             // client_body
	ofListener | ofRoute,             // client_write
	ofListener,                       // client_idle
	ofRoute | ofBackend,              // connect
	ofRoute | ofBackend,              // response
	ofRoute | ofBackend,              // backend_read
	ofListener | ofRoute | ofBackend, // tunnel_idle
}

// each returns the timeouts in the order of the model.
func (t *timeouts) each() [len(scopes)]*value[time.Duration] {
	return [...]*value[time.Duration]{
		&t.ClientHeader, &t.ClientBody, &t.ClientWrite, &t.ClientIdle,
		&t.Connect, &t.Response, &t.BackendRead, &t.TunnelIdle,
	}
}

func (v validator) defaultTimeouts() {
	for i, t := range v.f.Timeouts.each() {
		v.timeout(t, scopes[i])
	}
}

// timeouts checks the timeouts of a listener, a route or a backend. what is the table in words, useful the scopes
// of what can have an effect in it.
func (v validator) timeouts(table *timeouts, what string, useful func(scope) bool) {
	for i, t := range table.each() {
		if !t.given {
			continue
		}
		if !useful(scopes[i]) {
			v.key(t.place, "has no effect in %s: it belongs to %s", what, orList(homes(scopes[i])))
			continue
		}
		v.timeout(t, scopes[i])
	}
}

func (v validator) timeout(t *value[time.Duration], s scope) {
	between(v, *t, minTimeout, maxTimeout, noLimit, formatDuration)
	if t.given && t.ok && t.v == 0 && s&ofBackend == 0 {
		v.warn(t.place, "without a limit, a client that falls silent holds its connection for ever")
	}
}

// homes lists the tables that a timeout belongs to.
func homes(s scope) []string {
	list := []string{"[timeouts]"}
	if s&ofListener != 0 {
		list = append(list, "[listener.timeouts]")
	}
	if s&ofRoute != 0 {
		list = append(list, "[route.timeouts]")
	}
	if s&ofBackend != 0 {
		list = append(list, "[backend.NAME.timeouts]")
	}
	return list
}

func (v validator) listener(l *listener) {
	if l.Name.given && l.Name.ok {
		v.name(l.Name.place, l.Name.v)
	}
	switch {
	case l.Address.absent():
		v.missing(l.place, "address", "is missing: %s", listenHelp)
	case l.Address.given && l.Address.ok:
		v.bind(&l.bind, l.Address)
	}
	if !l.Protocol.ok {
		return
	}
	if l.Scheme.ok && l.Scheme.v != "http" && l.Scheme.v != "https" {
		v.value(l.Scheme.place, `%s is not a scheme: allowed are "http" and "https"`, quoted(l.Scheme.v))
	}
	if l.Scheme.given && l.Protocol.v == "sock" {
		v.key(l.Scheme.place, `has no effect with protocol = "sock", which parses nothing`)
	}
	switch l.Protocol.v {
	case "http":
		if l.Backend.given {
			v.key(l.Backend.place, `is for protocol = "sock": what an http listener receives goes by its routes`)
		}
		v.timeouts(&l.Timeouts, "a listener", func(s scope) bool { return s&ofListener != 0 })
		merged := l.Parseopts.over(&v.f.Parseopts)
		v.parseopts(&l.Parseopts, &merged)
	case "sock":
		if l.Backend.absent() {
			v.missing(l.place, "backend", `is missing: protocol = "sock" needs the name of a [backend.NAME]`)
		} else if l.Backend.given {
			l.backend = v.backendIndex(l.Backend)
			v.balancesRaw(l)
			v.sticksRaw(l)
		}
		v.timeouts(&l.Timeouts, "a sock listener, which parses nothing", func(s scope) bool { return s == ofListener|ofRoute|ofBackend })
		if l.Parseopts.given {
			v.key(l.Parseopts.place, "has no effect in a sock listener, which parses nothing")
		}
	default:
		v.value(l.Protocol.place, `%s is not a protocol: allowed are "http" and "sock"`, quoted(l.Protocol.v))
	}
}

// bind parses an address to listen on into e.
func (v validator) bind(e *endpoint, address value[string]) {
	bind, wrong := parseListen(address.v)
	if wrong != "" {
		v.value(address.place, "%s", wrong)
		return
	}
	*e = bind
}

// name checks a name that the user has chosen.
func (v validator) name(p place, name string) {
	bad := func(c rune) bool { return !isBare(c) && c != '.' }
	if name == "" || len(name) > maxNameLength || strings.ContainsFunc(name, bad) {
		v.value(p, "%s is not a name: allowed are 1 to %d letters, digits, '.', '_' and '-'", quoted(name), maxNameLength)
	}
}

func (v validator) distinctNames() {
	first := make(map[string]*listener)
	for _, l := range v.f.Listeners.items {
		if !l.Name.given || !l.Name.ok {
			continue
		}
		if other := first[l.Name.v]; other != nil {
			v.value(l.Name.place, "%s is the name of %s already (%s)", quoted(l.Name.v), other.key, v.src.at(other.Name.place))
			continue
		}
		first[l.Name.v] = l
	}
}

// distinctAddresses finds addresses that are listened on twice. The kernel would let us, and give either listener
// connections at random.
func (v validator) distinctAddresses() {
	type bound struct {
		endpoint
		place
	}
	var seen []bound
	add := func(e endpoint, p place) {
		if !e.valid() {
			return
		}
		for _, other := range seen {
			if overlap(e, other.endpoint) {
				v.value(p, "%s is listened on already by %s (%s)", quoted(e.String()), other.key, v.src.at(other.place))
				return
			}
		}
		seen = append(seen, bound{e, p})
	}
	for _, l := range v.f.Listeners.items {
		add(l.bind, l.Address.place)
	}
	if a := v.f.Admin.Address; a.ok {
		if e, wrong := parseListen(a.v); wrong == "" {
			add(e, a.place)
		}
	}
}

// overlap reports whether two addresses cannot be listened on at the same time. An address beside the unspecified
// one of its family is no conflict: the kernel prefers the more specific.
func overlap(a, b endpoint) bool {
	if a.inherit != "" || b.inherit != "" {
		return a.inherit == b.inherit
	}
	if a.path != "" || b.path != "" {
		return a.path != "" && b.path != "" && path.Clean(a.path) == path.Clean(b.path)
	}
	if a.tcp.Port() != b.tcp.Port() {
		return false
	}
	if a.tcp == b.tcp {
		return true
	}
	// The unspecified IPv6 address listens on both families.
	any6 := netip.IPv6Unspecified()
	return a.tcp.Addr().IsUnspecified() && b.tcp.Addr().IsUnspecified() && (a.tcp.Addr() == any6 || b.tcp.Addr() == any6)
}

func (v validator) route(r *route) {
	if r.Name.given && r.Name.ok {
		v.name(r.Name.place, r.Name.v)
	}
	r.listeners = v.listenerIndexes(r.Listeners)
	r.rule = v.conditions(r.conditions())
	r.rule.Listeners = r.listeners
	if r.Not.given {
		r.Not.rule = v.conditions(r.Not.conditions())
		r.rule.Not = &r.Not.rule
	}
	r.backend = -1
	excluded := r.Exclude.ok && r.Exclude.v
	switch {
	case excluded && r.Backend.given:
		v.key(r.Backend.place, "has no effect with exclude = true: what matches is not proxied")
	case r.Backend.given:
		r.backend = v.backendIndex(r.Backend)
	case !excluded && r.Exclude.ok && !r.Exclude.near && r.Backend.absent():
		v.missing(r.place, "backend", "is missing: name a [backend.NAME], or set exclude = true")
	}
	v.tunnels(r, excluded)
	v.edits(r, excluded)
	v.errorOverride(r, excluded)
	switch {
	case !excluded:
		v.timeouts(&r.Timeouts, "a route", func(s scope) bool { return s&ofRoute != 0 })
	case r.Timeouts.given:
		v.key(r.Timeouts.place, "has no effect with exclude = true: what matches is not proxied")
	}
	if excluded && r.Trace.given {
		v.key(r.Trace.place, "has no effect with exclude = true: what matches is not proxied")
	}
}

// notEmpty checks that a list of conditions is not empty, and reports whether there are any.
func (v validator) notEmpty(list value[[]value[string]], what string) bool {
	if list.given && list.ok && len(list.v) == 0 {
		v.value(list.place, "is empty, which no %s matches: leave it out to match every %s", what, what)
	}
	return list.given
}

// listenerIndexes looks the names of listeners up.
func (v validator) listenerIndexes(names value[[]value[string]]) []int {
	if !v.notEmpty(names, "listener") {
		return nil
	}
	known := make([]string, len(v.f.Listeners.items))
	unsure := v.f.Listeners.unread() // what a name seems to lack may be what could not be read
	for i, l := range v.f.Listeners.items {
		known[i] = l.Name.v
		unsure = unsure || l.Name.near || !l.Name.ok
	}
	var indexes []int
	for _, name := range names.v {
		i := slices.Index(known, name.v)
		switch {
		case i < 0 && unsure:
		case i < 0:
			v.value(name.place, "%s", unknownName(name.v, "listener", known))
		case slices.Contains(indexes, i):
			v.value(name.place, "%s is listed twice", quoted(name.v))
		case v.f.Listeners.items[i].Protocol.v == "sock":
			v.value(name.place, "%s is a sock listener, which parses no requests", quoted(name.v))
		default:
			indexes = append(indexes, i)
		}
	}
	return indexes
}

// backendIndex looks the name of a backend up; it is -1 when there is none.
func (v validator) backendIndex(name value[string]) int {
	if !name.ok {
		return -1
	}
	i := slices.Index(v.f.Backends.names, name.v)
	if i < 0 && !v.f.Backends.unread() {
		v.value(name.place, "%s", unknownName(name.v, "backend", v.f.Backends.names))
	}
	return i
}

// unknownName says that a reference leads nowhere, and what there is.
func unknownName(name, what string, known []string) string {
	known = slices.DeleteFunc(slices.Clone(known), func(s string) bool { return s == "" })
	if meant, ok := nearest(name, known); ok {
		return fmt.Sprintf("%s is not the name of a %s; did you mean %s?", quoted(name), what, quoted(meant))
	}
	const most = 10
	switch {
	case len(known) == 0:
		return fmt.Sprintf("%s is not the name of a %s: there is none", quoted(name), what)
	case len(known) > most:
		return fmt.Sprintf("%s is not the name of a %s", quoted(name), what)
	}
	return fmt.Sprintf("%s is not the name of a %s: there is %s", quoted(name), what, quotedList(known))
}

func (v validator) backend(i int) {
	b := v.f.Backends.items[i]
	v.name(b.place, v.f.Backends.names[i])
	v.balance(b)
	between(v, b.TTL, minTimeout, maxTimeout, noLimit, formatDuration)
	between(v, b.SMax, 1, maxIdle, noLimit, decimal)
	v.connections(b)
	between(v, b.DisableTime, minTimeout, maxTimeout, "0 never to rest a server, or ", formatDuration)
	v.timeouts(&b.Timeouts, "a backend", func(s scope) bool { return s&ofBackend != 0 })
	v.servers(b)
	v.health(b)
	v.sticky(b)
	v.names(b)
	v.waiting(b)
	v.ready(b)
	v.recovery(b)
	v.failing(b)
	v.ejection(b)
	v.sendProxy(b)
	v.backendSocket(b)
}

func (v validator) servers(b *backend) {
	switch {
	case b.Servers.given && b.Server.given:
		v.key(b.Server.place, "a backend has either servers or [[%s.server]], not both", b.key)
	case b.Servers.absent() && b.Server.absent():
		v.missing(b.place, "servers", "is missing: list at least one address, or add [[%s.server]]", b.key)
	case b.Servers.given && b.Servers.ok && len(b.Servers.v) == 0:
		v.value(b.Servers.place, "is empty: list at least one address")
	case b.Server.ok && len(b.Server.items) == 0:
		v.key(b.Server.place, "is empty: add at least one [[%s.server]]", b.key)
	}
	for _, address := range b.Servers.v {
		v.target(b, address, target{weight: 1, max: int(b.Max.v), sendProxy: b.sendsProxy(value[string]{})})
	}
	for _, s := range b.Server.items {
		if s.Address.absent() {
			v.missing(s.place, "address", "is missing: %s", serverHelp)
		}
		between(v, s.Weight, 1, balance.MaxWeight, "", decimal)
		if s.Address.given && s.Address.ok {
			options := v.serverOptions(s)
			options.sendProxy = b.sendsProxy(s.SendProxy)
			options.max = v.serverMax(b, s)
			v.target(b, s.Address, options)
		}
	}
}

// target adds a server to a backend.
func (v validator) target(b *backend, address value[string], options target) {
	t, wrong := parseServer(address.v)
	if wrong != "" {
		v.value(address.place, "%s", wrong)
		return
	}
	t.place, t.weight, t.set, t.status = address.place, options.weight, options.set, options.status
	t.route, t.redirect, t.root = options.route, options.redirect, options.root
	t.sendProxy = options.sendProxy
	t.max = options.max
	same := func(other *target) bool {
		return other.endpoint == t.endpoint && other.host == t.host && other.port == t.port && other.service == t.service
	}
	if i := slices.IndexFunc(b.targets, same); i >= 0 {
		v.value(address.place, "%s is listed twice (%s)", quoted(address.v), v.src.at(b.targets[i].place))
		return
	}
	b.targets = append(b.targets, &t)
}

func (v validator) admin() {
	a := &v.f.Admin
	if !a.given {
		return
	}
	switch {
	case a.Address.absent():
		v.missing(a.place, "address", "is missing: %s", listenHelp)
	case a.Address.ok:
		v.bind(new(endpoint), a.Address)
	}
	v.key(a.place, "is not available in this version: leave it out")
}

// nothingMissing checks for the three things without which nothing can be served.
func (v validator) nothingMissing() {
	f := v.f
	if f.Listeners.absent() || f.Listeners.ok && len(f.Listeners.items) == 0 {
		v.missing(f.place, "listener", "is missing: at least one [[listener]] with an address is needed")
	}
	isHTTP := func(l *listener) bool { return l.Protocol.v != "sock" }
	routed := len(f.Listeners.items) == 0 || slices.ContainsFunc(f.Listeners.items, isHTTP)
	if routed && (f.Routes.absent() || f.Routes.ok && len(f.Routes.items) == 0) {
		v.missing(f.place, "route", "is missing: at least one [[route]] with a backend is needed")
	}
	if f.Backends.absent() || f.Backends.ok && len(f.Backends.items) == 0 {
		v.missing(f.place, "backend", "is missing: at least one [backend.NAME] with servers is needed")
	}
}

// nothingUnused warns of backends and listeners that no request can get to. It is silent where a reference is
// wrong: that may be the one that is missing.
func (v validator) nothingUnused() {
	used := make([]bool, len(v.f.Backends.items))
	routed := make([]bool, len(v.f.Listeners.items))
	for _, r := range v.f.Routes.items {
		if r.Backend.given && r.backend < 0 || r.Listeners.given && len(r.listeners) != len(r.Listeners.v) {
			return
		}
		if r.backend >= 0 {
			used[r.backend] = true
		}
		for i := range routed {
			routed[i] = routed[i] || !r.Listeners.given || slices.Contains(r.listeners, i)
		}
	}
	for i, b := range v.f.Backends.items {
		isItsOwn := func(l *listener) bool { return l.Backend.ok && l.Backend.v == v.f.Backends.names[i] }
		switch {
		case used[i]:
		case slices.ContainsFunc(v.f.Listeners.items, isItsOwn):
			b.raw = true
			v.nothingOfRequests(b)
		default:
			v.warn(b.place, "no route leads to this backend")
		}
	}
	for i, l := range v.f.Listeners.items {
		if !routed[i] && len(v.f.Routes.items) > 0 && l.Protocol.v == "http" {
			v.warn(l.place, "no route takes requests of this listener: all of them get 404")
		}
	}
}

// onlyRaw is why what is for requests has no effect in a backend.
const onlyRaw = "only sock listeners lead to this backend, and they parse nothing"

// nothingOfRequests warns of what a backend has for requests, where only sock listeners lead to it.
func (v validator) nothingOfRequests(b *backend) {
	for _, x := range []struct {
		given bool
		place
	}{
		{b.FailOnStatus.given, b.FailOnStatus.place},
		{b.Ping.given, b.Ping.place},
	} {
		if x.given {
			v.warn(x.place, "has no effect: %s", onlyRaw)
		}
	}
	for _, on := range b.RetryOn.v {
		if on.v != "" && strings.Trim(on.v, "0123456789-") == "" {
			v.warn(on.place, "%s has no effect: %s", quoted(on.v), onlyRaw)
		}
	}
	if b.Balance.v == "ewma" {
		v.warn(b.Balance.place, `"ewma" goes by requests under way alone: %s, so that there is no latency to measure: "random" says the same`, onlyRaw)
	}
}

func subset(part, whole []int) bool {
	return !slices.ContainsFunc(part, func(i int) bool { return !slices.Contains(whole, i) })
}

// between checks a number against its range. zero says what 0 means; it is empty where 0 is as wrong as any other
// value outside of the range.
func between[T int64 | byteCount | time.Duration](v validator, x value[T], low, high T, zero string, format func(T) string) {
	if !x.given || !x.ok || low <= x.v && x.v <= high || x.v == 0 && zero != "" {
		return
	}
	what := "small"
	if x.v > high {
		what = "large"
	}
	v.value(x.place, "%s is too %s: allowed are %s%s to %s", x.text, what, zero, format(low), format(high))
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
