// Package accesslog writes one line for each request.
//
// A [Format] is compiled once and appends a [Record] to a buffer without allocating. A [Writer] is one file
// and the goroutine that writes it; a [Buffer] is what one event loop fills:
//
//	f, err := accesslog.Compile("combined")
//	w, err := accesslog.Open("/var/log/millrace/access.log")
//	b := w.NewBuffer(f) // one for each loop
//	b.Log(&record)      // on the loop: never blocks
//	b.Flush()           // on the loop: once a second, and when it ends
//	err = w.Close()     // after the loops have ended
//
// The package owns the layout of a line, its escaping, and the file. It knows nothing of HTTP, of the
// configuration's syntax, or of the loops that fill the records.
//
// The promise is that traffic never waits for the log: a loop hands over whole buffers, and when the writer
// is behind with all of them (a full disk, a pipe that nobody reads), whole records are dropped and counted.
// Every record that was logged is either written or counted by [Writer.Dropped]; a line is never cut short
// or mixed with another, unless the file itself goes away in the middle of one.
//
// Limitations: records of different loops appear in the order in which the loops hand them over, not in that
// of their times. The length of a line is bounded only by the length of the request head and the format.
package accesslog

import "fmt"

// Record is what is known about one request once it has ended. The byte slices may be views into a buffer of
// the caller: nothing is kept after [Format.Append] or [Buffer.Log] returns.
type Record struct {
	// Time is the wall clock at the request's first byte, in nanoseconds since the Unix epoch.
	Time int64
	// ClientAddr is the client's address as text, without a port.
	ClientAddr []byte
	// ClientPort is the client's port; 0 when it has none, as on a unix socket.
	ClientPort uint16

	// Method and Target are those of the request line as received (RFC 9112, section 3); empty when none could
	// be read.
	Method, Target []byte
	// Version is the request's HTTP version times ten: 10, 11. 0 is unknown.
	Version uint8
	// Host, Referer and UserAgent are the values of those fields; empty when the request has none.
	Host, Referer, UserAgent []byte

	// Status is the status code that the client was sent; 0 when nothing was answered.
	Status int
	// BytesIn and BytesOut are all bytes read from and written to the client for this request, heads included.
	BytesIn, BytesOut int64
	// BodyOut is the bytes of the response body that were written to the client.
	BodyOut int64

	// Total is the time from the request's first byte to its end, in microseconds.
	Total int64
	// Connect is how long connecting to the server took, in microseconds; -1 when nothing was connected, as
	// with a connection that was open already.
	Connect int64
	// FirstByte is the time from the request's first byte to the first byte of the server's response, in
	// microseconds; -1 when there was none.
	FirstByte int64

	// Backend, Server and Listener are the names of what the request came to and came by; empty for none.
	Backend, Server, Listener string
	// Retries counts the servers that were tried before the last one.
	Retries int
	// End is why the request ended.
	End End
}

// End is why a request ended. The zero value is the ordinary end.
type End uint8

const (
	// EndOK is a response that was sent whole, whatever its status; of a tunnel, that both sides closed it.
	EndOK End = iota
	// EndClientAbort is a client that closed its connection early.
	EndClientAbort
	// EndClientTimeout is a client that took too long to send its request or to take its response.
	EndClientTimeout
	// EndBadRequest is a request that was refused for its syntax, its framing, or its size.
	EndBadRequest
	// EndNoRoute is a request that no route matches, or that one excludes.
	EndNoRoute
	// EndNoServer is a request for which the backend had no server to try.
	EndNoServer
	// EndBackendError is a server that could not be connected to, closed its connection early, or sent a
	// response that was refused.
	EndBackendError
	// EndBackendTimeout is a server that took too long to be connected to, to answer, or to go on.
	EndBackendTimeout
	// EndShutdown is a request that was cut off because a drain took too long.
	EndShutdown
	// EndNoResource is a want of our own: no descriptor, no local port.
	EndNoResource
	// EndTunnelIdle is a tunnel that was silent for too long.
	EndTunnelIdle
	// EndDenied is a request of a client that may not make it.
	EndDenied
	// EndRateLimited is one request too many in too short a time.
	EndRateLimited
	// EndOverload is a request that was refused because those that are served need all the memory there is.
	EndOverload
	// EndQueueFull is a request that found no room at any server, and no place to wait for it.
	EndQueueFull
	// EndQueueTimeout is a request that has waited in vain for room at a server.
	EndQueueTimeout
)

var endNames = [...]string{
	EndOK:             "ok",
	EndClientAbort:    "client_abort",
	EndClientTimeout:  "client_timeout",
	EndBadRequest:     "bad_request",
	EndNoRoute:        "no_route",
	EndNoServer:       "no_server",
	EndBackendError:   "backend_error",
	EndBackendTimeout: "backend_timeout",
	EndShutdown:       "shutdown",
	EndNoResource:     "no_resource",
	EndTunnelIdle:     "tunnel_idle",
	EndDenied:         "denied",
	EndRateLimited:    "rate_limited",
	EndOverload:       "overload",
	EndQueueFull:      "queue_full",
	EndQueueTimeout:   "queue_timeout",
}

// String returns the word that $end prints.
func (e End) String() string {
	if int(e) < len(endNames) {
		return endNames[e]
	}
	return fmt.Sprintf("end_%d", uint8(e))
}
