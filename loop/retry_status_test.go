package loop

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/balance"
)

// failing is an origin that answers every request with a status, and counts them.
func (tr *trace) failing(status int, fields ...string) (o *origin, seen *atomic.Int64) {
	o, seen = tr.origin(), new(atomic.Int64)
	body := fmt.Sprint("of ", o.name)
	response := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Length: %d\r\n", status, http.StatusText(status), len(body))
	for _, f := range fields {
		response += f + "\r\n"
	}
	o.serveEach(func(*http.Request, []byte) string {
		seen.Add(1)
		return response + "\r\n" + body
	})
	return o, seen
}

// Which requests an answer that retry_on has sends to another server.
func TestStatusesAfterWhichAnotherServerIsTried(t *testing.T) {
	for _, tt := range []struct {
		name, request string
		status        int // of the first of two servers
		most          int // attempts
		want          int
	}{
		{"GET", get("/"), 503, 0, 200},
		{"HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 503, 0, 200},
		{"PUT with its body", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", 503, 0, 200},
		{"PUT in chunks", "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", 503, 0, 200},
		{"POST, which may have been acted on", post("/", "body"), 503, 0, 503},
		{"PATCH", "PATCH / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 503, 0, 503},
		{"an unknown method", "BREW / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 503, 0, 503},
		{"421 says that nothing was done", post("/", "body"), 421, 0, 200},
		{"a status that is not listed", get("/"), 500, 0, 500},
		{"max_attempts", get("/"), 503, 1, 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTrace(t)
			first, seen := tr.failing(tt.status)
			second := tr.origin()
			var body atomic.Value
			second.serveEach(func(r *http.Request, b []byte) string {
				body.Store(string(b))
				if r.Method == http.MethodHead {
					return "HTTP/1.1 200 OK\r\n\r\n"
				}
				return ok("fine")
			})
			p := tr.proxy(setup{
				balance:  balance.Options{Algorithm: "first"},
				failover: Backend{RetryStatus: failOn(421, 502, 503), MaxAttempts: tt.most},
			}, first, second)
			c := p.dial()
			method, _, _ := strings.Cut(tt.request, " ")
			for range 3 {
				c.send(tt.request)
				res, _, err := c.readResponse(method)
				if err != nil || res.StatusCode != tt.want {
					t.Fatalf("%v, %v, want %d", res, err, tt.want)
				}
				if got := body.Load(); tt.want == 200 && strings.Contains(tt.request, "body") && got != "body" {
					t.Errorf("the second server got the body %q", got)
				}
			}
			if n := seen.Load(); n != 3 {
				t.Errorf("the first server got %d requests, want 3", n)
			}
		})
	}
}

func TestTheLastAnswerIsPassedOnAsItIs(t *testing.T) {
	tr := newTrace(t)
	var servers []any
	var seen []*atomic.Int64
	for i := range 3 {
		o, n := tr.failing(503, fmt.Sprint("X-Number: ", i), "Retry-After: 7")
		servers, seen = append(servers, o), append(seen, n)
	}
	p := tr.proxy(setup{
		balance:  balance.Options{Algorithm: "first"},
		failover: Backend{RetryStatus: failOn(503)},
		record:   "$status $retries $end",
	}, servers...)
	c := p.dial()
	for range 2 {
		c.send(get("/"))
		res, body, err := c.readResponse("GET")
		if err != nil {
			t.Fatal(err)
		}
		last := servers[2].(*origin).name
		if res.StatusCode != 503 || res.Header.Get("X-Number") != "2" || res.Header.Get("Retry-After") != "7" || body != "of "+last {
			t.Errorf("%v %v %q", res.Status, res.Header, body)
		}
	}
	for i := range seen {
		if n := seen[i].Load(); n != 2 {
			t.Errorf("server %d got %d requests, want 2: each of them once", i, n)
		}
	}
	p.wantRecords("503 2 ok", "503 2 ok")
}

// A response that is not passed on in full leaves no trace on the connection that the next request takes.
func TestAConnectionWithAnAnswerThatIsPassedOver(t *testing.T) {
	for _, tt := range []struct {
		name, response string
		kept           bool
	}{
		{"complete", "HTTP/1.1 503 x\r\nContent-Length: 4\r\n\r\nbody", true},
		{"without a body", "HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n", true},
		{"to come", "HTTP/1.1 503 x\r\nContent-Length: 5\r\n\r\nbody", false},
		{"with more behind it", "HTTP/1.1 503 x\r\nContent-Length: 3\r\n\r\nbody", false},
		{"in chunks", "HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", false},
		{"that closes", "HTTP/1.1 503 x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody", false},
		{"of old", "HTTP/1.0 503 x\r\n\r\nbody", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTrace(t)
			first, second := tr.origin(), tr.origin()
			p := tr.proxy(setup{
				balance:  balance.Options{Algorithm: "first"},
				failover: Backend{RetryStatus: failOn(503)},
			}, first, second)
			c := p.dial()
			c.send(get("/"))
			a := first.accept()
			a.wantRequest("GET /", "")
			a.send(tt.response)
			b := second.accept()
			b.wantRequest("GET /", "")
			b.send(ok("fine"))
			c.want(200, "fine")
			c.send(get("/next"))
			if !tt.kept {
				a.wantGone()
				a = first.accept()
			}
			a.wantRequest("GET /next", "")
			a.send(ok("recovered"))
			c.want(200, "recovered")
		})
	}
}

// The head may come in pieces, and be in a buffer of its own.
func TestAHeadInPiecesIsPassedOver(t *testing.T) {
	tr := newTrace(t)
	first, second := tr.origin(), tr.origin()
	p := tr.proxy(setup{
		balance:  balance.Options{Algorithm: "first"},
		failover: Backend{RetryStatus: failOn(503)},
	}, first, second)
	c := p.dial()
	c.send(get("/"))
	a := first.accept()
	a.wantRequest("GET /", "")
	a.send("HTTP/1.1 503 Service Unavail")
	p.settle()
	a.send("able\r\nContent-Length: 4\r\n\r\nbody")
	b := second.accept()
	b.wantRequest("GET /", "")
	b.send(ok("fine"))
	c.want(200, "fine")
	c.send(get("/next"))
	a.wantRequest("GET /next", "")
	a.send(ok("recovered"))
	c.want(200, "recovered")
}

func TestABodyThatIsNoLongerHeldIsNotSentAgain(t *testing.T) {
	tr := newTrace(t)
	first, second := tr.origin(), tr.origin()
	p := tr.proxy(setup{
		balance:  balance.Options{Algorithm: "first"},
		failover: Backend{RetryStatus: failOn(503)},
	}, first, second)
	c := p.dial()
	large := letters(100_000)
	c.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + large)
	a := first.accept()
	a.wantRequest("PUT /", large)
	a.send("HTTP/1.1 503 x\r\nContent-Length: 4\r\n\r\nbody")
	c.want(503, "body")
	second.wantNobody()
}

func TestAnAnswerThatIsPassedOverTakesFromTheBudget(t *testing.T) {
	tr := newTrace(t)
	first, _ := tr.failing(503)
	budget := budgetOf(0.1, 50)
	p := tr.proxy(setup{
		balance:  balance.Options{Algorithm: "first"},
		failover: Backend{RetryStatus: failOn(503), Budget: budget},
	}, append([]any{first}, tr.fleet(2)[1])...)
	p.dial().wantServed("503 1 503 1 503")
}

// Nothing is known to be better elsewhere, so what has failed by fail_on_status rests as it would.
func TestAnAnswerThatIsPassedOverIsAFailureAllTheSame(t *testing.T) {
	tr := newTrace(t)
	first, seen := tr.failing(503)
	p := tr.proxy(setup{
		balance:  balance.Options{Algorithm: "first", DisableTime: time.Hour},
		failover: Backend{RetryStatus: failOn(503), FailOnStatus: failOn(503)},
	}, append([]any{first}, tr.fleet(2)[1])...)
	p.dial().wantServed("1 1 1")
	if n := seen.Load(); n != 1 {
		t.Errorf("the server that has failed got %d requests, want 1", n)
	}
}

// Refused everywhere else, the request fails as if the first server had refused it too.
func TestAnAnswerIsPassedOverForAServerThatRefuses(t *testing.T) {
	tr := newTrace(t)
	first, _ := tr.failing(503)
	p := tr.proxy(setup{
		balance:  balance.Options{Algorithm: "first", DisableTime: time.Hour},
		failover: Backend{RetryStatus: failOn(503)},
	}, first, tr.refusing())
	p.dial().wantServed("502 503 503")
}

// A kept connection that ends says nothing of the request: it may be sent once more all the same.
func TestAKeptConnectionDoesNotUseUpTheOneRepetition(t *testing.T) {
	tr := newTrace(t)
	first, second, third := tr.origin(), tr.origin(), tr.origin()
	p := tr.proxy(setup{balance: balance.Options{Algorithm: "first"}}, first, second, third)
	c := p.dial()
	c.send(get("/"))
	a := first.accept()
	a.wantRequest("GET /", "")
	a.send(ok("fine"))
	c.want(200, "fine")
	c.send(get("/next"))
	a.wantRequest("GET /next", "")
	a.Close()
	b := second.accept()
	b.wantRequest("GET /next", "")
	b.Close()
	x := third.accept()
	x.wantRequest("GET /next", "")
	x.send(ok("third"))
	c.want(200, "third")
}
