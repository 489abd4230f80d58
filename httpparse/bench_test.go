package httpparse_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"millrace/httpparse"
)

// Heads as they are on the wire, for the benchmarks and the tests of allocations.
const (
	curlRequest = "GET /index.html HTTP/1.1\r\n" +
		"Host: www.example.org\r\n" +
		"User-Agent: curl/8.14.1\r\n" +
		"Accept: */*\r\n\r\n"

	browserRequest = "GET /articles/2026/11/a-walk-through-the-mill?ref=home&lang=en HTTP/1.1\r\n" +
		"Host: www.example.org\r\n" +
		"Connection: keep-alive\r\n" +
		"Cache-Control: max-age=0\r\n" +
		"Upgrade-Insecure-Requests: 1\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
		"Sec-Fetch-Site: same-origin\r\n" +
		"Sec-Fetch-Mode: navigate\r\n" +
		"Referer: http://www.example.org/articles/\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n" +
		"Cookie: sid=3f9a1c7e5b2d48609f1e2d3c4b5a6978; theme=dark\r\n\r\n"

	nginxResponse = "HTTP/1.1 200 OK\r\n" +
		"Server: nginx/1.31.0\r\n" +
		"Date: Sat, 21 Nov 2026 08:00:00 GMT\r\n" +
		"Content-Type: text/html; charset=utf-8\r\n" +
		"Content-Length: 1024\r\n" +
		"Last-Modified: Fri, 20 Nov 2026 10:00:00 GMT\r\n" +
		"Connection: keep-alive\r\n" +
		"ETag: \"691ee6e0-400\"\r\n" +
		"Accept-Ranges: bytes\r\n\r\n"
)

func BenchmarkRequest(b *testing.B) {
	for _, bench := range []struct{ name, head string }{
		{"curl", curlRequest},
		{"browser", browserRequest},
	} {
		b.Run(bench.name, func(b *testing.B) {
			buf := []byte(bench.head)
			r := httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 128)}}
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := httpparse.ParseRequest(buf, 0, &r); err != nil {
					b.Fatal(err)
				}
				if _, err := httpparse.RequestFraming(buf, &r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRequestDribbled is a request that arrives byte by byte, and is asked about each time: the price of a
// client that sends slowly on purpose. A byte costs the same however long the head is.
func BenchmarkRequestDribbled(b *testing.B) {
	long := strings.Repeat("x", 16<<10)
	for _, bench := range []struct{ name, head string }{
		{"browser", browserRequest},
		{"long target", "GET /" + long + " HTTP/1.1\r\nHost: h\r\n\r\n"},
		{"long target and value", "GET /" + long + " HTTP/1.1\r\nHost: h\r\nA: " + long + "\r\n\r\n"},
		{"many fields", "GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("a:\r\n", 4<<10) + "\r\n"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			buf := []byte(bench.head)
			r := httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 5<<10)}}
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				for end := 1; end < len(buf); end++ {
					if _, err := httpparse.ParseRequest(buf[:end], end-1, &r); err != httpparse.ErrNeedMore {
						b.Fatal(end, err)
					}
				}
				if _, err := httpparse.ParseRequest(buf, len(buf)-1, &r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkResponse(b *testing.B) {
	buf := []byte(nginxResponse)
	r := httpparse.Response{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 128)}}
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := httpparse.ParseResponse(buf, 0, &r); err != nil {
			b.Fatal(err)
		}
		if _, err := httpparse.ResponseFraming(buf, &r, httpparse.MethodGet); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTrailer(b *testing.B) {
	buf := []byte("Digest: sha-256=4REjxQ4yrqUVicfSKYNO/cF9zNj5ANbzgDZt3/h3Qxo=\r\nServer-Timing: db;dur=53\r\n\r\n")
	fields := make([]httpparse.Field, 0, 8)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := httpparse.ParseTrailer(buf, 0, fields); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkChunked decodes 64 KiB of payload. Its speed in bytes a second is that of framing alone, since the
// payload is not touched; look at the time.
func BenchmarkChunked(b *testing.B) {
	for _, size := range []int{64, 1 << 10, 16 << 10} {
		b.Run(fmt.Sprint("chunks of ", size), func(b *testing.B) {
			var body []byte
			for range 64 << 10 / size {
				body = httpparse.AppendChunkSize(body, size)
				body = append(body, bytes.Repeat([]byte("x"), size)...)
				body = append(body, "\r\n"...)
			}
			body = append(body, "0\r\n\r\n"...)
			b.ReportAllocs()
			for b.Loop() {
				var c httpparse.Chunked
				for rest := body; ; {
					framing, payload, last, err := c.Next(rest)
					if err != nil {
						b.Fatal(err)
					}
					if last {
						break
					}
					rest = rest[framing+payload:]
				}
			}
		})
	}
}
