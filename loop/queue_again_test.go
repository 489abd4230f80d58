package loop

import (
	"testing"

	"millrace/balance"
)

// A request whose time is up in the moment in which it is let in goes to another server, whose connection another loop
// has idle. What it had been let in to is not mistaken for that.
func TestWhoIsLetInTooLateGoesElsewhere(t *testing.T) {
	tr := newTrace(t)
	a, b := tr.counter(), tr.counter()
	a.closed()
	b.closed()
	q := &Limit{Queue: 10, QueueTimeout: patience}
	s := limited(2, q, 1)
	s.members = []balance.Server{{Route: "a"}, {Route: "b"}}
	with := s.with
	s.with = func(plan *Plan) {
		with(plan)
		plan.Backends[0].Sticky = &Sticky{Header: "X-Route"}
	}
	p := tr.proxy(s, a.origin, b.origin)
	request := func(route string) string {
		return "GET /" + route + " HTTP/1.1\r\nHost: a.example\r\nX-Route: " + route + "\r\n\r\n"
	}
	// b's only connection is idle on one loop, and the request comes to the other one.
	c := p.dial()
	c.send(request("b"))
	c.want(200, "a")
	has := -1
	tr.eventually("the connection is not kept", func() bool {
		p.onLoops(func(l *Loop) {
			if l.idle.Len() == 1 {
				has = l.id
			}
		})
		return has >= 0
	})
	loopOf := func() (at *Loop, waits *session) {
		p.onLoops(func(l *Loop) {
			for s := l.sessions.next; s != &l.sessions; s = s.next {
				if s.stage == stageWait {
					at, waits = l, s
				}
			}
		})
		return at, waits
	}
	other := p.srv.loops[1-has]
	// Something else has a's only connection.
	if !q.Open(other.id, 0) {
		t.Fatal("there is no room")
	}
	var waits *session
	var clients []*peer
	tr.eventually("no client comes to the other loop", func() bool {
		c := p.dial()
		c.send(request("a"))
		clients = append(clients, c)
		q.wantWaiting(tr, 1)
		at, s := loopOf()
		if at == other {
			waits = s
			return true
		}
		c.reset()
		clients = clients[:0]
		q.wantWaiting(tr, 0)
		return false
	})
	p.onLoops(func(l *Loop) {
		if l == other {
			q.Drop(l.id, 0, int64(l.now)) // it is let in, and does not know it yet
			waits.expire(l.now + Time(2*patience))
		}
	})
	clients[0].want(200, "a")
	if n := len(b.seen()); n != 2 {
		t.Errorf("the other server has got %d requests, want 2", n)
	}
	p.drain()
}

// A server comes back in the very moment in which a request finds that the others are full.
func TestNobodyWaitsForRoomBesideAServerThatIsBack(t *testing.T) {
	tr := newTrace(t)
	full, back := tr.counter(), tr.counter()
	back.closed()
	q := &Limit{Queue: 10}
	s := limited(2, q, 1)
	s.balance.Algorithm = "first"
	p := tr.proxy(s, full.origin, back.origin)
	first := p.dial()
	first.send(get("/"))
	full.wantInFlight(1)
	c := p.dial()
	for range 300 {
		p.group.SetUp(1, false, int64(clock()))
		flip := tr.beside("the server", func() error {
			p.group.SetUp(1, true, int64(clock()))
			q.Kick(-1, int64(clock()))
			return nil
		})
		c.send(get("/"))
		c.want(200, "a")
		flip()
	}
	full.closed()
	first.want(200, "a")
}
