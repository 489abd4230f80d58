package accesslog

import (
	"encoding/binary"
	"unicode/utf8"
)

// What a client sends ends up on an administrator's terminal and in programs that split lines and fields. So
// no value can end a line, close a quotation, or move a cursor.

const upperHex = "0123456789ABCDEF"

// plain tells the bytes that stand for themselves in both kinds of format: printable ASCII but the double
// quote and the backslash.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// plainPrefix returns the length of a prefix of s that is plain, short of the longest by at most 7. Nearly all
// values are plain from end to end, and looking at 8 bytes at a time makes a line a fifth cheaper.
func plainPrefix(s []byte) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	n := 0
	for ; n+8 <= len(s); n += 8 {
		x := binary.LittleEndian.Uint64(s[n:])
		// For bytes below 0x80, subtracting borrows into the high bit where a byte is smaller than what is
		// subtracted; XOR makes 0 of the bytes that are sought. A byte of 0x80 and above has the bit itself.
		control := x - 0x20*ones
		quote := (x ^ '"'*ones) - ones
		backslash := (x ^ '\\'*ones) - ones
		del := (x ^ 0x7f*ones) - ones
		if (x|control|quote|backslash|del)&highs != 0 {
			break
		}
	}
	return n
}

// appendText appends s with every byte that is not plain written \xHH, as nginx does. It loses nothing: the
// bytes can be had back. The first known bytes are known to be plain.
func appendText[S string | []byte](dst []byte, s S, known int) []byte {
	start := 0
	for i := known; i < len(s); i++ {
		c := s[i]
		if plain[c] {
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = append(dst, '\\', 'x', upperHex[c>>4], upperHex[c&0xf])
		start = i + 1
	}
	return append(dst, s[start:]...)
}

// appendJSON appends s as the inside of a JSON string (RFC 8259, section 7). Bytes that are not UTF-8 become
// U+FFFD, as with encoding/json. The first known bytes are known to be plain.
func appendJSON[S string | []byte](dst []byte, s S, known int) []byte {
	start := 0
	for i := known; i < len(s); {
		c := s[i]
		if plain[c] {
			i++
			continue
		}
		r, size := rune(c), 1
		if c >= utf8.RuneSelf {
			r, size = decodeRune(s, i)
			if !(r == utf8.RuneError && size == 1) && !breaksLine(r) {
				i += size
				continue
			}
		}
		dst = append(dst, s[start:i]...)
		if c == '"' || c == '\\' {
			dst = append(dst, '\\', c)
		} else {
			dst = append(dst, '\\', 'u', upperHex[r>>12&0xf], upperHex[r>>8&0xf], upperHex[r>>4&0xf], upperHex[r&0xf])
		}
		i += size
		start = i
	}
	return append(dst, s[start:]...)
}

// breaksLine tells the runes that JSON allows as they are, but that terminals obey (C1 controls) or that some
// readers take for the end of a line.
func breaksLine(r rune) bool {
	return r < 0xa0 || r == '\u2028' || r == '\u2029'
}

// decodeRune decodes the rune at s[i:]. The copy of at most four bytes is what lets one function serve both
// types without converting, and so allocating, the rest.
func decodeRune[S string | []byte](s S, i int) (rune, int) {
	var b [utf8.UTFMax]byte
	return utf8.DecodeRune(b[:copy(b[:], s[i:])])
}
