package pool

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The model of a backend: loops with pools, requests, and servers that count what they see.

type testPlace = Place[*asker, *testConn]

// testConn is a connection. Somebody has it at any moment: a request, a pool, or a letter.
type testConn struct{ server int }

// asker is a request.
type asker struct {
	id      int
	loop    int
	tried   []int
	place   *testPlace
	permit  Permit
	server  int
	conn    *testConn
	picked  bool   // Choose has taken server
	patient bool   // it waits as well when no server is up
	state   string // "waits", "has" (a permit or a connection), "refused", "again", "dropped", "nowhere", "left"
}

// backendModel drives a limiter as loops would.
type backendModel struct {
	t       failer
	l       *Limiter[*asker, *testConn]
	max     []int
	loops   int
	up      []bool
	full    []bool
	idle    [][][]*testConn // by loop and server
	conns   map[*testConn]bool
	poked   []bool
	askers  []*asker
	now     int64
	locked  bool
	waiting int
	letIn   []int // ids in the order in which those who waited for any server were let in
	handed  int
	taken   map[*asker]int // servers that Choose has taken, and that nobody has given back
	dropped int
	patient bool // who arrives is
}

type failer interface {
	Helper()
	Fatalf(string, ...any)
}

func newBackendModel(t failer, loops, queue int, adaptive bool, most ...int) *backendModel {
	m := &backendModel{t: t, loops: loops, conns: map[*testConn]bool{}, taken: map[*asker]int{}, poked: make([]bool, loops)}
	m.idle = make([][][]*testConn, loops)
	m.l = NewLimiter[*asker, *testConn](Bounds{Loops: loops, Queue: queue, Adaptive: adaptive}, m)
	for _, n := range most {
		m.join(n)
	}
	return m
}

// join adds a server: in the place of one that nobody has a connection to, or waits for, if there is one that is down.
func (m *backendModel) join(most int) {
	for i, up := range m.up {
		if open, _ := m.l.Connections(i); !up && open == 0 {
			m.l.SetMax(i, most)
			m.max[i], m.up[i] = most, true
			m.l.Kick(-1, m.now)
			return
		}
	}
	m.l.SetMax(len(m.max), most)
	m.max, m.up, m.full = append(m.max, most), append(m.up, true), append(m.full, false)
	for loop := range m.idle {
		m.idle[loop] = append(m.idle[loop], nil)
	}
	m.l.Kick(-1, m.now)
}

func (m *backendModel) Choose(a *asker, _ int64) (int, Choice) {
	i, c := m.choose(a)
	if c == Chosen {
		m.taken[a]++
	}
	return i, c
}

func (m *backendModel) choose(a *asker) (int, Choice) {
	any := false
	for i := range m.max {
		if !m.up[i] || slices.Contains(a.tried, i) {
			continue
		}
		any = true
		if !m.full[i] {
			return i, Chosen
		}
	}
	switch {
	case !any:
		return 0, Nobody
	case len(a.tried) > 0:
		return 0, BusyForIt
	}
	return 0, Busy
}

// Lock and Unlock hold that the lock is taken in turns, and Poke that it is not held then.
func (m *backendModel) Lock() {
	if m.locked {
		m.t.Fatalf("locked twice")
	}
	m.locked = true
}

func (m *backendModel) Unlock() {
	if !m.locked {
		m.t.Fatalf("unlocked twice")
	}
	m.locked = false
}

func (m *backendModel) SetWaiting(n int) { m.waiting = n }

func (m *backendModel) Usable(server int, _ int64) bool { return m.up[server] }

func (m *backendModel) SetFull(server int, full bool) {
	if m.full[server] == full {
		m.t.Fatalf("server %d is said to be full: %v, again", server, full)
	}
	m.full[server] = full
}

func (m *backendModel) Poke(loop, _ int) {
	if m.locked {
		m.t.Fatalf("loop %d is poked under the lock", loop)
	}
	m.poked[loop] = true
}

// ask is a request that arrives, or that comes again. bound is a server, or AnyServer.
func (m *backendModel) ask(a *asker, bound int, fresh bool) {
	if a.place == nil {
		a.place = &testPlace{Who: a}
	}
	p := a.place
	if a.patient {
		a.tried = nil // it waits for any that comes back
	}
	if bound == AnyServer {
		i, c := m.choose(a)
		if c == Chosen {
			if permit := m.l.Enter(a.loop, i, fresh, p); permit != NoPermit {
				m.enter(a, i, permit)
				return
			}
			m.t.Fatalf("server %d has room for nobody", i)
		}
	} else if permit := m.l.Enter(a.loop, bound, fresh, p); permit != NoPermit {
		m.enter(a, bound, permit)
		return
	}
	p.Loop, p.Server, p.Fresh, p.Patient = a.loop, bound, fresh, a.patient && bound == AnyServer
	switch v, server, permit := m.l.Wait(p, m.now); v {
	case Granted:
		a.picked = bound == AnyServer
		m.enter(a, server, permit)
	case Queued:
		a.state = "waits"
	case Refused:
		a.state = "refused"
	case Nowhere:
		a.state = "nowhere"
	case Again:
		a.state = "again"
	}
}

func (m *backendModel) arrive(loop, bound int, fresh bool, tried ...int) *asker {
	a := &asker{id: len(m.askers), loop: loop, tried: tried, patient: m.patient}
	m.askers = append(m.askers, a)
	m.ask(a, bound, fresh)
	return a
}

// enter has a request use its permit.
func (m *backendModel) enter(a *asker, server int, permit Permit) {
	a.server, a.permit = server, permit
	a.state = "has"
	switch permit {
	case Coming:
		a.state = "waits"
	case Idle:
		if list := m.idle[a.loop][server]; len(list) > 0 {
			a.conn = list[len(list)-1]
			m.idle[a.loop][server] = list[:len(list)-1]
			return
		}
		m.l.Missing(a.loop, server) // it was closed meanwhile
		m.open(a)
	case Dial:
		m.open(a)
	}
}

func (m *backendModel) open(a *asker) {
	a.conn = &testConn{a.server}
	m.conns[a.conn] = true
	n := 0
	for c := range m.conns {
		if c.server == a.server {
			n++
		}
	}
	if most := m.max[a.server]; most > 0 && n > most {
		m.t.Fatalf("server %d has %d connections, %d are allowed", a.server, n, most)
	}
}

// giveBack is for the server that Choose has taken for a request.
func (m *backendModel) giveBack(a *asker) {
	if a.picked {
		m.taken[a]--
		a.picked = false
	}
}

// finish is the end of a request that has a connection.
func (m *backendModel) finish(a *asker, keep bool) {
	c := a.conn
	a.conn, a.state = nil, "left"
	m.giveBack(a)
	if keep {
		m.idle[a.loop][c.server] = append(m.idle[a.loop][c.server], c)
		m.l.Keep(a.loop, c.server, m.now)
		return
	}
	delete(m.conns, c)
	m.l.Drop(a.loop, c.server, m.now)
}

// closeIdle is a server that closes a connection in a loop's pool.
func (m *backendModel) closeIdle(loop, server int) {
	list := m.idle[loop][server]
	if len(list) == 0 {
		return
	}
	c := list[0]
	m.idle[loop][server] = list[1:]
	taken := m.l.TakeIdle(loop, server)
	delete(m.conns, c)
	if taken {
		m.l.Drop(loop, server, m.now)
	}
}

// look is a loop that looks at its mail.
func (m *backendModel) look(loop int) {
	m.poked[loop] = false
	letters, claims := m.l.Mail(loop, m.now, nil, nil)
	for _, letter := range letters {
		if letter.News == Unwanted {
			m.idle[loop][letter.Server] = append(m.idle[loop][letter.Server], letter.Conn)
			continue
		}
		a := letter.Place.Who
		if a.state != "waits" || a.loop != loop {
			m.t.Fatalf("loop %d has a letter for request %d of loop %d, which %s", loop, a.id, a.loop, a.state)
		}
		switch letter.News {
		case ChooseAgain:
			a.state = "again"
		case Dropped:
			a.state = "dropped"
			m.dropped++
		case LetIn:
			m.letIn = append(m.letIn, a.id)
			a.picked = m.taken[a] > 0
			if letter.Place.Permit == Handed {
				a.server, a.conn, a.state = letter.Server, letter.Conn, "has"
				m.handed++
				continue
			}
			m.enter(a, letter.Place.Server, letter.Place.Permit)
		}
	}
	for _, c := range claims {
		list := m.idle[loop][c.Server]
		if len(list) == 0 {
			m.l.Missing(loop, c.Server)
			m.l.Hand(loop, c, nil, false, m.now)
			continue
		}
		conn := list[len(list)-1]
		m.idle[loop][c.Server] = list[:len(list)-1]
		if c.Fresh {
			delete(m.conns, conn)
			m.l.Hand(loop, c, nil, false, m.now)
			continue
		}
		if !m.l.Hand(loop, c, conn, true, m.now) {
			m.idle[loop][c.Server] = append(m.idle[loop][c.Server], conn)
		}
	}
}

// lookAll has all loops look until nobody has mail.
func (m *backendModel) lookAll() {
	for i := 0; slices.Contains(m.poked, true); i = (i + 1) % m.loops {
		if m.poked[i] {
			m.look(i)
		}
	}
}

// leave is a client that leaves.
func (m *backendModel) leave(a *asker) {
	if a.state != "waits" {
		return
	}
	a.state = "left"
	if _, chosen := m.l.Leave(a.place, m.now); chosen {
		m.taken[a]--
	}
	m.giveBack(a)
}

// check holds the limiter against what can be seen.
func (m *backendModel) check() {
	m.t.Helper()
	for i, most := range m.max {
		open, idle := m.l.Connections(i)
		seen := 0
		for c := range m.conns {
			if c.server == i {
				seen++
			}
		}
		if seen > open || most > 0 && open > most || idle > open {
			m.t.Fatalf("server %d: %d connections are open, %d are counted, %d of them idle, %d are allowed", i, seen, open, idle, most)
		}
		if hasRoom := most == 0 || open < most || idle > 0; hasRoom == m.full[i] {
			m.t.Fatalf("server %d has %d of %d connections and %d idle; full: %v", i, open, most, idle, m.full[i])
		}
		for p := m.l.servers[i].own.first; p != nil; p = p.ends[byServer].newer {
			if !m.full[i] && m.up[i] {
				m.t.Fatalf("request %d waits for server %d, which has room", p.Who.id, i)
			}
		}
	}
	for p := m.l.any.first; p != nil; p = p.ends[byServer].newer {
		if i, c := m.choose(p.Who); c == Chosen {
			m.t.Fatalf("request %d waits, and server %d has room", p.Who.id, i)
		}
	}
}

// end has everybody leave, and checks that nothing is left.
func (m *backendModel) end() {
	m.t.Helper()
	for _, a := range m.askers {
		m.leave(a)
		if a.conn != nil {
			m.finish(a, false)
		}
	}
	for {
		m.lookAll()
		for loop := range m.loops {
			for i := range m.max {
				for len(m.idle[loop][i]) > 0 {
					m.closeIdle(loop, i)
				}
			}
		}
		if !slices.Contains(m.poked, true) {
			break
		}
	}
	for i := range m.max {
		if open, idle := m.l.Connections(i); open != 0 || idle != 0 {
			m.t.Fatalf("server %d is left with %d connections, %d idle", i, open, idle)
		}
	}
	for a, n := range m.taken {
		if n != 0 {
			m.t.Fatalf("%d servers have been chosen for request %d and not been given back", n, a.id)
		}
	}
	if n := m.waiting; n != 0 || len(m.conns) != 0 {
		m.t.Fatalf("%d wait, %d connections are left", n, len(m.conns))
	}
}

func TestLimiterAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loops := rapid.IntRange(1, 4).Draw(t, "loops")
		servers := rapid.IntRange(1, 3).Draw(t, "servers")
		var most []int
		for range servers {
			most = append(most, rapid.IntRange(0, 3).Draw(t, "max"))
		}
		m := newBackendModel(t, loops, rapid.IntRange(0, 6).Draw(t, "queue"), rapid.Bool().Draw(t, "adaptive"), most...)
		anyLoop := func() int { return rapid.IntRange(0, loops-1).Draw(t, "loop") }
		anyServer := func() int { return rapid.IntRange(0, len(m.max)-1).Draw(t, "server") }
		pick := func(state string) *asker {
			var list []*asker
			for _, a := range m.askers {
				if a.state == state {
					list = append(list, a)
				}
			}
			if len(list) == 0 {
				return nil
			}
			return rapid.SampledFrom(list).Draw(t, state)
		}
		t.Repeat(map[string]func(*rapid.T){
			"arrive": func(t *rapid.T) {
				var tried []int
				if rapid.IntRange(0, 4).Draw(t, "has tried") == 0 {
					tried = []int{anyServer()}
				}
				m.arrive(anyLoop(), AnyServer, rapid.IntRange(0, 4).Draw(t, "fresh") == 0, tried...)
			},
			"arrive with patience": func(t *rapid.T) {
				m.patient = true
				m.arrive(anyLoop(), AnyServer, false)
				m.patient = false
			},
			"arrive for one": func(t *rapid.T) {
				if i := anyServer(); m.up[i] {
					m.arrive(anyLoop(), i, rapid.IntRange(0, 4).Draw(t, "fresh") == 0)
				}
			},
			"finish": func(t *rapid.T) {
				if a := pick("has"); a != nil {
					m.finish(a, rapid.IntRange(0, 3).Draw(t, "keep") > 0)
				}
			},
			"fail and come again": func(t *rapid.T) {
				if a := pick("has"); a != nil {
					a.tried = append(a.tried, a.server)
					m.finish(a, false)
					m.ask(a, AnyServer, rapid.Bool().Draw(t, "fresh"))
				}
			},
			"choose again": func(t *rapid.T) {
				if a := pick("again"); a != nil {
					m.ask(a, AnyServer, false)
				}
			},
			"give up": func(t *rapid.T) {
				// It is let in, and its client is gone.
				a := &asker{id: -1, loop: anyLoop()}
				i := anyServer()
				switch m.l.Enter(a.loop, i, false, nil) {
				case Idle:
					m.l.Keep(a.loop, i, m.now)
				case Dial:
					m.l.Drop(a.loop, i, m.now)
				}
			},
			"look":       func(t *rapid.T) { m.look(anyLoop()) },
			"leave":      func(t *rapid.T) { leaveIf(m, pick("waits")) },
			"close idle": func(t *rapid.T) { m.closeIdle(anyLoop(), anyServer()) },
			"open ahead": func(t *rapid.T) {
				loop, i := anyLoop(), anyServer()
				if m.l.Open(loop, i) {
					a := &asker{id: -1, loop: loop, server: i}
					m.open(a)
					m.finish(a, rapid.Bool().Draw(t, "made"))
				}
			},
			"up or down": func(t *rapid.T) {
				i := anyServer()
				m.up[i] = !m.up[i]
				m.l.Kick(-1, m.now)
			},
			"join": func(t *rapid.T) {
				if most := rapid.IntRange(0, 3).Draw(t, "max of another"); len(m.max) < 6 {
					m.join(most)
				}
			},
			"time": func(t *rapid.T) { m.now += rapid.Int64Range(0, 2*interval).Draw(t, "ns") },
			"":     func(*rapid.T) { m.check() },
		})
		m.end()
	})
}

func leaveIf(m *backendModel, a *asker) {
	if a != nil {
		m.leave(a)
	}
}

func TestFirstComeFirstServedOverAllLoops(t *testing.T) {
	m := newBackendModel(t, 3, 100, false, 2)
	a, b := m.arrive(0, AnyServer, false), m.arrive(1, AnyServer, false)
	var waiting []*asker
	for i := range 9 {
		waiting = append(waiting, m.arrive((i*2)%3, AnyServer, false))
	}
	m.leave(waiting[3])
	for _, a := range []*asker{a, b} {
		m.finish(a, true)
		m.lookAll()
	}
	for range 20 {
		for _, a := range m.askers {
			if a.conn != nil {
				m.finish(a, true)
				m.lookAll()
				break
			}
		}
	}
	if got := fmt.Sprint(m.letIn); got != "[2 3 4 6 7 8 9 10]" {
		t.Errorf("let in: %s", got)
	}
	if len(m.conns) != 2 {
		t.Errorf("%d connections have been made", len(m.conns))
	}
	m.end()
}

func TestWhoComesAgainKeepsItsTurn(t *testing.T) {
	m := newBackendModel(t, 1, 100, false, 1, 1)
	first, second := m.arrive(0, AnyServer, false), m.arrive(0, AnyServer, false)
	waits := m.arrive(0, AnyServer, false)
	m.arrive(0, AnyServer, false)
	m.finish(first, true)
	m.lookAll()
	// What it has got fails, and the other server is full.
	waits.tried = []int{waits.server}
	m.finish(waits, false)
	m.ask(waits, AnyServer, false)
	m.lookAll()
	if waits.state != "waits" {
		t.Fatalf("it %s", waits.state)
	}
	late := m.arrive(0, AnyServer, false)
	m.finish(second, true)
	m.lookAll()
	if waits.state != "has" || late.state != "waits" {
		t.Errorf("who came again %s, who came late %s", waits.state, late.state)
	}
	m.end()
}

func TestWhoWaitsForAServerThatGoesDownChoosesAgain(t *testing.T) {
	m := newBackendModel(t, 2, 100, false, 1, 1)
	has := m.arrive(0, 0, false)
	other := m.arrive(0, 1, false)
	bound, any := m.arrive(1, 0, false), m.arrive(1, AnyServer, false)
	m.up[0] = false
	m.finish(has, false)
	m.lookAll()
	if bound.state != "again" || any.state != "waits" {
		t.Errorf("who waits for it: %s, who waits for any: %s", bound.state, any.state)
	}
	m.up[1] = false
	m.finish(other, false)
	m.lookAll()
	if any.state != "again" {
		t.Errorf("who waits with no server left: %s", any.state)
	}
	m.end()
}

func TestAnIdleConnectionIsHandedOver(t *testing.T) {
	m := newBackendModel(t, 8, 0, false, 1)
	for i := range 80 {
		a := m.arrive(i%8, AnyServer, false)
		m.lookAll()
		if a.state != "has" {
			t.Fatalf("request %d: %s", i, a.state)
		}
		m.finish(a, true)
	}
	if len(m.conns) != 1 || m.handed != 79 {
		t.Errorf("%d connections, handed over %d times", len(m.conns), m.handed)
	}
	m.end()
}

func TestAFullQueueRefuses(t *testing.T) {
	for _, adaptive := range []bool{false, true} {
		m := newBackendModel(t, 1, 1, adaptive, 1)
		m.arrive(0, AnyServer, false)
		waits := m.arrive(0, AnyServer, false)
		if a := m.arrive(0, AnyServer, false); a.state != "refused" {
			t.Errorf("adaptive %v: one too many %s", adaptive, a.state)
		}
		m.now += 2 * interval
		late := m.arrive(0, AnyServer, false)
		m.lookAll()
		if got, want := waits.state+" "+late.state, map[bool]string{false: "waits refused", true: "dropped waits"}[adaptive]; got != want {
			t.Errorf("adaptive %v: when the queue stands: %s, want %s", adaptive, got, want)
		}
		m.end()
	}
}

// overload lets requests arrive at twice the rate that a server can answer, and returns the part of its capacity that is
// answered within a second, from the tenth second on. Time is a number here.
func overload(t *testing.T, adaptive bool) float64 {
	const (
		slots   = 20
		service = int64(100e6)  // so 200 a second
		between = int64(2500e3) // and 400
		patient = int64(1e9)
		seconds = 30
		timeout = int64(10e9)
	)
	m := newBackendModel(t, 4, 1000, adaptive, slots)
	arrived := map[*asker]int64{}
	var busy, waiting []*asker // by their end, by their arrival
	ends := map[*asker]int64{}
	good := 0
	for tick := int64(0); tick < seconds*1e9/between; tick++ {
		m.now = tick * between
		for len(busy) > 0 && ends[busy[0]] <= m.now {
			a := busy[0]
			busy = busy[1:]
			if arrived[a] > 10e9 && ends[a]-arrived[a] <= patient {
				good++
			}
			m.finish(a, true)
		}
		for len(waiting) > 0 && m.now-arrived[waiting[0]] >= timeout {
			m.leave(waiting[0])
			waiting = waiting[1:]
		}
		m.lookAll()
		a := m.arrive(int(tick)%4, AnyServer, false)
		arrived[a] = m.now
		waiting = append(waiting, a)
		m.lookAll()
		waiting = slices.DeleteFunc(waiting, func(a *asker) bool {
			if a.state == "has" {
				ends[a] = m.now + service
				busy = append(busy, a)
			}
			return a.state != "waits"
		})
	}
	m.check()
	m.end()
	return float64(good) / (200 * (seconds - 10))
}

func TestUnderOverloadTheAdaptiveOrderAnswersInTime(t *testing.T) {
	first, adaptive := overload(t, false), overload(t, true)
	t.Logf("answered within a second: %.1f %% of capacity first come first served, %.1f %% adaptive", 100*first, 100*adaptive)
	if adaptive < 0.95 {
		t.Errorf("adaptive: only %.3f of the capacity is answered within a second", adaptive)
	}
	if first > 0.05 {
		t.Errorf("first come first served answers %.3f of the capacity within a second: what is adaptive good for?", first)
	}
}

func TestWhoIsDroppedForSomebodyElseIsNotLetIn(t *testing.T) {
	m := newBackendModel(t, 1, 100, true, 1, 1)
	m.up[1] = false
	has := m.arrive(0, 0, false)
	oldest, bound := m.arrive(0, AnyServer, false), m.arrive(0, 0, false)
	m.now += 2 * interval
	m.up[1] = true // its rest ends, which nobody tells
	m.finish(has, true)
	m.lookAll()
	if bound.state != "has" || oldest.state != "dropped" {
		t.Errorf("who waits for the server %s, who has waited longest %s", bound.state, oldest.state)
	}
	m.end()
}

func TestWhoWaitsForThereBeingAServer(t *testing.T) {
	m := newBackendModel(t, 2, 2, false, 1)
	m.up[0] = false
	if a := m.arrive(0, AnyServer, false); a.state != "nowhere" {
		t.Errorf("without patience: %s", a.state)
	}
	m.patient = true
	first, second, third := m.arrive(0, AnyServer, false), m.arrive(1, AnyServer, false), m.arrive(1, AnyServer, false)
	m.l.Kick(-1, m.now) // for somebody else's sake
	m.lookAll()
	if got := first.state + " " + second.state + " " + third.state; got != "waits waits refused" {
		t.Fatalf("with nobody there: %s", got)
	}
	m.up[0] = true
	m.l.Kick(-1, m.now)
	m.lookAll()
	// There is room for one. The other one waits for room now, as who arrives does.
	if got := first.state + " " + second.state; got != "has again" {
		t.Errorf("with a server: %s", got)
	}
	if a := m.arrive(0, AnyServer, false); a.state != "again" {
		t.Errorf("behind that: %s", a.state)
	}
	m.end()
}
