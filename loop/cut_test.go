package loop

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// wantCut reads a response and says that it does not look complete.
func (c *peer) wantCut() {
	c.tr.Helper()
	if res, body, err := c.readResponse("GET"); err == nil {
		c.tr.Fatalf("client: a response that was cut looks complete: %v with %s", res, excerpt(body))
	}
	if rest := c.wantGone(); rest != "" {
		c.tr.Fatalf("client: %s came behind a response that was cut", excerpt(rest))
	}
}

func TestAResponseThatIsCutNeverLooksComplete(t *testing.T) {
	body := letters(400)
	eachMode(t, func(t *testing.T, m mode) {
		for name, cut := range map[string]func(x *peer){"RST": (*peer).reset, "FIN": (*peer).closeWrite} {
			if name == "FIN" && m.framing == untilClose {
				continue // that is its end
			}
			t.Run(name, func(t *testing.T) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{record: "$target $status $end"}, o)
				c := p.dial()
				c.send(m.client.request("/1") + m.client.request("/2"))
				x := o.accept()
				x.wantRequest("GET /1", "")
				head, framed := m.framing.response(body)
				m.delivery.send(x, head+framed[:len(framed)-10])
				p.settle()
				cut(x)
				c.wantCut()
				// Nor is the next request answered behind it.
				o.wantNobody()
				c.Close()
				p.wantRecords("/1 200 backend_error")
			})
		}
	})
}

func TestAResponseThatIsCutWhereItsBodyBeginsNeverLooksComplete(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		c.send(m.client.request("/"))
		x := o.accept()
		x.wantRequest("GET /", "")
		head, _ := m.framing.response("some body")
		m.delivery.send(x, head)
		p.settle()
		x.reset()
		c.wantCut()
	})
}

func TestAResetBehindAnUploadIsNotTakenForTheEndOfABody(t *testing.T) {
	// Sending meets the reset first, and takes the error with it: what reading sees then looks like a FIN.
	for _, k := range clientKinds {
		t.Run(k.name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{record: "$status $end"}, o)
			c := p.dial()
			c.send("POST / " + k.version + "\r\nHost: a\r\n" + k.fields + "Content-Length: 100000\r\n\r\n" + letters(1000))
			x := o.accept()
			x.wantHead()
			x.wantBytes(letters(1000))
			x.send("HTTP/1.1 200 OK\r\n\r\nthe beginning of")
			res := c.wantHead()
			release := p.hold()
			c.send(letters(1000))
			x.reset()
			release()
			if k.chunks {
				c.wantBytes("10\r\nthe beginning of\r\n")
			} else {
				c.wantBytes("the beginning of")
			}
			if b, err := c.r.ReadByte(); err == nil || err == io.EOF && !k.chunks {
				t.Errorf("got %q, %v behind a body that was cut; the head was %q", b, err, res)
			}
			c.Close()
			p.wantRecords("200 backend_error")
		})
	}
}

func TestChunksThatAreWrongCutTheResponse(t *testing.T) {
	for _, wrong := range []string{"x\r\n", "-1\r\n", "3\r\nabcd\r\n", "3\nabc\n0\n\n", "fffffffffffffffff\r\n", "0\r\nX : y\r\n\r\n"} {
		for _, k := range clientKinds {
			t.Run(fmt.Sprintf("%q to %s", wrong, k.name), func(t *testing.T) {
				eachDelivery(t, func(t *testing.T, d delivery) {
					tr := newTrace(t)
					o := tr.origin()
					p := tr.proxy(setup{record: "$status $end"}, o)
					c := p.dial()
					c.send(k.request("/"))
					x := o.accept()
					x.wantRequest("GET /", "")
					// The wrong chunk comes by itself: the head has been passed on.
					x.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
					p.settle()
					sent := tr.beside("origin", func() error {
						if d.name != "byte by byte" {
							io.WriteString(x, "3\r\nabc\r\n"+wrong)
							return nil
						}
						for _, b := range []byte("3\r\nabc\r\n" + wrong) {
							x.Write([]byte{b})
							p.settle()
						}
						return nil
					})
					c.wantCut()
					x.wantGone()
					sent()
					c.Close()
					p.wantRecords("200 backend_error")
				})
			})
		}
	}
}

func TestResponsesThatCanBeReadInTwoWaysAreRefused(t *testing.T) {
	tests := map[string]string{
		"no status line":     "gibberish\r\n\r\n",
		"HTTP/0.9":           "<html>hello</html>",
		"no status":          "HTTP/1.1 OK\r\n\r\n",
		"status of 2 digits": "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP 2":             "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
		"length and chunks":  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"bad length":         "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"chunks in HTTP/1.0": "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"unknown coding":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"bad field":          "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
		"split field":        "HTTP/1.1 200 OK\r\nX: y\x00z\r\nContent-Length: 0\r\n\r\n",
		"many fields":        "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 20) + "Content-Length: 0\r\n\r\n",
		"large head":         "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 1000) + "\r\nContent-Length: 0\r\n\r\n",
		"head without end":   "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 1000),
	}
	for name, response := range tests {
		t.Run(name, func(t *testing.T) {
			eachDelivery(t, func(t *testing.T, d delivery) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{limits: Limits{HeaderBytes: 1000, HeaderFields: 16}, record: "$status $retries $end"}, o)
				c := p.dial()
				c.send(get("/"))
				x := o.accept()
				x.wantRequest("GET /", "")
				sent := tr.beside("origin", func() error {
					if d.name != "byte by byte" {
						io.WriteString(x, response)
						if name == "HTTP/0.9" {
							x.Close()
						}
						return nil
					}
					for _, b := range []byte(response) {
						x.Write([]byte{b})
						p.settle()
					}
					if name == "HTTP/0.9" {
						x.Close()
					}
					return nil
				})
				if res := c.wantError("GET", 502); res.Close {
					t.Error("502 says Connection: close, and nothing is wrong with the client's")
				}
				sent()
				x.Close()
				o.wantNobody()
				c.send(get("/next"))
				x = o.accept()
				x.wantRequest("GET /next", "")
				x.send(ok("next"))
				c.want(200, "next")
				p.wantRecords("502 0 backend_error", "200 0 ok")
			})
		})
	}
}

func TestAConnectionWithBytesBehindTheResponseIsNotUsedAgain(t *testing.T) {
	for name, rest := range map[string]string{"garbage": "garbage", "another response": ok("evil"), "empty line": "\r\n"} {
		t.Run(name, func(t *testing.T) {
			for _, f := range []framing{byLength, byChunks} {
				for _, d := range deliveries {
					t.Run(fmt.Sprint(f, " ", d.name), func(t *testing.T) {
						tr := newTrace(t)
						o := tr.origin()
						p := tr.proxy(setup{}, o)
						c := p.dial()
						c.send(get("/1"))
						x := o.accept()
						x.wantRequest("GET /1", "")
						head, framed := f.response("fine")
						sent := tr.beside("origin", func() error {
							if d.name == "whole" {
								io.WriteString(x, head+framed+rest)
								return nil
							}
							io.WriteString(x, head+framed)
							p.settle()
							for _, b := range []byte(rest) {
								if _, err := x.Write([]byte{b}); err != nil {
									break
								}
								p.settle()
							}
							return nil
						})
						c.want(200, "fine")
						sent()
						x.wantGone()
						c.send(get("/2"))
						x = o.accept()
						x.wantRequest("GET /2", "")
						x.send(ok("2"))
						c.want(200, "2")
						c.wantNothing()
					})
				}
			}
		})
	}
}

func TestBytesOnAnIdleConnectionAnswerNothing(t *testing.T) {
	// The bytes come at the same moment as the next request, in either order (RFC 9112, 9.2).
	for _, first := range []string{"origin", "client"} {
		for _, request := range []string{get("/2"), post("/2", "body")} {
			if first == "client" && request == get("/2") {
				// A method that may be repeated goes out without a look at the connection first. What was
				// there before it cannot be told from an answer that came very fast.
				continue
			}
			t.Run(first+" first, "+request[:4], func(t *testing.T) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{}, o)
				c := p.dial()
				c.send(get("/1"))
				x := o.accept()
				x.wantRequest("GET /1", "")
				x.send(ok("1"))
				c.want(200, "1")
				release := p.hold()
				if first == "origin" {
					x.send(ok("evil"))
					c.send(request)
				} else {
					c.send(request)
					x.send(ok("evil"))
				}
				release()
				x.wantGone()
				x = o.accept()
				if r, body, err := x.readRequest(); err != nil || r.RequestURI != "/2" {
					t.Fatalf("got %v %q %v", r, body, err)
				}
				x.send(ok("2"))
				c.want(200, "2")
			})
		}
	}
}
