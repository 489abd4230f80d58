package configs

import "millrace/loop"

const defaultRetryBudget = 20

// What max_attempts and retry_budget have an effect on is decided by permitted and retry of package loop:
//
//	tried again after         if retry_on has   max_attempts   retry_budget
//	no connection             "connect"         counts         pays nothing
//	no 100 within ping        "connect"         counts         pays
//	end, kept connection      "closed"          does not       pays nothing
//	end, new connection       "closed"          counts         pays
//	no response in time       "timeout"         counts         pays
//	a status                  the status        counts         pays
//
// A sock listener knows only the first, since it has nothing that could be sent again.

// retries warns of what is said about trying again and cannot matter. A value that is the default does no harm.
func (v validator) retries(b *backend) {
	// An element that could not be read may be the one that it matters for.
	read := b.RetryOn.ok && !b.RetryOn.near
	never := read && len(b.RetryOn.v) == 0
	once := b.MaxAttempts.ok && b.MaxAttempts.v == 1
	if once && read {
		v.retriedOnce(b)
	}
	const neverAgain = "has no effect with retry_on = [] (%s), which has no request tried again: leave it out"
	on := v.src.at(b.RetryOn.place)
	if m := b.MaxAttempts; m.ok && m.v > 0 {
		switch {
		case never:
			v.warn(m.place, neverAgain, on)
		case b.raw && read && b.retryOn&loop.RetryConnect == 0:
			v.warn(m.place, `has no effect without "connect" in retry_on (%s), since %s: add that, or leave this out`, on, onlyRaw)
		}
	}
	if r := b.RetryBudget; r.ok && r.v != defaultRetryBudget {
		const free = "a retry where no server was connected to costs none of it"
		connect := read && b.retryOn == loop.RetryConnect && b.retryStatus == nil
		switch {
		case never:
			v.warn(r.place, neverAgain, on)
		case b.raw:
			v.warn(r.place, "has no effect, since %s, and %s: leave it out", onlyRaw, free)
		case once:
			v.warn(r.place, "has no effect with max_attempts = 1 (%s), which leaves no retry that costs any of it: leave it out", v.src.at(b.MaxAttempts.place))
		case connect && b.Ping.ok && b.Ping.v == 0 && !b.Ping.near:
			v.warn(r.place, `has no effect with nothing but "connect" in retry_on (%s), since %s: leave it out`, on, free)
		}
	}
}

// retriedOnce warns of what retry_on has and max_attempts = 1 leaves no retry for.
func (v validator) retriedOnce(b *backend) {
	for _, on := range b.RetryOn.v {
		// To sock listeners nothing else of it matters with more attempts either.
		if on.v == "closed" || b.raw && on.v != "connect" {
			continue
		}
		v.warn(on.place, "%s has no effect with max_attempts = 1 (%s), which has nothing tried again after it: raise that, or leave this out",
			quoted(on.v), v.src.at(b.MaxAttempts.place))
	}
}
