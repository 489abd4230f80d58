package loop

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"millrace/httpparse"
)

func TestWithoutPipesBytesAreCopied(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{splice: 1}, o)
	p.onLoops(func(l *Loop) { l.pipes.max = 0 })
	c := p.dial()
	body := letters(1 << 20)
	sent := tr.beside("client", func() error {
		_, err := io.WriteString(c, post("/", body))
		return err
	})
	x := o.accept()
	x.wantRequest("POST /", body)
	sent()
	answered := tr.beside("origin", func() error {
		_, err := io.WriteString(x, ok(body))
		return err
	})
	c.want(200, body)
	answered()
	p.onLoops(func(l *Loop) {
		if l.pipes.open != 0 {
			t.Errorf("%d pipes are open", l.pipes.open)
		}
	})
}

func TestAPipeWithBytesLeftInItIsNotUsedAgain(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{splice: 1000}, o)
	c := p.dialSlow(get("/secret"))
	x := o.accept()
	x.wantRequest("GET /secret", "")
	// The head by itself: what comes with it would be copied, and nothing be read until that is gone.
	x.send("HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n")
	c.wantHead()
	sent := tr.beside("origin", func() error {
		io.WriteString(x, letters(8<<20)) // which does not end: the client leaves
		return nil
	})
	tr.eventually("no pipe is stuck", func() bool {
		inUse := 0
		p.onLoops(func(l *Loop) { inUse = l.pipes.inUse() })
		return inUse == 1 && p.stuck(stageRelay)
	})
	c.reset()
	tr.eventually("the session stays", func() bool { return p.open() == 0 })
	sent()
	p.onLoops(func(l *Loop) {
		if l.pipes.open != 0 {
			t.Errorf("%d pipes are left, want none: the one there was is dirty", l.pipes.open)
		}
	})
	// The next one gets what is meant for it.
	d := p.dial()
	d.send(get("/next"))
	y := o.accept()
	y.wantRequest("GET /next", "")
	body := strings.Repeat("other ", 100000)
	answered := tr.beside("origin", func() error {
		_, err := io.WriteString(y, ok(body))
		return err
	})
	d.want(200, body)
	answered()
	p.wantPipes(1)
}

// What waits in a pipe would else count as progress, and as none when it goes on: a slow client would be cut off at the
// end of its response.
func TestWhatIsInAPipeHasNotBeenTakenByTheClient(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{splice: 1000}, o)
	c := p.dialSlow(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	x.send("HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n")
	c.wantHead()
	sent := tr.beside("origin", func() error {
		io.WriteString(x, letters(8<<20)) // which does not end: the client leaves
		return nil
	})
	tr.eventually("no pipe is stuck", func() bool {
		inUse := 0
		p.onLoops(func(l *Loop) { inUse = l.pipes.inUse() })
		return inUse == 1 && p.stuck(stageRelay)
	})
	p.onLoops(func(l *Loop) {
		s := l.sessions.next
		s.takes(l.now)
		if left := s.x.bytesOut - int64(s.client.pipe.n); s.x.taken > left {
			t.Errorf("%d bytes are said to be taken, of %d that have left", s.x.taken, left)
		}
	})
	c.reset()
	sent()
}

func TestWhatIsSplicedIsRecordedLikeWhatIsCopied(t *testing.T) {
	for _, f := range []framing{byLength, byChunks, untilClose} {
		for _, k := range clientKinds {
			t.Run(fmt.Sprint(f, " to ", k.name), func(t *testing.T) {
				records := make(map[int64]string)
				for _, splice := range []int64{0, 1} {
					tr := newTrace(t)
					o := tr.origin()
					p := tr.proxy(setup{splice: splice, record: "$status $bytes_in $body_bytes $end"}, o)
					c := p.dial()
					body := letters(300000)
					request := strings.TrimSuffix(k.request("/"), "\r\n")
					request = strings.Replace(request, "GET", "POST", 1) + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body))
					sent := tr.beside("client", func() error {
						_, err := io.WriteString(c, request+body)
						return err
					})
					x := o.accept()
					x.wantRequest("POST /", body)
					sent()
					head, framed := f.response(body)
					answered := tr.beside("origin", func() error {
						_, err := io.WriteString(x, head+framed)
						if f == untilClose {
							x.closeWriteSoon()
						}
						return err
					})
					c.wantTo(http.MethodPost, 200, body)
					answered()
					c.Close()
					records[splice] = strings.Join(p.records(), "\n")
				}
				if records[0] != records[1] {
					t.Errorf("copied: %s\nspliced: %s", records[0], records[1])
				}
			})
		}
	}
}

func TestASplicedBodyThatIsCutNeverLooksComplete(t *testing.T) {
	body := letters(500000)
	for _, f := range []framing{byLength, byChunks, untilClose} {
		for _, k := range clientKinds {
			for name, cut := range map[string]func(x *peer){"RST": (*peer).reset, "FIN": (*peer).closeWrite} {
				if name == "FIN" && f == untilClose {
					continue // that is its end
				}
				t.Run(fmt.Sprint(f, " to ", k.name, " by ", name), func(t *testing.T) {
					tr := newTrace(t)
					o := tr.origin()
					p := tr.proxy(setup{splice: 1}, o)
					c := p.dial()
					c.send(k.request("/"))
					x := o.accept()
					x.wantRequest("GET /", "")
					head, framed := f.response(body)
					read := make(chan struct{})
					got := tr.beside("client", func() error {
						defer close(read)
						if res, body, err := c.readResponse("GET"); err == nil {
							return fmt.Errorf("a response that was cut looks complete: %v with %d bytes", res, len(body))
						}
						return nil
					})
					x.send(head + framed[:len(framed)-10])
					p.settle()
					cut(x)
					<-read
					got()
				})
			}
		}
	}
}

func TestASocketThatIsNotSplicedIsToldFromAnError(t *testing.T) {
	var ps pipes
	ps.max = 1
	q := ps.get()
	if q == nil {
		t.Fatal("no pipe")
	}
	if ps.get() != nil {
		t.Error("more pipes than there may be")
	}
	defer ps.close()
	defer ps.put(q)
	// An epoll descriptor cannot be read at all.
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	e := endpoint{fd: fd, readable: true}
	if n, errno := e.spliceFrom(q, 100); n != 0 || errno != errNotSpliced || !e.readable || e.eof {
		t.Errorf("got %d, %v, %+v", n, errno, e)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	e = endpoint{fd: pair[0], readable: true}
	if n, errno := e.spliceFrom(q, 100); n != 0 || errno != 0 || e.readable || e.eof {
		t.Errorf("nothing there: got %d, %v, %+v", n, errno, e)
	}
	e.readable = true
	unix.Close(pair[1])
	if n, errno := e.spliceFrom(q, 100); n != 0 || errno != 0 || !e.eof {
		t.Errorf("at the end: got %d, %v, %+v", n, errno, e)
	}
	e.fd = -1
	if _, errno := e.spliceFrom(q, 100); errno != syscall.EBADF {
		t.Errorf("a descriptor that is none: got %v", errno)
	}
}

func TestThereAreDescriptorsForPipesAndConnections(t *testing.T) {
	for _, splice := range []int64{0, 1} {
		tr := newTrace(t)
		p := tr.proxy(setup{loops: 2, splice: splice}, tr.refusing())
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		taken := 2*p.srv.maxConns.Load() + int64(2*2*p.srv.pipes) + reservedFiles
		if p.srv.pipes > 0 != (splice > 0) || taken > int64(limit.Cur) {
			t.Errorf("splice %d: %d pipes a loop, %d descriptors of %d", splice, p.srv.pipes, taken, limit.Cur)
		}
		want := int64(math.MaxInt64)
		if splice > 0 {
			want = splice
		}
		if p.srv.spliceFrom != want {
			t.Errorf("bytes are spliced from %d on, want %d", p.srv.spliceFrom, want)
		}
	}
}

func TestChunksAroundSplicedPayload(t *testing.T) {
	var p pump
	p.start(httpparse.Framing{Kind: httpparse.BodyUntilClose}, true)
	var out []byte
	say := func(b []byte) { out = append(out, b...) }
	copied := func(s string) {
		b, _, err := p.frame(nil, window{[]byte(s), 0, len(s), false})
		if err != nil {
			t.Fatal(err)
		}
		say(b)
	}
	splice := func(s string) {
		say(p.splice(nil, len(s)))
		say([]byte(s))
	}
	copied("one")
	splice("two")
	splice("three")
	copied("four")
	splice("five")
	say(p.finish())
	want := "3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n4\r\nfour\r\n4\r\nfive\r\n0\r\n\r\n"
	if string(out) != want || p.payload != int64(len("onetwothreefourfive")) {
		t.Errorf("got %q with %d bytes of payload, want %q", out, p.payload, want)
	}
}

// TestLargeAndSmallResponsesInTurn come over one connection, some of them spliced.
func TestLargeAndSmallResponsesInTurn(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{splice: 64 << 10}, o)
	c := p.dial()
	var x *peer
	for _, n := range []int{300000, 300000, 0, 300000, 5, 300000, 4096, 300000, 60000, 300000, 12000} {
		c.send(get("/"))
		if x == nil {
			x = o.accept()
		}
		x.wantRequest("GET /", "")
		answered := tr.beside("origin", func() error {
			_, err := io.WriteString(x, ok(letters(n)))
			return err
		})
		c.want(200, letters(n))
		answered()
	}
}
