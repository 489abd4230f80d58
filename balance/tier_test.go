package balance

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// newTiers is a trace of servers a, b, c ... that are described like "0", "1 standby": a set, and a status.
func newTiers(t *testing.T, o Options, described ...string) *trace {
	t.Helper()
	servers := make([]Server, len(described))
	for i, d := range described {
		servers[i] = Server{Name: string(rune('a' + i)), Weight: 1}
		words := strings.Fields(d)
		fmt.Sscan(words[0], &servers[i].Set)
		for _, w := range words[1:] {
			for bit, name := range statusNames {
				if name == w {
					servers[i].Status |= 1 << bit
				}
			}
		}
	}
	if o.DisableTime == 0 {
		o.DisableTime = disableTime
	}
	g, err := New(servers, o)
	if err != nil {
		t.Fatal(err)
	}
	return &trace{T: t, g: g}
}

var inTurn = Options{Algorithm: "byrequests"}

// What Apache has shown for the same members. A server that is dead is tried once, and rests.
func TestApachesSets(t *testing.T) {
	for _, tt := range []struct {
		name    string
		servers []string
		run     func(tr *trace)
	}{
		{"BL-06 a standby waits", []string{"0", "0 standby"}, func(tr *trace) { tr.serves("a a a") }},
		{"BL-06 a standby stands in", []string{"0", "0 standby"}, func(tr *trace) {
			tr.refused("a")
			tr.serves("b b b")
			tr.advance(disableTime)
			tr.serves("a a a")
		}},
		{"BL-07 a spare stands in for the dead", []string{"0", "0", "0 spare"}, func(tr *trace) {
			tr.serves("a b a b")
			tr.refused("a")
			tr.serves("b c b c b c")
		}},
		{"BL-07 a spare stands in for the disabled", []string{"0 disabled", "0", "0 spare"}, func(tr *trace) {
			tr.serves("b c b c b c")
		}},
		{"BL-08 the lowest set that is alive", []string{"0", "1", "2"}, func(tr *trace) {
			tr.refused("a")
			tr.serves("b b b b")
		}},
		{"BL-08 a higher set waits", []string{"0", "0", "1"}, func(tr *trace) { tr.serves("a b a b") }},
		{"BL-09 a standby goes before the next set", []string{"0", "0 standby", "1"}, func(tr *trace) {
			tr.refused("a")
			tr.serves("b b b")
			tr.refused("b")
			tr.serves("c c c")
		}},
		{"BL-17 stopped", []string{"0 stopped", "0"}, func(tr *trace) { tr.serves("b b b") }},
		{"BL-17 nobody is left", []string{"0 disabled", "0 stopped"}, func(tr *trace) { tr.picks("- -") }},
		{"ST-22 a drained server gets nothing new", []string{"0 drain", "0"}, func(tr *trace) { tr.serves("b b b") }},
		{"ST-23 a standby gets nothing of its own", []string{"0 standby", "0"}, func(tr *trace) { tr.serves("b b b") }},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(newTiers(t, inTurn, tt.servers...)) })
	}
}

// share wants the next requests to be served by the servers named, in whatever order, each as often as the others.
func (tr *trace) share(want string) {
	tr.Helper()
	names := strings.Fields(want)
	counts := map[string]int{}
	for range 4 * len(names) {
		i, ok := tr.g.Pick(tr.now, tr.key, &tr.tried)
		if !ok {
			tr.Fatal("nothing to pick")
		}
		counts[tr.g.Name(i)]++
		tr.g.Done(i, OutcomeOK, tr.now)
	}
	for _, name := range names {
		if counts[name] != 4 {
			tr.Fatalf("served by %v, want equal shares of %s", counts, want)
		}
	}
}

func TestAsManySparesAsServersAreMissing(t *testing.T) {
	tr := newTiers(t, inTurn, "0", "0", "0 spare", "0 spare", "0 spare")
	tr.share("a b")
	tr.tried.Add(0)
	tr.share("b c")
	tr.tried.Add(2)
	tr.share("b d")
	tr.tried.Add(1)
	tr.share("d e")
	tr.tried.Reset()
	tr.share("a b")
	// One that is drained is missing, one that is disabled is no spare.
	tr = newTiers(t, inTurn, "0 drain", "0", "0 spare disabled", "0 spare")
	tr.share("b d")
	// A standby is not missed.
	tr = newTiers(t, inTurn, "0 standby disabled", "0", "0 spare")
	tr.share("b")
}

func TestASpareThatIsAStandbyIsASpare(t *testing.T) {
	tr := newTiers(t, inTurn, "0", "0", "0 spare standby")
	tr.serves("a b a b")
	tr.refused("a")
	tr.serves("b c b c")
}

func TestSetsAreTriedInTheirOrderNotInThatOfTheList(t *testing.T) {
	tr := newTiers(t, inTurn, "7", "3", "3 standby", "99")
	tr.serves("b b")
	tr.refused("b")
	tr.serves("c c")
	tr.refused("c")
	tr.refused("a")
	tr.serves("d d")
	tr.advance(disableTime)
	tr.serves("b b")
}

// Whatever the algorithm, it chooses among the servers of one tier, and the tiers are the same.
func TestTiersForAllAlgorithms(t *testing.T) {
	for _, algorithm := range Algorithms() {
		t.Run(algorithm, func(t *testing.T) {
			tr := newTiers(t, Options{Algorithm: algorithm}, "0", "0 spare", "0 standby", "1", "1 drain", "1 disabled")
			one := func(want string) {
				t.Helper()
				for n := range 20 {
					tr.key = mix(uint64(n + 1))
					tr.serves(want)
				}
			}
			one("a")
			tr.g.SetUp(0, false, 0)
			one("b")
			tr.g.SetUp(1, false, 0)
			one("c")
			tr.g.SetUp(2, false, 0)
			one("d")
			tr.g.SetUp(3, false, 0)
			tr.picks("- -")
			tr.g.SetUp(1, true, 0)
			one("b")
		})
	}
}

func TestWhoIgnoresErrorsNeverRests(t *testing.T) {
	tr := newTiers(t, inTurn, "0 ignore-errors", "0")
	tr.refused("a")
	tr.serves("b")
	tr.refused("a")
	tr.refused("b")
	tr.resting("b")
	tr.serves("a a")
	tr.picks("a")
	tr.done("a", OutcomeUnfit)
	tr.resting("b")
}

func TestForceRecovery(t *testing.T) {
	forced := Options{Algorithm: "byrequests", ForceRecovery: true}
	t.Run("BL-02 all of them are tried by every request", func(t *testing.T) {
		tr := newTiers(t, forced, "0", "0")
		for range 3 {
			for range 2 {
				i, ok := tr.g.Pick(0, NoKey, &tr.tried)
				if !ok {
					t.Fatal("nothing to pick")
				}
				tr.g.Done(i, OutcomeConnectFailed, 0)
				tr.tried.Add(i)
			}
			tr.picks("-")
			tr.tried.Reset()
		}
	})
	t.Run("BL-03 without it they rest", func(t *testing.T) {
		tr := newTiers(t, inTurn, "0", "0")
		tr.refused("a")
		tr.refused("b")
		tr.picks("- -")
		tr.advance(disableTime)
		tr.picks("a b -")
	})
	t.Run("BL-05 a single server", func(t *testing.T) {
		tr := newTiers(t, forced, "0")
		for range 3 {
			tr.refused("a")
		}
	})
	t.Run("BL-13 who is disabled is not waited for", func(t *testing.T) {
		tr := newTiers(t, forced, "0", "0", "0 disabled")
		tr.refused("a")
		tr.refused("b")
		tr.picks("a b")
	})
	t.Run("one that is up is enough", func(t *testing.T) {
		tr := newTiers(t, forced, "0", "0")
		tr.refused("a")
		tr.tried.Add(1)
		tr.picks("- -")
	})
	t.Run("who is out of service stays there", func(t *testing.T) {
		tr := newTiers(t, forced, "0", "0")
		tr.g.SetUp(0, false, 0)
		tr.refused("b")
		tr.picks("b b b")
		tr.g.SetUp(1, false, 0)
		tr.picks("- -")
	})
}

func TestMaxFails(t *testing.T) {
	tr := newTiers(t, Options{Algorithm: "first", MaxFails: 3}, "0", "0")
	fail := func(o Outcome) {
		t.Helper()
		tr.picks("a")
		tr.done("a", o)
	}
	fail(OutcomeConnectFailed)
	fail(OutcomeUnfit)
	fail(OutcomeOK) // starts the count again
	fail(OutcomeConnectFailed)
	fail(OutcomeFailed) // does not count
	fail(OutcomeNeutral)
	fail(OutcomeUnfit)
	tr.resting("")
	fail(OutcomeConnectFailed)
	tr.resting("a")
	tr.serves("b b")
	// A probe has one try.
	tr.advance(disableTime)
	fail(OutcomeConnectFailed)
	tr.resting("a")
	tr.advance(disableTime)
	tr.serves("a")
	fail(OutcomeUnfit)
	fail(OutcomeUnfit)
	tr.resting("")
}

func TestSlowStart(t *testing.T) {
	const slow, requests = 1000, 10_000
	for _, algorithm := range []string{"fair", "round-robin", "hash", "maglev", "bybusyness", "random", "ewma", "bytraffic"} {
		t.Run(algorithm, func(t *testing.T) {
			servers := []Server{{Name: "10.0.0.1:80", Weight: 1}, {Name: "10.0.0.2:80", Weight: 1}}
			g, err := New(servers, Options{Algorithm: algorithm, DisableTime: disableTime, SlowStart: slow})
			if err != nil {
				t.Fatal(err)
			}
			g.dice.state.Store(1)
			back := int64(500)
			g.SetUp(0, false, 0)
			g.SetUp(0, true, back)
			// share is how many of the requests at a time it gets. All stay in flight until the end.
			share := func(now int64) float64 {
				n := 0
				var picked []Index
				for k := range requests {
					i, ok := g.Pick(now, mix(uint64(k+1)), nil)
					if !ok {
						t.Fatal("nothing to pick")
					}
					if i == 0 {
						n++
					}
					picked = append(picked, i)
					g.Traffic(i, 1)
				}
				for _, i := range picked {
					g.Done(i, OutcomeOK, now)
				}
				return float64(n) / requests
			}
			last := -0.01
			for _, age := range []int64{0, slow / 4, slow / 2, slow} {
				got := share(back + age)
				if age == 0 && got > 0 || age == slow && algorithm != "bytraffic" && (got < 0.47 || got > 0.53) || got < last-0.02 {
					t.Errorf("after %d of %d it gets %.3f of the requests, before that %.3f", age, slow, got, last)
				}
				// It never gets more than its probability of being admitted.
				if most := float64(age)/slow + 0.02; got > most {
					t.Errorf("after %d of %d it gets %.3f of the requests", age, slow, got)
				}
				last = got
			}
			// The only one gets everything.
			g.SetUp(0, false, 5000)
			g.SetUp(0, true, 6000)
			g.SetUp(1, false, 6000)
			if i, ok := g.Pick(6000, 42, nil); !ok || i != 0 {
				t.Errorf("picked %d, %v", i, ok)
			}
		})
	}
}

func TestSlowStartBeginsWithAConnection(t *testing.T) {
	tr := newTiers(t, Options{Algorithm: "first", SlowStart: 1000}, "0", "0")
	tr.refused("a")
	tr.advance(disableTime)
	tr.picks("a b") // the probe, and who comes meanwhile
	tr.connected("a")
	tr.picks("b b b")
	tr.advance(1000)
	tr.picks("a a a")
}

// A key that has come back to its server in a slow start stays there.
func TestKeysComeBackOnceInASlowStart(t *testing.T) {
	for _, algorithm := range []string{"hash", "maglev"} {
		g := named(t, Options{Algorithm: algorithm, SlowStart: 1000}, 1, 1, 1)
		before := placement(t, g, 1000)
		g.SetUp(0, false, 0)
		g.SetUp(0, true, 1)
		moved := make([]bool, len(before))
		for now := int64(1); now < 1100; now += 100 {
			for k := range before {
				i, _ := g.Pick(now, mix(uint64(k+1)), nil)
				g.Done(i, OutcomeNeutral, now)
				switch {
				case before[k] != 0 && i != before[k] && algorithm == "hash":
					t.Fatalf("%s: key %d of server %d goes to %d", algorithm, k, before[k], i)
				case before[k] == 0 && moved[k] && i != 0:
					t.Fatalf("%s: key %d has left again", algorithm, k)
				case i == 0:
					moved[k] = true
				}
			}
		}
		for k, i := range before {
			if i == 0 && !moved[k] {
				t.Errorf("%s: key %d has not come back", algorithm, k)
			}
		}
	}
}

// TestTiersAgainstModel compares which servers may be picked with the rules written down plainly.
func TestTiersAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "n")
		servers := make([]Server, n)
		for i := range servers {
			servers[i] = Server{Name: fmt.Sprint("s", i), Weight: rapid.IntRange(1, 3).Draw(t, "weight"), Set: rapid.IntRange(0, 2).Draw(t, "set")}
			servers[i].Status = rapid.SampledFrom([]Status{0, 0, 0, Spare, Standby, Disabled, Draining, Spare | Standby, Standby | Stopped, IgnoreErrors}).Draw(t, "status")
		}
		algorithm := rapid.SampledFrom(Algorithms()).Draw(t, "algorithm")
		g, err := New(servers, Options{Algorithm: algorithm, DisableTime: disableTime, ForceRecovery: rapid.Bool().Draw(t, "force")})
		if err != nil {
			t.Fatal(err)
		}
		rests := make([]bool, n) // time stands still, so that a rest ends by force only
		t.Repeat(map[string]func(*rapid.T){
			"pick": func(t *rapid.T) {
				var tried Tried
				triedModel := make([]bool, n)
				for i := range triedModel {
					if triedModel[i] = rapid.IntRange(0, 3).Draw(t, "tried") == 0; triedModel[i] {
						tried.Add(Index(i))
					}
				}
				want := eligible(servers, func(i int) bool { return !rests[i] && !triedModel[i] })
				if len(want) == 0 && g.force && allRest(servers, rests) {
					clear(rests)
					want = eligible(servers, func(i int) bool { return !triedModel[i] })
				}
				got, ok := g.Pick(0, rapid.Uint64().Draw(t, "key"), &tried)
				if ok != (len(want) > 0) || ok && !want[int(got)] {
					t.Fatalf("picked %d, %v; eligible are %v", got, ok, want)
				}
				if ok {
					o := rapid.SampledFrom([]Outcome{OutcomeOK, OutcomeConnectFailed, OutcomeUnfit}).Draw(t, "outcome")
					g.Done(got, o, 0)
					if o != OutcomeOK && servers[got].Status&IgnoreErrors == 0 {
						rests[got] = true
					}
				}
			},
			"": func(t *rapid.T) {
				for i := range servers {
					if got := g.Resting(Index(i), 0); got != rests[i] {
						t.Fatalf("%d rests: %v, want %v", i, got, rests[i])
					}
				}
			},
		})
	})
}

// eligible is the rule of sets, spares and standbys.
func eligible(servers []Server, usable func(int) bool) map[int]bool {
	for set := range 3 {
		regular, spares, standbys := map[int]bool{}, []int{}, map[int]bool{}
		missing := 0
		for i, s := range servers {
			able := s.Status&(Disabled|Stopped|Draining) == 0 && usable(i)
			switch {
			case s.Set != set:
			case s.Status&Spare != 0:
				if able {
					spares = append(spares, i)
				}
			case s.Status&Standby != 0:
				if able {
					standbys[i] = true
				}
			case able:
				regular[i] = true
			default:
				missing++
			}
		}
		for _, i := range spares[:min(missing, len(spares))] {
			regular[i] = true
		}
		if len(regular) > 0 {
			return regular
		}
		if len(standbys) > 0 {
			return standbys
		}
	}
	return nil
}

func allRest(servers []Server, rests []bool) bool {
	n := 0
	for i, s := range servers {
		if s.Status&(Disabled|Stopped|Draining) != 0 {
			continue
		}
		if n++; !rests[i] {
			return false
		}
	}
	return n > 0
}

func TestStatusString(t *testing.T) {
	if got := (Standby | IgnoreErrors | Disabled).String(); got != "disabled standby ignore-errors" {
		t.Error(got)
	}
	if got := Status(0).String(); got != "" {
		t.Error(got)
	}
}
