package balance

// fair picks the server that has the fewest requests for its weight. Between equals the first listed wins,
// so that a group that one server can handle leaves the others idle, with warm caches where there is work.
type fair struct{}

func newFair(*Group, []Server) algorithm { return fair{} }

func (fair) pick(g *Group, l look) (Index, bool) {
	for {
		i := leastBusyOf(g, &l)
		if i < 0 {
			return 0, false
		}
		if g.take(i, l.now) {
			return i, true
		}
	}
}

func (fair) pickPlain(g *Group, now int64, tried *Tried) (Index, bool) {
	// The server found may be taken by somebody else as a probe before we take it. It then rests, so that the
	// next look passes over it: there are no more rounds than servers whose rest is over.
	for {
		i := leastBusy(g, now, tried)
		if i < 0 {
			return 0, false
		}
		if g.take(i, now) {
			return i, true
		}
	}
}

// leastBusy returns the server with the smallest inFlight/weight among those that may be taken, or -1, in a group
// that is not selective. It is leastBusyOf without what slows it down: with a thousand servers the difference is
// a third.
func leastBusy(g *Group, now int64, tried *Tried) Index {
	best := Index(-1)
	var bestLoad, bestWeight int64
	for i := range g.servers {
		s := &g.servers[i]
		load := s.inFlight.Load()
		// a/b < c/d with positive denominators is a*d < c*b. Counts are bounded by connections and weights by
		// MaxWeight, so that the products fit.
		if best >= 0 && load*bestWeight >= bestLoad*s.weight {
			continue
		}
		if resting(s.rest.Load(), now) || tried.Has(Index(i)) {
			continue
		}
		best, bestLoad, bestWeight = Index(i), load, s.weight
		if load == 0 {
			break // nobody after it can be less busy
		}
	}
	return best
}

// leastBusyOf is leastBusy for any group.
func leastBusyOf(g *Group, l *look) Index {
	best := Index(-1)
	for _, i := range g.tiers[l.tier].servers {
		if (best < 0 || g.lessBusy(i, best)) && g.may(i, l) {
			best = i
		}
	}
	return best
}
