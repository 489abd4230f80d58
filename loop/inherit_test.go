package loop

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"millrace/remap"
)

// passed is a listening socket as a service manager passes it.
func (tr *trace) passed(name, network, address string) *os.File {
	tr.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		tr.Fatal(err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	defer l.Close()
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		tr.Fatal(err)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		tr.Fatal(err)
	}
	// The name is what the manager says, not what the runtime calls it.
	var fd int
	if err := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		tr.Fatal(err)
	}
	f.Close()
	named := os.NewFile(uintptr(fd), name)
	tr.Cleanup(func() { named.Close() })
	return named
}

// inheriting has the listener take a socket that was passed.
func inheriting(name string, files ...*os.File) func(*Plan) {
	return func(plan *Plan) {
		plan.Inherited = files
		lis := *plan.Listeners[0]
		lis.Inherit, lis.Path, lis.Address = name, "", netip.AddrPort{}
		plan.Listeners[0] = &lis
	}
}

func TestLoopsShareAnInheritedSocket(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		for _, loops := range []int{1, 3} {
			t.Run(fmt.Sprint(network, ", ", loops, " loops"), func(t *testing.T) {
				tr := newTrace(t)
				o := tr.origin()
				o.echo("GET")
				address := "127.0.0.1:0"
				if network == "unix" {
					address = filepath.Join(t.TempDir(), "s")
				}
				f := tr.passed("web", network, address)
				p := tr.proxy(setup{loops: loops, with: inheriting("web", f)}, o)
				// Many at once, so that all loops have something to do.
				for range 5 {
					var clients []*peer
					for range 20 {
						clients = append(clients, p.dial())
					}
					for _, c := range clients {
						c.send(get("/"))
					}
					for _, c := range clients {
						c.want(200, "GET / HTTP/1.1")
						c.Close()
					}
				}
				p.drain()
				// The socket is the manager's: clients wait in it for the next process.
				c := tr.connect(network, p.srv.Addrs()[0].String())
				c.send(get("/next"))
				tr.proxy(setup{loops: loops, with: inheriting("web", f)}, o)
				c.want(200, "GET /next HTTP/1.1")
			})
		}
	}
}

func TestASharedSocketWakesOneLoop(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	f := tr.passed("web", "tcp", "127.0.0.1:0")
	p := tr.proxy(setup{loops: 2, with: inheriting("web", f)}, o)
	p.onLoops(func(l *Loop) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", epollOf(l.poller)))
		if err != nil {
			t.Error(err)
			return
		}
		found := false
		for line := range strings.Lines(string(text)) {
			var fd int
			var events uint32
			if n, _ := fmt.Sscanf(line, "tfd: %d events: %x", &fd, &events); n == 2 && fd == l.listeners[0].fd {
				found = true
				if events&unix.EPOLLEXCLUSIVE == 0 || events&unix.EPOLLET == 0 {
					t.Errorf("loop %d is woken by events %#x", l.id, events)
				}
			}
		}
		if !found {
			t.Errorf("loop %d does not watch the socket: %s", l.id, text)
		}
	})
}

// TestADrainingLoopIsNotWokenForTheNextProcess: a socket that is the manager's lives on when its descriptor is closed, and
// with it what a poller watches it for, under a number that may be another connection's by then.
func TestADrainingLoopIsNotWokenForTheNextProcess(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	f := tr.passed("web", "tcp", "127.0.0.1:0")
	p := tr.proxy(setup{with: inheriting("web", f)}, o)
	c := p.dial()
	c.send(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	watched := func() (yes bool) {
		socket, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		inode := socket.Sys().(*syscall.Stat_t).Ino
		p.onLoops(func(l *Loop) {
			text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", epollOf(l.poller)))
			if err != nil {
				t.Error(err)
			}
			yes = strings.Contains(string(text), fmt.Sprintf(" ino:%x ", inode))
		})
		return yes
	}
	if !watched() {
		t.Error("the socket is not watched")
	}
	p.onLoops((*Loop).drain) // it waits for the client
	if watched() {
		t.Error("the socket is still watched")
	}
	x.send(ok("fine"))
	c.want(200, "fine")
}

func TestClientsOfASharedSocketAreServedWhenOneLoopIsBusy(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("GET")
	f := tr.passed("web", "tcp", "127.0.0.1:0")
	p := tr.proxy(setup{loops: 2, with: inheriting("web", f)}, o)
	release := p.hold()
	for range 10 {
		c := p.dial()
		c.send(get("/"))
		c.want(200, "GET / HTTP/1.1")
	}
	release()
}

func TestAnInheritedSocketHasTheListenersOptions(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("Forwarded: ")
	f := tr.passed("web", "tcp", "127.0.0.1:0")
	p := tr.proxy(setup{with: func(plan *Plan) {
		plan.Listeners[0].Socket = []SocketSetting{set(SocketKeepAlive, 1), set(SocketKeepAliveIdle, 33)}
		inheriting("web", f)(plan)
	}}, o)
	c := p.dial()
	c.send(get("/"))
	c.want(200, "none")
	p.onLoops(func(l *Loop) {
		fd := l.sessions.next.client.fd
		wantOption(t, "client", fd, SocketKeepAliveIdle, 33)
		if on, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY); on != 1 || err != nil {
			t.Errorf("TCP_NODELAY: %d, %v", on, err)
		}
	})
}

func TestASocketThatWasNotPassedAsItShouldBeIsAnErrorAtTheStart(t *testing.T) {
	tr := newTrace(t)
	a, b := tr.passed("web", "tcp", "127.0.0.1:0"), tr.passed("web", "tcp", "127.0.0.1:0")
	other := tr.passed("other", "tcp", "127.0.0.1:0")
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	datagrams := os.NewFile(uintptr(fd), "web")
	defer datagrams.Close()
	for _, test := range []struct {
		want  string
		files []*os.File
	}{
		{"no service manager has passed any sockets", nil},
		{"has passed no socket of that name, but other", []*os.File{other}},
		{"several sockets of that name", []*os.File{a, b}},
		{"not a stream socket that listens", []*os.File{datagrams}},
	} {
		p := &proxy{tr: tr, said: &said{}}
		plan := setup{}.plan(p, []any{"127.0.0.1:1"})
		inheriting("web", test.files...)(plan)
		_, err := Start(plan, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "test: cannot listen on web: ") {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
	// One that nobody uses is not silently left alone.
	p := tr.proxy(setup{with: inheriting("web", a, other)}, "127.0.0.1:1")
	if text := p.said.String(); !strings.Contains(text, "name=other") || strings.Contains(text, "name=web") {
		t.Errorf("the process log says %q", text)
	}
}

func TestTheAddressOfAnInheritedUnixSocketIsKnown(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("Forwarded: ")
	path := filepath.Join(t.TempDir(), "s")
	f := tr.passed("web", "unix", path)
	edits := edited(remap.EditOptions{Forwarded: remap.ForwardedBy})
	p := tr.proxy(setup{with: func(plan *Plan) { inheriting("web", f)(plan); edits(plan) }}, o)
	c := p.dial()
	c.send(get("/"))
	c.want(200, `Forwarded: by="unix:`+path+`"`)
}
