package conformance

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// socket is one end of a connection that a case plays, with all that it has got. It never blocks.
type socket struct {
	fd    int
	in    []byte
	ended bool // nothing more will come
	reset bool // and not because the peer has said so
	dead  bool // nothing more can be sent

	// seen is how much of in has been accounted for, and want what that was.
	seen int
	want []byte
	// answered is how many of the requests in it have been answered.
	answered int
	closed   bool
}

func (s *socket) close() {
	if !s.closed {
		s.closed, s.ended, s.dead = true, true, true
		unix.Close(s.fd)
	}
}

// abort closes with a RST.
func (s *socket) abort() {
	if !s.closed {
		unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	s.close()
}

// endWrite sends a FIN.
func (s *socket) endWrite() {
	if !s.dead {
		s.dead = true
		unix.Shutdown(s.fd, unix.SHUT_WR) // fails only if the connection is gone
	}
}

// read takes what there is.
func (s *socket) read() {
	var b [64 << 10]byte
	for !s.ended {
		n, err := unix.Read(s.fd, b[:])
		switch {
		case err == unix.EAGAIN:
			return
		case err == unix.EINTR:
		case err != nil:
			s.ended, s.reset, s.dead = true, true, true
		case n == 0:
			s.ended = true
		default:
			s.in = append(s.in, b[:n]...)
		}
	}
}

// write sends what the kernel takes of b, and says how much that was. A connection that is gone takes everything.
func (s *socket) write(b []byte) int {
	if s.dead {
		return len(b)
	}
	n, err := unix.Write(s.fd, b)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return 0
	case err != nil:
		s.dead = true
		return len(b)
	}
	return n
}

// listen opens a listening socket on a loopback port that the kernel chooses.
func listen() (fd int, address netip.AddrPort, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, address, err
	}
	if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: loopback}); err == nil {
		err = unix.Listen(fd, 128)
	}
	if err == nil {
		address, err = localAddress(fd)
	}
	if err != nil {
		unix.Close(fd)
		return -1, address, err
	}
	return fd, address, nil
}

var loopback = [4]byte{127, 0, 0, 1}

func localAddress(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	in, ok := sa.(*unix.SockaddrInet4)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("the address %v is not of IPv4", sa)
	}
	return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port)), nil
}

// connect opens a connection. On loopback that is done, or refused, at once.
func connect(to netip.AddrPort) (*socket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err == nil {
		err = prepare(fd)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connecting to %v: %w", to, err)
	}
	return &socket{fd: fd}, nil
}

// accept takes a connection that waits; nil if none does.
func accept(fd int) *socket {
	c, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
	if err != nil {
		return nil
	}
	if err := prepare(c); err != nil {
		unix.Close(c)
		return nil
	}
	return &socket{fd: c}
}

// prepare makes each write a segment of its own, sent at once, and no call wait.
func prepare(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	return unix.SetNonblock(fd, true)
}

// diagnosis asks the kernel about sockets of other processes (sock_diag(7)).
type diagnosis struct{ fd int }

func newDiagnosis() (*diagnosis, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("sock_diag: %w", err)
	}
	return &diagnosis{fd}, nil
}

func (d *diagnosis) close() { unix.Close(d.fd) }

// The layout of inet_diag_req_v2 and inet_diag_msg, behind a netlink header.
const (
	sockDiagByFamily = 20
	netlinkHeader    = 16
	diagRequest      = 56
	diagQueueAt      = netlinkHeader + 56 // idiag_rqueue
)

// unread returns how many bytes the other end of s has got and not read. It is 0 if there is no other end any more.
func (d *diagnosis) unread(s *socket) (int, error) {
	local, err := localAddress(s.fd)
	if err != nil {
		return 0, err
	}
	peer, err := unix.Getpeername(s.fd)
	if err != nil {
		return 0, nil // not connected any more
	}
	far := peer.(*unix.SockaddrInet4)
	var b [netlinkHeader + diagRequest]byte
	native := binary.NativeEndian
	native.PutUint32(b[0:], uint32(len(b)))
	native.PutUint16(b[4:], sockDiagByFamily)
	native.PutUint16(b[6:], unix.NLM_F_REQUEST)
	q := b[netlinkHeader:]
	q[0], q[1] = unix.AF_INET, unix.IPPROTO_TCP
	native.PutUint32(q[4:], 0xffffffff) // in any state
	// The other end's own address comes first.
	binary.BigEndian.PutUint16(q[8:], uint16(far.Port))
	binary.BigEndian.PutUint16(q[10:], local.Port())
	copy(q[12:], far.Addr[:])
	here := local.Addr().As4()
	copy(q[28:], here[:])
	native.PutUint32(q[48:], 0xffffffff) // any cookie
	native.PutUint32(q[52:], 0xffffffff)
	if _, err := unix.Write(d.fd, b[:]); err != nil {
		return 0, fmt.Errorf("sock_diag: %w", err)
	}
	var answer [512]byte
	n, err := unix.Read(d.fd, answer[:])
	if err != nil {
		return 0, fmt.Errorf("sock_diag: %w", err)
	}
	if n < diagQueueAt+4 || native.Uint16(answer[4:]) != sockDiagByFamily {
		return 0, nil // there is no such socket
	}
	return int(native.Uint32(answer[diagQueueAt:])), nil
}

// pollWait is how long one look at a condition may take when nothing happens.
const pollWait = 20 * time.Microsecond
