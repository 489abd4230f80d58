package loop

import (
	"syscall"
	"time"

	"millrace/balance"
)

// min_idle: each loop has its share of the connections that a server is to have ready. It looks at its pool once in
// aheadInterval and makes what is missing, beside whatever it does for clients. Requests know nothing of it: what they find
// in the pool may have been made for them.

// aheadInterval is how long a share may stay below what it should be, and how long after a failed attempt the next is
// made.
const aheadInterval = Time(500 * time.Millisecond)

// share is how many connections to a server a loop keeps ready. What does not divide goes to different loops for
// different servers, by their ID, which stays when the list of servers changes.
func (b *Backend) share(server, loop, loops int) int {
	n := b.MinIdle / loops
	if (loop+server)%loops < b.MinIdle%loops {
		n++
	}
	if b.IdleMax > 0 {
		n = min(n, b.IdleMax) // the pool would close the others
	}
	return n
}

// aheadMaker makes connections before anybody asks for them.
type aheadMaker Loop

func (m *aheadMaker) expire(now Time) {
	l := (*Loop)(m)
	if l.draining {
		return
	}
	// What has come of those of the last round is known, but for those that take too long.
	for i := 0; i < len(l.ahead); {
		c := l.ahead[i]
		if t := &l.targets[c.server]; now < c.born.after(t.backend.ConnectTimeout) {
			i++
			continue
		}
		l.notMade(c)
	}
	again := false
	for _, b := range l.plan.Backends {
		again = again || b.MinIdle > 0
		b := b.generation()
		for i := range b.Servers {
			l.makeAhead(b, i)
		}
	}
	if again {
		l.arm(&l.aheadTimer, now+aheadInterval)
	}
}

// makeAhead begins to make what a server lacks.
func (l *Loop) makeAhead(b *Backend, index int) {
	if b.Servers[index].private() {
		return // each is made for a client
	}
	id := b.Servers[index].ID
	missing := b.share(id, l.id, len(l.srv.loops)) - l.idle.Count(id)
	for _, c := range l.ahead {
		if c.server == id {
			missing--
		}
	}
	for ; missing > 0 && !b.Group.Resting(balance.Index(index), int64(l.now)); missing-- {
		if b.Limit != nil && !b.Limit.Open(l.id, b.Servers[index].slot) {
			return // those that there are have more to do than to wait
		}
		c, errno := l.dial(id, nil)
		if errno != 0 {
			if b.Limit != nil {
				b.Limit.Drop(l.id, b.Servers[index].slot, int64(l.now))
			}
			return // the next round tries again
		}
		c.own, c.ahead = c, true
		l.ahead = append(l.ahead, c)
		if c.writable {
			l.madeAhead(c)
		}
	}
}

// madeAhead looks how the attempt to make a connection stands.
func (l *Loop) madeAhead(c *backendConn) {
	if !c.writable {
		return
	}
	switch errno := c.connected(); errno {
	case 0:
	case syscall.EALREADY:
		c.writable = false
		return
	default:
		l.notMade(c)
		return
	}
	l.forgetAhead(c)
	c.failing = false
	l.rest(c)
	if t := &l.targets[c.server]; t.backend.Limit != nil {
		t.backend.Limit.Keep(l.id, t.slot, int64(l.now))
	}
}

// notMade gives a connection up that has not been made. Nothing is said against the server: a request finds out.
func (l *Loop) notMade(c *backendConn) {
	t := &l.targets[c.server]
	l.forgetAhead(c)
	l.drop(c)
	if t.backend.Limit != nil {
		t.backend.Limit.Drop(l.id, t.slot, int64(l.now))
	}
}

func (l *Loop) forgetAhead(c *backendConn) {
	for i := range l.ahead {
		if l.ahead[i] == c {
			last := len(l.ahead) - 1
			l.ahead[i], l.ahead[last] = l.ahead[last], nil
			l.ahead = l.ahead[:last]
			c.ahead = false
			return
		}
	}
	panicf("loop: a connection to server %d is not one of those that are being made", c.server)
}

// dropAhead gives up all that are being made.
func (l *Loop) dropAhead() {
	for len(l.ahead) > 0 {
		l.notMade(l.ahead[0])
	}
}
