package loop

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/balance"
)

// limited is a setup with a limit. The last of the bounds is also that of all further servers.
func limited(loops int, q *Limit, most ...int) setup {
	s := setup{loops: loops, disableTime: time.Hour, record: "$target $status $end"}
	s.balance.Limited = true
	s.with = func(plan *Plan) {
		b := plan.Backends[0]
		for i, s := range b.Servers {
			s.Max = most[min(i, len(most)-1)]
		}
		b.Limit = q
	}
	return s
}

// counter is an origin that counts what it does, and answers when it is told to.
type counter struct {
	*origin
	mu     sync.Mutex
	paths  []string
	now    int // requests
	most   int
	conns  atomic.Int32
	open   chan struct{}
	closed func()
}

func (tr *trace) counter() *counter {
	g := &counter{origin: tr.origin(), open: make(chan struct{})}
	g.closed = sync.OnceFunc(func() { close(g.open) })
	g.serve(func(x *peer) error {
		g.conns.Add(1)
		defer g.conns.Add(-1)
		for {
			r, _, err := x.readRequest()
			if err != nil {
				return nil
			}
			g.mu.Lock()
			g.paths = append(g.paths, r.URL.Path)
			g.now++
			g.most = max(g.most, g.now)
			g.mu.Unlock()
			<-g.open
			g.mu.Lock()
			g.now--
			g.mu.Unlock()
			if _, err := io.WriteString(x, ok("a")); err != nil {
				return nil
			}
		}
	})
	tr.Cleanup(g.closed)
	return g
}

// answerOne lets one request go.
func (g *counter) answerOne() {
	g.tr.Helper()
	select {
	case g.open <- struct{}{}:
	case <-time.After(patience):
		g.tr.Fatalf("there is no request to answer")
	}
}

func (g *counter) inFlight() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.now
}

func (g *counter) seen() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.paths...)
}

func (g *counter) wantInFlight(n int) {
	g.tr.Helper()
	g.tr.eventually(fmt.Sprintf("%d requests are in flight, want %d", g.inFlight(), n), func() bool { return g.inFlight() == n })
}

func (q *Limit) wantWaiting(tr *trace, n int) {
	tr.Helper()
	tr.eventually(fmt.Sprintf("%d wait, want %d", q.Waiting(), n), func() bool { return q.Waiting() == n })
}

func TestNeverMoreThanMaxAndNeverLess(t *testing.T) {
	for _, loops := range []int{1, 2, 8} {
		t.Run(fmt.Sprint(loops), func(t *testing.T) {
			const most, clients = 10, 35
			tr := newTrace(t)
			g := tr.counter()
			q := &Limit{Queue: clients}
			p := tr.proxy(limited(loops, q, most), g.origin)
			var peers []*peer
			for i := range clients {
				c := p.dial()
				c.send(get(fmt.Sprintf("/%d", i)))
				peers = append(peers, c)
			}
			g.wantInFlight(most)
			q.wantWaiting(tr, clients-most)
			for left := clients; left > 0; left-- {
				g.wantInFlight(min(left, most))
				g.answerOne()
			}
			for _, c := range peers {
				c.want(200, "a")
			}
			if g.most > most {
				t.Errorf("%d requests were in flight at once", g.most)
			}
			if n := g.conns.Load(); n > most {
				t.Errorf("there are %d connections", n)
			}
		})
	}
}

func TestAStormStaysBelowMax(t *testing.T) {
	for _, loops := range []int{1, 2, 8} {
		t.Run(fmt.Sprint(loops), func(t *testing.T) {
			const most, clients, each = 3, 24, 20
			tr := newTrace(t)
			g := tr.counter()
			g.closed() // it answers at once
			q := &Limit{Queue: clients}
			p := tr.proxy(limited(loops, q, most), g.origin)
			var waits []func()
			for i := range clients {
				c := p.dial()
				waits = append(waits, tr.beside("a client", func() error {
					for n := range each {
						// Some connections end, so that others are made.
						path := fmt.Sprintf("/%d", n)
						if _, err := io.WriteString(c, get(path)); err != nil {
							return err
						}
						if res, _, err := c.readResponse("GET"); err != nil || res.StatusCode != 200 {
							return fmt.Errorf("client %d: %v, %v", i, res, err)
						}
					}
					return nil
				}))
			}
			for _, wait := range waits {
				wait()
			}
			if g.most > most {
				t.Errorf("%d requests were in flight at once", g.most)
			}
			if n := len(g.seen()); n != clients*each {
				t.Errorf("%d requests have come", n)
			}
		})
	}
}

func TestRequestsWaitInTheOrderInWhichTheyCame(t *testing.T) {
	for _, loops := range []int{1, 8} {
		tr := newTrace(t)
		g := tr.counter()
		q := &Limit{Queue: 100}
		p := tr.proxy(limited(loops, q, 1), g.origin)
		var want []string
		for i := range 20 {
			path := fmt.Sprintf("/%d", i)
			want = append(want, path)
			p.dial().send(get(path))
			if i == 0 {
				g.wantInFlight(1)
			}
			q.wantWaiting(tr, i)
		}
		for i := range want {
			tr.eventually("a request that waits does not come", func() bool { return len(g.seen()) == i+1 })
			g.answerOne()
		}
		if got := g.seen(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%d loops: got %v", loops, got)
		}
		p.drain()
	}
}

func TestWhoMayNotWaitIsTold(t *testing.T) {
	tr := newTrace(t)
	g := tr.counter()
	q := &Limit{}
	p := tr.proxy(limited(2, q, 1), g.origin)
	c := p.dial()
	c.send(get("/first"))
	g.wantInFlight(1)
	d := p.dial()
	d.send(get("/refused"))
	if res := d.wantError("GET", 503); res.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After: %q", res.Header.Get("Retry-After"))
	}
	g.closed()
	c.want(200, "a")
	tr.eventually("the connection does not become free", func() bool {
		_, idle := q.Connections(0)
		return idle == 1
	})
	d.send(get("/second")) // its connection is as good as before
	d.want(200, "a")
	p.wantRecords("/first 200 ok", "/refused 503 queue_full", "/second 200 ok")
}

func TestWhoWaitsInVainIsTold(t *testing.T) {
	tr := newTrace(t)
	g := tr.counter()
	q := &Limit{Queue: 1, QueueTimeout: 50 * time.Millisecond}
	p := tr.proxy(limited(1, q, 1), g.origin)
	c := p.dial()
	c.send(get("/first"))
	g.wantInFlight(1)
	d := p.dial()
	d.send(get("/late"))
	if res := d.wantError("GET", 503); res.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After: %q", res.Header.Get("Retry-After"))
	}
	g.closed()
	c.want(200, "a")
	p.wantRecords("/first 200 ok", "/late 503 queue_timeout")
}

func TestAClientThatLeavesGivesItsPlaceUp(t *testing.T) {
	for _, how := range []string{"reset", "close", "close behind a body"} {
		for _, loops := range []int{1, 4} {
			tr := newTrace(t)
			g := tr.counter()
			q := &Limit{Queue: 1}
			p := tr.proxy(limited(loops, q, 1), g.origin)
			c := p.dial()
			c.send(get("/first"))
			g.wantInFlight(1)
			d := p.dial()
			if how == "close behind a body" {
				d.send("POST /leaves HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n")
				q.wantWaiting(tr, 1)
				d.send("hello")
			} else {
				d.send(get("/leaves"))
				q.wantWaiting(tr, 1)
			}
			if how == "reset" {
				d.reset()
			} else {
				d.Close()
			}
			q.wantWaiting(tr, 0)
			e := p.dial()
			e.send(get("/second"))
			q.wantWaiting(tr, 1)
			g.closed()
			c.want(200, "a")
			e.want(200, "a")
			p.drain()
			if got := strings.Join(g.seen(), " "); got != "/first /second" {
				t.Errorf("%s, %d loops: the origin got %s", how, loops, got)
			}
		}
	}
}

func TestAClientThatHalfClosesIsTold(t *testing.T) {
	tr := newTrace(t)
	g := tr.counter()
	q := &Limit{Queue: 1}
	p := tr.proxy(limited(1, q, 1), g.origin)
	c := p.dial()
	c.send(get("/first"))
	g.wantInFlight(1)
	d := p.dial()
	d.send(get("/leaves"))
	q.wantWaiting(tr, 1)
	d.closeWrite()
	d.wantError("GET", 503)
	d.wantEnd()
	g.closed()
	c.want(200, "a")
	p.wantRecords("/first 200 ok", "/leaves 503 client_abort")
}

func TestOneConnectionServesAllLoops(t *testing.T) {
	for _, loops := range []int{1, 2, 8} {
		tr := newTrace(t)
		var made atomic.Int32
		o := tr.origin()
		o.serve(func(x *peer) error {
			made.Add(1)
			for {
				if _, _, err := x.readRequest(); err != nil {
					return nil
				}
				if _, err := io.WriteString(x, ok("a")); err != nil {
					return nil
				}
			}
		})
		// A client has its response a moment before the connection is free.
		p := tr.proxy(limited(loops, &Limit{Queue: 1}, 1), o)
		var peers []*peer
		for range 16 {
			peers = append(peers, p.dial())
		}
		for range 3 {
			for _, c := range peers {
				c.send(get("/"))
				c.want(200, "a")
			}
		}
		p.drain()
		if n := made.Load(); n != 1 {
			t.Errorf("%d loops: %d connections for 48 requests", loops, n)
		}
	}
}

func TestAnotherServersRoomIsUsed(t *testing.T) {
	for _, algorithm := range []string{"fair", "round-robin", "random", "first"} {
		tr := newTrace(t)
		a, b := tr.counter(), tr.counter()
		q := &Limit{Queue: 10}
		s := limited(2, q, 1, 3)
		s.balance.Algorithm = algorithm
		p := tr.proxy(s, a.origin, b.origin)
		var peers []*peer
		for i := range 8 {
			c := p.dial()
			c.send(get(fmt.Sprintf("/%d", i)))
			peers = append(peers, c)
		}
		a.wantInFlight(1)
		b.wantInFlight(3)
		q.wantWaiting(tr, 4)
		for range 4 {
			b.answerOne()
			b.wantInFlight(3)
		}
		q.wantWaiting(tr, 0)
		a.closed()
		b.closed()
		for _, c := range peers {
			c.want(200, "a")
		}
		if n := len(a.seen()); n != 1 {
			t.Errorf("%s: the first server got %d requests", algorithm, n)
		}
		p.drain()
	}
}

func TestAKeyWaitsForItsServerOnly(t *testing.T) {
	tr := newTrace(t)
	a, b := tr.counter(), tr.counter()
	q := &Limit{Queue: 10}
	s := limited(2, q, 1)
	s.balance.Algorithm = "hash"
	s.key = Key{Source: KeyPath}
	p := tr.proxy(s, a.origin, b.origin)
	var peers []*peer
	for range 3 {
		c := p.dial()
		c.send(get("/same"))
		peers = append(peers, c)
	}
	q.wantWaiting(tr, 2)
	if a.inFlight()+b.inFlight() > 1 {
		t.Error("the key went to two servers")
	}
	if n := p.group.InFlight(0) + p.group.InFlight(1); n != 3 {
		t.Errorf("the balance counts %d requests, want those that wait too", n)
	}
	a.closed()
	b.closed()
	for _, c := range peers {
		c.want(200, "a")
	}
	if len(a.seen()) > 0 && len(b.seen()) > 0 {
		t.Error("the key went to two servers")
	}
}

func TestWhenTheServerGoesDownOthersAreAsked(t *testing.T) {
	tr := newTrace(t)
	a, b := tr.counter(), tr.counter()
	q := &Limit{Queue: 10}
	s := limited(2, q, 1)
	s.balance.Algorithm = "hash"
	s.key = Key{Source: KeyPath}
	p := tr.proxy(s, a.origin, b.origin)
	var peers []*peer
	for range 3 {
		c := p.dial()
		c.send(get("/same"))
		peers = append(peers, c)
	}
	q.wantWaiting(tr, 2)
	down, up := 0, b
	tr.eventually("no request has come", func() bool { return a.inFlight()+b.inFlight() == 1 })
	if b.inFlight() == 1 {
		down, up = 1, a
	}
	p.group.SetUp(balance.Index(down), false, int64(clock()))
	q.Kick(-1, int64(clock()))
	up.wantInFlight(1)
	q.wantWaiting(tr, 1)
	a.closed()
	b.closed()
	for _, c := range peers {
		c.want(200, "a")
	}
}

func TestWithNoServerLeftThoseWhoWaitAreTold(t *testing.T) {
	tr := newTrace(t)
	g := tr.counter()
	q := &Limit{Queue: 10}
	p := tr.proxy(limited(2, q, 1), g.origin)
	c := p.dial()
	c.send(get("/"))
	g.wantInFlight(1)
	var waiting []*peer
	for range 4 {
		d := p.dial()
		d.send(get("/waits"))
		waiting = append(waiting, d)
	}
	q.wantWaiting(tr, 4)
	p.group.SetUp(0, false, int64(clock()))
	q.Kick(-1, int64(clock()))
	for _, d := range waiting {
		d.wantError("GET", 503)
	}
	g.closed()
	c.want(200, "a")
}

func TestWhoWaitsIsLetInWhenARestEnds(t *testing.T) {
	tr := newTrace(t)
	a, b := tr.counter(), tr.counter()
	q := &Limit{Queue: 10}
	s := limited(2, q, 1)
	s.disableTime = 200 * time.Millisecond
	p := tr.proxy(s, a.origin, b.origin)
	_, ok1 := p.group.Pick(int64(clock()), balance.NoKey, nil)
	if !ok1 {
		t.Fatal("nothing to pick")
	}
	p.group.Done(0, balance.OutcomeConnectFailed, int64(clock()))
	c, d := p.dial(), p.dial()
	c.send(get("/c"))
	d.send(get("/d"))
	// One of them goes to b at once, the other one to a when that has rested.
	a.wantInFlight(1)
	b.wantInFlight(1)
	a.closed()
	b.closed()
	c.want(200, "a")
	d.want(200, "a")
}

func TestARequestThatFailsKeepsItsTurn(t *testing.T) {
	tr := newTrace(t)
	g := tr.counter()
	q := &Limit{Queue: 10}
	s := limited(1, q, 1)
	s.balance.Algorithm = "first"
	p := tr.proxy(s, tr.refusing(), g.origin)
	first := p.dial()
	first.send(get("/first"))
	g.wantInFlight(1) // by way of the one that refuses, which rests now
	second := p.dial()
	second.send(get("/second"))
	q.wantWaiting(tr, 1)
	g.closed()
	first.want(200, "a")
	second.want(200, "a")
}

func TestSockClientsWait(t *testing.T) {
	for _, loops := range []int{1, 4} {
		tr := newTrace(t)
		o := tr.origin()
		q := &Limit{Queue: 3}
		s := limited(loops, q, 1)
		s.sock = true
		p := tr.proxy(s, o)
		c := p.dial()
		x := o.accept()
		speaks, leaves := p.dial(), p.dial()
		q.wantWaiting(tr, 2)
		speaks.send("hello")
		speaks.closeWrite() // it has said all it has to say, and wants to hear
		leaves.Close()
		q.wantWaiting(tr, 1)
		o.wantNobody()
		c.Close()
		x.wantEnd()
		x.Close()
		x = o.accept()
		x.wantBytes("hello")
		x.wantEnd()
		x.send("bye")
		x.Close()
		speaks.wantBytes("bye")
		speaks.wantEnd()
		p.drain()
	}
}

func TestADrainServesThoseWhoWait(t *testing.T) {
	for _, loops := range []int{1, 8} {
		tr := newTrace(t)
		g := tr.counter()
		q := &Limit{Queue: 100}
		p := tr.proxy(limited(loops, q, 2), g.origin)
		var peers []*peer
		for range 20 {
			c := p.dial()
			c.send(get("/"))
			peers = append(peers, c)
		}
		g.wantInFlight(2)
		q.wantWaiting(tr, 18)
		drained := tr.beside("the drain", func() error { p.drain(); return nil })
		g.closed()
		for _, c := range peers {
			c.want(200, "a")
			c.Close()
		}
		drained()
	}
}

func TestADrainThatTakesTooLongCutsThoseWhoWait(t *testing.T) {
	tr := newTrace(t)
	g := tr.counter()
	q := &Limit{Queue: 100}
	s := limited(4, q, 1)
	s.drainTimeout = 50 * time.Millisecond
	p := tr.proxy(s, g.origin)
	for range 10 {
		p.dial().send(get("/"))
	}
	q.wantWaiting(tr, 9)
	p.drain()
}

func TestAFreshConnectionMakesRoomForItself(t *testing.T) {
	for _, loops := range []int{1, 8} {
		tr := newTrace(t)
		o := tr.origin()
		s := limited(loops, &Limit{Queue: 1}, 1)
		s.connect = true
		p := tr.proxy(s, o)
		c := p.dial()
		c.send(get("/"))
		x := o.accept()
		x.wantRequest("GET /", "")
		x.send(ok("a"))
		c.want(200, "a")
		// A tunnel does not begin on a connection that has been used.
		d := p.dial()
		d.send("CONNECT a.example:1 HTTP/1.1\r\nHost: a.example:1\r\n\r\n")
		x.wantEnd()
		y := o.accept()
		d.wantHead()
		d.send("hello")
		y.wantBytes("hello")
		y.Close()
		d.wantEnd()
		d.Close()
		p.drain()
	}
}

func TestNothingIsLostBelowALimit(t *testing.T) {
	for _, adaptive := range []bool{false, true} {
		tr := newTrace(t)
		var served atomic.Int32
		o := tr.origin()
		o.serve(func(x *peer) error {
			for {
				if _, _, err := x.readRequest(); err != nil {
					return nil
				}
				switch served.Add(1) % 10 {
				case 3:
					return nil
				case 7:
					io.WriteString(x, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na")
					return nil
				}
				if _, err := io.WriteString(x, ok("a")); err != nil {
					return nil
				}
			}
		})
		q := &Limit{Queue: 8, Adaptive: adaptive, QueueTimeout: patience}
		s := limited(4, q, 3)
		s.connect = true
		p := tr.proxy(s, o)
		var waits []func()
		for i := range 16 {
			random := rand.New(rand.NewPCG(uint64(i), 0))
			waits = append(waits, tr.beside("a client", func() error { return misbehave(p, random) }))
		}
		for _, wait := range waits {
			wait()
		}
		tr.eventually("somebody waits for ever", func() bool { return q.Waiting() == 0 })
		p.drain()
	}
}

// misbehave makes requests, many of which it does not wait for.
func misbehave(p *proxy, random *rand.Rand) error {
	var c *peer
	defer func() {
		if c != nil {
			c.reset()
		}
	}()
	for range 40 {
		if c == nil {
			addr := p.srv.Addrs()[0]
			conn, err := net.DialTimeout(addr.Network(), addr.String(), patience)
			if err != nil {
				return err
			}
			conn.SetDeadline(time.Now().Add(2 * patience))
			c = newPeer(p.tr, "client", conn)
		}
		request := get("/")
		what := random.IntN(8)
		if what == 0 {
			request = "CONNECT a.example:1 HTTP/1.1\r\nHost: a.example:1\r\n\r\n"
		}
		if _, err := io.WriteString(c, request); err != nil {
			return err
		}
		switch what {
		case 0, 1, 2: // it leaves at once
			c.reset()
		case 3:
			c.Close()
		default:
			res, _, err := c.readResponse("GET")
			if err != nil {
				return err
			}
			switch res.StatusCode {
			case 200, 502, 503:
			default:
				return fmt.Errorf("status %d", res.StatusCode)
			}
			if !res.Close {
				continue
			}
			c.reset()
		}
		c = nil
	}
	return nil
}

func TestASessionWaitsForItsServerOnly(t *testing.T) {
	tr := newTrace(t)
	a, b := tr.counter(), tr.counter()
	q := &Limit{Queue: 10}
	s := limited(2, q, 1)
	s.members = []balance.Server{{Route: "a"}, {Route: "b"}}
	with := s.with
	s.with = func(plan *Plan) {
		with(plan)
		plan.Backends[0].Sticky = &Sticky{Header: "X-Route"}
	}
	p := tr.proxy(s, a.origin, b.origin)
	of := func(path, route string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: a.example\r\nX-Route: " + route + "\r\n\r\n"
	}
	first, second, other := p.dial(), p.dial(), p.dial()
	first.send(of("/first", "b"))
	b.wantInFlight(1)
	second.send(of("/second", "b"))
	q.wantWaiting(tr, 1)
	other.send(get("/other"))
	a.wantInFlight(1)
	b.closed()
	first.want(200, "a")
	second.want(200, "a")
	a.closed()
	other.want(200, "a")
	if got := fmt.Sprint(a.seen(), b.seen()); got != "[/other] [/first /second]" {
		t.Errorf("the servers got %s", got)
	}
}
