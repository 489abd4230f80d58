package httpparse_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"millrace/httpparse"
)

// FuzzDifferentialResponse compares what we accept with what net/http reads, for answers to GET and to HEAD.
func FuzzDifferentialResponse(f *testing.F) {
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > maxFuzz {
			return
		}
		for _, method := range []httpparse.Method{httpparse.MethodGet, httpparse.MethodHead} {
			r := httpparse.Response{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, maxFields)}}
			n, err := httpparse.ParseResponse(input, 0, &r)
			if err != nil {
				return
			}
			framing, err := httpparse.ResponseFraming(input, &r, method)
			if err != nil {
				return
			}
			// net/http trims the status line at both ends; neither end is more than text.
			reason := strings.Trim(string(r.Reason.Of(input)), " \t")
			m := message{
				start:   fmt.Sprintf("HTTP/1.%d %d %s", r.Version%10, r.Status, reason),
				fields:  fieldsOf(input, r.Fields),
				framing: framing,
				close:   !r.Persistent() || framing.Kind == httpparse.BodyUntilClose,
				end:     n,
			}
			complete, ok := m.readBody(t, input)
			if !ok {
				return
			}
			wire := string(complete[:m.end])
			if framing.Kind != httpparse.BodyUntilClose {
				wire += next
			}
			m.compareNetHTTPResponse(t, wire, method, r.ConnClose && r.Version >= httpparse.HTTP11)
		}
	})
}

func (m *message) compareNetHTTPResponse(t *testing.T, wire string, method httpparse.Method, closeRemoved bool) {
	conn := bufio.NewReaderSize(strings.NewReader(wire), maxFuzz+maxPadding)
	res, err := http.ReadResponse(conn, &http.Request{Method: method.String()})
	if err != nil {
		if !m.netHTTPMayRefuse(err) {
			t.Fatalf("%q\nnet/http: %v", wire, err)
		}
		return
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		if !m.netHTTPMayRefuse(err) {
			t.Fatalf("%q\nnet/http, body: %v", wire, err)
		}
		return
	}
	_, reason, _ := strings.Cut(res.Status, " ")
	start := fmt.Sprintf("%s %d %s", res.Proto, res.StatusCode, strings.Trim(reason, " \t"))
	wantSame(t, wire, "net/http", "start line", start, m.start)
	wantSame(t, wire, "net/http", "fields", sorted(fromHeader(res.Header)), sorted(m.asNetHTTPResponse(res, closeRemoved)))
	wantSame(t, wire, "net/http", "body", string(body), m.body)
	if m.framing.Kind == httpparse.BodyChunked {
		wantSame(t, wire, "net/http", "trailer", sorted(fromHeader(res.Trailer)), sorted(m.trailerAsNetHTTP(res.Trailer)))
		wantSame(t, wire, "net/http", "coding", fmt.Sprint(res.TransferEncoding), "[chunked]")
	}
	if m.framing.Kind == httpparse.BodyLength {
		wantSame(t, wire, "net/http", "length", fmt.Sprint(res.ContentLength), fmt.Sprint(m.framing.Length))
	}
	wantSame(t, wire, "net/http", "close", fmt.Sprint(res.Close), fmt.Sprint(m.close))
	if m.framing.Kind != httpparse.BodyUntilClose {
		wantNext(t, wire, "net/http", conn)
	}
}

// asNetHTTPResponse returns the fields as net/http shows them. closeRemoved says that it has taken Connection for
// its own: in HTTP/1.1, if that lists close.
func (m *message) asNetHTTPResponse(res *http.Response, closeRemoved bool) []field {
	var out []field
	pragma, cacheControl := false, false
	for _, f := range m.fields {
		name := strings.ToLower(f.name)
		switch name {
		case "transfer-encoding":
			continue // moved to Response.TransferEncoding
		case "connection":
			if closeRemoved {
				continue // moved to Response.Close
			}
		case "trailer":
			if len(res.TransferEncoding) > 0 {
				continue // moved to Response.Trailer, as keys without values
			}
		case "pragma":
			pragma = pragma || res.Header.Get("Pragma") == "no-cache"
		case "cache-control":
			cacheControl = true
		}
		out = append(out, field{name, f.value})
	}
	if pragma && !cacheControl {
		out = append(out, field{"cache-control", "no-cache"}) // RFC 9111, 5.4
	}
	return out
}
