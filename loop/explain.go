package loop

import (
	"bytes"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strconv"

	"millrace/balance"
	"millrace/httpparse"
	"millrace/pool"
	"millrace/remap"
)

// Question is a request to be explained.
type Question struct {
	// Listener is the index of the listener that it comes by.
	Listener int
	// Peer is whom the connection comes from; the zero value for a unix socket.
	Peer netip.AddrPort
	// Request is the request as the client sends it: a head, and what there is of a body. What is behind the first
	// MaxExplained bytes is not looked at.
	Request []byte
	// Response is what the server answers, if it is to be explained too, as much as MaxExplained bytes of it: a head,
	// perhaps interim responses before it, and what there is of a body.
	Response []byte
}

// MaxExplained bounds what is looked at of a request, and of a response, in bytes.
const MaxExplained = 2 << 20

// Explanation is what becomes of a request.
type Explanation struct {
	// Listener is the one that the request came by.
	Listener *Listener
	// Closed says that the connection is closed without a word: its client may not come in.
	Closed bool
	// Incomplete says that the request is not a whole head: the proxy would wait for more.
	Incomplete bool

	// Client is the address that the request comes from, which may be another than the peer's where that is a trusted
	// proxy. It is not valid on a unix socket.
	Client netip.Addr
	// Host is the host that the request is for, Method and Target what its first line says.
	Host, Method, Target string
	// Path is the path that routes are chosen by; empty if the request did not get that far.
	Path string
	// Normalized is the target that options of the listener have made, and Rewritten the one that the rules before all routes
	// have; empty if they have made none.
	Normalized, Rewritten string
	// Tries has the routes in order, up to the one that the request takes. With Mapped it has that one only, which comes before
	// all because the path's ending is mapped.
	Tries  []Try
	Mapped bool
	// Route is the index of the route that the request takes; -1 if there is none. A refused request may have one.
	Route int

	// Status is that of what the client gets: of the proxy's own answer, or of what comes of Question.Response. It is 0
	// if that is not known.
	Status int
	// Reason says why the request, or the server's response to it, is refused, or why the proxy answers by itself.
	Reason string
	// Blame is the key path of the option that has the request refused; empty if it is HTTP itself, or several.
	Blame string
	// Answer is the proxy's own answer, as the client gets it.
	Answer []byte

	// Backend is where the request goes; nil if it goes nowhere.
	Backend *Backend
	// Server is the index of the server that it goes to while all are up; -1 if it goes to none. With Steady it
	// is always that one, else the balance may choose any.
	Server int
	Steady bool
	// Keyed says that the balance goes by a key of requests, and this one has it; Session that the request is of a session,
	// and Server is the one that has it.
	Keyed, Session bool
	// Tunnel says what becomes of the connection if the server agrees: "upgrade", "connect" or "sock"; empty for none.
	Tunnel string
	// Sent is what the server gets: the head, and behind it the body as far as Question has it.
	Sent []byte
	// Timeouts are the ones in force.
	Timeouts *Timeouts

	// Received is what the client gets of Question.Response.
	Received []byte
	// Cut says that the response ends before its body does. The client's connection would be closed.
	Cut bool
}

// Try is one route that a request was held against.
type Try struct {
	Route int
	// Misses is empty for the route that matches.
	Misses []remap.Miss
}

// Refused reports whether no server gets the request: the proxy answers it, closes the connection, or waits for more.
func (x *Explanation) Refused() bool {
	return x.Server < 0 || x.Sent == nil && x.Tunnel != "connect" && x.Tunnel != "sock"
}

// Explain says what becomes of a request. Nothing is opened and nothing is sent: a session goes through its stages with
// connections that never become ready, so that what it says stays where it is. All servers are taken to be up and
// idle, and nobody to have sent requests before. A client of a listener on all addresses has connected to 127.0.0.1. The
// plan must not be one that a Server runs.
//
// Request bodies that are not there are taken to have been sent by the time of the response.
func (p *Plan) Explain(q Question) *Explanation {
	e := explaining{q: q, x: &Explanation{Listener: p.Listeners[q.Listener], Route: -1, Server: -1}}
	e.open(p)
	_, ok := e.s.l.admit(e.s.listener, q.Peer.Addr())
	switch {
	case !ok:
		e.x.Closed, e.x.Client = true, e.s.remote
		e.blameGuard("listener", q.Listener, e.s.listener.Guard, q.Peer.Addr())
		e.x.Reason = "the connection is closed: " + e.x.Reason
	case e.s.listener.Backend != nil:
		e.explainRaw()
	default:
		e.explainHTTP()
	}
	return e.x
}

// explaining is a request on its way through the stages of a session.
type explaining struct {
	q Question
	x *Explanation
	s *session
}

// open makes a loop of no descriptors, and a session in it.
func (e *explaining) open(p *Plan) {
	srv := &Server{plan: p, log: slog.New(slog.DiscardHandler)}
	srv.memory.setLimit(0)
	if p.limitsRates() {
		srv.rates = newRateTable()
	}
	now := clock()
	l := &Loop{srv: srv, log: srv.log, plan: p, now: now, timers: newWheel(now), idle: pool.New[*backendConn](), spliceFrom: math.MaxInt64}
	l.setTargets(p)
	for _, b := range p.Backends {
		if b.Limit != nil {
			b.Limit.start(srv, b, 1)
		}
	}
	l.bufs.account.memory = &srv.memory
	l.spare.account = &l.bufs.account
	s := l.spare.getSession()
	s.l, s.listener = l, e.localized(p.Listeners[e.q.Listener])
	s.client = endpoint{fd: -1, own: s}
	s.setPeer(e.q.Peer)
	s.setStage(stageHead, now)
	e.s = s
}

// localized is the listener with an address that a client can have connected to. A session asks the kernel for it; here it
// is that of the host to itself.
//
// The client is the one that a PROXY header names, where there has to be one.
func (e *explaining) localized(lis *Listener) *Listener {
	if lis.ProxyProtocol != ProxyOff {
		named := *lis
		named.ProxyProtocol = ProxyOff
		lis = &named
	}
	if lis.Path != "" || lis.Address.Port() != 0 && !lis.Address.Addr().IsUnspecified() {
		return lis
	}
	addr := lis.Address.Addr()
	if addr.IsUnspecified() {
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	at := *lis
	at.Address = netip.AddrPortFrom(addr, max(lis.Address.Port(), 1))
	return &at
}

// explainRaw is for a listener that parses nothing.
func (e *explaining) explainRaw() {
	s, x := e.s, e.x
	s.t = s.l.spare.getTunnel()
	s.x = &s.t.x
	s.x.backend, s.x.kind = s.listener.Backend, tunnelSock
	x.Tunnel, x.Timeouts, x.Backend, x.Client = "sock", s.listener.Timeouts, s.listener.Backend, s.remote
	e.explainServer()
	target, ok := x.Backend.Group.Pick(int64(s.l.now), s.balanceKey(), &s.x.tried)
	if !ok {
		x.Reason = noServer(x.Backend)
		x.Closed = true
		x.Blame = backendKey(x.Backend)
		return
	}
	x.Server = int(target)
	x.Backend.Group.Done(target, balance.OutcomeNeutral, int64(s.l.now))
}

func noServer(b *Backend) string {
	if len(b.Servers) == 0 {
		return "there is no server: none of their names can be resolved"
	}
	return "no server may be picked: each is disabled, stopped or draining"
}

func backendKey(b *Backend) string { return "backend." + b.Name }

// explainHTTP takes a request from its head to the response.
func (e *explaining) explainHTTP() {
	s, x, now := e.s, e.x, e.s.l.now
	x.Timeouts = s.listener.Timeouts
	s.l.bufs.append(&s.in, e.q.Request[:min(len(e.q.Request), MaxExplained)])
	s.readHead(now)
	if s.stage == stageHead {
		x.Incomplete, x.Reason = true, "the request head is not complete: the proxy waits for more of it"
		return
	}
	e.quote()
	if s.stage != stageRoute {
		e.refused(stageHead)
		return
	}
	e.try()
	s.route(now)
	if s.x.backend != nil {
		x.Backend, x.Timeouts = s.x.backend, s.x.timeouts
	}
	if s.stage != stagePick {
		e.refused(stageRoute)
		return
	}
	x.Tunnel = s.x.kind.word()
	e.explainServer()
	if s.pick(now); s.stage == stageWait {
		s.waitedInVain(faultNoServer, now) // nothing changes meanwhile
	}
	if s.stage != stageDial {
		e.refused(stagePick)
		return
	}
	x.Server = int(s.x.target)
	x.Session = slices.Contains(e.session(), s.x.target)
	x.Steady = x.Steady || x.Session
	defer func() { s.giveBack(balance.OutcomeNeutral, false) }()
	server := x.Backend.Servers[s.x.target]
	s.origin = &backendConn{endpoint: endpoint{fd: -1, own: s}, l: s.l, server: server.ID}
	// What a response says of its server is not to be remembered for the next question.
	blameless := *s.x.backend
	blameless.FailOnStatus, blameless.FailOnTimeout, blameless.ErrorStatus, blameless.RetryStatus = nil, false, nil, nil
	s.x.backend = &blameless
	if s.x.kind == tunnelConnect {
		s.connectedRaw(now)
		x.Status, x.Answer, x.Reason = 200, e.heard(), "a tunnel to the server, which is told nothing"
		return
	}
	s.setStage(stageSend, now)
	if s.send(now); s.stage != stageRelay {
		e.refused(stageSend)
		return
	}
	x.Sent = bytes.Clone(s.origin.out.bytes())
	if e.q.Response != nil {
		e.respond()
	}
}

// word is how an Explanation names a tunnel.
func (k tunnelKind) word() string { return [...]string{"", "upgrade", "connect", "sock"}[k] }

// quote notes what the request says.
func (e *explaining) quote() {
	s, x := e.s, e.x
	x.Client = s.clientIP()
	if s.x.req.MethodName.Len() == 0 {
		return // it could not be parsed
	}
	head, req := s.in.b[:s.in.w], &s.x.req
	x.Method, x.Target, x.Host = string(req.MethodName.Of(head)), string(req.Target.Of(head)), string(req.Authority.Of(head))
}

// try holds the request against each route.
func (e *explaining) try() {
	s, x := e.s, e.x
	path, ok := slash, true
	if s.x.req.Method != httpparse.MethodConnect {
		if path, ok = e.path(); ok {
			path, ok = remap.NormalPath(nil, path)
		}
	}
	if !ok {
		return
	}
	x.Path = string(path)
	if s.x.rewritten > 0 {
		x.Rewritten = string(s.x.sentTarget)
	} else {
		x.Normalized = string(s.x.sentTarget)
	}
	in := s.incoming(path)
	table := s.l.plan.Table
	last := len(s.l.plan.Routes) - 1
	if i, ok := table.Match(&in); ok {
		x.Route, last = i, i
	}
	if x.Mapped = table.Mapped(&in); x.Mapped {
		x.Tries = []Try{{Route: x.Route}}
		return
	}
	for i := range last + 1 {
		x.Tries = append(x.Tries, Try{i, table.Misses(&in, i)})
		if (len(x.Tries[i].Misses) == 0) != (i == x.Route) {
			panicf("loop: route %d is taken, and the conditions of route %d say %v", x.Route, i, x.Tries[i].Misses)
		}
	}
}

// path returns the path that the server will see, as far as it is known before a route is. The session may have been there.
func (e *explaining) path() (path []byte, ok bool) {
	path, ok = e.s.targetPath()
	if ok && e.s.l.plan.Rewrites != nil && e.s.x.rewritten == 0 {
		path, ok = e.s.rewrite(path)
	}
	return path, ok
}

// explainServer says what the balance goes by.
func (e *explaining) explainServer() {
	key := uint64(balance.NoKey)
	if e.x.Backend.Key.Source != KeyNone {
		key = e.s.balanceKey()
	}
	e.x.Keyed = key != balance.NoKey
	e.x.Steady = e.x.Backend.Group.Steady(key)
}

// session returns the servers that may have the request's session.
func (e *explaining) session() []balance.Index {
	if e.s.x.backend.Sticky == nil {
		return nil
	}
	return e.s.sessionServers()
}

// heard takes what the client has been told since it was last asked.
func (e *explaining) heard() []byte {
	out := &e.s.client.out
	b := bytes.Clone(out.bytes())
	e.s.l.bufs.release(out)
	return b
}

// respond gives the server's answer to the session.
func (e *explaining) respond() {
	s, x, now := e.s, e.x, e.s.l.now
	c := s.origin
	asked := s.x.pinging     // by its answer, it has not had the body yet
	s.l.bufs.release(&c.out) // the server has taken it
	s.req, s.x.up.done, s.x.waitsFor100, s.x.pinging, s.x.sent, s.x.heard = halfDone, true, false, false, true, true
	s.l.bufs.append(&c.in, e.q.Response[:min(len(e.q.Response), MaxExplained)])
	for ended := false; ; {
		before := s.in.len() + c.in.len()
		s.relay(now)
		x.Received = append(x.Received, e.heard()...)
		if s.stage != stageRelay || s.t != nil {
			break
		}
		if s.origin != nil && c.in.len() > 0 && s.in.len()+c.in.len() < before {
			continue
		}
		if ended {
			x.Cut, x.Status = true, s.x.status
			return
		}
		// That was all. A body that lasts until the connection ends is complete now.
		ended = true
		if s.res == halfBody && s.x.down.in.Kind == httpparse.BodyUntilClose {
			s.endOfServer(now)
		} else if s.res == halfHead {
			s.fail(s.cut(), now)
			x.Received = append(x.Received, e.heard()...)
			break
		}
	}
	x.Status = s.x.status
	if x.Backend.RetryStatus.Has(x.Status) && (asked || s.x.mayGoElsewhere()) && x.Backend.MaxAttempts != 1 {
		x.Reason, x.Blame = "another server may be asked after this status; the client gets this of the last", backendKey(x.Backend)+".retry_on"
	}
	if s.t != nil {
		return // a tunnel: what comes behind the 101 is not HTTP
	}
	if s.x.fault != faultNone {
		x.Cut, x.Blame = s.stage == stageFinish, ""
		x.Reason = "the response is malformed, or its framing is refused"
		if t := s.x.trip; t != nil && t.Refused {
			x.Reason = "what the edits make of the response is too large"
		} else if s.x.fault == faultServerClosed {
			x.Reason = "the response head is not complete"
		}
	}
}

// refused notes the proxy's own answer and finds out why it is given. before is the stage in which it was decided.
func (e *explaining) refused(before stage) {
	s, x := e.s, e.x
	x.Status, x.Answer = s.x.status, e.heard()
	if before == stagePick {
		x.Reason, x.Blame = noServer(x.Backend), backendKey(x.Backend)
		if len(e.session()) > 0 && x.Backend.Sticky.NoFailover {
			x.Reason, x.Blame = "no server that may have the request's session may be picked", x.Blame+".no_failover"
		}
		return
	}
	listener := "listener[" + strconv.Itoa(e.q.Listener) + "]"
	route := "route[" + strconv.Itoa(x.Route) + "]"
	switch f := s.x.fault; {
	case before == stageHead && (f == faultTargetTooLong || f == faultHeadTooLarge):
		x.Reason, x.Blame = "the head is larger than header_bytes", "limits.header_bytes"
		if e.syntax() == httpparse.TooManyFields {
			x.Reason, x.Blame = "the head has more fields than header_fields", "limits.header_fields"
		}
	case f == faultBodyTooLarge:
		x.Reason, x.Blame = "the body is larger than body_bytes", "limits.body_bytes"
	case f == faultDenied && before == stageHead:
		e.blameGuard("listener", e.q.Listener, s.listener.Guard, x.Client)
	case f == faultDenied:
		e.blameGuard("route", x.Route, s.l.plan.Routes[x.Route].Guard, x.Client)
	case f == faultNoRoute && x.Route >= 0:
		x.Reason, x.Blame = "the route excludes what it matches", route+".exclude"
	case f == faultNoRoute:
		x.Reason = "no route matches"
	case f == faultMethod && s.x.req.Method == httpparse.MethodConnect:
		x.Reason = "CONNECT is for routes with connect = true"
	case f == faultMethod:
		x.Reason, x.Blame = "TRACE is for routes with trace = true", route+".trace"
	case f == faultNone:
		x.Reason = "Max-Forwards is 0, so that the proxy answers in place of a server"
	case before == stageHead:
		x.Reason, x.Blame = e.whyHead(listener)
	case before == stageRoute:
		x.Reason, x.Blame = e.whyRoute(listener)
	case s.x.trip != nil && s.x.trip.Refused:
		x.Reason, x.Blame = "what the route's edits make of the request is no request", route
	default:
		x.Reason = "the body is malformed"
	}
}

// blameGuard says which list keeps an address out.
func (e *explaining) blameGuard(table string, index int, g *Guard, a netip.Addr) {
	key := "allow"
	if g.Deny != nil && g.Deny.Contains(a) {
		key = "deny"
	}
	e.x.Blame = table + "[" + strconv.Itoa(index) + "]." + key
	who := "a client without an address"
	if a.IsValid() {
		who = a.String()
	}
	e.x.Reason = key + " of the " + table + " keeps " + who + " out"
}

// syntax returns what is wrong with a head that could not be parsed, or was too long to be.
func (e *explaining) syntax() httpparse.Kind {
	var err error
	if _, err = e.parse(); err == nil || err == httpparse.ErrNeedMore {
		return httpparse.HeadTooLarge
	}
	return err.(*httpparse.Error).Kind
}

// parse reads the request again, from what the client has sent: reading may have changed it.
func (e *explaining) parse() (*httpparse.Request, error) {
	r := &httpparse.Request{}
	r.Fields = make([]httpparse.Field, 0, e.s.l.plan.Limits.HeaderFields)
	r.Allow = e.s.listener.Parse.Head
	head := bytes.Clone(e.q.Request)
	if _, err := httpparse.ParseRequest(head, 0, r); err != nil {
		return nil, err
	}
	_, err := httpparse.RequestFraming(head, r)
	return r, err
}

// whyHead says why a head is refused that is not too large.
func (e *explaining) whyHead(listener string) (reason, blame string) {
	if _, err := e.parse(); err != nil {
		wrong := err.(*httpparse.Error)
		switch wrong.Kind {
		case httpparse.UnderscoreInName:
			blame = listener + ".http_parseopts.header_underscores"
		case httpparse.BadLineEnd, httpparse.BadFieldName:
			return wrong.Kind.String() + ", at byte " + strconv.Itoa(wrong.Offset), ""
		}
		return wrong.Kind.String(), blame
	}
	switch req := &e.s.x.req; {
	case req.Secure && e.s.listener.scheme() != "https":
		return "the target has the scheme https, and the listener's is http", listener + ".scheme"
	case req.Method == httpparse.MethodTrace:
		return "TRACE has no body", ""
	}
	return "GET and HEAD with a body are refused", listener + ".http_parseopts.method_get_body"
}

// whyRoute says why a request with a correct head cannot be given to a route.
func (e *explaining) whyRoute(listener string) (reason, blame string) {
	s := e.s
	if s.x.req.Method == httpparse.MethodConnect {
		return "CONNECT has no body", ""
	}
	_, ok := s.targetPath()
	if !ok {
		if o := s.listener.Parse.Target.Refusing(s.x.req.PathQuery.Of(s.in.b)); o != 0 {
			return "the target is refused by " + o.String(), listener + ".http_parseopts." + o.First()
		}
		return malformedPath, ""
	}
	path, ok := e.path()
	if !ok {
		return "what rules make of the target is too long, or is none", "routing.rewrite_once"
	}
	normal, ok := remap.NormalPath(nil, path)
	if !ok {
		return malformedPath, ""
	}
	readings := remap.Readings(path, normal)
	if readings.Absurd() {
		return "the path can be read in too many ways (" + readings.String() + ")", ""
	}
	if r, other, found := s.strays(s.incoming(normal), path, readings, e.x.Route); found {
		reason = "the readings of the path differ: where " + r.String() + ", it is " +
			strconv.Quote(string(remap.AppendReading(nil, path, r))) + ", which "
		switch other {
		case noRoute:
			return reason + "no route matches", ""
		case otherTarget:
			return reason + "rules would make another target of", "routing.rewrite_once"
		}
		return reason + "is for route[" + strconv.Itoa(other) + "]", "route[" + strconv.Itoa(other) + "]"
	}
	return httpparse.BadMaxForwards.String(), ""
}

const malformedPath = "the path has a percent sign without two hexadecimal digits, an encoded NUL, or no slash to begin with"

// ListenerFor returns the index of the listener that a URL most likely leads to: of those that parse HTTP, the first on
// the port, else the first with the scheme, else the first; -1 if there is none.
func (p *Plan) ListenerFor(scheme string, port uint16) int {
	for _, fits := range []func(l *Listener) bool{
		func(l *Listener) bool { return l.Address.IsValid() && l.Address.Port() == port },
		func(l *Listener) bool { return l.scheme() == scheme },
		func(*Listener) bool { return true },
	} {
		if i := slices.IndexFunc(p.Listeners, func(l *Listener) bool { return l.Backend == nil && fits(l) }); i >= 0 {
			return i
		}
	}
	return -1
}
