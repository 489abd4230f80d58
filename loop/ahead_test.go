package loop

import (
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"millrace/balance"
)

// ready is a setup with connections made ahead.
func ready(loops, n int, more func(b *Backend)) setup {
	return setup{loops: loops, disableTime: time.Hour, with: func(plan *Plan) {
		b := plan.Backends[0]
		b.MinIdle, b.ConnectTimeout = n, patience
		if more != nil {
			more(b)
		}
	}}
}

func TestConnectionsAreMadeAhead(t *testing.T) {
	for _, loops := range []int{1, 3} {
		tr := newTrace(t)
		a, b := tr.counter(), tr.counter()
		a.closed()
		b.closed()
		p := tr.proxy(ready(loops, 5, nil), a.origin, b.origin)
		tr.eventually("no connections are made ahead", func() bool { return a.conns.Load() == 5 && b.conns.Load() == 5 && p.idle() == 10 })
		p.onLoops(func(l *Loop) {
			l.timers.disarm(&l.aheadTimer)
			if n := l.idle.Len(); loops > 1 && (n < 3 || n > 4) {
				t.Errorf("loop %d has %d of 10 connections", l.id, n)
			}
		})
		// They are for requests.
		c := p.dial()
		c.send(get("/"))
		c.want(200, "a")
		if n := a.conns.Load() + b.conns.Load(); n != 10 {
			t.Errorf("there are %d connections", n)
		}
		p.drain()
	}
}

func TestWhatIsTakenIsMadeAnew(t *testing.T) {
	tr := newTrace(t)
	g := tr.counter()
	p := tr.proxy(ready(1, 2, nil), g.origin)
	tr.eventually("no connections are made ahead", func() bool { return p.idle() == 2 })
	for range 3 {
		p.dial().send(get("/"))
	}
	g.wantInFlight(3)
	tr.eventually("what is taken is not made anew", func() bool { return p.idle() == 2 })
	g.closed()
}

func TestConnectionsAheadThatTheServerClosesAreMadeAnew(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(ready(1, 1, nil), o)
	for range 3 {
		x := o.accept()
		tr.eventually("it is not idle", func() bool { return p.idle() == 1 })
		x.Close()
	}
}

func TestNothingIsMadeAheadForWhoIsDown(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(ready(2, 2, func(b *Backend) { b.Group.SetUp(0, false, 0) }), o)
	p.settle()
	rounds := func() { p.onLoops(func(l *Loop) { (*aheadMaker)(l).expire(l.now) }) }
	rounds()
	o.wantNobody()
	p.group.SetUp(0, true, int64(clock()))
	o.accept()
	o.accept()
	rounds()
	o.wantNobody()
}

func TestWhatIsMadeAheadStaysBelowMax(t *testing.T) {
	tr := newTrace(t)
	g := tr.counter()
	q := &Limit{Queue: 10}
	s := limited(4, q, 3)
	with := s.with
	s.with = func(plan *Plan) {
		with(plan)
		plan.Backends[0].MinIdle, plan.Backends[0].ConnectTimeout = 2, patience
	}
	p := tr.proxy(s, g.origin)
	tr.eventually("no connections are made ahead", func() bool { return p.idle() == 2 })
	for i := range 6 {
		p.dial().send(get(fmt.Sprintf("/%d", i)))
	}
	g.wantInFlight(3)
	q.wantWaiting(tr, 3)
	p.onLoops(func(l *Loop) { (*aheadMaker)(l).expire(l.now) })
	if open, _ := q.Connections(0); open != 3 || g.conns.Load() != 3 {
		t.Errorf("%d connections are counted, the server has %d", open, g.conns.Load())
	}
	g.closed()
}

func TestAnAttemptAheadThatFailsSaysNothingAboutTheServer(t *testing.T) {
	tr := newTrace(t)
	p := tr.proxy(ready(2, 3, nil), tr.refusing())
	p.onLoops(func(l *Loop) { (*aheadMaker)(l).expire(l.now) })
	if p.group.Resting(balance.Index(0), int64(clock())) || p.idle() != 0 {
		t.Errorf("%d idle; the server rests: %v", p.idle(), p.group.Resting(0, int64(clock())))
	}
}

func TestADrainEndsAttemptsAhead(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	var made atomic.Int32
	o.serve(func(x *peer) error {
		made.Add(1)
		io.Copy(io.Discard, x)
		return nil
	})
	for range 5 {
		p := tr.proxy(ready(2, 40, nil), o)
		p.drain() // whether they have been made or not
	}
}

// That a connection has been idle for too long says nothing about the server, whether it had carried a request before or not.
func TestARequestThatMeetsTheEndOfAConnectionMadeAheadIsSentAgain(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(ready(1, 1, nil), o)
	x := o.accept()
	tr.eventually("it is not idle", func() bool { return p.idle() == 1 })
	p.onLoops(func(l *Loop) { l.timers.disarm(&l.aheadTimer) })
	c := p.dial()
	c.send(get("/"))
	x.wantRequest("GET /", "")
	x.Close()
	y := o.accept()
	y.wantRequest("GET /", "")
	y.send(ok("fine"))
	c.want(200, "fine")
}
