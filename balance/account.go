package balance

import "sync/atomic"

// account picks the server that has spent least for its weight, of requests or of bytes, with those that requests in flight
// are expected to spend. Between equals the one with the fewest requests in flight for its weight, then the first listed.
type account struct {
	busy bool // what has been spent decides only between those with equally many requests in flight
}

// newByTraffic goes by bytes: see Traffic.
func newByTraffic(*Group, []Server) algorithm { return account{} }

// newByBusyness goes by requests in flight, whatever the weights; between equals by requests for the weight. It is
// Apache's rule.
func newByBusyness(*Group, []Server) algorithm { return account{busy: true} }

// Traffic says how many bytes a picked server has been sent and has sent for one request.
func (g *Group) Traffic(i Index, bytes int64) {
	if g.CountsTraffic() {
		s := &g.servers[i]
		s.spent.Add(bytes)
		s.changed()
		g.size.learn(bytes)
		if u := g.units; u != nil {
			u.group.Traffic(u.of[i], bytes)
		}
	}
}

// size is how many bytes a request is expected to spend: a moving average over the last hundred or so. Without it, all
// requests that come before one has ended would go to the same server, the one that has spent least.
type size struct{ average atomic.Int64 }

// learn counts a request that has ended. Of two at the same moment one may be left out.
func (e *size) learn(bytes int64) {
	const share = 64
	old := e.average.Load()
	if old == 0 {
		old = bytes
	}
	if now := old + (bytes-old)/share; now != e.average.Load() {
		e.average.Store(now)
	}
}

// settle takes back what one of a server's requests was expected to spend: its part of what all of them were, so that
// nothing of it is left when there are no more of them.
func (s *state) settle() {
	if expected := int64(s.expected.Load()); expected != 0 {
		part := expected / max(s.inFlight.Load(), 1)
		s.expected.Add(uint64(-part))
		s.spent.Add(-part)
	}
}

// CountsTraffic reports whether Traffic is of any use to the group.
func (g *Group) CountsTraffic() bool { return g.countsTraffic }

func (a account) pick(g *Group, l look) (Index, bool) {
	for {
		var i Index
		if b := g.blocksOf(l.tier); b != nil {
			i = g.bestOfBlocks(b, &l)
		} else {
			i = a.best(g, g.tiers[l.tier].servers, l.now, l.tried, &l)
		}
		if i < 0 {
			return 0, false
		}
		if g.take(i, l.now) {
			a.charge(g, &g.servers[i])
			return i, true
		}
	}
}

func (a account) pickPlain(g *Group, now int64, tried *Tried) (Index, bool) {
	for {
		i := a.best(g, g.tiers[0].servers, now, tried, nil)
		if i < 0 {
			return 0, false
		}
		if g.take(i, now) {
			a.charge(g, &g.servers[i])
			return i, true
		}
	}
}

// best returns the server that has spent least among those of a list that may be taken, or -1. l is nil in a group that is
// not selective.
func (a account) best(g *Group, list []Index, now int64, tried *Tried, l *look) Index {
	best := Index(-1)
	var bestBusy, bestWeight int64
	var bestSpent float64
	servers := g.servers
	for _, i := range list {
		s := &servers[i]
		busy, weight := s.inFlight.Load(), s.weight
		if a.busy && best >= 0 && busy > bestBusy {
			continue
		}
		// a/b < c/d is a*d < c*b, here in floating point: bytes of years times a weight overflow an integer.
		spent := float64(s.spent.Load())
		if a.busy {
			spent++ // with this request, so that the heaviest is the first of those that have had none
		}
		if best >= 0 && !(a.busy && busy < bestBusy) {
			mine, its := spent*float64(bestWeight), bestSpent*float64(weight)
			if mine > its || mine == its && (a.busy || busy*bestWeight >= bestBusy*weight) {
				continue
			}
		}
		if !resting(s.rest.Load(), now) && !tried.Has(i) && (l == nil || g.admits(s, i, l)) {
			best, bestBusy, bestWeight, bestSpent = i, busy, weight, spent
		}
	}
	return best
}

// rejoin has a server that comes back spend no less than the others have: else it would get everything until it
// has caught up with them.
func (account) rejoin(g *Group, i Index) {
	back := &g.servers[i]
	least := -1.0
	for k := range g.servers {
		s := &g.servers[k]
		if Index(k) == i || s.tier != back.tier || s.rest.Load() != 0 {
			continue
		}
		if spent := float64(s.spent.Load()) / float64(s.weight); least < 0 || spent < least {
			least = spent
		}
	}
	for want := int64(least * float64(back.weight)); ; {
		has := back.spent.Load()
		if has >= want {
			return
		}
		if back.spent.CompareAndSwap(has, want) {
			back.changed()
			return
		}
	}
}
