package loop

import (
	"hash/maphash"
	"math/bits"
	"net/netip"
	"sync/atomic"
	"time"
)

// Rate limits how often requests may come, for each value of a key: the generic cell rate algorithm (ITU-T I.371),
// which is a leaky bucket that remembers one number, the time at which the bucket will be empty.
type Rate struct {
	// Interval is what one request costs: at 100 a second, 10 ms.
	Interval time.Duration
	// Burst is how many requests may come at once after a pause.
	Burst int
	// Key says what is counted.
	Key RateKey
	// Field is the name of the request field that is the key, with RateByField.
	Field []byte
	// ID tells the limits of a plan apart: the same client has a bucket of its own in each.
	ID int
}

// RateKey is what requests are counted by.
type RateKey uint8

const (
	// RateByClient counts the requests of each client address, of IPv6 those of each /64.
	RateByClient RateKey = iota
	// RateByHost counts the requests for each host.
	RateByHost
	// RateByField counts the requests with each value of a field. A request without it, or with several, counts
	// for its client.
	RateByField
)

const (
	// rateSlots is how many keys the process remembers over all limits, 4 MiB of them. A key is remembered only
	// while its bucket is not empty, so this is the number of clients that have just sent something.
	rateSlots = 1 << 18
	// rateWindow is how many slots a key may be in: two cache lines. With the table half full, one in a thousand
	// keys finds all of them taken, and takes the place of the emptiest bucket.
	rateWindow = 8
)

// rateTable holds the buckets of all limits, for all loops. There is no lock: a bucket that has become empty is the
// same as none at all, so a slot is taken over by writing its key, and the time in it is right for whoever comes. What a
// race of two loops can do is to charge one request to the wrong bucket, or to none.
type rateTable struct {
	seed  maphash.Seed
	slots []rateSlot
}

// rateSlot is one bucket.
type rateSlot struct {
	key   atomic.Uint64 // 0: never used
	empty atomic.Int64  // when the bucket will be empty, as Time
}

func newRateTable() *rateTable {
	// The seed keeps a client from choosing keys that meet others' in a slot.
	return &rateTable{seed: maphash.MakeSeed(), slots: make([]rateSlot, rateSlots)}
}

// take charges a request to the bucket of key. It returns 0 if there is room for it, else how long it takes until there
// is: a request that is refused costs nothing.
func (t *rateTable) take(r *Rate, key uint64, now Time) time.Duration {
	slot := t.find(r.salt(key), now)
	depth := Time(r.Interval) * Time(r.Burst)
	for {
		was := slot.empty.Load()
		is := max(Time(was), now) + Time(r.Interval)
		if is-now > depth {
			return time.Duration(is - now - depth)
		}
		if slot.empty.CompareAndSwap(was, int64(is)) {
			return 0
		}
	}
}

// salt makes the key of a limit's bucket. It is not 0.
func (r *Rate) salt(key uint64) uint64 {
	hi, lo := bits.Mul64(key^uint64(r.ID+1)*0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	return max(hi^lo, 1)
}

// find returns the slot of key, which may have been another's until now.
func (t *rateTable) find(key uint64, now Time) *rateSlot {
	first := key % rateSlots &^ (rateWindow - 1)
	window := t.slots[first : first+rateWindow]
	free, emptiest := -1, 0
	for i := range window {
		switch s := &window[i]; {
		case s.key.Load() == key:
			return s
		case Time(s.empty.Load()) <= now:
			if free < 0 {
				free = i
			}
		case s.empty.Load() < window[emptiest].empty.Load():
			emptiest = i
		}
	}
	if free >= 0 {
		window[free].key.Store(key)
		return &window[free]
	}
	s := &window[emptiest]
	s.key.Store(key)
	s.empty.Store(0)
	return s
}

// ofBytes is the key of a host or of a field's value.
func (t *rateTable) ofBytes(b []byte) uint64 { return maphash.Bytes(t.seed, b) }

// ofAddr is the key of a client: its address, or the /64 that it is in. A client without an address is one of those
// of the unix sockets, which share a key.
func (t *rateTable) ofAddr(a netip.Addr) uint64 { return hashAddr(t.seed, a) }

// hashAddr hashes what counts as one client: an IPv4 address, or the /64 of an IPv6 address, which is the least that
// a client gets of them.
func hashAddr(seed maphash.Seed, a netip.Addr) uint64 {
	b := a.As16()
	n := len(b)
	if a.Is6() {
		n = 8
	}
	return maphash.Bytes(seed, b[:n])
}
