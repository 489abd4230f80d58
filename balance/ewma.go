package balance

import (
	"math"
	"time"
)

// ewma draws two servers and picks the one with the smaller product of latency and requests, for its weight. The
// latency is a moving average that rises to a peak at once and forgets it slowly: a server that becomes slow is
// avoided after one answer, and taken again when it has been left alone for a while.
type ewma struct{ random }

func newEWMA(g *Group, _ []Server) algorithm { return &ewma{random{lotteries(g)}} }

// forget is the time in which an average loses all but 1/e of what it was.
const forget = 10 * time.Second

// average is a latency and when it was true: a float32 of nanoseconds in the high half, milliseconds modulo 2^32 in
// the low half. In one word, so that a reader sees both of the same moment. 0: nothing is known.
type average uint64

func newAverage(latency float64, now int64) average {
	return average(math.Float32bits(float32(latency)))<<32 | average(uint32(now/int64(time.Millisecond)))
}

// at returns the latency, in nanoseconds, as it has faded until a time.
func (a average) at(now int64) float64 {
	latency := float64(math.Float32frombits(uint32(a >> 32)))
	// Another loop's time can be a little behind.
	age := max(int32(uint32(now/int64(time.Millisecond))-uint32(a)), 0)
	if latency == 0 || age == 0 {
		return latency
	}
	return latency * math.Exp(-float64(age)/float64(forget/time.Millisecond))
}

// add returns the average with a latency, in nanoseconds, that was seen at a time.
func (a average) add(latency float64, now int64) average {
	faded := a.at(now)
	if latency >= faded {
		return newAverage(latency, now)
	}
	// What has faded of the old is made up for by the new.
	old := float64(math.Float32frombits(uint32(a >> 32)))
	return newAverage(faded+latency*(1-faded/old), now)
}

// Answered says how long a picked server took to answer, in nanoseconds.
func (g *Group) Answered(i Index, latency, now int64) {
	if g.eject != nil {
		g.eject.answered(i, latency)
	}
	if !g.averages {
		return
	}
	if u := g.units; u != nil {
		u.group.Answered(u.of[i], latency, now)
	}
	word := &g.servers[i].expected
	for {
		v := word.Load()
		if word.CompareAndSwap(v, uint64(average(v).add(float64(latency), now))) {
			return
		}
	}
}

// CountsLatency reports whether Answered is of any use to the group.
func (g *Group) CountsLatency() bool { return g.countsLatency }

func (e *ewma) pick(g *Group, l look) (Index, bool) {
	for {
		a, b := e.lotteries[l.tier].two(g, &l)
		if a < 0 {
			return 0, false
		}
		if b >= 0 {
			ca, cb := g.cost(a, l.now), g.cost(b, l.now)
			// Servers that nothing is known of cost nothing, and are told apart by their requests.
			if cb < ca || cb == ca && g.lessBusy(b, a) {
				a = b
			}
		}
		if g.take(a, l.now) {
			return a, true
		}
	}
}

// cost is how long a request would take, in nanoseconds, if the requests of a server wait for each other.
func (g *Group) cost(i Index, now int64) float64 {
	s := &g.servers[i]
	return average(s.expected.Load()).at(now) * float64(s.inFlight.Load()+1) / float64(s.weight)
}
