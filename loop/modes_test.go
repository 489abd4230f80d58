package loop

import (
	"fmt"
	"strings"
	"testing"
)

// delivery is how bytes arrive: every state machine has to stand being fed by the spoon.
type delivery struct {
	name string
	send func(c *peer, s string)
}

var deliveries = []delivery{
	{"whole", (*peer).send},
	{"byte by byte", (*peer).sendBytes},
	{"in halves", (*peer).sendHalves},
}

func eachDelivery(t *testing.T, f func(t *testing.T, d delivery)) {
	for _, d := range deliveries {
		t.Run(d.name, func(t *testing.T) { f(t, d) })
	}
}

// framing is how an origin marks the end of a response body.
type framing string

const (
	byLength   framing = "length"
	byChunks   framing = "chunked"
	untilClose framing = "until close"
)

// response returns a response with the given body: its head, and the body as it is framed.
func (f framing) response(body string) (head, framed string) {
	switch f {
	case byLength:
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body)), body
	case byChunks:
		return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunks(body) + "0\r\n\r\n"
	}
	return "HTTP/1.1 200 OK\r\n\r\n", body
}

// chunks frames a body in chunks that grow, without the last chunk.
func chunks(body string) string {
	var framed strings.Builder
	for size := 1; body != ""; size = 3*size + 2 {
		size = min(size, len(body))
		fmt.Fprintf(&framed, "%x\r\n%s\r\n", size, body[:size])
		body = body[size:]
	}
	return framed.String()
}

// clientKind is what a client speaks.
type clientKind struct {
	name    string
	version string
	fields  string
	chunks  bool // it knows chunks
	keeps   bool // it wants its connection kept
}

var clientKinds = []clientKind{
	{"HTTP 1.1", "HTTP/1.1", "", true, true},
	{"HTTP 1.0", "HTTP/1.0", "", false, false},
	{"HTTP 1.0 keep-alive", "HTTP/1.0", "Connection: keep-alive\r\n", false, true},
}

func (k clientKind) request(path string) string {
	return "GET " + path + " " + k.version + "\r\nHost: a.example\r\n" + k.fields + "\r\n"
}

// mode is one cell of the matrix that everything about response bodies runs over.
type mode struct {
	framing  framing
	client   clientKind
	delivery delivery
}

func eachMode(t *testing.T, f func(t *testing.T, m mode)) {
	for _, framing := range []framing{byLength, byChunks, untilClose} {
		for _, client := range clientKinds {
			for _, d := range deliveries {
				m := mode{framing, client, d}
				t.Run(fmt.Sprintf("%s to %s %s", framing, client.name, d.name), func(t *testing.T) { f(t, m) })
			}
		}
	}
}

// respond has an origin send a whole response, as the mode says.
func (m mode) respond(x *peer, body string) {
	x.tr.Helper()
	head, framed := m.framing.response(body)
	m.delivery.send(x, head+framed)
	if m.framing == untilClose {
		x.closeWrite()
	}
}

// kept reports whether the client's connection outlives such a response: it does if its end is marked by
// something that the client knows.
func (m mode) kept() bool {
	return m.client.keeps && (m.client.chunks || m.framing == byLength)
}

// wantResponse has a client read such a response, framed in the one way that suits both.
func (m mode) wantResponse(c *peer, body string) {
	c.tr.Helper()
	res := c.want(200, body)
	wantLength, wantChunks := int64(-1), m.framing != byLength && m.client.chunks
	if m.framing == byLength {
		wantLength = int64(len(body))
	}
	if res.ContentLength != wantLength || (len(res.TransferEncoding) > 0) != wantChunks {
		c.tr.Errorf("the response has Content-Length %d and Transfer-Encoding %q, want %d and chunked: %v",
			res.ContentLength, res.TransferEncoding, wantLength, wantChunks)
	}
	if res.Proto != "HTTP/1.1" {
		c.tr.Errorf("the response is %s, and a proxy speaks HTTP/1.1 (RFC 9110, 6.2)", res.Proto)
	}
	if keepAlive := strings.EqualFold(res.Header.Get("Connection"), "keep-alive"); keepAlive != (m.kept() && !m.client.chunks) {
		c.tr.Errorf("the response has Connection %q", res.Header.Get("Connection"))
	}
	if !m.kept() {
		c.wantEnd()
	}
}
