package loop

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestABucketFillsAndEmpties(t *testing.T) {
	table := newRateTable()
	r := &Rate{Interval: 100 * time.Millisecond, Burst: 3}
	key := table.ofBytes([]byte("a"))
	now := Time(time.Hour)
	step := func(d time.Duration, want time.Duration) {
		t.Helper()
		now += Time(d)
		if got := table.take(r, key, now); got != want {
			t.Errorf("at %v: wait %v, want %v", time.Duration(now), got, want)
		}
	}
	step(0, 0)
	step(0, 0)
	step(0, 0)
	step(0, 100*time.Millisecond)
	step(0, 100*time.Millisecond) // being refused costs nothing
	step(40*time.Millisecond, 60*time.Millisecond)
	step(60*time.Millisecond, 0)
	step(0, 100*time.Millisecond)
	step(200*time.Millisecond, 0)
	step(0, 0)
	step(0, 100*time.Millisecond)
	step(time.Hour, 0) // no more than the burst is saved up
	step(0, 0)
	step(0, 0)
	step(0, 100*time.Millisecond)
}

func TestTheRateHoldsOverManyKeys(t *testing.T) {
	table := newRateTable()
	r := &Rate{Interval: time.Minute, Burst: 2}
	now, wrong := Time(time.Hour), 0
	const keys = rateSlots / 8
	for i := range keys {
		key := table.ofAddr(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		first, second, third := table.take(r, key, now), table.take(r, key, now), table.take(r, key, now)
		if first != 0 || second != 0 || third == 0 {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d keys were judged wrongly", wrong, keys)
	}
}

// More keys than there is room for: memory does not grow, and nobody is refused for another's requests.
func TestAFloodOfKeysRefusesNobody(t *testing.T) {
	table := newRateTable()
	r := &Rate{Interval: time.Hour, Burst: 1}
	now := Time(time.Hour)
	for range 3 * rateSlots {
		if table.take(r, rand.Uint64(), now) != 0 {
			t.Fatal("a new key was refused")
		}
	}
}

func TestTheRateHoldsOverAllLoops(t *testing.T) {
	table := newRateTable()
	r := &Rate{Interval: time.Hour, Burst: 1000}
	key := table.ofBytes([]byte("a"))
	now := Time(time.Hour)
	if table.take(r, key, now) != 0 { // the slot is there: only its making may be raced for
		t.Fatal("the first is refused")
	}
	var taken atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 1000 {
				if table.take(r, key, now) == 0 {
					taken.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := taken.Load(); n != 999 {
		t.Errorf("%d were let in, want 999", n)
	}
}

func TestLimitsAllocateNothing(t *testing.T) {
	rates, clients := newRateTable(), newClientTable(1<<20, 100)
	r := &Rate{Interval: time.Nanosecond, Burst: 1}
	guard := Guard{Deny: addrs("10.0.0.0/8"), Allow: addrs("::/0", "127.0.0.0/8")}
	now := Time(1)
	a := netip.MustParseAddr("2001:db8::1")
	n := testing.AllocsPerRun(1000, func() {
		now++
		rates.take(r, rates.ofAddr(a), now)
		slot, _ := clients.take(a)
		slot.drop()
		guard.admits(a)
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestOneClientOfIPv6IsItsNetwork(t *testing.T) {
	table := newRateTable()
	key := func(s string) uint64 { return table.ofAddr(netip.MustParseAddr(s)) }
	if key("2001:db8::1") != key("2001:db8::ffff:1") {
		t.Error("two addresses of a /64 are two clients")
	}
	if key("2001:db8::1") == key("2001:db8:0:1::1") || key("192.0.2.1") == key("192.0.2.2") {
		t.Error("two networks are one client")
	}
}

func TestCountsOfClientsHoldOverAllLoops(t *testing.T) {
	const limit, clients = 3, 50
	table := newClientTable(limit, 4*limit*clients)
	var open [clients]atomic.Int64
	var all sync.WaitGroup
	for seed := range uint64(4) {
		all.Go(func() {
			random := rand.New(rand.NewPCG(seed, 1))
			held := make(map[int][]*clientSlot)
			for range 5000 {
				i := random.IntN(clients)
				if n := len(held[i]); n > 0 && random.IntN(2) == 0 {
					open[i].Add(-1)
					held[i][n-1].drop()
					held[i] = held[i][:n-1]
					continue
				}
				slot, ok := table.take(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
				if !ok {
					continue
				}
				if slot == nil {
					t.Error("there is no room in the table")
					return
				}
				if n := open[i].Add(1); n > limit {
					t.Errorf("a client has %d connections", n)
				}
				held[i] = append(held[i], slot)
			}
			for i, slots := range held {
				for _, slot := range slots {
					open[i].Add(-1)
					slot.drop()
				}
			}
		})
	}
	all.Wait()
	for i := range table.slots {
		if n := table.slots[i].Load() & countMask; n != 0 {
			t.Errorf("%d connections are counted when all have ended", n)
		}
	}
}
