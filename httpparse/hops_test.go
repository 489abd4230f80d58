package httpparse_test

import (
	"testing"

	"millrace/httpparse"
)

func TestMaxForwards(t *testing.T) {
	for fields, want := range map[string]int{
		"":                             -1,
		"Max-Forwards: 0\r\n":          0,
		"max-forwards:  12 \r\n":       12,
		"Max-Forwards: 007\r\n":        7,
		"Max-Forwards: 2147483648\r\n": 1<<31 - 1,
		"Max-Forwards: 99999999999999999999999\r\n": 1<<31 - 1,
		"Max-Forwards:\r\n":                         -2,
		"Max-Forwards: -1\r\n":                      -2,
		"Max-Forwards: +1\r\n":                      -2,
		"Max-Forwards: 1, 1\r\n":                    -2,
		"Max-Forwards: 1 1\r\n":                     -2,
		"Max-Forwards: 0x1\r\n":                     -2,
		"Max-Forwards: 1\r\nMax-Forwards: 1\r\n":    -2,
	} {
		buf := []byte("TRACE / HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n")
		r := httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, maxFields)}}
		if _, err := httpparse.ParseRequest(buf, 0, &r); err != nil {
			t.Fatal(err)
		}
		n, found, err := r.MaxForwards(buf)
		switch {
		case want == -2:
			wantError(t, err, httpparse.BadMaxForwards, -1)
		case err != nil || found != (want >= 0) || found && n != want:
			t.Errorf("%q: %d %v %v, want %d", fields, n, found, err, want)
		}
	}
}
