package loop

import (
	"bytes"
	"time"

	"millrace/httpparse"
	"millrace/remap"
)

// headRead is the room for the first read of a request: nearly every head, with a small body behind it.
const headRead = 4 << 10

// readHead reads until there is a request head.
func (s *session) readHead(now Time) bool {
	l := s.l
	for {
		if s.in.len() > 0 && (s.x == nil || s.in.len() > s.x.scanned) {
			if s.x == nil {
				s.begin(now)
			}
			s.x.bytesIn = int64(s.in.len())
			n, err := httpparse.ParseRequest(s.in.bytes(), s.x.scanned, &s.x.req)
			switch {
			case err == nil && n <= l.plan.Limits.HeaderBytes:
				return s.takeHead(n, now)
			case err == nil:
				return s.fail(s.headTooLarge(), now)
			case err != httpparse.ErrNeedMore:
				s.x.head = s.in.len()
				return s.fail(refusal(err), now)
			}
			s.x.scanned = s.in.len()
			if s.in.len() >= l.plan.Limits.HeaderBytes {
				return s.fail(s.headTooLarge(), now)
			}
		}
		if !s.client.readable {
			if s.client.eof {
				return s.endOfClient(now)
			}
			if s.in.len() == 0 {
				l.bufs.release(&s.in)
				if l.draining {
					s.close()
					return false
				}
			}
			return false
		}
		if len(s.in.room()) == 0 {
			if l.bufs.account.tight && s.x != nil && l.refusesNew(now) {
				return s.fail(faultNoMemory, now)
			}
			l.bufs.reserve(&s.in, headRead)
		}
		n, errno := s.client.recv(s.in.room())
		if errno != 0 {
			if s.x != nil {
				return s.fail(faultClientGone, now)
			}
			s.close()
			return false
		}
		s.in.w += n
	}
}

// endOfClient is the client's FIN where a request head could have come.
func (s *session) endOfClient(now Time) bool {
	if s.x != nil {
		return s.fail(faultBodyCut, now)
	}
	s.close()
	return false
}

// begin starts an exchange at the first byte of a request.
func (s *session) begin(now Time) {
	l := s.l
	x := l.spare.getExchange(l.plan.Limits.HeaderFields)
	x.started, x.timeouts = now, s.listener.Timeouts
	x.req.Allow, x.res.Allow = s.listener.Parse.Head, s.listener.Parse.Head
	if l.access != nil {
		x.wall = time.Now().UnixNano()
	}
	s.x = x
}

// headTooLarge tells a request line that does not fit from fields that do not.
func (s *session) headTooLarge() fault {
	line := s.in.bytes()
	if bytes.IndexByte(line[:min(len(line), s.l.plan.Limits.HeaderBytes)], '\n') < 0 {
		return faultTargetTooLong
	}
	return faultHeadTooLarge
}

// takeHead looks at a complete head of n bytes.
func (s *session) takeHead(n int, now Time) bool {
	x := s.x
	s.in.r += n
	x.head, x.scanned = n, 0
	x.persistent = x.req.Persistent()
	x.upAt, x.downAt = now, now
	if s.behind != nil {
		s.believe()
	}
	body, err := httpparse.RequestFraming(s.in.b[:n], &x.req)
	if err != nil {
		return s.fail(refusal(err), now)
	}
	x.reqBody = body
	s.startBody()
	if limit := s.l.plan.Limits.BodyBytes; limit > 0 && body.Kind == httpparse.BodyLength && body.Length > limit {
		return s.fail(faultBodyTooLarge, now)
	}
	if x.req.Secure && s.listener.scheme() != "https" || !x.up.done && s.refusesBody() {
		return s.fail(faultBadRequest, now)
	}
	if l := s.l; l.bufs.account.tight && l.refusesNew(now) {
		return s.fail(faultNoMemory, now)
	}
	if s.listener.Guard != nil {
		if f := s.guardListener(now); f != faultNone {
			return s.fail(f, now)
		}
	}
	s.setStage(stageRoute, now)
	return true
}

// startBody puts the request back to the end of its head: before the first attempt, and before another.
func (s *session) startBody() {
	x := s.x
	s.in.r = x.head
	x.bytesIn = int64(x.head)
	x.up.start(x.reqBody, x.reqBody.Kind == httpparse.BodyChunked)
	x.held = true
	x.waitsFor100 = s.expects() && !x.up.done && s.in.len() == 0
	s.req, s.res = halfBody, halfHead
	if x.up.done {
		s.req = halfDone
	}
}

// route finds what is to become of the request.
func (s *session) route(now Time) bool {
	l, x := s.l, s.x
	if x.req.Method == httpparse.MethodConnect {
		return s.routeConnect(now)
	}
	path, ok := s.targetPath()
	if !ok {
		return s.fail(faultBadRequest, now)
	}
	if l.plan.Rewrites != nil {
		if path, ok = s.rewrite(path); !ok {
			return s.fail(faultBadRequest, now)
		}
	}
	normal, ok := remap.NormalPath(l.normal, path)
	if !ok {
		return s.fail(faultBadRequest, now)
	}
	if len(normal) > 0 && &normal[0] != &path[0] {
		l.normal = normal[:0]
	}
	in := s.incoming(normal)
	i, ok := l.plan.Table.Match(&in)
	if !ok || l.plan.Routes[i].Backend == nil {
		return s.fail(faultNoRoute, now)
	}
	if r := remap.Readings(path, normal); r != 0 && !s.sameRoute(in, path, r, i) {
		return s.fail(faultBadRequest, now)
	}
	if g := l.plan.Routes[i].Guard; g != nil {
		if f := s.guardRoute(g, now); f != faultNone {
			return s.fail(f, now)
		}
	}
	if x.req.Method == httpparse.MethodOptions || x.req.Method == httpparse.MethodTrace {
		if answered, f := s.countForwards(l.plan.Routes[i], now); answered || f != faultNone {
			return answered || s.fail(f, now)
		}
	}
	x.backend = l.plan.Routes[i].Backend
	x.timeouts = l.plan.Routes[i].Timeouts[s.listener.Index]
	x.override = l.plan.Routes[i].ErrorOverride
	if e := l.plan.Routes[i].Edits; e != nil {
		s.beginTrip(e)
		x.up.trip = x.trip
	}
	if upgrade := l.plan.Routes[i].Upgrade; upgrade != nil && s.asksUpgrade(upgrade) {
		x.kind, x.upgrade = tunnelUpgrade, upgrade
	}
	s.setStage(stagePick, now)
	return true
}

var slash = []byte("/")

// incoming is the request as routes are chosen by.
func (s *session) incoming(path []byte) remap.Incoming {
	x := s.x
	in := remap.Incoming{Listener: s.listener.Index, Client: s.clientIP(), Path: path, Req: &x.req, Head: s.in.b[:x.head]}
	if x.rewritten > 0 {
		in.Target = x.sentTarget
	}
	return in
}

// expects reports whether the client may wait for an interim response before it sends the body (RFC 9110, 10.1.1).
// A server ignores that of an HTTP/1.0 client, and so do we. What Expect says does not matter: 100-continue may stand in a
// list, in a second field, or behind something that a reader before us has skipped.
func (s *session) expects() bool {
	req := &s.x.req
	return req.Seen.Has(httpparse.FieldExpect) && req.Version >= httpparse.HTTP11
}

// readBody returns what is there of the request body: what has been read already, else what can be read
// now. An empty window without a fault means that there is nothing yet.
func (s *session) readBody() (window, fault) {
	l, up := s.l, &s.x.up
	if s.in.len() > 0 && !up.starved {
		return window{s.in.b, s.in.r, s.in.w, false}, faultNone
	}
	if s.client.eof {
		return window{}, faultBodyCut
	}
	if !s.client.readable {
		return window{}, faultNone
	}
	// What comes behind this body is the next request's, and better left in the kernel.
	room := l.readRoom()
	if up.in.Kind == httpparse.BodyLength {
		room = room[:min(int64(len(room)), up.in.Length)]
	}
	if s.in.len() > 0 {
		s.in.moveTo(s.x.head)
		s.x.held = false
		l.bufs.reserve(&s.in, headRead)
		room = s.in.room()
	}
	n, errno := s.client.recv(room)
	switch {
	case errno != 0:
		return window{}, faultClientGone
	case n == 0 && s.client.eof:
		return window{}, faultBodyCut
	case n == 0:
		return window{}, faultNone
	case s.in.len() > 0:
		s.in.w += n
		return window{s.in.b, s.in.r, s.in.w, false}, faultNone
	}
	s.x.held = false
	return window{l.relay, headRoom, headRoom + n, true}, faultNone
}

// consumed notes that the first n bytes of a body window have been framed; the rest waits in s.in.
func (s *session) consumed(v window, n int) {
	s.x.bytesIn += int64(n)
	s.turn.up += n
	if !v.inPlace {
		s.in.r += n
		return
	}
	if rest := v.from(n).bytes(); len(rest) > 0 {
		s.in.moveTo(s.x.head) // what was read of this body before is gone
		s.l.bufs.append(&s.in, rest)
	}
}

// drain reads and forgets the rest of the request body, up to drainMax.
func (s *session) drain(now Time) bool {
	l, x := s.l, s.x
	for !x.up.done {
		v, f := s.readBody()
		if f == faultNone && v.w == 0 {
			return false
		}
		if f == faultNone {
			_, used, err := x.up.frame(l.scratch[:0], v)
			s.consumed(v, used)
			s.gave(used, now)
			x.drained += used
			if err == nil && x.drained <= drainMax {
				continue
			}
		}
		x.persistent = false
		break
	}
	s.setStage(stageFinish, now)
	return true
}
