package loop

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"millrace/balance"
	"millrace/pool"
)

// Where a backend's servers take no more than so many connections, a request that has chosen its server enters there
// (session.enter), and what it gets is a permit: to connect, or to take an idle connection of its loop. Else it waits,
// in stageWait, for a letter (Loop.read): its turn has come, or a connection that another loop had idle. What
// becomes of the connection is told in session.leave and Loop.retire. The counting, the queue and the order are
// pool.Limiter's; the sockets are moved here.

// Limit bounds the connections to each server of a backend over all loops, by BackendServer.Max: one that is idle or is being
// made or closed counts like one in use. All generations of a backend have the same.
type Limit struct {
	// Queue is how many requests may wait for one, over all servers and loops.
	Queue int
	// QueueTimeout is how long they do; 0 is no limit.
	QueueTimeout time.Duration
	// Adaptive has the newest served first while the queue has been standing.
	Adaptive bool
	// ServerWait is how long a request waits for a server to come back when there is none; 0: not at all.
	ServerWait time.Duration

	// What the loops share is the limiter's, under the lock, which is all that they wait for each other for.
	sync.Mutex
	*pool.Limiter[*session, *backendConn]
	waiting atomic.Int64 // for those who do not lock
	srv     *Server
	first   *Backend
	readers []mailReader // by loop
	// Under the lock.
	backend *Backend // the generation that servers are chosen from
	slots   []slot
}

// slot is a server by the number that the limiter has for it: BackendServer.slot. It is the same server, with one ID, for
// as long as anybody has a connection to it, in however many generations.
type slot struct {
	server *BackendServer // nil: nobody's
	index  balance.Index  // in the backend of the limit
	in     bool           // it is one of that
	full   bool
}

type (
	place  = pool.Place[*session, *backendConn]
	letter = pool.Letter[*session, *backendConn]
	claim  = pool.Claim[*session, *backendConn]
)

// start makes what the loops share of a limit.
func (q *Limit) start(srv *Server, b *Backend, loops int) {
	q.srv, q.first = srv, b
	q.readers = make([]mailReader, loops)
	for id := range q.readers {
		q.readers[id] = mailReader{q, id}
	}
	bounds := pool.Bounds{Loops: loops, Queue: q.Queue, Adaptive: q.Adaptive}
	q.Limiter = pool.NewLimiter[*session, *backendConn](bounds, q)
	q.slots = nil
	for _, s := range b.Servers {
		q.count(s)
	}
	q.follow(b)
}

// find returns the server that s is, if that has a slot: it is one now, or still has connections from when it was.
func (q *Limit) find(s *BackendServer) (had *BackendServer, in bool) {
	q.Lock()
	defer q.Unlock()
	for i := range q.slots {
		if had = q.slots[i].server; had != nil && had.Name == s.Name && s.connectsLike(had) {
			return had, q.slots[i].in
		}
	}
	return nil, false
}

// count gives a server a slot that is nobody's.
func (q *Limit) count(s *BackendServer) {
	q.Lock()
	s.slot = slices.IndexFunc(q.slots, func(k slot) bool { return k.server == nil })
	if s.slot < 0 {
		s.slot = len(q.slots)
		q.slots = append(q.slots, slot{})
	}
	q.slots[s.slot].server = s
	q.Unlock()
	q.SetMax(s.slot, s.Max)
}

// follow has servers chosen from another generation, all of whose servers have slots. Loops may be told to connect to them from
// now on.
func (q *Limit) follow(b *Backend) {
	q.Lock()
	defer q.Unlock()
	q.backend = b
	for i := range q.slots {
		q.slots[i].in = false
	}
	for i, s := range b.Servers {
		k := &q.slots[s.slot]
		k.server, k.index, k.in = s, balance.Index(i), true
		b.Group.SetFull(k.index, k.full)
	}
}

// forget makes the slot of a server that has left nobody's, if there is no connection to it any more.
func (q *Limit) forget(s *BackendServer) bool {
	if open, _ := q.Connections(s.slot); open > 0 {
		return false
	}
	q.Lock()
	defer q.Unlock()
	q.slots[s.slot].server = nil
	return true
}

// Choose takes a server that has room for s, which waits on some loop, and does nothing else meanwhile. It is one of the
// latest generation: s goes on with that, by choose.
func (q *Limit) Choose(s *session, now int64) (int, pool.Choice) {
	x, b := s.x, q.backend
	tried := &x.tried
	if b != x.backend {
		carried := x.tried
		carried.Carry(x.backend.Group, b.Group)
		tried = &carried
	}
	if x.place.Patient {
		switch {
		case !b.Group.Up(now):
			return 0, pool.Nobody // it has tried who is ejected, and would go there again and again
		case b.Group.Keyed() || b.Sticky != nil:
			return 0, pool.Busy // which of them is for it to say
		}
	}
	i, ok := b.Group.Pick(now, balance.NoKey, tried)
	switch {
	case ok:
		x.next, x.nextOf = i, b
		return b.Servers[i].slot, pool.Chosen
	case !b.Group.Busy(now, tried):
		return 0, pool.Nobody
	case tried.Len() > 0:
		return 0, pool.BusyForIt
	}
	return 0, pool.Busy
}

// Usable reports whether who waits for a server should go on doing so.
func (q *Limit) Usable(server int, now int64) bool {
	k := &q.slots[server]
	return k.in && q.backend.Group.WorthWaiting(k.index, now)
}

// SetWaiting notes how many wait.
func (q *Limit) SetWaiting(n int) { q.waiting.Store(int64(n)) }

// Waiting returns how many wait.
func (q *Limit) Waiting() int { return int(q.waiting.Load()) }

// latest is the group that requests are picked from now.
func (q *Limit) latest() *balance.Group { return q.first.generation().Group }

// SetFull tells the balance who has no room.
func (q *Limit) SetFull(server int, full bool) {
	k := &q.slots[server]
	k.full = full
	if k.in {
		q.backend.Group.SetFull(k.index, full)
	}
}

// Poke has a loop read its mail.
func (q *Limit) Poke(loop, from int) {
	l := q.srv.loops[loop]
	r := &q.readers[loop]
	if loop == from {
		l.runs.add(r) // not now: the caller is in the middle of something
		return
	}
	l.post(r.resume)
}

// mailReader has a loop read its mail.
type mailReader struct {
	q    *Limit
	loop int
}

func (r *mailReader) resume() { r.q.srv.loops[r.loop].read(r.q) }

// enter lets the request in to the server that it has picked, or has it wait.
func (s *session) enter(now Time) bool {
	x := s.x
	q := x.backend.Limit
	x.limit = q
	x.permit = q.Enter(s.l.id, x.slot(), x.fresh, nil)
	if x.permit != pool.NoPermit {
		return s.letIn(now)
	}
	p := s.place()
	if x.permit = q.Enter(s.l.id, x.slot(), x.fresh, p); x.permit != pool.NoPermit {
		return s.entered(now)
	}
	if x.backend.Group.Keyed() || x.pinned {
		return s.wait(x.slot(), now) // there is no other server for its key, or its session
	}
	// Others were faster.
	s.unpick(now)
	return s.wait(pool.AnyServer, now)
}

// letIn goes on to the server that has been picked.
func (s *session) letIn(now Time) bool {
	x := s.x
	if b := x.backend.Budget; b != nil && x.attempts == 0 {
		b.pay(s.l.id, now)
	}
	x.server = x.backend.Servers[x.target]
	x.paid = false
	x.attempts++
	s.setStage(stageDial, now)
	return true
}

// place returns the exchange's place, which keeps its turn over attempts.
func (s *session) place() *place {
	x := s.x
	if x.place == nil {
		x.place = &place{Who: s}
	}
	x.place.Patient = false
	return x.place
}

// unpick gives the picked server back unused.
func (s *session) unpick(now Time) {
	s.x.picked = false
	s.x.backend.Group.Done(s.x.target, balance.OutcomeNeutral, int64(now))
}

// mustWait reports whether a request that there was no server to pick for can have one later. One with a key never waits for
// any: its own server is picked whether there is room at it or not.
func (s *session) mustWait(now Time) bool {
	b := s.x.backend
	return b.Limit != nil && !b.Group.Keyed() && b.Group.Busy(int64(now), &s.x.tried)
}

// slot is the number of the picked server in the limit of its backend.
func (x *exchange) slot() int { return x.backend.Servers[x.target].slot }

// choose goes on with what Choose has taken, unless the request has waited for the server that it had picked itself.
func (x *exchange) choose() {
	if x.picked {
		return
	}
	if x.nextOf != x.backend {
		x.follow(x.nextOf)
	}
	x.target, x.picked = x.next, true
}

// nobodyLeft is why a request is answered that there is no server for: what it has met at the last one, unless it has met none,
// or has waited for one to come back in vain.
func (s *session) nobodyLeft() fault {
	x := s.x
	if x.fault == faultNone || x.awaits != 0 && neverConnected(x.fault) {
		return faultNoServer
	}
	return x.fault
}

// mayAwait reports whether a request that there is no server for waits until there is one: it has met none, or none that it could
// be connected to, and has not waited for that long enough.
func (s *session) mayAwait(now Time) bool {
	x := s.x
	q, g := x.backend.Limit, x.backend.Group
	switch {
	case q == nil || q.ServerWait == 0:
		return false
	case x.fault != faultNone && !neverConnected(x.fault):
		return false
	case !g.Enabled() && x.backend.Names == nil:
		return false
	case x.tried.Len() > 0 && !g.Rests():
		return false // it would be let in to those that it has tried at once, and again and again
	}
	return x.awaits == 0 || now < x.awaits.after(q.ServerWait)
}

// await has the request wait until there is a server, which may be one that it has tried.
func (s *session) await(now Time) bool {
	x := s.x
	x.tried.Reset()
	if x.awaits == 0 {
		x.awaits = now
	}
	p := s.place()
	p.Patient = true
	return s.waitAt(p, pool.AnyServer, now)
}

// wait has the request wait for a server, by its slot, or for any.
func (s *session) wait(server int, now Time) bool { return s.waitAt(s.place(), server, now) }

func (s *session) waitAt(p *place, server int, now Time) bool {
	x := s.x
	q := x.backend.Limit
	x.limit = q
	p.Loop, p.Server, p.Fresh, p.Permit = s.l.id, server, x.fresh, pool.NoPermit
	switch v, _, permit := q.Wait(p, int64(now)); v {
	case pool.Granted:
		x.permit = permit
		x.choose()
		return s.entered(now)
	case pool.Queued:
		s.setStage(stageWait, now)
		s.l.kickLater(q)
		return false
	case pool.Again:
		x.limit = nil
		x.awaited = now
		s.setStage(stagePick, now)
		return true
	case pool.Refused:
		x.limit = nil
		return s.waitedInVain(faultQueueFull, now)
	default: // Nowhere
		x.limit = nil
		if s.mayAwait(now) {
			return s.await(now)
		}
		return s.answer(s.nobodyLeft(), now)
	}
}

// entered goes on with a permit that may be for a connection of another loop's.
func (s *session) entered(now Time) bool {
	if s.x.permit == pool.Coming {
		s.setStage(stageWait, now)
		return false
	}
	return s.letIn(now)
}

// inQueue waits for a letter. All that happens until then is that the client leaves.
func (s *session) inQueue(now Time) bool {
	if s.client.broken() {
		return s.fail(faultClientGone, now)
	}
	if s.client.hup && s.hungUp() {
		return s.fail(faultQueueLeft, now)
	}
	return false
}

// waitsSince is when the request came to wait for the first time: for there being a server, or for room since there is one.
func (s *session) waitsSince() Time {
	x := s.x
	if x.place.Patient {
		return x.awaits
	}
	return max(Time(x.place.Since()), x.awaited)
}

// hungUp reports whether the client has ended its side. One that leaves looks like one that only says that there
// is no more to come; it is the former that is usual, and that must not be in the way of others. Only a tunnel's client may
// have sent all that it has to say.
func (s *session) hungUp() bool {
	fds := [1]unix.PollFd{{Fd: int32(s.client.fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(fds[:], 0)
	if err != nil || n == 0 || fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP) == 0 {
		return false
	}
	return s.x.kind != tunnelSock || !s.pending()
}

// pending reports whether the client has sent bytes that nobody has read.
func (s *session) pending() bool {
	n, err := unix.IoctlGetInt(s.client.fd, unix.SIOCINQ)
	return err == nil && n > 0
}

// leave gives back what the exchange has of its backend's limit. kept says that its connection is in the pool.
func (s *session) leave(kept bool, now Time) {
	l, x := s.l, s.x
	q := x.limit
	x.limit = nil
	if s.stage == stageWait {
		if _, chosen := q.Leave(x.place, int64(now)); chosen {
			x.nextOf.Group.Done(x.next, balance.OutcomeNeutral, int64(now))
		}
	} else if kept || x.permit == pool.Idle {
		q.Keep(l.id, x.slot(), int64(now))
	} else {
		if x.handed != nil {
			l.drop(x.handed)
			x.handed = nil
		}
		q.Drop(l.id, x.slot(), int64(now))
	}
	x.permit = pool.NoPermit
	l.kickLater(q)
}

// promised takes the connection that the request has a permit for: one of the loop's pool, or one that another loop has
// handed over. If that is not there any more, or of no use, the permit is one to open another.
func (s *session) promised(server int) *backendConn {
	l, x := s.l, s.x
	c := x.handed
	x.handed = nil
	if x.permit == pool.Idle {
		var ok bool
		if c, ok = l.idle.Get(server); !ok {
			x.limit.Missing(l.id, x.slot())
		}
	}
	x.permit = pool.Dial
	if c == nil || s.usable(c) {
		return c
	}
	l.drop(c)
	return nil
}

// usable reports whether an idle connection can carry the request.
func (s *session) usable(c *backendConn) bool {
	x := s.x
	if x.fresh || x.backend.Reuse != nil && x.backend.Reuse.tooOld(c, s.l.now) {
		return false
	}
	// Connections that the server closes are taken out when their event comes, and not used in the turn that brings it. It
	// may come with the next turn, and a request that is not idempotent must not find out by dying.
	return x.req.Method.Idempotent() && !c.readable || c.quiet()
}

// read acts upon the loop's mail.
func (l *Loop) read(q *Limit) {
	var letters [8]letter
	var claims [8]claim
	got, asked := q.Mail(l.id, int64(l.now), letters[:0], claims[:0])
	for _, m := range got {
		if m.News == pool.Unwanted {
			l.readmit(q, m.Server, m.Conn)
			continue
		}
		m.Place.Who.called(m, l.now)
	}
	for _, c := range asked {
		l.handOver(q, c)
	}
}

// called is a letter for a session that waits.
func (s *session) called(m letter, now Time) {
	x := s.x
	if s.stage != stageWait || x == nil || x.place != m.Place {
		panicf("loop: a letter (%d) for a session in stage %v", m.News, s.stage)
	}
	switch m.News {
	case pool.LetIn:
		x.permit = m.Place.Permit
		x.choose()
		if x.permit == pool.Handed && s.l.adopt(m.Conn) {
			x.handed = m.Conn
		}
		s.letIn(now)
	default:
		// The place is its own again, and there is nothing to give back.
		x.limit = nil
		if m.News == pool.Dropped {
			s.waitedInVain(faultQueueTimeout, now)
			break
		}
		if x.picked {
			s.unpick(now)
		}
		if m.Place.Patient {
			x.awaited = now
		}
		s.setStage(stagePick, now)
	}
	s.step(now)
}

// waitedInVain ends a wait that has been long enough, or that there is no room for in the queue. Who has waited for a server of
// its own may have another one that has room.
func (s *session) waitedInVain(f fault, now Time) bool {
	x := s.x
	if !x.picked {
		return s.fail(f, now)
	}
	s.giveBack(balance.OutcomeNeutral, false)
	x.place = x.place.Again()
	x.fault = f // what becomes of the request if there is none
	x.tried.Add(x.target)
	x.backend.Group.AddFull(&x.tried)
	s.setStage(stagePick, now)
	return true
}

// readmit puts a connection into the pool that was on its way to another loop, or to somebody who has left. It is
// counted there already.
func (l *Loop) readmit(q *Limit, server int, c *backendConn) {
	if l.targets[c.server].left {
		sysClose(c.fd)
	} else if l.adopt(c) {
		l.rest(c)
		return
	}
	if q.TakeIdle(l.id, server) {
		q.Drop(l.id, server, int64(l.now))
	}
}

// adopt has the loop watch a connection that another loop has handed over. If that fails, it is closed.
func (l *Loop) adopt(c *backendConn) bool {
	c.l = l
	if err := l.register(&c.endpoint); err != nil {
		sysClose(c.fd)
		return false
	}
	return true
}

// release stops watching an idle connection, so that another loop can.
func (l *Loop) release(c *backendConn) bool {
	if err := l.poller.Delete(c.fd); err != nil {
		return false
	}
	l.fds[c.fd] = nil
	return true
}

// handOver answers another loop's claim to an idle connection of this one.
func (l *Loop) handOver(q *Limit, m claim) {
	server := q.id(m.Server)
	c, ok := l.idle.Get(server)
	switch {
	case !ok:
		q.Missing(l.id, m.Server)
	case m.Fresh || c.readable && !c.quiet() || !l.release(c):
		l.drop(c)
		ok = false
	}
	if !ok {
		c = nil
	}
	if !q.Hand(l.id, m, c, ok, int64(l.now)) && ok {
		l.readmit(q, m.Server, c)
	}
}

// id is what the loops know a server by.
func (q *Limit) id(server int) int {
	q.Lock()
	defer q.Unlock()
	return q.slots[server].server.ID
}

// retire closes a connection that was idle.
func (l *Loop) retire(c *backendConn) {
	t := &l.targets[c.server]
	q := t.backend.Limit
	if q == nil {
		l.drop(c)
		return
	}
	mine := q.TakeIdle(l.id, t.slot)
	l.drop(c)
	if mine {
		q.Drop(l.id, t.slot, int64(l.now))
	}
}

// rest puts a connection into the pool.
func (l *Loop) rest(c *backendConn) {
	b := l.targets[c.server].backend
	l.pool(c, pool.Limits{PerKey: b.IdleMax, TTL: int64(b.IdleTTL)})
}

// kicker lets those in who wait for a server that rests, when it has rested.
type kicker Loop

// kickLater sees to it that those who wait find out when a rest ends. Whatever else may let them in does so at once.
func (l *Loop) kickLater(q *Limit) {
	if q.Waiting() == 0 {
		return
	}
	at, ok := q.latest().NextUp(int64(l.now))
	if ok && (l.kickAt == 0 || Time(at) < l.kickAt) {
		l.kickAt = Time(at)
		l.arm(&l.kickTimer, l.kickAt)
	}
}

func (k *kicker) expire(now Time) {
	l := (*Loop)(k)
	l.kickAt = 0
	for _, b := range l.plan.Backends {
		if q := b.Limit; q != nil && q.Waiting() > 0 {
			q.Kick(l.id, int64(now))
			l.kickLater(q)
		}
	}
}

// leaveLimits is the end of a loop whose idle connections have been closed. Other loops may have been promised them, and
// may rely on its timer.
func (l *Loop) leaveLimits() {
	for _, b := range l.plan.Backends {
		q := b.Limit
		if q == nil {
			continue
		}
		l.read(q)
		for _, other := range l.srv.loops {
			if other != l && q.Waiting() > 0 {
				other.post(func() { other.kickLater(q) })
			}
		}
	}
}
