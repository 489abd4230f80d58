package balance

import (
	"fmt"
	"testing"
	"time"
)

// unitsOf is a group of a server with three addresses, and one with one.
func unitsOf(t *testing.T, algorithm string) *Group {
	t.Helper()
	g, err := New([]Server{
		{Name: "x1", Of: "x", Weight: 1}, {Name: "y", Weight: 1}, {Name: "x2", Of: "x", Weight: 1}, {Name: "x3", Of: "x", Weight: 1},
	}, Options{Algorithm: algorithm, DisableTime: time.Second, Addresses: true})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// spread picks n times, with different keys, and returns how often each server was picked.
func spread(g *Group, n int) map[string]int {
	seen := map[string]int{}
	var held []Index
	for key := range uint64(n) {
		i, ok := g.Pick(0, mix(key+1), nil)
		if !ok {
			seen["-"]++
			continue
		}
		g.Traffic(i, 100)
		g.Answered(i, 1000, 0)
		seen[g.Name(i)]++
		held = append(held, i)
	}
	for _, i := range held {
		g.Done(i, OutcomeOK, 0)
	}
	return seen
}

func TestAddressesOfOneServerShareItsShare(t *testing.T) {
	for _, algorithm := range Algorithms() {
		g := unitsOf(t, algorithm)
		const n = 6000
		seen := spread(g, n)
		if algorithm == "first" || algorithm == "static" {
			if seen["x1"] != n {
				t.Errorf("%s: %v", algorithm, seen)
			}
			continue
		}
		// 4 sigma of a fair coin are 155, of one in six 115.
		for name, want := range map[string]int{"x1": n / 6, "x2": n / 6, "x3": n / 6, "y": n / 2} {
			if got := seen[name]; got < want-160 || got > want+160 {
				t.Errorf("%s: %s has %d of %d requests, want %d", algorithm, name, got, n, want)
			}
		}
	}
}

func TestAServerIsInUseWhileOneOfItsAddressesIs(t *testing.T) {
	for _, algorithm := range Algorithms() {
		g := unitsOf(t, algorithm)
		i := func(name string) Index {
			i, ok := g.Find(name)
			if !ok {
				t.Fatal(name)
			}
			return i
		}
		down := func(name string) { g.SetUp(i(name), false, 0) }
		down("x1")
		down("x3")
		if seen := spread(g, 400); seen["x1"]+seen["x3"] > 0 || seen["x2"] == 0 {
			t.Errorf("%s: with one address left: %v", algorithm, seen)
		}
		down("x2")
		if seen := spread(g, 20); seen["y"] != 20 {
			t.Errorf("%s: with the other server left: %v", algorithm, seen)
		}
		down("y")
		if seen := spread(g, 1); seen["-"] != 1 {
			t.Errorf("%s: with none left: %v", algorithm, seen)
		}
		var tried Tried
		tried.Add(i("x1"))
		g.SetUp(i("x1"), true, 0)
		if k, ok := g.Pick(0, 1, &tried); ok {
			t.Errorf("%s: %s was picked, which was tried", algorithm, g.Name(k))
		}
	}
}

func TestAddressesComeAndGo(t *testing.T) {
	server := func(name string, weight int, status Status) Server {
		return Server{Name: name, Of: name[:1], Weight: weight, Status: status}
	}
	g, err := New(nil, Options{Algorithm: "round-robin", Addresses: true, MayBeEmpty: true})
	if err != nil {
		t.Fatal(err)
	}
	want := func(text string) {
		t.Helper()
		if got := fmt.Sprint(spread(g, 12)); got != text {
			t.Errorf("got %s, want %s", got, text)
		}
	}
	want("map[-:12]")
	g = follow(t, g, 0, server("x1", 1, 0), server("y1", 2, 0))
	want("map[x1:4 y1:8]")
	g = follow(t, g, 0, server("x1", 1, 0), server("x2", 1, 0), server("y1", 2, 0))
	want("map[x1:2 x2:2 y1:8]")
	g = follow(t, g, 0, server("x1", 1, 0), server("x2", 1, 0), server("y1", 2, Standby))
	want("map[x1:6 x2:6]")
	g = follow(t, g, 0, server("y1", 2, Standby))
	want("map[y1:12]")
}

// The last address stays, and those that are ejected stand in by what their server is: a standby's last.
func TestEjectionsOfAddresses(t *testing.T) {
	for _, algorithm := range Algorithms() {
		t.Run(algorithm, func(t *testing.T) {
			g, err := New([]Server{
				{Name: "s1", Of: "s", Weight: 1, Status: Standby},
				{Name: "x1", Of: "x", Weight: 1},
				{Name: "x2", Of: "x", Weight: 1},
				{Name: "d1", Of: "d", Weight: 1, Status: Draining, Token: "d1"},
				{Name: "y1", Of: "y", Weight: 1},
			}, Options{Algorithm: algorithm, DisableTime: time.Second, Addresses: true, Ejection: &strict})
			if err != nil {
				t.Fatal(err)
			}
			eject := func(name string) {
				t.Helper()
				if i, ok := g.Find(name); !ok || g.eject.sentence(g, i, 0) == 0 {
					t.Fatalf("%s is not ejected", name)
				}
			}
			only := func(names ...string) {
				t.Helper()
				seen := spread(g, 100)
				n := 0
				for _, name := range names {
					n += seen[name]
				}
				if n != 100 {
					t.Fatalf("served by %v, want %v", seen, names)
				}
			}
			eject("x1")
			only("x2", "y1")
			eject("y1")
			only("x2")
			eject("x2")
			only("s1") // a standby that is in use is better than who is out
			eject("d1")
			eject("s1")
			only("x1", "x2", "y1")
			next := follow(t, g, 0, Server{Name: "d1", Of: "d", Weight: 1, Status: Draining, Token: "d1"}, Server{Name: "s1", Of: "s", Weight: 1, Status: Standby})
			if g = next; !g.Ejected(0) || !g.Ejected(1) {
				t.Error("what is left is not ejected any more")
			}
			only("s1")
			for k := range g.units.of {
				if n := g.units.group.InFlight(Index(k)); n != 0 {
					t.Errorf("server %d has %d requests", k, n)
				}
			}
		})
	}
}

// A server that gets nothing anyway does not keep the others from being forced back.
func TestForcedRecoveryOfAddresses(t *testing.T) {
	g, err := New([]Server{{Name: "d1", Of: "d", Weight: 1, Status: Disabled}, {Name: "x1", Of: "x", Weight: 1}, {Name: "x2", Of: "x", Weight: 1}},
		Options{DisableTime: time.Second, Addresses: true, ForceRecovery: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		i, ok := g.Pick(0, NoKey, nil)
		if !ok {
			t.Fatal("nothing to pick")
		}
		g.Done(i, OutcomeConnectFailed, 0)
	}
	if seen := spread(g, 10); seen["x1"]+seen["x2"] != 10 {
		t.Errorf("with all at rest: %v", seen)
	}
}

// Whose addresses are full is worth waiting for: no standby gets its requests.
func TestNobodyStandsInForFullAddresses(t *testing.T) {
	for _, name := range Algorithms() {
		if Keyed(name) {
			continue
		}
		g, err := New([]Server{
			{Name: "s1", Of: "s", Weight: 1, Status: Standby}, {Name: "x1", Of: "x", Weight: 1}, {Name: "x2", Of: "x", Weight: 1}, {Name: "y1", Of: "y", Weight: 1},
		}, Options{Algorithm: name, Limited: true, Addresses: true, DisableTime: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if picked := pickAll(g, nil); len(picked) != 3 {
			t.Errorf("%s: picked %v", name, picked)
		}
		g.SetFull(2, false)
		if i, ok := g.Pick(0, NoKey, nil); !ok || g.Name(i) != "x2" {
			t.Errorf("%s: picked %d, %v when x2 has room again", name, i, ok)
		}
		for i := Index(1); i < 4; i++ {
			g.SetUp(i, false, 0)
		}
		if i, ok := g.Pick(0, NoKey, nil); !ok || g.Name(i) != "s1" {
			t.Errorf("%s: picked %d, %v when only the standby is up", name, i, ok)
		}
	}
}

// TestSessionsTakeTheTurnsOfAllAddresses is BL-20 where servers have several addresses: what sessions take of one of
// them is the server's.
func TestSessionsTakeTheTurnsOfAllAddresses(t *testing.T) {
	for _, algorithm := range []string{"round-robin", "bytraffic", "bybusyness"} {
		g, err := New([]Server{
			{Name: "x1", Of: "x", Weight: 1, Route: "x"}, {Name: "x2", Of: "x", Weight: 1, Route: "x"}, {Name: "y", Weight: 1, Route: "y"},
		}, Options{Algorithm: algorithm, Addresses: true})
		if err != nil {
			t.Fatal(err)
		}
		serve := func(i Index, ok bool) string {
			if !ok {
				t.Fatalf("%s: nobody", algorithm)
			}
			g.Traffic(i, 100)
			g.Done(i, OutcomeOK, 0)
			return g.Name(i)
		}
		serve(g.Pick(0, NoKey, nil)) // the first is x's
		serve(g.Pick(0, NoKey, nil))
		for range 10 {
			serve(g.PickOf(g.ByRoute([]byte("x")), 0, nil))
		}
		for n := range 10 {
			if name := serve(g.Pick(0, NoKey, nil)); name != "y" {
				t.Errorf("%s: request %d goes to %s, though sessions have had ten turns of x", algorithm, n, name)
			}
		}
	}
}
