package remap

import (
	"testing"

	"millrace/httpparse"
)

func TestAppendTrailer(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"none", "\r\n", "\r\n"},
		{
			"those that describe the content as it was sent pass",
			head("X-Checksum:abc ", "ETag: \"x\"", "Server-Timing: t", "Content-MD5: m", "Grpc-Status: 0"),
			head("X-Checksum: abc", "ETag: \"x\"", "Server-Timing: t", "Content-MD5: m", "Grpc-Status: 0"),
		},
		{
			"those that would act behind the head's back do not",
			head("Content-Length: 5", "transfer-encoding: chunked", "X-A: 1", "Host: h", "AUTHORIZATION: a", "Set-Cookie: c",
				"Connection: close", "X-Forwarded-For: 1", "Proxy-Authenticate: x", "Content-Type: t", "Content-Encoding: gzip",
				"Cache-Control: x", "If-Match: x", "Expect: 100-continue", "Trailer: x", "Location: /", "X-B: 2", "TE: x",
				"X-Forwarded-Whatever-It-Is-That-Someone-Wrote: 1"),
			head("X-A: 1", "X-B: 2"),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fields, n, err := httpparse.ParseTrailer([]byte(tt.in), 0, make([]httpparse.Field, 0, 32))
			if err != nil || n != len(tt.in) {
				t.Fatalf("%d bytes, %v", n, err)
			}
			checkHead(t, string(AppendTrailer(nil, []byte(tt.in), fields)), tt.want)
		})
	}
}
