package loop

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"

	"millrace/balance"
)

// Sticky says how the requests of a session show which server of a backend they are for. What it names is asked in the
// order Header, Param, Cookie, Own, until something is found that a server has.
type Sticky struct {
	// Header is the name of a field whose value is a server's route. Empty: none.
	Header string
	// Param is the name of the URL parameter, and Cookie that of the cookie, that holds the id of the session. The URL is
	// looked at first: what it says of the session counts, whether there is a route in it or not. Empty: none.
	Param, Cookie string
	// Separator is the character behind which the id of a session has the server's route; 0: all of it is the route.
	Separator byte
	// SemicolonEnds: a semicolon ends the id in a URL.
	SemicolonEnds bool
	// Own is the cookie that clients are given; nil: none.
	Own *StickyCookie
	// NoFailover: a request whose session is on a server that cannot be picked is not given to another.
	NoFailover bool
}

// StickyCookie is a cookie that tells a client which server has answered it (RFC 6265).
type StickyCookie struct {
	// Name and the attributes are what a Set-Cookie field can hold. Empty attributes are left out.
	Name, Path, Domain, SameSite string
	HTTPOnly, Secure             bool
	// MaxAge is in seconds; 0: until the client ends.
	MaxAge int64
	// Secret is what nobody can make or read a token without. Tokens are the same wherever Secret, Backend and the names
	// of the servers are.
	Secret []byte
	// Backend is the backend's name.
	Backend string
}

// tokenBytes is the length of a token: too long to be guessed, and short for something that is in every request.
const tokenBytes = 16

// Token returns what stands for a server in the cookie's value: a keyed hash of its name, so that it says nothing of
// its address. It is not for the data path.
func (c *StickyCookie) Token(server string) string {
	h := hmac.New(sha256.New, c.Secret)
	h.Write([]byte(c.Backend))
	h.Write([]byte{0}) // in no name
	h.Write([]byte(server))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:tokenBytes])
}

// Field returns the line, with its end, that gives a client the cookie with a token. It is not for the data path.
func (c *StickyCookie) Field(token string) []byte {
	line := []byte("Set-Cookie: " + c.Name + "=" + token)
	add := func(attribute, value string) {
		if value != "" {
			line = append(line, "; "+attribute+"="+value...)
		}
	}
	add("Path", c.Path)
	add("Domain", c.Domain)
	if c.MaxAge > 0 {
		add("Max-Age", strconv.FormatInt(c.MaxAge, 10))
	}
	if c.Secure {
		line = append(line, "; Secure"...)
	}
	if c.HTTPOnly {
		line = append(line, "; HttpOnly"...)
	}
	add("SameSite", c.SameSite)
	return append(line, "\r\n"...)
}

// pickSession gives the request to the server that its session is on. It is not decided if there is no such server, or
// none that can be picked: then any will do.
func (s *session) pickSession(now Time) (decided, moved bool) {
	x := s.x
	group := x.backend.Group
	servers := s.sessionServers()
	x.pinned = len(servers) > 0
	if len(servers) == 0 {
		return false, false
	}
	if x.stale && !x.lastChance {
		// A kept connection that has ended says nothing about the server, and only this one knows the session.
		if at := slices.Index(servers, x.target); at >= 0 {
			if i, ok := group.PickOf(servers[at:at+1], int64(now), nil); ok {
				x.lastChance = true
				return true, s.pickedServer(i, now)
			}
		}
	}
	if i, ok := group.PickOf(servers, int64(now), &x.tried); ok {
		return true, s.pickedServer(i, now)
	}
	x.pinned = false
	if !x.backend.Sticky.NoFailover {
		return false, false
	}
	if i, ok := group.PickEjected(servers, &x.tried); ok {
		x.pinned = true
		return true, s.pickedServer(i, now)
	}
	f := x.fault
	if f == faultNone {
		f = faultNoServer
	}
	return true, s.answer(f, now)
}

// sessionServers returns the servers that the request's session may be on, the one to ask first in front.
func (s *session) sessionServers() []balance.Index {
	x := s.x
	st, group := x.backend.Sticky, x.backend.Group
	var own []balance.Index
	if st.Own != nil {
		own = s.tokenServers(st.Own.Name)
		if len(own) > 0 {
			x.inCookie = own[0] + 1
		}
	}
	if st.Header != "" {
		if servers := group.ByRoute(s.fieldNamed(st.Header)); servers != nil {
			return servers
		}
	}
	if st.Param != "" || st.Cookie != "" {
		if servers := group.ByRoute(st.routeOf(s.sessionID())); servers != nil {
			return servers
		}
	}
	return own
}

// setCookie returns the field that tells the client which server has answered, if its cookie does not say so already.
func (s *session) setCookie() []byte {
	x := s.x
	if x.inCookie == x.target+1 {
		return nil
	}
	return x.backend.Servers[x.target].SetCookie
}

// fieldNamed returns the value of the first field of a name.
func (s *session) fieldNamed(name string) []byte {
	head := s.in.b[:s.x.head]
	for i := range s.x.req.Fields {
		f := &s.x.req.Fields[i]
		if f.Name.Len() == len(name) && equalFold(f.Name.Of(head), name) {
			return f.Value.Of(head)
		}
	}
	return nil
}

// tokenServers returns the servers that a cookie of ours names. One with a value that is not of ours, or not any more,
// is passed over: there may be another, of another path or domain.
func (s *session) tokenServers(name string) []balance.Index {
	head := s.in.b[:s.x.head]
	for i := range s.x.req.Fields {
		f := &s.x.req.Fields[i]
		if f.Name.Len() != len(cookie) || !bytes.EqualFold(f.Name.Of(head), cookie) {
			continue
		}
		for pairs := f.Value.Of(head); len(pairs) > 0; {
			var pair []byte
			pair, pairs, _ = bytes.Cut(pairs, semicolon)
			n, value, _ := bytes.Cut(bytes.Trim(pair, " \t"), equalsSign)
			if string(n) != name {
				continue
			}
			if servers := s.x.backend.Group.ByToken(value); servers != nil {
				return servers
			}
		}
	}
	return nil
}

// sessionID returns the id of the request's session, of the URL or else of a cookie.
func (s *session) sessionID() []byte {
	st := s.x.backend.Sticky
	if id := urlSession(s.target(), st.Param, st.SemicolonEnds); len(id) > 0 {
		return id
	}
	head := s.in.b[:s.x.head]
	for i := range s.x.req.Fields {
		f := &s.x.req.Fields[i]
		if f.Name.Len() != len(cookie) || !bytes.EqualFold(f.Name.Of(head), cookie) {
			continue
		}
		if id, found := cookieSession(f.Value.Of(head), st.Cookie); found {
			return id
		}
	}
	return nil
}

// routeOf returns the route in the id of a session: what is behind the first separator.
func (st *Sticky) routeOf(id []byte) []byte {
	if st.Separator == 0 {
		return id
	}
	i := bytes.IndexByte(id, st.Separator)
	if i < 0 {
		return nil
	}
	return id[i+1:]
}

// urlSession returns the value of the first parameter of a name that has one, in the path or the query of a target. A
// parameter begins behind a semicolon, also an encoded one, a question mark or an ampersand, and ends before the next
// of the last two; before a semicolon only if semicolonEnds says so. A slash does not end it.
func urlSession(target []byte, name string, semicolonEnds bool) []byte {
	for i := nextName(target, 0, name); i >= 0; i = nextName(target, i+1, name) {
		if !endsInMark(target[:i]) || target[i+len(name)] != '=' {
			continue
		}
		value := target[i+len(name)+1:]
		for end := range value {
			if c := value[end]; c == '?' || c == '&' || semicolonEnds && (c == ';' || isSemicolon(value[end:])) {
				value = value[:end]
				break
			}
		}
		if len(value) > 0 {
			return value
		}
	}
	return nil
}

// nextName returns where a name begins in b, at from or behind it, with at least one byte behind it; or -1. An empty
// name is nowhere.
func nextName(b []byte, from int, name string) int {
	if name == "" {
		return -1
	}
	// The first character is found by the word, and most that is looked at has it rarely.
	for {
		n := bytes.IndexByte(b[from:], name[0])
		from += n
		if n < 0 || from+len(name) >= len(b) {
			return -1
		}
		if string(b[from:from+len(name)]) == name {
			return from
		}
		from++
	}
}

// endsInMark reports whether a parameter may begin behind b.
func endsInMark(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	switch b[len(b)-1] {
	case ';', '?', '&':
		return true
	case 'B', 'b':
		return len(b) >= len("%3B") && isSemicolon(b[len(b)-len("%3B"):])
	}
	return false
}

// isSemicolon reports whether b begins with an encoded semicolon.
func isSemicolon(b []byte) bool {
	return len(b) >= len("%3B") && b[0] == '%' && b[1] == '3' && b[2]|0x20 == 'b'
}

// cookieSession returns the value of the first cookie of a name in a Cookie field, as Apache finds it: behind a
// semicolon, a comma or a blank, up to a semicolon or a comma, with its quotes if it has any. found says that there is
// such a cookie; its value may be empty.
func cookieSession(field []byte, name string) (value []byte, found bool) {
	for i := nextName(field, 0, name); i >= 0; i = nextName(field, i+1, name) {
		if i > 0 && field[i-1] != ';' && field[i-1] != ',' && !isBlank(field[i-1]) {
			continue
		}
		rest := bytes.TrimLeft(field[i+len(name):], " \t")
		if len(rest) == 0 || rest[0] != '=' {
			continue
		}
		value = rest[1:]
		for end, c := range value {
			if c == ';' || c == ',' {
				value = value[:end]
				break
			}
		}
		return bytes.Trim(value, " \t"), true
	}
	return nil, false
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
