package accesslog

import "sync/atomic"

const (
	// chunkBytes is when a chunk is handed over: large enough that a busy loop's share of a write(2) is nothing
	// and small enough that a record is not held for long.
	chunkBytes = 64 << 10
	// chunkSlack lets the last record end beyond chunkBytes. Only records larger than this make a chunk grow.
	chunkSlack = 16 << 10
	// chunkCount is how many chunks circulate between one loop and the writer. At 100,000 records a second, of
	// 120 bytes, they last for some 80 ms of a file system that stalls; beyond that records are dropped, since
	// the alternative is that traffic waits.
	chunkCount = 16
)

// chunk is a run of whole lines on its way from a loop to the writer and back, or an order to the writer
// that takes effect between what was handed over before it and after it.
type chunk struct {
	next    *chunk // owned by the stack that it is in
	home    *Buffer
	lines   []byte
	records int
	swap    *swap // an order; nil for lines
}

// stack passes chunks from any goroutine to one. Pushing is lock-free, so that a loop never waits for a
// writer that the kernel has put aside; and since the one consumer takes all there is, there is no ABA.
type stack struct{ head atomic.Pointer[chunk] }

func (s *stack) push(c *chunk) {
	for {
		head := s.head.Load()
		c.next = head
		if s.head.CompareAndSwap(head, c) {
			return
		}
	}
}

// takeAll returns all chunks, linked by next, the last pushed first.
func (s *stack) takeAll() *chunk {
	if s.head.Load() == nil {
		return nil // the usual case of a loop that looks for a chunk while the writer is behind
	}
	return s.head.Swap(nil)
}

// reversed turns a list round.
func reversed(c *chunk) *chunk {
	var list *chunk
	for c != nil {
		c.next, list, c = list, c, c.next
	}
	return list
}

// Buffer collects the records of one loop. Its methods must be called on that loop only.
type Buffer struct {
	// Immutable.
	w      *Writer
	format *Format

	// Owned by the loop.
	current *chunk // what is being filled; nil when there was none to be had
	spare   *chunk // list of empty chunks
	stamps  stamps

	// Shared: the writer pushes what it has written, the loop takes.
	back stack
}

// NewBuffer returns a Buffer that hands over to w lines in the format f. All the memory that it will ever use
// is allocated here, save for records of more than some 16 KiB.
func (w *Writer) NewBuffer(f *Format) *Buffer {
	b := &Buffer{w: w, format: f}
	for range chunkCount {
		b.spare = &chunk{home: b, next: b.spare, lines: make([]byte, 0, chunkBytes+chunkSlack)}
	}
	return b
}

// Log adds a record. It never blocks: if the writer is behind with everything that it was handed, the record
// is dropped, and counted.
func (b *Buffer) Log(r *Record) {
	c := b.current
	if c == nil {
		if c = b.take(); c == nil {
			b.w.drop()
			return
		}
		b.current = c
	}
	c.lines = b.format.append(c.lines, r, &b.stamps)
	c.records++
	if len(c.lines) >= chunkBytes {
		b.Flush()
	}
}

// Flush hands over what there is. Call it often enough that a quiet loop's records do not wait, such as once
// a second, and before the loop ends.
func (b *Buffer) Flush() {
	if !b.Pending() {
		return
	}
	c := b.current
	b.current = nil
	b.w.handOver(c)
}

// Pending reports whether there are records that were not handed over.
func (b *Buffer) Pending() bool { return b.current != nil && b.current.records > 0 }

// take returns an empty chunk, or nil if the writer has them all. The one that came back last goes first: while
// the writer keeps up, a few chunks do all the work and the memory of the others is never touched.
func (b *Buffer) take() *chunk {
	if c := b.back.takeAll(); c != nil {
		last := c
		for last.next != nil {
			last = last.next
		}
		last.next, b.spare = b.spare, c
	}
	c := b.spare
	if c != nil {
		b.spare, c.next = c.next, nil
	}
	return c
}

// giveBack returns a chunk to its loop. It is called by the writer.
func (c *chunk) giveBack() {
	if cap(c.lines) > chunkBytes+chunkSlack {
		// It grew for a record of unusual size; without this a few such requests would pin the memory for good.
		c.lines = make([]byte, 0, chunkBytes+chunkSlack)
	}
	c.lines, c.records = c.lines[:0], 0
	c.home.back.push(c)
}
