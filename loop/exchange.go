package loop

import (
	"time"

	"millrace/balance"
	"millrace/httpparse"
	"millrace/pool"
	"millrace/remap"
)

// exchange is everything about one request and its response. A session has one from the first byte of a
// request to the end of the response; waiting for the next request it has none.
type exchange struct {
	req     httpparse.Request
	res     httpparse.Response
	head    int // length of the request head, which stays at the front of session.in until the end
	scanned int // bytes of an incomplete head that have been looked at

	// sentTarget is the target to send where it is not the one that was received, else empty.
	sentTarget []byte
	// rewritten is the length of the path in sentTarget, if rules have made that; else 0.
	rewritten int
	// forwards is the Max-Forwards to send, and counted that there is one (RFC 9110, 7.6.2).
	forwards int
	counted  bool

	kind     tunnelKind
	upgrade  *Upgrade  // what the client may switch to, with tunnelUpgrade
	timeouts *Timeouts // of the listener until there is a route, then of both
	backend  *Backend
	override *StatusSet // of its answers, those whose content is replaced; nil: none
	target   balance.Index
	server   *BackendServer // that of target; still that when the server has left the backend
	picked   bool           // target is taken and has to be given back
	tried    balance.Tried
	inCookie balance.Index // 1 + the server that the client's cookie names, of those that we have set; 0: none

	pinned bool         // its session is on target: no other server will do
	limit  *Limit       // not nil while it waits there or has a permit of it
	permit pool.Permit  // what it may do to get a connection
	handed *backendConn // one that another loop has handed over for it
	place  *place       // in limit's queue, now or before; nil: it never was there
	// awaits is since when it has waited for there being a server, and awaited until when; 0: it has not.
	awaits, awaited Time

	trip      *remap.Trip // how request and response are edited; nil: not at all
	spareTrip *remap.Trip // its memory, kept from one exchange to the next

	reqBody httpparse.Framing
	up      pump // request body
	down    pump // response body

	persistent  bool // the client's connection may be kept, as far as request and answers say
	waitsFor100 bool // the client may hold the body back until it hears 100 (RFC 9110, 10.1.1)
	held        bool // the whole request, as far as it was read, is still in session.in: it can be sent again
	fresh       bool // the next attempt does not use a pooled connection
	resent      bool // the request has been sent a second time, which is done once
	stale       bool // the last attempt died on a pooled connection, which says little about the server
	lastChance  bool // a server was tried again because all that failed was a pooled connection to it
	pinging     bool // the body is held back until the server says that it wants it
	unpinged    bool // no further attempt asks for that
	sent        bool // the kernel has taken bytes of the request for the present connection, other than a head that is pinging
	heard       bool // the server has sent a byte of the response
	answered    bool // the client's socket or buffer has been given a byte of the final response head
	keepServer  bool // the server's connection may be pooled, as far as its response says
	interim     int  // interim responses so far
	drained     int  // bytes of the request body that were read and forgotten
	fault       fault
	attempts    int           // servers that were picked
	uncounted   int           // attempts that died on a kept connection
	next        balance.Index // reserved for the request, with faultPassedOver
	nextOf      *Backend      // the generation that next is of
	paid        bool          // the retry budget has paid for an attempt that has not been let in to a server yet
	retryAfter  int32         // seconds after which a refused client may come again; 0: it is not said

	status    int
	bytesIn   int64         // head and body, as they came
	bytesOut  int64         // heads and body, as they left
	started   Time          // first byte of the request
	dialled   Time          // the last attempt to connect began
	connected time.Duration // how long it took; -1: there was none
	firstByte time.Duration // from started to the first byte of the response; -1: there was none
	upAt      Time          // the request last made progress
	downAt    Time          // the response last made progress
	upDebt    Time          // how far the client is behind client_rate with its body
	downDebt  Time          // and with the response, by what is known
	taken     int64         // bytes of the response that the client had taken when that was last asked
	wall      int64         // started, as nanoseconds since 1970; only with an access log
}

// reset makes x ready for the next request. Arrays are kept.
func (x *exchange) reset() {
	tried, req, res, up, down, target, trip := x.tried, x.req.Fields[:0], x.res.Fields[:0], x.up.fields, x.down.fields, x.sentTarget[:0], x.spareTrip
	tried.Reset()
	if cap(target) > headRead {
		target = nil
	}
	*x = exchange{} // as a whole, and then what is not zero: else it is made elsewhere and copied
	x.tried, x.req.Fields, x.res.Fields, x.up.fields, x.down.fields, x.sentTarget, x.spareTrip = tried, req, res, up, down, target, trip
	x.connected, x.firstByte = -1, -1
}

// spares are the loop's free lists of what comes and goes with connections and requests.
type spares struct {
	sessions  []*session
	exchanges []*exchange
	conns     []*backendConn
	tunnels   []*tunnel
	account   *account
}

// spareMax bounds each free list: a burst's memory goes back to the collector.
const spareMax = 1024

func (p *spares) getExchange(fields int) *exchange {
	if n := len(p.exchanges); n > 0 {
		x := p.exchanges[n-1]
		p.exchanges = p.exchanges[:n-1]
		if cap(x.req.Fields) == fields {
			return x
		}
		p.account.add(-exchangeBytes(cap(x.req.Fields)))
	}
	p.account.add(exchangeBytes(fields))
	x := &exchange{}
	x.req.Fields = make([]httpparse.Field, 0, fields)
	x.res.Fields = make([]httpparse.Field, 0, fields)
	x.reset()
	return x
}

func (p *spares) putExchange(x *exchange) {
	if len(p.exchanges) < spareMax && p.account.keeps() {
		x.reset()
		p.exchanges = append(p.exchanges, x)
		return
	}
	p.account.add(-exchangeBytes(cap(x.req.Fields)))
}

func (p *spares) getSession() *session {
	if n := len(p.sessions); n > 0 {
		s := p.sessions[n-1]
		p.sessions = p.sessions[:n-1]
		*s = session{}
		return s
	}
	p.account.add(sessionBytes)
	return &session{}
}

func (p *spares) putSession(s *session) {
	if len(p.sessions) < spareMax {
		// It stays closed until it is used again: whoever closed it may still be looking at it.
		*s = session{stage: stageClosed}
		p.sessions = append(p.sessions, s)
		return
	}
	p.account.add(-sessionBytes)
}

func (p *spares) getConn() *backendConn {
	if n := len(p.conns); n > 0 {
		c := p.conns[n-1]
		p.conns = p.conns[:n-1]
		return c
	}
	return &backendConn{}
}

func (p *spares) putConn(c *backendConn) {
	if len(p.conns) < spareMax {
		*c = backendConn{}
		p.conns = append(p.conns, c)
	}
}
