package loop

import (
	"fmt"
	"net"
	"testing"
	"time"

	"millrace/httpparse"
	"millrace/internal/accesslog"
)

func TestTheConnectionUsedLastIsUsedFirst(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	a, b := p.dial(), p.dial()
	a.send(get("/a"))
	x := o.accept()
	x.wantRequest("GET /a", "")
	b.send(get("/b"))
	y := o.accept()
	y.wantRequest("GET /b", "")
	x.send(ok("a"))
	a.want(200, "a")
	y.send(ok("b"))
	b.want(200, "b")
	for _, path := range []string{"/1", "/2"} {
		a.send(get(path))
		y.wantRequest("GET "+path, "")
		y.send(ok(path))
		a.want(200, path)
	}
	x.wantNothing()
	o.wantNobody()
}

func TestIdleConnectionsAreBounded(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{idleMax: 2}, o)
	var clients, origins []*peer
	for range 4 {
		c := p.dial()
		c.send(get("/"))
		x := o.accept()
		x.wantRequest("GET /", "")
		clients, origins = append(clients, c), append(origins, x)
	}
	for i := range clients {
		origins[i].send(ok("fine"))
		clients[i].want(200, "fine")
	}
	// The oldest go.
	origins[0].wantEnd()
	origins[1].wantEnd()
	origins[2].wantNothing()
	origins[3].wantNothing()
}

func TestIdleConnectionsAreClosedWhenTheirTimeIsUp(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	const ttl = 80 * time.Millisecond
	p := tr.proxy(setup{idleTTL: ttl}, o)
	c := p.dial()
	c.send(get("/1"))
	x := o.accept()
	x.wantRequest("GET /1", "")
	before := time.Now()
	x.send(ok("1"))
	c.want(200, "1")
	x.wantEnd()
	if kept := time.Since(before); kept < ttl {
		t.Errorf("it was closed after %v, want %v", kept, ttl)
	}
	// Two of different ages, each in its time.
	c.send(get("/2"))
	x = o.accept()
	x.wantRequest("GET /2", "")
	other := p.dial()
	other.send(get("/3"))
	y := o.accept()
	y.wantRequest("GET /3", "")
	x.send(ok("2"))
	c.want(200, "2")
	begun := clock()
	tr.eventually("time stands still", func() bool { return clock() > begun+3*oneTick })
	y.send(ok("3"))
	other.want(200, "3")
	x.wantEnd()
	y.wantEnd()
}

func TestAConnectionThatTheOriginClosedIsNotHandedOut(t *testing.T) {
	// Its end comes in the same turn as the next request, before it or behind it.
	for name, end := range map[string]func(x *peer){"FIN": func(x *peer) { x.Close() }, "RST": (*peer).reset} {
		for _, first := range []string{"origin", "client"} {
			for _, method := range []string{"GET", "POST", "DELETE", "PATCH"} {
				t.Run(fmt.Sprint(method, ", ", first, " first, ", name), func(t *testing.T) {
					tr := newTrace(t)
					o := tr.origin()
					p := tr.proxy(setup{record: "$method $status $retries $end"}, o)
					c := p.dial()
					c.send(get("/"))
					x := o.accept()
					x.wantRequest("GET /", "")
					x.send(ok("fine"))
					c.want(200, "fine")
					request := method + " /next HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
					release := p.hold()
					if first == "origin" {
						end(x)
						c.send(request)
					} else {
						c.send(request)
						end(x)
					}
					release()
					x = o.accept()
					x.wantRequest(method+" /next", "body")
					x.send(ok("next"))
					c.want(200, "next")
					o.wantNobody()
					p.wantRecords("GET 200 0 ok", method+" 200 0 ok")
				})
			}
		}
	}
}

func TestARequestThatDiesOnAPooledConnectionIsSentAgainOnceIfItsMethodAllows(t *testing.T) {
	tests := []struct {
		method string
		again  bool
	}{
		{"GET", true},
		{"HEAD", true},
		{"PUT", true},
		{"DELETE", true},
		{"OPTIONS", true},
		{"POST", false},
		{"PATCH", false},
		{"BREW", false},
	}
	for _, test := range tests {
		for name, end := range map[string]func(x *peer){"FIN": func(x *peer) { x.Close() }, "RST": (*peer).reset} {
			t.Run(test.method+" "+name, func(t *testing.T) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{record: "$method $status $retries $end"}, o)
				c := p.dial()
				c.send(get("/"))
				x := o.accept()
				x.wantRequest("GET /", "")
				x.send(ok("fine"))
				c.want(200, "fine")
				c.send(test.method + " /next HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
				x.wantRequest(test.method+" /next", "body")
				end(x)
				if !test.again {
					if res := c.wantError(test.method, 502); res.Close {
						t.Error("502 says Connection: close, and nothing is wrong with the client's")
					}
					o.wantNobody()
					p.wantRecords("GET 200 0 ok", test.method+" 502 0 backend_error")
					return
				}
				x = o.accept()
				x.wantRequest(test.method+" /next", "body")
				if test.method == "GET" {
					end(x) // once, and not again
					c.wantError("GET", 502)
					o.wantNobody()
					p.wantRecords("GET 200 0 ok", "GET 502 1 backend_error")
					return
				}
				if test.method == "HEAD" {
					x.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
					c.wantTo("HEAD", 200, "")
				} else {
					x.send(ok("next"))
					c.wantTo(test.method, 200, "next")
				}
				o.wantNobody()
				p.wantRecords("GET 200 0 ok", test.method+" 200 1 ok")
			})
		}
	}
}

func TestARequestWhoseBodyIsGoneIsNotSentAgain(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	c.send(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	x.send(ok("fine"))
	c.want(200, "fine")
	c.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
	x.wantHead()
	x.wantBytes("abc")
	c.send("def") // passed on as it comes, and not kept
	x.wantBytes("def")
	x.Close()
	if res := c.wantError("PUT", 502); res.Close {
		t.Error("502 says Connection: close, though the request has been read")
	}
	o.wantNobody()
}

func TestAResponseThatHasBegunIsNeverAskedForAgain(t *testing.T) {
	for _, begun := range []string{"H", "HTTP/1.1 200 OK\r\n", continue100} {
		t.Run(fmt.Sprintf("%q", begun), func(t *testing.T) {
			tr := newTrace(t)
			o, other := tr.origin(), tr.origin()
			p := tr.proxy(setup{record: "$status $retries $end"}, o, other)
			c := p.dial()
			c.send(get("/"))
			x := o.accept()
			x.wantRequest("GET /", "")
			x.send(begun)
			x.Close()
			if begun == continue100 {
				c.wantBytes(continue100)
			}
			c.wantError("GET", 502)
			o.wantNobody()
			other.wantNobody()
			p.wantRecords("502 0 backend_error")
		})
	}
}

func TestARequestThatDiesOnANewConnectionIsSentToAnotherServerIfItsMethodAllows(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			tr := newTrace(t)
			o, other := tr.origin(), tr.origin()
			p := tr.proxy(setup{record: "$status $server $retries $end"}, o, other)
			c := p.dial()
			c.send(method + " / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
			x := o.accept()
			x.wantRequest(method+" /", "body")
			x.Close()
			if method == "POST" {
				c.wantError(method, 502)
				other.wantNobody()
				p.wantRecords("502 " + o.name + " 0 backend_error")
				return
			}
			x = other.accept()
			x.wantRequest(method+" /", "body")
			x.send(ok("fine"))
			c.want(200, "fine")
			p.wantRecords("200 " + other.name + " 1 ok")
		})
	}
}

func TestARequestIsSentAgainOnce(t *testing.T) {
	tr := newTrace(t)
	a, b, c := tr.origin(), tr.origin(), tr.origin()
	p := tr.proxy(setup{record: "$status $server $retries $end"}, a, b, c)
	client := p.dial()
	client.send(get("/"))
	for _, o := range []*origin{a, b} {
		x := o.accept()
		x.wantRequest("GET /", "")
		x.Close()
	}
	client.wantError("GET", 502)
	c.wantNobody() // a request that kills servers must not kill them all
	p.wantRecords("502 " + b.name + " 1 backend_error")
}

func TestARequestIsSentAgainOnANewConnection(t *testing.T) {
	// Another idle one is no better than the one that has died.
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c, other := p.dial(), p.dial()
	c.send(get("/1"))
	x := o.accept()
	x.wantRequest("GET /1", "")
	other.send(get("/2"))
	y := o.accept()
	y.wantRequest("GET /2", "")
	x.send(ok("1"))
	c.want(200, "1")
	y.send(ok("2"))
	other.want(200, "2")
	c.send(get("/3"))
	y.wantRequest("GET /3", "")
	y.Close()
	z := o.accept()
	z.wantRequest("GET /3", "")
	z.send(ok("3"))
	c.want(200, "3")
	x.wantNothing()
}

func TestARequestThatWasSentAgainIsStillWhole(t *testing.T) {
	// Framed anew for the second server, from what was kept of it.
	for _, f := range []framing{byLength, byChunks} {
		t.Run(string(f), func(t *testing.T) {
			tr := newTrace(t)
			o, other := tr.origin(), tr.origin()
			p := tr.proxy(setup{record: "$bytes_in"}, o, other)
			c := p.dial()
			body := letters(2000)
			request := "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n" + body
			if f == byChunks {
				request = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(body) + "0\r\nX-Sum: 1\r\n\r\n"
			}
			c.send(request)
			x := o.accept()
			x.wantRequest("PUT /", body)
			x.Close()
			x = other.accept()
			if r := x.wantRequest("PUT /", body); f == byChunks && r.Trailer.Get("X-Sum") != "1" {
				t.Errorf("its trailers are %q", r.Trailer)
			}
			x.send(ok("fine"))
			c.want(200, "fine")
			p.wantRecords(fmt.Sprint(len(request)))
		})
	}
}

func TestARefusedConnectionGoesToAnotherServer(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{disableTime: time.Hour, record: "$status $retries $server $end"}, tr.refusing(), tr.refusing(), o)
			c := p.dial()
			var x *peer
			for range 3 {
				c.send(method + " / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
				if x == nil {
					x = o.accept()
				}
				x.wantRequest(method+" /", "body")
				x.send(ok("fine"))
				c.want(200, "fine")
			}
			// Those that refused rest, and cost later requests nothing.
			p.wantRecords("200 2 "+o.name+" ok", "200 0 "+o.name+" ok", "200 0 "+o.name+" ok")
		})
	}
}

func TestARefusedUnixSocketGoesToAnotherServer(t *testing.T) {
	tr := newTrace(t)
	o := tr.unixOrigin()
	p := tr.proxy(setup{record: "$status $retries"}, "unix:"+t.TempDir()+"/nobody", o)
	c := p.dial()
	c.send(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	x.send(ok("fine"))
	c.want(200, "fine")
	p.wantRecords("200 1")
}

func TestAServerThatRefusedIsProbedWhenItsRestIsOver(t *testing.T) {
	tr := newTrace(t)
	const rest = 100 * time.Millisecond
	o := tr.origin()
	p := tr.proxy(setup{disableTime: rest, record: "$status $end"}, o)
	o.close()
	c := p.dial()
	c.send(get("/"))
	c.wantError("GET", 502)
	failed := time.Now()
	c.send(get("/"))
	c.wantError("GET", 503) // nobody is asked while it rests
	if time.Since(failed) >= rest {
		t.Skip("the machine is too slow for this test")
	}
	back, err := net.Listen("tcp", o.name)
	if err != nil {
		t.Fatal(err)
	}
	o.l = back
	t.Cleanup(o.close)
	tr.eventually("the server rests for ever", func() bool { return !p.group.Resting(0, int64(clock())) })
	c.send(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	// The connection alone proves that it is back: others need not wait for its answer.
	other := p.dial()
	other.send(get("/other"))
	y := o.accept()
	y.wantRequest("GET /other", "")
	x.send(ok("fine"))
	c.want(200, "fine")
	y.send(ok("other"))
	other.want(200, "other")
	p.wantRecords("502 backend_error", "503 no_server", "200 ok", "200 ok")
}

func TestAServerThatAnswersAProbeOnAPooledConnectionIsBack(t *testing.T) {
	// It refuses a second connection while the first is in use, and is probed on the first.
	tr := newTrace(t)
	const rest = 100 * time.Millisecond
	o := tr.origin()
	p := tr.proxy(setup{disableTime: rest}, o)
	c := p.dial()
	c.send(get("/1"))
	x := o.accept()
	x.wantRequest("GET /1", "")
	o.close()
	other := p.dial()
	other.send(get("/refused"))
	other.wantError("GET", 502)
	x.send(ok("1"))
	c.want(200, "1")
	tr.eventually("the server rests for ever", func() bool { return !p.group.Resting(0, int64(clock())) })
	c.send(get("/2"))
	x.wantRequest("GET /2", "")
	x.send(ok("2"))
	c.want(200, "2")
	c.send(get("/3"))
	x.wantRequest("GET /3", "")
	x.send(ok("3"))
	c.want(200, "3")
}

func TestWhenAllServersRefuseTheClientIsToldSo(t *testing.T) {
	tr := newTrace(t)
	const rest = 200 * time.Millisecond
	p := tr.proxy(setup{disableTime: rest, record: "$status $retries $end"}, tr.refusing(), tr.refusing())
	c := p.dial()
	c.send(post("/", "body"))
	begun := time.Now()
	if res := c.wantError("POST", 502); res.Close {
		t.Error("502 says Connection: close, and nothing is wrong with the client's")
	}
	c.send(post("/", "body"))
	if res := c.wantError("POST", 503); res.Close {
		t.Error("503 says Connection: close, and nothing is wrong with the client's")
	}
	if time.Since(begun) >= rest {
		t.Skip("the machine is too slow for this test")
	}
	tr.eventually("the servers rest for ever", func() bool {
		now := int64(clock())
		return !p.group.Resting(0, now) && !p.group.Resting(1, now)
	})
	c.send(post("/", "body"))
	c.wantError("POST", 502)
	p.wantRecords("502 1 backend_error", "503 0 no_server", "502 1 backend_error")
}

func TestABusyServerIsAvoided(t *testing.T) {
	tr := newTrace(t)
	a, b := tr.origin(), tr.origin()
	p := tr.proxy(setup{}, a, b)
	c, d := p.dial(), p.dial()
	c.send(get("/c"))
	x := a.accept()
	x.wantRequest("GET /c", "")
	d.send(get("/d"))
	y := b.accept()
	y.wantRequest("GET /d", "")
	x.send(ok("c"))
	c.want(200, "c")
	y.send(ok("d"))
	d.want(200, "d")
}

func TestAConnectionIsNotKeptWhenTheOriginSaysSo(t *testing.T) {
	eachDelivery(t, func(t *testing.T, d delivery) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		for i := range 2 {
			path := fmt.Sprint("/", i)
			c.send(get(path))
			x := o.accept()
			x.wantRequest("GET "+path, "")
			d.send(x, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine")
			if res := c.want(200, "fine"); res.Close {
				t.Error("the origin's wish was passed on to the client")
			}
			x.wantEnd()
		}
	})
}

func TestRetryAsksInThisOrder(t *testing.T) {
	request := func(method httpparse.Method) *exchange {
		x := &exchange{held: true, sent: true, backend: &Backend{RetryOn: RetryConnect | RetryClosed}}
		x.req.Method = method
		return x
	}
	get, post := httpparse.MethodGet, httpparse.MethodPost
	tests := []struct {
		name   string
		fault  fault
		method httpparse.Method
		change func(x *exchange)
		want   bool
	}{
		{"refused", faultConnect, post, func(x *exchange) { x.sent = false }, true},
		{"no connection in time", faultConnectTimeout, post, func(x *exchange) { x.sent = false }, true},
		{"asked for a body, and silent", faultPing, post, func(x *exchange) { x.sent = false }, true},
		{"asked for a body, and silent after a first word", faultPing, post, func(x *exchange) { x.sent, x.heard = false, true }, false},
		{"closed", faultServerClosed, get, nil, true},
		{"closed, may have acted", faultServerClosed, post, nil, false},
		{"closed before anything was sent", faultServerClosed, post, func(x *exchange) { x.sent = false }, true},
		{"closed before anything was sent, again", faultServerClosed, post, func(x *exchange) { x.sent, x.resent = false, true }, true},
		{"closed again", faultServerClosed, get, func(x *exchange) { x.resent = true }, false},
		{"closed in the middle of its head", faultServerClosed, get, func(x *exchange) { x.heard = true }, false},
		{"closed, body gone", faultServerClosed, get, func(x *exchange) { x.held = false }, false},
		{"closed, body gone, nothing sent", faultServerClosed, get, func(x *exchange) { x.held, x.sent = false, false }, false},
		{"slow", faultResponseTimeout, get, nil, false},
		{"slow, where that is repeated", faultResponseTimeout, get, func(x *exchange) { x.backend.RetryOn = RetryTimeout }, true},
		{"slow, where that is repeated, may have acted", faultResponseTimeout, post, func(x *exchange) { x.backend.RetryOn = RetryTimeout }, false},
		{"slow, where that is repeated, again", faultResponseTimeout, get, func(x *exchange) { x.backend.RetryOn, x.resent = RetryTimeout, true }, false},
		{"slow, where that is repeated, heard", faultResponseTimeout, get, func(x *exchange) { x.backend.RetryOn, x.heard = RetryTimeout, true }, false},
		{"refused, where that is not repeated", faultConnect, get, func(x *exchange) { x.backend.RetryOn = RetryClosed }, false},
		{"closed, where that is not repeated", faultServerClosed, get, func(x *exchange) { x.backend.RetryOn = RetryConnect }, false},
		{"before there was a backend", faultConnect, get, func(x *exchange) { x.backend = nil }, false},
		{"wrong", faultBadResponse, get, nil, false},
		{"cut", faultResponseCut, get, nil, false},
		{"no descriptor", faultNoDescriptor, get, func(x *exchange) { x.sent = false }, false},
		{"client gone", faultClientGone, get, nil, false},
	}
	for _, test := range tests {
		x := request(test.method)
		if test.change != nil {
			test.change(x)
		}
		if got := retry(x, test.fault); got != test.want {
			t.Errorf("%s, %v: %v, want %v", test.name, test.method, got, test.want)
		}
	}
}

func TestEveryFaultHasARow(t *testing.T) {
	for f := faultNone + 1; f <= faultPassedOver; f++ {
		row := faults[f]
		if row.status != 0 && (row.status < 400 || row.status > 599) {
			t.Errorf("fault %d is answered with %d", f, row.status)
		}
		if row.end == accesslog.EndOK {
			t.Errorf("fault %d is recorded as %v", f, row.end)
		}
	}
}
