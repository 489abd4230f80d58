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

// isTarget tells the characters that a request target may hold: visible ASCII without '#', since a
// fragment is never sent (RFC 9112, 3.2).
var isTarget = func() (t [256]bool) {
	for c := 0x21; c < 0x7f; c++ {
		t[c] = c != '#'
	}
	return t
}()

// ParseRequest parses a request head from the beginning of buf. It returns the head's length in bytes, the
// empty line included; or ErrNeedMore; or an *Error. scanned says how many bytes of buf an earlier call has
// answered with ErrNeedMore; 0 at first. r.Fields keeps its array: its capacity is the limit of fields.
func ParseRequest(buf []byte, scanned int, r *Request) (n int, err error) {
	r.Head.reset()
	*r = Request{Head: r.Head}
	start := 0
	for start+1 < len(buf) && buf[start] == '\r' && buf[start+1] == '\n' {
		if start += 2; start > 2*MaxEmptyLines {
			return 0, syntax(BadRequestLine, start)
		}
	}
	end, err := headEnd(buf, start, scanned)
	if err != nil && err != ErrNeedMore {
		return 0, err
	}
	if err == ErrNeedMore {
		if err := checkBegun(buf[start:], start, r); err != nil {
			return 0, err
		}
		r.Head.reset()
		*r = Request{Head: r.Head}
		return 0, ErrNeedMore
	}
	at, err := parseRequestLine(buf, start, r)
	if err != nil {
		return 0, err
	}
	if err := parseFields(buf, at, end, &r.Head); err != nil {
		return 0, err
	}
	if err := r.findAuthority(buf); err != nil {
		return 0, err
	}
	return end + 2, nil
}

// checkBegun refuses an incomplete head whose request line cannot become right.
func checkBegun(buf []byte, offset int, r *Request) error {
	if len(buf) == 0 || buf[0] == '\r' && len(buf) == 1 {
		return nil
	}
	if bytes.IndexByte(buf, '\n') >= 0 {
		_, err := parseRequestLine(buf, 0, r)
		if e, ok := err.(*Error); ok {
			e.Offset += offset
			return e
		}
		return nil
	}
	for i, c := range buf {
		switch {
		case isToken[c] && i < maxMethodLength:
		case c == ' ' && i > 0:
			return nil
		default:
			return syntax(BadMethod, offset+i)
		}
	}
	return nil
}

// parseRequestLine parses the line that begins at start, which is complete, and returns where the next begins.
func parseRequestLine(buf []byte, start int, r *Request) (next int, err error) {
	at := start
	for isToken[buf[at]] {
		at++
	}
	if at == start || at-start > maxMethodLength {
		return 0, syntax(BadMethod, at)
	}
	if buf[at] != ' ' {
		return 0, syntax(BadRequestLine, at)
	}
	r.MethodName = View{uint32(start), uint32(at)}
	r.Method = methodOf(buf[start:at])
	at++
	target := at
	for isTarget[buf[at]] {
		at++
	}
	if at == target || buf[at] != ' ' {
		return 0, syntax(BadTarget, at)
	}
	r.Target = View{uint32(target), uint32(at)}
	at++
	version, err := parseVersion(buf, at)
	if err != nil {
		return 0, err
	}
	r.Version = version
	at += len("HTTP/1.1")
	if buf[at] != '\r' {
		return 0, syntax(BadVersion, at)
	}
	if buf[at+1] != '\n' {
		return 0, syntax(BadLineEnd, at)
	}
	return at + 2, r.splitTarget(buf)
}

// parseVersion parses an HTTP-version (RFC 9112, 2.3). A line end lies somewhere behind at.
func parseVersion(buf []byte, at int) (Version, error) {
	const pattern = "HTTP/0.0"
	for i := range len(pattern) {
		c := buf[at+i]
		if pattern[i] == '0' && c >= '0' && c <= '9' {
			continue
		}
		if c != pattern[i] {
			return 0, syntax(BadVersion, at+i)
		}
	}
	v := Version(buf[at+5]-'0')*10 + Version(buf[at+7]-'0')
	if v != HTTP10 && v != HTTP11 {
		return 0, syntax(UnknownVersion, at)
	}
	return v, nil
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

// validPort checks ":" *DIGIT (RFC 3986, 3.2.3), up to 65535.
func validPort(port []byte) bool {
	n := 0
	for _, c := range port[1:] {
		if c < '0' || c > '9' || n > 65535 {
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

// validHost checks a reg-name, an IPv4 address, or an IP literal in brackets.
func validHost(host []byte) bool {
	if len(host) == 0 {
		return false
	}
	if host[0] == '[' {
		if len(host) < 4 || host[len(host)-1] != ']' {
			return false
		}
		for _, c := range host[1 : len(host)-1] {
			if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' || c == ':' || c == '.') {
				return false
			}
		}
		return true
	}
	for _, c := range host {
		if !isRegName[c] {
			return false
		}
	}
	return true
}
