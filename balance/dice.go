package balance

import (
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
)

// golden is 2^64 divided by the golden ratio: added again and again, it comes by every number, far from the last.
const golden = 0x9e3779b97f4a7c15

// mix makes of a number one that looks like any other: each bit of x decides about half of the bits of the
// result, and different numbers stay different. It is the finaliser of splitmix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// unit maps a mixed number to the open interval from 0 to 1.
func unit(x uint64) float64 { return (float64(x>>11) + 0.5) * (1.0 / (1 << 53)) }

// below maps a mixed number to a range from 0 to n-1.
func below(x uint64, n int) int {
	hi, _ := bits.Mul64(x, uint64(n))
	return int(hi)
}

// dice is a source of random numbers for all loops: splitmix64, whose state is a counter.
type dice struct {
	_     [64]byte
	state atomic.Uint64
	_     [56]byte
}

func newDice() *dice {
	d := &dice{}
	d.state.Store(rand.Uint64())
	return d
}

func (d *dice) roll() uint64 { return mix(d.state.Add(golden)) }

// lottery draws servers of a tier with probabilities in proportion to their weights, in constant time: by the alias
// method of Walker and Vose. Each server has a column of equal width; what its own share does not fill of it
// belongs to one other server.
type lottery struct {
	servers []Index
	columns []column // nil: all weights are equal
}

type column struct {
	own   uint32 // of 2^32
	other int32
}

// newLottery returns the lottery of the servers of a tier.
func newLottery(g *Group, servers []Index) lottery {
	lots := lottery{servers: servers}
	sum, equal := int64(0), true
	for _, i := range servers {
		sum += g.servers[i].weight
		equal = equal && g.servers[i].weight == g.servers[servers[0]].weight
	}
	if equal {
		return lots
	}
	// In units of 1/(n*sum), so that every step is exact: a column is sum wide, a server has n times its weight.
	n := int64(len(servers))
	lots.columns = make([]column, n)
	share := make([]int64, n)
	var small, large []int32
	for k, i := range servers {
		share[k] = n * g.servers[i].weight
		if share[k] < sum {
			small = append(small, int32(k))
		} else {
			large = append(large, int32(k))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		lots.columns[s] = column{own: uint32(share[s] << 32 / sum), other: l}
		share[l] -= sum - share[s]
		if share[l] < sum {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, k := range large {
		lots.columns[k] = column{own: 1<<32 - 1, other: k}
	}
	return lots
}

// at returns the server that a random number stands for.
func (lots *lottery) at(x uint64) Index {
	k := below(x, len(lots.servers))
	if lots.columns != nil {
		// Which column is decided by the high bits, so the low ones are left.
		if c := &lots.columns[k]; uint32(x) >= c.own {
			k = int(c.other)
		}
	}
	return lots.servers[k]
}
