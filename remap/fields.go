package remap

import (
	"bytes"

	"millrace/httpparse"
)

// crlf ends a line.
const crlf = "\r\n"

// hopByHop is what stays behind in either direction: the fields that describe a connection (RFC 9110, 7.6.1,
// and Proxy-Connection, which never was a field but is sent), and framing, which is written anew.
const hopByHop = httpparse.FieldSet(1<<httpparse.FieldConnection |
	1<<httpparse.FieldProxyConnection |
	1<<httpparse.FieldKeepAlive |
	1<<httpparse.FieldTE |
	1<<httpparse.FieldTrailer |
	1<<httpparse.FieldTransferEncoding |
	1<<httpparse.FieldUpgrade)

// set returns the set of one field.
func set(id httpparse.FieldID) httpparse.FieldSet { return 1 << id }

// appendFields appends the field lines of a head that are not in drop and that no Connection field takes away.
func appendFields(dst, buf []byte, h *httpparse.Head, drop httpparse.FieldSet) []byte {
	if !h.ConnNames {
		return appendRuns(dst, buf, h.Fields, drop, nil)
	}
	var named connectionNames
	named.collect(buf, h)
	return appendRuns(dst, buf, h.Fields, drop, &named)
}

// appendRuns appends the field lines that are neither in drop nor in named, which may be nil, each run of
// neighbours in one piece.
func appendRuns(dst, buf []byte, fields []httpparse.Field, drop httpparse.FieldSet, named *connectionNames) []byte {
	kept := 0 // where the run of lines begins that pass and are not yet appended
	for i := range fields {
		f := &fields[i]
		if !drop.Has(f.ID) && (named == nil || !named.has(buf, f.Name.Of(buf))) {
			continue
		}
		if kept < i {
			dst = append(dst, buf[fields[kept].Name.Start:f.Name.Start]...)
		}
		kept = i + 1
	}
	if kept < len(fields) {
		dst = append(dst, buf[fields[kept].Name.Start:lineEnd(buf, fields[len(fields)-1].Value)]...)
	}
	return dst
}

// lineEnd returns where the line ends that has the value v, its line feed included.
func lineEnd(buf []byte, v httpparse.View) int {
	end := int(v.End)
	return end + bytes.IndexByte(buf[end:], '\n') + 1
}

// maxNames is how many names from Connection fields are looked for one by one. Honest senders name one or two.
// Without a limit, a head that is half names and half fields would keep a loop busy for tens of milliseconds.
const maxNames = 32

// connectionNames holds what the Connection fields of a head name.
type connectionNames struct {
	names [maxNames]httpparse.View
	n     int
	// all is set when there are more names than there is room for. Every field is then taken for named.
	all bool
}

// collect notes the names. Those of connection options proper, close and keep-alive, are of no consequence:
// there are no such fields to pass on.
func (c *connectionNames) collect(buf []byte, h *httpparse.Head) {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == httpparse.FieldConnection {
			c.collectList(buf, f.Value)
		}
	}
}

// collectList notes the items of a comma-separated list.
func (c *connectionNames) collectList(buf []byte, list httpparse.View) {
	for at := list.Start; at < list.End && !c.all; {
		start := at
		for at < list.End && buf[at] != ',' {
			at++
		}
		end := at
		at++
		for start < end && isBlank(buf[start]) {
			start++
		}
		for start < end && isBlank(buf[end-1]) {
			end--
		}
		switch {
		case start == end:
		case c.n == len(c.names):
			c.all = true
		default:
			c.names[c.n] = httpparse.View{Start: start, End: end}
			c.n++
		}
	}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// has reports whether a field is one that a Connection field takes away.
func (c *connectionNames) has(buf, name []byte) bool {
	named := c.all
	for i := 0; i < c.n && !named; i++ {
		v := c.names[i]
		named = v.Len() == len(name) && bytes.EqualFold(v.Of(buf), name)
	}
	return named && !endToEnd(name)
}

// nameMax is more than the length of any name in the lists that names are looked up in.
const nameMax = 40

// lowerName returns name in lower case, in b, and cut off if it is longer than any name that is looked for.
func lowerName(b *[nameMax]byte, name []byte) []byte {
	return appendLower(b[:0], name[:min(len(name), len(b))])
}

// endToEnd reports whether a field is meant for the final recipient by its definition, so that no Connection
// field may take it away. The list is of fields that a server or a proxy decides by: who is asking, for what,
// from where, and what may be done with the answer.
func endToEnd(name []byte) bool {
	var b [nameMax]byte
	lower := lowerName(&b, name)
	for _, prefix := range []string{"content-", "x-forwarded-", "x-auth-", "if-", "access-control-", "sec-"} {
		if hasPrefix(lower, prefix) {
			return true
		}
	}
	switch string(lower) {
	case
		// Routing, and whom a request comes from.
		"host", "forwarded", "via", "x-host", "x-real-ip", "x-client-ip", "true-client-ip", "x-request-id",
		"max-forwards", "origin", "referer", "user-agent", "from",
		// Authentication and state.
		"authorization", "proxy-authorization", "www-authenticate", "proxy-authenticate", "authentication-info",
		"proxy-authentication-info", "cookie", "set-cookie", "strict-transport-security", "x-frame-options",
		// What is asked for.
		"expect", "range", "accept", "accept-charset", "accept-encoding", "accept-language",
		// What an answer is and how long it holds.
		"cache-control", "pragma", "age", "date", "expires", "etag", "last-modified", "vary", "location",
		"retry-after", "allow", "accept-ranges", "server":
		return true
	}
	return false
}
