package loop

import (
	"fmt"
	"strings"
	"testing"

	"millrace/remap"
)

func TestWhatIsRefusedIsToldSoAndReachesNobody(t *testing.T) {
	long := strings.Repeat("x", 2000)
	tests := []struct {
		name    string
		request string
		status  int
		kept    bool // another request may follow
		end     string
	}{
		{"no Host", "GET /app HTTP/1.1\r\n\r\n", 400, false, "bad_request"},
		{"two Hosts", "GET /app HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, false, "bad_request"},
		{"no request", "gibberish, not HTTP\r\n\r\n", 400, false, "bad_request"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, false, "bad_request"},
		{"blank before the colon", "GET /app HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400, false, "bad_request"},
		{"folded line", "GET /app HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", 400, false, "bad_request"},
		{"bare LF", "GET /app HTTP/1.1\nHost: a\n\n", 400, false, "bad_request"},
		{"two lengths", "POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, false, "bad_request"},
		{"signed length", "POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", 400, false, "bad_request"},
		{"length and chunks", "POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, false, "bad_request"},
		{"chunks in HTTP/1.0", "POST /app HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, false, "bad_request"},
		{"bad escape in the path", "GET /app/%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, false, "bad_request"},
		{"no route", get("/other"), 404, true, "no_route"},
		{"no route, HEAD", "HEAD /other HTTP/1.1\r\nHost: a\r\n\r\n", 404, true, "no_route"},
		{"no route, body", post("/other", "some body"), 404, true, "no_route"},
		{"no route, body in chunks", "POST /other HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 404, true, "no_route"},
		{"excluded route", get("/app/private"), 404, true, "no_route"},
		{"TRACE", "TRACE /app HTTP/1.1\r\nHost: a\r\n\r\n", 405, true, "bad_request"},
		{"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405, false, "bad_request"},
		{"long body", post("/app", letters(1001)), 413, false, "bad_request"},
		{"long target", "GET /" + long + " HTTP/1.1\r\nHost: a\r\n\r\n", 414, false, "bad_request"},
		{"long target without end", "GET /" + long, 414, false, "bad_request"},
		{"long fields", "GET /app HTTP/1.1\r\nHost: a\r\nX: " + long + "\r\n\r\n", 431, false, "bad_request"},
		{"long fields without end", "GET /app HTTP/1.1\r\nHost: a\r\nX: " + long, 431, false, "bad_request"},
		{"many fields", "GET /app HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 20) + "\r\n", 431, false, "bad_request"},
		{"unknown coding", "POST /app HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, false, "bad_request"},
		{"HTTP 2", "GET /app HTTP/2.0\r\nHost: a\r\n\r\n", 505, false, "bad_request"},
		{"HTTP 2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, false, "bad_request"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			eachDelivery(t, func(t *testing.T, d delivery) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{
					limits:   Limits{HeaderBytes: 1000, HeaderFields: 16, BodyBytes: 1000},
					rules:    []remap.Rule{{Path: "/app/private"}, {Path: "/app"}},
					excluded: map[int]bool{0: true},
					record:   "$status $end",
				}, o)
				c := p.dial()
				// The proxy may close before it has all of it.
				sent := tr.beside("client", func() error {
					if d.name == "byte by byte" {
						for i := range len(test.request) {
							if _, err := c.Write([]byte{test.request[i]}); err != nil {
								return nil
							}
							p.settle()
						}
						return nil
					}
					c.Write([]byte(test.request))
					return nil
				})
				method, _, _ := strings.Cut(test.request, " ")
				res := c.wantError(method, test.status)
				if res.Close == test.kept {
					t.Errorf("Connection: close is %v, want %v", res.Close, !test.kept)
				}
				sent()
				records := []string{fmt.Sprint(test.status, " ", test.end)}
				if test.kept {
					o.wantNobody()
					c.send(get("/app"))
					x := o.accept()
					x.wantRequest("GET /app", "")
					x.send(ok("fine"))
					c.want(200, "fine")
					records = append(records, "200 ok")
				} else {
					c.wantGone()
					o.wantNobody()
				}
				c.Close()
				p.wantRecords(records...)
			})
		})
	}
}

func TestAnHTTP10ClientIsRefusedInItsOwnTerms(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{excluded: map[int]bool{0: true}}, o)
	c := p.dial()
	c.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
	if res := c.wantError("GET", 404); !strings.EqualFold(res.Header.Get("Connection"), "keep-alive") {
		t.Errorf("Connection is %q, want keep-alive", res.Header.Get("Connection"))
	}
	c.send("GET / HTTP/1.0\r\n\r\n")
	if res := c.wantError("GET", 404); !res.Close {
		t.Error("404 without Connection: close")
	}
	c.wantEnd()
}

func TestABodyInChunksThatGrowsTooLargeIsRefused(t *testing.T) {
	eachDelivery(t, func(t *testing.T, d delivery) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{limits: Limits{BodyBytes: 100}, record: "$status $end"}, o)
		c := p.dial()
		d.send(c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+chunks(letters(100)))
		x := o.accept()
		d.send(c, "1\r\nx\r\n")
		if _, _, err := x.readRequest(); err == nil {
			t.Error("the origin got a complete request")
		}
		if res := c.wantError("POST", 413); !res.Close {
			t.Error("413 without Connection: close")
		}
		c.Close()
		p.wantRecords("413 bad_request")
	})
}

func TestChunksThatAreWrongAreRefused(t *testing.T) {
	for _, wrong := range []string{"x\r\n", "-1\r\n", "3\r\nabcd\r\n", "3\nabc\n0\n\n", "fffffffffffffffff\r\n", " 3\r\nabc\r\n", "0\r\nX : y\r\n\r\n"} {
		for _, first := range []string{"", "3\r\nabc\r\n"} {
			t.Run(fmt.Sprintf("%q", first+wrong), func(t *testing.T) {
				eachDelivery(t, func(t *testing.T, d delivery) {
					tr := newTrace(t)
					o := tr.origin()
					p := tr.proxy(setup{record: "$status $end"}, o)
					c := p.dial()
					sent := tr.beside("client", func() error {
						c.Write([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"))
						if d.name != "byte by byte" {
							c.Write([]byte(first + wrong))
							return nil
						}
						for _, b := range []byte(first + wrong) {
							p.settle()
							c.Write([]byte{b})
						}
						return nil
					})
					if res := c.wantError("POST", 400); !res.Close {
						t.Error("400 without Connection: close")
					}
					sent()
					c.wantGone()
					c.Close()
					p.wantRecords("400 bad_request")
				})
			})
		}
	}
}

func TestAResetWhileARefusalLingersEndsTheSession(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\na body that nobody reads")
	c.wantError("POST", 400)
	c.wantEnd()
	c.reset()
	// At once, that is, and not when the linger time has passed: the connection counts as one until then.
	end := clock() + Time(lingerTime)/2
	tr.eventually("the session stays", func() bool { return p.open() == 0 || clock() > end })
	if n := p.open(); n != 0 {
		t.Errorf("%d sessions linger for a client that is gone", n)
	}
}
