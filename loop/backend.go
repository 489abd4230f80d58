package loop

import (
	"syscall"

	"golang.org/x/sys/unix"

	"millrace/pool"
)

// backendConn is a connection to a server: in use by one session, or idle in the loop's pool.
type backendConn struct {
	endpoint
	l      *Loop
	server int         // BackendServer.ID
	idle   pool.Handle // where it is in the pool, while it is
	served int         // exchanges completed
	kept   bool        // it has been idle, and the server may have closed it for that
	born   Time        // when it was begun
	ahead  bool        // it is being made for nobody yet
	// private: it is made for one client, and never kept for another's requests.
	private bool
	in      buffer // read and not yet consumed: the part of a head or of a trailer section
}

// dial begins to connect to a server, for session s, or for nobody yet if that is nil. The connection is made when the first writable
// event says so.
func (l *Loop) dial(server int, s *session) (*backendConn, syscall.Errno) {
	t := &l.targets[server]
	fd, err := unix.Socket(t.family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err == unix.EMFILE || err == unix.ENFILE {
		// A connection that nobody uses makes room for one that somebody waits for.
		if s != nil && l.dropUnused(s) {
			fd, err = unix.Socket(t.family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		}
	}
	if err != nil {
		return nil, err.(syscall.Errno)
	}
	if t.family != unix.AF_UNIX {
		// A request body goes on in pieces as it comes: none of them may wait for an acknowledgement.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			sysClose(fd)
			return nil, err.(syscall.Errno)
		}
	}
	if t.Socket != nil {
		if errno := l.prepareSocket(fd, t, s); errno != 0 {
			sysClose(fd)
			return nil, errno
		}
	}
	err = unix.Connect(fd, t.sockaddr)
	if err != nil && err != unix.EINPROGRESS {
		sysClose(fd)
		return nil, err.(syscall.Errno)
	}
	c := l.spare.getConn()
	c.endpoint = endpoint{fd: fd, writable: err == nil}
	c.l, c.server, c.served, c.born = l, server, 0, l.now
	c.private = t.private()
	if err := l.register(&c.endpoint); err != nil {
		sysClose(fd)
		l.spare.putConn(c)
		return nil, syscall.ENOMEM
	}
	return c, 0
}

// connected asks the kernel how the connection attempt stands: 0 for made, EALREADY for still under way.
// A writable event does not tell: it comes with a failure too.
func (c *backendConn) connected() syscall.Errno {
	err := unix.Connect(c.fd, c.l.targets[c.server].sockaddr)
	switch err {
	case nil, unix.EISCONN:
		return 0
	case unix.EINPROGRESS:
		return syscall.EALREADY
	}
	return err.(syscall.Errno)
}

// keep puts an unused connection into the pool, where it is watched. One to a server that has left is closed, and false is
// returned.
func (l *Loop) keep(c *backendConn, limits pool.Limits) bool {
	if l.targets[c.server].left {
		l.drop(c)
		return false
	}
	c.served++
	l.pool(c, limits)
	return true
}

// pool is keep for a connection that has served nobody since it was last there.
func (l *Loop) pool(c *backendConn, limits pool.Limits) {
	c.own, c.kept = c, true
	h, evicted, full := l.idle.Put(c.server, c, int64(l.now), limits)
	c.idle = h
	if full {
		l.retire(evicted)
	}
	if at, ok := l.idle.NextExpiry(); ok {
		l.arm(&l.idleTimer, Time(at))
	}
}

// drop closes a connection that is in nobody's hands.
func (l *Loop) drop(c *backendConn) {
	l.bufs.release(&c.in)
	l.close(&c.endpoint)
	l.spare.putConn(c)
}

// ready is an event on an idle connection: the server closed it, or sent what nobody asked for. Either
// way nobody may get it any more.
func (c *backendConn) ready(*endpoint) {
	if c.ahead {
		c.l.madeAhead(c)
		return
	}
	if !c.readable || c.quiet() {
		return
	}
	c.l.idle.Remove(c.idle)
	c.l.retire(c)
}

// idleExpirer closes connections that were idle for longer than their backend's ttl.
type idleExpirer Loop

func (x *idleExpirer) expire(now Time) {
	l := (*Loop)(x)
	for {
		c, ok := l.idle.Expire(int64(now))
		if !ok {
			break
		}
		l.retire(c)
	}
	if at, ok := l.idle.NextExpiry(); ok {
		l.arm(&l.idleTimer, Time(at))
	}
}

// dropUnused closes one connection that serves nobody at the moment: the oldest idle one to a server, else
// the newest one of a client between two requests that came later than the one in need: who was there first
// is served on. It reports whether there was one.
func (l *Loop) dropUnused(s *session) bool {
	if c, ok := l.idle.Oldest(); ok {
		l.retire(c)
		return true
	}
	for other := l.sessions.prev; other != s; other = other.prev {
		if other.stage == stageHead && other.x == nil && other.in.len() == 0 && other.client.quiet() {
			other.close()
			return true
		}
	}
	return false
}

// dropIdle closes all idle connections.
func (l *Loop) dropIdle() {
	for {
		c, ok := l.idle.Oldest()
		if !ok {
			return
		}
		l.retire(c)
	}
}
