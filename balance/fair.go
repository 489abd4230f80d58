package balance

// fair picks the server that has the fewest requests for its weight. Between equals the first listed wins,
// so that a group that one server can handle leaves the others idle, with warm caches where there is work.
type fair struct{}

func newFair(*Group, []Server) algorithm { return fair{} }

func (fair) pick(g *Group, l look) (Index, bool) {
	for {
		var i Index
		if b := g.blocksOf(l.tier); b != nil {
			i = g.bestOfBlocks(b, &l)
		} else {
			i = leastBusy(g, g.tiers[l.tier].servers, &l)
		}
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
		i := leastBusyPlain(g, now, tried)
		if i < 0 {
			return 0, false
		}
		if g.take(i, now) {
			return i, true
		}
	}
}

// leastBusyPlain returns the server with the smallest inFlight/weight among those that may be taken, or -1, in a group
// that is not selective. It is leastBusy without what slows it down.
func leastBusyPlain(g *Group, now int64, tried *Tried) Index {
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

// leastBusy is leastBusyPlain for a list of servers of any group.
func leastBusy(g *Group, list []Index, l *look) Index {
	best := Index(-1)
	var bestLoad, bestWeight int64
	servers := g.servers
	for _, i := range list {
		s := &servers[i]
		load := s.inFlight.Load()
		if best >= 0 && load*bestWeight >= bestLoad*s.weight || !g.may(i, l) {
			continue
		}
		best, bestLoad, bestWeight = i, load, s.weight
		if load == 0 {
			break
		}
	}
	return best
}
