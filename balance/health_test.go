package balance

import "testing"

func TestOutOfService(t *testing.T) {
	for _, algorithm := range []string{"fair", "round-robin", "bytraffic", "bybusyness"} {
		t.Run(algorithm, func(t *testing.T) {
			tr := newTrace(t, algorithm, 1, 1)
			tr.picks("a")
			tr.g.SetUp(tr.index("a"), false, tr.now)
			tr.resting("a")
			tr.serves("b b b")
			// Whatever requests meet there, and however long it takes.
			tr.connected("a")
			for _, o := range []Outcome{OutcomeOK, OutcomeConnectFailed, OutcomeFailed, OutcomeNeutral} {
				tr.done("a", o)
				tr.serves("b b")
				tr.advance(1000 * disableTime)
				tr.serves("b b")
				tr.g.servers[0].inFlight.Add(1) // as if it had been picked before
			}
			tr.g.SetUp(tr.index("b"), false, tr.now)
			tr.picks("- -")
			tr.g.SetUp(tr.index("a"), true, tr.now)
			tr.resting("b")
			tr.picks("a a")
		})
	}
}

func TestOutOfServiceOutlastsAProbe(t *testing.T) {
	tr := newTrace(t, "fair", 1, 1)
	tr.refused("a")
	tr.advance(disableTime)
	tr.picks("a")
	tr.g.SetUp(tr.index("a"), false, tr.now)
	tr.connected("a")
	tr.done("a", OutcomeOK)
	tr.resting("a")
	tr.g.SetUp(tr.index("a"), true, tr.now)
	tr.resting("")
}
