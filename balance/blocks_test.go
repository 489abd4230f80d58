package balance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var comparing = []string{"fair", "bytraffic", "bybusyness"}

// sameAsAll fails unless the blocks of each tier come to the same server as comparing all of them does.
func sameAsAll(t interface {
	Helper()
	Fatalf(string, ...any)
}, g *Group, l look,
) {
	t.Helper()
	for n := range g.tiers {
		b := g.blocksOf(n)
		if b == nil {
			continue
		}
		l.tier, l.spares = n, g.standIns(n, &l)
		got, want := g.bestOfBlocks(b, &l), g.bestOf(g.tiers[n].servers, &l)
		if got != want {
			t.Fatalf("tier %d: the best of all blocks is %d, of all servers %d", n, got, want)
		}
	}
}

// TestBlocksAgainstAllServers makes random moves with many servers, with all that decides which of them may be picked.
func TestBlocksAgainstAllServers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(manyServers+1, 5*blockServers).Draw(t, "servers")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		o := Options{
			Algorithm:     rapid.SampledFrom(comparing).Draw(t, "algorithm"),
			DisableTime:   disableTime,
			SlowStart:     time.Duration(rapid.SampledFrom([]int{0, 5 * disableTime}).Draw(t, "slow start")),
			ForceRecovery: rapid.Bool().Draw(t, "force"),
			Limited:       rapid.Bool().Draw(t, "limited"),
		}
		if rapid.Bool().Draw(t, "ejects") {
			o.Ejection = &Ejection{Window: 10, MinRequests: 1, ErrorRate: 50, Time: 3 * disableTime, MaxTime: 12 * disableTime, MaxShare: 100}
		}
		maxWeight := rapid.SampledFrom([]int{1, 2, MaxWeight}).Draw(t, "heaviest")
		odd := rapid.SampledFrom([]int{0, 0, 20, 3}).Draw(t, "one in how many is special")
		special := rapid.SliceOfN(rapid.SampledFrom([]Status{0, Standby, Spare, Disabled, Draining, IgnoreErrors}), 1, 2).Draw(t, "special")
		sets := rapid.IntRange(1, 2).Draw(t, "sets")
		list := func() []Server {
			servers := make([]Server, n)
			for i := range servers {
				servers[i] = Server{Name: fmt.Sprint(i), Weight: 1 + random.IntN(maxWeight)}
				if odd > 0 && random.IntN(odd) == 0 {
					servers[i].Set = random.IntN(sets)
					servers[i].Status = special[random.IntN(len(special))]
				}
			}
			return servers
		}
		servers := list()
		g, err := New(servers, o)
		if err != nil {
			t.Fatal(err)
		}
		type held struct {
			g *Group
			i Index
		}
		var inFlight []held
		var tried Tried
		now := int64(1)
		any := func() Index { return Index(random.IntN(g.Len())) }
		same := func(t *rapid.T) {
			l := look{now: now, tried: &tried}
			if now < g.rampEnd.Load() {
				l.draw = random.Uint64() | 1
			}
			sameAsAll(t, g, l)
		}
		times := rapid.IntRange(1, 40)
		t.Repeat(map[string]func(*rapid.T){
			"pick": func(t *rapid.T) {
				for range times.Draw(t, "times") {
					same(t)
					if i, ok := g.Pick(now, NoKey, &tried); ok {
						inFlight = append(inFlight, held{g, i})
					}
				}
			},
			"done": func(t *rapid.T) {
				o := rapid.SampledFrom([]Outcome{OutcomeOK, OutcomeOK, OutcomeFailed, OutcomeConnectFailed, OutcomeNeutral, OutcomeError}).Draw(t, "outcome")
				for range min(times.Draw(t, "times"), len(inFlight)) {
					k := random.IntN(len(inFlight))
					h := inFlight[k]
					inFlight = slices.Delete(inFlight, k, k+1)
					h.g.Done(h.i, o, now)
				}
			},
			"traffic": func(t *rapid.T) {
				for range times.Draw(t, "times") {
					g.Traffic(any(), random.Int64N(1000))
				}
			},
			"connected": func(t *rapid.T) { g.Connected(any()) },
			"full": func(t *rapid.T) {
				full := rapid.Bool().Draw(t, "full")
				for range times.Draw(t, "times") {
					g.SetFull(any(), full)
				}
			},
			"set up": func(t *rapid.T) {
				up := rapid.Bool().Draw(t, "up")
				for range times.Draw(t, "times") {
					g.SetUp(any(), up, now)
				}
			},
			"judge": func(*rapid.T) { g.Judge(now) },
			"try":   func(*rapid.T) { tried.Add(any()) },
			"reset": func(*rapid.T) { tried.Reset() },
			"time":  func(t *rapid.T) { now += rapid.Int64Range(0, 2*disableTime).Draw(t, "ns") },
			"follow": func(t *rapid.T) {
				// Some servers keep what they are, others do not, and some leave.
				if rapid.Bool().Draw(t, "others") {
					servers = list()
				}
				random.Shuffle(n, func(i, k int) { servers[i], servers[k] = servers[k], servers[i] })
				before := g
				if g, err = g.Follow(servers[random.IntN(blockServers):], now); err != nil {
					t.Fatal(err)
				}
				before.Leave(g, now)
				tried.Reset()
			},
			"": same,
		})
	})
}

// TestManyServersAreComparedTruly: among more servers than are compared one by one, too, it is always one of the least busy
// that is picked, whatever group was told of the requests before.
func TestManyServersAreComparedTruly(t *testing.T) {
	const n = 5*blockServers + 1
	servers := make([]Server, n)
	for i := range servers {
		servers[i] = Server{Name: fmt.Sprint(i), Weight: 1}
	}
	old, err := New(servers, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if k, _ := old.Pick(0, NoKey, nil); k != Index(i) {
			t.Fatalf("picked %d, want the first idle one, %d", k, i)
		}
	}
	next := follow(t, old, 0, append([]Server{{Name: "new", Weight: 1}}, servers...)...)
	for _, told := range []*Group{old, next} {
		for _, asked := range []*Group{old, next} {
			if asked == next {
				// It has one server more than the others.
				if i, _ := next.Pick(0, NoKey, nil); told == old && next.Name(i) != "new" {
					t.Fatalf("picked %s, which is not idle", next.Name(i))
				} else if told == next {
					next.Done(i, OutcomeOK, 0)
				}
			}
			for _, name := range []string{"0", "77", fmt.Sprint(n - 1)} {
				i, _ := told.Find(name)
				told.Done(i, OutcomeOK, 0)
				if k, _ := asked.Pick(0, NoKey, nil); asked.Name(k) != name {
					t.Errorf("picked %s, want %s, which is idle again", asked.Name(k), name)
				}
			}
		}
	}
}

// TestRaceBlocks has many loops change many servers at once. When they have come to rest, no block may believe anything of
// before.
func TestRaceBlocks(t *testing.T) {
	const loops, rounds, requests = 8, 20, 200
	for _, algorithm := range comparing {
		t.Run(algorithm, func(t *testing.T) {
			weights := make([]int, 4*blockServers)
			for i := range weights {
				weights[i] = 1 + i%3
			}
			g := named(t, Options{Algorithm: algorithm, Limited: true}, weights...)
			for round := range int64(rounds) {
				var wg sync.WaitGroup
				for n := range loops {
					wg.Go(func() {
						random := rand.New(rand.NewPCG(uint64(round), uint64(n)))
						var inFlight []Index
						for range requests {
							if i, ok := g.Pick(round, NoKey, nil); ok {
								inFlight = append(inFlight, i)
							}
							if len(inFlight) > 0 && random.IntN(2) == 0 {
								k := random.IntN(len(inFlight))
								i := inFlight[k]
								inFlight = slices.Delete(inFlight, k, k+1)
								g.Traffic(i, random.Int64N(1000))
								g.Done(i, Outcome(random.IntN(4)), round)
							}
							g.SetFull(Index(random.IntN(g.Len())), random.IntN(4) == 0)
							g.Connected(Index(random.IntN(g.Len())))
						}
						for _, i := range inFlight {
							g.Done(i, OutcomeOK, round)
						}
					})
				}
				wg.Wait()
				sameAsAll(t, g, look{now: round})
				sameAsAll(t, g, look{now: round + disableTime})
			}
			for i := range g.Len() {
				if n := g.InFlight(Index(i)); n != 0 {
					t.Errorf("%s: %d in flight", g.Name(Index(i)), n)
				}
			}
		})
	}
}
