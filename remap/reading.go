package remap

import (
	"bytes"
	"math/bits"
)

// Reading is a way to understand a path that is not that of NormalPath, but that of some server: a set of what it
// does otherwise. A path that is sent on as it came is understood by the server, not by us, and the route was chosen
// by what we understood. So the route has to be the same in each reading that a path has; where it is not, somebody
// may be trying to reach by one route what another one is for.
type Reading uint8

const (
	// readDots takes dot segments for names, as a program does that looks at its path and nothing else.
	readDots Reading = 1 << iota
	// readEscapedSlash takes an encoded slash for a character of a name, which RFC 3986, 2.2 says it is.
	readEscapedSlash
	// readParameters leaves out what follows a semicolon in a segment, as Java's servers do (RFC 3986, 3.3).
	readParameters
	// readBackslash takes a backslash for a slash, as Windows does.
	readBackslash
	// readAuthority takes what follows two slashes for a host (RFC 3986, 4.2), as a program does that gives its
	// path to a parser of URLs.
	readAuthority
)

// maxDifferences bounds how many differences are looked at together, since each doubles the readings. No path that
// somebody means has more.
const maxDifferences = 3

// Absurd reports whether a path gives occasion for so many differences that it is not worth looking at all of its
// readings.
func (r Reading) Absurd() bool { return bits.OnesCount8(uint8(r)) > maxDifferences }

// Readings returns everything that a server may do otherwise with path. It is 0 for nearly all paths. Normal is the
// path in its NormalPath form, which is path itself if that is normal.
func Readings(path, normal []byte) Reading {
	if len(path) == 0 || path[0] != '/' {
		return 0
	}
	if &normal[0] == &path[0] && bytes.IndexByte(path, ';') < 0 && bytes.IndexByte(path, '\\') < 0 {
		return 0
	}
	return readings(path)
}

// readings is Readings for the paths that are not plain. What may be a separator is taken for one here, to find every
// dot segment that there is in any reading.
func readings(path []byte) Reading {
	var r Reading
	dots := -1 // of the present segment, while it is nothing else
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' {
			var ok bool
			if c, ok = unescape(path[i:]); ok {
				i += 2
			}
			if c == '/' {
				r |= readEscapedSlash
			}
		}
		if c == '.' && dots >= 0 {
			dots++
			continue
		}
		if (dots == 1 || dots == 2) && (c == '/' || c == '\\' || c == ';') {
			r |= readDots
		}
		dots = -1
		switch c {
		case '/':
			dots = 0
		case ';':
			r |= readParameters
		case '\\':
			r |= readBackslash
			dots = 0
		}
	}
	if dots == 1 || dots == 2 {
		r |= readDots
	}
	if len(path) > 1 && (path[1] == '/' || path[1] == '\\') {
		r |= readAuthority
	}
	return r
}

// AppendReading appends path, which NormalPath has accepted, as it is in a reading: in the form that routes are chosen
// by. Slashes are merged in every reading, since no route tells one from two.
func AppendReading(dst, path []byte, r Reading) []byte {
	if r&readAuthority != 0 {
		path = behindAuthority(path, r)
	}
	begin := len(dst)
	segment, parameter := begin, false
	for i := 0; i < len(path); i++ {
		c, escape := path[i], []byte(nil)
		if c == '%' {
			escape = path[i : i+3]
			c, _ = unescape(escape)
			i += 2
		}
		separates := c == '/' && (escape == nil || r&readEscapedSlash == 0) || c == '\\' && r&readBackslash != 0
		switch {
		case separates:
			dst = endReading(dst, begin, segment, r)
			if n := len(dst); n == begin || dst[n-1] != '/' {
				dst = append(dst, '/')
			}
			segment, parameter = len(dst), false
		case parameter:
		case c == ';' && r&readParameters != 0:
			parameter = true
		case c == '/':
			dst = append(dst, escape...)
		default:
			dst = append(dst, c)
		}
	}
	return endReading(dst, begin, segment, r)
}

// endReading is endSegment for a path that begins at dst[begin].
func endReading(dst []byte, begin, segment int, r Reading) []byte {
	if r&readDots != 0 {
		return dst
	}
	return dst[:begin+len(endSegment(dst[begin:], segment-begin))]
}

// behindAuthority returns the path of a network-path reference (RFC 3986, 4.2).
func behindAuthority(path []byte, r Reading) []byte {
	separators := "/"
	if r&readBackslash != 0 {
		separators = `/\`
	}
	if len(path) < 2 || bytes.IndexByte([]byte(separators), path[1]) < 0 {
		return path
	}
	if i := bytes.IndexAny(path[2:], separators); i >= 0 {
		return path[2+i:]
	}
	return slash
}
