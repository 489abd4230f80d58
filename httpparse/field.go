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

// MaxConnectionOptions bounds what the Connection fields of a head may list together. Honest senders name one
// or two; each one is compared with each field's name later on.
const MaxConnectionOptions = 64

// parseFields parses field lines from buf[at:], up to and including the empty line that ends them, and returns
// where that ends; or ErrNeedMore; or an *Error. It fills h.
//
// It goes from left to right and decides by nothing but what it has passed, so that each beginning of a wrong
// section gives either ErrNeedMore or the error that the whole gives. It writes into buf only to unfold lines.
func parseFields(buf []byte, at int, h *Head) (next int, err error) {
	for {
		name := at
		at = nameEnd(buf, at)
		if at == name || at == len(buf) || buf[at] != ':' {
			switch {
			case at < len(buf) && buf[at] == '_':
				if at, err = h.endOfName(buf, at); err != nil {
					return 0, err
				}
			case at == name && h.folds(buf, at):
				if at, err = h.unfold(buf, at); err != nil {
					return 0, err
				}
				continue
			default:
				return endOfFields(buf, name, at)
			}
		}
		colon := at
		at++
		for at < len(buf) && isBlank(buf[at]) {
			at++
		}
		value := at
		at = textEnd(buf, at)
		if at+1 >= len(buf) || buf[at] != '\r' || buf[at+1] != '\n' {
			return 0, badEnd(buf, at, BadFieldValue)
		}
		end := at
		for end > value && isBlank(buf[end-1]) {
			end--
		}
		at += 2
		if len(h.Fields) == cap(h.Fields) {
			return 0, syntax(TooManyFields, name)
		}
		id, obscured := identify(buf, name, colon)
		if obscured {
			return 0, syntax(ObscuredField, name)
		}
		h.Seen |= 1 << id
		h.Fields = append(h.Fields, Field{
			Name:  View{uint32(name), uint32(colon)},
			Value: View{uint32(value), uint32(end)},
			ID:    id,
		})
		if id == FieldConnection && !h.addConnection(buf[value:end]) {
			return 0, syntax(TooManyOptions, value)
		}
	}
}

// endOfFields looks at a line that is no field line: at is the first byte, from name on, that no name holds.
// It returns where the next line begins if the line is empty.
func endOfFields(buf []byte, name, at int) (next int, err error) {
	if at == name && at+1 < len(buf) && buf[at] == '\r' && buf[at+1] == '\n' {
		return at + 2, nil
	}
	return 0, badEnd(buf, at, BadFieldName)
}

// badEnd says why a line does not end rightly at buf[at], where nothing but its end may come: because of the
// byte there, which is wrong in the way of kind; because of half a line end; or because there is no more.
func badEnd(buf []byte, at int, kind Kind) error {
	switch {
	case at == len(buf):
		return ErrNeedMore
	case buf[at] == '\n':
		return syntax(BadLineEnd, at)
	case buf[at] != '\r':
		return syntax(kind, at)
	case at+1 == len(buf):
		return ErrNeedMore
	case buf[at+1] != '\n':
		return syntax(BadLineEnd, at)
	}
	return syntax(kind, at)
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// equalLower compares ASCII letters case-insensitively with lower, which holds small letters, dashes and what
// makes a URL's scheme. No byte of name is a control character: nothing but its capital becomes a small letter
// by setting a bit then, and nothing at all becomes one of the others.
func equalLower(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if c|0x20 != lower[i] {
			return false
		}
	}
	return true
}

// equalFold compares ASCII letters case-insensitively.
func equalFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if toLower(a[i]) != toLower(b[i]) {
			return false
		}
	}
	return true
}

func toLower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return c
}

// fieldNames are the names of the known fields, in lower case.
var fieldNames = [numFieldIDs]string{
	FieldHost:               "host",
	FieldConnection:         "connection",
	FieldProxyConnection:    "proxy-connection",
	FieldKeepAlive:          "keep-alive",
	FieldTE:                 "te",
	FieldTrailer:            "trailer",
	FieldTransferEncoding:   "transfer-encoding",
	FieldUpgrade:            "upgrade",
	FieldContentLength:      "content-length",
	FieldExpect:             "expect",
	FieldProxy:              "proxy",
	FieldXForwardedFor:      "x-forwarded-for",
	FieldXForwardedProto:    "x-forwarded-proto",
	FieldXForwardedHost:     "x-forwarded-host",
	FieldXHost:              "x-host",
	FieldUserAgent:          "user-agent",
	FieldReferer:            "referer",
	FieldDate:               "date",
	FieldServer:             "server",
	FieldMaxForwards:        "max-forwards",
	FieldAuthorization:      "authorization",
	FieldProxyAuthenticate:  "proxy-authenticate",
	FieldProxyAuthorization: "proxy-authorization",
}

// maxFieldName is the length of the longest of them.
const maxFieldName = len("proxy-authorization")

// candidates has, by length and the low bits of the first letter, the one known field that a name can be. It is
// small, to stay in the cache.
var candidates = func() (t [maxFieldName + 1][32]FieldID) {
	for id := FieldOther + 1; id < numFieldIDs; id++ {
		name := fieldNames[id]
		slot := &t[len(name)][name[0]%32]
		if *slot != FieldOther {
			panic("httpparse: two known fields of one length and first letter: " + name)
		}
		*slot = id
	}
	return t
}()

// words are a name of n bytes as three numbers: those that begin at its first byte, at its ninth, or its eighth from the end if
// that comes before, and at its eighth from the end. A name shorter than eight bytes is the first alone, without what mask
// leaves out.
type words struct{ first, middle, last, mask uint64 }

// fieldWords are the names of the known fields.
var fieldWords = func() (t [numFieldIDs]words) {
	for id := FieldOther + 1; id < numFieldIDs; id++ {
		name := []byte(fieldNames[id])
		n := len(name)
		if n < 8 {
			t[id].mask = 1<<(8*n) - 1
			t[id].first = binary.LittleEndian.Uint64(append(name, make([]byte, 8)...)) & t[id].mask
			continue
		}
		t[id] = words{
			first:  binary.LittleEndian.Uint64(name),
			middle: binary.LittleEndian.Uint64(name[min(8, n-8):]),
			last:   binary.LittleEndian.Uint64(name[n-8:]),
			mask:   1<<64 - 1,
		}
	}
	return t
}()

// isNamed reports whether the name at buf[name:colon] is that of the known field id, which is as long: see equalLower.
func isNamed(buf []byte, name, colon int, id FieldID) bool {
	if name+8 > len(buf) {
		return equalLower(buf[name:colon], fieldNames[id]) // a short one at the very end
	}
	known := &fieldWords[id]
	if (load(buf, name)|every20)&known.mask != known.first {
		return false
	}
	n := colon - name
	return n < 8 ||
		load(buf, name+min(8, n-8))|every20 == known.middle &&
			load(buf, colon-8)|every20 == known.last
}

// identify finds a field's ID by its name, buf[name:colon]. obscured is set for a name that a server which takes punctuation
// for dashes would take for one that decides about framing or routing: CGI turns dashes into underscores, and many
// servers any other punctuation along with them.
func identify(buf []byte, name, colon int) (id FieldID, obscured bool) {
	if colon-name > maxFieldName {
		return FieldOther, false
	}
	id = candidates[colon-name][buf[name]%32]
	if id == FieldOther || isNamed(buf, name, colon, id) {
		return id, false
	}
	return FieldOther, isObscured(buf[name:colon], id)
}

// isObscured reports whether name is that of the known field id with other punctuation in place of some dashes.
func isObscured(name []byte, id FieldID) bool {
	switch id {
	case FieldContentLength, FieldTransferEncoding, FieldProxyConnection, FieldKeepAlive,
		FieldXForwardedFor, FieldXForwardedProto, FieldXForwardedHost, FieldXHost,
		FieldMaxForwards, FieldProxyAuthorization:
	default:
		return false
	}
	known := fieldNames[id]
	for i, c := range name {
		if c|0x20 != known[i] && (known[i] != '-' || isAlnum(c)) {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// addConnection notes what a Connection field lists, and reports whether that is not too much.
func (h *Head) addConnection(value []byte) bool {
	for rest := value; len(rest) > 0; {
		var option []byte
		option, rest = nextListItem(rest)
		if len(option) == 0 {
			continue
		}
		if h.options++; h.options > MaxConnectionOptions {
			return false
		}
		switch {
		case equalLower(option, "close"):
			h.ConnClose = true
		case equalLower(option, "keep-alive"):
			h.ConnKeepAlive = true
		default:
			h.ConnNames = true
		}
	}
	return true
}

// nextListItem cuts the first item from a comma-separated list (RFC 9110, 5.6.1), without blanks around it.
func nextListItem(list []byte) (item, rest []byte) {
	item = list
	if i := bytes.IndexByte(list, ','); i >= 0 {
		item, rest = list[:i], list[i+1:]
	}
	return trimBlanks(item), rest
}

func trimBlanks(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
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
			if len(option) > 0 && equalFold(option, name) {
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

// maxHead bounds a head, in bytes, so that offsets into it fit into a View. Callers have a limit of their own
// that is far below.
const maxHead = 1 << 30

// needMore returns ErrNeedMore for a beginning of n bytes, unless there is no room for more.
func needMore(n int) error {
	if n >= maxHead {
		return syntax(HeadTooLarge, maxHead)
	}
	return ErrNeedMore
}

// parsedAnew is up to how many bytes a head is parsed anew whenever some of it arrives. Methods and versions
// fit, so that what is no HTTP at all is refused at its first bytes.
const parsedAnew = 64

var endOfHead = []byte("\r\n\r\n")

// worthParsing reports whether a head of which the first scanned bytes were incomplete may be complete or wrong
// by now: whether it is worth the time to parse it from its beginning. first is where its first field line can
// begin at the earliest, and spare an array for field lines that nobody wants.
//
// Parsing it all whenever a byte arrives would take a sender's patience squared. This way each byte is looked
// at a few times, however it arrives: in search of a line's end; then, the line being complete, in search of
// its beginning, and as a part of it. A head that can only be refused is refused with the line that is wrong,
// and not when its sender stops. What is wrong, the first parse from the beginning says, so that it does not
// depend on how the head was cut.
func worthParsing(buf []byte, scanned, first int, spare []Field, allow Leniency) bool {
	if scanned < parsedAnew {
		return true
	}
	lf := bytes.IndexByte(buf[scanned:], '\n')
	if lf < 0 {
		return false
	}
	if bytes.Contains(buf[scanned-len(endOfHead)+1:], endOfHead) {
		return true
	}
	line := bytes.LastIndexByte(buf[:scanned], '\n') + 1
	if line <= first {
		return true // it is the first line that has become complete
	}
	// A line that continues another is wrong by itself, and so always worth it. Parsing makes it part of the other.
	h := Head{Fields: spare[:0], Allow: allow}
	_, err := parseFields(buf, line, &h)
	return err != ErrNeedMore
}

// ParseTrailer parses the trailer section that follows the last chunk (RFC 9112, 7.1.2), up to and
// including its empty line, n bytes. Fields are appended to fields, which is never grown. scanned is as in
// ParseRequest. Names with underscores pass, since a section is sent on without what could be misread in it.
func ParseTrailer(buf []byte, scanned int, fields []Field) (out []Field, n int, err error) {
	buf = buf[:min(len(buf), maxHead)]
	scanned = min(scanned, len(buf))
	if !worthParsing(buf, scanned, -1, fields[len(fields):], AllowUnderscores) {
		return fields, 0, needMore(len(buf))
	}
	h := Head{Fields: fields, Allow: AllowUnderscores}
	n, err = parseFields(buf, 0, &h)
	switch {
	case err == ErrNeedMore:
		return fields, 0, needMore(len(buf))
	case err != nil:
		return fields, 0, err
	}
	return h.Fields, n, nil
}
