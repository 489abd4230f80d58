package loop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"millrace/balance"
)

// tunnelWay is a way to come to a tunnel, over one kind of socket.
type tunnelWay struct {
	name string
	set  func(s *setup)
	// ask is what the client sends to get one, and answer what the server sends when it has read that: empty where
	// nobody is asked.
	ask, answer string
	status      string // the record's
	unix        bool
	told        int // length of the head that the client of an open tunnel has been sent
}

var tunnelWays = []tunnelWay{
	{name: "sock", set: func(s *setup) { s.sock = true }, status: "-"},
	{name: "sock over unix sockets", set: func(s *setup) { s.sock, s.unix = true, true }, status: "-", unix: true},
	{
		name: "upgrade", set: func(s *setup) { s.upgrade = &Upgrade{Protocols: []string{"websocket"}} },
		ask: handshake, answer: switching, status: "101",
	},
	{name: "connect", set: func(s *setup) { s.connect = true }, ask: "CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n", status: "200"},
	{name: "sock, spliced", set: func(s *setup) { s.sock, s.splice = true, 4<<10 }, status: "-"},
	{name: "sock over unix sockets, spliced", set: func(s *setup) { s.sock, s.unix, s.splice = true, true, 4<<10 }, status: "-", unix: true},
	{
		name: "upgrade, spliced", set: func(s *setup) { s.upgrade, s.splice = &Upgrade{Any: true}, 4<<10 },
		ask: handshake, answer: switching, status: "101",
	},
}

// origin is a server of the way's kind of socket.
func (w *tunnelWay) origin(tr *trace) *origin {
	if w.unix {
		return tr.unixOrigin()
	}
	return tr.origin()
}

// start opens one tunnel, and returns both ends of it when all that had to be said for it has been read.
func (w *tunnelWay) start(tr *trace, s setup) (p *proxy, c, x *peer) {
	tr.Helper()
	o := w.origin(tr)
	w.set(&s)
	p = tr.proxy(s, o)
	c, x = w.open(p, o)
	return p, c, x
}

func (w *tunnelWay) open(p *proxy, o *origin) (c, x *peer) {
	p.tr.Helper()
	c = p.dial()
	if w.ask != "" {
		c.send(w.ask)
	}
	x = o.accept()
	if w.answer != "" {
		x.wantHead()
		x.send(w.answer)
	}
	if w.ask != "" {
		w.told = len(c.wantHead())
	}
	return c, x
}

// eachTunnel runs a test for each way to come to a tunnel.
func eachTunnel(t *testing.T, f func(t *testing.T, w *tunnelWay)) {
	for _, w := range tunnelWays {
		t.Run(w.name, func(t *testing.T) { f(t, &w) })
	}
}

// wantReset says that the connection was reset, and that nothing came before. A unix socket only ends.
func (c *peer) wantReset() {
	c.tr.Helper()
	b, err := c.r.ReadByte()
	if _, tcp := c.Conn.(*net.TCPConn); tcp && !errors.Is(err, syscall.ECONNRESET) || err == nil {
		c.tr.Fatalf("%s: got %q, %v, want a reset", c.name, b, err)
	}
}

func TestATunnelPassesOnWhatComesAsItComes(t *testing.T) {
	eachTunnel(t, func(t *testing.T, w *tunnelWay) {
		tr := newTrace(t)
		p, c, x := w.start(tr, setup{record: "$status $bytes_in $bytes_out $body_bytes $end"})
		for i := range 20 {
			ask, answer := letters(1+i*i*i*9), letters(1+i*i*11)
			c.send(ask)
			x.wantBytes(ask)
			x.send(answer)
			c.wantBytes(answer)
		}
		c.sendBytes("in pieces")
		x.wantBytes("in pieces")
		c.closeWrite()
		x.wantEnd()
		x.closeWrite()
		c.wantEnd()
		up, down := len("in pieces"), 0
		for i := range 20 {
			up, down = up+1+i*i*i*9, down+1+i*i*11
		}
		p.wantRecords(fmt.Sprintf("%s %d %d %d ok", w.status, len(w.ask)+up, w.told+down, down))
	})
}

func TestTheServerMaySpeakFirst(t *testing.T) {
	for _, w := range tunnelWays[:2] {
		t.Run(w.name, func(t *testing.T) {
			tr := newTrace(t)
			_, c, x := w.start(tr, setup{})
			x.send("220 ready\r\n")
			c.wantBytes("220 ready\r\n")
			c.send("QUIT\r\n")
			x.wantBytes("QUIT\r\n")
		})
	}
}

func TestTheEndOfOneSideLeavesTheOtherDirectionOpen(t *testing.T) {
	eachTunnel(t, func(t *testing.T, w *tunnelWay) {
		for _, first := range []string{"client", "server"} {
			t.Run(first, func(t *testing.T) {
				tr := newTrace(t)
				p, c, x := w.start(tr, setup{record: "$end"})
				a, b := c, x
				if first == "server" {
					a, b = x, c
				}
				a.send("all I have to say")
				a.closeWrite()
				b.wantBytes("all I have to say")
				b.wantEnd()
				for range 10 {
					b.send("and another thing ")
					a.wantBytes("and another thing ")
				}
				p.settle()
				if n := p.open(); n != 1 {
					t.Fatalf("%d tunnels are open, want 1", n)
				}
				b.Close()
				a.wantEnd()
				tr.eventually("the tunnel stays", func() bool { return p.open() == 0 })
				p.wantRecords("ok")
			})
		}
	})
}

func TestAResetGoesOnAsAReset(t *testing.T) {
	eachTunnel(t, func(t *testing.T, w *tunnelWay) {
		if w.unix {
			t.Skip("unix sockets have no reset of their own: see TestAUnixPeerThatLeavesBytesUnread")
		}
		for first, end := range map[string]string{"client": "client_abort", "server": "backend_error"} {
			for _, half := range []bool{false, true} {
				t.Run(fmt.Sprint(first, ", the other has ended: ", half), func(t *testing.T) {
					tr := newTrace(t)
					p, c, x := w.start(tr, setup{record: "$end"})
					a, b := c, x
					if first == "server" {
						a, b = x, c
					}
					if half {
						b.closeWrite()
						a.wantEnd()
					}
					a.send("last words")
					b.wantBytes("last words")
					a.reset()
					b.wantReset()
					p.wantRecords(end)
				})
			}
		}
	})
}

func TestAResetBehindBytesThatNobodyReads(t *testing.T) {
	// The direction in which it could be read is blocked, so it has to be noticed without reading.
	eachTunnel(t, func(t *testing.T, w *tunnelWay) {
		if w.unix {
			t.Skip("unix sockets have no reset")
		}
		for first, end := range map[string]string{"client": "client_abort", "server": "backend_error"} {
			t.Run(first, func(t *testing.T) {
				tr := newTrace(t)
				p, c, x := w.start(tr, setup{record: "$end"})
				a, b := c, x
				if first == "server" {
					a, b = x, c
				}
				p.clog(a, b)
				a.reset()
				tr.eventually("the tunnel stays", func() bool { return p.open() == 0 })
				if got := b.wantGone(); len(got) == 0 {
					t.Error("nothing of what came before the reset arrived")
				}
				p.wantRecords(end)
			})
		}
	})
}

// clog has a send until the proxy holds bytes that b does not take.
func (p *proxy) clog(a, b *peer) {
	p.tr.Helper()
	if tcp, ok := b.Conn.(*net.TCPConn); ok {
		tcp.SetReadBuffer(1)
	}
	p.onLoops(func(l *Loop) {
		s := l.sessions.next
		p.tr.shrink(s.client.fd, unix.SO_SNDBUF)
		p.tr.shrink(s.origin.fd, unix.SO_SNDBUF)
	})
	piece := letters(20000)
	for !p.clogged() {
		a.send(piece)
		p.settle()
	}
}

// clogged reports whether the only session holds bytes that one of its sides does not take.
func (p *proxy) clogged() bool {
	p.tr.Helper()
	clogged := false
	p.onLoops(func(l *Loop) {
		if s := l.sessions.next; s != &l.sessions && s.origin != nil {
			clogged = s.client.waiting() || s.origin.waiting()
		}
	})
	return clogged
}

func TestASideThatTakesNoMoreDoesNotLoseWhatItSent(t *testing.T) {
	// It has ended properly and is gone; then the other side goes on sending.
	eachTunnel(t, func(t *testing.T, w *tunnelWay) {
		for _, first := range []string{"client", "server"} {
			t.Run(first, func(t *testing.T) {
				tr := newTrace(t)
				p, c, x := w.start(tr, setup{})
				a, b := c, x
				if first == "server" {
					a, b = x, c
				}
				release := p.hold()
				a.send(letters(60000))
				a.Close() // nothing is unread, so this is a FIN
				b.send("to nobody")
				release()
				p.settle()
				for range 5 { // the first of these raises a reset, the others meet it
					b.send("to nobody")
					p.settle()
				}
				b.wantBytes(letters(60000))
				b.wantEnd()
				b.Close()
				tr.eventually("the tunnel stays", func() bool { return p.open() == 0 })
			})
		}
	})
}

func TestAUnixPeerThatLeavesBytesUnreadResetsTheTunnel(t *testing.T) {
	tr := newTrace(t)
	o := tr.unixOrigin()
	p := tr.proxy(setup{sock: true, record: "$end"}, o)
	c := p.dial()
	x := o.accept()
	c.send("never read")
	if _, err := x.r.Peek(1); err != nil {
		t.Fatal(err)
	}
	c.send("nor this")
	p.settle()
	x.Close()
	c.wantReset()
	p.wantRecords("backend_error")
}

func TestATunnelOfASlowReaderHoldsOneBuffer(t *testing.T) {
	eachTunnel(t, func(t *testing.T, w *tunnelWay) {
		for _, slow := range []string{"client", "server"} {
			t.Run(slow, func(t *testing.T) {
				tr := newTrace(t)
				p, c, x := w.start(tr, setup{})
				a, b := x, c
				if slow == "server" {
					a, b = c, x
				}
				const size = 48 << 20 // more than all the kernel's buffers on the way
				sent := tr.beside(a.name, func() error {
					if _, err := io.Copy(onlyWriter{a}, noise(6, size)); err != nil {
						return err
					}
					a.closeWrite()
					return nil
				})
				tr.eventually("it takes everything", p.clogged)
				var got bytes.Buffer
				for range 50 {
					if held := p.held(); len(held) > 1 || len(held) == 1 && held[0] > relayRead+headRoom+tailRoom {
						t.Fatalf("the tunnel holds buffers of %d bytes, want one read", held)
					}
					if _, err := io.CopyN(&got, b.r, 1024); err != nil {
						t.Fatal(err)
					}
				}
				want, err := sum(noise(6, size))
				if err != nil {
					t.Fatal(err)
				}
				if all, err := sum(io.MultiReader(&got, b.r)); all != want || err != nil {
					t.Errorf("got %s, %v, want %s", all, err, want)
				}
				sent()
				// The other direction was open all the time.
				b.send("thanks")
				a.wantBytes("thanks")
			})
		}
	})
}

func TestASilentTunnelHoldsNothing(t *testing.T) {
	eachTunnel(t, func(t *testing.T, w *tunnelWay) {
		tr := newTrace(t)
		p, c, x := w.start(tr, setup{})
		for range 3 {
			c.send(letters(100000))
			x.wantBytes(letters(100000))
			x.send(letters(100000))
			c.wantBytes(letters(100000))
		}
		p.settle()
		if held := p.held(); len(held) != 0 {
			t.Errorf("a silent tunnel holds buffers of %d bytes", held)
		}
		memory := 0
		p.onLoops(func(l *Loop) {
			s := l.sessions.next
			memory = int(unsafe.Sizeof(*s)+unsafe.Sizeof(*s.origin)+unsafe.Sizeof(*s.t)) + cap(s.t.quoted) +
				2*int(unsafe.Sizeof(l.fds[0])) + cap(s.x.req.Fields)*int(unsafe.Sizeof(s.x.req.Fields[0])) +
				cap(s.x.res.Fields) + cap(s.x.up.fields) + cap(s.x.down.fields)
			if s.x != &s.t.x {
				t.Error("a tunnel keeps the exchange that it began as")
			}
		})
		t.Logf("%d bytes", memory)
		if memory > 3<<10 {
			t.Errorf("a silent tunnel takes %d bytes", memory)
		}
	})
}

func TestWhenAServerRefusesTheNextOneIsTried(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{sock: true, record: "$server $retries $end"}, tr.refusing(), tr.refusing(), o)
	c := p.dial()
	c.send("who is there?")
	x := o.accept()
	x.wantBytes("who is there?")
	x.send("me")
	x.closeWrite()
	c.wantBytes("me")
	c.wantEnd()
	c.Close()
	x.wantEnd()
	p.wantRecords(o.name + " 2 ok")
}

func TestWhenNoServerCanBeConnectedToTheClientIsClosedAtOnce(t *testing.T) {
	for name, test := range map[string]struct {
		timeouts Timeouts
		server   func(tr *trace) string
		record   string
	}{
		"refused":   {Timeouts{}, (*trace).refusing, "- 0 0 app 1 backend_error"},
		"unix":      {Timeouts{}, func(tr *trace) string { return "unix:" + tr.TempDir() + "/nobody" }, "- 0 0 app 1 backend_error"},
		"timed out": {Timeouts{Connect: short}, (*trace).full, "- 0 0 app 1 backend_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			p := tr.proxy(setup{sock: true, timeouts: test.timeouts, record: "$status $bytes_in $bytes_out $backend $retries $end"},
				test.server(tr), test.server(tr))
			c := p.dial()
			if got := c.wantGone(); got != "" {
				t.Errorf("got %q", got)
			}
			p.wantRecords(test.record)
		})
	}
}

func TestWhenAllServersRestTheClientIsClosedAtOnce(t *testing.T) {
	tr := newTrace(t)
	p := tr.proxy(setup{sock: true, disableTime: time.Hour, record: "$server $end"}, tr.refusing())
	for range 2 {
		if got := p.dial().wantGone(); got != "" {
			t.Errorf("got %q", got)
		}
	}
	got := p.records()
	if len(got) != 2 || !strings.HasSuffix(got[0], " backend_error") || got[1] != "- no_server" {
		t.Errorf("records: %q", got)
	}
}

func TestAClientThatLeavesWhileItIsConnectedCostsNoServer(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{sock: true, record: "$server $end"}, tr.full(), o)
	c := p.dial()
	tr.eventually("nobody is being connected", func() bool { return p.group.InFlight(0) == 1 })
	c.reset()
	tr.eventually("the session stays", func() bool { return p.open() == 0 })
	o.wantNobody()
	if got := p.records(); len(got) != 1 || !strings.HasSuffix(got[0], " client_abort") {
		t.Errorf("records: %q", got)
	}
}

func TestASilentTunnelTimesOut(t *testing.T) {
	eachTunnel(t, func(t *testing.T, w *tunnelWay) {
		for name, before := range map[string]func(c, x *peer){
			"silent from the start": func(c, x *peer) {},
			"after a word": func(c, x *peer) {
				c.send("word")
				x.wantBytes("word")
			},
			"half closed": func(c, x *peer) {
				x.closeWrite()
				c.wantEnd()
			},
		} {
			t.Run(name, func(t *testing.T) {
				tr := newTrace(t)
				p, c, x := w.start(tr, setup{timeouts: Timeouts{TunnelIdle: short}, record: "$status $end"})
				before(c, x)
				if name != "half closed" {
					c.wantReset()
				}
				x.wantReset()
				p.wantRecords(w.status + " tunnel_idle")
			})
		}
	})
}

func TestBytesInEitherDirectionKeepATunnelOpen(t *testing.T) {
	eachTunnel(t, func(t *testing.T, w *tunnelWay) {
		tr := newTrace(t)
		p, c, x := w.start(tr, setup{timeouts: Timeouts{TunnelIdle: time.Hour}})
		deadline := func() (at Time) {
			p.onLoops(func(l *Loop) { at, _ = l.sessions.next.deadline() })
			return at
		}
		for _, side := range [][2]*peer{{c, x}, {x, c}} {
			before := deadline()
			side[0].send("x")
			side[1].wantBytes("x")
			if after := deadline(); after <= before {
				t.Errorf("the %s has sent, and the tunnel's end is at %v as before", side[0].name, after)
			}
		}
	})
}

func TestADrainLetsTunnelsLive(t *testing.T) {
	eachTunnel(t, func(t *testing.T, w *tunnelWay) {
		tr := newTrace(t)
		p, c, x := w.start(tr, setup{record: "$end"})
		drained := p.draining()
		c.send("still")
		x.wantBytes("still")
		x.send("there")
		c.wantBytes("there")
		c.Close()
		x.wantEnd()
		x.Close()
		drained()
		p.wantRecords("ok")
	})
}

func TestADrainThatTakesTooLongCutsTunnels(t *testing.T) {
	eachTunnel(t, func(t *testing.T, w *tunnelWay) {
		tr := newTrace(t)
		p, c, x := w.start(tr, setup{drainTimeout: short, record: "$end"})
		p.drain()
		c.wantReset()
		x.wantReset()
		p.wantRecords("shutdown")
	})
}

func TestATunnelDoesNotKeepALoopToItself(t *testing.T) {
	eachTunnel(t, func(t *testing.T, w *tunnelWay) {
		tr := newTrace(t)
		p, c, x := w.start(tr, setup{})
		const size = 64 << 20
		sent := tr.beside("client", func() error {
			_, err := io.Copy(onlyWriter{c}, noise(7, size))
			c.closeWriteSoon()
			return err
		})
		got := tr.beside("origin", func() error {
			want, err := sum(noise(7, size))
			if err != nil {
				return err
			}
			if is, err := sum(x.r); is != want || err != nil {
				return fmt.Errorf("got %s, %v, want %s", is, err, want)
			}
			return nil
		})
		most := 0
		for moving := true; moving; {
			p.onLoops(func(l *Loop) {
				if s := l.sessions.next; s != &l.sessions {
					most = max(most, s.turn.up)
					moving = s.t.up.state == flowOpen
				} else {
					moving = false
				}
			})
		}
		sent()
		got()
		if limit := turnBytes + 4*len(p.srv.loops[0].relay); most > limit {
			t.Errorf("%d bytes were moved in a turn, want no more than %d", most, limit)
		}
	})
}

// closeWriteSoon is closeWrite for use beside the test.
func (c *peer) closeWriteSoon() { c.Conn.(interface{ CloseWrite() error }).CloseWrite() }

func TestConnectionsOfTunnelsAreNotPooled(t *testing.T) {
	eachTunnel(t, func(t *testing.T, w *tunnelWay) {
		tr := newTrace(t)
		p, c, x := w.start(tr, setup{})
		c.Close()
		x.wantEnd()
		x.Close()
		tr.eventually("the tunnel stays", func() bool { return p.open() == 0 })
		if n := p.idle(); n != 0 {
			t.Errorf("%d connections of tunnels are pooled", n)
		}
	})
}

func TestTunnelsAreCountedByTheBalancer(t *testing.T) {
	tr := newTrace(t)
	a, b := tr.origin(), tr.origin()
	p := tr.proxy(setup{sock: true}, a, b)
	for range 3 { // fair: whoever has fewer, and the first between equals
		p.dial()
		a.accept()
		p.dial()
		b.accept()
	}
}

// Nobody is told a status in a raw tunnel, so that none can be a failure: else a client that has its connection reset
// would take the server from all others.
func TestAResetOfARawTunnelIsNoStatus(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	bad := new(StatusSet)
	bad.Add(502)
	p := tr.proxy(setup{sock: true, disableTime: time.Hour, failover: Backend{FailOnStatus: bad}}, o)
	c := p.dial()
	x := o.accept()
	c.send("what it does not like")
	x.wantBytes("what it does not like")
	x.reset()
	c.wantGone()
	tr.eventually("the tunnel stays", func() bool { return p.open() == 0 })
	p.dial()
	o.accept()
}

func TestTheBytesOfTunnelsAreCountedByTheBalancer(t *testing.T) {
	for _, w := range []*tunnelWay{&tunnelWays[0], &tunnelWays[2], &tunnelWays[3]} {
		t.Run(w.name, func(t *testing.T) {
			tr := newTrace(t)
			a, b := tr.origin(), tr.origin()
			s := setup{balance: balance.Options{Algorithm: "bytraffic"}}
			w.set(&s)
			p := tr.proxy(s, a, b)
			for _, o := range []*origin{a, b} { // whoever has had fewer bytes, and the first between equals
				c, x := w.open(p, o)
				c.send("some bytes")
				x.wantBytes("some bytes")
				c.Close()
				x.wantEnd()
				x.Close()
				tr.eventually("the tunnel stays", func() bool { return p.open() == 0 })
			}
		})
	}
}

func TestRawConnectionsOfAClientStickToAServer(t *testing.T) {
	tr := newTrace(t)
	servers := []any{tr.origin(), tr.origin(), tr.origin()}
	for i, o := range servers {
		o.(*origin).serve(func(x *peer) error { return x.say(fmt.Sprint(i)) })
	}
	p := tr.proxy(setup{sock: true, balance: balance.Options{Algorithm: "sticky"}, key: Key{Source: KeyClient}}, servers...)
	first, err := io.ReadAll(p.dial())
	for range 5 {
		again, errAgain := io.ReadAll(p.dial())
		if err = errors.Join(err, errAgain); err != nil || len(first) == 0 || string(again) != string(first) {
			t.Fatalf("served by %q and by %q: %v", first, again, err)
		}
	}
}

// say writes s and ends.
func (c *peer) say(s string) error {
	_, err := io.WriteString(c, s)
	return err
}
