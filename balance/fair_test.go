package balance

import "testing"

func TestFairPrefersTheFirstListedAmongEquals(t *testing.T) {
	tr := newTrace(t, "fair", 1, 1, 1)
	tr.serves("a a a a")
	tr.picks("a b c a b c a")
	tr.done("b", OutcomeOK)
	tr.done("b", OutcomeOK)
	tr.picks("b b b c a")
}

func TestFairPicksInProportionToWeights(t *testing.T) {
	tr := newTrace(t, "fair", 1, 3, 2)
	// After each line the loads stand in the ratio of the weights.
	tr.picks("a b c b c b")
	tr.picks("a b c b c b")
	for i, want := range []int64{2, 6, 4} {
		if got := tr.g.InFlight(Index(i)); got != want {
			t.Errorf("%s has %d in flight, want %d", tr.g.Name(Index(i)), got, want)
		}
	}
}

func TestFairLooksBeyondRestingServers(t *testing.T) {
	tr := newTrace(t, "fair", 1, 1, 1)
	tr.refused("a")
	tr.refused("b")
	tr.picks("c c c")
	tr.advance(disableTime)
	tr.picks("a b c c")
	tr.connected("b")
	tr.picks("b b b b b c")
}
