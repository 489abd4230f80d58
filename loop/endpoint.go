package loop

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// owner is whatever an endpoint's events concern: a listener, a session, an idle backend connection.
type owner interface{ ready(e *endpoint) }

// endpoint is one non-blocking descriptor, registered once, edge-triggered, for read and write.
//
// Readiness is two latches, set by events and cleared by the system call that found nothing more to do.
// An event is only a hint: what it told of may have been done by the time that its owner comes to it, all events of a turn being
// noted first. And a descriptor closed in the middle of a turn may be reused by a connection that is made in the same turn, whose
// owner is then called for nothing.
type endpoint struct {
	fd  int
	own owner
	out buffer // accepted for sending, not yet taken by the kernel
	// pipe holds what goes on behind out, unseen; nil when there is nothing.
	pipe *pipe

	counted *clientSlot // where the connection counts for its client; nil: nowhere

	readable bool
	writable bool
	// hup: the peer's FIN or a failure may be waiting behind the data, so that a short read does not mean
	// that there is nothing more to read.
	hup bool
	// failing: the kernel reported an error condition; pendingError tells whether it is one.
	failing bool
	eof     bool // the peer's FIN has been read
	// doubtful: the kernel may have kept an error to itself, and what reads like the peer's FIN may be a reset. See
	// flushPipe.
	doubtful bool
}

// latch notes an event.
func (e *endpoint) latch(events uint32) {
	if events&(unix.EPOLLIN|unix.EPOLLPRI|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		e.readable = true
	}
	if events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		e.writable = true
	}
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		e.hup = true
	}
	if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		e.failing = true
	}
}

// recv reads what is there into b. It returns 0 when there is nothing now, or nothing any more (e.eof).
// b must not be empty.
func (e *endpoint) recv(b []byte) (int, syscall.Errno) {
	for {
		n, errno := sysRecv(e.fd, b, 0)
		switch {
		case errno == 0 && n > 0:
			// A short read emptied the socket: what comes later raises a new edge. That saves the read
			// that would say EAGAIN, one system call in five.
			if n < len(b) && !e.hup {
				e.readable = false
			}
			return n, 0
		case errno == 0:
			return 0, e.end()
		case errno == syscall.EAGAIN:
			e.readable, e.hup = false, false
			return 0, 0
		case errno == syscall.EINTR:
		default:
			e.readable = false
			return 0, errno
		}
	}
}

// end notes that there is nothing more to read, which is the peer's FIN unless an error says otherwise.
func (e *endpoint) end() syscall.Errno {
	e.readable = false
	if e.doubtful && !finCame(e.fd) {
		return syscall.ECONNRESET
	}
	e.eof = true
	return 0
}

// waiting reports whether bytes are accepted for sending that the kernel has not taken yet.
func (e *endpoint) waiting() bool { return e.out.len() > 0 || e.pipe != nil }

// send writes b, and keeps what the kernel does not take in e.out. It must be empty: flush first.
func (e *endpoint) send(l *Loop, b []byte) syscall.Errno {
	if e.waiting() {
		panicf("loop: send on fd %d with %d bytes waiting, and a pipe %v", e.fd, e.out.len(), e.pipe)
	}
	if e.writable {
		n, errno := e.write(b)
		if errno != 0 {
			return errno
		}
		b = b[n:]
	}
	if len(b) > 0 {
		l.bufs.append(&e.out, b)
	}
	return 0
}

// flush writes what waits in e.out, and behind it in e.pipe. Nothing waits afterwards unless the kernel takes no more
// for now.
func (e *endpoint) flush(l *Loop) (moved bool, errno syscall.Errno) {
	if !e.waiting() || !e.writable {
		return false, 0
	}
	if e.out.len() == 0 {
		return e.flushPipe(l)
	}
	n, errno := e.write(e.out.bytes())
	if errno != 0 {
		return false, errno
	}
	if e.out.r += n; e.out.len() == 0 {
		l.bufs.release(&e.out)
		if e.pipe != nil {
			_, errno = e.flushPipe(l)
		}
	}
	return n > 0, errno
}

func (e *endpoint) write(b []byte) (int, syscall.Errno) {
	for {
		n, errno := sysSend(e.fd, b)
		switch errno {
		case 0:
			// A short write filled the socket: the kernel raises an edge when there is room again.
			if n < len(b) {
				e.writable = false
			}
			return n, 0
		case syscall.EAGAIN:
			e.writable = false
			return 0, 0
		case syscall.EINTR:
		default:
			e.writable = false
			return 0, errno
		}
	}
}

// broken reports the error behind an error event, such as a reset, without reading: bytes that are not
// wanted yet stay in the kernel.
func (e *endpoint) broken() bool {
	if !e.failing {
		return false
	}
	e.failing = false
	return pendingError(e.fd) != 0
}

// quiet reports whether nothing has arrived: neither bytes nor an end. It looks without taking.
func (e *endpoint) quiet() bool {
	var b [1]byte
	for {
		_, errno := sysRecv(e.fd, b[:], unix.MSG_PEEK)
		if errno == syscall.EINTR {
			continue
		}
		if errno == syscall.EAGAIN {
			e.readable, e.hup = false, false
			return true
		}
		return false
	}
}
