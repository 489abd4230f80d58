package health

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestParseStatusRange(t *testing.T) {
	for text, want := range map[string]StatusRange{"200": {200, 200}, "200-399": {200, 399}, "599-599": {599, 599}} {
		got, err := ParseStatusRange(text)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-", "2xx", "200-", "-200", "199", "600", "100-200", "300-200", "0200", "+200", "200 - 300", "200-300-400"} {
		if got, err := ParseStatusRange(text); err == nil {
			t.Errorf("%s: %v", text, got)
		}
	}
	if s := fmt.Sprint(StatusRange{200, 200}, StatusRange{200, 299}); s != "200 200-299" {
		t.Error(s)
	}
}

func TestTally(t *testing.T) {
	for name, tt := range map[string]struct{ checks, states string }{
		"three bad ones in a row take it out":     {"++---", "uuuud"},
		"others in between start the count again": {"+--+--+---", "uuuuuuuuud"},
		"two good ones in a row bring it back":    {"+---++", "uuuddu"},
		"one does not":                            {"+---+-+-++", "uuuddddddu"},
		"the first decides alone":                 {"-", "d"},
		"and only the first":                      {"-+-++--", "ddddu" + "uu"},
	} {
		c := &Check{Rise: 2, Fall: 3}
		state := tally{up: true}
		var got strings.Builder
		for i, check := range tt.checks {
			before := state.up
			changed := state.count(c, check == '+')
			if changed != (before != state.up) {
				t.Errorf("%s: check %d says changed: %v", name, i, changed)
			}
			got.WriteByte("du"[map[bool]int{true: 1}[state.up]])
		}
		if got.String() != tt.states {
			t.Errorf("%s: after %s: %s, want %s", name, tt.checks, got.String(), tt.states)
		}
	}
}

// watch watches a server until the test ends, and returns what changes.
func watch(t *testing.T, c Check, s Server) (changes chan string) {
	t.Helper()
	c.Interval, c.Jitter = time.Millisecond, time.Millisecond
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.HTTP && c.Method == "" {
		c.Method = "GET"
	}
	if c.HTTP && c.Path == "" {
		c.Path = "/"
	}
	if c.Statuses == nil {
		c.Statuses = []StatusRange{{200, 399}}
	}
	c.Rise, c.Fall = max(c.Rise, 1), max(c.Fall, 1)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	changes = make(chan string, 100)
	go func() {
		c.Watch(ctx, s, func(up bool, reason error) {
			if up {
				changes <- "up"
				return
			}
			changes <- fmt.Sprint("down: ", reason)
		})
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return changes
}

func next(t *testing.T, changes chan string, want string) {
	t.Helper()
	select {
	case got := <-changes:
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("nothing changes, want %q", want)
	}
}

func addr(l net.Listener) Server {
	return Server{Address: netip.MustParseAddrPort(l.Addr().String())}
}

func TestHTTP(t *testing.T) {
	var healthy atomic.Bool
	var asked atomic.Int64
	healthy.Store(true)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Method != "HEAD" || r.URL.String() != "/live?deep=1" || r.Host != "app.example" || r.Header.Get("User-Agent") != "millrace-health-check" {
			t.Errorf("%s %s for %s: %v", r.Method, r.URL, r.Host, r.Header)
		}
		if !healthy.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer origin.Close()
	changes := watch(t, Check{HTTP: true, Method: "HEAD", Path: "/live?deep=1", Host: "app.example", Rise: 2, Fall: 3}, addr(origin.Listener))
	healthy.Store(false)
	next(t, changes, "down: status 503")
	before := asked.Load()
	healthy.Store(true)
	next(t, changes, "up")
	if n := asked.Load() - before; n < 2 {
		t.Errorf("it came back after %d checks, want 2 good ones at least", n)
	}
}

func TestARedirectIsAnAnswer(t *testing.T) {
	origin := httptest.NewServer(http.RedirectHandler("/elsewhere", http.StatusFound))
	defer origin.Close()
	next(t, watch(t, Check{HTTP: true, Statuses: []StatusRange{{200, 200}, {204, 204}}}, addr(origin.Listener)), "down: status 302")
}

func TestTheBodyIsSearched(t *testing.T) {
	var content atomic.Value
	content.Store("starting")
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, content.Load().(string))
	}))
	defer origin.Close()
	changes := watch(t, Check{HTTP: true, Body: `"ok"`}, addr(origin.Listener))
	next(t, changes, `down: "\"ok\"" is not in its answer`)
	content.Store(`{"state": "ok"}`)
	next(t, changes, "up")
	content.Store(strings.Repeat(" ", MaxBody) + `"ok"`)
	next(t, changes, "down")
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := addr(l)
	changes := watch(t, Check{Fall: 2}, s)
	l.Close()
	next(t, changes, "connection refused")
	if l, err = net.Listen("tcp", s.Address.String()); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	next(t, changes, "up")
}

func TestAnotherPort(t *testing.T) {
	origin := httptest.NewServer(http.NotFoundHandler())
	defer origin.Close()
	s := Server{Address: netip.MustParseAddrPort("127.0.0.1:1")}
	next(t, watch(t, Check{HTTP: true, Port: addr(origin.Listener).Address.Port()}, s), "down: status 404")
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	origin := &http.Server{Handler: http.NotFoundHandler()}
	go origin.Serve(l)
	defer origin.Close()
	next(t, watch(t, Check{HTTP: true}, Server{Path: path}), "down: status 404")
}

func TestSilenceIsDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, and nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	next(t, watch(t, Check{HTTP: true, Timeout: 50 * time.Millisecond}, addr(l)), "down: no answer within 50ms")
}

func TestGarbageIsDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			http.ReadRequest(bufio.NewReader(c))
			io.WriteString(c, "500 what was that?\r\n")
			c.Close()
		}
	}()
	next(t, watch(t, Check{HTTP: true}, addr(l)), "malformed HTTP")
}
