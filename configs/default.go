package configs

import "time"

// setDefaults fills in what the file leaves open. What depends on other keys is left open still: the timeouts of
// listeners, routes and backends, which compilation takes from [timeouts], and conditions of routes, which do
// not restrict a route that does not have them.
func (f *file) setDefaults() {
	setDefault(&f.Server.Loops, 0)
	setDefault(&f.Server.MaxConnections, 0)
	setDefault(&f.Server.DrainTimeout, 30*time.Second)
	setDefault(&f.Server.Splice, "auto")
	setDefault(&f.Server.SpliceThreshold, 64<<10)
	setDefault(&f.Server.MemoryLimit, 0)
	setDefault(&f.Server.Sandbox, false)
	setDefault(&f.Server.Name, "")

	setDefault(&f.Timeouts.ClientHeader, 10*time.Second)
	setDefault(&f.Timeouts.ClientBody, 30*time.Second)
	setDefault(&f.Timeouts.ClientWrite, 60*time.Second)
	setDefault(&f.Timeouts.ClientIdle, 75*time.Second)
	setDefault(&f.Timeouts.Connect, 8*time.Second)
	setDefault(&f.Timeouts.Response, 60*time.Second)
	setDefault(&f.Timeouts.BackendRead, 60*time.Second)
	setDefault(&f.Timeouts.TunnelIdle, time.Hour)

	setDefault(&f.Limits.HeaderBytes, 32<<10)
	setDefault(&f.Limits.HeaderFields, 128)
	setDefault(&f.Limits.BodyBytes, 0)
	setDefault(&f.Limits.ClientRate, 240)
	setDefault(&f.Limits.ConnectionsPerClient, 0)

	f.Parseopts.setDefaults()

	setDefault(&f.AccessLog.Path, "stdout")
	setDefault(&f.AccessLog.Format, "combined")

	f.Resolver.setDefaults()

	for _, l := range f.Listeners.items {
		if l.Address.ok {
			setDefault(&l.Name, l.Address.v)
		}
		setDefault(&l.Protocol, "http")
		setDefault(&l.Scheme, "http")
		setDefault(&l.ProxyProtocol, "off")
		l.Socket.setDefaults()
	}
	for _, r := range f.Routes.items {
		setDefault(&r.Exclude, false)
		setDefault(&r.Trace, false)
		setDefault(&r.Upgrade, protocols{})
		setDefault(&r.Connect, false)
		setDefault(&r.PreserveHost, true)
		setDefault(&r.XForwarded, "append")
		setDefault(&r.Via, "off")
		setDefault(&r.RequestID, "")
		setDefault(&r.NoCanon, false)
		setDefault(&r.HTTPSRemap, false)
		setDefault(&r.ReverseRefresh, false)
	}
	for _, t := range f.Tests.items {
		setDefault(&t.Client, defaultTestClient)
	}
	for _, p := range f.Pages.items {
		setDefault(&p.ContentType, "text/html; charset=utf-8")
		setDefault(&p.ErrorsOf, "all")
	}
	for _, b := range f.Backends.items {
		setDefault(&b.Balance, "fair")
		setDefault(&b.Resolve, "start")
		setDefault(&b.SplitHostnames, true)
		setDefault(&b.TTL, 60*time.Second)
		setDefault(&b.SMax, 0)
		setDefault(&b.MinIdle, 0)
		setDefault(&b.Max, 0)
		setDefault(&b.Queue, defaultQueue)
		setDefault(&b.QueueTimeout, defaultQueueTimeout)
		setDefault(&b.QueueOrder, defaultQueueOrder)
		setDefault(&b.ServerWait, 0)
		setDefault(&b.MaxRequests, 0)
		setDefault(&b.MaxAge, 0)
		setDefault(&b.DisableReuse, false)
		setDefault(&b.DisableTime, time.Second)
		setDefault(&b.SlowStart, 0)
		setDefault(&b.ForceRecovery, false)
		setDefault(&b.MaxFails, 1)
		setDefault(&b.FailOnTimeout, false)
		setDefault(&b.MaxAttempts, 0)
		setDefault(&b.RetryBudget, defaultRetryBudget)
		setDefault(&b.Ping, 0)
		b.setStickyDefaults()
		setDefault(&b.SendProxy, "off")
		setDefault(&b.SendProxyTLV, false)
		b.Socket.setDefaults()
		setDefault(&b.Health.Type, "http")
		setDefault(&b.Health.Method, "GET")
		setDefault(&b.Health.Path, "/")
		setDefault(&b.Health.Host, "")
		setDefault(&b.Health.Body, "")
		setDefault(&b.Health.Port, 0)
		setDefault(&b.Health.Interval, 5*time.Second)
		setDefault(&b.Health.Jitter, 500*time.Millisecond)
		setDefault(&b.Health.Timeout, 2*time.Second)
		setDefault(&b.Health.Rise, 2)
		setDefault(&b.Health.Fall, 3)
		b.Ejection.setDefaults()
		for _, s := range b.Server.items {
			setDefault(&s.Weight, 1)
			setDefault(&s.LBSet, 0)
		}
	}
}

func setDefault[T any](x *value[T], v T) {
	if !x.given {
		x.v, x.ok = v, true
	}
}
