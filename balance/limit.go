package balance

// Limits on the requests of a server are its caller's to count: see Options.Limited. What the group knows of them is who
// is full.

// SetFull says that a server cannot take any more requests for now, or can again. It is for groups with
// Options.Limited. Of the algorithms that go by a key it is not heeded: a key's requests are for its server, and wait.
func (g *Group) SetFull(i Index, full bool) {
	s := &g.servers[i]
	s.full.Store(full)
	s.changed()
}

// AddFull adds the servers to t that are full, so that Pick passes over them, whatever it goes by.
func (g *Group) AddFull(t *Tried) {
	for i := range g.servers {
		if g.servers[i].full.Load() {
			t.Add(Index(i))
		}
	}
}

// Keyed reports whether the group goes by the key of a request.
func (g *Group) Keyed() bool { return g.keyed }

// Enabled reports whether there are servers that may be picked when they are up.
func (g *Group) Enabled() bool { return g.enabled > 0 }

// Rests reports whether a server that cannot be connected to is left alone for a time, also when there is no other.
func (g *Group) Rests() bool { return g.disable > 0 && !g.force }

// Up reports whether there is a server that neither rests nor is ejected, full or not.
func (g *Group) Up(now int64) bool { return g.anyUp(&look{now: now}) }

// Busy reports whether there is a server that could be picked if it were not full: whoever Pick has nothing for can wait
// for it.
func (g *Group) Busy(now int64, tried *Tried) bool {
	if g.anyUp(&look{now: now, tried: tried}) {
		return true
	}
	if g.eject != nil {
		for i := range Index(len(g.servers)) {
			if g.standsIn(i, tried) {
				return true
			}
		}
	}
	return false
}

// WorthWaiting reports whether who waits for a server should go on doing so: it does not rest, or is ejected and there is no
// other.
func (g *Group) WorthWaiting(i Index, now int64) bool {
	rest := g.servers[i].rest.Load()
	return !resting(rest, now) || g.eject.serves(i, rest) && !g.anyUp(&look{now: now})
}

// anyUp reports whether there is a server that neither rests nor has been tried.
func (g *Group) anyUp(l *look) bool {
	for t := range g.tiers {
		if g.anyUsable(t, l) {
			return true
		}
	}
	return false
}

// anyUsable reports whether a tier has a server that neither rests nor has been tried. Spares count: one that does not
// stand in for another has that other for company.
func (g *Group) anyUsable(t int, l *look) bool {
	for _, i := range g.tiers[t].servers {
		if g.usable(i, l) {
			return true
		}
	}
	return false
}

// NextUp returns the earliest time after now at which a server's rest ends, if any rests that is in service.
func (g *Group) NextUp(now int64) (at int64, ok bool) {
	for i := range g.servers {
		rest := g.servers[i].rest.Load()
		if rest == outOfService || !resting(rest, now) {
			continue
		}
		if end := rest >> 1; !ok || end < at {
			at, ok = end, true
		}
	}
	return at, ok
}
