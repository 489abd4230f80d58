package balance

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// The traces that Apache 2.4 has shown for its methods, with the same weights.
func TestApachesSequences(t *testing.T) {
	for _, tt := range []struct {
		name, algorithm string
		weights         []int
		want            string
	}{
		{"LB-01 equal", "byrequests", []int{1, 1, 1}, "a b c a b c a"},
		{"LB-02 1:4", "byrequests", []int{1, 4}, "b b a b b b b a b b"},
		{"LB-03 70:30", "byrequests", []int{70, 30}, "a b a a a b a a b a"},
		{"LB-04 5:1:1", "byrequests", []int{5, 1, 1}, "a a b a c a a a a b a c a a"},
		{"LB-05 1.5:1", "byrequests", []int{3, 2}, "a b a b a a b a b a"},
	} {
		t.Run(tt.name, func(t *testing.T) { newTrace(t, tt.algorithm, tt.weights...).serves(tt.want) })
	}
	t.Run("LB-06 bybusyness, overlapping", func(t *testing.T) {
		newTrace(t, "bybusyness", 1, 1, 1).picks("a b c a b c a b c")
	})
	t.Run("LB-07 bybusyness 1:3, overlapping", func(t *testing.T) {
		newTrace(t, "bybusyness", 1, 3).picks("b a b a b a")
	})
	t.Run("LB-08 bytraffic 1:2, equal responses", func(t *testing.T) {
		tr := newTrace(t, "bytraffic", 1, 2)
		for _, name := range strings.Fields("a b b a b b a b b") {
			tr.picks(name)
			tr.g.Traffic(tr.index(name), 1000)
			tr.done(name, OutcomeOK)
		}
	})
}

func TestByTrafficMakesUpForALargeResponse(t *testing.T) {
	tr := newTrace(t, "bytraffic", 1, 1)
	tr.picks("a")
	tr.g.Traffic(0, 10_000)
	tr.done("a", OutcomeOK)
	for range 7 {
		tr.picks("b")
		tr.g.Traffic(1, 100)
		tr.done("b", OutcomeOK)
	}
	// Requests of which nothing has come back yet are spread by their number.
	tr = newTrace(t, "bytraffic", 1, 2)
	tr.picks("a b b a b b")
}

func TestByTrafficExpectsOfRequestsUnderWayWhatOthersHaveSpent(t *testing.T) {
	tr := newTrace(t, "bytraffic", 1, 1, 2)
	spend := func(name string, bytes int64) {
		tr.g.Traffic(tr.index(name), bytes)
		tr.done(name, OutcomeOK)
	}
	tr.picks("a")
	spend("a", 1000)
	// b and c have spent nothing. Who goes by that alone sends all of them there.
	tr.picks("b c c a b c c")
	// What they have really spent counts from then on, and nothing else.
	for _, name := range []string{"a", "c", "c", "b", "c", "c", "b"} {
		spend(name, 100)
	}
	for i, want := range []int64{1100, 200, 400} {
		if got := tr.g.servers[i].spent.Load(); got != want {
			t.Errorf("%s has spent %d, want %d", tr.g.Name(Index(i)), got, want)
		}
	}
	tr.picks("b c c a") // nine hundred bytes are expected of each: the average forgets slowly
}

func TestRequestsThatNeverGotAnywhereSpendNothing(t *testing.T) {
	tr := newTrace(t, "bytraffic", 1, 1)
	tr.picks("a")
	tr.g.Traffic(0, 1000)
	tr.done("a", OutcomeOK)
	for range 10 {
		tr.picks("b")
		tr.done("b", OutcomeNeutral)
	}
	if spent := tr.g.servers[1].spent.Load(); spent != 0 {
		t.Errorf("b has spent %d bytes on nothing", spent)
	}
}

func TestAServerThatComesBackHasNothingToMakeUpFor(t *testing.T) {
	for _, algorithm := range []string{"bytraffic", "bybusyness"} {
		t.Run(algorithm, func(t *testing.T) {
			tr := newTrace(t, algorithm, 1, 1)
			counts := make([]int, 2)
			serve := func() {
				i, _ := tr.g.Pick(tr.now, NoKey, &tr.tried)
				tr.g.Connected(i)
				tr.g.Traffic(i, 100)
				tr.g.Done(i, OutcomeOK, tr.now)
				counts[i]++
			}
			tr.refused("a")
			for range 100 {
				serve()
			}
			tr.advance(disableTime)
			for range 10 {
				serve()
			}
			if counts[0] < 5 || counts[0] > 6 {
				t.Errorf("a got %d of the 10 requests since it came back", counts[0])
			}
		})
	}
}

func TestFirstStandsInOnly(t *testing.T) {
	tr := newTrace(t, "first", 1, 1, 1)
	tr.picks("a a a")
	tr.tried.Add(0)
	tr.picks("b")
	tr.tried.Reset()
	tr.refused("a")
	tr.serves("b b")
	tr.advance(disableTime)
	tr.serves("a a")
}

// proportional wants counts to be in the ratio of weights, to four standard deviations of independent draws.
func proportional(t *testing.T, counts, weights []int) {
	t.Helper()
	n, sum := 0, 0
	for i := range counts {
		n += counts[i]
		sum += weights[i]
	}
	for i := range counts {
		p := float64(weights[i]) / float64(sum)
		want, sigma := float64(n)*p, math.Sqrt(float64(n)*p*(1-p))
		if math.Abs(float64(counts[i])-want) > 4*sigma {
			t.Errorf("server %d of weight %d: %d of %d, want %.0f +- %.0f", i, weights[i], counts[i], n, want, 4*sigma)
		}
	}
}

// named returns a group of servers with addresses for names.
func named(t testing.TB, o Options, weights ...int) *Group {
	t.Helper()
	servers := make([]Server, len(weights))
	for i, w := range weights {
		servers[i] = Server{Name: fmt.Sprintf("10.0.%d.%d:8080", i/256, i%256), Weight: w}
	}
	if o.DisableTime == 0 {
		o.DisableTime = disableTime
	}
	g, err := New(servers, o)
	if err != nil {
		t.Fatal(err)
	}
	g.dice.state.Store(1) // tests do not depend on luck
	return g
}

func TestSharesAreProportionalToWeights(t *testing.T) {
	const requests = 20_000
	for _, weights := range [][]int{{1, 1}, {1, 1, 1, 1, 1, 1, 1, 1}, {1, 2, 3, 4}, {10, 1, 1}, {1000, 500, 1, 250}} {
		for _, algorithm := range []string{"round-robin", "hash", "maglev", "bytraffic", "bybusyness", "random", "ewma"} {
			for _, down := range []bool{false, true} {
				t.Run(fmt.Sprint(algorithm, weights, " one down: ", down), func(t *testing.T) {
					g := named(t, Options{Algorithm: algorithm}, weights...)
					counts, rest := make([]int, len(weights)), slices.Clone(weights)
					if down {
						g.SetUp(0, false, 0)
						rest[0] = 0
					}
					for n := range requests {
						i, ok := g.Pick(0, mix(uint64(n+1)), nil)
						if !ok {
							t.Fatal("nothing to pick")
						}
						counts[i]++
						g.Traffic(i, 1)
						g.Done(i, OutcomeOK, 0)
					}
					if algorithm == "maglev" && weights[0] == 1000 {
						// One of these weights stands for 37 slots of 65537, so that the table's own rounding shows.
						return
					}
					if algorithm == "maglev" && down && len(weights) == 2 {
						rest = []int{0, 1}
					}
					proportional(t, counts, rest)
				})
			}
		}
		// What goes by requests in flight is exact.
		for _, algorithm := range []string{"fair", "sqf"} {
			t.Run(fmt.Sprint(algorithm, weights), func(t *testing.T) {
				g := named(t, Options{Algorithm: algorithm}, weights...)
				sum := 0
				for _, w := range weights {
					sum += w
				}
				for range 3 * sum {
					g.Pick(0, NoKey, nil)
				}
				for i, w := range weights {
					if n := g.InFlight(Index(i)); n != int64(3*w) {
						t.Errorf("server %d of weight %d has %d of %d", i, w, n, 3*sum)
					}
				}
			})
		}
	}
}

func TestRequestsWithoutAKeyAreSpread(t *testing.T) {
	for _, o := range []Options{{Algorithm: "hash"}, {Algorithm: "sticky"}, {Algorithm: "maglev"}} {
		t.Run(o.Algorithm, func(t *testing.T) {
			weights := []int{1, 2, 1}
			g := named(t, o, weights...)
			counts := make([]int, 3)
			for range 20_000 {
				i, _ := g.Pick(0, NoKey, nil)
				counts[i]++
			}
			proportional(t, counts, weights)
		})
	}
}

// With requests that stay, random is far from even without its second choice: the fullest of 64 servers would have
// about 90 above the mean of 1000.
func TestTheSecondChoiceMakesRandomEven(t *testing.T) {
	g := named(t, Options{Algorithm: "random"}, slices.Repeat([]int{1}, 64)...)
	for range 64_000 {
		g.Pick(0, NoKey, nil)
	}
	for i := range g.Len() {
		if n := g.InFlight(Index(i)); n < 990 || n > 1010 {
			t.Errorf("server %d has %d, the mean is 1000", i, n)
		}
	}
}

func TestLotteryIsExact(t *testing.T) {
	for _, weights := range [][]int{{1, 2, 3, 4}, {1, 1000}, {7, 7, 7, 1}, {1}, {3, 3}} {
		g := named(t, Options{}, weights...)
		lots := newLottery(g, g.tiers[0].servers)
		// The chance of each server, added up from the columns.
		chance := make([]float64, len(weights))
		for k, i := range lots.servers {
			own := 1.0
			if lots.columns != nil {
				own = float64(lots.columns[k].own) / (1 << 32)
				chance[lots.columns[k].other] += (1 - own) / float64(len(weights))
			}
			chance[i] += own / float64(len(weights))
		}
		sum := 0
		for _, w := range weights {
			sum += w
		}
		for i, w := range weights {
			if want := float64(w) / float64(sum); math.Abs(chance[i]-want) > 1e-8 {
				t.Errorf("%v: server %d has a chance of %v, want %v", weights, i, chance[i], want)
			}
		}
	}
}

func TestEWMAPrefersTheFasterServer(t *testing.T) {
	const ms = 1_000_000
	g := named(t, Options{Algorithm: "ewma"}, 1, 1)
	latency := []int64{ms, 100 * ms}
	now := int64(0)
	counts := make([]int, 2)
	serve := func() {
		i, _ := g.Pick(now, NoKey, nil)
		counts[i]++
		g.Answered(i, latency[i], now+latency[i])
		g.Done(i, OutcomeOK, now+latency[i])
		now += 10 * ms
	}
	for range 1000 { // ten seconds
		serve()
	}
	// The slow one is tried again when what is known of it has faded to the other's.
	if counts[1] < 1 || counts[1] > 10 {
		t.Errorf("the slow server got %d of 1000", counts[1])
	}
	// It recovers, and gets its share again.
	latency[1] = ms
	for range 10_000 {
		serve()
	}
	before := counts[1]
	for range 1000 {
		serve()
	}
	if got := counts[1] - before; got < 300 || got > 700 {
		t.Errorf("the server that is as fast again got %d of 1000", got)
	}
}

func TestEWMACountsRequestsInFlight(t *testing.T) {
	g := named(t, Options{Algorithm: "ewma"}, 1, 3)
	for i := range Index(2) {
		g.servers[i].inFlight.Add(1)
		g.Answered(i, 1_000_000, 0)
		g.Done(i, OutcomeOK, 0)
	}
	for range 40 {
		g.Pick(0, NoKey, nil)
	}
	// (n+1)/weight is the same for both.
	if a, b := g.InFlight(0), g.InFlight(1); a < 9 || a > 10 || a+b != 40 {
		t.Errorf("%d and %d in flight", a, b)
	}
}

func TestAverage(t *testing.T) {
	const s, ms = 1_000_000_000, 1_000_000
	a := average(0).add(5*ms, 100*s)
	near := func(got, want float64) {
		t.Helper()
		if math.Abs(got-want) > want/1000 {
			t.Errorf("%v, want %v", got, want)
		}
	}
	near(a.at(100*s), 5*ms)
	near(a.at(110*s), 5*ms/math.E)
	near(a.at(99*s), 5*ms)                     // another loop is ahead
	near(a.add(50*ms, 100*s).at(100*s), 50*ms) // a peak counts at once
	near(a.add(1*ms, 110*s).at(110*s), 5*ms/math.E+1*ms*(1-1/math.E))
	// Milliseconds wrap around after 49 days.
	wrap := int64(1<<32) * ms
	b := average(0).add(5*ms, wrap-5*s)
	near(b.at(wrap+5*s), 5*ms/math.E)
}

func TestLatencyAndTrafficAreCountedForThoseWhoUseThem(t *testing.T) {
	for _, algorithm := range Algorithms() {
		g := newGroup(t, algorithm, 1)
		if got, want := g.CountsLatency(), algorithm == "ewma"; got != want {
			t.Errorf("%s counts latency: %v", algorithm, got)
		}
		if got, want := g.CountsTraffic(), algorithm == "bytraffic"; got != want {
			t.Errorf("%s counts traffic: %v", algorithm, got)
		}
		g.Answered(0, 1, 1)
		g.Traffic(0, 1)
		if s := &g.servers[0]; !g.CountsLatency() && s.expected.Load() != 0 || !g.CountsTraffic() && s.spent.Load() != 0 {
			t.Errorf("%s has counted what it does not use", algorithm)
		}
	}
}
