package remap

import "bytes"

// NormalPath returns the one form of a path that routes are chosen by: percent-decoded, once, without dot
// segments (RFC 3986, 5.2.4), and with one slash where there were several. It returns path itself if that is
// its normal form already, else the form built in dst[:0], which must not overlap path. An empty path is "/",
// and "*", the target of OPTIONS for a server as a whole, is itself.
//
// It returns false for a percent sign without two hexadecimal digits, for an encoded NUL, and for a path that
// does not begin with a slash: no server should have to guess what those mean. out is then of no use.
//
// Slashes are merged before dot segments are resolved, so that /a//../b is /b, as it is for a file system. An
// encoded slash is a slash: a server that decodes it must not be reached by a route that did not see it.
func NormalPath(dst, path []byte) (out []byte, ok bool) {
	if len(path) == 0 {
		return append(dst[:0], '/'), true
	}
	if path[0] != '/' {
		return path, string(path) == "*"
	}
	if isNormal(path) {
		return path, true
	}
	return appendNormal(dst[:0], path)
}

// isNormal reports whether a path that begins with a slash has nothing that its normal form has not.
func isNormal(path []byte) bool {
	if bytes.IndexByte(path, '%') >= 0 {
		return false
	}
	for rest := path[1:]; len(rest) > 0; {
		if rest[0] == '/' || rest[0] == '.' && isDotSegment(rest) {
			return false
		}
		slash := bytes.IndexByte(rest, '/')
		if slash < 0 {
			break
		}
		rest = rest[slash+1:]
	}
	return true
}

// isDotSegment reports whether the segment that b begins with, a dot, is "." or "..".
func isDotSegment(b []byte) bool {
	if len(b) > 1 && b[1] == '.' {
		b = b[1:]
	}
	return len(b) == 1 || b[1] == '/'
}

// appendNormal appends the normal form of path, which begins with a slash, to dst, which is empty.
func appendNormal(dst, path []byte) (out []byte, ok bool) {
	segment := 0 // where in dst the segment begins that is being copied
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' {
			if len(path)-i < 3 {
				return nil, false
			}
			high, low := unhex(path[i+1]), unhex(path[i+2])
			c = high<<4 | low
			if high|low > 0xf || c == 0 {
				return nil, false
			}
			i += 2
		}
		if c != '/' {
			dst = append(dst, c)
			continue
		}
		dst, segment = nextSegment(dst, segment)
	}
	return endSegment(dst, segment), true
}

// nextSegment ends the last segment of a path, which begins at from, with a slash, and returns where the next begins.
func nextSegment(dst []byte, from int) (out []byte, segment int) {
	dst = endSegment(dst, from)
	if n := len(dst); n == 0 || dst[n-1] != '/' {
		dst = append(dst, '/')
	}
	return dst, len(dst)
}

// endSegment takes the last segment of a path, which begins at from, away if it is a dot segment, and with ".."
// the one before it.
func endSegment(dst []byte, from int) []byte {
	switch string(dst[from:]) {
	case ".":
		return dst[:from]
	case "..":
		// Before the segment is a slash. Nothing is above the root.
		return dst[:bytes.LastIndexByte(dst[:max(from-1, 1)], '/')+1]
	}
	return dst
}

// unhex returns the value of a hexadecimal digit, or 0xff.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}
