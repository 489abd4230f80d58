package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// spareFiles is what each process needs beside its tunnels, millrace's pipes among them.
const spareFiles = 1100

// limitIdle raises the limit of open files, which children inherit, so that a proxy can hold as many tunnels as asked
// for, with a descriptor for each side; or makes do with as many as there is room for.
func (o *options) limitIdle() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	wanted := uint64(2*o.idle + spareFiles)
	for _, try := range []syscall.Rlimit{{Cur: wanted, Max: max(wanted, limit.Max)}, {Cur: limit.Max, Max: limit.Max}} {
		if limit.Cur >= wanted || syscall.Setrlimit(syscall.RLIMIT_NOFILE, &try) == nil {
			limit.Cur = max(limit.Cur, try.Cur)
			break
		}
	}
	if limit.Cur < wanted {
		if limit.Cur < 2*spareFiles {
			return fmt.Errorf("-idle: the open-file limit is %d", limit.Cur)
		}
		o.idle = int(limit.Cur-spareFiles) / 2
		fmt.Fprintf(os.Stderr, "harness: the open-file limit has room for %d tunnels\n", o.idle)
	}
	return nil
}

// idleResult is what a proxy's idle tunnels cost.
type idleResult struct {
	name          string
	before, after int64 // RSS, bytes
	failure       string
}

// measureIdle prints how much memory a tunnel costs that has carried one request and is silent now.
func (b *bench) measureIdle(ctx context.Context, peers []*peer, remarks []string) error {
	var results []idleResult
	failures := 0
	for _, p := range peers {
		r := idleResult{name: p.name}
		if err := b.holdIdle(ctx, p, &r); err != nil {
			if ctx.Err() != nil {
				return err
			}
			r.failure = measurement{Failure: err.Error()}.errors()
			failures++
		}
		results = append(results, r)
		fmt.Fprintf(os.Stderr, "%d idle tunnels, %-12s %6d bytes each %s\n", b.o.idle, r.name, r.each(b.o.idle), r.failure)
	}
	m := describeMachine(b.o, peers)
	md := idleMarkdown(m, b.o.idle, results, remarks)
	fmt.Print(md)
	if err := os.MkdirAll(b.o.out, 0o755); err != nil {
		return err
	}
	name := filepath.Join(b.o.out, m.Date+"-"+m.Commit+"-idle.md")
	if err := os.WriteFile(name, []byte(md), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "harness: written to %s\n", name)
	if failures > 0 {
		return fmt.Errorf("%d proxies failed", failures)
	}
	return nil
}

// each is what a tunnel costs, in bytes.
func (r *idleResult) each(tunnels int) int64 { return (r.after - r.before) / int64(tunnels) }

// holdIdle opens the tunnels, each of which carries one request, and looks at the proxy's memory.
func (b *bench) holdIdle(ctx context.Context, p *peer, r *idleResult) error {
	proxy, err := b.start(ctx, p, b.o.proxyCPU, b.origin.addr)
	if err != nil {
		return err
	}
	defer proxy.stop()
	u, err := proxy.usage()
	if err != nil {
		return err
	}
	r.before = u.rss
	conns, err := openIdle(ctx, proxy.addr, b.o.idle)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close() // it is thrown away
			}
		}
	}()
	if err != nil {
		return err
	}
	if u, err = proxy.usage(); err != nil {
		return err
	}
	r.after = u.rss
	return nil
}

// openIdle opens n connections and has each make one request.
func openIdle(ctx context.Context, addr string, n int) ([]net.Conn, error) {
	const atOnce = 64
	conns := make([]net.Conn, n)
	failed := make(chan error, atOnce)
	next := make(chan int)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var opening sync.WaitGroup
	for range atOnce {
		opening.Go(func() {
			for i := range next {
				var err error
				if conns[i], err = openOne(ctx, addr); err != nil {
					failed <- fmt.Errorf("tunnel %d: %w", i+1, err)
					stop()
					return
				}
			}
		})
	}
	for i := range n {
		select {
		case next <- i:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	opening.Wait()
	select {
	case err := <-failed:
		return conns, err
	default:
		return conns, ctx.Err()
	}
}

func openOne(ctx context.Context, addr string) (net.Conn, error) {
	const patience = 20 * time.Second
	c, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return c, err
	}
	if _, err := io.WriteString(c, "GET /5B HTTP/1.1\r\nHost: bench\r\n\r\n"); err != nil {
		return c, err
	}
	res, err := http.ReadResponse(bufio.NewReaderSize(c, 1024), nil)
	if err != nil {
		return c, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return c, err
}

// idleMarkdown is the table of the results.
func idleMarkdown(m machine, tunnels int, results []idleResult, remarks []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %d idle tunnels, %s, %s\n\n    %s\n\n", tunnels, m.Date, m.Commit, m.Command)
	for _, v := range m.Versions {
		fmt.Fprintf(&b, "- %s: %s\n", v.Name, v.Text)
	}
	for _, remark := range remarks {
		fmt.Fprintf(&b, "\nNote: %s.\n", remark)
	}
	b.WriteString("\nEach tunnel has carried one request. RSS of all processes, without what the kernel has for sockets.\n\n")
	b.WriteString("| proxy | RSS before MiB | after MiB | bytes a tunnel | errors |\n|---|---:|---:|---:|---|\n")
	for _, r := range results {
		if r.failure != "" {
			fmt.Fprintf(&b, "| %s | | | | %s |\n", r.name, r.failure)
			continue
		}
		fmt.Fprintf(&b, "| %s | %.1f | %.1f | %d | none |\n", r.name, float64(r.before)/(1<<20), float64(r.after)/(1<<20), r.each(tunnels))
	}
	return b.String()
}
