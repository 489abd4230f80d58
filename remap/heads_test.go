package remap

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"millrace/httpparse"
)

// head joins lines to a head.
func head(lines ...string) string {
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// The heads that benchmarks and allocation tests go by.
var (
	curlHead = head("GET /index.html HTTP/1.1",
		"Host: www.example.org",
		"User-Agent: curl/8.14.1",
		"Accept: */*")
	browserHead = head("GET /news/2026/11/some-article.html?utm_source=feed HTTP/1.1",
		"Host: www.example.org",
		"Connection: keep-alive",
		`sec-ch-ua: "Chromium";v="142", "Not_A Brand";v="99"`,
		"sec-ch-ua-mobile: ?0",
		`sec-ch-ua-platform: "Linux"`,
		"Upgrade-Insecure-Requests: 1",
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
		"Sec-Fetch-Site: same-origin",
		"Sec-Fetch-Mode: navigate",
		"Sec-Fetch-User: ?1",
		"Sec-Fetch-Dest: document",
		"Referer: https://www.example.org/news/",
		"Accept-Encoding: gzip, deflate, br, zstd",
		"Accept-Language: en-GB,en;q=0.9,de;q=0.8",
		"Cookie: session=0f8fad5b-d9cb-469f-a165-70867728950e; theme=dark; consent=1")
	nginxHead = head("HTTP/1.1 200 OK",
		"Server: nginx/1.31.0",
		"Date: Sat, 21 Nov 2026 08:00:00 GMT",
		"Content-Type: text/html",
		"Content-Length: 615",
		"Last-Modified: Fri, 20 Nov 2026 17:11:00 GMT",
		"Connection: keep-alive",
		`ETag: "65a7f1b4-267"`,
		"Accept-Ranges: bytes")
)

func parseRequest(t testing.TB, text string) *httpparse.Request {
	t.Helper()
	r := new(httpparse.Request)
	r.Fields = make([]httpparse.Field, 0, 64)
	n, err := httpparse.ParseRequest([]byte(text), 0, r)
	if err != nil || n != len(text) {
		t.Fatalf("%q: %d bytes, %v", text, n, err)
	}
	return r
}

func parseResponse(t testing.TB, text string) *httpparse.Response {
	t.Helper()
	r := new(httpparse.Response)
	r.Fields = make([]httpparse.Field, 0, 64)
	n, err := httpparse.ParseResponse([]byte(text), 0, r)
	if err != nil || n != len(text) {
		t.Fatalf("%q: %d bytes, %v", text, n, err)
	}
	return r
}

// checkHead compares heads and shows them readably.
func checkHead(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", strings.ReplaceAll(got, "\r", ""), strings.ReplaceAll(want, "\r", ""))
	}
}

func TestHeadsDoNotAllocate(t *testing.T) {
	dst := make([]byte, 0, 4096)
	addr := []byte("192.0.2.7")
	requests := []string{
		curlHead, browserHead,
		head("POST /x HTTP/1.1", "Host: h", "Connection: x-a, te, cookie", "X-A: 1", "Cookie: c", "TE: trailers", "X-Forwarded-For: a"),
	}
	for _, text := range requests {
		r, buf := parseRequest(t, text), []byte(text)
		f := RequestFacts{ClientAddr: addr, Proto: "http", Body: httpparse.Framing{Kind: httpparse.BodyLength, Length: 1 << 40}}
		if n := testing.AllocsPerRun(100, func() { AppendRequest(dst, buf, r, &f) }); n != 0 {
			t.Errorf("%v allocations for %q", n, text)
		}
	}
	responses := []string{
		nginxHead,
		head("HTTP/1.0 200 OK", "Connection: x-a, close", "X-A: 1", "Content-Length: 0615", "Transfer-Encoding: chunked"),
	}
	for _, text := range responses {
		r, buf := parseResponse(t, text), []byte(text)
		f := ResponseFacts{Body: httpparse.Framing{Kind: httpparse.BodyLength, Length: 615}, Close: true}
		if n := testing.AllocsPerRun(100, func() { AppendResponse(dst, buf, r, &f) }); n != 0 {
			t.Errorf("%v allocations for %q", n, text)
		}
	}
	trailer := []byte("X-Checksum: 1\r\nContent-Length: 5\r\n\r\n")
	fields, _, err := httpparse.ParseTrailer(trailer, 0, make([]httpparse.Field, 0, 8))
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { AppendTrailer(dst, trailer, fields) }); n != 0 {
		t.Errorf("%v allocations for a trailer section", n)
	}
	table := benchTable()
	in := incoming(0, "WWW.Example.org:8080", "")
	normal, other := []byte("/a/b"), []byte("/a//%62/../x.do")
	scratch := make([]byte, 64)
	if n := testing.AllocsPerRun(100, func() {
		for _, path := range [][]byte{normal, other} {
			in.Path, _ = NormalPath(scratch, path)
			table.Match(in)
		}
	}); n != 0 {
		t.Errorf("%v allocations for routing", n)
	}
}

// TestDstIsAppendedTo: what dst holds stays, and nothing is written beyond what is appended.
func TestDstIsAppendedTo(t *testing.T) {
	backing := bytes.Repeat([]byte{0xaa}, 4096)
	dst := backing[:5]
	out := AppendRequest(dst, []byte(curlHead), parseRequest(t, curlHead), &RequestFacts{Proto: "http"})
	end := len(out)
	if !bytes.HasPrefix(out, []byte("\xaa\xaa\xaa\xaa\xaaGET ")) {
		t.Errorf("%q", out)
	}
	out = AppendResponse(out, []byte(nginxHead), parseResponse(t, nginxHead), &ResponseFacts{})
	if !bytes.HasPrefix(out[end:], []byte("HTTP/1.1 200 OK\r\n")) {
		t.Errorf("%q", out[end:])
	}
	for i, c := range backing[len(out):] {
		if c != 0xaa {
			t.Fatalf("byte %d behind the end was written to", i)
		}
	}
}

func benchTable() *Table {
	return New([]Rule{
		{Hosts: []string{"static.example.org"}},
		{Hosts: []string{"*.example.net", "example.net"}},
		{Hosts: []string{"www.example.org"}, Path: "/api"},
		{Hosts: []string{"www.example.org"}, Path: "/admin"},
		{Hosts: []string{"shop.*"}},
		{Path: "/images"},
		{Path: "/downloads"},
		{Extension: ".jsp"},
		{Prefix: "/old"},
		{Hosts: []string{"*.example.org"}},
	})
}

func BenchmarkMatch(b *testing.B) {
	many := func(n int) []Rule {
		var rules []Rule
		for i := range n {
			rules = append(rules, Rule{Hosts: []string{fmt.Sprintf("%d.example.org", i/10)}, Path: fmt.Sprintf("/%d", i)})
		}
		return append(rules, Rule{})
	}
	for _, bb := range []struct {
		name  string
		table *Table
		want  int
	}{
		{"one", New([]Rule{{Path: "/"}}), 0},
		{"mixed", benchTable(), 9},
		{"10", New(many(9)), 9},
		{"10000", New(many(9999)), 9999},
		{"10000 paths", func() *Table {
			rules := make([]Rule, 9999)
			for i := range rules {
				rules[i].Path = fmt.Sprintf("/news/2026/%d", i)
			}
			return New(append(rules, Rule{}))
		}(), 9999},
	} {
		b.Run(bb.name, func(b *testing.B) {
			in := incoming(0, "www.example.org", "/news/2026/11x/some-article.html")
			b.ReportAllocs()
			for b.Loop() {
				if i, _ := bb.table.Match(in); i != bb.want {
					b.Fatal(i)
				}
			}
		})
	}
}

func BenchmarkNormalPath(b *testing.B) {
	for _, bb := range []struct{ name, path string }{
		{"root", "/"},
		{"normal", "/news/2026/11/some-article.html"},
		{"escapes", "/news/2026/11/some%20article.html"},
		{"dots", "/news/2026/./11//old/../some-article.html"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			path, scratch := []byte(bb.path), make([]byte, 256)
			b.ReportAllocs()
			for b.Loop() {
				NormalPath(scratch, path)
			}
		})
	}
}

func BenchmarkAppendRequest(b *testing.B) {
	for _, bb := range []struct{ name, text string }{{"curl", curlHead}, {"browser", browserHead}} {
		b.Run(bb.name, func(b *testing.B) {
			r, buf, dst := parseRequest(b, bb.text), []byte(bb.text), make([]byte, 0, 4096)
			f := RequestFacts{ClientAddr: []byte("192.0.2.7"), Proto: "http"}
			b.ReportAllocs()
			for b.Loop() {
				AppendRequest(dst, buf, r, &f)
			}
		})
	}
}

// BenchmarkAppendRequestWorst is a head made to keep us busy: as many names in Connection as are taken, or 32 KiB of none,
// and as many fields to compare them with as there may be.
func BenchmarkAppendRequestWorst(b *testing.B) {
	lines := []string{"GET / HTTP/1.1", "Host: h"}
	for i := range 60 {
		lines = append(lines, fmt.Sprintf("%02d:", i))
	}
	for _, bb := range []struct{ name, names string }{
		{"as many names as are looked for", strings.Repeat("ab,", maxNames)},
		{"no names", "x" + strings.Repeat(",", 30000)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			text := head(append(lines, "Connection: "+bb.names)...)
			r, buf, dst := parseRequest(b, text), []byte(text), make([]byte, 0, 1<<16)
			f := RequestFacts{ClientAddr: []byte("192.0.2.7"), Proto: "http"}
			for b.Loop() {
				AppendRequest(dst, buf, r, &f)
			}
		})
	}
}

func BenchmarkAppendResponse(b *testing.B) {
	for _, bb := range []struct {
		name string
		body httpparse.Framing
	}{
		{"as it is", httpparse.Framing{Kind: httpparse.BodyLength, Length: 615}},
		{"to chunked", httpparse.Framing{Kind: httpparse.BodyChunked}},
	} {
		b.Run("nginx "+bb.name, func(b *testing.B) {
			r, buf, dst := parseResponse(b, nginxHead), []byte(nginxHead), make([]byte, 0, 4096)
			f := ResponseFacts{Body: bb.body}
			b.ReportAllocs()
			for b.Loop() {
				AppendResponse(dst, buf, r, &f)
			}
		})
	}
}
