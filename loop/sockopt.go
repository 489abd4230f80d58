package loop

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// SocketOption is an option of sockets that a configuration can set: socket(7), tcp(7), ip(7). Sockets that are accepted
// inherit all of them from the one that listens, so that none costs a system call a connection there.
type SocketOption uint8

const (
	// SocketKeepAlive is SO_KEEPALIVE: 1 for on.
	SocketKeepAlive SocketOption = iota
	// SocketKeepAliveIdle is TCP_KEEPIDLE, in seconds.
	SocketKeepAliveIdle
	// SocketKeepAliveInterval is TCP_KEEPINTVL, in seconds.
	SocketKeepAliveInterval
	// SocketKeepAliveCount is TCP_KEEPCNT.
	SocketKeepAliveCount
	// SocketUserTimeout is TCP_USER_TIMEOUT, in milliseconds.
	SocketUserTimeout
	// SocketDeferAccept is TCP_DEFER_ACCEPT, in seconds. It is for sockets that listen.
	SocketDeferAccept
	// SocketFastOpen is TCP_FASTOPEN, the length of a queue. It is for sockets that listen.
	SocketFastOpen
	// SocketMark is SO_MARK.
	SocketMark
	// SocketInterface is SO_BINDTODEVICE, with the name of the interface as text.
	SocketInterface
	// SocketTransparent is IP_TRANSPARENT, of either family: 1 for on.
	SocketTransparent
	// SocketReceiveBuffer is SO_RCVBUF, in bytes.
	SocketReceiveBuffer
	// SocketSendBuffer is SO_SNDBUF, in bytes.
	SocketSendBuffer
)

// kernelOptions is what the kernel calls them.
var kernelOptions = [...]struct{ level, name int }{
	SocketKeepAlive:         {unix.SOL_SOCKET, unix.SO_KEEPALIVE},
	SocketKeepAliveIdle:     {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
	SocketKeepAliveInterval: {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
	SocketKeepAliveCount:    {unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
	SocketUserTimeout:       {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
	SocketDeferAccept:       {unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT},
	SocketFastOpen:          {unix.IPPROTO_TCP, unix.TCP_FASTOPEN},
	SocketMark:              {unix.SOL_SOCKET, unix.SO_MARK},
	SocketInterface:         {unix.SOL_SOCKET, unix.SO_BINDTODEVICE},
	SocketTransparent:       {unix.IPPROTO_IP, unix.IP_TRANSPARENT},
	SocketReceiveBuffer:     {unix.SOL_SOCKET, unix.SO_RCVBUF},
	SocketSendBuffer:        {unix.SOL_SOCKET, unix.SO_SNDBUF},
}

// SocketSetting is an option and its value.
type SocketSetting struct {
	Option SocketOption
	Value  int
	Text   string // of SocketInterface
	// Key is the key of the configuration that says so, and Position where it does, as file:line:column.
	Key, Position string
}

// settingError is a setting that the kernel refuses.
type settingError struct {
	key, position string
	err           error
}

func (e *settingError) Error() string {
	return fmt.Sprintf("%s: %s cannot be set: %v", e.position, e.key, e.err)
}

func (e *settingError) Unwrap() error { return e.err }

// set sets the option of a socket of a family.
func (o *SocketSetting) set(fd, family int) error {
	k := kernelOptions[o.Option]
	var err error
	switch {
	case o.Option == SocketInterface:
		err = unix.SetsockoptString(fd, k.level, k.name, o.Text)
	case o.Option == SocketTransparent && family == unix.AF_INET6:
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT, o.Value)
	default:
		err = unix.SetsockoptInt(fd, k.level, k.name, o.Value)
	}
	if err != nil {
		return &settingError{o.Key, o.Position, os.NewSyscallError("setsockopt", err)}
	}
	return nil
}

// setAll sets the options of a socket, and stops at the first that is refused.
func setAll(fd, family int, settings []SocketSetting) error {
	for i := range settings {
		if err := settings[i].set(fd, family); err != nil {
			return err
		}
	}
	return nil
}

// transparent reports whether clients may have connected to another address than the listener's.
func (l *Listener) transparent() bool {
	return slices.ContainsFunc(l.Socket, func(o SocketSetting) bool { return o.Option == SocketTransparent })
}

// BackendSocket is what is set of the sockets that connect to the servers of a backend. Those on unix sockets are left
// alone.
type BackendSocket struct {
	Settings []SocketSetting
	// Source4 and Source6 are the addresses to connect from, by the family of the server; not valid: the kernel's choice.
	Source4, Source6 netip.Addr
	// FromClient connects from the address of the client, with SocketTransparent among the settings. Such a connection
	// is not kept for another client.
	FromClient bool
	// SourceKey and SourcePosition are those of the sources, as in SocketSetting.
	SourceKey, SourcePosition string
}

// private reports whether each connection to the server is made for one client, so that none can be made ahead or kept.
func (b *BackendServer) private() bool {
	return b.SendProxy != 0 || b.Socket != nil && b.Socket.FromClient
}

// source is the fixed address for servers of a family.
func (b *BackendSocket) source(family int) netip.Addr {
	if family == unix.AF_INET6 {
		return b.Source6
	}
	return b.Source4
}

// prepare sets the options of a new socket and binds it to source, if that is valid.
func (b *BackendSocket) prepare(fd, family int, settings []SocketSetting, source netip.Addr) error {
	if family == unix.AF_UNIX {
		return nil
	}
	if err := setAll(fd, family, settings); err != nil {
		return err
	}
	if !source.IsValid() {
		return nil
	}
	// The port is chosen by connect, which knows the other end: one can then be in use to several servers at a time.
	// Without it, there are just fewer of them.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	sa, sourceFamily := sockaddr(netip.AddrPortFrom(source, 0), "")
	err := error(unix.EAFNOSUPPORT)
	if sourceFamily == family {
		err = unix.Bind(fd, sa)
	}
	if err != nil {
		return &settingError{b.SourceKey, b.SourcePosition, fmt.Errorf("%w (connecting from %v)", os.NewSyscallError("bind", err), source)}
	}
	return nil
}

// prepareSocket makes a new socket for server t what its backend wants of it. s is the session that it is for.
//
// A failure is ours, like a lack of ports: the server is not to blame, and no other one of the backend would help.
func (l *Loop) prepareSocket(fd int, t *target, s *session) syscall.Errno {
	b := t.Socket
	source := b.source(t.family)
	if b.FromClient {
		source = s.clientIP()
	}
	if err := b.prepare(fd, t.family, b.Settings, source); err != nil {
		l.srv.unprepared.say(l.srv, err, l.now)
		return syscall.EADDRNOTAVAIL
	}
	return 0
}

// unprepared says which option of a server's socket could not be set, at most once in starvedQuiet.
type unprepared struct{ said atomic.Int64 }

func (u *unprepared) say(srv *Server, err error, now Time) {
	last := u.said.Load()
	if last != 0 && int64(now)-last < int64(starvedQuiet) || !u.said.CompareAndSwap(last, int64(now)) {
		return
	}
	srv.log.Warn("a server cannot be connected to as the configuration wants it", "error", err)
}

// trySockets finds out whether the options of servers' sockets can be set, before anybody needs one. It is done last, by
// who the process has become.
func (srv *Server) trySockets() error {
	for _, b := range srv.plan.Backends {
		tried := make(map[int]bool)
		for _, s := range b.Servers {
			_, family := sockaddr(s.Address, s.Path)
			if s.Socket == nil || tried[family] || family == unix.AF_UNIX {
				continue
			}
			tried[family] = true
			fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return os.NewSyscallError("socket", err)
			}
			err = s.Socket.prepare(fd, family, s.Socket.Settings, s.Socket.source(family))
			sysClose(fd)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// control prepares the socket of a health check: as those of requests, but for the client's address, since there is no
// client. It is for net.Dialer, whose networks are tcp4 and tcp6 by then.
func (b *BackendSocket) control(network, _ string, c syscall.RawConn) error {
	family := unix.AF_INET
	if strings.HasSuffix(network, "6") {
		family = unix.AF_INET6
	}
	var err error
	if failed := c.Control(func(fd uintptr) { err = b.prepare(int(fd), family, b.Settings, b.source(family)) }); failed != nil {
		return failed
	}
	return err
}
