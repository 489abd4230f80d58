package loop

import (
	"os"
	"reflect"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"
)

// A loop waits for the events of its netpoll.Poller itself, since Poller.Polling waits in a system call that the Go scheduler
// knows of: see docs/decisions/0014.

const (
	// turnEvents is how many events a turn takes. Those that there are beyond it come first in the next one.
	turnEvents = 256
	// turnPosts is how often a turn looks for functions that were posted while others ran. Some post others.
	turnPosts = 4
	// yieldEvery is how long a loop that has always something to do keeps other goroutines of the process waiting.
	yieldEvery = Time(1e6)
)

// run turns the loop until it stops. It is the loop's goroutine.
//
// A turn is: wait for events, unless somebody on the run list has more to do; give them to their owners; do what was posted;
// have those run who were on the list before the turn.
func (l *Loop) run() error {
	events := make([]unix.EpollEvent, turnEvents)
	for !l.stop {
		n, errno := l.wait(events)
		if errno != 0 {
			return os.NewSyscallError("epoll_pwait", errno)
		}
		l.runs.begin()
		for i := range events[:n] {
			l.latch(&events[i])
		}
		for i := range events[:n] {
			l.dispatch(int(events[i].Fd))
			if l.stop {
				return nil
			}
		}
		if l.posts.run(l); l.stop {
			return nil
		}
		l.runs.run(l)
	}
	return nil
}

// wait returns how many events there are. There is one at least, unless somebody is on the run list.
func (l *Loop) wait(events []unix.EpollEvent) (int, syscall.Errno) {
	if l.linger > 0 && l.now-l.yielded >= yieldEvery {
		l.yielded = l.now
		runtime.Gosched()
	}
	timeout := l.linger
	if l.runs.queued() > 0 {
		timeout = 0
	}
	for {
		n, errno := sysEpollWait(l.epoll, events, int(timeout/Time(time.Millisecond)))
		switch {
		case errno == syscall.EINTR:
			// The scheduler wants the processor for somebody else.
			runtime.Gosched()
			timeout = max(min(timeout, l.now+l.linger-clock()), 0)
			continue
		case n > 0 || errno != 0 || l.runs.queued() > 0:
			return n, errno
		}
		// It may be long. Whoever is ready to run goes first: nobody takes the processor from a goroutine that has only just
		// begun to wait.
		runtime.Gosched()
		if n, errno = blockEpollWait(l.epoll, events); errno != syscall.EINTR {
			return n, errno
		}
	}
}

// latch notes an event. All events of a turn are noted before the first of them is given to its owner: the memory that they
// concern is fetched at the same time then, and not one after the other.
func (l *Loop) latch(ev *unix.EpollEvent) {
	if fd := int(ev.Fd); fd < len(l.fds) && l.fds[fd] != nil {
		l.fds[fd].latch(ev.Events)
	}
}

// dispatch has a descriptor's owner see to what has been noted for it. A descriptor that was closed earlier in the turn has
// none, or one that has not been waited for, whom it does no harm.
func (l *Loop) dispatch(fd int) {
	if fd >= len(l.fds) {
		return
	}
	e := l.fds[fd]
	if e == nil {
		return
	}
	l.now = clock()
	e.own.ready(e)
}

// epollOf returns a poller's descriptor, which netpoll keeps to itself.
func epollOf(p *netpoll.Poller) int {
	fd := reflect.ValueOf(p).Elem().FieldByName("fd")
	if !fd.IsValid() || !fd.CanInt() {
		panicf("loop: netpoll.Poller has no field fd that is a number: %v", fd)
	}
	return int(fd.Int())
}

// posts are functions from other goroutines, for the loop's to run.
type posts struct {
	endpoint // an eventfd that says that there are some

	// The lock covers the eventfd too: it must not be closed while somebody writes to it, since its number may then be
	// somebody else's.
	mu     sync.Mutex
	list   []func()
	closed bool

	ran []func() // the list that was run last, to be the next one
}

func (p *posts) open(l *Loop) error {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	p.fd, p.own = fd, p
	if err := l.registerRead(&p.endpoint); err != nil {
		sysClose(fd)
		return err
	}
	return nil
}

func (p *posts) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	sysClose(p.fd)
}

// ready does nothing: what was posted is done when the events that came with it have been seen. The eventfd is never read:
// edge-triggered, each write is an event of its own.
func (p *posts) ready(*endpoint) {}

// run runs what was posted, and what is posted meanwhile: it need not wait for events that come meanwhile.
func (p *posts) run(l *Loop) {
	if !p.readable {
		return
	}
	p.readable = false
	// What is posted after the last round has written to the eventfd again.
	for range turnPosts {
		p.mu.Lock()
		p.ran, p.list = p.list, p.ran[:0]
		p.mu.Unlock()
		if len(p.ran) == 0 {
			return
		}
		for i, f := range p.ran {
			p.ran[i] = nil
			l.now = clock()
			if f(); l.stop {
				return
			}
		}
	}
}

// post runs f on the loop's goroutine. It may be called from any goroutine. When the loop has ended, nothing
// happens.
func (l *Loop) post(f func()) {
	p := &l.posts
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	if p.list = append(p.list, f); len(p.list) > 1 {
		return // it has been told
	}
	one := uint64(1)
	if _, err := unix.Write(p.fd, unsafe.Slice((*byte)(unsafe.Pointer(&one)), 8)); err != nil {
		// 2^64 posts would have to pass unread for EAGAIN.
		panicf("loop %d: eventfd write: %v", l.id, err)
	}
}

// runner is something that met a bound of its turn and has more to do.
type runner interface{ resume() }

// runList holds the runners of the next turn.
type runList struct{ next, due []runner }

// add puts x on the list for the next turn; the caller sees to it that it is there once.
func (r *runList) add(x runner) { r.next = append(r.next, x) }

// queued is how many there are.
func (r *runList) queued() int { return len(r.next) + len(r.due) }

// begin begins a turn: who is on the list has theirs at its end, after whatever has happened in the meantime.
func (r *runList) begin() { r.next, r.due = r.due[:0], r.next }

// run runs those who were on the list when the turn began.
func (r *runList) run(l *Loop) {
	if len(r.due) > 0 {
		l.now = clock()
	}
	for i, x := range r.due {
		r.due[i] = nil
		x.resume()
	}
	r.due = r.due[:0]
}
