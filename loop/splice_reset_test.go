package loop

import (
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// tcpPair is a connection whose one end is a plain descriptor, as an endpoint has it.
func (tr *trace) tcpPair() (fd int, far *peer) {
	tr.Helper()
	o := tr.origin()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tr.Fatal(err)
	}
	sa, _ := sockaddr(o.l.Addr().(*net.TCPAddr).AddrPort(), "")
	if err := unix.Connect(fd, sa); err != nil {
		tr.Fatal(err)
	}
	unix.SetNonblock(fd, true)
	far = o.accept()
	o.close()
	return fd, far
}

// waitFor waits for an event of a descriptor.
func (tr *trace) waitFor(fd int, events int16) {
	tr.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, int(patience.Milliseconds()))
		if n > 0 {
			return
		}
		if err != unix.EINTR {
			tr.Fatalf("no event: %v", err)
		}
	}
}

func TestTheEndOfAConnectionIsKnownFromAResetThatNobodyWasToldOf(t *testing.T) {
	for _, test := range []struct {
		name        string
		ours, peers bool // who has sent a FIN
		reset       bool
		want        bool
	}{
		{"reset", false, false, true, false},
		{"reset behind our FIN", true, false, true, false},
		{"FIN", false, true, false, true},
		{"FIN and reset", false, true, true, true},
		{"both FINs", true, true, false, true},
		{"both FINs and a reset", true, true, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			tr := newTrace(t)
			fd, far := tr.tcpPair()
			defer unix.Close(fd)
			far.send("last words")
			if test.ours {
				closeWrite(fd)
			}
			if test.peers {
				far.closeWrite()
			}
			if test.reset {
				far.reset()
				tr.waitFor(fd, unix.POLLHUP)
			} else {
				tr.waitFor(fd, unix.POLLRDHUP)
			}
			pendingError(fd)
			b := make([]byte, 100)
			for n, errno := sysRecv(fd, b, 0); n > 0; n, errno = sysRecv(fd, b, 0) {
				if errno != 0 {
					t.Fatal(errno)
				}
			}
			if got := finCame(fd); got != test.want {
				t.Errorf("a FIN has come: %v, want %v", got, test.want)
			}
		})
	}
	t.Run("unix", func(t *testing.T) {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(pair[1])
		if !finCame(pair[0]) {
			t.Error("the end of a unix socket is not one")
		}
		unix.Close(pair[0])
	})
}

func TestAResetInTheMiddleOfASpliceIsNotTakenForAnEnd(t *testing.T) {
	const rounds = 250
	tr := newTrace(t)
	l := &Loop{pipes: pipes{max: 1}}
	defer l.pipes.close()
	data, b := make([]byte, pipeBytes), make([]byte, 1)
	for round := range rounds {
		fd, far := tr.tcpPair()
		reset := tr.beside("peer", func() error {
			b := make([]byte, 64<<10)
			for got := 0; got < round*16000; {
				n, err := far.r.Read(b)
				if err != nil {
					return err
				}
				got += n
			}
			far.reset()
			return nil
		})
		e := &endpoint{fd: fd}
		var errno syscall.Errno
		for errno == 0 {
			if e.pipe == nil {
				q := l.pipes.get()
				n, err := unix.Write(q.w, data)
				if err != nil {
					t.Fatal(err)
				}
				q.n, e.pipe = n, q
			}
			e.writable = true
			if _, errno = e.flushPipe(l); errno == 0 && !e.writable {
				tr.waitFor(fd, unix.POLLOUT)
			}
		}
		l.dropPipe(e)
		e.readable = true
		n, readErrno := e.recv(b)
		if errno != syscall.ECONNRESET && readErrno != syscall.ECONNRESET {
			t.Errorf("round %d: splicing says %v, and reading %d, %v, end: %v", round, errno, n, readErrno, e.eof)
		}
		unix.Close(fd)
		reset()
	}
}
