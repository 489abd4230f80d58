package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestDrain tells the proxy to leave while requests of several kinds are in flight. All of them are answered in
// full, idle connections are closed, nobody new is accepted, and it ends with 0 well before drain_timeout.
func TestDrain(t *testing.T) {
	const (
		inFlight = 200
		uploads  = 20
		idle     = 50
		slow     = 500 * time.Millisecond // what the origin takes to answer
		timeout  = 2 * soon
	)
	half := strings.Repeat("0123456789abcdef", 1<<10)

	// The origin answers half a second after the proxy has been told to leave: with everything at once, or with
	// the second half of a body.
	var waiting atomic.Int64
	told := make(chan struct{})
	later := func(r *http.Request) {
		waiting.Add(1)
		select {
		case <-told:
		case <-r.Context().Done():
			return
		}
		select {
		case <-time.After(slow):
		case <-r.Context().Done():
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/now", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, half) })
	mux.HandleFunc("/later", func(w http.ResponseWriter, r *http.Request) {
		later(r)
		fmt.Fprint(w, half+half)
	})
	mux.HandleFunc("/half", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, half)
		w.(http.Flusher).Flush()
		later(r)
		fmt.Fprint(w, half)
	})
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		waiting.Add(1)
		if body, err := io.ReadAll(r.Body); err == nil && string(body) == half+half {
			fmt.Fprint(w, half+half)
		}
	})
	server := startServer(t, mux)

	listen := freeAddr(t)
	p := startProxy(t, basic(listen, []string{server}, fmt.Sprintf(`
[server]
drain_timeout = "%v"

[access_log]
path = "off"
`, timeout)))

	idlers := gather(t, idle, listen, "/now")
	busy := make(crowd, inFlight+uploads)
	t.Cleanup(busy.leave)
	inParallel(t, 32, len(busy), func(i int) (err error) {
		if busy[i], err = connect(listen); err != nil {
			return err
		}
		switch {
		case i >= inFlight:
			return busy[i].send(fmt.Sprintf("PUT /upload HTTP/1.1\r\nHost: e2e\r\nContent-Length: %d\r\n\r\n%s", 2*len(half), half))
		case i%2 == 0:
			return busy[i].send("GET /later HTTP/1.1\r\nHost: e2e\r\n\r\n")
		}
		return busy[i].send("GET /half HTTP/1.1\r\nHost: e2e\r\n\r\n")
	})
	eventually(t, soon, "all requests are in flight", func() bool { return waiting.Load() == int64(len(busy)) })

	p.signal(t, syscall.SIGTERM)
	at := time.Now()
	// They are closed long before the origin answers, and while the others are still in flight.
	idlers.each(t, func(c *client) error {
		if err := c.closed(soon); err != nil {
			return fmt.Errorf("idle: %w", err)
		}
		return nil
	})
	eventually(t, soon, "nobody new is accepted", func() bool { return !accepts(listen) })
	t.Logf("idle connections closed and listeners gone %v after the signal", time.Since(at).Round(time.Millisecond))
	if p.ended() {
		t.Fatal("the proxy left with requests in flight")
	}
	close(told)
	inParallel(t, len(busy), len(busy), func(i int) error {
		if i >= inFlight {
			if err := busy[i].send(half); err != nil {
				return fmt.Errorf("upload: %w", err)
			}
		}
		status, body, kept, err := busy[i].answer(timeout)
		if err != nil || status != http.StatusOK || body != half+half {
			return fmt.Errorf("status %d with %d bytes, want 200 with %d: %w", status, len(body), 2*len(half), err)
		}
		// Half of an answer was on its way before anybody knew that the connection would not be kept.
		if kept && i%2 == 0 && i < inFlight {
			return fmt.Errorf("the response does not say that the connection ends")
		}
		if err := busy[i].closed(soon); err != nil {
			return err
		}
		busy[i].close()
		return nil
	})
	code := p.wait(t, timeout)
	t.Logf("%d requests answered, %d idle connections closed, exit code %d %v after the signal", len(busy), idle, code,
		time.Since(at).Round(time.Millisecond))
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	if p.said("drain_timeout passed") {
		t.Errorf("connections were cut:\n%s", p.out)
	}
}

// TestDrainTimeout has an origin that never answers: the proxy leaves all the same, when drain_timeout has passed.
func TestDrainTimeout(t *testing.T) {
	const timeout = time.Second
	asked := make(chan struct{}, 1)
	server := startServer(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	listen := freeAddr(t)
	p := startProxy(t, basic(listen, []string{server}, fmt.Sprintf(`
[server]
drain_timeout = "%v"

[access_log]
path = "off"
`, timeout)))
	c, err := connect(listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	if err := c.send("GET / HTTP/1.1\r\nHost: e2e\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-asked
	p.signal(t, syscall.SIGTERM)
	at := time.Now()
	code := p.wait(t, timeout+soon)
	took := time.Since(at)
	t.Logf("exit code %d %v after the signal", code, took.Round(time.Millisecond))
	if code != 0 || took < timeout {
		t.Errorf("exit code %d after %v, want 0 after %v", code, took, timeout)
	}
	if !p.said("drain_timeout passed") {
		t.Errorf("the log does not tell that a connection was cut:\n%s", p.out)
	}
}

// startServer runs an origin of a few lines until the test ends, and returns its address.
func startServer(t *testing.T, handler http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go server.Serve(l) // until it is closed
	t.Cleanup(func() { server.Close() })
	return l.Addr().String()
}
