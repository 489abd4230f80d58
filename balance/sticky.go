package balance

import "fmt"

// A session is a number of requests of one client that are for the same server, since that server remembers something
// of them. What a request has to say about its session is the caller's to find. Here it is a name: that of a route,
// which the user has given to a server or to several that share their sessions, or the token of one server.

// sessions knows which servers a name stands for. It is made from the servers, and immutable.
type sessions struct {
	// byRoute and byToken hold the servers of a name in the order in which they are asked: those that bear it, each
	// followed by those of its redirect. No server is there twice.
	byRoute, byToken map[string][]Index
	// charge takes a turn from a server that a session has had instead; nil where the algorithm sees that for itself.
	charge func(g *Group, s *server)
}

// makeSessions finds the servers of each name. It is called when the algorithm has been made.
func (g *Group) makeSessions(servers []Server) error {
	bearers := make(map[string][]Index)
	tokens := false
	// Of the bearers of a route the standbys are asked last.
	for _, standby := range []Status{0, Standby} {
		for i, s := range servers {
			if s.Route != "" && s.Status&Standby == standby {
				bearers[s.Route] = append(bearers[s.Route], Index(i))
			}
			tokens = tokens || s.Token != ""
		}
	}
	if len(bearers) == 0 && !tokens {
		return nil
	}
	order := func(first []Index) []Index {
		var list []Index
		seen := make([]bool, len(servers))
		var ask func(bearers []Index)
		ask = func(of []Index) {
			for _, i := range of {
				if !seen[i] {
					seen[i] = true
					list = append(list, i)
					ask(bearers[servers[i].Redirect])
				}
			}
		}
		ask(first)
		return list
	}
	k := &sessions{byRoute: make(map[string][]Index), byToken: make(map[string][]Index)}
	for route, first := range bearers {
		k.byRoute[route] = order(first)
	}
	for i, s := range servers {
		if s.Token == "" {
			continue
		}
		if _, taken := k.byToken[s.Token]; taken {
			return fmt.Errorf("server %s: its token is that of another server", s.Name)
		}
		k.byToken[s.Token] = order([]Index{Index(i)})
	}
	if c, ok := g.algorithm.(charger); ok {
		k.charge = c.charge
		g.plain = nil // it does not know of charges
	}
	g.sessions = k
	return nil
}

// charger is an algorithm that would not notice the requests that it has not placed itself.
type charger interface{ charge(g *Group, s *server) }

// ByRoute returns the servers for the sessions of a route, in the order in which they are asked: those that bear it,
// standbys last, each followed by those that it redirects to. There are none if no server bears it.
func (g *Group) ByRoute(route []byte) []Index {
	if g.sessions == nil || len(route) == 0 {
		return nil
	}
	return g.sessions.byRoute[string(route)]
}

// ByToken returns the servers for the sessions of the server that has a token: that one, followed by those that it
// redirects to. There are none if no server has the token.
func (g *Group) ByToken(token []byte) []Index {
	if g.sessions == nil || len(token) == 0 {
		return nil
	}
	return g.sessions.byToken[string(token)]
}

// PickOf is Pick for a request whose session is on one of certain servers, as ByRoute and ByToken return them. It takes
// the first that may serve its sessions: unlike with Pick, a draining server may, and so may standbys, spares and
// servers of any set, whoever else is up.
func (g *Group) PickOf(servers []Index, now int64, tried *Tried) (Index, bool) {
	i, ok := g.takeOf(servers, now, tried)
	if !ok && g.force && g.wake() {
		return g.takeOf(servers, now, tried)
	}
	return i, ok
}

func (g *Group) takeOf(servers []Index, now int64, tried *Tried) (Index, bool) {
	for _, i := range servers {
		s := &g.servers[i]
		if s.status&(Disabled|Stopped) != 0 || tried.Has(i) || !g.take(i, now) {
			continue
		}
		if u := g.units; u != nil {
			u.count(u.of[i])
		}
		if s.tier >= 0 {
			if g.factor > 0 {
				g.tiers[s.tier].inFlight.Add(1)
			}
			if g.sessions.charge != nil {
				g.sessions.charge(g, s)
			}
		}
		return i, true
	}
	return 0, false
}

// maxCharge bounds the turns that a server can owe. Without a bound, one with many old sessions would get no new ones
// for as long as they last, and who picks would have to look at any number of turns.
const maxCharge = 64

// charge has a server owe the turn that a session has had out of order.
func (*roundRobin) charge(_ *Group, s *server) {
	if s.spent.Load() < maxCharge {
		s.spent.Add(1)
	}
}

// pays reports whether a server gives its turn away, since it owes one.
func (s *server) pays() bool {
	for owed := s.spent.Load(); owed > 0; owed = s.spent.Load() {
		if s.spent.CompareAndSwap(owed, owed-1) {
			return true
		}
	}
	return false
}

// charge counts a request, or the bytes that are expected of it: what they are comes by Traffic, whoever has picked the
// server.
func (a account) charge(g *Group, s *server) {
	n := int64(1)
	if !a.busy {
		if n = g.size.average.Load(); n == 0 {
			return // none has ended yet
		}
		s.expected.Add(uint64(n))
	}
	s.spent.Add(n)
	s.changed()
}
