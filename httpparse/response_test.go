package httpparse_test

import (
	"strings"
	"testing"

	"millrace/httpparse"
)

func TestResponseAccepted(t *testing.T) {
	for _, test := range []struct{ name, head, want string }{
		{"plain", "HTTP/1.1 200 OK\r\nA: b\r\n", `200 "OK" 11 [A: "b"]`},
		{"no fields", "HTTP/1.1 404 Not Found\r\n", `404 "Not Found" 11`},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\n", `200 "OK" 10`},
		{"empty reason", "HTTP/1.1 200 \r\n", `200 "" 11`},
		{"no reason and no space", "HTTP/1.1 200\r\nA: b\r\n", `200 "" 11 [A: "b"]`},
		{"blanks in the reason", "HTTP/1.1 200  O\tK \r\n", `200 " O\tK " 11`},
		{"high bytes in the reason", "HTTP/1.1 200 d'accord\xe9 \xc3\xa9\r\n", `200 "d'accord\xe9 é" 11`},
		{"smallest status", "HTTP/1.1 100 Continue\r\n", `100 "Continue" 11`},
		{"largest status", "HTTP/1.1 999 x\r\n", `999 "x" 11`},
		{"Host is a field like others", "HTTP/1.1 200 OK\r\nHost: a b\r\nHost: c\r\n", `200 "OK" 11 [Host: "a b"] [Host: "c"]`},
		{"connection options", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", `200 "OK" 10 keep-alive [Connection: "keep-alive"]`},
	} {
		t.Run(test.name, func(t *testing.T) {
			head := test.head + "\r\n"
			for _, behind := range []string{"", "x", "\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"} {
				n, found, err := arriveAnyhow(t, parseResponse(new(httpparse.Response)), []byte(head+behind))
				if err != nil || n != len(head) || found != test.want {
					t.Fatalf("%q\n%d %v %s\nwant\n%d %s", head+behind, n, err, found, len(head), test.want)
				}
			}
		})
	}
}

func TestResponseRefused(t *testing.T) {
	const line = "HTTP/1.1 200 OK\r\n" // 17 bytes
	for _, test := range []struct {
		name, head string
		kind       httpparse.Kind
		offset     int
	}{
		{"empty line before it", "\r\nHTTP/1.1 200 OK\r\n\r\n", httpparse.BadVersion, 0},
		{"body without a head", "<html>", httpparse.BadVersion, 0},
		{"other protocol", "ICY 200 OK\r\n\r\n", httpparse.BadVersion, 0},
		{"small letters", "http/1.1 200 OK\r\n\r\n", httpparse.BadVersion, 0},
		{"HTTP/2 without minor version", "HTTP/2 200\r\n\r\n", httpparse.BadVersion, 6},
		{"HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", httpparse.UnknownVersion, 0},
		{"HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", httpparse.UnknownVersion, 0},
		{"version alone", "HTTP/1.1\r\n\r\n", httpparse.BadStatusLine, 8},
		{"tab behind the version", "HTTP/1.1\t200 OK\r\n\r\n", httpparse.BadStatusLine, 8},
		{"LF behind the version", "HTTP/1.1\n200 OK\r\n\r\n", httpparse.BadLineEnd, 8},
		{"two spaces", "HTTP/1.1  200 OK\r\n\r\n", httpparse.BadStatusLine, 9},
		{"no status", "HTTP/1.1 OK\r\n\r\n", httpparse.BadStatusLine, 9},
		{"empty status", "HTTP/1.1 \r\n\r\n", httpparse.BadStatusLine, 9},
		{"short status", "HTTP/1.1 20 OK\r\n\r\n", httpparse.BadStatusLine, 11},
		{"long status", "HTTP/1.1 2000 OK\r\n\r\n", httpparse.BadStatusLine, 12},
		{"status below 100", "HTTP/1.1 099 OK\r\n\r\n", httpparse.BadStatusLine, 9},
		{"signed status", "HTTP/1.1 +20 OK\r\n\r\n", httpparse.BadStatusLine, 9},
		{"no space before the reason", "HTTP/1.1 200OK\r\n\r\n", httpparse.BadStatusLine, 12},
		{"tab before the reason", "HTTP/1.1 200\tOK\r\n\r\n", httpparse.BadStatusLine, 12},
		{"LF behind the status", "HTTP/1.1 200\n\r\n\r\n", httpparse.BadLineEnd, 12},
		{"NUL in the reason", "HTTP/1.1 200 O\x00K\r\n\r\n", httpparse.BadStatusLine, 14},
		{"DEL in the reason", "HTTP/1.1 200 O\x7fK\r\n\r\n", httpparse.BadStatusLine, 14},
		{"CR in the reason", "HTTP/1.1 200 O\rK\r\n\r\n", httpparse.BadLineEnd, 14},
		{"LF ends the status line", "HTTP/1.1 200 OK\nA: b\r\n\r\n", httpparse.BadLineEnd, 15},
		{"folded line", line + "A: b\r\n c\r\n\r\n", httpparse.BadFieldName, 23},
		{"blank before the first field", line + " A: b\r\n\r\n", httpparse.BadFieldName, 17},
		{"space before the colon", line + "A : b\r\n\r\n", httpparse.BadFieldName, 18},
		{"no colon", line + "A\r\n\r\n", httpparse.BadFieldName, 18},
		{"NUL in a value", line + "A: b\x00\r\n\r\n", httpparse.BadFieldValue, 21},
		{"CR in a value", line + "A: b\rc\r\n\r\n", httpparse.BadLineEnd, 21},
		{"LF ends a line", line + "A: b\n\r\n", httpparse.BadLineEnd, 21},
		{"LF ends the head", line + "A: b\r\n\n", httpparse.BadLineEnd, 23},
		{"Content_Length", line + "Content_Length: 1\r\n\r\n", httpparse.ObscuredField, 17},
		{"too many fields", line + strings.Repeat("a:b\r\n", maxFields+1) + "\r\n", httpparse.TooManyFields, 17 + 5*maxFields},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, behind := range []string{"", "x", "\r\n\r\n"} {
				_, _, err := arriveAnyhow(t, parseResponse(new(httpparse.Response)), []byte(test.head+behind))
				wantError(t, err, test.kind, test.offset)
			}
		})
	}
}

func TestResponseRefusedEarly(t *testing.T) {
	long := strings.Repeat("x", 4000)
	for _, head := range []string{
		"<", "HTTP/1.1 2x", "HTTP/1.1 200 " + long + "\n", "HTTP/1.2",
		"HTTP/1.1 200 OK\r\nA: " + long + "\r\nB : c\r\n",
	} {
		wantRefusedAt(t, parseResponse(new(httpparse.Response)), []byte(head))
	}
}
