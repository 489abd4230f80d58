package loop

import (
	"bytes"

	"millrace/httpparse"
	"millrace/remap"
)

// Upgrade says which protocols the requests of a route may switch to (RFC 9110, 7.8).
type Upgrade struct {
	// Any allows every protocol but h2c: the requests inside of that would be seen by no route.
	Any bool
	// Protocols are the ones that are allowed, if not Any: a name, or a name, a slash and a version. Case does not
	// matter.
	Protocols []string
}

func (u *Upgrade) allows(protocol []byte) bool {
	if u.Any {
		return !bytes.EqualFold(protocol, h2c)
	}
	for _, p := range u.Protocols {
		if len(p) == len(protocol) && bytes.EqualFold([]byte(p), protocol) {
			return true
		}
	}
	return false
}

var (
	h2c           = []byte("h2c")
	upgradeOption = []byte("upgrade")
)

// asksUpgrade reports whether the request asks for a protocol that u allows. If not, its Upgrade stays behind, and it is
// a request like any other. So it is with a body, which would have to be sent whole before the switch, and with
// HTTP/1.0, in which there is no Upgrade.
func (s *session) asksUpgrade(u *Upgrade) bool {
	x, head := s.x, s.in.b[:s.x.head]
	req := &x.req
	if !req.Seen.Has(httpparse.FieldUpgrade) || req.Version < httpparse.HTTP11 || !x.up.done ||
		!req.NamedByConnection(head, upgradeOption) {
		return false
	}
	for protocol := range protocols(head, &req.Head) {
		if u.allows(protocol) {
			return true
		}
	}
	return false
}

// protocols yields the items of the Upgrade fields of a head.
func protocols(buf []byte, h *httpparse.Head) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for i := range h.Fields {
			f := &h.Fields[i]
			if f.ID != httpparse.FieldUpgrade {
				continue
			}
			for item := range bytes.SplitSeq(f.Value.Of(buf), comma) {
				if item = bytes.Trim(item, " \t"); len(item) > 0 && !yield(item) {
					return
				}
			}
		}
	}
}

var comma = []byte(",")

// sentMore reports whether the client has sent anything behind its request, which may not have been read yet; or has ended
// its side.
func (s *session) sentMore() bool {
	return s.in.len() > 0 || s.client.readable && !s.client.quiet()
}

// askedProtocols returns the value of the Upgrade field that the server gets: what the client asks for and the route
// allows, in the client's order. It lasts until the next call.
func (s *session) askedProtocols() []byte {
	l, x := s.l, s.x
	asked := l.protocols[:0]
	for protocol := range protocols(s.in.b[:x.head], &x.req.Head) {
		if x.upgrade.allows(protocol) {
			asked = appendProtocol(asked, protocol)
		}
	}
	l.protocols = asked
	return asked
}

func appendProtocol(list, protocol []byte) []byte {
	if len(list) > 0 {
		list = append(list, ", "...)
	}
	return append(list, protocol...)
}

// switched returns the value of the Upgrade field of a 101, if it names what was asked for and nothing else.
func (s *session) switched(head []byte) (value []byte, ok bool) {
	asked := s.askedProtocols()
	for protocol := range protocols(head, &s.x.res.Head) {
		found := false
		for item := range bytes.SplitSeq(asked, comma) {
			found = found || bytes.EqualFold(bytes.Trim(item, " "), protocol)
		}
		if !found {
			return nil, false
		}
		value = appendProtocol(value, protocol)
	}
	return value, len(value) > 0
}

// switchProtocols passes a 101 on, of n bytes at the beginning of v. What comes behind it is not HTTP any more.
func (s *session) switchProtocols(v window, n int, now Time) fault {
	l, x := s.l, s.x
	head := v.base[v.r : v.r+n]
	to, ok := s.switched(head)
	if !ok || saysBody(head, &x.res) {
		return faultBadResponse
	}
	facts := remap.ResponseFacts{Upgrade: to}
	if x.backend.Sticky != nil {
		facts.SetCookie = s.setCookie()
	}
	out := remap.AppendResponse(l.scratch[:0], head, &x.res, &facts)
	l.scratch = out[:0]
	x.status, x.answered = x.res.Status, true
	if f := s.say(out, now); f != faultNone {
		return f
	}
	s.keepRest(v, n)
	s.becomeTunnel(now)
	return faultNone
}

// routeConnect finds what is to become of a CONNECT request. It has no path, and is matched as if for "/". The tunnel
// leads to a server of the route's backend: the host that is named only chooses the route.
func (s *session) routeConnect(now Time) bool {
	l, x := s.l, s.x
	in := s.incoming(slash)
	i, ok := l.plan.Table.Match(&in)
	if !ok || !l.plan.Routes[i].Connect {
		return s.fail(faultMethod, now)
	}
	if !x.up.done {
		// RFC 9110, 9.3.6: it has no content. Who takes it for content and who for the tunnel's first bytes
		// would not agree.
		return s.fail(faultBadRequest, now)
	}
	if g := l.plan.Routes[i].Guard; g != nil {
		if f := s.guardRoute(g, now); f != faultNone {
			return s.fail(f, now)
		}
	}
	x.backend = l.plan.Routes[i].Backend
	x.timeouts = l.plan.Routes[i].Timeouts[s.listener.Index]
	x.kind = tunnelConnect
	x.fresh = true // a connection that has carried requests is not the beginning of anything
	s.setStage(stagePick, now)
	return true
}

// connectedRaw goes on when a server is connected that is told nothing, but for a PROXY header.
func (s *session) connectedRaw(now Time) bool {
	if c := s.origin; c.private {
		if header := s.appendProxyHeader(s.l.scratch[:0]); len(header) > 0 {
			s.l.scratch = header[:0]
			if errno := c.send(s.l, header); errno != 0 {
				return s.fail(faultServerClosed, now)
			}
		}
	}
	if s.x.kind == tunnelSock {
		return s.openTunnel(now)
	}
	x := s.x
	x.status, x.answered = 200, true
	if f := s.say(established, now); f != faultNone {
		return s.fail(f, now)
	}
	s.becomeTunnel(now)
	return true
}

// established answers CONNECT. It has no fields: none of framing may be there (RFC 9110, 9.3.6).
var established = []byte("HTTP/1.1 200 Connection established\r\n\r\n")

// becomeTunnel makes the exchange one of a tunnel. What was read from either side and not used is passed on first.
func (s *session) becomeTunnel(now Time) {
	l, x := s.l, s.x
	s.t = l.spare.getTunnel()
	s.t.keep(x, s.in.b[:x.head])
	l.bufs.account.add(cap(s.t.quoted))
	s.x = &s.t.x
	l.spare.putExchange(x)
	if s.in.len() == 0 {
		l.bufs.release(&s.in)
	}
	s.req, s.res = halfDone, halfDone
	s.openTunnel(now)
}

// keep takes over x, but for the room for fields: of the head only what the record quotes is copied.
func (t *tunnel) keep(x *exchange, head []byte) {
	tried := t.x.tried
	t.x = *x
	t.x.tried = tried
	t.x.up.fields, t.x.down.fields, t.x.res.Fields = nil, nil, nil
	t.x.req.Fields, t.x.req.Seen = t.fields[:0], 0
	t.x.head, t.x.upgrade, t.x.sentTarget, t.x.persistent = 0, nil, nil, false
	size := x.req.MethodName.Len() + x.req.Target.Len() + x.req.Authority.Len()
	for _, id := range quotedFields {
		v, _ := x.req.Lookup(id)
		size += v.Len()
	}
	t.quoted = make([]byte, 0, size)
	t.x.req.MethodName = t.quote(x.req.MethodName.Of(head))
	t.x.req.Target = t.quote(x.req.Target.Of(head))
	t.x.req.Authority = t.quote(x.req.Authority.Of(head))
	for _, id := range quotedFields {
		if v, ok := x.req.Lookup(id); ok {
			t.x.req.Fields = append(t.x.req.Fields, httpparse.Field{Value: t.quote(v.Of(head)), ID: id})
			t.x.req.Seen |= 1 << id
		}
	}
}

// quotedFields are the fields that a record quotes: see session.log.
var quotedFields = [...]httpparse.FieldID{httpparse.FieldReferer, httpparse.FieldUserAgent}

func (t *tunnel) quote(b []byte) httpparse.View {
	start := len(t.quoted)
	t.quoted = append(t.quoted, b...)
	return httpparse.View{Start: uint32(start), End: uint32(len(t.quoted))}
}
