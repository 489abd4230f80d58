package loop

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// short is a timeout that a test waits for: some ticks of the wheel.
const short = 80 * time.Millisecond

// notBefore says that at least d has passed since start, and not much more.
func (tr *trace) notBefore(start time.Time, d time.Duration) {
	tr.Helper()
	if took := time.Since(start); took < d || took > d+patience/4 {
		tr.Errorf("the timeout of %v passed after %v", d, took)
	}
}

func TestAClientThatSendsNothingIsClosed(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{timeouts: Timeouts{ClientIdle: short}, record: "$target $end"}, o)
	start := time.Now()
	c := p.dial()
	c.wantEnd()
	tr.notBefore(start, short)
	// Neither does one that has been served.
	c = p.dial()
	c.send(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	start = time.Now()
	x.send(ok("fine"))
	c.want(200, "fine")
	c.wantEnd()
	tr.notBefore(start, short)
	p.wantRecords("/ ok")
}

func TestAHeadThatDoesNotEndTimesOut(t *testing.T) {
	for _, begun := range []string{"G", "GET / HTTP/1.1\r\nHost: a\r\n"} {
		t.Run(begun[:1]+fmt.Sprint(len(begun)), func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{timeouts: Timeouts{ClientHeader: short}, record: "$status $end"}, o)
			c := p.dial()
			start := time.Now()
			c.send(begun)
			if res := c.wantError("GET", 408); !res.Close {
				t.Error("408 without Connection: close")
			}
			tr.notBefore(start, short)
			c.wantEnd()
			c.Close()
			o.wantNobody()
			p.wantRecords("408 client_timeout")
		})
	}
}

func TestAHeadThatComesDropByDropTimesOutToo(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{timeouts: Timeouts{ClientHeader: 3 * short}}, o)
	c := p.dial()
	start := time.Now()
	stop := make(chan struct{})
	dripped := tr.beside("client", func() error {
		tick := time.NewTicker(short / 8)
		defer tick.Stop()
		io.WriteString(c, "GET / HTTP/1.1\r\nX: ")
		for {
			select {
			case <-stop:
				return nil
			case <-tick.C:
				if _, err := io.WriteString(c, "x"); err != nil {
					return nil
				}
			}
		}
	})
	c.wantError("GET", 408)
	tr.notBefore(start, 3*short)
	close(stop)
	dripped()
}

func TestABodyThatDoesNotComeTimesOut(t *testing.T) {
	for name, begun := range map[string]string{
		"length":          "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
		"length, begun":   "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
		"chunked":         "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
		"chunked, begun":  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
		"chunked, almost": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{timeouts: Timeouts{ClientBody: short}, record: "$status $end"}, o)
			c := p.dial()
			start := time.Now()
			c.send(begun)
			x := o.accept()
			if _, _, err := x.readRequest(); err == nil {
				t.Error("the origin got a complete request")
			}
			if res := c.wantError("POST", 408); !res.Close {
				t.Error("408 without Connection: close")
			}
			tr.notBefore(start, short)
			c.Close()
			p.wantRecords("408 client_timeout")
		})
	}
}

func TestTheRestOfAnUnwantedBodyTimesOut(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{timeouts: Timeouts{ClientBody: short}, record: "$status $end"}, o)
	c := p.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
	x := o.accept()
	x.wantHead()
	start := time.Now()
	x.send(ok("early"))
	c.want(200, "early")
	c.wantEnd()
	tr.notBefore(start, short)
	c.Close()
	p.wantRecords("200 ok")
}

func TestAServerThatDoesNotContinueTimesOut(t *testing.T) {
	// It is the server that both wait for: the client is not to blame.
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{timeouts: Timeouts{ClientBody: short / 4, Response: short}, record: "$status $end"}, o)
	c := p.dial()
	start := time.Now()
	c.send(expectHead)
	x := o.accept()
	x.wantHead()
	if res := c.wantError("POST", 504); !res.Close {
		t.Error("504 without Connection: close, though the body may still come")
	}
	tr.notBefore(start, short)
	x.wantGone()
	c.Close()
	p.wantRecords("504 backend_timeout")
}

func TestAServerThatDoesNotAnswerTimesOut(t *testing.T) {
	for name, request := range map[string]string{
		"GET": get("/"), "POST": post("/", "body"), "HEAD": "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
		"chunked": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		for _, begun := range []string{"", "HTTP/1.1 200 OK\r\n", hints103} {
			t.Run(fmt.Sprintf("%s %q", name, begun), func(t *testing.T) {
				tr := newTrace(t)
				o, other := tr.origin(), tr.origin()
				p := tr.proxy(setup{timeouts: Timeouts{Response: short}, record: "$status $retries $end"}, o, other)
				c := p.dial()
				start := time.Now()
				c.send(request)
				x := o.accept()
				x.wantHead()
				x.send(begun)
				if begun == hints103 {
					c.wantBytes(hints103)
				}
				method, _, _ := strings.Cut(request, " ")
				if res := c.wantError(method, 504); res.Close {
					t.Error("504 says Connection: close, and nothing is wrong with the client's")
				}
				tr.notBefore(start, short)
				x.wantGone()
				other.wantNobody() // it may still act
				p.wantRecords("504 0 backend_timeout")
			})
		}
	}
}

func TestAServerThatStopsInTheMiddleOfABodyTimesOut(t *testing.T) {
	for _, f := range []framing{byLength, byChunks, untilClose} {
		for _, k := range clientKinds {
			t.Run(fmt.Sprint(f, " to ", k.name), func(t *testing.T) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{timeouts: Timeouts{BackendRead: short}, record: "$status $end"}, o)
				c := p.dial()
				c.send(k.request("/"))
				x := o.accept()
				x.wantRequest("GET /", "")
				head, framed := f.response(letters(100))
				start := time.Now()
				x.send(head + framed[:50])
				c.wantCut()
				tr.notBefore(start, short)
				x.wantGone()
				c.Close()
				p.wantRecords("200 backend_timeout")
			})
		}
	}
}

func TestAServerThatDoesNotReadARequestTimesOut(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{timeouts: Timeouts{BackendRead: short}, record: "$status $end"}, o)
	c := p.dial()
	sent := tr.beside("client", func() error {
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
		io.CopyN(c, zeros{}, 100000000) // ends with the connection
		return nil
	})
	x := o.accept()
	c.wantError("POST", 504)
	c.reset()
	sent()
	x.reset()
	p.wantRecords("504 backend_timeout")
}

// zeros is a body without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// dialSlow connects a client that takes few bytes as long as it does not read, and sends a request. The buffers
// on both ends of its connection are the smallest there are.
func (p *proxy) dialSlow(request string) *peer {
	p.tr.Helper()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { p.tr.shrink(int(fd), unix.SO_RCVBUF) })
	}}
	conn, err := d.Dial("tcp", p.srv.Addrs()[0].String())
	if err != nil {
		p.tr.Fatal(err)
	}
	c := p.tr.peer("client", conn)
	p.settle()
	p.onLoops(func(l *Loop) {
		for s := l.sessions.next; s != &l.sessions; s = s.next {
			p.tr.shrink(s.client.fd, unix.SO_SNDBUF)
		}
	})
	c.send(request)
	return c
}

// shrink makes one buffer of a socket as small as it goes, for good.
func (tr *trace) shrink(fd, which int) {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, which, 1); err != nil {
		tr.Errorf("cannot shrink a buffer: %v", err)
	}
}

// stuck reports whether a session in the given stage holds bytes that its client does not take.
func (p *proxy) stuck(in stage) bool {
	p.tr.Helper()
	stuck := false
	p.onLoops(func(l *Loop) {
		for s := l.sessions.next; s != &l.sessions; s = s.next {
			stuck = stuck || s.client.waiting() && s.stage == in
		}
	})
	return stuck
}

// endless is a response whose body has not ended yet, and a piece to make it longer.
func (f framing) endless() (head, piece string) {
	head, piece = f.response(letters(4096))
	switch f {
	case byLength:
		head = strings.Replace(head, "4096", "1000000000", 1)
	case byChunks:
		piece = strings.TrimSuffix(piece, "0\r\n\r\n")
	}
	return head, piece
}

func TestAClientThatDoesNotReadTimesOut(t *testing.T) {
	for _, f := range []framing{byLength, byChunks, untilClose} {
		for _, k := range clientKinds {
			t.Run(fmt.Sprint(f, " to ", k.name), func(t *testing.T) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{timeouts: Timeouts{ClientWrite: 5 * short}, record: "$status $end"}, o)
				c := p.dialSlow(k.request("/"))
				x := o.accept()
				x.wantRequest("GET /", "")
				head, piece := f.endless()
				x.send(head)
				for !p.stuck(stageRelay) {
					x.send(piece)
				}
				x.wantGone()
				c.wantCut()
				c.Close()
				p.wantRecords("200 client_timeout")
			})
		}
	}
}

// stickAtTheEnd has a client not read a whole response that the origin is done with.
func (p *proxy) stickAtTheEnd(o *origin, request string) (c, x *peer) {
	p.tr.Helper()
	c = p.dialSlow(request)
	x = o.accept()
	x.wantRequest("GET /", "")
	release := p.hold()
	head, framed := byChunks.response(letters(30000))
	x.send(head + framed) // read at once, body and end
	release()
	p.tr.eventually("the client takes everything", func() bool { return p.stuck(stageFlush) })
	return c, x
}

func TestAClientThatDoesNotReadTheEndOfAResponseTimesOut(t *testing.T) {
	// What it reads at last must not look complete.
	for _, k := range clientKinds {
		t.Run(k.name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{timeouts: Timeouts{ClientWrite: 5 * short}, record: "$status $end"}, o)
			c, x := p.stickAtTheEnd(o, k.request("/"))
			if p.idle() != 1 {
				t.Error("the origin's connection waits for a slow client")
			}
			tr.eventually("the session stays", func() bool { return p.open() == 0 })
			c.wantCut()
			x.wantNothing()
			p.wantRecords("200 client_timeout")
		})
	}
}

func TestAConnectionThatIsNotMadeTimesOut(t *testing.T) {
	tr := newTrace(t)
	full := tr.full()
	p := tr.proxy(setup{timeouts: Timeouts{Connect: short}, disableTime: time.Hour, record: "$status $retries $end"}, full)
	c := p.dial()
	start := time.Now()
	c.send(post("/", "body"))
	if res := c.wantError("POST", 504); res.Close {
		t.Error("504 says Connection: close, and nothing is wrong with the client's")
	}
	tr.notBefore(start, short)
	if !p.group.Resting(0, int64(clock())) {
		t.Error("the server does not rest")
	}
	p.wantRecords("504 0 backend_timeout")
}

func TestAConnectionThatIsNotMadeInTimeGoesToAnotherServer(t *testing.T) {
	tr := newTrace(t)
	full, o := tr.full(), tr.origin()
	p := tr.proxy(setup{timeouts: Timeouts{Connect: short}, disableTime: time.Hour, record: "$status $retries $end"}, full, o)
	c := p.dial()
	start := time.Now()
	c.send(post("/", "body"))
	x := o.accept()
	tr.notBefore(start, short)
	x.wantRequest("POST /", "body")
	x.send(ok("fine"))
	c.want(200, "fine")
	p.wantRecords("200 1 ok")
}

// full returns the address of a server whose backlog is full: connecting to it goes unanswered.
func (tr *trace) full() string {
	tr.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		tr.Cleanup(func() { unix.Close(fd) })
		if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
			err = unix.Listen(fd, 0)
		}
	}
	if err != nil {
		tr.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		tr.Fatal(err)
	}
	for range 4 {
		filler, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			tr.Fatal(err)
		}
		tr.Cleanup(func() { unix.Close(filler) })
		if err := unix.Connect(filler, sa); err != nil && err != unix.EINPROGRESS {
			tr.Fatal(err)
		}
	}
	return fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
}

// drip calls f again and again, often enough for a timeout of dripTimeout, and for more than twice as long.
func drip(f func()) {
	tick := time.NewTicker(dripTimeout / 10)
	defer tick.Stop()
	for range 22 {
		<-tick.C
		f()
	}
}

const dripTimeout = 5 * short

func TestNoTimeoutPassesWhileThereIsProgress(t *testing.T) {
	// One timeout at a time: the others have no limit, and would not be told from it.
	t.Run("client_body", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{timeouts: Timeouts{ClientBody: dripTimeout}}, o)
		c := p.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
		x := o.accept()
		drip(func() { c.send("1\r\nx\r\n") })
		c.send("0\r\n\r\n")
		x.wantRequest("POST /", strings.Repeat("x", 22))
		x.send(ok("fine"))
		c.want(200, "fine")
	})
	t.Run("backend_read", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{timeouts: Timeouts{BackendRead: dripTimeout}}, o)
		c := p.dial()
		c.send(get("/"))
		x := o.accept()
		x.wantRequest("GET /", "")
		x.send("HTTP/1.1 200 OK\r\n\r\n")
		drip(func() { x.send("x") })
		x.closeWrite()
		c.want(200, strings.Repeat("x", 22))
	})
	t.Run("response, with interim responses", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{timeouts: Timeouts{Response: dripTimeout}}, o)
		c := p.dial()
		c.send(get("/"))
		x := o.accept()
		x.wantRequest("GET /", "")
		n := 0
		drip(func() {
			if n++; n%2 == 0 {
				x.send(hints103)
			}
		})
		x.send(ok("fine"))
		for range n / 2 {
			c.wantBytes(hints103)
		}
		c.want(200, "fine")
	})
	t.Run("client_write", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{timeouts: Timeouts{ClientWrite: dripTimeout}}, o)
		c := p.dialSlow(get("/"))
		x := o.accept()
		x.wantRequest("GET /", "")
		body := letters(400 << 10)
		x.send("HTTP/1.1 200 OK\r\n\r\n")
		sent := tr.beside("origin", func() error {
			_, err := io.WriteString(x, body)
			x.closeWrite()
			return err
		})
		res, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 22*4096)
		drip(func() {
			if _, err := io.ReadFull(res.Body, got[:4096]); err != nil {
				t.Fatal(err)
			}
			got = got[4096:]
		})
		rest, err := io.ReadAll(res.Body)
		if err != nil || len(rest) != len(body)-22*4096 {
			t.Errorf("got %d more bytes, %v", len(rest), err)
		}
		sent()
	})
	t.Run("backend_read while sending", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		o.shrink()
		p := tr.proxy(setup{timeouts: Timeouts{BackendRead: dripTimeout}}, o)
		c := p.dial()
		body := letters(200 << 10)
		c.send(strings.TrimSuffix(post("/", body), body))
		x := o.accept()
		x.wantHead()
		p.onLoops(func(l *Loop) { tr.shrink(l.sessions.next.origin.fd, unix.SO_SNDBUF) })
		sent := tr.beside("client", func() error {
			_, err := io.WriteString(c, body)
			return err
		})
		got := make([]byte, len(body))
		n := 0
		drip(func() {
			if _, err := io.ReadFull(x.r, got[n:n+4096]); err != nil {
				t.Fatal(err)
			}
			n += 4096
		})
		if _, err := io.ReadFull(x.r, got[n:]); err != nil || string(got) != body {
			t.Errorf("the body is not what was sent: %v", err)
		}
		x.send(ok("fine"))
		c.want(200, "fine")
		sent()
	})
	t.Run("client_header, between requests", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		o.serveEach(func(r *http.Request, body []byte) string { return ok("fine") })
		p := tr.proxy(setup{timeouts: Timeouts{ClientHeader: dripTimeout, ClientIdle: dripTimeout, Response: dripTimeout}}, o)
		c := p.dial()
		drip(func() {
			c.send(get("/"))
			c.want(200, "fine")
		})
	})
}

// shrink makes the receive buffer of connections yet to be accepted as small as it goes.
func (o *origin) shrink() {
	o.tr.Helper()
	raw, err := o.l.(syscall.Conn).SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { o.tr.shrink(int(fd), unix.SO_RCVBUF) })
	}
	if err != nil {
		o.tr.Fatal(err)
	}
}
