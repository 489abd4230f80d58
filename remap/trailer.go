package remap

import "millrace/httpparse"

// AppendTrailer appends the fields of a trailer section that may be sent on, and the empty line that ends the
// message. Buf is what the fields were parsed from.
//
// What comes after the body is merged into the head by some recipients, so that a field there which frames the
// message, routes or authorises it, or changes what its content means would act behind the back of whoever has
// looked at the head. RFC 9110, 6.5.1 forbids those in trailers; they are left out.
func AppendTrailer(dst, buf []byte, fields []httpparse.Field) []byte {
	for i := range fields {
		f := &fields[i]
		name := f.Name.Of(buf)
		if !allowedInTrailer(name) {
			continue
		}
		dst = append(dst, name...)
		dst = append(dst, ": "...)
		dst = append(dst, f.Value.Of(buf)...)
		dst = append(dst, crlf...)
	}
	return append(dst, crlf...)
}

// allowedInTrailer reports whether a field may come after the body.
func allowedInTrailer(name []byte) bool {
	var b [nameMax]byte
	lower := lowerName(&b, name)
	for i, c := range lower {
		if isPunctuation[c] {
			lower[i] = '-' // what it may be to a server that merges it into the head
		}
	}
	for _, prefix := range []string{"x-forwarded-", "x-auth-", "proxy-", "if-", "access-control-", "sec-"} {
		if hasPrefix(lower, prefix) {
			return false
		}
	}
	switch string(lower) {
	case
		// Framing, and what belongs to one connection.
		"content-length", "transfer-encoding", "trailer", "connection", "keep-alive", "te", "upgrade",
		"http2-settings", "proxy",
		// Routing, and whom a request comes from.
		"host", "forwarded", "via", "max-forwards", "x-host", "x-real-ip", "x-client-ip", "true-client-ip",
		"origin", "referer", "from",
		// Authentication and state; but Authentication-Info is made for trailers (RFC 9110, 11.6.3).
		"authorization", "www-authenticate", "cookie", "set-cookie", "strict-transport-security", "x-frame-options",
		// Request modifiers.
		"cache-control", "expect", "pragma", "range", "accept", "accept-charset", "accept-encoding",
		"accept-language",
		// Response control.
		"age", "date", "expires", "location", "retry-after", "vary", "warning", "allow", "accept-ranges",
		// How the content is to be processed.
		"content-encoding", "content-type", "content-range", "content-language", "content-location",
		"content-disposition", "content-security-policy":
		return false
	}
	return true
}
