package balance

import (
	"fmt"
	"strings"
)

// lighttpd places keys where lighttpd 1.4.74 and later do, for a change from one to the other that keeps the caches
// of the servers warm. It is no good hash: all keys of a server that is gone go to one other, and shares are
// uneven.
type lighttpd struct {
	ids []uint32
}

// HashCompats returns the words that Options.HashCompat may be, but for the empty one.
func HashCompats() []string { return []string{"lighttpd"} }

func newLighttpd(name string, servers []Server, o Options) (algorithm, error) {
	switch {
	case o.HashCompat != "lighttpd":
		return nil, fmt.Errorf("unknown hash compatibility %q: expected one of %s", o.HashCompat, strings.Join(HashCompats(), ", "))
	case name != "hash" && name != "sticky":
		return nil, fmt.Errorf("lighttpd has no %s to be compatible with: only hash and sticky", name)
	case o.HashBalanceFactor != 0:
		return nil, fmt.Errorf("lighttpd places keys without a hash balance factor")
	}
	l := &lighttpd{ids: make([]uint32, len(servers))}
	for i, s := range servers {
		if s.Weight != 1 {
			return nil, fmt.Errorf("server %s: lighttpd places keys without weights, and weight is %d", s.Name, s.Weight)
		}
		l.ids[i] = lighttpdHash(lighttpdStart, s.Host) ^ uint32(s.Port)
	}
	return l, nil
}

const lighttpdStart = 5381

func lighttpdHash[T string | []byte](h uint32, text T) uint32 {
	for i := range len(text) {
		h = h*33 ^ uint32(text[i])
	}
	return h
}

// LighttpdKey returns the key of some text, such as the client's address, or of a path followed by an authority, for
// groups with HashCompat. It is never NoKey.
func LighttpdKey(text, then []byte) uint64 {
	return uint64(lighttpdHash(lighttpdHash(lighttpdStart, text), then)) | 1<<32
}

func (p *lighttpd) pick(g *Group, l look) (Index, bool) {
	if l.key == NoKey {
		l.key = g.dice.roll()
	}
	for {
		best, highest := Index(-1), uint32(0)
		for i, id := range p.ids {
			// Of equals the last listed.
			if score := uint32(l.key) ^ id; score >= highest && g.may(Index(i), &l) {
				best, highest = Index(i), score
			}
		}
		if best < 0 {
			return 0, false
		}
		if g.take(best, l.now) {
			return best, true
		}
	}
}
