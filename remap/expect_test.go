package remap

import (
	"strings"
	"testing"

	"millrace/httpparse"
)

// Whether the client has expected it or not, a server is asked once.
func TestAServerIsAskedOnce(t *testing.T) {
	for _, fields := range []string{"", "Expect: 100-continue\r\n", "expect: 100-Continue\r\n"} {
		head := []byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n" + fields + "\r\n")
		r := httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 16)}}
		if _, err := httpparse.ParseRequest(head, 0, &r); err != nil {
			t.Fatal(err)
		}
		for _, expect := range []bool{false, true} {
			facts := RequestFacts{Proto: "http", Body: httpparse.Framing{Kind: httpparse.BodyLength, Length: 4}, Expect: expect}
			out := string(AppendRequest(nil, head, &r, &facts))
			want := 0
			if expect || fields != "" {
				want = 1
			}
			if got := strings.Count(strings.ToLower(out), "\r\nexpect: 100-continue\r\n"); got != want {
				t.Errorf("%q, asking: %v: %q", head, expect, out)
			}
		}
	}
}
