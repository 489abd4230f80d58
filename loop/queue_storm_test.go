package loop

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/balance"
)

// fickle is an origin that answers at once or late, keeps its connections or does not, and sometimes ends one instead.
type fickle struct {
	*origin
	// Requests that it has got and not answered. Those of clients that leave are not counted: it learns late that they have.
	now, most atomic.Int64
}

func (tr *trace) fickle() *fickle {
	g := &fickle{origin: tr.origin()}
	g.serve(func(x *peer) error {
		for {
			r, _, err := x.readRequest()
			if err != nil {
				return nil
			}
			counts := int64(1)
			if strings.HasPrefix(r.URL.Path, "/left/") {
				counts = 0
			}
			n := g.now.Add(counts)
			for most := g.most.Load(); n > most && !g.most.CompareAndSwap(most, n); most = g.most.Load() {
			}
			pause := time.After(time.Duration(rand.IntN(5)) * time.Millisecond)
			res, ends := ok("a"), false
			switch rand.IntN(10) {
			case 0:
				<-pause
			case 1:
				res, ends = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na", true
			case 2:
				res, ends = "", true
			}
			g.now.Add(-counts)
			if _, err := io.WriteString(x, res); err != nil || ends {
				return nil
			}
		}
	})
	return g
}

// TestNothingIsLostWhileServersAndTimesPass: whatever a request meets, and in whatever order - a full server, one that is gone,
// one that comes back, the end of its time, of its client or of its connection - it is answered, and nothing stays counted.
func TestNothingIsLostWhileServersAndTimesPass(t *testing.T) {
	const loops, most, clients, changes = 4, 1, 12, 40
	for name, o := range map[string]struct {
		balance balance.Options
		session bool
		q       *Limit
	}{
		"fair":           {balance: balance.Options{}, q: &Limit{Queue: 6, QueueTimeout: 20 * time.Millisecond}},
		"hash":           {balance: balance.Options{Algorithm: "hash"}, q: &Limit{Queue: 1000, QueueTimeout: 5 * time.Millisecond, ServerWait: 30 * time.Millisecond}},
		"sessions":       {session: true, q: &Limit{Queue: 1000, QueueTimeout: 5 * time.Millisecond, ServerWait: 30 * time.Millisecond, Adaptive: true}},
		"forced":         {balance: balance.Options{ForceRecovery: true}, q: &Limit{Queue: 1000, QueueTimeout: 20 * time.Millisecond, ServerWait: 30 * time.Millisecond}},
		"no end of time": {balance: balance.Options{SlowStart: 5 * time.Millisecond}, q: &Limit{Queue: 1000, ServerWait: patience}},
		"addresses":      {balance: balance.Options{Addresses: true, Algorithm: "round-robin"}, q: &Limit{Queue: 1000, QueueTimeout: 5 * time.Millisecond}},
		"ejections": {balance: balance.Options{Ejection: &balance.Ejection{
			Window: 10 * time.Millisecond, MinRequests: 1, ErrorRate: 10, Time: 5 * time.Millisecond, MaxTime: 20 * time.Millisecond, MaxShare: 100,
		}}, q: &Limit{Queue: 1000, QueueTimeout: 20 * time.Millisecond, ServerWait: 30 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			d := tr.dns()
			var servers []*fickle
			for range 4 {
				servers = append(servers, tr.fickle())
			}
			gone := tr.origin()
			gone.close()
			d.set(servers[0].origin)
			q := o.q
			s := limited(loops, q, most)
			s.balance, s.key, s.record = o.balance, Key{Source: KeyPath}, "$status $end"
			s.balance.Limited = true
			s.disableTime, s.idleTTL = 3*time.Millisecond, 5*time.Millisecond
			s.failover.Budget = NewRetryBudget(20)
			with := s.with
			s.with = func(plan *Plan) {
				with(plan)
				b := plan.Backends[0]
				b.MinIdle, b.ConnectTimeout = 2, patience
				if o.session {
					b.Sticky = &Sticky{Header: "X-Route"}
				}
			}
			var weight atomic.Int64
			d.each = func(s *BackendServer, m *balance.Server) {
				s.Max, m.Weight = most, 1+int(weight.Add(1)/16%2)
				if o.session {
					m.Route = "all"
				}
			}
			p, _ := d.limited(s, most)
			var stop atomic.Bool
			var dialling sync.RWMutex
			var answered atomic.Int64
			var running sync.WaitGroup
			for i := range clients {
				running.Go(func() {
					var c *peer
					for n := 0; !stop.Load(); n++ {
						if dialling.RLock(); c == nil && !stop.Load() {
							c = p.dial()
						}
						dialling.RUnlock()
						if c == nil {
							return
						}
						path, leaves := fmt.Sprint("/", i, "/", n), rand.IntN(4) == 0
						if leaves {
							path = "/left" + path
						}
						request := "GET " + path + " HTTP/1.1\r\nHost: a.example\r\nX-Route: all\r\n\r\n"
						if rand.IntN(3) == 0 {
							request = post(path, "body")
						}
						_, err := io.WriteString(c, request)
						if err != nil || leaves {
							if leaves {
								time.Sleep(time.Duration(rand.IntN(8)) * time.Millisecond) // its patience
							}
							c.reset()
							c = nil
							continue
						}
						res, _, err := c.readResponse("GET")
						if stop.Load() {
							return
						}
						if err != nil || res.StatusCode != 200 && res.StatusCode != 502 && res.StatusCode != 503 {
							t.Errorf("client: %v, %v", res, err)
							return
						}
						answered.Add(1)
						if res.Close {
							c.reset()
							c = nil
						}
					}
				})
			}
			for range changes {
				now := []*origin{servers[rand.IntN(4)].origin}
				if rand.IntN(2) == 0 {
					now = append(now, gone)
				}
				if other := servers[rand.IntN(4)].origin; rand.IntN(2) == 0 && other != now[0] {
					now = append(now, other)
				}
				d.set(now...)
				before := answered.Load()
				tr.eventually("no requests are answered", func() bool { return t.Failed() || answered.Load() > before+2 })
			}
			d.set(servers[0].origin)
			p.wantServers(servers[0].origin)
			// The end comes while requests are under way and wait.
			dialling.Lock() // who dials reaches the proxy
			stop.Store(true)
			dialling.Unlock()
			p.drain()
			running.Wait()
			for i, g := range servers {
				if n := g.most.Load(); n > most {
					t.Errorf("server %d has had %d requests at once", i, n)
				}
			}
		})
	}
}
