// Package loop is the data plane: the only package that touches sockets.
//
// A Server runs N loops. One goroutine owns a Loop and everything reachable from it: there is no lock and
// no channel on the way of a byte. (Where servers have a limit, the way to a server leads past a lock: see queue.go.) Whoever wants something of a loop posts a function to it.
//
// The loop knows endpoints: it looks one up by descriptor, latches its readiness and calls its owner. The
// owners are listeners, sessions (one client connection each), idle backend connections, the timerfd and
// the run list. A session knows the order of stages, written once in session.step; it calls the leaf
// packages, which never call back.
//
// Invariants:
//
//   - A buffer, a backend connection, a balancer's slot and a pool's entry have one holder at any moment.
//     Every exchange ends in finishExchange, which returns all of them and writes exactly one record.
//   - session.origin is set exactly in the stages dial to relay; exchange.backend from route onwards.
//   - The request head stays at the front of session.in until its exchange has ended, so that it can be
//     sent again and logged. Views into it are offsets, so the buffer may grow.
//   - The response may end before the request body does. The rest of the body is then drained, up to a
//     bound, or the client closed; it is never taken for a request. The server's connection is not kept.
//   - A server's connection goes to the pool only if both directions ended exactly where their framing
//     says and nothing was read behind that.
//   - Nothing is read from one side while bytes wait for the other: back-pressure is "no room, so don't
//     read", and nothing else.
//   - A response that was cut never looks complete.
//
// Limitations: Linux only. A request body is passed on as it comes, not buffered, so it is sent again only
// if all of it that was read lies behind its head.
package loop
