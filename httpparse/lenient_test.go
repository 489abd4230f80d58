package httpparse_test

import (
	"strings"
	"testing"

	"millrace/httpparse"
)

const both = httpparse.AllowObsFold | httpparse.AllowUnderscores

func parseLeniently(allow httpparse.Leniency) parser {
	return parseRequest(&httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, maxFields), Allow: allow}})
}

// Each of these decides about framing or routing, or is written by us. Whatever punctuation comes in the place of a
// dash, somebody takes it for one.
func TestObscuredNamesAreRefused(t *testing.T) {
	for _, name := range []string{
		"content-length", "transfer-encoding", "proxy-connection", "keep-alive", "max-forwards", "proxy-authorization",
		"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-host",
	} {
		for i := range name {
			for _, c := range []byte("!#$%&'*+.^_`|~") {
				if name[i] != '-' {
					continue
				}
				obscured := name[:i] + string([]byte{c}) + name[i+1:]
				for _, spelling := range []string{obscured, strings.ToUpper(obscured)} {
					section := "A: b\r\n" + spelling + ": 1\r\n\r\n"
					_, _, err := arriveAnyhow(t, parseLeniently(both), []byte("GET / HTTP/1.1\r\nHost: h\r\n"+section))
					wantError(t, err, httpparse.ObscuredField, 31)
					_, _, err = arriveAnyhow(t, parseResponse(new(httpparse.Response)), []byte("HTTP/1.1 200 OK\r\n"+section))
					wantError(t, err, httpparse.ObscuredField, 23)
					_, _, err = arriveAnyhow(t, parseTrailer(), []byte(section))
					wantError(t, err, httpparse.ObscuredField, 6)
				}
			}
		}
	}
}

func TestUnderscoresPassWhereTheyAreAllowed(t *testing.T) {
	const fields = "user_agent: x\r\nX_: y\r\n_: z\r\nA_B_C: d\r\n"
	const found = ` [user_agent: "x"] [X_: "y"] [_: "z"] [A_B_C: "d"]`
	head := "GET / HTTP/1.1\r\n" + host + fields + "\r\n"
	want := `GET|GET origin "/" authority="h" path="/" pathquery="/" 11 [Host: "h"]` + found
	if n, got, err := arriveAnyhow(t, parseLeniently(httpparse.AllowUnderscores), []byte(head)); err != nil || n != len(head) || got != want {
		t.Errorf("%d %v %s", n, err, got)
	}
	head = "HTTP/1.1 200 OK\r\n" + fields + "\r\n"
	if n, got, err := arriveAnyhow(t, parseResponse(new(httpparse.Response)), []byte(head)); err != nil || n != len(head) || got != `200 "OK" 11`+found {
		t.Errorf("%d %v %s", n, err, got)
	}
	if n, got, err := arriveAnyhow(t, parseTrailer(), []byte(fields+"\r\n")); err != nil || n != len(fields)+2 || got != found {
		t.Errorf("%d %v %s", n, err, got)
	}
	for _, wrong := range []string{"A_b", "A_ : b", "A_\x00: b", "A_\n", "_"} {
		if _, _, err := arrive(t, parseLeniently(httpparse.AllowUnderscores), []byte("GET / HTTP/1.1\r\n"+host+wrong+"\r\n\r\n")); err == nil {
			t.Errorf("%q is accepted", wrong)
		}
	}
}

// A fold becomes blanks (RFC 9112, 5.2), in the value and in the buffer.
func TestFoldedLinesAreUnfoldedWhereTheyAreAllowed(t *testing.T) {
	for _, test := range []struct{ name, fields, found, buf string }{
		{"a space", "A: b\r\n c\r\n", ` [A: "b   c"]`, "A: b   c\r\n"},
		{"a tab", "A: b\r\n\tc\r\n", ` [A: "b  \tc"]`, "A: b  \tc\r\n"},
		{"several lines", "A: b\r\n c\r\n  d \r\nE: f\r\n", ` [A: "b   c    d"] [E: "f"]`, "A: b   c    d \r\nE: f\r\n"},
		{"an empty value first", "A:\r\n b\r\n", ` [A: "b"]`, "A:   b\r\n"},
		{"blanks first", "A: \t\r\n b\r\n", ` [A: "b"]`, "A: \t   b\r\n"},
		{"blanks last", "A: b\r\n \t \r\n", ` [A: "b"]`, "A: b   \t \r\n"},
		{"nothing but blanks", "A:\r\n \r\n\t\r\n", ` [A: ""]`, "A:     \t\r\n"},
		{"what looks like a field", "A: b\r\n Content-Length: 5\r\n", ` [A: "b   Content-Length: 5"]`, "A: b   Content-Length: 5\r\n"},
		{"a known field", "User-Agent: b\r\n c\r\n", ` [User-Agent: "b   c"]`, "User-Agent: b   c\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			line := "GET / HTTP/1.1\r\n" + host
			head := line + test.fields + "\r\n"
			want := `GET|GET origin "/" authority="h" path="/" pathquery="/" 11 [Host: "h"]` + test.found
			for _, behind := range []string{"", " x", "GET / HTTP/1.1\r\n\r\n"} {
				n, found, err := arriveAnyhow(t, parseLeniently(httpparse.AllowObsFold), []byte(head+behind))
				if err != nil || n != len(head) || found != want {
					t.Fatalf("%q\n%d %v %s\nwant\n%d %s", head+behind, n, err, found, len(head), want)
				}
			}
			buf := []byte(head)
			parse := parseLeniently(httpparse.AllowObsFold)
			for i := range buf { // in one buffer, as it is read
				if _, _, err := parse(buf[:i], max(0, i-1)); err != httpparse.ErrNeedMore {
					t.Fatalf("%q: %v", buf[:i], err)
				}
			}
			if n, found, err := parse(buf, len(buf)-1); err != nil || n != len(head) || found != want {
				t.Fatalf("%d %v %s", n, err, found)
			}
			if string(buf) != line+test.buf+"\r\n" {
				t.Errorf("the buffer is %q", buf)
			}
			response := "HTTP/1.1 200 OK\r\n"
			r := &httpparse.Response{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, maxFields), Allow: httpparse.AllowObsFold}}
			n, found, err := arriveAnyhow(t, parseResponse(r), []byte(response+test.fields+"\r\n"))
			if err != nil || n != len(response+test.fields)+2 || found != `200 "OK" 11`+test.found {
				t.Errorf("%d %v %s", n, err, found)
			}
		})
	}
}

// What a reader before us may have understood otherwise is refused, folded or not.
func TestFoldsThatCouldFrameOrRouteAreRefused(t *testing.T) {
	line := "POST / HTTP/1.1\r\n"
	for _, fields := range []string{
		" A: b\r\n" + host, "\tA: b\r\n" + host, " \r\n" + host, // behind the request line (RFC 9112, 2.2)
		"Host:\r\n h\r\n", "Host: h\r\n i\r\n", "Host: h\r\n \r\n",
		host + "Content-Length: 1\r\n 2\r\n", host + "Content-Length:\r\n 12\r\n", host + "Content-Length: 1\r\n \r\n",
		host + "Transfer-Encoding:\r\n chunked\r\n", host + "Transfer-Encoding: chunked\r\n , x\r\n", host + "Transfer-Encoding: x\r\n\tchunked\r\n",
		host + "Connection: close\r\n , x\r\n", host + "Trailer: a\r\n , b\r\n", host + "TE: trailers\r\n ;q=1\r\n",
		host + "Upgrade: a\r\n b\r\n", host + "Expect:\r\n 100-continue\r\n", host + "Keep-Alive: a\r\n b\r\n",
		host + "Max-Forwards: 1\r\n 2\r\n", host + "X-Forwarded-Proto: a\r\n b\r\n", host + "X-Forwarded-Host: a\r\n b\r\n",
		host + "A: b\r\n\x00c\r\n", host + "A: b\r\n c\x00\r\n", host + "A: b\r\n c\n d\r\n", host + "A: b\r\n c\r d\r\n",
		host + "A: b\n c\r\n", host + "A: b\r c\r\n", host + "A\r\n : b\r\n", host + "A: b\r\n\vc\r\n",
	} {
		_, _, err := arriveAnyhow(t, parseLeniently(both), []byte(line+fields+"\r\n"))
		if _, refused := err.(*httpparse.Error); !refused {
			t.Errorf("%q: %v", fields, err)
		}
	}
	for _, section := range []string{"A: b\r\n c\r\n\r\n", " A: b\r\n\r\n"} {
		_, _, err := arriveAnyhow(t, parseTrailer(), []byte(section))
		if _, refused := err.(*httpparse.Error); !refused {
			t.Errorf("trailer %q: %v", section, err)
		}
	}
}

// FuzzLenient has everything allowed: what is then sent on, the strict parser refuses or reads the same.
func FuzzLenient(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n"), uint16(40), uint16(41))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: h\r\nA_b:\r\n\t\r\n x \r\nC: d\r\n\r\n"), uint16(30), uint16(36))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n 2\r\n\r\n"), uint16(0), uint16(0))
	f.Fuzz(func(t *testing.T, input []byte, a, b uint16) {
		if len(input) > maxFuzz {
			return
		}
		n, found, err := wantSameSplit(t, parseLeniently(both), input, a, b)
		wantFinal(t, parseLeniently(both), input, n, found, err)
		if err != nil {
			return
		}
		buf := []byte(string(input))
		var r httpparse.Request
		r.Fields, r.Allow = make([]httpparse.Field, 0, maxFields), both
		if _, err := httpparse.ParseRequest(buf, 0, &r); err != nil {
			t.Fatal(err)
		}
		var strict httpparse.Request
		n2, found2, err := parseRequest(&strict)(buf, 0)
		underscore := false
		for _, f := range r.Fields {
			underscore = underscore || strings.Contains(string(f.Name.Of(buf)), "_")
		}
		if underscore {
			wantError(t, err, httpparse.UnderscoreInName, -1)
			return
		}
		if err != nil || n2 != n || found2 != found {
			t.Fatalf("%q\n%s\nstrictly: %q\n%d %v %s", input, found, buf, n2, err, found2)
		}
		lenient, err := httpparse.RequestFraming(buf, &r)
		if strictly, err2 := httpparse.RequestFraming(buf, &strict); strictly != lenient || !sameError(err, err2) {
			t.Fatalf("%q: %+v %v, strictly %+v %v", input, lenient, err, strictly, err2)
		}
	})
}

// TestFoldsCostWhatTheyAreLong: each byte of a value that is folded again and again is looked at a few times. Were it
// looked at once a fold, this would take minutes.
func TestFoldsCostWhatTheyAreLong(t *testing.T) {
	for name, begin := range map[string]string{"an empty value": "", "a value": "v"} {
		text := []byte("GET / HTTP/1.1\r\nHost: h\r\nX-A: " + begin + strings.Repeat("\r\n ", 1<<19) + "w\r\n\r\n")
		r := &httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 2), Allow: httpparse.AllowObsFold}}
		if n, err := httpparse.ParseRequest(text, 0, r); n != len(text) || err != nil {
			t.Fatalf("%s: %d, %v", name, n, err)
		}
		if got := strings.Join(strings.Fields(string(r.Fields[1].Value.Of(text))), " "); got != strings.TrimSpace(begin+" w") {
			t.Errorf("%s: %q", name, got)
		}
	}
}
