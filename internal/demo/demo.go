// Package demo is millrace to look around in: three small origins on loopback and a proxy in front of them.
//
//	d, err := demo.Start(ctx, netip.MustParseAddrPort("127.0.0.1:8080"), "stdout", log)
//	fmt.Print(d.Guide())
//	err = d.Wait()
//
// The proxy is the real one, made from a configuration as a user would write it. The origins are fasthttp
// servers; what they offer is listed in [endpoints]. All that a request can ask of them is bounded.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"millrace/configs"
	"millrace/loop"
)

// names are those of the origins.
var names = [...]string{"alder", "birch", "cedar"}

// stopTimeout bounds how long the origins may take to end after the proxy has.
const stopTimeout = time.Second

// Demo is the running proxy with its origins.
type Demo struct {
	proxy   *loop.Server
	origins []*origin
	config  string
	url     string
	stop    sync.Once
}

// Start starts the origins on ports that the kernel chooses, and the proxy on address; its access log goes to the
// file, or to "stdout". All of them accept when it returns; an error leaves nothing open. When the address is
// taken, the error is [syscall.EADDRINUSE].
func Start(ctx context.Context, address netip.AddrPort, accessLog string, log *slog.Logger) (*Demo, error) {
	d := new(Demo)
	if err := d.start(ctx, address, accessLog, log); err != nil {
		return nil, errors.Join(err, d.stopOrigins())
	}
	return d, nil
}

func (d *Demo) start(ctx context.Context, address netip.AddrPort, accessLog string, log *slog.Logger) error {
	var servers []string
	for _, name := range names {
		o, err := startOrigin(ctx, name, log)
		if err != nil {
			return err
		}
		d.origins = append(d.origins, o)
		servers = append(servers, o.address())
	}
	// A file cannot ask for any free port, so it names one here, and the plan is told.
	named := address
	if named.Port() == 0 {
		named = netip.AddrPortFrom(named.Addr(), 8080)
	}
	plan, err := configs.Parse(ctx, "demo", []byte(config(named.String(), accessLog, servers)), nil)
	if err != nil {
		return err
	}
	plan.Listeners[0].Address = address
	if d.proxy, err = loop.Start(plan, log); err != nil {
		return err
	}
	bound := d.proxy.Addrs()[0]
	d.config = config(bound.String(), accessLog, servers)
	d.url = pageURL(bound)
	return nil
}

// config is the configuration of the proxy.
func config(address, accessLog string, servers []string) string {
	return fmt.Sprintf(`[server]
drain_timeout = "2s"

[access_log]
path = %q
format = '$time_utc $client_addr "$request" $status ${body_bytes}B ${total_us}us $server $end'

[[listener]]
address = %q

[[route]]
path = "/"
backend = "origins"

[backend.origins]
balance = "round-robin"
servers = ["%s"]
`, accessLog, address, strings.Join(servers, `", "`))
}

// pageURL is where a browser on this machine finds what listens on addr.
func pageURL(addr net.Addr) string {
	at, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return "http://" + addr.String()
	}
	if at.Addr().IsUnspecified() {
		at = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port())
	}
	return "http://" + at.String()
}

// URL is where the proxy is, without a slash at the end.
func (d *Demo) URL() string { return d.url }

// Guide says what to try, for a terminal.
func (d *Demo) Guide() string {
	var b strings.Builder
	fmt.Fprintf(&b, "millrace demo: three origins behind one proxy. Ctrl-C ends it.\n\n  %s/\n\n", d.url)
	b.WriteString("The page shows which origin answered and what it received. Or from another terminal:\n\n")
	for _, e := range endpoints {
		fmt.Fprintf(&b, "  %-64s %s\n", e.curlLine(d.url), e.what)
	}
	b.WriteString("\nThis is the file that the proxy runs with:\n\n")
	for line := range strings.Lines(d.config) {
		if line != "\n" {
			b.WriteString("  ")
		}
		b.WriteString(line)
	}
	b.WriteString("\nThe access log follows.\n\n")
	return b.String()
}

// Wait returns when the proxy has ended; the origins have too then.
func (d *Demo) Wait() error {
	return errors.Join(d.proxy.Wait(), d.stopOrigins())
}

// Drain lets what is in flight end, for two seconds or until ctx ends, and stops everything.
func (d *Demo) Drain(ctx context.Context) error {
	return errors.Join(d.proxy.Drain(ctx), d.stopOrigins())
}

// ReopenLogs opens the access log anew.
func (d *Demo) ReopenLogs() error { return d.proxy.ReopenLogs() }

// stopOrigins stops what was started. The proxy holds no connections any more, so there is little to wait for.
func (d *Demo) stopOrigins() (err error) {
	d.stop.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		for _, o := range d.origins {
			err = errors.Join(err, o.stop(ctx))
		}
	})
	return err
}
