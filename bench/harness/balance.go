package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// balanceAlgorithms are millrace's ways to balance, each under one of its names. sticky is left out: it is hash with
// another key, of which wrk has one only, its address.
var balanceAlgorithms = []string{"fair", "round-robin", "hash", "maglev", "bytraffic", "bybusyness", "first", "random", "ewma"}

// balanceServers are the numbers of servers that they are measured with.
var balanceServers = []int{1, 10, 1000}

const (
	// connsGrown is the part of the origin's connections that has to be made in a run that warms up for there to be another
	// one: those to a thousand servers are not all made in the first.
	connsGrown = 100
	// maxWarmUps is how many there are when there is no end to that.
	maxWarmUps = 8
)

// withinBase is what a way to balance may cost, in times of the base.
const withinBase = 1.05

// balancePeer is millrace with one way to balance and so many servers.
func balancePeer(o *options, algorithm string, servers int) *peer {
	return &peer{
		name: balanceName(algorithm, servers), binary: o.millrace, config: "millrace-balance.toml", args: runMillrace,
		version: []string{"version"}, balance: algorithm, servers: servers,
	}
}

func balanceName(algorithm string, servers int) string {
	return fmt.Sprintf("%s-%d", algorithm, servers)
}

// spreadPeer is the program that passes bytes on to so many connections in turn, which is what the kernel takes for them.
func spreadPeer(o *options, conns int) *peer {
	return &peer{
		name: spreadName(conns), binary: filepath.Join(o.root, "bin", "limit_spread"),
		args: func(s *settings) []string { return []string{s.Port, s.OriginPort, strconv.Itoa(conns)} },
	}
}

func spreadName(conns int) string { return fmt.Sprintf("limit_spread-%d", conns) }

// balancePeers are what is measured with a number of servers: first fair with one server and round-robin with all of them, which
// the others are compared with. With more servers than clients, who uses all of them has more connections than fair-1, and last
// comes what that is in the kernel.
func balancePeers(o *options, servers, clients int) []*peer {
	peers := []*peer{balancePeer(o, "fair", 1), balancePeer(o, "round-robin", servers)}
	for _, algorithm := range o.peers {
		if algorithm != "round-robin" && (algorithm != "fair" || servers != 1) {
			peers = append(peers, balancePeer(o, algorithm, servers))
		}
	}
	if servers > clients {
		peers = append(peers, spreadPeer(o, clients), spreadPeer(o, servers))
	}
	return peers
}

// checkBalance is what -balance needs of the other options.
func checkBalance(o *options) error {
	for _, other := range []struct {
		option string
		given  bool
	}{
		{"-raw", o.raw},
		{"-idle", o.idle > 0},
		{"-edits", o.edits},
		{"-routes", o.routes},
		{"-strace", o.strace},
		{"-baseline", o.baseline != ""},
		{"-origin nginx, which answers on one address", o.origin != "light"},
	} {
		if other.given {
			return fmt.Errorf("-balance does not go with %s", other.option)
		}
	}
	for _, name := range o.peers {
		if !slices.Contains(balanceAlgorithms, name) {
			return fmt.Errorf("-peers: with -balance they are of %s, and %q is not", strings.Join(balanceAlgorithms, ", "), name)
		}
	}
	return nil
}

// serverAddrs are n addresses of the origin: all of 127.0.0.0/8 is this machine, and the origin answers on all of it.
func serverAddrs(port string, n int) []string {
	const each = 250
	addrs := make([]string, n)
	for i := range addrs {
		addrs[i] = net.JoinHostPort(fmt.Sprintf("127.0.%d.%d", 1+i/each, 1+i%each), port)
	}
	return addrs
}

// measureBalance measures all ways to balance with each number of servers.
func (b *bench) measureBalance(ctx context.Context) error {
	for _, binary := range []string{b.o.millrace, spreadPeer(b.o, 1).binary} {
		if _, err := os.Stat(binary); err != nil {
			return fmt.Errorf("%w (make build limits)", err)
		}
	}
	rep := &report{Machine: describeMachine(b.o, []*peer{{name: "millrace", binary: b.o.millrace, version: []string{"version"}}})}
	for _, c := range b.o.cells() {
		for _, c.Servers = range balanceServers {
			res, err := b.measureCell(ctx, c, balancePeers(b.o, c.Servers, c.Conns))
			if err != nil {
				return err
			}
			rep.Results = append(rep.Results, res)
		}
	}
	return rep.write(b.o, os.Stdout)
}

// connections counts those that the origin has at the moment.
func (b *bench) connections() (n int64) {
	for _, pid := range b.origin.pids() {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)) // the pattern is well-formed
		for _, file := range files {
			if to, err := os.Readlink(file); err == nil && strings.HasPrefix(to, "socket:") {
				n++
			}
		}
	}
	return n - 1 // it listens on one of them
}

func (r *report) balanceMarkdown() string {
	var b strings.Builder
	r.head(&b, "Ways to balance")
	b.WriteString(`
Each row is millrace with one way to balance and so many servers, which are addresses of one origin. Medians over the rounds, which
are interleaved. *CPU* is the time that millrace spent on a request, with the least and the most of the rounds. *Times fair-1* is this
row's CPU divided by that of ` + "`fair`" + ` with one server in the same rounds; *times round-robin* is by that of ` + "`round-robin`" + ` with
as many servers, which chooses at once and uses all servers: what a row has above it is the choosing, and what round-robin has
above fair-1 is the part of the kernel and of the caches in more connections. ` + "`limit_spread`" + ` does nothing but pass bytes on to so many
connections in turn, so that what it takes more for many of them is the kernel's part alone.

*Conns* is how many connections the origin has in the end, *made* how many of those were made while it was measured: they are
kept, and runs that warm up go on until hardly any are made, so that it is choosing and not connecting that is measured; a row with
many of them has connecting in it. ` + "`hash`" + ` and ` + "`maglev`" + ` go by the target of the request, ` + "`first`" + ` uses one server, and
` + "`fair`" + ` as few as are needed for each request to have its own. *Load* is how busy millrace kept its CPU, *foreign* what others took of that CPU or of the
load generator's, whichever is more.
`)
	for _, res := range r.Results {
		res.balanceTable(&b)
	}
	return b.String()
}

// balanceTable writes one number of servers.
func (res *result) balanceTable(b *strings.Builder) {
	servers := "1 server"
	if res.Servers > 1 {
		servers = fmt.Sprint(res.Servers, " servers")
	}
	fmt.Fprintf(b, "\n## %s, %s, %s, %d connections\n\n", servers, res.Script, res.Size, res.Conns)
	b.WriteString("| balance-servers | CPU us/request | times fair-1 | times round-robin | requests/s | p50 | p99 | conns | made | load | foreign | errors |\n")
	b.WriteString("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n")
	fair, even := res.median(balanceName("fair", 1)), res.median(balanceName("round-robin", res.Servers))
	times := func(m, base *measurement) string {
		if base == nil {
			return ""
		}
		return fmt.Sprintf("%.3f", m.CPU/base.CPU)
	}
	var above []string
	for _, p := range res.Peers {
		m := p.Median
		if m == nil {
			fmt.Fprintf(b, "| %s | | | | | | | | | | | %s |\n", p.Name, p.errors())
			continue
		}
		least, most := p.cpuRange()
		fmt.Fprintf(
			b, "| %s | %.2f (%.2f-%.2f) | %s | %s | %.0f | %s | %s | %d | %d | %.0f %% | %s | %s |\n",
			p.Name, m.CPU, least, most, times(m, fair), times(m, even), m.PerSecond, m.P50, m.P99,
			m.Conns, m.ConnsMade, m.Utilization*100, m.foreign(), p.errors(),
		)
		if fair != nil && m.CPU > withinBase*fair.CPU && !strings.HasPrefix(p.Name, "limit_") {
			text := p.Name
			if even != nil && p.Name != balanceName("round-robin", res.Servers) {
				text += fmt.Sprintf(" (%s times round-robin)", times(m, even))
			}
			above = append(above, text)
		}
	}
	switch {
	case fair == nil:
	case above == nil:
		b.WriteString("\nAll within 5 % of fair-1.\n")
	default:
		fmt.Fprintf(b, "\nMore than 5 %% above fair-1: %s.\n", strings.Join(above, ", "))
	}
	few, many := res.median(spreadName(res.Conns)), res.median(spreadName(res.Servers))
	if few != nil && many != nil && few != many {
		fmt.Fprintf(
			b, "\nThe kernel alone: %d connections in turn take %s times, or %.2f us more than, what %d take (limit_spread).\n",
			res.Servers, times(many, few), many.CPU-few.CPU, res.Conns,
		)
	}
}

// median returns a proxy's figures, nil if there are none.
func (res *result) median(name string) *measurement {
	for _, p := range res.Peers {
		if p.Name == name {
			return p.Median
		}
	}
	return nil
}
