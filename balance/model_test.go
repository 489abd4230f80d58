package balance

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// model is the group as one would write it without thinking of speed or of other loops.
type model struct {
	inFlight []int64
	up       []bool
	probing  []bool
	until    []int64
}

func (m *model) eligible(i Index, now int64, tried map[Index]bool) bool {
	return !tried[i] && (m.up[i] || now >= m.until[i])
}

func (m *model) take(i Index, now int64) {
	if !m.up[i] {
		m.until[i], m.probing[i] = now+disableTime, true
	}
	m.inFlight[i]++
}

func (m *model) done(i Index, o Outcome, now int64) {
	m.inFlight[i]--
	switch o {
	case OutcomeConnectFailed, OutcomeUnfit:
		m.up[i], m.probing[i], m.until[i] = false, false, now+disableTime
	case OutcomeOK, OutcomeFailed:
		if m.probing[i] {
			m.up[i], m.probing[i] = true, false
		}
	}
}

// TestGroupAgainstModel makes random moves and compares each with the model's.
func TestGroupAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weight := rapid.IntRange(1, 5)
		weights := rapid.OneOf(rapid.SliceOfN(weight, 1, 6), rapid.SliceOfN(weight, manyServers+1, 3*blockServers)).Draw(t, "weights")
		algorithm := rapid.SampledFrom(Algorithms()).Draw(t, "algorithm")
		servers := make([]Server, len(weights))
		for i, w := range weights {
			servers[i].Weight = w
		}
		g, err := New(servers, Options{Algorithm: algorithm, DisableTime: disableTime})
		if err != nil {
			t.Fatal(err)
		}
		n := len(weights)
		m := model{make([]int64, n), make([]bool, n), make([]bool, n), make([]int64, n)}
		for i := range m.up {
			m.up[i] = true
		}
		server := rapid.Custom(func(t *rapid.T) Index { return Index(rapid.IntRange(0, n-1).Draw(t, "server")) })
		var tried Tried
		triedModel := map[Index]bool{}
		now := int64(0)
		t.Repeat(map[string]func(*rapid.T){
			"pick": func(t *rapid.T) {
				got, ok := g.Pick(now, rapid.Uint64().Draw(t, "key"), &tried)
				any := false
				for i := range Index(n) {
					if !m.eligible(i, now, triedModel) {
						continue
					}
					any = true
					if !ok || !slices.Contains([]string{"fair", "least-connection", "sqf"}, algorithm) {
						continue
					}
					mine, its := m.inFlight[got]*int64(weights[i]), m.inFlight[i]*int64(weights[got])
					if its < mine || its == mine && i < got {
						t.Fatalf("picked %d, %d was less busy", got, i)
					}
				}
				if ok != any {
					t.Fatalf("picked: %v, could: %v", ok, any)
				}
				if !ok {
					return
				}
				if !m.eligible(got, now, triedModel) {
					t.Fatalf("picked %d, which rests or was tried", got)
				}
				m.take(got, now)
			},
			"done": func(t *rapid.T) {
				i := server.Draw(t, "i")
				if m.inFlight[i] == 0 {
					return
				}
				o := Outcome(rapid.IntRange(0, 4).Draw(t, "outcome"))
				g.Done(i, o, now)
				m.done(i, o, now)
			},
			"connected": func(t *rapid.T) {
				i := server.Draw(t, "i")
				g.Connected(i)
				m.up[i], m.probing[i] = true, false
			},
			"try": func(t *rapid.T) {
				i := server.Draw(t, "i")
				tried.Add(i)
				triedModel[i] = true
			},
			"reset": func(*rapid.T) {
				tried.Reset()
				clear(triedModel)
			},
			"advance": func(t *rapid.T) { now += rapid.Int64Range(0, disableTime).Draw(t, "ns") },
			"": func(t *rapid.T) {
				for i := range Index(n) {
					if got := g.InFlight(i); got != m.inFlight[i] {
						t.Fatalf("%d: %d in flight, want %d", i, got, m.inFlight[i])
					}
					if got, want := g.Resting(i, now), !m.up[i] && now < m.until[i]; got != want {
						t.Fatalf("%d rests: %v, want %v", i, got, want)
					}
				}
			},
		})
	})
}
