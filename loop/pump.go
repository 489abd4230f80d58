package loop

import (
	"errors"

	"millrace/httpparse"
	"millrace/remap"
)

// maxTrailerBytes bounds a trailer section: checksums and statuses take a few hundred bytes.
const maxTrailerBytes = 8 << 10

// maxTrailerFields bounds the field lines of a trailer section.
const maxTrailerFields = 32

var errTrailerTooLarge = errors.New("trailer section too large")

// window is base[r:w], bytes that were read. With inPlace, the bytes before r are free, and so are those
// behind what is consumed: the framing that a body leaves with is then written around it where it lies.
type window struct {
	base    []byte
	r, w    int
	inPlace bool
}

func (v window) bytes() []byte { return v.base[v.r:v.w] }

// from returns what is left of v behind its first n bytes.
func (v window) from(n int) window { return window{v.base, v.r + n, v.w, v.inPlace} }

// pump takes one body from the framing it arrives in to the framing it leaves in. It moves no bytes
// itself: frame is given what was read and returns what is to be sent.
type pump struct {
	// in has in Length what is known to come: of the body, or of the present chunk. Of a body that lasts until the
	// connection ends, it is what has come: as good a guess as any.
	in      httpparse.Framing
	chunked bool // leave in chunks; else as bare bytes
	dec     httpparse.Chunked
	trailer bool // the last chunk has been read, the trailer section has not
	scanned int  // bytes of an incomplete trailer section that have been looked at
	// starved: what was left of the last window is the beginning of something that needs more bytes.
	starved bool
	done    bool
	// refused: splice does not work with this source. owed: the last chunk's payload was spliced, and its CRLF has not
	// been sent.
	refused, owed bool

	payload int64 // body bytes so far, without framing
	fields  []httpparse.Field
	// trip, unless it is nil, says which trailer fields do not pass: what is edited in a head must not come behind it.
	trip *remap.Trip
}

// start begins a body that arrives as in says, to leave in chunks or as bare bytes.
func (p *pump) start(in httpparse.Framing, chunked bool) {
	p.in, p.chunked = in, chunked
	p.dec.Reset()
	p.trailer, p.scanned, p.starved, p.payload = false, 0, false, 0
	p.refused, p.owed = false, false
	p.done = in.Kind == httpparse.BodyNone || in.Kind == httpparse.BodyLength && in.Length == 0
	if p.fields == nil && in.Kind == httpparse.BodyChunked {
		p.fields = make([]httpparse.Field, 0, maxTrailerFields)
	}
}

// frame consumes the beginning of v and returns head followed by what is to be sent for it. What it
// returns may be empty; it lies behind head or in v, and is gone with the next use of either.
func (p *pump) frame(head []byte, v window) (out []byte, used int, err error) {
	p.starved = false
	switch {
	case p.done:
		return head, 0, nil
	case p.in.Kind == httpparse.BodyChunked:
		out, used, err = p.frameChunked(p.settleChunk(head), v)
		p.in.Length = p.dec.Payload()
		return out, used, err
	case p.in.Kind == httpparse.BodyLength:
		used = int(min(p.in.Length, int64(v.w-v.r)))
		p.in.Length -= int64(used)
		p.done = p.in.Length == 0
	default:
		used = v.w - v.r
		p.in.Length += int64(used)
		head = p.settleChunk(head)
	}
	p.payload += int64(used)
	return p.emit(head, v, piece{0, used}), used, nil
}

// finish ends a body that lasts until the connection does, and returns what is still to be sent.
func (p *pump) finish() []byte {
	p.done = true
	switch {
	case p.owed:
		return owedLastChunk
	case p.chunked:
		return lastChunk
	}
	return nil
}

var (
	lastChunk     = []byte("0\r\n\r\n")
	owedLastChunk = []byte("\r\n0\r\n\r\n")
)

// piece is a run of payload in a window.
type piece struct{ start, end int }

// frameChunked reads pieces until the window ends. The usual window holds one piece, which is framed where
// it lies; the pieces of a window with more of them, or with trailer fields, are copied behind head.
func (p *pump) frameChunked(head []byte, v window) (out []byte, used int, err error) {
	win := v.bytes()
	var first piece
	pieces := 0
	for used < len(win) && !p.trailer {
		framing, n, last, err := p.dec.Next(win[used:])
		if err != nil {
			return nil, used, err
		}
		used += framing
		p.trailer = last
		if n == 0 {
			continue
		}
		run := piece{used, used + n}
		used += n
		p.payload += int64(n)
		if pieces++; pieces == 1 {
			first = run
			continue
		}
		if pieces == 2 {
			head = p.appendPiece(head, win[first.start:first.end])
		}
		head = p.appendPiece(head, win[run.start:run.end])
	}
	var trailers []httpparse.Field
	section := win[used:]
	if p.trailer {
		fields, n, err := httpparse.ParseTrailer(section, p.scanned, p.fields[:0])
		switch {
		case err == nil && n > maxTrailerBytes, err == httpparse.ErrNeedMore && len(section) > maxTrailerBytes:
			return nil, used, errTrailerTooLarge
		case err == nil:
			used += n
			p.done = true
			trailers = fields
		case err != httpparse.ErrNeedMore:
			return nil, used, err
		default:
			p.starved, p.scanned = true, len(section)
		}
	}
	if p.trip != nil {
		trailers = p.trip.FilterTrailer(section, trailers)
	}
	if pieces <= 1 && len(trailers) == 0 {
		return p.emit(head, v, first), used, nil
	}
	if pieces == 1 {
		head = p.appendPiece(head, win[first.start:first.end])
	}
	if p.done && p.chunked {
		head = append(head, "0\r\n"...)
		head = remap.AppendTrailer(head, section, trailers)
	}
	return head, used, nil
}

// emit frames one piece of payload behind head, and the end of the body if that has come: around the piece
// where it lies, if the window allows that, so that it is not copied.
func (p *pump) emit(head []byte, v window, run piece) []byte {
	size := run.end - run.start
	if size > 0 && p.chunked {
		head = httpparse.AppendChunkSize(head, size)
	}
	start, end := v.r+run.start, v.r+run.end
	inPlace := size > 0 && v.inPlace && len(head) <= start
	var out []byte
	if inPlace {
		start -= copy(v.base[start-len(head):start], head)
		// Nothing unread is overwritten: the framing that came with the payload and has been consumed
		// is at least as long as what goes behind it, or the window ends here.
		out = v.base[start:end]
	} else {
		out = append(head, v.base[start:end]...)
	}
	if p.chunked && size > 0 {
		out = append(out, '\r', '\n')
	}
	if p.chunked && p.done {
		out = append(out, lastChunk...)
	}
	return out
}

// appendPiece copies one piece of payload behind dst, as a chunk of its own where chunks are wanted.
func (p *pump) appendPiece(dst, payload []byte) []byte {
	if !p.chunked {
		return append(dst, payload...)
	}
	dst = httpparse.AppendChunkSize(dst, len(payload))
	dst = append(dst, payload...)
	return append(dst, '\r', '\n')
}
