package loop

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/balance"
	"millrace/remap"
)

// rawConn is a blocking socket and a buffer: what a client or an origin needs to take part in a measurement
// without allocating anything itself.
type rawConn struct {
	fd  int
	buf []byte
}

// raw takes a peer's connection over.
func (c *peer) raw() *rawConn {
	c.tr.Helper()
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		c.tr.Fatal(err)
	}
	r := &rawConn{buf: make([]byte, 4096)}
	var failed error
	err = raw.Control(func(fd uintptr) { r.fd, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, failed); err != nil {
		c.tr.Fatal(err)
	}
	c.Close()
	c.tr.Cleanup(func() { unix.Close(r.fd) })
	// A test that goes wrong ends, instead of waiting for ever in the kernel.
	limit := unix.NsecToTimeval(int64(patience))
	if err := errors.Join(
		unix.SetNonblock(r.fd, false),
		unix.SetsockoptTimeval(r.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.SetsockoptTimeval(r.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit),
	); err != nil {
		c.tr.Fatal(err)
	}
	return r
}

// write writes b, which fits into the socket.
func (c *rawConn) write(b []byte) bool {
	for {
		n, err := unix.Write(c.fd, b)
		if err != unix.EINTR {
			return n == len(b) && err == nil
		}
	}
}

// exchange writes out and reads as many bytes as in has. It reports whether they are those of in.
func (c *rawConn) exchange(out, in []byte) bool {
	return c.write(out) && c.read(len(in)) && bytes.Equal(c.buf[:len(in)], in)
}

// read fills the first n bytes of the buffer.
func (c *rawConn) read(n int) bool {
	for got := 0; got < n; {
		m, err := unix.Read(c.fd, c.buf[got:n])
		switch {
		case err == unix.EINTR: // a call with a time limit is not restarted after a signal
		case m <= 0 || err != nil:
			return false
		default:
			got += m
		}
	}
	return true
}

func TestARequestAllocatesNothing(t *testing.T) {
	const (
		browser = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0\r\n" +
			"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en\r\n" +
			"Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: http://a.example/\r\nCookie: session=0123456789\r\n"
		warmup = 500
		// What the runtime and the writer of the access log do meanwhile does not depend on the requests.
		allowed = 40
	)
	tests := []struct{ name, request, response string }{
		{"by length", "GET /x?y=z HTTP/1.1\r\nHost: a.example\r\n" + browser + "\r\n", ok(letters(100))},
		{"in chunks", "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n2\r\n67\r\n0\r\n\r\n"},
		{"with a body", post("/x", letters(500)), "HTTP/1.1 204 No Content\r\n\r\n"},
		{"with a body in chunks", "POST /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n", ok("fine")},
		{"behind an interim response", get("/"), hints103 + ok("fine")},
		{"for a proxy's path", "GET http://a.example/x/../y HTTP/1.1\r\nHost: b\r\nConnection: x\r\nX: y\r\nX-Forwarded-For: 10.1.1.1\r\n\r\n", ok("fine")},
		{"of an old client", "GET /x HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n", ok("fine")},
		{"edited", get("/xxx/1"), "HTTP/1.1 302 Found\r\nLocation: http://int.example.net/yyy/1\r\nContent-Length: 0\r\n\r\n"},
	}
	tests = append(tests,
		struct{ name, request, response string }{"balanced by its path", "GET /x/../y?z HTTP/1.1\r\nHost: A.example\r\n\r\n", ok("fine")},
		struct{ name, request, response string }{"balanced by a cookie", "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; SID=42\r\n\r\n", ok("fine")},
		struct{ name, request, response string }{"of a session in the URL", get("/a;jsessionid=abc.n1?x=y"), ok("fine")},
		struct{ name, request, response string }{"of a session in a cookie", "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; JSESSIONID=abc.n1\r\n\r\n", ok("fine")},
		struct{ name, request, response string }{"of a server named by our cookie", "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; SERVER=token\r\n\r\n", ok("fine")},
		struct{ name, request, response string }{"of a client that gets our cookie", "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; SERVER=forged\r\n\r\n", ok("fine")},
		struct{ name, request, response string }{"balanced by traffic", get("/"), ok("fine")},
		struct{ name, request, response string }{"balanced by latency, of one set of two", get("/"), ok("fine")},
		struct{ name, request, response string }{"of a server that is judged", get("/"), ok("fine")},
		struct{ name, request, response string }{"with a limit", get("/"), ok("fine")},
	)
	balanced := map[string]setup{
		"with a limit":         limited(1, &Limit{}, 5),
		"balanced by its path": {balance: balance.Options{Algorithm: "hash", HashBalanceFactor: 125}, key: Key{Source: KeyPath}},
		"balanced by a cookie": {balance: balance.Options{Algorithm: "maglev"}, key: Key{Source: KeyCookie, Name: "SID"}},
		"balanced by traffic":  {balance: balance.Options{Algorithm: "bytraffic", MaxFails: 3}},
		"balanced by latency, of one set of two": {
			balance: balance.Options{Algorithm: "ewma", ForceRecovery: true, SlowStart: time.Second},
			members: []balance.Server{{}, {Status: balance.Standby}},
		},
		"of a server that is judged": {balance: balance.Options{Ejection: &balance.Ejection{
			Window: time.Hour, MinRequests: 1, ErrorRate: 50, LatencyFactor: 5, Time: 1, MaxTime: 1,
		}}, failover: Backend{ErrorStatus: failOn(500), RetryStatus: failOn(503)}},
	}
	for _, test := range tests {
		if strings.HasPrefix(test.name, "of a s") || strings.HasPrefix(test.name, "of a client that") {
			balanced[test.name] = setup{
				balance: balance.Options{Algorithm: "byrequests"},
				members: []balance.Server{{Route: "n1", Token: "token"}},
				with: func(p *Plan) {
					p.Backends[0].Sticky = &Sticky{Header: "X-Route", Cookie: "JSESSIONID", Param: "jsessionid", Separator: '.', Own: &own}
					p.Backends[0].Servers[0].SetCookie = own.Field("token")
				},
			}
		}
	}
	edits := edited(remap.EditOptions{
		MapHostRequest:  []remap.Mapping{{From: "-", To: "int.example.net"}},
		MapHostResponse: []remap.Mapping{{From: "-", To: "-"}},
		MapURLPath:      []remap.Mapping{{From: "/xxx", To: "/yyy"}},
		Forwarded:       remap.ForwardedFor | remap.ForwardedHost,
		Request: remap.FieldEdits{
			Set:    []remap.FieldLine{{Name: "X-Client", Value: text(t, "$client_addr $client_port")}},
			Remove: []string{"X-Secret"},
		},
	})
	for i, test := range tests {
		for _, record := range []string{"", "combined", "json"} {
			n := 10000
			if i > 0 {
				n = 2000 // one allocation a request would show in a tenth of that
			}
			name := test.name
			if record != "" {
				name += ", recorded as " + record
			}
			t.Run(name, func(t *testing.T) {
				tr := newTrace(t)
				o := tr.origin()
				s := balanced[test.name]
				if test.name == "edited" {
					s.with = edits
				}
				s.record, s.logTo = record, "/dev/null"
				servers := []any{o}
				for range len(s.members) - 1 {
					servers = append(servers, tr.refusing())
				}
				p := tr.proxy(s, servers...)

				// The first exchange shows what both sides get: the measured ones get the same.
				c := p.dial()
				c.send(test.request)
				x := o.accept()
				request := x.all()
				x.send(test.response)
				tr.eventually("the exchange does not end", func() bool { return p.idle() == 1 })
				response := c.all()

				client, origin := c.raw(), x.raw()
				served := tr.beside("origin", func() error {
					answer := []byte(test.response)
					for origin.read(len(request)) && origin.write(answer) {
					}
					return nil // the client sees what went wrong
				})
				out, in := []byte(test.request), []byte(response)
				exchange := func(n int) {
					for i := range n {
						if !client.exchange(out, in) {
							t.Fatalf("exchange %d went wrong: got %s, want %s", i, excerpt(string(client.buf[:len(in)])), excerpt(response))
						}
					}
				}
				exchange(warmup)
				runtime.GC()
				defer debug.SetGCPercent(debug.SetGCPercent(-1))
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				exchange(n)
				runtime.ReadMemStats(&after)
				p.drain()
				served()
				mallocs := after.Mallocs - before.Mallocs
				t.Logf("%d allocations for %d requests", mallocs, n)
				if mallocs > allowed {
					t.Errorf("more than %d allocations", allowed)
				}
			})
		}
	}
}

// all returns what a peer has been sent: something small that was sent in one piece.
func (c *peer) all() string {
	c.tr.Helper()
	if _, err := c.r.Peek(1); err != nil {
		c.tr.Fatalf("%s: %v", c.name, err)
	}
	b := make([]byte, c.r.Buffered())
	if _, err := io.ReadFull(c.r, b); err != nil {
		c.tr.Fatalf("%s: %v", c.name, err)
	}
	return string(b)
}
