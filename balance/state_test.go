package balance

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// condition is what a server of the model is in.
type condition int

const (
	up      condition = iota
	rests             // until a time
	probing           // a request tries it; it rests for the others until a time
	ejected           // until a time, which only SetUp ends early
	away              // until SetUp says otherwise
)

// patient is a server of the model.
type patient struct {
	state    condition
	until    int64
	fails    int
	inFlight int64
	ignores  bool
}

func (p *patient) free(now int64) bool {
	return p.state == up || p.state != away && now >= p.until
}

// hospital is the states of a group's servers, as one would write them down without thinking of other loops.
type hospital struct {
	o        Options
	patients []patient
}

func (h *hospital) all(is func(p *patient) bool) bool {
	for i := range h.patients {
		if !is(&h.patients[i]) {
			return false
		}
	}
	return true
}

// eligible returns what may be picked, and whether it is a last resort.
func (h *hospital) eligible(now int64, tried map[Index]bool) (list []Index, last bool) {
	free := func() {
		for i := range h.patients {
			if !tried[Index(i)] && h.patients[i].free(now) {
				list = append(list, Index(i))
			}
		}
	}
	free()
	allRest := h.all(func(p *patient) bool { return p.state != up })
	allAway := h.all(func(p *patient) bool { return p.state == away })
	if len(list) == 0 && h.o.ForceRecovery && allRest && !allAway {
		for i := range h.patients {
			if p := &h.patients[i]; p.state == rests || p.state == probing {
				p.state = up
			}
		}
		free()
	}
	if len(list) > 0 || h.o.Ejection == nil {
		return list, false
	}
	for i := range h.patients {
		if !tried[Index(i)] && h.patients[i].state == ejected {
			list = append(list, Index(i))
		}
	}
	return list, true
}

func (h *hospital) done(i Index, o Outcome, now int64) {
	p := &h.patients[i]
	p.inFlight--
	switch o {
	case OutcomeConnectFailed, OutcomeUnfit:
		if p.ignores {
			return
		}
		if p.state == up {
			if p.fails++; p.fails < max(h.o.MaxFails, 1) {
				return
			}
			p.fails = 0
		}
		if p.state != away && p.state != ejected {
			p.state, p.until = rests, now+int64(h.o.DisableTime)
		}
	case OutcomeOK, OutcomeError, OutcomeFailed:
		if p.state == probing {
			p.state = up
		}
		if o != OutcomeFailed {
			p.fails = 0
		}
	}
}

// TestServerStatesAgainstModel makes random moves with all that moves a server from one state to another, and compares
// each with the model's.
func TestServerStatesAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "servers")
		h := hospital{
			o: Options{
				Algorithm:     rapid.SampledFrom(Algorithms()).Draw(t, "algorithm"),
				DisableTime:   disableTime,
				MaxFails:      rapid.IntRange(0, 3).Draw(t, "max fails"),
				SlowStart:     time.Duration(rapid.SampledFrom([]int{0, 5 * disableTime}).Draw(t, "slow start")),
				ForceRecovery: rapid.Bool().Draw(t, "force"),
			},
			patients: make([]patient, n),
		}
		if rapid.Bool().Draw(t, "ejects") {
			h.o.Ejection = &Ejection{Window: 10, MinRequests: 1, ErrorRate: 50, Time: 3 * disableTime, MaxTime: 12 * disableTime, MaxShare: 100}
		}
		servers := make([]Server, n)
		for i := range servers {
			servers[i] = Server{Name: fmt.Sprint(i), Weight: rapid.IntRange(1, 5).Draw(t, "weight")}
			if h.patients[i].ignores = rapid.IntRange(0, 5).Draw(t, "ignores") == 0; h.patients[i].ignores {
				servers[i].Status = IgnoreErrors
			}
		}
		g, err := New(servers, h.o)
		if err != nil {
			t.Fatal(err)
		}
		server := rapid.Custom(func(t *rapid.T) Index { return Index(rapid.IntRange(0, n-1).Draw(t, "server")) })
		var tried Tried
		triedModel := map[Index]bool{}
		now := int64(0)
		t.Repeat(map[string]func(*rapid.T){
			"pick": func(t *rapid.T) {
				got, ok := g.Pick(now, rapid.Uint64().Draw(t, "key"), &tried)
				may, last := h.eligible(now, triedModel)
				if ok != (len(may) > 0) || ok && !slices.Contains(may, got) {
					t.Fatalf("picked %d, %v, of %v", got, ok, may)
				}
				if !ok {
					return
				}
				p := &h.patients[got]
				p.inFlight++
				if p.state != up && !last {
					p.state, p.until = probing, now+disableTime
				}
			},
			"done": func(t *rapid.T) {
				i := server.Draw(t, "i")
				if h.patients[i].inFlight == 0 {
					return
				}
				o := Outcome(rapid.IntRange(0, int(OutcomeError)).Draw(t, "outcome"))
				g.Done(i, o, now)
				h.done(i, o, now)
			},
			"connected": func(t *rapid.T) {
				i := server.Draw(t, "i")
				g.Connected(i)
				if p := &h.patients[i]; p.state == rests || p.state == probing {
					p.state = up
				}
			},
			"health": func(t *rapid.T) {
				i, isUp := server.Draw(t, "i"), rapid.Bool().Draw(t, "up")
				g.SetUp(i, isUp, now)
				if h.patients[i].state = away; isUp {
					h.patients[i].state = up
				}
			},
			"eject": func(t *rapid.T) {
				i := server.Draw(t, "i")
				if h.o.Ejection == nil {
					return
				}
				d := g.eject.sentence(g, i, now)
				if p := &h.patients[i]; (d > 0) != (p.state == up) {
					t.Fatalf("ejected for %v, in state %d", d, p.state)
				} else if d > 0 {
					p.state, p.until = ejected, now+int64(d)
				}
			},
			"judge": func(t *rapid.T) {
				left := false
				for _, j := range g.Judge(now) {
					p := &h.patients[j.Server]
					left = left || j.Out
					switch {
					case j.Out && p.ignores:
						t.Fatalf("%d ignores errors, and is ejected", j.Server)
					case p.state != up:
						t.Fatalf("%d is judged %+v, in state %d", j.Server, j, p.state)
					case j.Out:
						p.state, p.until = ejected, now+int64(j.For)
					}
				}
				if left && h.all(func(p *patient) bool { return p.state != up }) {
					t.Fatal("the last server that was up has been ejected")
				}
			},
			"try":     func(t *rapid.T) { i := server.Draw(t, "i"); tried.Add(i); triedModel[i] = true },
			"reset":   func(*rapid.T) { tried.Reset(); clear(triedModel) },
			"advance": func(t *rapid.T) { now += rapid.Int64Range(0, 2*disableTime).Draw(t, "ns") },
			"": func(t *rapid.T) {
				for i := range h.patients {
					p := &h.patients[i]
					if got := g.InFlight(Index(i)); got != p.inFlight {
						t.Fatalf("%d: %d in flight, want %d", i, got, p.inFlight)
					}
					if got := g.Resting(Index(i), now); got == p.free(now) {
						t.Fatalf("%d rests: %v, in state %d until %d at %d", i, got, p.state, p.until, now)
					}
				}
				ups, outs := int64(0), int64(0)
				for i := range h.patients {
					if h.patients[i].state == up {
						ups++
					}
					if h.patients[i].state == away {
						outs++
					}
				}
				if got := g.rests.Load(); got != int64(n)-ups || g.outs.Load() != outs {
					t.Fatalf("%d rest, %d are out, want %d and %d", got, g.outs.Load(), int64(n)-ups, outs)
				}
			},
		})
	})
}

// What is left when servers are gone, for whatever reason, is shared in proportion to weights.
func TestSharesOfWhoIsLeft(t *testing.T) {
	const requests = 20_000
	weights := []int{3, 1, 2, 5, 1}
	for _, algorithm := range Algorithms() {
		if slices.Contains([]string{"fair", "least-connection", "sqf", "first", "static"}, algorithm) {
			continue // requests that come alone are not shared
		}
		for _, gone := range []string{"ejected", "in a lower set", "spares"} {
			t.Run(algorithm+", "+gone, func(t *testing.T) {
				o := Options{Algorithm: algorithm, DisableTime: time.Hour}
				servers := make([]Server, len(weights))
				left := slices.Clone(weights)
				for i, w := range weights {
					servers[i] = Server{Name: fmt.Sprintf("10.0.0.%d:8080", i), Weight: w}
				}
				left[1], left[3] = 0, 0
				switch gone {
				case "ejected":
					o.Ejection = &strict
				case "in a lower set":
					servers[0].Set, servers[2].Set, servers[4].Set = 7, 7, 7
				case "spares":
					servers[0].Status, servers[2].Status = Spare, Spare
				}
				g, err := New(servers, o)
				if err != nil {
					t.Fatal(err)
				}
				g.dice.state.Store(1)
				for _, i := range []Index{1, 3} {
					if o.Ejection != nil {
						g.eject.sentence(g, i, 0)
					} else {
						g.SetUp(i, false, 0)
					}
				}
				counts := make([]int, len(weights))
				for n := range requests {
					i, ok := g.Pick(0, mix(uint64(n+1)), nil)
					if !ok {
						t.Fatal("nothing to pick")
					}
					counts[i]++
					g.Traffic(i, 1)
					g.Done(i, OutcomeOK, 0)
				}
				proportional(t, counts, left)
			})
		}
	}
}
