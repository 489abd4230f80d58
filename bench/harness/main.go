// Command harness measures millrace side by side with nginx, HAProxy, lighttpd and two programs that only move
// bytes (bench/limit), all on one machine in one run.
//
// The proxy under test has one CPU of its own; the origin and wrk share another. What is compared is the CPU time a
// request costs the proxy's own processes: unlike requests a second it does not depend on how fast the load
// generator is. Machines are noisy, so no absolute figure holds: rounds are interleaved (A B C, A B C, ...), medians
// are taken over the rounds, and what counts is the ratio of two medians of one run.
//
// It is run from the top of the repository: "go run ./bench/harness -h" lists the options, bench/README.md explains
// them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	root       string
	out        string
	millrace   string
	baseline   string
	peers      []string
	peersNamed bool // the user said which: a missing one is an error, not a remark
	scripts    []string
	sizes      []size
	conns      []int
	origin     string
	rounds     int
	seconds    int
	warmup     int
	proxyCPU   int
	loadCPU    int
	strace     bool
	edits      bool
	routes     bool
	requests   int
	quick      bool
	raw        bool
	idle       int // tunnels
	balance    bool
}

// size is the length of a response body, with the name it has in paths and tables.
type size struct {
	name  string
	bytes int
}

func main() {
	// Children ask for a signal when the thread that started them dies; Go may end any other thread at any time.
	runtime.LockOSThread()

	o, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "harness:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "harness:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string) (*options, error) {
	o := &options{}
	var peers, scripts, sizes, conns string
	fs := flag.NewFlagSet("harness", flag.ContinueOnError)
	fs.StringVar(&o.root, "root", ".", "top of the repository")
	fs.StringVar(&o.out, "out", "", "directory of the results (default ROOT/bench/results)")
	fs.StringVar(&o.millrace, "millrace", "", "millrace binary (default ROOT/bin/millrace)")
	fs.StringVar(&o.baseline, "baseline", "", "another millrace binary, measured as the peer \"baseline\", or \"baseline-sock\" with -raw")
	fs.StringVar(&peers, "peers", "", "proxies, comma-separated (default "+strings.Join(peerNames(), ",")+")")
	fs.StringVar(&scripts, "scripts", "small", "wrk scripts of bench/wrk: small, browser, keys, pipelined, post, newconn")
	fs.StringVar(&sizes, "sizes", "5B,1KiB,16KiB,1MiB", "response bodies")
	fs.StringVar(&conns, "conns", "64,256", "client connections")
	fs.IntVar(&o.rounds, "rounds", 3, "rounds; the proxies take turns within each")
	fs.IntVar(&o.seconds, "seconds", 4, "length of a measured run in seconds")
	fs.IntVar(&o.warmup, "warmup", 1, "length of the run before it that is not measured, in seconds")
	fs.IntVar(&o.proxyCPU, "proxy-cpu", 0, "CPU of the proxy")
	fs.IntVar(&o.loadCPU, "load-cpu", 1, "CPU of the origin and wrk")
	fs.StringVar(&o.origin, "origin", "light", "origin: light (bench/origin) or nginx")
	fs.BoolVar(&o.quick, "quick", false, "5B, 64 connections, 3 rounds of 2 s; options given beside it win")
	fs.BoolVar(&o.strace, "strace", false, "count system calls a request instead of measuring time")
	fs.BoolVar(&o.raw, "raw", false, "raw TCP: 5B and 1MiB through "+strings.Join(rawPeers, ",")+"; options given beside it win")
	fs.IntVar(&o.idle, "idle", 0, "instead of time, measure the memory of so many idle tunnels through the proxies of -raw")
	fs.BoolVar(&o.edits, "edits", false, "millrace without edits and with ten each way; proxies named beside it are measured too")
	fs.BoolVar(&o.routes, "routes", false, "millrace with ten routes and with ten thousand, the last of which is taken; proxies named beside it are measured too")
	fs.BoolVar(&o.balance, "balance", false, "millrace's ways to balance with 1, 10 and 1000 servers; -peers are those of "+strings.Join(balanceAlgorithms, ",")+" then")
	fs.IntVar(&o.requests, "requests", 100_000, "requests for -strace")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}

	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	preset := func(values map[string]string) error {
		for name, value := range values {
			if !given[name] {
				if err := fs.Set(name, value); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if o.raw || o.idle > 0 {
		if err := preset(map[string]string{"sizes": "5B,1MiB", "conns": "64", "peers": strings.Join(rawPeers, ",")}); err != nil {
			return nil, err
		}
	}
	if o.balance {
		if err := preset(map[string]string{"scripts": "keys", "sizes": "5B", "conns": "64", "peers": strings.Join(balanceAlgorithms, ",")}); err != nil {
			return nil, err
		}
	}
	if o.quick {
		if err := preset(map[string]string{"sizes": "5B", "conns": "64", "rounds": "3", "seconds": "2"}); err != nil {
			return nil, err
		}
	}
	// Children run in directories of their own.
	var err error
	if o.root, err = filepath.Abs(o.root); err != nil {
		return nil, err
	}
	if o.out == "" {
		o.out = filepath.Join(o.root, "bench", "results")
	}
	if o.millrace == "" {
		o.millrace = filepath.Join(o.root, "bin", "millrace")
	}
	o.peersNamed = given["peers"]
	o.peers = peerNames()
	if peers != "" {
		o.peers = strings.Split(peers, ",")
	}
	for _, with := range []struct {
		asked bool
		peers []string
	}{
		{o.edits, []string{"millrace-edits"}},
		{o.routes, []string{"millrace-routes-10", "millrace-routes-10000"}},
	} {
		if !with.asked {
			continue
		}
		if !o.peersNamed {
			o.peers, o.peersNamed = []string{"millrace"}, true
		}
		o.peers = append(o.peers, with.peers...)
	}
	switch {
	case o.baseline == "":
	case o.raw || o.idle > 0:
		o.peers = append(o.peers, "baseline-sock")
	default:
		o.peers = append(o.peers, "baseline")
	}
	if o.origin != "light" && o.origin != "nginx" {
		return nil, fmt.Errorf("-origin: %q is neither light nor nginx", o.origin)
	}
	o.scripts = strings.Split(scripts, ",")
	for _, s := range o.scripts {
		if _, err := os.Stat(scriptFile(o, s)); err != nil {
			return nil, fmt.Errorf("-scripts: no script %q in bench/wrk", s)
		}
	}
	for word := range strings.SplitSeq(sizes, ",") {
		s, err := parseSize(word)
		if err != nil {
			return nil, fmt.Errorf("-sizes: %w", err)
		}
		o.sizes = append(o.sizes, s)
	}
	for word := range strings.SplitSeq(conns, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-conns: %q is not a positive number", word)
		}
		o.conns = append(o.conns, n)
	}
	if o.balance {
		if err := checkBalance(o); err != nil {
			return nil, err
		}
	}
	switch {
	case o.rounds < 1 || o.seconds < 1 || o.warmup < 0 || o.requests < 1 || o.idle < 0:
		return nil, errors.New("-rounds, -seconds and -requests are at least 1, -warmup and -idle at least 0")
	case o.proxyCPU == o.loadCPU:
		return nil, errors.New("-proxy-cpu and -load-cpu must differ: the proxy needs a CPU of its own")
	}
	return o, nil
}

// parseSize reads "5B", "16KiB", "1MiB".
func parseSize(word string) (size, error) {
	digits, unit := word, ""
	if i := strings.IndexFunc(word, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits, unit = word[:i], word[i:]
	}
	n, err := strconv.Atoi(digits)
	factor, known := map[string]int{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20}[unit]
	if err != nil || n < 1 || !known {
		return size{}, fmt.Errorf("%q is not a size like 5B, 16KiB, 1MiB", word)
	}
	return size{word, n * factor}, nil
}

func scriptFile(o *options, script string) string {
	return filepath.Join(o.root, "bench", "wrk", script+".lua")
}

// cell is one thing that all proxies are measured at.
type cell struct {
	Script string `json:"script"`
	Size   string `json:"size"`
	Conns  int    `json:"conns"`
	// Servers is how many the proxies have, for -balance; else 0, and they have one.
	Servers int    `json:"servers,omitempty"`
	path    string // of the URL
}

// cells are all combinations asked for. post has one response only, whatever the sizes.
func (o *options) cells() []cell {
	var all []cell
	for _, script := range o.scripts {
		sizes := o.sizes
		if script == "post" {
			sizes = []size{{"5B", 5}}
		}
		for _, s := range sizes {
			for _, n := range o.conns {
				c := cell{Script: script, Size: s.name, Conns: n, path: "/" + s.name}
				if script == "post" {
					c.path = "/post"
				}
				all = append(all, c)
			}
		}
	}
	return all
}

func run(ctx context.Context, o *options) error {
	dir, err := os.MkdirTemp("", "millrace-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	var peers []*peer
	var remarks []string
	if !o.balance {
		if peers, remarks, err = findPeers(o); err != nil {
			return err
		}
	}
	if o.idle > 0 {
		if err := o.limitIdle(); err != nil {
			return err
		}
	}
	for _, r := range remarks {
		fmt.Fprintln(os.Stderr, "harness:", r)
	}
	b := &bench{o: o, dir: dir, docs: filepath.Join(dir, "docs")}
	if err := b.startOrigin(ctx); err != nil {
		return err
	}
	defer b.origin.stop()

	if o.balance {
		return b.measureBalance(ctx)
	}
	if o.idle > 0 {
		return b.measureIdle(ctx, peers, remarks)
	}
	if o.strace {
		return b.countCalls(ctx, peers)
	}
	rep := &report{Machine: describeMachine(o, peers), Remarks: remarks}
	for _, c := range o.cells() {
		res, err := b.measureCell(ctx, c, peers)
		if err != nil {
			return err
		}
		rep.Results = append(rep.Results, res)
	}
	return rep.write(o, os.Stdout)
}

// bench is the private directory, the origin and what starts the proxies.
type bench struct {
	o      *options
	dir    string
	docs   string
	origin *process
	ports  int // directories made so far, to give each process one of its own
}

func (b *bench) startOrigin(ctx context.Context) error {
	if err := os.Mkdir(b.docs, 0o755); err != nil {
		return err
	}
	// "post" must be there for the origin to answer POST /post: see its configuration.
	for _, s := range append([]size{{"5B", 5}, {"post", 5}}, b.o.sizes...) {
		body := []byte(strings.Repeat("millrace", s.bytes/8+1)[:s.bytes])
		if err := os.WriteFile(filepath.Join(b.docs, s.name), body, 0o644); err != nil {
			return err
		}
	}
	origin, err := b.start(ctx, originPeer(b.o), b.o.loadCPU, "")
	if err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	b.origin = origin
	return nil
}

// measureCell runs all rounds of one cell. A proxy that cannot be started or fails under load is reported as such
// and does not stop the others; only an interrupt does.
func (b *bench) measureCell(ctx context.Context, c cell, peers []*peer) (result, error) {
	res := result{cell: c}
	for _, p := range peers {
		res.Peers = append(res.Peers, peerResult{Name: p.name})
	}
	for round := range b.o.rounds {
		for i, p := range peers {
			m, err := b.measure(ctx, c, p)
			if ctx.Err() != nil {
				return res, errors.New("interrupted")
			}
			if err != nil {
				m.Failure = err.Error()
			}
			res.Peers[i].Runs = append(res.Peers[i].Runs, m)
			fmt.Fprintf(os.Stderr, "%s %s, %d connections, round %d, %-16s %s\n", c.Script, c.Size, c.Conns, round+1, p.name, m)
		}
	}
	return res, nil
}

// measure starts the proxy, warms it up and measures one run. The proxy is started anew each time, so that its
// memory is what this cell makes it.
func (b *bench) measure(ctx context.Context, c cell, p *peer) (m measurement, err error) {
	proxy, err := b.start(ctx, p, b.o.proxyCPU, b.origin.addr)
	if err != nil {
		return m, err
	}
	defer proxy.stop()
	url := "http://" + proxy.addr + c.path
	if err := b.warmUp(ctx, c, url); err != nil {
		return m, err
	}
	conns := b.connections()
	before, err := b.sample(proxy)
	if err != nil {
		return m, err
	}
	w, err := runWrk(ctx, b.o, c, url, b.o.seconds)
	if err != nil {
		return m, err
	}
	after, err := b.sample(proxy)
	if err != nil {
		return m, err
	}
	m = newMeasurement(w, before, after)
	if c.Servers > 0 {
		m.Conns = b.connections()
		m.ConnsMade = m.Conns - conns
	}
	return m, nil
}

// warmUp makes runs that are not measured: one, or with many servers as many as it takes for the connections to them to be
// made.
func (b *bench) warmUp(ctx context.Context, c cell, url string) error {
	if b.o.warmup == 0 {
		return nil
	}
	for range maxWarmUps {
		had := b.connections()
		if _, err := runWrk(ctx, b.o, c, url, b.o.warmup); err != nil {
			return err
		}
		if c.Servers == 0 || b.connections() <= had+had/connsGrown {
			break
		}
	}
	return nil
}

// countCalls prints the system calls a request of each proxy.
func (b *bench) countCalls(ctx context.Context, peers []*peer) error {
	for _, p := range peers {
		for _, c := range b.o.cells() {
			if err := b.countCallsOf(ctx, p, c); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	return nil
}

func (b *bench) countCallsOf(ctx context.Context, p *peer, c cell) error {
	proxy, err := b.start(ctx, p, b.o.proxyCPU, b.origin.addr)
	if err != nil {
		return err
	}
	defer proxy.stop()
	args := []string{
		filepath.Join(b.o.root, "bench", "strace.sh"), "-n", strconv.Itoa(b.o.requests), "-c", strconv.Itoa(c.Conns),
		"http://" + proxy.addr + c.path,
	}
	for _, pid := range slices.Sorted(slices.Values(proxy.pids())) {
		args = append(args, strconv.Itoa(pid))
	}
	fmt.Printf("## %s, %s, %d connections\n\n", p.name, c.Size, c.Conns)
	cmd := pinned(ctx, b.o.loadCPU, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("bench/strace.sh: %w", err)
	}
	fmt.Println()
	return nil
}

// sample is what is known at one moment about the proxy, the origin and the two CPUs they run on.
type sample struct {
	at            time.Time
	proxy, origin usage
	proxyBusy     time.Duration // of the proxy's CPU so far, by whomever
	loadBusy      time.Duration // of the load's CPU so far, by whomever
}

func (b *bench) sample(proxy *process) (s sample, err error) {
	s.at = time.Now()
	if s.proxy, err = proxy.usage(); err != nil {
		return s, fmt.Errorf("proxy: %w", err)
	}
	if s.origin, err = b.origin.usage(); err != nil {
		return s, fmt.Errorf("origin: %w", err)
	}
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return s, err
	}
	if s.proxyBusy, err = cpuBusy(string(stat), b.o.proxyCPU); err != nil {
		return s, err
	}
	s.loadBusy, err = cpuBusy(string(stat), b.o.loadCPU)
	return s, err
}
