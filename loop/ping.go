package loop

import "millrace/httpparse"

// A backend with Ping has a request that has a body announced before it is made: the head goes out alone, with Expect:
// 100-continue, and nothing of the body until the server has said that it wants it (RFC 9110, 10.1.1). A request whose
// content has not been sent is incomplete, and nobody acts on it (RFC 9112, 8): until then it can go to another server
// whatever its method.

// pings reports whether this attempt does so.
func (s *session) pings() bool {
	x := s.x
	// A request for no host goes out as HTTP/1.0, which knows no interim responses.
	return x.backend.Ping > 0 && !x.unpinged && x.kind != tunnelUpgrade && x.req.Authority.Len() > 0
}

// ponged is the server's word that it wants the body, which can be relayed now.
func (s *session) ponged() {
	x := s.x
	x.pinging, x.sent = false, true
	x.heard = false // but for this, which says nothing of what comes of the request
}

// refusesPing reports whether a response is one to our expectation, and not to the request: then that goes out again
// without it, to whichever server is next.
func (s *session) refusesPing(now Time) bool {
	x := s.x
	if x.res.Status != 417 || s.expects() {
		return false
	}
	if !s.reserve(now) {
		if !s.mustWait(now) {
			return false
		}
		x.next, x.nextOf = nobody, x.backend // it may be this connection that is in the way
	}
	x.unpinged, x.keepServer = true, false
	x.uncounted++
	return true
}

// expectsNothing reports whether an interim response is for us alone: we have asked for it, and the client has not
// (RFC 9110, 15.2).
func (s *session) expectsNothing(r *httpparse.Response) bool {
	return s.x.pinging && r.Status == 100 && !s.expects()
}
