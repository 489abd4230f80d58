package httpparse

import "bytes"

// TargetForm is one of the four forms of a request target (RFC 9112, 3.2).
type TargetForm uint8

// The forms.
const (
	FormOrigin    TargetForm = iota // /path?query
	FormAbsolute                    // http://authority/path?query
	FormAuthority                   // host:port, for CONNECT
	FormAsterisk                    // *, for OPTIONS
)

// Request is a request head, as views into the buffer it was parsed from.
type Request struct {
	Head
	Method     Method
	MethodName View
	// Target is the request target as received.
	Target View
	Form   TargetForm
	// Secure says that the target is in absolute-form with the scheme https.
	Secure bool
	// Authority is the host[:port] that the request is for: the target's, which overrides Host (RFC 9112,
	// 3.2.2), else the value of Host. It is empty if there is neither, which only HTTP/1.0 allows.
	Authority View
	// Path is the target's path, without the query. It may be empty in absolute-form.
	Path View
	// PathQuery is path and query as received: what origin-form would have, but for an empty path.
	PathQuery View
}

// MaxEmptyLines is how many empty lines may come before a request line (RFC 9112, 2.2): some old clients
// send one behind a body.
const MaxEmptyLines = 4

// maxMethodLength bounds a method: the longest registered one, UPDATEREDIRECTREF, has 17 characters.
const maxMethodLength = 32

// ParseRequest parses a request head from the beginning of buf. It returns the head's length in bytes, the
// empty line included; or ErrNeedMore; or an *Error. scanned says how many bytes of buf an earlier call has
// answered with ErrNeedMore; 0 at first. r.Fields keeps its array: its capacity is the limit of fields. r.Allow
// stays; with AllowObsFold, buf is written to. What r holds beside is of use only if there is no error.
func ParseRequest(buf []byte, scanned int, r *Request) (n int, err error) {
	*r = Request{Head: Head{Fields: r.Fields[:0], Allow: r.Allow}}
	buf = buf[:min(len(buf), maxHead)]
	scanned = min(scanned, len(buf))
	if !worthParsing(buf, scanned, 2*MaxEmptyLines, r.Fields, r.Allow) {
		return 0, needMore(len(buf))
	}
	start := 0
	for start+1 < len(buf) && buf[start] == '\r' && buf[start+1] == '\n' {
		if start += 2; start > 2*MaxEmptyLines {
			return 0, syntax(BadRequestLine, start)
		}
	}
	at, err := parseRequestLine(buf, start, r)
	if err == nil {
		at, err = parseFields(buf, at, &r.Head)
	}
	if err == nil {
		err = r.findAuthority(buf)
	}
	if err == ErrNeedMore {
		*r = Request{Head: Head{Fields: r.Fields[:0], Allow: r.Allow}}
		return 0, needMore(len(buf))
	}
	if err != nil {
		return 0, err
	}
	return at, nil
}

// parseRequestLine parses the line that begins at start and returns where the next begins; or ErrNeedMore; or
// an *Error. Like parseFields, it decides by nothing but what it has passed.
func parseRequestLine(buf []byte, start int, r *Request) (next int, err error) {
	at := start
	for at < len(buf) && isToken[buf[at]] {
		if at++; at-start > maxMethodLength {
			return 0, syntax(BadMethod, at-1)
		}
	}
	switch {
	case at == start:
		return 0, badEnd(buf, at, BadMethod)
	case at == len(buf) || buf[at] != ' ':
		return 0, badEnd(buf, at, BadRequestLine)
	}
	r.MethodName = View{uint32(start), uint32(at)}
	r.Method = methodOf(buf[start:at])
	at++
	target := at
	at = targetEnd(buf, at)
	if at == target || at == len(buf) || buf[at] != ' ' {
		return 0, badEnd(buf, at, BadTarget)
	}
	r.Target = View{uint32(target), uint32(at)}
	at++
	if r.Version, err = parseVersion(buf, at); err != nil {
		return 0, err
	}
	at += len("HTTP/1.1")
	if at+1 >= len(buf) || buf[at] != '\r' || buf[at+1] != '\n' {
		return 0, badEnd(buf, at, BadVersion)
	}
	if r.Version != HTTP10 && r.Version != HTTP11 {
		return 0, syntax(UnknownVersion, at-len("HTTP/1.1"))
	}
	return at + 2, r.splitTarget(buf)
}

// parseVersion parses any HTTP-version (RFC 9112, 2.3) at buf[at:].
func parseVersion(buf []byte, at int) (Version, error) {
	const pattern = "HTTP/0.0"
	if len(buf)-at >= len(pattern) {
		// What nearly everybody sends.
		switch string(buf[at : at+len(pattern)]) {
		case "HTTP/1.1":
			return HTTP11, nil
		case "HTTP/1.0":
			return HTTP10, nil
		}
	}
	for i := range len(pattern) {
		if at+i == len(buf) {
			return 0, ErrNeedMore
		}
		c := buf[at+i]
		if c != pattern[i] && !(pattern[i] == '0' && c >= '0' && c <= '9') {
			return 0, badEnd(buf, at+i, BadVersion)
		}
	}
	return Version(buf[at+5]-'0')*10 + Version(buf[at+7]-'0'), nil
}

// splitTarget finds the target's form and its parts (RFC 9112, 3.2).
func (r *Request) splitTarget(buf []byte) error {
	target := r.Target.Of(buf)
	start := r.Target.Start
	switch {
	case r.Method == MethodConnect:
		r.Form = FormAuthority
		r.Authority = r.Target
		host, port := splitPort(target)
		if len(port) < 2 || !validHost(host) || !validPort(port) {
			return syntax(BadTarget, int(start))
		}
		return nil
	case target[0] == '/':
		r.PathQuery = r.Target
	case len(target) == 1 && target[0] == '*':
		if r.Method != MethodOptions {
			return syntax(BadTarget, int(start))
		}
		r.Form = FormAsterisk
		r.Path, r.PathQuery = r.Target, r.Target
		return nil
	default:
		r.Form = FormAbsolute
		scheme := 0
		switch {
		case len(target) > 7 && equalLower(target[:7], "http://"):
			scheme = 7
		case len(target) > 8 && equalLower(target[:8], "https://"):
			scheme = 8
			r.Secure = true
		default:
			return syntax(BadTarget, int(start))
		}
		end := scheme
		for end < len(target) && target[end] != '/' && target[end] != '?' {
			end++
		}
		r.Authority = View{start + uint32(scheme), start + uint32(end)}
		if !validAuthority(target[scheme:end]) {
			return syntax(BadTarget, int(start)+scheme)
		}
		r.PathQuery = View{start + uint32(end), r.Target.End}
	}
	r.Path = r.PathQuery
	if i := bytes.IndexByte(r.PathQuery.Of(buf), '?'); i >= 0 {
		r.Path.End = r.Path.Start + uint32(i)
	}
	return nil
}

// findAuthority checks Host (RFC 9112, 3.2): one in HTTP/1.1, at most one in HTTP/1.0, and a valid one.
// An empty one, which the RFC has for targets without an authority, is refused: no http target is.
func (r *Request) findAuthority(buf []byte) error {
	if !r.Seen.Has(FieldHost) {
		if r.Version >= HTTP11 {
			return syntax(MissingHost, int(r.Target.End))
		}
		return nil
	}
	found := false
	for i := range r.Fields {
		if r.Fields[i].ID != FieldHost {
			continue
		}
		v := r.Fields[i].Value
		if found {
			return syntax(RepeatedHost, int(v.Start))
		}
		found = true
		if !validAuthority(v.Of(buf)) {
			return syntax(BadHost, int(v.Start))
		}
		if r.Form == FormOrigin || r.Form == FormAsterisk {
			r.Authority = v
		}
	}
	return nil
}

// validAuthority checks host[:port] without userinfo (RFC 9110, 4.2.4 and 7.2).
func validAuthority(b []byte) bool {
	host, port := splitPort(b)
	return validHost(host) && (len(port) == 0 || validPort(port))
}

// splitPort cuts ":port" from an authority; port keeps its colon.
func splitPort(b []byte) (host, port []byte) {
	from := 0
	if len(b) > 0 && b[0] == '[' {
		if from = bytes.IndexByte(b, ']'); from < 0 {
			return b, nil
		}
	}
	if i := bytes.IndexByte(b[from:], ':'); i >= 0 {
		return b[:from+i], b[from+i:]
	}
	return b, nil
}

// validPort checks ":" and up to five digits (RFC 3986, 3.2.3), up to 65535.
func validPort(port []byte) bool {
	if len(port) > len(":65535") {
		return false
	}
	n := 0
	for _, c := range port[1:] {
		if c < '0' || c > '9' {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= 65535
}

// isRegName tells the characters of a reg-name (RFC 3986, 3.2.2); percent-encoding is not among them, since
// no name that is looked up in DNS has any, and what compares names would have to decode it.
var isRegName = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' ||
			bytes.IndexByte([]byte("-._~!$&'()*+;="), byte(c)) >= 0
	}
	return t
}()

// validHost checks a reg-name, an IPv4 address, or an IPv6 address in brackets.
func validHost(host []byte) bool {
	if len(host) == 0 {
		return false
	}
	if host[0] == '[' {
		return host[len(host)-1] == ']' && validIPv6(host[1:len(host)-1])
	}
	for _, c := range host {
		if !isRegName[c] {
			return false
		}
	}
	return true
}

// validIPv6 checks an IPv6 address (RFC 4291, 2.2) without a zone: eight groups of one to four hexadecimal
// digits, of which the last two may be an IPv4 address, and "::" once in place of one or more of them.
func validIPv6(b []byte) bool {
	groups, gap := 0, false
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		gap = true
		b = b[2:]
	}
	for len(b) > 0 {
		n := 0
		for n < len(b) {
			if _, ok := hexDigit(b[n]); !ok {
				break
			}
			n++
		}
		switch {
		case n < len(b) && b[n] == '.':
			groups += 2
			return validIPv4(b) && (groups == 8) != gap && groups <= 8
		case n == 0 || n > 4:
			return false
		}
		groups++
		if b = b[n:]; len(b) == 0 {
			break
		}
		if b[0] != ':' || len(b) == 1 {
			return false
		}
		if b = b[1:]; b[0] == ':' {
			if gap {
				return false
			}
			gap = true
			b = b[1:]
		}
	}
	return (groups == 8) != gap && groups <= 8
}

// validIPv4 checks four decimal numbers up to 255 with dots between them, and without leading zeros.
func validIPv4(b []byte) bool {
	for part := range 4 {
		if part > 0 {
			if len(b) == 0 || b[0] != '.' {
				return false
			}
			b = b[1:]
		}
		n, value := 0, 0
		for n < len(b) && n < 3 && b[n] >= '0' && b[n] <= '9' {
			value = value*10 + int(b[n]-'0')
			n++
		}
		if n == 0 || value > 255 || n > 1 && b[0] == '0' {
			return false
		}
		b = b[n:]
	}
	return len(b) == 0
}
