package loop

import (
	"math"
	"sync/atomic"
	"unsafe"

	"millrace/httpparse"
)

// memory is the account of what connections take: buffers, sessions, exchanges and tunnels, those in the loops' free lists
// included. It is written when memory is allocated or given to the collector, never when a free list serves, so an
// ordinary request does not touch it.
//
// Beside it there is what the runtime needs, which depends on how fast the collector is. That is why the budget is half
// of the limit: with as much garbage as there is in use, the process is still within it.
type memory struct {
	held   atomic.Int64
	budget int64
	said   atomic.Int64 // when a shortage was last said, as Time; 0: never
}

// noBudget is the budget of a process whose memory has no limit.
const noBudget = math.MaxInt64

// setLimit derives the budget from the process's limit in bytes; 0 is none.
func (m *memory) setLimit(limit int64) {
	m.budget = noBudget
	if limit > 0 {
		m.budget = limit / 2
	}
}

// short reports whether new connections are to wait. What is left is for the requests that are there already.
func (m *memory) short() bool { return m.held.Load() >= m.budget-m.budget/8 }

// exhausted reports whether new requests are to be refused.
func (m *memory) exhausted() bool { return m.held.Load() >= m.budget }

// spares reports whether free lists may keep what they are given. They must not fill the budget by themselves: then
// nobody would be served, although there is room.
func (m *memory) spares() bool { return m.held.Load() < m.budget/2 }

// account is a loop's side of it. What it finds out when the loop allocates it remembers, so that whoever allocates
// nothing, and so makes nothing worse, looks at no word that the loops share.
type account struct {
	*memory      // nil: nobody counts
	tight   bool // the budget was exhausted when this loop last looked
	lean    bool // free lists were to keep nothing when this loop last looked
}

// add notes that n bytes were allocated, or given up if n is negative.
func (a *account) add(n int) {
	if a.memory == nil {
		return
	}
	if held := a.held.Add(int64(n)); n > 0 && held >= a.budget/2 {
		a.lean = true
		a.tight = a.tight || held >= a.budget
	}
}

// keeps reports whether a free list may keep one more.
func (a *account) keeps() bool {
	if a.lean {
		a.lean = !a.spares()
	}
	return !a.lean
}

// stillTight looks again.
func (a *account) stillTight() bool {
	a.tight = a.exhausted()
	return a.tight
}

// leanRead is what one read of a body takes while memory is exhausted: what a slow reader leaves of it fits into the
// smallest buffer, with its framing.
const leanRead = 3 << 10

// readRoom is the part of the relay buffer that one read may fill.
func (l *Loop) readRoom() []byte {
	if l.bufs.account.tight && l.bufs.account.stillTight() {
		return l.relay[headRoom : headRoom+leanRead]
	}
	return l.relay[headRoom : headRoom+relayRead]
}

// The sizes of what is accounted for beside buffers.
const (
	sessionBytes = int(unsafe.Sizeof(session{}))
	tunnelBytes  = int(unsafe.Sizeof(tunnel{})) // and what it quotes
	fieldBytes   = int(unsafe.Sizeof(httpparse.Field{}))
)

// exchangeBytes is the size of an exchange for heads of a number of fields.
func exchangeBytes(fields int) int { return int(unsafe.Sizeof(exchange{})) + 2*fields*fieldBytes }

// outOfMemory notes that the budget has been reached, at most once in starvedQuiet.
func (srv *Server) outOfMemory(what string, now Time) {
	m := &srv.memory
	last := m.said.Load()
	if last != 0 && int64(now)-last < int64(starvedQuiet) || !m.said.CompareAndSwap(last, int64(now)) {
		return
	}
	srv.log.Warn("memory runs short: "+what, "held", m.held.Load(), "budget", m.budget, "connections", srv.conns.Load())
}

// refusesNew reports whether a new request has to be refused for want of memory.
func (l *Loop) refusesNew(now Time) bool {
	if !l.bufs.account.stillTight() {
		return false
	}
	l.srv.outOfMemory("new requests are refused", now)
	return true
}
