package loop

import (
	"fmt"
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"millrace/httpparse"
)

// Splice says whether bytes may go from socket to socket through a pipe in the kernel, without entering the process.
type Splice uint8

const (
	// SpliceOff copies everything.
	SpliceOff Splice = iota
	// SpliceAuto splices what is large enough, and copies where the kernel refuses.
	SpliceAuto
	// SpliceOn is SpliceAuto, but for the start, which fails where the kernel refuses.
	SpliceOn
)

const (
	// pipeBytes is what a pipe is asked to hold: 64 pages. It is what a slow reader costs, and what one call moves
	// at most, as turnBytes is for a turn. The kernel's default, 16 pages, fills with segments of a few hundred bytes
	// before it has what one read brings.
	pipeBytes = 256 << 10
	// pipesMax bounds the pipes of a loop. There are two descriptors to each; who finds none is copied.
	pipesMax = 256
	// pipesShare is the part of the descriptors that pipes may take: one in so many.
	pipesShare = 16
)

// pipe holds spliced bytes on their way.
type pipe struct {
	r, w int // descriptors
	n    int // bytes in it
}

// pipes is the stock of a loop.
type pipes struct {
	free []*pipe
	open int // those in use and in stock
	max  int
}

// get returns an empty pipe, or nil if there is none to be had.
func (p *pipes) get() *pipe {
	if n := len(p.free); n > 0 {
		q := p.free[n-1]
		p.free = p.free[:n-1]
		return q
	}
	if p.open == p.max {
		return nil
	}
	q, err := openPipe()
	if err != nil {
		// Descriptors, or the pages that all pipes of a user may hold, have run short. Copying needs neither.
		return nil
	}
	p.open++
	return q
}

// put takes a pipe back into stock, or closes it if there are bytes left in it: they are nobody else's.
func (p *pipes) put(q *pipe) {
	if q.n > 0 {
		q.close()
		p.open--
		return
	}
	p.free = append(p.free, q)
}

func (p *pipes) inUse() int { return p.open - len(p.free) }

// close closes the stock.
func (p *pipes) close() {
	for _, q := range p.free {
		q.close()
	}
	p.open -= len(p.free)
	p.free = nil
}

func openPipe() (*pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	q := &pipe{r: fds[0], w: fds[1]}
	// A user with many pipes gets small ones, or none: fs.pipe-user-pages-soft.
	if _, err := unix.FcntlInt(uintptr(q.w), unix.F_SETPIPE_SZ, pipeBytes); err != nil {
		q.close()
		return nil, os.NewSyscallError("fcntl(F_SETPIPE_SZ)", err)
	}
	return q, nil
}

func (q *pipe) close() {
	sysClose(q.r)
	sysClose(q.w)
}

// splicing finds out whether the kernel splices, from one socket to another.
func splicing() error {
	q, err := openPipe()
	if err != nil {
		return err
	}
	defer q.close()
	from, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	defer sysClose(from[0])
	defer sysClose(from[1])
	if _, err := unix.Write(from[0], []byte{1}); err != nil {
		return os.NewSyscallError("write", err)
	}
	if n, errno := sysSplice(from[1], q.w, 1); n != 1 {
		return fmt.Errorf("splice from a socket: %w", errno)
	}
	if n, errno := sysSplice(q.r, from[0], 1); n != 1 {
		return fmt.Errorf("splice to a socket: %w", errno)
	}
	return nil
}

// chooseSplice settles whether there is splicing, and returns the size from which on; never is math.MaxInt64.
func (srv *Server) chooseSplice() (from int64, err error) {
	if srv.plan.Splice == SpliceOff {
		return math.MaxInt64, nil
	}
	if err := splicing(); err != nil {
		if srv.plan.Splice == SpliceOn {
			return 0, fmt.Errorf("splice is on, and not available: %w", err)
		}
		srv.log.Warn("no splice: large bodies are copied", "error", err)
		return math.MaxInt64, nil
	}
	return max(srv.plan.SpliceThreshold, 1), nil
}

// pipesFor is how many pipes each loop may have, of a number of free descriptors.
func (srv *Server) pipesFor(free, loops int) int {
	if srv.plan.Splice == SpliceOff {
		return 0
	}
	return min(pipesMax, free/pipesShare/2/loops)
}

// errNotSpliced is what a socket says that splice does not work with.
const errNotSpliced = syscall.EINVAL

// spliceFrom moves up to n bytes from e's socket into an empty pipe. It returns 0 when there is nothing now, or nothing
// any more (e.eof), as recv does.
func (e *endpoint) spliceFrom(q *pipe, n int64) (int, syscall.Errno) {
	for {
		got, errno := sysSplice(e.fd, q.w, int(min(n, pipeBytes)))
		switch {
		case errno == 0 && got > 0:
			q.n = got
			return got, 0
		case errno == 0:
			return 0, e.end()
		case errno == syscall.EAGAIN:
			e.readable, e.hup = false, false
			return 0, 0
		case errno == syscall.EINTR:
		case errno == errNotSpliced:
			return 0, errno
		default:
			e.readable = false
			return 0, errno
		}
	}
}

// flushPipe moves what is in e's pipe to its socket. The pipe goes back when it is empty.
func (e *endpoint) flushPipe(l *Loop) (moved bool, errno syscall.Errno) {
	q := e.pipe
	for e.writable {
		n, errno := sysSplice(q.r, e.fd, q.n)
		switch errno {
		case 0:
			// Less than all says nothing about the socket: a pipe is emptied page by page.
			moved = true
			if q.n -= n; q.n == 0 {
				e.pipe = nil
				l.pipes.put(q)
				return true, 0
			}
		case syscall.EAGAIN:
			e.writable = false
		case syscall.EINTR:
		default:
			e.writable = false
			// A splice sends in portions. A reset that arrives between two of them is what the second one fails with, and
			// the call says how much the first one has sent: the error is gone, and what comes next is told EPIPE, as
			// behind a FIN.
			e.doubtful = moved && errno == syscall.EPIPE
			return moved, errno
		}
	}
	return moved, 0
}

// dropPipe gives up what is in e's pipe.
func (l *Loop) dropPipe(e *endpoint) {
	if q := e.pipe; q != nil {
		e.pipe = nil
		l.pipes.put(q)
	}
}

// spliced is what came of an attempt to splice.
type spliced uint8

const (
	spliceCopies spliced = iota // it cannot be done: the bytes have to be copied
	spliceWaits                 // there is nothing now
	spliceMoves                 // bytes are on their way, or the source has ended
)

// spliceResponse takes a part of the response body into a pipe, unseen.
func (s *session) spliceResponse(now Time) (spliced, fault) {
	l, x, c := s.l, s.x, s.origin
	if c.in.len() > 0 || x.down.refused {
		return spliceCopies, faultNone
	}
	if !c.readable {
		return spliceWaits, faultNone
	}
	q := l.pipes.get()
	if q == nil {
		return spliceCopies, faultNone
	}
	n, errno := c.spliceFrom(q, x.down.spliceable())
	if n == 0 {
		l.pipes.put(q)
		switch {
		case errno == errNotSpliced:
			x.down.refused = true
			return spliceCopies, faultNone
		case errno != 0:
			return spliceWaits, s.cut()
		case c.eof:
			_, f := s.endOfServer(now)
			return spliceMoves, f
		}
		return spliceWaits, faultNone
	}
	s.turn.down += n
	x.downAt = now
	head := x.down.splice(l.scratch[:0], n)
	l.scratch = head[:0]
	if len(head) > 0 {
		if f := s.say(head, now); f != faultNone {
			l.pipes.put(q)
			return spliceWaits, f
		}
	}
	x.bytesOut += int64(n)
	s.client.pipe = q
	if x.down.done {
		s.res = halfDone
	}
	return spliceMoves, faultNone
}

// spliceRequest takes a part of the request body into a pipe, unseen.
func (s *session) spliceRequest(now Time) (spliced, fault) {
	l, x, c := s.l, s.x, s.origin
	if s.in.len() > 0 || x.up.refused || s.client.eof {
		return spliceCopies, faultNone
	}
	if !s.client.readable {
		return spliceWaits, faultNone
	}
	q := l.pipes.get()
	if q == nil {
		return spliceCopies, faultNone
	}
	n, errno := s.client.spliceFrom(q, x.up.spliceable())
	if n == 0 {
		l.pipes.put(q)
		switch {
		case errno == errNotSpliced:
			x.up.refused = true
			return spliceCopies, faultNone
		case errno != 0:
			return spliceWaits, faultClientGone
		case s.client.eof:
			return spliceWaits, faultBodyCut
		}
		return spliceWaits, faultNone
	}
	s.turn.up += n
	s.gave(n, now)
	x.waitsFor100, x.held = false, false
	x.bytesIn += int64(n)
	head := x.up.splice(l.scratch[:0], n)
	l.scratch = head[:0]
	if s.bodyTooLarge() {
		l.pipes.put(q)
		return spliceWaits, faultBodyTooLarge
	}
	if len(head) > 0 {
		if errno := c.send(l, head); errno != 0 {
			l.pipes.put(q)
			s.breakRequest()
			return spliceWaits, faultNone
		}
	}
	c.pipe = q
	if x.up.done {
		s.req = halfDone
	}
	return spliceMoves, faultNone
}

// spliceFlow takes what the source of a tunnel's flow has into a pipe.
func (s *session) spliceFlow(f *flow, from, to *endpoint, now Time) (n int, result spliced, errno syscall.Errno) {
	l := s.l
	q := l.pipes.get()
	if q == nil {
		return 0, spliceCopies, 0
	}
	n, errno = from.spliceFrom(q, pipeBytes)
	if n > 0 {
		to.pipe = q
		f.bytes += int64(n)
		f.burst += int64(n)
		s.t.movedAt = now
		return n, spliceMoves, 0
	}
	l.pipes.put(q)
	if errno == errNotSpliced {
		f.refused = true
		return 0, spliceCopies, 0
	}
	f.ranDry(l) // or it has ended
	return 0, spliceWaits, errno
}

// spliceable is how many of the bytes that come next are payload, as far as is known.
func (p *pump) spliceable() int64 {
	if p.in.Kind == httpparse.BodyUntilClose {
		return pipeBytes
	}
	return p.in.Length
}

// splice notes that n bytes of payload go on unseen, and appends to head what has to be sent before them.
func (p *pump) splice(head []byte, n int) []byte {
	p.payload += int64(n)
	switch p.in.Kind {
	case httpparse.BodyLength:
		p.in.Length -= int64(n)
		p.done = p.in.Length == 0
	case httpparse.BodyChunked:
		p.dec.Skip(n)
		p.in.Length -= int64(n)
	default:
		p.in.Length += int64(n)
	}
	if p.chunked {
		head = p.settleChunk(head)
		head = httpparse.AppendChunkSize(head, n)
		p.owed = true
	}
	return head
}

// settleChunk ends the chunk whose payload was spliced: its CRLF had to wait until that was on its way.
func (p *pump) settleChunk(head []byte) []byte {
	if p.owed {
		p.owed = false
		head = append(head, '\r', '\n')
	}
	return head
}

// sysSplice moves bytes from a socket into a pipe, or from a pipe into a socket. Neither blocks.
func sysSplice(from, to, n int) (int, syscall.Errno) {
	const flags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK
	moved, _, errno := syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), flags)
	return int(moved), errno
}
