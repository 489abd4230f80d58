package loop

import (
	"time"

	"millrace/httpparse"
	"millrace/remap"
)

// maxInterim bounds the interim responses to one request: a server has a few to send, 100 and 103; more of
// them than this never end.
const maxInterim = 16

// relay moves the request up and the response down, each until it has to wait.
func (s *session) relay(now Time) bool {
	if s.client.broken() {
		return s.fail(faultClientGone, now)
	}
	if f := s.relayRequest(now); f != faultNone {
		return s.fail(f, now)
	}
	if f := s.relayResponse(now); f != faultNone {
		return s.fail(f, now)
	}
	if s.res != halfDone {
		return false
	}
	if s.t != nil {
		return true // no response, but another protocol
	}
	// A complete response. The server's connection is free, however long the client takes to read it.
	x := s.x
	x.fault = faultNone // whatever an earlier attempt met
	s.giveBack(s.judge(faultNone), x.keepServer && s.req == halfDone && !s.l.draining)
	s.setStage(stageFlush, now)
	return true
}

// relayRequest moves the request body until there is no more of it, no room for it, or its turn is over.
// That the server takes no more is not an error of its own: it may have answered.
func (s *session) relayRequest(now Time) fault {
	l, x, c := s.l, s.x, s.origin
	for s.req == halfBody || c.waiting() {
		moved, errno := c.flush(l)
		if errno != 0 {
			s.breakRequest()
			return faultNone
		}
		if moved {
			x.upAt = now
		}
		if c.waiting() || s.req != halfBody || x.pinging {
			return faultNone
		}
		if s.turn.up >= turnBytes {
			s.yield()
			return faultNone
		}
		if x.up.in.Length >= l.spliceFrom {
			switch result, f := s.spliceRequest(now); {
			case f != faultNone || result == spliceWaits:
				return f
			case result == spliceMoves:
				continue
			}
		}
		v, f := s.readBody()
		if f != faultNone {
			return f
		}
		if v.w == 0 {
			return faultNone
		}
		x.waitsFor100 = false
		out, used, err := x.up.frame(l.scratch[:0], v)
		s.consumed(v, used)
		if err != nil {
			return faultBadRequest
		}
		if s.bodyTooLarge() {
			return faultBodyTooLarge
		}
		s.gave(used, now)
		if x.up.done {
			s.req = halfDone
		}
		if len(out) == 0 {
			continue
		}
		if errno := c.send(l, out); errno != 0 {
			s.breakRequest()
			return faultNone
		}
	}
	return faultNone
}

// breakRequest gives up sending. What the server has said, if anything, is in its socket, ahead of the
// error: the response half reads on until it meets that.
func (s *session) breakRequest() {
	c := s.origin
	s.l.bufs.release(&c.out)
	s.l.dropPipe(&c.endpoint)
	s.req = halfBroken
	c.readable = true
	s.x.waitsFor100 = false
	s.x.keepServer = false
}

// relayResponse moves the response until there is no more of it, no room for it, or its turn is over.
func (s *session) relayResponse(now Time) fault {
	l := s.l
	for {
		if s.client.waiting() {
			moved, errno := s.client.flush(l)
			if errno != 0 {
				return faultClientGone
			}
			if moved {
				s.took(now)
			}
			if s.client.waiting() {
				return faultNone
			}
		}
		if s.res == halfDone {
			return faultNone
		}
		if s.turn.down >= turnBytes {
			s.yield()
			return faultNone
		}
		if s.x.down.in.Length >= l.spliceFrom && s.res == halfBody {
			switch result, f := s.spliceResponse(now); {
			case f != faultNone || result == spliceWaits:
				return f
			case result == spliceMoves:
				continue
			}
		}
		v, f := s.readResponse(now)
		if f != faultNone || v.w == 0 {
			return f
		}
		if s.res == halfHead {
			f = s.readResponseHead(v, now)
		} else {
			f = s.relayBody(l.scratch[:0], v, now)
		}
		if f != faultNone {
			return f
		}
	}
}

// readResponse returns what is there of the response: what has been read already and can now go on, else
// what can be read now. An empty window without a fault means that there is nothing yet.
func (s *session) readResponse(now Time) (window, fault) {
	l, x, c := s.l, s.x, s.origin
	incomplete := x.scanned > 0 || x.down.starved
	if c.in.len() > 0 && !incomplete {
		return window{c.in.b, c.in.r, c.in.w, false}, faultNone
	}
	if !c.readable {
		return window{}, faultNone
	}
	room := l.readRoom()
	if c.in.len() > 0 {
		c.in.moveTo(0)
		if len(c.in.room()) == 0 {
			l.bufs.reserve(&c.in, len(c.in.b))
		}
		room = c.in.room()
	}
	n, errno := c.recv(room)
	switch {
	case errno != 0:
		return window{}, s.cut()
	case n == 0 && c.eof:
		return s.endOfServer(now)
	case n == 0:
		return window{}, faultNone
	}
	s.turn.down += n
	if !x.heard {
		x.heard = true
		x.firstByte = time.Duration(now - x.started)
	}
	if c.in.len() > 0 {
		c.in.w += n
		return window{c.in.b, c.in.r, c.in.w, false}, faultNone
	}
	return window{l.relay, headRoom, headRoom + n, true}, faultNone
}

// cut is a response that ended where it should not.
func (s *session) cut() fault {
	if s.res == halfHead {
		return faultServerClosed
	}
	return faultResponseCut
}

// endOfServer is the server's FIN. It ends a body that lasts until then, and cuts every other.
func (s *session) endOfServer(now Time) (window, fault) {
	x := s.x
	if s.res == halfHead || x.down.in.Kind != httpparse.BodyUntilClose || s.req == halfBroken {
		// A reset that sending has met already looks like a FIN to reading.
		return window{}, s.cut()
	}
	s.res = halfDone
	if out := x.down.finish(); len(out) > 0 {
		if f := s.say(out, now); f != faultNone {
			return window{}, f
		}
	}
	return window{}, faultNone
}

// readResponseHead takes a response head from v, if it is complete, and what there is of the body.
func (s *session) readResponseHead(v window, now Time) fault {
	l, x, c := s.l, s.x, s.origin
	limit := l.plan.Limits.HeaderBytes
	n, err := httpparse.ParseResponse(v.bytes(), x.scanned, &x.res)
	if err == httpparse.ErrNeedMore {
		if v.w-v.r >= limit {
			return faultBadResponse
		}
		x.scanned = v.w - v.r
		if v.inPlace {
			l.bufs.append(&c.in, v.bytes())
		}
		return faultNone
	}
	if err != nil || n > limit {
		return faultBadResponse
	}
	x.scanned = 0
	if x.res.Status < 200 {
		return s.relayInterim(v, n, now)
	}
	return s.relayHead(v, n, now)
}

// relayInterim passes a 1xx response on, to a client that knows them (RFC 9110, 15.2). 101 is one only for who has
// asked to switch protocols.
func (s *session) relayInterim(v window, n int, now Time) fault {
	l, x := s.l, s.x
	if x.res.Status == 101 && x.kind == tunnelUpgrade {
		return s.switchProtocols(v, n, now)
	}
	if x.interim++; x.interim > maxInterim || x.res.Status == 101 || saysBody(v.base[v.r:v.r+n], &x.res) {
		return faultBadResponse
	}
	if x.res.Status == 100 {
		x.waitsFor100 = false // by another interim response the body is not asked for
	}
	x.upAt, x.downAt = now, now
	f := faultNone
	if x.req.Version >= httpparse.HTTP11 && !s.expectsNothing(&x.res) {
		out := remap.AppendResponse(l.scratch[:0], v.base[v.r:v.r+n], &x.res, &remap.ResponseFacts{})
		l.scratch = out[:0]
		f = s.say(out, now)
	}
	s.keepRest(v, n)
	if x.pinging && x.res.Status == 100 && f == faultNone {
		s.ponged()
		f = s.relayRequest(now)
	}
	return f
}

// saysBody reports whether a response that can have no body, 1xx or 204, announces one, which no server may do
// (RFC 9110, 8.6; RFC 9112, 6.1).
func saysBody(head []byte, r *httpparse.Response) bool {
	if r.Seen.Has(httpparse.FieldTransferEncoding) {
		return true
	}
	v, found := r.Lookup(httpparse.FieldContentLength)
	return found && string(v.Of(head)) != "0"
}

// relayHead passes the head of the final response on, with what there is of the body.
func (s *session) relayHead(v window, n int, now Time) fault {
	l, x := s.l, s.x
	head := v.base[v.r : v.r+n]
	body, err := httpparse.ResponseFraming(head, &x.res, x.req.Method)
	if err != nil {
		return faultBadResponse
	}
	x.status = x.res.Status
	if x.pinging && s.refusesPing(now) {
		return faultPassedOver
	}
	if x.backend.RetryStatus.Has(x.status) && s.passesOver(v.from(n), body, now) {
		return faultPassedOver
	}
	if g := x.backend.Group; g.CountsLatency() && x.status < 500 {
		// A server that fails at once is not to be taken for a fast one.
		g.Answered(x.target, int64(now-x.upAt), int64(now))
	}
	// A request for no host was sent as HTTP/1.0 with Connection: close, whatever the response says.
	x.keepServer = s.req != halfBroken && x.res.Persistent() && body.Kind != httpparse.BodyUntilClose && x.req.Authority.Len() > 0
	if x.res.Status == 204 && saysBody(head, &x.res) {
		x.keepServer = false // what it may send for a body would be taken for the next response
	}
	if x.override != nil && x.override.Has(x.res.Status) {
		var f fault
		if v, n, body, f = s.override(v, n, body); f != faultNone {
			return f
		}
		head = v.base[:n]
	}
	old := x.req.Version < httpparse.HTTP11
	out := body
	if body.Kind == httpparse.BodyChunked || body.Kind == httpparse.BodyUntilClose {
		// Chunks keep the connection, and show a cut that the end of a connection would not. An
		// HTTP/1.0 client does not know them.
		out.Kind = httpparse.BodyChunked
		if old {
			out.Kind = httpparse.BodyUntilClose
			x.persistent = false
		}
	}
	if x.kind == tunnelUpgrade && s.sentMore() {
		// The client was sure of the switch. What it has sent behind the request may be anything.
		x.persistent = false
	}
	if x.waitsFor100 || l.draining || s.req != halfDone && x.up.in.Kind == httpparse.BodyLength && x.up.in.Length > drainMax {
		// The body may or may not come after a final answer, or there is more of it than is worth reading.
		x.persistent = false
	}
	x.down.start(body, out.Kind == httpparse.BodyChunked)
	s.res = halfBody
	facts := remap.ResponseFacts{Body: out, Close: !x.persistent, KeepAlive: x.persistent && old, Trip: s.attempt()}
	if x.backend.Sticky != nil {
		facts.SetCookie = s.setCookie()
	}
	h := remap.AppendResponse(l.scratch[:0], head, &x.res, &facts)
	l.scratch = h[:0]
	if x.trip != nil {
		if x.trip.Refused {
			s.res = halfHead
			return faultBadResponse
		}
		x.down.trip = x.trip
	}
	return s.relayBody(h, v.from(n), now)
}

// relayBody sends head and what v holds of the response body.
func (s *session) relayBody(head []byte, v window, now Time) fault {
	x, c := s.x, s.origin
	out, used, err := x.down.frame(head, v)
	if err != nil {
		return faultResponseCut
	}
	if x.down.done {
		s.res = halfDone
	}
	x.downAt = now
	f := faultNone
	if len(out) > 0 {
		x.answered = true
		f = s.say(out, now)
	}
	s.keepRest(v, used)
	if s.res == halfDone && c.in.len() > 0 {
		// Bytes behind the end: whatever they are, they answer nothing that was asked.
		x.keepServer = false
	}
	return f
}

// keepRest notes that the first n bytes of a response window have been used; the rest waits in the
// connection's buffer.
func (s *session) keepRest(v window, n int) {
	l, c := s.l, s.origin
	if v.inPlace {
		if rest := v.from(n).bytes(); len(rest) > 0 {
			l.bufs.append(&c.in, rest)
		}
		return
	}
	if c.in.r = v.r + n; c.in.len() == 0 {
		l.bufs.release(&c.in)
	}
}

// say sends out to the client, behind what may still be waiting.
func (s *session) say(out []byte, now Time) fault {
	l := s.l
	s.x.bytesOut += int64(len(out))
	if s.client.out.len() > 0 {
		l.bufs.append(&s.client.out, out)
		return faultNone
	}
	if errno := s.client.send(l, out); errno != 0 {
		return faultClientGone
	}
	return faultNone
}
