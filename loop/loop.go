package loop

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"

	"millrace/internal/accesslog"
	"millrace/pool"
)

// What bounds a turn, so that no connection starves the others. Whoever meets a bound goes on the run list.
const (
	// acceptBurst: a flood of connections must not keep those that are already open waiting.
	acceptBurst = 64
	// turnBytes: what one session may move in one direction before it is another's turn. Four full reads: a
	// fast origin and a fast client could otherwise keep a loop to themselves for a whole download.
	turnBytes = 256 << 10
	// turnRequests: answers to one pipelining client a turn.
	turnRequests = 16
	// turnTimers: expirations a turn; 10,000 sessions may end in the same tick.
	turnTimers = 512
)

// The relay buffer: what one read of a body takes. Before it is room for the rewritten head and a chunk
// size line, behind it for the end of a chunk, so that a body is framed where it lies and sent in one call.
const (
	relayRead = 64 << 10
	headRoom  = 4 << 10
	tailRoom  = 64
)

// Loop is one event loop. One goroutine owns it and everything reachable from it; the others post.
type Loop struct {
	// Immutable.
	id     int
	srv    *Server
	log    *slog.Logger
	poller *netpoll.Poller
	epoll  int           // the poller's descriptor
	linger Time          // Plan.Linger
	gone   chan struct{} // closed when its goroutine has ended

	posts posts // shared with those who post

	// Owned by the loop's goroutine.
	plan      *Plan
	targets   []target    // by BackendServer.ID
	fds       []*endpoint // by descriptor
	listeners []*listener
	sessions  session // list head of all open sessions
	open      int     // sessions in that list
	timers    *wheel
	tick      ticker // the timerfd that drives timers
	runs      runList
	bufs      buffers
	pipes     pipes
	// spliceFrom is the number of bytes from which on they are spliced.
	spliceFrom int64
	relay      []byte // headRoom + relayRead + tailRoom
	scratch    []byte // heads and small messages are built here
	normal     []byte // a path in normal form, when it differs from the one received
	protocols  []byte // what a client asks to switch to
	idle       *pool.Pool[*backendConn]
	idleTimer  timer
	ahead      []*backendConn // being made for min_idle
	aheadTimer timer
	kickTimer  timer
	kickAt     Time // what kickTimer is set to; 0: it is not
	spare      spares
	access     *accesslog.Buffer // nil when the access log is off
	flushLog   timer
	peer       unix.RawSockaddrAny
	draining   bool // no new connections, no new requests on old ones
	stop       bool // nothing is left to do
	now        Time
	yielded    Time // when other goroutines were last let run
	record     accesslog.Record
}

// target is a BackendServer as this loop dials it. The sockaddr is the loop's own: encoding it writes into it.
type target struct {
	*BackendServer
	backend  *Backend
	sockaddr unix.Sockaddr
	family   int
	left     bool // it is not a server of its backend any more: connections to it are not kept
}

func newLoop(srv *Server, id int) (*Loop, error) {
	poller, err := netpoll.OpenPoller()
	if err != nil {
		return nil, err
	}
	now := clock()
	l := &Loop{
		id: id, srv: srv, log: srv.log, poller: poller, epoll: epollOf(poller), gone: make(chan struct{}),
		linger:  Time(srv.plan.Linger),
		timers:  newWheel(now),
		relay:   make([]byte, headRoom+relayRead+tailRoom),
		scratch: make([]byte, 0, headRoom+relayRead+headRoom),
		idle:    pool.New[*backendConn](),
		now:     now,
	}
	l.pipes.max, l.spliceFrom = srv.pipes, srv.spliceFrom
	l.bufs.account.memory = &srv.memory
	l.spare.account = &l.bufs.account
	l.sessions.next, l.sessions.prev = &l.sessions, &l.sessions
	l.idleTimer.own, l.flushLog.own = (*idleExpirer)(l), (*logFlusher)(l)
	l.kickTimer.own, l.aheadTimer.own = (*kicker)(l), (*aheadMaker)(l)
	if err := l.tick.open(l); err != nil {
		l.poller.Close()
		return nil, err
	}
	if err := l.posts.open(l); err != nil {
		l.tick.close()
		l.poller.Close()
		return nil, err
	}
	l.setPlan(srv.plan)
	return l, nil
}

// setPlan makes plan the one that new requests are served by. Sessions keep what they have taken from the
// old one until their exchange ends.
func (l *Loop) setPlan(plan *Plan) {
	l.plan = plan
	l.setTargets(plan)
	for _, b := range plan.Backends {
		if b.MinIdle > 0 {
			l.arm(&l.aheadTimer, l.now)
		}
	}
}

// setTargets makes the servers of a plan those that the loop can dial.
func (l *Loop) setTargets(plan *Plan) {
	n := 0
	for _, b := range plan.Backends {
		for _, s := range b.Servers {
			n = max(n, s.ID+1)
		}
	}
	l.targets = make([]target, n)
	for _, b := range plan.Backends {
		for i := range b.Servers {
			l.join(b, i)
		}
	}
}

// register starts watching e. It is done once a descriptor; closing it ends it.
func (l *Loop) register(e *endpoint) error {
	if err := l.poller.AddReadWrite(&netpoll.PollAttachment{FD: e.fd}, true); err != nil {
		return err
	}
	l.attach(e)
	return nil
}

// registerRead is register for descriptors that cannot be written to: listeners, timers.
func (l *Loop) registerRead(e *endpoint) error {
	if err := l.poller.AddRead(&netpoll.PollAttachment{FD: e.fd}, true); err != nil {
		return err
	}
	l.attach(e)
	return nil
}

func (l *Loop) attach(e *endpoint) {
	if e.fd >= len(l.fds) {
		larger := make([]*endpoint, max(e.fd+1, 2*len(l.fds), 64))
		copy(larger, l.fds)
		l.fds = larger
	}
	l.fds[e.fd] = e
}

// close gives e's descriptor and buffer back. The kernel forgets the registration with the descriptor.
func (l *Loop) close(e *endpoint) {
	if e.fd < 0 {
		return
	}
	if e.fd < len(l.fds) && l.fds[e.fd] == e {
		l.fds[e.fd] = nil
	}
	sysClose(e.fd)
	e.fd = -1
	if e.counted != nil {
		e.counted.drop()
		e.counted = nil
	}
	l.bufs.release(&e.out)
	l.dropPipe(e)
	l.resumeAccept()
}

// arm sets a timer, and the timerfd if the wheel now has to turn earlier.
func (l *Loop) arm(t *timer, deadline Time) {
	if l.timers.arm(t, deadline) {
		l.tick.set(l.timers.next())
	}
}

// ticker is the timerfd that drives a loop's wheel. It is set only when the wheel's next due time becomes
// earlier than what it is set to, and when it has gone off.
//
// The wheel is turned in the next turn of the loop. A loop that was kept from running, as everything on the machine may be,
// finds deadlines that have passed beside what they wait for, in any order: what has come goes first.
type ticker struct {
	endpoint
	l      *Loop
	at     Time // what it is set to; never: not set
	queued bool // on the run list: it is set when the wheel has been turned
}

func (t *ticker) open(l *Loop) error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("timerfd_create", err)
	}
	t.l, t.at = l, never
	t.fd, t.own = fd, t
	if err := l.registerRead(&t.endpoint); err != nil {
		sysClose(fd)
		return err
	}
	return nil
}

func (t *ticker) close() { sysClose(t.fd) }

func (t *ticker) set(at Time) {
	if at >= t.at || t.queued {
		return
	}
	t.at = at
	// Zero would disarm it, so what is overdue is due in a nanosecond.
	wait := max(int64(at-clock()), 1)
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(wait)}
	if err := unix.TimerfdSettime(t.fd, 0, &spec, nil); err != nil {
		panicf("loop %d: timerfd_settime(%d ns): %v", t.l.id, wait, err)
	}
}

// ready has the wheel turned. The timerfd is never read: edge-triggered, each expiry is an event of its own.
func (t *ticker) ready(*endpoint) {
	if !t.queued {
		t.queued = true
		t.l.runs.add(t)
	}
}

// resume turns the wheel.
func (t *ticker) resume() {
	t.l.timers.advance(t.l.now, turnTimers)
	t.at, t.queued = never, false
	if next := t.l.timers.next(); next != never {
		t.set(next)
	}
}

// logFlusher hands what the access log has gathered to its writer, some time after the first record.
type logFlusher Loop

// logDelay is how long a record may wait in a loop's buffer before somebody who watches the log sees it.
const logDelay = Time(500e6)

func (f *logFlusher) expire(Time) { f.access.Flush() }

// panicf stops the program on a state that cannot be: our mistake, never a peer's.
func panicf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
