package loop

import (
	"golang.org/x/sys/unix"

	"millrace/remap"
)

// scheme is that of the URLs that clients use.
func (l *Listener) scheme() string {
	if l.Scheme == "" {
		return "http"
	}
	return l.Scheme
}

// beginTrip prepares what the edits of the request's route need to know.
func (s *session) beginTrip(e *remap.Edits) {
	x := s.x
	if x.spareTrip == nil {
		x.spareTrip = new(remap.Trip)
	}
	t := x.spareTrip
	t.Begin(e)
	t.Req, t.Scheme = &x.req, s.listener.scheme()
	t.ClientAddr, t.ClientPort = s.clientAddr(), s.port
	t.ChainEnd = 0
	if s.behind != nil {
		t.ChainEnd = s.behind.chainEnd
	}
	if e.NeedsLocal() {
		t.Local = s.appendLocal(t.Local)
	}
	x.trip = t
}

// appendLocal appends the address that the client has connected to. Only a listener on all addresses has to ask.
func (s *session) appendLocal(dst []byte) []byte {
	if to := s.destination(); to.IsValid() {
		return to.AppendTo(dst)
	}
	path := s.listener.Path
	if s.listener.Inherit != "" {
		if local, err := unix.Getsockname(s.client.fd); err == nil {
			if local, ok := local.(*unix.SockaddrUnix); ok {
				path = local.Name
			}
		}
	}
	if path == "" {
		return dst // the connection has been reset, and what is written now reaches nobody
	}
	return append(append(dst, "unix:"...), path...)
}

// attempt tells the trip, if there is one, about the present attempt.
func (s *session) attempt() *remap.Trip {
	x := s.x
	if x.trip == nil {
		return nil
	}
	server := x.backend.Servers[x.target]
	x.trip.Head = s.in.b[:x.head]
	x.trip.Server, x.trip.ServerHost, x.trip.ServerPath = server.Name, server.Host, server.Root
	return x.trip
}
