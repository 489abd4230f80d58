package remap

import (
	"strconv"

	"millrace/httpparse"
)

// ResponseFacts is what a response head says about this hop rather than about the response.
type ResponseFacts struct {
	// Body is how the body will be framed on the connection to the client. BodyUntilClose has no framing field.
	Body httpparse.Framing
	// Close emits "Connection: close".
	Close bool
	// KeepAlive emits "Connection: keep-alive", which an HTTP/1.0 client that asked for it waits for. Close
	// overrides it.
	KeepAlive bool
	// Upgrade is the value of the Upgrade field of a 101, which is sent with the connection option that it needs.
	Upgrade []byte
	// SetCookie is a whole Set-Cookie field line, with its end, that is added; empty: none.
	SetCookie []byte
	// Trip is how the response is edited; nil: not at all. Interim responses are not.
	Trip *Trip
}

// AppendResponse appends the head of a response as it is sent to a client. Buf is what r was parsed from, and
// httpparse.ResponseFraming has accepted it, unless it is an interim response.
//
// The version is HTTP/1.1, whatever the server's and the client's (RFC 9110, 2.5); status and reason are the
// server's. Then come the server's fields in their order, without those that stay behind, and framing and
// persistence. A Content-Length that says what Body says, or that is about a body which is not sent (to HEAD,
// or with 304), is left where it is.
func AppendResponse(dst, buf []byte, r *httpparse.Response, f *ResponseFacts) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(dst, byte('0'+r.Status/100), byte('0'+r.Status/10%10), byte('0'+r.Status%10), ' ')
	dst = append(dst, r.Reason.Of(buf)...)
	dst = append(dst, crlf...)

	keepLength := r.Seen.Has(httpparse.FieldContentLength) && lengthStays(buf, r, f.Body)
	drop := hopByHop
	if !keepLength {
		drop |= set(httpparse.FieldContentLength)
	}
	if f.Body.Kind == httpparse.BodyChunked {
		drop &^= set(httpparse.FieldTrailer)
	}
	if r.Status != 407 {
		drop |= set(httpparse.FieldProxyAuthenticate) // RFC 9110, 11.7.1: a challenge to the next client only
	}
	if t := f.Trip; t == nil {
		dst = appendFields(dst, buf, &r.Head, drop)
	} else {
		dst = t.appendResponseFields(dst, buf, r, drop)
	}
	dst = append(dst, f.SetCookie...)

	switch {
	case f.Body.Kind == httpparse.BodyChunked:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case f.Body.Kind == httpparse.BodyLength && !keepLength:
		dst = appendContentLength(dst, f.Body.Length)
	}
	switch {
	case len(f.Upgrade) > 0:
		dst = appendUpgrade(dst, f.Upgrade, false)
	case f.Close:
		dst = append(dst, "Connection: close\r\n"...)
	case f.KeepAlive:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	return append(dst, crlf...)
}

// lengthStays reports whether the server's Content-Length, which there is, may be sent on as it is.
func lengthStays(buf []byte, r *httpparse.Response, body httpparse.Framing) bool {
	switch body.Kind {
	case httpparse.BodyLength:
		var b [20]byte
		v, _ := r.Lookup(httpparse.FieldContentLength)
		return string(v.Of(buf)) == string(strconv.AppendInt(b[:0], body.Length, 10))
	case httpparse.BodyNone:
		return r.Status >= 200 && r.Status != 204 // RFC 9110, 8.6
	}
	return false
}
