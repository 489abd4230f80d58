package loop

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// crowd has clients send heads that do not end, until the budget is exhausted.
func (p *proxy) crowd() (clients []*peer) {
	p.tr.Helper()
	m := &p.srv.memory
	fields := strings.Repeat("X: "+strings.Repeat("x", 1000)+"\r\n", 100)
	for !m.short() {
		c := p.dial()
		clients = append(clients, c)
		before := m.held.Load() // free lists may give up some of it meanwhile
		c.send("GET / HTTP/1.1\r\nHost: a\r\n" + fields)
		p.tr.eventually("a head takes no memory", func() bool { return m.held.Load() > before+128<<10 })
	}
	// No more of them get in now, but those who are in can still grow.
	clients[0].send(fields + fields)
	p.tr.eventually("memory is not exhausted", m.exhausted)
	return clients
}

func TestWhenMemoryRunsShortNewWorkIsRefusedAndTheOldGoesOn(t *testing.T) {
	for _, loops := range []int{1, 2} {
		t.Run(fmt.Sprint(loops, " loops"), func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			came, goOn := make(chan struct{}), make(chan struct{})
			o.serveEach(func(r *http.Request, _ []byte) string {
				if r.URL.Path == "/old" {
					close(came)
					<-goOn
				}
				return ok(r.URL.Path)
			})
			p := tr.proxy(setup{
				loops:  loops,
				limits: Limits{HeaderBytes: 1 << 20, HeaderFields: 1024},
				record: "$target $status $end",
				with:   func(plan *Plan) { plan.MemoryLimit = 16 << 20 },
			}, o)
			old := p.dial()
			old.send(get("/old"))
			<-came
			idle := p.dial()
			idle.send(get("/idle"))
			idle.want(200, "/idle")

			crowd := p.crowd()
			// Who is not connected yet, waits.
			late := p.dial()
			late.send(get("/late"))
			p.settle()
			p.settle()
			late.wantNothing()
			// Who is, and comes with something new that needs memory, is told to come again.
			idle.send("GET /refused HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 70000) + "\r\n\r\n")
			res := idle.wantError("GET", 503)
			if !res.Close {
				t.Error("503 without Connection: close")
			}
			retryAfter(t, res.Header.Get("Retry-After"))
			idle.Close()
			// Who was there before is served.
			close(goOn)
			old.want(200, "/old")

			// It recovers by itself.
			for _, c := range crowd {
				c.reset()
			}
			late.want(200, "/late")
			if said := p.said.String(); !strings.Contains(said, "memory runs short") {
				t.Errorf("the process log says %q", said)
			}
			records := strings.Join(p.records(), "\n")
			for _, want := range []string{"/old 200 ok", "/idle 200 ok", "503 overload", "/late 200 ok"} {
				if !strings.Contains(records, want) {
					t.Errorf("no record %q in\n%s", want, records)
				}
			}
			// Free lists have not kept what was needed in the crowd.
			if held := p.srv.memory.held.Load(); held > p.srv.memory.budget*3/4 {
				t.Errorf("%d bytes are held by nobody, of %d", held, p.srv.memory.budget)
			}
		})
	}
}

func TestSlowReadersTakeLessWhileMemoryIsShort(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{limits: Limits{HeaderBytes: 1 << 20, HeaderFields: 1024}, with: func(plan *Plan) { plan.MemoryLimit = 16 << 20 }}, o)
	c := p.dialSlow(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	p.crowd()
	head, piece := byLength.endless()
	release := p.hold()
	x.send(head)
	for range 16 {
		x.send(piece)
	}
	release()
	tr.eventually("the client takes everything", func() bool { return p.stuck(stageRelay) })
	p.onLoops(func(l *Loop) {
		for s := l.sessions.next; s != &l.sessions; s = s.next {
			if n := len(s.client.out.b); s.stage == stageRelay && n > bufferSizes[0] {
				t.Errorf("it holds a buffer of %d bytes", n)
			}
		}
	})
	c.reset()
}

func TestTunnelsTakeLessWhileMemoryIsShort(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{
		connect: true,
		limits:  Limits{HeaderBytes: 1 << 20, HeaderFields: 1024},
		with:    func(plan *Plan) { plan.MemoryLimit = 16 << 20 },
	}, o)
	c := p.dialSlow("CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n")
	x := o.accept()
	c.wantHead()
	p.crowd()
	release := p.hold()
	x.send(letters(64 << 10))
	release()
	tr.eventually("the client takes everything", func() bool { return p.stuck(stageTunnel) })
	p.onLoops(func(l *Loop) {
		for s := l.sessions.next; s != &l.sessions; s = s.next {
			if n := len(s.client.out.b); s.stage == stageTunnel && n > bufferSizes[0] {
				t.Errorf("it holds a buffer of %d bytes", n)
			}
		}
	})
	c.reset()
}

// What is kept of the heads of tunnels is as long as their clients like.
func TestTunnelsAreAccountedFor(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{upgrade: &Upgrade{Any: true}, record: "$target", with: func(plan *Plan) { plan.MemoryLimit = 1 << 40 }}, o)
	open := func() (c, x *peer) {
		c = p.dial()
		c.send(strings.Replace(handshake, " /", " /"+strings.Repeat("x", 30000), 1))
		x = o.accept()
		x.wantHead()
		x.send(switching)
		c.wantHead()
		p.settle()
		return c, x
	}
	leave := func(c, x *peer) {
		c.Close()
		x.wantEnd()
		x.Close()
		tr.eventually("the tunnel stays", func() bool { return p.open() == 0 })
	}
	leave(open()) // what it needs beside is in free lists now
	before := p.srv.memory.held.Load()
	c, x := open()
	if n := p.srv.memory.held.Load() - before; n < 30000 {
		t.Errorf("a tunnel counts as %d bytes, and quotes more", n)
	}
	leave(c, x)
	if n := p.srv.memory.held.Load() - before; n != 0 {
		t.Errorf("%d bytes are accounted for when it has ended", n)
	}
}

// A client that asks for much and reads nothing: what it has sent beyond the present request stays in the kernel.
func TestAFloodOfPipelinedRequestsIsBounded(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	body := letters(8000)
	o.serveEach(func(*http.Request, []byte) string { return ok(body) })
	p := tr.proxy(setup{with: func(plan *Plan) { plan.MemoryLimit = 1 << 40 }}, o)
	c := p.dialSlow("")
	before := p.srv.memory.held.Load()
	flood := tr.beside("client", func() error {
		requests := strings.Repeat(get("/"), 1000)
		for range 200 {
			if _, err := io.WriteString(c, requests); err != nil {
				return nil // it is reset in the end
			}
		}
		return nil
	})
	tr.eventually("the client takes everything", func() bool { return p.stuck(stageRelay) || p.stuck(stageFlush) })
	for range 100 {
		p.settle()
	}
	if n := p.srv.memory.held.Load() - before; n > 256<<10 {
		t.Errorf("the flood holds %d bytes", n)
	}
	if n := len(p.held()); n > 4 {
		t.Errorf("the flood holds %d buffers", n)
	}
	c.reset()
	flood()
}
