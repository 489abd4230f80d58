package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// descriptors: the proxy's descriptors are taken away while clients come. Who is in is served on; who comes is served,
// told 503, or waits; when the others have left everybody is served.
func descriptors(e *env) (*result, error) {
	r := &result{}
	return e.with(setting{tables: "[timeouts]\nclient_idle = \"0\"\n"}, r, func([]*origin) error {
		p := e.proxy
		old := &client{addr: p.addr}
		defer old.close()
		e.ask(r, old, http.MethodGet, "")
		open, err := p.descriptors()
		if err != nil {
			return err
		}
		const least = 64 // what the proxy needs to have room for clients at all
		few := uint64(max(open+16, least))
		limit := unix.Rlimit{Cur: few, Max: few}
		if err := unix.Prlimit(p.pid(), unix.RLIMIT_NOFILE, &limit, nil); err != nil {
			return err
		}
		crowd := make([]*client, e.size(1000, 50))
		var coming sync.WaitGroup
		for i := range crowd {
			crowd[i] = &client{addr: p.addr}
			coming.Go(func() {
				// Its answer may take until others have left.
				if crowd[i].dial() == nil {
					fmt.Fprintf(crowd[i].c, "GET /crowd HTTP/1.1\r\nHost: faults\r\n\r\n")
				}
			})
		}
		coming.Wait()
		if err := await("the proxy runs out of descriptors", func() bool { return p.said("too many open files") }); err != nil {
			return err
		}
		for range e.size(2000, 50) {
			e.ask(r, old, http.MethodGet, "")
		}
		for _, c := range crowd {
			c.close()
		}
		return await("new clients are served again", func() bool {
			c := &client{addr: p.addr}
			defer c.close()
			status, _, err := c.do(http.MethodGet, "/after", "")
			return err == nil && status == http.StatusOK
		})
	}, well)
}

// disk: the access log's disk is full. Requests are served; afterwards the log goes on, in whole lines.
func disk(e *env) (*result, error) {
	r := &result{}
	path := filepath.Join(e.dir, "access.log")
	return e.with(setting{log: path}, r, func([]*origin) error {
		p := e.proxy
		p.errorsSaid = true
		e.many(r, 1, 10, http.MethodGet)
		// A file must not grow any more, which to a write is what a full disk is.
		limit := unix.Rlimit{Cur: 1000, Max: unix.RLIM_INFINITY}
		if err := unix.Prlimit(p.pid(), unix.RLIMIT_FSIZE, &limit, nil); err != nil {
			return err
		}
		e.many(r, 4, e.size(5000, 100), http.MethodGet)
		if err := await("the proxy says that the log cannot be written", func() bool { return p.said("access log cannot be written") }); err != nil {
			return err
		}
		e.many(r, 4, e.size(5000, 100), http.MethodGet)
		limit.Cur = unix.RLIM_INFINITY
		if err := unix.Prlimit(p.pid(), unix.RLIMIT_FSIZE, &limit, nil); err != nil {
			return err
		}
		if err := await("the log is written again", func() bool { return p.said("access log is written again") }); err != nil {
			return err
		}
		e.many(r, 1, 10, http.MethodGet)
		if err := p.stop(); err != nil {
			return err
		}
		e.proxy = nil
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		for _, line := range lines {
			if !strings.HasPrefix(line, "127.0.0.1 - ") || !strings.Contains(line, `HTTP/1.1" 200 `) {
				r.wrongf("the log has the line %q", line)
			}
		}
		r.remarkf("%d of %d records written", len(lines), r.requests)
		return nil
	}, well)
}

// clockElsewhere: the program's clock is not what it was when the machine started: it runs in a time namespace in which
// the monotonic clock is ahead by years. Deadlines come when they come.
//
// That no deadline is reckoned by the wall clock, which may jump, is shown by a test that reads the sources: to
// let it jump for one process only there is no way.
func clockElsewhere(e *env) (*result, error) {
	const years = "315360000" // ten, in seconds
	command := []string{"unshare", "--time", "--monotonic", years, "--boottime", years}
	if _, err := exec.LookPath(command[0]); err != nil {
		return nil, errSkipped{err}
	}
	if out, err := exec.Command(command[0], append(command[1:], "true")...).CombinedOutput(); err != nil {
		return nil, errSkipped{fmt.Errorf("no time namespace: %w: %s", err, bytes.TrimSpace(out))}
	}
	r := &result{}
	return e.with(setting{command: command, tables: "[timeouts]\nresponse = \"300ms\"\n"}, r, func([]*origin) error {
		// Not every kernel moves a process when it executes a program.
		ours, err := os.Readlink("/proc/self/ns/time")
		if err != nil {
			return err
		}
		if its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/time", e.proxy.pid())); err != nil || its == ours {
			return errSkipped{fmt.Errorf("the program is not in a time namespace of its own (%v)", err)}
		}
		e.many(r, 4, e.size(500, 20), http.MethodGet)
		e.many(r, 2, e.size(5, 1), http.MethodPut, http.StatusGatewayTimeout)
		return nil
	}, instead(func(c *conn, req *http.Request, body []byte) bool {
		if req.Method == http.MethodPut {
			c.r.Peek(1)
			return false
		}
		_, err := io.WriteString(c, response(req, body))
		return err == nil
	}))
}

// slowReader: a client reads a large response more slowly than the origin sends it. It costs the proxy one buffer.
func slowReader(e *env) (*result, error) {
	const (
		rate = 50_000 // bytes a second
		// allowance is for what any request may make the runtime take, and one buffer.
		allowance = 8 << 20
	)
	total := e.size(200_000_000, 30_000_000)
	r := &result{requests: 1}
	var sent int64
	var mu sync.Mutex
	progress := func() int64 {
		mu.Lock()
		defer mu.Unlock()
		return sent
	}
	return e.with(setting{}, r, func([]*origin) error {
		c := &client{addr: e.proxy.addr}
		defer c.close()
		e.ask(r, c, http.MethodGet, "") // the first request makes its buffers
		before, err := e.proxy.resident()
		if err != nil {
			return err
		}
		most := before
		sample := func() error {
			now, err := e.proxy.resident()
			most = max(most, now)
			return err
		}
		c.c.SetDeadline(time.Now().Add(10 * patience))
		io.WriteString(c.c, "GET /large HTTP/1.1\r\nHost: faults\r\n\r\n")
		res, err := http.ReadResponse(c.r, nil)
		if err != nil {
			return err
		}
		read := int64(0)
		if e.full {
			const step = 100 * time.Millisecond
			tick := time.NewTicker(step)
			defer tick.Stop()
			for range 10 * time.Second / step {
				<-tick.C
				n, err := io.CopyN(io.Discard, res.Body, rate/int64(time.Second/step))
				if read += n; err != nil {
					return err
				}
				if err := sample(); err != nil {
					return err
				}
			}
		} else {
			// As much as the sockets take.
			last := int64(-1)
			if err := await("the origin is held back", func() bool {
				now := progress()
				still := now == last
				last = now
				return still && now > 0
			}); err != nil {
				return err
			}
		}
		held := progress() - read
		if err := sample(); err != nil {
			return err
		}
		for err == nil {
			var n int64
			n, err = io.CopyN(io.Discard, res.Body, 1<<20)
			read += n
			if err := sample(); err != nil {
				return err
			}
		}
		if !errors.Is(err, io.EOF) || read != int64(total) {
			r.errors++
			r.wrongf("%d of %d bytes arrived: %v", read, total, err)
		}
		r.remarkf("%.1f MiB at first, at most %.1f; the origin was ahead by %.1f", mib(before), mib(most), mib(held))
		if most-before > allowance {
			r.wrongf("the proxy grew from %.1f MiB to %.1f, allowed are %.1f more", mib(before), mib(most), mib(allowance))
		}
		return nil
	}, instead(func(c *conn, req *http.Request, body []byte) bool {
		if req.RequestURI != "/large" {
			_, err := io.WriteString(c, response(req, body))
			return err == nil
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", total)
		piece := make([]byte, 100_000)
		for range total / len(piece) {
			n, err := c.Write(piece)
			mu.Lock()
			sent += int64(n)
			mu.Unlock()
			if err != nil {
				return false
			}
		}
		return true
	}))
}

// mib is bytes as a number of MiB.
func mib(n int64) float64 { return float64(n) / (1 << 20) }
