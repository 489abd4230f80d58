package loop

import (
	"sync"
	"sync/atomic"
	"time"

	"millrace/balance"
	"millrace/httpparse"
)

// RetryOn is a set of failures after which a request may be given to a server again.
type RetryOn uint8

const (
	// RetryConnect: no connection could be made, so that no server has seen the request.
	RetryConnect RetryOn = 1 << iota
	// RetryClosed: the connection ended before a response, and the request has not been sent or can be repeated.
	RetryClosed
	// RetryTimeout: no response has come in time, and the request can be repeated.
	RetryTimeout
)

// StatusSet is a set of status codes up to 639.
type StatusSet [10]uint64

// Add puts a status into the set.
func (s *StatusSet) Add(status int) { s[status/64] |= 1 << (status % 64) }

// Has reports whether a status is in the set, which may be nil for the empty one.
func (s *StatusSet) Has(status int) bool {
	return s != nil && uint(status/64) < uint(len(s)) && s[status/64]&(1<<(status%64)) != 0
}

// RetryBudget bounds the retries of a backend, over all loops, to a part of its requests of the last retryWindow or so, and
// a few beside. It is asked about retries of requests that a server may have had work with; what never got to a server
// costs none.
type RetryBudget struct {
	percent, floor float64
	// requests are counted by loop, so that none of them waits for another one's cache line.
	requests [16]struct {
		windowed
		_ [40]byte
	}
	mu    sync.Mutex // for retries
	taken windowed
}

const (
	// retryWindow is about how long a request counts: long enough that those who were with one server when it died can
	// all go elsewhere, however many they are.
	retryWindow = Time(10 * time.Second)
	// retryFloor is how many retries there are in such a time whatever the requests: with few of them a percentage says
	// nothing.
	retryFloor = 100
)

// windowed counts what happens in a window of time, and remembers the one before.
type windowed struct {
	window atomic.Int64    // the number of the latest one in which something happened
	n      [2]atomic.Int64 // of that and of the one before, by the last bit of their numbers
}

// add counts n. Loops look at the clock at different moments: who is late counts in what is the latest window to others.
func (w *windowed) add(n int64, now Time) {
	last := w.window.Load()
	window := max(int64(now/retryWindow), last)
	if last != window {
		w.n[window&1].Store(0)
		if last != window-1 {
			w.n[1-window&1].Store(0)
		}
		w.window.Store(window)
	}
	w.n[window&1].Add(n)
}

// recent returns how much has happened in the last window, which slides: the one before counts less and less as the
// present one goes on.
func (w *windowed) recent(now Time) float64 {
	window, last := int64(now/retryWindow), w.window.Load()
	before := 1 - float64(now%retryWindow)/float64(retryWindow)
	if last > window {
		window, before = last, 1
	}
	switch last {
	case window:
		return float64(w.n[window&1].Load()) + float64(w.n[1-window&1].Load())*before
	case window - 1:
		return float64(w.n[last&1].Load()) * before
	}
	return 0
}

// NewRetryBudget returns a budget for a percentage of requests.
func NewRetryBudget(percent int) *RetryBudget {
	return &RetryBudget{percent: float64(percent), floor: retryFloor}
}

// pay is for each request, once.
func (b *RetryBudget) pay(loop int, now Time) { b.requests[loop%len(b.requests)].add(1, now) }

// take is for each retry. It reports whether there is one left.
func (b *RetryBudget) take(now Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	requests := 0.0
	for i := range b.requests {
		requests += b.requests[i].recent(now)
	}
	if b.taken.recent(now)+1 > b.floor+requests*b.percent/100 {
		return false
	}
	b.taken.add(1, now)
	return true
}

// refund is for a retry that was not made after all.
func (b *RetryBudget) refund(now Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken.add(-1, now)
}

// permitted reports whether a retry that would do no harm is made, by what the backend's options say of it.
func (s *session) permitted(f fault) bool {
	x := s.x
	b := x.backend
	if neverConnected(f) && b.Group.Status(x.target)&balance.IgnoreErrors != 0 {
		return false // its failures are the client's to see
	}
	if f == faultServerClosed && s.origin.kept {
		// A kept connection that has ended says nothing about the server. It happens once to a request.
		x.uncounted++
		return true
	}
	if b.MaxAttempts > 0 && x.attempts-x.uncounted >= b.MaxAttempts {
		return false
	}
	if b.Budget == nil || f == faultConnect || f == faultConnectTimeout {
		return true
	}
	x.paid = b.Budget.take(s.l.now)
	return x.paid
}

// unpaid gives back what a retry has cost that no server gets: there is none, or the request has waited for one in vain. The
// budget is for those that add to the load.
func (s *session) unpaid() {
	if x := s.x; x.paid {
		x.paid = false
		x.backend.Budget.refund(s.l.now)
	}
}

// passesOver reports whether a response whose status retry_on has is kept from the client. It is if the request may be
// given to a server again, and there is one: then that is reserved. Of the response rest has been read behind the head.
func (s *session) passesOver(rest window, body httpparse.Framing, now Time) bool {
	x := s.x
	if !x.mayGoElsewhere() || !x.held || !s.permitted(faultPassedOver) {
		return false
	}
	x.tried.Add(x.target)
	if !s.reserve(now) {
		s.unpaid()
		return false
	}
	// The connection can be kept if nothing more comes of the response, and nothing else has come.
	length := int64(0)
	if body.Kind == httpparse.BodyLength {
		length = body.Length
	}
	x.keepServer = s.req == halfDone && !s.l.draining && x.res.Persistent() && x.req.Authority.Len() > 0 &&
		(body.Kind == httpparse.BodyNone || body.Kind == httpparse.BodyLength) && int64(rest.w-rest.r) == length
	if x.keepServer {
		s.keepRest(rest, rest.w-rest.r)
	}
	return true
}

// mayGoElsewhere reports whether it does no harm to give a request that has been answered to another server too. 421 is said
// before anything is done, so that any request may (RFC 9110, 15.5.20).
func (x *exchange) mayGoElsewhere() bool {
	return x.req.Method.Idempotent() || x.res.Status == 421 || !x.sent
}

// reserve reserves another server for a request that a server has answered, if there is one.
func (s *session) reserve(now Time) bool {
	x := s.x
	was, target, tried, inCookie := x.backend, x.target, x.tried, x.inCookie
	if was.Names != nil {
		x.renew()
	}
	next, ok := s.pickNext(now)
	x.next, x.nextOf = next, x.backend
	if was != x.nextOf {
		// Until the one that has answered is given back, it is that of the generation that it was picked from.
		x.backend, x.target, x.tried = was, target, tried
		if !ok {
			x.inCookie = inCookie
		}
	}
	return ok
}

// nobody is no server: all that may have the request are full.
const nobody balance.Index = -1

// pickNext picks another server as pick does, but that there may be none.
func (s *session) pickNext(now Time) (balance.Index, bool) {
	x := s.x
	group := x.backend.Group
	if st := x.backend.Sticky; st != nil {
		servers := s.sessionServers()
		x.pinned = len(servers) > 0
		if x.pinned {
			if i, ok := group.PickOf(servers, int64(now), &x.tried); ok || st.NoFailover {
				return i, ok
			}
			x.pinned = false
		}
	}
	key := uint64(balance.NoKey)
	if x.backend.Key.Source != KeyNone {
		key = s.balanceKey()
	}
	return group.Pick(int64(now), key, &x.tried)
}

// passOver has the server that was reserved get the request.
func (s *session) passOver(now Time) bool {
	x := s.x
	s.giveBack(s.judge(faultPassedOver), x.keepServer)
	if x.nextOf != x.backend {
		x.tried.Carry(x.backend.Group, x.nextOf.Group)
		x.backend = x.nextOf
	}
	x.fault = faultPassedOver // what becomes of the request if all that could have had it go down while it waits
	x.sent, x.heard, x.stale = false, false, false
	s.startBody()
	if x.next == nobody {
		s.setStage(stagePick, now)
		return true
	}
	return s.pickedServer(x.next, now)
}

// neverConnected reports whether a fault is that no connection could be made, or that nobody was there to answer on it.
func neverConnected(f fault) bool {
	return f == faultConnect || f == faultConnectTimeout || f == faultPing
}

// judge is outcome with what the backend's options say of the server's answer, or of its having none.
func (s *session) judge(f fault) balance.Outcome {
	o, x := outcome(f), s.x
	if x.backend == nil || x.kind == tunnelSock || o != balance.OutcomeOK && o != balance.OutcomeFailed {
		return o
	}
	status := x.status
	if f != faultNone && f != faultPassedOver && !x.answered {
		status = faults[f].status // what the client gets if that was the last attempt
	}
	if x.backend.FailOnStatus.Has(status) || x.backend.FailOnTimeout && f == faultResponseTimeout {
		return balance.OutcomeUnfit
	}
	if o == balance.OutcomeOK && x.backend.ErrorStatus.Has(status) {
		return balance.OutcomeError
	}
	return o
}
