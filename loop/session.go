package loop

import (
	"net/netip"
	"time"

	"millrace/pool"
)

// stage is where a session stands. Stages only ever move down this list, except retry (back to pick) and
// keep-alive (back to head).
type stage uint8

const (
	// stageProxyHeader waits for the PROXY header of a trusted peer. Leaves by a complete one, by bytes that are none, the
	// peer's end, or a deadline.
	stageProxyHeader stage = iota
	// stageHead waits for a request head, or for its first byte. Leaves by a complete head, a refusal, the
	// client's end, or a deadline.
	stageHead
	// stageRoute chooses the route. It does not wait.
	stageRoute
	// stagePick chooses a server. It does not wait.
	stagePick
	// stageWait waits for room at a server that takes no more connections. Nothing is held meanwhile.
	stageWait
	// stageDial waits for a connection to the server, unless the pool has one.
	stageDial
	// stageSend gives the request head, and what is there of the body, to the server's socket. It does not wait.
	stageSend
	// stageRelay moves the request body up and the response down until both have ended: see half.
	stageRelay
	// stageTunnel passes bytes both ways without reading them, until both sides have ended.
	stageTunnel
	// stageFlush has the whole answer, the server's or our own, and waits until the client has taken it. The
	// server's connection serves others meanwhile.
	stageFlush
	// stageDrain reads the rest of a request body that nobody wants any more, so that the next request can
	// be found behind it.
	stageDrain
	// stageFinish gives everything back, writes the record and decides what becomes of the connection.
	stageFinish
	// stageLinger has sent its last byte and waits for the client's end, since closing with bytes unread
	// makes the kernel reset the connection, and the answer could be lost with it.
	stageLinger
	// stageClosed is terminal.
	stageClosed
)

var stageNames = [...]string{"proxy header", "head", "route", "pick", "wait", "dial", "send", "relay", "tunnel", "flush", "drain", "finish", "linger", "closed"}

func (s stage) String() string { return stageNames[s] }

// half is how far one direction of a relay has come. Legal pairs (request, response):
//
//	body, head     the request is being sent, nothing has been heard
//	body, body     the server answers before it has the whole request
//	body, done     it has answered: the rest of the request is drained, or the client closed
//	done, head     the usual wait
//	done, body     the usual answer
//	done, done     the exchange is complete; the server's connection may be kept
//	broken, *      the server takes no more of the request, but may have answered
type half uint8

const (
	halfHead half = iota
	halfBody
	halfDone
	halfBroken
)

// session is one client connection.
type session struct {
	next, prev *session // among the loop's open sessions
	l          *Loop
	listener   *Listener
	client     endpoint
	in         buffer       // read from the client: the head of the current request first, then what is not consumed
	origin     *backendConn // from dial to the end of relay
	x          *exchange    // from the first byte of a request to its end
	t          *tunnel      // in a tunnel, or on the way to one that nothing is read for; x is its
	timer      timer
	stageSince Time
	remote     netip.Addr // whom the connection comes from; not valid on a unix socket
	port       uint16
	addrLen    uint8
	stage      stage
	req, res   half
	queued     bool  // on the run list
	polls      int   // in stageLinger, before a reset: how often it was asked what the client has to take
	unsent     int64 // what a side that is lingered for had not acknowledged when its time was last up; 0: it never was
	aborted    bool  // close by a reset: nothing else shows an HTTP/1.0 client that its answer was cut
	addr       [45]byte
	turn       turn
	behind     *client  // not nil when that is a trusted proxy
	proxied    *proxied // what a PROXY header has said; nil without one
}

// turn is what a session has used of its share of the present step.
type turn struct{ requests, up, down int }

// lingerTime is how long stageLinger waits at a time. A client that acknowledges nothing for so long is not going to.
const lingerTime = 5 * time.Second

// drainMax bounds what stageDrain reads, in bytes. More than that costs more than a new connection.
const drainMax = 256 << 10

// newSession takes over an accepted connection.
func (l *Loop) newSession(lis *Listener, fd int, peer netip.AddrPort, counted *clientSlot) {
	s := l.spare.getSession()
	s.l, s.listener = l, lis
	s.client = endpoint{fd: fd, own: s, writable: true, counted: counted}
	s.timer.own = s
	s.setPeer(peer)
	s.prev, s.next = l.sessions.prev, &l.sessions
	s.prev.next, s.next.prev = s, s
	l.open++
	s.setStage(stageHead, l.now)
	if err := l.register(&s.client); err != nil {
		// Out of kernel memory, or of epoll watches: the client is refused, the others go on.
		l.log.Warn("cannot watch a connection", "error", err)
		s.close()
		return
	}
	if lis.ProxyProtocol != ProxyOff && s.behind != nil {
		s.awaitProxyHeader(l.now)
		return
	}
	if lis.Backend != nil {
		s.beginSock(l.now)
		s.step(l.now)
		return
	}
	l.arm(&s.timer, l.now.after(lis.Timeouts.ClientIdle))
}

// setPeer notes whom the connection comes from.
func (s *session) setPeer(peer netip.AddrPort) {
	s.remote, s.port = peer.Addr().WithZone(""), peer.Port()
	if peer.IsValid() {
		s.addrLen = uint8(len(s.remote.AppendTo(s.addr[:0])))
	}
	if t := s.listener.Trust; t != nil && t.trusts(peer.Addr()) {
		s.behind = new(client)
	}
}

// clientAddr is the address that the present request comes from, as text; empty for a unix socket.
func (s *session) clientAddr() []byte {
	if s.behind != nil && s.behind.textLen > 0 {
		return s.behind.text[:s.behind.textLen]
	}
	return s.addr[:s.addrLen]
}

func (s *session) ready(*endpoint) { s.step(s.l.now) }

func (s *session) resume() {
	s.queued = false
	if s.stage == stageClosed {
		s.l.spare.putSession(s)
		return
	}
	s.step(s.l.now)
}

// setStage is the only assignment to the stage.
func (s *session) setStage(to stage, now Time) {
	s.stage = to
	s.stageSince = now
}

// step runs the session as far as it can go without waiting, then arms the deadline of whatever it now
// waits for.
func (s *session) step(now Time) {
	if s.stage == stageClosed {
		return
	}
	s.turn = turn{}
	for moved := true; moved; {
		switch s.stage {
		case stageProxyHeader:
			moved = s.readProxyHeader(now)
		case stageHead:
			moved = s.readHead(now)
		case stageRoute:
			moved = s.route(now)
		case stagePick:
			moved = s.pick(now)
		case stageWait:
			moved = s.inQueue(now)
		case stageDial:
			moved = s.dial(now)
		case stageSend:
			moved = s.send(now)
		case stageRelay:
			moved = s.relay(now)
		case stageTunnel:
			moved = s.tunnel(now)
		case stageFlush:
			moved = s.flush(now)
		case stageDrain:
			moved = s.drain(now)
		case stageFinish:
			moved = s.finish(now)
		case stageLinger:
			moved = s.linger(now)
		case stageClosed:
			return
		}
	}
	if s.stage == stageClosed {
		return
	}
	at, _ := s.deadline()
	s.l.arm(&s.timer, at)
}

// yield lets the others have their turn; the session goes on in the next one.
func (s *session) yield() {
	if !s.queued {
		s.queued = true
		s.l.runs.add(s)
	}
}

// deadline derives from the state what the session waits for, until when, and what it means if it does
// not come.
func (s *session) deadline() (Time, fault) {
	x := s.x
	switch s.stage {
	case stageProxyHeader:
		return s.proxyHeaderDeadline(), faultNone
	case stageHead:
		if x == nil {
			return s.stageSince.after(s.listener.Timeouts.ClientIdle), faultNone
		}
		return x.started.after(x.timeouts.ClientHeader), faultHeaderTimeout
	case stageWait:
		if x.permit == pool.Coming {
			return s.stageSince.after(x.timeouts.Connect), faultQueueTimeout // it waits for no room any more
		}
		if x.place.Patient {
			return s.waitsSince().after(x.limit.ServerWait), faultNoServer
		}
		return s.waitsSince().after(x.limit.QueueTimeout), faultQueueTimeout
	case stageDial:
		return x.dialled.after(x.timeouts.Connect), faultConnectTimeout
	case stageRelay:
		return s.relayDeadline()
	case stageTunnel:
		return s.tunnelDeadline()
	case stageFlush:
		return s.within(x.downAt, x.timeouts.ClientWrite, x.downDebt), faultClientTimeout
	case stageDrain:
		return s.within(x.upAt, x.timeouts.ClientBody, x.upDebt), faultNone
	case stageLinger:
		if s.aborted {
			return s.stageSince.after(resetPoll), faultNone
		}
		return s.stageSince.after(lingerTime), faultNone
	}
	panicf("loop: a session waits in stage %v", s.stage)
	return 0, 0
}

func (s *session) relayDeadline() (Time, fault) {
	x := s.x
	up, upFault := never, faultNone
	switch {
	case s.origin.waiting():
		up, upFault = x.upAt.after(x.timeouts.BackendRead), faultResponseTimeout
	case s.req != halfBody:
	case x.pinging:
		if s.res == halfHead {
			up, upFault = x.upAt.after(x.backend.Ping), faultPing
		}
	case x.waitsFor100:
		// It is the server that keeps the client waiting.
		up, upFault = x.upAt.after(x.timeouts.Response), faultResponseTimeout
	default:
		up, upFault = s.within(x.upAt, x.timeouts.ClientBody, x.upDebt), faultBodyTimeout
	}
	down, downFault := never, faultNone
	switch {
	case s.client.waiting():
		down, downFault = s.within(x.downAt, x.timeouts.ClientWrite, x.downDebt), faultClientTimeout
	case s.res == halfHead && s.req != halfBody:
		down, downFault = max(x.upAt, x.downAt).after(x.timeouts.Response), faultResponseTimeout
	case s.res == halfBody:
		down, downFault = x.downAt.after(x.timeouts.BackendRead), faultReadTimeout
	}
	if up < down {
		return up, upFault
	}
	return down, downFault
}

// expire is the deadline that has passed, unless what was waited for has come in the same moment.
func (s *session) expire(now Time) {
	if s.stage == stageClosed {
		return
	}
	at, f := s.deadline()
	if at > now {
		s.l.arm(&s.timer, at)
		return
	}
	if f == faultClientTimeout && s.takes(now) {
		at, _ = s.deadline()
		s.l.arm(&s.timer, at)
		return
	}
	switch {
	case s.stage == stageLinger && (s.aborted && s.delivers() || !s.aborted && s.stillTakes(&s.client)):
		s.stageSince = now
		at, _ = s.deadline()
		s.l.arm(&s.timer, at)
		return
	case s.stage == stageProxyHeader:
		s.expireProxyHeader(now)
		return
	case s.stage == stageHead && s.x == nil:
		// A request may have come in the same moment. It was sent in time, as far as its client could know.
		s.client.readable = true
		if s.step(now); s.stage == stageHead && s.x == nil {
			s.close()
		}
		return
	case s.x == nil || s.stage == stageFlush || s.stage == stageLinger:
		if s.x != nil {
			s.x.fault = f
			s.showCut()
			s.finishExchange(now)
		}
		s.close()
		return
	case s.stage == stageTunnel:
		s.expireTunnel(f, now)
		return
	case s.stage == stageWait:
		s.waitedInVain(f, now)
	case s.stage == stageDrain:
		s.x.persistent = false
		s.setStage(stageFinish, now)
	default:
		s.fail(f, now)
	}
	s.step(now)
}

// close ends the session's connection. Whatever its exchange held has been given back.
func (s *session) close() {
	l := s.l
	if s.x != nil || s.origin != nil {
		panicf("loop: a session is closed in stage %v with its exchange", s.stage)
	}
	s.stage = stageClosed
	l.timers.disarm(&s.timer)
	if s.aborted {
		setReset(s.client.fd)
	}
	l.bufs.release(&s.in)
	s.forgetProxied()
	l.close(&s.client)
	s.prev.next, s.next.prev = s.next, s.prev
	s.next, s.prev = nil, nil
	l.open--
	l.srv.dropConn()
	if l.draining && l.open == 0 {
		l.drained()
	}
	if !s.queued {
		l.spare.putSession(s)
	}
}
