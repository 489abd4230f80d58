package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a millrace that runs.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr *bufio.Reader
	stdout *bufio.Reader
	pipe   io.Closer // the reading end of its standard output
}

// limit is how long anything may take here. It is far more than what it does take.
const limit = 20 * time.Second

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.CommandContext(t.Context(), "millrace", args...)}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.stderr, p.stdout, p.pipe = bufio.NewReader(stderr), bufio.NewReader(stdout), stdout
	stuck := time.AfterFunc(limit, func() { p.cmd.Process.Kill() })
	t.Cleanup(func() {
		stuck.Stop()
		p.cmd.Process.Kill() // an error is that it has ended, as it should
		p.cmd.Wait()
	})
	return p
}

// says reads lines until one matches, and returns what its group matched.
func says(t *testing.T, r *bufio.Reader, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var seen strings.Builder
	for {
		line, err := r.ReadString('\n')
		if m := re.FindStringSubmatch(line); m != nil {
			return m[len(m)-1]
		}
		seen.WriteString(line)
		if err != nil {
			t.Fatalf("%v: no line with %s in:\n%s", err, pattern, seen.String())
		}
	}
}

func (p *process) signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// exits waits for the end and checks the exit code.
func (p *process) exits(want int) {
	p.t.Helper()
	rest, err := io.ReadAll(p.stderr)
	if err != nil {
		p.t.Error(err)
	}
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	if got := p.cmd.ProcessState.ExitCode(); got != want {
		p.t.Errorf("%v, want exit code %d; it said:\n%s", p.cmd.ProcessState, want, rest)
	}
}

// origin is a server that answers with ok, and at /wait when it is told to.
func origin(t *testing.T) (address string, arrived <-chan struct{}, release chan<- struct{}) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	came, goOn := make(chan struct{}), make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			came <- struct{}{}
			select {
			case <-goOn:
			case <-r.Context().Done():
				return
			}
		}
		fmt.Fprint(w, "ok")
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return listener.Addr().String(), came, goOn
}

// freeAddress is an address that nobody listens on. A file cannot ask for any free port.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// runProxy runs millrace in front of an origin.
func runProxy(t *testing.T, server, accessLog string) (p *process, url string) {
	t.Helper()
	address := freeAddress(t)
	config := filepath.Join(t.TempDir(), "millrace.toml")
	text := fmt.Sprintf(`
[access_log]
path = %q
format = '$request $status'

[[listener]]
address = %q

[[route]]
path = "/"
backend = "app"

[backend.app]
servers = [%q]
`, accessLog, address, server)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p = startProcess(t, "run", "--config", config)
	if got := says(t, p.stderr, `"msg":"serving".*"listeners":\["([^"]*)"\]`); got != address {
		t.Errorf("it listens on %s, want %s", got, address)
	}
	return p, "http://" + address
}

// get returns the body of what url answers with.
func get(t *testing.T, url string) (string, error) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: limit}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func wantOK(t *testing.T, url string) {
	t.Helper()
	if body, err := get(t, url); body != "ok" || err != nil {
		t.Errorf("%s: %q, %v", url, body, err)
	}
}

// TestProcessDrains sends TERM while a request is in flight: it is answered, and the process leaves with 0.
func TestProcessDrains(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		server, arrived, release := origin(t)
		p, url := runProxy(t, server, "off")
		answer := make(chan string, 1)
		go func() {
			body, err := get(t, url+"/wait")
			answer <- fmt.Sprint(body, err)
		}()
		<-arrived
		p.signal(sig)
		says(t, p.stderr, `"msg":"draining`)
		release <- struct{}{}
		if got := <-answer; got != "ok<nil>" {
			t.Errorf("the request in flight: %s", got)
		}
		says(t, p.stderr, `"msg":"stopped"`)
		p.exits(exitOK)
	}
}

// TestProcessLeavesAtOnce sends TERM twice: the request in flight is cut.
func TestProcessLeavesAtOnce(t *testing.T) {
	server, arrived, _ := origin(t)
	p, url := runProxy(t, server, "off")
	answer := make(chan error, 1)
	go func() {
		_, err := get(t, url+"/wait")
		answer <- err
	}()
	<-arrived
	p.signal(syscall.SIGTERM)
	says(t, p.stderr, `"msg":"draining`)
	p.signal(syscall.SIGTERM)
	says(t, p.stderr, `"msg":"leaving at once"`)
	if err := <-answer; err == nil {
		t.Error("the request in flight was answered")
	}
	p.exits(exitOK)
}

func TestProcessOutlivesHUP(t *testing.T) {
	server, _, _ := origin(t)
	p, url := runProxy(t, server, "off")
	for range 2 {
		p.signal(syscall.SIGHUP)
		says(t, p.stderr, `"level":"WARN".*cannot reload`)
		wantOK(t, url)
	}
	p.signal(syscall.SIGTERM)
	p.exits(exitOK)
}

// TestProcessReopens rotates the access log as logrotate does.
func TestProcessReopens(t *testing.T) {
	server, _, _ := origin(t)
	path := filepath.Join(t.TempDir(), "access.log")
	p, url := runProxy(t, server, path)
	wantOK(t, url+"/before")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGUSR1)
	says(t, p.stderr, `"msg":"the access log was reopened"`)
	wantOK(t, url+"/after")
	p.signal(syscall.SIGTERM)
	p.exits(exitOK)

	for file, want := range map[string]string{path + ".1": "GET /before HTTP/1.1 200\n", path: "GET /after HTTP/1.1 200\n"} {
		if got, err := os.ReadFile(file); string(got) != want || err != nil {
			t.Errorf("%s has %q, %v; want %q", filepath.Base(file), got, err, want)
		}
	}
}

// TestProcessOutlivesItsReader closes the pipe that the access log goes to.
func TestProcessOutlivesItsReader(t *testing.T) {
	server, _, _ := origin(t)
	p, url := runProxy(t, server, "stdout")
	wantOK(t, url+"/read")
	says(t, p.stdout, `^GET /read HTTP/1\.1 200\n$`)
	if err := p.pipe.Close(); err != nil {
		t.Fatal(err)
	}
	wantOK(t, url+"/unread")
	says(t, p.stderr, `"level":"ERROR","msg":"access log cannot be written.*broken pipe`)
	wantOK(t, url+"/still")
	p.signal(syscall.SIGTERM)
	says(t, p.stderr, `"level":"ERROR","msg":"stopped".*2 records are lost.*broken pipe`)
	p.exits(exitFailed)
}

// TestProcessDemo runs the demo as a user would.
func TestProcessDemo(t *testing.T) {
	p := startProcess(t, "demo", "--address", "127.0.0.1:0")
	url := says(t, p.stdout, `^  (http://127\.0\.0\.1:\d+)/\n$`)
	says(t, p.stdout, `^The access log follows\.\n$`)
	body, err := get(t, url+"/bytes?n=10")
	if body != "0123456789" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
	says(t, p.stdout, `"GET /bytes\?n=10 HTTP/1\.1" 200 10B \d+us 127\.0\.0\.1:\d+ ok\n$`)
	p.signal(syscall.SIGINT)
	p.exits(exitOK)
}
