package loop

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"millrace/balance"
	"millrace/internal/resolve"
)

// awaiting is a setup in which requests wait for a server to come back.
func awaiting(loops int, wait time.Duration) (setup, *Limit) {
	q := &Limit{Queue: 100, ServerWait: wait}
	s := setup{loops: loops, disableTime: 20 * time.Millisecond, record: "$status $end"}
	s.with = func(plan *Plan) { plan.Backends[0].Limit = q }
	return s, q
}

// setAll takes all servers out of service, or back into it, as health checks do.
func (p *proxy) setAll(up bool) {
	for i := range p.group.Len() {
		p.group.SetUp(balance.Index(i), up, int64(clock()))
	}
	p.srv.plan.Backends[0].Limit.Kick(-1, int64(clock()))
}

// BL-21: while no server is up a request waits so long, also one that has found that out itself.
func TestARequestWaitsWhileNoServerIsUp(t *testing.T) {
	const wait = 300 * time.Millisecond
	for name, disable := range map[string]time.Duration{"they rest": time.Hour, "they are tried meanwhile": 20 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			s, _ := awaiting(1, wait)
			s.disableTime = disable
			p := tr.proxy(s, tr.refusing(), tr.refusing())
			c := p.dial()
			for range 2 {
				start := time.Now()
				c.send(get("/"))
				c.wantError("GET", 503)
				tr.notBefore(start, wait)
			}
			p.wantRecords("503 no_server", "503 no_server")
		})
	}
}

func TestWhoWaitsIsServedWhenAServerIsBack(t *testing.T) {
	for _, loops := range []int{1, 3} {
		tr := newTrace(t)
		path := filepath.Join(tr.TempDir(), "origin")
		s, q := awaiting(loops, patience)
		p := tr.proxy(s, "unix:"+path)
		var peers []*peer
		for i := range 8 {
			c := p.dial()
			if i%2 == 0 {
				c.send(get("/"))
			} else {
				c.send(post("/", "body")) // nobody has seen it
			}
			peers = append(peers, c)
		}
		tr.eventually("they do not wait", func() bool { return q.Waiting() > 6 }) // one or the other is trying
		o := tr.listen("unix", path)
		o.serveEach(func(*http.Request, []byte) string { return ok("x") })
		for _, c := range peers {
			c.want(200, "x")
		}
		p.drain()
	}
}

func TestWhoWaitsIsServedWhenAHealthCheckSaysThatAServerIsBack(t *testing.T) {
	tr := newTrace(t)
	s, q := awaiting(2, patience)
	p := tr.proxy(s, tr.fleet(2)...)
	p.setAll(false)
	c := p.dial()
	c.send(get("/"))
	q.wantWaiting(tr, 1)
	p.group.SetUp(1, true, int64(clock()))
	q.Kick(-1, int64(clock()))
	c.want(200, "1")
}

func TestWhoWaitsIsServedByAServerThatJoins(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	a := tr.origin()
	a.serveEach(func(*http.Request, []byte) string { return ok("x") })
	s, q := awaiting(2, patience)
	p := d.proxy(s)
	c := p.dial()
	c.send(get("/"))
	q.wantWaiting(tr, 1)
	d.set(a)
	c.want(200, "x")
}

// A key and a session go to their server when that comes back with others.
func TestWhoWaitsGoesToItsOwnServer(t *testing.T) {
	for _, keyed := range []bool{true, false} {
		t.Run(fmt.Sprint("by key: ", keyed), func(t *testing.T) {
			tr := newTrace(t)
			s, q := awaiting(2, patience)
			more := s.with
			if keyed {
				s.balance.Algorithm, s.key = "hash", Key{Source: KeyPath}
			} else {
				s.members = []balance.Server{{Route: "0"}, {Route: "1"}, {Route: "2"}}
				s.with = func(plan *Plan) {
					more(plan)
					plan.Backends[0].Sticky = &Sticky{Header: "X-Route"}
				}
			}
			p := tr.proxy(s, tr.fleet(3)...)
			request := func(i int) string {
				return fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: a.example\r\nX-Route: %d\r\n\r\n", i, i%3)
			}
			var peers []*peer
			var own []string
			for i := range 12 {
				c := p.dial()
				own = append(own, c.served(request(i)))
				peers = append(peers, c)
			}
			p.setAll(false)
			for i, c := range peers {
				c.send(request(i))
			}
			q.wantWaiting(tr, len(peers))
			p.setAll(true)
			for i, c := range peers {
				c.want(200, own[i])
			}
		})
	}
}

func TestWhoDoesNotWaitForAServer(t *testing.T) {
	t.Run("what a server may have acted on", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		s, _ := awaiting(1, patience)
		s.disableTime = time.Hour
		p := tr.proxy(s, o)
		c := p.dial()
		c.send(post("/", "body"))
		x := o.accept()
		x.wantRequest("POST /", "body")
		p.setAll(false)
		x.Close()
		c.wantError("POST", 502)
	})
	t.Run("a session that may have no other", func(t *testing.T) {
		tr := newTrace(t)
		s, _ := awaiting(1, patience)
		s.members = []balance.Server{{Route: "a"}}
		more := s.with
		s.with = func(plan *Plan) {
			more(plan)
			plan.Backends[0].Sticky = &Sticky{Header: "X-Route", NoFailover: true}
		}
		p := tr.proxy(s, tr.fleet(1)...)
		p.setAll(false)
		c := p.dial()
		c.send("GET / HTTP/1.1\r\nHost: a.example\r\nX-Route: a\r\n\r\n")
		c.wantError("GET", 503)
	})
	t.Run("of servers that are never to be picked", func(t *testing.T) {
		tr := newTrace(t)
		s, _ := awaiting(1, patience)
		s.members = []balance.Server{{Status: balance.Disabled}}
		p := tr.proxy(s, tr.fleet(1)...)
		c := p.dial()
		c.send(get("/"))
		c.wantError("GET", 503)
	})
	t.Run("without room in the queue", func(t *testing.T) {
		tr := newTrace(t)
		s, q := awaiting(1, patience)
		q.Queue = 1
		p := tr.proxy(s, tr.fleet(1)...)
		p.setAll(false)
		first, second := p.dial(), p.dial()
		first.send(get("/"))
		q.wantWaiting(tr, 1)
		second.send(get("/"))
		second.wantError("GET", 503)
		p.setAll(true)
		first.want(200, "0")
		p.wantRecords("503 queue_full", "200 ok")
	})
	t.Run("whose client leaves", func(t *testing.T) {
		tr := newTrace(t)
		s, q := awaiting(2, patience)
		p := tr.proxy(s, tr.fleet(1)...)
		p.setAll(false)
		c := p.dial()
		c.send(get("/"))
		q.wantWaiting(tr, 1)
		c.reset()
		q.wantWaiting(tr, 0)
	})
}

func TestSockClientsWaitForAServer(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	s, q := awaiting(2, patience)
	s.sock = true
	p := tr.proxy(s, o)
	p.setAll(false)
	c := p.dial()
	q.wantWaiting(tr, 1)
	p.setAll(true)
	x := o.accept()
	c.send("ping")
	x.wantBytes("ping")
	x.Close()
	c.wantEnd()
}

// With a limit as well, who has waited for a server waits for room at it.
func TestWhoHasWaitedForAServerWaitsForRoom(t *testing.T) {
	tr := newTrace(t)
	g := tr.counter()
	q := &Limit{Queue: 10, ServerWait: patience}
	p := tr.proxy(limited(2, q, 1), g.origin)
	p.setAll(false)
	var peers []*peer
	for range 5 {
		c := p.dial()
		c.send(get("/"))
		peers = append(peers, c)
	}
	q.wantWaiting(tr, 5)
	p.setAll(true)
	g.wantInFlight(1)
	q.wantWaiting(tr, 4)
	g.closed()
	for _, c := range peers {
		c.want(200, "a")
	}
	if g.most > 1 {
		t.Errorf("%d requests have been in flight at once", g.most)
	}
}

// An explanation says what comes of it when no server comes back.
func TestAnExplanationDoesNotWait(t *testing.T) {
	tr := newTrace(t)
	s, _ := awaiting(1, time.Hour)
	p := &proxy{tr: tr, said: &said{}}
	plan := s.plan(p, []any{"127.0.0.1:1"})
	s.with(plan)
	b := plan.Backends[0]
	b.Names = &Names{Queries: []resolve.Query{service}}
	b.Servers = nil
	var err error
	if b.Group, err = balance.New(nil, balance.Options{MayBeEmpty: true}); err != nil {
		t.Fatal(err)
	}
	x := plan.Explain(Question{Request: []byte(get("/"))})
	if x.Status != 503 || x.Reason != "there is no server: none of their names can be resolved" {
		t.Errorf("%d, %s", x.Status, x.Reason)
	}
}

// Servers come back in the very moment in which requests find that there are none.
func TestNobodyWaitsForAServerThatIsThere(t *testing.T) {
	tr := newTrace(t)
	s, q := awaiting(3, patience)
	p := tr.proxy(s, tr.fleet(1)...)
	var waits []func()
	for range 4 {
		c := p.dial()
		waits = append(waits, tr.beside("a client", func() error {
			for range 150 {
				if _, err := c.Write([]byte(get("/"))); err != nil {
					return err
				}
				if res, _, err := c.readResponse("GET"); err != nil || res.StatusCode != 200 {
					return fmt.Errorf("%v, %v", res, err)
				}
			}
			return nil
		}))
	}
	stop := make(chan struct{})
	flips := tr.beside("flips", func() error {
		for {
			p.group.SetUp(0, false, int64(clock()))
			p.group.SetUp(0, true, int64(clock()))
			q.Kick(-1, int64(clock()))
			select {
			case <-stop:
				return nil
			default:
			}
		}
	})
	for _, wait := range waits {
		wait()
	}
	close(stop)
	flips()
}

// The wait has its end also where there is a server to try each time that another one fails.
func TestTheWaitForAServerEndsWhileServersAreTried(t *testing.T) {
	for name, s := range map[string]setup{
		"each takes its time":       {disableTime: 20 * time.Millisecond, timeouts: Timeouts{Connect: 100 * time.Millisecond}},
		"after a few failures only": {disableTime: 20 * time.Millisecond, balance: balance.Options{MaxFails: 3}, timeouts: Timeouts{Connect: 100 * time.Millisecond}},
		"they never rest":           {timeouts: Timeouts{Connect: 100 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			with, _ := awaiting(1, 150*time.Millisecond)
			s.with, s.record = with.with, "$end"
			p := tr.proxy(s, tr.full(), tr.full())
			c := p.dial()
			c.send(get("/"))
			res, _, err := c.readResponse("GET")
			if err != nil || res.StatusCode != 503 && res.StatusCode != 504 {
				t.Errorf("%v, %v", res, err)
			}
		})
	}
}

// A server that is asked although it rests, or is out for its answers, is no server to wait for: whoever cannot be connected to
// it does not go there again and again.
func TestWhoWaitsForAServerDoesNotGoRound(t *testing.T) {
	for name, o := range map[string]balance.Options{
		"rests are not waited for": {ForceRecovery: true},
		"ejected": {Algorithm: "first", Ejection: &balance.Ejection{
			Window: time.Second, MinRequests: 5, ErrorRate: 50, Time: time.Hour, MaxTime: time.Hour, MaxShare: 100,
		}},
		"ejected, by key": {Algorithm: "hash", Ejection: &balance.Ejection{
			Window: time.Second, MinRequests: 5, ErrorRate: 50, Time: time.Hour, MaxTime: time.Hour, MaxShare: 100,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			// That nobody listens at a unix socket is known at once.
			var servers []any
			for _, name := range []string{"a", "b"} {
				servers = append(servers, "unix:"+filepath.Join(tr.TempDir(), name))
			}
			s, _ := awaiting(1, 100*time.Millisecond)
			s.disableTime, s.balance, s.record = time.Hour, o, "$status"
			p := tr.proxy(s, servers...)
			if o.Ejection != nil {
				var others balance.Tried
				others.Add(1)
				for range 5 {
					i, ok := p.group.Pick(0, balance.NoKey, &others)
					if !ok || i != 0 {
						t.Fatalf("picked %d, %v", i, ok)
					}
					p.group.Done(i, balance.OutcomeFailed, 0)
				}
				tr.eventually("nobody is out", func() bool { return p.group.Ejected(0) })
			}
			c := p.dial()
			for range 2 {
				c.send(get("/"))
				res, _, err := c.readResponse("GET")
				want := 503
				if o.ForceRecovery {
					want = 502 // it does not wait
				}
				if err != nil || res.StatusCode != want {
					t.Fatalf("%v, %v", res, err)
				}
			}
		})
	}
}

// Whoever has waited for a server has all of queue_timeout to wait for room at it.
func TestTheWaitForAServerIsNoWaitForRoom(t *testing.T) {
	tr := newTrace(t)
	g := tr.counter()
	q := &Limit{Queue: 10, ServerWait: patience, QueueTimeout: time.Hour}
	p := tr.proxy(limited(1, q, 1), g.origin)
	p.setAll(false)
	first, second := p.dial(), p.dial()
	first.send(get("/"))
	q.wantWaiting(tr, 1)
	second.send(get("/"))
	q.wantWaiting(tr, 2)
	start := clock()
	p.setAll(true)
	g.wantInFlight(1)
	p.onLoops(func(l *Loop) {
		waits := 0
		for s := l.sessions.next; s != &l.sessions; s = s.next {
			if s.stage != stageWait {
				continue
			}
			waits++
			if at, f := s.deadline(); f != faultQueueTimeout || at < start.after(q.QueueTimeout) {
				t.Errorf("it waits for %v after it was told, %v", time.Duration(at-start), f)
			}
		}
		if waits != 1 {
			t.Errorf("%d wait", waits)
		}
	})
	g.closed()
	first.want(200, "a")
	second.want(200, "a")
}

// Nor is the wait for room one for a server.
func TestTheWaitForRoomIsNoWaitForAServer(t *testing.T) {
	const wait = 100 * time.Millisecond
	tr := newTrace(t)
	g := tr.counter()
	q := &Limit{Queue: 10, ServerWait: wait, QueueTimeout: time.Hour}
	p := tr.proxy(limited(1, q, 1), g.origin)
	first, second := p.dial(), p.dial()
	first.send(get("/"))
	g.wantInFlight(1)
	second.send(get("/"))
	q.wantWaiting(tr, 1)
	since := clock()
	tr.eventually("time does not pass", func() bool { return clock() >= since.after(wait) })
	start := time.Now()
	p.setAll(false)
	second.wantError("GET", 503)
	tr.notBefore(start, wait)
	g.closed()
	first.want(200, "a")
}
