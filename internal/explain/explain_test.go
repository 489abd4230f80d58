package explain

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestRequests(t *testing.T) {
	for _, c := range []struct {
		line    string
		headers []string
		want    string
		scheme  string
		port    uint16
	}{
		{"http://a.example/p?q", nil, "GET /p?q HTTP/1.1\r\nHost: a.example\r\n\r\n", "http", 80},
		{"PUT HTTPS://a.example:8443?q", []string{"A: b", "A:c"}, "PUT /?q HTTP/1.1\r\nHost: a.example:8443\r\nA: b\r\nA:c\r\n\r\n", "https", 8443},
		{"GET https://[::1]/../%2F HTTP/1.0", nil, "GET /../%2F HTTP/1.0\r\nHost: [::1]\r\n\r\n", "https", 443},
		{"GET http://a.example/", []string{"host: b"}, "GET / HTTP/1.1\r\nhost: b\r\n\r\n", "http", 80},
		{"OPTIONS *", []string{"Host: b"}, "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n", "", 0},
		{"CONNECT a:443", []string{"Host: a:443"}, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "", 0},
	} {
		r, err := ParseRequest(c.line, c.headers)
		if err != nil || string(r.Bytes) != c.want || r.Scheme != c.scheme || r.Port != c.port {
			t.Errorf("%s: %q, %s, %d, %v", c.line, r.Bytes, r.Scheme, r.Port, err)
		}
	}
	for line, wrong := range map[string]string{
		"": "not a request", " ": "not a request", "GET": "", "GET a b c": "not a request", "GET\n/": "not a request",
		"http://a/#b": "fragment", "http://a:99999/": "no port", "GET  /": "not a request",
	} {
		if _, err := ParseRequest(line, nil); err == nil && wrong != "" || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Errorf("%q: %v, want %q", line, err, wrong)
		}
	}
	for _, h := range []string{"", "a", "a: b\r\nc: d", "a: b\n"} {
		if _, err := ParseRequest("/", []string{h}); err == nil {
			t.Errorf("%q is a header", h)
		}
	}
}

func TestResponses(t *testing.T) {
	for text, want := range map[string]string{
		"HTTP/1.1 200 OK\nA: b\n\nbo\ndy\n":                                           "HTTP/1.1 200 OK\r\nA: b\r\n\r\nbo\ndy\n",
		"HTTP/1.1 200 OK\r\n\r\nx\r\n":                                                "HTTP/1.1 200 OK\r\n\r\nx\r\n",
		"HTTP/1.1 200 OK":                                                             "HTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\nA: b\n":                                                     "HTTP/1.1 200 OK\r\nA: b\r\n\r\n",
		"HTTP/1.1 103 Hints\nLink: x\n\nHTTP/1.1 404 No\n":                            "HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 No\r\n\r\n",
		"HTTP/1.1 100 Continue\n\n":                                                   "HTTP/1.1 100 Continue\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nraw\n":                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nraw\n",
		"no response\n\nHTTP/1.1 100 x\n":                                             "no response\r\n\r\nHTTP/1.1 100 x\n",
		"HTTP/1.1 100 C\n\nHTTP/1.1 103 E\n\nHTTP/1.1 200 OK\nContent-Length: 1\n\nz": "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nz",
	} {
		if got, err := ParseResponse([]byte(text)); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if _, err := ParseResponse([]byte(" \r\n")); err != ErrEmpty {
		t.Errorf("blanks: %v", err)
	}
}

func TestClients(t *testing.T) {
	for s, want := range map[string]string{"192.0.2.1": "192.0.2.1:0", "2001:db8::1": "[2001:db8::1]:0", "192.0.2.1:5": "192.0.2.1:5", "[::1]:5": "[::1]:5"} {
		if got, err := ParseClient(s); err != nil || got != netip.MustParseAddrPort(want) {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "a", "fe80::1%eth0", "[fe80::1%eth0]:1", "1.2.3.4:"} {
		if got, err := ParseClient(s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestLines(t *testing.T) {
	lines, body := Lines([]byte("GET / HTTP/1.1\r\nA: b\r\n\r\nbody\r\n"))
	if !slices.Equal(lines, []string{"GET / HTTP/1.1", "A: b"}) || string(body) != "body\r\n" {
		t.Errorf("got %q, %q", lines, body)
	}
	if lines, body = Lines(nil); lines != nil || body != nil {
		t.Errorf("got %q, %q", lines, body)
	}
}
