package loop

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAKeepAliveClientIsServedAgainOnTheSameConnections(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	var x *peer
	for i := range 3 {
		path := fmt.Sprint("/", i)
		c.send(get(path))
		if i == 0 {
			x = o.accept()
		}
		x.wantRequest("GET "+path, "")
		x.send(ok(path))
		if res := c.want(200, path); res.Close {
			t.Errorf("response %d says Connection: close", i)
		}
	}
	o.wantNobody()
}

func TestAWaitingConnectionHoldsNoBuffer(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	c.send(post("/", "some body"))
	x := o.accept()
	x.wantRequest("POST /", "some body")
	x.send(ok("fine"))
	c.want(200, "fine")
	if n := p.buffers(); n != 0 {
		t.Errorf("%d buffers are in use while everybody waits", n)
	}
	// Nor does it take one for an event that has nothing to it.
	p.onLoops(func(l *Loop) {
		s := l.sessions.next
		s.client.latch(unix.EPOLLIN)
		s.ready(&s.client)
	})
	if n := p.buffers(); n != 0 {
		t.Errorf("%d buffers are in use behind an event that was only a hint", n)
	}
	if open, idle := p.open(), p.idle(); open != 1 || idle != 1 {
		t.Errorf("%d client and %d idle backend connections, want 1 and 1", open, idle)
	}
}

func TestAClientThatAsksForItIsClosed(t *testing.T) {
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n",
		"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n",
	} {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		c.send(request)
		x := o.accept()
		x.wantRequest("GET /", "")
		x.send(ok("fine"))
		if res := c.want(200, "fine"); !res.Close {
			t.Errorf("%q: the response does not say Connection: close", request)
		}
		c.wantEnd()
		// It is the client's connection that ends, not the origin's.
		p.dial().send(get("/next"))
		x.wantRequest("GET /next", "")
	}
}

func TestAnHTTP10ClientThatAsksForItIsKept(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	var x *peer
	for i := range 3 {
		c.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n")
		if i == 0 {
			x = o.accept()
		}
		x.wantRequest("GET /", "")
		x.send(ok("fine"))
		if res := c.want(200, "fine"); !strings.EqualFold(res.Header.Get("Connection"), "keep-alive") {
			t.Errorf("response %d has Connection %q, want keep-alive", i, res.Header.Get("Connection"))
		}
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	for _, d := range deliveries {
		t.Run(d.name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{}, o)
			c := p.dial()
			sent := tr.beside("client", func() error {
				d.send(c, get("/1")+post("/2", "a body")+get("/3")+"POST /4 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"+get("/5"))
				return nil
			})
			x := o.accept()
			for i, body := range []string{"", "a body", "", "abc", ""} {
				method := "GET"
				if body != "" {
					method = "POST"
				}
				path := fmt.Sprint("/", i+1)
				x.wantRequest(method+" "+path, body)
				x.wantNothing() // the next request comes when this one is answered
				x.send(ok(path))
				c.want(200, path)
			}
			sent()
			o.wantNobody()
		})
	}
}

func TestTwoHundredRequestsInOneWriteAreAnsweredInOrder(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.serveEach(func(r *http.Request, body []byte) string { return ok(r.RequestURI + string(body)) })
	p := tr.proxy(setup{}, o)
	c := p.dial()
	var all strings.Builder
	const n = 200
	for i := range n {
		if i%3 == 2 {
			all.WriteString(post(fmt.Sprint("/", i), "+"))
		} else {
			all.WriteString(get(fmt.Sprint("/", i)))
		}
	}
	c.send(all.String())
	for i := range n {
		want := fmt.Sprint("/", i)
		if i%3 == 2 {
			want += "+"
		}
		c.want(200, want)
	}
	c.wantNothing()
	if n := p.buffers(); n != 0 {
		t.Errorf("%d buffers are in use when all is answered", n)
	}
}

func TestTwoHundredRefusalsInOneWriteComeInOrder(t *testing.T) {
	// Our own answers need no origin, so that nothing but the bound of a turn interrupts the session.
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{excluded: map[int]bool{0: true}}, o)
	c := p.dial()
	const n = 200
	c.send(strings.Repeat(get("/"), n))
	for range n {
		c.wantError("GET", 404)
	}
	c.wantNothing()
	o.wantNobody()
}

func TestAHalfClosedClientStillGetsItsAnswer(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		m.delivery.send(c, m.client.request("/"))
		c.closeWrite()
		x := o.accept()
		x.wantRequest("GET /", "")
		p.settle()
		m.respond(x, "an answer")
		c.want(200, "an answer")
		c.wantEnd()
		tr.eventually("the session stays", func() bool { return p.open() == 0 })
	})
}

func TestAHalfClosedClientStillGetsAllItsPipelinedAnswers(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	c.send(get("/1") + post("/2", "body") + get("/3"))
	c.closeWrite()
	x := o.accept()
	x.wantRequest("GET /1", "")
	x.send(ok("1"))
	x.wantRequest("POST /2", "body")
	x.send(ok("2"))
	x.wantRequest("GET /3", "")
	c.want(200, "1")
	c.want(200, "2")
	x.send(ok("3"))
	c.want(200, "3")
	c.wantEnd()
	tr.eventually("the session stays", func() bool { return p.open() == 0 })
}

func TestAClientThatEndsBetweenRequestsIsForgotten(t *testing.T) {
	for name, end := range map[string]func(c *peer){
		"FIN": func(c *peer) { c.Close() },
		"RST": func(c *peer) { c.reset() },
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{record: "$target $end"}, o)
			unused := p.dial()
			p.settle()
			end(unused)
			c := p.dial()
			c.send(get("/"))
			x := o.accept()
			x.wantRequest("GET /", "")
			x.send(ok("fine"))
			c.want(200, "fine")
			end(c)
			tr.eventually("the session stays", func() bool { return p.open() == 0 })
			if n := p.idle(); n != 1 {
				t.Errorf("%d idle connections, want 1: the origin's has nothing to do with it", n)
			}
			p.wantRecords("/ ok")
		})
	}
}

func TestAClientThatResetsWhileItWaitsAbandonsTheOriginsConnection(t *testing.T) {
	eachDelivery(t, func(t *testing.T, d delivery) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{record: "$target $status $end"}, o)
		c := p.dial()
		d.send(c, get("/gone"))
		x := o.accept()
		x.wantRequest("GET /gone", "")
		c.reset()
		x.wantGone()
		tr.eventually("the session stays", func() bool { return p.open() == 0 })
		// What that connection might still answer belongs to nobody.
		c = p.dial()
		c.send(get("/next"))
		x = o.accept()
		x.wantRequest("GET /next", "")
		x.send(ok("fine"))
		c.want(200, "fine")
		p.wantRecords("/gone 499 client_abort", "/next 200 ok")
	})
}

func TestAClientThatResetsInTheMiddleOfAResponseAbandonsTheOriginsConnection(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{record: "$target $status $end"}, o)
		c := p.dial()
		c.send(m.client.request("/gone"))
		x := o.accept()
		x.wantRequest("GET /gone", "")
		head, body := m.framing.response("the beginning of a body")
		x.send(head)
		m.delivery.send(x, body[:len(body)/2])
		c.wantHead()
		c.reset()
		x.wantGone()
		tr.eventually("the session stays", func() bool { return p.open() == 0 })
		p.wantRecords("/gone 200 client_abort")
	})
}

func TestAClientThatEndsInTheMiddleOfItsRequestIsToldAndItsOriginAbandoned(t *testing.T) {
	chunked := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, half := range map[string]string{
		"length":               "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
		"length, no byte":      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
		"length, HTTP/1.0":     "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
		"in a chunk":           chunked + "5\r\nabc",
		"in a chunk's size":    chunked + "3\r\nabc\r\n1",
		"before the last one":  chunked + "3\r\nabc\r\n",
		"in the last chunk":    chunked + "3\r\nabc\r\n0",
		"before the end":       chunked + "3\r\nabc\r\n0\r\n",
		"in a trailer section": chunked + "3\r\nabc\r\n0\r\nX-Sum: 1\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			eachDelivery(t, func(t *testing.T, d delivery) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{record: "$method $status $end"}, o)
				c := p.dial()
				d.send(c, half)
				c.closeWrite()
				x := o.accept()
				if r, body, err := x.readRequest(); err == nil {
					t.Fatalf("the origin got a complete request: %v %q", r, body)
				}
				if res := c.wantError("POST", 400); !res.Close {
					t.Error("400 without Connection: close")
				}
				c.wantEnd()
				p.wantRecords("POST 400 client_abort")
			})
		})
	}
}

func TestAClientThatEndsInTheMiddleOfAHeadIsToldAndNobodyElse(t *testing.T) {
	eachDelivery(t, func(t *testing.T, d delivery) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{record: "$status $end"}, o)
		c := p.dial()
		d.send(c, "GET / HTTP/1.1\r\nHost: a")
		c.closeWrite()
		c.wantError("GET", 400)
		c.wantEnd()
		o.wantNobody()
		p.wantRecords("400 client_abort")
	})
}
