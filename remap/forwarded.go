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
	for i := range h.Fields {
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

// walk is a search from left to right for what a search from the right would find: each entry that may be the
// answer replaces the one before.
type walk struct {
	trusted Proxies
	client  netip.Addr
	at      int
}

// entry takes the next entry, which begins at offset at.
func (w *walk) entry(text []byte, at int) {
	addr := parseNode(text)
	// Of trusted proxies in a row the first is the answer, unless somebody comes before it.
	if !addr.IsValid() || !w.client.IsValid() || !w.trusted.Contains(addr) {
		w.client, w.at = addr, at
	}
}

// list takes the entries of one field value. Elements are told apart by commas alone, even those in quotes: no
// address has one, and a quote that a client has left open must not swallow what a trusted proxy wrote behind it.
func (w *walk) list(c Chain, buf []byte, v httpparse.View) {
	for at := int(v.Start); at < int(v.End); {
		end := int(v.End)
		if comma := bytes.IndexByte(buf[at:end], ','); comma >= 0 {
			end = at + comma
		}
		start, last := trim(buf, at, end)
		text := buf[start:last]
		if len(text) > 0 { // RFC 9110, 5.6.1: empty list elements are ignored
			if c == ChainForwarded {
				text = forParameter(text)
			}
			w.entry(text, start)
		}
		at = end + 1
	}
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
// quotes. It is nil when there is none, or more than one: it is not clear then which counts.
func forParameter(element []byte) (node []byte) {
	for pair := range bytes.SplitSeq(element, semicolon) {
		name, value, _ := bytes.Cut(bytes.Trim(pair, " \t"), equals)
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

var (
	forName   = []byte("for")
	semicolon = []byte(";")
	equals    = []byte("=")
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
