package balance

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestRoundRobinEqualServers(t *testing.T) {
	tr := newTrace(t, "round-robin", 1, 1, 1)
	tr.serves("a b c a b c a b c")
	tr.picks("a b c a b c") // busy or not
	tr = newTrace(t, "round-robin", 7, 7)
	tr.serves("a b a b")
}

func TestRoundRobinWeights(t *testing.T) {
	tr := newTrace(t, "round-robin", 5, 1, 1)
	tr.serves("a a b a c a a")
	tr.serves("a a b a c a a")
	tr = newTrace(t, "round-robin", 10, 20, 30)
	tr.serves("c b a c b c")
}

func TestRoundRobinSharesTheTurnsOfRestingServersEvenly(t *testing.T) {
	tr := newTrace(t, "round-robin", 1, 1, 1, 1)
	tr.serves("a")
	tr.refused("b")
	tr.serves("c d a c d a c d a c d")
	tr.advance(disableTime)
	tr.serves("a b c d")
}

func TestRoundRobinSkipsTriedServers(t *testing.T) {
	tr := newTrace(t, "round-robin", 1, 1, 1)
	tr.tried.Add(0)
	tr.picks("b c b c")
	tr.tried.Add(2)
	tr.picks("b b")
}

func TestSharesAreExactOverOneRound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 40), 1, 12).Draw(t, "weights")
		servers := make([]Server, len(weights))
		for i, w := range weights {
			servers[i].Weight = w
		}
		g, err := New(servers, Options{Algorithm: "round-robin"})
		if err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, w := range weights {
			sum += w
		}
		// The sum of the weights is a whole number of rounds, from wherever it begins.
		for range rapid.IntRange(0, 50).Draw(t, "before") {
			g.Pick(0, NoKey, nil)
		}
		counts := make([]int, len(weights))
		for range sum {
			i, _ := g.Pick(0, NoKey, nil)
			counts[i]++
		}
		if !slices.Equal(counts, weights) {
			t.Fatalf("turns %v, weights %v", counts, weights)
		}
	})
}

func TestARoundIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name    string
		weights []int
		length  int // 0: not longer than maxOrder
		exact   bool
	}{
		{"lowest terms", []int{1000, 500}, 3, true},
		{"64 servers", append(slices.Repeat([]int{1000}, 62), 999, 998), 63997, true},
		{"equal", slices.Repeat([]int{997}, 1000), 1000, true},
		{"many unequal", append(slices.Repeat([]int{1000}, 999), 1), 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := shares(tt.weights)
			sum, sumWeights := 0, 0
			for i, n := range got {
				sum += n
				sumWeights += tt.weights[i]
			}
			if tt.length != 0 && sum != tt.length || sum > maxOrder {
				t.Errorf("a round of %d turns, want %d", sum, tt.length)
			}
			for i, n := range got {
				if n < 1 {
					t.Errorf("server %d gets no turn", i)
				}
				if tt.exact && n*sumWeights != tt.weights[i]*sum {
					t.Errorf("server %d: %d of %d turns for a weight of %d of %d", i, n, sum, tt.weights[i], sumWeights)
				}
			}
		})
	}
}

func TestScaledSharesAreClose(t *testing.T) {
	weights := make([]int, 1000)
	sumWeights := 0
	for i := range weights {
		weights[i] = i + 1
		sumWeights += i + 1
	}
	got := shares(weights)
	sum := 0
	for _, n := range got {
		sum += n
	}
	for i, n := range got {
		// Within one turn of the exact share.
		exact := float64(weights[i]) * maxOrder / float64(sumWeights)
		if float64(n) < exact-1 || float64(n) > exact+1 {
			t.Errorf("weight %d: %d turns, exactly %.2f", weights[i], n, exact)
		}
	}
	if order := smoothOrder(got); len(order) != sum || sum > maxOrder+len(weights) {
		t.Errorf("a round of %d turns, shares sum up to %d", len(order), sum)
	}
}
