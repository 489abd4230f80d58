package configs

import (
	"slices"
	"time"

	"millrace/loop"
)

// The ranges of what is said of connections to servers.
const (
	// minRequests: one request a connection is disable_reuse.
	minRequests = 2
	maxMinIdle  = 10_000    // they take descriptors that clients would need
	maxMax      = 1_000_000 // as of smax
	maxQueue    = 1_000_000

	defaultQueue        = 1024
	defaultQueueTimeout = 10 * time.Second
	defaultQueueOrder   = "fifo"

	maxRequests = 1_000_000_000
)

// noBuffer is said of Apache's iobuffersize.
const noBuffer = "has no meaning here: a response goes on as it comes, through one buffer a loop or a pipe (server.splice); leave it out"

// foreign are keys of a backend in other servers' files, as plain spells them, that have another name here or no
// meaning.
var foreign = map[string]string{
	"acquire":              "is queue_timeout here; queue is how many may wait",
	"algorithm":            "is balance here",
	"backup":               "is status of a server here: \"standby\"",
	"balancer":             "is balance here",
	"connecttimeout":       "is connect of [backend.NAME.timeouts] here",
	"connectiontimeout":    "is connect of [backend.NAME.timeouts] here",
	"down":                 "is status of a server here: \"disabled\"",
	"lbfactor":             "is weight of a server here, a whole number",
	"lbmethod":             "is balance here",
	"loadfactor":           "is weight of a server here, a whole number: factors of 1.5 and 1 are weights of 3 and 2",
	"maxkeepaliverequests": "is max_requests here",
	"readtimeout":          "is response and backend_read of [backend.NAME.timeouts] here",
	"responsetimeout":      "is response of [backend.NAME.timeouts] here",
	"worker":               "is [[backend.NAME.server]] here",
	"member":               "is [[backend.NAME.server]] here",
	"timeout":              "of a balancer is server_wait_timeout here, and of a server timeouts.response, timeouts.backend_read and timeouts.connect",
	"workerwaittimeout":    "is server_wait_timeout here",
	"backlog":              "is queue here",
	"maxbacklogsize":       "is queue here",
	"min":                  "is min_idle here, which is for connections and not for room for them",
	"maxconn":              "is max here",
	"maxpoolsize":          "is max here",
	"maxqueue":             "is queue here",
	"check":                "is the table [backend.NAME.health] here",
	"healthcheck":          "is the table [backend.NAME.health] here",
	"failtimeout":          "is disable_time here",
	"retry":                "is disable_time here",
	"enablereuse":          "is what is done unless disable_reuse = true: leave it out",
	"iobuffer":             noBuffer,
	"iobuffersize":         noBuffer,
	"receivebuffersize":    "is receive_buffer of [backend.NAME.socket] here",
}

// connections checks how connections to servers are made, and for how long they are used.
func (v validator) connections(b *backend) {
	if m := b.MaxRequests; m.given && m.ok && m.v == 1 {
		v.value(m.place, "1 is a connection for each request: write disable_reuse = true")
	} else {
		between(v, m, minRequests, maxRequests, noLimit, decimal)
	}
	between(v, b.MinIdle, 1, maxMinIdle, "0 for none, or ", decimal)
	between(v, b.MaxAge, minTimeout, maxTimeout, noLimit, formatDuration)
	if !b.DisableReuse.v {
		return
	}
	for _, x := range []struct {
		given bool
		place
	}{
		{b.TTL.given, b.TTL.place},
		{b.SMax.given, b.SMax.place},
		{b.MinIdle.given, b.MinIdle.place},
		{b.MaxRequests.given, b.MaxRequests.place},
		{b.MaxAge.given, b.MaxAge.place},
	} {
		if x.given {
			v.key(x.place, "has no effect with disable_reuse = true: no connection is kept")
		}
	}
}

// waiting checks how many connections servers may have, and how requests wait for one, or for a server. The targets are
// known.
func (v validator) waiting(b *backend) {
	between(v, b.Max, 1, maxMax, noLimit, decimal)
	between(v, b.Queue, 1, maxQueue, "0 for none, or ", decimal)
	between(v, b.QueueTimeout, minTimeout, maxTimeout, noLimit, formatDuration)
	between(v, b.ServerWait, minTimeout, maxTimeout, "0 for not at all, or ", formatDuration)
	if o := b.QueueOrder; o.given && o.ok && o.v != "fifo" && o.v != "adaptive" {
		v.value(o.place, `%s is not an order: allowed are "fifo" and "adaptive"`, quoted(o.v))
	}
	if w := b.ServerWait; w.v > 0 && b.DisableTime.ok && b.DisableTime.v == 0 && !b.Health.given && len(b.targets) > 0 && !b.hasNames() {
		v.warn(w.place, `has no effect with disable_time = "0": no server ever rests`)
	}
	unread := func(m value[int64]) bool { return m.near || m.given && !m.ok }
	limited := b.limited() || unread(b.Max) || slices.ContainsFunc(b.Server.items, func(s *backendServer) bool { return unread(s.Max) })
	waits := b.ServerWait.v > 0 || b.ServerWait.near || b.ServerWait.given && !b.ServerWait.ok
	none := b.Queue.ok && b.Queue.v == 0
	// A value that is the default does no harm.
	for _, k := range []struct {
		given bool
		place
		effect  bool
		without string
	}{
		{b.Queue.given && b.Queue.v != defaultQueue, b.Queue.place, limited || waits, "max or server_wait_timeout"},
		{b.QueueTimeout.given && b.QueueTimeout.v != defaultQueueTimeout, b.QueueTimeout.place, limited, "max"},
		{b.QueueOrder.given && b.QueueOrder.v != defaultQueueOrder, b.QueueOrder.place, limited || waits, "max or server_wait_timeout"},
		{b.ServerWait.v > 0, b.ServerWait.place, true, ""},
	} {
		switch {
		case !k.given:
		case !k.effect:
			v.key(k.place, "has no effect without %s: nobody has to wait", k.without)
		case none && k.place != b.Queue.place:
			v.key(k.place, "has no effect with queue = 0: nobody waits")
		}
	}
}

// ready checks min_idle against the limits of the servers. The targets are known.
func (v validator) ready(b *backend) {
	if m := b.MinIdle; m.given && m.v > 0 && len(b.targets) > 0 {
		private := b.Socket.Transparent.v || !slices.ContainsFunc(b.targets, func(t *target) bool { return t.sendProxy == 0 })
		if private {
			v.key(m.place, "has no effect with send_proxy or transparent = true: each connection is made for one client")
		}
	}
	for _, t := range b.targets {
		if m := b.MinIdle; m.given && m.ok && t.max > 0 && int(m.v) > t.max {
			v.value(m.place, "%d connections cannot be idle where %d is the max of a server (%s)", m.v, t.max, v.src.at(t.place))
			return
		}
	}
}

// serverMax is how many connections a server may have.
func (v validator) serverMax(b *backend, s *backendServer) int {
	between(v, s.Max, 1, maxMax, noLimit, decimal)
	if s.Max.given {
		return int(s.Max.v)
	}
	return int(b.Max.v)
}

// limited reports whether any server has a limit.
func (b *backend) limited() bool {
	return slices.ContainsFunc(b.targets, func(t *target) bool { return t.max > 0 })
}

// limit is nil where nobody has to wait.
func (b *backend) limit() *loop.Limit {
	if !b.limited() && b.ServerWait.v == 0 {
		return nil
	}
	return &loop.Limit{
		Queue: int(b.Queue.v), QueueTimeout: b.QueueTimeout.v, Adaptive: b.QueueOrder.v == "adaptive", ServerWait: b.ServerWait.v,
	}
}

// reuse is nil where connections carry as many requests as come.
func (b *backend) reuse() *loop.Reuse {
	switch {
	case b.DisableReuse.v:
		return &loop.Reuse{MaxRequests: 1}
	case b.MaxRequests.v == 0 && b.MaxAge.v == 0:
		return nil
	}
	return &loop.Reuse{MaxRequests: int(b.MaxRequests.v), MaxAge: b.MaxAge.v}
}
