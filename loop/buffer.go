package loop

// Buffers come in a few sizes from free lists that the loop owns. A connection that waits holds none; one
// that has bytes which cannot go on holds one, of the smallest size that fits. The lists are last-in
// first-out, so that the few in use stay in the cache.
var bufferSizes = [...]int{
	4 << 10,                         // a head with a small body: nearly every request
	16 << 10,                        // a large head
	headRoom + relayRead + tailRoom, // what one relay read can leave over, with what frames it
	256 << 10,                       // heads up to the largest header_bytes
	2 << 20,                         // such a head and what was read behind it
	4 << 20,                         // such a head as a server gets it: with its host named three times
}

// freeBytes bounds what a free list keeps of each size: a burst's memory goes back to the collector.
const freeBytes = 8 << 20

// buffer holds bytes b[r:w] that have been read and not yet consumed. The zero value is empty and holds no memory.
type buffer struct {
	b    []byte
	r, w int
}

func (b *buffer) bytes() []byte { return b.b[b.r:b.w] }
func (b *buffer) len() int      { return b.w - b.r }

// room is what one read may fill: no more than a relay read, so that what lies behind the largest head, and
// what is put behind that, has a bound.
func (b *buffer) room() []byte { return b.b[b.w:min(b.w+relayRead, len(b.b))] }

// moveTo moves what b holds down to position at, over bytes that are not needed any more, so that a buffer
// that is appended to again and again does not grow without end.
func (b *buffer) moveTo(at int) {
	if b.r == at {
		return
	}
	b.w = at + copy(b.b[at:], b.bytes())
	b.r = at
}

// buffers is the loop's stock.
type buffers struct {
	free    [len(bufferSizes)][][]byte
	inUse   int // buffers out of stock: zero when no connection waits with bytes
	account account
}

func (p *buffers) get(size int) []byte {
	for class, capacity := range bufferSizes {
		if size > capacity {
			continue
		}
		p.inUse++
		if n := len(p.free[class]); n > 0 {
			b := p.free[class][n-1]
			p.free[class] = p.free[class][:n-1]
			return b
		}
		p.account.add(capacity)
		return make([]byte, capacity)
	}
	panicf("loop: no buffer holds %d bytes", size)
	return nil
}

func (p *buffers) put(b []byte) {
	p.inUse--
	for class, capacity := range bufferSizes {
		if len(b) == capacity {
			if (len(p.free[class])+1)*capacity <= freeBytes && p.account.keeps() {
				p.free[class] = append(p.free[class], b)
			} else {
				p.account.add(-capacity)
			}
			return
		}
	}
	panicf("loop: a buffer of %d bytes is not ours", len(b))
}

// release gives b's memory back, whatever it still holds.
func (p *buffers) release(b *buffer) {
	if b.b != nil {
		p.put(b.b)
		*b = buffer{}
	}
}

// reserve makes room for n more bytes behind b.w, keeping everything from b.b[0] where it is: views
// into the front of the buffer, such as a request head, stay valid.
func (p *buffers) reserve(b *buffer, n int) {
	if b.w+n <= len(b.b) {
		return
	}
	larger := p.get(b.w + n)
	copy(larger, b.b[:b.w])
	if b.b != nil {
		p.put(b.b)
	}
	b.b = larger
}

// append copies data behind what b holds.
func (p *buffers) append(b *buffer, data []byte) {
	p.reserve(b, len(data))
	b.w += copy(b.b[b.w:], data)
}
