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
	// Set is the set that the server belongs to. A set is used when no server of a lower one may be picked.
	Set int
	// Status is 0 for a server that takes its share.
	Status Status
	// Of is the server that this is but one address of; empty: it is a server of its own. Servers with the same Of are
	// picked as one, whose Name that is, with the Weight, Set and Status of the first; then one of them is picked. It is
	// read for Addresses only.
	Of string
	// Host is the address without its port, and Port the port, as lighttpd hashes them: of a unix socket the
	// path, and 0. They are read for HashCompat only.
	Host string
	Port uint16
	// Route is what sessions of the server may call it, and Redirect the route that they go to while the server may
	// not be picked. Several servers may have the same route. Empty: none.
	Route, Redirect string
	// Token is another name for the server, that no other server of the group has. Empty: none.
	Token string
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
	// MaxFails is how many failures in a row make a server rest. Less than 1 means 1.
	MaxFails int
	// SlowStart is how long the share of a server that comes back from a rest grows from nothing to the
	// whole. Zero: it has the whole at once.
	SlowStart time.Duration
	// ForceRecovery has all servers tried that rest, when all of them rest that may be picked at all.
	ForceRecovery bool
	// HashBalanceFactor bounds the requests of a server, for the algorithms that go by a key: in percent of its
	// share of all requests of the group at the moment, above 100. Zero: no bound.
	HashBalanceFactor int
	// Limited has Pick pass over servers that are full, see SetFull. They are not missing for that: neither spares,
	// standbys nor other sets stand in for them.
	Limited bool
	// HashCompat is "lighttpd" to have hash and sticky place keys where lighttpd does, else empty.
	HashCompat string
	// Ejection has servers taken out of use for what their answers are like. Nil: none ever is.
	Ejection *Ejection
	// MayBeEmpty: a group of no servers is no mistake, since Follow will bring some. Pick finds none until then.
	MayBeEmpty bool
	// Addresses: servers may be addresses of one server, as Server.Of says.
	Addresses bool
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
	// OutcomeUnfit: the server was reached, and what it did, or did not do, is a failure by the caller's rules:
	// it counts like OutcomeConnectFailed.
	OutcomeUnfit
	// OutcomeError: as OutcomeOK, but what the server has answered is an error by the caller's rules. It counts for
	// Ejection.ErrorRate only.
	OutcomeError
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
	case OutcomeUnfit:
		return "unfit"
	case OutcomeError:
		return "error"
	}
	return "Outcome(" + strconv.Itoa(int(o)) + ")"
}

// NoKey is the key of a request that has none. Algorithms that go by keys send such requests anywhere, in
// proportion to the weights.
const NoKey = 0

// look is what one Pick goes by.
type look struct {
	now   int64
	key   uint64
	tried *Tried

	// For selective groups only, see tier.go.
	tier   int
	spares Index
	draw   uint64
}

// algorithm chooses servers for a group. It belongs to one group and is called by all loops at once.
type algorithm interface {
	// pick finds a server that g.take gives it. It returns false when no server is free to be taken.
	pick(g *Group, l look) (Index, bool)
}

// plain is an algorithm that has a shorter way for groups that are not selective. Nothing but rest and tried
// decides there which servers may be picked, and the key is not looked at.
type plain interface {
	pickPlain(g *Group, now int64, tried *Tried) (Index, bool)
}

// algorithms holds every accepted word, the default first.
var algorithms = []struct {
	name  string
	make  func(*Group, []Server) algorithm
	keyed bool
}{
	{"fair", newFair, false},
	{"least-connection", newFair, false}, // what lighttpd calls it today
	{"round-robin", newRoundRobin, false},
	{"byrequests", newRoundRobin, false}, // what Apache calls it
	{"hash", newRendezvous, true},
	{"carp", newRendezvous, true}, // what lighttpd 1.5 calls it
	{"sticky", newRendezvous, true},
	{"maglev", newMaglev, true},
	{"sqf", newFair, false}, // whoever waits for a connection to a server is in flight on it
	{"bytraffic", newByTraffic, false},
	{"bybusyness", newByBusyness, false},
	{"first", newFirst, false},
	{"static", newFirst, false}, // what lighttpd 1.5 calls it
	{"random", newRandom, false},
	{"ewma", newEWMA, false},
}

// Algorithms returns the words that Options.Algorithm may be, the default first.
func Algorithms() []string {
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		names[i] = a.name
	}
	return names
}

// Keyed reports whether an algorithm goes by the key of a request.
func Keyed(algorithm string) bool {
	for _, a := range algorithms {
		if a.name == algorithm {
			return a.keyed
		}
	}
	return false
}

// Group is a set of servers that can stand in for each other. All its methods may be called from any
// goroutine at any time.
type Group struct {
	// Immutable.
	options   Options // for the group that follows
	names     []string
	disable   int64 // ns
	maxFails  int32
	slowStart int64 // ns
	force     bool
	factor    int64 // percent; 0: no bound
	// selective: which servers may be picked depends on more than their rest.
	selective bool
	// counts: failures in a row, the requests of a tier, or bytes matter.
	counts bool
	// limited: servers can be full.
	limited bool
	keyed   bool
	// What the caller has to tell for the algorithm.
	countsLatency, countsTraffic bool
	averages                     bool     // the algorithm goes by latencies
	enabled                      int64    // servers that may be picked at all
	eject                        *ejector // nil: no server is ever ejected

	// Shared: loops of one process must agree on who is busy and who rests, or each would learn it anew.
	algorithm algorithm
	plain     plain  // nil if there is no shorter way, or servers may be ejected, or there are many
	units     *units // nil without Options.Addresses
	servers   []server
	tiers     []tier
	blocks    atomic.Pointer[blocks] // nil if no tier has many servers, and when another group follows
	dice      *dice
	sessions  *sessions // nil if no server has a name for sessions
	*totals
}

// totals are what is counted over the servers of a group, and of those that follow it.
type totals struct {
	rests   atomic.Int64 // servers that may be picked and are not up
	outs    atomic.Int64 // those of them that are out of service
	rampEnd atomic.Int64 // when the last slow start ends
	size    size         // for bytraffic
}

// server is a server as one group has it: its state, which it may share with the groups before and after, and what
// the list of this group says of it. What has to outlive a change of the list belongs into state.
type server struct {
	*state
	// Immutable.
	weight int64
	tier   int32 // the tier that has the server, or -1
	status Status
}

// state is the state of one server. Its words are written for every request, by any loop, so it fills a
// cache line: writing one server's state must not slow down readers of its neighbour's.
type state struct {
	inFlight atomic.Int64
	// rest is 0 while the server is up, else restUntil(...).
	rest  atomic.Int64
	fails atomic.Int32 // failures in a row
	full  atomic.Bool
	since atomic.Int64 // when it came back from its last rest; 0: it never rested
	// spent is what bytraffic and bybusyness go by: bytes, or requests.
	spent atomic.Int64
	// expected is what the algorithm expects of the server: ewma the latency of a request, see average; bytraffic the
	// bytes of those in flight, which are in spent.
	expected atomic.Uint64
	watched  *watched              // nil in groups that eject nobody
	block    atomic.Pointer[block] // in the latest group; nil if its tier has no blocks
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
// equals. It fails for an unknown algorithm, a weight out of range, a negative time, an option that is not for the
// algorithm, or no servers.
func New(servers []Server, o Options) (*Group, error) { return makeGroup(servers, o, nil) }

// makeGroup is New for a group that follows another one, which is nil for the first.
func makeGroup(servers []Server, o Options, before *Group) (*Group, error) {
	if len(servers) == 0 && !o.MayBeEmpty {
		return nil, errors.New("a group needs at least one server")
	}
	if o.DisableTime < 0 {
		return nil, fmt.Errorf("disable time %v is negative", o.DisableTime)
	}
	if o.SlowStart < 0 {
		return nil, fmt.Errorf("slow start %v is negative", o.SlowStart)
	}
	g := &Group{
		options:   o,
		totals:    &totals{},
		names:     make([]string, len(servers)),
		disable:   int64(min(o.DisableTime, maxDisableTime)),
		maxFails:  int32(max(o.MaxFails, 1)),
		slowStart: int64(min(o.SlowStart, maxDisableTime)),
		force:     o.ForceRecovery,
		factor:    int64(o.HashBalanceFactor),
		keyed:     Keyed(o.Algorithm),
		servers:   make([]server, len(servers)),
		dice:      newDice(),
	}
	g.counts = g.maxFails > 1 || g.factor > 0 || o.Ejection != nil
	if o.Ejection != nil {
		var err error
		if g.eject, err = newEjector(*o.Ejection, before); err != nil {
			return nil, err
		}
	}
	g.limited = o.Limited && !g.keyed
	for i, s := range servers {
		if s.Weight < 1 || s.Weight > MaxWeight {
			return nil, fmt.Errorf("server %s: weight %d is not in the range 1 to %d", s.Name, s.Weight, MaxWeight)
		}
		g.names[i] = s.Name
		g.servers[i].weight = int64(s.Weight)
		g.servers[i].status = s.Status
	}
	joined := g.adopt(servers, before)
	if o.Addresses {
		if err := g.makeUnits(servers, before, joined); err != nil {
			return nil, err
		}
	} else {
		g.makeTiers(servers, before, joined)
	}
	name := o.Algorithm
	if name == "" {
		name = algorithms[0].name
	}
	for _, a := range algorithms {
		if a.name != name {
			continue
		}
		switch {
		case o.HashBalanceFactor != 0 && (!a.keyed || o.HashBalanceFactor <= 100):
			return nil, fmt.Errorf("a hash balance factor of %d%% is not for %s: it is above 100, and for algorithms that go by a key", o.HashBalanceFactor, name)
		case len(servers) == 0:
			g.algorithm = nobody{}
		case o.HashCompat == "":
			g.algorithm = a.make(g, servers)
		default:
			l, err := newLighttpd(name, servers, o)
			if err != nil {
				return nil, err
			}
			g.algorithm = l
		}
		_, g.averages = g.algorithm.(*ewma)
		g.countsLatency = g.averages || o.Ejection != nil && o.Ejection.LatencyFactor > 0
		g.countsTraffic = g.algorithm == algorithm(account{})
		g.counts = g.counts || g.countsTraffic
		if !g.selective && g.eject == nil {
			g.plain, _ = g.algorithm.(plain)
		}
		if err := g.makeSessions(servers); err != nil {
			return nil, err
		}
		g.makeBlocks(before) // last, since the group before loses its own
		return g, nil
	}
	return nil, fmt.Errorf("unknown algorithm %q: expected one of %s", name, strings.Join(Algorithms(), ", "))
}

// Pick takes a server that neither rests nor is in tried, which may be nil, and counts a request on it. It
// returns false when there is none. key is what hash, sticky and maglev go by, NoKey for none; the others do
// not look at it. Every Pick that returns true is followed by exactly one Done.
func (g *Group) Pick(now int64, key uint64, tried *Tried) (Index, bool) {
	switch {
	case g.plain != nil:
		return g.plain.pickPlain(g, now, tried)
	case g.eject != nil:
		return g.pickEjecting(look{now: now, key: key, tried: tried})
	case g.selective:
		return g.pickSelective(look{now: now, key: key, tried: tried})
	}
	return g.algorithm.pick(g, look{now: now, key: key, tried: tried})
}

// Connected says that a connection to a picked server was made. It brings a resting server back at once:
// waiting for Done would leave it out for as long as the exchange takes. It reports whether the server may have rested.
func (g *Group) Connected(i Index) bool {
	s := &g.servers[i]
	// The usual case must only read: a store would take the line from every other loop.
	if s.rest.Load() == 0 {
		return false
	}
	g.wakeUp(i)
	return true
}

// Done gives a picked server back and says what came of it.
func (g *Group) Done(i Index, o Outcome, now int64) {
	s := &g.servers[i]
	switch o {
	case OutcomeConnectFailed, OutcomeUnfit:
		if g.disable > 0 && s.status&IgnoreErrors == 0 && g.failed(s) {
			if v := s.rest.Load(); v != outOfService && !g.eject.serves(i, v) {
				g.move(i, v, restUntil(now+g.disable, false), now)
			}
		}
	case OutcomeOK, OutcomeError:
		// Only a probe's word counts: a server that shuts down refuses connections while it still finishes what
		// it has, and each of those answers would bring it back for nothing.
		if s.rest.Load()&1 != 0 {
			g.probed(i)
		}
	case OutcomeFailed:
		if s.rest.Load()&1 != 0 {
			g.probed(i)
		}
	case OutcomeNeutral:
	default:
		panic("balance: Done with " + o.String())
	}
	if g.counts {
		g.doneCounting(i, o)
	}
	if u := g.units; u != nil {
		u.group.Done(u.of[i], OutcomeNeutral, now)
	}
	if s.add(-1) < 0 {
		panic("balance: Done without Pick for server " + g.names[i])
	}
}

// doneCounting is what Done has to do in groups that count more than requests in flight.
func (g *Group) doneCounting(i Index, o Outcome) {
	s := &g.servers[i]
	if g.countsTraffic {
		s.settle()
	}
	if g.eject != nil {
		g.eject.count(i, o)
	}
	if (o == OutcomeOK || o == OutcomeError) && s.fails.Load() != 0 {
		s.fails.Store(0)
	}
	if g.factor > 0 && s.tier >= 0 {
		g.tiers[s.tier].inFlight.Add(-1)
	}
}

// probed brings a server back whose probe got an answer.
func (g *Group) probed(i Index) {
	if v := g.servers[i].rest.Load(); v&1 != 0 && v != outOfService {
		g.move(i, v, 0, v>>1-g.disable)
	}
}

// wakeUp ends a server's rest.
func (g *Group) wakeUp(i Index) {
	if v := g.servers[i].rest.Load(); v != 0 && v != outOfService && !g.eject.serves(i, v) {
		// A rest ends g.disable after it began, and so does that of a probe: this is when it was picked.
		g.move(i, v, 0, v>>1-g.disable)
	}
}

// SetUp takes a server out of service, or back into it, for a reason that requests know nothing of: what they meet at
// the server does not change it, and a server that comes back does not rest. Requests that have picked the server go
// on.
func (g *Group) SetUp(i Index, up bool, now int64) {
	state := int64(outOfService)
	if up {
		state = 0
	}
	for rest := &g.servers[i].rest; ; {
		if v := rest.Load(); v == state || g.move(i, v, state, now) {
			return
		}
	}
}

// move takes a server from a state to another, at a time, unless somebody else has changed it: whoever did knows as
// much as we do.
func (g *Group) move(i Index, from, to, now int64) bool {
	s := &g.servers[i]
	if !s.rest.CompareAndSwap(from, to) {
		return false
	}
	s.changed()
	if s.tier < 0 {
		return true
	}
	switch {
	case from == 0:
		g.rests.Add(1)
		g.tiers[s.tier].upWeight.Add(-s.weight)
	case to == 0:
		g.rests.Add(-1)
		g.tiers[s.tier].upWeight.Add(s.weight)
		g.rise(i, now)
	}
	if from == outOfService {
		g.outs.Add(-1)
	} else if to == outOfService {
		g.outs.Add(1)
	}
	return true
}

// rise is what there is to do when a server comes back.
func (g *Group) rise(i Index, now int64) {
	if g.slowStart > 0 {
		now = max(now, 1)
		g.servers[i].since.Store(now)
		for end := g.rampEnd.Load(); end < now+g.slowStart; end = g.rampEnd.Load() {
			if g.rampEnd.CompareAndSwap(end, now+g.slowStart) {
				break
			}
		}
	}
	if r, ok := g.algorithm.(rejoiner); ok {
		r.rejoin(g, i)
	}
}

// failed counts a failure and reports whether the server has to rest for it. One that rests already, or is
// probed, rests on for any.
func (g *Group) failed(s *server) bool {
	if g.maxFails == 1 || s.rest.Load() != 0 {
		return true
	}
	if s.fails.Add(1) < g.maxFails {
		return false
	}
	s.fails.Store(0)
	return true
}

// rejoiner is an algorithm that has to know when a server comes back from a rest.
type rejoiner interface{ rejoin(g *Group, i Index) }

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
	s.add(1)
	return true
}

// may reports whether a server may be taken.
func (g *Group) may(i Index, l *look) bool {
	s := &g.servers[i]
	return !resting(s.rest.Load(), l.now) && !l.tried.Has(i) && (!g.selective || g.admits(s, i, l))
}
