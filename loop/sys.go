package loop

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of the data path. They never block, since every descriptor is non-blocking, so the
// scheduler need not be told of them: RawSyscall saves it the bookkeeping, some 50 ns a call.
// recvfrom and sendto rather than read and write: they skip the file layer, and MSG_NOSIGNAL spares a SIGPIPE.
// Both are just small enough to be inlined: behind a system call the processor predicts no return.

func sysRecv(fd int, b []byte, flags uintptr) (n int, errno syscall.Errno) {
	r, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), flags, 0, 0)
	return int(r), errno
}

func sysSend(fd int, b []byte) (n int, errno syscall.Errno) {
	r, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
	return int(r), errno
}

// sysAccept accepts one connection, non-blocking and close-on-exec, and fills sa with the peer's address.
func sysAccept(fd int, sa *unix.RawSockaddrAny) (int, syscall.Errno) {
	size := uint32(unix.SizeofSockaddrAny)
	n, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(sa)), uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(n), errno
}

// sysEpollWait waits for up to so many milliseconds, without telling the Go scheduler, so that it keeps the processor for as
// long. A signal ends it, by which the scheduler asks for the processor.
func sysEpollWait(epfd int, events []unix.EpollEvent, ms int) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), uintptr(ms), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// blockEpollWait waits for as long as it takes, while others have the processor.
func blockEpollWait(epfd int, events []unix.EpollEvent) (int, syscall.Errno) {
	forever := -1
	n, _, errno := syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), uintptr(forever), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func sysClose(fd int) {
	syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

// closeWrite sends our FIN and reports whether the connection is still there for the other direction.
func closeWrite(fd int) bool { return unix.Shutdown(fd, unix.SHUT_WR) == nil }

// pendingError takes the error that is waiting on a socket, such as a reset by the peer.
func pendingError(fd int) syscall.Errno {
	v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err.(syscall.Errno)
	}
	return syscall.Errno(v)
}

// finCame reports whether the peer of a connection that has nothing more to read has sent its FIN, rather than nothing but a
// reset that somebody else was told of. With TCP_INQ, the kernel counts a FIN that has come as a byte to be read for ever.
func finCame(fd int) bool {
	if unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_INQ, 1) != nil {
		return true // not TCP, or older than Linux 4.18
	}
	var b [1]byte
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(fd, b[:], control, unix.MSG_DONTWAIT)
	if err != nil {
		return false
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 || messages[0].Header.Type != unix.TCP_CM_INQ || len(messages[0].Data) < 4 {
		return true // a kernel that takes the option and does not know it
	}
	return binary.NativeEndian.Uint32(messages[0].Data) > 0
}

// sysUnsent returns how many bytes that the kernel has accepted for a socket the peer has not acknowledged.
func sysUnsent(fd int) int64 {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0 // the connection is gone, which the next call on it shows
	}
	return int64(n)
}

// peerAddr reads the address that accept filled in; a unix peer has none.
func peerAddr(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		p := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(p.Addr), swap16(p.Port))
	case unix.AF_INET6:
		p := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		// A dual-stack listener shows IPv4 clients as ::ffff:a.b.c.d; backends and logs want a.b.c.d.
		return netip.AddrPortFrom(netip.AddrFrom16(p.Addr).Unmap(), swap16(p.Port))
	}
	return netip.AddrPort{}
}

// swap16 turns a port from network byte order, as the kernel left it in memory, into a number.
func swap16(v uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&v))
	return uint16(b[0])<<8 | uint16(b[1])
}

// sockaddr makes the form that connect and bind want of an address, or of a unix socket's path.
func sockaddr(addr netip.AddrPort, path string) (sa unix.Sockaddr, family int) {
	switch {
	case path != "":
		return &unix.SockaddrUnix{Name: path}, unix.AF_UNIX
	case addr.Addr().Is4() || addr.Addr().Is4In6():
		return &unix.SockaddrInet4{Addr: addr.Addr().Unmap().As4(), Port: int(addr.Port())}, unix.AF_INET
	default:
		return &unix.SockaddrInet6{Addr: addr.Addr().As16(), Port: int(addr.Port())}, unix.AF_INET6
	}
}

// raiseFileLimit raises the soft limit of open files to the hard one and returns it.
func raiseFileLimit() (int, error) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	if lim.Cur < lim.Max {
		lim.Cur = lim.Max
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
			return 0, os.NewSyscallError("setrlimit", err)
		}
	}
	return int(min(lim.Cur, 1<<30)), nil
}
