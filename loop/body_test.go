package loop

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// letters returns a body of n bytes without a period that a buffer's size could hide.
func letters(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "abcdefghijklmnopqrstuvwxyz0123456789\n"[(i+i/251)%37]
	}
	return string(b)
}

func TestAResponseArrivesAsItWasSent(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		var c, x *peer
		for i, body := range []string{letters(300), "", "x"} {
			path := fmt.Sprint("/", i)
			if c == nil || !m.kept() {
				c = p.dial()
			}
			m.delivery.send(c, m.client.request(path))
			if x == nil || m.framing == untilClose {
				x = o.accept()
			}
			x.wantRequest("GET "+path, "")
			m.respond(x, body)
			m.wantResponse(c, body)
		}
		o.wantNobody()
		if n := p.buffers(); n != 0 {
			t.Errorf("%d buffers are in use when all is answered", n)
		}
	})
}

func TestALargerResponseArrivesAsItWasSent(t *testing.T) {
	// Larger than the relay buffer, and than what a turn may move.
	body := letters(1 << 20)
	eachMode(t, func(t *testing.T, m mode) {
		if m.delivery.name == "byte by byte" {
			t.Skip("a million turns")
		}
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		for range 2 {
			c.send(m.client.request("/"))
			x := o.accept()
			x.wantRequest("GET /", "")
			sent := tr.beside("origin", func() error {
				m.respond(x, body)
				x.Close()
				return nil
			})
			m.wantResponse(c, body)
			sent()
			tr.eventually("the origin's end goes unnoticed", func() bool { return p.idle() == 0 })
			if !m.kept() {
				c = p.dial()
			}
		}
	})
}

func TestPipelinedClientsGetEveryKindOfBody(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		if !m.kept() {
			t.Skip("its connection ends with the first response")
		}
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		m.delivery.send(c, m.client.request("/1")+m.client.request("/2")+m.client.request("/3"))
		x := o.accept()
		for _, path := range []string{"/1", "/2", "/3"} {
			x.wantRequest("GET "+path, "")
			m.respond(x, letters(100)+path)
			m.wantResponse(c, letters(100)+path)
			if m.framing == untilClose && path != "/3" {
				x = o.accept()
			}
		}
		c.wantNothing()
	})
}

func TestARequestBodyArrivesAsItWasSent(t *testing.T) {
	for _, k := range clientKinds {
		for _, f := range []framing{byLength, byChunks} {
			if f == byChunks && !k.chunks {
				continue
			}
			for _, d := range deliveries {
				t.Run(fmt.Sprintf("%s from %s %s", f, k.name, d.name), func(t *testing.T) {
					tr := newTrace(t)
					o := tr.origin()
					p := tr.proxy(setup{}, o)
					var c, x *peer
					for _, body := range []string{letters(300), "", "x", "last"} {
						if c == nil || !k.keeps {
							c = p.dial()
						}
						fields, framed := fmt.Sprintf("Content-Length: %d\r\n", len(body)), body
						if f == byChunks {
							fields, framed = "Transfer-Encoding: chunked\r\n", chunks(body)+"0\r\n\r\n"
						}
						d.send(c, "POST / "+k.version+"\r\nHost: a\r\n"+k.fields+fields+"\r\n"+framed)
						if x == nil {
							x = o.accept()
						}
						r := x.wantRequest("POST /", body)
						if chunked := len(r.TransferEncoding) > 0; chunked != (f == byChunks) {
							t.Errorf("the request has Transfer-Encoding %q", r.TransferEncoding)
						}
						x.send(ok("fine"))
						c.want(200, "fine")
					}
					o.wantNobody()
				})
			}
		}
	}
}

func TestARequestBodyIsPassedOnAsItComes(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n")
	x := o.accept()
	x.wantHead()
	for _, piece := range []string{"ab", "c", "def"} {
		c.send(piece)
		x.wantBytes(piece)
	}
	x.send(ok("fine"))
	c.want(200, "fine")
}

func TestAResponseBodyIsPassedOnAsItComes(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		c.send(m.client.request("/"))
		x := o.accept()
		x.wantRequest("GET /", "")
		head, framed := m.framing.response("abcdef")
		x.send(head)
		res, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		// Chunks of 1 and 5 bytes: what has come is readable before the rest has.
		m.delivery.send(x, framed[:len(framed)/2])
		b := make([]byte, 6)
		if _, err := io.ReadFull(res.Body, b[:1]); err != nil || b[0] != 'a' {
			t.Fatalf("got %q, %v, want the beginning of the body", b, err)
		}
		m.delivery.send(x, framed[len(framed)/2:])
		if m.framing == untilClose {
			x.Close()
		}
		rest, err := io.ReadAll(res.Body)
		if err != nil || string(rest) != "bcdef" {
			t.Fatalf("got %q, %v, want the rest of the body", rest, err)
		}
	})
}

func TestAResponseToHEADHasNoBody(t *testing.T) {
	heads := map[string]string{
		"length":      "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
		"chunked":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		"until close": "HTTP/1.1 200 OK\r\n\r\n",
	}
	for framing, head := range heads {
		for _, k := range clientKinds {
			for _, d := range deliveries {
				t.Run(fmt.Sprintf("%s to %s %s", framing, k.name, d.name), func(t *testing.T) {
					tr := newTrace(t)
					o := tr.origin()
					p := tr.proxy(setup{}, o)
					c := p.dial()
					var x *peer
					for i := range 2 {
						c.send(strings.Replace(k.request("/"), "GET", "HEAD", 1))
						if x == nil {
							x = o.accept()
						}
						x.wantRequest("HEAD /", "")
						d.send(x, head)
						res := c.wantTo("HEAD", 200, "")
						if framing == "length" && res.ContentLength != 500 {
							t.Errorf("Content-Length is %d, want 500", res.ContentLength)
						}
						if !k.keeps {
							c.wantEnd()
							c = p.dial()
							continue
						}
						if i == 0 {
							c.wantNothing()
						}
					}
					o.wantNobody()
				})
			}
		}
	}
}

func TestAResponseWithoutContentHasNoBody(t *testing.T) {
	for _, head := range []string{
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		for _, k := range clientKinds {
			for _, d := range deliveries {
				t.Run(fmt.Sprintf("%.30s to %s %s", head, k.name, d.name), func(t *testing.T) {
					tr := newTrace(t)
					o := tr.origin()
					p := tr.proxy(setup{}, o)
					c := p.dial()
					x := (*peer)(nil)
					for range 2 {
						c.send(k.request("/"))
						if x == nil {
							x = o.accept()
						}
						x.wantRequest("GET /", "")
						d.send(x, head)
						var status int
						fmt.Sscanf(head, "HTTP/1.1 %d", &status)
						res := c.want(status, "")
						if len(res.TransferEncoding) > 0 || status == 204 && res.Header.Get("Content-Length") != "" {
							t.Errorf("%d with Transfer-Encoding %q, Content-Length %q (RFC 9112, 6.1 and RFC 9110, 8.6)",
								status, res.TransferEncoding, res.Header.Get("Content-Length"))
						}
						if !k.keeps {
							c.wantEnd()
							c = p.dial()
						}
					}
					o.wantNobody()
				})
			}
		}
	}
}

func TestChunkExtensionsEndHere(t *testing.T) {
	eachDelivery(t, func(t *testing.T, d delivery) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		framed := "3;a=b\r\nabc\r\n4;x=\"y;z\"\r\ndefg\r\n0;last\r\n\r\n"
		d.send(c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+framed)
		x := o.accept()
		x.wantHead()
		if got := rawChunked(t, x); strings.ContainsAny(got, ";=") {
			t.Errorf("the origin got %q", got)
		}
		d.send(x, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+framed)
		c.wantHead()
		if got := rawChunked(t, c); strings.ContainsAny(got, ";=") {
			t.Errorf("the client got %q", got)
		}
	})
}

// rawChunked reads a chunked body of letters as it came, up to the empty line that ends it.
func rawChunked(t *testing.T, c *peer) string {
	t.Helper()
	var raw strings.Builder
	for !strings.HasSuffix(raw.String(), "\r\n0\r\n\r\n") {
		b, err := c.r.ReadByte()
		if err != nil {
			t.Fatalf("%s: got %q, then %v", c.name, raw.String(), err)
		}
		raw.WriteByte(b)
	}
	return raw.String()
}

func TestTrailersPassAndForbiddenOnesDoNot(t *testing.T) {
	const section = "X-Sum: 123\r\nContent-Length: 7\r\nX-More: a, b\r\nTransfer-Encoding: gzip\r\nHost: evil\r\nConnection: x\r\nAuthorization: y\r\n\r\n"
	framed := chunks("some body") + "0\r\n" + section
	want := func(t *testing.T, who string, got http.Header) {
		t.Helper()
		if len(got) != 2 || got.Get("X-Sum") != "123" || got.Get("X-More") != "a, b" {
			t.Errorf("the %s got the trailers %q, want X-Sum and X-More", who, got)
		}
	}
	eachDelivery(t, func(t *testing.T, d delivery) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		var x *peer
		for range 2 { // what follows a trailer section is the next message
			d.send(c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-More\r\n\r\n"+framed)
			if x == nil {
				x = o.accept()
			}
			want(t, "origin", x.wantRequest("POST /", "some body").Trailer)
			d.send(x, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-More\r\n\r\n"+framed)
			want(t, "client", c.want(200, "some body").Trailer)
		}
		// An HTTP/1.0 client has no place for them.
		old := p.dial()
		old.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
		x.wantRequest("GET /", "")
		d.send(x, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-More\r\n\r\n"+framed)
		old.want(200, "some body")
		old.wantEnd()
	})
}

func TestATrailerSectionThatNeverEndsIsCut(t *testing.T) {
	field := "X-Filler: " + strings.Repeat("x", 500) + "\r\n"
	t.Run("from a client", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n" + strings.Repeat(field, maxTrailerBytes/len(field)+1))
		x := o.accept()
		if _, _, err := x.readRequest(); err == nil {
			t.Error("the origin got a complete request")
		}
		c.wantError("POST", 400)
		c.wantEnd()
	})
	t.Run("from an origin", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		c.send(get("/"))
		x := o.accept()
		x.wantRequest("GET /", "")
		x.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
		if _, err := c.r.Peek(1); err != nil {
			t.Fatal(err)
		}
		x.send("0\r\n" + strings.Repeat(field, maxTrailerBytes/len(field)+1))
		if res, body, err := c.readResponse("GET"); err == nil {
			t.Errorf("got a complete response: %v %q", res, body)
		}
		x.wantGone()
	})
}

func TestABodyThatIsWrongBeforeAnythingWasPassedOnIsABadGateway(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	c.send(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	x.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef")
	c.wantError("GET", 502)
	x.wantGone()
}
