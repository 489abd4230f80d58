package balance

import "testing"

// TestSteadyKeepsItsPromise picks again and again where Steady says that it does not matter how often.
func TestSteadyKeepsItsPromise(t *testing.T) {
	const key = 0x1234
	servers := []Server{{Name: "a", Weight: 1, Host: "10.0.0.1", Port: 80}, {Name: "b", Weight: 1, Host: "10.0.0.2", Port: 80}, {Name: "c", Weight: 1, Host: "10.0.0.3", Port: 80}}
	for _, o := range []struct {
		Options
		keyed, unkeyed bool
	}{
		{Options{Algorithm: "fair"}, false, false},
		{Options{Algorithm: "round-robin"}, false, false},
		{Options{Algorithm: "random"}, false, false},
		{Options{Algorithm: "ewma"}, false, false},
		{Options{Algorithm: "hash"}, true, false},
		{Options{Algorithm: "sticky", HashCompat: "lighttpd"}, true, false},
		{Options{Algorithm: "maglev", HashBalanceFactor: 125}, true, false},
		{Options{Algorithm: "first"}, true, true},
	} {
		g, err := New(servers, o.Options)
		if err != nil {
			t.Fatal(err)
		}
		for k, want := range map[uint64]bool{key: o.keyed, NoKey: o.unkeyed} {
			if got := g.Steady(k); got != want {
				t.Errorf("%s: Steady(%#x) is %v", o.Algorithm, k, got)
			}
			first := Index(-1)
			for range 20 {
				i, ok := g.Pick(1, k, &Tried{})
				if !ok || want && first >= 0 && i != first {
					t.Fatalf("%s: picked %v, %v after %v", o.Algorithm, i, ok, first)
				}
				first = i
				g.Done(i, OutcomeOK, 1)
			}
		}
	}
	g, err := New(append(servers[:1:1], Server{Name: "b", Weight: 1, Status: Disabled}), Options{Algorithm: "random"})
	if err != nil || !g.Steady(NoKey) {
		t.Errorf("one server that may be picked is the one: %v", err)
	}
}
