package httpparse_test

import (
	"testing"

	"millrace/httpparse"
)

func TestNoAllocations(t *testing.T) {
	req := httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, maxFields)}}
	res := httpparse.Response{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, maxFields)}}
	fields := make([]httpparse.Field, 0, maxFields)
	request := []byte(browserRequest)
	chunked := []byte("POST http://h:80/?q HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: x, close\r\n\r\n")
	response := []byte(nginxResponse)
	body := []byte("5;ext\r\nhello\r\n0\r\n")
	trailer := []byte("Digest: sha-256=4REjxQ4yrqUVicfSKYNO/cF9zNj5ANbzgDZt3/h3Qxo=\r\nServer-Timing: db;dur=53\r\n\r\n")
	name := []byte("X")
	size := make([]byte, 0, 32)
	must := func(err, want error) {
		if err != want {
			t.Fatal(err)
		}
	}
	for what, f := range map[string]func(){
		"ParseRequest": func() {
			_, err := httpparse.ParseRequest(request, 0, &req)
			must(err, nil)
		},
		"ParseRequest, incomplete": func() {
			for end := range request {
				_, err := httpparse.ParseRequest(request[:end], max(0, end-1), &req)
				must(err, httpparse.ErrNeedMore)
				_, err = httpparse.ParseRequest(request[:end], 0, &req)
				must(err, httpparse.ErrNeedMore)
			}
		},
		"ParseResponse": func() {
			_, err := httpparse.ParseResponse(response, 0, &res)
			must(err, nil)
			_, err = httpparse.ResponseFraming(response, &res, httpparse.MethodGet)
			must(err, nil)
		},
		"ParseResponse, incomplete": func() {
			for end := range response {
				_, err := httpparse.ParseResponse(response[:end], max(0, end-1), &res)
				must(err, httpparse.ErrNeedMore)
			}
		},
		"ParseTrailer": func() {
			_, _, err := httpparse.ParseTrailer(trailer, 0, fields)
			must(err, nil)
			for end := range trailer {
				_, _, err = httpparse.ParseTrailer(trailer[:end], max(0, end-1), fields)
				must(err, httpparse.ErrNeedMore)
			}
		},
		"Head and framing": func() {
			_, err := httpparse.ParseRequest(chunked, 0, &req)
			must(err, nil)
			_, err = httpparse.RequestFraming(chunked, &req)
			must(err, nil)
			if req.Persistent() || !req.NamedByConnection(chunked, name) {
				t.Fatal(req)
			}
			req.Lookup(httpparse.FieldHost)
		},
		"Chunked": func() {
			var c httpparse.Chunked
			for rest, last := body, false; !last; {
				framing, payload, end, err := c.Next(rest)
				must(err, nil)
				rest, last = rest[framing+payload:], end
			}
		},
		"AppendChunkSize": func() { size = httpparse.AppendChunkSize(size[:0], 123456) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}
