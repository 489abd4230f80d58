package balance

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const disableTime = 10

// newGroup returns a group of servers a, b, c ... with the given weights that rest for disableTime.
func newGroup(t testing.TB, algorithm string, weights ...int) *Group {
	t.Helper()
	servers := make([]Server, len(weights))
	for i, w := range weights {
		servers[i] = Server{Name: string(rune('a' + i%26)), Weight: w}
	}
	g, err := New(servers, Options{Algorithm: algorithm, DisableTime: disableTime})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// trace drives a group by one-letter server names.
type trace struct {
	*testing.T
	g     *Group
	now   int64
	key   uint64
	tried Tried
}

func newTrace(t *testing.T, algorithm string, weights ...int) *trace {
	return &trace{T: t, g: newGroup(t, algorithm, weights...)}
}

func (tr *trace) index(name string) Index {
	return Index(slices.Index(tr.g.names, name))
}

// picks wants the next picks to be the servers named, "-" for none.
func (tr *trace) picks(want string) {
	tr.Helper()
	for _, w := range strings.Fields(want) {
		got := "-"
		if i, ok := tr.g.Pick(tr.now, tr.key, &tr.tried); ok {
			got = tr.g.Name(i)
		}
		if got != w {
			tr.Fatalf("at %d: picked %s, want %s", tr.now, got, w)
		}
	}
}

func (tr *trace) done(name string, o Outcome) { tr.g.Done(tr.index(name), o, tr.now) }
func (tr *trace) connected(name string)       { tr.g.Connected(tr.index(name)) }
func (tr *trace) advance(ns int64)            { tr.now += ns }

// serves wants the next requests, one after the other, to be served by the servers named.
func (tr *trace) serves(want string) {
	tr.Helper()
	for _, w := range strings.Fields(want) {
		tr.picks(w)
		tr.connected(w)
		tr.done(w, OutcomeOK)
	}
}

// refused wants the next request to go to a server, which refuses the connection.
func (tr *trace) refused(name string) {
	tr.Helper()
	tr.picks(name)
	tr.done(name, OutcomeConnectFailed)
}

func (tr *trace) resting(want string) {
	tr.Helper()
	var got []string
	for i := range tr.g.Len() {
		if tr.g.Resting(Index(i), tr.now) {
			got = append(got, tr.g.Name(Index(i)))
		}
	}
	if s := strings.Join(got, " "); s != want {
		tr.Fatalf("at %d: resting: %q, want %q", tr.now, s, want)
	}
}

func TestNew(t *testing.T) {
	one := []Server{{Name: "a", Weight: 1}}
	for _, tt := range []struct {
		name    string
		servers []Server
		o       Options
		err     string // empty: none
	}{
		{"no algorithm", one, Options{}, ""},
		{"fair", one, Options{Algorithm: "fair"}, ""},
		{"least-connection", one, Options{Algorithm: "least-connection"}, ""},
		{"round-robin", one, Options{Algorithm: "round-robin"}, ""},
		{"unknown", one, Options{Algorithm: "Fair"}, `unknown algorithm "Fair": expected one of fair, least-connection, round-robin, byrequests, hash, carp, sticky, maglev, sqf, bytraffic, bybusyness, first, static, random, ewma`},
		{"no servers", nil, Options{}, "a group needs at least one server"},
		{"no weight", []Server{{Name: "a", Weight: 1}, {Name: "b"}}, Options{}, "server b: weight 0 is not in the range 1 to 1000"},
		{"weight too large", []Server{{Name: "a", Weight: 1001}}, Options{}, "server a: weight 1001 is not in the range 1 to 1000"},
		{"largest weight", []Server{{Name: "a", Weight: 1000}}, Options{}, ""},
		{"negative rest", one, Options{DisableTime: -1}, "disable time -1ns is negative"},
		{"negative start", one, Options{SlowStart: -1}, "slow start -1ns is negative"},
		{"a factor without a key", one, Options{HashBalanceFactor: 125}, "a hash balance factor of 125% is not for fair: it is above 100, and for algorithms that go by a key"},
		{"a factor too small", one, Options{Algorithm: "hash", HashBalanceFactor: 100}, "a hash balance factor of 100% is not for hash: it is above 100, and for algorithms that go by a key"},
		{"unknown compatibility", one, Options{Algorithm: "hash", HashCompat: "nginx"}, `unknown hash compatibility "nginx": expected one of lighttpd`},
		{"compatibility of what lighttpd has not", one, Options{Algorithm: "maglev", HashCompat: "lighttpd"}, "lighttpd has no maglev to be compatible with: only hash and sticky"},
		{"compatibility with a factor", one, Options{Algorithm: "hash", HashCompat: "lighttpd", HashBalanceFactor: 125}, "lighttpd places keys without a hash balance factor"},
		{"compatibility with weights", []Server{{Name: "a", Weight: 2}}, Options{Algorithm: "hash", HashCompat: "lighttpd"}, "server a: lighttpd places keys without weights, and weight is 2"},
		{"an ejection without a window", one, Options{Ejection: &Ejection{MinRequests: 1, Time: 1, MaxTime: 1}}, "an ejection is out of range: {Window:0s MinRequests:1 ErrorRate:0 LatencyFactor:0 MinLatency:0s Time:1ns MaxTime:1ns MaxShare:0}"},
		{"an ejection of centuries", one, Options{Ejection: &Ejection{Window: 1, MinRequests: 1, Time: 1<<63 - 1, MaxTime: 1<<63 - 1}}, ""},
		{"a rest of centuries", one, Options{DisableTime: 1<<63 - 1}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, err := New(tt.servers, tt.o)
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Fatalf("error %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if g.Len() != len(tt.servers) || g.Name(0) != tt.servers[0].Name {
				t.Errorf("group of %d, first %s", g.Len(), g.Name(0))
			}
		})
	}
}

func TestAlgorithmsAreAccepted(t *testing.T) {
	for _, name := range Algorithms() {
		newGroup(t, name, 1)
	}
}

// TestRest is what all algorithms have in common. It is shown with those that begin with the first listed server and
// go on with the next; TestGroupAgainstModel has the others.
func TestRest(t *testing.T) {
	for _, algorithm := range []string{"fair", "round-robin", "bytraffic", "bybusyness"} {
		for _, tt := range []struct {
			name string
			run  func(tr *trace)
		}{
			{"a refused connection is what makes a server rest", func(tr *trace) {
				tr.refused("a")
				tr.resting("a")
				tr.serves("b b")
				for _, o := range []Outcome{OutcomeOK, OutcomeFailed, OutcomeNeutral} {
					tr.picks("b")
					tr.done("b", o)
				}
				tr.resting("a")
			}},
			{"it rests for the disable time", func(tr *trace) {
				tr.refused("a")
				tr.refused("b")
				tr.advance(disableTime - 1)
				tr.resting("a b")
				tr.picks("- -")
				tr.advance(1)
				tr.resting("")
				tr.picks("a b -")
			}},
			{"one probe at a time", func(tr *trace) {
				tr.refused("a")
				tr.refused("b")
				tr.advance(disableTime)
				tr.picks("a b - -")
				tr.connected("a")
				tr.picks("a a")
			}},
			{"a connection made brings it back before it is done", func(tr *trace) {
				tr.refused("a")
				tr.tried.Add(tr.index("b"))
				tr.advance(disableTime)
				tr.picks("a -")
				tr.connected("a")
				tr.picks("a a")
			}},
			{"a probe that gets an answer brings it back", func(tr *trace) {
				tr.refused("a")
				tr.tried.Add(tr.index("b"))
				tr.advance(disableTime)
				tr.picks("a -")
				tr.done("a", OutcomeOK)
				tr.picks("a a")
			}},
			{"a probe that fails after it was connected brings it back", func(tr *trace) {
				tr.refused("a")
				tr.tried.Add(tr.index("b"))
				tr.advance(disableTime)
				tr.picks("a -")
				tr.done("a", OutcomeFailed)
				tr.picks("a a")
			}},
			{"a probe that is refused sends it back to rest", func(tr *trace) {
				tr.refused("a")
				tr.tried.Add(tr.index("b"))
				tr.advance(disableTime)
				tr.refused("a")
				tr.advance(disableTime - 1)
				tr.picks("-")
				tr.advance(1)
				tr.picks("a -")
			}},
			{"a probe whose client left tells nothing", func(tr *trace) {
				tr.refused("a")
				tr.tried.Add(tr.index("b"))
				tr.advance(disableTime)
				tr.picks("a")
				tr.done("a", OutcomeNeutral)
				tr.picks("-")
				tr.advance(disableTime)
				tr.picks("a -")
			}},
			{"a probe that takes too long is not waited for", func(tr *trace) {
				tr.refused("a")
				tr.tried.Add(tr.index("b"))
				tr.advance(disableTime)
				tr.picks("a -")
				tr.advance(disableTime)
				tr.picks("a -")
				tr.done("a", OutcomeConnectFailed)
				tr.done("a", OutcomeConnectFailed)
				if n := tr.g.InFlight(0); n != 0 {
					tr.Errorf("%d in flight", n)
				}
			}},
			{"answers to what it had before do not bring it back", func(tr *trace) {
				tr.tried.Add(tr.index("b"))
				tr.picks("a a a")
				tr.connected("a")
				tr.done("a", OutcomeConnectFailed)
				tr.done("a", OutcomeOK)
				tr.done("a", OutcomeFailed)
				tr.resting("a")
			}},
			{"a later refusal prolongs the rest", func(tr *trace) {
				tr.tried.Add(tr.index("b"))
				tr.picks("a a")
				tr.done("a", OutcomeConnectFailed)
				tr.advance(disableTime / 2)
				tr.done("a", OutcomeConnectFailed)
				tr.advance(disableTime - 1)
				tr.resting("a")
				tr.advance(1)
				tr.resting("")
			}},
			{"tried servers are not picked", func(tr *trace) {
				tr.tried.Add(tr.index("a"))
				tr.serves("b b b")
				tr.tried.Add(tr.index("b"))
				tr.picks("- -")
				tr.tried.Reset()
				tr.picks("a b")
			}},
		} {
			t.Run(algorithm+"/"+tt.name, func(t *testing.T) { tt.run(newTrace(t, algorithm, 1, 1)) })
		}
		t.Run(algorithm+"/a single server rests like any other", func(t *testing.T) {
			tr := newTrace(t, algorithm, 1)
			tr.refused("a")
			tr.picks("-")
			tr.advance(disableTime)
			tr.picks("a -")
		})
		t.Run(algorithm+"/without a disable time nothing rests", func(t *testing.T) {
			g, err := New([]Server{{Name: "a", Weight: 1}}, Options{Algorithm: algorithm})
			if err != nil {
				t.Fatal(err)
			}
			tr := &trace{T: t, g: g}
			tr.refused("a")
			tr.resting("")
			tr.refused("a")
			tr.serves("a")
		})
		t.Run(algorithm+"/the longest rest ends", func(t *testing.T) {
			g, err := New([]Server{{Name: "a", Weight: 1}}, Options{Algorithm: algorithm, DisableTime: 1<<63 - 1})
			if err != nil {
				t.Fatal(err)
			}
			tr := &trace{T: t, g: g, now: int64(100 * 365 * 24 * time.Hour)}
			tr.refused("a")
			tr.resting("a")
			tr.advance(int64(maxDisableTime))
			tr.picks("a -")
		})
		t.Run(algorithm+"/nil is an empty set", func(t *testing.T) {
			if i, ok := newGroup(t, algorithm, 1).Pick(0, NoKey, nil); i != 0 || !ok {
				t.Errorf("picked %d, %v", i, ok)
			}
		})
	}
}

func TestMisusePanics(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(g *Group)
	}{
		{"balance: Done without Pick for server a", func(g *Group) { g.Done(0, OutcomeOK, 0) }},
		{"balance: Done with Outcome(9)", func(g *Group) { g.Pick(0, NoKey, nil); g.Done(0, 9, 0) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if got := recover(); got != tt.name {
					t.Errorf("panic %v", got)
				}
			}()
			tt.run(newGroup(t, "fair", 1))
		})
	}
}

func TestOutcomeString(t *testing.T) {
	want := []string{"ok", "connect failed", "failed", "neutral", "unfit", "error", "Outcome(6)"}
	for o, w := range want {
		if got := Outcome(o).String(); got != w {
			t.Errorf("Outcome %d is %q, want %q", o, got, w)
		}
	}
}

func TestTried(t *testing.T) {
	var tried Tried
	members := []Index{0, 5, 63, 64, 127, 128, 999}
	for range 2 {
		for n, i := range members {
			if tried.Has(i) || tried.Len() != n {
				t.Fatalf("before adding %d: Has %v, Len %d", i, tried.Has(i), tried.Len())
			}
			tried.Add(i)
			tried.Add(i)
		}
		for i := range Index(2000) {
			if got, want := tried.Has(i), slices.Contains(members, i); got != want {
				t.Errorf("Has(%d) is %v", i, got)
			}
		}
		tried.Reset()
	}
	if none := (*Tried)(nil); none.Has(0) || none.Has(100) || none.Len() != 0 {
		t.Error("a nil set is not empty")
	}
}

func TestAllocations(t *testing.T) {
	var tried Tried
	tried.Add(999)
	for _, algorithm := range Algorithms() {
		g := newGroup(t, algorithm, slices.Repeat([]int{1, 3}, 500)...)
		if n := testing.AllocsPerRun(100, func() {
			tried.Reset()
			tried.Add(3)
			tried.Add(999)
			i, _ := g.Pick(0, NoKey, &tried)
			g.Connected(i)
			g.Done(i, OutcomeConnectFailed, 0)
		}); n != 0 {
			t.Errorf("%s: %v allocations", algorithm, n)
		}
	}
}
