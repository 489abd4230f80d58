package pool

import "math"

// Handle tells where an idle connection is kept, from Put until something takes it out.
type Handle int32

// NoHandle is the handle of a connection that is not in a pool.
const NoHandle Handle = -1

// Limits bound the idle connections of a key.
type Limits struct {
	// PerKey is how many a key may have. Zero: as many as there are.
	PerKey int
	// TTL is how long a connection may be idle, in nanoseconds. Zero: for ever.
	TTL int64
}

// Pool holds idle connections of type C by key. Make one with New.
type Pool[C any] struct {
	slab []node[C]
	free Handle // first of the unused nodes, linked by ends[byKey].older
	keys []list
	ttls []ttlList
	len  int
	now  int64 // the latest time seen
	puts uint64
}

// byKey and byTTL are the two lists a connection is on.
const (
	byKey = iota
	byTTL
	numLists
)

// node is a place in the slab.
type node[C any] struct {
	conn  C
	ends  [numLists]links
	since int64  // when it was put
	turn  uint64 // which Put it came by: tells the older of two put at the same time
	key   int32
	ttl   int32 // index into ttls; unused while the node is free
}

// links are a node's neighbours on a list.
type links struct{ newer, older Handle }

// list is a list of connections in the order in which they were put.
type list struct {
	newest, oldest Handle
	len            int32
}

// ttlList holds the connections that may be idle for equally long.
type ttlList struct {
	list
	ttl int64
}

// unused marks a node that holds no connection.
const unused = -1

// New returns an empty pool.
func New[C any]() *Pool[C] { return &Pool[C]{free: NoHandle} }

// Len returns the number of connections in the pool.
func (p *Pool[C]) Len() int { return p.len }

// Count returns the number of connections of a key.
func (p *Pool[C]) Count(key int) int {
	if key >= len(p.keys) {
		return 0
	}
	return int(p.keys[key].len)
}

// Put keeps a connection. If its key has more than l.PerKey then, the key's oldest is taken out and returned
// for the caller to close. A time earlier than a previous one counts as that one.
func (p *Pool[C]) Put(key int, c C, now int64, l Limits) (h Handle, evicted C, evict bool) {
	p.now = max(p.now, now)
	h = p.place()
	ttl := p.ttlList(l.TTL)
	n := &p.slab[h]
	n.conn, n.since, n.turn, n.key, n.ttl = c, p.now, p.puts, int32(key), ttl
	p.puts++
	p.len++
	k := p.keyList(key)
	p.push(k, byKey, h)
	p.push(&p.ttls[ttl].list, byTTL, h)
	if l.PerKey > 0 && int(k.len) > l.PerKey {
		return h, p.take(k.oldest), true
	}
	return h, evicted, false
}

// Get takes out the newest connection of a key.
func (p *Pool[C]) Get(key int) (c C, ok bool) {
	if key >= len(p.keys) || p.keys[key].len == 0 {
		return c, false
	}
	return p.take(p.keys[key].newest), true
}

// Remove takes out the connection that Put returned h for. It must still be there.
func (p *Pool[C]) Remove(h Handle) C {
	if h < 0 || int(h) >= len(p.slab) || p.slab[h].key == unused {
		panic("pool: Remove of a connection that is not in the pool")
	}
	return p.take(h)
}

// Expire takes out one connection that has been idle for its TTL or longer. It returns false when there is
// none left.
func (p *Pool[C]) Expire(now int64) (c C, ok bool) {
	for i := range p.ttls {
		if l := &p.ttls[i]; l.len > 0 && p.expiry(l) <= now {
			return p.take(l.oldest), true
		}
	}
	return c, false
}

// NextExpiry returns the earliest time at which Expire will find a connection, or false if none of them ever
// expires.
func (p *Pool[C]) NextExpiry() (at int64, ok bool) {
	at = math.MaxInt64
	for i := range p.ttls {
		if l := &p.ttls[i]; l.len > 0 {
			at = min(at, p.expiry(l))
		}
	}
	return at, at != math.MaxInt64
}

// Oldest takes out the connection that has been idle for longest, whatever its key.
func (p *Pool[C]) Oldest() (c C, ok bool) {
	h := NoHandle
	for i := range p.ttls {
		if l := &p.ttls[i]; l.len > 0 && (h == NoHandle || p.slab[l.oldest].turn < p.slab[h].turn) {
			h = l.oldest
		}
	}
	if h == NoHandle {
		return c, false
	}
	return p.take(h), true
}

// expiry returns when the first of a list that is not empty expires.
func (p *Pool[C]) expiry(l *ttlList) int64 {
	since := p.slab[l.oldest].since
	if l.ttl <= 0 || since > math.MaxInt64-l.ttl {
		return math.MaxInt64 // never
	}
	return since + l.ttl
}

// place returns an unused node.
func (p *Pool[C]) place() Handle {
	if h := p.free; h != NoHandle {
		p.free = p.slab[h].ends[byKey].older
		return h
	}
	p.slab = append(p.slab, node[C]{})
	return Handle(len(p.slab) - 1)
}

// keyList returns the list of a key.
func (p *Pool[C]) keyList(key int) *list {
	for key >= len(p.keys) {
		p.keys = append(p.keys, list{newest: NoHandle, oldest: NoHandle})
	}
	return &p.keys[key]
}

// ttlList returns the index of the list of a TTL. A list that has become empty serves another TTL when one is
// needed, so that there are no more lists than there ever were TTLs in use at once.
func (p *Pool[C]) ttlList(ttl int64) int32 {
	empty := -1
	for i := range p.ttls {
		if p.ttls[i].ttl == ttl {
			return int32(i)
		}
		if p.ttls[i].len == 0 {
			empty = i
		}
	}
	if empty < 0 {
		empty = len(p.ttls)
		p.ttls = append(p.ttls, ttlList{list: list{newest: NoHandle, oldest: NoHandle}})
	}
	p.ttls[empty].ttl = ttl
	return int32(empty)
}

// push puts a connection at the newest end of a list.
func (p *Pool[C]) push(l *list, by int, h Handle) {
	p.slab[h].ends[by] = links{newer: NoHandle, older: l.newest}
	if l.newest != NoHandle {
		p.slab[l.newest].ends[by].newer = h
	} else {
		l.oldest = h
	}
	l.newest = h
	l.len++
}

// unlink takes a connection off a list.
func (p *Pool[C]) unlink(l *list, by int, h Handle) {
	at := p.slab[h].ends[by]
	if at.newer != NoHandle {
		p.slab[at.newer].ends[by].older = at.older
	} else {
		l.newest = at.older
	}
	if at.older != NoHandle {
		p.slab[at.older].ends[by].newer = at.newer
	} else {
		l.oldest = at.newer
	}
	l.len--
}

// take takes a connection out of the pool.
func (p *Pool[C]) take(h Handle) C {
	n := &p.slab[h]
	p.unlink(&p.keys[n.key], byKey, h)
	p.unlink(&p.ttls[n.ttl].list, byTTL, h)
	c := n.conn
	// The node forgets the connection, or the garbage collector would not.
	*n = node[C]{key: unused}
	n.ends[byKey].older = p.free
	p.free = h
	p.len--
	return c
}
