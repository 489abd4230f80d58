package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

// peer is a proxy that can be measured.
type peer struct {
	name    string
	binary  string // a name to look up, replaced by the path that was found
	config  string // template in bench/peers; empty: it takes ports as arguments
	args    func(s *settings) []string
	version []string // arguments that make the binary say its version
	named   bool     // it is measured only when it is named: what it does is not what the others do
	routes  int      // a number for the template
	balance string   // how it chooses among its servers, for -balance
	servers int      // how many addresses of the origin are its servers, for -balance
}

// settings fill a template of bench/peers.
type settings struct {
	Listen, Host, Port             string
	Origin, OriginHost, OriginPort string
	Dir                            string // private to the process; logs, temporary files
	Docs                           string // the origin's files
	Config                         string // the filled template
	Root                           bool   // the harness runs as root, and servers will want to drop that
	Module                         string // nginx's stream module; empty: it is built in, or not there
	Tunnels                        int    // how many connections raw proxies need room for
	Fives                          int    // how often five routes are to stand there
	Balance, HashKey               string
	Servers                        []string
}

// allPeers is the order of the tables.
func allPeers() []*peer {
	ports := func(s *settings) []string { return []string{s.Port, s.OriginPort} }
	return []*peer{
		{name: "millrace", config: "millrace.toml", args: runMillrace, version: []string{"version"}},
		{name: "baseline", config: "millrace.toml", args: runMillrace, version: []string{"version"}, named: true},
		{name: "millrace-edits", config: "millrace-edits.toml", args: runMillrace, version: []string{"version"}, named: true},
		{name: "millrace-routes-10", config: "millrace-routes.toml", args: runMillrace, version: []string{"version"}, named: true, routes: 10},
		{name: "millrace-routes-10000", config: "millrace-routes.toml", args: runMillrace, version: []string{"version"}, named: true, routes: 10_000},
		{name: "nginx", binary: "nginx", config: "nginx.conf", args: runNginx, version: []string{"-v"}},
		{name: "haproxy", binary: "haproxy", config: "haproxy.conf", args: runHAProxy, version: []string{"-v"}},
		{name: "lighttpd", binary: "lighttpd", config: "lighttpd.conf", args: runLighttpd, version: []string{"-v"}},
		{name: "limit_copy", binary: "bin/limit_copy", args: ports},
		{name: "limit_splice", binary: "bin/limit_splice", args: ports},
		{name: "millrace-sock", config: "millrace-sock.toml", args: runMillrace, version: []string{"version"}, named: true},
		{name: "baseline-sock", config: "millrace-sock.toml", args: runMillrace, version: []string{"version"}, named: true},
		{name: "nginx-stream", binary: "nginx", config: "nginx-stream.conf", args: runNginx, version: []string{"-v"}, named: true},
		{name: "haproxy-tcp", binary: "haproxy", config: "haproxy-tcp.conf", args: runHAProxy, version: []string{"-v"}, named: true},
	}
}

func runMillrace(s *settings) []string { return []string{"run", "--config", s.Config} }

func runNginx(s *settings) []string {
	// -e: the compiled-in path of the first error log may not be writable.
	return []string{"-e", "stderr", "-p", s.Dir, "-c", s.Config}
}

func runHAProxy(s *settings) []string { return []string{"-db", "-f", s.Config} }

func runLighttpd(s *settings) []string { return []string{"-D", "-f", s.Config} }

// originPeer is what every proxy is measured against. The light one leaves the load generator enough of their CPU
// for the proxy to run short of its own.
func originPeer(o *options) *peer {
	if o.origin == "light" {
		port := func(s *settings) []string { return []string{s.Port} }
		return &peer{name: "origin", binary: filepath.Join(o.root, "bin", "origin"), args: port}
	}
	return &peer{name: "origin", binary: lookPath("nginx"), config: "origin.conf", args: runNginx, version: []string{"-v"}}
}

// rawPeers pass bytes on and parse nothing.
var rawPeers = []string{"millrace-sock", "nginx-stream", "haproxy-tcp", "limit_copy", "limit_splice"}

// streamModule is where Debian has the module of nginx that passes bytes on, empty if it is not there.
func streamModule() string {
	const file = "/usr/lib/nginx/modules/ngx_stream_module.so"
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}

// peerNames are the proxies measured by default.
func peerNames() []string {
	var names []string
	for _, p := range allPeers() {
		if !p.named {
			names = append(names, p.name)
		}
	}
	return names
}

// findPeers returns the proxies asked for whose binaries are there. A missing one is an error if it was named on the
// command line, else a remark.
func findPeers(o *options) (found []*peer, remarks []string, err error) {
	for _, name := range o.peers {
		var p *peer
		for _, candidate := range allPeers() {
			if candidate.name == name {
				p = candidate
			}
		}
		if p == nil {
			return nil, nil, fmt.Errorf("-peers: no proxy %q (there are: %s)", name, strings.Join(peerNames(), ", "))
		}
		switch {
		case strings.HasPrefix(name, "millrace"):
			p.binary = o.millrace
		case strings.HasPrefix(name, "baseline"):
			p.binary = o.baseline
		case p.config == "":
			p.binary = filepath.Join(o.root, p.binary)
		default:
			p.binary = lookPath(p.binary)
		}
		if p.binary, err = filepath.Abs(p.binary); err != nil {
			return nil, nil, err
		}
		if _, err := os.Stat(p.binary); err != nil {
			if o.peersNamed || p.binary == o.baseline {
				return nil, nil, fmt.Errorf("%s: %w (make deps build limits)", name, err)
			}
			remarks = append(remarks, name+" was left out: its binary is not there")
			continue
		}
		found = append(found, p)
	}
	if len(found) == 0 {
		return nil, nil, errors.New("nothing to measure")
	}
	return found, remarks, nil
}

// lookPath finds a server's binary; Debian keeps them in /usr/sbin, which is not in everybody's PATH.
func lookPath(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return filepath.Join("/usr/sbin", name)
}

// start runs p on one CPU with a free loopback port, in a directory of its own, and returns when it answers requests.
func (b *bench) start(ctx context.Context, p *peer, cpu int, origin string) (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	b.ports++
	dir := filepath.Join(b.dir, fmt.Sprintf("%s-%d", p.name, b.ports))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	s := &settings{
		Listen: addr, Origin: origin, Dir: dir, Docs: b.docs, Root: os.Geteuid() == 0, Module: streamModule(),
		Tunnels: max(4000, b.o.idle+20), Fives: p.routes / 5, Balance: p.balance,
	}
	if p.balance == "hash" || p.balance == "maglev" {
		s.HashKey = "uri"
	}
	if s.Host, s.Port, err = net.SplitHostPort(addr); err != nil {
		return nil, err
	}
	if origin != "" {
		if s.OriginHost, s.OriginPort, err = net.SplitHostPort(origin); err != nil {
			return nil, err
		}
		s.Servers = serverAddrs(s.OriginPort, p.servers)
	}
	if p.config != "" {
		s.Config = filepath.Join(dir, p.config)
		if err := fill(filepath.Join(b.o.root, "bench", "peers", p.config), s); err != nil {
			return nil, err
		}
	}
	proc, err := startProcess(ctx, cpu, dir, addr, append([]string{p.binary}, p.args(s)...))
	if err != nil {
		return nil, err
	}
	// A master listens before its workers are there: only after a response are all processes known.
	if err := checkBody(ctx, addr, b.docs); err != nil {
		proc.stop()
		return nil, err
	}
	return proc, nil
}

// fill writes the template with its settings to s.Config.
func fill(file string, s *settings) error {
	t, err := template.New(filepath.Base(file)).Option("missingkey=error").ParseFiles(file)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, s); err != nil {
		return err
	}
	return os.WriteFile(s.Config, out.Bytes(), 0o644)
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// checkBody fetches one file through the proxy: a proxy that answers something else fast must not win.
func checkBody(ctx context.Context, addr, docs string) error {
	want, err := os.ReadFile(filepath.Join(docs, "5B"))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/5B", nil)
	if err != nil {
		return err
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !bytes.Equal(got, want) {
		return fmt.Errorf("the first request got status %d and %d bytes, want 200 and the origin's file", resp.StatusCode, len(got))
	}
	return nil
}
