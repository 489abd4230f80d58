package loop

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

const (
	continue100 = "HTTP/1.1 100 Continue\r\n\r\n"
	hints103    = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
)

func TestInterimResponsesPass(t *testing.T) {
	for name, interim := range map[string][]string{
		"100":                    {continue100},
		"103":                    {hints103},
		"several":                {continue100, hints103, hints103, "HTTP/1.1 199 \r\n\r\n"},
		"as many as are allowed": slicesOf(hints103, maxInterim),
	} {
		eachDelivery(t, func(t *testing.T, d delivery) {
			t.Run(name, func(t *testing.T) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{}, o)
				c := p.dial()
				var x *peer
				for range 2 {
					c.send(get("/"))
					if x == nil {
						x = o.accept()
					}
					x.wantRequest("GET /", "")
					// Whole means: in one segment with the final response.
					d.send(x, strings.Join(interim, "")+ok("final"))
					for _, head := range interim {
						c.wantBytes(head)
					}
					c.want(200, "final")
				}
			})
		})
	}
}

func slicesOf(s string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = s
	}
	return list
}

func TestInterimResponsesArePassedOnAtOnce(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	c.send(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	x.send(hints103)
	c.wantBytes(hints103)
	x.send(ok("final"))
	c.want(200, "final")
}

func TestInterimResponsesNeverReachAnHTTP10Client(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		if m.client.chunks {
			t.Skip("it knows them")
		}
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		c.send(m.client.request("/"))
		x := o.accept()
		x.wantRequest("GET /", "")
		head, framed := m.framing.response("final")
		m.delivery.send(x, continue100+hints103+head+framed)
		if m.framing == untilClose {
			x.Close()
		}
		m.wantResponse(c, "final")
	})
}

func TestInterimResponsesWithoutEndAreRefused(t *testing.T) {
	eachDelivery(t, func(t *testing.T, d delivery) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{record: "$status $end"}, o)
		c := p.dial()
		c.send(get("/"))
		x := o.accept()
		x.wantRequest("GET /", "")
		d.send(x, strings.Repeat(hints103, maxInterim))
		for range maxInterim {
			c.wantBytes(hints103)
		}
		d.send(x, hints103)
		c.wantError("GET", 502)
		x.wantGone()
		p.wantRecords("502 backend_error")
	})
}

func TestSwitchingProtocolsThatNobodyAskedForIsRefused(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	x := o.accept()
	if r := x.wantRequest("GET /", ""); r.Header.Get("Upgrade") != "" || r.Header.Get("Connection") != "" {
		t.Errorf("Upgrade was passed on: %q", r.Header)
	}
	x.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nbytes")
	c.wantError("GET", 502)
	x.wantGone()
}

const expectHead = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"

func TestExpectAndItsContinuePassThrough(t *testing.T) {
	eachDelivery(t, func(t *testing.T, d delivery) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		var x *peer
		for range 2 {
			d.send(c, expectHead)
			if x == nil {
				x = o.accept()
			}
			if head := x.wantHead(); !strings.Contains(head, "\r\nExpect: 100-continue\r\n") {
				t.Errorf("the origin got %q", head)
			}
			d.send(x, continue100)
			c.wantBytes(continue100)
			d.send(c, "body")
			x.wantBytes("body")
			d.send(x, ok("fine"))
			if res := c.want(200, "fine"); res.Close {
				t.Error("the connection is not kept")
			}
		}
		o.wantNobody()
	})
}

func TestAClientMaySendItsBodyWithoutWaitingForContinue(t *testing.T) {
	eachDelivery(t, func(t *testing.T, d delivery) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		d.send(c, expectHead+"body"+get("/next"))
		x := o.accept()
		x.wantRequest("POST /", "body")
		x.send(ok("fine"))
		c.want(200, "fine")
		x.wantRequest("GET /next", "")
		x.send(ok("next"))
		c.want(200, "next")
	})
}

func TestAFinalAnswerInsteadOfContinueEndsTheConnection(t *testing.T) {
	// Whether the body still comes, nobody knows: so nothing that comes can be taken for a request.
	eachDelivery(t, func(t *testing.T, d delivery) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		c.send(expectHead)
		x := o.accept()
		x.wantHead()
		d.send(x, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
		if res := c.want(403, "no"); !res.Close {
			t.Error("the response does not say Connection: close")
		}
		c.wantEnd()
		x.wantGone()
		c = p.dial()
		c.send(get("/next"))
		x = o.accept()
		x.wantRequest("GET /next", "")
	})
}

// TestWhateverExpectSaysAFinalAnswerInsteadOfTheBodyEndsTheConnection: who finds 100-continue in it waits, and sends its next
// request where the body would be.
func TestWhateverExpectSaysAFinalAnswerInsteadOfTheBodyEndsTheConnection(t *testing.T) {
	for _, expect := range []string{
		"Expect: 100-continue, x=1",
		"Expect: x=1\r\nExpect: 100-continue",
		"Expect: y 100-continue",
		"Expect: 100-continue;q=1",
		"Expect:\r\nExpect: 100-CONTINUE",
	} {
		t.Run(expect, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{}, o)
			c := p.dial()
			c.send("POST / HTTP/1.1\r\nHost: a\r\n" + expect + "\r\nContent-Length: 1000\r\n\r\n")
			x := o.accept()
			x.wantHead()
			x.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
			if res := c.wantTo("POST", 417, "no"); !res.Close {
				t.Error("the connection is kept, and whatever comes next is taken for the body")
			}
			c.send(get("/smuggled"))
			c.wantEnd()
			x.wantGone()
			o.wantNobody()
		})
	}
}

// TestHintsAreNoContinue: a client that waits for 100 still does behind a 103, and its next request is not the body.
func TestHintsAreNoContinue(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	c.send("PUT /u HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	x := o.accept()
	x.wantHead()
	x.send(hints103 + "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
	c.wantBytes(hints103)
	if res := c.wantTo("PUT", 401, ""); !res.Close {
		t.Error("the connection is kept, and whatever comes next is taken for the body")
	}
	c.wantEnd()
}

func TestOurOwnAnswerInsteadOfContinueEndsTheConnection(t *testing.T) {
	tr := newTrace(t)
	p := tr.proxy(setup{}, tr.refusing())
	c := p.dial()
	c.send(expectHead)
	if res := c.wantError("POST", 502); !res.Close {
		t.Error("the response does not say Connection: close")
	}
	c.wantEnd()
}

func TestAnEarlyResponseWithASmallRestOfTheRequestKeepsTheClient(t *testing.T) {
	for _, f := range []framing{byLength, byChunks} {
		for _, d := range deliveries {
			t.Run(fmt.Sprint(f, " ", d.name), func(t *testing.T) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{record: "$target $status $bytes_in $end"}, o)
				c := p.dial()
				body := letters(1000)
				head, framed := "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", body
				if f == byChunks {
					head, framed = "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", chunks(body)+"0\r\n\r\n"
				}
				c.send(head + framed[:100])
				x := o.accept()
				x.wantHead()
				d.send(x, ok("early"))
				if res := c.want(200, "early"); res.Close {
					t.Error("the response says Connection: close")
				}
				x.wantGone() // nobody can tell what the origin would make of the rest
				d.send(c, framed[100:]+get("/2"))
				x = o.accept()
				x.wantRequest("GET /2", "")
				x.send(ok("next"))
				c.want(200, "next")
				p.wantRecords(fmt.Sprint("/1 200 ", len(head+framed), " ok"), fmt.Sprint("/2 200 ", len(get("/2")), " ok"))
			})
		}
	}
}

func TestAnEarlyResponseWithALargeRestOfTheRequestArrivesWholeAndEndsTheConnection(t *testing.T) {
	// The client goes on sending, as most do, and must get the whole answer nevertheless. It announces far more than the
	// buffers of all sockets on the way hold, so that a large rest is certain.
	answer := letters(1 << 20)
	eachMode(t, func(t *testing.T, m mode) {
		if m.delivery.name == "byte by byte" {
			t.Skip("a million turns")
		}
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		sent := tr.beside("client", func() error {
			head := "POST / " + m.client.version + "\r\nHost: a\r\n" + m.client.fields + "Content-Length: 300000000\r\n\r\n"
			io.WriteString(c, head)
			io.WriteString(c, letters(3000000)) // it may well fail
			return nil
		})
		x := o.accept()
		x.wantHead()
		answered := tr.beside("origin", func() error {
			m.respond(x, answer)
			return nil
		})
		res := c.want(200, answer)
		if m.client.chunks && !res.Close {
			t.Error("the response does not say Connection: close")
		}
		c.wantGone()
		sent()
		answered()
		c.Close()
		tr.eventually("the session stays", func() bool { return p.open() == 0 })
	})
}

func TestARestOfARequestThatNeverEndsIsNotReadForEver(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	x := o.accept()
	x.wantHead()
	x.send(ok("early"))
	c.want(200, "early")
	// In steps, so that no single turn meets a bound.
	chunk := "1000\r\n" + letters(0x1000) + "\r\n"
	sent := 0
	for sent <= 4*drainMax {
		if _, err := io.WriteString(c, chunk); err != nil {
			break
		}
		sent += len(chunk)
		p.settle()
		drained := false
		p.onLoops(func(l *Loop) {
			for s := l.sessions.next; s != &l.sessions; s = s.next {
				drained = drained || s.stage == stageDrain
			}
		})
		if !drained {
			break
		}
	}
	if sent > drainMax+2*len(chunk) {
		t.Fatalf("%d bytes of a body that nobody wants were read, want %d at most", sent, drainMax)
	}
	c.wantGone()
}

func TestAnOriginThatAnswersEarlyAndLeavesIsHeard(t *testing.T) {
	// An origin that refuses an upload closes with bytes unread, which makes its kernel send a reset right
	// behind the answer.
	for name, leave := range map[string]func(x *peer){"FIN": func(x *peer) { x.closeWrite() }, "RST": (*peer).reset} {
		t.Run(name, func(t *testing.T) {
			eachDelivery(t, func(t *testing.T, d delivery) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{record: "$status $retries $end"}, o)
				c := p.dial()
				c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + letters(1000))
				x := o.accept()
				x.wantHead()
				d.send(x, "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 4\r\n\r\n")
				d.send(x, "much")
				leave(x)
				res := c.want(413, "much")
				sent := tr.beside("client", func() error {
					io.WriteString(c, letters(99000)+get("/next"))
					return nil
				})
				if !res.Close {
					x = o.accept()
					x.wantRequest("GET /next", "")
					x.send(ok("next"))
					c.want(200, "next")
				}
				sent()
				o.wantNobody()
			})
		})
	}
}

func TestAnOriginThatResetsWhileTheBodyIsSentIsToldFromOneThatAnswered(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{record: "$status $end"}, o)
	c := p.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + letters(1000))
	x := o.accept()
	x.wantHead()
	x.reset()
	sent := tr.beside("client", func() error {
		io.WriteString(c, letters(99000))
		return nil
	})
	c.wantError("POST", 502)
	sent()
	o.wantNobody() // a POST is not sent again
	p.wantRecords("502 backend_error")
}

func TestInterimResponsesAreNotMixedUpWithAnUpload(t *testing.T) {
	// 100 to a client that does not wait for it, in the middle of its body.
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	c.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
	x := o.accept()
	x.wantHead()
	x.wantBytes("abc")
	x.send(continue100)
	c.wantBytes(continue100)
	c.send("def")
	x.wantBytes("def")
	x.send(ok("fine"))
	if res := c.wantTo(http.MethodPut, 200, "fine"); res.Close {
		t.Error("the connection is not kept")
	}
}
