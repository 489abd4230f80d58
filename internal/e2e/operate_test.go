package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReopenAccessLog renames the access log and sends USR1: what was logged before stays in the renamed file, what
// comes after is in a new one, and nothing is lost.
func TestReopenAccessLog(t *testing.T) {
	needs(t, "nginx", "curl")
	o := startOrigin(t, originConfig{})
	listen, dir := freeAddr(t), t.TempDir()
	log, rotated := filepath.Join(dir, "access.log"), filepath.Join(dir, "access.log.1")
	// One loop, so that all records are in order.
	p := startProxy(t, basic(listen, []string{o.addr}, fmt.Sprintf(`
[server]
loops = 1

[access_log]
path = %q
format = '$request $status'
`, log)))
	ask := func(from, to int) {
		t.Helper()
		// curl asks for all of them, on one connection.
		run(t, soon, 0, "curl", "-sS", "-f", "-o", filepath.Join(dir, "#1"), fmt.Sprintf("http://%s/small?[%d-%d]", listen, from, to))
	}
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	records := func(from, to int) string {
		var want strings.Builder
		for i := from; i <= to; i++ {
			fmt.Fprintf(&want, "GET /small?%d HTTP/1.1 200\n", i)
		}
		return want.String()
	}

	ask(1, 20)
	if err := os.Rename(log, rotated); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGUSR1)
	eventually(t, soon, "the access log is there again", func() bool { _, err := os.Stat(log); return err == nil })
	ask(21, 40)
	eventually(t, soon, "the two logs have all requests, once and in order", func() bool {
		return read(rotated)+read(log) == records(1, 40)
	})
	if old := read(rotated); old != records(1, 20) {
		t.Errorf("the renamed log has %d of the 20 records from before the signal, the new one the others", strings.Count(old, "\n"))
	}
}

// TestHangUp sends HUP, which this version cannot obey: it says so and goes on serving.
func TestHangUp(t *testing.T) {
	needs(t, "nginx")
	o := startOrigin(t, originConfig{})
	listen := freeAddr(t)
	p := startProxy(t, basic(listen, []string{o.addr}, silent))
	c := gather(t, 1, listen, "/small")[0]
	p.signal(t, syscall.SIGHUP)
	eventually(t, soon, "the log tells of the signal", func() bool { return p.said(`"signal":"hangup"`) })
	if err := c.get("/small"); err != nil {
		t.Errorf("the connection from before the signal: %v", err)
	}
	get(t, "http://"+listen+"/small")
}

// TestSecondInstance starts the program on a port that it already serves.
func TestSecondInstance(t *testing.T) {
	needs(t, "nginx")
	o := startOrigin(t, originConfig{})
	for name, listen := range map[string]string{"tcp": freeAddr(t), "unix": "unix:" + filepath.Join(t.TempDir(), "s")} {
		t.Run(name, func(t *testing.T) {
			config := basic(listen, []string{o.addr}, silent)
			startProxy(t, config)
			second := writeConfig(t, config)
			out := run(t, soon, 1, binary(t), "run", "--config", second)
			t.Log(strings.TrimSpace(out))
			for _, want := range []string{second, strings.TrimPrefix(listen, "unix:"), "address already in use"} {
				if !strings.Contains(out, want) {
					t.Errorf("the message does not tell %q", want)
				}
			}
			// The first one is none the worse.
			c := gather(t, 20, listen, "/small")
			c.leave()
		})
	}
}

// TestUnixSockets has curl talk to a unix socket, and the proxy to another.
func TestUnixSockets(t *testing.T) {
	needs(t, "nginx", "curl")
	dir := t.TempDir()
	o := startOrigin(t, originConfig{Addr: "unix:" + filepath.Join(dir, "origin"), Log: true})
	socket := filepath.Join(dir, "proxy")
	p := startProxy(t, basic("unix:"+socket, []string{o.addr}, silent))
	out := run(t, soon, 0, "curl", "-sS", "-f", "--unix-socket", socket, "http://e2e/small", "http://e2e/small?2")
	if want := strings.Repeat("a small answer\n", 2); out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	// It writes its log behind its answers.
	eventually(t, soon, "the origin's log has two requests on one connection", func() bool {
		requests, connections, _ := o.logged(t)
		return requests == 2 && connections == 1
	})

	// A socket that a killed process left behind is nobody's.
	p.kill()
	if _, err := os.Stat(socket); err != nil {
		t.Fatal(err)
	}
	again := startProxy(t, basic("unix:"+socket, []string{o.addr}, silent))
	run(t, soon, 0, "curl", "-sS", "-f", "--unix-socket", socket, "http://e2e/small")
	again.signal(t, syscall.SIGTERM)
	if code := again.wait(t, soon); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

// TestAddressFamilies reaches listeners by IPv4 and IPv6, and an origin by IPv6.
func TestAddressFamilies(t *testing.T) {
	needs(t, "nginx", "curl")
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skipf("no IPv6 here: %v", err)
	} else {
		l.Close()
	}
	o := startOrigin(t, originConfig{Addr: fmt.Sprintf("[::1]:%d", freePort(t))})
	tests := []struct {
		name, listen string // %d is the port
		reached      map[string]bool
	}{
		{"IPv6", "[::1]:%d", map[string]bool{"[::1]": true, "127.0.0.1": false}},
		{"IPv4", "127.0.0.1:%d", map[string]bool{"[::1]": false, "127.0.0.1": true}},
		{"all of IPv4", "0.0.0.0:%d", map[string]bool{"[::1]": false, "127.0.0.1": true}},
		{"both", ":%d", map[string]bool{"[::1]": true, "127.0.0.1": true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			port := freePort(t)
			startProxy(t, basic(fmt.Sprintf(test.listen, port), []string{o.addr}, silent))
			for host, reached := range test.reached {
				code := 0
				if !reached {
					code = 7 // curl's for a connection that could not be made
				}
				run(t, soon, code, "curl", "-sS", "-f", "-g", fmt.Sprintf("http://%s:%d/small", host, port))
			}
		})
	}
}

// TestTwoLoops serves many clients by two loops, with pipelining: h2load counts what fails.
func TestTwoLoops(t *testing.T) {
	needs(t, "nginx", "h2load")
	const requests = 50_000
	o := startOrigin(t, originConfig{})
	for _, loops := range []int{1, 2} {
		t.Run(strconv.Itoa(loops), func(t *testing.T) {
			listen := freeAddr(t)
			startProxy(t, basic(listen, []string{o.addr}, fmt.Sprintf(`
[server]
loops = %d

[access_log]
path = "off"
`, loops)))
			from := o.served(t)
			report := run(t, time.Minute, 0, "h2load", "--h1", "-n", strconv.Itoa(requests), "-c", "64", "-m", "4", "-t", "2", "http://"+listen+"/small")
			m := regexp.MustCompile(`(?m)^finished in .*$`).FindString(report)
			t.Logf("%d loops: %s", loops, m)
			want := fmt.Sprintf("%d total, %[1]d started, %[1]d done, %[1]d succeeded, 0 failed, 0 errored, 0 timeout", requests)
			if !strings.Contains(report, want) || !strings.Contains(report, fmt.Sprintf("status codes: %d 2xx", requests)) {
				t.Errorf("h2load reports:\n%s", report)
			}
			if n := o.served(t) - from - 1; n != requests {
				t.Errorf("the origin got %d requests, want %d", n, requests)
			}
			if queues := listening(t, listen); queues != loops {
				t.Errorf("%d sockets listen, want one a loop, %d", queues, loops)
			}
		})
	}
}

// listening counts the sockets that listen on an IPv4 address.
func listening(t *testing.T, address string) (n int) {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	const listen = "0A" // TCP_LISTEN
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > 3 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", number)) && fields[3] == listen {
			n++
		}
	}
	return n
}
