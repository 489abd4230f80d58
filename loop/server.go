package loop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"millrace/internal/accesslog"
)

// Server runs a plan. It belongs to the control plane: what it wants of the loops it posts to them.
type Server struct {
	plan  *Plan
	log   *slog.Logger
	loops []*Loop
	addrs []net.Addr
	// pipes is how many each loop may have, and spliceFrom the size from which on bytes go through them.
	pipes      int
	spliceFrom int64

	writer *accesslog.Writer // nil when the access log is off

	// Shared by the loops: client connections are counted over all of them, since max_connections is.
	conns    atomic.Int64
	maxConns atomic.Int64
	// waiting: some listener has stopped at max_connections.
	waiting     atomic.Bool
	fullSaid    atomic.Bool
	starvedSaid atomic.Int64 // when it was last said, as Time; 0: never

	memory  memory
	clients *clientTable // nil: connections are not limited a client
	rates   *rateTable   // nil: no requests are limited
	// Connections that were closed as soon as they had been accepted, and when it was last said, as Time.
	denied, crowded, refusedSaid atomic.Int64
	unproxied                    unproxied
	unprepared                   unprepared

	running sync.WaitGroup
	checks  sync.WaitGroup
	done    chan struct{} // closed when all loops have ended
	err     error         // why a loop ended early; read after done
	errOnce sync.Once
	drain   sync.Once
}

// reservedFiles is what the process needs besides connections: its own files, and some to spare for
// name look-ups and log rotation. Each loop needs a few more.
const (
	reservedFiles        = 32
	reservedFilesPerLoop = 8
)

// Start opens the listeners of plan and serves. The listeners accept when it returns. An error leaves
// nothing open; it names the listener, or the file, that is to blame.
//
// When all is open, and before any client is accepted, it calls the functions in opened, in order, for what can
// be done only then, such as giving up privileges. An error of theirs is its own.
func Start(plan *Plan, log *slog.Logger, opened ...func() error) (*Server, error) {
	n := plan.Loops
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	srv := &Server{plan: plan, log: log, done: make(chan struct{})}
	var err error
	if srv.pipes, err = srv.limitConns(n); err != nil {
		return nil, err
	}
	if srv.spliceFrom, err = srv.chooseSplice(); err != nil {
		return nil, err
	}
	srv.memory.setLimit(plan.MemoryLimit)
	if limit := plan.Limits.ConnectionsPerClient; limit > 0 {
		srv.clients = newClientTable(limit, int(srv.maxConns.Load()))
	}
	if plan.limitsRates() {
		srv.rates = newRateTable()
	}
	if plan.AccessLog != nil {
		w, err := accesslog.Open(plan.AccessLog.Path)
		if err != nil {
			return nil, err
		}
		srv.writer = w
	}
	srv.unusedSockets()
	for _, b := range plan.Backends {
		if b.Limit != nil {
			b.Limit.start(srv, b, n)
		}
	}
	err = srv.open(n)
	for _, f := range opened {
		if err == nil {
			err = f()
		}
	}
	if err == nil {
		err = srv.trySockets()
	}
	if err != nil {
		for _, l := range srv.loops {
			l.shut()
		}
		if srv.writer != nil {
			err = errors.Join(err, srv.writer.Close())
		}
		return nil, err
	}
	members := newMembers(srv)
	for _, l := range srv.loops {
		srv.running.Go(func() {
			if err := l.run(); err != nil {
				srv.errOnce.Do(func() { srv.err = fmt.Errorf("loop %d: %w", l.id, err) })
			}
			l.leave()
			close(l.gone)
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	srv.watchHealth(ctx)
	srv.watchEjections(ctx)
	members.watch(ctx)
	go srv.finish(cancel)
	return srv, nil
}

// limitConns settles how many clients there may be, and how many pipes each loop may have beside them.
func (srv *Server) limitConns(loops int) (pipes int, err error) {
	limit, err := raiseFileLimit()
	if err != nil {
		return 0, err
	}
	free := limit - reservedFiles - loops*(reservedFilesPerLoop+len(srv.plan.Listeners))
	if free > 0 {
		pipes = srv.pipesFor(free, loops)
		free -= 2 * pipes * loops
	}
	if free < 2 {
		return 0, fmt.Errorf("the open-file limit, %d, leaves no room for connections", limit)
	}
	// Each client may need a connection to a server at the same time.
	most := free / 2
	switch want := srv.plan.MaxConnections; {
	case want == 0:
		srv.maxConns.Store(int64(most))
	case want > most:
		srv.log.Warn("the open-file limit is too low for max_connections: fewer connections are accepted",
			"max_connections", want, "open_files", limit, "accepted", most)
		srv.maxConns.Store(int64(most))
	default:
		srv.maxConns.Store(int64(want))
	}
	return pipes, nil
}

// open makes the loops and their listeners.
func (srv *Server) open(n int) error {
	for id := range n {
		l, err := newLoop(srv, id)
		if err != nil {
			return err
		}
		srv.loops = append(srv.loops, l)
		if srv.writer != nil {
			l.access = srv.writer.NewBuffer(srv.plan.AccessLog.Format)
		}
	}
	for _, lis := range srv.plan.Listeners {
		fds, addr, err := listen(lis, srv.plan.Inherited, n)
		if err != nil {
			return err
		}
		srv.addrs = append(srv.addrs, addr)
		for i, l := range srv.loops {
			a := &listener{Listener: lis, l: l, shared: lis.Inherit != "" || n > 1 && lis.Path != ""}
			a.endpoint = endpoint{fd: fds[i], own: a}
			a.retry.own = a
			l.listeners = append(l.listeners, a)
		}
	}
	for _, l := range srv.loops {
		for _, a := range l.listeners {
			register := l.registerRead
			if a.shared {
				register = l.registerShared
			}
			if err := register(&a.endpoint); err != nil {
				return err
			}
		}
	}
	return nil
}

// finish waits for the loops and ends what they shared.
func (srv *Server) finish(endChecks context.CancelFunc) {
	srv.running.Wait()
	endChecks()
	srv.checks.Wait()
	for _, l := range srv.loops {
		l.shut()
	}
	for _, lis := range srv.plan.Listeners {
		if lis.Path != "" {
			if err := os.Remove(lis.Path); err != nil {
				srv.log.Warn("cannot remove a listener's socket", "error", err)
			}
		}
	}
	if srv.writer != nil {
		if err := srv.writer.Close(); err != nil {
			srv.errOnce.Do(func() { srv.err = err })
		}
	}
	close(srv.done)
}

// Addrs returns what the listeners are bound to, in the plan's order.
func (srv *Server) Addrs() []net.Addr { return srv.addrs }

// Wait returns when all loops have ended: after Drain, with nil, or early with the reason.
func (srv *Server) Wait() error {
	<-srv.done
	return srv.err
}

// Drain stops accepting, lets what is in flight end, and returns when it has. When ctx ends, or the plan's
// drain_timeout has passed, what is left is cut and counted in the process log.
func (srv *Server) Drain(ctx context.Context) error {
	srv.drain.Do(func() {
		for _, l := range srv.loops {
			l.post(l.drain)
		}
		timeout := make(<-chan time.Time)
		if d := srv.plan.DrainTimeout; d > 0 {
			t := time.NewTimer(d)
			defer t.Stop()
			timeout = t.C
		}
		select {
		case <-srv.done:
			return
		case <-ctx.Done():
		case <-timeout:
		}
		srv.log.Warn("drain_timeout passed: open connections are cut", "connections", srv.conns.Load())
		for _, l := range srv.loops {
			l.post(l.cutAll)
		}
	})
	return srv.Wait()
}

// ReopenLogs opens the access log's file anew, after it was renamed. The old one stays in use if that fails.
func (srv *Server) ReopenLogs() error {
	if srv.writer == nil {
		return nil
	}
	// What was logged before goes to the old file, so the loops hand over what they still hold.
	for _, l := range srv.loops {
		flushed := make(chan struct{})
		l.post(func() {
			l.access.Flush()
			close(flushed)
		})
		select {
		case <-flushed:
		case <-l.gone: // it has handed over everything
		}
	}
	select {
	case <-srv.done:
		return nil // all of it has been written, and the file closed
	default:
		return srv.writer.Reopen()
	}
}

// takeConn counts a client connection, unless there are as many as there may be.
func (srv *Server) takeConn() bool {
	if srv.conns.Add(1) <= srv.maxConns.Load() {
		return true
	}
	srv.conns.Add(-1)
	return false
}

// dropConn is the end of a client connection, which may be what a listener waits for.
func (srv *Server) dropConn() {
	srv.conns.Add(-1)
	if srv.waiting.Load() && srv.waiting.Swap(false) {
		for _, l := range srv.loops {
			l.post(l.resumeFull)
		}
	}
}

// waitForConn has l's listeners resumed when a connection ends.
func (srv *Server) waitForConn(l *Loop) {
	if !srv.fullSaid.Swap(true) {
		srv.log.Warn("max_connections reached: new clients wait until others leave", "max_connections", srv.maxConns.Load())
	}
	srv.waiting.Store(true)
	// One may have ended before the flag was there to be seen.
	if srv.conns.Load() < srv.maxConns.Load() {
		l.post(l.resumeFull)
	}
}

// starved notes that descriptors or memory ran short, at most once in starvedQuiet.
func (srv *Server) starved(errno syscall.Errno) {
	now := int64(clock())
	last := srv.starvedSaid.Load()
	if last != 0 && now-last < int64(starvedQuiet) || !srv.starvedSaid.CompareAndSwap(last, now) {
		return
	}
	srv.log.Warn("accepting pauses", "error", errno, "connections", srv.conns.Load())
	if errno == syscall.EMFILE {
		// max_connections leaves room for the other side of each connection, so the limit is not the one that
		// it was derived from any more: somebody has lowered it under the running process.
		if _, err := srv.limitConns(len(srv.loops)); err != nil {
			srv.log.Error("cannot derive max_connections anew", "error", err)
		}
	}
}

// starvedQuiet keeps a shortage that comes and goes from filling the process log.
const starvedQuiet = 10 * time.Second

// drain is the beginning of the end of a loop. Clients that the kernel has accepted already are served:
// closing their queue would reset them.
func (l *Loop) drain() {
	l.draining = true
	for _, a := range l.listeners {
		a.readable = a.fd >= 0 && a.Inherit == "" // there, they wait for the next process
		for a.readable && a.state == accepting {
			a.queued = false
			a.accept()
		}
		l.timers.disarm(&a.retry)
		a.state = acceptClosed
		if a.shared && a.fd >= 0 {
			l.unregisterShared(&a.endpoint)
		}
		l.close(&a.endpoint)
	}
	// The newest first: for want of a descriptor a session may close newer ones, never older ones.
	for s := l.sessions.prev; s != &l.sessions; {
		older := s.prev
		if s.x == nil {
			s.client.readable = true // the last look at what may have come
			s.step(l.now)
		}
		s = older
	}
	if l.open == 0 {
		l.drained()
	}
}

// cutAll ends what the drain could not wait for.
func (l *Loop) cutAll() {
	for s := l.sessions.next; s != &l.sessions; {
		next := s.next
		if s.x != nil {
			s.x.fault = faultShutdown
			s.showCut()
			s.aborted = s.aborted || s.t != nil
			s.finishExchange(l.now)
		}
		s.close()
		s = next
	}
	l.drained()
}

// drained is the end of the last session of a loop that drains.
func (l *Loop) drained() {
	if l.stop {
		return
	}
	l.dropAhead()
	l.leaveLimits()
	l.dropIdle()
	l.leaveLimits()
	if l.access != nil {
		l.access.Flush()
	}
	l.stop = true
}

// leave closes the loop's listening sockets, so that the kernel sends no client to it any more.
func (l *Loop) leave() {
	for _, a := range l.listeners {
		if a.fd >= 0 {
			sysClose(a.fd)
			a.fd = -1
		}
	}
}

// shut closes the loop's own descriptors. All loops have ended, or never began: as long as one runs, others
// may be posted to, which writes to a descriptor of theirs.
func (l *Loop) shut() {
	l.posts.close()
	l.leave()
	l.pipes.close()
	l.tick.close()
	if err := l.poller.Close(); err != nil {
		l.log.Warn("cannot close a poller", "error", err)
	}
}
