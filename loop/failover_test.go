package loop

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/balance"
)

// wantServed sends requests one after the other: each is served by the origin of that number, or gets that status.
func (c *peer) wantServed(want string) {
	c.tr.Helper()
	var got []string
	for range strings.Fields(want) {
		got = append(got, c.served(get("/")))
	}
	if s := strings.Join(got, " "); s != want {
		c.tr.Errorf("served by %s, want %s", s, want)
	}
}

// What Apache has shown for the same members, with the statuses that it is here. "-" is a server that refuses
// connections, and what it is called in wants is its place in the list.
func TestFailover(t *testing.T) {
	apache := balance.Options{Algorithm: "byrequests", DisableTime: time.Hour}
	forced := apache
	forced.ForceRecovery = true
	const standby, spare, ignore = balance.Standby, balance.Spare, balance.IgnoreErrors
	for _, tt := range []struct {
		name    string
		servers string // for each whether it is there
		o       balance.Options
		members []balance.Server
		want    string
		retries string // of each request
	}{
		{"BL-01 dead and alive", "-+", apache, nil, "1 1 1", "1 0 0"},
		{"BL-02 all dead, forced recovery", "--", forced, nil, "502 502 502", "1 1 1"},
		{"BL-03 all dead", "--", apache, nil, "502 503 503", "1 0 0"},
		{"BL-04 four dead and one alive", "----+", apache, nil, "4 4", "4 0"},
		{"BL-05 a single dead one, forced recovery", "-", forced, nil, "502 502", "0 0"},
		{"BL-06 a standby waits", "++", apache, []balance.Server{{}, {Status: standby}}, "0 0 0", "0 0 0"},
		{"BL-06 a standby stands in", "-+", apache, []balance.Server{{}, {Status: standby}}, "1 1 1", "1 0 0"},
		{"BL-07 a spare stands in", "-++", apache, []balance.Server{{}, {}, {Status: spare}}, "1 2 1 2", "1 0 0 0"},
		{"BL-08 sets", "-++", apache, []balance.Server{{}, {Set: 1}, {Set: 2}}, "1 1 1", "1 0 0"},
		{"BL-09 a standby goes before the next set", "-++", apache, []balance.Server{{}, {Status: standby}, {Set: 1}}, "1 1 1", "1 0 0"},
		{"BL-15 a dead one that ignores errors", "-+", apache, []balance.Server{{Status: ignore}}, "502 1 502 1", "0 0 0 0"},
		{"BL-17 nobody is left", "++", apache, []balance.Server{{Status: balance.Disabled}, {Status: balance.Stopped}}, "503 503", "0 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTrace(t)
			servers := tr.fleet(len(tt.servers))
			for i, there := range tt.servers {
				if there == '-' {
					servers[i] = tr.refusing()
				}
			}
			p := tr.proxy(setup{balance: tt.o, members: tt.members, record: "$status $retries"}, servers...)
			p.dial().wantServed(tt.want)
			var records []string
			retries := strings.Fields(tt.retries)
			for i, w := range strings.Fields(tt.want) {
				if len(w) < 3 {
					w = "200"
				}
				records = append(records, fmt.Sprint(w, " ", retries[i]))
			}
			p.wantRecords(records...)
		})
	}
}

func TestMaxAttempts(t *testing.T) {
	for _, tt := range []struct {
		name, servers string
		most          int
		want          string
	}{
		{"BL-04 two", "----+", 2, "502 502 4 4"},
		{"BL-04 one", "-+", 1, "502 1 1"},
		{"as many as it takes", "----+", 5, "4 4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTrace(t)
			servers := tr.fleet(len(tt.servers))
			for i, there := range tt.servers {
				if there == '-' {
					servers[i] = tr.refusing()
				}
			}
			p := tr.proxy(setup{
				balance:  balance.Options{Algorithm: "first", DisableTime: time.Hour},
				failover: Backend{MaxAttempts: tt.most},
			}, servers...)
			p.dial().wantServed(tt.want)
		})
	}
}

func TestAKeptConnectionThatHasEndedIsNoAttempt(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{failover: Backend{MaxAttempts: 1}, record: "$status $retries"}, o)
	c := p.dial()
	c.send(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	x.send(ok("fine"))
	c.want(200, "fine")
	c.send(get("/next"))
	x.wantRequest("GET /next", "")
	x.Close()
	x = o.accept()
	x.wantRequest("GET /next", "")
	x.Close()
	c.wantError("GET", 502) // and that was the one
	o.wantNobody()
	p.wantRecords("200 0", "502 1")
}

// answering is an origin whose answer the test sets.
func (tr *trace) answering() (o *origin, answer *atomic.Value) {
	o, answer = tr.origin(), &atomic.Value{}
	o.serveEach(func(*http.Request, []byte) string { return answer.Load().(string) })
	return o, answer
}

const unavailable = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"

func failOn(statuses ...int) *StatusSet {
	set := new(StatusSet)
	for _, s := range statuses {
		set.Add(s)
	}
	return set
}

func TestStatusesThatAreFailures(t *testing.T) {
	t.Run("BL-10 it rests, and comes back", func(t *testing.T) {
		tr := newTrace(t)
		o, answer := tr.answering()
		answer.Store(unavailable)
		p := tr.proxy(setup{
			balance:  balance.Options{Algorithm: "byrequests", DisableTime: time.Hour},
			failover: Backend{FailOnStatus: failOn(500, 503)},
		}, append([]any{o}, tr.fleet(2)[1])...)
		c := p.dial()
		c.wantServed("503 1 1 1")
		answer.Store(ok("0"))
		p.group.SetUp(0, true, 0) // as the end of its rest would
		c.wantServed("0 1 0 1")
	})
	t.Run("other statuses are none", func(t *testing.T) {
		tr := newTrace(t)
		o, answer := tr.answering()
		answer.Store(unavailable)
		p := tr.proxy(setup{
			balance:  balance.Options{Algorithm: "first", DisableTime: time.Hour},
			failover: Backend{FailOnStatus: failOn(500, 502)},
		}, append([]any{o}, tr.fleet(2)[1])...)
		p.dial().wantServed("503 503 503")
	})
	t.Run("a few in a row", func(t *testing.T) {
		tr := newTrace(t)
		o, answer := tr.answering()
		answer.Store(unavailable)
		p := tr.proxy(setup{
			balance:  balance.Options{Algorithm: "first", DisableTime: time.Hour, MaxFails: 3},
			failover: Backend{FailOnStatus: failOn(503)},
		}, append([]any{o}, tr.fleet(2)[1])...)
		c := p.dial()
		c.wantServed("503 503")
		answer.Store(ok("0"))
		c.wantServed("0")
		answer.Store(unavailable)
		c.wantServed("503 503 503 1 1")
	})
	t.Run("BL-14 a single server, forced recovery", func(t *testing.T) {
		tr := newTrace(t)
		o, answer := tr.answering()
		answer.Store("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
		p := tr.proxy(setup{
			balance:  balance.Options{DisableTime: time.Hour, ForceRecovery: true},
			failover: Backend{FailOnStatus: failOn(500)},
		}, o)
		c := p.dial()
		c.wantServed("500 500 500")
		answer.Store(ok("0"))
		c.wantServed("0 0")
	})
	t.Run("BL-16 a server that ignores errors", func(t *testing.T) {
		tr := newTrace(t)
		o, answer := tr.answering()
		answer.Store(unavailable)
		p := tr.proxy(setup{
			balance:  balance.Options{Algorithm: "byrequests", DisableTime: time.Hour},
			members:  []balance.Server{{Status: balance.IgnoreErrors}},
			failover: Backend{FailOnStatus: failOn(503)},
		}, append([]any{o}, tr.fleet(2)[1])...)
		p.dial().wantServed("503 1 503 1")
	})
	t.Run("our own for a server that closes", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		o.serveEach(func(*http.Request, []byte) string { return "Connection: close" }) // no response
		p := tr.proxy(setup{
			balance:  balance.Options{Algorithm: "first", DisableTime: time.Hour},
			failover: Backend{FailOnStatus: failOn(502)},
		}, append([]any{o}, tr.fleet(2)[1])...)
		p.dial().wantServed("502 1 1")
	})
}

func TestTimeoutsThatAreFailures(t *testing.T) {
	for name, tt := range map[string]struct {
		fail bool
		on   RetryOn
		want string
	}{
		"BL-11 on":                 {true, RetryConnect | RetryClosed, "504 1 1"},
		"BL-11 off":                {false, RetryConnect | RetryClosed, "504 1 504 1"},
		"tried again":              {false, RetryTimeout, "1 1"},
		"tried again, and resting": {true, RetryTimeout, "1 1 1"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			silent := tr.origin()
			silent.serve(func(x *peer) error {
				for {
					if _, _, err := x.readRequest(); err != nil {
						return nil
					}
				}
			})
			p := tr.proxy(setup{
				timeouts: Timeouts{Response: time.Second}, // which the other server can keep to on a busy machine
				balance:  balance.Options{Algorithm: "byrequests", DisableTime: time.Hour},
				failover: Backend{FailOnTimeout: tt.fail, RetryOn: tt.on},
			}, append([]any{silent}, tr.fleet(2)[1])...)
			p.dial().wantServed(tt.want)
		})
	}
}

func TestRetryOnNothing(t *testing.T) {
	tr := newTrace(t)
	p := tr.proxy(setup{
		balance:  balance.Options{Algorithm: "first", DisableTime: time.Hour},
		failover: Backend{RetryOn: RetryTimeout},
	}, append([]any{tr.refusing()}, tr.fleet(2)[1])...)
	p.dial().wantServed("502 1 1")
}

// closing is an origin that reads a request and closes the connection.
func (tr *trace) closing() *origin {
	o := tr.origin()
	o.serve(func(x *peer) error {
		x.readRequest()
		return nil
	})
	return o
}

// budgetOf returns one of a number of retries beside the percentage.
func budgetOf(retries float64, percent int) *RetryBudget {
	b := NewRetryBudget(percent)
	b.floor = retries
	return b
}

func TestRetryBudget(t *testing.T) {
	tr := newTrace(t)
	p := tr.proxy(setup{
		balance:  balance.Options{Algorithm: "first"}, // the first server never rests
		failover: Backend{Budget: budgetOf(0.1, 50)},
	}, append([]any{tr.closing()}, tr.fleet(2)[1])...)
	// Each request pays half of a retry.
	p.dial().wantServed("502 1 502 1 502 1")
}

func TestWhatNoServerHasSeenCostsNoRetry(t *testing.T) {
	tr := newTrace(t)
	budget := budgetOf(0, 1)
	p := tr.proxy(setup{
		balance:  balance.Options{Algorithm: "first"}, // the first server never rests
		failover: Backend{Budget: budget},
	}, append([]any{tr.refusing()}, tr.fleet(2)[1])...)
	p.dial().wantServed("1 1 1 1")
	if n := budget.retries(); n != 0 {
		t.Errorf("%v retries were taken", n)
	}
}

func TestARetryThatFindsNoServerCostsNothing(t *testing.T) {
	tr := newTrace(t)
	budget := budgetOf(1, 1)
	p := tr.proxy(setup{
		balance:  balance.Options{Algorithm: "first"}, // no server ever rests
		failover: Backend{Budget: budget},
	}, tr.closing())
	p.dial().wantServed("502 502 502")
	// Each of them could have been tried again, if there had been another server.
	if n := budget.retries(); n != 0 {
		t.Errorf("%v retries were taken", n)
	}
}

func TestRetryBudgetIsBounded(t *testing.T) {
	b := NewRetryBudget(20)
	takes := func(now Time) (n int) {
		for b.take(now) {
			n++
		}
		return n
	}
	at := 7 * retryWindow
	for _, step := range []struct {
		after Time
		pays  int
		want  int
	}{
		{0, 0, retryFloor},
		{0, 5, 1},
		{0, 4, 0},
		{0, 1, 1},
		{retryWindow, 10000, 2000}, // of those: the window before still counts, with what was taken
		{retryWindow / 2, 0, 50},   // half of it does
		{retryWindow / 2, 0, 50},
		{retryWindow, 0, retryFloor - 50}, // there were no requests
		{20 * retryWindow, 20000, retryFloor + 4000},
	} {
		at += step.after
		for i := range step.pays {
			b.pay(i, at)
		}
		if n := takes(at); n != step.want {
			t.Errorf("%v later, behind %d requests: %d retries, want %d", step.after, step.pays, n, step.want)
		}
	}
	if n := takes(at - 1); n != 0 { // on a loop that is late
		t.Errorf("%d retries in a window that is over for others", n)
	}
	b.pay(0, at-1)
	if n := takes(at); n != 0 {
		t.Errorf("%d retries behind a request on a loop that is late", n)
	}
	b.refund(at)
	if n := takes(at); n != 1 {
		t.Errorf("%d retries behind one that was given back", n)
	}
}

func TestStatusSet(t *testing.T) {
	set := failOn(200, 503, 599)
	for status := range 1000 {
		if got, want := set.Has(status), status == 200 || status == 503 || status == 599; got != want {
			t.Errorf("Has(%d) is %v", status, got)
		}
	}
	if (*StatusSet)(nil).Has(200) {
		t.Error("the empty set has something")
	}
}
