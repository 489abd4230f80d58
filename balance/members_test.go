package balance

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// follow is Follow and Leave.
func follow(t interface{ Fatal(...any) }, g *Group, now int64, servers ...Server) *Group {
	next, err := g.Follow(servers, now)
	if err != nil {
		t.Fatal(err)
	}
	g.Leave(next, now)
	return next
}

func TestAServerThatStaysKeepsItsState(t *testing.T) {
	a, b, c := Server{Name: "a", Weight: 1}, Server{Name: "b", Weight: 1}, Server{Name: "c", Weight: 1}
	g, err := New([]Server{a, b}, Options{DisableTime: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	first, _ := g.Pick(0, NoKey, nil)  // a, and stays
	second, _ := g.Pick(0, NoKey, nil) // b, and fails
	g.Done(second, OutcomeConnectFailed, 0)
	next := follow(t, g, 0, c, b, a)
	if next.InFlight(2) != 1 || !next.Resting(1, 0) {
		t.Errorf("a has %d requests, b rests: %v", next.InFlight(2), next.Resting(1, 0))
	}
	if i, _ := next.Pick(0, NoKey, nil); next.Name(i) != "c" {
		t.Errorf("picked %s, which is busier than c", next.Name(i))
	}
	g.Done(first, OutcomeOK, 0)
	if next.InFlight(2) != 0 {
		t.Errorf("a has %d requests when its last has ended", next.InFlight(2))
	}
	// What the old group learns, the new one knows.
	g.SetUp(0, false, 0)
	if !next.Resting(2, 0) {
		t.Error("a is out of service in one group only")
	}
}

func TestAServerThatLeftGetsNothing(t *testing.T) {
	for _, algorithm := range Algorithms() {
		g, err := New([]Server{{Name: "a", Weight: 1}, {Name: "b", Weight: 1}}, Options{Algorithm: algorithm, DisableTime: time.Second, ForceRecovery: true})
		if err != nil {
			t.Fatal(err)
		}
		i, _ := g.Pick(0, 1, nil)
		left, stays := g.Name(i), g.Name(1-i)
		next := follow(t, g, 0, Server{Name: stays, Weight: 1})
		for n := range uint64(20) {
			// From neither group, whatever becomes of its requests.
			k, ok := g.Pick(0, n, nil)
			if !ok || g.Name(k) != stays {
				t.Fatalf("%s: %s was picked of the old group", algorithm, g.Name(k))
			}
			g.Done(k, OutcomeOK, 0)
			k, ok = next.Pick(0, n, nil)
			if !ok || next.Name(k) != stays {
				t.Fatalf("%s: no server was picked of the new group", algorithm)
			}
			next.Done(k, OutcomeOK, 0)
		}
		g.Done(i, OutcomeOK, 0)
		g.Connected(i)
		if !g.Resting(i, 1<<40) {
			t.Errorf("%s: %s is back by a request that it still had", algorithm, left)
		}
	}
}

func TestAServerThatJoinsStartsSlowly(t *testing.T) {
	g, err := New([]Server{{Name: "a", Weight: 1}}, Options{Algorithm: "round-robin", SlowStart: 100 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	start := int64(time.Hour)
	g = follow(t, g, start, Server{Name: "a", Weight: 1}, Server{Name: "b", Weight: 1})
	share := func(now int64) int {
		n := 0
		for range 1000 {
			i, _ := g.Pick(now, NoKey, nil)
			if g.Name(i) == "b" {
				n++
			}
			g.Done(i, OutcomeOK, now)
		}
		return n
	}
	if n := share(start + int64(time.Second)); n > 100 {
		t.Errorf("%d of 1000 requests go to a server that has just joined", n)
	}
	if n := share(start + int64(200*time.Second)); n < 400 {
		t.Errorf("%d of 1000 requests go to a server whose slow start is over", n)
	}
}

func TestAServerThatJoinsOwesNoTraffic(t *testing.T) {
	g, err := New([]Server{{Name: "a", Weight: 1}}, Options{Algorithm: "bytraffic"})
	if err != nil {
		t.Fatal(err)
	}
	g.Traffic(0, 1<<40)
	g = follow(t, g, 0, Server{Name: "a", Weight: 1}, Server{Name: "b", Weight: 1})
	seen := map[string]int{}
	for range 10 {
		i, _ := g.Pick(0, NoKey, nil)
		g.Traffic(i, 1)
		g.Done(i, OutcomeOK, 0)
		seen[g.Name(i)]++
	}
	if seen["a"] != 5 {
		t.Errorf("requests were shared %v", seen)
	}
}

func TestAGroupMayBeEmptyIfItIsSaidSo(t *testing.T) {
	for _, algorithm := range Algorithms() {
		if _, err := New(nil, Options{Algorithm: algorithm}); err == nil {
			t.Errorf("%s: no error", algorithm)
		}
		g, err := New(nil, Options{Algorithm: algorithm, MayBeEmpty: true, ForceRecovery: algorithm == "fair"})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := g.Pick(0, 1, nil); ok {
			t.Errorf("%s: a server of none was picked", algorithm)
		}
		g = follow(t, g, 0, Server{Name: "a", Weight: 1})
		if _, ok := g.Pick(0, 1, nil); !ok {
			t.Errorf("%s: no server was picked", algorithm)
		}
		g = follow(t, g, 0)
		if _, ok := g.Pick(0, 1, nil); ok {
			t.Errorf("%s: a server that left was picked", algorithm)
		}
	}
}

func TestAGroupThatCannotFollow(t *testing.T) {
	g, err := New([]Server{{Name: "a", Weight: 1}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Follow([]Server{{Name: "a", Weight: MaxWeight + 1}}, 0); err == nil {
		t.Error("no error for a weight out of range")
	}
	if _, err := g.Follow(nil, 0); err == nil {
		t.Error("no error for no servers")
	}
}

// TestPlacesDependOnNamesOnly: groups that came about in different ways place the same keys on the same servers.
func TestPlacesDependOnNamesOnly(t *testing.T) {
	servers := func(from, to int) []Server {
		var list []Server
		for i := from; i < to; i++ {
			list = append(list, Server{Name: fmt.Sprintf("10.0.0.%d:80", 100+i), Weight: 1 + i%2})
		}
		return list
	}
	for _, algorithm := range []string{"hash", "sticky", "maglev"} {
		fresh, err := New(servers(3, 9), Options{Algorithm: algorithm})
		if err != nil {
			t.Fatal(err)
		}
		g, err := New(servers(0, 5), Options{Algorithm: algorithm})
		if err != nil {
			t.Fatal(err)
		}
		g = follow(t, g, 0, servers(1, 8)...)
		g = follow(t, g, 0, servers(3, 9)...)
		for key := range uint64(500) {
			a, _ := fresh.Pick(0, key+1, nil)
			b, _ := g.Pick(0, key+1, nil)
			if fresh.Name(a) != g.Name(b) {
				t.Fatalf("%s: key %d is on %s and %s", algorithm, key+1, fresh.Name(a), g.Name(b))
			}
		}
	}
}

func TestTriedServersStayTried(t *testing.T) {
	g, err := New([]Server{{Name: "a", Weight: 1}, {Name: "b", Weight: 1}, {Name: "c", Weight: 1}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	next := follow(t, g, 0, Server{Name: "0", Weight: 1}, Server{Name: "b", Weight: 1}, Server{Name: "a", Weight: 1})
	var tried Tried
	tried.Carry(g, next)
	if tried.Len() != 0 {
		t.Error("nothing became something")
	}
	tried.Add(0)
	tried.Add(2)
	tried.Carry(g, next)
	if tried.Len() != 1 || !tried.Has(2) {
		t.Errorf("%d are tried, a is: %v", tried.Len(), tried.Has(2))
	}
}

// TestMembersAgainstModel changes the list of servers at random between random picks and outcomes. What is counted has
// to be what counting anew comes to, and everything that was picked is given back in the group it was picked from.
func TestMembersAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		algorithm := rapid.SampledFrom(Algorithms()).Draw(t, "algorithm")
		addresses := rapid.Bool().Draw(t, "addresses")
		o := Options{Algorithm: algorithm, Addresses: addresses, DisableTime: disableTime, MayBeEmpty: true, ForceRecovery: rapid.Bool().Draw(t, "force")}
		if Keyed(algorithm) {
			o.HashBalanceFactor = 150
		}
		if rapid.Bool().Draw(t, "ejects") {
			o.Ejection = &Ejection{Window: 10, MinRequests: 1, ErrorRate: 50, Time: 3 * disableTime, MaxTime: 12 * disableTime, MaxShare: 100}
		}
		list := rapid.Custom(func(t *rapid.T) []Server {
			var servers []Server
			for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(0, 5), 0, 6, rapid.ID).Draw(t, "names") {
				servers = append(servers, Server{
					Name: fmt.Sprint("s", n), Weight: rapid.IntRange(1, 2).Draw(t, "weight"), Set: rapid.IntRange(0, 1).Draw(t, "set"),
					Status: rapid.SampledFrom([]Status{0, 0, 0, Standby, Spare, Disabled}).Draw(t, "status"),
					Of:     rapid.SampledFrom([]string{"", "u", "v"}).Draw(t, "of"),
					Route:  rapid.SampledFrom([]string{"", "r"}).Draw(t, "route"),
				})
			}
			return servers
		})
		g, err := New(list.Draw(t, "servers"), o)
		if err != nil {
			t.Fatal(err)
		}
		type held struct {
			g *Group
			i Index
		}
		var inFlight []held
		now := int64(1)
		t.Repeat(map[string]func(*rapid.T){
			"pick": func(t *rapid.T) {
				if i, ok := g.Pick(now, rapid.Uint64().Draw(t, "key"), nil); ok {
					inFlight = append(inFlight, held{g, i})
				}
			},
			"pick of a session": func(t *rapid.T) {
				if i, ok := g.PickOf(g.ByRoute([]byte("r")), now, nil); ok {
					inFlight = append(inFlight, held{g, i})
				}
			},
			"done": func(t *rapid.T) {
				if len(inFlight) == 0 {
					t.Skip()
				}
				n := rapid.IntRange(0, len(inFlight)-1).Draw(t, "which")
				h := inFlight[n]
				inFlight = append(inFlight[:n], inFlight[n+1:]...)
				if rapid.Bool().Draw(t, "connected") {
					h.g.Connected(h.i)
				}
				h.g.Done(h.i, rapid.SampledFrom([]Outcome{OutcomeOK, OutcomeFailed, OutcomeConnectFailed, OutcomeNeutral, OutcomeError}).Draw(t, "outcome"), now)
			},
			"set up": func(t *rapid.T) {
				if g.Len() > 0 {
					g.SetUp(Index(rapid.IntRange(0, g.Len()-1).Draw(t, "server")), rapid.Bool().Draw(t, "up"), now)
				}
			},
			"eject": func(t *rapid.T) {
				if o.Ejection != nil && g.Len() > 0 {
					g.eject.sentence(g, Index(rapid.IntRange(0, g.Len()-1).Draw(t, "server")), now)
				}
			},
			"judge": func(*rapid.T) {
				g.Judge(now)
				for i := range g.servers {
					if g.Ejected(Index(i)) && g.servers[i].rest.Load() == 0 {
						t.Fatalf("%s is up, and ejected", g.Name(Index(i)))
					}
				}
			},
			"time":   func(t *rapid.T) { now += rapid.Int64Range(0, 2*int64(disableTime)).Draw(t, "ns") },
			"follow": func(t *rapid.T) { g = follow(t, g, now, list.Draw(t, "servers")...) },
			"": func(t *rapid.T) {
				var rests, outs int64
				for n := range g.tiers {
					var up int64
					for _, i := range g.tiers[n].servers {
						switch g.servers[i].rest.Load() {
						case 0:
							up += g.servers[i].weight
						case outOfService:
							outs++
							rests++
						default:
							rests++
						}
					}
					if got := g.tiers[n].upWeight.Load(); got != up {
						t.Fatalf("tier %d has a weight of %d up, counted are %d", n, up, got)
					}
				}
				if g.rests.Load() != rests || g.outs.Load() != outs {
					t.Fatalf("%d rest and %d are out of service, counted are %d and %d", rests, outs, g.rests.Load(), g.outs.Load())
				}
				if u := g.units; u != nil {
					var of int64
					for _, h := range inFlight {
						if h.g == g {
							of++
						}
					}
					var got int64
					for k := range u.group.servers {
						got += u.group.InFlight(Index(k))
					}
					if got < of || got > int64(len(inFlight)) {
						t.Fatalf("%d requests of %d are in flight to units, %d to units of before", got, len(inFlight), of)
					}
				}
				for i := range g.servers {
					n := int64(0)
					for _, h := range inFlight {
						if h.g.servers[h.i].state == g.servers[i].state {
							n++
						}
					}
					if got := g.InFlight(Index(i)); got != n {
						t.Fatalf("%s has %d requests, counted are %d", g.Name(Index(i)), n, got)
					}
				}
			},
		})
	})
}
