package httpparse_test

import (
	"fmt"
	"strings"
	"testing"

	"millrace/httpparse"
)

// decode gives input to a decoder as it would arrive in pieces that end at cuts. It returns the payload, the
// offset of the trailer section or of the error, and the error: ErrNeedMore if the input has no end.
func decode(t testing.TB, input []byte, cuts ...int) (payload string, offset int, err error) {
	t.Helper()
	var c httpparse.Chunked
	var out strings.Builder
	for _, end := range append(cuts, len(input)) {
		for offset < end {
			rest := guarded(t, input[offset:end])
			framing, n, last, err := c.Next(rest)
			if err != nil {
				if framing != 0 || n != 0 || last {
					t.Fatalf("%d %d %t with %v", framing, n, last, err)
				}
				return out.String(), offset + err.(*httpparse.Error).Offset, err
			}
			if framing < 0 || n < 0 || framing+n > len(rest) || framing+n == 0 {
				t.Fatalf("%d %d of %d", framing, n, len(rest))
			}
			out.Write(rest[framing : framing+n])
			offset += framing + n
			if last {
				if n != 0 {
					t.Fatalf("%d bytes of payload in the last chunk", n)
				}
				return out.String(), offset, nil
			}
		}
	}
	return out.String(), offset, httpparse.ErrNeedMore
}

// decodeAnyhow decodes input whole, byte by byte and split anywhere, and fails unless the answer is the same.
func decodeAnyhow(t testing.TB, input []byte) (payload string, offset int, err error) {
	t.Helper()
	payload, offset, err = decode(t, input)
	compare := func(how string, cuts ...int) {
		t.Helper()
		payload2, offset2, err2 := decode(t, input, cuts...)
		if payload2 != payload || offset2 != offset || !sameChunkError(err2, err) {
			t.Fatalf("%q\nwhole: %q %d %v\n%s: %q %d %v", input, payload, offset, err, how, payload2, offset2, err2)
		}
	}
	for i := range input {
		compare(fmt.Sprintf("split at %d", i), i)
	}
	compare("byte by byte", eachByte(len(input))...)
	return payload, offset, err
}

// sameChunkError compares kinds only: an error's offset counts from the piece that it was found in.
func sameChunkError(a, b error) bool {
	x, ok := a.(*httpparse.Error)
	y, ok2 := b.(*httpparse.Error)
	if ok && ok2 {
		return x.Kind == y.Kind
	}
	return a == b
}

func TestChunked(t *testing.T) {
	extension := strings.Repeat("x", httpparse.MaxChunkExtension)
	for _, test := range []struct{ name, body, payload string }{
		{"no chunk", "0\r\n", ""},
		{"last chunk of many zeros", "0000000000000000\r\n", ""},
		{"one chunk", "5\r\nhello\r\n0\r\n", "hello"},
		{"chunks", "1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n000\r\n", "abcdef"},
		{"leading zeros", "0005\r\nhello\r\n0\r\n", "hello"},
		{"letters of both cases", "a\r\n0123456789\r\nA\r\nabcdefghij\r\n0\r\n", "0123456789abcdefghij"},
		{"several digits", "1f\r\n" + strings.Repeat("x", 31) + "\r\n10\r\n" + strings.Repeat("y", 16) + "\r\n0\r\n", strings.Repeat("x", 31) + strings.Repeat("y", 16)},
		{"extensions", "1;a\r\nx\r\n1;a=b;c=\"d;e\"\r\ny\r\n0;last\r\n", "xy"},
		{"bytes of extensions", "1; \t\x80\xff;;=\"\r\nx\r\n0;\r\n", "x"},
		{"longest extensions", "1;" + extension + "\r\nx\r\n2;" + extension + "\r\nyz\r\n0\r\n", "xyz"},
		{"payload that looks like framing", "7\r\n\r\n0\r\n\r\n\r\n0\r\n", "\r\n0\r\n\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, behind := range []string{"", "\r\n", "A: b\r\n\r\n", "0\r\n\r\n"} {
				payload, offset, err := decodeAnyhow(t, []byte(test.body+behind))
				if err != nil || payload != test.payload || offset != len(test.body) {
					t.Errorf("%q %d %v, want %q %d", payload, offset, err, test.payload, len(test.body))
				}
			}
			for end := range len(test.body) {
				if _, offset, err := decodeAnyhow(t, []byte(test.body[:end])); err != httpparse.ErrNeedMore || offset != end {
					t.Errorf("%d bytes: %v", end, err)
				}
			}
		})
	}
}

func TestChunkedRefused(t *testing.T) {
	for _, test := range []struct {
		name, body string
		kind       httpparse.Kind
		offset     int
	}{
		{"no size", "\r\nhello\r\n", httpparse.BadChunkSize, 0},
		{"no size but an extension", ";a\r\n", httpparse.BadChunkSize, 0},
		{"no digit", "x\r\n", httpparse.BadChunkSize, 0},
		{"minus", "-1\r\n", httpparse.BadChunkSize, 0},
		{"plus", "+1\r\n", httpparse.BadChunkSize, 0},
		{"prefix", "0x1\r\nx\r\n", httpparse.BadChunkSize, 1},
		{"underscore", "1_0\r\n", httpparse.BadChunkSize, 1},
		{"quote", "\"1\"\r\n", httpparse.BadChunkSize, 0},
		{"space before", " 1\r\nx\r\n", httpparse.BadChunkSize, 0},
		{"tab before", "\t1\r\nx\r\n", httpparse.BadChunkSize, 0},
		{"space behind", "1 \r\nx\r\n", httpparse.BadChunkSize, 1},
		{"space before the semicolon", "1 ;a\r\nx\r\n", httpparse.BadChunkSize, 1},
		{"tab before the semicolon", "1\t;a\r\nx\r\n", httpparse.BadChunkSize, 1},
		{"comma", "1,1\r\nx\r\n", httpparse.BadChunkSize, 1},
		{"NUL", "1\x00\r\nx\r\n", httpparse.BadChunkSize, 1},
		{"high byte", "1\xb1\r\nx\r\n", httpparse.BadChunkSize, 1},
		{"letter behind f", "1g\r\n", httpparse.BadChunkSize, 1},
		{"at sign", "1@\r\n", httpparse.BadChunkSize, 1},
		{"LF ends the size", "1\nx\r\n", httpparse.BadChunkSize, 1},
		{"LF ends the last chunk", "0\n\n", httpparse.BadChunkSize, 1},
		{"CR without LF", "1\rx\r\n", httpparse.BadChunkSize, 2},
		{"CR CR LF", "1\r\r\nx\r\n", httpparse.BadChunkSize, 2},
		{"size of 2^63", "8000000000000000\r\n", httpparse.BadChunkSize, 15},
		{"size of 2^64-1", "ffffffffffffffff\r\n", httpparse.BadChunkSize, 15},
		{"size of 2^64", "10000000000000000\r\n", httpparse.BadChunkSize, 16},
		{"size of 2^64 and 5", "10000000000000005\r\nhello\r\n", httpparse.BadChunkSize, 16},
		{"17 digits", "00000000000000000\r\n", httpparse.BadChunkSize, 16},
		{"LF in an extension", "1;a\nx\r\n", httpparse.BadChunkExtension, 3},
		{"NUL in an extension", "1;\x00\r\nx\r\n", httpparse.BadChunkExtension, 2},
		{"DEL in an extension", "1;\x7f\r\nx\r\n", httpparse.BadChunkExtension, 2},
		{"CR in an extension", "1;a\rb\r\nx\r\n", httpparse.BadChunkSize, 4},
		{"CR in a quoted string", "1;a=\"\r\"\r\nx\r\n", httpparse.BadChunkSize, 6},
		{"long extension", "1;" + strings.Repeat("x", httpparse.MaxChunkExtension+1), httpparse.BadChunkExtension, 2 + httpparse.MaxChunkExtension},
		{"long extension of the last chunk", "0;" + strings.Repeat("x", httpparse.MaxChunkExtension+1), httpparse.BadChunkExtension, 2 + httpparse.MaxChunkExtension},
		{"no CRLF behind payload", "1\r\nxy\r\n", httpparse.BadChunkEnd, 4},
		{"LF behind payload", "1\r\nx\n0\r\n\r\n", httpparse.BadChunkEnd, 4},
		{"CR without LF behind payload", "1\r\nx\r0\r\n\r\n", httpparse.BadChunkEnd, 5},
		{"payload shorter than its size", "3\r\nx\r\n0\r\n\r\n", httpparse.BadChunkEnd, 6},
		{"two line ends behind payload", "1\r\nx\r\n\r\n0\r\n\r\n", httpparse.BadChunkSize, 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, behind := range []string{"", "\r\n", "x"} {
				_, offset, err := decodeAnyhow(t, []byte(test.body+behind))
				wantError(t, err, test.kind, -1)
				if offset != test.offset {
					t.Errorf("%v, want at byte %d", err, test.offset)
				}
				if status := err.(*httpparse.Error).Status(); status != 400 {
					t.Errorf("status %d", status)
				}
			}
		})
	}
}

// Wherever CRLF is due, neither half of it will do.
func TestChunkedHalfLineEndsAreRefused(t *testing.T) {
	const body = "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nA: b\r\nC: d\r\n\r\n"
	parse := parseTrailer()
	read := func(body string) error {
		_, n, err := decodeAnyhow(t, []byte(body))
		if err == nil {
			_, _, err = parse(guarded(t, []byte(body[n:])), 0)
		}
		return err
	}
	if err := read(body); err != nil {
		t.Fatal(err)
	}
	for at := range body {
		if body[at] != '\r' {
			continue
		}
		for _, half := range []string{"\n", "\r", "\r\r\n", "\n\r"} {
			wrong := body[:at] + half + body[at+2:]
			if err := read(wrong + "\r\n\r\n"); err == nil || err == httpparse.ErrNeedMore {
				t.Errorf("%q: %v", wrong, err)
			}
		}
	}
}

func TestChunkedLargestSize(t *testing.T) {
	var c httpparse.Chunked
	if framing, n, last, err := c.Next([]byte("7fffffffffffffff\r\nx")); framing != 18 || n != 1 || last || err != nil {
		t.Fatal(framing, n, last, err)
	}
	// A decoder that was stopped in the middle is as good as new.
	c.Reset()
	if framing, n, last, err := c.Next([]byte("0\r\n")); framing != 3 || n != 0 || !last || err != nil {
		t.Fatal(framing, n, last, err)
	}
	if framing, n, last, err := new(httpparse.Chunked).Next(nil); framing != 0 || n != 0 || last || err != nil {
		t.Fatal(framing, n, last, err)
	}
}

// Going on behind the end would read the next message's bytes as chunks: that is our mistake, not the peer's.
func TestChunkedPanicsBehindTheEnd(t *testing.T) {
	var c httpparse.Chunked
	if _, _, last, err := c.Next([]byte("0\r\n")); !last || err != nil {
		t.Fatal(last, err)
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	c.Next([]byte("1\r\n"))
}

func TestAppendChunkSize(t *testing.T) {
	for _, n := range []int{1, 9, 10, 15, 16, 255, 256, 4095, 4096, 65536, 1<<31 - 1, 1 << 40, 1<<63 - 1} {
		got := string(httpparse.AppendChunkSize([]byte("x"), n))
		if want := fmt.Sprintf("x%x\r\n", n); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestSkippedPayloadIsPayloadThatWasRead(t *testing.T) {
	var c httpparse.Chunked
	const head = "a;x=y\r\n"
	framing, payload, last, err := c.Next([]byte(head))
	if framing != len(head) || payload != 0 || last || err != nil || c.Payload() != 10 {
		t.Fatalf("got %d, %d, %v, %v, and %d to come", framing, payload, last, err, c.Payload())
	}
	c.Skip(4)
	if framing, payload, _, err = c.Next([]byte("45")); framing != 0 || payload != 2 || err != nil || c.Payload() != 4 {
		t.Fatalf("got %d, %d, %v, and %d to come", framing, payload, err, c.Payload())
	}
	c.Skip(0)
	c.Skip(4)
	if c.Payload() != 0 {
		t.Fatalf("%d to come at the end of a chunk", c.Payload())
	}
	c.Skip(0)
	if framing, payload, last, err = c.Next([]byte("\r\n0\r\n")); framing != 5 || payload != 0 || !last || err != nil {
		t.Fatalf("got %d, %d, %v, %v, want the last chunk", framing, payload, last, err)
	}
	defer func() {
		if recover() == nil {
			t.Error("more than there is can be skipped")
		}
	}()
	c.Skip(1)
}
