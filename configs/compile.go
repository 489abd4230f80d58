package configs

import (
	"slices"
	"time"

	"millrace/balance"
	"millrace/internal/resolve"
	"millrace/loop"
	"millrace/remap"
)

// compiler makes the plan of a file without problems.
type compiler struct {
	*report
	f    *file
	plan *loop.Plan
	// timeouts holds one of each: routes times listeners are many, and nearly all have the same.
	timeouts map[loop.Timeouts]*loop.Timeouts
	servers  int // so far, over all backends
	rates    int // limits of requests, so far
}

func compile(r *report, f *file, resolver Resolver) *loop.Plan {
	c := compiler{report: r, f: f, timeouts: make(map[loop.Timeouts]*loop.Timeouts)}
	c.plan = &loop.Plan{
		Loops:          int(f.Server.Loops.v),
		MaxConnections: int(f.Server.MaxConnections.v),
		DrainTimeout:   f.Server.DrainTimeout.v,

		Splice:          splices[f.Server.Splice.v],
		SpliceThreshold: int64(f.Server.SpliceThreshold.v),
		Limits: loop.Limits{
			HeaderBytes:  int(f.Limits.HeaderBytes.v),
			HeaderFields: int(f.Limits.HeaderFields.v),
			BodyBytes:    int64(f.Limits.BodyBytes.v),
			ClientRate:   int64(f.Limits.ClientRate.v),

			ConnectionsPerClient: int(f.Limits.ConnectionsPerClient.v),
		},
		MemoryLimit: int64(f.Server.MemoryLimit.v),
		Privileges: loop.Privileges{
			User:    f.Server.User.v,
			Group:   f.Server.Group.v,
			Sandbox: f.Server.Sandbox.v,
		},
	}
	if f.AccessLog.Path.v != "off" {
		c.plan.AccessLog = &loop.AccessLog{Path: f.AccessLog.Path.v, Format: f.AccessLog.format}
	}
	for i, b := range f.Backends.items {
		c.plan.Backends = append(c.plan.Backends, c.backend(f.Backends.names[i], b))
	}
	c.plan.Resolver = resolver
	for i, l := range f.Listeners.items {
		c.plan.Listeners = append(c.plan.Listeners, c.listener(i, l))
	}
	rules := make([]remap.Rule, len(f.Routes.items))
	for i, r := range f.Routes.items {
		rules[i] = r.rule
		c.plan.Routes = append(c.plan.Routes, c.route(r))
	}
	c.plan.Table = remap.New(rules, c.f.Routing.extensions...)
	c.plan.Rewrites = remap.NewRewrites(c.f.Routing.rewrites)
	c.errorPages()
	return c.plan
}

func (c *compiler) listener(index int, l *listener) *loop.Listener {
	opts := l.Parseopts.over(&c.f.Parseopts)
	listener := &loop.Listener{
		Index:    index,
		Name:     l.Name.v,
		Address:  l.bind.tcp,
		Path:     l.bind.path,
		Inherit:  l.bind.inherit,
		Timeouts: c.effective(c.f.timeoutsOf(l, nil)...),
		Parse:    opts.compile(),
		Scheme:   l.Scheme.v,
		Position: c.src.at(l.Address.place),
		Guard:    c.guard(l.guard),
		Trust:    l.trust.compile(),

		ProxyProtocol: proxyProtocols[l.ProxyProtocol.v],
		Backlog:       int(l.Socket.Backlog.v),
		Socket:        c.listenerSocket(&l.Socket),
	}
	if l.Protocol.v == "sock" {
		listener.Backend = c.plan.Backends[l.backend]
	}
	return listener
}

func (c *compiler) backend(name string, b *backend) *loop.Backend {
	backend := &loop.Backend{
		Name: name, IdleTTL: b.TTL.v, IdleMax: int(b.SMax.v), MinIdle: int(b.MinIdle.v), Reuse: b.reuse(), Health: b.Health.check(), Key: b.hashKey,
		FailOnStatus: b.failOn, FailOnTimeout: b.FailOnTimeout.v, RetryOn: b.retryOn, RetryStatus: b.retryStatus, MaxAttempts: int(b.MaxAttempts.v),
	}
	if b.Ejection.given && b.Ejection.ErrorRate.v > 0 {
		backend.ErrorStatus = b.Ejection.errors
	}
	backend.Ping = b.Ping.v
	if b.RetryBudget.v > 0 {
		backend.Budget = loop.NewRetryBudget(int(b.RetryBudget.v))
	}
	if d := b.DisableTime.v; d > 0 {
		backend.RetryAfter = int((d + time.Second - 1) / time.Second)
	}
	b.socket = c.backendSocket(&b.Socket)
	found := make(map[resolve.Query][]resolve.Record)
	for q, a := range c.f.found {
		found[q] = a.Records
	}
	c.sticky(b, backend)
	var weighted []balance.Server
	backend.Servers, weighted = b.members(found)
	for _, s := range backend.Servers {
		s.ID = c.servers
		c.servers++
	}
	backend.Names = b.names(c.f.found)
	group, err := balance.New(weighted, b.balanceOptions())
	if err != nil {
		// What a single key can get wrong has been checked; what remains is for the balancer to judge.
		c.key(b.place, "cannot be balanced: %v", err)
	}
	backend.Group = group
	backend.Limit = b.limit()
	if backend.MinIdle > 0 {
		backend.ConnectTimeout = c.effective(&b.Timeouts).Connect
	}
	return backend
}

// members returns a backend's servers, and what the balance has to know of each, when its names have these records. It
// is called again whenever they change, by several goroutines.
func (b *backend) members(found map[resolve.Query][]resolve.Record) (servers []*loop.BackendServer, weighted []balance.Server) {
	for _, t := range b.servers(found) {
		e := t.endpoint
		servers = append(servers, &loop.BackendServer{
			Name: e.String(), Host: t.authority(e), Root: t.root, Address: e.tcp, Path: e.path,
			SendProxy: t.sendProxy, SendProxyTLV: b.SendProxyTLV.v, Socket: b.socket, Max: t.max,
		})
		weighted = append(weighted, t.member(e))
	}
	b.nameSessions(servers, weighted)
	return servers, weighted
}

// servers returns what a backend's targets come to when their names have these records, each endpoint once.
func (b *backend) servers(found map[resolve.Query][]resolve.Record) (list []*target) {
	seen := make(map[endpoint]bool)
	for _, t := range b.targets {
		for _, t := range t.servers(found) {
			// A name may well share an address with another one, or with an entry that is an address.
			if !seen[t.endpoint] {
				seen[t.endpoint] = true
				list = append(list, t)
			}
		}
	}
	return list
}

func (c *compiler) route(r *route) *loop.Route {
	route := &loop.Route{Name: r.Name.v, Timeouts: make([]*loop.Timeouts, len(c.f.Listeners.items)), Trace: r.Trace.v, Guard: c.guard(r.guard)}
	if r.backend >= 0 {
		route.Backend = c.plan.Backends[r.backend]
	}
	if u := r.Upgrade.v; u.any || len(u.list) > 0 {
		route.Upgrade = &loop.Upgrade{Any: u.any}
		for _, p := range u.list {
			route.Upgrade.Protocols = append(route.Upgrade.Protocols, p.v)
		}
	}
	route.Connect = r.Connect.v
	route.ErrorOverride = r.override
	c.serverURLs(r)
	route.Edits = remap.NewEdits(r.edits)
	for i, l := range c.f.Listeners.items {
		route.Timeouts[i] = c.effective(c.f.timeoutsOf(l, r)...)
	}
	return route
}

// timeoutsOf returns the tables of timeouts that are for a listener, or for a request that came by it and took route r, the
// closest first.
func (f *file) timeoutsOf(l *listener, r *route) []*timeouts {
	switch {
	case r != nil && r.backend >= 0:
		return []*timeouts{&r.Timeouts, &f.Backends.items[r.backend].Timeouts, &l.Timeouts}
	case r != nil:
		return []*timeouts{&r.Timeouts, &l.Timeouts}
	case l.Protocol.v == "sock":
		return []*timeouts{&f.Backends.items[l.backend].Timeouts, &l.Timeouts}
	}
	return []*timeouts{&l.Timeouts}
}

// merged returns what is in force under several tables, the closest first. The defaults are behind them all.
func (f *file) merged(tables ...*timeouts) timeouts {
	merged := f.Timeouts
	for _, table := range slices.Backward(tables) {
		for i, t := range table.each() {
			if t.given {
				*merged.each()[i] = *t
			}
		}
	}
	return merged
}

// effective returns the timeouts in force under several tables, the closest first.
func (c *compiler) effective(tables ...*timeouts) *loop.Timeouts {
	merged := c.f.merged(tables...)
	t := loop.Timeouts{
		ClientHeader: merged.ClientHeader.v,
		ClientBody:   merged.ClientBody.v,
		ClientWrite:  merged.ClientWrite.v,
		ClientIdle:   merged.ClientIdle.v,
		Connect:      merged.Connect.v,
		Response:     merged.Response.v,
		BackendRead:  merged.BackendRead.v,
		TunnelIdle:   merged.TunnelIdle.v,
	}
	if same := c.timeouts[t]; same != nil {
		return same
	}
	c.timeouts[t] = &t
	return &t
}
