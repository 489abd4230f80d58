package resolve

import (
	"context"
	"time"
)

// Watch looks a name up whenever what was found has expired, until ctx ends. first is what was found before, or the
// zero Answer, which has the first look-up at once. Watch tells of each answer, whether it is another one or not, and of
// each failure; what the last answer was holds on until there is another. tell is called by one goroutine, and the next
// look-up waits for it.
func (r *Resolver) Watch(ctx context.Context, q Query, first Answer, tell func(Answer, error)) {
	last := first
	for pause := first.TTL; r.wait(ctx, pause); {
		a, err := r.lookup(ctx, q, last.known)
		if ctx.Err() != nil {
			return // it was broken off, which says nothing of the name
		}
		if err != nil {
			pause = r.options.NegativeTTL
		} else {
			last, pause = a, a.TTL
		}
		tell(a, err)
	}
}

// wait returns true when d has passed, and false when ctx has ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}
