package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a child. It is known by its id, and by nothing else.
type process struct {
	name string
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when it has ended and been waited for

	killed bool // by the test
	told   bool // what it wrote is no secret any more
}

// output keeps what a child writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs a program until the test ends, at the longest.
func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	path, ok := find(name)
	if !ok {
		t.Fatalf("%s is not installed", name)
	}
	p := &process{name: name, cmd: exec.Command(path, args...), out: new(output), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	// Nothing outlives the tests, even if they are killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		p.cmd.Wait() // the exit code is in ProcessState
	}()
	t.Cleanup(func() {
		p.kill()
		if out := p.out.String(); t.Failed() && out != "" && !p.told {
			t.Logf("%s (%d) wrote:\n%s", p.name, p.pid(), excerpt(out))
		}
	})
	return p
}

// excerpt is the beginning and the end of a text that may be long.
func excerpt(s string) string {
	const most = 4 << 10
	if len(s) <= 2*most {
		return s
	}
	return s[:most] + "\n[...]\n" + s[len(s)-most:]
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// ended reports whether the process is gone.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill ends the process as an out-of-memory killer would, and returns when it is gone.
func (p *process) kill() {
	if !p.ended() {
		p.killed = true
		p.cmd.Process.Kill() // fails only when it has ended meanwhile
		<-p.done
	}
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%v to %s: %v", s, p.name, err)
	}
}

// wait returns the exit code of a process that is to end by itself; -1 means that a signal ended it.
func (p *process) wait(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		t.Fatalf("%s still runs after %v", p.name, within)
	}
	return p.exitCode()
}

// exitCode is that of a process that has ended.
func (p *process) exitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// run runs a program to its end and returns its output. Any exit code but want is a failure.
func run(t *testing.T, within time.Duration, want int, name string, args ...string) string {
	t.Helper()
	p := start(t, name, args...)
	code := p.wait(t, within)
	p.told = true
	if code != want {
		t.Fatalf("%s %s: exit code %d, want %d\n%s", name, strings.Join(args, " "), code, want, excerpt(p.out.String()))
	}
	return p.out.String()
}

// memory is what the kernel tells about a process' memory, in bytes.
type memory struct{ resident, peak int64 }

func (p *process) memory(t *testing.T) memory {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
	if err != nil {
		t.Fatal(err)
	}
	var m memory
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch {
		case err != nil:
		case key == "VmRSS":
			m.resident = n << 10
		case key == "VmHWM":
			m.peak = n << 10
		}
	}
	if m.resident == 0 || m.peak == 0 {
		t.Fatalf("%s has no memory:\n%s", p.name, status)
	}
	return m
}

// descriptors is how many files a process has open. It reports an error when the process is gone.
func (p *process) descriptors() (int, error) {
	dir, err := os.Open(fmt.Sprintf("/proc/%d/fd", p.pid()))
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	return len(names), err
}

// cpu is the processor time that a process has used, in user and system mode.
func (p *process) cpu(t *testing.T) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid()))
	if err != nil {
		t.Fatal(err)
	}
	// The second field is the name, in parentheses; utime and stime are fields 14 and 15.
	_, rest, ok := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		t.Fatalf("/proc/%d/stat: %q", p.pid(), stat)
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux
	var total time.Duration
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		total += time.Duration(n) * tick
	}
	return total
}

var handedOut = make(map[int]bool)

// freePort returns a port that nobody listens on, and that no outgoing connection is going to be given: it lies
// below those that the kernel chooses from. So a server can be stopped and started again on it, and a connection
// attempt while it is down cannot meet a stranger, nor itself.
func freePort(t *testing.T) int {
	t.Helper()
	const lowest, fallback = 10_000, 32_768
	above := fallback
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if first, err := strconv.Atoi(strings.Fields(string(b))[0]); err == nil && first > lowest+1000 {
			above = first
		}
	}
	for range 1000 {
		port := lowest + rand.IntN(above-lowest)
		if handedOut[port] {
			continue
		}
		handedOut[port] = true
		// The wildcard address is free only if every address is.
		l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err == nil {
			l.Close()
			return port
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
	t.Fatal("no port is free")
	return 0
}

func freeAddr(t *testing.T) string {
	t.Helper()
	return "127.0.0.1:" + strconv.Itoa(freePort(t))
}

// accepts reports whether somebody listens at an address: host:port, or unix:/path.
func accepts(address string) bool {
	c, err := dial(address)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

func dial(address string) (net.Conn, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	return net.DialTimeout(network, address, soon)
}
