package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience bounds every wait for what happens at once unless the machine is busy with other things.
const patience = 20 * time.Second

// proxy is the program under test, serving.
type proxy struct {
	addr string
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when it has ended
	// errorsSaid: the fault makes it report errors.
	errorsSaid bool
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

// setting is what a fault's configuration differs in from one listener and one backend without an access log.
type setting struct {
	tables  string   // more of the file
	server  string   // more keys of [server]
	backend string   // more keys of the backend
	log     string   // path of the access log; empty: off
	loops   int      // 0: one
	command []string // what runs the program; empty: nothing does
}

// start runs the program before the given servers, and returns when it serves.
func (e *env) start(s setting, servers ...string) (*proxy, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	quoted := make([]string, len(servers))
	for i, name := range servers {
		quoted[i] = strconv.Quote(name)
	}
	if s.log == "" {
		s.log = "off"
	}
	text := fmt.Sprintf(`%s
[server]
loops = %d
drain_timeout = "5s"
%s

[access_log]
path = %q
format = "common"

[[listener]]
address = %q

[[route]]
backend = "origin"

[backend.origin]
servers = [%s]
%s
`, s.tables, max(s.loops, 1), s.server, s.log, addr, strings.Join(quoted, ", "), s.backend)
	path := filepath.Join(e.dir, "millrace.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	args := append(s.command, e.binary, "run", "--config", path)
	p := &proxy{addr: addr, cmd: exec.Command(args[0], args[1:]...), out: new(output), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	// Nothing outlives this process, even if it is killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		p.cmd.Wait() // the exit code is in ProcessState
	}()
	e.proxy = p
	return p, await("the proxy serves", func() bool { return p.ended() || p.said(`"msg":"serving"`) })
}

// said reports whether the program has written something to its log.
func (p *proxy) said(what string) bool { return strings.Contains(p.out.String(), what) }

func (p *proxy) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *proxy) pid() int { return p.cmd.Process.Pid }

// stop ends the program as its users do. It must have survived, and have nothing to complain of.
func (p *proxy) stop() error {
	if p.ended() {
		return fmt.Errorf("the proxy ended by itself: %v\n%s", p.cmd.ProcessState, p.out)
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.cmd.Process.Kill()
		<-p.done
		return errors.New("the proxy did not leave when it was told to")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 && !p.errorsSaid {
		return fmt.Errorf("the proxy ended with %d:\n%s", code, p.out)
	}
	for _, bad := range []string{"panic: ", "fatal error: ", `"level":"ERROR"`} {
		if p.said(bad) && !(p.errorsSaid && strings.Contains(bad, "ERROR")) {
			return fmt.Errorf("the proxy said %s:\n%s", bad, p.out)
		}
	}
	return nil
}

// resident is the program's memory, in bytes.
func (p *proxy) resident() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no VmRSS in\n%s", status)
}

// descriptors is how many files the program has open.
func (p *proxy) descriptors() (int, error) {
	dir, err := os.Open(fmt.Sprintf("/proc/%d/fd", p.pid()))
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	return len(names), err
}

// await waits for ok.
func await(what string, ok func() bool) error {
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(patience); !ok(); <-poll.C {
		if time.Now().After(end) {
			return fmt.Errorf("waited %v for this: %s", patience, what)
		}
	}
	return nil
}

// freeAddr returns a loopback address that nobody listens on, and below those ports that outgoing connections are
// given: so nobody can take it in the meantime.
func freeAddr() (string, error) {
	const lowest, above = 10_000, 32_768
	for range 1000 {
		addr := "127.0.0.1:" + strconv.Itoa(lowest+rand.IntN(above-lowest))
		l, err := net.Listen("tcp", addr)
		if err == nil {
			return addr, l.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return "", err
		}
	}
	return "", errors.New("no port is free")
}
