package balance

import (
	"maps"
	"slices"
	"strings"
	"sync/atomic"
)

// Status says what share of the requests a server takes, but for its weight. They are the flags of Apache's
// balancer members.
type Status uint8

const (
	// Disabled: the server gets nothing.
	Disabled Status = 1 << iota
	// Stopped: the server gets nothing.
	Stopped
	// Draining: the server gets nothing new.
	Draining
	// Spare: the server stands in for one of its set that cannot be picked: as many do as are missing.
	Spare
	// Standby: the server is picked when no other of its set can be.
	Standby
	// IgnoreErrors: the server never rests.
	IgnoreErrors
)

// out are those that get nothing of what Pick has to give.
const out = Disabled | Stopped | Draining

// Status returns a server's status.
func (g *Group) Status(i Index) Status { return g.servers[i].status }

var statusNames = []string{"disabled", "stopped", "drain", "spare", "standby", "ignore-errors"}

// String returns the flags in words, separated by spaces.
func (s Status) String() string {
	var words []string
	for i, name := range statusNames {
		if s&(1<<i) != 0 {
			words = append(words, name)
		}
	}
	return strings.Join(words, " ")
}

// tier is what a Pick chooses from at a time: the servers of a set with their spares, or the set's standbys. Tiers
// are tried in order until one has a server that may be picked. A group without sets, standbys and the like is
// one tier.
type tier struct {
	// Immutable.
	set     int
	standby bool
	unit    string  // the unit that the tier is the addresses of: see units; else empty
	servers []Index // that may be picked, in the order listed
	regular []Index // those of the set that spares stand in for, whether they may be picked or not
	spares  []Index

	*tierTotals
}

// tierTotals are what is counted over the servers of a tier, and of those that take its place in the groups that
// follow. Only groups with a hash balance factor count their requests here.
type tierTotals struct {
	_        [64]byte
	inFlight atomic.Int64
	upWeight atomic.Int64 // sum of the weights of the servers that are up
	_        [48]byte
}

// makeTiers sorts servers into tiers. Those that joined are counted; the others have been, in the group before.
func (g *Group) makeTiers(servers []Server, before *Group, joined []bool) {
	g.selective = g.slowStart > 0 || g.force || g.limited
	sets := map[int]bool{}
	for _, s := range servers {
		g.selective = g.selective || s.Set != servers[0].Set || s.Status&^IgnoreErrors != 0
		sets[s.Set] = true
	}
	for _, set := range slices.Sorted(maps.Keys(sets)) {
		inUse, standbys := tier{set: set}, tier{set: set, standby: true}
		for i, s := range servers {
			i := Index(i)
			switch {
			case s.Set != set:
			case s.Status&Spare != 0:
				// A spare that is a standby too is a spare: Apache asks in this order.
				if s.Status&out == 0 {
					inUse.spares = append(inUse.spares, i)
					inUse.servers = append(inUse.servers, i)
				}
			case s.Status&Standby != 0:
				if s.Status&out == 0 {
					standbys.servers = append(standbys.servers, i)
				}
			default:
				inUse.regular = append(inUse.regular, i)
				if s.Status&out == 0 {
					inUse.servers = append(inUse.servers, i)
				}
			}
		}
		g.addTier(&inUse, before)
		g.addTier(&standbys, before)
	}
	// The tiers are where they stay: now their servers can be counted.
	for i := range g.servers {
		g.servers[i].tier = -1
	}
	for t := range g.tiers {
		for _, i := range g.tiers[t].servers {
			g.servers[i].tier = int32(t)
			if joined[i] {
				g.count(i)
			}
			g.enabled++
		}
	}
}

func (g *Group) addTier(t *tier, before *Group) {
	if len(t.servers) > 0 {
		t.tierTotals = before.totalsOf(t)
		g.tiers = append(g.tiers, *t)
	}
}

// pickSelective is Pick where more than their rest decides which servers may be picked.
func (g *Group) pickSelective(l look) (Index, bool) {
	i, ok := g.pickTier(l)
	if !ok && g.force && g.wake() {
		return g.pickTier(l)
	}
	return i, ok
}

// pickTier picks from the first tier that has a server to pick.
func (g *Group) pickTier(l look) (Index, bool) {
	var draw uint64
	if l.now < g.rampEnd.Load() {
		// By its key, where there is one, so that a key that has moved back to its server stays there.
		if draw = l.key; draw == NoKey {
			draw = g.dice.roll()
		}
		draw |= 1 // 0 means that all ramps are over
	}
	if g.units != nil {
		l.draw = draw
		return g.units.pick(g, l)
	}
	for t := range g.tiers {
		l.tier, l.spares, l.draw = t, g.standIns(t, &l), draw
		if i, ok := g.algorithm.pick(g, l); ok {
			return i, true
		}
		if draw != 0 {
			// Part of a share is better than another tier.
			l.draw = 0
			if i, ok := g.algorithm.pick(g, l); ok {
				return i, true
			}
		}
		if g.limited && g.anyUsable(t, &l) {
			return 0, false // full, which is worth waiting for
		}
	}
	return 0, false
}

// standIns returns the last spare of a tier that stands in for a missing server, or -1.
func (g *Group) standIns(t int, l *look) Index {
	last := Index(-1)
	spares := g.tiers[t].spares
	if len(spares) == 0 {
		return last
	}
	missing := 0
	for _, i := range g.tiers[t].regular {
		if !g.usable(i, l) {
			missing++
		}
	}
	for _, i := range spares {
		if missing == 0 {
			break
		}
		if g.usable(i, l) {
			last = i
			missing--
		}
	}
	return last
}

func (g *Group) usable(i Index, l *look) bool {
	s := &g.servers[i]
	return s.status&out == 0 && !resting(s.rest.Load(), l.now) && !l.tried.Has(i)
}

// admits reports whether a server is one of those to choose from at the moment, whether it rests or not.
func (g *Group) admits(s *server, i Index, l *look) bool {
	return int(s.tier) == l.tier && (s.status&Spare == 0 || i <= l.spares) && (l.draw == 0 || g.ramped(s, i, l)) &&
		!(g.limited && s.full.Load())
}

// ramped reports whether a server in its slow start takes this request: with a probability that grows from 0 to 1
// in that time, for whatever algorithm. A server whose rest has not ended with a connection has no slow start yet.
func (g *Group) ramped(s *server, i Index, l *look) bool {
	since := s.since.Load()
	age := l.now - since
	if since == 0 || age >= g.slowStart || s.rest.Load() != 0 {
		return true
	}
	return unit(mix(l.draw^mix(uint64(i)))) < float64(age)/float64(g.slowStart)
}

// wake ends the rest of all servers, if all of them rest that are in service.
func (g *Group) wake() bool {
	if outs := g.outs.Load(); outs == g.enabled || g.rests.Load() < g.enabled {
		return false
	}
	for t := range g.tiers {
		for _, i := range g.tiers[t].servers {
			g.wakeUp(i)
		}
	}
	return true
}

// crowded reports whether a server has as many requests as the hash balance factor allows: its share of all, by
// weight among those that are up, times the factor, rounded up.
func (g *Group) crowded(s *server) bool {
	t := &g.tiers[s.tier]
	return s.inFlight.Load()*t.upWeight.Load()*100 >= g.factor*(t.inFlight.Load()+1)*s.weight
}

// takeKeyed is take for the algorithms that a hash balance factor is for.
func (g *Group) takeKeyed(i Index, now int64) bool {
	if !g.take(i, now) {
		return false
	}
	if g.factor > 0 {
		g.tiers[g.servers[i].tier].inFlight.Add(1)
	}
	return true
}
