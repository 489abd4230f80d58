package e2e

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Sock listeners between programs that have never heard of a proxy: each test has a server of a protocol of its own
// and that server's usual clients.

// sockProxy is a proxy with one sock listener.
type sockProxy struct {
	*proxy
	listen string // host:port, or unix:/path
	logged string // path of the access log: a line "END SERVER" for each connection
	// atStart is how many sockets it had before there was any client.
	atStart int
}

// startSock puts a sock listener before the given servers, which take turns. An empty listen is a free port.
func startSock(t *testing.T, listen string, servers ...string) *sockProxy {
	t.Helper()
	if listen == "" {
		listen = freeAddr(t)
	}
	p := &sockProxy{listen: listen, logged: filepath.Join(t.TempDir(), "access.log")}
	p.proxy = startProxy(t, fmt.Sprintf(`
[server]
drain_timeout = "5s"

[access_log]
path = %q
format = '$end $server'

[[listener]]
address = %q
protocol = "sock"
backend = "raw"

[backend.raw]
balance = "round-robin"
servers = %s
`, p.logged, p.listen, quoteList(servers)))
	p.atStart = p.sockets(t)
	return p
}

// port is that of a listener on TCP.
func (p *sockProxy) port() string {
	_, port, _ := strings.Cut(p.listen, ":")
	return port
}

// finish waits until every connection is closed, ends the proxy, and returns how many connections went to each server,
// and how many of all both sides have ended in order.
func (p *sockProxy) finish(t *testing.T) (byServer map[string]int, ok int) {
	t.Helper()
	eventually(t, 20*time.Second, "the proxy has closed every connection", func() bool {
		return p.sockets(t) == p.atStart
	})
	p.signal(t, syscall.SIGTERM) // its log is complete when it has left
	p.wait(t, 20*time.Second)
	text, err := os.ReadFile(p.logged)
	if err != nil {
		t.Fatal(err)
	}
	byServer = make(map[string]int)
	for line := range strings.Lines(string(text)) {
		end, server, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		byServer[server]++
		if end == "ok" {
			ok++
		}
	}
	return byServer, ok
}

// sockets is how many sockets a process has open.
func (p *process) sockets(t *testing.T) (n int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd/", p.pid())
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		// One that is gone by now is no socket.
		if link, err := os.Readlink(dir + entry.Name()); err == nil && strings.HasPrefix(link, "socket:") {
			n++
		}
	}
	return n
}

// total is how many connections there were.
func total(byServer map[string]int) (n int) {
	for _, some := range byServer {
		n += some
	}
	return n
}

// servant is who runs a server that refuses to be run by root: the user of that name if this is root, else nobody
// else. It returns the words before the command, and gives the folder to that user.
func servant(t *testing.T, name, dir string) (command []string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	needs(t, "setpriv")
	who, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.Atoi(who.Uid)
	gid, err2 := strconv.Atoi(who.Gid)
	if err1 != nil || err2 != nil {
		t.Fatalf("user %s has the numbers %q and %q", name, who.Uid, who.Gid)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	// A change of user clears the signal that ends it with the tests.
	return []string{"setpriv", "--reuid=" + who.Uid, "--regid=" + who.Gid, "--clear-groups", "--pdeathsig=KILL"}
}

// openDir makes a folder that others may look into, unlike those of the testing package, and whose name is short
// enough for a unix socket in it.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "millrace-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// endsBy has a server that starts processes of its own end by a signal when the test does: it takes them along then.
func (p *process) endsBy(t *testing.T, signal syscall.Signal) {
	t.Cleanup(func() {
		if p.ended() {
			return
		}
		p.signal(t, signal)
		select {
		case <-p.done:
		case <-time.After(20 * time.Second):
			t.Errorf("%s has not ended by %v", p.name, signal)
		}
	})
}

// eachSock runs a test over TCP and over unix sockets, on either side of the proxy. unixClients says that the
// server's clients can speak to a unix socket.
func eachSock(t *testing.T, unixClients bool, tcp, unix string, f func(t *testing.T, p *sockProxy)) {
	t.Run("tcp to tcp", func(t *testing.T) { f(t, startSock(t, "", tcp)) })
	t.Run("tcp to unix", func(t *testing.T) { f(t, startSock(t, "", "unix:"+unix)) })
	if unixClients {
		t.Run("unix to unix", func(t *testing.T) {
			f(t, startSock(t, "unix:"+filepath.Join(openDir(t), "front"), "unix:"+unix))
		})
	}
}
