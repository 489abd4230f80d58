package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// retryDelay is the wait before a failed write is tried again. A disk that is full stays so for a while.
	retryDelay = time.Second
	// noticeDelay is the least time between two lines about the same trouble in the process log.
	noticeDelay = 10 * time.Second
	// patience is how long Close and Reopen wait for a writer that makes no progress, such as one whose pipe
	// nobody reads. Without it such a reader could keep the process from ending.
	patience = 5 * time.Second
)

// fileMode is without access for others: targets and addresses are personal data, and targets carry tokens.
const fileMode fs.FileMode = 0o640

// Writer is one file and the goroutine that writes to it. Its methods may be called from any goroutine but a
// loop's, since they wait.
type Writer struct {
	// Immutable.
	path     string
	open     func() (io.WriteCloser, error) // nil: there is nothing to open again
	wake     chan struct{}                  // something is in the inbox; of capacity 1
	dropping chan struct{}                  // a record was dropped; of capacity 1
	closing  chan struct{}                  // closed: write what there is, and end
	done     chan struct{}                  // closed: the goroutine has ended

	// control keeps Reopen and Close apart, and guards closed.
	control sync.Mutex
	closed  bool

	// Owned by the goroutine. The queue is what it took from the inbox, the oldest first.
	queue      *chunk
	queueEnd   *chunk
	complained time.Time // when the last failed write was reported; zero: all is well
	failed     error     // of closing

	// Shared with the loops: they hand over and drop.
	inbox   stack
	handed  atomic.Int64 // records
	dropped atomic.Uint64

	// Shared with Close, which gives up on a goroutine that is stuck.
	mu        sync.Mutex
	out       io.WriteCloser // changed by the goroutine only
	settled   int64          // records, of those handed over, that were written or counted as dropped
	writes    int            // that came to an end
	abandoned bool           // what was not settled has been counted as dropped
}

// swap is the order to go on with another file.
type swap struct {
	out  io.WriteCloser
	done chan error // gets the result of closing the old one; of capacity 1
}

// Open opens a file to append to, creating it with mode 0640, or "stdout". A FIFO is opened without waiting
// for a reader. What goes wrong later is told to [slog.Default], at most every 10 seconds.
func Open(path string) (*Writer, error) {
	if path == "stdout" {
		return newWriter(path, stdout{}, nil), nil
	}
	open := func() (io.WriteCloser, error) { return openFile(path) }
	out, err := open()
	if err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	return newWriter(path, out, open), nil
}

func openFile(path string) (io.WriteCloser, error) {
	flags := os.O_WRONLY | os.O_APPEND | os.O_CREATE
	if info, err := os.Stat(path); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		// Opening a FIFO only to write would wait for a reader, for ever. With both ends open it does not, and
		// readers may come and go.
		flags = os.O_RDWR
	}
	return os.OpenFile(path, flags, fileMode)
}

// stdout is the standard output, which is not ours to close.
type stdout struct{}

func (stdout) Write(p []byte) (int, error) { return os.Stdout.Write(p) }
func (stdout) Close() error                { return nil }

func newWriter(path string, out io.WriteCloser, open func() (io.WriteCloser, error)) *Writer {
	w := &Writer{
		path:     path,
		open:     open,
		out:      out,
		wake:     make(chan struct{}, 1),
		dropping: make(chan struct{}, 1),
		closing:  make(chan struct{}),
		done:     make(chan struct{}),
	}
	go w.run()
	go w.watchDrops()
	return w
}

// Dropped returns the number of records that were not and will not be written.
func (w *Writer) Dropped() uint64 { return w.dropped.Load() }

// Reopen opens the path anew, so that a file that was renamed is left: what was handed over before goes to
// the old file, what is handed over after goes to the new one. Flush the Buffers first to have the same said
// of what was logged. When the path cannot be opened the old file is kept, and the error says why. For the
// standard output it does nothing.
func (w *Writer) Reopen() error {
	w.control.Lock()
	defer w.control.Unlock()
	if w.closed {
		return fmt.Errorf("access log: reopen %s: %w", w.path, fs.ErrClosed)
	}
	if w.open == nil {
		return nil
	}
	out, err := w.open()
	if err != nil {
		return fmt.Errorf("access log: reopen: %w", err)
	}
	s := &swap{out: out, done: make(chan error, 1)}
	w.post(&chunk{swap: s})
	select {
	case err := <-s.done:
		if err != nil {
			return fmt.Errorf("access log: reopen: close the old file: %w", err)
		}
		return nil
	case <-time.After(patience):
		return fmt.Errorf("access log: reopen %s: a write has been blocked for %v; the new file follows when it ends",
			w.path, patience)
	}
}

// Close writes everything that was handed over and closes the file. The Buffers must have been flushed and
// must not be used any more. If no write comes to an end for 5 seconds, or one fails, what is left is counted
// as dropped and the error says so.
func (w *Writer) Close() error {
	w.control.Lock()
	defer w.control.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	close(w.closing)
	err := w.await()
	if n := w.Dropped(); n > 0 {
		slog.Warn("access log closed; records were dropped", "path", w.path, "total", n)
	}
	return err
}

// await waits for the goroutine to end, as long as it gets on.
func (w *Writer) await() error {
	for seen := -1; ; {
		w.mu.Lock()
		stuck := w.writes == seen
		seen = w.writes
		if stuck {
			defer w.mu.Unlock()
			return w.abandon()
		}
		w.mu.Unlock()
		select {
		case <-w.done:
			return w.failed
		case <-time.After(patience):
		}
	}
}

// abandon leaves the goroutine to its blocked write. It is called with mu held.
func (w *Writer) abandon() error {
	w.abandoned = true
	lost := w.handed.Load() - w.settled
	w.dropped.Add(uint64(lost))
	// A write to a pipe ends by this. One to a device that hangs does not, and the goroutine stays behind.
	_ = w.out.Close()
	return fmt.Errorf("access log: close %s: a write has been blocked for %v, %d records are lost", w.path, patience, lost)
}

// handOver takes a chunk from a loop.
func (w *Writer) handOver(c *chunk) {
	w.handed.Add(int64(c.records))
	w.post(c)
}

func (w *Writer) post(c *chunk) {
	w.inbox.push(c)
	select {
	case w.wake <- struct{}{}:
	default: // it has been woken and has not looked yet
	}
}

// drop counts a record that a loop found no room for.
func (w *Writer) drop() {
	w.dropped.Add(1)
	select {
	case w.dropping <- struct{}{}:
	default:
	}
}

// watchDrops reports drops. The writing goroutine cannot: it is stuck when there are any.
func (w *Writer) watchDrops() {
	for reported := uint64(0); ; {
		select {
		case <-w.dropping:
		case <-w.closing:
			return
		}
		n := w.Dropped()
		slog.Warn("access log is behind; records are dropped", "path", w.path, "dropped", n-reported, "total", n)
		reported = n
		select {
		case <-time.After(noticeDelay):
		case <-w.closing:
			return
		}
	}
}

// run is the goroutine.
func (w *Writer) run() {
	defer close(w.done)
	for {
		// In this order: whoever calls Close has handed over everything before.
		closing := w.isClosing()
		w.collect()
		c := w.dequeue()
		switch {
		case c == nil && closing:
			w.failed = w.out.Close()
			return
		case c == nil:
			select {
			case <-w.wake:
			case <-w.closing:
			}
		case c.swap != nil:
			w.use(c.swap)
		case !w.write(c):
			return
		}
	}
}

func (w *Writer) isClosing() bool {
	select {
	case <-w.closing:
		return true
	default:
		return false
	}
}

// collect moves the inbox to the end of the queue.
func (w *Writer) collect() {
	newest := w.inbox.takeAll()
	if newest == nil {
		return
	}
	oldest := reversed(newest)
	if w.queue == nil {
		w.queue = oldest
	} else {
		w.queueEnd.next = oldest
	}
	w.queueEnd = newest
}

func (w *Writer) dequeue() *chunk {
	c := w.queue
	if c != nil {
		w.queue, c.next = c.next, nil
	}
	return c
}

// write writes a chunk, however often it takes: while a disk is full the loops run out of chunks and drop, so
// that the lines that do get written are whole and in order. It reports false when there is nothing left to
// do: Close has given up, or has been called and writing still fails.
func (w *Writer) write(c *chunk) bool {
	for rest := c.lines; ; {
		n, err := w.out.Write(rest)
		rest = rest[n:]
		if !w.noteWrite(c, len(rest) == 0) {
			return false
		}
		if len(rest) == 0 {
			w.noteRecovery()
			c.giveBack()
			return true
		}
		if w.isClosing() {
			w.giveUp(rest, c.records, err)
			return false
		}
		w.noteFailure(err)
		if s := w.waitToRetry(); s != nil {
			rest = w.leaveLine(c, rest)
			w.use(s)
		}
	}
}

// noteWrite counts a write that came to an end. It reports false when that was too late.
func (w *Writer) noteWrite(c *chunk, whole bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes++
	if whole && !w.abandoned {
		w.settled += int64(c.records)
	}
	return !w.abandoned
}

// noteFailure reports a failed write, unless one was reported lately.
func (w *Writer) noteFailure(err error) {
	now := time.Now()
	if !w.complained.IsZero() && now.Sub(w.complained) < noticeDelay {
		return
	}
	w.complained = now
	slog.Error("access log cannot be written; trying again", "path", w.path, "every", retryDelay, "error", err)
}

// noteRecovery reports that writing works again.
func (w *Writer) noteRecovery() {
	if w.complained.IsZero() {
		return
	}
	w.complained = time.Time{}
	slog.Info("access log is written again", "path", w.path)
}

// waitToRetry waits for the delay, or until Close is called, or until there is an order to use another file,
// which it returns: no use in waiting for the old one then.
func (w *Writer) waitToRetry() *swap {
	timer := time.NewTimer(retryDelay)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return nil
		case <-w.closing:
			return nil
		case <-w.wake:
			w.collect()
			if s := w.takeSwap(); s != nil {
				return s
			}
		}
	}
}

// takeSwap takes the first order out of the queue. The chunks handed over before it are written to the new
// file then, since the old one takes nothing.
func (w *Writer) takeSwap() *swap {
	var previous *chunk
	for c := w.queue; c != nil; previous, c = c, c.next {
		if c.swap == nil {
			continue
		}
		if previous == nil {
			w.queue = c.next
		} else {
			previous.next = c.next
		}
		if c == w.queueEnd {
			w.queueEnd = previous
		}
		return c.swap
	}
	return nil
}

// leaveLine returns rest without the end of a line that has begun in the old file: that record is lost.
func (w *Writer) leaveLine(c *chunk, rest []byte) []byte {
	written := c.lines[:len(c.lines)-len(rest)]
	if len(written) == 0 || written[len(written)-1] == '\n' {
		return rest
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.abandoned {
		w.settled++
		w.dropped.Add(1)
	}
	c.records--
	return rest[bytes.IndexByte(rest, '\n')+1:]
}

// use goes on with another file.
func (w *Writer) use(s *swap) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.abandoned {
		s.done <- s.out.Close()
		return
	}
	s.done <- w.out.Close()
	w.out = s.out
}

// giveUp counts as dropped what is left: rest of a chunk of that many records, and the queue.
func (w *Writer) giveUp(rest []byte, records int, err error) {
	lost := bytes.Count(rest, []byte{'\n'})
	w.collect() // what was handed over while this one was being tried
	for c := w.dequeue(); c != nil; c = w.dequeue() {
		lost += c.records
		records += c.records
		if c.swap != nil {
			w.use(c.swap)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.abandoned {
		w.settled += int64(records)
		w.dropped.Add(uint64(lost))
		w.failed = fmt.Errorf("access log: close %s: %d records are lost: %w", w.path, lost, errors.Join(err, w.out.Close()))
	}
}
