package balance

import "math/bits"

// Tried is the set of servers that one request has failed on. The zero value is empty. It keeps its memory
// over Reset, and needs none for the first 64 servers of a group.
type Tried struct {
	low  uint64   // servers 0 to 63
	more []uint64 // the others; not consulted beyond its length
}

// Add puts a server into the set.
func (t *Tried) Add(i Index) {
	if i < 64 {
		t.low |= 1 << i
		return
	}
	word := int(i)/64 - 1
	for len(t.more) <= word {
		t.more = append(t.more, 0)
	}
	t.more[word] |= 1 << (i % 64)
}

// Has reports whether a server is in the set. A nil set is empty.
func (t *Tried) Has(i Index) bool {
	if t == nil {
		return false
	}
	if i < 64 {
		return t.low&(1<<i) != 0
	}
	word := int(i)/64 - 1
	return word < len(t.more) && t.more[word]&(1<<(i%64)) != 0
}

// Len returns the number of servers in the set. A nil set is empty.
func (t *Tried) Len() int {
	if t == nil {
		return 0
	}
	n := bits.OnesCount64(t.low)
	for _, w := range t.more {
		n += bits.OnesCount64(w)
	}
	return n
}

// Reset empties the set.
func (t *Tried) Reset() {
	t.low = 0
	t.more = t.more[:0]
}
