package loop

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"millrace/balance"
	"millrace/internal/health"
	"millrace/internal/proxyproto"
	"millrace/remap"
)

const (
	lineOf192  = "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n"
	lineOf2001 = "PROXY TCP6 2001:db8::1 2001:db8::2 12345 443\r\n"
)

// header makes one of version 2.
func header(source, destination, tlvs string) string {
	h := proxyproto.Header{Version: 2, TLVs: []byte(tlvs)}
	if source != "" {
		h.Source, h.Destination = netip.MustParseAddrPort(source), netip.MustParseAddrPort(destination)
	}
	return string(proxyproto.Append(nil, &h))
}

// believing has the listener take PROXY headers from everybody on 127.0.0.1 and on unix sockets, and from a proxy behind
// it.
func believing(mode ProxyProtocol, more ...func(*Plan)) func(*Plan) {
	return func(plan *Plan) {
		plan.Listeners[0].ProxyProtocol = mode
		plan.Listeners[0].Trust = &Trust{Proxies: addrs("127.0.0.1/32", "10.0.0.0/8"), Unix: true}
		for _, f := range more {
			f(plan)
		}
	}
}

// readProxyHeader reads a header as a server would, and returns it in words.
func (c *peer) readProxyHeader() (string, error) {
	for n := 1; ; n++ {
		b, err := c.r.Peek(n)
		if err != nil {
			return "", err
		}
		var h proxyproto.Header
		switch n, err := proxyproto.Parse(b, &h); err {
		case nil:
			said := fmt.Sprintf("v%d %v %v %q", h.Version, h.Source, h.Destination, h.TLVs)
			if !h.Source.IsValid() {
				said = fmt.Sprintf("v%d nobody", h.Version)
			}
			c.r.Discard(n)
			return said, nil
		case proxyproto.ErrNeedMore:
		default:
			return "", err
		}
	}
}

func (c *peer) wantProxyHeader(want string) {
	c.tr.Helper()
	if got, err := c.readProxyHeader(); got != want || err != nil {
		c.tr.Fatalf("%s: got header %s, %v, want %s", c.name, got, err, want)
	}
}

func TestAProxyHeaderNamesTheClient(t *testing.T) {
	const unixHeader = "\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8"
	tests := []struct{ name, header, client, forwarded string }{
		{"version 1", lineOf192, "192.0.2.1 12345", "192.0.2.1"},
		{"version 1, IPv6", lineOf2001, "2001:db8::1 12345", "2001:db8::1"},
		{"version 2", header("192.0.2.1:12345", "198.51.100.2:443", ""), "192.0.2.1 12345", "192.0.2.1"},
		{"version 2, IPv6", header("[2001:db8::1]:12345", "[2001:db8::2]:443", ""), "2001:db8::1 12345", "2001:db8::1"},
		{"version 2, with TLVs", header("192.0.2.1:12345", "198.51.100.2:443", "\x02\x00\x01a\xe0\x00\x00"), "192.0.2.1 12345", "192.0.2.1"},
		{"version 2, of a unix socket", unixHeader + strings.Repeat("\x00", 216), "- -", ""},
		{"unknown", "PROXY UNKNOWN\r\n", "127.0.0.1 PORT", "127.0.0.1"},
		{"local", header("", "", ""), "127.0.0.1 PORT", "127.0.0.1"},
	}
	for _, test := range tests {
		for _, mode := range []ProxyProtocol{ProxyOptional, ProxyRequired} {
			for _, by := range []string{"at once", "in bytes", "in halves", "before the request"} {
				t.Run(fmt.Sprint(test.name, " ", mode, " ", by), func(t *testing.T) {
					tr := newTrace(t)
					o := tr.origin()
					o.echo("X-Forwarded-For: ")
					p := tr.proxy(setup{record: "$client_addr $client_port $target", with: believing(mode)}, o)
					c := p.dial()
					switch by {
					case "at once":
						c.send(test.header + get("/1"))
					case "in bytes":
						c.sendBytes(test.header + get("/1"))
					case "in halves":
						c.sendHalves(test.header + get("/1"))
					case "before the request":
						c.send(test.header)
						p.settle()
						c.send(get("/1"))
					}
					line := "X-Forwarded-For: " + test.forwarded
					if test.forwarded == "" {
						line = "none"
					}
					c.want(200, line)
					// It is once in a connection.
					c.send(get("/2"))
					c.want(200, line)
					_, port, _ := net.SplitHostPort(c.LocalAddr().String())
					client := strings.Replace(test.client, "PORT", port, 1)
					p.wantRecords(client+" /1", client+" /2")
				})
			}
		}
	}
}

// TestWhoAProxyDoesNotNameIsNotBelieved: the proxy passes on what anybody has sent it. Only where it speaks for itself is
// X-Forwarded-For its own.
func TestWhoAProxyDoesNotNameIsNotBelieved(t *testing.T) {
	for h, client := range map[string]string{
		"PROXY UNKNOWN\r\n":                      "127.0.0.1",
		"\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x00": "127.0.0.1", // PROXY, AF_UNSPEC
		lineOf192:                                "192.0.2.1",
		header("", "", ""):                       "203.0.113.7", // LOCAL
		"":                                       "203.0.113.7",
	} {
		tr := newTrace(t)
		o := tr.origin()
		o.serveEach(func(*http.Request, []byte) string { return ok("answer") })
		p := tr.proxy(setup{record: "$client_addr", with: believing(ProxyOptional)}, o)
		c := p.dial()
		c.send(h + "GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n")
		c.want(200, "answer")
		p.wantRecords(client)
	}
}

func TestAProxyHeaderOnAUnixSocket(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("X-Forwarded-For: ")
	p := tr.proxy(setup{unix: true, with: believing(ProxyRequired)}, o)
	c := p.dial()
	c.send(lineOf192 + get("/"))
	c.want(200, "X-Forwarded-For: 192.0.2.1")
}

func TestWhatFollowsAProxyHeaderPassesARawListener(t *testing.T) {
	for _, h := range []string{lineOf192, header("192.0.2.1:12345", "198.51.100.2:443", "")} {
		for _, by := range []string{"at once", "in bytes"} {
			t.Run(fmt.Sprintf("%q %s", h[:5], by), func(t *testing.T) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{sock: true, record: "$client_addr:$client_port $bytes_in", with: believing(ProxyRequired)}, o)
				c := p.dial()
				if by == "at once" {
					c.send(h + "PROXY and more\r\n")
				} else {
					c.sendBytes(h + "PROXY and more\r\n")
				}
				x := o.accept()
				x.wantBytes("PROXY and more\r\n")
				x.send("answer")
				c.wantBytes("answer")
				c.closeWrite()
				x.wantEnd()
				x.closeWrite()
				c.wantEnd()
				p.wantRecords("192.0.2.1:12345 16")
			})
		}
	}
}

func TestARawServerMaySpeakFirstBehindAProxyHeader(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{sock: true, with: believing(ProxyRequired)}, o)
	c := p.dial()
	p.settle()
	o.wantNobody() // who it is for is not known yet
	c.send(lineOf192)
	x := o.accept()
	x.send("hello")
	c.wantBytes("hello")
}

func TestAConnectionMayDoWithoutAnOptionalProxyHeader(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("X-Forwarded-For: ")
	p := tr.proxy(setup{with: believing(ProxyOptional)}, o)
	c := p.dial()
	c.sendBytes(get("/"))
	c.want(200, "X-Forwarded-For: 127.0.0.1")
	c = p.dial()
	c.send("P")
	p.settle()
	c.send("OST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
	c.want(200, "X-Forwarded-For: 127.0.0.1")
}

func TestNobodyElseIsBelieved(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("X-Forwarded-For: ")
	for _, h := range []string{lineOf192, header("192.0.2.1:12345", "198.51.100.2:443", "")} {
		p := tr.proxy(setup{with: believing(ProxyOptional)}, o)
		c := p.dialFrom("127.0.0.2")
		c.send(h + get("/"))
		c.wantError("GET", 400)
		c = p.dialFrom("127.0.0.2")
		c.send(get("/"))
		c.want(200, "X-Forwarded-For: 127.0.0.2")
		p.drain()

		p = tr.proxy(setup{with: believing(ProxyRequired)}, o)
		c = p.dialFrom("127.0.0.2")
		io.WriteString(c, h+get("/"))
		if got := c.wantGone(); got != "" {
			t.Errorf("got %q", got)
		}
		if !strings.Contains(p.said.String(), "not one of trusted_proxies") {
			t.Errorf("the process log says %q", p.said)
		}
		p.drain()
	}
}

func TestAConnectionWithoutAProperProxyHeaderIsClosed(t *testing.T) {
	tests := []struct{ name, sent, said string }{
		{"none", get("/"), "there is no PROXY header"},
		{"a wrong address", "PROXY TCP4 192.0.2.1 198.51.100.x 1 2\r\n" + get("/"), "malformed"},
		{"no line end", "PROXY " + strings.Repeat("x", 200), "too long"},
		{"a wrong checksum", "\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x07\x03\x00\x04abcd" + get("/"), "checksum"},
	}
	for _, test := range tests {
		for _, sock := range []bool{false, true} {
			t.Run(fmt.Sprint(test.name, ", raw: ", sock), func(t *testing.T) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{sock: sock, record: "$end", with: believing(ProxyRequired)}, o)
				c := p.dial()
				c.send(test.sent)
				if got := c.wantGone(); got != "" {
					t.Errorf("got %q", got)
				}
				p.drain()
				o.wantNobody()
				if !strings.Contains(p.said.String(), test.said) {
					t.Errorf("the process log says %q", p.said)
				}
				p.wantRecords()
			})
		}
	}
	t.Run("half of one", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{with: believing(ProxyRequired)}, o)
		c := p.dial()
		c.send(lineOf192[:20])
		c.closeWrite()
		c.wantGone()
	})
}

func TestAProxyHeaderHasToComeInTime(t *testing.T) {
	const short = 50 * time.Millisecond
	for _, sent := range []string{"", lineOf192[:20], "\r\n\r\n\x00"} {
		for _, mode := range []ProxyProtocol{ProxyOptional, ProxyRequired} {
			t.Run(fmt.Sprintf("%q %d", sent, mode), func(t *testing.T) {
				tr := newTrace(t)
				o := tr.origin()
				s := setup{with: believing(mode), timeouts: Timeouts{ClientHeader: short}}
				if sent == "" && mode == ProxyOptional {
					s.timeouts = Timeouts{ClientIdle: short} // it may be a client that is about to send a request
				}
				p := tr.proxy(s, o)
				c := p.dial()
				c.send(sent)
				if got := c.wantGone(); got != "" {
					t.Errorf("got %q", got)
				}
				p.drain()
				idle := sent == "" && mode == ProxyOptional
				if said := strings.Contains(p.said.String(), "has not come in time"); said == idle {
					t.Errorf("the process log says %q", p.said)
				}
			})
		}
	}
}

func TestAnOptionalProxyHeaderMayComeLate(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("X-Forwarded-For: ")
	p := tr.proxy(setup{with: believing(ProxyOptional), timeouts: Timeouts{ClientHeader: patience}}, o)
	c := p.dial()
	tr.eventually("the connection is not there", func() bool { return p.open() == 1 })
	// It has been silent for longer than a header may take.
	p.onLoops(func(l *Loop) { l.sessions.next.stageSince -= Time(2 * patience) })
	c.sendHalves(lineOf192)
	c.send(get("/"))
	c.want(200, "X-Forwarded-For: 192.0.2.1")
}

func TestTheClientOfAProxyHeaderSticksToItsServer(t *testing.T) {
	for _, sock := range []bool{false, true} {
		t.Run(fmt.Sprint("raw: ", sock), func(t *testing.T) {
			tr := newTrace(t)
			var servers []any
			for i := range 3 {
				o := tr.origin()
				o.serveEach(func(*http.Request, []byte) string { return ok(fmt.Sprint(i)) })
				servers = append(servers, o)
			}
			p := tr.proxy(setup{sock: sock, balance: balance.Options{Algorithm: "sticky"}, key: Key{Source: KeyClient}, with: believing(ProxyRequired)}, servers...)
			used := make(map[string]bool)
			// The servers' ports, and with them who is whose, differ from run to run: with this many clients none of three
			// servers is left out.
			const clients = 100
			for client := range clients {
				var first string
				for again := range 2 {
					c := p.dial()
					c.send(fmt.Sprintf("PROXY TCP4 192.0.2.%d 198.51.100.2 %d 2\r\n", client, again) + get("/"))
					_, body, err := c.readResponse("GET")
					if err != nil {
						t.Fatal(err)
					}
					if again == 0 {
						first = body
						used[body] = true
					} else if body != first {
						t.Errorf("client %d is served by %s and by %s", client, first, body)
					}
					c.Close()
				}
			}
			if len(used) != len(servers) {
				t.Errorf("%d clients use the servers %v", clients, used)
			}
		})
	}
}

func TestADrainClosesConnectionsThatHaveSaidNothing(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("X-Forwarded-For: ")
	p := tr.proxy(setup{with: believing(ProxyRequired)}, o)
	silent, busy := p.dial(), p.dial()
	busy.send(lineOf192[:7])
	tr.eventually("the connections are not there", func() bool { return p.open() == 2 })
	p.settle()
	drained := tr.beside("drain", func() error { p.drain(); return nil })
	silent.wantGone()
	busy.send(lineOf192[7:])
	busy.wantGone() // there is no request, and none is taken any more
	drained()
}

func TestTheClientOfAProxyHeaderIsJudgedAsIfItHadConnected(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("X-Forwarded-For: ")
	p := tr.proxy(setup{with: believing(ProxyRequired, func(plan *Plan) {
		plan.Limits.ConnectionsPerClient = 2
		plan.Listeners[0].Guard = &Guard{Deny: addrs("192.0.2.66/32")}
	})}, o)
	line := func(client string) string { return "PROXY TCP4 " + client + " 198.51.100.2 1 2\r\n" }
	serve := func(client string) *peer {
		c := p.dial()
		c.send(line(client) + get("/"))
		c.want(200, "X-Forwarded-For: "+client)
		return c
	}
	refuse := func(client string) {
		c := p.dial()
		c.send(line(client) + get("/"))
		if got := c.wantGone(); got != "" {
			t.Errorf("%s: got %q", client, got)
		}
	}
	refuse("192.0.2.66")
	first := serve("192.0.2.1")
	serve("192.0.2.1")
	refuse("192.0.2.1")
	serve("192.0.2.2")
	first.Close()
	tr.eventually("the connection is still open", func() bool { return p.open() == 2 })
	serve("192.0.2.1")
	p.drain()
	for i := range p.srv.clients.slots {
		if v := p.srv.clients.slots[i].Load(); v&countMask != 0 {
			t.Errorf("%d connections are counted when all have ended", v&countMask)
		}
	}
}

// TestWhoAProxyDoesNotNameIsJudgedAsIfTheProxyWereAClient: it may be anybody, so that whom a listener takes does not get
// easier for who has no name.
func TestWhoAProxyDoesNotNameIsJudgedAsIfTheProxyWereAClient(t *testing.T) {
	const unspec = "\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x00"
	for name, test := range map[string]struct {
		guard Guard
		taken bool
	}{
		"it is not allowed": {Guard{Allow: addrs("203.0.113.0/24")}, false},
		"it is denied":      {Guard{Deny: addrs("127.0.0.1/32")}, false},
		"it is allowed":     {Guard{Allow: addrs("127.0.0.1/32")}, true},
		"others are denied": {Guard{Deny: addrs("203.0.113.0/24")}, true},
	} {
		for _, h := range []string{"PROXY UNKNOWN\r\n", unspec} {
			t.Run(fmt.Sprintf("%s, %q", name, h), func(t *testing.T) {
				tr := newTrace(t)
				o := tr.origin()
				o.echo("X-Forwarded-For: ")
				p := tr.proxy(setup{with: believing(ProxyRequired, func(plan *Plan) { plan.Listeners[0].Guard = &test.guard })}, o)
				c := p.dial()
				c.send(h + "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n")
				if test.taken {
					c.want(200, "X-Forwarded-For: 203.0.113.7, 127.0.0.1")
					return
				}
				if got := c.wantGone(); got != "" {
					t.Errorf("got %q", got)
				}
				o.wantNobody()
			})
		}
	}
}

func TestRequestsOfAProxyHeadersClientAreLimited(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("GET")
	p := tr.proxy(setup{with: believing(ProxyRequired, func(plan *Plan) {
		plan.Listeners[0].Guard = &Guard{Rate: &Rate{Interval: time.Hour, Burst: 1}}
	})}, o)
	for _, client := range []string{"192.0.2.1", "192.0.2.2"} {
		c := p.dial()
		c.send("PROXY TCP4 " + client + " 198.51.100.2 1 2\r\n" + get("/"))
		c.want(200, "GET / HTTP/1.1")
		c = p.dial()
		c.send("PROXY TCP4 " + client + " 198.51.100.2 3 4\r\n" + get("/"))
		c.wantError("GET", 429)
	}
}

func TestAFieldIsBelievedOnlyOfWhomTheProxyHeaderNames(t *testing.T) {
	const fields = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n"
	tr := newTrace(t)
	o := tr.origin()
	o.echo("X-Forwarded-For: ")
	p := tr.proxy(setup{record: "$client_addr", with: believing(ProxyRequired)}, o)
	c := p.dial()
	c.send(lineOf192 + fields) // a client, who may write what it likes
	c.want(200, "X-Forwarded-For: 203.0.113.7, 192.0.2.1")
	c = p.dial()
	c.send("PROXY TCP4 10.0.0.1 198.51.100.2 1 2\r\n" + fields) // a trusted proxy before the one before us
	c.want(200, "X-Forwarded-For: 203.0.113.7")
	p.wantRecords("192.0.2.1", "203.0.113.7")
}

func TestEditsSeeWhatTheProxyHeaderSays(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("Forwarded: ")
	p := tr.proxy(setup{with: believing(ProxyRequired, edited(remap.EditOptions{Forwarded: remap.ForwardedFor | remap.ForwardedBy}))}, o)
	c := p.dial()
	c.send(lineOf192 + get("/"))
	c.want(200, `Forwarded: for=192.0.2.1;by="198.51.100.2:443"`)
}

// sending has the servers told by version 1 or 2 of the PROXY protocol.
func sending(version uint8, tlvs bool) func(*Plan) {
	return func(plan *Plan) {
		for _, s := range plan.Backends[0].Servers {
			s.SendProxy, s.SendProxyTLV = version, tlvs
		}
	}
}

func TestAServerIsToldWhoTheClientIs(t *testing.T) {
	for version := uint8(1); version <= 2; version++ {
		t.Run(fmt.Sprint("version ", version), func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{with: sending(version, false)}, o)
			c := p.dial()
			said := fmt.Sprintf(`v%d %v %v ""`, version, c.LocalAddr(), c.RemoteAddr())
			for i := range 3 {
				// Each request has a connection of its own, though the client keeps its.
				c.send(post("/", letters(1000*i)))
				x := o.accept()
				x.wantProxyHeader(said)
				x.wantRequest("POST /", letters(1000*i))
				x.send(ok("fine"))
				c.want(200, "fine")
				x.wantEnd()
			}
			if n := p.idle(); n != 0 {
				t.Errorf("%d connections are kept", n)
			}
		})
	}
}

func TestAServerIsToldWhatAProxyHeaderHasSaid(t *testing.T) {
	const tlvs = "\x02\x00\x01a\xe0\x00\x00"
	tests := []struct {
		name    string
		version uint8
		tlvs    bool
		sent    string
		want    string
	}{
		{"without TLVs", 2, false, header("192.0.2.1:12345", "198.51.100.2:443", tlvs), `v2 192.0.2.1:12345 198.51.100.2:443 ""`},
		{"with TLVs", 2, true, header("192.0.2.1:12345", "198.51.100.2:443", tlvs), fmt.Sprintf("v2 192.0.2.1:12345 198.51.100.2:443 %q", tlvs)},
		{"by version 1", 1, false, header("[2001:db8::1]:12345", "[2001:db8::2]:443", tlvs), `v1 [2001:db8::1]:12345 [2001:db8::2]:443 ""`},
		{"with none to pass on", 2, true, lineOf192, `v2 192.0.2.1:12345 198.51.100.2:443 ""`},
	}
	for _, test := range tests {
		for _, sock := range []bool{false, true} {
			t.Run(fmt.Sprint(test.name, ", raw: ", sock), func(t *testing.T) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{sock: sock, with: believing(ProxyRequired, sending(test.version, test.tlvs))}, o)
				c := p.dial()
				c.send(test.sent + get("/"))
				x := o.accept()
				x.wantProxyHeader(test.want)
				x.wantRequest("GET /", "")
				x.send(ok("fine"))
				c.want(200, "fine")
			})
		}
	}
}

func TestAServerIsToldTheClientThatATrustedFieldNames(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: believing(ProxyOff, sending(1, false))}, o)
	c := p.dial()
	c.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 2001:db8::7\r\n\r\n")
	x := o.accept()
	at := netip.MustParseAddrPort(c.RemoteAddr().String())
	x.wantProxyHeader(fmt.Sprintf(`v1 [2001:db8::7]:0 %v ""`, at))
}

func TestAServerIsToldThatAClientHasNoAddress(t *testing.T) {
	for version := uint8(1); version <= 2; version++ {
		tr := newTrace(t)
		o := tr.unixOrigin()
		p := tr.proxy(setup{unix: true, with: sending(version, false)}, o)
		c := p.dial()
		c.send(get("/"))
		x := o.accept()
		x.wantProxyHeader(fmt.Sprintf("v%d nobody", version))
		x.wantRequest("GET /", "")
		x.send(ok("fine"))
		c.want(200, "fine")
	}
}

func TestTunnelsBeginWithAProxyHeader(t *testing.T) {
	tests := []struct {
		name string
		setup
		request, answer, established, from, to string
	}{
		{"connect", setup{connect: true}, "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", "", string(established), "", ""},
		{
			"upgrade",
			setup{upgrade: &Upgrade{Any: true}},
			"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
			"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n", "", "",
		},
		{"raw", setup{sock: true}, "", "", "", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			test.with = sending(2, false)
			p := tr.proxy(test.setup, o)
			c := p.dial()
			c.send(test.request)
			x := o.accept()
			x.wantProxyHeader(fmt.Sprintf(`v2 %v %v ""`, c.LocalAddr(), c.RemoteAddr()))
			if test.answer != "" {
				x.wantHead()
				x.send(test.answer)
			}
			if test.established != "" {
				if head := c.wantHead(); !strings.HasPrefix(head, test.established) {
					t.Errorf("got %q", head)
				}
			}
			c.send("up")
			x.wantBytes("up")
			x.send("down")
			c.wantBytes("down")
		})
	}
}

func TestTheNextServerIsToldAgain(t *testing.T) {
	tr := newTrace(t)
	a, b := tr.origin(), tr.origin()
	p := tr.proxy(setup{roundRobin: true, with: sending(1, false)}, a, b)
	c := p.dial()
	c.send(get("/"))
	said := fmt.Sprintf(`v1 %v %v ""`, c.LocalAddr(), c.RemoteAddr())
	x := a.accept()
	x.wantProxyHeader(said)
	x.wantRequest("GET /", "")
	x.reset()
	x = b.accept()
	x.wantProxyHeader(said)
	x.wantRequest("GET /", "")
	x.send(ok("fine"))
	c.want(200, "fine")
}

func TestChecksAreTheProxysOwnConnections(t *testing.T) {
	for version := uint8(1); version <= 2; version++ {
		for _, asks := range []bool{false, true} {
			t.Run(fmt.Sprint("version ", version, ", http: ", asks), func(t *testing.T) {
				tr := newTrace(t)
				o := tr.origin()
				check := &health.Check{Interval: time.Hour, Timeout: patience, Rise: 1, Fall: 1}
				if asks {
					check.HTTP, check.Method, check.Path, check.Statuses = true, "GET", "/live", []health.StatusRange{{First: 200, Last: 200}}
				}
				tr.proxy(setup{health: check, with: sending(version, false)}, o)
				x := o.accept()
				x.wantProxyHeader(fmt.Sprintf("v%d nobody", version))
				if asks {
					x.wantRequest("GET /live", "")
					x.send(ok(""))
				}
				x.wantGone()
			})
		}
	}
}

func TestARequestThatTellsTheServerAllocatesNothing(t *testing.T) {
	s := &session{remote: netip.MustParseAddr("192.0.2.1"), port: 1, listener: &Listener{Address: netip.MustParseAddrPort("127.0.0.1:80")}}
	s.x = &exchange{backend: &Backend{Servers: []*BackendServer{{SendProxy: 2}}}}
	out := make([]byte, 0, 100)
	if n := testing.AllocsPerRun(100, func() { out = s.appendProxyHeader(out[:0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	var h proxyproto.Header
	if _, err := proxyproto.Parse(out, &h); err != nil || h.Source.Port() != 1 {
		t.Errorf("%q: %v", out, err)
	}
}
