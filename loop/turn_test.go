package loop

import (
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// gate is an owner that stops its loop when an event comes, until it is opened: what the loop does before and
// behind it is then known.
type gate struct {
	endpoint
	reached, opened chan struct{}
}

func (g *gate) ready(*endpoint) {
	g.reached <- struct{}{}
	<-g.opened
}

// gate puts one into the only loop. Raise makes the event that the loop stops at.
func (p *proxy) gate() (g *gate, raise func()) {
	p.tr.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		p.tr.Fatal(err)
	}
	g = &gate{reached: make(chan struct{}), opened: make(chan struct{})}
	g.fd, g.own = fd, g
	p.onLoops(func(l *Loop) {
		if err := l.registerRead(&g.endpoint); err != nil {
			p.tr.Error(err)
		}
	})
	p.tr.Cleanup(func() {
		if p.ended {
			unix.Close(fd)
			return
		}
		p.onLoops(func(l *Loop) { l.close(&g.endpoint) })
	})
	return g, func() {
		if _, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			p.tr.Error(err)
		}
	}
}

func TestAConnectionThatIsResetBeforeAnythingWasSentCountsAsRefused(t *testing.T) {
	tr := newTrace(t)
	o, other := tr.origin(), tr.origin()
	p := tr.proxy(setup{record: "$status $retries $end"}, o, other)
	g, raise := p.gate()
	c := p.dial()
	p.settle()
	release := p.hold()
	c.send(post("/", "body"))
	raise()
	release()
	<-g.reached // the request has been read, and connecting has begun
	o.accept().reset()
	g.opened <- struct{}{}
	x := other.accept()
	x.wantRequest("POST /", "body")
	x.send(ok("fine"))
	c.want(200, "fine")
	o.wantNobody()
	p.wantRecords("200 1 ok")
}

func TestALoopTurnsToOthersAfterSomeRequestsOfOne(t *testing.T) {
	for name, length := range map[string]int{
		"many in a read": 64,
		"one a read":     headRead, // so that nothing is left over between two requests
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{excluded: map[int]bool{0: true}, record: "$target"}, o)
			greedy, modest := p.dial(), p.dial()
			p.settle()
			p.onLoops(func(l *Loop) {
				for s := l.sessions.next; s != &l.sessions; s = s.next {
					if err := unix.SetsockoptInt(s.client.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20); err != nil {
						t.Error(err)
					}
				}
			})
			request := strings.Replace(get("/greedy"), "\r\n\r\n", "\r\nX: \r\n\r\n", 1)
			request = strings.Replace(request, "X: ", "X: "+strings.Repeat("x", length-len(request)), 1)
			const n = 4 * turnRequests
			release := p.hold()
			greedy.send(strings.Repeat(request, n))
			modest.send(get("/modest"))
			release()
			modest.wantError("GET", 404)
			for range n {
				greedy.wantError("GET", 404)
			}
			records := p.records()
			if at := slices.Index(records, "/modest"); at < 0 || at > 2*turnRequests {
				t.Errorf("the other client was answered behind %d requests", at)
			}
		})
	}
}

func TestALoopTurnsToOthersAfterSomeBytesOfOne(t *testing.T) {
	const size = 2 << 20
	// roomy makes a socket's buffer large enough for everything.
	roomy := func(fd, which int) {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, which, 2*size); err != nil {
			t.Error(err)
		}
	}
	t.Run("of a response", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		g, raise := p.gate()
		c := p.dial()
		c.send(get("/"))
		x := o.accept()
		x.wantRequest("GET /", "")
		var s *session
		p.onLoops(func(l *Loop) {
			s = l.sessions.next
			roomy(s.origin.fd, unix.SO_RCVBUF)
			roomy(s.client.fd, unix.SO_SNDBUF)
		})
		release := p.hold()
		x.send("HTTP/1.1 200 OK\r\n" + byLength.fields(size))
		if err := byLength.write(x, noise(6, size)); err != nil {
			t.Fatal(err)
		}
		raise()
		release()
		<-g.reached // in the same batch of events, so that all this has been one turn
		if n := s.x.bytesOut; n == 0 || n > turnBytes+relayRead+headRoom {
			t.Errorf("%d bytes were moved in a turn, want %d or so", n, turnBytes)
		}
		g.opened <- struct{}{}
		if got, err := sum(io.LimitReader(c.r, size)); err != nil {
			t.Errorf("got %s, %v", got, err)
		}
	})
	t.Run("of a request", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		g, raise := p.gate()
		c := p.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\n" + byLength.fields(size))
		x := o.accept()
		x.wantHead()
		var s *session
		p.onLoops(func(l *Loop) {
			s = l.sessions.next
			roomy(s.client.fd, unix.SO_RCVBUF)
			roomy(s.origin.fd, unix.SO_SNDBUF)
		})
		release := p.hold()
		if err := byLength.write(c, noise(7, size)); err != nil {
			t.Fatal(err)
		}
		raise()
		release()
		<-g.reached
		if n := s.x.bytesIn; n < relayRead || n > turnBytes+relayRead+headRoom {
			t.Errorf("%d bytes were moved in a turn, want %d or so", n, turnBytes)
		}
		g.opened <- struct{}{}
		if got, err := sum(io.LimitReader(x.r, size)); err != nil {
			t.Errorf("got %s, %v", got, err)
		}
		x.send(ok("fine"))
		c.want(200, "fine")
	})
}
