package balance

import (
	"fmt"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"
)

// Ejection says when servers are taken out of use for what their answers are like, compared with those of the others.
// It is for servers that do not fail in a row, which is what a rest is for, but too often, or that are slow.
type Ejection struct {
	// Window is how far back answers count.
	Window time.Duration
	// MinRequests is how many of them there have to be for a judgement.
	MinRequests int
	// ErrorRate is the percentage of failures, and of answers that are OutcomeError, for which a server is ejected,
	// unless half of the others are as bad. Zero: it never is.
	ErrorRate int
	// LatencyFactor is how many times the median latency of the others that of a server has to be, for which it is
	// ejected. Zero: it never is.
	LatencyFactor int
	// MinLatency is what is never too slow.
	MinLatency time.Duration
	// Time is how long a server is out for the first time. It doubles each time up to MaxTime; after as long in use as
	// it was out the last time, it begins anew.
	Time, MaxTime time.Duration
	// MaxShare bounds the servers that are out, in percent of all that may be picked. One may leave whatever it is,
	// and one always stays.
	MaxShare int
}

// Judgement is a change that Judge has made.
type Judgement struct {
	Server Index
	// Out: the server has been ejected, for a time and a reason. Else it is in use again.
	Out    bool
	For    time.Duration
	Reason string
}

// The window is made of parts, of which the oldest is forgotten at a time.
const windowParts = 10

// Latencies are counted in buckets: four to each power of two, of units of 1024 ns. The last one has what is above 18
// minutes.
const (
	latencyUnit    = 10 // bits
	latencyBuckets = 116
)

func latencyBucket(ns int64) int {
	units := uint64(max(ns, 0)) >> latencyUnit
	if units < 4 {
		return int(units)
	}
	e := bits.Len64(units) - 3
	return min(4*e+int(units>>e), latencyBuckets-1)
}

// latencyOf is the middle of a bucket, in nanoseconds.
func latencyOf(bucket int) float64 {
	low, width := bucket, 1
	if bucket >= 4 {
		e := bucket/4 - 1
		low, width = (4+bucket%4)<<e, 1<<e
	}
	return (float64(low) + float64(width)/2) * (1 << latencyUnit)
}

// ejector is what a group has that ejects servers.
type ejector struct {
	Ejection
	watched []*watched // by index: those of the servers' states

	// Owned by the caller of Judge, and shared by the groups that follow one another.
	part *int // the latest of windowParts
}

// watched is what is known of a server's answers.
type watched struct {
	// Shared: loops add to them, Judge reads.
	answers, errors atomic.Int64 // all so far
	latency         [latencyBuckets]atomic.Uint32
	// sentence is what server.rest is while the server is ejected. Only the end of its time ends that state.
	sentence atomic.Int64
	_        [64]byte

	// Owned by the caller of Judge.
	seen  tally // all so far, when it was last looked at
	parts [windowParts]tally
	slow  bool          // it was too slow when it was last judged
	last  time.Duration // how long it was out the last time
	back  int64         // when it came back
}

// tally is a number of answers.
type tally struct {
	answers, errors int64
	latency         []uint32 // nil unless latencies are judged
}

// newEjector returns the ejector of a group that follows another one, which is nil for the first. The servers come later:
// see watch.
func newEjector(e Ejection, before *Group) (*ejector, error) {
	if e.Window <= 0 || e.MinRequests < 1 || e.Time <= 0 || e.MaxTime < e.Time ||
		e.ErrorRate < 0 || e.ErrorRate > 100 || e.LatencyFactor < 0 || e.MaxShare < 0 || e.MaxShare > 100 {
		return nil, fmt.Errorf("an ejection is out of range: %+v", e)
	}
	e.MaxTime = min(e.MaxTime, maxDisableTime)
	e.Time = min(e.Time, e.MaxTime)
	if before != nil {
		return &ejector{Ejection: e, part: before.eject.part}, nil
	}
	return &ejector{Ejection: e, part: new(int)}, nil
}

// watch has a server's answers counted from now on, with those that are known from the group before.
func (e *ejector) watch(s *state) {
	if s.watched == nil {
		w := new(watched)
		if e.LatencyFactor > 0 {
			counts := make([]uint32, (windowParts+1)*latencyBuckets)
			for p := range w.parts {
				w.parts[p].latency, counts = counts[:latencyBuckets], counts[latencyBuckets:]
			}
			w.seen.latency = counts
		}
		s.watched = w
	}
	e.watched = append(e.watched, s.watched)
}

// JudgeEvery is the pace at which Judge is to be called; zero: not at all.
func (g *Group) JudgeEvery() time.Duration {
	if g.eject == nil {
		return 0
	}
	return g.eject.Window / windowParts
}

// Ejected reports whether a server is out for its answers, or has been and nothing has come of a probe yet.
func (g *Group) Ejected(i Index) bool {
	return g.eject != nil && g.eject.watched[i].sentence.Load() != 0
}

// count notes what came of a request.
func (e *ejector) count(i Index, o Outcome) {
	w := e.watched[i]
	switch o {
	case OutcomeNeutral:
		return
	case OutcomeOK:
	default:
		w.errors.Add(1)
	}
	w.answers.Add(1)
}

// answered notes how long a server took to answer.
func (e *ejector) answered(i Index, latency int64) {
	if e.LatencyFactor > 0 {
		e.watched[i].latency[latencyBucket(latency)].Add(1)
	}
}

// serves reports whether a state is that of an ejection.
func (e *ejector) serves(i Index, state int64) bool {
	return e != nil && state != 0 && e.watched[i].sentence.Load() == state
}

// pickEjecting is Pick for groups that eject. When nobody else can be picked, those that are ejected can: a bad answer
// is better than none.
func (g *Group) pickEjecting(l look) (Index, bool) {
	var i Index
	var ok bool
	if g.selective {
		i, ok = g.pickSelective(l)
	} else {
		i, ok = g.algorithm.pick(g, l)
	}
	if ok {
		return i, true
	}
	if g.limited && g.anyUp(&l) {
		return 0, false // full, which is worth waiting for
	}
	best := Index(-1)
	for i := range Index(len(g.servers)) {
		if !g.standsIn(i, l.tried) || g.limited && g.servers[i].full.Load() {
			continue
		}
		if best < 0 || g.rank(i) < g.rank(best) || g.rank(i) == g.rank(best) && g.lessBusy(i, best) {
			best = i
		}
	}
	if best < 0 {
		return 0, false
	}
	g.takeEjected(best)
	return best, true
}

// PickEjected is PickOf for a session that no other servers are allowed to have, when PickOf has found none: it takes the
// first that is ejected.
func (g *Group) PickEjected(servers []Index, tried *Tried) (Index, bool) {
	for _, i := range servers {
		if g.standsIn(i, tried) {
			g.takeEjected(i)
			return i, true
		}
	}
	return 0, false
}

// standsIn reports whether a server is ejected, and could be picked otherwise.
func (g *Group) standsIn(i Index, tried *Tried) bool {
	s := &g.servers[i]
	return g.eject.serves(i, s.rest.Load()) && s.tier >= 0 && g.rank(i) >= 0 && !tried.Has(i)
}

// rank is the place of a server's tier among those that are tried one after the other. With Addresses it is that of its
// unit, and -1 if that gets nothing.
func (g *Group) rank(i Index) int32 {
	if u := g.units; u != nil {
		return u.group.servers[u.of[i]].tier
	}
	return g.servers[i].tier
}

// takeEjected counts a request on an ejected server, which stays so.
func (g *Group) takeEjected(i Index) {
	s := &g.servers[i]
	s.add(1)
	if g.factor > 0 {
		g.tiers[s.tier].inFlight.Add(1)
	}
	if u := g.units; u != nil {
		u.count(u.of[i])
	}
}

// Judge compares what the servers have answered, ejects those that are out of line, and returns what has changed. It is
// called every JudgeEvery, by one goroutine at a time, and not while Follow or Leave is under way. After Follow it is
// the group that follows that is judged. It takes time in proportion to all servers, and belongs beside the
// loops.
func (g *Group) Judge(now int64) []Judgement {
	e := g.eject
	if e == nil {
		return nil
	}
	var changes []Judgement
	*e.part = (*e.part + 1) % windowParts
	up, ejected := 0, 0
	for i, w := range e.watched {
		w.advance(*e.part)
		s := &g.servers[i]
		if rest := s.rest.Load(); rest == 0 {
			if s.tier >= 0 {
				up++
			}
			if w.sentence.Load() != 0 {
				w.sentence.Store(0)
				w.forget() // the answers from before, which may have come late
				w.back = now
				changes = append(changes, Judgement{Server: Index(i)})
			}
		}
		if w.sentence.Load() != 0 {
			ejected++
		}
	}
	limit := max(1, int(g.enabled)*e.MaxShare/100)
	for _, c := range e.accused(g) {
		if ejected >= limit || up <= 1 {
			break
		}
		if c.For = e.sentence(g, c.Server, now); c.For > 0 {
			changes = append(changes, c.Judgement)
			ejected++
			up--
		}
	}
	return changes
}

// sentence ejects a server, and returns for how long; zero: it rests already.
func (e *ejector) sentence(g *Group, i Index, now int64) time.Duration {
	w := e.watched[i]
	d := e.Time
	if w.last > 0 && now-w.back < int64(w.last) {
		d = min(2*w.last, e.MaxTime)
	}
	if g.servers[i].rest.Load() != 0 {
		return 0
	}
	state := restUntil(now+int64(d), false)
	before := w.sentence.Swap(state) // not 0 if it has come back since that was last looked at
	if !g.move(i, 0, state, now) {
		w.sentence.Store(before)
		return 0
	}
	w.last = d
	w.forget()
	return d
}

// accusation is a server that may be ejected.
type accusation struct {
	Judgement
	severity float64 // how many times what is needed
}

// accused returns the servers that are out of line, the worst first.
func (e *ejector) accused(g *Group) []accusation {
	var rates, latencies []float64 // of those that can be judged, sorted
	rate, latency := make([]float64, len(e.watched)), make([]float64, len(e.watched))
	total := make([]tally, len(e.watched))
	for i, w := range e.watched {
		rate[i], latency[i] = -1, -1
		if g.servers[i].rest.Load() != 0 {
			continue
		}
		total[i] = w.total()
		if total[i].answers >= int64(e.MinRequests) {
			rate[i] = 100 * float64(total[i].errors) / float64(total[i].answers)
			rates = append(rates, rate[i])
		}
		if e.LatencyFactor > 0 {
			if latency[i] = w.median(*e.part, e.MinRequests); latency[i] >= 0 {
				latencies = append(latencies, latency[i])
			}
		}
	}
	slices.Sort(rates)
	slices.Sort(latencies)
	var list []accusation
	for i := range e.watched {
		s := &g.servers[i]
		if s.tier < 0 || s.status&IgnoreErrors != 0 {
			continue
		}
		a := accusation{Judgement: Judgement{Server: Index(i), Out: true}}
		if e.ErrorRate > 0 && rate[i] >= float64(e.ErrorRate) && medianWithout(rates, rate[i]) < float64(e.ErrorRate) {
			a.severity = rate[i] / float64(e.ErrorRate)
			a.Reason = fmt.Sprintf("%d of %d requests have failed in %v", total[i].errors, total[i].answers, e.Window)
		} else if others := medianWithout(latencies, latency[i]); latency[i] >= float64(e.MinLatency) && others >= 0 && latency[i] >= others*float64(e.LatencyFactor) {
			// When all become slow, some are seen to be before the others: it takes two judgements.
			if !e.watched[i].slow {
				e.watched[i].slow = true
				continue
			}
			a.severity = latency[i] / others / float64(e.LatencyFactor)
			a.Reason = fmt.Sprintf("it takes %v to answer, the others %v", rounded(latency[i]), rounded(others))
		}
		if a.severity > 0 {
			list = append(list, a)
		} else {
			e.watched[i].slow = false
		}
	}
	slices.SortStableFunc(list, func(a, b accusation) int {
		switch {
		case a.severity > b.severity:
			return -1
		case a.severity < b.severity:
			return 1
		}
		return 0
	})
	return list
}

// rounded is a latency with as many digits as it is known to.
func rounded(ns float64) time.Duration {
	d := time.Duration(ns)
	for unit := time.Second; unit >= time.Microsecond; unit /= 10 {
		if d >= 10*unit {
			return d.Round(unit)
		}
	}
	return d
}

// medianWithout is the median of sorted numbers, of which one is left out; -1 if there is no other.
func medianWithout(sorted []float64, one float64) float64 {
	n := len(sorted) - 1
	if n < 1 {
		return -1
	}
	out, _ := slices.BinarySearch(sorted, one)
	at := func(i int) float64 {
		if i >= out {
			i++
		}
		return sorted[i]
	}
	return (at((n-1)/2) + at(n/2)) / 2
}

// advance has a part of the window begin that holds what came since the last one began.
func (w *watched) advance(part int) {
	p := &w.parts[part]
	answers, errors := w.answers.Load(), w.errors.Load()
	p.answers, p.errors = answers-w.seen.answers, errors-w.seen.errors
	w.seen.answers, w.seen.errors = answers, errors
	for b := range p.latency {
		n := w.latency[b].Load()
		p.latency[b] = n - w.seen.latency[b] // modulo 2^32
		w.seen.latency[b] = n
	}
}

// forget empties the window.
func (w *watched) forget() {
	w.slow = false
	for i := range w.parts {
		p := &w.parts[i]
		p.answers, p.errors = 0, 0
		clear(p.latency)
	}
}

// total is the answers of the window.
func (w *watched) total() tally {
	var t tally
	for i := range w.parts {
		t.answers += w.parts[i].answers
		t.errors += w.parts[i].errors
	}
	return t
}

// median is the median latency of the latest answers, in nanoseconds: of so many parts of the window as have least of
// them, so that who becomes slow is seen to be before all of the window has passed. It is -1 if there are fewer.
func (w *watched) median(part, least int) float64 {
	var counts [latencyBuckets]int
	n := 0
	for age := 0; n < least; age++ {
		if age == windowParts {
			return -1
		}
		for b, c := range w.parts[(part-age+windowParts)%windowParts].latency {
			counts[b] += int(c)
			n += int(c)
		}
	}
	half := (n + 1) / 2
	for b, c := range counts {
		if half -= c; half <= 0 {
			return latencyOf(b)
		}
	}
	panic("balance: a median beyond all latencies")
}
