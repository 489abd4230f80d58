package balance

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// placement is where each key goes.
func placement(t testing.TB, g *Group, keys int) []Index {
	t.Helper()
	to := make([]Index, keys)
	for k := range to {
		i, ok := g.Pick(0, mix(uint64(k+1)), nil)
		if !ok {
			t.Fatal("nothing to pick")
		}
		g.Done(i, OutcomeNeutral, 0)
		to[k] = i
	}
	return to
}

// TestKeysOfAServerThatIsGone is what hashing promises.
func TestKeysOfAServerThatIsGone(t *testing.T) {
	const keys = 20_000
	for _, algorithm := range []string{"hash", "maglev"} {
		for _, weights := range [][]int{{1, 1, 1, 1, 1, 1, 1, 1}, {1, 2, 3, 4}} {
			t.Run(fmt.Sprint(algorithm, weights), func(t *testing.T) {
				g := named(t, Options{Algorithm: algorithm}, weights...)
				before := placement(t, g, keys)
				for gone := range Index(len(weights)) {
					g.SetUp(gone, false, 0)
					during := placement(t, g, keys)
					counts, others := make([]int, len(weights)), slices.Clone(weights)
					others[gone] = 0
					for k := range during {
						switch {
						case before[k] == gone:
							counts[during[k]]++
						case during[k] != before[k]:
							t.Fatalf("key %d has moved from %d to %d, and %d is gone", k, before[k], during[k], gone)
						}
					}
					proportional(t, counts, others)
					g.SetUp(gone, true, 0)
					if !slices.Equal(placement(t, g, keys), before) {
						t.Fatalf("not all keys are back when %d is", gone)
					}
				}
			})
		}
	}
}

func TestRandomOutagesMoveNoOtherKeys(t *testing.T) {
	const n, keys = 7, 300
	for _, algorithm := range []string{"hash", "maglev"} {
		t.Run(algorithm, func(t *testing.T) {
			g := named(t, Options{Algorithm: algorithm}, 1, 2, 1, 3, 1, 1, 5)
			all := placement(t, g, keys)
			rapid.Check(t, func(rt *rapid.T) {
				down := rapid.SliceOfNDistinct(rapid.IntRange(0, n-1), 1, n-1, rapid.ID).Draw(rt, "down")
				for _, i := range down {
					g.SetUp(Index(i), false, 0)
				}
				for k, i := range placement(t, g, keys) {
					if i != all[k] && !slices.Contains(down, int(all[k])) {
						rt.Fatalf("key %d has moved", k)
					}
				}
				for _, i := range down {
					g.SetUp(Index(i), true, 0)
				}
			})
		})
	}
}

// A list that is longer by one takes from each server what the new one gets, and moves nothing else.
func TestAListThatGrowsMovesWhatTheNewServerGets(t *testing.T) {
	const keys = 20_000
	ten, eleven := slices.Repeat([]int{1}, 10), slices.Repeat([]int{1}, 11)
	for _, algorithm := range []string{"hash", "maglev"} {
		before := placement(t, named(t, Options{Algorithm: algorithm}, ten...), keys)
		after := placement(t, named(t, Options{Algorithm: algorithm}, eleven...), keys)
		gained, moved := 0, 0
		for k := range after {
			switch {
			case after[k] == 10:
				gained++
			case after[k] != before[k]:
				moved++
			}
		}
		p := 1.0 / 11
		if sigma := math.Sqrt(keys * p * (1 - p)); math.Abs(float64(gained)-keys*p) > 4*sigma {
			t.Errorf("%s: the new server gets %d of %d", algorithm, gained, keys)
		}
		if algorithm == "hash" && moved > 0 || moved > keys/20 {
			t.Errorf("%s: %d keys have moved between servers that were there before", algorithm, moved)
		}
	}
}

func TestServersThatDifferInTheirPortsAreDistinct(t *testing.T) {
	var servers []Server
	for port := range 3 {
		servers = append(servers, Server{Name: fmt.Sprintf("127.0.0.1:%d", 8080+port), Host: "127.0.0.1", Port: uint16(8080 + port), Weight: 1})
	}
	for _, o := range []Options{{Algorithm: "hash"}, {Algorithm: "maglev"}, {Algorithm: "hash", HashCompat: "lighttpd"}} {
		g, err := New(servers, o)
		if err != nil {
			t.Fatal(err)
		}
		counts := make([]int, 3)
		for _, i := range placement(t, g, 3000) {
			counts[i]++
		}
		for i, n := range counts {
			if n < 500 {
				t.Errorf("%s %s: server %d gets %d of 3000", o.Algorithm, o.HashCompat, i, n)
			}
		}
	}
}

// The same list gives the same placement, in any process.
func TestPlacementDoesNotChange(t *testing.T) {
	for algorithm, want := range map[string]string{
		"hash":   "[0 2 3 3 2 1 2 2 3 2]",
		"maglev": "[3 3 0 1 1 3 3 2 2 3]",
	} {
		if got := fmt.Sprint(placement(t, named(t, Options{Algorithm: algorithm}, 1, 1, 1, 1), 10)); got != want {
			t.Errorf("%s: %s, want %s", algorithm, got, want)
		}
	}
}

func TestMaglevTables(t *testing.T) {
	for _, tt := range []struct {
		servers, size int
	}{{1, 65537}, {655, 65537}, {656, 131071}, {1310, 131071}, {1311, 262139}} {
		weights := slices.Repeat([]int{1}, tt.servers)
		g := named(t, Options{Algorithm: "maglev"}, weights...)
		table := g.algorithm.(*maglev).tables[0]
		if len(table) != tt.size {
			t.Errorf("%d servers have a table of %d, want %d", tt.servers, len(table), tt.size)
		}
		counts := make([]int, tt.servers)
		for _, i := range table {
			counts[i]++
		}
		if low, high := slices.Min(counts), slices.Max(counts); high-low > 1 {
			t.Errorf("%d servers have %d to %d slots", tt.servers, low, high)
		}
	}
	// Slots are in proportion to weights, and nobody is without.
	g := named(t, Options{Algorithm: "maglev"}, append(slices.Repeat([]int{1000}, 200), 1)...)
	counts := make([]int, 201)
	for _, i := range g.algorithm.(*maglev).tables[0] {
		counts[i]++
	}
	if counts[200] != 1 || slices.Min(counts[:200]) < 327 || slices.Max(counts) > 328 {
		t.Errorf("the weight of 1 has %d slots, those of 1000 have %d to %d", counts[200], slices.Min(counts[:200]), slices.Max(counts))
	}
	for _, size := range tableSizes {
		for d := 2; d*d <= size; d++ {
			if size%d == 0 {
				t.Errorf("%d is divided by %d: not every wish would reach every slot", size, d)
				break
			}
		}
	}
}

func TestBoundedLoads(t *testing.T) {
	for _, algorithm := range []string{"hash", "sticky", "maglev"} {
		for _, weights := range [][]int{{1, 1, 1, 1}, {1, 2, 3, 4}} {
			t.Run(fmt.Sprint(algorithm, weights), func(t *testing.T) {
				g := named(t, Options{Algorithm: algorithm, HashBalanceFactor: 125}, weights...)
				sum := int64(0)
				for _, w := range weights {
					sum += int64(w)
				}
				// One key for all, the worst case.
				for total := int64(1); total <= 400; total++ {
					i, ok := g.Pick(0, 42, nil)
					if !ok {
						t.Fatal("nothing to pick")
					}
					// ceil(1.25 * total * share)
					if most := (125*total*int64(weights[i]) + 100*sum - 1) / (100 * sum); g.InFlight(i) > most {
						t.Fatalf("server %d has %d of %d, want at most %d", i, g.InFlight(i), total, most)
					}
				}
				for i := range Index(len(weights)) {
					for g.InFlight(i) > 0 {
						g.Done(i, OutcomeOK, 0)
					}
				}
				// With few requests keys go where they would without a bound.
				free := named(t, Options{Algorithm: algorithm}, weights...)
				if !slices.Equal(placement(t, g, 500), placement(t, free, 500)) {
					t.Error("keys of an idle group are not where they belong")
				}
				// Those that are left share all of it.
				g.SetUp(0, false, 0)
				for range 300 {
					g.Pick(0, 42, nil)
				}
				for i := range Index(len(weights)) {
					most := (125*300*int64(weights[i])+100*(sum-int64(weights[0]))-1)/(100*(sum-int64(weights[0]))) + 1
					if n := g.InFlight(i); i > 0 && n > most || i == 0 && n > 0 {
						t.Errorf("server %d has %d of 300 without the first", i, n)
					}
				}
			})
		}
	}
}

// lighttpdGroup is of the hosts 127.0.0.1 to 127.0.0.5, without ports, as lighttpd 1.4.69 hashed them.
func lighttpdGroup(t *testing.T, port uint16) *Group {
	t.Helper()
	var servers []Server
	for i := range 5 {
		host := fmt.Sprintf("127.0.0.%d", i+1)
		servers = append(servers, Server{Name: host, Host: host, Port: port, Weight: 1})
	}
	g, err := New(servers, Options{Algorithm: "hash", HashCompat: "lighttpd", DisableTime: disableTime})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// What a live lighttpd has shown.
func TestLighttpdsPlacement(t *testing.T) {
	g := lighttpdGroup(t, 0)
	for i, want := range []uint32{0x5478120e, 0x5478120d, 0x5478120c, 0x5478120b, 0x5478120a} {
		if got := g.algorithm.(*lighttpd).ids[i]; got != want {
			t.Errorf("127.0.0.%d is %#x, want %#x", i+1, got, want)
		}
	}
	for _, tt := range []struct {
		path, host string
		key        uint32
	}{
		{"/", "127.0.0.5", 0xf7b671ef},
		{"/index.html", "127.0.0.2", 0x1944e1c2},
		{"/a", "127.0.0.4", 0xc84f0d2e},
		{"/b", "127.0.0.5", 0x10a92f8d},
		{"/img/logo.png", "127.0.0.5", 0x46ee9f1f},
	} {
		key := LighttpdKey([]byte(tt.path), []byte("www.example.org"))
		if uint32(key) != tt.key {
			t.Errorf("%s: key %#x, want %#x", tt.path, uint32(key), tt.key)
		}
		i, _ := g.Pick(0, key, nil)
		if g.Name(i) != tt.host {
			t.Errorf("%s goes to %s, want %s", tt.path, g.Name(i), tt.host)
		}
	}
}

func TestLighttpdTakesTheLastOfEqualsAndTheNextBest(t *testing.T) {
	servers := []Server{{Name: "a", Host: "h", Port: 1, Weight: 1}, {Name: "b", Host: "h", Port: 1, Weight: 1}}
	g, err := New(servers, Options{Algorithm: "sticky", HashCompat: "lighttpd", DisableTime: disableTime})
	if err != nil {
		t.Fatal(err)
	}
	tr := &trace{T: t, g: g, key: LighttpdKey([]byte("192.0.2.1"), nil)}
	tr.refused("b")
	tr.serves("a a")
	tr.advance(disableTime)
	tr.serves("b b")
}
