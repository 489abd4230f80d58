package loop

import (
	"testing"
	"time"

	"millrace/pool"
)

func TestAConnectionCarriesAsManyRequestsAsItMay(t *testing.T) {
	for _, most := range []int{1, 3} {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{with: func(plan *Plan) { plan.Backends[0].Reuse = &Reuse{MaxRequests: most} }}, o)
		c := p.dial()
		for range 2 {
			var x *peer
			for n := 1; n <= most; n++ {
				c.send(get("/"))
				if n == 1 {
					x = o.accept()
				}
				r := x.wantRequest("GET /", "")
				if r.Close != (n == most) {
					t.Errorf("request %d of %d on a connection says that it will be closed: %v", n, most, r.Close)
				}
				x.send(ok("a"))
				c.want(200, "a")
			}
			x.wantEnd()
		}
		o.wantNobody()
	}
}

func TestAnOldConnectionGetsNoMoreRequests(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: func(plan *Plan) { plan.Backends[0].Reuse = &Reuse{MaxAge: time.Hour} }}, o)
	c := p.dial()
	c.send(get("/a"))
	x := o.accept()
	x.wantRequest("GET /a", "")
	x.send(ok("a"))
	c.want(200, "a")
	c.send(get("/b"))
	x.wantRequest("GET /b", "")
	// It grows old while it is in use, and ends behind its response.
	p.onLoops(func(l *Loop) { l.sessions.next.origin.born -= Time(2 * time.Hour) })
	x.send(ok("b"))
	c.want(200, "b")
	x.wantEnd()

	c.send(get("/c"))
	x = o.accept()
	x.wantRequest("GET /c", "")
	x.send(ok("c"))
	c.want(200, "c")
	// It grows old in the pool, and is not taken out of it for a request.
	p.onLoops(func(l *Loop) {
		idle, _ := l.idle.Oldest()
		idle.born -= Time(2 * time.Hour)
		idle.idle, _, _ = l.idle.Put(idle.server, idle, int64(l.now), pool.Limits{})
	})
	c.send(get("/d"))
	x.wantEnd()
	x = o.accept()
	x.wantRequest("GET /d", "")
	x.send(ok("d"))
	c.want(200, "d")
}
