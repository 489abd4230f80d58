package loop

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/internal/health"
)

func TestAServerWhoseChecksFailGetsNoRequests(t *testing.T) {
	tr := newTrace(t)
	var sick [2]atomic.Bool
	servers := make([]any, 2)
	for i, name := range []string{"a", "b"} {
		o := tr.origin()
		o.serveEach(func(r *http.Request, _ []byte) string {
			switch {
			case r.URL.Path != "/live":
				return ok(name)
			case sick[i].Load():
				return "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n\r\n"
			}
			return ok("")
		})
		servers[i] = o
	}
	p := tr.proxy(setup{health: &health.Check{
		HTTP: true, Method: "GET", Path: "/live", Statuses: []health.StatusRange{{First: 200, Last: 299}},
		Interval: time.Millisecond, Timeout: patience, Rise: 2, Fall: 2,
	}}, servers...)
	c := p.dial()
	served := func(status int, body string) {
		t.Helper()
		tr.eventually("no answer "+body, func() bool {
			c.send(get("/"))
			res, got, err := c.readResponse("GET")
			if err != nil {
				t.Fatal(err)
			}
			return res.StatusCode == status && got == body
		})
	}
	served(200, "a")
	sick[0].Store(true)
	served(200, "b")
	sick[1].Store(true)
	served(503, "503 Service Unavailable\n")
	sick[0].Store(false)
	served(200, "a")
	p.drain()
	// A change is said once.
	for _, line := range []string{"the server is down", "the server is up"} {
		for i, name := range []string{servers[0].(*origin).name, servers[1].(*origin).name} {
			n := 0
			for said := range strings.Lines(p.said.String()) {
				if strings.Contains(said, line) && strings.Contains(said, "backend=app server="+name) {
					n++
				}
			}
			if want := 1 - i*strings.Count(line, "up"); n != want {
				t.Errorf("%q is said %d times of server %d, want %d", line, n, i, want)
			}
		}
	}
	if !strings.Contains(p.said.String(), `reason="status 500"`) {
		t.Errorf("no reason is said:\n%s", p.said)
	}
}
