package httpparse_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"millrace/httpparse"
)

// maxMethod is the length of the longest method that is accepted.
const maxMethod = 32

// maxFields is how many field lines the tests accept.
const maxFields = 24

// parser is one of the functions under test; it returns what it found in words that are the same only if all
// of it is the same.
type parser func(buf []byte, scanned int) (n int, found string, err error)

func parseRequest(r *httpparse.Request) parser {
	if r.Fields == nil {
		r.Fields = make([]httpparse.Field, 0, maxFields)
	}
	return func(buf []byte, scanned int) (int, string, error) {
		n, err := httpparse.ParseRequest(buf, scanned, r)
		return n, describeRequest(buf, r), err
	}
}

func parseResponse(r *httpparse.Response) parser {
	if r.Fields == nil {
		r.Fields = make([]httpparse.Field, 0, maxFields)
	}
	return func(buf []byte, scanned int) (int, string, error) {
		n, err := httpparse.ParseResponse(buf, scanned, r)
		return n, describeResponse(buf, r), err
	}
}

// parseTrailer leaves one field in the array that is not of the section, to see that it stays.
func parseTrailer() parser {
	fields := make([]httpparse.Field, 1, maxFields)
	return func(buf []byte, scanned int) (int, string, error) {
		out, n, err := httpparse.ParseTrailer(buf, scanned, fields)
		return n, describeFields(buf, out[1:]), err
	}
}

var formNames = map[httpparse.TargetForm]string{
	httpparse.FormOrigin:    "origin",
	httpparse.FormAbsolute:  "absolute",
	httpparse.FormAuthority: "authority",
	httpparse.FormAsterisk:  "asterisk",
}

func describeRequest(buf []byte, r *httpparse.Request) string {
	return fmt.Sprintf("%s|%s %s %q authority=%q path=%q pathquery=%q %d%s%s",
		r.MethodName.Of(buf), r.Method, formNames[r.Form], r.Target.Of(buf), r.Authority.Of(buf), r.Path.Of(buf),
		r.PathQuery.Of(buf), r.Version, describeConnection(&r.Head), describeFields(buf, r.Fields))
}

func describeResponse(buf []byte, r *httpparse.Response) string {
	return fmt.Sprintf("%d %q %d%s%s", r.Status, r.Reason.Of(buf), r.Version, describeConnection(&r.Head),
		describeFields(buf, r.Fields))
}

func describeConnection(h *httpparse.Head) string {
	s := ""
	if h.ConnClose {
		s += " close"
	}
	if h.ConnKeepAlive {
		s += " keep-alive"
	}
	if h.ConnNames {
		s += " names"
	}
	return s
}

func describeFields(buf []byte, fields []httpparse.Field) string {
	var s strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&s, " [%s: %q]", f.Name.Of(buf), f.Value.Of(buf))
	}
	return s.String()
}

// arrive gives input to parse as it would arrive in pieces that end at cuts, until it has an answer.
func arrive(t testing.TB, parse parser, input []byte, cuts ...int) (n int, found string, err error) {
	t.Helper()
	scanned := 0
	for _, end := range append(cuts, len(input)) {
		n, found, err = parse(guarded(t, input[:end]), scanned)
		if err != httpparse.ErrNeedMore {
			return n, found, err
		}
		if n != 0 {
			t.Fatalf("%d bytes with ErrNeedMore", n)
		}
		scanned = end
	}
	return n, found, err
}

// arriveAnyhow parses input whole, byte by byte, and in two pieces split anywhere, and fails unless the answer
// is always the same, which it returns.
func arriveAnyhow(t testing.TB, parse parser, input []byte) (n int, found string, err error) {
	t.Helper()
	n, found, err = arrive(t, parse, input)
	compare := func(how string, cuts ...int) {
		t.Helper()
		n2, found2, err2 := arrive(t, parse, input, cuts...)
		if n2 != n || !sameError(err2, err) || found2 != found {
			t.Fatalf("%q\nwhole: %d %v %s\n%s: %d %v %s", input, n, err, found, how, n2, err2, found2)
		}
	}
	for i := range input {
		compare(fmt.Sprintf("split at %d", i), i)
	}
	compare("byte by byte", eachByte(len(input))...)
	return n, found, err
}

// eachByte returns the cuts that make n bytes arrive one by one.
func eachByte(n int) []int {
	cuts := make([]int, n)
	for i := range cuts {
		cuts[i] = i
	}
	return cuts
}

// wantRefusedAt fails unless input, arriving byte by byte, is refused at its last byte and not before.
func wantRefusedAt(t *testing.T, parse parser, input []byte) {
	t.Helper()
	last := len(input) - 1
	if _, _, err := arrive(t, parse, input[:last], eachByte(last)...); err != httpparse.ErrNeedMore {
		t.Errorf("%.40q: refused too early: %v", input, err)
	}
	if _, _, err := parse(guarded(t, input), last); err == nil || err == httpparse.ErrNeedMore {
		t.Errorf("%.40q: not refused: %v", input, err)
	}
}

// sameError reports whether two results are the same kind of error at the same place, or both none.
func sameError(a, b error) bool {
	var x, y *httpparse.Error
	if errors.As(a, &x) && errors.As(b, &y) {
		return *x == *y
	}
	return a == b
}

// wantError fails unless err is of the given kind, at the offset unless that is negative.
func wantError(t *testing.T, err error, kind httpparse.Kind, offset int) {
	t.Helper()
	var e *httpparse.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v, want an error: %s", err, kind)
	}
	if e.Kind != kind || offset >= 0 && e.Offset != offset {
		t.Fatalf("%v, want at byte %d: %s", err, offset, kind)
	}
}
