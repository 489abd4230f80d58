package configs

import (
	"slices"
	"strings"
	"time"

	"millrace/internal/health"
)

// The ranges of what is said of health checks.
const (
	minCheckInterval = 10 * time.Millisecond // a check makes a connection
	maxCheckInterval = 24 * time.Hour
	maxCheckCount    = 1000
)

// checkMethods are the safe methods that a server is expected to know (RFC 9110, 9.2.1).
var checkMethods = []string{"GET", "HEAD", "OPTIONS"}

// goodStatuses are those of a server without a list of its own.
var goodStatuses = health.StatusRange{First: 200, Last: 399}

// health checks how servers are asked whether they are up. The targets are known.
func (v validator) health(b *backend) {
	h := &b.Health
	if !h.given {
		return
	}
	if h.Type.ok && h.Type.v != "http" && h.Type.v != "tcp" {
		v.value(h.Type.place, `%s is not a kind of check: allowed are "http" and "tcp"`, quoted(h.Type.v))
	}
	if h.Type.ok && h.Type.v == "tcp" {
		for _, x := range []struct {
			given bool
			place
		}{
			{h.Method.given, h.Method.place},
			{h.Path.given, h.Path.place},
			{h.Host.given, h.Host.place},
			{h.Status.given, h.Status.place},
			{h.Body.given, h.Body.place},
		} {
			if x.given {
				v.key(x.place, `has no effect with type = "tcp", which sends nothing`)
			}
		}
	}
	v.healthRequest(h)
	between(v, h.Port, 1, 65535, "0 for the server's own, or ", decimal)
	between(v, h.Interval, minCheckInterval, maxCheckInterval, "", formatDuration)
	between(v, h.Jitter, minTimeout, maxCheckInterval, "0 for none, or ", formatDuration)
	between(v, h.Timeout, minTimeout, maxCheckInterval, "", formatDuration)
	between(v, h.Rise, 1, maxCheckCount, "", decimal)
	between(v, h.Fall, 1, maxCheckCount, "", decimal)
	if h.Port.ok && h.Port.v > 0 && b.allUnix() {
		v.warn(h.Port.place, "has no effect: each server of this backend is a unix socket, which has no port; leave it out")
	}
}

// allUnix reports whether all servers are unix sockets. It does not where one of them could not be read.
func (b *backend) allUnix() bool {
	unread := b.Servers.near || b.Servers.given && !b.Servers.ok || b.Server.unread() || len(b.targets) < len(b.Servers.v)+len(b.Server.items)
	return !unread && len(b.targets) > 0 && !slices.ContainsFunc(b.targets, func(t *target) bool { return t.path == "" })
}

// healthRequest checks what an http check sends and what it expects.
func (v validator) healthRequest(h *healthCheck) {
	if m := h.Method; m.given && m.ok && !slices.Contains(checkMethods, m.v) {
		v.value(m.place, `%s is not a method for a check, which must not change anything: allowed are %s`, quoted(m.v), quotedList(checkMethods))
	}
	if h.Body.given && h.Body.ok && h.Body.v != "" && h.Method.v == "HEAD" {
		v.key(h.Body.place, `has no effect with method = "HEAD", whose answers have no body`)
	}
	visible := func(s string) bool { return !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }) }
	if p := h.Path; p.given && p.ok && (!strings.HasPrefix(p.v, "/") || !visible(p.v) || strings.Contains(p.v, "#")) {
		v.value(p.place, "%s is not a path: allowed is what a request line can have, beginning with /, percent-encoded where needed", quoted(p.v))
	}
	if host := h.Host; host.given && host.ok && (!visible(host.v) || strings.ContainsAny(host.v, "/?#@\\")) {
		v.value(host.place, `%s is not a host: allowed are a name or an address, with or without a port, and "" for the server's address`, quoted(host.v))
	}
	if !h.Status.given {
		h.statuses = []health.StatusRange{goodStatuses}
	} else if h.Status.ok && len(h.Status.v) == 0 {
		v.value(h.Status.place, "is empty, so that no answer would be good: leave it out for %v", goodStatuses)
	}
	for _, s := range h.Status.v {
		r, err := health.ParseStatusRange(s.v)
		if err != nil {
			v.value(s.place, "%v", err)
		}
		h.statuses = append(h.statuses, r)
	}
}

// check is nil where servers are not checked.
func (h *healthCheck) check() *health.Check {
	if !h.given {
		return nil
	}
	return &health.Check{
		HTTP:     h.Type.v == "http",
		Method:   h.Method.v,
		Path:     h.Path.v,
		Host:     h.Host.v,
		Statuses: h.statuses,
		Body:     h.Body.v,
		Port:     uint16(h.Port.v),
		Interval: h.Interval.v,
		Jitter:   h.Jitter.v,
		Timeout:  h.Timeout.v,
		Rise:     int(h.Rise.v),
		Fall:     int(h.Fall.v),
	}
}
