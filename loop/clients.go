package loop

import (
	"hash/maphash"
	"math/bits"
	"net/netip"
	"sync/atomic"
)

// clientTable counts the connections of each client address, over all loops. There is no lock: a client's count is the
// sum over the slots in its window that carry its tag. Usually that is one; two loops that see the first connections of
// a client at the same moment may make it two, which changes nothing.
type clientTable struct {
	seed  maphash.Seed
	limit uint64
	mask  uint64
	slots []clientSlot
}

// clientSlot is a tag of 40 bits and a count of 24. With a count of 0 it is free.
type clientSlot struct{ atomic.Uint64 }

const (
	countBits = 24
	countMask = 1<<countBits - 1
	// clientWindow is how many slots a client may be counted in. The table has four slots for each connection that
	// there may be, so that a window is never full in practice; a client that finds it full is let in uncounted.
	clientWindow = 16
	// MaxConnectionsPerClient is the largest limit on the connections of one client.
	MaxConnectionsPerClient = countMask / 2
)

// newClientTable makes a table for a number of connections at a time, of which a client may have limit.
func newClientTable(limit, connections int) *clientTable {
	slots := 1 << bits.Len(uint(4*connections+clientWindow))
	return &clientTable{seed: maphash.MakeSeed(), limit: uint64(limit), mask: uint64(slots - 1), slots: make([]clientSlot, slots)}
}

// take counts a connection of a client. It returns where, so that drop can take it back, or ok false when the
// client has as many as it may have. Connections that come at the same moment may both be refused when one of them would
// have been allowed, but never both allowed.
func (t *clientTable) take(a netip.Addr) (slot *clientSlot, ok bool) {
	h := hashAddr(t.seed, a)
	tag := h >> countBits << countBits
	// The bits below the tag choose the slot, with some of its own where the table has more slots than they count.
	first := (h ^ h>>29) & t.mask
	slot = t.add(first, tag)
	if slot == nil {
		return nil, true
	}
	sum := uint64(0)
	for i := range uint64(clientWindow) {
		if v := t.slots[(first+i)&t.mask].Load(); v&^countMask == tag {
			sum += v & countMask
		}
	}
	if sum > t.limit {
		slot.drop()
		return nil, false
	}
	return slot, true
}

// add counts one more in the slot that has the tag, else in a free one. It returns nil when there is neither.
func (t *clientTable) add(first, tag uint64) *clientSlot {
	for {
		var found *clientSlot
		var was uint64
		for i := range uint64(clientWindow) {
			s := &t.slots[(first+i)&t.mask]
			v := s.Load()
			if v&countMask != 0 && v&^countMask == tag {
				found, was = s, v
				break
			}
			if v&countMask == 0 && found == nil {
				found, was = s, v
			}
		}
		if found == nil {
			return nil
		}
		count := was & countMask
		if found.CompareAndSwap(was, tag|(count+1)) {
			return found
		}
	}
}

// drop takes a connection back.
func (s *clientSlot) drop() {
	if v := s.Add(^uint64(0)); v&countMask == countMask {
		panicf("loop: a client's connections are %#x after one has ended", v)
	}
}
