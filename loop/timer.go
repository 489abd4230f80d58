package loop

import "math/bits"

// The timing wheel of a loop: four levels of 64 slots, each level 64 times as coarse as the one below.
// A timer never fires early, and late by at most one tick and the loop's own delay.
//
// Deadlines are lazy. Most move later all the time (every request pushes the idle deadline away), so
// moving one later is a store: the timer stays where it is linked, and when its slot comes due it is
// linked again by its real deadline. Only a deadline that moves before its slot is linked anew. That
// makes re-arming on the hot path free of both list work and system calls.
const (
	tickBits   = 24 // a tick is 2^24 ns, some 17 ms: fine enough for timeouts, coarse enough to batch
	slotBits   = 6
	slotCount  = 1 << slotBits
	slotMask   = slotCount - 1
	wheelLevel = 4 // 64^4 ticks, some 78 hours; a longer deadline is linked at the horizon, and again there
	horizon    = 1<<(slotBits*wheelLevel) - 1
)

// expirer is told when its timer's deadline has passed.
type expirer interface{ expire(now Time) }

// timer is one deadline, embedded in whatever waits. The zero value is unarmed.
type timer struct {
	next, prev *timer
	deadline   Time
	tick       int64 // the tick of the slot it is linked in; meaningful while linked
	level      int8
	linked     bool
	own        expirer
}

// wheel holds the timers of one loop. It knows nothing of clocks: advance is told the time.
type wheel struct {
	slots    [wheelLevel][slotCount]timer // list heads
	occupied [wheelLevel]uint64           // bit s: slots[level][s] is not empty
	current  int64                        // all ticks up to and including this one have been handled
	due      timer                        // list head: taken out of their slots, not yet handled
}

func newWheel(now Time) *wheel {
	w := &wheel{current: int64(now >> tickBits)}
	for level := range w.slots {
		for s := range w.slots[level] {
			w.slots[level][s].initList()
		}
	}
	w.due.initList()
	return w
}

func (t *timer) initList()   { t.next, t.prev = t, t }
func (t *timer) empty() bool { return t.next == t }

func (t *timer) pushBack(e *timer) {
	e.prev, e.next = t.prev, t
	t.prev.next, t.prev = e, e
}

func (t *timer) unlink() {
	t.prev.next, t.next.prev = t.next, t.prev
	t.next, t.prev = nil, nil
}

// tickAfter returns the first tick that begins at or after at, so that a timer never fires early.
func tickAfter(at Time) int64 { return int64((at + (1<<tickBits - 1)) >> tickBits) }

// arm sets t's deadline. It reports whether the wheel's next due time may have become earlier.
func (w *wheel) arm(t *timer, deadline Time) (sooner bool) {
	t.deadline = deadline
	if deadline == never {
		return false // if it is linked, it falls out when its slot comes due
	}
	if t.linked && tickAfter(deadline) >= t.tick {
		return false
	}
	w.disarm(t)
	t.deadline = deadline
	w.link(t)
	return true
}

// disarm takes t out of the wheel. It is safe on an unarmed timer.
func (w *wheel) disarm(t *timer) {
	t.deadline = never
	if !t.linked {
		return
	}
	t.unlink()
	t.linked = false
	if t.level >= 0 {
		s := (t.tick >> (slotBits * int64(t.level))) & slotMask
		if w.slots[t.level][s].empty() {
			w.occupied[t.level] &^= 1 << s
		}
	}
}

func (w *wheel) link(t *timer) {
	tick := max(tickAfter(t.deadline), w.current+1)
	delta := tick - w.current
	if delta > horizon {
		delta = horizon
		tick = w.current + horizon
	}
	level := 0
	for delta >= slotCount {
		delta >>= slotBits
		level++
	}
	s := (tick >> (slotBits * level)) & slotMask
	w.slots[level][s].pushBack(t)
	w.occupied[level] |= 1 << s
	t.tick, t.level, t.linked = tick, int8(level), true
}

// next returns when advance next has something to do: never, when no timer is linked. It may be earlier
// than the earliest deadline, since a coarse slot is looked into when its range begins.
func (w *wheel) next() Time {
	if !w.due.empty() {
		return Time(w.current << tickBits)
	}
	best := int64(1<<63 - 1)
	for level := range w.occupied {
		if w.occupied[level] == 0 {
			continue
		}
		shift := slotBits * level
		position := w.current >> shift
		// Rotated so that bit 0 is the slot after the current one.
		ahead := bits.RotateLeft64(w.occupied[level], -int((position+1)&slotMask))
		tick := (position + 1 + int64(bits.TrailingZeros64(ahead))) << shift
		best = min(best, tick)
	}
	if best == 1<<63-1 {
		return never
	}
	return Time(best << tickBits)
}

// advance moves the wheel to now and expires what is due, at most limit timers: next tells that there is
// more. An expire may arm and disarm any timer, its own included.
func (w *wheel) advance(now Time, limit int) {
	target := int64(now >> tickBits)
	for {
		for !w.due.empty() {
			if limit == 0 {
				return
			}
			t := w.due.next
			t.unlink()
			t.linked = false
			if t.deadline > now {
				if t.deadline != never {
					w.link(t)
				}
				continue
			}
			limit--
			t.deadline = never
			t.own.expire(now)
		}
		at := w.next()
		if at == never || int64(at>>tickBits) > target {
			w.current = max(w.current, target)
			return
		}
		w.current = int64(at >> tickBits)
		w.collect()
	}
}

// collect moves the slots that begin at the current tick to the due list: the finest one because its
// timers are due, the coarser ones because theirs now belong to a finer slot.
func (w *wheel) collect() {
	for level := 0; level < wheelLevel; level++ {
		shift := slotBits * level
		if w.current&(1<<shift-1) != 0 {
			return
		}
		s := (w.current >> shift) & slotMask
		if w.occupied[level]&(1<<s) == 0 {
			continue
		}
		head := &w.slots[level][s]
		for !head.empty() {
			t := head.next
			t.unlink()
			t.level = -1
			w.due.pushBack(t)
		}
		w.occupied[level] &^= 1 << s
	}
}
