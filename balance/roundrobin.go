package balance

import "sync/atomic"

// maxOrder bounds the turns of a round: 64 servers have every combination of weights exactly, and a group
// with more takes no more than 256 KiB.
const maxOrder = 1 << 16

// roundRobin gives servers their turns in a fixed order, in which each occurs in proportion to its weight and
// as evenly spread as can be: weights 5, 1, 1 make a a b a c a a, not a a a a a b c.
//
// The order is written down once, so that the one thing the loops share is a cursor.
type roundRobin struct {
	rounds []round // one for each tier
}

// round is the order of the servers of a tier.
type round struct {
	order []int32

	_      [64]byte // the cursor changes with every request, order never
	cursor atomic.Uint64
	_      [56]byte
}

func newRoundRobin(g *Group, _ []Server) algorithm {
	r := &roundRobin{rounds: make([]round, len(g.tiers))}
	for t := range g.tiers {
		members := g.tiers[t].servers
		weights := make([]int, len(members))
		for k, i := range members {
			weights[k] = int(g.servers[i].weight)
		}
		order := smoothOrder(shares(weights))
		for turn, k := range order {
			order[turn] = int32(members[k])
		}
		r.rounds[t].order = order
	}
	return r
}

func (r *roundRobin) pick(g *Group, l look) (Index, bool) {
	return r.rounds[l.tier].pick(g, l.now, l.tried, &l)
}

func (r *roundRobin) pickPlain(g *Group, now int64, tried *Tried) (Index, bool) {
	d := &r.rounds[0]
	// The usual case: whoever's turn it is can be taken. It needs no second try, however many loops there are.
	turn := d.cursor.Add(1) - 1
	if i := Index(d.order[turn%uint64(len(d.order))]); !tried.Has(i) && g.take(i, now) {
		return i, true
	}
	return d.pick(g, now, tried, nil)
}

// pick gives the next turn that can be taken. l is nil in a group that is not selective.
func (d *round) pick(g *Group, now int64, tried *Tried, l *look) (Index, bool) {
	// The turns of servers that cannot be taken are used up, one and all, by whoever comes upon them. If each
	// Pick skipped them for itself, the server listed after a resting one would get that one's share on top.
	for {
		from := d.cursor.Load()
		skip, i := d.next(from%uint64(len(d.order)), g, now, tried, l)
		if i < 0 {
			return 0, false
		}
		if d.cursor.CompareAndSwap(from, from+skip+1) && !g.servers[i].pays() && g.take(i, now) {
			return i, true
		}
	}
}

// next finds the first turn at or after from of a server that may be taken, and how many turns are before it.
// It looks at each turn of a round once and returns -1 if there is none.
func (d *round) next(from uint64, g *Group, now int64, tried *Tried, l *look) (skip uint64, i Index) {
	n := uint64(len(d.order))
	for ; skip < n; skip++ {
		if from == n {
			from = 0
		}
		i := Index(d.order[from])
		s := &g.servers[i]
		if !resting(s.rest.Load(), now) && !tried.Has(i) && (l == nil || g.admits(s, i, l)) {
			return skip, i
		}
		from++
	}
	return 0, -1
}

// shares returns the number of turns that each server has in a round: its weight in lowest terms if a round
// is then no longer than maxOrder, else the weight scaled down to about that, at least 1.
func shares(weights []int) []int {
	out := make([]int, len(weights))
	sum := reduce(out, weights)
	if sum > maxOrder {
		for i, w := range out {
			out[i] = max(1, w*maxOrder/sum)
		}
		reduce(out, out)
	}
	return out
}

// reduce divides weights by their greatest common divisor and returns the sum of the quotients.
func reduce(out, weights []int) (sum int) {
	divisor := 0
	for _, w := range weights {
		for a := w; a != 0; {
			divisor, a = a, divisor%a
		}
	}
	for i, w := range weights {
		out[i] = w / divisor
		sum += out[i]
	}
	return sum
}

// smoothOrder returns a round in which server i has weights[i] turns, spread evenly: at each turn every server
// gains its weight, and the richest, the first listed between equals, pays the sum of all weights for the
// turn. It is the order that nginx computes turn by turn.
func smoothOrder(weights []int) []int32 {
	sum := 0
	for _, w := range weights {
		sum += w
	}
	order := make([]int32, 0, sum)
	if sum == len(weights) {
		// All weights are 1: as listed, without the quadratic work.
		for i := range weights {
			order = append(order, int32(i))
		}
		return order
	}
	credit := make([]int, len(weights))
	for range sum {
		richest := 0
		for i, w := range weights {
			credit[i] += w
			if credit[i] > credit[richest] {
				richest = i
			}
		}
		credit[richest] -= sum
		order = append(order, int32(richest))
	}
	return order
}
