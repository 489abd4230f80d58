package pool

import (
	"fmt"
	"math"
)

// A Limiter bounds the connections to each server of a backend over all loops, and has requests wait that find no
// room: see the package's documentation. It counts and decides; connections are its callers' to make, to keep and
// to close, and what it asks of them reaches their loops as mail.
//
// W is what a waiting request is to its owner, C a connection on its way from one loop to another.
//
// Of a server's connections each is either idle, in the pool of a loop, or in somebody's hands: being made, in use, on its
// way between two loops, being closed. Their sum is never above the server's bound, and nobody waits whom a server
// has room for.
type Limiter[W, C any] struct {
	owner    Owner[W]
	capacity int
	adaptive bool
	servers  []*bounded[W, C] // places point into them
	mail     []mailbox[W, C]  // by loop
	all      queue[W, C]      // everybody who waits, the oldest first
	any      queue[W, C]      // those of them that take whatever server there is
	tickets  uint64
	pokes    []int // loops that have mail which they have not been told of
	codel    codel
}

// Owner is what a Limiter is told by, and tells. The lock is the owner's, since it is the owner that has several loops. All
// other methods but Poke are called with it held, on the goroutine of whoever called the Limiter, and must not call it
// back.
type Owner[W any] interface {
	Lock()
	Unlock()
	// Choose takes a server that has room for a request that waits for any. Nothing is taken unless it says Chosen.
	Choose(w W, now int64) (server int, c Choice)
	// Usable reports whether it makes sense to go on waiting for a server.
	Usable(server int, now int64) bool
	// SetWaiting says how many wait.
	SetWaiting(n int)
	// SetFull says that a server has no room any more, or has some again.
	SetFull(server int, full bool)
	// Poke asks a loop to look at its mail, which may be the one that has called the Limiter: from is that, or -1.
	Poke(loop, from int)
}

// Choice is what Owner.Choose has found.
type Choice uint8

const (
	// Chosen: there is a server.
	Chosen Choice = iota
	// Busy: those that any request may go to have no room.
	Busy
	// BusyForIt: those that this request may go to have no room; another request may have more to choose from.
	BusyForIt
	// Nobody: there is no server to wait for.
	Nobody
)

// Permit is how a request gets its connection.
type Permit uint8

const (
	// NoPermit: not at all, so far.
	NoPermit Permit = iota
	// Dial: it opens one.
	Dial
	// Idle: there is an idle one for it in the pool of its own loop.
	Idle
	// Coming: another loop hands one over, or lets it open one in its place. A letter tells.
	Coming
	// Handed: here it is.
	Handed
)

// Verdict is what Wait has to say.
type Verdict uint8

const (
	// Granted: it need not wait.
	Granted Verdict = iota
	// Queued: a letter will tell.
	Queued
	// Refused: as many wait as may.
	Refused
	// Nowhere: there is no server to wait for.
	Nowhere
	// Again: there are servers, for one that has come to wait for there being any.
	Again
)

// AnyServer is the server of a Place that does not wait for a certain one.
const AnyServer = -1

// Place is a request's place in the queue, or what has come of it. Its owner sets the exported fields before Wait and
// leaves them alone until a letter comes or Leave has returned.
type Place[W, C any] struct {
	Who  W
	Loop int
	// Server is the one that it waits for, or AnyServer. When it is let in, it is the one that it has got.
	Server int
	// Fresh says that a connection that has been used is of no use to it.
	Fresh bool
	// Patient says that it has come to wait for there being any server at all. It is let in to one that comes back and can be
	// chosen, and told to choose again when there are servers, and none for it. Its Server is AnyServer, and all such requests
	// have the same to choose from.
	Patient bool
	// Permit is set when it is let in.
	Permit Permit

	ends   [numQueues]neighbours[W, C]
	target *queue[W, C] // the one that it is in beside all
	since  int64
	ticket uint64 // its turn, which it keeps when it comes again; 0: it has none
	state  placeState
	chosen bool // Choose has taken Server for it, of which no letter has been read
}

// placeState is how far a Place has come.
type placeState uint8

const (
	placeFree   placeState = iota // its owner's
	placeQueued                   // in the queue
	placeCalled                   // out of it, with a letter under way
	placeComing                   // let in, with a connection under way
	placeLeft                     // nobody wants it any more, but a loop still has it in its mail
)

// Since is when the request came to wait for the first time.
func (p *Place[W, C]) Since() int64 { return p.since }

// Again returns a place with the same turn, for a request that has left p and comes again. p itself may be in some loop's
// mail still.
func (p *Place[W, C]) Again() *Place[W, C] {
	return &Place[W, C]{Who: p.Who, ticket: p.ticket, since: p.since}
}

// News is what a letter says.
type News uint8

const (
	// LetIn: Place.Server and Place.Permit say what it has got; with Handed, Letter.Conn is it.
	LetIn News = iota
	// ChooseAgain: what it waited for is gone. It keeps its turn if it comes again.
	ChooseAgain
	// Dropped: it has waited long enough, for a queue that does not get shorter.
	Dropped
	// Unwanted: Letter.Conn comes to a request that has left, and is an idle one of the loop's now.
	Unwanted
)

// Letter is for the request at a Place, from which it is free again. Of an Unwanted one, Place is nil.
type Letter[W, C any] struct {
	News   News
	Place  *Place[W, C]
	Server int
	Conn   C
}

// Claim asks a loop for one of its idle connections. It is answered by Hand.
type Claim[W, C any] struct {
	Place  *Place[W, C]
	Server int
	// Fresh says that one is to be closed, to make room for a new one.
	Fresh bool
	// To is the loop that gets it.
	To int
}

// bounded is a server.
type bounded[W, C any] struct {
	max  int   // 0: no bound
	open int   // connections
	idle int   // those of them that are in pools and nobody's
	at   []int // those by loop
	// lost counts by loop the connections that were closed in a pool although somebody had been promised them: who
	// comes for one and finds none opens one in its place.
	lost []int
	full bool // as the owner knows it
	own  queue[W, C]
}

func (s *bounded[W, C]) hasRoom() bool { return s.max == 0 || s.open < s.max || s.idle > 0 }

// mailbox is what a loop has not looked at.
type mailbox[W, C any] struct {
	poked   bool
	letters []Letter[W, C]
	spare   []Letter[W, C] // memory
	claims  []Claim[W, C]
}

// Bounds are those of a Limiter.
type Bounds struct {
	// Loops is the number of loops.
	Loops int
	// Queue is how many requests may wait.
	Queue int
	// Adaptive has the newest served first while the queue stands, and the oldest dropped one by one. Otherwise
	// the oldest are served first.
	Adaptive bool
}

// NewLimiter returns a limiter without any server.
func NewLimiter[W, C any](b Bounds, owner Owner[W]) *Limiter[W, C] {
	l := &Limiter[W, C]{
		owner: owner, capacity: b.Queue, adaptive: b.Adaptive,
		mail: make([]mailbox[W, C], b.Loops),
	}
	l.all.link, l.any.link = byAge, byServer
	return l
}

// SetMax says how many connections a server may have; 0 is any number. It has none now: it is one that has lost all that it
// had, or another one, of the lowest number that none has.
func (l *Limiter[W, C]) SetMax(server, most int) {
	l.owner.Lock()
	defer l.owner.Unlock()
	if server == len(l.servers) {
		s := &bounded[W, C]{at: make([]int, len(l.mail)), lost: make([]int, len(l.mail))}
		s.own.link = byServer
		l.servers = append(l.servers, s)
	}
	if s := l.servers[server]; s.open > 0 {
		panic(fmt.Sprintf("pool: server %d becomes another one, with %d connections", server, s.open))
	}
	l.servers[server].max = most
}

// Connections returns the number of connections of a server, and how many of them are idle.
func (l *Limiter[W, C]) Connections(server int) (open, idle int) {
	l.owner.Lock()
	defer l.owner.Unlock()
	return l.servers[server].open, l.servers[server].idle
}

// Enter lets a request of a loop in to a server that has been chosen for it, if there is room. With a place, the
// connection may be another loop's: the Permit is Coming, and a letter will tell. Without one, NoPermit may mean just
// that. A place need not have anything set but Who.
func (l *Limiter[W, C]) Enter(loop, server int, fresh bool, p *Place[W, C]) Permit {
	l.owner.Lock()
	permit := l.acquire(loop, server, fresh, p)
	if permit == Coming {
		p.Loop, p.Server, p.Fresh, p.Permit, p.state = loop, server, fresh, Coming, placeComing
	}
	l.unlock(loop)
	return permit
}

// Wait lets a request in or has it wait. With Granted, it has got a permit for a server; the place itself may be changing
// already then, if another loop has been asked for a connection.
func (l *Limiter[W, C]) Wait(p *Place[W, C], now int64) (v Verdict, server int, permit Permit) {
	if p.state != placeFree {
		panic(fmt.Sprintf("pool: Wait at a place in state %d", p.state))
	}
	l.owner.Lock()
	defer l.unlock(p.Loop)
	if p.ticket == 0 {
		l.tickets++
		p.ticket, p.since = l.tickets, now
	}
	if p.Server == AnyServer {
		switch server, c := l.owner.Choose(p.Who, now); {
		case c == Chosen:
			p.Server = server
			l.letIn(p)
			return Granted, p.Server, p.Permit
		case p.Patient && c != Nobody:
			return Again, AnyServer, NoPermit
		case !p.Patient && c == Nobody:
			return Nowhere, AnyServer, NoPermit
		}
	} else if l.servers[p.Server].hasRoom() {
		l.letIn(p)
		return Granted, p.Server, p.Permit
	}
	if l.all.len >= l.capacity {
		if l.capacity == 0 || !l.standing(now) {
			return Refused, AnyServer, NoPermit
		}
		// Who has waited longest is the one whose client is most likely to have given up.
		l.call(l.all.first, Dropped)
	}
	if l.all.len == 0 {
		l.codel.begin(now)
	}
	p.target = &l.any
	if p.Server != AnyServer {
		p.target = &l.servers[p.Server].own
	}
	p.state = placeQueued
	l.all.insert(p)
	p.target.insert(p)
	l.owner.SetWaiting(l.all.len)
	return Queued, AnyServer, NoPermit
}

// Leave is for a request that wants nothing any more: it gives up its place, which is not to be used again, and what it may
// have been given since. If Choose has taken a server for it, that is to be given back by the caller.
func (l *Limiter[W, C]) Leave(p *Place[W, C], now int64) (server int, chosen bool) {
	l.owner.Lock()
	defer l.unlock(p.Loop)
	server, chosen = p.Server, p.chosen
	p.chosen = false
	switch p.state {
	case placeFree:
	case placeQueued:
		l.remove(p)
		p.state = placeFree
	case placeCalled:
		p.state = placeLeft
		switch p.Permit {
		case Dial:
			l.drop(p.Server, now)
		case Idle:
			l.keep(p.Loop, p.Server, now)
		case Handed: // Mail gives it to the loop
		}
	case placeComing:
		p.state = placeLeft // who has been asked for the connection finds out
	default:
		panic(fmt.Sprintf("pool: Leave from a place in state %d", p.state))
	}
	return server, chosen
}

// Keep says that a connection in hand is idle now, in the pool of a loop; or that a permit that is Idle is not used.
func (l *Limiter[W, C]) Keep(loop, server int, now int64) {
	l.owner.Lock()
	l.keep(loop, server, now)
	l.unlock(loop)
}

// Drop says that a connection in hand has been closed, or will not be made. from is the loop that it was of.
func (l *Limiter[W, C]) Drop(from, server int, now int64) {
	l.owner.Lock()
	l.drop(server, now)
	l.unlock(from)
}

// TakeIdle takes one of a loop's idle connections into hand, to be closed. It reports false if all that there still are
// have been promised: the connection is to be closed all the same, and Drop must not be called for it. Whom it was
// promised to opens one in its place.
func (l *Limiter[W, C]) TakeIdle(loop, server int) bool {
	l.owner.Lock()
	defer l.unlock(loop)
	s := l.servers[server]
	if s.at[loop] == 0 {
		s.lost[loop]++
		return false
	}
	s.at[loop]--
	s.idle--
	l.update(server)
	return true
}

// Missing says that a loop's pool has no connection for a permit that is Idle, or for a claim. A permit is Dial then.
func (l *Limiter[W, C]) Missing(loop, server int) {
	l.owner.Lock()
	defer l.owner.Unlock()
	s := l.servers[server]
	if s.lost[loop] == 0 {
		panic(fmt.Sprintf("pool: loop %d has fewer connections to server %d than are counted", loop, server))
	}
	s.lost[loop]--
}

// Open allows a loop to make a connection that nobody has asked for yet. It is in hand until Keep or Drop.
func (l *Limiter[W, C]) Open(loop, server int) bool {
	l.owner.Lock()
	defer l.unlock(loop)
	s := l.servers[server]
	if l.all.len > 0 || s.max > 0 && s.open >= s.max {
		return false
	}
	s.open++
	l.update(server)
	return true
}

// Kick lets those in who wait for no reason any more: a server has come back. from is the calling loop, or -1. It has to be
// called also if nobody is seen to wait: somebody may be about to, who has looked at the servers before.
func (l *Limiter[W, C]) Kick(from int, now int64) {
	l.owner.Lock()
	for i := range l.servers {
		if l.servers[i].own.len > 0 {
			l.serve(i, now)
		}
	}
	l.serve(AnyServer, now)
	l.unlock(from)
}

// Mail appends the letters of a loop to dst, and its claims to asked, and takes both out of its mailbox. They are for
// the loop to act upon in this order, which begins with what is Unwanted: others may have been promised it.
func (l *Limiter[W, C]) Mail(loop int, now int64, dst []Letter[W, C], asked []Claim[W, C]) ([]Letter[W, C], []Claim[W, C]) {
	l.owner.Lock()
	defer l.unlock(loop)
	m := &l.mail[loop]
	m.poked = false
	// What comes of an unwanted connection may be more mail.
	letters := m.letters
	m.letters, m.spare = m.spare, nil
	for _, letter := range letters {
		if p := letter.Place; p.state == placeLeft && p.Permit == Handed {
			l.keep(loop, letter.Server, now)
			letter.News, letter.Place = Unwanted, nil
			dst = append(dst, letter)
		}
	}
	for _, letter := range letters {
		p := letter.Place
		if p.state != placeLeft {
			dst = append(dst, letter)
		}
		p.state, p.chosen = placeFree, false
	}
	clear(letters)
	m.spare = letters[:0]
	asked = append(asked, m.claims...)
	clear(m.claims)
	m.claims = m.claims[:0]
	return dst, asked
}

// Hand answers a claim of a loop: with a connection, or without one, because it has been closed. It reports
// whether the connection goes to who claimed it. Otherwise it is an idle one of the loop's again.
func (l *Limiter[W, C]) Hand(loop int, c Claim[W, C], conn C, ok bool, now int64) bool {
	l.owner.Lock()
	defer l.unlock(loop)
	p := c.Place
	if p.state == placeLeft {
		p.state = placeFree
		if ok {
			l.keep(loop, c.Server, now)
		} else {
			l.drop(c.Server, now)
		}
		return false
	}
	letter := Letter[W, C]{News: LetIn, Place: p, Server: c.Server}
	p.state, p.Permit = placeCalled, Dial
	if ok {
		p.Permit, letter.Conn = Handed, conn
	}
	l.send(p.Loop, letter)
	return ok
}

// acquire gets a connection for a request, if there is one. Only with a place can it be another loop's.
func (l *Limiter[W, C]) acquire(loop, server int, fresh bool, p *Place[W, C]) Permit {
	s := l.servers[server]
	mayDial := s.max == 0 || s.open < s.max
	permit := NoPermit
	switch {
	case s.at[loop] > 0 && !(fresh && mayDial):
		s.at[loop]--
		s.idle--
		permit = Idle
	case mayDial:
		s.open++
		permit = Dial
	case s.idle > 0 && p != nil:
		most := 0
		for i, n := range s.at {
			if n > s.at[most] {
				most = i
			}
		}
		s.at[most]--
		s.idle--
		m := &l.mail[most]
		m.claims = append(m.claims, Claim[W, C]{p, server, fresh, loop})
		l.poke(most)
		permit = Coming
	}
	l.update(server)
	return permit
}

// letIn gives a place what its server has for it.
func (l *Limiter[W, C]) letIn(p *Place[W, C]) {
	p.Permit = l.acquire(p.Loop, p.Server, p.Fresh, p)
	switch p.Permit {
	case NoPermit:
		s := l.servers[p.Server]
		panic(fmt.Sprintf("pool: server %d was chosen with %d of %d connections open and %d idle", p.Server, s.open, s.max, s.idle))
	case Coming:
		p.state = placeComing
	}
}

func (l *Limiter[W, C]) keep(loop, server int, now int64) {
	s := l.servers[server]
	if s.lost[loop] > 0 {
		// It takes the place of the one that was lost, for whom that was promised to.
		s.lost[loop]--
		l.drop(server, now)
		return
	}
	s.at[loop]++
	s.idle++
	if s.idle > s.open {
		panic(fmt.Sprintf("pool: server %d has %d idle of %d connections", server, s.idle, s.open))
	}
	l.serve(server, now)
}

func (l *Limiter[W, C]) drop(server int, now int64) {
	s := l.servers[server]
	s.open--
	if s.open < s.idle {
		panic(fmt.Sprintf("pool: server %d has %d idle of %d connections", server, s.idle, s.open))
	}
	l.serve(server, now)
}

// update tells the owner of a server's fullness, if that has changed.
func (l *Limiter[W, C]) update(server int) {
	s := l.servers[server]
	if full := !s.hasRoom(); full != s.full {
		s.full = full
		l.owner.SetFull(server, full)
	}
}

// serve lets those in who have waited for what a server now has, in their order; with AnyServer, whoever does not wait
// for a certain one.
func (l *Limiter[W, C]) serve(server int, now int64) {
	var s *bounded[W, C]
	if server != AnyServer {
		l.update(server)
		s = l.servers[server]
	}
	if l.all.len == 0 {
		return
	}
	if s != nil && s.own.len > 0 && !l.owner.Usable(server, now) {
		for s.own.first != nil {
			l.call(s.own.first, ChooseAgain)
		}
	}
	newest := l.standing(now)
	next := l.any.end(newest)
	none := false // there is no server for any of those who wait for that
	for {
		var own *Place[W, C]
		if s != nil && s.hasRoom() {
			own = s.own.end(newest)
		}
		p := next
		if p == nil || own != nil && (own.ticket > p.ticket) == newest {
			p = own
		}
		if p == nil {
			return
		}
		if p == own {
			if l.callIn(p, now); next != nil && next.state != placeQueued {
				next = l.any.end(newest) // it has been dropped
			}
			continue
		}
		beyond := p.ends[byServer].toward(newest)
		if p.Patient && none {
			next = beyond
			continue
		}
		switch chosen, c := l.owner.Choose(p.Who, now); {
		case c == Chosen:
			p.Server, p.chosen = chosen, true
			next = beyond
			if l.callIn(p, now); next != nil && next.state != placeQueued {
				next = l.any.end(newest) // it has been dropped
			}
		case p.Patient && c == Nobody:
			next, none = beyond, true
		case p.Patient, c == Nobody:
			next = beyond
			l.call(p, ChooseAgain)
		case c == BusyForIt:
			next = beyond
		default:
			next = nil
		}
	}
}

// callIn lets somebody in who waits.
func (l *Limiter[W, C]) callIn(p *Place[W, C], now int64) {
	standing := l.standing(now)
	l.remove(p)
	p.state = placeCalled
	l.letIn(p)
	if p.state == placeCalled {
		l.send(p.Loop, Letter[W, C]{News: LetIn, Place: p, Server: p.Server})
	}
	// Whom the queue loses by that leaves its place to nobody: as many are served as before.
	if oldest := l.all.first; standing && oldest != nil && l.codel.drops(now-oldest.since, now) {
		l.call(oldest, Dropped)
	}
}

// call tells somebody who waits that it is over.
func (l *Limiter[W, C]) call(p *Place[W, C], news News) {
	l.remove(p)
	p.state, p.Permit = placeCalled, NoPermit
	l.send(p.Loop, Letter[W, C]{News: news, Place: p, Server: p.Server})
}

func (l *Limiter[W, C]) remove(p *Place[W, C]) {
	l.all.remove(p)
	p.target.remove(p)
	l.owner.SetWaiting(l.all.len)
}

func (l *Limiter[W, C]) send(loop int, letter Letter[W, C]) {
	m := &l.mail[loop]
	m.letters = append(m.letters, letter)
	l.poke(loop)
}

func (l *Limiter[W, C]) poke(loop int) {
	if m := &l.mail[loop]; !m.poked {
		m.poked = true
		l.pokes = append(l.pokes, loop)
	}
}

// unlock ends what a loop has called for, and pokes whoever has got mail by it: a system call, and so outside of the
// lock.
func (l *Limiter[W, C]) unlock(from int) {
	var few [4]int
	pokes := append(few[:0], l.pokes...)
	l.pokes = l.pokes[:0]
	l.owner.Unlock()
	for _, loop := range pokes {
		l.owner.Poke(loop, from)
	}
}

// standing reports whether the newest are served first.
func (l *Limiter[W, C]) standing(now int64) bool {
	return l.adaptive && l.all.len > 0 && l.codel.standing(now)
}

// codel tells a queue that stands from one that passes, and drops from the former more and more often, as CoDel does
// (RFC 8289, 4 and 5). Where that looks at the shortest wait in an interval, this looks at whether the queue has been
// empty: with the newest served first, the shortest wait is always short.
type codel struct {
	since int64 // the queue has not been empty since then
	count float64
	next  int64 // when the next one is dropped
}

// interval is CoDel's: long enough for a burst to pass, short against the patience of a client (RFC 8289, 4.3).
const interval = 100_000_000 // ns

func (c *codel) begin(now int64) { *c = codel{since: now} }

func (c *codel) standing(now int64) bool { return now-c.since > interval }

// drops reports whether somebody is dropped who has waited for that long. It is asked when somebody else is let in:
// what is dropped then leaves no server idle.
func (c *codel) drops(waited, now int64) bool {
	if waited <= interval || now < c.next {
		return false
	}
	c.count++
	c.next = now + int64(float64(interval)/math.Sqrt(c.count))
	return true
}

// byAge and byServer are the two queues that a place is in.
const (
	byAge = iota
	byServer
	numQueues
)

type neighbours[W, C any] struct{ older, newer *Place[W, C] }

func (n neighbours[W, C]) toward(newest bool) *Place[W, C] {
	if newest {
		return n.older
	}
	return n.newer
}

// queue is a list of places by their tickets.
type queue[W, C any] struct {
	first, last *Place[W, C] // the oldest and the newest
	len         int
	link        int
}

// end is where to begin: with the newest or with the oldest.
func (q *queue[W, C]) end(newest bool) *Place[W, C] {
	if newest {
		return q.last
	}
	return q.first
}

// insert puts a place where its ticket belongs: nearly always at the end.
func (q *queue[W, C]) insert(p *Place[W, C]) {
	after := q.last
	for after != nil && after.ticket > p.ticket {
		after = after.ends[q.link].older
	}
	n := neighbours[W, C]{older: after, newer: q.first}
	if after != nil {
		n.newer = after.ends[q.link].newer
		after.ends[q.link].newer = p
	} else {
		q.first = p
	}
	if n.newer != nil {
		n.newer.ends[q.link].older = p
	} else {
		q.last = p
	}
	p.ends[q.link] = n
	q.len++
}

func (q *queue[W, C]) remove(p *Place[W, C]) {
	n := p.ends[q.link]
	if n.older != nil {
		n.older.ends[q.link].newer = n.newer
	} else {
		q.first = n.newer
	}
	if n.newer != nil {
		n.newer.ends[q.link].older = n.older
	} else {
		q.last = n.older
	}
	p.ends[q.link] = neighbours[W, C]{}
	q.len--
}
