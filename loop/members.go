package loop

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"millrace/balance"
	"millrace/internal/health"
	"millrace/internal/resolve"
)

// Names are the names among the servers of a backend, which are looked up again while it is in use. All generations of a
// backend have the same.
type Names struct {
	// Queries are the names, each once.
	Queries []resolve.Query
	// First is what they had come to when the plan was made. A name that is not in it has not been found yet.
	First map[resolve.Query]resolve.Answer
	// Servers makes the backend's servers of the records of its names, and what its group has to know of each, index
	// for index. It depends on nothing but the records and the configuration. Their IDs are not set.
	Servers func(map[resolve.Query][]resolve.Record) ([]*BackendServer, []balance.Server)

	latest atomic.Pointer[Backend] // nil until a Server has the plan
}

// Resolver looks a name up whenever what was found has expired. [resolve.Resolver] is one, and says how.
type Resolver interface {
	Watch(ctx context.Context, q resolve.Query, first resolve.Answer, tell func(resolve.Answer, error))
}

// members changes the servers of the backends with names. It belongs to the control plane.
type members struct {
	srv    *Server
	ctx    context.Context // of the checks
	byName map[resolve.Query][]*membership

	mu     sync.Mutex // one change at a time
	nextID int
	free   []int  // IDs below nextID that nobody has
	gone   []left // servers whose IDs are still in use
}

// membership is one backend with names.
type membership struct {
	*Names
	records map[resolve.Query][]resolve.Record
	checks  map[string]checked // the servers that are checked, by name
}

// checked is a server that is checked until stop.
type checked struct {
	server *BackendServer
	stop   context.CancelFunc
}

// left is a server that has left, as the last generation knows it that had it.
type left struct {
	*BackendServer
	backend *Backend
	index   balance.Index
}

// ended reports whether nobody has a connection to the server any more.
func (g *left) ended() bool {
	q := g.backend.Limit
	return g.backend.Group.InFlight(g.index) == 0 && (q == nil || q.forget(g.BackendServer))
}

// newMembers prepares the plan's backends, before any loop runs.
func newMembers(srv *Server) *members {
	m := &members{srv: srv, byName: make(map[resolve.Query][]*membership)}
	for _, b := range srv.plan.Backends {
		for _, s := range b.Servers {
			m.nextID = max(m.nextID, s.ID+1)
		}
		if b.Names == nil {
			continue
		}
		b.Names.latest.Store(b)
		ship := &membership{Names: b.Names, records: make(map[resolve.Query][]resolve.Record), checks: make(map[string]checked)}
		for _, q := range b.Names.Queries {
			m.byName[q] = append(m.byName[q], ship)
			if a, ok := b.Names.First[q]; ok {
				ship.records[q] = a.Records
			}
		}
	}
	return m
}

// watch has all names looked up until ctx ends, each once however many backends have it, and the servers checked that
// they come to.
func (m *members) watch(ctx context.Context) {
	m.ctx = ctx
	for q, ships := range m.byName {
		first := ships[0].First[q]
		failing := len(first.Records) == 0 // of which the start has told
		log := m.srv.log.With("name", q.String())
		m.srv.checks.Go(func() {
			m.srv.plan.Resolver.Watch(ctx, q, first, func(a resolve.Answer, err error) {
				problem := err
				if err == nil {
					m.update(q, a.Records)
					problem = a.Partial
				}
				switch {
				case problem != nil && !failing:
					log.Warn("a name cannot be resolved: what it was resolved to last stays in use", "reason", problem)
				case problem == nil && failing:
					log.Info("the name can be resolved")
				}
				failing = problem != nil
			})
		})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ship := range m.ships() {
		b := ship.latest.Load()
		m.check(ship, b)
		m.srv.watchEjectionsOf(ctx, b, func() { m.judge(ship) })
	}
}

// ships returns each backend with names once.
func (m *members) ships() (list []*membership) {
	for _, ships := range m.byName {
		for _, s := range ships {
			if !slices.Contains(list, s) {
				list = append(list, s)
			}
		}
	}
	return list
}

// update changes the backends that have a name to the records that it has now.
func (m *members) update(q resolve.Query, records []resolve.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ship := range m.byName[q] {
		if !slices.Equal(ship.records[q], records) {
			ship.records[q] = records
			m.change(ship)
		}
	}
}

// change gives a backend the servers that its names have come to. ARCHITECTURE.md has the order of it, and why.
func (m *members) change(ship *membership) {
	b := ship.latest.Load()
	log := m.srv.log.With("backend", b.Name)
	next := new(Backend)
	*next = *b
	var list []balance.Server
	next.Servers, list = ship.Names.Servers(ship.records)
	var err error
	if next.Group, err = b.Group.Follow(list, int64(clock())); err != nil {
		log.Error("the servers that its names have come to cannot be used; it stays as it is", "error", err)
		return
	}
	m.freeIDs()
	stay := make(map[int]bool)
	var joined []int                                 // by index
	joinedNames, leftNames := []string{}, []string{} // for the log, where none is a list too
	for k, s := range next.Servers {
		i, had := b.Group.Find(s.Name)
		if !had {
			joinedNames = append(joinedNames, s.Name)
		}
		switch {
		case b.Limit != nil:
			if m.recount(b.Limit, s) {
				stay[s.ID] = true
				continue
			}
		case had && b.Group.Shares(i, next.Group, balance.Index(k)) && s.connectsLike(b.Servers[i]):
			s.ID = b.Servers[i].ID
			stay[s.ID] = true
			continue
		default:
			s.ID = m.newID()
		}
		joined = append(joined, k)
	}
	var gone []left
	for i, s := range b.Servers {
		if stay[s.ID] {
			continue
		}
		gone = append(gone, left{s, b, balance.Index(i)})
		if _, has := next.Group.Find(s.Name); !has {
			leftNames = append(leftNames, s.Name)
		}
	}
	m.srv.onEachLoop(func(l *Loop) {
		for _, k := range joined {
			l.join(next, k)
		}
	})
	if next.Limit != nil {
		next.Limit.follow(next)
	}
	ship.latest.Store(next)
	m.srv.onEachLoop(func(l *Loop) {
		for _, g := range gone {
			l.part(g.ID)
		}
	})
	b.Group.Leave(next.Group, int64(clock()))
	if next.Limit != nil {
		next.Limit.Kick(-1, int64(clock())) // for those who joined, and those who wait for one that has left
	}
	m.gone = append(m.gone, gone...)
	m.check(ship, next)
	log.Info("the servers have changed with their names", "joined", joinedNames, "left", leftNames, "servers", len(next.Servers))
}

// recount gives a server of a backend with a limit its ID and its slot, and reports whether it has had them in the generation
// before. One that comes back before the last connection to it has ended has those that it had, so that they count.
func (m *members) recount(q *Limit, s *BackendServer) (stays bool) {
	had, in := q.find(s)
	if had == nil {
		s.ID = m.newID()
		q.count(s)
		return false
	}
	s.ID, s.slot = had.ID, had.slot
	m.gone = slices.DeleteFunc(m.gone, func(g left) bool { return g.ID == s.ID })
	return in
}

// connectsLike reports whether connections to two servers of one address are made in the same way, and counted by the same
// bound. They may not be when the address has come from one entry of the configuration to another.
func (b *BackendServer) connectsLike(other *BackendServer) bool {
	return b.SendProxy == other.SendProxy && b.SendProxyTLV == other.SendProxyTLV && b.Socket == other.Socket && b.Max == other.Max
}

// newID returns an ID that no server has, and no connection.
func (m *members) newID() int {
	if n := len(m.free); n > 0 {
		id := m.free[n-1]
		m.free = m.free[:n-1]
		return id
	}
	m.nextID++
	return m.nextID - 1
}

// freeIDs finds the servers that have left and ended what they had: nobody has a connection to them any more.
func (m *members) freeIDs() {
	m.gone = slices.DeleteFunc(m.gone, func(g left) bool {
		ended := g.ended()
		if ended {
			m.free = append(m.free, g.ID)
		}
		return ended
	})
}

// check has the servers of a backend checked, if that is asked for, and no others.
func (m *members) check(ship *membership, b *Backend) {
	if b.Health == nil {
		return
	}
	for name, c := range ship.checks {
		i, has := b.Group.Find(name)
		if has && b.Servers[i].connectsLike(c.server) {
			continue
		}
		c.stop()
		delete(ship.checks, name)
	}
	for _, s := range b.Servers {
		if _, has := ship.checks[s.Name]; has {
			continue
		}
		ctx, stop := context.WithCancel(m.ctx)
		ship.checks[s.Name] = checked{s, stop}
		m.srv.checkHealth(ctx, b, s, func(up bool) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if ctx.Err() != nil {
				return // it has left
			}
			g := ship.latest.Load().Group
			if i, ok := g.Find(s.Name); ok {
				g.SetUp(i, up, int64(clock()))
				if b.Limit != nil {
					b.Limit.Kick(-1, int64(clock()))
				}
			}
		})
	}
}

// judge has the servers judged that a backend has now, and keeps them from changing meanwhile.
func (m *members) judge(ship *membership) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.srv.judge(ship.latest.Load())
}

// checkHealth has a server checked until ctx ends.
func (srv *Server) checkHealth(ctx context.Context, b *Backend, s *BackendServer, setUp func(up bool)) {
	log := srv.log.With("backend", b.Name, "server", s.Name)
	srv.checks.Go(func() {
		server := health.Server{Address: s.Address, Path: s.Path, Preamble: s.localProxyHeader()}
		if s.Socket != nil && s.Path == "" {
			server.Control = s.Socket.control
		}
		b.Health.Watch(ctx, server, func(up bool, reason error) {
			setUp(up)
			if up {
				log.Info("health check: the server is up")
				return
			}
			log.Warn("health check: the server is down", "reason", reason)
		})
	})
}

// onEachLoop runs f on each loop's goroutine, and returns when all have run it. One that has ended does not.
func (srv *Server) onEachLoop(f func(*Loop)) {
	ran := make([]chan struct{}, len(srv.loops))
	for i, l := range srv.loops {
		ran[i] = make(chan struct{})
		l.post(func() {
			f(l)
			close(ran[i])
		})
	}
	for i, l := range srv.loops {
		select {
		case <-ran[i]:
		case <-l.gone:
		}
	}
}
