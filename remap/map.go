package remap

import (
	"bytes"
	"unsafe"
)

// keepHost and clientsHost are values of a host mapping: as it is, and the host that the client has asked for.
// clientsHost is a key too.
const (
	keepHost    = ""
	clientsHost = "-"
)

// mapHost looks an authority up in MapHostRequest or MapHostResponse. known says that it is listed; to is what
// replaces it, nil for nothing.
func (t *Trip) mapHost(authority []byte, response bool) (to []byte, known bool) {
	list := t.Edits.o.MapHostRequest
	if response {
		list = t.Edits.o.MapHostResponse
	}
	for i := range list {
		m := &list[i]
		if m.From == clientsHost {
			key := t.clientHost
			if response && t.host != nil {
				key = stringBytes(t.host.To)
			}
			if len(key) == 0 || !equalFold(authority, key) {
				continue
			}
		} else if !equalFoldString(authority, m.From) {
			continue
		}
		switch m.To {
		case keepHost:
			return nil, true
		case clientsHost:
			if len(t.clientHost) == 0 {
				return nil, true
			}
			return t.clientHost, true
		}
		if !response && t.host == nil {
			t.host = m
		}
		return stringBytes(m.To), true
	}
	return nil, false
}

// appendMappedPath appends a path and query by MapURLPath. It always begins with a slash.
func (t *Trip) appendMappedPath(dst, path []byte, response bool) []byte {
	from, to := "", ""
	list := t.Edits.o.MapURLPath
	if response {
		if m := t.urlPath; m != nil && hasPrefix(path, m.To) {
			from, to = m.To, m.From
		} else {
			for i := range list {
				if hasPrefix(path, list[i].To) {
					from, to = list[i].To, list[i].From
					break
				}
			}
		}
	} else {
		for i := range list {
			if hasPrefix(path, list[i].From) {
				from, to = list[i].From, list[i].To
				if t.urlPath == nil {
					t.urlPath = &list[i]
				}
				break
			}
		}
	}
	begin := len(dst)
	dst = append(dst, to...)
	dst = append(dst, path[len(from):]...)
	return rooted(dst, begin)
}

// rooted makes dst[begin:] begin with a slash.
func rooted(dst []byte, begin int) []byte {
	if len(dst) > begin && dst[begin] == '/' {
		return dst
	}
	dst = append(dst, 0)
	copy(dst[begin+1:], dst[begin:])
	dst[begin] = '/'
	return dst
}

// appendMappedURI appends a URL, or a path, with its host and its path mapped. What is neither passes: a relative path,
// "//host/path", another kind of URI.
func (t *Trip) appendMappedURI(dst, uri []byte, response bool) []byte {
	if len(uri) > 0 && uri[0] == '/' {
		if len(uri) > 1 && uri[1] == '/' {
			return append(dst, uri...)
		}
		return t.appendMappedPath(dst, uri, response)
	}
	scheme, authority, rest, ok := splitURL(uri)
	if !ok {
		return append(dst, uri...)
	}
	to, known := t.mapHost(authority, response)
	now := authority
	if to != nil {
		now = to
		if t.Edits.o.HTTPSRemap && t.Scheme == "https" {
			switch {
			case response && bytes.EqualFold(scheme, httpScheme):
				scheme = httpsScheme
			case !response && bytes.EqualFold(scheme, httpsScheme):
				scheme = httpScheme
			}
		}
	}
	dst = append(dst, scheme...)
	dst = append(dst, "://"...)
	dst = append(dst, now...)
	if !t.mapsPathOf(authority, now, known, response) {
		return append(dst, rest...)
	}
	if len(rest) == 0 || rest[0] != '/' {
		begin := len(dst)
		dst = append(dst, '/')
		dst = append(dst, rest...)
		mid := len(dst)
		dst = t.appendMappedPath(dst, dst[begin:mid], response)
		return moveDown(dst, begin, mid)
	}
	return t.appendMappedPath(dst, rest, response)
}

var httpScheme, httpsScheme = []byte("http"), []byte("https")

// mapsPathOf reports whether the path of a URL is one of ours. authority is what it has, now what that was mapped to,
// and known that the map has it.
func (t *Trip) mapsPathOf(authority, now []byte, known, response bool) bool {
	o := &t.Edits.o
	if response && len(o.PathHosts)+len(o.NotPathHosts) > 0 {
		return (len(o.PathHosts) == 0 || hostListed(o.PathHosts, now)) && !hostListed(o.NotPathHosts, now)
	}
	if known || len(t.clientHost) > 0 && equalFold(authority, t.clientHost) {
		return true
	}
	if equalFoldString(authority, t.ServerHost) || equalFoldString(authority, t.Server) || o.Host != "" && equalFoldString(authority, o.Host) {
		return true
	}
	for i := range o.MapHostRequest {
		if m := &o.MapHostRequest[i]; m.To != keepHost && m.To != clientsHost && equalFoldString(authority, m.To) {
			return true
		}
	}
	return false
}

// hostListed reports whether a list has a host, or "*".
func hostListed(list []string, host []byte) bool {
	for _, s := range list {
		if s == "*" || equalFoldString(host, s) {
			return true
		}
	}
	return false
}

// splitURL divides scheme://authority and what is behind it. It fails for what has no authority.
func splitURL(uri []byte) (scheme, authority, rest []byte, ok bool) {
	i := 0
	for i < len(uri) && isSchemeChar(uri[i], i) {
		i++
	}
	if i == 0 || !bytes.HasPrefix(uri[i:], colonSlashSlash) {
		return nil, nil, nil, false
	}
	scheme, uri = uri[:i], uri[i+len(colonSlashSlash):]
	end := 0
	for end < len(uri) && uri[end] != '/' && uri[end] != '?' && uri[end] != '#' {
		end++
	}
	return scheme, uri[:end], uri[end:], end > 0
}

var colonSlashSlash = []byte("://")

// isSchemeChar tells the characters of a scheme, by where they are (RFC 3986, 3.1).
func isSchemeChar(c byte, at int) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || at > 0 && (isDigit(c) || c == '+' || c == '-' || c == '.')
}

// appendReversed appends a URL by Reverse, and reports whether there was an entry for it.
func (t *Trip) appendReversed(dst, uri []byte) ([]byte, bool) {
	for i := range t.Edits.o.Reverse {
		m := &t.Edits.o.Reverse[i]
		rest := uri
		if len(m.Servers) > 0 {
			if rest = m.behindServer(uri); rest == nil {
				continue
			}
			dst = t.appendPublicRoot(dst)
			return m.appendPath(dst, rest), true
		}
		if m.From[0] == '/' {
			if rest = pathOf(uri); !hasPrefix(rest, m.From) {
				continue
			}
		} else if len(uri) < len(m.From) || !equalFoldString(uri[:len(m.From)], m.From) {
			continue
		}
		dst = t.appendPublicRoot(dst)
		dst = append(dst, m.To...)
		return append(dst, rest[len(m.From):]...), true
	}
	return dst, false
}

// appendRefresh appends a Refresh value with its URL reversed, if it has one.
func (t *Trip) appendRefresh(dst, value []byte) []byte {
	begin, end := refreshURL(value)
	dst = append(dst, value[:begin]...)
	dst, done := t.appendReversed(dst, value[begin:end])
	if !done {
		dst = append(dst, value[begin:end]...)
	}
	return append(dst, value[end:]...)
}

// refreshURL returns where in a Refresh value its URL is; where it ends, twice, if there is none. No RFC has the field. This is
// how browsers read it (HTML, "shared declarative refresh steps"): a number, a semicolon or comma, perhaps "url=", and the URL,
// perhaps in quotes.
func refreshURL(value []byte) (begin, end int) {
	i := 0
	for i < len(value) && (isDigit(value[i]) || value[i] == '.' || isBlank(value[i])) {
		i++
	}
	if i == 0 || i == len(value) || value[i] != ';' && value[i] != ',' {
		return len(value), len(value)
	}
	begin = skipBlanks(value, i+1)
	if rest := value[begin:]; len(rest) > len("url") && equalName(rest[:len("url")], "url") {
		if i = skipBlanks(value, begin+len("url")); i < len(value) && value[i] == '=' {
			begin = skipBlanks(value, i+1)
		}
	}
	if begin == len(value) || value[begin] != '"' && value[begin] != '\'' {
		return begin, len(value)
	}
	quote := value[begin]
	begin++
	if i = bytes.IndexByte(value[begin:], quote); i >= 0 {
		return begin, begin + i
	}
	return begin, len(value)
}

// skipBlanks returns where the first character is that is no blank, from an index on.
func skipBlanks(b []byte, from int) int {
	for from < len(b) && isBlank(b[from]) {
		from++
	}
	return from
}

// behindServer returns the path of a URL of one of the servers, behind what the server's own begins with; nil: it is of none
// of them, or not at From or below it.
func (m *Reversal) behindServer(uri []byte) []byte {
	for _, s := range m.Servers {
		if len(uri) < len(s) || !equalFoldString(uri[:len(s)], s) {
			continue
		}
		rest := uri[len(s):]
		if !endsSegment(rest) {
			continue
		}
		if len(rest) == 0 || rest[0] != '/' {
			if m.From != "/" {
				continue
			}
			return rest[:len(rest):len(rest)] // never nil: it is cut from uri
		}
		if hasPrefix(rest, m.From) && (m.From[len(m.From)-1] == '/' || endsSegment(rest[len(m.From):])) {
			return rest
		}
	}
	return nil
}

// endsSegment reports whether what follows begins something else than more of a segment.
func endsSegment(rest []byte) bool {
	return len(rest) == 0 || rest[0] == '/' || rest[0] == '?' || rest[0] == '#'
}

// appendPath appends To and what of a path is behind From, with one slash between them.
func (m *Reversal) appendPath(dst, path []byte) []byte {
	rest := path
	if len(path) > 0 && path[0] == '/' {
		rest = path[len(m.From):]
	}
	dst = append(dst, m.To...)
	ends := m.To[len(m.To)-1] == '/'
	switch begins := len(rest) > 0 && rest[0] == '/'; {
	case ends && begins:
		rest = rest[1:]
	case !ends && !endsSegment(rest):
		dst = append(dst, '/')
	}
	return append(dst, rest...)
}

// pathOf returns the path and query of a URL, or of what is a path already; nothing for what has none.
func pathOf(uri []byte) []byte {
	if len(uri) > 0 && uri[0] == '/' {
		return uri
	}
	_, _, rest, _ := splitURL(uri)
	return rest
}

// appendPublicRoot appends scheme and host of the URLs that clients use. It appends nothing for a client that has named
// no host, if the proxy has no name either: a path is a URL too (RFC 9110, 10.2.2).
func (t *Trip) appendPublicRoot(dst []byte) []byte {
	host := t.Req.Authority.Of(t.Head)
	if len(host) == 0 {
		host = stringBytes(t.Edits.o.ServerName)
	}
	if len(host) == 0 {
		return dst
	}
	dst = append(dst, t.Scheme...)
	dst = append(dst, "://"...)
	return append(dst, host...)
}

// moveDown removes dst[begin:mid].
func moveDown(dst []byte, begin, mid int) []byte {
	return dst[:begin+copy(dst[begin:], dst[mid:])]
}

// isCanonical tells the characters of a path that are written bare when it is encoded.
var isCanonical = func() (t [256]bool) {
	for c := range t {
		t[c] = isDigit(byte(c)) || 'a' <= c|0x20 && c|0x20 <= 'z' || bytes.IndexByte([]byte("~$-_.+!*'(),;:@&=/"), byte(c)) >= 0
	}
	return t
}()

// appendEncoded appends a path percent-encoded.
func appendEncoded(dst, path []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range path {
		if isCanonical[c] {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', digits[c>>4], digits[c&0xf])
		}
	}
	return dst
}

func equalFold(a, b []byte) bool { return len(a) == len(b) && bytes.EqualFold(a, b) }

// equalFoldString compares ASCII letters in any case.
func equalFoldString(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		d := s[i]
		if c != d && (c|0x20 != d|0x20 || c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}

// appendCookie appends a Set-Cookie value with its Domain and Path mapped (RFC 6265, 4.1). What comes before the first
// semicolon is the cookie itself, whatever it is called.
func (t *Trip) appendCookie(dst, value []byte) []byte {
	rest := value
	for first := true; ; first = false {
		attribute := rest
		semi := bytes.IndexByte(rest, ';')
		if semi >= 0 {
			attribute = rest[:semi]
		}
		if first {
			dst = append(dst, attribute...)
		} else {
			dst = t.appendAttribute(dst, attribute)
		}
		if semi < 0 {
			return dst
		}
		dst = append(dst, ';')
		rest = rest[semi+1:]
	}
}

// appendAttribute appends an attribute of a cookie.
func (t *Trip) appendAttribute(dst, attribute []byte) []byte {
	start := 0
	for start < len(attribute) && isBlank(attribute[start]) {
		start++
	}
	eq := bytes.IndexByte(attribute, '=')
	if eq < 0 {
		return append(dst, attribute...)
	}
	name, value := attribute[start:eq], attribute[eq+1:]
	switch {
	case equalName(name, "path"):
		dst = append(dst, attribute[:eq+1]...)
		return t.appendCookiePath(dst, value)
	case equalName(name, "domain"):
		dst = append(dst, attribute[:eq+1]...)
		return t.appendCookieDomain(dst, value)
	}
	return append(dst, attribute...)
}

func (t *Trip) appendCookiePath(dst, value []byte) []byte {
	o := &t.Edits.o
	for i := range o.ReverseCookiePath {
		if m := &o.ReverseCookiePath[i]; hasPrefix(value, m.From) {
			return append(dst, m.To...)
		}
	}
	if len(o.MapURLPath) == 0 {
		return append(dst, value...)
	}
	path, quote := value, ""
	if n := len(path); n >= 2 && path[0] == '"' && path[n-1] == '"' {
		path, quote = path[1:n-1], `"`
	}
	if len(path) == 0 || path[0] != '/' {
		return append(dst, value...)
	}
	dst = append(dst, quote...)
	dst = t.appendMappedPath(dst, path, true)
	return append(dst, quote...)
}

func (t *Trip) appendCookieDomain(dst, value []byte) []byte {
	o := &t.Edits.o
	for i := range o.ReverseCookieDomain {
		if m := &o.ReverseCookieDomain[i]; equalFoldString(value, m.From) {
			return append(dst, m.To...)
		}
	}
	name := value
	if len(name) > 0 && name[0] == '.' {
		name = name[1:]
	}
	to, _ := t.mapHost(name, true)
	if to == nil {
		return append(dst, value...)
	}
	if len(name) < len(value) {
		dst = append(dst, '.')
	}
	host, _ := splitHost(to) // a cookie's domain has no port (RFC 6265, 4.1.2.3)
	return append(dst, host...)
}

// stringBytes returns the bytes of a string, which must not be written to.
func stringBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
