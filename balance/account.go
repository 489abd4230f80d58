package balance

// account picks the server that has spent least for its weight, of requests or of bytes. Between equals the one
// with the fewest requests in flight for its weight, then the first listed.
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
		g.servers[i].spent.Add(bytes)
		if u := g.units; u != nil {
			u.group.Traffic(u.of[i], bytes)
		}
	}
}

// CountsTraffic reports whether Traffic is of any use to the group.
func (g *Group) CountsTraffic() bool { return g.countsTraffic }

func (a account) pick(g *Group, l look) (Index, bool) {
	for {
		i := a.best(g, &l)
		if i < 0 {
			return 0, false
		}
		if g.take(i, l.now) {
			if a.busy {
				g.servers[i].spent.Add(1)
			}
			return i, true
		}
	}
}

func (a account) best(g *Group, l *look) Index {
	best := Index(-1)
	var bestBusy, bestWeight int64
	var bestSpent float64
	for i := range g.servers {
		s := &g.servers[i]
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
		if g.may(Index(i), l) {
			best, bestBusy, bestWeight, bestSpent = Index(i), busy, weight, spent
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
		if has >= want || back.spent.CompareAndSwap(has, want) {
			return
		}
	}
}
