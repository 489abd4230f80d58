package loop

import (
	"testing"

	"millrace/balance"
)

// A request that is given to another server after a status enters there as any other does, and its connection counts.
// While that has no room, clients get the answer of the first.
func TestARequestThatIsPassedOnEntersThereAsWell(t *testing.T) {
	for _, loops := range []int{1, 3} {
		tr := newTrace(t)
		first, seen := tr.failing(503)
		second := tr.origin()
		s := setup{loops: loops, balance: balance.Options{Algorithm: "first", Limited: true}, failover: Backend{RetryStatus: failOn(503)}}
		s.with = limited(loops, &Limit{Queue: 100}, 2, 1).with
		p := tr.proxy(s, first, second)
		q := p.srv.plan.Backends[0].Limit
		c := p.dial()
		var x *peer
		for n := range 3 {
			c.send(get("/"))
			if n == 0 {
				x = second.accept()
			}
			x.wantRequest("GET /", "")
			if open, idle := q.Connections(1); open != 1 || idle != 0 {
				t.Errorf("of the second server's connections %d are counted, %d as idle", open, idle)
			}
			for range 2 {
				other := p.dial()
				other.send(get("/"))
				other.want(503, "of "+first.name)
			}
			x.send(ok("fine"))
			c.want(200, "fine")
		}
		second.wantNobody()
		if n := seen.Load(); n != 9 {
			t.Errorf("the first server has got %d requests, want 9", n)
		}
		p.drain()
	}
}
