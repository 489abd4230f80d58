package loop

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/balance"
	"millrace/remap"
)

// soakTime is how long TestSoak takes where nothing else is said: MILLRACE_SOAK=20m.
const soakTime = 5 * time.Second

// soakGrowth is what the heap may grow by between the end of the first tenth and the end: what the loops keep in
// stock after a burst, and what the collector has not found yet. What leaks with each request is more than that
// after some minutes.
const soakGrowth = 32 << 20

// TestSoak has good and hostile clients and origins at a proxy for a long time. All good responses are right;
// afterwards nothing is left of it: no session, no buffer, no descriptor, no goroutine, and no memory.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("soaking is not short")
	}
	length := soakTime
	if s := os.Getenv("MILLRACE_SOAK"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatalf("MILLRACE_SOAK: %v", err)
		}
	}
	tr := newTrace(t)
	s := newSoak(tr)
	before := s.measure()
	s.run(length / 10)
	warm := s.measure()
	s.run(length - length/10)
	var after measured
	tr.eventually("goroutines or descriptors are left", func() bool {
		after = s.measure()
		return after.goroutines <= warm.goroutines && after.descriptors <= warm.descriptors
	})
	t.Logf("%v: %d exchanges (%d answered by the origin, %d by the proxy, %d cut), %d hostile clients",
		length, s.ch.next, s.ch.complete, s.ch.own, s.ch.cut, s.hostiles.Load())
	t.Logf("before %v", before)
	t.Logf("warm   %v", warm)
	t.Logf("after  %v", after)
	if after.heap > warm.heap+soakGrowth {
		t.Errorf("the heap has grown by %d KiB", (after.heap-warm.heap)>>10)
	}
	if s.ch.complete < s.ch.next/3 || s.hostiles.Load() == 0 {
		t.Error("this is too much chaos to prove anything, or too little")
	}
}

// soak is a proxy with two listeners: one for good clients, without a timeout, and one with short ones for those that are
// up to no good. Each has origins of its own.
type soak struct {
	tr       *trace
	p        *proxy
	ch       *chaos
	old      int // exchanges before this one are forgotten
	hostile  string
	hostiles atomic.Int64
}

func newSoak(tr *trace) *soak {
	tr.Helper()
	s := &soak{tr: tr}
	s.p = &proxy{tr: tr, said: &said{}}
	s.ch = &chaos{tr: tr, exchanges: map[int]*chaosExchange{}, seen: map[int]int{}}
	good := []any{s.origin(s.ch.serve), s.origin(s.ch.serve)}
	evil := s.origin(serveBadly)
	set := setup{loops: 2, idleMax: 8, idleTTL: 500 * time.Millisecond, record: "$target $status", rules: []remap.Rule{{Listeners: []int{1}}, {}}, logTo: "/dev/null"}
	s.p.log = set.logTo
	plan := set.plan(s.p, good)
	short := 100 * time.Millisecond
	lis := &Listener{Index: 1, Name: "hostile", Address: netip.MustParseAddrPort("127.0.0.1:0"), Position: "test", Timeouts: &Timeouts{
		ClientHeader: short, ClientBody: short, ClientWrite: short, ClientIdle: short,
		Connect: short, Response: short, BackendRead: short,
	}}
	plan.Listeners = append(plan.Listeners, lis)
	for _, r := range plan.Routes {
		r.Timeouts = append(r.Timeouts, lis.Timeouts)
	}
	b := &Backend{Name: "evil", IdleTTL: set.idleTTL, IdleMax: set.idleMax, Servers: []*BackendServer{
		{ID: len(good), Name: evil, Address: netip.MustParseAddrPort(evil)},
	}}
	var err error
	if b.Group, err = balance.New([]balance.Server{{Name: evil, Weight: 1}}, balance.Options{Algorithm: "fair"}); err != nil {
		tr.Fatal(err)
	}
	plan.Backends = append(plan.Backends, b)
	plan.Routes[0].Backend = b
	if s.p.srv, err = Start(plan, slog.New(slog.NewTextHandler(s.p.said, nil))); err != nil {
		tr.Fatal(err)
	}
	s.hostile = s.p.srv.Addrs()[1].String()
	tr.proxied = s.p
	tr.Cleanup(func() { s.p.drain() })
	return s
}

// origin serves for as long as the test takes, and keeps nothing of what has ended.
func (s *soak) origin(serve func(c *peer) error) (name string) {
	s.tr.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.tr.Fatal(err)
	}
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			serving.Go(func() {
				if err := serve(newPeer(s.tr, "origin", c)); err != nil {
					s.tr.Errorf("origin: %v", err)
				}
				c.Close()
				mu.Lock()
				delete(conns, c)
				mu.Unlock()
			})
		}
	})
	s.tr.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range conns {
			c.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return l.Addr().String()
}

// run has clients come and go for some time, and waits until all have left.
func (s *soak) run(length time.Duration) {
	const good, bad = 6, 6
	end := time.Now().Add(length)
	for round := 0; time.Now().Before(end); round++ {
		until := time.Now().Add(min(10*time.Second, time.Until(end)))
		var waits []func()
		for range good {
			waits = append(waits, s.tr.beside("client", func() error {
				rng := rand.New(rand.NewPCG(rand.Uint64(), 1))
				for time.Now().Before(until) {
					if err := s.ch.client(rng); err != nil {
						return err
					}
				}
				return nil
			}))
		}
		for range bad {
			waits = append(waits, s.tr.beside("hostile client", func() error {
				for time.Now().Before(until) {
					s.attack()
					s.hostiles.Add(1)
				}
				return nil
			}))
		}
		for _, wait := range waits {
			wait()
		}
		s.tr.eventually("sessions stay", func() bool { return s.p.open() == 0 })
		if n := s.p.buffers(); n != 0 {
			s.tr.Errorf("%d buffers are in use when all have left", n)
		}
		s.forget()
		if s.tr.Failed() {
			return
		}
	}
}

// forget drops exchanges of the round before this one: an origin may still be reading a request of this one.
func (s *soak) forget() {
	s.ch.mu.Lock()
	defer s.ch.mu.Unlock()
	for id := range s.ch.exchanges {
		if id < s.old {
			delete(s.ch.exchanges, id)
			delete(s.ch.seen, id)
		}
	}
	s.old = s.ch.next
}

// attack is one hostile client.
func (s *soak) attack() {
	c, err := net.Dial("tcp", s.hostile)
	if err != nil {
		return // the kernel has run out of something, which is no wonder
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	reset := func() { c.(*net.TCPConn).SetLinger(0) }
	say := func(text string) { io.WriteString(c, text) }
	switch rand.IntN(9) {
	case 0: // a head that never ends, until it is thrown out
		for _, piece := range []string{"GET / HT", "TP/1.1\r\nHo", "st: a\r\n"} {
			say(piece)
			s.p.settle()
		}
		io.Copy(io.Discard, c)
	case 1: // no HTTP
		b := make([]byte, rand.IntN(100_000))
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		c.Write(b)
		io.Copy(io.Discard, c)
	case 2: // a body that never comes
		say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome of it")
		io.Copy(io.Discard, c)
	case 3: // a response that nobody reads, until it is given up
		say(get("/large"))
		c.Read(make([]byte, 1))
		s.p.settle()
		if rand.IntN(2) == 0 {
			reset()
		}
	case 4: // leaves at once
		if rand.IntN(2) == 0 {
			reset()
		}
	case 5: // many requests, and no interest in the answers
		say(strings.Repeat(get("/"), rand.IntN(200)))
		reset()
	case 6: // ends in the middle of a request
		say("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, c)
	case 7: // too much
		say("GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 100_000))
		io.Copy(io.Discard, c)
	case 8: // says nothing
		io.Copy(io.Discard, c)
	}
}

// soakBody is more than the sockets take.
var soakBody = letters(8 << 20)

// serveBadly is an origin that does what it should not, half of the time.
func serveBadly(c *peer) error {
	for {
		r, _, err := c.readRequest()
		if err != nil {
			return nil
		}
		switch rand.IntN(10) {
		case 0:
			io.WriteString(c, "not HTTP\r\n\r\n")
			return nil
		case 1:
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nless")
			c.reset()
			return nil
		case 2:
			c.reset()
			return nil
		case 3: // no answer, until the proxy has had enough
			c.r.Peek(1)
			return nil
		case 4: // half of one
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nless")
			c.r.Peek(1)
			return nil
		}
		body := soakBody[:rand.IntN(1000)]
		if r.RequestURI == "/large" {
			body = soakBody
		}
		if _, err := io.WriteString(c, ok(body)); err != nil {
			return nil
		}
	}
}

// measured is what a process holds.
type measured struct {
	goroutines, descriptors int
	heap                    int64 // bytes in use, after a collection
}

func (m measured) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d KiB of heap", m.goroutines, m.descriptors, m.heap>>10)
}

// measure waits until no connection is there any more, and looks what there is. The other ends of connections may notice
// a moment later.
func (s *soak) measure() measured {
	s.tr.Helper()
	s.tr.eventually("idle connections stay", func() bool { return s.p.idle() == 0 })
	m := measured{goroutines: runtime.NumGoroutine(), descriptors: len(openFiles(s.tr.T))}
	runtime.GC()
	runtime.GC() // what a finalizer or a sync.Pool held goes with the second
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m.heap = int64(stats.HeapAlloc)
	return m
}
