package main

import (
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// slowloris: thousands of clients hold a connection each with a head that never ends, some bytes at a time. Good clients
// are served as if they were not there: their 99th percentile stays within twice of what it is without.
func slowloris(e *env) (*result, error) {
	const (
		factor = 2.0
		// attempts: where the machine is busy with other things, it is as likely to be so with the crowd as without.
		// One attempt within the bound shows that the proxy is not what takes longer.
		attempts = 3
	)
	crowd := e.size(10_000, 200)
	files := raiseFiles(uint64(4 * crowd))
	// Each is a descriptor here, and the proxy keeps one free for the other side of each.
	crowd = min(crowd, (int(files)-500)/2-goodClients)
	r := &result{}
	return e.with(setting{tables: "[timeouts]\nclient_header = \"5s\"\n"}, r, func([]*origin) error {
		for range e.size(attempts, 1) {
			ratio, err := e.besideCrowd(r, crowd)
			if err != nil {
				return err
			}
			if !e.full || ratio <= factor {
				return nil
			}
		}
		r.wrongf("p99 is more than %.1f times what it is without, each time: %s", factor, r.remark)
		return nil
	}, well)
}

// goodClients is how many there are beside the crowd.
const goodClients = 64

// besideCrowd measures what good clients get before, beside and after a crowd, and returns how many times longer they
// wait beside it.
func (e *env) besideCrowd(r *result, crowd int) (ratio float64, err error) {
	const rounds = 5
	requests := e.size(80, 2)
	before := e.percentile(r, rounds, requests)
	stop := make(chan struct{})
	var holding sync.WaitGroup
	var held, comings atomic.Int64
	// Each goroutine plays a hundred of them, one after the other, so that they are spread over time.
	const share = 100
	for first := 0; first < crowd; first += share {
		n := min(share, crowd-first)
		holding.Go(func() { hold(e.proxy.addr, n, stop, &held, &comings) })
	}
	err = await("the crowd is in", func() bool { return held.Load() >= int64(crowd)*95/100 })
	beside := e.percentile(r, rounds, requests)
	stayed := held.Load()
	close(stop)
	holding.Wait()
	if err != nil {
		return 0, err
	}
	if err := await("the crowd has left", func() bool {
		n, err := e.proxy.descriptors()
		return err == nil && n < 10*goodClients
	}); err != nil {
		return 0, err
	}
	after := e.percentile(r, rounds, requests)
	// The machine does other things too: what good clients get without is the longer of what they got before
	// and after.
	ratio = float64(beside) / float64(max(before, after))
	r.remarkf("%d clients hold on, in %d connections; p99 of %d good ones %v, without %v before and %v after: %.2f times",
		stayed, comings.Load(), goodClients, beside.Round(time.Microsecond), before.Round(time.Microsecond), after.Round(time.Microsecond), ratio)
	return ratio, nil
}

// raiseFiles raises this process's limit of open files, which the proxy inherits, and returns what it is then.
func raiseFiles(want uint64) uint64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 1024
	}
	if raised := (unix.Rlimit{Cur: want, Max: max(want, limit.Max)}); limit.Cur < want && unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
		return want // whoever may raise the hard limit
	}
	if raised := (unix.Rlimit{Cur: limit.Max, Max: limit.Max}); limit.Cur < want && unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
		return limit.Max
	}
	return limit.Cur
}

// hold plays n clients that each send some bytes of a head every other second, and come again when they are thrown
// out.
func hold(addr string, n int, stop <-chan struct{}, held, comings *atomic.Int64) {
	conns := make([]net.Conn, n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	come := func(i int) {
		c, err := net.DialTimeout("tcp", addr, patience)
		if err != nil {
			return
		}
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: slow\r\n")
		conns[i] = c
		held.Add(1)
		comings.Add(1)
	}
	for i := range conns {
		come(i)
	}
	tick := time.NewTicker(2 * time.Second / time.Duration(n))
	defer tick.Stop()
	for i := 0; ; i = (i + 1) % n {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if c := conns[i]; c != nil {
			if _, err := io.WriteString(c, "X-More: of it\r\n"); err == nil && !answered(c) {
				continue
			}
			c.Close()
			conns[i] = nil
			held.Add(-1)
		}
		come(i)
	}
}

// answered reports whether something has come, such as 408 or the end.
func answered(c net.Conn) bool {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	var peeked error
	err = raw.Control(func(fd uintptr) {
		_, _, peeked = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return err != nil || peeked != unix.EAGAIN
}

// percentile has good clients send requests one after the other, and returns the 99th percentile of what one takes: the
// median of several rounds, since the machine may be busy with something else for a moment.
func (e *env) percentile(r *result, rounds, requests int) time.Duration {
	var all []time.Duration
	for range rounds {
		all = append(all, e.round(r, requests))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func (e *env) round(r *result, requests int) time.Duration {
	var mu sync.Mutex
	var took []time.Duration
	var sending sync.WaitGroup
	for range goodClients {
		sending.Go(func() {
			c := &client{addr: e.proxy.addr}
			defer c.close()
			e.ask(r, c, http.MethodGet, "") // connects
			own := make([]time.Duration, 0, requests)
			for range requests {
				began := time.Now()
				e.ask(r, c, http.MethodGet, "")
				own = append(own, time.Since(began))
			}
			mu.Lock()
			took = append(took, own...)
			mu.Unlock()
		})
	}
	sending.Wait()
	slices.Sort(took)
	return took[len(took)*99/100]
}
