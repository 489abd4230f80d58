package loop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// draining begins a drain, and returns when the only loop has begun it. The test waits for its end by wait.
func (p *proxy) draining() (wait func()) {
	p.tr.Helper()
	wait = p.tr.beside("drain", func() error {
		p.drain()
		return nil
	})
	p.tr.eventually("the drain does not begin", func() bool {
		begun := true
		p.onLoops(func(l *Loop) { begun = begun && l.draining })
		return begun
	})
	return wait
}

func TestADrainLetsWhatIsInFlightEnd(t *testing.T) {
	body := letters(300)
	eachMode(t, func(t *testing.T, m mode) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{record: "$target $end"}, o)
		unused, idle, asking, reading := p.dial(), p.dial(), p.dial(), p.dial()
		idle.send(get("/idle"))
		w := o.accept()
		w.wantRequest("GET /idle", "")
		w.send(ok("fine"))
		idle.want(200, "fine")
		asking.send(m.client.request("/asking"))
		w.wantRequest("GET /asking", "")
		reading.send(m.client.request("/reading"))
		x := o.accept()
		x.wantRequest("GET /reading", "")
		head, framed := m.framing.response(body)
		x.send(head + framed[:100])
		tr.eventually("the response does not begin", func() bool {
			begun := 0
			p.onLoops(func(l *Loop) {
				for s := l.sessions.next; s != &l.sessions; s = s.next {
					if s.stage == stageRelay && s.res == halfBody {
						begun++
					}
				}
			})
			return begun == 1
		})
		drained := p.draining()

		// Who waits for nothing is closed, and nobody gets in.
		unused.wantEnd()
		idle.wantEnd()
		addr := p.srv.Addrs()[0]
		if c, err := net.Dial(addr.Network(), addr.String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a new client got %v, %v", c, err)
		}
		// A response that has not begun says that it is the last one.
		m.delivery.send(w, head+framed)
		if m.framing == untilClose {
			w.closeWrite()
		}
		if res := asking.want(200, body); !res.Close {
			t.Error("the response does not say Connection: close")
		}
		asking.wantEnd()
		// One that has begun is not cut.
		m.delivery.send(x, framed[100:])
		if m.framing == untilClose {
			x.closeWrite()
		}
		reading.want(200, body)
		reading.wantEnd()
		drained()
		w.wantGone()
		x.wantGone()
		p.wantRecords("/idle ok", "/asking ok", "/reading ok")
	})
}

func TestADrainServesRequestsThatHaveBegun(t *testing.T) {
	for name, begun := range map[string]string{
		"in the head": "POST / HTTP/1.1\r\nHost: a\r\nContent-",
		"in the body": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo",
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{}, o)
			c := p.dial()
			c.send(begun)
			p.settle()
			drained := p.draining()
			whole := "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
			c.send(whole[len(begun):] + get("/next"))
			x := o.accept()
			x.wantRequest("POST /", "body")
			x.send(ok("fine"))
			if res := c.want(200, "fine"); !res.Close {
				t.Error("the response does not say Connection: close")
			}
			c.wantEnd() // and the next request is not served any more
			c.Close()
			drained()
			o.wantNobody()
		})
	}
}

func TestADrainServesRequestsThatHaveArrived(t *testing.T) {
	// One client is in, another still in the kernel's queue: neither has been looked at since it sent.
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	in := p.dial()
	p.settle()
	release := p.hold()
	in.send(get("/in"))
	waiting := p.dial()
	waiting.send(get("/waiting"))
	l := p.srv.loops[0]
	l.post(l.drain) // what Drain does, right behind what holds the loop
	release()
	for range 2 {
		x := o.accept()
		r, _, err := x.readRequest()
		if err != nil {
			t.Fatal(err)
		}
		x.send(ok(r.RequestURI))
	}
	if res := in.want(200, "/in"); !res.Close {
		t.Error("the response does not say Connection: close")
	}
	if res := waiting.want(200, "/waiting"); !res.Close {
		t.Error("the response does not say Connection: close")
	}
	if err := p.srv.Wait(); err != nil {
		t.Error(err)
	}
	p.check()
}

func TestADrainThatTakesTooLongCuts(t *testing.T) {
	body := letters(300)
	for _, f := range []framing{byLength, byChunks, untilClose} {
		for _, k := range clientKinds {
			t.Run(fmt.Sprint(f, " to ", k.name), func(t *testing.T) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{drainTimeout: short, record: "$target $status $end"}, o)
				reading, asking, sending := p.dial(), p.dial(), p.dial()
				reading.send(k.request("/reading"))
				x := o.accept()
				x.wantRequest("GET /reading", "")
				head, framed := f.response(body)
				x.send(head + framed[:100])
				reading.wantHead()
				asking.send(k.request("/asking"))
				y := o.accept()
				y.wantRequest("GET /asking", "")
				sending.send("GET /sending")
				p.settle()
				start := time.Now()
				p.drain()
				tr.notBefore(start, short)
				// The rest of the body, and then a cut that shows.
				rest, err := io.ReadAll(reading.r)
				switch {
				case f == byLength && len(rest) >= len(body),
					f != byLength && k.chunks && (err != nil || len(rest) > 5 && string(rest[len(rest)-5:]) == "0\r\n\r\n"),
					f != byLength && !k.chunks && err == nil:
					t.Errorf("got %s, %v, which does not look like a cut", excerpt(string(rest)), err)
				}
				if got := asking.wantGone(); got != "" {
					t.Errorf("got %q", got)
				}
				if got := sending.wantGone(); got != "" {
					t.Errorf("got %q", got)
				}
				x.wantGone()
				y.wantGone()
				p.wantRecords("/reading 200 shutdown", "/asking - shutdown", "- - shutdown")
			})
		}
	}
}

func TestADrainCutsTheEndOfAResponseThatNobodyReads(t *testing.T) {
	for _, k := range clientKinds {
		t.Run(k.name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{drainTimeout: short}, o)
			c, _ := p.stickAtTheEnd(o, k.request("/"))
			p.drain()
			c.wantCut()
		})
	}
}

func TestADrainEndsWithItsContext(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	c.send(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p.drainWithin(ctx)
	if got := c.wantGone(); got != "" {
		t.Errorf("got %q", got)
	}
	x.wantGone()
}

func TestLoopsThatHaveDrainedAreLeftAlone(t *testing.T) {
	// One loop has ended, by the end of its last exchange, while the other still serves, and is then cut.
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{loops: 2}, o)
	first := p.dial()
	other := p.dial()
	for p.least() == 0 { // the kernel chooses the loop
		other.Close()
		tr.eventually("the session stays", func() bool { return p.open() == 1 })
		other = p.dial()
	}
	first.send(get("/first"))
	x := o.accept()
	x.wantRequest("GET /first", "")
	other.send(get("/other"))
	y := o.accept()
	y.wantRequest("GET /other", "")
	if n := running(); n != 2 {
		t.Fatalf("%d goroutines of loops are found, want 2", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cut := tr.beside("drain", func() error {
		p.drainWithin(ctx)
		return nil
	})
	addr := p.srv.Addrs()[0].String()
	tr.eventually("the drain does not begin", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	y.send(ok("fine"))
	other.want(200, "fine")
	tr.eventually("the other loop does not end", func() bool { return running() == 1 })
	cancel()
	cut()
	x.wantGone()
	first.wantGone()
}

// least counts the client connections of the loop that has the fewest.
func (p *proxy) least() int {
	p.tr.Helper()
	n := math.MaxInt
	p.onLoops(func(l *Loop) { n = min(n, l.open) })
	return n
}

// running counts the loops' goroutines, by what they were started as.
func running() int {
	stacks := make([]byte, 1<<20)
	return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("millrace/loop.Start.func"))
}

func TestEverybodyMayDrainAndWait(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{loops: 2}, o)
	c := p.dial()
	c.send(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	waited := tr.beside("wait", p.srv.Wait)
	drained := tr.beside("another drain", func() error { return p.srv.Drain(context.Background()) })
	x.send(ok("fine"))
	c.want(200, "fine")
	p.drain()
	waited()
	drained()
}

func TestAUnixListenersSocketIsRemoved(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{unix: true, loops: 2}, o)
	path := p.srv.Addrs()[0].String()
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	p.drain()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}
