package loop

import (
	"testing"
	"time"

	"millrace/balance"
)

// A server that is out for its answers stands in for others that are gone, and is not asked beyond its limit.
func TestWhoIsOutHasItsLimit(t *testing.T) {
	tr := newTrace(t)
	a, b := tr.counter(), tr.counter()
	q := &Limit{Queue: 10}
	s := limited(2, q, 1)
	s.balance.Algorithm = "first"
	s.balance.Ejection = &balance.Ejection{
		Window: time.Second, MinRequests: 5, ErrorRate: 50, Time: time.Hour, MaxTime: time.Hour, MaxShare: 100,
	}
	p := tr.proxy(s, a.origin, b.origin)
	for range 5 { // with the last of them it can be judged
		i, ok := p.group.Pick(0, balance.NoKey, nil)
		if !ok || i != 0 {
			t.Fatalf("picked %d, %v", i, ok)
		}
		p.group.Done(i, balance.OutcomeFailed, 0)
	}
	tr.eventually("nobody is out", func() bool { return p.group.Ejected(0) })
	var peers []*peer
	ask := func() {
		c := p.dial()
		c.send(get("/"))
		peers = append(peers, c)
	}
	ask()
	b.wantInFlight(1)
	ask()
	q.wantWaiting(tr, 1) // for one that is full, and not out
	if n := a.inFlight(); n != 0 {
		t.Errorf("%d requests have gone to the one that is out", n)
	}
	p.group.SetUp(1, false, int64(clock()))
	q.Kick(-1, int64(clock()))
	a.wantInFlight(1)
	ask()
	ask()
	q.wantWaiting(tr, 2)
	a.closed()
	b.closed()
	for _, c := range peers {
		c.want(200, "a")
	}
}
