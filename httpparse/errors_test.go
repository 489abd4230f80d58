package httpparse_test

import (
	"strings"
	"testing"

	"millrace/httpparse"
)

func TestEveryKindHasWordsAndStatus(t *testing.T) {
	seen := map[string]bool{}
	for kind := httpparse.BadRequestLine; kind <= httpparse.BadChunkEnd; kind++ {
		err := &httpparse.Error{Offset: 7, Kind: kind}
		switch err.Status() {
		case 400, 414, 431, 501, 505:
		default:
			t.Errorf("kind %d: status %d", kind, err.Status())
		}
		words := kind.String()
		if words == "" || seen[words] {
			t.Errorf("kind %d: %q", kind, words)
		}
		seen[words] = true
		if !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), "byte 7") {
			t.Errorf("kind %d: %v", kind, err)
		}
	}
}

func TestMethods(t *testing.T) {
	for method, test := range map[httpparse.Method]struct {
		name       string
		idempotent bool
	}{
		httpparse.MethodOther:   {"other", false},
		httpparse.MethodGet:     {"GET", true},
		httpparse.MethodHead:    {"HEAD", true},
		httpparse.MethodPost:    {"POST", false},
		httpparse.MethodPut:     {"PUT", true},
		httpparse.MethodDelete:  {"DELETE", true},
		httpparse.MethodConnect: {"CONNECT", false},
		httpparse.MethodOptions: {"OPTIONS", true},
		httpparse.MethodTrace:   {"TRACE", true},
		httpparse.MethodPatch:   {"PATCH", false},
	} {
		if method.String() != test.name || method.Idempotent() != test.idempotent {
			t.Errorf("%s: %s %t", test.name, method, method.Idempotent())
		}
		if method == httpparse.MethodOther || method == httpparse.MethodConnect {
			continue
		}
		r := httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 1)}}
		if _, err := httpparse.ParseRequest([]byte(test.name+" / HTTP/1.1\r\nHost: h\r\n\r\n"), 0, &r); err != nil || r.Method != method {
			t.Errorf("%s: %s %v", test.name, r.Method, err)
		}
	}
}
