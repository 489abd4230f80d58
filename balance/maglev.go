package balance

// maglev gives each key to the server at a place of a table that has been filled beforehand, after Eisenbud and
// others, "Maglev: A Fast and Reliable Software Network Load Balancer" (2016), section 3.4. A look-up costs the same
// however many servers there are. What rendezvous promises holds for servers that rest; when the list of servers
// changes, a few keys more than need to are moved.
type maglev struct {
	tables   [][]int32 // one for each tier: indexes of servers
	fallback *rendezvous
}

// slotsPerServer makes shares even to about a percent.
const slotsPerServer = 100

// tableSizes are the primes that a table may have for its size. The largest is for as many servers as a file of the
// largest size allowed can list.
var tableSizes = []int{65537, 131071, 262139, 524287, 1048573, 4194301, 16777213, 67108859, 134217689}

func newMaglev(g *Group, servers []Server) algorithm {
	m := &maglev{fallback: makeRendezvous(servers)}
	for t := range g.tiers {
		m.tables = append(m.tables, m.fill(g, g.tiers[t].servers))
	}
	return m
}

// wish is where a server is in its order of slots.
type wish struct {
	at, skip int
	due      int64 // its next turn comes when its weight times the number of the turn is this
}

func (w *wish) next(size int) {
	if w.at += w.skip; w.at >= size {
		w.at -= size
	}
}

// fill makes a table. Each server has an order of its own in which it would like to have the slots; in turns, as
// many as its weight gives it, each takes the first one of those that is still free.
func (m *maglev) fill(g *Group, servers []Index) []int32 {
	size := tableSizes[len(tableSizes)-1]
	for _, prime := range tableSizes {
		if prime >= slotsPerServer*len(servers) {
			size = prime
			break
		}
	}
	wishes := make([]wish, len(servers))
	heaviest := int64(0)
	for k, i := range servers {
		id := m.fallback.ids[i]
		wishes[k] = wish{at: below(mix(id), size), skip: 1 + below(mix(id+golden), size-1)}
		heaviest = max(heaviest, g.servers[i].weight)
	}
	table := make([]int32, size)
	for i := range table {
		table[i] = -1
	}
	for free, turn := size, int64(1); ; turn++ {
		for k := range wishes {
			w := &wishes[k]
			if turn*g.servers[servers[k]].weight < w.due {
				continue
			}
			w.due += heaviest
			for table[w.at] >= 0 {
				w.next(size)
			}
			table[w.at] = int32(servers[k])
			w.next(size)
			if free--; free == 0 {
				return table
			}
		}
	}
}

func (m *maglev) pick(g *Group, l look) (Index, bool) {
	if l.key == NoKey {
		l.key = g.dice.roll()
	}
	table := m.tables[l.tier]
	at := mix(l.key)
	// Where a key goes that cannot go to its place depends on nothing but the key.
	for range maxDraws {
		i := Index(table[below(at, len(table))])
		if g.may(i, &l) && !(g.factor > 0 && g.crowded(&g.servers[i])) && g.takeKeyed(i, l.now) {
			return i, true
		}
		at = mix(at + golden)
	}
	return m.fallback.choose(g, &l)
}
