package balance

// random draws two servers and picks the one with fewer requests for its weight: nearly as even as looking at
// all of them, at a cost that does not grow with their number, and loops that pick at the same moment do not all
// pick the same.
type random struct {
	lotteries []lottery // one for each tier
}

func newRandom(g *Group, _ []Server) algorithm { return &random{lotteries(g)} }

func lotteries(g *Group) []lottery {
	list := make([]lottery, len(g.tiers))
	for t := range g.tiers {
		list[t] = newLottery(g, g.tiers[t].servers)
	}
	return list
}

func (r *random) pick(g *Group, l look) (Index, bool) {
	for {
		a, b := r.lotteries[l.tier].two(g, &l)
		if a < 0 {
			return 0, false
		}
		if b >= 0 && g.lessBusy(b, a) {
			a = b
		}
		if g.take(a, l.now) {
			return a, true
		}
		// Somebody else probes it: now it rests, and is not drawn again.
	}
}

// lessBusy reports whether server a has fewer requests for its weight than b.
func (g *Group) lessBusy(a, b Index) bool {
	sa, sb := &g.servers[a], &g.servers[b]
	return sa.inFlight.Load()*sb.weight < sb.inFlight.Load()*sa.weight
}

// maxDraws bounds the draws for one server. With half of the servers resting, one Pick in 256 looks at all of them.
const maxDraws = 8

// two draws two different servers that may be taken; -1 stands for one that there is not.
func (lots *lottery) two(g *Group, l *look) (a, b Index) {
	a = lots.one(g, l, -1)
	if a < 0 || len(lots.servers) == 1 {
		return a, -1
	}
	return a, lots.one(g, l, a)
}

// one draws a server that may be taken and is not the one given.
func (lots *lottery) one(g *Group, l *look, not Index) Index {
	for range maxDraws {
		if i := lots.at(g.dice.roll()); i != not && g.may(i, l) {
			return i
		}
	}
	// Each server takes the place of the one found before with the probability that its weight has among those
	// looked at, so that in the end all have their shares.
	found, sum := Index(-1), int64(0)
	for _, i := range lots.servers {
		if i == not || !g.may(i, l) {
			continue
		}
		w := g.servers[i].weight
		if sum += w; below(g.dice.roll(), int(sum)) < int(w) {
			found = i
		}
	}
	return found
}
