// Package httpparse turns bytes into HTTP/1.1 syntax (RFC 9112) and back: request and response heads as
// views into the caller's buffer, the decision how a body is framed, and a decoder for chunked framing.
//
// It owns syntax only. It does no I/O, knows no clock, allocates nothing on success and keeps no reference
// to what it is given. Incomplete input is a normal result:
//
//	n, err := httpparse.ParseRequest(buf, scanned, &req)
//	switch {
//	case err == nil: // buf[:n] is the head; req's views point into buf
//	case err == httpparse.ErrNeedMore: // read more behind buf, call again with scanned = len(buf)
//	default: // a *httpparse.Error: refuse with err.Status() and close
//	}
//
// However the input is cut into pieces, it gives the same views, or the same error at the same offset once the
// line that is wrong has ended; whether it is refused sooner may depend on the pieces. The time spent is in proportion to
// the input even if that comes byte by byte. The caller bounds a head by the size of its buffer.
//
// It is strict: what two parsers could read differently is refused. What RFC 9112 lets a recipient repair
// (bare LF, obs-fold, blanks before a colon, several equal Content-Length values, a length padded with zeros) is not repaired.
//
// Limitations: views are 32-bit offsets, and what is a gigabyte long is refused as too large. HTTP/0.9 is not
// spoken. Hosts are names, IPv4 and IPv6 addresses, without percent-encoding or zone.
package httpparse
