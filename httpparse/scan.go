package httpparse

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// The searches for the end of a field name, of a field value and of a request target look at eight bytes at a time, as one
// number. What they look for has its highest bit set in the result. A carry or a borrow passes only upwards from a byte
// that is found, so that the lowest one found is right.

const (
	every01 = 0x0101010101010101
	every20 = 0x20 * every01
	every7f = 0x7f * every01
	every80 = 0x80 * every01
)

// load returns the eight bytes of buf from at on. The caller has seen that they are there, which the compiler would not
// know: it would look again for each eight.
func load(buf []byte, at int) uint64 {
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(buf)), at))[:])
}

// atLeast sets the highest bit of each byte of v that is at least c. No highest bit of v is set.
func atLeast(v, c uint64) uint64 { return v + (0x80-c)*every01 }

// nameEnd returns where in buf, from at on, the first byte is that isPlainName does not tell.
func nameEnd(buf []byte, at int) int {
	for at+8 <= len(buf) {
		// What nearly all names consist of are letters and dashes. Other characters are looked at one by one.
		v := load(buf, at)
		low := v & every7f
		dash := low ^ '-'*every01 // zero where there is a dash
		low |= every20
		letter := atLeast(low, 'a') &^ atLeast(low, 'z'+1)
		other := ((dash+every7f)&^letter | v) & every80
		if other == 0 {
			at += 8
			continue
		}
		at += bits.TrailingZeros64(other) / 8
		if c := buf[at]; c == ':' || !isPlainName[c] {
			return at
		}
		at++
	}
	for at < len(buf) && isPlainName[buf[at]] {
		at++
	}
	return at
}

// textEnd returns where in buf, from at on, the first byte is that a field value may not hold (RFC 9110, 5.5), a control
// character other than HTAB, or DEL: normally the CR at the line's end.
func textEnd(buf []byte, at int) int {
	for at+8 <= len(buf) {
		v := load(buf, at)
		low := (v - every20) &^ v    // below 0x20
		del := v ^ every7f           // zero where there is a DEL
		del = (del - every01) &^ del // zero before
		found := (low | del) & every80
		if found == 0 {
			at += 8
			continue
		}
		at += bits.TrailingZeros64(found) / 8
		if buf[at] != '\t' {
			return at
		}
		at++
	}
	for at < len(buf) && (buf[at] >= 0x20 && buf[at] != 0x7f || buf[at] == '\t') {
		at++
	}
	return at
}

// targetEnd returns where in buf, from at on, the first byte is that a request target may not hold: anything but visible
// ASCII, and "#", since a fragment is never sent (RFC 9112, 3.2).
func targetEnd(buf []byte, at int) int {
	for at+8 <= len(buf) {
		v := load(buf, at)
		low := v & every7f
		hash := low ^ '#'*every01 // zero where there is a "#"
		other := (^(atLeast(low, 0x21) & (hash + every7f)) | atLeast(low, 0x7f) | v) & every80
		if other != 0 {
			return at + bits.TrailingZeros64(other)/8
		}
		at += 8
	}
	for at < len(buf) && buf[at] > 0x20 && buf[at] < 0x7f && buf[at] != '#' {
		at++
	}
	return at
}
