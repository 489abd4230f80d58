package httpparse_test

import (
	"fmt"
	"strings"
	"testing"

	"millrace/httpparse"
)

// Fields that concern framing, and what they mean in HTTP/1.1. The rows' numbers are those of the table in
// framing.go.
var framingTests = []struct {
	fields string // separated by "|"
	kind   httpparse.BodyKind
	length int64
	err    httpparse.Kind
	fails  bool
	status int
}{
	// 3
	{fields: "Transfer-Encoding: chunked|Transfer-Encoding: chunked", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: gzip|Transfer-Encoding: chunked", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: chunked|Transfer-Encoding:", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding:|Transfer-Encoding: chunked", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	// 2
	{fields: "Content-Length: 5|Transfer-Encoding: chunked", fails: true, err: httpparse.LengthWithChunked, status: 400},
	{fields: "Transfer-Encoding: chunked|Content-Length: 5", fails: true, err: httpparse.LengthWithChunked, status: 400},
	{fields: "Transfer-Encoding: gzip|Content-Length: 5", fails: true, err: httpparse.LengthWithChunked, status: 400},
	{fields: "Transfer-Encoding: chunked|Content-Length: x", fails: true, err: httpparse.LengthWithChunked, status: 400},
	// 4
	{fields: "Transfer-Encoding:", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: ,", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: ,chunked", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: chunked,", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: chunked;q=1", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: chunked;", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: \"chunked\"", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: 'chunked", fails: true, err: httpparse.BadTransferEncoding, status: 400}, // a token
	{fields: "Transfer-Encoding: chunked chunked", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: chunked\x80", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: [chunked]", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: chunked, chunked", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: chunked, gzip", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: chunked, identity", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: identity", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: Identity, chunked", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: gzip, chunked, chunked", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: gzip", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: xchunked", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	{fields: "Transfer-Encoding: chunke", fails: true, err: httpparse.BadTransferEncoding, status: 400},
	// 5
	{fields: "Transfer-Encoding: gzip, chunked", fails: true, err: httpparse.UnknownTransferCoding, status: 501},
	// 6
	{fields: "Content-Length: 5|Content-Length: 6", fails: true, err: httpparse.RepeatedContentLength, status: 400},
	{fields: "Content-Length: 5|Content-Length: 5", fails: true, err: httpparse.RepeatedContentLength, status: 400},
	{fields: "Content-Length: 5|A: b|content-length:", fails: true, err: httpparse.RepeatedContentLength, status: 400},
	// 7
	{fields: "Content-Length:", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: +5", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: -5", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: -0", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: 5 6", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: 5\t6", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: 5, 5", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: 5,", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: 0x5", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: a", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: 5.0", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: 5e1", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: 1_000", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: \"5\"", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: \xb2", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: 1000000000000000000", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: 0000000000000000005", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: 9223372036854775808", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: 9223372036854775810", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: 18446744073709551616", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: 18446744073709551621", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: 99999999999999999999999999", fails: true, err: httpparse.BadContentLength, status: 400},
	// 9
	{fields: "Transfer-Encoding: chunked", kind: httpparse.BodyChunked},
	{fields: "transfer-ENCODING:\t cHuNkEd \t", kind: httpparse.BodyChunked},
	// 10
	{fields: "Content-Length: 0", kind: httpparse.BodyLength},
	{fields: "content-length:42", kind: httpparse.BodyLength, length: 42},
	{fields: "Content-Length: \t42\t ", kind: httpparse.BodyLength, length: 42},
	{fields: "Content-Length: 05", fails: true, err: httpparse.BadContentLength, status: 400},
	{fields: "Content-Length: 999999999999999999", kind: httpparse.BodyLength, length: 1e18 - 1},
}

func TestRequestFraming(t *testing.T) {
	for _, test := range framingTests {
		for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "TRACE", "FOO"} {
			got, err := requestFraming(t, method+" / HTTP/1.1", test.fields)
			checkFraming(t, method+" "+test.fields, got, err, test.fails, test.err, test.status, httpparse.Framing{Kind: test.kind, Length: test.length})

			// Row 1. All other rows but those of Transfer-Encoding are the same in HTTP/1.0.
			got, err = requestFraming(t, method+" / HTTP/1.0", test.fields)
			if strings.Contains(strings.ToLower(test.fields), "transfer-encoding") {
				checkFraming(t, "HTTP/1.0 "+test.fields, got, err, true, httpparse.BadTransferEncoding, 400, httpparse.Framing{})
			} else {
				checkFraming(t, "HTTP/1.0 "+test.fields, got, err, test.fails, test.err, test.status, httpparse.Framing{Kind: test.kind, Length: test.length})
			}
		}
	}
	// Row 11.
	for _, line := range []string{"GET / HTTP/1.1", "POST / HTTP/1.1", "POST / HTTP/1.0"} {
		for _, fields := range []string{"", "A: b", "TE: chunked", "Connection: close", "Content-Encoding: gzip", "X-Content-Length: 5"} {
			got, err := requestFraming(t, line, fields)
			checkFraming(t, line+fields, got, err, false, 0, 0, httpparse.Framing{Kind: httpparse.BodyNone})
		}
	}
}

func TestResponseFraming(t *testing.T) {
	for _, test := range framingTests {
		for _, status := range []int{200, 201, 206, 205, 300, 301, 303, 305, 400, 404, 500, 999, 100, 101, 103, 199, 204, 304} {
			for _, method := range []httpparse.Method{httpparse.MethodGet, httpparse.MethodPost, httpparse.MethodHead, httpparse.MethodOther} {
				line := fmt.Sprintf("HTTP/1.1 %d x", status)
				want := httpparse.Framing{Kind: test.kind, Length: test.length}
				if status < 200 || status == 204 || status == 304 || method == httpparse.MethodHead {
					want = httpparse.Framing{Kind: httpparse.BodyNone} // row 8
				}
				got, err := responseFraming(t, line, method, test.fields)
				checkFraming(t, fmt.Sprint(method, " ", line, " ", test.fields), got, err, test.fails, test.err, test.status, want)
			}
		}
		got, err := responseFraming(t, "HTTP/1.0 200 OK", httpparse.MethodGet, test.fields)
		if strings.Contains(strings.ToLower(test.fields), "transfer-encoding") {
			checkFraming(t, "HTTP/1.0 "+test.fields, got, err, true, httpparse.BadTransferEncoding, 400, httpparse.Framing{})
		} else {
			checkFraming(t, "HTTP/1.0 "+test.fields, got, err, test.fails, test.err, test.status, httpparse.Framing{Kind: test.kind, Length: test.length})
		}
	}
	// Row 12.
	for line, want := range map[string]httpparse.BodyKind{
		"HTTP/1.1 200 OK": httpparse.BodyUntilClose,
		"HTTP/1.0 200 OK": httpparse.BodyUntilClose,
		"HTTP/1.1 204":    httpparse.BodyNone,
		"HTTP/1.1 304":    httpparse.BodyNone,
		"HTTP/1.1 100":    httpparse.BodyNone,
	} {
		got, err := responseFraming(t, line, httpparse.MethodGet, "A: b")
		checkFraming(t, line, got, err, false, 0, 0, httpparse.Framing{Kind: want})
	}
	got, err := responseFraming(t, "HTTP/1.1 200 OK", httpparse.MethodHead, "A: b")
	checkFraming(t, "HEAD", got, err, false, 0, 0, httpparse.Framing{Kind: httpparse.BodyNone})
}

func requestFraming(t *testing.T, line, fields string) (httpparse.Framing, error) {
	t.Helper()
	r := httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, maxFields)}}
	buf := headOf(line, "Host: h|"+fields)
	if _, err := httpparse.ParseRequest(buf, 0, &r); err != nil {
		t.Fatalf("%q: %v", buf, err)
	}
	return httpparse.RequestFraming(guarded(t, buf), &r)
}

func responseFraming(t *testing.T, line string, method httpparse.Method, fields string) (httpparse.Framing, error) {
	t.Helper()
	r := httpparse.Response{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, maxFields)}}
	buf := headOf(line, fields)
	if _, err := httpparse.ParseResponse(buf, 0, &r); err != nil {
		t.Fatalf("%q: %v", buf, err)
	}
	return httpparse.ResponseFraming(guarded(t, buf), &r, method)
}

func headOf(line, fields string) []byte {
	head := line + "\r\n"
	for field := range strings.SplitSeq(fields, "|") {
		if field != "" {
			head += field + "\r\n"
		}
	}
	return []byte(head + "\r\n")
}

func checkFraming(t *testing.T, what string, got httpparse.Framing, err error, fails bool, kind httpparse.Kind, status int, want httpparse.Framing) {
	t.Helper()
	if !fails {
		if err != nil || got != want {
			t.Errorf("%s: %+v %v, want %+v", what, got, err, want)
		}
		return
	}
	e, ok := err.(*httpparse.Error)
	if !ok || e.Kind != kind || e.Status() != status || got != (httpparse.Framing{}) {
		t.Errorf("%s: %+v %v, want: %s", what, got, err, kind)
	}
}

// Ways to make one reader see chunked and another not see it that have been published. Every one has to be
// refused, by the parser or by the framing decision.
func TestDisguisesOfChunkedAreRefused(t *testing.T) {
	for _, fields := range []string{
		"Transfer-Encoding: xchunked",
		"Transfer-Encoding: chunkedx",
		"Transfer-Encoding : chunked",
		"Transfer-Encoding\t: chunked",
		" Transfer-Encoding: chunked",
		"\tTransfer-Encoding: chunked",
		"X: y\r\n Transfer-Encoding: chunked",
		"Transfer-Encoding:\r\n chunked",
		"Transfer-Encoding:\r\n\tchunked",
		"Transfer-Encoding: chunked\r\n , identity",
		"Transfer-Encoding:\vchunked",
		"Transfer-Encoding: \vchunked",
		"Transfer-Encoding: chunked\v",
		"Transfer-Encoding: \fchunked",
		"Transfer-Encoding: chunked\x00",
		"Transfer-Encoding: \x00chunked",
		"Transfer-Encoding: \x01chunked",
		"Transfer-Encoding: \x08chunked",
		"Transfer-Encoding: \x7fchunked",
		"Transfer-Encoding: chunked\xa0",
		"Transfer-Encoding: \x85chunked",
		"Transfer-Encoding: \xffchunked",
		"Transfer-Encoding\x00: chunked",
		"Transfer\x00-Encoding: chunked",
		"Transfer-Encoding\xa0: chunked",
		"X: y\nTransfer-Encoding: chunked",
		"X: y\rTransfer-Encoding: chunked",
		"X: y\r\r\nTransfer-Encoding: chunked",
		"Transfer-Encoding: chunked\r",
		"Transfer-Encoding: x\r\n\tchunked",
		"\rTransfer-Encoding: chunked",
		"\nTransfer-Encoding: chunked",
		"Transfer_Encoding: chunked",
		"Transfer-Encoding: \"chunked\"",
		"Transfer-Encoding: 'chunked'",
		"Transfer-Encoding: chunked;",
		"Transfer-Encoding: chunked;foo=bar",
		"Transfer-Encoding: chunked, identity",
		"Transfer-Encoding: identity, chunked",
		"Transfer-Encoding: identity",
		"Transfer-Encoding: cow, chunked",
		"Transfer-Encoding: chunked, cow",
		"Transfer-Encoding: chunked, chunked",
		"Transfer-Encoding: , chunked",
		"Transfer-Encoding: chunked,",
		"Transfer-Encoding:",
		"Transfer-Encoding: chunk",
		"Transfer-Encoding: chun\tked",
		"Transfer-Encoding: ch\xfcnked",
		"Transfer-Encoding: chun\xe2\x84\xaaed", // the Kelvin sign, which folds to k in Unicode
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
		"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
		"Transfer-Encoding\r\n: chunked",
		"Transfer-Encoding",
		"Transfer-Encoding chunked",
		"Transfer Encoding: chunked",
		"Content-Length: 5\r\nTransfer-Encoding: chunked",
		"Transfer-Encoding: chunked\r\nContent-Length: 5",
		"Content-Length: 5\r\nContent_Length: 6",
		"Content-Length: 5\r\nContent-Length : 6",
		"Content-Length: 5\r\n Content-Length: 6",
		"Content-Length: 5\r\n\t6",
		"Content-Length: 5,5",
		"Content-Length: 5\v",
	} {
		for _, order := range []string{"Host: h\r\n" + fields + "\r\n", fields + "\r\nHost: h\r\n"} {
			buf := guarded(t, []byte("POST / HTTP/1.1\r\n"+order+"\r\n"))
			r := httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, maxFields)}}
			n, err := httpparse.ParseRequest(buf, 0, &r)
			if err == nil && n == len(buf) {
				var framing httpparse.Framing
				if framing, err = httpparse.RequestFraming(buf, &r); err == nil {
					t.Errorf("%q: %+v", buf, framing)
				}
			}
			if _, refused := err.(*httpparse.Error); !refused {
				t.Errorf("%q: %v", buf, err)
			}
		}
	}
}
