package balance

import (
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
)

// A Pick that compares the counts of all servers reads a cache line of each: with a thousand of them it takes
// microseconds, and empties the first-level cache for whatever comes after it. So the servers of a large tier are kept in
// blocks, each of which knows its best server until something changes in it. A Pick then compares the best of the
// blocks, and looks at all servers of those blocks only that have changed since the last one; a request changes one
// block, when it comes and when it goes.
//
// What is counted is in server.state alone, so that it is true over loops and over the groups that follow one
// another. A block has no counts of its own that could differ; it has the number of changes of its servers, and with
// what was found the number that it was found at. Whoever changes a server counts that in its block afterwards; whoever
// looks reads the number first. So what was found while a server changed is of a number that has passed, whichever loop
// writes it and however late, and nobody goes by it.
//
// What depends on the time, or on the request, cannot be found beforehand. Servers that rest for a time are looked at for
// each Pick, like the best of a block. And where a request may not have the best of a block, for what it
// has tried already or for a slow start, the whole block is looked at for it.

const (
	// manyServers is how many servers of a tier are compared one by one. Up to about here that takes no longer.
	manyServers = 64
	// blockServers is how many servers a block has. The time of a Pick grows with the number of blocks and with that
	// of the servers of one, of which this is the least sum for a thousand servers; and finding.servers has 32 bits.
	blockServers = 32
)

// blocks are the servers of a group's tiers: of each large tier by blocks, in the order listed, and nil for the others.
type blocks [][]block

// block is some servers of a tier. Its words are written for every request to one of its servers, and have a cache line
// to themselves.
type block struct {
	servers []Index // immutable
	changes atomic.Uint64
	found   atomic.Uint64 // a finding
	_       [24]byte
}

// finding is which servers of a block a Pick has to look at, a bit each, in the low half; and at what number of changes,
// modulo 2^32, that was found in the high half.
type finding uint64

func (f finding) of(changes uint64) bool { return uint32(f>>32) == uint32(changes) }

// changed tells the block of a server, if it has one, that something has changed that servers are compared by.
func (s *state) changed() {
	if b := s.block.Load(); b != nil {
		b.changes.Add(1)
	}
}

// add changes the number of a server's requests, and returns it.
func (s *state) add(requests int64) int64 {
	n := s.inFlight.Add(requests)
	s.changed()
	return n
}

// makeBlocks makes the blocks of a group that follows another one, which is nil for the first. From now on changes are told to
// them: those who still pick from the group before compare all servers.
func (g *Group) makeBlocks(before *Group) {
	if before != nil {
		before.blocks.Store(nil)
	}
	made := make(blocks, len(g.tiers))
	for t := range g.tiers {
		servers := g.tiers[t].servers
		if !g.compares() || len(servers) <= manyServers {
			for _, i := range servers {
				g.servers[i].block.Store(nil)
			}
			continue
		}
		made[t] = make([]block, (len(servers)+blockServers-1)/blockServers)
		n := 0
		for part := range slices.Chunk(servers, blockServers) {
			b := &made[t][n]
			n++
			b.servers = part
			b.changes.Store(1) // nothing has been found at this number
			for _, i := range part {
				g.servers[i].block.Store(b)
			}
		}
		g.plain = nil // it does not know of blocks
		g.blocks.Store(&made)
	}
}

// compares reports whether the group's algorithm compares all servers.
func (g *Group) compares() bool {
	switch g.algorithm.(type) {
	case fair, account:
		return true
	}
	return false
}

// blocksOf returns the blocks of a tier, nil if it has none.
func (g *Group) blocksOf(tier int) []block {
	if all := g.blocks.Load(); all != nil {
		return (*all)[tier]
	}
	return nil
}

// bestOf returns the server that the algorithm prefers among those of a list that may be taken, or -1. It is no method of the
// algorithm since lists on the stack would have to be allocated for one that is not known.
func (g *Group) bestOf(list []Index, l *look) Index {
	if a, ok := g.algorithm.(account); ok {
		return a.best(g, list, l.now, l.tried, l)
	}
	return leastBusy(g, list, l)
}

// bestOfBlocks returns the server of a tier that the algorithm prefers among those that may be taken, or -1.
func (g *Group) bestOfBlocks(all []block, l *look) Index {
	_, idleIsBest := g.algorithm.(fair)
	picky := l.draw != 0 || len(g.tiers[l.tier].spares) > 0 || l.tried.Len() > 0
	var candidates [2 * blockServers]Index
	n := 0
gather:
	for k := range all {
		b := &all[k]
		if n > len(candidates)-blockServers {
			// The best so far stays first, as it is listed before those to come.
			best := g.bestOf(candidates[:n], l)
			if n = 0; best >= 0 {
				candidates[0], n = best, 1
			}
		}
		first := n
		for found := g.find(b, l.tier); found != 0; found &= found - 1 {
			i := b.servers[bits.TrailingZeros32(found)]
			s := &g.servers[i]
			if resting(s.rest.Load(), l.now) {
				continue
			}
			if picky && !g.may(i, l) {
				n = first + copy(candidates[first:], b.servers)
				continue gather
			}
			candidates[n] = i
			n++
			if idleIsBest && s.inFlight.Load() == 0 && g.may(i, l) {
				break gather // nobody after it can be less busy
			}
		}
	}
	if best := g.bestOf(candidates[:n], l); best >= 0 {
		return best
	}
	// Whoever was the best of its block may have begun to rest a moment ago, which the block has not been told yet: nobody
	// hears that there is no server before all have been looked at.
	return g.bestOf(g.tiers[l.tier].servers, l)
}

// find returns which servers of a block can be the best of it, a bit each: the best of those that are up, and those that
// rest for a time.
func (g *Group) find(b *block, tier int) uint32 {
	changes := b.changes.Load()
	if f := finding(b.found.Load()); f.of(changes) {
		return uint32(f)
	}
	var found uint32
	for k, i := range b.servers {
		if rest := g.servers[i].rest.Load(); rest != 0 && rest != outOfService {
			found |= 1 << k
		}
	}
	// At a time before all times nobody's rest is over; all spares of a tier may stand in for somebody.
	if best := g.bestOf(b.servers, &look{now: -1, tier: tier, spares: math.MaxInt}); best >= 0 {
		k, _ := slices.BinarySearch(b.servers, best)
		found |= 1 << k
	}
	b.found.Store(changes<<32 | uint64(found))
	return found
}
