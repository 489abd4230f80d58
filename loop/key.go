package loop

import (
	"bytes"

	"github.com/cespare/xxhash/v2"

	"millrace/balance"
	"millrace/remap"
)

// KeySource is the part of a request that a key is made from.
type KeySource uint8

const (
	// KeyNone makes no key: the balance does not go by one.
	KeyNone KeySource = iota
	// KeyPath is the authority and the path, without the query.
	KeyPath
	// KeyURI is the authority and the target, with the query.
	KeyURI
	// KeyClient is the client's address, without its port.
	KeyClient
	// KeyHeader is the value of a field of the request.
	KeyHeader
	// KeyCookie is the value of a cookie.
	KeyCookie
	// KeyQuery is the value of a parameter of the query.
	KeyQuery
)

// Key says how to make the key that a balance goes by. The zero Key makes none.
type Key struct {
	Source KeySource
	// Name is that of the field, the cookie or the parameter. Fields are found in any case.
	Name string
	// Lighttpd makes the keys that lighttpd makes, of path or client.
	Lighttpd bool
}

// defaultPort is what an authority says as well without it.
const defaultPort = ":80"

// balanceKey returns the key of the session's request, or balance.NoKey if the request does not have what the key
// is made from.
func (s *session) balanceKey() uint64 {
	k, req, head := &s.x.backend.Key, &s.x.req, s.in.b[:s.x.head]
	switch k.Source {
	case KeyNone:
		return balance.NoKey
	case KeyClient:
		addr := s.clientAddr()
		if k.Lighttpd && len(addr) > 0 {
			return balance.LighttpdKey(addr, nil)
		}
		return keyOf(addr)
	case KeyHeader:
		for i := range req.Fields {
			f := &req.Fields[i]
			if f.Name.Len() == len(k.Name) && equalFold(f.Name.Of(head), k.Name) {
				return keyOf(f.Value.Of(head))
			}
		}
		return balance.NoKey
	case KeyCookie:
		for i := range req.Fields {
			f := &req.Fields[i]
			if f.Name.Len() != len("cookie") || !equalFold(f.Name.Of(head), "cookie") {
				continue
			}
			if value := cookieValue(f.Value.Of(head), k.Name); len(value) > 0 {
				return keyOf(value)
			}
		}
		return balance.NoKey
	case KeyQuery:
		_, query, _ := bytes.Cut(s.target(), questionMark)
		return keyOf(parameterValue(query, k.Name))
	}
	path := s.target()
	if k.Source == KeyPath {
		path = s.normalPath()
	}
	var room [256]byte
	authority := bytes.TrimSuffix(req.Authority.Of(head), []byte(defaultPort))
	if len(authority) <= len(room) {
		authority = append(room[:0], authority...)
		for i, c := range authority {
			if 'A' <= c && c <= 'Z' {
				authority[i] = c + 'a' - 'A'
			}
		}
	}
	if k.Lighttpd {
		return balance.LighttpdKey(path, authority)
	}
	// The balance mixes what it is given, so that no more than a difference is needed here.
	return orAnother(xxhash.Sum64(authority)*31 + xxhash.Sum64(path))
}

// target returns path and query as they are sent to the server.
func (s *session) target() []byte {
	if x := s.x; len(x.sentTarget) == 0 {
		return x.req.PathQuery.Of(s.in.b)
	}
	return s.x.sentTarget
}

// normalPath returns the path that the request's route was chosen by. It is of use until the loop makes another.
func (s *session) normalPath() []byte {
	path, ok := s.targetPath()
	var normal []byte
	if ok {
		normal, ok = remap.NormalPath(s.l.normal, path)
	}
	if !ok {
		panicf("loop: a routed path has no normal form: %q", path)
	}
	if len(normal) > 0 && &normal[0] != &path[0] {
		s.l.normal = normal[:0]
	}
	return normal
}

// keyOf returns the key of a text: none of an empty one.
func keyOf(text []byte) uint64 {
	if len(text) == 0 {
		return balance.NoKey
	}
	return orAnother(xxhash.Sum64(text))
}

// orAnother has no hash taken for no key.
func orAnother(hash uint64) uint64 {
	if hash == balance.NoKey {
		return 1
	}
	return hash
}

// equalFold reports whether a field's name is name, which is ASCII, but for case.
func equalFold(b []byte, name string) bool {
	for i := range len(name) {
		x, y := b[i], name[i]
		if x != y && (x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z') {
			return false
		}
	}
	return true
}

// cookieValue returns the value of the first cookie of a name in a Cookie field, with its quotes if it has any
// (RFC 6265, 4.2.1), or nothing.
func cookieValue(field []byte, name string) []byte {
	for len(field) > 0 {
		var pair []byte
		pair, field, _ = bytes.Cut(field, semicolon)
		n, value, ok := bytes.Cut(bytes.Trim(pair, " \t"), equalsSign)
		if ok && string(n) == name {
			return value
		}
	}
	return nil
}

// parameterValue returns the value of the first parameter of a name in a query, as it was sent, or nothing.
func parameterValue(query []byte, name string) []byte {
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, ampersand)
		if n, value, _ := bytes.Cut(pair, equalsSign); string(n) == name {
			return value
		}
	}
	return nil
}

var questionMark, semicolon, ampersand, equalsSign = []byte("?"), []byte(";"), []byte("&"), []byte("=")
