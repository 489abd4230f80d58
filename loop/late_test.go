package loop

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// overslept has the loop find that the deadline of its one session has passed, together with what it waits for, which come
// sends to the descriptor: what a loop finds when the machine did not let it run for so long. The deadline comes first.
func (p *proxy) overslept(fd func(s *session) int, past func(s *session, at Time), come func()) {
	p.tr.Helper()
	p.onLoops(func(l *Loop) {
		s := l.sessions.next
		past(s, l.now-Time(2*time.Hour))
		l.timers.disarm(&s.timer)
		l.arm(&s.timer, l.now)
		p.tr.waitFor(l.tick.fd, unix.POLLIN)
		come()
		p.tr.waitFor(fd(s), unix.POLLIN)
	})
}

func TestWhatHasComeInTimeIsNotLateWhenTheLoopIs(t *testing.T) {
	client := func(s *session) int { return s.client.fd }
	server := func(s *session) int { return s.origin.fd }
	timeouts := Timeouts{TunnelIdle: time.Hour, BackendRead: time.Hour, ClientBody: time.Hour, Response: time.Hour}
	eachTunnel(t, func(t *testing.T, w *tunnelWay) {
		tr := newTrace(t)
		p, c, x := w.start(tr, setup{timeouts: timeouts, record: "$end"})
		silent := func(s *session, at Time) { s.t.movedAt = at }
		p.overslept(client, silent, func() { c.send("ping") })
		x.wantBytes("ping")
		p.overslept(server, silent, func() { x.send("pong") })
		c.wantBytes("pong")
		c.closeWrite()
		x.wantEnd()
		x.closeWrite()
		c.wantEnd()
		p.wantRecords("ok")
	})
	t.Run("request", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{timeouts: timeouts, record: "$status $end"}, o)
		c := p.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
		x := o.accept()
		x.wantHead()
		x.wantBytes("ab")
		p.overslept(client, func(s *session, at Time) { s.x.upAt = at }, func() { c.send("cd") })
		x.wantBytes("cd")
		p.overslept(server, func(s *session, at Time) { s.x.upAt, s.x.downAt = at, at }, func() { x.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nw") })
		p.settle()
		p.overslept(server, func(s *session, at Time) { s.x.downAt = at }, func() { x.send("xyz") })
		c.want(200, "wxyz")
		p.wantRecords("200 ok")
	})
}
