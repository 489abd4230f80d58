package loop

import "time"

// Reuse bounds for how long a connection to a server carries requests.
type Reuse struct {
	// MaxRequests is how many it carries; 0 is no limit. With 1 each request has a connection of its own.
	MaxRequests int
	// MaxAge is how long after it was begun it may still be given a request; 0 is no limit.
	MaxAge time.Duration
}

// last reports whether a connection carries its last request, so that the server is told to close it
// (RFC 9112, 9.6).
func (r *Reuse) last(c *backendConn) bool { return r.MaxRequests > 0 && c.served+1 >= r.MaxRequests }

// tooOld reports whether a connection is given no more requests for its age.
func (r *Reuse) tooOld(c *backendConn, now Time) bool {
	return r.MaxAge > 0 && now >= c.born.after(r.MaxAge)
}

// reusable reports whether a connection that is in order may be given another request, as far as its backend's
// options say.
func (s *session) reusable(c *backendConn) bool {
	r := s.x.backend.Reuse
	return r == nil || !r.last(c) && !r.tooOld(c, s.l.now)
}
