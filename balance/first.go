package balance

// first picks the first listed server that may be picked: the others only stand in for it.
type first struct{}

func newFirst(*Group, []Server) algorithm { return first{} }

func (first) pick(g *Group, l look) (Index, bool) {
	for _, i := range g.tiers[l.tier].servers {
		if g.may(i, &l) && g.take(i, l.now) {
			return i, true
		}
	}
	return 0, false
}
