package loop

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/internal/health"
)

// set is a setting as a file has it.
func set(option SocketOption, value int) SocketSetting {
	return SocketSetting{Option: option, Value: value, Key: "the.key", Position: "f:1:2"}
}

// privileged skips a test that needs CAP_NET_ADMIN, unless the process has it.
func privileged(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1); err != nil {
		t.Skipf("IP_TRANSPARENT: %v: this needs CAP_NET_ADMIN", err)
	}
}

// needsIPv6 skips a test where there is no IPv6.
func needsIPv6(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here")
	}
	l.Close()
}

// wantOption compares an option of a socket.
func wantOption(t *testing.T, what string, fd int, option SocketOption, want int) {
	t.Helper()
	k := kernelOptions[option]
	if got, err := unix.GetsockoptInt(fd, k.level, k.name); got != want || err != nil {
		t.Errorf("%s: option %d is %d, %v, want %d", what, option, got, err, want)
	}
}

func TestAcceptedSocketsHaveTheListenersOptions(t *testing.T) {
	settings := []SocketSetting{
		set(SocketKeepAlive, 1), set(SocketKeepAliveIdle, 33), set(SocketKeepAliveInterval, 11), set(SocketKeepAliveCount, 4),
		set(SocketUserTimeout, 12345), set(SocketReceiveBuffer, 40_000), set(SocketSendBuffer, 50_000),
		{Option: SocketInterface, Text: "lo"},
	}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0"} {
		t.Run(address, func(t *testing.T) {
			if strings.HasPrefix(address, "[") {
				needsIPv6(t)
			}
			tr := newTrace(t)
			o := tr.origin()
			o.echo("GET")
			p := tr.proxy(setup{address: address, with: func(plan *Plan) {
				plan.Listeners[0].Socket = settings
				plan.Listeners[0].Backlog = 77
			}}, o)
			c := p.dial()
			c.send(get("/"))
			c.want(200, "GET / HTTP/1.1")
			p.onLoops(func(l *Loop) {
				info, err := unix.GetsockoptTCPInfo(l.listeners[0].fd, unix.IPPROTO_TCP, unix.TCP_INFO)
				if err != nil || info.Sacked != 77 { // of a socket that listens, this is its backlog
					t.Errorf("backlog: %v, %v", info, err)
				}
				fd := l.sessions.next.client.fd
				for _, o := range settings {
					want := o.Value
					switch o.Option {
					case SocketReceiveBuffer, SocketSendBuffer:
						want *= 2 // socket(7)
					case SocketInterface:
						name, err := unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
						if name != "lo" || err != nil {
							t.Errorf("interface: %q, %v", name, err)
						}
						continue
					}
					wantOption(t, "client", fd, o.Option, want)
				}
				if on, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY); on != 1 || err != nil {
					t.Errorf("TCP_NODELAY: %d, %v", on, err)
				}
			})
		})
	}
}

func TestAListenerMayDeferAndTakeDataEarly(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("GET")
	p := tr.proxy(setup{with: func(plan *Plan) {
		plan.Listeners[0].Socket = []SocketSetting{set(SocketDeferAccept, 3600), set(SocketFastOpen, 5)}
	}}, o)
	silent, c := p.dial(), p.dial()
	c.send(get("/"))
	c.want(200, "GET / HTTP/1.1")
	if n := p.open(); n != 1 {
		t.Errorf("%d connections are open, though one client of two has said something", n)
	}
	p.onLoops(func(l *Loop) { wantOption(t, "listener", l.listeners[0].fd, SocketFastOpen, 5) })
	silent.send(get("/"))
	silent.want(200, "GET / HTTP/1.1")
}

func TestAnOptionThatIsRefusedIsAnErrorAtTheStart(t *testing.T) {
	for _, test := range []struct {
		name string
		set  func(*Plan)
		want string
	}{
		{"listener", func(p *Plan) { p.Listeners[0].Socket = []SocketSetting{set(SocketKeepAliveCount, 1000)} }, "f:1:2: the.key cannot be set: setsockopt: invalid argument"},
		{"backend", func(p *Plan) {
			p.Backends[0].Servers[0].Socket = &BackendSocket{Settings: []SocketSetting{{Option: SocketInterface, Text: "nonesuch", Key: "the.key", Position: "f:1:2"}}}
		}, "f:1:2: the.key cannot be set: setsockopt: no such device"},
		{"source", func(p *Plan) {
			p.Backends[0].Servers[0].Socket = &BackendSocket{Source4: netip.MustParseAddr("192.0.2.1"), SourceKey: "the.key", SourcePosition: "f:1:2"}
		}, "f:1:2: the.key cannot be set: bind: cannot assign requested address (connecting from 192.0.2.1)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tr := newTrace(t)
			p := &proxy{tr: tr, said: &said{}}
			plan := setup{}.plan(p, []any{"127.0.0.1:1"})
			test.set(plan)
			_, err := Start(plan, slog.New(slog.DiscardHandler))
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// from has the servers connected to from an address.
func from(b BackendSocket) func(*Plan) {
	return func(plan *Plan) {
		for _, s := range plan.Backends[0].Servers {
			s.Socket = &b
		}
	}
}

func host(c net.Conn) string { return netip.MustParseAddrPort(c.RemoteAddr().String()).Addr().String() }

func TestServersAreConnectedToFromTheSourceAddress(t *testing.T) {
	tr := newTrace(t)
	o, u := tr.origin(), tr.unixOrigin()
	p := tr.proxy(setup{roundRobin: true, with: from(BackendSocket{
		Source4: netip.MustParseAddr("127.0.0.5"), Source6: netip.IPv6Loopback(),
		Settings: []SocketSetting{set(SocketUserTimeout, 4321), set(SocketSendBuffer, 50_000), set(SocketKeepAlive, 1), set(SocketKeepAliveIdle, 42), set(SocketReceiveBuffer, 30_000), {Option: SocketInterface, Text: "lo"}},
	})}, o, u)
	c := p.dial()
	c.send(get("/"))
	x := o.accept()
	if got := host(x); got != "127.0.0.5" {
		t.Errorf("connected to from %s", got)
	}
	p.onLoops(func(l *Loop) {
		wantOption(t, "server", l.sessions.next.origin.fd, SocketUserTimeout, 4321)
		wantOption(t, "server", l.sessions.next.origin.fd, SocketSendBuffer, 100_000)
		wantOption(t, "server", l.sessions.next.origin.fd, SocketKeepAlive, 1)
		wantOption(t, "server", l.sessions.next.origin.fd, SocketKeepAliveIdle, 42)
		wantOption(t, "server", l.sessions.next.origin.fd, SocketReceiveBuffer, 60_000)
	})
	x.wantRequest("GET /", "")
	x.send(ok("fine"))
	c.want(200, "fine")
	tr.eventually("the connection is not kept", func() bool { return p.idle() == 1 })
	// One on a unix socket is left alone.
	c.send(get("/"))
	x = u.accept()
	x.wantRequest("GET /", "")
	x.send(ok("fine"))
	c.want(200, "fine")
}

func TestChecksAreMadeFromTheSourceAddress(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	tr.proxy(setup{
		health: &health.Check{Interval: time.Hour, Timeout: patience, Rise: 1, Fall: 1},
		with:   from(BackendSocket{Source4: netip.MustParseAddr("127.0.0.5")}),
	}, o)
	x := o.accept()
	if got := host(x); got != "127.0.0.5" {
		t.Errorf("checked from %s", got)
	}
	x.wantGone()
}

func TestServersAreConnectedToFromTheClientsAddress(t *testing.T) {
	privileged(t)
	transparent := BackendSocket{FromClient: true, Settings: []SocketSetting{set(SocketTransparent, 1)}}
	for _, sock := range []bool{false, true} {
		t.Run(fmt.Sprint("raw: ", sock), func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{sock: sock, with: from(transparent)}, o)
			for _, client := range []string{"127.0.0.9", "127.0.0.8"} {
				c := p.dialFrom(client)
				c.send(get("/"))
				x := o.accept()
				if got := host(x); got != client {
					t.Errorf("the client %s is shown as %s", client, got)
				}
				x.wantRequest("GET /", "")
				x.send(ok("fine"))
				c.want(200, "fine")
				if sock {
					c.closeWrite()
					x.wantEnd()
					x.closeWrite()
					c.wantEnd()
				} else {
					x.wantEnd() // it is not kept for another client
				}
			}
		})
	}
	t.Run("without an address", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{unix: true, record: "$status $end", with: from(transparent)}, o)
		c := p.dial()
		c.send(get("/"))
		x := o.accept() // from the machine's own
		x.wantRequest("GET /", "")
		x.send(ok("fine"))
		c.want(200, "fine")
	})
	t.Run("of the other family", func(t *testing.T) {
		needsIPv6(t)
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{address: "[::1]:0", record: "$status $end", with: from(transparent)}, o)
		c := p.dial()
		c.send(get("/"))
		c.wantError("GET", 503)
		if !strings.Contains(p.said.String(), "connecting from ::1") {
			t.Errorf("the process log says %q", p.said)
		}
		o.wantNobody()
		p.wantRecords("503 no_resource")
	})
}

func TestAListenerMayHaveAForeignAddress(t *testing.T) {
	privileged(t)
	tr := newTrace(t)
	p := tr.proxy(setup{address: "192.0.2.1:0", with: func(plan *Plan) {
		plan.Listeners[0].Socket = []SocketSetting{set(SocketTransparent, 1)}
	}}, "127.0.0.1:1")
	if a := p.srv.Addrs()[0].String(); !strings.HasPrefix(a, "192.0.2.1:") {
		t.Errorf("it listens on %s", a)
	}
	p.onLoops(func(l *Loop) { wantOption(t, "listener", l.listeners[0].fd, SocketTransparent, 1) })
}

func TestPacketsAreMarked(t *testing.T) {
	privileged(t)
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: func(plan *Plan) {
		plan.Listeners[0].Socket = []SocketSetting{set(SocketMark, 1<<32-2)}
		from(BackendSocket{Settings: []SocketSetting{set(SocketMark, 8)}})(plan)
	}}, o)
	c := p.dial()
	c.send(get("/"))
	o.accept()
	mark := -2 // 1<<32-2, as the kernel's int shows it
	p.onLoops(func(l *Loop) {
		wantOption(t, "client", l.sessions.next.client.fd, SocketMark, mark)
		wantOption(t, "server", l.sessions.next.origin.fd, SocketMark, 8)
	})
}

func TestASettingErrorShowsItsCause(t *testing.T) {
	err := set(SocketKeepAlive, 1).setOn(-1)
	if !errors.Is(err, unix.EBADF) || !strings.HasPrefix(err.Error(), "f:1:2: the.key") {
		t.Error(err)
	}
}

// setOn sets it on an IPv4 socket.
func (o SocketSetting) setOn(fd int) error { return o.set(fd, unix.AF_INET) }
