package loop

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/balance"
)

// What is said of servers by their index has to hold when the list of servers has changed meanwhile: sessions, requests
// that are given to another server, ejections.

// originsOf returns a fleet's origins.
func (tr *trace) originsOf(n int) (list []*origin) {
	for _, o := range tr.fleet(n) {
		list = append(list, o.(*origin))
	}
	return list
}

// named has each server of d bear its address as the token of its sessions.
func (d *dns) named() {
	d.each = func(s *BackendServer, m *balance.Server) {
		m.Token = own.Token(s.Name)
		s.SetCookie = own.Field(m.Token)
	}
}

// named is a backend that tells clients where their session is.
func named(p *Plan) {
	cookie := own
	p.Backends[0].Sticky = &Sticky{Own: &cookie}
}

func TestASessionStaysOnItsServerWhileOthersChange(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	d.named()
	o := tr.originsOf(4)
	set := func(p *proxy, list ...*origin) { d.set(list...); p.wantServers(list...) }
	d.set(o[1], o[0])
	p := d.proxy(setup{balance: balance.Options{Algorithm: "first"}, with: named})
	c := p.dial()
	session := "SERVER=" + own.Token(o[0].name)
	c.wantTold(session, "0", false)
	// Whatever its place in the list, and on a connection that is kept or new.
	for _, list := range [][]*origin{{o[2], o[3], o[0]}, {o[0]}, {o[3], o[0], o[1], o[2]}, {o[1], o[0]}} {
		set(p, list...)
		c.wantTold(session, "0", false)
		p.dial().wantTold(session, "0", false)
	}
	// When it has left, another serves the session from now on, and the client is told which.
	set(p, o[2], o[3])
	at, cookies := c.told(request("/", "Host: a", "Cookie: "+session))
	if at != "2" && at != "3" || len(cookies) != 1 {
		t.Fatalf("served by %s, and told %v", at, cookies)
	}
	moved := "SERVER=" + cookies[0].Value
	c.wantTold(moved, at, false)
	// It comes back: sessions that are still its are served by it, and those that have moved stay.
	set(p, o[0], o[2], o[3])
	c.wantTold(session, "0", false)
	c.wantTold(moved, at, false)
}

// A session's request is under way when its server leaves: what it fails with is for the servers of now to repair, and the
// client is told where its session has gone.
func TestASessionWhoseServerLeavesUnderIt(t *testing.T) {
	for _, tt := range []struct{ name, answer string }{
		{"without an answer", ""},
		{"with a status that retry_on has", unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTrace(t)
			d := tr.dns()
			d.named()
			a, b := tr.origin(), tr.origin()
			d.set(a)
			p := d.proxy(setup{with: named, failover: Backend{RetryStatus: failOn(503)}, record: "$status $server $retries"})
			c := p.dial()
			c.send(request("/", "Host: a", "Cookie: SERVER="+own.Token(a.name)))
			x := a.accept()
			x.wantRequest("GET /", "")
			d.set(b)
			p.wantServers(b)
			if x.send(tt.answer); tt.answer == "" {
				x.Close()
			}
			y := b.accept()
			y.wantRequest("GET /", "")
			y.send(ok("b"))
			res := c.want(200, "b")
			if cookies := res.Cookies(); len(cookies) != 1 || cookies[0].Value != own.Token(b.name) {
				t.Errorf("the client is told %v, want %s", cookies, own.Token(b.name))
			}
			if tt.answer != "" {
				x.wantEnd() // the connection to a server that has left is not kept
			}
			p.wantRecords("200 " + b.name + " 1")
		})
	}
}

// A server that has been asked whether it wants a body leaves, and then says that it does not know how to answer that.
func TestARefusedPingGoesToTheServersOfNow(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	a, b := tr.origin(), tr.origin()
	d.set(a)
	p := d.proxy(setup{with: pinging(patience)})
	c := p.dial()
	c.send(post("/", "body"))
	x := a.accept()
	x.wantPing()
	d.set(b)
	p.wantServers(b)
	x.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
	y := b.accept()
	if r := y.wantRequest("POST /", "body"); r.Header.Get("Expect") != "" {
		t.Errorf("it is asked again: %v", r.Header)
	}
	y.send(ok("b"))
	c.want(200, "b")
	a.wantNobody()
}

// There is no server in the latest list that could take the request: the client gets the answer of the one that has
// left.
func TestAnAnswerIsPassedOnWhenNobodyElseIsLeft(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	d.named()
	a, b := tr.origin(), tr.origin()
	d.set(a)
	p := d.proxy(setup{with: named, failover: Backend{RetryStatus: failOn(503)}, record: "$status $server $retries"})
	c := p.dial()
	c.send(request("/", "Host: a", "Cookie: SERVER="+own.Token(a.name)))
	x := a.accept()
	x.wantRequest("GET /", "")
	d.set(b)
	p.wantServers(b)
	p.srv.plan.Backends[0].Names.latest.Load().Group.SetUp(0, false, 0)
	x.send("HTTP/1.1 503 x\r\nContent-Length: 6\r\n\r\nfrom a")
	res := c.want(503, "from a")
	if cookies := res.Cookies(); len(cookies) != 0 {
		t.Errorf("the client is told %v, which it knows", cookies)
	}
	b.wantNobody()
	p.wantRecords("503 " + a.name + " 0")
}

// An ejection lasts its time whatever happens to the list, and who joins is judged as well.
func TestEjectionsWhileServersChange(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	bad, answer := tr.answering()
	answer.Store(unavailable)
	late, lateAnswer := tr.answering()
	lateAnswer.Store(unavailable)
	good := tr.originsOf(3)
	d.set(bad, good[1])
	p := d.proxy(setup{
		balance: balance.Options{Algorithm: "round-robin", DisableTime: time.Hour, Ejection: &balance.Ejection{
			Window: time.Second, MinRequests: 5, ErrorRate: 50, Time: time.Hour, MaxTime: time.Hour, MaxShare: 100,
		}},
		failover: Backend{ErrorStatus: failOn(503)},
	})
	c := p.dial()
	ejected := func(o *origin) bool {
		g := p.srv.plan.Backends[0].Names.latest.Load().Group
		i, ok := g.Find(o.name)
		return ok && g.Ejected(i)
	}
	tr.eventually("it is not ejected", func() bool { c.served(get("/")); return ejected(bad) })
	for _, list := range [][]*origin{{good[2], good[1], bad}, {bad, good[2]}, {good[1], bad}} {
		d.set(list...)
		p.wantServers(list...)
		if !ejected(bad) {
			t.Errorf("it is not ejected any more with %d servers", len(list))
		}
		for range 10 {
			if got := c.served(get("/")); got == "503" {
				t.Fatal("it has got a request")
			}
		}
	}
	if n := p.wantSaid("ejection: the server is out", "server="+bad.name); n != 1 {
		t.Errorf("it is said %d times:\n%s", n, p.said)
	}
	// One that has joined is judged too.
	d.set(late, good[1], bad)
	p.wantServers(late, good[1], bad)
	tr.eventually("who joins is not ejected", func() bool { c.served(get("/")); return ejected(late) })
	p.wantSaid("ejection: the server is out", "server="+late.name)
	// Those that are out are better than nobody.
	answer.Store(ok("0"))
	d.set(bad)
	p.wantServers(bad)
	for range 3 {
		if got := c.served(get("/")); got != "0" {
			t.Errorf("served by %s", got)
		}
	}
	if strings.Contains(p.said.String(), "the server is back") {
		t.Errorf("nobody can be back within an hour:\n%s", p.said)
	}
}

// A server comes back from an ejection that began before the list changed.
func TestAnEjectionEndsAfterServersHaveChanged(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	bad, answer := tr.answering()
	answer.Store(unavailable)
	good := tr.originsOf(3)
	d.set(bad, good[1])
	p := d.proxy(setup{
		balance: balance.Options{Algorithm: "round-robin", DisableTime: time.Hour, Ejection: &balance.Ejection{
			Window: time.Second, MinRequests: 5, ErrorRate: 50, Time: 500 * time.Millisecond, MaxTime: 500 * time.Millisecond, MaxShare: 100,
		}},
		failover: Backend{ErrorStatus: failOn(503)},
	})
	c := p.dial()
	tr.eventually("it is not ejected", func() bool {
		c.served(get("/"))
		return strings.Contains(p.said.String(), "the server is out")
	})
	d.set(good[2], good[1], bad)
	p.wantServers(good[2], good[1], bad)
	answer.Store(ok("0"))
	tr.eventually("it is not back", func() bool { return c.served(get("/")) == "0" })
	p.wantSaid("ejection: the server is back", "server="+bad.name)
}

// An address that has come from one entry to another is connected to as the other says from then on: what has been
// connected as before is not used again.
func TestAServerThatIsConnectedToInAnotherWay(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	var header atomic.Bool
	d.each = func(s *BackendServer, _ *balance.Server) {
		if header.Load() {
			s.SendProxy = 1
		}
	}
	a, b := tr.origin(), tr.origin()
	d.set(a)
	p := d.proxy(setup{balance: balance.Options{Algorithm: "round-robin"}, idleTTL: time.Hour})
	c, busy := p.dial(), p.dial()
	busy.send(get("/busy"))
	y := a.accept()
	y.wantRequest("GET /busy", "")
	c.send(get("/"))
	x := a.accept()
	x.wantRequest("GET /", "")
	x.send(ok("a"))
	c.want(200, "a")
	header.Store(true)
	d.set(b, a)
	p.wantServers(a, b)
	x.wantEnd()
	y.send(ok("busy"))
	busy.want(200, "busy")
	y.wantEnd()
	d.set(a)
	p.wantServers(a)
	for range 2 {
		c.send(get("/"))
		x := a.accept()
		if line, err := x.r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "PROXY TCP4 127.0.0.1 ") {
			t.Fatalf("%q, %v", line, err)
		}
		x.wantRequest("GET /", "")
		x.send(ok("a"))
		c.want(200, "a")
	}
}

// An explanation is of the servers that the names had come to when the plan was made.
func TestAnExplanationOfServersWithNames(t *testing.T) {
	plan := planOf(t, setup{})
	b := plan.Backends[0]
	b.Names = &Names{}
	if x := explained(t, plan, get("/"), ok("fine")); x.Refused() || x.Status != 200 {
		t.Errorf("got %+v", x)
	}
	var err error
	if b.Group, err = balance.New(nil, balance.Options{MayBeEmpty: true}); err != nil {
		t.Fatal(err)
	}
	b.Servers = nil
	x := explained(t, plan, get("/"), "")
	if !x.Refused() || x.Status != 503 || x.Reason != "there is no server: none of their names can be resolved" || x.Blame != "backend.app" {
		t.Errorf("got %+v", x)
	}
}

// min_idle is kept at the servers of now, and at no other.
func TestConnectionsAreMadeAheadToTheServersOfNow(t *testing.T) {
	for _, loops := range []int{1, 3} {
		tr := newTrace(t)
		d := tr.dns()
		a, b := tr.counter(), tr.counter()
		a.closed()
		b.closed()
		d.set(a.origin)
		s := ready(loops, 4, nil)
		s.idleTTL = time.Hour
		p := d.proxy(s)
		tr.eventually("no connections are made ahead", func() bool { return a.conns.Load() == 4 && p.idle() == 4 })
		d.set(b.origin, a.origin)
		p.wantServers(a.origin, b.origin)
		tr.eventually("none are made to the server that joins", func() bool { return b.conns.Load() == 4 && a.conns.Load() == 4 && p.idle() == 8 })
		d.set(b.origin)
		p.wantServers(b.origin)
		tr.eventually("those to the server that has left are kept", func() bool { return a.conns.Load() == 0 && p.idle() == 4 })
		c := p.dial()
		c.send(get("/"))
		c.want(200, "a")
		p.drain()
	}
}
