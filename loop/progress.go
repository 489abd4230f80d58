package loop

import "time"

// A client that sends, or takes, one byte just before each timeout would hold a connection for ever. So it also has to
// keep up a rate, client_rate, on the average. Only the time counts in which it is the client that is waited for: while
// a server is slow, the clock of its client stands.
//
// What is kept is a debt, in time: waiting adds to it, each byte pays 1/client_rate of it back, and there is no credit.
// A client whose debt reaches the timeout that its silence may last, client_body or client_write, has been too slow
// for that long. A fast one that falls silent has all of that timeout, as without a rate.
//
// What a client sends is seen when it is read. What it takes is not: the kernel accepts far more than the client has
// acknowledged, and then nothing until much of that is gone. So when the time is up the kernel is asked how much has
// been taken; see session.takes. In this way a slow client that takes what it can is not cut off either by client_write
// between two writes, of which the second may have to wait for megabytes.

// rateGrace is how long a client may be too slow where its timeout is 0, no limit.
const rateGrace = 30 * time.Second

// owe returns the debt after waiting for n bytes of a client that has to keep up a rate in bytes a second.
func owe(debt, waited Time, n, rate int64) Time {
	const second = int64(time.Second)
	if n/rate > int64(debt+waited)/second {
		return 0 // and the products below cannot overflow
	}
	return max(debt+waited-Time(n/rate*second+n%rate*second/rate), 0)
}

// within is when a wait for the client ends that began at a time, with a timeout for silence and a debt.
func (s *session) within(at Time, timeout time.Duration, debt Time) Time {
	if s.l.plan.Limits.ClientRate == 0 {
		return at.after(timeout)
	}
	return at + grace(timeout) - debt
}

func grace(timeout time.Duration) Time {
	if timeout == 0 {
		return Time(rateGrace)
	}
	return Time(timeout)
}

// gave notes that the client has sent n bytes of the body.
func (s *session) gave(n int, now Time) {
	x := s.x
	if rate := s.l.plan.Limits.ClientRate; rate > 0 {
		x.upDebt = owe(x.upDebt, now-x.upAt, int64(n), rate)
	}
	x.upAt = now
}

// took notes that the kernel has taken some of what was waiting for the client. The wait is over for now; what the
// client has paid back shows when its time is up.
func (s *session) took(now Time) {
	x := s.x
	x.downDebt += now - x.downAt
	x.downAt = now
}

// takes is asked when the client's time to take a response is up: it reports whether the client has taken enough of
// what the kernel holds to be given more time.
//
// The bytes of earlier responses to a client that pipelines may still be in the kernel. They are taken for
// bytes of this one, so that less seems to be taken than is: at worst, such a client has the time that
// client_write says and no more.
func (s *session) takes(now Time) bool {
	x := s.x
	taken := x.bytesOut - int64(s.client.out.len()) - sysUnsent(s.client.fd)
	if q := s.client.pipe; q != nil {
		taken -= int64(q.n)
	}
	n := taken - x.taken
	if n <= 0 {
		return false
	}
	x.taken = taken
	if rate := s.l.plan.Limits.ClientRate; rate > 0 {
		x.downDebt = owe(x.downDebt, now-x.downAt, n, rate)
		// Who is too slow gets less time each time. That has to end somewhere.
		if all := grace(x.timeouts.ClientWrite); all-x.downDebt < all/8 {
			return false
		}
	}
	x.downAt = now
	return true
}
