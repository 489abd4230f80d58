package remap

import (
	"testing"

	"millrace/httpparse"
)

func TestAppendResponse(t *testing.T) {
	untilClose := httpparse.Framing{Kind: httpparse.BodyUntilClose}
	for _, tt := range []struct {
		name  string
		in    string
		facts ResponseFacts
		want  string
	}{
		{
			"nothing to change",
			head("HTTP/1.1 200 OK", "server: s", "Content-Length: 5", "Set-Cookie: a", "Set-Cookie:b ", "Empty:"),
			ResponseFacts{Body: length(5)},
			head("HTTP/1.1 200 OK", "server: s", "Content-Length: 5", "Set-Cookie: a", "Set-Cookie:b ", "Empty:"),
		},
		{
			"the version is ours, status and reason the server's",
			head("HTTP/1.0 503 Nope, not now", "Content-Length: 0"),
			ResponseFacts{Body: length(0)},
			head("HTTP/1.1 503 Nope, not now", "Content-Length: 0"),
		},
		{
			"no reason",
			head("HTTP/1.1 299 ", "Content-Length: 0"),
			ResponseFacts{Body: length(0)},
			head("HTTP/1.1 299 ", "Content-Length: 0"),
		},
		{
			"no fields",
			head("HTTP/1.1 204 No Content"),
			ResponseFacts{},
			head("HTTP/1.1 204 No Content"),
		},
		{
			"hop-by-hop fields stay behind",
			head("HTTP/1.1 200 OK", "Connection: close, X-A", "A: 1", "Keep-Alive: 5", "Proxy-Connection: x", "Upgrade: h2c",
				"B: 2", "X-A: 1", "Transfer-Encoding: chunked", "TE: x", "Trailer: T"),
			ResponseFacts{Body: untilClose},
			head("HTTP/1.1 200 OK", "A: 1", "B: 2"),
		},
		{
			"a Connection field cannot take away what is for the client",
			head("HTTP/1.1 200 OK", "Connection: content-length, set-cookie, cache-control, x-a, strict-transport-security",
				"Content-Length: 5", "Set-Cookie: a", "Cache-Control: private", "X-A: 1", "Strict-Transport-Security: x"),
			ResponseFacts{Body: length(5)},
			head("HTTP/1.1 200 OK", "Content-Length: 5", "Set-Cookie: a", "Cache-Control: private", "Strict-Transport-Security: x"),
		},
		{
			"a proxy's challenge",
			head("HTTP/1.1 407 Proxy Authentication Required", "Proxy-Authenticate: Basic", "Content-Length: 0"),
			ResponseFacts{Body: length(0)},
			head("HTTP/1.1 407 Proxy Authentication Required", "Proxy-Authenticate: Basic", "Content-Length: 0"),
		},
		{
			"a proxy's challenge that is none",
			head("HTTP/1.1 401 Unauthorized", "Proxy-Authenticate: Basic", "WWW-Authenticate: Basic", "Content-Length: 0"),
			ResponseFacts{Body: length(0)},
			head("HTTP/1.1 401 Unauthorized", "WWW-Authenticate: Basic", "Content-Length: 0"),
		},
		{
			"chunks stay chunks, and announced trailers announced",
			head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Trailer: T", "A: 1"),
			ResponseFacts{Body: chunked},
			head("HTTP/1.1 200 OK", "Trailer: T", "A: 1", "Transfer-Encoding: chunked"),
		},
		{
			"a body until the end of the connection gets chunks",
			head("HTTP/1.0 200 OK", "A: 1"),
			ResponseFacts{Body: chunked},
			head("HTTP/1.1 200 OK", "A: 1", "Transfer-Encoding: chunked"),
		},
		{
			"chunks for an HTTP/1.0 client",
			head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"),
			ResponseFacts{Body: untilClose, Close: true},
			head("HTTP/1.1 200 OK", "Connection: close"),
		},
		{
			"a length that does not hold any more",
			head("HTTP/1.1 200 OK", "A: 1", "Content-Length: 5", "B: 2"),
			ResponseFacts{Body: chunked},
			head("HTTP/1.1 200 OK", "A: 1", "B: 2", "Transfer-Encoding: chunked"),
		},
		{
			"another length",
			head("HTTP/1.1 200 OK", "A: 1", "Content-Length: 5", "B: 2"),
			ResponseFacts{Body: length(6)},
			head("HTTP/1.1 200 OK", "A: 1", "B: 2", "Content-Length: 6"),
		},
		{
			"the same length in other words",
			head("HTTP/1.1 200 OK", "A: 1", "Content-Length: 005", "B: 2"),
			ResponseFacts{Body: length(5)},
			head("HTTP/1.1 200 OK", "A: 1", "B: 2", "Content-Length: 5"),
		},
		{
			"a length where there was none",
			head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"),
			ResponseFacts{Body: length(6)},
			head("HTTP/1.1 200 OK", "Content-Length: 6"),
		},
		{
			"the length of what HEAD does not send",
			head("HTTP/1.1 200 OK", "Content-Length: 5"),
			ResponseFacts{},
			head("HTTP/1.1 200 OK", "Content-Length: 5"),
		},
		{
			"the length of what was not modified",
			head("HTTP/1.1 304 Not Modified", "Content-Length: 5"),
			ResponseFacts{},
			head("HTTP/1.1 304 Not Modified", "Content-Length: 5"),
		},
		{
			"an answer to HEAD that would be in chunks",
			head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"),
			ResponseFacts{},
			head("HTTP/1.1 200 OK"),
		},
		{
			"no length with 204",
			head("HTTP/1.1 204 No Content", "Content-Length: 0", "A: 1"),
			ResponseFacts{},
			head("HTTP/1.1 204 No Content", "A: 1"),
		},
		{
			"an interim response",
			head("HTTP/1.1 103 Early Hints", "Link: </a>", "Content-Length: 0", "Connection: close"),
			ResponseFacts{},
			head("HTTP/1.1 103 Early Hints", "Link: </a>"),
		},
		{
			"the connection closes",
			head("HTTP/1.1 200 OK", "Content-Length: 0", "Connection: keep-alive"),
			ResponseFacts{Body: length(0), Close: true, KeepAlive: true},
			head("HTTP/1.1 200 OK", "Content-Length: 0", "Connection: close"),
		},
		{
			"the connection stays",
			head("HTTP/1.1 200 OK", "Content-Length: 0", "Connection: close"),
			ResponseFacts{Body: length(0), KeepAlive: true},
			head("HTTP/1.1 200 OK", "Content-Length: 0", "Connection: keep-alive"),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := parseResponse(t, tt.in)
			checkHead(t, string(AppendResponse(nil, []byte(tt.in), r, &tt.facts)), tt.want)
			checkHead(t, string(AppendResponse(nil, []byte(tt.in+"body\r\n\r\n"), r, &tt.facts)), tt.want)
		})
	}
}
