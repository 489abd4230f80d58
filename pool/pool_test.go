package pool

import (
	"fmt"
	"slices"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// want checks what came out of a pool, "" for nothing.
func want(t *testing.T, what, c string, ok bool, want string) {
	t.Helper()
	if ok != (want != "") || c != want {
		t.Fatalf("%s: %q, %v, want %q", what, c, ok, want)
	}
}

func TestGetTakesTheNewestOfTheKey(t *testing.T) {
	p := New[string]()
	c, ok := p.Get(3)
	want(t, "empty pool", c, ok, "")
	for _, put := range []struct {
		key  int
		name string
	}{{3, "a"}, {3, "b"}, {0, "c"}, {3, "d"}} {
		p.Put(put.key, put.name, 0, Limits{})
	}
	for _, get := range []struct {
		key  int
		want string
	}{{3, "d"}, {3, "b"}, {2, ""}, {0, "c"}, {0, ""}, {3, "a"}, {3, ""}} {
		c, ok := p.Get(get.key)
		want(t, fmt.Sprint("key ", get.key), c, ok, get.want)
	}
	if p.Len() != 0 {
		t.Errorf("%d left", p.Len())
	}
}

func TestPutEvictsTheOldestOfTheKey(t *testing.T) {
	p := New[string]()
	l := Limits{PerKey: 2}
	p.Put(1, "other key", 0, l)
	for _, put := range []struct{ name, evicted string }{{"a", ""}, {"b", ""}, {"c", "a"}, {"d", "b"}} {
		_, c, ok := p.Put(0, put.name, 0, l)
		want(t, "put "+put.name, c, ok, put.evicted)
	}
	if c, _ := p.Get(0); c != "d" || p.Len() != 2 {
		t.Errorf("newest %s, %d left", c, p.Len())
	}
	_, c, ok := p.Put(0, "e", 0, Limits{PerKey: 1})
	want(t, "put with a lower limit", c, ok, "c")
	_, c, ok = p.Put(0, "f", 0, Limits{})
	want(t, "put without a limit", c, ok, "")
}

func TestExpire(t *testing.T) {
	p := New[string]()
	if at, ok := p.NextExpiry(); ok {
		t.Errorf("an empty pool expires at %d", at)
	}
	p.Put(0, "for ever", 0, Limits{})
	if at, ok := p.NextExpiry(); ok {
		t.Errorf("what has no TTL expires at %d", at)
	}
	p.Put(0, "a 100", 0, Limits{TTL: 100})
	p.Put(1, "b 100", 50, Limits{TTL: 100})
	p.Put(2, "c 30", 60, Limits{TTL: 30})
	p.Put(2, "d 1<<63", 60, Limits{TTL: 1<<63 - 1})
	p.Put(2, "e 100", 60, Limits{TTL: 100})
	for _, step := range []struct {
		now  int64
		next int64
		want string
	}{
		{89, 90, ""},
		{90, 90, "c 30"},
		{99, 100, ""},
		{100, 100, "a 100"},
		{100, 150, ""},
		{200, 150, "b 100"},
		{200, 160, "e 100"},
		{1 << 62, 0, ""},
	} {
		if at, ok := p.NextExpiry(); ok != (step.next != 0) || ok && at != step.next {
			t.Errorf("at %d: next expiry %d, %v, want %d", step.now, at, ok, step.next)
		}
		c, ok := p.Expire(step.now)
		want(t, fmt.Sprint("at ", step.now), c, ok, step.want)
	}
	if p.Len() != 2 {
		t.Errorf("%d left", p.Len())
	}
}

func TestATimeBeforeTheLatestCountsAsTheLatest(t *testing.T) {
	p := New[string]()
	p.Put(0, "a", 100, Limits{TTL: 10})
	p.Put(0, "b", 50, Limits{TTL: 10})
	c, ok := p.Expire(109)
	want(t, "at 109", c, ok, "")
	p.Expire(110)
	c, ok = p.Expire(110)
	want(t, "at 110", c, ok, "b")
}

func TestOldestGoesByTheOrderOfPuts(t *testing.T) {
	p := New[string]()
	p.Put(0, "a", 0, Limits{TTL: 50})
	p.Put(2, "b", 0, Limits{})
	p.Put(1, "c", 0, Limits{TTL: 10})
	p.Put(0, "d", 0, Limits{TTL: 50})
	c, ok := p.Get(0)
	want(t, "get", c, ok, "d")
	p.Put(0, "d again", 0, Limits{TTL: 10})
	for _, w := range []string{"a", "b", "c", "d again", ""} {
		c, ok := p.Oldest()
		want(t, "oldest", c, ok, w)
	}
}

func TestRemove(t *testing.T) {
	p := New[string]()
	var handles []Handle
	for _, c := range []string{"a", "b", "c", "d"} {
		h, _, _ := p.Put(0, c, 0, Limits{})
		handles = append(handles, h)
	}
	if c := p.Remove(handles[1]); c != "b" {
		t.Fatalf("removed %s", c)
	}
	h, _, _ := p.Put(0, "e", 0, Limits{})
	if h != handles[1] {
		t.Errorf("handle %d, want %d used again", h, handles[1])
	}
	var rest []string
	for {
		c, ok := p.Get(0)
		if !ok {
			break
		}
		rest = append(rest, c)
	}
	if w := []string{"e", "d", "c", "a"}; !slices.Equal(rest, w) {
		t.Errorf("left %v, want %v", rest, w)
	}
	for _, h := range []Handle{h, NoHandle, 100} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Remove(%d) did not panic", h)
				}
			}()
			p.Remove(h)
		}()
	}
}

// TestNothingIsHeldBack: what was taken out must not be kept from the garbage collector.
func TestNothingIsHeldBack(t *testing.T) {
	p := New[*int]()
	for range 3 {
		p.Put(0, new(int), 0, Limits{})
	}
	p.Get(0)
	p.Oldest()
	p.Expire(1)
	p.Get(0)
	for i := range p.slab {
		if p.slab[i].conn != nil {
			t.Errorf("node %d holds a connection", i)
		}
	}
}

func TestTTLListsAreUsedAgain(t *testing.T) {
	p := New[int]()
	for ttl := range int64(100) {
		p.Put(0, 0, 0, Limits{TTL: ttl})
		p.Put(0, 0, 0, Limits{TTL: ttl + 1})
		p.Get(0)
		p.Get(0)
	}
	if len(p.ttls) != 2 {
		t.Errorf("%d lists for two TTLs at a time", len(p.ttls))
	}
}

// entry is a connection in the naive model: a slice in the order of puts.
type entry struct {
	conn, key int
	expiry    int64 // 0: never
	h         Handle
}

func TestPoolAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := New[int]()
		var model []entry
		now, next := int64(0), 0
		key := rapid.IntRange(0, 3)
		takeOut := func(t *rapid.T, i, c int, ok bool) {
			if ok != (i >= 0) {
				t.Fatalf("took out %d, %v, want index %d of %v", c, ok, i, model)
			}
			if !ok {
				return
			}
			if model[i].conn != c {
				t.Fatalf("took out %d, want %d", c, model[i].conn)
			}
			model = slices.Delete(model, i, i+1)
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k := key.Draw(t, "key")
				l := Limits{rapid.IntRange(0, 4).Draw(t, "limit"), rapid.Int64Range(0, 4).Draw(t, "ttl") * 10}
				next++
				h, evicted, evict := p.Put(k, next, now, l)
				e := entry{conn: next, key: k, h: h}
				if l.TTL > 0 {
					e.expiry = now + l.TTL
				}
				model = append(model, e)
				count, oldest := 0, -1
				for i, e := range model {
					if e.key == k {
						if count++; oldest < 0 {
							oldest = i
						}
					}
				}
				if l.PerKey == 0 || count <= l.PerKey {
					oldest = -1
				}
				takeOut(t, oldest, evicted, evict)
			},
			"get": func(t *rapid.T) {
				k := key.Draw(t, "key")
				newest := -1
				for i, e := range model {
					if e.key == k {
						newest = i
					}
				}
				c, ok := p.Get(k)
				takeOut(t, newest, c, ok)
			},
			"remove": func(t *rapid.T) {
				if len(model) == 0 {
					return
				}
				i := rapid.IntRange(0, len(model)-1).Draw(t, "i")
				takeOut(t, i, p.Remove(model[i].h), true)
			},
			"oldest": func(t *rapid.T) {
				c, ok := p.Oldest()
				takeOut(t, min(0, len(model)-1), c, ok)
			},
			"expire": func(t *rapid.T) {
				now += rapid.Int64Range(0, 15).Draw(t, "ns")
				for {
					c, ok := p.Expire(now)
					if !ok {
						break
					}
					i := slices.IndexFunc(model, func(e entry) bool { return e.conn == c })
					if i < 0 || model[i].expiry == 0 || model[i].expiry > now {
						t.Fatalf("%d expired at %d: %v", c, now, model)
					}
					model = slices.Delete(model, i, i+1)
				}
			},
			"": func(t *rapid.T) {
				if p.Len() != len(model) {
					t.Fatalf("%d connections, want %d", p.Len(), len(model))
				}
				var first int64
				for _, e := range model {
					if e.expiry != 0 && (first == 0 || e.expiry < first) {
						first = e.expiry
					}
				}
				if at, ok := p.NextExpiry(); ok != (first != 0) || ok && at != first {
					t.Fatalf("next expiry %d, %v, want %d", at, ok, first)
				}
				if first != 0 && first <= now {
					t.Fatalf("expired at %d, still there at %d", first, now)
				}
			},
		})
	})
}

func TestAllocations(t *testing.T) {
	p := New[*int]()
	c := new(int)
	limits := []Limits{{PerKey: 4, TTL: 1000}, {PerKey: 4, TTL: 500}}
	now := int64(0)
	round := func() {
		now += 100
		for key := range 8 {
			p.Put(key, c, now, limits[key%2])
			h, _, _ := p.Put(key, c, now, limits[key%2])
			p.Remove(h)
			p.Get(key)
			p.Put(key, c, now, limits[key%2])
			p.NextExpiry()
		}
		for {
			if _, ok := p.Expire(now); !ok {
				break
			}
		}
		p.Oldest()
	}
	for range 100 {
		round()
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestNodeSize pins what an idle connection costs.
func TestNodeSize(t *testing.T) {
	if n := unsafe.Sizeof(node[*int]{}); n != 48 {
		t.Errorf("a node is %d bytes", n)
	}
}

func BenchmarkGetPut(b *testing.B) {
	for _, idle := range []int{1, 1000} {
		b.Run(fmt.Sprintf("%d idle", idle), func(b *testing.B) {
			p := New[*int]()
			c := new(int)
			l := Limits{PerKey: 2000, TTL: 60e9}
			for i := range idle {
				p.Put(i%10, c, 0, l)
			}
			now := int64(0)
			b.ReportAllocs()
			for b.Loop() {
				now++
				c, _ := p.Get(0)
				p.Put(0, c, now, l)
				p.NextExpiry()
			}
		})
	}
}
