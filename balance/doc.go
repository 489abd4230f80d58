// Package balance decides which server of a group gets the next request, and learns from what came of it.
//
// It owns the state of the servers of one group: how many requests each has, and whether it rests after a
// failed attempt to connect. It knows nothing of sockets, of HTTP, or of the configuration file, and it has
// no clock: every time is a number of monotonic nanoseconds, not negative, that the caller supplies.
//
//	g, err := balance.New(servers, balance.Options{Algorithm: "fair", DisableTime: time.Second})
//	...
//	i, ok := g.Pick(now, balance.NoKey, &tried)
//	if !ok {
//		// every server rests or was tried: 503
//	}
//	if connect(i) != nil {
//		g.Done(i, balance.OutcomeConnectFailed, now)
//		tried.Add(i)
//		// pick another
//	}
//	g.Connected(i)
//	// relay the exchange
//	g.Done(i, balance.OutcomeOK, now)
//
// # Rest
//
// A failed attempt to connect takes a server out of use, or Options.MaxFails of them in a row, and so does what the
// caller calls OutcomeUnfit. It then rests for Options.DisableTime. After
// that exactly one Pick may take it, as a probe, while the others go on avoiding it; a connection made or an
// answer received brings it back for everybody, another failure sends it back to rest. A probe that nothing
// came of within DisableTime is forgotten and the next one allowed. A group of one server is no exception. With
// Options.ForceRecovery the rest of all servers ends when none is left to pick.
//
// # Ejection
//
// With Options.Ejection a server is also taken out of use when Judge finds its answers worse than those of the others, for
// a time that nothing else ends, and comes back by a probe as from a rest. It is picked all the same when nobody else can be.
//
// # Sets
//
// Servers belong to sets, of which the lowest is used that has a server to pick. In a set spares stand in for
// servers that are missing, and standbys for all of them. See tier and Status. Whatever the algorithm, it chooses
// among the servers of one such tier.
//
// # Keys
//
// hash, sticky and maglev go by a key, which the caller makes. The server of a key depends on nothing but the key and
// the names of the servers, so that all loops, processes and machines with the same list agree.
//
// # Sessions
//
// A request whose session is on a certain server goes there by PickOf, if the server is up: ByRoute and ByToken find the
// servers by what the request calls them. What a session has had counts against its server in later choices.
//
// # Members
//
// The list of a group's servers never changes: a changed list is another group, which Follow makes. The two share the
// states of the servers that are in both, and the counts over them, so that it does not matter which of them is told
// of an outcome. An Index is one of the group that it was picked from, for as long as that is referred to.
//
// # Concurrency
//
// A Group is shared by all loops. Its state is a few atomic words a server, on cache lines of the server's
// own, and there are no locks. Two loops that pick at the very same moment may both see the same server as
// the least busy one; counts are never lost for it, and the next Pick sees both.
//
// # Limitations
//
// A Pick by hash or sticky costs time in proportion to all servers. By fair, bytraffic or bybusyness it does so for up to 64
// servers of a tier, and for more in proportion to a 32nd of them and to those that rest for a time: see block. The others take
// the same time for any number, unless most of the servers rest.
package balance
