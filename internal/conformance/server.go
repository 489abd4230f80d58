package conformance

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"text/template"
	"time"
)

//go:embed peers
var peerConfigs embed.FS

// Server is a proxy that cases are played against.
type Server struct {
	Name    string
	command string
	config  string   // its template, in peers
	args    []string // "CONFIG" and "DIR" stand for the file and its directory
	version []string
}

// Servers returns all proxies that there is a configuration for; the first is millrace, whose binary is at path.
func Servers(path string) []*Server {
	return []*Server{
		{"millrace", path, "millrace.toml", []string{"run", "--config", "CONFIG"}, []string{"version"}},
		// -e: the compiled-in path of the first error log may not be writable.
		{"nginx", "nginx", "nginx.conf", []string{"-e", "stderr", "-p", "DIR", "-c", "CONFIG"}, []string{"-v"}},
		{"haproxy", "haproxy", "haproxy.conf", []string{"-db", "-f", "CONFIG"}, []string{"-v"}},
		{"lighttpd", "lighttpd", "lighttpd.conf", []string{"-D", "-f", "CONFIG"}, []string{"-v"}},
		{"apache2", "apache2", "apache2.conf", []string{"-X", "-d", "DIR", "-f", "CONFIG"}, []string{"-v"}},
	}
}

// find returns the path of the server's program. Debian keeps servers in /usr/sbin, which is not in everybody's PATH.
func (s *Server) find() (string, error) {
	path, err := exec.LookPath(s.command)
	if err != nil && !strings.Contains(s.command, "/") {
		if sbin, err := exec.LookPath(filepath.Join("/usr/sbin", s.command)); err == nil {
			return sbin, nil
		}
	}
	if err != nil {
		return "", err
	}
	return filepath.Abs(path) // it is started in another directory
}

// Version returns what the server says of its version. It returns an error if it is not installed.
func (s *Server) Version() (string, error) {
	path, err := s.find()
	if err != nil {
		return "", err
	}
	out, err := exec.Command(path, s.version...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", s.Name, err, out)
	}
	if s.Name == "millrace" {
		return s.Name, nil // of this tree
	}
	return s.Name + " " + versionNumber.FindString(string(out)), nil
}

var versionNumber = regexp.MustCompile(`[0-9]+\.[0-9]+\.[0-9]+[0-9a-z+.~-]*`)

// Process is a proxy that runs, with as many listeners as there are runners. Each passes requests on to the origin of
// its own runner.
type Process struct {
	server *Server
	cmd    *exec.Cmd
	out    output
	done   chan struct{}
}

// Start starts a server in dir, which has to be empty, and sets the runners' Proxy. It returns when all listeners
// accept connections.
func (s *Server) Start(dir string, runners []*Runner) (*Process, error) {
	path, err := s.find()
	if err != nil {
		return nil, err
	}
	text, err := s.writeConfig(dir, runners)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, s.config)
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return nil, err
	}
	p := &Process{server: s, done: make(chan struct{})}
	var args []string
	for _, a := range s.args {
		args = append(args, strings.NewReplacer("CONFIG", file, "DIR", dir).Replace(a))
	}
	p.cmd = exec.Command(path, args...)
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	// Nothing outlives whoever has started it, and a server's own children end with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		p.cmd.Wait() // the exit code is in ProcessState
	}()
	for _, r := range runners {
		if err := p.awaitListener(r.Proxy); err != nil {
			p.Stop()
			return nil, fmt.Errorf("%s: %w\n%s", s.Name, err, p.out.String())
		}
	}
	return p, nil
}

// writeConfig fills the template of the server's configuration.
func (s *Server) writeConfig(dir string, runners []*Runner) ([]byte, error) {
	type pair struct {
		Name, Listen, Port             string
		Origin, OriginHost, OriginPort string
	}
	var pairs []pair
	for i, r := range runners {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		r.Proxy = address
		pairs = append(pairs, pair{
			Name: "p" + strconv.Itoa(i), Listen: r.Proxy.String(), Origin: r.Origin.String(),
			Port: strconv.Itoa(int(r.Proxy.Port())), OriginHost: r.Origin.Addr().String(), OriginPort: strconv.Itoa(int(r.Origin.Port())),
		})
	}
	t, err := template.New(s.config).Option("missingkey=error").ParseFS(peerConfigs, "peers/"+s.config)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{"Dir": dir, "Pairs": pairs, "Root": os.Geteuid() == 0})
	return b.Bytes(), err
}

var (
	portsMu   sync.Mutex
	portsUsed = make(map[uint16]bool)
)

// freeAddress returns a loopback address that nobody listens on, below the ports that the kernel gives to connections.
func freeAddress() (netip.AddrPort, error) {
	portsMu.Lock()
	defer portsMu.Unlock()
	const lowest, highest = 12_000, 32_000
	start := lowest + os.Getpid()%(highest-lowest)
	for i := range highest - lowest {
		port := uint16(lowest + (start-lowest+i)%(highest-lowest))
		if portsUsed[port] {
			continue
		}
		portsUsed[port] = true
		// The wildcard address is free only if every address is.
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err == nil {
			l.Close()
			return netip.AddrPortFrom(netip.AddrFrom4(loopback), port), nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return netip.AddrPort{}, err
		}
	}
	return netip.AddrPort{}, errors.New("no port is free")
}

// startPatience bounds the wait for a server's listeners, and for its end.
const startPatience = 20 * time.Second

func (p *Process) awaitListener(address netip.AddrPort) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(startPatience); ; {
		if s, err := connect(address); err == nil {
			s.abort()
			return nil
		} else if time.Now().After(deadline) {
			return err
		}
		select {
		case <-p.done:
			return fmt.Errorf("it has ended: %v", p.cmd.ProcessState)
		case <-tick.C:
		}
	}
}

// Stop ends the server and its children. It returns an error if the server had ended before, or does not end in
// order when it is told to: what it wrote is then in the error.
func (p *Process) Stop() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s has ended before it was told to: %v\n%s", p.server.Name, p.cmd.ProcessState, p.out.String())
	default:
	}
	group := -p.cmd.Process.Pid // its children are in its group
	syscall.Kill(p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(startPatience):
	}
	syscall.Kill(group, syscall.SIGKILL) // fails if all are gone
	<-p.done
	// HAProxy leaves SIGTERM to end it.
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); status.ExitStatus() != 0 && status.Signal() != syscall.SIGTERM {
		return fmt.Errorf("%s has ended with %v\n%s", p.server.Name, p.cmd.ProcessState, p.out.String())
	}
	return nil
}

// output keeps what a server writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// maxOutput bounds what is kept, in bytes.
const maxOutput = 64 << 10

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if room := maxOutput - o.b.Len(); room > 0 {
		o.b.Write(b[:min(room, len(b))])
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
