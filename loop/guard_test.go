package loop

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/balance"
	"millrace/remap"
)

// addrs is the set of some prefixes.
func addrs(prefixes ...string) *AddrSet {
	var list []netip.Prefix
	for _, p := range prefixes {
		list = append(list, netip.MustParsePrefix(p))
	}
	return NewAddrSet(list...)
}

// dialFrom connects a client that has an address of its own.
func (p *proxy) dialFrom(local string) *peer {
	p.tr.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(local + ":0")), Timeout: patience}
	c, err := d.Dial("tcp", p.srv.Addrs()[0].String())
	if err != nil {
		p.tr.Fatal(err)
	}
	return p.tr.peer("client", c)
}

// wantRefused says that the connection was closed and nothing was answered.
func (c *peer) wantRefused() {
	c.tr.Helper()
	// The proxy may have closed it before this arrives, or may do so after.
	io.WriteString(c, get("/"))
	if got := c.wantGone(); got != "" {
		c.tr.Errorf("%s: got %s, want nothing", c.name, excerpt(got))
	}
}

// echo has an origin answer each request with the line of it that has the prefix.
func (o *origin) echo(prefix string) {
	o.serve(func(x *peer) error {
		for {
			head, err := x.readHead()
			if err != nil {
				return nil
			}
			body := "none"
			for line := range strings.SplitSeq(head, "\r\n") {
				if strings.HasPrefix(line, prefix) {
					body = line
				}
			}
			if _, err := io.WriteString(x, ok(body)); err != nil {
				return nil
			}
		}
	})
}

func TestAClientHasOnlySoManyConnections(t *testing.T) {
	for _, loops := range []int{1, 2} {
		t.Run(fmt.Sprint(loops, " loops"), func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			o.echo("GET")
			p := tr.proxy(setup{loops: loops, with: func(plan *Plan) { plan.Limits.ConnectionsPerClient = 2 }}, o)
			serve := func(c *peer) *peer {
				c.send(get("/"))
				c.want(200, "GET / HTTP/1.1")
				return c
			}
			first := serve(p.dialFrom("127.0.0.1"))
			serve(p.dialFrom("127.0.0.1"))
			for range 5 {
				p.dialFrom("127.0.0.1").wantRefused()
			}
			serve(p.dialFrom("127.0.0.2")) // another's are not counted with them
			if !strings.Contains(p.said.String(), "by_connections_per_client=") {
				t.Errorf("the process log says %q", p.said)
			}
			// As soon as one has left, one may come.
			first.Close()
			tr.eventually("the connection is still open", func() bool { return p.open() == 2 })
			serve(p.dialFrom("127.0.0.1"))
			p.dialFrom("127.0.0.1").wantRefused()
			p.drain()
			for i := range p.srv.clients.slots {
				if v := p.srv.clients.slots[i].Load(); v&countMask != 0 {
					t.Errorf("%d connections are counted when all have ended", v&countMask)
				}
			}
		})
	}
}

func TestATrustedProxyHasAnyNumberOfConnections(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("GET")
	p := tr.proxy(setup{with: func(plan *Plan) {
		plan.Limits.ConnectionsPerClient = 1
		plan.Listeners[0].Trust = &Trust{Proxies: addrs("127.0.0.7/32")}
	}}, o)
	for range 3 {
		c := p.dialFrom("127.0.0.7")
		c.send(get("/"))
		c.want(200, "GET / HTTP/1.1")
	}
	p.dialFrom("127.0.0.1")
	p.dialFrom("127.0.0.1").wantRefused()
}

func TestAListenerTakesOnlyThoseWhoMayCome(t *testing.T) {
	tests := []struct {
		name       string
		guard      Guard
		taken, not string
	}{
		{"deny", Guard{Deny: addrs("127.0.1.0/24")}, "127.0.0.1", "127.0.1.9"},
		{"allow", Guard{Allow: addrs("127.0.1.0/24")}, "127.0.1.9", "127.0.0.1"},
		{"deny goes first", Guard{Allow: addrs("127.0.0.0/8"), Deny: addrs("127.0.1.0/24")}, "127.0.0.1", "127.0.1.9"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			o.echo("GET")
			p := tr.proxy(setup{record: "$client_addr $status $end", with: func(plan *Plan) { plan.Listeners[0].Guard = &test.guard }}, o)
			p.dialFrom(test.not).wantRefused()
			c := p.dialFrom(test.taken)
			c.send(get("/"))
			c.want(200, "GET / HTTP/1.1")
			if !strings.Contains(p.said.String(), "by_allow_and_deny=1") {
				t.Errorf("the process log says %q", p.said)
			}
			p.wantRecords(test.taken + " 200 ok")
		})
	}
}

func TestARouteTakesOnlyThoseWhoMayCome(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("GET")
	p := tr.proxy(setup{
		record: "$target $status $end",
		rules:  []remap.Rule{{Path: "/inside"}, {}},
		with:   func(plan *Plan) { plan.Routes[0].Guard = &Guard{Allow: addrs("127.0.0.2/32")} },
	}, o)
	c := p.dialFrom("127.0.0.1")
	c.send(get("/inside/x"))
	if res := c.wantError("GET", 403); res.Close {
		t.Error("the connection is closed")
	}
	c.send(get("/outside"))
	c.want(200, "GET /outside HTTP/1.1")
	// What it would have sent is read, so that the next request is found.
	c.send(post("/inside", "body") + get("/outside"))
	c.wantError("POST", 403)
	c.want(200, "GET /outside HTTP/1.1")
	d := p.dialFrom("127.0.0.2")
	d.send(get("/inside"))
	d.want(200, "GET /inside HTTP/1.1")
	p.wantRecords("/inside 200 ok", "/inside 403 denied", "/inside/x 403 denied", "/outside 200 ok", "/outside 200 ok")
}

func TestATrustedProxyIsBelievedAboutWhomItActsFor(t *testing.T) {
	request := func(fields string) string { return "GET / HTTP/1.1\r\nHost: a.example\r\n" + fields + "\r\n" }
	tests := []struct {
		name, from, fields string
		chain              remap.Chain
		client, sent       string
	}{
		{"it says nothing", "127.0.0.7", "", remap.ChainXForwardedFor, "127.0.0.7", "127.0.0.7"},
		{"it names a client", "127.0.0.7", "X-Forwarded-For: 192.0.2.1\r\n", remap.ChainXForwardedFor, "192.0.2.1", "192.0.2.1"},
		{"behind another", "127.0.0.7", "X-Forwarded-For: 192.0.2.1, 10.0.0.1\r\n", remap.ChainXForwardedFor, "192.0.2.1", "192.0.2.1"},
		{"the client has made something up", "127.0.0.7", "X-Forwarded-For: 10.0.0.9, 192.0.2.1\r\n", remap.ChainXForwardedFor, "192.0.2.1", "10.0.0.9, 192.0.2.1"},
		{"it names nobody", "127.0.0.7", "X-Forwarded-For: unknown\r\n", remap.ChainXForwardedFor, "127.0.0.7", "unknown, 127.0.0.7"},
		{"somebody else says so", "127.0.0.1", "X-Forwarded-For: 192.0.2.1\r\n", remap.ChainXForwardedFor, "127.0.0.1", "192.0.2.1, 127.0.0.1"},
		{"by the standard", "127.0.0.7", "Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 10.0.0.9\r\n", remap.ChainForwarded, "192.0.2.1", "10.0.0.9, 192.0.2.1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			o.echo("X-Forwarded-For: ")
			p := tr.proxy(setup{record: "$client_addr", with: func(plan *Plan) {
				plan.Listeners[0].Trust = &Trust{Proxies: addrs("127.0.0.7/32", "10.0.0.0/8"), Chain: test.chain}
			}}, o)
			c := p.dialFrom(test.from)
			c.send(request(test.fields))
			c.want(200, "X-Forwarded-For: "+test.sent)
			// The next request on the connection is somebody else's.
			c.send(request(""))
			c.want(200, "X-Forwarded-For: "+test.from)
			p.wantRecords(test.client, test.from)
		})
	}
}

func TestTheClientsOfATrustedProxyAreJudgedOneByOne(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("GET")
	p := tr.proxy(setup{record: "$client_addr $status $end", unix: true, with: func(plan *Plan) {
		plan.Listeners[0].Trust = &Trust{Unix: true}
		plan.Listeners[0].Guard = &Guard{Deny: addrs("192.0.2.0/24")}
	}}, o)
	c := p.dial()
	for _, client := range []string{"192.0.2.1", "198.51.100.1", "192.0.2.2"} {
		c.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: " + client + "\r\n\r\n")
		if strings.HasPrefix(client, "192.") {
			c.wantError("GET", 403)
		} else {
			c.want(200, "GET / HTTP/1.1")
		}
	}
	p.wantRecords("192.0.2.1 403 denied", "192.0.2.2 403 denied", "198.51.100.1 200 ok")
}

// retryAfter returns what an answer says about coming again.
func retryAfter(t *testing.T, header string) int {
	t.Helper()
	n, err := strconv.Atoi(header)
	if err != nil || n < 1 {
		t.Errorf("Retry-After: %q", header)
	}
	return n
}

func TestRequestsAboveTheRateAreRefused(t *testing.T) {
	// In an hour nothing flows off while the test runs.
	limit := func(key RateKey, field string) *Guard {
		return &Guard{Rate: &Rate{Interval: time.Hour, Burst: 2, Key: key, Field: []byte(field)}}
	}
	request := func(host, key string) string {
		return "GET / HTTP/1.1\r\nHost: " + host + "\r\nX-Key: " + key + "\r\n\r\n"
	}
	tests := []struct {
		name              string
		guard             *Guard
		same, alsoSame    string // they count together
		other             string
		same2, otherLocal string
	}{
		{"by client", limit(RateByClient, ""), request("a", "1"), request("b", "2"), request("a", "1"), "127.0.0.1", "127.0.0.2"},
		{"by host", limit(RateByHost, ""), request("a.example", "1"), request("A.Example", "2"), request("b.example", "1"), "127.0.0.2", "127.0.0.1"},
		{"by field", limit(RateByField, "x-key"), request("a", "1"), request("b", "1"), request("a", "2"), "127.0.0.2", "127.0.0.1"},
		{"by client, without the field", limit(RateByField, "x-other"), request("a", "1"), request("b", "2"), request("a", "1"), "127.0.0.1", "127.0.0.2"},
		// A server that goes by the last one would be asked as often as there are others to put before it.
		{"by client, with the field twice", limit(RateByField, "x-key"), request("a", "1\r\nX-Key: 2"), request("a", "3\r\nX-Key: 2"), request("a", "1\r\nX-Key: 2"), "127.0.0.1", "127.0.0.2"},
	}
	for _, test := range tests {
		for _, onRoute := range []bool{false, true} {
			for _, loops := range []int{1, 2} {
				t.Run(fmt.Sprint(test.name, " route:", onRoute, " loops:", loops), func(t *testing.T) {
					tr := newTrace(t)
					o := tr.origin()
					o.echo("GET")
					p := tr.proxy(setup{loops: loops, record: "$status $end", with: func(plan *Plan) {
						if onRoute {
							plan.Routes[0].Guard = test.guard
						} else {
							plan.Listeners[0].Guard = test.guard
						}
					}}, o)
					a, b := p.dialFrom("127.0.0.1"), p.dialFrom(test.same2)
					a.send(test.same)
					a.want(200, "GET / HTTP/1.1")
					b.send(test.alsoSame)
					b.want(200, "GET / HTTP/1.1")
					for _, c := range []*peer{a, b, p.dialFrom("127.0.0.1")} {
						c.send(test.same)
						res := c.wantError("GET", 429)
						if n := retryAfter(t, res.Header.Get("Retry-After")); n > 3600 {
							t.Errorf("Retry-After: %d", n)
						}
						if res.Close {
							t.Error("the connection is closed")
						}
					}
					c := p.dialFrom(test.otherLocal)
					c.send(test.other)
					c.want(200, "GET / HTTP/1.1")
					p.wantRecords("200 ok", "200 ok", "200 ok", "429 rate_limited", "429 rate_limited", "429 rate_limited")
				})
			}
		}
	}
}

func TestOneClientsBucketsOfTwoLimitsAreTwo(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("GET")
	p := tr.proxy(setup{rules: []remap.Rule{{Path: "/a"}, {}}, with: func(plan *Plan) {
		for i, r := range plan.Routes {
			r.Guard = &Guard{Rate: &Rate{Interval: time.Hour, Burst: 1, ID: i}}
		}
	}}, o)
	c := p.dial()
	for _, path := range []string{"/a", "/b"} {
		c.send(get(path) + get(path))
		c.want(200, "GET "+path+" HTTP/1.1")
		c.wantError("GET", 429)
	}
}

func TestForwardedIsSeededWithWhatComesBeforeTheClient(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("Forwarded: ")
	p := tr.proxy(setup{with: func(plan *Plan) {
		plan.Listeners[0].Trust = &Trust{Proxies: addrs("127.0.0.7/32", "10.0.0.0/8")}
		edited(remap.EditOptions{Forwarded: remap.ForwardedFor})(plan)
	}}, o)
	c := p.dialFrom("127.0.0.7")
	c.send("GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 10.0.0.9, 192.0.2.1, 10.0.0.1\r\n\r\n")
	c.want(200, `Forwarded: for="10.0.0.9", for=192.0.2.1`)
}

func TestCONNECTIsForThoseWhoMayCome(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{
		connect: true, record: "$status $end",
		with: func(plan *Plan) { plan.Routes[0].Guard = &Guard{Deny: addrs("127.0.0.1/32")} },
	}, o)
	connect := "CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n"
	c := p.dialFrom("127.0.0.1")
	c.send(connect + "early")
	if res := c.wantError("CONNECT", 403); !res.Close {
		t.Error("the connection is kept")
	}
	c.wantGone()
	c.Close()
	d := p.dialFrom("127.0.0.2")
	d.send(connect)
	x := o.accept()
	d.wantHead()
	x.send("hello")
	d.wantBytes("hello")
	x.reset()
	d.wantGone()
	p.wantRecords("403 denied", "200 backend_error")
}

// The port of a host makes no difference to routes, so that it must make none to their rates.
func TestTheRateOfAHostIsThatOfAllItsPorts(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("GET")
	p := tr.proxy(setup{rules: []remap.Rule{{Hosts: []string{"a.example"}}}, with: func(plan *Plan) {
		plan.Routes[0].Guard = &Guard{Rate: &Rate{Interval: time.Hour, Burst: 1, Key: RateByHost}}
	}}, o)
	c := p.dial()
	request := func(host string) string { return "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n" }
	c.send(request("a.example"))
	c.want(200, "GET / HTTP/1.1")
	for _, host := range []string{"a.example:80", "A.example:8080", "a.example:", "a.example."} {
		c.send(request(host))
		c.wantError("GET", 429)
	}
}

// A client has the same server whether the trusted proxy that names it comes over TCP or over a unix socket.
func TestAKeyOfLighttpdsIsOfTheClientThatATrustedProxyNames(t *testing.T) {
	tr := newTrace(t)
	fleet := tr.fleet(16)
	members := make([]balance.Server, len(fleet))
	for i := range members {
		members[i] = balance.Server{Host: "10.0.0.1", Port: uint16(8080 + i)}
	}
	var clients []*peer
	for _, overUnix := range []bool{false, true} {
		clients = append(clients, tr.proxy(setup{
			unix: overUnix, members: members, key: Key{Source: KeyClient, Lighttpd: true},
			balance: balance.Options{Algorithm: "hash", HashCompat: "lighttpd"},
			with: func(plan *Plan) {
				plan.Listeners[0].Trust = &Trust{Proxies: addrs("127.0.0.1/32"), Unix: true}
			},
		}, fleet...).dial())
	}
	for n := range 16 {
		request := fmt.Sprintf("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.%d\r\n\r\n", 16*n)
		if a, b := clients[0].served(request), clients[1].served(request); a != b {
			t.Errorf("%q goes to %s and %s", request, a, b)
		}
	}
}
