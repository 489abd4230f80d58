package balance

import "slices"

// units is the choice among servers that are several addresses: first one of them, by the group's algorithm, then one of
// its addresses, by the same. Each unit is a tier of the group; which of them is next is for a group of the units
// to say, which knows of weights, sets and statuses. Whether a unit can be used at all is known by its addresses only, so
// one that has none to take is passed over.
type units struct {
	group *Group  // of the units
	tiers []int   // of a unit, by its index there: its tier here, or -1 if none of its addresses gets anything
	of    []Index // of a server, by its index here: its unit there
}

// sharing is what a status says of the unit's share. The rest is said of sessions and of failures as well.
const sharing = Spare | Standby

// unit returns the name of the unit that a server is an address of.
func (s *Server) unit() string {
	if s.Of != "" {
		return s.Of
	}
	return s.Name
}

// makeUnits makes the units of servers, and their tiers.
func (g *Group) makeUnits(servers []Server, before *Group, joined []bool) error {
	u := &units{of: make([]Index, len(servers))}
	var list []Server
	g.selective = true
	for i, s := range servers {
		name := s.unit()
		k := slices.IndexFunc(list, func(one Server) bool { return one.Name == name })
		if k < 0 {
			k = len(list)
			one := s
			one.Name, one.Of = name, ""
			list = append(list, one)
			u.tiers = append(u.tiers, -1)
		}
		u.of[i] = Index(k)
		// What it says of sharing is said of the unit.
		g.servers[i].status &^= sharing
		g.servers[i].tier = -1
		if s.Status&out != 0 {
			continue
		}
		if u.tiers[k] < 0 {
			u.tiers[k] = len(g.tiers)
			g.tiers = append(g.tiers, tier{unit: name})
		}
		t := &g.tiers[u.tiers[k]]
		t.servers = append(t.servers, Index(i))
		g.servers[i].tier = int32(u.tiers[k])
		g.enabled++
	}
	for k := range g.tiers {
		g.tiers[k].tierTotals = before.totalsOf(&g.tiers[k])
	}
	for i := range g.servers {
		if joined[i] && g.servers[i].tier >= 0 {
			g.count(Index(i))
		}
	}
	o := g.options
	// Units neither rest nor are ejected, and so do not come back, nor are they full: their addresses are.
	o.DisableTime, o.MaxFails, o.SlowStart, o.ForceRecovery, o.Ejection, o.Limited, o.Addresses = 0, 0, 0, false, nil, false, false
	var err error
	if before != nil {
		u.group, err = before.units.group.Follow(list, 0)
	} else {
		u.group, err = New(list, o)
	}
	g.units = u
	return err
}

// pick finds an address of a unit.
func (u *units) pick(g *Group, l look) (Index, bool) {
	var tried Tried
	busy := int32(-1) // the tier of units that has one with addresses that are full
	for {
		k, ok := u.group.Pick(l.now, l.key, &tried)
		if !ok {
			return 0, false
		}
		rank := u.group.servers[k].tier
		if busy >= 0 && rank > busy {
			u.group.Done(k, OutcomeNeutral, l.now)
			return 0, false // worth waiting for
		}
		l.tier, l.spares = u.tiers[k], -1
		if i, ok := g.pickOf(l); ok {
			return i, true
		}
		u.group.Done(k, OutcomeNeutral, l.now)
		tried.Add(k)
		if g.limited && g.anyUsable(l.tier, &l) {
			busy = rank
		}
	}
}

// count counts a request on a unit that was not picked as one.
func (u *units) count(k Index) {
	s := &u.group.servers[k]
	s.add(1)
	if u.group.factor > 0 && s.tier >= 0 {
		u.group.tiers[s.tier].inFlight.Add(1)
	}
	if k := u.group.sessions; k != nil && k.charge != nil && s.tier >= 0 {
		k.charge(u.group, s)
	}
}

// pickOf picks from one tier. Part of a share is better than nothing.
func (g *Group) pickOf(l look) (Index, bool) {
	i, ok := g.algorithm.pick(g, l)
	if !ok && l.draw != 0 {
		l.draw = 0
		i, ok = g.algorithm.pick(g, l)
	}
	return i, ok
}
