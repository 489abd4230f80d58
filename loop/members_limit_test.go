package loop

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/balance"
)

// limited is a proxy whose servers are what the name server says, each with a max, unless each says it.
func (d *dns) limited(s setup, most int) (*proxy, *Limit) {
	if d.each == nil {
		d.each = func(s *BackendServer, _ *balance.Server) { s.Max = most }
	}
	p := d.proxy(s)
	return p, p.srv.plan.Backends[0].Limit
}

func TestWhoWaitsIsLetInToAServerThatJoins(t *testing.T) {
	for _, loops := range []int{1, 3} {
		tr := newTrace(t)
		d := tr.dns()
		a, b := tr.counter(), tr.counter()
		d.set(a.origin)
		q := &Limit{Queue: 10}
		p, _ := d.limited(limited(loops, q, 1), 1)
		var peers []*peer
		for range 3 {
			c := p.dial()
			c.send(get("/"))
			peers = append(peers, c)
		}
		a.wantInFlight(1)
		q.wantWaiting(tr, 2)
		d.set(a.origin, b.origin)
		b.wantInFlight(1)
		q.wantWaiting(tr, 1)
		a.closed()
		b.closed()
		for _, c := range peers {
			c.want(200, "a")
		}
		p.drain()
	}
}

// A server that comes back while a request of before is still under way there has as much less room.
func TestAServerThatComesBackHasTheConnectionsThatItHad(t *testing.T) {
	for _, loops := range []int{1, 3} {
		tr := newTrace(t)
		d := tr.dns()
		a, b := tr.counter(), tr.counter()
		d.set(a.origin)
		q := &Limit{Queue: 10}
		p, _ := d.limited(limited(loops, q, 2), 2)
		var peers []*peer
		ask := func() {
			c := p.dial()
			c.send(get("/"))
			peers = append(peers, c)
		}
		ask()
		a.wantInFlight(1)
		for range 3 {
			d.set(b.origin)
			p.wantServers(b.origin)
			p.wantSaid("left=[" + a.name + "]")
			d.set(a.origin)
			p.wantServers(a.origin)
		}
		ask()
		a.wantInFlight(2)
		ask()
		q.wantWaiting(tr, 1)
		a.closed()
		b.closed()
		for _, c := range peers {
			c.want(200, "a")
		}
		if a.most > 2 || len(a.seen()) != 3 {
			t.Errorf("%d requests have been in flight at once, of %d", a.most, len(a.seen()))
		}
		p.drain()
	}
}

// Who waits for a server that leaves, because of its key or its session, waits for another one then.
func TestWhoWaitsForAServerThatLeavesChoosesAgain(t *testing.T) {
	for name, session := range map[string]bool{"key": false, "session": true} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			d := tr.dns()
			a, b := tr.counter(), tr.counter()
			d.set(a.origin)
			q := &Limit{Queue: 10}
			s := limited(2, q, 1)
			if session {
				with := s.with
				s.with = func(plan *Plan) {
					with(plan)
					plan.Backends[0].Sticky = &Sticky{Header: "X-Route"}
				}
			} else {
				s.balance.Algorithm, s.key = "hash", Key{Source: KeyPath}
			}
			d.each = func(s *BackendServer, m *balance.Server) {
				if s.Max = 1; session {
					m.Route = "all"
				}
			}
			p, _ := d.limited(s, 1)
			const request = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Route: all\r\n\r\n"
			first, second := p.dial(), p.dial()
			first.send(request)
			a.wantInFlight(1)
			second.send(request)
			q.wantWaiting(tr, 1)
			d.set(b.origin)
			b.wantInFlight(1)
			q.wantWaiting(tr, 0)
			a.closed()
			b.closed()
			first.want(200, "a")
			second.want(200, "a")
			// The connection to who left is not kept, and nothing is counted of it any more.
			tr.eventually("its connection is not closed", func() bool { return a.conns.Load() == 0 })
			tr.eventually("it is counted still", func() bool {
				open, _ := q.Connections(0)
				return open == 0
			})
		})
	}
}

func TestIdleConnectionsToAServerThatLeavesMakeRoomForNobody(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	a, b := tr.counter(), tr.counter()
	a.closed()
	b.closed()
	d.set(a.origin)
	q := &Limit{Queue: 100}
	p, _ := d.limited(limited(3, q, 1), 1)
	for i := range 12 {
		c := p.dial()
		c.send(get("/"))
		c.want(200, "a")
		if i%2 == 0 {
			d.set(b.origin)
			p.wantServers(b.origin)
		} else {
			d.set(a.origin)
			p.wantServers(a.origin)
		}
	}
	if a.most > 1 || b.most > 1 {
		t.Errorf("%d and %d requests have been in flight at once", a.most, b.most)
	}
}

// TestLimitsHoldWhileServersChange: requests go on, on several loops, some of which leave early or are never answered,
// while servers come and go. None has more in flight than its max, none that is answered fails, nobody waits for ever.
func TestLimitsHoldWhileServersChange(t *testing.T) {
	for name, o := range map[string]balance.Options{
		"fair": {Limited: true}, "round-robin": {Algorithm: "round-robin", Limited: true}, "hash": {Algorithm: "hash", Limited: true},
		"weights": {Algorithm: "random", Limited: true}, "addresses of one server": {Limited: true, Addresses: true},
	} {
		t.Run(name, func(t *testing.T) {
			const most, clients = 2, 8
			tr := newTrace(t)
			d := tr.dns()
			var counters []*counter
			for range 4 {
				g := tr.counter()
				g.closed()
				counters = append(counters, g)
			}
			d.set(counters[0].origin)
			q := &Limit{Queue: 1000}
			s := limited(3, q, most)
			s.balance, s.key = o, Key{Source: KeyPath}
			if name == "weights" {
				var n atomic.Int64
				d.each = func(s *BackendServer, m *balance.Server) {
					s.Max, m.Weight = most, 1+int(n.Add(1)%3)
				}
			}
			p, _ := d.limited(s, most)
			var stop atomic.Bool
			var requests atomic.Int64
			var running sync.WaitGroup
			for i := range clients {
				running.Go(func() {
					c := p.dial()
					for n := 0; !stop.Load(); n++ {
						request := get(fmt.Sprint("/", i, "/", n))
						if i%2 == 0 {
							request = post(fmt.Sprint("/", i, "/", n), "body") // which is not tried again
						}
						if _, err := io.WriteString(c, request); err != nil {
							t.Errorf("client: %v", err)
							return
						}
						if n%5 == i%5 {
							c.reset()
							c = p.dial()
							continue
						}
						res, _, err := c.readResponse("GET")
						if err != nil || res.StatusCode != 200 {
							t.Errorf("client: %v, %v", res, err)
							return
						}
						requests.Add(1)
					}
				})
			}
			for n := range 40 {
				now := []*origin{counters[n%4].origin, counters[(n+1)%4].origin}
				if n%3 == 0 {
					now = now[:1]
				}
				d.set(now...)
				p.wantServers(now...)
				before := requests.Load()
				tr.eventually("no requests get through", func() bool { return t.Failed() || requests.Load() > before+5 })
			}
			stop.Store(true)
			running.Wait()
			for i, g := range counters {
				g.mu.Lock()
				if g.most > most {
					t.Errorf("server %d has had %d requests at once", i, g.most)
				}
				g.mu.Unlock()
			}
			tr.eventually("somebody waits for ever", func() bool { return q.Waiting() == 0 })
			p.onLoops(func(l *Loop) {
				if n := len(l.targets); n > 8 {
					t.Errorf("there are %d targets for 4 servers", n)
				}
			})
			if n := len(q.slots); n > 8 {
				t.Errorf("there are %d slots for 4 servers", n)
			}
		})
	}
}

func TestAServerOfALimitThatIsFoundLater(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	a := tr.counter()
	q := &Limit{Queue: 10, QueueTimeout: patience}
	p, _ := d.limited(limited(2, q, 1), 1)
	c := p.dial()
	c.send(get("/"))
	c.wantError("GET", 503)
	d.set(a.origin)
	p.wantServers(a.origin)
	c.send(get("/"))
	a.wantInFlight(1)
	other := p.dial()
	other.send(get("/"))
	q.wantWaiting(tr, 1)
	a.closed()
	c.want(200, "a")
	other.want(200, "a")
}

// Connections that are made ahead count as well, on whichever servers there are.
func TestConnectionsAreMadeAheadBelowALimitOfServersThatJoin(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	a, b := tr.counter(), tr.counter()
	d.set(a.origin)
	q := &Limit{Queue: 10}
	s := limited(2, q, 3)
	with := s.with
	s.with = func(plan *Plan) {
		with(plan)
		plan.Backends[0].MinIdle, plan.Backends[0].ConnectTimeout = 2, time.Minute
	}
	p, _ := d.limited(s, 3)
	tr.eventually("none are made", func() bool { return a.conns.Load() == 2 })
	d.set(b.origin)
	p.wantServers(b.origin)
	tr.eventually("none are made to the server that has joined", func() bool { return b.conns.Load() == 2 })
	tr.eventually("those to the server that left are not closed", func() bool { return a.conns.Load() == 0 })
}

// A connection that was on its way between two loops when its server left is not kept.
func TestAConnectionOnItsWayToNobodyIsClosedWhenItsServerHasLeft(t *testing.T) {
	for _, left := range []bool{false, true} {
		tr := newTrace(t)
		d := tr.dns()
		a := tr.counter()
		a.closed()
		d.set(a.origin)
		p, q := d.limited(limited(1, &Limit{Queue: 1}, 1), 1)
		c := p.dial()
		c.send(get("/"))
		c.want(200, "a")
		tr.eventually("the connection is not kept", func() bool {
			_, idle := q.Connections(0)
			return idle == 1
		})
		p.onLoops(func(l *Loop) {
			conn, ok := l.idle.Get(0)
			if !ok || !l.release(conn) {
				t.Error("there is no connection")
				return
			}
			l.targets[0].left = left
			l.readmit(q, 0, conn)
			if n := l.idle.Len(); (n == 0) != left {
				t.Errorf("the server has left: %v; %d connections are kept", left, n)
			}
		})
		if open, _ := q.Connections(0); (open == 0) != left {
			t.Errorf("the server has left: %v; %d connections are counted", left, open)
		}
		p.drain()
	}
}
