package httpparse

// MaxChunkExtension bounds the extensions behind a chunk size, in bytes. Nobody uses them; a peer that
// sends a megabyte of them with each byte of payload is up to no good.
const MaxChunkExtension = 256

// maxChunkDigits bounds a chunk size: 15 hexadecimal digits always fit into an int64, and a sixteenth does
// while the first is 0 to 7.
const maxChunkDigits = 16

// Chunked decodes chunked framing (RFC 9112, 7.1). It can be stopped and resumed at any byte. The zero
// value is ready for the first chunk.
type Chunked struct {
	state     chunkState
	digits    uint8 // of the present size
	extension uint16
	left      int64 // payload bytes of the present chunk that are to come
}

// chunkState is what the decoder expects next.
type chunkState uint8

const (
	chunkSize      chunkState = iota // the first digit of a size
	chunkDigits                      // more digits, ';', or CR
	chunkExtension                   // the rest of the extensions, or CR
	chunkSizeLF                      // LF behind the size line's CR
	chunkPayload                     // payload
	chunkEndCR                       // CR behind the payload
	chunkEndLF                       // and its LF
	chunkLast                        // the last chunk has been read: the trailer section follows
)

// Reset makes c ready for a new body.
func (c *Chunked) Reset() { *c = Chunked{} }

// Next reads framing from the beginning of b. framing is the number of framing bytes that come first, and
// payload that of the payload bytes behind them: the caller consumes both. When they are len(b) together,
// more input is needed. last says that the last chunk's line has been consumed: the trailer section begins
// at b[framing:], and Next must not be called again. An *Error's offset counts from the beginning of b, of
// which nothing is consumed then; c is of no more use until Reset.
func (c *Chunked) Next(b []byte) (framing, payload int, last bool, err error) {
	for i := 0; i < len(b); i++ {
		x := b[i]
		switch c.state {
		case chunkPayload:
			payload = int(min(c.left, int64(len(b)-i)))
			if c.left -= int64(payload); c.left == 0 {
				c.state = chunkEndCR
			}
			return i, payload, false, nil
		case chunkSize, chunkDigits:
			if d, ok := hexDigit(x); ok {
				if c.digits++; c.digits > maxChunkDigits || c.left>>(63-4) != 0 {
					return 0, 0, false, syntax(BadChunkSize, i)
				}
				c.left = c.left<<4 | int64(d)
				c.state = chunkDigits
				continue
			}
			switch {
			case c.state == chunkSize:
				return 0, 0, false, syntax(BadChunkSize, i)
			case x == '\r':
				c.state = chunkSizeLF
			case x == ';':
				c.state = chunkExtension
			default:
				return 0, 0, false, syntax(BadChunkSize, i)
			}
		case chunkExtension:
			if x == '\r' {
				c.state = chunkSizeLF
				continue
			}
			if c.extension++; c.extension > MaxChunkExtension || x < 0x20 && x != '\t' || x == 0x7f {
				return 0, 0, false, syntax(BadChunkExtension, i)
			}
		case chunkSizeLF:
			if x != '\n' {
				return 0, 0, false, syntax(BadChunkSize, i)
			}
			c.digits, c.extension = 0, 0
			if c.left == 0 {
				c.state = chunkLast
				return i + 1, 0, true, nil
			}
			c.state = chunkPayload
		case chunkEndCR:
			if x != '\r' {
				return 0, 0, false, syntax(BadChunkEnd, i)
			}
			c.state = chunkEndLF
		case chunkEndLF:
			if x != '\n' {
				return 0, 0, false, syntax(BadChunkEnd, i)
			}
			c.state = chunkSize
		case chunkLast:
			panic("httpparse: Chunked.Next after the last chunk")
		}
	}
	return len(b), 0, false, nil
}

// Payload returns how many bytes of the present chunk's payload come next: none where framing is expected.
func (c *Chunked) Payload() int64 {
	if c.state != chunkPayload {
		return 0
	}
	return c.left
}

// Skip takes n bytes of payload as read, which are no more than Payload says: whoever knows where they end need not
// look at them.
func (c *Chunked) Skip(n int) {
	if n == 0 {
		return
	}
	if n < 0 || int64(n) > c.Payload() {
		panic("httpparse: Chunked.Skip beyond the payload")
	}
	if c.left -= int64(n); c.left == 0 {
		c.state = chunkEndCR
	}
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// AppendChunkSize appends the line that begins a chunk of n bytes: its size in lower-case hexadecimal, and CRLF.
func AppendChunkSize(dst []byte, n int) []byte {
	const digits = "0123456789abcdef"
	shift := 0
	for n>>shift > 0xf {
		shift += 4
	}
	for ; shift >= 0; shift -= 4 {
		dst = append(dst, digits[n>>shift&0xf])
	}
	return append(dst, '\r', '\n')
}
