package loop

// renew has the exchange go on with the latest generation of its backend.
func (x *exchange) renew() {
	b := x.backend.Names.latest.Load()
	if b == nil || b == x.backend { // nil: the plan is only explained
		return
	}
	x.follow(b)
	if x.attempts > 0 {
		x.target, _ = b.Group.Find(x.server.Name) // -1, which is no server, if it has left
	}
}

// follow has the exchange go on with another generation of its backend: what it knows of servers by index becomes what it
// knows of the same servers there.
func (x *exchange) follow(b *Backend) {
	x.tried.Carry(x.backend.Group, b.Group)
	x.inCookie = 0
	x.backend = b
}

// generation returns the latest generation of a backend.
func (b *Backend) generation() *Backend {
	if b.Names != nil {
		if latest := b.Names.latest.Load(); latest != nil { // else the plan is only explained
			return latest
		}
	}
	return b
}

// join makes a server of a backend one that the loop can dial.
func (l *Loop) join(b *Backend, index int) {
	s := b.Servers[index]
	if s.ID >= len(l.targets) {
		l.targets = append(l.targets, make([]target, s.ID+1-len(l.targets))...)
	}
	sa, family := sockaddr(s.Address, s.Path)
	l.targets[s.ID] = target{BackendServer: s, backend: b, sockaddr: sa, family: family}
}

// part closes the loop's idle connections to a server that has left, and those that were being made for min_idle, and has
// those that are in use closed when they are free.
func (l *Loop) part(server int) {
	l.targets[server].left = true
	for i := 0; i < len(l.ahead); {
		if c := l.ahead[i]; c.server == server {
			l.notMade(c) // it takes c's place
		} else {
			i++
		}
	}
	for {
		c, ok := l.idle.Get(server)
		if !ok {
			return
		}
		l.retire(c)
	}
}
