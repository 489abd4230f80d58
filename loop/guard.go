package loop

import (
	"bytes"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"

	"millrace/remap"
)

// AddrSet is a set of addresses, made of prefixes.
type AddrSet struct{ table bart.Lite }

// NewAddrSet returns the set of all addresses in any of the prefixes, of which there is at least one.
func NewAddrSet(prefixes ...netip.Prefix) *AddrSet {
	s := new(AddrSet)
	for _, p := range prefixes {
		s.table.Insert(p)
	}
	return s
}

// Contains reports whether a is in the set. No set contains the zero address.
func (s *AddrSet) Contains(a netip.Addr) bool { return s.table.Lookup(a) }

// Guard says who may come in, and how often. Nil is no restriction, as are nil fields.
type Guard struct {
	// Deny holds those who may not. It goes before Allow.
	Deny *AddrSet
	// Allow holds those who may, if it is not nil.
	Allow *AddrSet
	// Rate limits requests.
	Rate *Rate
}

// admits reports whether a client at a may come in. One without an address, on a unix socket, is in neither list.
func (g *Guard) admits(a netip.Addr) bool {
	return (g.Deny == nil || !g.Deny.Contains(a)) && (g.Allow == nil || g.Allow.Contains(a))
}

// Trust says which peers of a listener are proxies that are believed when they say whom they act for.
type Trust struct {
	// Proxies holds their addresses. It may be nil.
	Proxies *AddrSet
	// Unix trusts whoever connects to a unix socket.
	Unix bool
	// Chain is the field that they say it in.
	Chain remap.Chain
}

// trusts reports whether a peer is believed. It may have no address, on a unix socket.
func (t *Trust) trusts(peer netip.Addr) bool {
	if !peer.IsValid() {
		return t.Unix
	}
	return t.Proxies != nil && t.Proxies.Contains(peer)
}

// Contains makes Trust a remap.Proxies.
func (t *Trust) Contains(a netip.Addr) bool { return t.Proxies != nil && t.Proxies.Contains(a) }

// admit decides about a connection that has just been accepted. What it gets is where the connection was counted, or
// nil.
//
// A trusted proxy's connection is not its clients': those are judged request by request.
func (l *Loop) admit(lis *Listener, peer netip.Addr) (counted *clientSlot, ok bool) {
	if lis.Trust != nil && lis.Trust.trusts(peer) {
		return nil, true
	}
	if lis.ProxyProtocol == ProxyRequired {
		l.srv.unproxied.say(l.srv, errUntrusted, peer, l.now)
		return nil, false
	}
	return l.admitClient(lis, peer)
}

// admitClient decides about a connection of a client, whether it has come by itself or is one that a PROXY header names.
func (l *Loop) admitClient(lis *Listener, peer netip.Addr) (counted *clientSlot, ok bool) {
	if !l.lets(lis, peer) {
		return nil, false
	}
	if t := l.srv.clients; t != nil && peer.IsValid() {
		if counted, ok = t.take(peer); !ok {
			l.srv.refuse(&l.srv.crowded, l.now)
			return nil, false
		}
	}
	return counted, true
}

// lets reports whether a listener takes the connection of a client at an address, by its allow and deny.
func (l *Loop) lets(lis *Listener, client netip.Addr) bool {
	if g := lis.Guard; g != nil && !g.admits(client) {
		l.srv.refuse(&l.srv.denied, l.now)
		return false
	}
	return true
}

// refuse counts a connection that was closed when it had been accepted, and says so in the process log at most once in
// starvedQuiet: there is no request that the access log could show.
func (srv *Server) refuse(why *atomic.Int64, now Time) {
	why.Add(1)
	last := srv.refusedSaid.Load()
	if last != 0 && int64(now)-last < int64(starvedQuiet) || !srv.refusedSaid.CompareAndSwap(last, int64(now)) {
		return
	}
	srv.log.Warn("connections are refused; the counts are since the start",
		"by_allow_and_deny", srv.denied.Load(), "by_connections_per_client", srv.crowded.Load())
}

// client is who a request comes from where that is not whom the connection comes from: the peer is a trusted proxy.
type client struct {
	addr     netip.Addr
	chainEnd int // see remap.RequestFacts
	textLen  uint8
	text     [45]byte
}

// believe takes the client of the request whose head has just been read from what the trusted peer says.
func (s *session) believe() {
	c := s.behind
	head := s.in.b[:s.x.head]
	addr, at := s.listener.Trust.Chain.Client(head, &s.x.req.Head, s.listener.Trust)
	*c = client{addr: addr}
	if !addr.IsValid() {
		return
	}
	c.textLen = uint8(len(addr.AppendTo(c.text[:0])))
	if s.listener.Trust.Chain == remap.ChainXForwardedFor {
		c.chainEnd = at
	}
}

// clientIP is the address that the present request comes from: the peer's, unless that is a trusted proxy and names
// another. It is not valid on a unix socket.
func (s *session) clientIP() netip.Addr {
	if s.behind != nil && s.behind.addr.IsValid() {
		return s.behind.addr
	}
	return s.remote
}

// guardListener judges a request by the listener that it came by. The peer's own address has been judged when it
// connected.
func (s *session) guardListener(now Time) fault {
	g := s.listener.Guard
	if s.behind != nil && !g.admits(s.clientIP()) {
		return faultDenied
	}
	return s.charge(g.Rate, now)
}

// guardRoute judges a request by the route that it takes.
func (s *session) guardRoute(g *Guard, now Time) fault {
	if !g.admits(s.clientIP()) {
		return faultDenied
	}
	return s.charge(g.Rate, now)
}

// charge charges the request to its bucket of a limit, which may be nil.
func (s *session) charge(r *Rate, now Time) fault {
	if r == nil {
		return faultNone
	}
	t := s.l.srv.rates
	wait := t.take(r, s.rateKey(r), now)
	if wait == 0 {
		return faultNone
	}
	s.x.retryAfter = int32(min((wait+time.Second-1)/time.Second, maxRetryAfter))
	return faultRate
}

// maxRetryAfter bounds what a client is told to wait, in seconds: a day.
const maxRetryAfter = 24 * 3600

// rateKey returns what a request counts for.
func (s *session) rateKey(r *Rate) uint64 {
	t, x := s.l.srv.rates, s.x
	head := s.in.b[:x.head]
	switch r.Key {
	case RateByHost:
		lower := s.l.scratch[:0]
		for _, c := range remap.HostName(x.req.Authority.Of(head)) {
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			lower = append(lower, c)
		}
		return t.ofBytes(lower)
	case RateByField:
		var value []byte
		lines := 0
		for i := range x.req.Fields {
			f := &x.req.Fields[i]
			if f.Name.Len() == len(r.Field) && bytes.EqualFold(f.Name.Of(head), r.Field) {
				value = f.Value.Of(head)
				lines++
			}
		}
		if lines == 1 { // which of several the server goes by, nobody knows
			return t.ofBytes(value)
		}
	}
	return t.ofAddr(s.clientIP())
}
