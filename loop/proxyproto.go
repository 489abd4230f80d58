package loop

import (
	"bytes"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"millrace/internal/proxyproto"
)

// ProxyProtocol says whether the connections of a listener begin with a header of the PROXY protocol. Only the peers that
// the listener's Trust has are asked for one and believed.
type ProxyProtocol uint8

const (
	// ProxyOff: no connection has one. What looks like one is a client's bytes.
	ProxyOff ProxyProtocol = iota
	// ProxyOptional: connections of trusted peers may have one. Others are as with ProxyOff.
	ProxyOptional
	// ProxyRequired: every connection has one. Peers that are not trusted are refused.
	ProxyRequired
)

// proxied is what a PROXY header has said that is needed for longer than it takes to read it.
type proxied struct {
	destination netip.AddrPort // what the client has connected to; not valid if that has no address
	tlvs        []byte
}

// awaitProxyHeader has a new connection of a trusted peer begin with a header.
func (s *session) awaitProxyHeader(now Time) {
	s.setStage(stageProxyHeader, now)
	s.l.arm(&s.timer, s.proxyHeaderDeadline())
}

// proxyHeaderDeadline is when the header has to be there. A connection that may do without one, and is silent, may also be
// one that is kept ready for requests.
func (s *session) proxyHeaderDeadline() Time {
	if s.mayBeIdle() {
		return s.stageSince.after(s.listener.Timeouts.ClientIdle)
	}
	return s.stageSince.after(s.listener.Timeouts.ClientHeader)
}

// mayBeIdle reports whether a connection that waits for a header may as well be one that waits for a request.
func (s *session) mayBeIdle() bool {
	return s.listener.ProxyProtocol == ProxyOptional && s.listener.Backend == nil && s.in.len() == 0
}

// expireProxyHeader ends the wait for a header. It may have come in the same moment.
func (s *session) expireProxyHeader(now Time) {
	s.client.readable = true
	s.step(now)
	switch {
	case s.stage != stageProxyHeader || s.proxyHeaderDeadline() > now:
	case s.mayBeIdle():
		s.close()
	default:
		s.refuseProxyHeader(errLate)
	}
}

// readProxyHeader reads until there is a header, or until it is clear that there is none.
func (s *session) readProxyHeader(now Time) bool {
	l := s.l
	for {
		if s.in.len() > 0 {
			var h proxyproto.Header
			n, err := proxyproto.Parse(s.in.bytes(), &h)
			switch {
			case err == nil:
				return s.takeProxyHeader(n, &h, now)
			case err == proxyproto.ErrNoHeader && s.listener.ProxyProtocol == ProxyOptional:
				return s.beginClient(now)
			case err != proxyproto.ErrNeedMore:
				return s.refuseProxyHeader(err)
			}
		}
		if !s.client.readable {
			switch {
			case s.client.eof && s.in.len() > 0:
				return s.refuseProxyHeader(proxyproto.ErrNeedMore)
			case s.client.eof || l.draining && s.in.len() == 0:
				s.close()
			case s.in.len() == 0:
				l.bufs.release(&s.in)
			}
			return false
		}
		if len(s.in.room()) == 0 {
			if l.bufs.account.tight && l.refusesNew(now) {
				s.close()
				return false
			}
			l.bufs.reserve(&s.in, headRead)
		}
		n, errno := s.client.recv(s.in.room())
		if errno != 0 {
			s.close()
			return false
		}
		if n > 0 && s.mayBeIdle() {
			s.stageSince = now // it was, and this is the beginning of something
		}
		s.in.w += n
	}
}

// takeProxyHeader takes the client from a header of n bytes. What has been read behind it stays to be read by whoever is
// next.
func (s *session) takeProxyHeader(n int, h *proxyproto.Header, now Time) bool {
	switch {
	case h.Local: // the proxy speaks for itself
	case h.Family == proxyproto.FamilyNone:
		// A client that is not the proxy, whoever it is: nothing that it says of others is believed. So its requests are
		// not judged one by one any more, and the connection is, by the only address that there is.
		s.behind = nil
		if !s.l.lets(s.listener, s.remote) {
			s.close()
			return false
		}
	case !s.takeClient(h):
		s.close()
		return false
	}
	s.in.r += n
	s.in.moveTo(0)
	if s.in.len() == 0 {
		s.l.bufs.release(&s.in)
	}
	return s.beginClient(now)
}

// takeClient puts the client that a header names in the place of the peer, for everything that follows. It reports
// whether the client is admitted, as one that had connected itself would be.
func (s *session) takeClient(h *proxyproto.Header) bool {
	l, lis := s.l, s.listener
	addr := h.Source.Addr()
	if !addr.IsValid() || !lis.Trust.trusts(addr) {
		counted, ok := l.admitClient(lis, addr)
		if !ok {
			return false
		}
		s.client.counted = counted
		s.behind = nil // it is believed about its client, who is not believed about anybody
	}
	s.remote, s.port, s.addrLen = addr, h.Source.Port(), 0
	if addr.IsValid() {
		s.addrLen = uint8(len(addr.AppendTo(s.addr[:0])))
	}
	s.proxied = &proxied{destination: h.Destination}
	if len(h.TLVs) > 0 {
		s.proxied.tlvs = bytes.Clone(h.TLVs)
		l.bufs.account.add(cap(s.proxied.tlvs))
	}
	return true
}

// beginClient goes on with what the listener is for.
func (s *session) beginClient(now Time) bool {
	if s.listener.Backend != nil {
		s.beginSock(now)
	} else {
		s.setStage(stageHead, now)
	}
	return true
}

// refuseProxyHeader closes a connection whose header is missing or malformed. There is nobody to be told: the peer is a
// proxy, in the middle of something else than HTTP.
func (s *session) refuseProxyHeader(why error) bool {
	s.l.srv.unproxied.say(s.l.srv, why, s.remote, s.l.now)
	s.close()
	return false
}

// unproxied counts connections that were closed for want of a proper PROXY header.
type unproxied struct {
	count, said atomic.Int64 // said is when it was last said, as Time
}

// errUntrusted is why a peer is refused that is not believed.
const errUntrusted proxyproto.Error = "the peer is not one of trusted_proxies"

// errLate is why a peer is refused that has said nothing, or not all, in time.
const errLate proxyproto.Error = "the PROXY header has not come in time"

// say counts, and says in the process log at most once in starvedQuiet whom it has met and why.
func (u *unproxied) say(srv *Server, why error, peer netip.Addr, now Time) {
	n := u.count.Add(1)
	last := u.said.Load()
	if last != 0 && int64(now)-last < int64(starvedQuiet) || !u.said.CompareAndSwap(last, int64(now)) {
		return
	}
	who := "unix socket"
	if peer.IsValid() {
		who = peer.String()
	}
	srv.log.Warn("a connection is refused for its PROXY header; the count is since the start", "peer", who, "reason", why, "count", n)
}

// forgetProxied gives back what a header has left.
func (s *session) forgetProxied() {
	if s.proxied != nil {
		s.l.bufs.account.add(-cap(s.proxied.tlvs))
		s.proxied = nil
	}
}

// destination is the address that the client has connected to. It is not valid on a unix socket.
func (s *session) destination() netip.AddrPort {
	if s.proxied != nil && s.proxied.destination.IsValid() {
		return s.proxied.destination
	}
	lis := s.listener
	if lis.Path != "" || lis.Address.Port() != 0 && !lis.Address.Addr().IsUnspecified() && !lis.transparent() {
		return lis.Address
	}
	local, err := unix.Getsockname(s.client.fd)
	if err != nil {
		return netip.AddrPort{} // the connection has been reset, and nobody waits for what is made of this
	}
	switch local := local.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(local.Addr), uint16(local.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(local.Addr).Unmap(), uint16(local.Port))
	}
	return netip.AddrPort{}
}

// appendProxyHeader appends the header that the session's server wants before anything else, if it wants one: about the
// client of the present request.
func (s *session) appendProxyHeader(dst []byte) []byte {
	server := s.x.backend.Servers[s.x.target]
	if server.SendProxy == 0 {
		return dst
	}
	h := proxyproto.Header{Version: server.SendProxy}
	if s.behind != nil && s.behind.addr.IsValid() {
		h.Source = netip.AddrPortFrom(s.behind.addr, 0) // a field of a request names no port
	} else if s.remote.IsValid() {
		h.Source = netip.AddrPortFrom(s.remote, s.port)
	}
	h.Destination = s.destination()
	if server.SendProxyTLV && s.proxied != nil {
		h.TLVs = s.proxied.tlvs
	}
	return proxyproto.Append(dst, &h)
}

// localProxyHeader is the header of a connection that is made for no client, such as a check; nil where none is wanted.
func (b *BackendServer) localProxyHeader() []byte {
	if b.SendProxy == 0 {
		return nil
	}
	return proxyproto.Append(nil, &proxyproto.Header{Version: b.SendProxy, Local: true})
}
