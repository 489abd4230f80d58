package loop

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/balance"
)

// servedUntil sends requests until so many in a row were served by the origin of that number.
func (c *peer) servedUntil(want string, times int) {
	c.tr.Helper()
	row := 0
	c.tr.eventually("not all requests go to "+want, func() bool {
		if c.served(get("/")) != want {
			row = 0
			return false
		}
		row++
		return row >= times
	})
}

func TestAServerThatFailsTooOftenLeavesAndComesBack(t *testing.T) {
	tr := newTrace(t)
	bad, answer := tr.answering()
	answer.Store(unavailable)
	p := tr.proxy(setup{
		balance: balance.Options{Algorithm: "round-robin", DisableTime: time.Hour, Ejection: &balance.Ejection{
			Window: time.Second, MinRequests: 1, ErrorRate: 50, Time: 200 * time.Millisecond, MaxTime: time.Hour, MaxShare: 100,
		}},
		failover: Backend{ErrorStatus: failOn(503)},
	}, append([]any{bad}, tr.fleet(2)[1])...)
	c := p.dial()
	name := "backend=app server=" + bad.name
	tr.eventually("it does not leave", func() bool {
		// Once it is out it is asked nothing more while it fails, however long this takes.
		if strings.Contains(p.said.String(), "the server is out") {
			return true
		}
		c.served(get("/"))
		return false
	})
	if said := p.said.String(); !strings.Contains(said, name) || !strings.Contains(said, " requests have failed in 1s") {
		t.Errorf("it is said:\n%s", said)
	}
	answer.Store(ok("0"))
	tr.eventually("it is not back", func() bool { return c.served(get("/")) == "0" })
	tr.eventually("nothing is said", func() bool { return strings.Contains(p.said.String(), "the server is back\" "+name) })
	c.wantServed("1 0 1 0")
}

func TestASlowServerLeaves(t *testing.T) {
	tr := newTrace(t)
	var slow atomic.Bool
	servers := tr.fleet(3)
	o := tr.origin()
	o.serveEach(func(*http.Request, []byte) string {
		if slow.Load() {
			begun := time.Now()
			tr.eventually("time stands still", func() bool { return time.Since(begun) > 300*time.Millisecond })
		}
		return ok("0")
	})
	servers[0] = o
	p := tr.proxy(setup{
		balance: balance.Options{Algorithm: "round-robin", DisableTime: time.Hour, Ejection: &balance.Ejection{
			Window: 10 * time.Second, MinRequests: 2, LatencyFactor: 3, MinLatency: 100 * time.Millisecond, Time: time.Hour, MaxTime: time.Hour, MaxShare: 30,
		}},
	}, servers...)
	c := p.dial()
	c.wantServed("0 1 2 0 1 2")
	slow.Store(true)
	tr.eventually("it does not leave", func() bool {
		c.served(get("/"))
		return p.group.Ejected(0)
	})
	for range 12 {
		if c.served(get("/")) == "0" {
			t.Error("the slow server has got a request")
		}
	}
	tr.eventually("nothing is said", func() bool { return strings.Contains(p.said.String(), "to answer, the others ") })
	if p.group.Ejected(1) || p.group.Ejected(2) {
		t.Errorf("others have left:\n%s", p.said)
	}
}

// With the others gone, a server that is out is better than 503.
func TestWhoIsOutStandsIn(t *testing.T) {
	tr := newTrace(t)
	bad, answer := tr.answering()
	answer.Store(unavailable)
	servers := append([]any{bad}, tr.fleet(2)[1])
	p := tr.proxy(setup{
		balance: balance.Options{Algorithm: "round-robin", DisableTime: time.Hour, Ejection: &balance.Ejection{
			Window: time.Second, MinRequests: 1, ErrorRate: 50, Time: time.Hour, MaxTime: time.Hour, MaxShare: 100,
		}},
		failover: Backend{ErrorStatus: failOn(503)},
	}, servers...)
	c := p.dial()
	c.servedUntil("1", 50)
	answer.Store(ok("0"))
	p.group.SetUp(1, false, 0)
	c.wantServed("0 0 0")
	p.group.SetUp(1, true, 0)
	c.wantServed("1 1 1")
}
