package balance

import "slices"

// Follow returns the group that takes g's place when the list of servers has changed. A server of both, with the same
// name, weight, set and status, has one state: requests that were picked from either group count in both, and so do
// rests, failures and what else has been learnt. One whose weight, set or status has changed takes a copy of what was
// learnt and begins with no requests. A server that is new begins as one that comes back from a rest.
//
// g goes on to be told of what was picked from it. Leave takes those of its servers out of service that are not in
// the group that follows. Follow, Leave and Judge are not called by two goroutines at once. Names are unique in both lists.
func (g *Group) Follow(servers []Server, now int64) (*Group, error) {
	next, err := makeGroup(servers, g.options, g)
	if err != nil {
		return nil, err
	}
	before := g.byName()
	for i, s := range next.servers {
		if s.tier >= 0 && before[next.names[i]] == nil {
			next.rise(Index(i), now)
		}
	}
	return next, nil
}

// Leave takes the servers out of service for good that the group that follows does not have. A request that has picked
// one of them goes on.
func (g *Group) Leave(next *Group, now int64) {
	stay := next.states()
	for i, s := range g.servers {
		if stay[s.state] {
			continue
		}
		g.SetUp(Index(i), false, now)
		if s.tier >= 0 {
			// It is not one of those any more that rest.
			g.rests.Add(-1)
			g.outs.Add(-1)
		}
	}
	if g.units != nil {
		g.units.group.Leave(next.units.group, now)
	}
}

// Find returns the server with a name.
func (g *Group) Find(name string) (Index, bool) {
	i := slices.Index(g.names, name)
	return Index(i), i >= 0
}

// Shares reports whether a server of g and one of another group are the same, with one state.
func (g *Group) Shares(i Index, other *Group, k Index) bool {
	return g.servers[i].state == other.servers[k].state
}

// Carry makes of a set of servers of one group the set of the same servers in another.
func (t *Tried) Carry(from, to *Group) {
	if t.Len() == 0 {
		return
	}
	var carried Tried
	for i, name := range from.names {
		if !t.Has(Index(i)) {
			continue
		}
		if k, ok := to.Find(name); ok {
			carried.Add(k)
		}
	}
	*t = carried
}

// states returns the states of the group's servers.
func (g *Group) states() map[*state]bool {
	set := make(map[*state]bool, len(g.servers))
	for _, s := range g.servers {
		set[s.state] = true
	}
	return set
}

func (g *Group) byName() map[string]*server {
	known := make(map[string]*server, len(g.servers))
	for i := range g.servers {
		known[g.names[i]] = &g.servers[i]
	}
	return known
}

// adopt gives each server its state, and reports which of them have one that no group has counted.
func (g *Group) adopt(servers []Server, before *Group) (joined []bool) {
	var known map[string]*server
	if before != nil {
		g.totals, g.dice = before.totals, before.dice
		known = before.byName()
	}
	joined = make([]bool, len(servers))
	fresh := make([]state, len(servers))
	for i, s := range servers {
		k := known[s.Name]
		if k != nil && before.keeps(k, &s) {
			g.servers[i].state = k.state
			continue
		}
		g.servers[i].state, joined[i] = &fresh[i], true
		if k != nil {
			fresh[i].learn(k.state)
			if before.countsTraffic {
				fresh[i].settle() // the requests in flight are settled where they were counted
			}
		}
	}
	if g.eject != nil {
		for _, s := range g.servers {
			g.eject.watch(s.state)
		}
	}
	return joined
}

// keeps reports whether a server of g is the same in another list: it counts with the same weight in the same tier.
func (g *Group) keeps(had *server, s *Server) bool {
	switch {
	case had.weight != int64(s.Weight):
		return false
	case g.units != nil:
		return had.status == s.Status&^sharing && (had.tier < 0 || g.tiers[had.tier].unit == s.unit())
	}
	return had.status == s.Status && (had.tier < 0 || g.tiers[had.tier].set == s.Set)
}

// learn copies what is known of a server, but for its requests. Its answers go on being counted where they were.
func (s *state) learn(from *state) {
	s.rest.Store(from.rest.Load())
	s.fails.Store(from.fails.Load())
	s.full.Store(from.full.Load())
	s.since.Store(from.since.Load())
	s.spent.Store(from.spent.Load())
	s.expected.Store(from.expected.Load())
	s.watched = from.watched
}

// count counts a server of a tier that has joined.
func (g *Group) count(i Index) {
	s := &g.servers[i]
	switch s.rest.Load() {
	case 0:
		g.tiers[s.tier].upWeight.Add(s.weight)
	case outOfService:
		g.outs.Add(1)
		g.rests.Add(1)
	default:
		g.rests.Add(1)
	}
}

// totalsOf returns the totals of the tier that t takes the place of, or new ones. g may be nil.
func (g *Group) totalsOf(t *tier) *tierTotals {
	if g != nil {
		for i := range g.tiers {
			if had := &g.tiers[i]; had.set == t.set && had.standby == t.standby && had.unit == t.unit {
				return had.tierTotals
			}
		}
	}
	return &tierTotals{}
}

// nobody is the algorithm of a group without servers.
type nobody struct{}

func (nobody) pick(*Group, look) (Index, bool) { return 0, false }
