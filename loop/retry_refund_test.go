package loop

import (
	"math"
	"testing"
	"time"

	"millrace/balance"
)

// retries is how many have been taken in the last seconds.
func (b *RetryBudget) retries() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return math.Round(b.taken.recent(clock()))
}

// A retry is paid for when a server gets it. Where requests wait, that may never be.
func TestARetryThatIsNotLetInCostsNothing(t *testing.T) {
	session := "GET /waits HTTP/1.1\r\nHost: a.example\r\nX-Route: app\r\n\r\n"
	for _, tt := range []struct {
		name  string
		limit *Limit
		ends  func(c *peer, q *Limit) // how the wait does
	}{
		{"there is no room to wait", &Limit{}, func(c *peer, _ *Limit) { c.wantError("GET", 503) }},
		{"the wait takes too long", &Limit{Queue: 1, QueueTimeout: 20 * time.Millisecond}, func(c *peer, _ *Limit) { c.wantError("GET", 503) }},
		{"the client leaves", &Limit{Queue: 1}, func(c *peer, q *Limit) {
			q.wantWaiting(c.tr, 1)
			c.reset()
			q.wantWaiting(c.tr, 0)
		}},
		{"the server is gone", &Limit{Queue: 1}, func(c *peer, q *Limit) {
			q.wantWaiting(c.tr, 1)
			c.tr.proxied.group.SetUp(1, false, int64(clock()))
			q.Kick(-1, int64(clock()))
			c.wantError("GET", 502)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTrace(t)
			g := tr.counter()
			q := tt.limit
			budget := budgetOf(2, 1)
			s := limited(1, q, 1)
			s.disableTime = 0 // the first server, which closes connections, never rests
			s.members = []balance.Server{{Route: "app"}, {Route: "app"}}
			s.failover = Backend{Budget: budget}
			with := s.with
			s.with = func(plan *Plan) {
				with(plan)
				plan.Backends[0].Sticky = &Sticky{Header: "X-Route"}
			}
			p := tr.proxy(s, tr.closing(), g.origin)
			first := p.dial()
			first.send(session)
			g.wantInFlight(1)
			if n := budget.retries(); n != 1 {
				t.Fatalf("%v retries were taken behind the first, which was made", n)
			}
			second := p.dial()
			second.send(session)
			tt.ends(second, q)
			tr.eventually("what the retry has cost is not given back", func() bool { return budget.retries() == 1 })
			g.closed()
			first.want(200, "a")
		})
	}
}

// All generations of a backend have one budget: what a request has taken from it before the servers changed goes back
// to it after that.
func TestARetryThatFindsNoServerAfterTheyHaveChangedCostsNothing(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	a, b := tr.origin(), tr.origin()
	budget := budgetOf(2, 1)
	d.set(a)
	p := d.proxy(setup{failover: Backend{Budget: budget}})
	c := p.dial()
	c.send(get("/"))
	x := a.accept()
	x.wantRequest("GET /", "")
	d.set(b)
	p.wantServers(b)
	x.Close()
	y := b.accept()
	y.wantRequest("GET /", "")
	y.Close() // as well, so that the retry that went to it is followed by one that finds nobody
	c.wantError("GET", 502)
	if n := budget.retries(); n != 1 {
		t.Errorf("%v retries were taken, want one: of two, one was made", n)
	}
}
