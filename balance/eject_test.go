package balance

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	ms  = int64(time.Millisecond)
	sec = int64(time.Second)
)

// court is a trace whose group ejects servers, and what they answer.
type court struct {
	*trace
	latency []int64 // of each server
	bad     []int   // of each server's answers, in percent
	asked   []int   // of each server
}

var strict = Ejection{
	Window: 10 * time.Second, MinRequests: 20, ErrorRate: 50, LatencyFactor: 5, MinLatency: 10 * time.Millisecond,
	Time: 30 * time.Second, MaxTime: 5 * time.Minute, MaxShare: 30,
}

func newCourt(t *testing.T, e Ejection, o Options, n int) *court {
	t.Helper()
	o.Ejection = &e
	if o.DisableTime == 0 {
		o.DisableTime = time.Second
	}
	servers := make([]Server, n)
	for i := range servers {
		servers[i] = Server{Name: string(rune('a' + i)), Weight: 1}
	}
	g, err := New(servers, o)
	if err != nil {
		t.Fatal(err)
	}
	c := &court{trace: &trace{T: t, g: g}, latency: make([]int64, n), bad: make([]int, n), asked: make([]int, n)}
	for i := range c.latency {
		c.latency[i] = 2 * ms
	}
	return c
}

// request is one, served at once.
func (c *court) request() Index {
	c.Helper()
	i, ok := c.g.Pick(c.now, c.key, &c.tried)
	if !ok {
		c.Fatalf("at %d: nothing to pick", c.now)
	}
	c.answer(i)
	return i
}

func (c *court) answer(i Index) {
	c.g.Connected(i)
	o := OutcomeOK
	if c.asked[i]++; (c.asked[i]*c.bad[i])/100 != ((c.asked[i]-1)*c.bad[i])/100 {
		o = OutcomeError
	} else {
		c.g.Answered(i, c.latency[i], c.now)
	}
	c.g.Done(i, o, c.now)
}

// second lets a second pass with so many requests, and returns what was judged at its end, in words: "-a: reason" for
// out, "+a" for back.
func (c *court) second(requests int) string {
	c.Helper()
	for range requests {
		c.request()
		c.now += sec / int64(requests)
	}
	if requests == 0 {
		c.now += sec
	}
	var words []string
	for _, j := range c.g.Judge(c.now) {
		if j.Out {
			words = append(words, fmt.Sprintf("-%s %v: %s", c.g.Name(j.Server), j.For, j.Reason))
		} else {
			words = append(words, "+"+c.g.Name(j.Server))
		}
	}
	return strings.Join(words, "; ")
}

// until lets seconds pass until something is judged, at most so many.
func (c *court) until(most, requests int) (said string, after int) {
	c.Helper()
	for after = 1; after <= most; after++ {
		if said = c.second(requests); said != "" {
			return said, after
		}
	}
	return "", most
}

func (c *court) wants(got, want string) {
	c.Helper()
	if got != want {
		c.Fatalf("at %v: judged %q, want %q", time.Duration(c.now), got, want)
	}
}

func TestAServerThatFailsTooOftenIsEjected(t *testing.T) {
	c := newCourt(t, strict, Options{Algorithm: "round-robin"}, 3)
	for range 20 {
		c.wants(c.second(30), "")
	}
	c.bad[1] = 60
	said, after := c.until(20, 30)
	if !strings.HasPrefix(said, "-b 30s: 5") || !strings.HasSuffix(said, " of 100 requests have failed in 10s") {
		t.Errorf("judged %q", said)
	}
	if after > 10 {
		t.Errorf("after %d seconds", after)
	}
	c.resting("b")
	before := c.asked[1]
	for range 29 {
		c.wants(c.second(30), "")
	}
	if c.asked[1] != before {
		t.Errorf("%d requests while it was out", c.asked[1]-before)
	}
	// It comes back, and is as bad: it leaves for twice as long, and so on up to the bound.
	for _, out := range []string{"1m0s", "2m0s", "4m0s", "5m0s", "5m0s"} {
		said, _ := c.until(400, 30)
		c.wants(said, "+b")
		said, _ = c.until(20, 30)
		if !strings.HasPrefix(said, "-b "+out+": ") {
			t.Fatalf("judged %q, want it out for %s", said, out)
		}
	}
	// After as long in use as it was out, everything is forgotten.
	c.bad[1] = 0
	said, _ = c.until(400, 30)
	c.wants(said, "+b")
	for range 301 {
		c.wants(c.second(30), "")
	}
	c.bad[1] = 100
	said, _ = c.until(20, 30)
	if !strings.HasPrefix(said, "-b 30s: ") {
		t.Errorf("judged %q, want it out for 30s", said)
	}
}

func TestWhatIsNotEnoughForAnEjection(t *testing.T) {
	for _, tt := range []struct {
		name     string
		servers  int
		requests int // a second
		change   func(c *court)
	}{
		{"a rate below", 3, 300, func(c *court) { c.bad[1] = 45 }},
		{"too few requests", 3, 3, func(c *court) { c.bad[1] = 100 }},
		{"all fail", 3, 300, func(c *court) { copy(c.bad, []int{100, 100, 100}) }},
		{"a single server", 1, 300, func(c *court) { c.bad[0], c.latency[0] = 100, sec }},
		{"errors that do not count", 3, 300, func(c *court) { c.bad[1] = 100; c.g.eject.ErrorRate = 0 }},
		{"not slow enough", 3, 300, func(c *court) { c.latency[1] = 12 * ms; c.latency[0], c.latency[2] = 4*ms, 4*ms }},
		{"slow for a moment", 3, 300, func(c *court) {
			c.latency[1] = sec
			for range 500 {
				c.g.servers[1].inFlight.Add(1)
				c.answer(1)
			}
			c.latency[1] = 2 * ms
		}},
		{"slow among the fast", 3, 300, func(c *court) { copy(c.latency, []int64{ms / 100, 9 * ms, ms / 100}) }},
		{"all are slow", 5, 300, func(c *court) { copy(c.latency, []int64{sec, sec, sec, sec, sec}) }},
		{"all are slow, each in its way", 4, 300, func(c *court) { copy(c.latency, []int64{sec, 2 * sec, 3 * sec, 4 * sec}) }},
		{"latency that does not count", 3, 300, func(c *court) { c.latency[1] = sec; c.g.eject.LatencyFactor = 0 }},
		{"who ignores errors", 3, 300, func(c *court) { c.bad[1], c.latency[1] = 100, sec; c.g.servers[1].status = IgnoreErrors }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCourt(t, strict, Options{Algorithm: "round-robin"}, tt.servers)
			for range 5 {
				c.wants(c.second(tt.requests), "")
			}
			tt.change(c)
			for range 30 {
				c.wants(c.second(tt.requests), "")
			}
		})
	}
}

func TestASlowServerIsEjected(t *testing.T) {
	for _, algorithm := range []string{"round-robin", "fair", "random", "ewma"} {
		t.Run(algorithm, func(t *testing.T) {
			c := newCourt(t, strict, Options{Algorithm: algorithm}, 5)
			c.g.dice.state.Store(1)
			spread := func() string { // fair gives all requests that come alone to the first
				if algorithm == "round-robin" {
					return c.second(500)
				}
				for range 100 {
					for i := range Index(5) {
						if !c.g.Resting(i, c.now) {
							c.g.servers[i].inFlight.Add(1)
							c.answer(i)
						}
					}
				}
				return c.second(0)
			}
			for range 20 {
				c.wants(spread(), "")
			}
			c.latency[3] *= 10
			said := ""
			after := 0
			for ; said == "" && after < 10; after++ {
				said = spread()
			}
			c.wants(said, "-d 30s: it takes 19ms to answer, the others 2ms")
			if after > 3 {
				t.Errorf("after %d seconds", after)
			}
		})
	}
}

// A server that has begun to be slow is not saved by what it did before, though it answers less often now.
func TestTheLatestAnswersDecideAboutLatency(t *testing.T) {
	c := newCourt(t, strict, Options{}, 2)
	for range 10 {
		for range 10_000 {
			c.g.servers[0].inFlight.Add(1)
			c.answer(0)
			c.g.servers[1].inFlight.Add(1)
			c.answer(1)
		}
		c.wants(c.second(0), "")
	}
	c.latency[1] = 100 * ms
	said := ""
	for range 4 {
		for range 10 {
			c.g.servers[1].inFlight.Add(1)
			c.answer(1)
			c.g.servers[0].inFlight.Add(1)
			c.answer(0)
		}
		if said += c.second(0); said != "" {
			break
		}
	}
	if !strings.HasPrefix(said, "-b 30s: it takes ") {
		t.Errorf("judged %q", said)
	}
}

func TestMaxShare(t *testing.T) {
	for _, tt := range []struct{ servers, share, bad, want int }{
		{2, 30, 1, 1}, // one whatever the share
		{10, 30, 4, 3},
		{10, 0, 3, 1},
		{10, 100, 4, 4},
		{5, 50, 2, 2},
	} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			e := strict
			e.MaxShare = tt.share
			c := newCourt(t, e, Options{Algorithm: "round-robin"}, tt.servers)
			for i := range tt.bad {
				c.latency[i] = int64(100+i) * ms * int64(1+i) // the last is the worst
			}
			c.second(50 * tt.servers)
			for range 5 {
				c.second(50 * tt.servers)
			}
			n := 0
			for i := range tt.servers {
				if c.g.Ejected(Index(i)) {
					n++
					if i < tt.bad-tt.want {
						t.Errorf("server %d is out, and there are slower ones", i)
					}
				}
			}
			if n != tt.want {
				t.Errorf("%d are out, want %d", n, tt.want)
			}
		})
	}
}

func TestOneServerAlwaysStays(t *testing.T) {
	e := strict
	e.MaxShare = 100
	c := newCourt(t, e, Options{Algorithm: "round-robin"}, 3)
	c.second(100)
	c.g.SetUp(0, false, c.now)
	c.bad[1] = 100
	said, _ := c.until(20, 100)
	if !strings.HasPrefix(said, "-b ") {
		t.Fatalf("judged %q", said)
	}
	c.bad[2] = 100
	for range 20 {
		c.wants(c.second(100), "")
	}
}

// eject has server i of a new court ejected.
func (c *court) eject(i Index) {
	c.Helper()
	c.latency[i] *= 100
	if said, _ := c.until(20, 100); !strings.HasPrefix(said, "-"+c.g.Name(i)) {
		c.Fatalf("judged %q", said)
	}
}

// What requests that had picked it before meet there does not shorten the time, nor does another's rest.
func TestAnEjectionLastsItsTime(t *testing.T) {
	c := newCourt(t, strict, Options{Algorithm: "round-robin", ForceRecovery: true, MaxFails: 1}, 3)
	c.eject(1)
	for _, o := range []Outcome{OutcomeOK, OutcomeConnectFailed, OutcomeFailed, OutcomeNeutral, OutcomeUnfit, OutcomeError} {
		c.g.servers[1].inFlight.Add(1) // as if it had been picked before
		c.g.Connected(1)
		c.g.Done(1, o, c.now)
		c.resting("b")
	}
	c.refused("c")
	c.refused("a")
	c.resting("a b c")
	c.advance(2 * sec)
	c.serves("c a")
	c.resting("b")
	c.advance(27 * sec)
	c.resting("b")
	c.advance(2 * sec)
	c.resting("")
}

// When its time is over, one request tries it; with that the others come.
func TestAnEjectedServerComesBackByAProbe(t *testing.T) {
	c := newCourt(t, strict, Options{Algorithm: "first", SlowStart: 10 * time.Second}, 2)
	c.g.dice.state.Store(1)
	for range 30 {
		for i := range Index(2) {
			c.g.servers[i].inFlight.Add(1)
			c.latency[0] = sec
			c.answer(i)
		}
	}
	if said, _ := c.until(2, 0); !strings.HasPrefix(said, "-a 30s") {
		t.Fatalf("judged %q", said)
	}
	c.serves("b b")
	c.advance(30 * sec)
	if got := c.g.Judge(c.now); len(got) != 0 {
		t.Errorf("judged %v before it was tried", got)
	}
	c.picks("a b b") // one is enough
	c.connected("a")
	c.done("a", OutcomeOK)
	c.wants(c.second(0), "+a")
	if c.g.Ejected(0) {
		t.Error("it is still said to be ejected")
	}
	// Its share grows.
	n := 0
	for range 1000 {
		if c.request() == 0 {
			n++
		}
	}
	if n < 50 || n > 250 {
		t.Errorf("after a second of ten it gets %d of 1000", n)
	}
}

// A bad answer is better than none.
func TestEjectedServersStandInForThoseThatRest(t *testing.T) {
	for _, algorithm := range Algorithms() {
		for _, o := range []Options{{}, {SlowStart: time.Second}, {HashBalanceFactor: 150}} {
			if o.HashBalanceFactor > 0 && !Keyed(algorithm) {
				continue
			}
			o.Algorithm = algorithm
			t.Run(fmt.Sprint(algorithm, o.SlowStart, o.HashBalanceFactor), func(t *testing.T) {
				c := newCourt(t, strict, o, 3)
				state := restUntil(30*sec, false)
				c.g.eject.watched[1].sentence.Store(state)
				c.g.move(1, 0, state, 0)
				c.g.SetUp(0, false, 0)
				c.picks("c")
				c.tried.Add(2)
				c.picks("b b") // this request has been at all others
				c.resting("a b")
				c.g.Done(1, OutcomeOK, 0)
				c.g.Done(1, OutcomeConnectFailed, 0)
				c.resting("a b")
				c.tried.Add(1)
				c.picks("-")
				c.tried.Reset()
				c.picks("c")
				c.g.Done(2, OutcomeConnectFailed, 0)
				c.g.Done(2, OutcomeConnectFailed, 0)
				c.picks("b")
				c.g.Done(1, OutcomeOK, 0)
				for i := range Index(3) {
					if n := c.g.InFlight(i); n != 0 {
						t.Errorf("%s has %d requests in flight", c.g.Name(i), n)
					}
				}
				for i := range c.g.tiers {
					if n := c.g.tiers[i].inFlight.Load(); n != 0 {
						t.Errorf("tier %d has %d requests in flight", i, n)
					}
				}
			})
		}
	}
}

func TestHealthChecksGoBeforeAnEjection(t *testing.T) {
	c := newCourt(t, strict, Options{Algorithm: "round-robin"}, 3)
	c.eject(1)
	c.g.SetUp(1, false, c.now)
	c.advance(60 * sec)
	c.resting("b")
	c.g.SetUp(1, true, c.now)
	c.resting("")
	c.latency[1] = 2 * ms
	c.wants(c.second(100), "+b")
	c.wants(c.second(100), "")
}

func TestLatencyBuckets(t *testing.T) {
	last := -1
	for ns := int64(0); ns < int64(math.MaxInt64)/3; ns += ns/64 + 1 {
		b := latencyBucket(ns)
		if b < last || b >= latencyBuckets || b > last+1 {
			t.Fatalf("%dns is in bucket %d, what is less in %d", ns, b, last)
		}
		last = b
		if got := latencyOf(b); ns > 16<<latencyUnit && b < latencyBuckets-1 && math.Abs(got-float64(ns)) > 0.13*float64(ns) {
			t.Errorf("%dns is taken for %.0fns", ns, got)
		}
	}
	if last != latencyBuckets-1 {
		t.Errorf("the last bucket is %d", last)
	}
	if got := latencyBucket(-1); got != 0 {
		t.Errorf("a clock that was a little ahead: bucket %d", got)
	}
}

func TestMedianWithout(t *testing.T) {
	for _, tt := range []struct {
		all  []float64
		one  float64
		want float64
	}{
		{[]float64{1}, 1, -1},
		{[]float64{1, 2}, 1, 2},
		{[]float64{1, 2}, 2, 1},
		{[]float64{1, 2, 3}, 2, 2},
		{[]float64{1, 2, 3}, 3, 1.5},
		{[]float64{1, 2, 2, 9}, 9, 2},
		{[]float64{1, 5, 5, 9}, 5, 5},
	} {
		if got := medianWithout(tt.all, tt.one); got != tt.want {
			t.Errorf("of %v without %v: %v, want %v", tt.all, tt.one, got, tt.want)
		}
	}
}

func TestNobodyIsJudgedWhoNeedNotBe(t *testing.T) {
	g := newGroup(t, "fair", 1, 1)
	if g.Judge(0) != nil || g.JudgeEvery() != 0 || g.Ejected(0) || g.CountsLatency() {
		t.Error("a group without an ejection judges")
	}
	e := strict
	e.LatencyFactor = 0
	c := newCourt(t, e, Options{}, 2)
	if c.g.CountsLatency() || c.g.JudgeEvery() != time.Second {
		t.Error("latencies are asked for that nobody needs")
	}
}

func TestJudgingCountsAllocateNothing(t *testing.T) {
	c := newCourt(t, strict, Options{Algorithm: "fair", SlowStart: time.Second}, 3)
	if n := testing.AllocsPerRun(1000, func() { c.request() }); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
	if !slices.Equal(c.asked[1:], []int{0, 0}) {
		t.Errorf("fair has given requests that come alone to %v", c.asked)
	}
}
