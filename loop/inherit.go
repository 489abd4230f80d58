package loop

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A listening socket that has been inherited from a service manager is one, however many loops there are, as is one on a
// unix socket: the kernel spreads only TCP over several, and a connection that waits in a socket of our own is lost when we
// leave, while one in the manager's waits for the next process. So the loops share it. Each of them has it in its poller,
// edge-triggered and exclusively, so that a connection wakes one loop of those that wait and not all of them
// (EPOLLEXCLUSIVE); which one is the kernel's choice. While there is little to do it tends to be the same one, and the
// others take over as soon as that one is busy.

// inherit finds the socket of a listener among those that were passed to the process, and returns a descriptor of it for
// each loop.
func inherit(lis *Listener, passed []*os.File, loops int) (fds []int, addr net.Addr, err error) {
	var file *os.File
	var names []string
	for _, f := range passed {
		names = append(names, f.Name())
		if f.Name() != lis.Inherit {
			continue
		}
		if file != nil {
			return nil, nil, fmt.Errorf("the service manager has passed several sockets of that name: give each a FileDescriptorName of its own")
		}
		file = f
	}
	switch {
	case file == nil && len(passed) == 0:
		return nil, nil, fmt.Errorf("no service manager has passed any sockets to this process (LISTEN_FDS, LISTEN_PID)")
	case file == nil:
		return nil, nil, fmt.Errorf("the service manager has passed no socket of that name, but %s", strings.Join(names, ", "))
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { // unlike Fd, this leaves the descriptor as it is
		for len(fds) < loops && failed == nil {
			var dup int
			if dup, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); failed == nil {
				fds = append(fds, dup)
			}
		}
	})
	if failed != nil {
		err = os.NewSyscallError("dup", failed)
	}
	if err == nil {
		addr, err = adopt(lis, fds[0])
	}
	return fds, addr, err
}

// adopt makes an inherited socket what one of our own would be, and returns its address.
func adopt(lis *Listener, fd int) (net.Addr, error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	if kind != unix.SOCK_STREAM || listens == 0 {
		return nil, fmt.Errorf("it is not a stream socket that listens: the unit needs ListenStream and Accept=no")
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return nil, os.NewSyscallError("getsockname", err)
	}
	var addr net.Addr
	family := unix.AF_INET
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		addr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)))
	case *unix.SockaddrInet6:
		family = unix.AF_INET6
		addr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)))
	case *unix.SockaddrUnix:
		return &net.UnixAddr{Name: sa.Name, Net: "unix"}, setAll(fd, unix.AF_UNIX, lis.Socket)
	default:
		return nil, fmt.Errorf("unexpected socket address %T", sa)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil { // as in bindTCP
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return addr, setAll(fd, family, lis.Socket)
}

// registerShared is registerRead for a socket that other loops watch, too. netpoll has no call that registers exclusively.
func (l *Loop) registerShared(e *endpoint) error {
	event := unix.EpollEvent{Fd: int32(e.fd), Events: unix.EPOLLIN | unix.EPOLLET | unix.EPOLLEXCLUSIVE}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, e.fd, &event); err != nil {
		return os.NewSyscallError("epoll_ctl add", err)
	}
	l.attach(e)
	return nil
}

// unregisterShared has the loop woken for e no more. Closing its descriptor would not do that: the socket lives on in
// those of the other loops, whose clients must not wake one that does not look.
func (l *Loop) unregisterShared(e *endpoint) {
	if err := l.poller.Delete(e.fd); err != nil {
		l.log.Warn("cannot stop watching a shared socket", "error", err)
	}
}

// unusedSockets says which inherited sockets no listener takes clients of: they would wait there for ever.
func (srv *Server) unusedSockets() {
	used := make(map[string]bool)
	for _, lis := range srv.plan.Listeners {
		used[lis.Inherit] = true
	}
	for _, f := range srv.plan.Inherited {
		if !used[f.Name()] {
			srv.log.Warn("a socket that the service manager has passed is no listener's: nobody takes its clients", "name", f.Name())
		}
	}
}
