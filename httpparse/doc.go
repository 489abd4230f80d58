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
// It is strict: what two parsers could read differently is refused. What RFC 9112 lets a recipient repair
// (bare LF, obs-fold, blanks before a colon, several equal Content-Length values) is not repaired.
//
// Limitations: views are 32-bit offsets, so a buffer may not be larger than 4 GiB. HTTP/0.9 is not spoken.
package httpparse
