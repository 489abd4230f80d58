package remap

import (
	"bytes"
	"net/netip"
	"unsafe"

	"millrace/httpparse"
)

// Chain is the field in which a trusted proxy says whom it acts for.
type Chain uint8

const (
	// ChainXForwardedFor is X-Forwarded-For: a list of addresses.
	ChainXForwardedFor Chain = iota
	// ChainForwarded is Forwarded (RFC 7239): a list of elements, of which the for parameter counts.
	ChainForwarded
)

// Proxies is a set of addresses: those of the proxies that are believed.
type Proxies interface{ Contains(a netip.Addr) bool }

// Client returns the address of the client that a request came from, by what trusted proxies say in their chain:
// the last address in it that is not of a trusted proxy itself, or the first if all are. Whoever wrote what stands
// before that is not trusted, so it is not looked at. An entry that is no address (RFC 7239 has "unknown" and names
// that begin with "_") ends the search: the proxy that wrote it is then as far as we can see. The zero address means
// that the chain says nothing beyond the peer itself.
//
// At is where in buf the entry begins that was chosen. Of X-Forwarded-For it is what RequestFacts.ChainEnd wants.
//
// The peer itself must be one of the trusted proxies. Buf is what h was parsed from.
func (c Chain) Client(buf []byte, h *httpparse.Head, trusted Proxies) (client netip.Addr, at int) {
	w := walk{trusted: trusted}
	for i := len(h.Fields) - 1; i >= 0 && !w.done; i-- {
		f := &h.Fields[i]
		switch {
		case c == ChainXForwardedFor && f.ID == httpparse.FieldXForwardedFor:
			w.list(c, buf, f.Value)
		case c == ChainForwarded && bytes.EqualFold(f.Name.Of(buf), forwardedName):
			w.list(c, buf, f.Value)
		}
	}
	return w.client, w.at
}

var forwardedName = []byte("forwarded")

// walk is a search from the right.
type walk struct {
	trusted Proxies
	client  netip.Addr
	at      int
	done    bool
}

// entry takes the next entry, which begins at offset at.
func (w *walk) entry(text []byte, at int) {
	addr := parseNode(text)
	if !addr.IsValid() {
		w.done = true
		return
	}
	w.client, w.at = addr, at
	w.done = !w.trusted.Contains(addr)
}

// list takes the entries of one field value, from the right as well: what a trusted proxy has written is well-formed, and
// where it begins must not depend on what a client has written before it, such as a quote that is left open.
func (w *walk) list(c Chain, buf []byte, v httpparse.View) {
	for end := int(v.End); end > int(v.Start) && !w.done; {
		at := int(v.Start)
		if comma := lastComma(buf[at:end], c == ChainForwarded); comma >= 0 {
			at += comma + 1
		}
		start, last := trim(buf, at, end)
		text := buf[start:last]
		if len(text) > 0 { // RFC 9110, 5.6.1: empty list elements are ignored
			if c == ChainForwarded {
				text = forParameter(text)
			}
			w.entry(text, start)
		}
		end = at - 1
	}
}

// lastComma returns where the last element of a list begins, or -1 if there is one alone: at the last comma, with quotes at
// the last that is in no quoted-string (RFC 9110, 5.6.4). Within one, a host may have commas.
func lastComma(list []byte, quotes bool) int {
	if !quotes {
		return bytes.LastIndexByte(list, ',')
	}
	quoted := false
	for i := len(list) - 1; i >= 0; i-- {
		switch {
		case list[i] == '"' && (!quoted || i == 0 || list[i-1] != '\\'):
			// In a quoted-string a quote stands behind a backslash, and where one begins there is none.
			quoted = !quoted
		case list[i] == ',' && !quoted:
			return i
		}
	}
	return -1
}

// trim returns the bounds of buf[start:end] without the blanks around it.
func trim(buf []byte, start, end int) (int, int) {
	for start < end && isBlank(buf[start]) {
		start++
	}
	for start < end && isBlank(buf[end-1]) {
		end--
	}
	return start, end
}

// forParameter returns the value of the for parameter of an element of Forwarded (RFC 7239, section 4), without
// quotes. It is nil when there is none, or more than one, or a quote is left open: it is not clear then which counts.
func forParameter(element []byte) (node []byte) {
	for len(element) > 0 {
		end := endOfParameter(element)
		if end < 0 {
			return nil
		}
		name, value, _ := bytes.Cut(bytes.Trim(element[:end], " \t"), equals)
		element = element[min(end+1, len(element)):]
		if !bytes.EqualFold(name, forName) {
			continue
		}
		if node != nil {
			return nil
		}
		node = value
		if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
			node = value[1 : n-1]
		}
	}
	return node
}

// endOfParameter returns where the semicolon behind the first parameter is, or the end; -1 if a quote is left open.
func endOfParameter(element []byte) int {
	quoted := false
	for i := 0; i < len(element); i++ {
		switch c := element[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == ';' && !quoted:
			return i
		}
	}
	if quoted {
		return -1
	}
	return len(element)
}

var (
	forName = []byte("for")
	equals  = []byte("=")
)

// parseNode reads an address, with or without a port, an IPv6 one with or without brackets (RFC 7239, section 6, and
// what proxies write in X-Forwarded-For). It returns the zero address for anything else. An address of IPv4 mapped
// into IPv6 is that of IPv4.
func parseNode(text []byte) netip.Addr {
	switch {
	case len(text) == 0:
	case text[0] == '[':
		end := bytes.IndexByte(text, ']')
		if end < 0 || !isNodePort(text[end+1:]) {
			return netip.Addr{}
		}
		text = text[1:end]
		if bytes.IndexByte(text, ':') < 0 {
			return netip.Addr{}
		}
	case bytes.Count(text, []byte(":")) == 1:
		colon := bytes.IndexByte(text, ':')
		if !isNodePort(text[colon:]) {
			return netip.Addr{}
		}
		text = text[:colon]
	}
	// No address is longer, and what is kept of one that is wrong is the error's, which nobody looks at.
	const longest = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")
	if len(text) == 0 || len(text) > longest {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(unsafe.String(unsafe.SliceData(text), len(text)))
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}
	}
	return addr.Unmap()
}

// isNodePort reports whether text is empty, or a colon and a port, which may be hidden (RFC 7239, 6).
func isNodePort(text []byte) bool {
	if len(text) == 0 {
		return true
	}
	if text[0] != ':' || len(text) == 1 || len(text) > 32 {
		return false
	}
	for _, c := range text[1:] {
		if (c < '0' || c > '9') && text[1] != '_' {
			return false
		}
	}
	return true
}
