// Package remap decides which route a request takes, and writes the heads of requests and responses as they
// are sent on.
//
// It owns the table of routes, the form of a path that routes are chosen by, and what a proxy adds to and
// takes from a message (RFC 9110, 7.6). It knows nothing of sockets, of the configuration file, or of time,
// and reads heads through the views of millrace/httpparse only.
//
//	table := remap.New(rules)
//	...
//	path, ok := remap.NormalPath(scratch, req.Path.Of(head))
//	// !ok: 400
//	route, ok := table.Match(&remap.Incoming{Listener: listener, Client: addr, Path: path, Req: &req, Head: head})
//	// !ok: 404
//	out = remap.AppendRequest(out[:0], head, &req, &remap.RequestFacts{
//		ClientAddr: addr, Proto: "http", Body: framing,
//	})
//
// The functions that append read one buffer, write another, and must not be given the same memory for both.
// They allocate nothing but what dst grows by.
//
// # What is sent on
//
// Field lines that pass are sent on byte for byte and in their order; neighbours are copied in one piece.
// What describes the connection rather than the message stays behind and is written anew for the other side:
// framing, persistence, and whatever a Connection field names.
//
// # Edits
//
// A route may change more: Edits are compiled from EditOptions when a configuration is loaded, and applied where a head
// is written, in the same pass. A Trip holds what they know of an exchange, and what the response needs of its request:
//
//	trip.Begin(edits)
//	trip.Req, trip.Scheme = &req, "http"
//	...
//	trip.Head, trip.Server = head, server // for each attempt
//	out = remap.AppendRequest(out[:0], head, &req, &remap.RequestFacts{..., Trip: trip})
//	// trip.Refused: 400
//
// Without a Trip nothing is edited, and a head costs what it did. Patterns and their groups are the one thing that
// allocates.
//
// Rewrites come before all that: they change the target that a route is looked for with.
//
// # What a Connection field cannot take away
//
// RFC 9110, 7.6.1 has an intermediary remove every field that a Connection field names, and forbids a sender
// to name fields meant for the recipient. Senders that do it anyway have made proxies drop what proxies before
// them had added: the client's address, or the mark that it was authenticated. Fields that are end-to-end by
// their definition are therefore kept whatever Connection says, among them Host, Content-*, Authorization,
// Cookie, Forwarded, Via, X-Forwarded-* and X-Real-IP; see endToEnd for all of them.
//
// # Limitations
//
// Routes whose conditions are neither a host nor how the path begins are tried one after the other: an extension, a
// pattern that does not begin with "^/...". Hosts are compared as text: two spellings of one IPv6 address are two
// hosts. Unless edits change it, a path is not percent-encoded anew: what goes to the server is the target as it
// was received, while the normal form only chooses the route.
package remap
