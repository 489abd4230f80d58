package balance

import (
	"sync"
	"sync/atomic"
	"testing"
)

// TestRaceCountsReturnToZero has many loops pick and give back, with servers going to rest and coming back.
func TestRaceCountsReturnToZero(t *testing.T) {
	const loops, requests = 8, 4000
	for _, algorithm := range Algorithms() {
		t.Run(algorithm, func(t *testing.T) {
			g := newGroup(t, algorithm, 1, 2, 3, 4)
			var now atomic.Int64
			var wg sync.WaitGroup
			for l := range loops {
				wg.Go(func() {
					var tried Tried
					for n := range requests {
						tried.Reset()
						at := now.Add(1)
						for {
							i, ok := g.Pick(at, NoKey, &tried)
							if !ok {
								break
							}
							if (n+l)%5 == 0 {
								g.Done(i, OutcomeConnectFailed, at)
								tried.Add(i)
								continue
							}
							g.Connected(i)
							g.Done(i, Outcome(n%4/2*2), at) // ok or failed
							break
						}
					}
				})
			}
			wg.Wait()
			for i := range g.Len() {
				if n := g.InFlight(Index(i)); n != 0 {
					t.Errorf("%s: %d in flight", g.Name(Index(i)), n)
				}
			}
		})
	}
}

func TestRaceRoundRobinSharesAreExact(t *testing.T) {
	const loops, requests = 6, 3000
	g := newGroup(t, "round-robin", 1, 1, 1)
	var counts [3]atomic.Int64
	var wg sync.WaitGroup
	for range loops {
		wg.Go(func() {
			for range requests {
				i, ok := g.Pick(0, NoKey, nil)
				if !ok {
					t.Error("nothing to pick")
					return
				}
				counts[i].Add(1)
				g.Done(i, OutcomeOK, 0)
			}
		})
	}
	wg.Wait()
	for i := range counts {
		if n := counts[i].Load(); n != loops*requests/3 {
			t.Errorf("%s: %d of %d requests", g.Name(Index(i)), n, loops*requests)
		}
	}
}

// TestRaceOneProbe has many loops want a server at the moment its rest ends.
func TestRaceOneProbe(t *testing.T) {
	for _, algorithm := range Algorithms() {
		t.Run(algorithm, func(t *testing.T) {
			g := newGroup(t, algorithm, 1)
			now := int64(0)
			for range 200 {
				i, ok := g.Pick(now, NoKey, nil)
				if !ok {
					t.Fatal("nothing to pick")
				}
				g.Done(i, OutcomeConnectFailed, now)
				now += disableTime
				var probes atomic.Int64
				var wg sync.WaitGroup
				for range 8 {
					wg.Go(func() {
						if _, ok := g.Pick(now, NoKey, nil); ok {
							probes.Add(1)
						}
					})
				}
				wg.Wait()
				if n := probes.Load(); n != 1 {
					t.Fatalf("%d probes", n)
				}
				g.Done(0, OutcomeNeutral, now)
				now += disableTime
			}
		})
	}
}
