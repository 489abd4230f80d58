// Package pool keeps the connections to servers that nobody uses at the moment.
//
// A Pool is a container: it knows nothing of what it holds and closes nothing. What it gives out, in whatever
// way, is its caller's again. It belongs to one loop and is not safe for use by several goroutines.
//
//	p := pool.New[*conn]()
//	...
//	h, old, full := p.Put(server, c, now, pool.Limits{PerKey: 32, TTL: int64(time.Minute)})
//	c.idle = h
//	if full {
//		old.close()
//	}
//	...
//	if c, ok := p.Get(server); ok {
//		// the one that was used last: the least likely to be closed by the server just now, and the most
//		// likely to have its state in the caches
//	}
//
// Whoever sees an idle connection closed by its server takes it out with Remove. When the time NextExpiry has
// come, Expire gives out those that were idle for too long.
//
// # Limits
//
// A Pool is one loop's. Where servers take no more than so many connections, the loops share a Limiter beside
// their pools: it counts the connections to each server over all loops, and has requests wait in one queue. A request
// that has chosen a server enters; what it gets is a Permit, to open a connection or to take one out of its loop's pool,
// or the promise of one that another loop has idle. Else it waits at a Place, and a letter tells when its turn has
// come. Whoever has a connection tells the Limiter what becomes of it: Keep or Drop.
//
// A Limiter is used by several loops, under a lock of its owner's, which is held for a few comparisons and never for a system
// call. A loop looks at its Mail when it is poked.
//
// # How it is built
//
// Connections lie in one slab and are linked by position. Each is on two lists: that of its key, from which
// Get takes the newest and a full key's Put the oldest, and that of its TTL. Whatever has the same TTL expires
// in the order in which it came, so that the first to expire, and likewise the one unused for longest, is
// found by looking at the end of a list for each TTL, of which a configuration has a few. Nothing is sorted,
// and the slab only grows, so that a pool in its steady state does not allocate.
//
// # Limitations
//
// Keys are small integers; the pool has a list head for every number up to the largest one used. The slab does
// not shrink. A pool holds fewer than 2^31 connections.
package pool
