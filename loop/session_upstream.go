package loop

import (
	"syscall"
	"time"

	"millrace/balance"
	"millrace/pool"
	"millrace/remap"
)

// pick chooses a server that this request has not failed on.
func (s *session) pick(now Time) bool {
	x := s.x
	if x.backend.Names != nil {
		x.renew()
	}
	if x.backend.Sticky != nil {
		if decided, moved := s.pickSession(now); decided {
			return moved
		}
	}
	key := uint64(balance.NoKey)
	if x.backend.Key.Source != KeyNone {
		key = s.balanceKey()
	}
	target, ok := x.backend.Group.Pick(int64(now), key, &x.tried)
	if !ok {
		if x.stale && !x.lastChance && !s.mustWait(now) {
			// All that failed was a connection that may just have been old: without another server, the
			// same one gets the request on a fresh connection.
			x.lastChance = true
			x.tried.Reset()
			target, ok = x.backend.Group.Pick(int64(now), key, &x.tried)
		}
		if !ok {
			if s.mustWait(now) {
				return s.wait(pool.AnyServer, now)
			}
			if s.mayAwait(now) {
				return s.await(now)
			}
			return s.answer(s.nobodyLeft(), now)
		}
	}
	return s.pickedServer(target, now)
}

// pickedServer goes on with a server that has been picked.
func (s *session) pickedServer(target balance.Index, now Time) bool {
	x := s.x
	x.target, x.picked = target, true
	if x.backend.Limit != nil {
		return s.enter(now)
	}
	return s.letIn(now)
}

// dial gets a connection to the server: one that is idle, else a new one.
func (s *session) dial(now Time) bool {
	l, x := s.l, s.x
	if s.client.broken() {
		return s.fail(faultClientGone, now) // before a server acts upon a request that nobody waits for
	}
	if s.origin == nil {
		server := x.backend.Servers[x.target].ID
		if c := s.pooled(server); c != nil {
			s.origin = c
			c.own = s
			s.setStage(stageSend, now)
			return true
		}
		c, errno := l.dial(server, s)
		x.dialled = now
		if errno != 0 {
			return s.dialFailed(errno, now)
		}
		c.own = s
		s.origin = c
	}
	c := s.origin
	if !c.writable {
		return false
	}
	switch errno := c.connected(); errno {
	case 0:
	case syscall.EALREADY:
		c.writable = false
		return false
	default:
		return s.dialFailed(errno, now)
	}
	// What was latched while connecting says nothing about the connection.
	c.failing = false
	x.connected = time.Duration(now - x.dialled)
	if x.backend.Group.Connected(x.target) && x.limit != nil {
		x.limit.Kick(l.id, int64(now)) // it has come back from a rest
	}
	if x.kind >= tunnelConnect {
		return s.connectedRaw(now)
	}
	s.setStage(stageSend, now)
	return true
}

// pooled takes an idle connection to the server.
func (s *session) pooled(server int) *backendConn {
	x := s.x
	if x.limit != nil {
		return s.promised(server)
	}
	for !x.fresh {
		c, ok := s.l.idle.Get(server)
		if !ok {
			return nil
		}
		if s.usable(c) {
			return c
		}
		s.l.drop(c)
	}
	return nil
}

// dialFailed is a connection that could not be made.
func (s *session) dialFailed(errno syscall.Errno, now Time) bool {
	switch errno {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL:
		// It is we who have run short: another server would not help, and this one is not to blame.
		return s.fail(faultNoDescriptor, now)
	}
	return s.fail(faultConnect, now)
}

// send gives the head, and what is there of the body, to the server in one write.
func (s *session) send(now Time) bool {
	l, x, c := s.l, s.x, s.origin
	facts := remap.RequestFacts{
		ClientAddr: s.clientAddr(), Proto: s.listener.scheme(), Body: x.reqBody,
		Target: x.sentTarget, MaxForwards: x.forwards, CountForwards: x.counted,
		Trip: s.attempt(),
	}
	if r := x.backend.Reuse; r != nil {
		facts.Close = r.last(c)
	}
	if x.kind == tunnelUpgrade {
		facts.Upgrade = s.askedProtocols()
	}
	if s.behind != nil {
		facts.ChainEnd = s.behind.chainEnd
	}
	x.pinging = !x.up.done && s.pings()
	facts.Expect = x.pinging
	head := l.scratch[:0]
	if c.private {
		head = s.appendProxyHeader(head)
	}
	head = remap.AppendRequest(head, s.in.b[:x.head], &x.req, &facts)
	l.scratch = head[:0]
	if x.trip != nil && x.trip.Refused {
		return s.fail(faultBadRequest, now)
	}
	out := head
	if s.in.len() > 0 && !x.up.done && !x.pinging {
		v := window{s.in.b, s.in.r, s.in.w, false}
		framed, used, err := x.up.frame(head, v)
		if err != nil {
			return s.fail(faultBadRequest, now)
		}
		s.consumed(v, used)
		l.scratch = framed[:0]
		out = framed
	}
	if x.up.done {
		s.req = halfDone
	}
	x.upAt, x.downAt = now, now
	if s.bodyTooLarge() {
		return s.fail(faultBodyTooLarge, now)
	}
	if errno := c.send(l, out); errno != 0 {
		return s.fail(faultServerClosed, now)
	}
	x.sent = !x.pinging
	s.setStage(stageRelay, now)
	return true
}

// bodyTooLarge reports whether a body without a declared length has passed body_bytes.
func (s *session) bodyTooLarge() bool {
	limit := s.l.plan.Limits.BodyBytes
	return limit > 0 && s.x.up.payload > limit
}

// fail is the one way out of any stage that cannot go on. It asks three questions in order: may the
// request be tried again; has any of the response been sent, so that all that is left is to show the
// client that it was cut; and is there anybody to be told.
func (s *session) fail(f fault, now Time) bool {
	x := s.x
	if f == faultPassedOver {
		return s.passOver(now)
	}
	again := retry(x, f) && s.permitted(f)
	x.stale = again && s.origin != nil && s.origin.kept
	x.resent = x.resent || again && x.sent && !(x.stale && f == faultServerClosed)
	x.fault = f
	s.giveBack(s.judge(f), false)
	if again {
		x.tried.Add(x.target)
		x.fresh = x.fresh || f == faultServerClosed
		x.sent, x.heard = false, false
		s.startBody()
		s.setStage(stagePick, now)
		return true
	}
	return s.answer(f, now)
}

// retry decides whether the request may be given to a server again after f. Connections that were never
// made cost nothing, so they may fail until no server is left; a request that may have been acted on is
// sent again once, if its method says that this does no harm.
func retry(x *exchange, f fault) bool {
	if x.backend == nil {
		return false // no server has been picked
	}
	on := x.backend.RetryOn
	switch f {
	case faultPing:
		return on&RetryConnect != 0 && !x.heard
	case faultConnect, faultConnectTimeout:
		return on&RetryConnect != 0 // nothing was sent; pick ends it when all servers have been tried
	case faultServerClosed:
		if on&RetryClosed == 0 {
			return false
		}
	case faultResponseTimeout:
		if on&RetryTimeout == 0 {
			return false // it is slow and may still act
		}
	default:
		return false // the client's fault or ours, or the server was heard
	}
	switch {
	case x.heard:
		return false // it has acted, and answered in part
	case !x.held:
		return false // part of the body is gone
	case !x.sent:
		return true // the kernel took nothing: no server has seen any of it
	case x.resent:
		return false
	case !x.req.Method.Idempotent():
		return false // RFC 9110, 9.2.2: it may have been acted on
	}
	return true
}

// outcome is what a fault says about the server.
func outcome(f fault) balance.Outcome {
	switch f {
	case faultNone, faultPassedOver:
		return balance.OutcomeOK
	case faultConnect, faultConnectTimeout, faultPing:
		return balance.OutcomeConnectFailed
	case faultServerClosed, faultBadResponse, faultResponseTimeout, faultResponseCut, faultReadTimeout:
		return balance.OutcomeFailed
	}
	return balance.OutcomeNeutral
}

// giveBack returns what the exchange holds of its server: the connection, to the pool if keep, and the
// server's slot in the balance.
func (s *session) giveBack(o balance.Outcome, keep bool) {
	l, x := s.l, s.x
	kept := false
	if c := s.origin; c != nil {
		s.origin = nil
		if keep && !c.private && !c.eof && !c.waiting() && c.in.len() == 0 && (!c.readable || c.quiet()) && s.reusable(c) {
			kept = l.keep(c, pool.Limits{PerKey: x.backend.IdleMax, TTL: int64(x.backend.IdleTTL)})
		} else {
			if s.t != nil && s.aborted {
				setReset(c.fd)
			}
			l.drop(c)
		}
	}
	if x.picked {
		x.picked = false
		if g := x.backend.Group; g.CountsTraffic() && x.sent {
			g.Traffic(x.target, x.bytesIn+x.bytesOut)
		}
		x.backend.Group.Done(x.target, o, int64(l.now))
	}
	if x.limit != nil {
		s.leave(kept, l.now)
	}
}
