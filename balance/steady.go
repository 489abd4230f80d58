package balance

// Steady reports whether requests with a key all go to one server for as long as all servers are up and have
// nothing to do. Algorithms that spread requests give no such promise, nor do those that go by a key to requests
// without one.
func (g *Group) Steady(key uint64) bool {
	if g.enabled == 1 {
		return true
	}
	switch g.algorithm.(type) {
	case first:
		return true
	case *rendezvous, *maglev, *lighttpd:
		return key != NoKey
	}
	return false
}
