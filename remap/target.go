package remap

import (
	"bytes"
	"errors"
)

// TargetOptions says how a request target is brought into one form before it is routed and sent on. Without
// NormalizeURL it is left alone. The names are lighttpd's.
type TargetOptions uint16

const (
	// NormalizeURL writes each character in one way (RFC 3986, 6.2.2): unreserved ones bare, those that no URL
	// may have bare encoded, and capital letters in what is encoded.
	NormalizeURL TargetOptions = 1 << iota
	// NormalizeRequired also decodes what need not be encoded, such as %40, but for what separates parts.
	NormalizeRequired
	// RejectCtrls refuses encoded control characters.
	RejectCtrls
	// RejectInvalidUTF8 refuses what is not UTF-8 when it is decoded.
	RejectInvalidUTF8
	// TranslateBackslash makes slashes of backslashes in the path, encoded or not.
	TranslateBackslash
	// Decode2F makes slashes of encoded slashes in the path.
	Decode2F
	// Reject2F refuses encoded slashes in the path.
	Reject2F
	// RemoveDotSegments resolves dot segments and merges slashes in the path.
	RemoveDotSegments
	// RejectDotSegments refuses dot segments and double slashes in the path.
	RejectDotSegments
	// PlusInQuery writes a space in the query as a plus sign.
	PlusInQuery
)

// ErrTarget says that a target is refused: malformed, or by an option.
var ErrTarget = errors.New("remap: refused target")

// mustEncode tells the characters that RFC 3986 has no place for, or only as separators between the parts of a URL.
var mustEncode = func() (t [256]bool) {
	for c := range t {
		t[c] = c <= ' ' || c >= 0x7f || bytes.IndexByte([]byte("\"#%<>[\\]^`{|}"), byte(c)) >= 0
	}
	return t
}()

// isUnreserved tells the characters that mean the same encoded and bare (RFC 3986, 2.3).
var isUnreserved = func() (t [256]bool) {
	for c := range t {
		t[c] = '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || bytes.IndexByte([]byte("-._~"), byte(c)) >= 0
	}
	return t
}()

// AppendTarget appends the form of a target, a path and perhaps a query, that opts ask for. path is the length of its
// path. The target is not empty and begins with a slash or a question mark; in the latter case the path is "/".
//
// It returns ErrTarget for a percent sign without two hexadecimal digits in the path, for an encoded NUL there, and
// for what opts refuse; out is of no use then. In the query such a percent sign is taken for itself, since many
// clients do not encode it.
func AppendTarget(dst, target []byte, opts TargetOptions) (out []byte, path int, err error) {
	begin := len(dst)
	raw, query := target, []byte(nil)
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		raw, query = target[:i], target[i:]
	}
	if len(raw) == 0 {
		raw = slash
	}
	var text utf8Check
	if dst, err = appendPath(dst, raw, opts, &text); err != nil {
		return nil, 0, err
	}
	if opts&(RemoveDotSegments|RejectDotSegments) != 0 {
		resolved := resolve(dst[begin:])
		if opts&RejectDotSegments != 0 && resolved != len(dst)-begin {
			return nil, 0, ErrTarget
		}
		dst = dst[:begin+resolved]
	}
	path = len(dst) - begin
	if len(query) > 0 {
		dst = append(dst, '?')
		text.add('?')
		if dst, err = appendQuery(dst, query[1:], opts, &text); err != nil {
			return nil, 0, err
		}
	}
	if opts&RejectInvalidUTF8 != 0 && !text.valid() {
		return nil, 0, ErrTarget
	}
	return dst, path, nil
}

var slash = []byte("/")

// appendPath appends path with its characters in one form.
func appendPath(dst, path []byte, opts TargetOptions, text *utf8Check) ([]byte, error) {
	for i := 0; i < len(path); i++ {
		c, encoded := path[i], false
		if c == '%' {
			var ok bool
			if c, ok = unescape(path[i:]); !ok || c == 0 {
				return nil, ErrTarget
			}
			encoded = true
			i += 2
		}
		text.add(c)
		switch {
		case encoded && opts&RejectCtrls != 0 && isCtrl(c):
			return nil, ErrTarget
		case c == '\\' && opts&TranslateBackslash != 0:
			dst = append(dst, '/')
		case c == '/' && encoded && opts&Reject2F != 0:
			return nil, ErrTarget
		case c == '/' && encoded && opts&Decode2F != 0:
			dst = append(dst, '/')
		case staysBare(c, encoded, opts) && !(encoded && (c == '/' || c == '?')):
			dst = append(dst, c)
		default:
			dst = appendEscape(dst, c)
		}
	}
	return dst, nil
}

// appendQuery appends query with its characters in one form.
func appendQuery(dst, query []byte, opts TargetOptions, text *utf8Check) ([]byte, error) {
	for i := 0; i < len(query); i++ {
		c, encoded := query[i], false
		if c == '%' {
			if v, ok := unescape(query[i:]); ok {
				c, encoded = v, true
				i += 2
			}
		}
		text.add(c)
		switch {
		case encoded && opts&RejectCtrls != 0 && isCtrl(c):
			return nil, ErrTarget
		case c == ' ' && opts&PlusInQuery != 0:
			dst = append(dst, '+')
		case staysBare(c, encoded, opts) && !(encoded && bytes.IndexByte(inForms, c) >= 0):
			dst = append(dst, c)
		default:
			dst = appendEscape(dst, c)
		}
	}
	return dst, nil
}

// inForms separates the fields of a form in a query, or stands for a space there.
var inForms = []byte("&=;+")

// staysBare reports whether a character is written as itself.
func staysBare(c byte, encoded bool, opts TargetOptions) bool {
	if encoded && opts&NormalizeRequired == 0 {
		return isUnreserved[c]
	}
	return !mustEncode[c]
}

func isCtrl(c byte) bool { return c < 0x20 || c == 0x7f }

func appendEscape(dst []byte, c byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(dst, '%', digits[c>>4], digits[c&0xf])
}

// unescape returns the character that b begins with, which is encoded, and whether it is.
func unescape(b []byte) (c byte, ok bool) {
	if len(b) < 3 {
		return 0, false
	}
	high, low := unhex(b[1]), unhex(b[2])
	return high<<4 | low, high|low <= 0xf
}

// resolve resolves dot segments and merges slashes in path, where it is, and returns the length of what is left.
func resolve(path []byte) int {
	if isNormal(path) {
		return len(path)
	}
	out, segment := path[:0], 0
	for _, c := range path {
		if c != '/' {
			out = append(out, c)
			continue
		}
		out, segment = nextSegment(out, segment)
	}
	return len(endSegment(out, segment))
}

// utf8Check looks at text byte by byte. The zero value is ready.
type utf8Check struct {
	more      int  // continuation bytes that are due
	low, high byte // what the next of them may be, if not any
	invalid   bool
}

// add looks at one byte more (RFC 3629, 4).
func (u *utf8Check) add(c byte) {
	if u.more > 0 {
		low, high := u.low, u.high
		u.more--
		u.low, u.high = 0x80, 0xbf
		u.invalid = u.invalid || c < low || c > high
		return
	}
	u.low, u.high = 0x80, 0xbf
	switch {
	case c < 0x80:
	case c >= 0xc2 && c <= 0xdf:
		u.more = 1
	case c >= 0xe0 && c <= 0xef:
		u.more = 2
		switch c {
		case 0xe0:
			u.low = 0xa0
		case 0xed:
			u.high = 0x9f // surrogates
		}
	case c >= 0xf0 && c <= 0xf4:
		u.more = 3
		switch c {
		case 0xf0:
			u.low = 0x90
		case 0xf4:
			u.high = 0x8f
		}
	default:
		u.invalid = true
	}
}

// valid reports whether all that was added is UTF-8.
func (u *utf8Check) valid() bool { return !u.invalid && u.more == 0 }
