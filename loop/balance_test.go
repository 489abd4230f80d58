package loop

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"millrace/balance"
)

// fleet is a number of origins that answer each with its own number.
func (tr *trace) fleet(n int) []any {
	servers := make([]any, n)
	for i := range servers {
		o := tr.origin()
		o.serveEach(func(*http.Request, []byte) string { return ok(fmt.Sprint(i)) })
		servers[i] = o
	}
	return servers
}

// served sends a request and returns the number of the origin that has answered it, or else the status.
func (c *peer) served(request string) string {
	c.tr.Helper()
	c.send(request)
	res, body, err := c.readResponse("GET")
	if err != nil {
		c.tr.Fatalf("%s: %v", c.name, err)
	}
	if res.StatusCode != 200 {
		return fmt.Sprint(res.StatusCode)
	}
	return body
}

func request(target string, fields ...string) string {
	return "GET " + target + " HTTP/1.1\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n"
}

// A pair of requests goes to the same server or not by the part of them that the key is made from. With this many
// servers and pairs, others would not.
func TestKeys(t *testing.T) {
	host := "Host: www.example.org"
	type pair struct{ a, b string }
	for _, tt := range []struct {
		name string
		key  Key
		same []pair
		// different is made with numbers for %d: not all of them go to the same server.
		different string
	}{
		{"path", Key{Source: KeyPath}, []pair{
			{request("/a?x=1", host), request("/a?x=2", host)},
			{request("/a", host), request("/%61", host)},
			{request("/a", host), request("/b/../a", host)},
			{request("/a", host), request("/a", "Host: WWW.example.org:80")},
			{request("/a", host), request("http://www.example.org/a", host)},
		}, request("/%d", host)},
		{"path, hosts", Key{Source: KeyPath}, nil, request("/", "Host: www%d.example.org")},
		{"path, ports", Key{Source: KeyPath}, nil, request("/", "Host: www.example.org:80%d")},
		{"path as lighttpd", Key{Source: KeyPath, Lighttpd: true}, []pair{
			{request("/a?x=1", host), request("/a?x=2", host)},
			{request("/a", host), request("/a", "Host: WWW.example.org:80")},
		}, request("/%d", host)},
		{"uri", Key{Source: KeyURI}, []pair{{request("/a?x=1", host), request("/a?x=1", host, "X: y")}}, request("/a?x=%d", host)},
		{"client", Key{Source: KeyClient}, []pair{{request("/a", host), request("/b", host)}}, ""},
		{"client as lighttpd", Key{Source: KeyClient, Lighttpd: true}, []pair{{request("/a", host), request("/b", host)}}, ""},
		{"header", Key{Source: KeyHeader, Name: "X-User"}, []pair{
			{request("/a", host, "X-User: u"), request("/b", host, "x-useR: u")},
			{request("/a", host, "X-User: u"), request("/a", host, "X-User: u", "X-User: v")},
			{request("/a", host, "X-User: u", "X-Use7: v"), request("/a", host, "X-Use7: w", "X-User: u")},
		}, request("/", host, "X-User: u%d")},
		{"header, absent", Key{Source: KeyHeader, Name: "X-User"}, nil, request("/%d", host)},
		{"cookie", Key{Source: KeyCookie, Name: "SID"}, []pair{
			{request("/a", host, "Cookie: SID=x"), request("/b", host, "Cookie: a=b; SID=x; c=d")},
			{request("/a", host, "Cookie: SID=x"), request("/b", host, "Cookie: sid=z", "Cookie: XSID=y;SID=x;SID=w")},
		}, request("/", host, "Cookie: SID=%d")},
		{"cookie, other case", Key{Source: KeyCookie, Name: "SID"}, nil, request("/%d", host, "Cookie: sid=1; XSID=2; SIDX=3; SID")},
		{"cookie, empty", Key{Source: KeyCookie, Name: "SID"}, nil, request("/%d", host, "Cookie: SID=")},
		{"query", Key{Source: KeyQuery, Name: "u"}, []pair{
			{request("/a?u=1&v=2", host), request("/b?v=3&u=1&u=4", host)},
		}, request("/?u=%d", host)},
		{"query, absent", Key{Source: KeyQuery, Name: "u"}, nil, request("/%d?U=1&uu=2&u", host)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTrace(t)
			o := balance.Options{Algorithm: "hash"}
			if tt.key.Lighttpd {
				o.HashCompat = "lighttpd"
			}
			members := make([]balance.Server, 16)
			for i := range members {
				members[i] = balance.Server{Host: "10.0.0.1", Port: uint16(8080 + i)}
			}
			p := tr.proxy(setup{balance: o, members: members, key: tt.key}, tr.fleet(16)...)
			c := p.dial()
			for _, pair := range tt.same {
				if a, b := c.served(pair.a), c.served(pair.b); a != b {
					t.Errorf("%q and %q go to %s and %s", pair.a, pair.b, a, b)
				}
			}
			if tt.different == "" {
				return
			}
			seen := map[string]bool{}
			for n := range 20 {
				r := tt.different
				if strings.Contains(r, "%d") {
					r = fmt.Sprintf(r, n)
				}
				seen[c.served(r)] = true
			}
			if len(seen) < 3 {
				t.Errorf("%q go to %v", tt.different, seen)
			}
		})
	}
}

// TestAClientSticksToItsServer is lighttpd's sticky: to the server, until it is gone, and again when it is back.
func TestAClientSticksToItsServer(t *testing.T) {
	tr := newTrace(t)
	servers := tr.fleet(4)
	p := tr.proxy(setup{balance: balance.Options{Algorithm: "sticky"}, key: Key{Source: KeyClient}}, servers...)
	first := p.dial().served(get("/1"))
	for range 4 {
		if got := p.dial().served(get("/2")); got != first {
			t.Fatalf("%s, and then %s", first, got)
		}
	}
	var i balance.Index
	fmt.Sscan(first, &i)
	p.group.SetUp(i, false, 0)
	second := p.dial().served(get("/"))
	if second == first {
		t.Fatalf("%s is out of service", first)
	}
	if got := p.dial().served(get("/")); got != second {
		t.Fatalf("%s stands in, and then %s", second, got)
	}
	p.group.SetUp(i, true, 0)
	if got := p.dial().served(get("/")); got != first {
		t.Fatalf("%s is back, and %s serves", first, got)
	}
}

func TestBytesAreCountedForByTraffic(t *testing.T) {
	tr := newTrace(t)
	sizes := []int{10_000, 100}
	var servers []any
	for i, size := range sizes {
		o := tr.origin()
		o.serveEach(func(*http.Request, []byte) string { return okAs(i, size) })
		servers = append(servers, o)
	}
	p := tr.proxy(setup{balance: balance.Options{Algorithm: "bytraffic"}}, servers...)
	c := p.dial()
	var got []string
	for range 8 {
		got = append(got, c.served(get("/"))[:1])
	}
	if s := strings.Join(got, " "); s != "0 1 1 1 1 1 1 1" {
		t.Errorf("served by %s", s)
	}
}

// okAs is a response of a size that begins with a number.
func okAs(i, size int) string { return ok(fmt.Sprint(i) + strings.Repeat(".", size-1)) }

func TestASlowServerIsAvoidedByEWMA(t *testing.T) {
	tr := newTrace(t)
	slow, fast := tr.origin(), tr.origin()
	slow.serveEach(func(*http.Request, []byte) string {
		begun := time.Now()
		tr.eventually("time stands still", func() bool { return time.Since(begun) > 300*time.Millisecond })
		return ok("slow")
	})
	fast.serveEach(func(*http.Request, []byte) string { return ok("fast") })
	p := tr.proxy(setup{balance: balance.Options{Algorithm: "ewma"}}, slow, fast)
	c := p.dial()
	// Nothing is known of either, so both are tried.
	for tries := 0; c.served(get("/")) == "fast"; tries++ {
		if tries == 1000 {
			t.Fatal("the slow server was never tried")
		}
	}
	for range 20 {
		if got := c.served(get("/")); got != "fast" {
			t.Errorf("the %s server is taken again", got)
		}
	}
}
