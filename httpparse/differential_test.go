package httpparse_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"millrace/httpparse"
)

// The differential tests: what we accept, and would send on, is read in the same way by net/http and by
// fasthttp, which stand for the servers behind the proxy and for the proxies before it. Whoever reads another
// method, target, field, or end of the message than we do can be made to take a part of one client's request
// for the beginning of another's.
//
// An oracle may refuse what we accept: that harms nobody. But it has to be for one of the reasons listed, so
// that a new one is looked at.

// message is a request or response as we read it.
type message struct {
	start   string // the start line's parts
	host    string // Host's value
	fields  []field
	framing httpparse.Framing
	body    string
	trailer []field
	close   bool
	end     int // of the message, in its input
}

type field struct{ name, value string }

// next is what follows each message on its connection. An oracle has to find it there, unread.
const next = "GET /next HTTP/1.1\r\nHost: next.example\r\n\r\n"

// maxPadding bounds the bytes that are added to an input to complete its body.
const maxPadding = 64 << 10

func fieldsOf(buf []byte, fields []httpparse.Field) []field {
	var out []field
	for _, f := range fields {
		out = append(out, field{string(f.Name.Of(buf)), string(f.Value.Of(buf))})
	}
	return out
}

// readBody reads the body that begins at m.end, and adds to input what is missing of one with a length. It
// reports whether the body is complete.
func (m *message) readBody(t *testing.T, input []byte) (complete []byte, ok bool) {
	switch m.framing.Kind {
	case httpparse.BodyLength:
		if m.framing.Length > maxPadding {
			return input, false
		}
		end := m.end + int(m.framing.Length)
		if missing := end - len(input); missing > 0 {
			input = append(slices.Clip(input), bytes.Repeat([]byte("x"), missing)...)
		}
		m.body, m.end = string(input[m.end:end]), end
	case httpparse.BodyChunked:
		payload, framed, err := decode(t, input[m.end:])
		if err != nil {
			return input, false
		}
		section := input[m.end+framed:]
		fields, n, err := httpparse.ParseTrailer(section, 0, make([]httpparse.Field, 0, maxFields))
		if err != nil {
			return input, false
		}
		m.body, m.trailer, m.end = payload, fieldsOf(section, fields), m.end+framed+n
	case httpparse.BodyUntilClose:
		m.body, m.end = string(input[m.end:]), len(input)
	}
	return input, true
}

func FuzzDifferential(f *testing.F) {
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > maxFuzz {
			return
		}
		r := httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, maxFields)}}
		n, err := httpparse.ParseRequest(input, 0, &r)
		if err != nil {
			return
		}
		framing, err := httpparse.RequestFraming(input, &r)
		if err != nil {
			return
		}
		m := message{
			start:   fmt.Sprintf("%s %s HTTP/1.%d", r.MethodName.Of(input), r.Target.Of(input), r.Version%10),
			fields:  fieldsOf(input, r.Fields),
			framing: framing,
			close:   !r.Persistent(),
			end:     n,
		}
		if v, ok := r.Lookup(httpparse.FieldHost); ok {
			m.host = string(v.Of(input))
		}
		begin := int(r.MethodName.Start)
		authority := string(r.Authority.Of(input))
		input, ok := m.readBody(t, input)
		if !ok {
			return
		}
		// net/http does not skip empty lines before a request (its server does not see them: it reads
		// what comes behind a body in another way). They are not part of the message.
		wire := string(input[begin:m.end]) + next
		m.compareNetHTTP(t, wire, authority)
		m.compareFastHTTP(t, wire)
	})
}

func (m *message) compareNetHTTP(t *testing.T, wire, authority string) {
	conn := bufio.NewReaderSize(strings.NewReader(wire), maxFuzz+maxPadding)
	req, err := http.ReadRequest(conn)
	if err != nil {
		if !m.netHTTPMayRefuse(err) {
			t.Fatalf("%q\nnet/http: %v", wire, err)
		}
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		if !m.netHTTPMayRefuse(err) {
			t.Fatalf("%q\nnet/http, body: %v", wire, err)
		}
		return
	}
	wantSame(t, wire, "net/http", "start line", req.Method+" "+req.RequestURI+" "+req.Proto, m.start)
	wantSame(t, wire, "net/http", "authority", req.Host, authority)
	wantSame(t, wire, "net/http", "fields", sorted(fromHeader(req.Header)), sorted(m.asNetHTTP(req.Header)))
	wantSame(t, wire, "net/http", "body", string(body), m.body)
	wantSame(t, wire, "net/http", "trailer", sorted(fromHeader(req.Trailer)), sorted(m.trailerAsNetHTTP(req.Trailer)))
	wantSame(t, wire, "net/http", "close", fmt.Sprint(req.Close), fmt.Sprint(m.close))
	switch m.framing.Kind {
	case httpparse.BodyChunked:
		wantSame(t, wire, "net/http", "coding", fmt.Sprint(req.TransferEncoding), "[chunked]")
	default:
		wantSame(t, wire, "net/http", "length", fmt.Sprint(req.ContentLength), fmt.Sprint(m.framing.Length))
	}
	wantNext(t, wire, "net/http", conn)
}

// netHTTPMayRefuse reports whether err is for one of the reasons that net/http has and we do not.
func (m *message) netHTTPMayRefuse(err error) bool {
	var target *url.Error
	switch {
	case errors.As(err, &target):
		// It takes the target apart, and refuses what it cannot decode, such as "%zz". What becomes of
		// a path is decided where routes are.
		return true
	case strings.Contains(err.Error(), "bad trailer key"):
		// It wants a Trailer field not to list framing fields. They are not framing in a trailer.
		return true
	case strings.Contains(err.Error(), "chunked encoding contains too much non-data"):
		// It bounds extensions by the payload that they come with, we by the line.
		return true
	}
	return false
}

// asNetHTTP returns the fields as net/http shows them. Names are compared in lower case, since it changes
// their case.
func (m *message) asNetHTTP(theirs http.Header) []field {
	var out []field
	var pragma, cacheControl bool
	for _, f := range m.fields {
		name := strings.ToLower(f.name)
		switch name {
		case "host", "transfer-encoding":
			continue // moved to Request.Host and Request.TransferEncoding
		case "trailer":
			if m.framing.Kind == httpparse.BodyChunked {
				continue // moved to Request.Trailer, as keys without values
			}
		case "pragma":
			pragma = pragma || theirs.Get("Pragma") == "no-cache"
		case "cache-control":
			cacheControl = true
		}
		out = append(out, field{name, f.value})
	}
	if pragma && !cacheControl {
		// It adds what RFC 9111, 5.4 says that Pragma: no-cache means.
		out = append(out, field{"cache-control", "no-cache"})
	}
	return out
}

// trailerAsNetHTTP returns the trailer fields as net/http shows them: names that the Trailer field has
// announced are there too, without values.
func (m *message) trailerAsNetHTTP(theirs http.Header) []field {
	var out []field
	for _, f := range m.trailer {
		out = append(out, field{strings.ToLower(f.name), f.value})
	}
	return out
}

func fromHeader(h http.Header) []field {
	var out []field
	for name, values := range h {
		for _, value := range values {
			out = append(out, field{strings.ToLower(name), value})
		}
	}
	return out
}

// sorted puts fields in the order of their names, which a map has lost, and leaves those of one name in
// theirs, which means something.
func sorted(fields []field) string {
	slices.SortStableFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return fmt.Sprintf("%q", fields)
}

func (m *message) compareFastHTTP(t *testing.T, wire string) {
	conn := bufio.NewReaderSize(strings.NewReader(wire), maxFuzz+maxPadding)
	var req fasthttp.Request
	req.Header.DisableNormalizing()
	err := req.Header.Read(conn)
	if err == nil {
		// The server's own way to read a body, but for taking multipart forms apart.
		err = req.ContinueReadBody(conn, 0, false)
	}
	if err != nil {
		if !m.fastHTTPMayRefuse(err) {
			t.Fatalf("%q\nfasthttp: %v", wire, err)
		}
		return
	}
	h := &req.Header
	wantSame(t, wire, "fasthttp", "start line", fmt.Sprintf("%s %s %s", h.Method(), h.RequestURI(), h.Protocol()), m.start)
	// It reports Host, and leaves it to its URI to find that the target overrides it.
	wantSame(t, wire, "fasthttp", "host", string(h.Host()), m.host)
	var fields []field
	for name, value := range h.AllInOrder() {
		fields = append(fields, field{string(name), string(value)})
	}
	wantSame(t, wire, "fasthttp", "fields", fmt.Sprintf("%q", fields), fmt.Sprintf("%q", m.fields))
	wantSame(t, wire, "fasthttp", "body", string(req.Body()), m.body)
	wantNext(t, wire, "fasthttp", conn)
}

// fastHTTPMayRefuse reports whether err is for one of the reasons that fasthttp has and we do not.
func (m *message) fastHTTPMayRefuse(err error) bool {
	switch text := err.Error(); {
	case strings.Contains(text, "forbidden trailer"):
		// It refuses trailer fields, in the section or listed by Trailer, which mean something in a head.
		// We return them, and they are not sent on.
		return true
	case strings.Contains(text, "too large hex number"):
		// It takes 15 digits for a chunk size, we 16.
		return true
	}
	return false
}

func wantSame(t *testing.T, wire, who, what, theirs, ours string) {
	t.Helper()
	if theirs != ours {
		t.Fatalf("%q\n%s of %s: %s\nours: %s", wire, what, who, theirs, ours)
	}
}

// wantNext fails unless what is left on conn is the next request.
func wantNext(t *testing.T, wire, who string, conn io.Reader) {
	t.Helper()
	left, err := io.ReadAll(conn)
	if err != nil || string(left) != next {
		t.Fatalf("%q\n%s has left %q %v", wire, who, left, err)
	}
}
