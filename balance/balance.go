package balance

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Index is a server's position in the list its Group was made from.
type Index int

// Server is what a Group needs to know of a server.
type Server struct {
	// Name is for messages only; the group does not read it.
	Name string
	// Weight is the server's share relative to the others', from 1 to MaxWeight.
	Weight int
}

// MaxWeight is the largest weight of a server. It bounds the tables made from weights; a finer ratio than
// one in a thousand has no use among servers that one group can hold.
const MaxWeight = 1000

// maxDisableTime bounds Options.DisableTime, so that the sum of a time and a rest fits the state word.
const maxDisableTime = 10 * 365 * 24 * time.Hour

// Options say how a Group behaves.
type Options struct {
	// Algorithm is one of Algorithms. Empty means "fair".
	Algorithm string
	// DisableTime is how long a server rests after a failed attempt to connect. Zero: it never rests. More
	// than ten years are ten years.
	DisableTime time.Duration
}

// Outcome is what came of a Pick.
type Outcome uint8

const (
	// OutcomeOK: the server was reached and did what was asked of it.
	OutcomeOK Outcome = iota
	// OutcomeConnectFailed: no connection could be made (refused, unreachable, timed out). The server rests.
	OutcomeConnectFailed
	// OutcomeFailed: the connection was made and then failed. The server does not rest for that: it may be
	// one bad request's fault, and the next attempt to connect tells whether it is down.
	OutcomeFailed
	// OutcomeNeutral: nothing was learnt about the server, for instance because the client left.
	OutcomeNeutral
)

// String returns the outcome in words.
func (o Outcome) String() string {
	switch o {
	case OutcomeOK:
		return "ok"
	case OutcomeConnectFailed:
		return "connect failed"
	case OutcomeFailed:
		return "failed"
	case OutcomeNeutral:
		return "neutral"
	}
	return "Outcome(" + strconv.Itoa(int(o)) + ")"
}

// algorithm chooses servers for a group. It belongs to one group and is called by all loops at once.
type algorithm interface {
	// pick finds a server that g.take gives it. It returns false when no server is free to be taken.
	pick(g *Group, now int64, tried *Tried) (Index, bool)
}

// algorithms holds every accepted word, the default first.
var algorithms = []struct {
	name string
	make func([]Server) algorithm
}{
	{"fair", newFair},
	{"least-connection", newFair}, // what lighttpd calls it today
	{"round-robin", newRoundRobin},
}

// Algorithms returns the words that Options.Algorithm may be, the default first.
func Algorithms() []string {
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		names[i] = a.name
	}
	return names
}

// Group is a set of servers that can stand in for each other. All its methods may be called from any
// goroutine at any time.
type Group struct {
	// Immutable.
	names   []string
	disable int64 // ns

	// Shared: loops of one process must agree on who is busy and who rests, or each would learn it anew.
	algorithm algorithm
	servers   []server
}

// server is the state of one server. Its words are written for every request, by any loop, so it fills a
// cache line: writing one server's state must not slow down readers of its neighbour's.
type server struct {
	inFlight atomic.Int64
	// rest is 0 while the server is up, else restUntil(...).
	rest   atomic.Int64
	weight int64 // immutable; here because fair reads it together with inFlight
	_      [40]byte
}

// restUntil returns the state of a server that rests until a time, with a probe under way or not. It is never
// 0, which would mean up: times are not negative, and no rest is of no length.
func restUntil(until int64, probing bool) int64 {
	if probing {
		return until<<1 | 1
	}
	return until << 1
}

// outOfService is the state of a server that is not to be taken until SetUp says so: a rest that nothing ends. It
// is a state of the same word, so that whoever picks reads one word for both.
const outOfService = math.MaxInt64

// New returns a group of the given servers, all of them up. Their order is the order of preference between
// equals. It fails for an unknown algorithm, a weight out of range, a negative DisableTime, or no servers.
func New(servers []Server, o Options) (*Group, error) {
	if len(servers) == 0 {
		return nil, errors.New("a group needs at least one server")
	}
	if o.DisableTime < 0 {
		return nil, fmt.Errorf("disable time %v is negative", o.DisableTime)
	}
	g := &Group{
		names:   make([]string, len(servers)),
		disable: int64(min(o.DisableTime, maxDisableTime)),
		servers: make([]server, len(servers)),
	}
	for i, s := range servers {
		if s.Weight < 1 || s.Weight > MaxWeight {
			return nil, fmt.Errorf("server %s: weight %d is not in the range 1 to %d", s.Name, s.Weight, MaxWeight)
		}
		g.names[i] = s.Name
		g.servers[i].weight = int64(s.Weight)
	}
	name := o.Algorithm
	if name == "" {
		name = algorithms[0].name
	}
	for _, a := range algorithms {
		if a.name == name {
			g.algorithm = a.make(servers)
			return g, nil
		}
	}
	return nil, fmt.Errorf("unknown algorithm %q: expected one of %s", name, strings.Join(Algorithms(), ", "))
}

// Pick takes a server that neither rests nor is in tried, which may be nil, and counts a request on it. It
// returns false when there is none. Every Pick that returns true is followed by exactly one Done.
func (g *Group) Pick(now int64, tried *Tried) (Index, bool) {
	return g.algorithm.pick(g, now, tried)
}

// Connected says that a connection to a picked server was made. It brings a resting server back at once:
// waiting for Done would leave it out for as long as the exchange takes.
func (g *Group) Connected(i Index) {
	s := &g.servers[i]
	// The usual case must only read: a store would take the line from every other loop.
	if v := s.rest.Load(); v != 0 && v != outOfService {
		s.rest.CompareAndSwap(v, 0)
	}
}

// Done gives a picked server back and says what came of it.
func (g *Group) Done(i Index, o Outcome, now int64) {
	s := &g.servers[i]
	switch o {
	case OutcomeConnectFailed:
		if v := s.rest.Load(); g.disable > 0 && v != outOfService {
			// Whoever changed it in the meantime knows as much as we do.
			s.rest.CompareAndSwap(v, restUntil(now+g.disable, false))
		}
	case OutcomeOK, OutcomeFailed:
		// It was there. Only a probe's word counts: a server that shuts down refuses connections while it
		// still finishes what it has, and each of those answers would bring it back for nothing.
		if v := s.rest.Load(); v&1 != 0 && v != outOfService {
			s.rest.CompareAndSwap(v, 0)
		}
	case OutcomeNeutral:
	default:
		panic("balance: Done with " + o.String())
	}
	if s.inFlight.Add(-1) < 0 {
		panic("balance: Done without Pick for server " + g.names[i])
	}
}

// SetUp takes a server out of service, or back into it, for a reason that requests know nothing of: what they meet at
// the server does not change it, and a server that comes back does not rest. Requests that have picked the server go
// on.
func (g *Group) SetUp(i Index, up bool) {
	state := int64(outOfService)
	if up {
		state = 0
	}
	g.servers[i].rest.Store(state)
}

// InFlight returns the number of requests that have picked a server and are not done.
func (g *Group) InFlight(i Index) int64 { return g.servers[i].inFlight.Load() }

// Resting reports whether Pick avoids a server at a time: it could not be connected to, or is out of service.
func (g *Group) Resting(i Index, now int64) bool { return resting(g.servers[i].rest.Load(), now) }

// Len returns the number of servers.
func (g *Group) Len() int { return len(g.servers) }

// Name returns a server's name.
func (g *Group) Name(i Index) string { return g.names[i] }

// resting reports whether a server in the state rest must not be taken.
func resting(rest, now int64) bool { return rest != 0 && now < rest>>1 }

// take counts a request on a server, unless it rests. When its rest is over, one caller gets it, and the
// others see it rest for another while.
func (g *Group) take(i Index, now int64) bool {
	s := &g.servers[i]
	if rest := s.rest.Load(); rest != 0 {
		if resting(rest, now) || !s.rest.CompareAndSwap(rest, restUntil(now+g.disable, true)) {
			return false
		}
	}
	s.inFlight.Add(1)
	return true
}
