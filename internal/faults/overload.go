package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// worker is an origin that takes a time for each request, and counts.
type worker struct {
	addr     string
	srv      *http.Server
	service  time.Duration
	requests atomic.Int64
	now      atomic.Int64 // in flight
	most     atomic.Int64
	conns    atomic.Int64 // that were made
}

func newWorker(service time.Duration) (*worker, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &worker{addr: l.Addr().String(), service: service}
	w.srv = &http.Server{Handler: w, ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			w.conns.Add(1)
		}
	}}
	go w.srv.Serve(l)
	return w, nil
}

func (w *worker) close() { w.srv.Close() }

func (w *worker) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	n := w.now.Add(1)
	for most := w.most.Load(); n > most && !w.most.CompareAndSwap(most, n); most = w.most.Load() {
	}
	if w.service > 0 {
		done := time.NewTimer(w.service)
		select {
		case <-done.C:
		case <-r.Context().Done():
		}
		done.Stop()
	}
	w.requests.Add(1)
	w.now.Add(-1)
	io.WriteString(out, "fine")
}

func overloadFIFO(e *env) (*result, error)     { return overload(e, "fifo") }
func overloadAdaptive(e *env) (*result, error) { return overload(e, "adaptive") }

// overload: an origin that can do 200 requests a second gets 400. Nobody gets anything but 200 and 503, and the origin
// never more than 20 at a time. What part of its capacity is answered within a second is printed for both orders of the
// queue, and has to be 95 % with the adaptive one.
func overload(e *env, order string) (*result, error) {
	const (
		slots    = 20
		service  = 100 * time.Millisecond
		capacity = slots * int(time.Second/service)
		between  = time.Second / time.Duration(2*capacity)
		patient  = time.Second
	)
	settled, measured := 6*time.Second, 10*time.Second
	if !e.full {
		settled, measured = 0, time.Second
	}
	w, err := newWorker(service)
	if err != nil {
		return nil, err
	}
	defer w.close()
	p, err := e.start(setting{
		loops:   2,
		backend: fmt.Sprintf("max = %d\nqueue = 1000\nqueue_order = %q", slots, order),
	}, w.addr)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 4000}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	r := &result{}
	var inTime, late, refused atomic.Int64
	var asking sync.WaitGroup
	ctx, cancel := context.WithTimeout(context.Background(), settled+measured+patience)
	defer cancel()
	began := time.Now()
	arrivals := time.NewTicker(between)
	defer arrivals.Stop()
	// Arrivals that the ticker has dropped on a busy machine are made up for: the rate is what counts.
	for sent := 0; time.Since(began) < settled+measured; <-arrivals.C {
		for ; time.Duration(sent)*between <= time.Since(began); sent++ {
			r.requests++
			counts := time.Since(began) >= settled
			asking.Go(func() {
				asked := time.Now()
				status, err := ask(ctx, client, "http://"+p.addr+"/")
				took := time.Since(asked)
				switch {
				case err != nil:
					r.fail("%v after %v", err, took)
				case status == http.StatusServiceUnavailable:
					refused.Add(1)
				case status != http.StatusOK:
					r.fail("status %d", status)
				case !counts:
				case took <= patient:
					inTime.Add(1)
				default:
					late.Add(1)
				}
			})
		}
	}
	asking.Wait()
	if n := w.most.Load(); n > slots {
		r.wrongf("the origin had %d requests at a time, max is %d", n, slots)
	}
	part := float64(inTime.Load()) / (measured.Seconds() * float64(capacity))
	r.remarkf("within 1 s: %d, %.1f %% of the capacity; later: %d; 503: %d", inTime.Load(), 100*part, late.Load(), refused.Load())
	if e.full && order == "adaptive" && part < 0.95 {
		r.wrongf("only %.1f %% of the capacity is answered within 1 s", 100*part)
	}
	return r, nil
}

// fail counts a request that a client saw fail.
func (r *result) fail(format string, args ...any) {
	r.mu.Lock()
	r.errors++
	r.mu.Unlock()
	r.wrongf(format, args...)
}

// ask makes a GET request and returns the status of the answer, which was complete.
func ask(ctx context.Context, c *http.Client, url string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

// reuse: ten requests a second, each of a new client, come to 1, 2 and 8 loops. With max = 1 they have one connection
// between them, which the loops hand over to each other. How many there are without it is printed: a loop's pool is its
// own.
func reuse(e *env) (*result, error) {
	r := &result{}
	requests, between := e.size(50, 10), 100*time.Millisecond
	if !e.full {
		between = time.Millisecond
	}
	for _, loops := range []int{1, 2, 8} {
		for _, limit := range []string{"", "max = 1"} {
			made, err := e.reuse(r, loops, limit, requests, between)
			if err != nil {
				return nil, err
			}
			name := "no max"
			if limit != "" {
				name = limit
				if made != 1 {
					r.wrongf("%d loops, %s: %d connections for %d requests", loops, limit, made, requests)
				}
			}
			r.remarkf("%d loops, %s: %d connections", loops, name, made)
		}
	}
	return r, nil
}

// reuse makes requests at a rate and returns the number of connections that the origin has seen.
func (e *env) reuse(r *result, loops int, limit string, requests int, between time.Duration) (made int64, err error) {
	w, err := newWorker(0)
	if err != nil {
		return 0, err
	}
	defer w.close()
	p, err := e.start(setting{loops: loops, backend: limit}, w.addr)
	if err != nil {
		return 0, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	tick := time.NewTicker(between)
	defer tick.Stop()
	for range requests {
		<-tick.C
		r.requests++
		if status, err := ask(context.Background(), client, "http://"+p.addr+"/"); err != nil || status != http.StatusOK {
			r.fail("%d loops, %q: %d, %v", loops, limit, status, err)
		}
	}
	err = p.stop()
	e.proxy = nil
	return w.conns.Load(), err
}
