package loop

import (
	"strings"
	"testing"
)

// A response that is malformed, or that two readers could understand differently, is not passed on. The client gets
// 502 as long as it has been sent nothing else, and its connection goes on; the server's is never used again.
func TestEachRuleOfSyntaxIsKeptByServers(t *testing.T) {
	head := func(fields string) string { return "HTTP/1.1 200 OK\r\n" + fields + "\r\n" }
	for _, rule := range []struct {
		clause    string
		responses []string
	}{
		{"RFC 9112, 4: status-line", []string{
			"HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n", "HTTP/1.1 +20 OK\r\n\r\n",
			"HTTP/1.1  200 OK\r\n\r\n", "HTTP/1.1\t200 OK\r\n\r\n", "HTTP/1.1 200OK\r\n\r\n", "HTTP/1.1 OK\r\n\r\n", "HTTP/1.1\r\n\r\n", " HTTP/1.1 200 OK\r\n\r\n",
			"\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 O\x00K\r\n\r\n", "HTTP/1.1 200 O\rK\r\n\r\n", "ICY 200 OK\r\n\r\n", "<html>", "http/1.1 200 OK\r\n\r\n",
		}},
		{"RFC 9112, 2.3: a version that is spoken", []string{"HTTP/2 200 OK\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.2 200 OK\r\n\r\n", "HTTP/0.9 200 OK\r\n\r\n", "HTTP/1.10 200 OK\r\n\r\n"}},
		{"RFC 9112, 2.2: a line ends with CRLF", []string{"HTTP/1.1 200 OK\n\n", "HTTP/1.1 200 OK\r\nX: y\n\r\n", "HTTP/1.1 200 OK\r\nX: y\r\n\n", "HTTP/1.1 200 OK\rX: y\r\n\r\n"}},
		{"RFC 9112, 5: fields", []string{
			head("X : y\r\n"), head("X\r\n"), head(": y\r\n"), head("X y: z\r\n"), head(" X: y\r\n"), head("X: y\r\n z\r\n"), head("X: y\x00\r\n"), head("X: y\rz\r\n"),
			head("X: y\x7f\r\n"), head("X: y\r\r\n"), head("X\xe9: y\r\n"),
		}},
		{"RFC 9112, 6.3: one framing", []string{
			head("Content-Length: 5\r\nContent-Length: 5\r\n") + "hello", head("Content-Length: 5\r\nContent-Length: 6\r\n") + "hello", head("Content-Length: 5, 5\r\n") + "hello",
			head("Content-Length: +5\r\n") + "hello", head("Content-Length: -1\r\n"), head("Content-Length: 0x5\r\n") + "hello", head("Content-Length:\r\n"),
			head("Content-Length: 18446744073709551621\r\n") + "hello", head("Content-Length: 5 5\r\n"), head("Content-Length: 05\r\n") + "hello",
			head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", head("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") + "0\r\n\r\n",
			head("Transfer-Encoding: chunked, chunked\r\n") + "0\r\n\r\n", head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n",
			head("Transfer-Encoding: gzip, chunked\r\n") + "0\r\n\r\n", head("Transfer-Encoding: identity\r\n"), head("Transfer-Encoding: xchunked\r\n"), head("Transfer-Encoding: chunked;a\r\n"),
			"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", head("Content_Length: 5\r\nContent-Length: 6\r\n") + "hello!", head("Transfer.Encoding: chunked\r\n"),
			"HTTP/1.1 304 \r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 204 \r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		}},
		{"RFC 9110, 15.2 and 8.6, RFC 9112, 6.1: interim responses have no content, and come to an end", []string{
			"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello",
			"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		}},
		{"RFC 9112, 3: a head that is too large", []string{
			head("X: " + strings.Repeat("x", 2000) + "\r\n"), head(strings.Repeat("X: y\r\n", 70)), "HTTP/1.1 200 " + strings.Repeat("x", 2000) + "\r\n\r\n",
		}},
	} {
		t.Run(rule.clause, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{limits: Limits{HeaderBytes: 1000, HeaderFields: 64}}, o)
			c := p.dial()
			for _, response := range rule.responses {
				c.send(get("/"))
				x := o.accept()
				x.wantRequest("GET /", "")
				x.Write([]byte(response + ok("smuggled"))) // the proxy may close before it has all of it
				c.wantError("GET", 502)
				x.wantGone()
			}
			c.send(get("/"))
			x := o.accept()
			x.wantRequest("GET /", "")
			x.send(ok("fine"))
			c.want(200, "fine")
		})
	}
}

// RFC 9112, 6.3 (1): whatever such a response says, and whatever comes behind it, is no content. It is not passed on,
// and does not answer what is asked next.
func TestWhatComesBehindAResponseWithoutContentAnswersNothing(t *testing.T) {
	for _, test := range []struct{ name, method, head, behind string }{
		{"204", "GET", "HTTP/1.1 204 \r\n\r\n", "x"},
		{"204, announced", "GET", "HTTP/1.1 204 \r\nContent-Length: 40\r\n\r\n", ok("smuggled")},
		{"204, announced for later", "GET", "HTTP/1.1 204 \r\nContent-Length: 40\r\n\r\n", ""},
		{"204 in chunks for later", "GET", "HTTP/1.1 204 \r\nTransfer-Encoding: chunked\r\n\r\n", ""},
		{"304", "GET", "HTTP/1.1 304 \r\nContent-Length: 40\r\n\r\n", ok("smuggled")},
		{"304 in chunks", "GET", "HTTP/1.1 304 \r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n0\r\n\r\n"},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n", ok("smuggled")},
		{"HEAD in chunks", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\n\r\n"},
		{"a length of none", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ok("smuggled")},
	} {
		t.Run(test.name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{}, o)
			c := p.dial()
			c.send(test.method + " /1 HTTP/1.1\r\nHost: a\r\n\r\n")
			x := o.accept()
			x.wantRequest(test.method+" /1", "")
			x.send(test.head + test.behind)
			res, body, err := c.readResponse(test.method)
			if err != nil || body != "" || res.Close {
				t.Fatalf("got %v %q %v", res, body, err)
			}
			x.wantGone()
			c.send(get("/2"))
			x = o.accept()
			x.wantRequest("GET /2", "")
			x.send(ok("2"))
			c.want(200, "2")
			c.wantNothing()
		})
	}
	t.Run("204 that says it has none is as good as any", func(t *testing.T) {
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
			x.send("HTTP/1.1 204 \r\nContent-Length: 0\r\n\r\n")
			c.want(204, "")
		}
	})
}
