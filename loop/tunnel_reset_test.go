package loop

import (
	"net"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel's counts of what a socket has taken to be sent, a FIN included.
const (
	unacknowledged = unix.SIOCOUTQ
	unsent         = 0x894b // SIOCOUTQNSD of linux/sockios.h
)

// queued asks for one of these counts.
func (tr *trace) queued(fd int, count uint) int {
	tr.Helper()
	n, err := unix.IoctlGetInt(fd, count)
	if err != nil {
		tr.Fatal(err)
	}
	return n
}

// acknowledged waits until the kernel on the other side has everything that a peer has sent.
func (c *peer) acknowledged() {
	c.tr.Helper()
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		c.tr.Fatal(err)
	}
	c.tr.eventually("bytes are not acknowledged", func() bool {
		n := -1
		if err := raw.Control(func(fd uintptr) { n = c.tr.queued(int(fd), unacknowledged) }); err != nil {
			c.tr.Fatal(err)
		}
		return n == 0
	})
}

func TestAResetOfASideThatBothHaveEndedDoesNotLoseWhatItSent(t *testing.T) {
	// Both have said goodbye. What the one sent waits for the other, who reads slowly; what the other sent waits in the
	// kernel for the one, who resets the connection instead. The kernel tells of such a reset as of any other.
	eachTunnel(t, func(t *testing.T, w *tunnelWay) {
		if w.unix {
			t.Skip("unix sockets have no reset")
		}
		for _, first := range []string{"client", "server"} {
			t.Run(first, func(t *testing.T) {
				tr := newTrace(t)
				p, c, x := w.start(tr, setup{record: "$end"})
				a, b := c, x
				if first == "server" {
					a, b = x, c
				}
				fdOfA := -1
				p.onLoops(func(l *Loop) {
					s := l.sessions.next
					if fdOfA = s.client.fd; first == "server" {
						fdOfA = s.origin.fd
					}
				})
				a.Conn.(*net.TCPConn).SetReadBuffer(1)
				var sent strings.Builder
				piece := letters(20000)
				send := func() {
					a.send(piece)
					sent.WriteString(piece)
					p.settle()
				}
				for !p.clogged() {
					send()
				}
				for range 2 { // what b's kernel still finds room for is less
					send()
				}
				a.closeWrite()
				a.acknowledged()
				// So much that some of it, and the FIN behind it, waits in the kernel and no longer in the proxy.
				for tr.queued(fdOfA, unsent) == 0 {
					b.send(letters(500))
					p.settle()
				}
				b.closeWrite()
				tr.eventually("the end is not passed on", func() bool {
					done := false
					p.onLoops(func(l *Loop) {
						if s := l.sessions.next; s != &l.sessions {
							done = s.t.up.state == flowDone || s.t.down.state == flowDone
						}
					})
					return done
				})
				a.reset()
				p.settle()
				b.wantBytes(sent.String())
				b.wantEnd()
				p.wantRecords("ok")
			})
		}
	})
}

func TestWhoIsSlowToTakeTheLastBytesGetsThemThoughItSendsOn(t *testing.T) {
	// One side has ended properly and is gone. The other one sends on, so that closing its connection would be a reset,
	// and has yet to take what the kernel holds for it.
	eachTunnel(t, func(t *testing.T, w *tunnelWay) {
		if w.unix {
			t.Skip("what a unix socket has been sent is with the receiver already")
		}
		for _, first := range []string{"client", "server"} {
			t.Run(first, func(t *testing.T) {
				tr := newTrace(t)
				p, c, x := w.start(tr, setup{record: "$end"})
				a, b, end := c, x, "client_abort"
				if first == "server" {
					a, b, end = x, c, "backend_error"
				}
				text := letters(150_000)
				b.Conn.(*net.TCPConn).SetReadBuffer(20_000)
				a.send(text)
				a.closeWrite()
				tr.eventually("the end is not passed on", func() bool {
					done := false
					p.onLoops(func(l *Loop) {
						t := l.sessions.next.t
						done = t.up.state == flowDone || t.down.state == flowDone
					})
					return done
				})
				a.Close()
				tr.eventually("the tunnel does not linger", func() bool {
					lingers := false
					b.send("more")
					p.onLoops(func(l *Loop) { lingers = l.sessions.next.t.lingersSince != 0 })
					return lingers
				})
				timeIsUp := func() (open bool) {
					p.onLoops(func(l *Loop) {
						s := l.sessions.next
						if s == &l.sessions {
							return
						}
						s.t.lingersSince = 1
						s.expire(l.now)
						open = s.stage == stageTunnel
					})
					return open
				}
				if !timeIsUp() {
					t.Error("it is closed with bytes that have not been taken")
				}
				b.wantBytes(text[:100_000])
				b.send("more")
				if !timeIsUp() {
					t.Error("it is closed while they are being taken")
				}
				b.wantBytes(text[100_000:])
				b.wantEnd()
				tr.eventually("it stays though all has been taken", func() bool { return !timeIsUp() })
				p.wantRecords(end)
			})
		}
	})
}
