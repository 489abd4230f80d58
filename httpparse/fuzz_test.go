package httpparse_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"millrace/httpparse"
)

// maxFuzz bounds what is fuzzed, in bytes: each input is parsed byte by byte, and longer ones find nothing more.
const maxFuzz = 4 << 10

// twoCuts makes two places to split n bytes at from whatever the fuzzer has come up with.
func twoCuts(n int, a, b uint16) []int {
	cuts := []int{int(a) % (n + 1), int(b) % (n + 1)}
	slices.Sort(cuts)
	return cuts
}

// wantSameSplit fails unless input yields the same whole, in three pieces, and byte by byte. It returns that.
func wantSameSplit(t *testing.T, parse parser, input []byte, a, b uint16) (n int, found string, err error) {
	t.Helper()
	n, found, err = arrive(t, parse, input)
	for _, cuts := range [][]int{twoCuts(len(input), a, b), eachByte(len(input))} {
		n2, found2, err2 := arrive(t, parse, input, cuts...)
		if err != nil && err != httpparse.ErrNeedMore && err2 == httpparse.ErrNeedMore {
			// Input that comes in pieces may be refused only when the line has ended that is wrong.
			ended := append(slices.Clip(input), '\n')
			n2, found2, err2 = arrive(t, parse, ended, append(cuts, len(input))...)
		}
		if n2 != n || !sameError(err2, err) || found2 != found {
			t.Fatalf("%q\nwhole: %d %v %s\nsplit: %d %v %s", input, n, err, found, n2, err2, found2)
		}
	}
	return n, found, err
}

// wantFinal fails if more input changes an answer.
func wantFinal(t *testing.T, parse parser, input []byte, n int, found string, err error) {
	t.Helper()
	if err == httpparse.ErrNeedMore {
		return
	}
	n2, found2, err2 := parse(append(slices.Clip(input), "\r\n\r\nGET / HTTP/1.1\r\n\r\n"...), 0)
	if n2 != n || !sameError(err2, err) || found2 != found {
		t.Fatalf("%q\n%d %v %s\nwith more: %d %v %s", input, n, err, found, n2, err2, found2)
	}
}

// appendFields writes field lines as they were parsed.
func appendFields(dst, buf []byte, fields []httpparse.Field) []byte {
	for _, f := range fields {
		dst = fmt.Appendf(dst, "%s: %s\r\n", f.Name.Of(buf), f.Value.Of(buf))
	}
	return append(dst, "\r\n"...)
}

func FuzzRequest(f *testing.F) {
	f.Fuzz(func(t *testing.T, input []byte, a, b uint16) {
		if len(input) > maxFuzz {
			return
		}
		var r httpparse.Request
		n, found, err := wantSameSplit(t, parseRequest(&r), input, a, b)
		wantFinal(t, parseRequest(new(httpparse.Request)), input, n, found, err)
		if err != nil {
			return
		}
		// Here r is of the last split, and describeRequest has resolved each view in a buffer that ended
		// with what had arrived.
		head := input[:n]
		describeRequest(head, &r)

		again := fmt.Appendf(nil, "%s %s HTTP/1.%d\r\n", r.MethodName.Of(head), r.Target.Of(head), r.Version%10)
		again = appendFields(again, head, r.Fields)
		n2, found2, err2 := arrive(t, parseRequest(new(httpparse.Request)), again)
		if err2 != nil || n2 != len(again) || found2 != found {
			t.Fatalf("%q\n%s\nwritten again: %q\n%v %s", head, found, again, err2, found2)
		}
		framing, err := httpparse.RequestFraming(head, &r)
		if err == nil && framing.Kind == httpparse.BodyUntilClose || framing.Length < 0 {
			t.Fatalf("%q: %+v", head, framing)
		}
	})
}

func FuzzResponse(f *testing.F) {
	f.Fuzz(func(t *testing.T, input []byte, a, b uint16) {
		if len(input) > maxFuzz {
			return
		}
		var r httpparse.Response
		n, found, err := wantSameSplit(t, parseResponse(&r), input, a, b)
		wantFinal(t, parseResponse(new(httpparse.Response)), input, n, found, err)
		if err != nil {
			return
		}
		head := input[:n]
		again := fmt.Appendf(nil, "HTTP/1.%d %d %s\r\n", r.Version%10, r.Status, r.Reason.Of(head))
		again = appendFields(again, head, r.Fields)
		n2, found2, err2 := arrive(t, parseResponse(new(httpparse.Response)), again)
		if err2 != nil || n2 != len(again) || found2 != found {
			t.Fatalf("%q\n%s\nwritten again: %q\n%v %s", head, found, again, err2, found2)
		}
		for _, method := range []httpparse.Method{httpparse.MethodGet, httpparse.MethodHead} {
			framing, err := httpparse.ResponseFraming(head, &r, method)
			if err == nil && method == httpparse.MethodHead && framing.Kind != httpparse.BodyNone || framing.Length < 0 {
				t.Fatalf("%q: %+v", head, framing)
			}
		}
	})
}

func FuzzTrailer(f *testing.F) {
	f.Fuzz(func(t *testing.T, input []byte, a, b uint16) {
		if len(input) > maxFuzz {
			return
		}
		n, found, err := wantSameSplit(t, parseTrailer(), input, a, b)
		wantFinal(t, parseTrailer(), input, n, found, err)
		if err != nil {
			return
		}
		// A section is what follows the first line of a head.
		var r httpparse.Response
		r.Fields = make([]httpparse.Field, 0, maxFields-1)
		const line = "HTTP/1.1 200 OK\r\n"
		head := append([]byte(line), input...)
		n2, err := httpparse.ParseResponse(head, 0, &r)
		if err != nil || n2 != len(line)+n || describeFields(head, r.Fields) != found {
			t.Fatalf("%q\n%d %s\nin a head: %d %v %s", input, n, found, n2, err, describeFields(head, r.Fields))
		}
	})
}

func FuzzChunked(f *testing.F) {
	f.Fuzz(func(t *testing.T, input []byte, a, b uint16) {
		if len(input) > maxFuzz {
			return
		}
		payload, offset, err := decode(t, input)
		for _, cuts := range [][]int{twoCuts(len(input), a, b), eachByte(len(input))} {
			payload2, offset2, err2 := decode(t, input, cuts...)
			if payload2 != payload || offset2 != offset || !sameChunkError(err2, err) {
				t.Fatalf("%q\nwhole: %q %d %v\nsplit: %q %d %v", input, payload, offset, err, payload2, offset2, err2)
			}
		}
		if err != nil {
			return
		}
		// Framed anew, it is the same payload.
		var again []byte
		if len(payload) > 0 {
			again = httpparse.AppendChunkSize(again, len(payload))
			again = append(again, payload...)
			again = append(again, "\r\n"...)
		}
		again = append(again, "0\r\n"...)
		if payload2, offset2, err := decode(t, again); payload2 != payload || offset2 != len(again) || err != nil {
			t.Fatalf("%q %d %v, want %q", payload2, offset2, err, payload)
		}
		wantSameChunks(t, input[:offset], payload)
	})
}

// wantSameChunks fails if net/http takes the chunks in framed for another payload, or does not end where they do.
func wantSameChunks(t *testing.T, framed []byte, payload string) {
	t.Helper()
	const end, behind = "\r\n", "HTTP/1.1 200 behind\r\n\r\n"
	wire := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + string(framed) + end + behind
	conn := bufio.NewReaderSize(strings.NewReader(wire), len(wire)+16)
	res, err := http.ReadResponse(conn, nil)
	if err != nil {
		t.Fatalf("%q\nnet/http: %v", wire, err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		if !strings.Contains(err.Error(), "too much non-data") {
			t.Fatalf("%q\nnet/http: %v", wire, err)
		}
		return // it bounds extensions by the payload that they come with, we by the line
	}
	wantSame(t, wire, "net/http", "payload", string(body), payload)
	if left, err := io.ReadAll(conn); err != nil || string(left) != behind {
		t.Fatalf("%q\nnet/http has left %q %v", wire, left, err)
	}
}
