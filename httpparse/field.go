package httpparse

import (
	"bytes"
	"encoding/binary"
)

// isToken tells the characters of a token (RFC 9110, 5.6.2).
var isToken = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' ||
			bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), byte(c)) >= 0
	}
	return t
}()

// parseFields parses field lines from buf[at:end], where the empty line that ends them begins at end and
// buf[:end+2] exists. It fills h.
func parseFields(buf []byte, at, end int, h *Head) error {
	for at < end {
		name := at
		for isToken[buf[at]] {
			at++
		}
		if at == name || buf[at] != ':' {
			return syntax(BadFieldName, at)
		}
		colon := at
		at++
		// The line ends before end+2, so there is a CR to find.
		cr := at + bytes.IndexByte(buf[at:end+2], '\r')
		if buf[cr+1] != '\n' {
			return syntax(BadLineEnd, cr)
		}
		next := cr + 2
		for at < cr && (buf[at] == ' ' || buf[at] == '\t') {
			at++
		}
		for cr > at && (buf[cr-1] == ' ' || buf[cr-1] == '\t') {
			cr--
		}
		if i := controlIn(buf[at:cr]); i >= 0 {
			return syntax(BadFieldValue, at+i)
		}
		if len(h.Fields) == cap(h.Fields) {
			return syntax(TooManyFields, name)
		}
		id, obscured := identify(buf[name:colon])
		if obscured {
			return syntax(ObscuredField, name)
		}
		h.Seen |= 1 << id
		h.Fields = append(h.Fields, Field{
			Name:  View{uint32(name), uint32(colon)},
			Value: View{uint32(at), uint32(cr)},
			ID:    id,
		})
		if id == FieldConnection {
			h.addConnection(buf[at:cr])
		}
		at = next
	}
	return nil
}

const (
	every01 = 0x0101010101010101
	every80 = 0x8080808080808080
)

// controlIn returns the index of the first byte that a field value may not hold (RFC 9110, 5.5): a control
// character other than HTAB, or DEL; -1 if there is none. It looks at eight bytes at a time.
func controlIn(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		v := binary.LittleEndian.Uint64(b[i:])
		low := (v - every01*0x20) &^ v // high bit set where a byte is below 0x20 (or a borrow came by)
		del := v ^ every01*0x7f        // zero where a byte is 0x7f
		del = (del - every01) &^ del   // high bit set where it was zero
		if (low|del)&every80 != 0 {
			break // the slow loop decides, since HTAB is allowed and borrows may lie
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return i
		}
	}
	return -1
}

// equalLower compares ASCII letters case-insensitively with lower, which is in lower case and a token.
func equalLower(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := range len(lower) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// candidates lists the known names by length and first letter; at most two share both.
var candidates = func() (t [32]['z' + 1][2]struct {
	name string
	id   FieldID
}) {
	for name, id := range knownFields {
		slot := &t[len(name)][name[0]]
		switch {
		case slot[0].name == "":
			slot[0].name, slot[0].id = name, id
		case slot[1].name == "":
			slot[1].name, slot[1].id = name, id
		default:
			panic("httpparse: three known fields of one length and first letter: " + name)
		}
	}
	return t
}()

var knownFields = map[string]FieldID{
	"host":                FieldHost,
	"connection":          FieldConnection,
	"proxy-connection":    FieldProxyConnection,
	"keep-alive":          FieldKeepAlive,
	"te":                  FieldTE,
	"trailer":             FieldTrailer,
	"transfer-encoding":   FieldTransferEncoding,
	"upgrade":             FieldUpgrade,
	"content-length":      FieldContentLength,
	"expect":              FieldExpect,
	"proxy":               FieldProxy,
	"x-forwarded-for":     FieldXForwardedFor,
	"x-forwarded-proto":   FieldXForwardedProto,
	"x-forwarded-host":    FieldXForwardedHost,
	"x-host":              FieldXHost,
	"user-agent":          FieldUserAgent,
	"referer":             FieldReferer,
	"date":                FieldDate,
	"server":              FieldServer,
	"max-forwards":        FieldMaxForwards,
	"authorization":       FieldAuthorization,
	"proxy-authenticate":  FieldProxyAuthenticate,
	"proxy-authorization": FieldProxyAuthorization,
}

// identify finds a field's ID by its name. obscured is set for a name that a server which turns underscores
// into dashes, as CGI does, would take for one that decides about framing or routing.
func identify(name []byte) (id FieldID, obscured bool) {
	if len(name) >= len(candidates) {
		return FieldOther, false
	}
	first := name[0] | 0x20
	if first <= 'z' {
		slot := &candidates[len(name)][first]
		if slot[0].name != "" {
			if equalLower(name, slot[0].name) {
				return slot[0].id, false
			}
			if slot[1].name != "" && equalLower(name, slot[1].name) {
				return slot[1].id, false
			}
			// Only a name of a known one's length can be an obscured form of it.
			if bytes.IndexByte(name, '_') >= 0 {
				return FieldOther, isObscured(name)
			}
		}
	}
	return FieldOther, false
}

func isObscured(name []byte) bool {
	var plain [len(candidates)]byte
	n := copy(plain[:], name)
	for i := range n {
		if plain[i] == '_' {
			plain[i] = '-'
		}
	}
	switch id, _ := identify(plain[:n]); id {
	case FieldContentLength, FieldTransferEncoding, FieldProxyConnection, FieldKeepAlive,
		FieldXForwardedFor, FieldXForwardedProto, FieldXForwardedHost, FieldXHost:
		return true
	}
	return false
}

// addConnection notes what a Connection field lists.
func (h *Head) addConnection(value []byte) {
	for rest := value; len(rest) > 0; {
		var option []byte
		option, rest = nextListItem(rest)
		switch {
		case len(option) == 0:
		case equalLower(option, "close"):
			h.ConnClose = true
		case equalLower(option, "keep-alive"):
			h.ConnKeepAlive = true
		default:
			h.ConnNames = true
		}
	}
}

// nextListItem cuts the first item from a comma-separated list (RFC 9110, 5.6.1), without blanks around it.
func nextListItem(list []byte) (item, rest []byte) {
	item = list
	if i := bytes.IndexByte(list, ','); i >= 0 {
		item, rest = list[:i], list[i+1:]
	}
	return bytes.Trim(item, " \t"), rest
}

// NamedByConnection reports whether a Connection field of the head in buf lists name, in any case: such a
// field is meant for the next hop only (RFC 9110, 7.6.1). It asks for work only when ConnNames is set.
func (h *Head) NamedByConnection(buf, name []byte) bool {
	if !h.ConnNames {
		return false
	}
	for i := range h.Fields {
		if h.Fields[i].ID != FieldConnection {
			continue
		}
		for rest := h.Fields[i].Value.Of(buf); len(rest) > 0; {
			var option []byte
			option, rest = nextListItem(rest)
			if len(option) == len(name) && bytes.EqualFold(option, name) {
				return true
			}
		}
	}
	return false
}

// Persistent reports whether the sender keeps the connection after this message (RFC 9112, 9.3).
func (h *Head) Persistent() bool {
	if h.ConnClose {
		return false
	}
	return h.Version >= HTTP11 || h.ConnKeepAlive
}

// Lookup returns the value of the first field with the given ID.
func (h *Head) Lookup(id FieldID) (View, bool) {
	if !h.Seen.Has(id) {
		return View{}, false
	}
	for i := range h.Fields {
		if h.Fields[i].ID == id {
			return h.Fields[i].Value, true
		}
	}
	return View{}, false
}

// reset empties h and keeps its array.
func (h *Head) reset() { *h = Head{Fields: h.Fields[:0]} }

var endOfHead = []byte("\r\n\r\n")

// headEnd returns the offset of the empty line's CRLF, looking only at what scanned does not cover, and
// reports as an error a line that ends wrongly in what is new.
func headEnd(buf []byte, start, scanned int) (end int, err error) {
	from := max(start, scanned-len(endOfHead)+1)
	if from >= len(buf) {
		return 0, ErrNeedMore
	}
	if i := bytes.Index(buf[from:], endOfHead); i >= 0 {
		return from + i + 2, nil
	}
	// A head that can only be refused is refused now, and not when its sender loses patience.
	for at := max(start, scanned-1); ; at++ {
		i := bytes.IndexByte(buf[at:], '\n')
		if i < 0 {
			return 0, ErrNeedMore
		}
		at += i
		if at == 0 || buf[at-1] != '\r' {
			return 0, syntax(BadLineEnd, at)
		}
	}
}

// ParseTrailer parses the trailer section that follows the last chunk (RFC 9112, 7.1.2), up to and
// including its empty line, n bytes. Fields are appended to fields, which is never grown.
func ParseTrailer(buf []byte, scanned int, fields []Field) (out []Field, n int, err error) {
	if len(buf) >= 2 && buf[0] == '\r' && buf[1] == '\n' {
		return fields, 2, nil
	}
	if len(buf) > 0 && buf[0] != '\r' && !isToken[buf[0]] || len(buf) > 1 && buf[0] == '\r' {
		return fields, 0, syntax(BadFieldName, 0)
	}
	end, err := headEnd(buf, 0, scanned)
	if err != nil {
		return fields, 0, err
	}
	h := Head{Fields: fields}
	if err := parseFields(buf, 0, end, &h); err != nil {
		return fields, 0, err
	}
	return h.Fields, end + 2, nil
}
