package balance

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// newSessions is a trace of servers a, b, c ... that are described like "n1", "n1>n3 drain": a route, "-" for none, the
// route of the redirect, and a status. The token of each is its name twice.
func newSessions(t *testing.T, o Options, described ...string) *trace {
	t.Helper()
	servers := make([]Server, len(described))
	for i, d := range described {
		name := string(rune('a' + i))
		words := strings.Fields(d)
		route, redirect, _ := strings.Cut(words[0], ">")
		servers[i] = Server{Name: name, Weight: 1, Route: strings.Trim(route, "-"), Redirect: redirect, Token: name + name}
		for _, w := range words[1:] {
			if _, err := fmt.Sscanf(w, "set%d", &servers[i].Set); err == nil {
				continue
			}
			bit := slices.Index(statusNames, w)
			if bit < 0 {
				t.Fatalf("no status %s", w)
			}
			servers[i].Status |= 1 << bit
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

// sticks wants requests with a session of a route to be served by the servers named, "-" for none of its own.
func (tr *trace) sticks(route, want string) {
	tr.Helper()
	tr.servedOf(tr.g.ByRoute([]byte(route)), route, want)
}

// sticksTo is sticks for the token of a server.
func (tr *trace) sticksTo(token, want string) {
	tr.Helper()
	tr.servedOf(tr.g.ByToken([]byte(token)), token, want)
}

func (tr *trace) servedOf(servers []Index, name, want string) {
	tr.Helper()
	for _, w := range strings.Fields(want) {
		got := "-"
		if i, ok := tr.g.PickOf(servers, tr.now, &tr.tried); ok {
			got = tr.g.Name(i)
			tr.g.Connected(i)
			tr.g.Done(i, OutcomeOK, tr.now)
		}
		if got != w {
			tr.Fatalf("at %d: a session of %s is served by %s, want %s", tr.now, name, got, w)
		}
	}
}

// down has a server be one that could not be connected to.
func (tr *trace) down(name string) {
	tr.Helper()
	i := tr.index(name)
	if !tr.g.take(i, tr.now) {
		tr.Fatalf("%s cannot be taken", name)
	}
	tr.g.Done(i, OutcomeConnectFailed, tr.now)
}

func TestSessionsOfAServer(t *testing.T) {
	for _, tt := range []struct {
		name    string
		servers []string
		run     func(tr *trace)
	}{
		{"ST-01 stay there", []string{"n1", "n2", "n3"}, func(tr *trace) {
			tr.sticks("n2", "b b b")
			tr.sticksTo("cc", "c c c")
		}},
		{"ST-02 ST-05 of a name that nobody has", []string{"n1", "n2", "-"}, func(tr *trace) {
			for _, route := range []string{"n2.n3", "N2", "n", "", "-", "aa"} {
				tr.sticks(route, "-")
			}
			for _, token := range []string{"n1", "", "a", "AA"} {
				tr.sticksTo(token, "-")
			}
		}},
		{"ST-20 leave while it is down", []string{"n1", "n2", "n3"}, func(tr *trace) {
			tr.down("a")
			tr.sticks("n1", "- -")
			tr.advance(disableTime)
			tr.sticks("n1", "a a")
		}},
		{"ST-20 are served elsewhere when it has been tried", []string{"n1", "n2"}, func(tr *trace) {
			tr.tried.Add(0)
			tr.sticks("n1", "-")
		}},
		{"health checks count", []string{"n1", "n2"}, func(tr *trace) {
			tr.g.SetUp(0, false, tr.now)
			tr.sticks("n1", "-")
			tr.advance(100 * disableTime)
			tr.sticks("n1", "-")
			tr.g.SetUp(0, true, tr.now)
			tr.sticks("n1", "a")
		}},
		{"ST-22 are all that a drained server gets", []string{"n1 drain", "n2"}, func(tr *trace) {
			tr.sticks("n1", "a a")
			tr.sticksTo("aa", "a")
			tr.serves("b b b")
			tr.down("a")
			tr.sticks("n1", "-")
		}},
		{"ST-23 of a standby", []string{"n1 standby", "n2"}, func(tr *trace) {
			tr.sticks("n1", "a a")
			tr.serves("b b b")
		}},
		{"of a spare", []string{"n1 spare", "n2"}, func(tr *trace) {
			tr.sticks("n1", "a a")
			tr.serves("b b b")
		}},
		{"of a higher set", []string{"n1 set7", "n2"}, func(tr *trace) {
			tr.sticks("n1", "a a")
			tr.serves("b b b")
		}},
		{"ST-24 follow its redirect while it is down", []string{"n1>n3", "n2", "n3"}, func(tr *trace) {
			tr.sticks("n1", "a")
			tr.down("a")
			tr.sticks("n1", "c c")
			tr.sticksTo("aa", "c")
			tr.advance(disableTime)
			tr.sticks("n1", "a")
		}},
		{"ST-24 follow its redirect when it is disabled", []string{"n1>n3 disabled", "n2", "n3"}, func(tr *trace) {
			tr.sticks("n1", "c c")
		}},
		{"follow redirects of redirects", []string{"n1>n2 stopped", "n2>n3 stopped", "n3>n4 stopped", "n4"}, func(tr *trace) {
			tr.sticks("n1", "d")
		}},
		{"follow redirects in circles once", []string{"n1>n2 stopped", "n2>n1 stopped", "n3>n3 stopped", "n4>n9 stopped"}, func(tr *trace) {
			for _, route := range []string{"n1", "n2", "n3", "n4"} {
				tr.sticks(route, "-")
			}
		}},
		{"may be on one of several, standbys last", []string{"n1 standby", "n1", "n1>n2", "n2"}, func(tr *trace) {
			tr.sticks("n1", "b b")
			tr.down("b")
			tr.sticks("n1", "c c")
			tr.down("c")
			tr.sticks("n1", "d")
			tr.down("d")
			tr.sticks("n1", "a")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(newSessions(t, inTurn, tt.servers...)) })
	}
}

// TestBL20 is Apache's: three sessions of n1, which is dead, have gone to its redirect n3, which has had its turns by
// that.
func TestBL20SessionsTakeTurns(t *testing.T) {
	tr := newSessions(t, inTurn, "n1>n3", "n2", "n3")
	tr.down("a")
	tr.sticks("n1", "c c c")
	tr.serves("b b b b c b c")

	tr = newSessions(t, Options{Algorithm: "bybusyness"}, "n1", "n2", "n3")
	tr.sticks("n1", "a a")
	tr.sticks("n2", "b")
	tr.serves("c b c a b c")
}

func TestTurnsThatAreOwedAreBounded(t *testing.T) {
	tr := newSessions(t, inTurn, "n1", "n2")
	for range 10 * maxCharge {
		tr.sticks("n1", "a")
	}
	for range maxCharge {
		tr.serves("b")
	}
	tr.serves("a b a b")
	// When all have had theirs, somebody still serves.
	for range 2 * maxCharge {
		tr.sticks("n1", "a")
		tr.sticks("n2", "b")
	}
	tr.share("a b")
	tr.g.SetUp(1, false, tr.now)
	for range maxCharge {
		tr.sticks("n1", "a")
	}
	tr.serves("a a")
}

func TestASessionWakesItsServerWhenAllRest(t *testing.T) {
	tr := newSessions(t, Options{Algorithm: "fair", ForceRecovery: true}, "n1", "n2", "n3 drain")
	tr.down("b")
	tr.sticks("n2", "-")
	tr.down("a")
	tr.sticks("n2", "b")
	tr.sticks("n1", "a")
}

func TestTokensAreDistinct(t *testing.T) {
	_, err := New([]Server{{Name: "a", Weight: 1, Token: "x"}, {Name: "b", Weight: 1, Token: "x"}}, Options{})
	if err == nil || !strings.Contains(err.Error(), "server b: its token is that of another server") {
		t.Errorf("got %v", err)
	}
}

func TestLookingForASessionAllocatesNothing(t *testing.T) {
	tr := newSessions(t, inTurn, "n1>n2 disabled", "n2", "n3")
	route, token := []byte("n1"), []byte("cc")
	if n := testing.AllocsPerRun(100, func() {
		for _, servers := range [][]Index{tr.g.ByRoute(route), tr.g.ByToken(token)} {
			i, ok := tr.g.PickOf(servers, tr.now, &tr.tried)
			if !ok {
				t.Fatal("none")
			}
			tr.g.Done(i, OutcomeOK, tr.now)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever the servers are and do, a session gets the first one in its order that may be picked, and nobody is left
// counted.
func TestPickOfAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		routes := []string{"", "n1", "n2", "n3"}
		n := rapid.IntRange(1, 6).Draw(t, "servers")
		servers := make([]Server, n)
		for i := range servers {
			servers[i] = Server{
				Name: string(rune('a' + i)), Weight: rapid.IntRange(1, 3).Draw(t, "weight"), Token: string(rune('A' + i)),
				Set: rapid.IntRange(0, 1).Draw(t, "set"), Status: Status(rapid.IntRange(0, 63).Draw(t, "status")),
				Route: rapid.SampledFrom(routes).Draw(t, "route"), Redirect: rapid.SampledFrom(routes).Draw(t, "redirect"),
			}
		}
		o := Options{Algorithm: rapid.SampledFrom(Algorithms()).Draw(t, "algorithm"), DisableTime: disableTime}
		if Keyed(o.Algorithm) {
			o.HashBalanceFactor = rapid.SampledFrom([]int{0, 150}).Draw(t, "factor")
		}
		g, err := New(servers, o)
		if err != nil {
			t.Fatal(err)
		}
		// find is what Apache does, recursively. In circles, where it depends on their number whom Apache finds, each
		// server is asked once.
		var tried Tried
		now := int64(0)
		usable := func(i int) bool {
			return servers[i].Status&(Disabled|Stopped) == 0 && !g.Resting(Index(i), now) && !tried.Has(Index(i))
		}
		var find func(route string, asked map[int]bool) int
		find = func(route string, asked map[int]bool) int {
			for _, standby := range []Status{0, Standby} {
				for i, s := range servers {
					if route == "" || s.Route != route || s.Status&Standby != standby || asked[i] {
						continue
					}
					asked[i] = true
					if usable(i) {
						return i
					}
					if r := find(s.Redirect, asked); r >= 0 {
						return r
					}
				}
			}
			return -1
		}
		var picked []Index
		check := func(what string, of []Index, want int) {
			i, ok := g.PickOf(of, now, &tried)
			if ok {
				picked = append(picked, i)
			}
			if got := int(i); ok != (want >= 0) || ok && got != want {
				t.Fatalf("%s: got %d %v, want %d", what, got, ok, want)
			}
		}
		for range 30 {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				route := rapid.SampledFrom(routes).Draw(t, "of")
				check(route, g.ByRoute([]byte(route)), find(route, map[int]bool{}))
			case 1:
				i := rapid.IntRange(0, n-1).Draw(t, "token")
				want := i
				if !usable(i) {
					want = find(servers[i].Redirect, map[int]bool{i: true})
				}
				check(servers[i].Token, g.ByToken([]byte(servers[i].Token)), want)
			case 2:
				if i, ok := g.Pick(now, 42, &tried); ok {
					picked = append(picked, i)
				}
			case 3:
				if len(picked) > 0 {
					outcome := rapid.SampledFrom([]Outcome{OutcomeOK, OutcomeConnectFailed, OutcomeFailed, OutcomeNeutral}).Draw(t, "outcome")
					g.Done(picked[0], outcome, now)
					picked = picked[1:]
				}
			case 4:
				tried.Add(Index(rapid.IntRange(0, n-1).Draw(t, "tried")))
				if rapid.Bool().Draw(t, "reset") {
					tried.Reset()
				}
			case 5:
				now += int64(rapid.IntRange(1, disableTime).Draw(t, "later"))
			}
		}
		for _, i := range picked {
			g.Done(i, OutcomeNeutral, now)
		}
		for i := range servers {
			if in := g.InFlight(Index(i)); in != 0 {
				t.Fatalf("server %d has %d requests in flight", i, in)
			}
		}
		for i := range g.tiers {
			if in := g.tiers[i].inFlight.Load(); in != 0 {
				t.Fatalf("tier %d has %d requests in flight", i, in)
			}
		}
	})
}

func TestTurnsAreOwedAcrossLoops(t *testing.T) {
	tr := newSessions(t, inTurn, "n1", "n2", "n3")
	var loops sync.WaitGroup
	for range 4 {
		loops.Go(func() {
			for range 2000 {
				for _, of := range [][]Index{tr.g.ByRoute([]byte("n1")), nil} {
					i, ok := tr.g.PickOf(of, 0, nil)
					if !ok {
						i, ok = tr.g.Pick(0, NoKey, nil)
					}
					if !ok {
						t.Error("nobody is left")
						return
					}
					tr.g.Done(i, OutcomeOK, 0)
				}
			}
		})
	}
	loops.Wait()
	for i := range tr.g.servers {
		if owed := tr.g.servers[i].spent.Load(); owed < 0 || owed > maxCharge+4 || i > 0 && owed > 0 {
			t.Errorf("server %d owes %d turns", i, owed)
		}
	}
}
