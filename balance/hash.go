package balance

import (
	"math"

	"github.com/cespare/xxhash/v2"
)

// rendezvous gives each key to the server with the highest score for it. A score depends on nothing but the key and
// the server's name. So the keys of a server that is gone go to all others, each where it would have been without
// that server; no other key moves; and all of them go back when the server does.
type rendezvous struct {
	ids       []uint64
	perWeight []float64 // 1/weight; nil: all weights are equal
}

func newRendezvous(_ *Group, servers []Server) algorithm { return makeRendezvous(servers) }

func makeRendezvous(servers []Server) *rendezvous {
	r := &rendezvous{ids: make([]uint64, len(servers)), perWeight: make([]float64, len(servers))}
	equal := true
	for i, s := range servers {
		r.ids[i] = xxhash.Sum64String(s.Name)
		r.perWeight[i] = 1 / float64(s.Weight)
		equal = equal && s.Weight == servers[0].Weight
	}
	if equal {
		r.perWeight = nil
	}
	return r
}

func (r *rendezvous) pick(g *Group, l look) (Index, bool) {
	if l.key == NoKey {
		l.key = g.dice.roll()
	}
	return r.choose(g, &l)
}

func (r *rendezvous) choose(g *Group, l *look) (Index, bool) {
	for {
		i := Index(-1)
		if g.factor > 0 {
			i = r.best(g, l, true)
		}
		if i < 0 {
			i = r.best(g, l, false)
		}
		if i < 0 {
			return 0, false
		}
		if g.takeKeyed(i, l.now) {
			return i, true
		}
	}
}

// best returns the server with the highest score among those that may be taken, and are not crowded if bounded is
// true; or -1.
func (r *rendezvous) best(g *Group, l *look, bounded bool) Index {
	best := Index(-1)
	if r.perWeight != nil {
		// Of exponentially distributed waits with rates in proportion to the weights, each is the shortest with
		// the probability of its weight, and it does not matter who else is waiting.
		shortest := math.Inf(1)
		for i := range g.servers {
			s := &g.servers[i]
			u, perWeight := unit(mix(l.key^r.ids[i])), r.perWeight[i]
			// -ln(u) is at least 1-u, which spares most of the logarithms.
			if (1-u)*perWeight >= shortest {
				continue
			}
			wait := -math.Log(u) * perWeight
			if wait < shortest && g.may(Index(i), l) && !(bounded && g.crowded(s)) {
				best, shortest = Index(i), wait
			}
		}
		return best
	}
	highest := uint64(0)
	for i := range g.servers {
		score := mix(l.key ^ r.ids[i])
		if (score > highest || best < 0) && g.may(Index(i), l) && !(bounded && g.crowded(&g.servers[i])) {
			best, highest = Index(i), score
		}
	}
	return best
}
