package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inherited is a configuration with one listener, whose socket somebody else has opened.
func inherited(origin string) string {
	return fmt.Sprintf(`
[server]
loops = 2
[access_log]
path = "off"
[[listener]]
name = "web"
address = "systemd:web"
[[route]]
backend = "app"
[backend.app]
servers = [%q]
`, origin)
}

// TestSystemdPassesASocket has systemd's own program start ours when the first client comes.
func TestSystemdPassesASocket(t *testing.T) {
	needs(t, "systemd-socket-activate", "nginx")
	o := startOrigin(t, originConfig{})
	address := freeAddr(t)
	config := writeConfig(t, inherited(o.addr))
	p := start(t, "systemd-socket-activate", "-l", address, "--fdname=web", binary(t), "run", "--config", config)
	eventually(t, soon, "it listens", func() bool { return p.said("Listening on " + address) })
	for range 3 {
		c, err := connect(address)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.send("GET /small HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if status, body, _, err := c.answer(soon); status != 200 || body != "a small answer\n" || err != nil {
			t.Errorf("got %d %q, %v", status, body, err)
		}
		c.close()
	}
	serving(t, config, p) // and leaves in order
}

// manager plays a service manager: it keeps a socket and starts the program with it, as often as it is told to.
type manager struct {
	socket *os.File
	config string
	notify string
	told   *net.UnixConn
}

func newManager(t *testing.T, config string) (m *manager, address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m = &manager{config: writeConfig(t, config), notify: filepath.Join(t.TempDir(), "notify")}
	if m.socket, err = l.(*net.TCPListener).File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.socket.Close() })
	if m.told, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.notify, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.told.Close() })
	return m, l.Addr().String()
}

// start starts the program as systemd would: with its own process id in the environment.
func (m *manager) start(t *testing.T) *process {
	t.Helper()
	p := &process{name: "millrace", out: new(output), done: make(chan struct{})}
	p.cmd = exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", binary(t), "run", "--config", m.config)
	p.cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=web", "NOTIFY_SOCKET="+m.notify)
	p.cmd.ExtraFiles = []*os.File{m.socket}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		p.cmd.Wait() // the exit code is in ProcessState
	}()
	t.Cleanup(p.kill)
	return p
}

// wantTold waits for what the program tells the manager.
func (m *manager) wantTold(t *testing.T, want string) {
	t.Helper()
	b := make([]byte, 100)
	m.told.SetReadDeadline(time.Now().Add(soon))
	n, err := m.told.Read(b)
	if got := string(b[:n]); got != want || err != nil {
		t.Fatalf("the manager is told %q, %v, want %q", got, err, want)
	}
}

func TestNoClientIsRefusedDuringARestart(t *testing.T) {
	needs(t, "nginx")
	o := startOrigin(t, originConfig{})
	m, address := newManager(t, inherited(o.addr))
	for range 3 {
		// Nobody runs: the client waits in the socket.
		c, err := connect(address)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.send("GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		p := m.start(t)
		m.wantTold(t, "READY=1")
		if status, body, _, err := c.answer(soon); status != 200 || body != "a small answer\n" || err != nil {
			t.Errorf("got %d %q, %v", status, body, err)
		}
		c.close()
		p.signal(t, syscall.SIGTERM)
		m.wantTold(t, "STOPPING=1")
		if code := p.wait(t, soon); code != 0 {
			t.Errorf("exit code %d:\n%s", code, p.out)
		}
	}
}

func TestASocketThatIsNotPassed(t *testing.T) {
	config := writeConfig(t, inherited("127.0.0.1:1"))
	out := run(t, soon, 1, binary(t), "run", "--config", config)
	if want := config + ":8:11: cannot listen on web: no service manager has passed any sockets"; !strings.Contains(out, want) {
		t.Errorf("it said %s, want %s", out, want)
	}
	// A check cannot know what it will be passed.
	run(t, soon, 0, binary(t), "check", "--config", config)
}

// TestUnitsAreRight has systemd look at the units that are shipped, with programs that are there.
func TestUnitsAreRight(t *testing.T) {
	needs(t, "systemd-analyze")
	dir := t.TempDir()
	for _, name := range []string{"millrace.service", "millrace.socket"} {
		text, err := os.ReadFile(filepath.Join("../../configs", name))
		if err != nil {
			t.Fatal(err)
		}
		unit := strings.ReplaceAll(string(text), "/usr/local/bin/millrace", binary(t))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(unit), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := run(t, soon, 0, "systemd-analyze", "verify", "--man=no", filepath.Join(dir, "millrace.service"), filepath.Join(dir, "millrace.socket"))
	for line := range strings.Lines(out) {
		if strings.Contains(line, dir) || strings.Contains(line, "millrace.s") {
			t.Errorf("systemd says: %s", line)
		}
	}
}
