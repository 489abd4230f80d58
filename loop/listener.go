package loop

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// defaultBacklog is what the kernel is asked to queue; it takes at most net.core.somaxconn of it.
const defaultBacklog = 4096

func (l *Listener) backlog() int {
	if l.Backlog == 0 {
		return defaultBacklog
	}
	return l.Backlog
}

// acceptPause is how long a loop waits before it tries again to accept after it ran out of descriptors or
// memory, unless one of its own connections ends before.
const acceptPause = 100 * time.Millisecond

// listener accepts clients of one Listener on one loop.
type listener struct {
	endpoint
	*Listener
	l      *Loop
	state  acceptState
	queued bool // on the run list
	shared bool // others accept from the same socket, or will when we have left: other loops, the service manager
	retry  timer
}

// acceptState says whether a listener accepts, and if not what it waits for.
type acceptState uint8

const (
	// accepting: clients are taken as they come.
	accepting acceptState = iota
	// acceptFull: max_connections is reached; the end of a connection anywhere resumes it.
	acceptFull
	// acceptStarved: descriptors or memory ran short; the end of a connection here, or a short time, resumes it.
	acceptStarved
	// acceptClosed: the loop drains.
	acceptClosed
)

func (a *listener) ready(*endpoint) {
	if a.state == accepting && !a.queued {
		a.accept()
	}
}

func (a *listener) resume() {
	a.queued = false
	a.ready(nil)
}

func (a *listener) expire(Time) {
	if a.state == acceptStarved {
		a.restart()
	}
}

func (a *listener) restart() {
	a.state = accepting
	a.l.timers.disarm(&a.retry)
	a.ready(nil)
}

// accept takes what waits in the backlog, at most acceptBurst connections.
func (a *listener) accept() {
	l := a.l
	for burst := 0; a.readable; {
		if burst == acceptBurst {
			a.queued = true
			l.runs.add(a)
			return
		}
		if l.srv.memory.short() {
			l.srv.outOfMemory("new clients wait", l.now)
			a.pause()
			return
		}
		if !l.srv.takeConn() {
			a.state = acceptFull
			l.srv.waitForConn(l)
			return
		}
		fd, errno := sysAccept(a.fd, &l.peer)
		if errno == 0 {
			burst++
			peer := peerAddr(&l.peer)
			counted, ok := l.admit(a.Listener, peer.Addr())
			if !ok {
				sysClose(fd)
				l.srv.dropConn()
				continue
			}
			l.newSession(a.Listener, fd, peer, counted)
			continue
		}
		l.srv.dropConn()
		switch errno {
		case syscall.EAGAIN:
			a.readable = false
		case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
			// Nothing is taken from those who are being served, idle backend connections included: a
			// client that got in that way would find no descriptor for a connection of its own.
			l.srv.starved(errno)
			a.pause()
			return
		default:
			// The connection died in the backlog (ECONNABORTED, EPROTO, ...): the next one may be well.
			burst++
		}
	}
}

// pause waits for what has run short.
func (a *listener) pause() {
	a.state = acceptStarved
	a.l.arm(&a.retry, a.l.now.after(acceptPause))
}

// resumeAccept lets listeners that ran out of descriptors try again: one has just become free.
func (l *Loop) resumeAccept() {
	for _, a := range l.listeners {
		if a.state == acceptStarved && !a.queued {
			a.state = accepting
			a.queued = true
			l.runs.add(a) // not now: the caller is in the middle of its own step
		}
	}
}

// resumeFull lets listeners that stopped at max_connections go on. It is posted by Server.dropConn.
func (l *Loop) resumeFull() {
	for _, a := range l.listeners {
		if a.state == acceptFull {
			a.restart()
		}
	}
}

// listen opens the sockets of one Listener, one a loop: each with its own queue (SO_REUSEPORT) on TCP, and
// all the same one where it is a unix socket, for which the kernel has no such thing, or inherited.
func listen(lis *Listener, inherited []*os.File, loops int) (fds []int, addr net.Addr, err error) {
	defer func() {
		if err != nil {
			for _, fd := range fds {
				sysClose(fd)
			}
			fds = nil
			if _, said := errors.AsType[*settingError](err); said {
				return
			}
			err = fmt.Errorf("%s: cannot listen on %s: %w", lis.Position, lis.Name, err)
		}
	}()
	if lis.Inherit != "" {
		return inherit(lis, inherited, loops)
	}
	if lis.Path != "" {
		fd, err := listenUnix(lis.Path, lis.backlog())
		if err != nil {
			return nil, nil, err
		}
		fds = append(fds, fd)
		for len(fds) < loops {
			fd, err := unix.FcntlInt(uintptr(fds[0]), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				return fds, nil, os.NewSyscallError("dup", err)
			}
			fds = append(fds, fd)
		}
		return fds, &net.UnixAddr{Name: lis.Path, Net: "unix"}, nil
	}
	bound := lis.Address
	// SO_REUSEPORT would let two processes of one user share the port by mistake, each getting some of the
	// clients. A first socket without it finds out whether somebody else is there.
	probe, err := bindTCP(bound, false, lis.Socket)
	if err != nil {
		return nil, nil, err
	}
	if bound, err = boundAddr(probe, bound); err != nil {
		sysClose(probe)
		return nil, nil, err
	}
	sysClose(probe)
	for len(fds) < loops {
		fd, err := bindTCP(bound, true, lis.Socket)
		if err != nil {
			return fds, nil, err
		}
		fds = append(fds, fd)
		if err := unix.Listen(fd, lis.backlog()); err != nil {
			return fds, nil, os.NewSyscallError("listen", err)
		}
	}
	return fds, net.TCPAddrFromAddrPort(bound), nil
}

func bindTCP(addr netip.AddrPort, reusePort bool, settings []SocketSetting) (fd int, err error) {
	sa, family := sockaddr(addr, "")
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	options := []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		// Accepted sockets inherit it: answers leave in one write, so waiting to fill a segment gains nothing.
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	}
	if reusePort {
		options = append(options, struct{ level, name, value int }{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1})
	}
	if family == unix.AF_INET6 {
		// [::] means both families, any other address is IPv6 whatever the system's default.
		only := 1
		if addr.Addr().IsUnspecified() {
			only = 0
		}
		options = append(options, struct{ level, name, value int }{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			sysClose(fd)
			return -1, os.NewSyscallError("setsockopt", err)
		}
	}
	// Before the address, which may have to be a foreign one, and before listening, since the window of a connection
	// depends on the buffer from the beginning.
	if err := setAll(fd, family, settings); err != nil {
		sysClose(fd)
		return -1, err
	}
	if err := unix.Bind(fd, sa); err != nil {
		sysClose(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	return fd, nil
}

// boundAddr returns the address with the port that the kernel chose when it was 0.
func boundAddr(fd int, addr netip.AddrPort) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return addr, os.NewSyscallError("getsockname", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(addr.Addr(), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(addr.Addr(), uint16(sa.Port)), nil
	}
	return addr, fmt.Errorf("unexpected socket address %T", sa)
}

// listenUnix binds a unix socket, in place of one that a process left behind and nobody listens on.
func listenUnix(path string, backlog int) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	sa := &unix.SockaddrUnix{Name: path}
	err = unix.Bind(fd, sa)
	if err == syscall.EADDRINUSE && abandoned(path) {
		if err = unix.Unlink(path); err == nil {
			err = unix.Bind(fd, sa)
		}
	}
	if err != nil {
		sysClose(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		sysClose(fd)
		return -1, os.NewSyscallError("listen", err)
	}
	return fd, nil
}

// abandoned reports whether path is a socket that refuses connections.
func abandoned(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return false
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return false
	}
	return true
}
