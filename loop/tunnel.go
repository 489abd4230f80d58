package loop

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"millrace/httpparse"
)

// tunnelKind is how a session comes to pass bytes on unread. It decides who is told what until it does.
type tunnelKind uint8

const (
	_ tunnelKind = iota // none: requests and responses, as far as is known
	// tunnelUpgrade: the client asks to switch protocols. It is a tunnel if the server agrees, by 101.
	tunnelUpgrade
	// tunnelConnect: the client is told 200 when a server is connected, which is told nothing.
	tunnelConnect
	// tunnelSock: the listener parses nothing. The client is never told anything, only closed.
	tunnelSock
)

// tunnel is what a session needs to be one: it takes the place of the exchange that led to it.
type tunnel struct {
	// x has no room for fields, which a tunnel would hold for as long as it lasts.
	x exchange
	// quoted is what the record quotes of the request that it began with: x.req has views into it.
	quoted   []byte
	fields   [len(quotedFields)]httpparse.Field
	up, down flow
	movedAt  Time // the last time that bytes moved, either way
	// lingersSince is since when all that is left to do is to wait for the end of a side whose bytes nobody takes any more;
	// 0: not yet.
	lingersSince Time
}

// flowState is how far one direction of a tunnel has come.
type flowState uint8

const (
	// flowOpen passes bytes on, and then the source's FIN.
	flowOpen flowState = iota
	// flowBroken has a destination that takes no more. What its source sends is read and forgotten, because closing
	// a socket with bytes unread resets the connection, and with it whatever goes the other way could be lost.
	flowBroken
	// flowDone has passed the source's FIN on, or has seen the end of the source of a broken flow.
	flowDone
)

// flow is one direction of a tunnel.
type flow struct {
	state   flowState
	refused bool  // splice does not work with this source
	run     int64 // bytes that were read since the source has last run dry behind little
	burst   int64 // bytes that were read since it has last run dry
	bytes   int64 // that the destination's socket, buffer or pipe has taken
}

// getTunnel returns an empty tunnel.
func (p *spares) getTunnel() *tunnel {
	if n := len(p.tunnels); n > 0 {
		t := p.tunnels[n-1]
		p.tunnels = p.tunnels[:n-1]
		return t
	}
	p.account.add(tunnelBytes)
	t := &tunnel{}
	t.x.reset()
	return t
}

func (p *spares) putTunnel(t *tunnel) {
	p.account.add(-cap(t.quoted))
	if len(p.tunnels) < spareMax && p.account.keeps() {
		t.x.reset()
		*t = tunnel{x: t.x}
		p.tunnels = append(p.tunnels, t)
		return
	}
	p.account.add(-tunnelBytes)
}

// beginSock starts the tunnel of a client of a sock listener: at once, since it may be the server that speaks first.
func (s *session) beginSock(now Time) {
	l := s.l
	s.t = l.spare.getTunnel()
	x := &s.t.x
	x.kind = tunnelSock
	x.started, x.timeouts = now, s.listener.Timeouts
	x.backend = s.listener.Backend
	x.fresh = true // a connection that has carried requests is not the beginning of anything
	if l.access != nil {
		x.wall = time.Now().UnixNano()
	}
	s.x = x
	s.setStage(stagePick, now)
}

// openTunnel begins to pass bytes on: the server is connected.
func (s *session) openTunnel(now Time) bool {
	s.t.movedAt = now
	s.x.fault = faultNone // whatever an earlier attempt met
	s.x.sent = true       // what passes is the server's traffic
	s.setStage(stageTunnel, now)
	return true
}

// tunnel moves bytes both ways, each until it has to wait.
func (s *session) tunnel(now Time) bool {
	t, c := s.t, s.origin
	if f := s.tunnelUp(now); f != faultNone {
		return s.cutTunnel(f, now)
	}
	if f := s.tunnelDown(now); f != faultNone {
		return s.cutTunnel(f, now)
	}
	if s.client.failing && s.resetBehind(&s.client, &t.up, &t.down, &c.endpoint) {
		return s.cutTunnel(faultClientGone, now)
	}
	if c.failing && s.resetBehind(&c.endpoint, &t.down, &t.up, &s.client) {
		return s.cutTunnel(faultServerClosed, now)
	}
	switch {
	case t.up.state == flowDone && t.down.state == flowDone:
		return s.endTunnel(s.x.fault, now)
	case t.up.state != flowOpen && t.down.state != flowOpen && t.lingersSince == 0:
		t.lingersSince = now
	}
	return false
}

// tunnelUp moves what the client sends.
func (s *session) tunnelUp(now Time) fault {
	t, c := s.t, s.origin
	from, errno := s.move(&t.up, &s.client, &c.endpoint, &s.in, &s.turn.up, now)
	switch {
	case errno == 0:
		return faultNone
	case from:
		return faultClientGone
	case errno != syscall.EPIPE:
		return faultServerClosed
	}
	s.breakFlow(&t.up, &c.endpoint, faultServerClosed)
	return faultNone
}

// tunnelDown moves what the server sends.
func (s *session) tunnelDown(now Time) fault {
	t, c, x := s.t, s.origin, s.x
	before := t.down.bytes
	from, errno := s.move(&t.down, &c.endpoint, &s.client, &c.in, &s.turn.down, now)
	if t.down.bytes > before && x.firstByte < 0 {
		x.firstByte = time.Duration(now - x.started)
	}
	switch {
	case errno == 0:
		return faultNone
	case from:
		return faultServerClosed
	case errno != syscall.EPIPE:
		return faultClientGone
	}
	s.breakFlow(&t.down, &s.client, faultClientGone)
	return faultNone
}

// move moves bytes from one side to the other until there are none, there is no room for them, or the turn is over;
// first those that were read before, in held. Of an error, source tells whose it is.
func (s *session) move(f *flow, from, to *endpoint, held *buffer, turn *int, now Time) (source bool, errno syscall.Errno) {
	l := s.l
	for f.state == flowOpen {
		if to.waiting() {
			moved, errno := to.flush(l)
			if errno != 0 {
				return false, errno
			}
			if moved {
				s.t.movedAt = now
			}
			if to.waiting() {
				return false, 0
			}
		}
		if held.len() > 0 {
			n := held.len()
			errno := to.send(l, held.bytes())
			l.bufs.release(held)
			if errno != 0 {
				return false, errno
			}
			f.bytes += int64(n)
			continue
		}
		if from.eof {
			// All that came before it has been taken. That there may be nobody left to take this is no matter.
			closeWrite(to.fd)
			f.state = flowDone
			s.t.movedAt = now
			break
		}
		if !from.readable {
			break
		}
		if *turn >= turnBytes {
			s.yield()
			break
		}
		if f.run >= l.spliceFrom && !f.refused {
			n, result, errno := s.spliceFlow(f, from, to, now)
			if errno != 0 {
				return true, errno
			}
			*turn += n
			if result != spliceCopies {
				continue
			}
		}
		room := l.readRoom()
		n, errno := from.recv(room)
		if errno != 0 {
			return true, errno
		}
		if n == 0 {
			f.ranDry(l)
			continue
		}
		f.run += int64(n)
		if f.burst += int64(n); !from.readable {
			f.ranDry(l)
		}
		*turn += n
		s.t.movedAt = now
		if errno := to.send(l, room[:n]); errno != 0 {
			return false, errno
		}
		f.bytes += int64(n)
	}
	for f.state == flowBroken && from.readable {
		if *turn >= turnBytes {
			s.yield()
			break
		}
		n, errno := from.recv(l.relay)
		*turn += n
		if errno != 0 || from.eof {
			f.state = flowDone
		}
	}
	return false, 0
}

// burstShare is the part of spliceFrom that a source has to bring before it runs dry, one in so many, for what it brings
// next to count on. Whether it runs dry depends on how busy it is; whether a splice pays, which costs two calls more than
// a copy, depends on how much there is each time.
const burstShare = 4

// ranDry notes that there is nothing more to read for now.
func (f *flow) ranDry(l *Loop) {
	if f.burst < l.spliceFrom/burstShare {
		f.run = 0
	}
	f.burst = 0
}

// breakFlow notes that to takes no more of f, though its own bytes may go on to their end.
func (s *session) breakFlow(f *flow, to *endpoint, why fault) {
	l := s.l
	l.bufs.release(&to.out)
	l.dropPipe(to)
	f.state = flowBroken
	if s.x.fault == faultNone {
		s.x.fault = why
	}
	// The loop has not seen what f's source may have sent since it was last looked at.
	s.yield()
}

// resetBehind asks whether e was reset, where reading does not tell: its bytes are not wanted yet, or all of them have
// come. sent is the flow that e is the source of, and taken the one that it is the destination of.
func (s *session) resetBehind(e *endpoint, sent, taken *flow, other *endpoint) bool {
	if sent.state == flowOpen && !other.waiting() {
		return false // reading will tell
	}
	e.failing = false
	if taken.state == flowDone {
		// We have said goodbye to e as well, and then the error does not tell whether e had done so. Reading will, behind
		// all that has come, as long as nobody has asked for the error.
		return false
	}
	switch errno := pendingError(e.fd); {
	case errno == 0:
		return false // both directions have ended, which is reported as a failure too
	case errno != syscall.EPIPE && !e.eof:
		return true
	}
	if taken.state == flowOpen {
		why := faultClientGone
		if e != &s.client {
			why = faultServerClosed
		}
		s.breakFlow(taken, e, why)
	}
	return false
}

// tunnelDeadline is when a tunnel has been silent for too long.
func (s *session) tunnelDeadline() (Time, fault) {
	if since := s.t.lingersSince; since != 0 {
		return since.after(lingerTime), s.x.fault
	}
	return s.t.movedAt.after(s.x.timeouts.TunnelIdle), faultTunnelIdle
}

// expireTunnel ends a tunnel that has been silent for too long.
func (s *session) expireTunnel(f fault, now Time) {
	t := s.t
	switch {
	case t.lingersSince == 0:
		s.cutTunnel(f, now)
	case t.down.state == flowDone && s.stillTakes(&s.client), t.up.state == flowDone && s.stillTakes(&s.origin.endpoint):
		t.lingersSince = now
		at, _ := s.deadline()
		s.l.arm(&s.timer, at)
	default:
		s.endTunnel(f, now)
	}
}

// cutTunnel ends a tunnel before its sides have ended it, and lets both see that: by a reset.
func (s *session) cutTunnel(f fault, now Time) bool {
	s.aborted = true
	return s.endTunnel(f, now)
}

// endTunnel ends a tunnel, or the attempt to make one.
func (s *session) endTunnel(f fault, now Time) bool {
	s.x.fault = f
	s.finishExchange(now)
	s.close()
	return false
}

// finish gives the exchange of a tunnel what the record tells of it.
func (t *tunnel) finish() {
	x := &t.x
	x.bytesIn += t.up.bytes
	x.bytesOut += t.down.bytes
	x.down.payload = t.down.bytes
}

// setReset makes closing fd a reset of its connection.
func setReset(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}
