// Package resolve finds the addresses of names, and finds them again when what was found has expired.
//
// The standard library's resolver says nothing of TTLs, so this one asks the name servers itself: over UDP with EDNS
// (RFC 6891), over TCP what does not fit (RFC 7766). It goes by /etc/hosts first, and by /etc/resolv.conf for name
// servers, search list, timeouts and attempts. Both files are read again when they have changed.
//
//	r := resolve.New(resolve.Options{MinTTL: time.Second, MaxTTL: time.Hour, NegativeTTL: 10 * time.Second})
//	answer, err := r.Lookup(ctx, resolve.Query{Name: "app.example.org"})
//	...
//	r.Watch(ctx, query, answer, func(a resolve.Answer, err error) { ... })
//
// It runs beside the event loops, on goroutines of its caller and of its own, and may block for as long as the
// timeouts say.
//
// # What a failure is
//
// That a name does not exist, or has no address, is an answer of the name server, and an error like all others for
// who asks: [ErrNotFound]. A server that does not answer, or that answers with a failure, says nothing about the
// name. Then the next server is asked, and no other name of the search list: that could be another host.
//
// Addresses of IPv4 and IPv6 are asked for separately. When one of the two fails, and for a service when the addresses
// of one of its hosts do, [Answer.Partial] says so; Watch goes on with what it knew of that part.
package resolve
