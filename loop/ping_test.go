package loop

import (
	"strings"
	"testing"
	"time"

	"millrace/balance"
)

// pinging is a plan whose backend asks its servers before it sends a body.
func pinging(d time.Duration) func(*Plan) {
	return func(p *Plan) { p.Backends[0].Ping = d }
}

// wantPing reads a head that asks to continue, behind which nothing comes.
func (c *peer) wantPing() string {
	c.tr.Helper()
	head := c.wantHead()
	if n := strings.Count(strings.ToLower(head), "expect: 100-continue\r\n"); n != 1 {
		c.tr.Fatalf("%d expectations in %q, want 1", n, head)
	}
	c.tr.proxied.settle()
	c.wantNothing()
	return head
}

const goOn = "HTTP/1.1 100 Continue\r\n\r\n"

func TestABodyIsSentWhenTheServerWantsIt(t *testing.T) {
	large := letters(1 << 20)
	for _, tt := range []struct{ name, request, sent string }{
		{"by length", post("/", "body"), "body"},
		{"in chunks", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", "4\r\nbody\r\n0\r\n\r\n"},
		{"of an old client", "POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\nbody", "body"},
		{"large", post("/", large), large},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{with: pinging(patience), splice: 64 << 10}, o)
			c := p.dial()
			sent := tr.beside("the client's request", func() error { _, err := c.Write([]byte(tt.request)); return err })
			x := o.accept()
			x.wantPing()
			x.send(goOn)
			x.wantBytes(tt.sent)
			x.send(ok("fine"))
			c.want(200, "fine") // and nothing of 100, which it has not asked for
			sent()
			// The connection is kept, and asked again.
			c.send(post("/next", "more"))
			x.wantPing()
			x.send(goOn + ok("early")) // what comes with it is read as well
			x.wantBytes("more")
			c.want(200, "early")
		})
	}
}

func TestABodyThatComesLaterThanTheServersWord(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: pinging(patience)}, o)
	c := p.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nfour")
	x := o.accept()
	x.wantPing()
	c.send("fi")
	p.settle()
	x.send(goOn)
	x.wantBytes("fourfi")
	c.send("ve")
	x.wantBytes("ve")
	x.send(ok("fine"))
	c.want(200, "fine")
}

func TestWhatIsNotAsked(t *testing.T) {
	for name, request := range map[string]string{
		"GET":              get("/"),
		"an empty body":    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
		"for no host":      "POST / HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody",
		"another protocol": "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{with: pinging(patience), upgrade: &Upgrade{Any: true}}, o)
			c := p.dial()
			c.send(request)
			x := o.accept()
			if head := x.wantHead(); strings.Contains(head, "Expect") {
				t.Errorf("sent %q", head)
			}
			if strings.HasSuffix(request, "body") {
				x.wantBytes("body")
			}
			x.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine")
			c.want(200, "fine")
		})
	}
}

func TestAClientThatExpectsIsAnsweredByTheServer(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: pinging(patience)}, o)
	c := p.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
	x := o.accept()
	x.wantPing()
	x.send(goOn)
	c.wantBytes(goOn)
	c.send("body")
	x.wantBytes("body")
	x.send(ok("fine"))
	c.want(200, "fine")
}

// Whatever the method: nobody acts on a request of which the body has not come.
func TestAServerThatDoesNotWantTheBodyInTime(t *testing.T) {
	tr := newTrace(t)
	silent, o := tr.origin(), tr.origin()
	p := tr.proxy(setup{
		with: pinging(short), balance: balance.Options{Algorithm: "first", DisableTime: time.Hour}, record: "$status $retries $end",
	}, silent, o)
	c := p.dial()
	start := time.Now()
	c.send(post("/", "body"))
	x := silent.accept()
	x.wantPing()
	y := o.accept()
	tr.notBefore(start, short)
	y.wantHead()
	y.send(goOn)
	y.wantBytes("body")
	y.send(ok("fine"))
	c.want(200, "fine")
	x.wantGone()
	if !p.group.Resting(0, int64(clock())) {
		t.Error("the silent server does not rest")
	}
	p.wantRecords("200 1 ok")
}

// To retry_on it is as if there were no connection; but there is one, and the budget pays.
func TestAServerThatDoesNotWantTheBodyInTimeCostsARetry(t *testing.T) {
	for _, left := range []float64{0, 1} {
		tr := newTrace(t)
		silent, o := tr.origin(), tr.origin()
		budget := budgetOf(left, 1)
		p := tr.proxy(setup{
			with: pinging(short), balance: balance.Options{Algorithm: "first"}, failover: Backend{RetryOn: RetryConnect, Budget: budget},
		}, silent, o)
		c := p.dial()
		c.send(post("/", "body"))
		silent.accept().wantPing()
		if left == 0 {
			c.wantError("POST", 504)
			o.wantNobody()
			continue
		}
		y := o.accept()
		y.wantHead()
		y.send(goOn)
		y.wantBytes("body")
		y.send(ok("fine"))
		c.want(200, "fine")
		if n := budget.retries(); n != 1 {
			t.Errorf("%v retries were paid, want 1", n)
		}
	}
}

func TestNoServerWantsTheBodyInTime(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: pinging(short), disableTime: time.Hour, record: "$status $retries $end"}, o)
	c := p.dial()
	c.send(post("/", "body"))
	x := o.accept()
	x.wantHead()
	if res := c.wantError("POST", 504); res.Close {
		t.Error("504 says Connection: close, and nothing is wrong with the client's")
	}
	x.wantGone()
	c.send(get("/"))
	c.wantError("GET", 503)
	p.wantRecords("504 0 backend_timeout", "503 0 no_server")
}

// A kept connection that has ended costs no request any more, with POST as little as with GET.
func TestAKeptConnectionThatEndsBeforeItHasTheBody(t *testing.T) {
	for _, servers := range []int{1, 2} {
		tr := newTrace(t)
		first, second := tr.origin(), tr.origin()
		p := tr.proxy(setup{with: pinging(patience), balance: balance.Options{Algorithm: "first"}}, []any{first, second}[:servers]...)
		c := p.dial()
		c.send(get("/"))
		x := first.accept()
		x.wantRequest("GET /", "")
		x.send(ok("fine"))
		c.want(200, "fine")
		c.send(post("/", "body"))
		x.wantPing()
		x.Close()
		x = []*origin{first, second}[servers-1].accept()
		x.wantPing()
		x.send(goOn)
		x.wantBytes("body")
		x.send(ok("again"))
		c.want(200, "again")
	}
}

// With the body the request may have been acted on, as ever.
func TestAServerThatEndsWithTheBody(t *testing.T) {
	for _, method := range []string{"POST", "PUT"} {
		tr := newTrace(t)
		first, second := tr.origin(), tr.origin()
		p := tr.proxy(setup{with: pinging(patience), balance: balance.Options{Algorithm: "first"}}, first, second)
		c := p.dial()
		c.send(strings.Replace(post("/", "body"), "POST", method, 1))
		x := first.accept()
		x.wantPing()
		x.send(goOn)
		x.wantBytes("body")
		x.Close()
		if method == "POST" {
			c.wantError(method, 502)
			second.wantNobody()
			continue
		}
		y := second.accept()
		y.wantPing()
		y.send(goOn)
		y.wantBytes("body")
		y.send(ok("fine"))
		c.want(200, "fine")
	}
}

func TestAnAnswerBeforeTheBody(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: pinging(patience)}, o)
	c := p.dial()
	c.send(post("/", "body"))
	x := o.accept()
	x.wantPing()
	x.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
	c.want(401, "no")
	x.wantGone() // it may be waiting for the body still
	c.send(post("/next", "body"))
	x = o.accept()
	x.wantPing()
	x.send(goOn)
	x.wantBytes("body")
	x.send(ok("fine"))
	c.want(200, "fine")
}

func TestAnAnswerBeforeTheBodyThatTakesItsTime(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: pinging(dripTimeout), timeouts: Timeouts{ClientBody: dripTimeout}}, o)
	c := p.dial()
	c.send(post("/", "body"))
	x := o.accept()
	x.wantHead()
	x.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 22\r\n\r\n")
	drip(func() { x.send("x") })
	c.want(401, strings.Repeat("x", 22))
}

// A server that knows no expectations gets the request without, and the client never hears of it.
func TestAServerThatRefusesToBeAsked(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: pinging(patience), failover: Backend{MaxAttempts: 1}}, o)
	c := p.dial()
	c.send(post("/", "body"))
	x := o.accept()
	x.wantPing()
	x.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
	x.wantGone()
	x = o.accept()
	if r := x.wantRequest("POST /", "body"); r.Header.Get("Expect") != "" {
		t.Error("it is asked again")
	}
	x.send(ok("fine"))
	c.want(200, "fine")
	// Whoever expects it himself is told.
	c.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
	x.wantPing()
	x.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
	c.want(417, "")
}

func TestAStatusBeforeTheBodyLetsAnyMethodGoElsewhere(t *testing.T) {
	tr := newTrace(t)
	first, second := tr.origin(), tr.origin()
	p := tr.proxy(setup{
		with: pinging(patience), balance: balance.Options{Algorithm: "first"}, failover: Backend{RetryStatus: failOn(503)},
	}, first, second)
	c := p.dial()
	c.send(post("/", "body"))
	x := first.accept()
	x.wantPing()
	x.send(unavailable)
	y := second.accept()
	y.wantPing()
	y.send(goOn)
	y.wantBytes("body")
	y.send(ok("fine"))
	c.want(200, "fine")
	x.wantGone()
}
