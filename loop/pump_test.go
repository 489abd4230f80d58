package loop

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"millrace/httpparse"
)

// feed gives a pump a framed body as a session would: in windows that end anywhere, in the relay buffer or
// behind what was left over. It returns what the pump wants sent.
type feed struct {
	p       *pump
	kept    []byte // left over: presented again, not in place
	sent    []byte
	used    int
	windows int
}

// next presents read, freshly read bytes, behind what was left over. head goes in front of what is sent.
func (f *feed) next(head, read []byte, inPlace bool) error {
	f.windows++
	var v window
	switch {
	case len(f.kept) > 0 && len(read) > 0 && !f.p.starved:
		return errors.New("the pump left bytes that it does not need more for")
	case len(f.kept) > 0 || !inPlace:
		// A buffer of a session or connection, with something in front that has to stay.
		base := append(append([]byte("in front"), f.kept...), read...)
		v = window{base, len("in front"), len(base), false}
	default:
		base := make([]byte, headRoom+len(read)+tailRoom)
		copy(base[headRoom:], read)
		v = window{base, headRoom, headRoom + len(read), true}
	}
	before := bytes.Clone(v.bytes())
	out, used, err := f.p.frame(head, v)
	if err != nil {
		return err
	}
	if used < 0 || used > len(before) {
		return fmt.Errorf("%d bytes of a window of %d were used", used, len(before))
	}
	f.sent = append(f.sent, out...)
	f.used += used
	f.kept = v.from(used).bytes()
	if !bytes.Equal(f.kept, before[used:]) {
		return fmt.Errorf("what was not used has become %q, was %q", f.kept, before[used:])
	}
	if !v.inPlace && !bytes.HasPrefix(v.base, []byte("in front")) {
		return fmt.Errorf("what is in front has become %q", v.base[:v.r])
	}
	f.kept = bytes.Clone(f.kept)
	return nil
}

// body is one body as it arrives, and what has to come of it.
type body struct {
	in       httpparse.Framing
	payload  string
	framed   string
	trailers http.Header // those that pass
}

func drawBody(t *rapid.T) body {
	b := body{
		in:       httpparse.Framing{Kind: rapid.SampledFrom([]httpparse.BodyKind{httpparse.BodyLength, httpparse.BodyChunked, httpparse.BodyUntilClose}).Draw(t, "kind")},
		payload:  letters(rapid.OneOf(rapid.IntRange(0, 40), rapid.IntRange(0, 3000)).Draw(t, "size")),
		trailers: http.Header{},
	}
	b.framed = b.payload
	switch b.in.Kind {
	case httpparse.BodyLength:
		b.in.Length = int64(len(b.payload))
	case httpparse.BodyChunked:
		var framed strings.Builder
		for rest := b.payload; rest != ""; {
			n := rapid.IntRange(1, min(len(rest), rapid.SampledFrom([]int{2, 20, 1000}).Draw(t, "chunk's order"))).Draw(t, "chunk")
			format := rapid.SampledFrom([]string{"%x", "%X", "%04x", "%x;ext", "%x;a=\"b;c\""}).Draw(t, "size line")
			fmt.Fprintf(&framed, format+"\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		framed.WriteString(rapid.SampledFrom([]string{"0\r\n", "000\r\n", "0;last\r\n"}).Draw(t, "last chunk"))
		for i := range rapid.IntRange(0, 3).Draw(t, "trailers") {
			if rapid.Bool().Draw(t, "forbidden") {
				framed.WriteString("Content-Length: 5\r\n")
				continue
			}
			name := fmt.Sprint("X-Trailer-", i)
			framed.WriteString(name + ": some value\r\n")
			b.trailers.Set(name, "some value")
		}
		framed.WriteString("\r\n")
		b.framed = framed.String()
	}
	return b
}

// check decodes what was sent, with net/http, which knows nothing of the pump.
func (b *body) check(sent string, chunked bool) error {
	if !chunked {
		if sent != b.payload {
			return fmt.Errorf("sent %s, want %s", excerpt(sent), excerpt(b.payload))
		}
		return nil
	}
	r := bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + sent))
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(res.Body)
	if err != nil || string(got) != b.payload {
		return fmt.Errorf("sent %s, which is read as %s, %v, want %s", excerpt(sent), excerpt(string(got)), err, excerpt(b.payload))
	}
	if len(res.Trailer) != len(b.trailers) {
		return fmt.Errorf("sent the trailers %q, want %q", res.Trailer, b.trailers)
	}
	for name := range b.trailers {
		if res.Trailer.Get(name) != b.trailers.Get(name) {
			return fmt.Errorf("sent the trailers %q, want %q", res.Trailer, b.trailers)
		}
	}
	if rest, _ := io.ReadAll(r); len(rest) > 0 {
		return fmt.Errorf("sent %q behind the end", rest)
	}
	if strings.Contains(sent, ";") {
		return errors.New("sent a chunk extension")
	}
	return nil
}

func TestAnyBodySplitAnywhereLeavesAsTheSamePayload(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBody(t)
		// A length is not turned into chunks: see session.relayHead.
		chunked := b.in.Kind != httpparse.BodyLength && rapid.Bool().Draw(t, "leaves in chunks")
		head := strings.Repeat("h", rapid.SampledFrom([]int{0, 1, 300, headRoom, headRoom + 1}).Draw(t, "head"))
		behind := ""
		if b.in.Kind != httpparse.BodyUntilClose {
			behind = rapid.SampledFrom([]string{"", "GET /next HTTP/1.1\r\n\r\n", "\r\n0\r\n\r\n"}).Draw(t, "behind")
		}
		var p pump
		p.start(b.in, chunked)
		if p.done {
			if b.framed != "" {
				t.Fatal("done before it began")
			}
			return
		}
		f := feed{p: &p}
		size := rapid.SampledFrom([]int{1, 3, 10, 200, 5000}).Draw(t, "windows of up to")
		front := []byte(head)
		for input := b.framed + behind; !p.done && f.used < len(b.framed); {
			n := 0
			if len(f.kept) == 0 || p.starved {
				n = min(len(input), rapid.IntRange(1, size).Draw(t, "window"))
			}
			if n == 0 && len(f.kept) == 0 {
				t.Fatal("out of input")
			}
			read := []byte(input[:n])
			input = input[n:]
			if err := f.next(front, read, rapid.Bool().Draw(t, "in place")); err != nil {
				t.Fatal(err)
			}
			front = nil
			if f.windows > 3*len(b.framed)+10 {
				t.Fatal("the pump makes no progress")
			}
			if p.done != (b.in.Kind != httpparse.BodyUntilClose && f.used == len(b.framed)) {
				t.Fatalf("done: %v after %d of %d bytes", p.done, f.used, len(b.framed))
			}
		}
		if b.in.Kind == httpparse.BodyUntilClose {
			if p.done {
				t.Fatal("done before the connection's end")
			}
			f.sent = append(f.sent, p.finish()...)
			if f.windows == 0 {
				f.sent = append([]byte(head), f.sent...)
			}
		}
		if f.used != len(b.framed) {
			t.Fatalf("%d bytes were used, want %d", f.used, len(b.framed))
		}
		if p.payload != int64(len(b.payload)) {
			t.Errorf("payload is %d, want %d", p.payload, len(b.payload))
		}
		rest, ok := strings.CutPrefix(string(f.sent), head)
		if !ok {
			t.Fatalf("what is sent begins with %.20q", f.sent)
		}
		if err := b.check(rest, chunked); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAPumpRefusesWhatIsNoChunk(t *testing.T) {
	for _, wrong := range []string{"x", "\r\n", "3\r\nabcd", "3\r\nabc\n", "0\r\nX : y\r\n\r\n", "ffffffffffffffffff\r\n", "1\n"} {
		for split := range len(wrong) {
			var p pump
			p.start(httpparse.Framing{Kind: httpparse.BodyChunked}, true)
			f := feed{p: &p}
			err := f.next(nil, []byte(wrong[:split]), true)
			if err == nil {
				err = f.next(nil, []byte(wrong[split:]), true)
			}
			if err == nil || p.done {
				t.Errorf("%q split at %d: %v, done: %v", wrong, split, err, p.done)
			}
		}
	}
}

func TestATrailerSectionIsBounded(t *testing.T) {
	for name, section := range map[string]string{
		"bytes":  strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 20),
		"fields": strings.Repeat("X: y\r\n", maxTrailerFields+1) + "\r\n",
	} {
		for _, size := range []int{100, 4096, len(section)} {
			var p pump
			p.start(httpparse.Framing{Kind: httpparse.BodyChunked}, true)
			f := feed{p: &p}
			var err error
			for rest := "0\r\n" + section; rest != "" && err == nil; {
				n := min(len(rest), size)
				err = f.next(nil, []byte(rest[:n]), true)
				rest = rest[n:]
			}
			if err == nil || p.done {
				t.Errorf("too many %s in windows of %d: %v, done: %v", name, size, err, p.done)
			}
		}
	}
}

func TestABodyThatIsDoneTakesNothingMore(t *testing.T) {
	for _, in := range []httpparse.Framing{{Kind: httpparse.BodyNone}, {Kind: httpparse.BodyLength}} {
		var p pump
		p.start(in, false)
		out, used, err := p.frame([]byte("head"), window{[]byte("next"), 0, 4, false})
		if !p.done || string(out) != "head" || used != 0 || err != nil {
			t.Errorf("%v: sent %q, used %d, %v", in, out, used, err)
		}
	}
}

func TestOnePieceIsFramedWhereItLies(t *testing.T) {
	// The usual window holds one piece: it must not be copied.
	for _, in := range []httpparse.Framing{{Kind: httpparse.BodyLength, Length: 5}, {Kind: httpparse.BodyChunked}, {Kind: httpparse.BodyUntilClose}} {
		read := "12345"
		if in.Kind == httpparse.BodyChunked {
			read = "5\r\n12345\r\n0\r\n\r\n"
		}
		base := make([]byte, headRoom+len(read)+tailRoom)
		copy(base[headRoom:], read)
		var p pump
		p.start(in, in.Kind != httpparse.BodyLength)
		out, _, err := p.frame([]byte("head"), window{base, headRoom, headRoom + len(read), true})
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(base, out)
		if at < 0 || &base[at] != &out[0] {
			t.Errorf("%v: %q was copied", in, out)
		}
	}
}
