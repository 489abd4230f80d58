package remap

import (
	"fmt"
	"strings"
	"testing"

	"millrace/httpparse"
)

var chunked = httpparse.Framing{Kind: httpparse.BodyChunked}

func length(n int64) httpparse.Framing {
	return httpparse.Framing{Kind: httpparse.BodyLength, Length: n}
}

func TestAppendRequest(t *testing.T) {
	// What every request for host h from 192.0.2.7 gets.
	const (
		from = "X-Forwarded-For: 192.0.2.7"
		http = "X-Forwarded-Proto: http"
		xh   = "X-Host: h"
		xfh  = "X-Forwarded-Host: h"
	)
	for _, tt := range []struct {
		name  string
		in    string
		facts RequestFacts
		want  string
	}{
		{
			"the host comes first, the client's fields keep their order and spelling",
			head("GET /p?q HTTP/1.1", "accept:  a", "X-A:1 ", "Host: h", "x-a: 2", "Empty:"),
			RequestFacts{},
			head("GET /p?q HTTP/1.1", "Host: h", "accept:  a", "X-A:1 ", "x-a: 2", "Empty:", from, http, xh, xfh),
		},
		{
			"no fields",
			head("GET / HTTP/1.1", "Host: h"),
			RequestFacts{},
			head("GET / HTTP/1.1", "Host: h", from, http, xh, xfh),
		},
		{
			"an unknown method and a target that is not normal pass",
			head("BREW /a//../%2e?//.. HTTP/1.1", "Host: h"),
			RequestFacts{},
			head("BREW /a//../%2e?//.. HTTP/1.1", "Host: h", from, http, xh, xfh),
		},
		{
			"the absolute form becomes the origin form, and its authority the host",
			head("GET http://h/p?q HTTP/1.1", "Host: other"),
			RequestFacts{},
			head("GET /p?q HTTP/1.1", "Host: h", from, http, xh, xfh),
		},
		{
			"the absolute form without a path",
			head("GET http://h HTTP/1.1", "Host: h"),
			RequestFacts{},
			head("GET / HTTP/1.1", "Host: h", from, http, xh, xfh),
		},
		{
			"the absolute form with nothing but a query",
			head("GET http://h?q=/ HTTP/1.1", "Host: h"),
			RequestFacts{},
			head("GET /?q=/ HTTP/1.1", "Host: h", from, http, xh, xfh),
		},
		{
			"the asterisk form",
			head("OPTIONS * HTTP/1.1", "Host: h"),
			RequestFacts{},
			head("OPTIONS * HTTP/1.1", "Host: h", from, http, xh, xfh),
		},
		{
			"the asterisk form as a proxy is sent it",
			head("OPTIONS http://h HTTP/1.1", "Host: h"),
			RequestFacts{},
			head("OPTIONS * HTTP/1.1", "Host: h", from, http, xh, xfh),
		},
		{
			"OPTIONS for the root",
			head("OPTIONS http://h/ HTTP/1.1", "Host: h"),
			RequestFacts{},
			head("OPTIONS / HTTP/1.1", "Host: h", from, http, xh, xfh),
		},
		{
			"HTTP/1.0 with a host becomes HTTP/1.1",
			head("GET / HTTP/1.0", "Host: h", "Connection: keep-alive"),
			RequestFacts{},
			head("GET / HTTP/1.1", "Host: h", from, http, xh, xfh),
		},
		{
			"a request for no host stays HTTP/1.0",
			head("GET / HTTP/1.0", "X-Host: h", "X-Forwarded-Host: h", "X-A: 1", "TE: trailers"),
			RequestFacts{},
			head("GET / HTTP/1.0", "X-A: 1", from, http, "Connection: close"),
		},
		{
			"an HTTP/1.0 client expects nothing",
			head("POST / HTTP/1.0", "Host: h", "Expect: 100-continue", "Content-Length: 5"),
			RequestFacts{Body: length(5)},
			head("POST / HTTP/1.1", "Host: h", from, http, xh, xfh, "Content-Length: 5"),
		},
		{
			"an HTTP/1.0 client takes no trailers",
			head("GET / HTTP/1.0", "Host: h", "TE: trailers"),
			RequestFacts{},
			head("GET / HTTP/1.1", "Host: h", from, http, xh, xfh),
		},
		{
			"hop-by-hop fields stay behind",
			head("GET / HTTP/1.1", "Connection: keep-alive", "Host: h", "Keep-Alive: 5", "Proxy-Connection: x", "X-A: 1",
				"Upgrade: websocket", "Proxy: evil", "Trailer: X-T", "TE: gzip", "X-B: 2"),
			RequestFacts{},
			head("GET / HTTP/1.1", "Host: h", "X-A: 1", "X-B: 2", from, http, xh, xfh),
		},
		{
			"what a Connection field names stays behind",
			head("GET / HTTP/1.1", "Host: h", "X-A: 1", "Connection: x-a, close", "x-b: 2", "X-C: 3", "CONNECTION: ,X-C",
				"HTTP2-Settings: x"),
			RequestFacts{},
			head("GET / HTTP/1.1", "Host: h", "x-b: 2", "HTTP2-Settings: x", from, http, xh, xfh),
		},
		{
			"a Connection field cannot take away what is for the server",
			head("POST / HTTP/1.1", "Host: h", "Content-Length: 5", "Authorization: a", "Cookie: c", "X-Forwarded-For: 1",
				"X-Forwarded-User: u", "X-Real-IP: 1", "Forwarded: for=1", "Via: v", "Content-Type: t", "Expect: 100-continue",
				"X-Forwarded-Whatever-It-Is-That-Someone-Wrote: 1", "Max-Forwards: 1", "Proxy-Authorization: p",
				"Connection: host, content-length, authorization, cookie, x-forwarded-for, x-forwarded-user, x-real-ip",
				"Connection: forwarded, via, content-type, x-forwarded-proto, expect, max-forwards, proxy-authorization",
				"Connection: x-forwarded-whatever-it-is-that-someone-wrote"),
			RequestFacts{Body: length(5)},
			head("POST / HTTP/1.1", "Host: h", "Authorization: a", "Cookie: c", "X-Forwarded-User: u", "X-Real-IP: 1",
				"Forwarded: for=1", "Via: v", "Content-Type: t", "Expect: 100-continue",
				"X-Forwarded-Whatever-It-Is-That-Someone-Wrote: 1", "Max-Forwards: 1", "Proxy-Authorization: p",
				"X-Forwarded-For: 1, 192.0.2.7", http, xh, xfh, "Content-Length: 5"),
		},
		{
			"X-Forwarded-For is appended to, over all its lines",
			head("GET / HTTP/1.1", "X-Forwarded-For: 7.7.7.7, 2001:db8::1", "Host: h", "x-forwarded-for: unknown", "X-Forwarded-For:"),
			RequestFacts{},
			head("GET / HTTP/1.1", "Host: h", "X-Forwarded-For: 7.7.7.7, 2001:db8::1, unknown, 192.0.2.7", http, xh, xfh),
		},
		{
			"the other forwarding fields are overwritten",
			head("GET / HTTP/1.1", "Host: h", "X-Forwarded-Proto: https", "X-Host: evil", "X-Forwarded-Host: evil", "X-Host: e"),
			RequestFacts{},
			head("GET / HTTP/1.1", "Host: h", from, http, xh, xfh),
		},
		{
			"a client on a unix socket has no address",
			head("GET / HTTP/1.1", "Host: h", "X-Forwarded-For: 7.7.7.7"),
			RequestFacts{ClientAddr: []byte("unix:")},
			head("GET / HTTP/1.1", "Host: h", "X-Forwarded-For: 7.7.7.7", http, xh, xfh),
		},
		{
			"nobody has an address",
			head("GET / HTTP/1.1", "Host: h", "X-Forwarded-For:"),
			RequestFacts{ClientAddr: []byte("unix:")},
			head("GET / HTTP/1.1", "Host: h", http, xh, xfh),
		},
		{
			"https",
			head("GET / HTTP/1.1", "Host: h"),
			RequestFacts{Proto: "https"},
			head("GET / HTTP/1.1", "Host: h", from, "X-Forwarded-Proto: https", xh, xfh),
		},
		{
			"a body of a length",
			head("PUT / HTTP/1.1", "Host: h", "Content-Length: 005", "X-A: 1"),
			RequestFacts{Body: length(5)},
			head("PUT / HTTP/1.1", "Host: h", "X-A: 1", from, http, xh, xfh, "Content-Length: 5"),
		},
		{
			"a body in chunks",
			head("PUT / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", "Trailer: X-T", "X-A: 1"),
			RequestFacts{Body: chunked},
			head("PUT / HTTP/1.1", "Host: h", "Trailer: X-T", "X-A: 1", from, http, xh, xfh, "Transfer-Encoding: chunked"),
		},
		{
			"a body in chunks that has got a length",
			head("PUT / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", "Trailer: X-T"),
			RequestFacts{Body: length(7)},
			head("PUT / HTTP/1.1", "Host: h", from, http, xh, xfh, "Content-Length: 7"),
		},
		{
			"no body where one is expected",
			head("POST / HTTP/1.1", "Host: h"),
			RequestFacts{},
			head("POST / HTTP/1.1", "Host: h", from, http, xh, xfh, "Content-Length: 0"),
		},
		{
			"no body and said so",
			head("DELETE / HTTP/1.1", "Host: h", "Content-Length: 0"),
			RequestFacts{},
			head("DELETE / HTTP/1.1", "Host: h", from, http, xh, xfh, "Content-Length: 0"),
		},
		{
			"no body and no word of it",
			head("DELETE / HTTP/1.1", "Host: h"),
			RequestFacts{},
			head("DELETE / HTTP/1.1", "Host: h", from, http, xh, xfh),
		},
		{
			"trailers are accepted",
			head("GET / HTTP/1.1", "Host: h", "Connection: te", "TE: Trailers", "X-A: 1"),
			RequestFacts{},
			head("GET / HTTP/1.1", "Host: h", "X-A: 1", from, http, xh, xfh, "TE: trailers", "Connection: TE"),
		},
		{
			"trailers are accepted, and the connection closes",
			head("GET / HTTP/1.1", "Host: h", "TE: trailers"),
			RequestFacts{Close: true},
			head("GET / HTTP/1.1", "Host: h", from, http, xh, xfh, "TE: trailers", "Connection: close, TE"),
		},
		{
			"trailers and something else",
			head("GET / HTTP/1.1", "Host: h", "TE: trailers, gzip"),
			RequestFacts{},
			head("GET / HTTP/1.1", "Host: h", from, http, xh, xfh),
		},
		{
			"trailers and something else in another line",
			head("GET / HTTP/1.1", "Host: h", "TE: gzip", "TE: trailers"),
			RequestFacts{},
			head("GET / HTTP/1.1", "Host: h", from, http, xh, xfh),
		},
		{
			"the connection closes",
			head("GET / HTTP/1.1", "Host: h"),
			RequestFacts{Close: true},
			head("GET / HTTP/1.1", "Host: h", from, http, xh, xfh, "Connection: close"),
		},
		{
			"the client's close is the client's",
			head("GET / HTTP/1.1", "Host: h", "Connection: close"),
			RequestFacts{},
			head("GET / HTTP/1.1", "Host: h", from, http, xh, xfh),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.facts.Proto == "" {
				tt.facts.Proto = "http"
			}
			if tt.facts.ClientAddr == nil {
				tt.facts.ClientAddr = []byte("192.0.2.7")
			}
			r := parseRequest(t, tt.in)
			checkHead(t, string(AppendRequest(nil, []byte(tt.in), r, &tt.facts)), tt.want)
			// The head may be followed by the body in the buffer.
			checkHead(t, string(AppendRequest(nil, []byte(tt.in+"body\r\n\r\n"), r, &tt.facts)), tt.want)
		})
	}
}

func TestMoreNamesThanAreLookedFor(t *testing.T) {
	var names []string
	for i := range maxNames {
		names = append(names, fmt.Sprintf("x-%d", i))
	}
	list := strings.Join(names, ", ,")
	for _, tt := range []struct {
		name, list string
		kept       []string
	}{
		{"as many as there is room for", list, []string{"Y: 1", "Cookie: c", "Z: 1"}},
		{"one more", list + ", z", []string{"Cookie: c"}},
		{"one more, anything", list + ",a", []string{"Cookie: c"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := head("GET / HTTP/1.1", "Host: h", "X-0: 1", "Connection: "+tt.list, "Y: 1", "Cookie: c", "Z: 1", "X-31: 1")
			out := string(AppendRequest(nil, []byte(in), parseRequest(t, in), &RequestFacts{Proto: "http"}))
			lines := append([]string{"GET / HTTP/1.1", "Host: h"}, tt.kept...)
			checkHead(t, out, head(append(lines, "X-Forwarded-Proto: http", "X-Host: h", "X-Forwarded-Host: h")...))
		})
	}
}
