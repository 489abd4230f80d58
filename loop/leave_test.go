package loop

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Clients and origins that leave while bytes wait for them, or while something else is waited for.

func TestAClientThatResetsWhileAConnectionIsMadeIsForgotten(t *testing.T) {
	tr := newTrace(t)
	p := tr.proxy(setup{record: "$status $end"}, tr.full())
	c := p.dial()
	c.send(post("/", "body"))
	p.settle()
	// An event that was meant for the descriptor's previous life does not make a connection.
	p.onLoops(func(l *Loop) {
		s := l.sessions.next
		s.origin.latch(unix.EPOLLOUT)
		s.step(l.now)
		if s.stage != stageDial {
			t.Errorf("the session is in stage %v, want %v", s.stage, stageDial)
		}
	})
	c.reset()
	tr.eventually("the session stays", func() bool { return p.open() == 0 })
	p.wantRecords("499 client_abort")
}

func TestAClientThatResetsWithBytesWaitingForItIsForgotten(t *testing.T) {
	t.Run("in the middle", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{record: "$status $end"}, o)
		c := p.dialSlow(get("/"))
		x := o.accept()
		x.wantRequest("GET /", "")
		head, piece := untilClose.endless()
		x.send(head)
		for !p.stuck(stageRelay) {
			x.send(piece)
		}
		c.reset()
		x.wantGone()
		tr.eventually("the session stays", func() bool { return p.open() == 0 })
		p.wantRecords("200 client_abort")
	})
	t.Run("at the end", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{record: "$status $end"}, o)
		c, x := p.stickAtTheEnd(o, get("/"))
		c.reset()
		tr.eventually("the session stays", func() bool { return p.open() == 0 })
		x.wantNothing() // the origin has nothing to do with it
		p.wantRecords("200 client_abort")
	})
}

func TestAClientThatResetsBehindAnEarlyAnswerIsForgotten(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{record: "$status $end"}, o)
	c := p.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
	x := o.accept()
	x.wantHead()
	x.send(ok("early"))
	c.want(200, "early")
	c.reset()
	tr.eventually("the session stays", func() bool { return p.open() == 0 })
	p.wantRecords("200 ok")
}

func TestAnOriginThatResetsWithBytesWaitingForItFailed(t *testing.T) {
	for name, answer := range map[string]string{"silent": "", "with an answer": "HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nmuch"} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			o.shrink()
			p := tr.proxy(setup{record: "$status $retries $end"}, o)
			c := p.dial()
			c.send("POST / HTTP/1.1\r\nHost: a\r\n" + byLength.fields(100<<20))
			x := o.accept()
			x.wantHead()
			sent := tr.beside("client", func() error {
				io.Copy(onlyWriter{c}, zeros{}) // until it is told to stop
				return nil
			})
			tr.eventually("the origin takes everything", func() bool {
				stuck := false
				p.onLoops(func(l *Loop) { stuck = l.sessions.next.origin.out.len() > 0 })
				return stuck
			})
			x.send(answer)
			x.reset()
			if answer != "" {
				c.want(413, "much")
			} else {
				c.wantError("POST", 502)
			}
			c.reset()
			sent()
			o.wantNobody()
			tr.eventually("the session stays", func() bool { return p.open() == 0 })
		})
	}
}

func TestAnAnswerOfOursComesBehindWhatWaits(t *testing.T) {
	// Interim responses that the client has not taken yet, and then an origin that has gone.
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{record: "$status $end"}, o)
	c := p.dialSlow(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	interim := "HTTP/1.1 103 Early Hints\r\nLink: " + strings.Repeat("x", 30000) + "\r\n\r\n"
	release := p.hold()
	x.send(interim)
	release()
	tr.eventually("the client takes everything", func() bool { return p.stuck(stageRelay) })
	x.reset()
	p.settle()
	c.wantBytes(interim)
	c.wantError("GET", 502)
	p.wantRecords("502 backend_error")
}

func TestMoreConnectionsThanThereAreDescriptorsAreNotPromised(t *testing.T) {
	tr := newTrace(t)
	p := tr.proxy(setup{maxConns: 1 << 30}, "127.0.0.1:1")
	if n := p.srv.maxConns.Load(); n >= 1<<29 || n < 1 {
		t.Errorf("%d connections are promised", n)
	}
	if !strings.Contains(p.said.String(), "max_connections") {
		t.Errorf("the process log says %q", p.said)
	}
}

func TestABodyInChunksThatIsTooLargeAtOnceReachesNobody(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{limits: Limits{BodyBytes: 100}, record: "$status $bytes_in $end"}, o)
	c := p.dial()
	request := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(letters(101)) + "0\r\n\r\n"
	c.send(request)
	if res := c.wantError("POST", 413); !res.Close {
		t.Error("413 without Connection: close")
	}
	if got := o.accept().wantGone(); got != "" {
		t.Errorf("the origin got %q", got)
	}
	c.Close()
	p.wantRecords(fmt.Sprint("413 ", len(request), " bad_request"))
}

func TestASlowClientGetsTheEndOfAResponseThoughItHasSentMore(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	body := letters(200_000)
	// Its own buffer is small: what it has not read is in ours, which the kernel makes large enough.
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { tr.shrink(int(fd), unix.SO_RCVBUF) })
	}}
	conn, err := d.Dial("tcp", p.srv.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	c := tr.peer("client", conn)
	// Behind the request something that nobody reads, so that closing would be a reset.
	c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nmore")
	x := o.accept()
	x.wantRequest("GET /", "")
	x.send(ok(body))
	lingers := func(s *session) bool { return s != &s.l.sessions && s.stage == stageLinger }
	tr.eventually("it does not linger", func() (yes bool) {
		p.onLoops(func(l *Loop) { yes = l.sessions.next != &l.sessions && lingers(l.sessions.next) })
		return yes
	})
	timeIsUp := func() (still bool) {
		p.onLoops(func(l *Loop) {
			s := l.sessions.next
			if s == &l.sessions {
				return
			}
			s.stageSince = 0
			s.expire(l.now)
			still = s.stage == stageLinger
		})
		return still
	}
	if !timeIsUp() {
		t.Error("it is closed with bytes that the client has not taken")
	}
	got := make([]byte, 100_000)
	if _, err := io.ReadFull(c.r, got); err != nil {
		t.Fatal(err)
	}
	if !timeIsUp() {
		t.Error("it is closed while the client reads")
	}
	rest, err := io.ReadAll(c.r)
	if whole := string(got) + string(rest); err != nil || !strings.HasSuffix(whole, body) {
		t.Errorf("%d bytes, %v", len(whole), err)
	}
	c.Close()
	tr.eventually("the session stays", func() bool { return p.open() == 0 })
}

func TestWhatAClientSendsBehindTheLastAnswerDoesNotResetIt(t *testing.T) {
	tr := newTrace(t)
	p := tr.proxy(setup{}, tr.origin())
	c := p.dial()
	c.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
	c.wantError("CONNECT", 405)
	c.wantEnd()
	// It cannot have known that nobody reads on.
	c.send("bytes for a tunnel")
	conn, err := c.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	conn.Control(func(fd uintptr) {
		tr.eventually("nobody takes it", func() bool {
			if err := pendingError(int(fd)); err != 0 {
				t.Fatalf("it is answered with a reset: %v", err)
			}
			return sysUnsent(int(fd)) == 0
		})
	})
	c.Close()
	tr.eventually("the session stays", func() bool { return p.open() == 0 })
}

func TestTheConnectionOfAClientThatHasSaidItsLastIsClosedAtOnce(t *testing.T) {
	for _, head := range []string{"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET / HTTP/1.0\r\nHost: a\r\n\r\n"} {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		c.send(head)
		x := o.accept()
		x.wantRequest("GET /", "")
		x.send(ok("a"))
		c.want(200, "a")
		// It does not even have to close its side.
		end := clock() + Time(lingerTime)/2
		tr.eventually("the session stays", func() bool { return p.open() == 0 || clock() > end })
		if n := p.open(); n != 0 {
			t.Errorf("%d sessions linger for a client that sends no more", n)
		}
	}
}

func TestAResetForACutResponseLeavesTheOneBeforeItWhole(t *testing.T) {
	for _, ends := range []bool{false, true} {
		t.Run(fmt.Sprint("half-closed: ", ends), func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{}, o)
			// Its own buffer is small: what it has not read is in ours, which the kernel makes large enough.
			d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
				return raw.Control(func(fd uintptr) { tr.shrink(int(fd), unix.SO_RCVBUF) })
			}}
			conn, err := d.Dial("tcp", p.srv.Addrs()[0].String())
			if err != nil {
				t.Fatal(err)
			}
			c := tr.peer("client", conn)
			c.send(strings.Repeat("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 2))
			if ends {
				c.closeWrite()
			}
			x := o.accept()
			x.wantRequest("GET /", "")
			body := letters(200_000)
			x.send(ok(body))
			x = o.accept()
			x.wantRequest("GET /", "")
			x.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
			tr.eventually("it is not passed on", func() (yes bool) {
				p.onLoops(func(l *Loop) {
					s := l.sessions.next
					yes = s != &l.sessions && s.x != nil && s.x.down.payload == 4
				})
				return yes
			})
			x.Close()
			tr.eventually("its end is not noticed", func() (yes bool) {
				p.onLoops(func(l *Loop) { yes = l.sessions.next == &l.sessions || l.sessions.next.x == nil })
				return yes
			})
			c.want(200, body)
			rest, err := io.ReadAll(c.r)
			if !strings.HasSuffix(string(rest), "\r\n\r\nhalf") || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %s, %v: want a part, and a reset", excerpt(string(rest)), err)
			}
			c.Close()
			tr.eventually("the session stays", func() bool { return p.open() == 0 })
		})
	}
}
