package conformance

import (
	"strings"
	"testing"
)

func TestStrictReading(t *testing.T) {
	const head = "POST /x HTTP/1.1\r\nHost: a\r\n"
	for _, tt := range []struct {
		name, stream string
		want         string // methods and bodies of complete requests
		rest         bool   // something incomplete follows
		wrong        string // part of the error
	}{
		{"nothing", "", "", false, ""},
		{"no content", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET:", false, ""},
		{"a length", head + "Content-Length: 2\r\n\r\nok", "POST:ok", false, ""},
		{"a length that is not reached", head + "Content-Length: 3\r\n\r\nok", "", true, ""},
		{"chunks", head + "Transfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x\r\nk\r\n0\r\nX: y\r\n\r\n", "POST:ok", false, ""},
		{"chunks without their end", head + "Transfer-Encoding: chunked\r\n\r\n1\r\no\r\n", "", true, ""},
		{"two requests", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.0\r\n\r\n", "GET: GET:", false, ""},
		{"half a head", "GET / HT", "", true, ""},
		{"both framings", head + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", true, "Content-Length and Transfer-Encoding"},
		{"two lengths", head + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", "", true, "two Content-Length"},
		{"a signed length", head + "Content-Length: +2\r\n\r\nok", "", true, `Content-Length "+2"`},
		{"a length that overflows", head + "Content-Length: 18446744073709551618\r\n\r\nok", "", true, "Content-Length"},
		{"another coding", head + "Transfer-Encoding: chunked, x\r\n\r\n", "", true, "Transfer-Encoding"},
		{"chunks in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "", true, "with HTTP/1.0"},
		{"a blank before a colon", head + "X : y\r\n\r\n", "", false, "the field line"},
		{"a bare LF", "GET / HTTP/1.1\r\nHost: a\r\nX: y\nZ: z\r\n\r\n", "", false, "0x0a"},
		{"a bare CR", "GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n", "", false, "0x0d"},
		{"a continued line", "GET / HTTP/1.1\r\nHost: a\r\n x\r\n\r\n", "", false, "the field line"},
		{"two blanks", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "", false, "the request line"},
		{"a fragment", "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", "", false, "0x23"},
		{"an absolute target", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "", false, "not for a server"},
		{"no host", "GET / HTTP/1.1\r\n\r\n", "", false, "0 Host"},
		{"two hosts", head + "Host: b\r\n\r\n", "", false, "2 Host"},
		{"a bare LF in chunks", head + "Transfer-Encoding: chunked\r\n\r\n1\no\r\n0\r\n\r\n", "", true, "chunk size line"},
		{"a byte behind a chunk", head + "Transfer-Encoding: chunked\r\n\r\n1\r\nox", "", true, "behind a chunk"},
		{"a signed chunk size", head + "Transfer-Encoding: chunked\r\n\r\n+1\r\no\r\n0\r\n\r\n", "", true, "chunk size line"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			messages, err := ReadRequests([]byte(tt.stream))
			if got := err != nil; got != (tt.wrong != "") || got && !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("error %v, want %q", err, tt.wrong)
			}
			var got []string
			rest := false
			for _, m := range messages {
				if rest = !m.Complete; !rest {
					got = append(got, m.Method+":"+string(m.Body))
				}
			}
			if s := strings.Join(got, " "); s != tt.want || rest != tt.rest {
				t.Errorf("%q, more to come %v; want %q, %v", s, rest, tt.want, tt.rest)
			}
		})
	}
}

func TestResponsesEndAsTheirRequestsSay(t *testing.T) {
	stream := []byte("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest")
	for _, ended := range []bool{false, true} {
		messages, err := ReadResponses(stream, ended, []bool{true, false, false})
		if err != nil || len(messages) != 4 {
			t.Fatalf("%d messages, %v", len(messages), err)
		}
		last := messages[3]
		if string(last.Body) != "rest" || !last.UntilClose || last.Complete != ended {
			t.Errorf("ended %v: %q, complete %v", ended, last.Body, last.Complete)
		}
	}
}

// FuzzCanonical holds what the comparisons of a case rely on: the form of a beginning is a beginning of the form,
// unless something is wrong.
func FuzzCanonical(f *testing.F) {
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 70)
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 50)
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n"), 26)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		if at < 0 || at > len(b) {
			return
		}
		messages, err := ReadRequests(b)
		part, partErr := ReadRequests(b[:at])
		if err != nil || partErr != nil {
			return
		}
		if whole, beginning := canonical(messages, nil), canonical(part, nil); !strings.HasPrefix(whole, beginning) {
			t.Errorf("%q is no beginning of %q", beginning, whole)
		}
	})
}
