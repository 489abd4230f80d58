package httpparse

import "bytes"

// BodyKind is how the end of a body is found.
type BodyKind uint8

// The kinds.
const (
	BodyNone       BodyKind = iota // there is none
	BodyLength                     // Framing.Length bytes
	BodyChunked                    // chunks (RFC 9112, 7.1)
	BodyUntilClose                 // all until the connection ends; responses only
)

// Framing is how a body is framed.
type Framing struct {
	Kind BodyKind
	// Length is the body's length in bytes; only with BodyLength.
	Length int64
}

// The framing decision (RFC 9112, 6). The first row that fits decides; what is ambiguous is refused.
//
//	message   version  Transfer-Encoding  Content-Length  status, method    body          clause
//	any       1.0      present            any             any               refused       6.1: faulty framing
//	any       1.1      present            present         any               refused       6.3 (3), 11.2: smuggling
//	any       1.1      in several lines   absent          any               refused       6.3 (4), stricter
//	any       1.1      malformed, or chunked is missing or not the last coding
//	                                      absent          any               refused       6.3 (4)
//	any       1.1      other codings before chunked
//	                                      absent          any               refused, 501  6.1: unknown coding
//	any       any      absent             repeated        any               refused       6.3 (5), also if equal: stricter
//	any       any      absent             invalid         any               refused       6.3 (5)
//	response  any      chunked or absent  valid or absent 1xx, 204, 304     none          6.3 (1)
//	response  any      chunked or absent  valid or absent answers HEAD      none          6.3 (1)
//	any       1.1      chunked            absent          any               chunked       6.3 (4)
//	any       any      absent             valid           any               length        6.3 (6)
//	request   any      absent             absent          any               none          6.3 (7)
//	response  any      absent             absent          any               until close   6.3 (8)

// RequestFraming decides how the body of the request in buf is framed. It returns an *Error if that cannot
// be told beyond doubt.
func RequestFraming(buf []byte, r *Request) (Framing, error) {
	return declared(buf, &r.Head, Framing{})
}

// ResponseFraming decides how the body of the response in buf is framed; method is that of the request it
// answers. It returns an *Error if that cannot be told beyond doubt.
func ResponseFraming(buf []byte, r *Response, method Method) (Framing, error) {
	f, err := declared(buf, &r.Head, Framing{Kind: BodyUntilClose})
	if err != nil {
		return f, err
	}
	if method == MethodHead || r.Status < 200 || r.Status == 204 || r.Status == 304 {
		return Framing{}, nil
	}
	return f, nil
}

// declared reads what the fields say; undeclared is what their absence means.
func declared(buf []byte, h *Head, undeclared Framing) (Framing, error) {
	chunked, length := h.Seen.Has(FieldTransferEncoding), h.Seen.Has(FieldContentLength)
	switch {
	case chunked:
		if length && h.Version >= HTTP11 {
			v, _ := h.Lookup(FieldContentLength)
			return Framing{}, syntax(LengthWithChunked, int(v.Start))
		}
		if err := checkTransferEncoding(buf, h); err != nil {
			return Framing{}, err
		}
		return Framing{Kind: BodyChunked}, nil
	case length:
		return contentLength(buf, h)
	}
	return undeclared, nil
}

// checkTransferEncoding accepts exactly one chunked, in one field line.
func checkTransferEncoding(buf []byte, h *Head) error {
	v, _ := h.Lookup(FieldTransferEncoding)
	at := int(v.Start)
	if h.Version < HTTP11 {
		return syntax(BadTransferEncoding, at)
	}
	list, lines := v.Of(buf), 0
	for i := range h.Fields {
		if h.Fields[i].ID == FieldTransferEncoding {
			lines++
		}
	}
	if lines != 1 {
		return syntax(BadTransferEncoding, at)
	}
	if equalLower(list, "chunked") {
		return nil
	}
	// Empty items count: who ignores the one in "chunked," and who does not would read two framings.
	chunked := false // it was there: nothing may follow
	for more := true; more; {
		var coding []byte
		more = bytes.IndexByte(list, ',') >= 0
		coding, list = nextListItem(list)
		if chunked || !isCoding(coding) {
			return syntax(BadTransferEncoding, at)
		}
		chunked = equalLower(coding, "chunked")
	}
	if !chunked {
		// Where the body ends, nobody can tell, whatever codings they know: 6.3 (4) wants 400.
		return syntax(BadTransferEncoding, at)
	}
	// Well-formed, such as "gzip, chunked": it could be read by somebody who knows the coding.
	return syntax(UnknownTransferCoding, at)
}

// isCoding tells a transfer coding's name, without parameters. identity was removed by RFC 7230.
func isCoding(b []byte) bool {
	for _, c := range b {
		if !isToken[c] {
			return false
		}
	}
	return len(b) > 0 && !equalLower(b, "identity")
}

// contentLength accepts one Content-Length of digits that fits into 63 bits.
func contentLength(buf []byte, h *Head) (Framing, error) {
	n, found := int64(0), false
	for i := range h.Fields {
		if h.Fields[i].ID != FieldContentLength {
			continue
		}
		v := h.Fields[i].Value
		if found {
			return Framing{}, syntax(RepeatedContentLength, int(v.Start))
		}
		found = true
		digits := v.Of(buf)
		// 18 digits always fit; more of them may not, and no body is that long. Nobody pads a length with
		// zeros, and a reader that takes those for octal would find another end.
		if len(digits) == 0 || len(digits) > maxLengthDigits || digits[0] == '0' && len(digits) > 1 {
			return Framing{}, syntax(BadContentLength, int(v.Start))
		}
		for _, c := range digits {
			if c < '0' || c > '9' {
				return Framing{}, syntax(BadContentLength, int(v.Start))
			}
			n = n*10 + int64(c-'0')
		}
	}
	return Framing{Kind: BodyLength, Length: n}, nil
}

// maxLengthDigits bounds a Content-Length: any number of 18 digits fits into an int64.
const maxLengthDigits = 18
