package remap

import (
	"bytes"
	"strconv"

	"millrace/httpparse"
)

// RequestFacts is what a request head says about this hop rather than about the request.
type RequestFacts struct {
	// ClientAddr is the client's IP address as text, without a port. "unix:" or empty: it has none.
	ClientAddr []byte
	// ChainEnd is where in buf the client's values of X-Forwarded-For end as far as they are passed on; 0 is all of
	// them. Behind it stand ClientAddr, which is appended again, and the trusted proxies that it came by.
	ChainEnd int
	// Proto is the scheme that the client used: "http" or "https".
	Proto string
	// Body is how the body will be framed on the connection to the server.
	Body httpparse.Framing
	// Close says that the connection to the server will not be used again.
	Close bool
	// Expect asks the server to say when it wants the body (RFC 9110, 10.1.1), whether the client has or not.
	Expect bool
	// Target is the target to send, in origin-form. Empty: as it was received.
	Target []byte
	// MaxForwards is the value of Max-Forwards to send, with CountForwards.
	MaxForwards   int
	CountForwards bool
	// Upgrade is the value of the Upgrade field, which is sent with the connection option that it needs; empty: it
	// is not sent.
	Upgrade []byte
	// Trip is how the request is edited; nil: not at all.
	Trip *Trip
}

// requestDrop is what the client's own fields lose. Host, Content-Length and X-Forwarded-* are written anew;
// Proxy is nobody's field, but would reach a CGI program as HTTP_PROXY.
const requestDrop = hopByHop |
	httpparse.FieldSet(1<<httpparse.FieldHost|
		1<<httpparse.FieldContentLength|
		1<<httpparse.FieldProxy|
		1<<httpparse.FieldXForwardedFor|
		1<<httpparse.FieldXForwardedProto|
		1<<httpparse.FieldXForwardedHost|
		1<<httpparse.FieldXHost)

// AppendRequest appends the head of a request as it is sent to a server. Buf is what r was parsed from, and
// httpparse.RequestFraming has accepted it.
//
// The target is in origin-form, as received but for scheme and authority, or "*", unless f has another. Host comes first; then the
// client's fields in their order, without those that stay behind; then X-Forwarded-For, the client's values
// with its address at the end; X-Forwarded-Proto, X-Host and X-Forwarded-Host, which replace the client's; and
// framing and persistence.
//
// With a Trip, what its Edits say is changed. The caller looks at Trip.Refused then.
//
// The version is HTTP/1.1. A request for no host at all, which HTTP/1.0 allows, is sent as HTTP/1.0 without
// Host: there is nothing true that a Host field could say.
func AppendRequest(dst, buf []byte, r *httpparse.Request, f *RequestFacts) []byte {
	authority := r.Authority.Of(buf)
	chunked := f.Body.Kind == httpparse.BodyChunked
	old := len(authority) == 0
	t := f.Trip

	dst = append(dst, r.MethodName.Of(buf)...)
	dst = append(dst, ' ')
	begin := len(dst)
	if len(f.Target) > 0 {
		dst = append(dst, f.Target...)
	} else {
		dst = appendTarget(dst, buf, r)
	}
	if t != nil {
		mid := len(dst)
		t.beginRequest(dst[begin:])
		dst = moveDown(t.appendTarget(dst, dst[begin:]), begin, mid)
		dst = t.appendVersionAndHost(dst, old)
	} else if old {
		dst = append(dst, " HTTP/1.0\r\n"...)
	} else {
		dst = append(dst, " HTTP/1.1\r\nHost: "...)
		dst = append(dst, authority...)
		dst = append(dst, crlf...)
	}

	drop := requestDrop
	if chunked {
		drop &^= set(httpparse.FieldTrailer)
	}
	if r.Version < httpparse.HTTP11 || f.Expect {
		// A server ignores what an HTTP/1.0 client expects (RFC 9110, 10.1.1), and would not know that this
		// one comes from such a client.
		drop |= set(httpparse.FieldExpect)
	}
	if f.CountForwards {
		drop |= set(httpparse.FieldMaxForwards)
	}
	if t == nil {
		dst = appendFields(dst, buf, &r.Head, drop)
	} else {
		dst = t.appendRequestFields(dst, drop)
	}

	if f.Expect {
		dst = append(dst, "Expect: 100-continue\r\n"...)
	}
	if f.CountForwards {
		dst = append(dst, "Max-Forwards: "...)
		dst = strconv.AppendInt(dst, int64(f.MaxForwards), 10)
		dst = append(dst, crlf...)
	}
	if t == nil || t.Edits.o.XForwarded == ForwardAppend {
		dst = appendForwardedFor(dst, buf, &r.Head, f)
		dst = append(dst, "X-Forwarded-Proto: "...)
		dst = append(dst, f.Proto...)
		dst = append(dst, crlf...)
		if len(authority) > 0 {
			dst = append(dst, "X-Host: "...)
			dst = append(dst, authority...)
			dst = append(dst, "\r\nX-Forwarded-Host: "...)
			dst = append(dst, authority...)
			dst = append(dst, crlf...)
		}
	}

	switch f.Body.Kind {
	case httpparse.BodyLength:
		dst = appendContentLength(dst, f.Body.Length)
	case httpparse.BodyChunked:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	default:
		if saysEmpty(r) {
			dst = append(dst, "Content-Length: 0\r\n"...)
		}
	}

	trailers := r.Seen.Has(httpparse.FieldTE) && !old && acceptsTrailers(buf, r)
	if trailers {
		dst = append(dst, "TE: trailers\r\n"...)
	}
	switch {
	case len(f.Upgrade) > 0 && !old:
		dst = appendUpgrade(dst, f.Upgrade, trailers)
	case trailers && f.Close:
		dst = append(dst, "Connection: close, TE\r\n"...)
	case trailers:
		dst = append(dst, "Connection: TE\r\n"...)
	case f.Close || old:
		dst = append(dst, "Connection: close\r\n"...)
	}
	return append(dst, crlf...)
}

// appendUpgrade appends a request to switch protocols (RFC 9110, 7.8).
func appendUpgrade(dst, protocols []byte, trailers bool) []byte {
	dst = append(dst, "Upgrade: "...)
	dst = append(dst, protocols...)
	if trailers {
		return append(dst, "\r\nConnection: upgrade, TE\r\n"...)
	}
	return append(dst, "\r\nConnection: upgrade\r\n"...)
}

// appendTarget appends the request target for a server that is not a proxy (RFC 9112, 3.2).
func appendTarget(dst, buf []byte, r *httpparse.Request) []byte {
	if r.Form != httpparse.FormAbsolute {
		return append(dst, r.Target.Of(buf)...)
	}
	if r.Path.Len() == 0 {
		if r.Method == httpparse.MethodOptions && r.PathQuery.Len() == 0 {
			return append(dst, '*') // RFC 9112, 3.2.4: how a proxy is asked for the server as a whole
		}
		dst = append(dst, '/')
	}
	return append(dst, r.PathQuery.Of(buf)...)
}

// appendForwardedFor appends an X-Forwarded-For field of the client's values and its address, unless there
// are neither.
func appendForwardedFor(dst, buf []byte, h *httpparse.Head, facts *RequestFacts) []byte {
	addr := facts.ClientAddr
	begin := len(dst)
	dst = append(dst, "X-Forwarded-For: "...)
	values := len(dst)
	if h.Seen.Has(httpparse.FieldXForwardedFor) {
		for i := range h.Fields {
			if f := &h.Fields[i]; f.ID == httpparse.FieldXForwardedFor && f.Value.Len() > 0 {
				v := f.Value
				if facts.ChainEnd > 0 {
					if v = cutList(buf, v, facts.ChainEnd); v.Len() == 0 {
						continue
					}
				}
				dst = appendListItem(dst, values, v.Of(buf))
			}
		}
	}
	if len(addr) > 0 && string(addr) != "unix:" {
		dst = appendListItem(dst, values, addr)
	}
	if len(dst) == values {
		return dst[:begin]
	}
	return append(dst, crlf...)
}

// cutList returns what there is of a list before the offset end, without the comma behind it.
func cutList(buf []byte, v httpparse.View, end int) httpparse.View {
	if int(v.End) <= end {
		return v
	}
	v.End = max(v.Start, uint32(end))
	for v.End > v.Start && (buf[v.End-1] == ',' || isBlank(buf[v.End-1])) {
		v.End--
	}
	return v
}

// appendListItem appends an item to the list that begins at dst[begin].
func appendListItem(dst []byte, begin int, item []byte) []byte {
	if len(dst) > begin {
		dst = append(dst, ", "...)
	}
	return append(dst, item...)
}

func appendContentLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, crlf...)
}

// saysEmpty reports whether a request without a body says so: if the method calls for one, or the client did
// (RFC 9110, 8.6).
func saysEmpty(r *httpparse.Request) bool {
	switch r.Method {
	case httpparse.MethodPost, httpparse.MethodPut, httpparse.MethodPatch:
		return true
	}
	return r.Seen.Has(httpparse.FieldContentLength)
}

// acceptsTrailers reports whether the client's TE is "trailers" and nothing else. Transfer codings other than
// chunked are between neighbours, and we know none. An HTTP/1.0 client has no chunks to put trailers behind.
func acceptsTrailers(buf []byte, r *httpparse.Request) bool {
	if r.Version < httpparse.HTTP11 {
		return false
	}
	lines, match := 0, false
	for i := range r.Fields {
		if f := &r.Fields[i]; f.ID == httpparse.FieldTE {
			lines++
			match = bytes.EqualFold(f.Value.Of(buf), []byte("trailers"))
		}
	}
	return lines == 1 && match
}
