package loop

import (
	"fmt"
	"testing"
	"time"

	"millrace/balance"
)

// BL-12: a server that is full is no reason to wait where another one has room, nor to leave it out afterwards.
func TestAServerThatIsFullIsNotInError(t *testing.T) {
	tr := newTrace(t)
	a, b := tr.counter(), tr.counter()
	q := &Limit{Queue: 10, QueueTimeout: patience}
	s := limited(2, q, 1, 0)
	s.balance.Algorithm = "byrequests"
	p := tr.proxy(s, a.origin, b.origin)
	var peers []*peer
	for range 4 {
		c := p.dial()
		c.send(get("/"))
		peers = append(peers, c)
	}
	a.wantInFlight(1)
	b.wantInFlight(3) // the third and the fourth have not waited
	if n := q.Waiting(); n != 0 {
		t.Errorf("%d requests wait", n)
	}
	a.closed()
	b.closed()
	for _, c := range peers {
		c.want(200, "a")
	}
	// A client has its response a moment before the connection is free.
	tr.eventually("the connection does not become free", func() bool {
		_, idle := q.Connections(0)
		return idle == 1
	})
	c := p.dial()
	for range 2 {
		c.send(get("/"))
		c.want(200, "a")
	}
	if n := len(a.seen()); n != 2 {
		t.Errorf("the server that was full has got %d requests, want another one", n)
	}
}

// BL-12 for requests that have a server of their own, which they wait for.
func TestWhoHasWaitedForItsServerInVainGoesToOneWithRoom(t *testing.T) {
	const session = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Route: a\r\n\r\n"
	for name, tt := range map[string]struct {
		key    bool
		sticky *Sticky
		full   bool // all servers are
		want   int
	}{
		"a key":                       {true, nil, false, 200},
		"a session":                   {false, &Sticky{Header: "X-Route"}, false, 200},
		"a session without failover":  {false, &Sticky{Header: "X-Route", NoFailover: true}, false, 503},
		"a key, and all are full":     {true, nil, true, 503},
		"a session, and all are full": {false, &Sticky{Header: "X-Route"}, true, 503},
	} {
		for _, adaptive := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", adaptive: ", adaptive), func(t *testing.T) {
				tr := newTrace(t)
				servers := []*counter{tr.counter(), tr.counter(), tr.counter()}
				q := &Limit{Queue: 10, QueueTimeout: 100 * time.Millisecond, Adaptive: adaptive}
				s := limited(2, q, 1)
				s.record = "$status $end"
				s.members = []balance.Server{{Route: "a"}}
				if tt.key {
					s.balance.Algorithm, s.key = "hash", Key{Source: KeyPath}
				}
				with := s.with
				s.with = func(plan *Plan) {
					with(plan)
					plan.Backends[0].Sticky = tt.sticky
				}
				p := tr.proxy(s, servers[0].origin, servers[1].origin, servers[2].origin)
				inFlight := func() (n int) {
					for _, g := range servers {
						n += g.inFlight()
					}
					return n
				}
				first := p.dial()
				first.send(session)
				tr.eventually("the first request does not arrive", func() bool { return inFlight() == 1 })
				if tt.full {
					for i := range servers {
						p.group.SetFull(balance.Index(i), true)
					}
				}
				second := p.dial()
				second.send(session)
				if tt.want == 200 {
					tr.eventually("no other server gets the second", func() bool { return inFlight() == 2 })
				} else {
					second.wantError("GET", tt.want)
				}
				for _, g := range servers {
					if g.most > 1 {
						t.Error("a server has got two at once")
					}
					g.closed()
				}
				first.want(200, "a")
				if tt.want == 200 {
					second.want(200, "a")
					p.wantRecords("200 ok", "200 ok")
				} else {
					p.wantRecords("503 queue_timeout", "200 ok")
				}
				for i := range servers {
					if p.group.Resting(balance.Index(i), int64(clock())) {
						t.Errorf("server %d rests", i)
					}
				}
			})
		}
	}
}

// A queue in which nobody else may wait is no reason to refuse a request that another server has room for, either.
func TestWhoHasNoPlaceInTheQueueGoesToAServerWithRoom(t *testing.T) {
	const session = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Route: a\r\n\r\n"
	for name, tt := range map[string]struct {
		key    bool
		sticky *Sticky
		queue  int
		max    []int
		want   string
	}{
		"a key":                       {true, nil, 0, []int{1}, "200 ok"},
		"a key, and others wait":      {true, nil, 1, []int{1}, "200 ok"},
		"a session":                   {false, &Sticky{Header: "X-Route"}, 0, []int{1, 0}, "200 ok"},
		"a session, and others wait":  {false, &Sticky{Header: "X-Route"}, 1, []int{1, 0}, "200 ok"},
		"a session without failover":  {false, &Sticky{Header: "X-Route", NoFailover: true}, 0, []int{1, 0}, "503 queue_full"},
		"a session that has no other": {false, &Sticky{Header: "X-Route"}, 0, []int{1}, "503 queue_full"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			servers := []*counter{tr.counter(), tr.counter()}
			q := &Limit{Queue: tt.queue, QueueTimeout: patience}
			s := limited(2, q, tt.max...)
			s.record = "$status $end"
			s.members = []balance.Server{{Route: "a"}}
			origins := []any{servers[0].origin, servers[1].origin}
			if len(tt.max) == 1 && !tt.key {
				origins = origins[:1]
			}
			if tt.key {
				s.balance.Algorithm, s.key = "hash", Key{Source: KeyPath}
			}
			with := s.with
			s.with = func(plan *Plan) {
				with(plan)
				plan.Backends[0].Sticky = tt.sticky
			}
			p := tr.proxy(s, origins...)
			inFlight := func() int { return servers[0].inFlight() + servers[1].inFlight() }
			first := []*peer{p.dial()}
			first[0].send(session)
			tr.eventually("the first request does not arrive", func() bool { return inFlight() == 1 })
			for range tt.queue {
				c := p.dial()
				c.send(session)
				first = append(first, c)
			}
			tr.eventually("nobody waits", func() bool { return q.Waiting() == tt.queue })
			last := p.dial()
			last.send(session)
			if tt.want == "200 ok" {
				tr.eventually("no other server gets the last", func() bool { return inFlight() == 2 })
			} else {
				last.wantError("GET", 503)
			}
			for _, g := range servers {
				g.closed()
			}
			for _, c := range first {
				c.want(200, "a")
			}
			if tt.want == "200 ok" {
				last.want(200, "a")
			}
			want := []string{tt.want}
			for range first {
				want = append(want, "200 ok")
			}
			p.wantRecords(want...)
		})
	}
}
