package loop

import (
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"millrace/balance"
	"millrace/internal/health"
	"millrace/internal/resolve"
	"millrace/internal/resolve/dnstest"
)

// serviceName is what the servers of these tests are known by: a service, so that each has a port of its own.
const serviceName = "_http._tcp.example."

var service = resolve.Query{Name: serviceName, Service: true}

// dns is a name server, and a backend whose servers are what it says.
type dns struct {
	*dnstest.Server
	tr *trace
	// each says more of a server, by its name, than its address; absent: there is no more.
	each func(s *BackendServer, m *balance.Server)
}

func (tr *trace) dns() *dns {
	tr.Helper()
	s, err := dnstest.Start()
	if err != nil {
		tr.Fatal(err)
	}
	tr.Cleanup(s.Close)
	s.Set("node.example.", 0, "127.0.0.1")
	return &dns{Server: s, tr: tr}
}

// set makes origins the servers. They expire at once.
func (d *dns) set(origins ...*origin) {
	d.tr.Helper()
	var services []dnsmessage.SRVResource
	for _, o := range origins {
		port := netip.MustParseAddrPort(o.name).Port()
		services = append(services, dnsmessage.SRVResource{Port: port, Weight: 1, Target: dnsmessage.MustNewName("node.example.")})
	}
	d.SetService(serviceName, 0, services...)
}

// proxy starts a proxy whose servers are what the name server says.
func (d *dns) proxy(s setup) *proxy {
	tr := d.tr
	tr.Helper()
	r := resolve.New(resolve.Options{
		Nameservers: []netip.AddrPort{d.Addr}, Timeout: patience,
		MinTTL: time.Millisecond, MaxTTL: time.Millisecond, NegativeTTL: time.Millisecond,
		Hosts: filepath.Join(tr.TempDir(), "none"), ResolvConf: filepath.Join(tr.TempDir(), "none"),
	})
	more := s.with
	s.with = func(plan *Plan) {
		if more != nil {
			more(plan)
		}
		plan.Resolver = r
		b := plan.Backends[0]
		b.Names = &Names{
			Queries: []resolve.Query{service},
			First:   map[resolve.Query]resolve.Answer{},
			Servers: func(answers map[resolve.Query][]resolve.Record) (servers []*BackendServer, list []balance.Server) {
				for _, r := range answers[service] {
					address := netip.AddrPortFrom(r.Addr, r.Port)
					servers = append(servers, &BackendServer{Name: address.String(), Address: address})
					member := balance.Server{Name: address.String(), Weight: int(r.Weight)}
					if s.balance.Addresses {
						member.Of = r.Host
					}
					list = append(list, member)
					if d.each != nil {
						d.each(servers[len(servers)-1], &list[len(list)-1])
					}
				}
				return servers, list
			},
		}
		first, err := r.Lookup(tr.Context(), service)
		if err == nil {
			b.Names.First[service] = first
		}
		var list []balance.Server
		b.Servers, list = b.Names.Servers(map[resolve.Query][]resolve.Record{service: first.Records})
		for id, s := range b.Servers {
			s.ID = id
		}
		o := s.balance
		o.DisableTime, o.MayBeEmpty = max(o.DisableTime, s.disableTime), true
		if b.Group, err = balance.New(list, o); err != nil {
			tr.Fatal(err)
		}
	}
	// The harness asks for a server, which the names then take the place of.
	p := tr.proxy(s, "127.0.0.1:1")
	p.group = p.srv.plan.Backends[0].Group
	return p
}

// wantServers waits until the proxy's servers are these.
func (p *proxy) wantServers(origins ...*origin) {
	p.tr.Helper()
	p.tr.eventually("the servers have not become what the name says", func() bool {
		b := p.srv.plan.Backends[0].Names.latest.Load()
		for _, o := range origins {
			if _, ok := b.Group.Find(o.name); !ok {
				return false
			}
		}
		return b.Group.Len() == len(origins)
	})
}

// wantSaid waits until the process log has a line with all the words, and returns how many there are.
func (p *proxy) wantSaid(words ...string) (lines int) {
	p.tr.Helper()
	p.tr.eventually(fmt.Sprintf("the log does not say %q", words), func() bool {
		lines = 0
		for line := range strings.Lines(p.said.String()) {
			all := true
			for _, w := range words {
				all = all && strings.Contains(line, w)
			}
			if all {
				lines++
			}
		}
		return lines > 0
	})
	return lines
}

func TestServersComeAndGoWithTheirName(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	var origins []*origin
	for _, o := range tr.fleet(2) {
		origins = append(origins, o.(*origin))
	}
	d.set(origins[0])
	p := d.proxy(setup{})
	c := p.dial()
	if got := c.served(get("/")); got != "0" {
		t.Fatalf("served by %s", got)
	}
	d.set(origins[1])
	p.wantServers(origins[1])
	p.wantSaid("the servers have changed", "backend=app", "joined=["+origins[1].name+"]", "left=["+origins[0].name+"]")
	if got := c.served(get("/")); got != "1" {
		t.Fatalf("served by %s", got)
	}
	d.set(origins...)
	p.wantServers(origins...)
	d.set(origins[0])
	p.wantServers(origins[0])
	if got := c.served(get("/")); got != "0" {
		t.Fatalf("served by %s", got)
	}
}

// TestNoRequestFailsWhileServersChange: requests go on, on several loops, while servers come and go.
func TestNoRequestFailsWhileServersChange(t *testing.T) {
	for name, o := range map[string]balance.Options{
		"fair": {}, "round-robin": {Algorithm: "round-robin"}, "maglev": {Algorithm: "maglev"}, "ewma": {Algorithm: "ewma"},
		"hash, bounded": {Algorithm: "hash", HashBalanceFactor: 150}, "slow start": {SlowStart: time.Hour}, "addresses of one server": {Addresses: true},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			d := tr.dns()
			var origins []*origin
			var answered [4]atomic.Int64
			for i := range answered {
				o := tr.origin()
				o.serveEach(func(*http.Request, []byte) string {
					answered[i].Add(1)
					return ok("x")
				})
				origins = append(origins, o)
			}
			d.set(origins[0])
			p := d.proxy(setup{loops: 2, balance: o, key: Key{Source: KeyPath}})
			var stop atomic.Bool
			var requests atomic.Int64
			var clients sync.WaitGroup
			for range 4 {
				c := p.dial()
				clients.Go(func() {
					for n := 0; !stop.Load(); n++ {
						r := get(fmt.Sprint("/", n))
						if n%3 == 0 {
							r = post(fmt.Sprint("/", n), "body") // which is not tried again
						}
						if _, err := c.Write([]byte(r)); err != nil {
							t.Errorf("client: %v", err)
							return
						}
						res, _, err := c.readResponse("GET")
						if err != nil || res.StatusCode != 200 {
							t.Errorf("client: %v, %v", res, err)
							return
						}
						requests.Add(1)
					}
				})
			}
			for n := range 24 {
				now := []*origin{origins[n%4], origins[(n+1)%4]}
				if n%3 == 0 {
					now = now[:1]
				}
				d.set(now...)
				p.wantServers(now...)
				before, served := requests.Load(), answered[n%4].Load()
				tr.eventually("no requests get through", func() bool {
					return t.Failed() || requests.Load() > before+10 && (len(now) > 1 || answered[n%4].Load() > served)
				})
			}
			stop.Store(true)
			clients.Wait()
			// An ID is used again when nobody has a connection by it.
			p.onLoops(func(l *Loop) {
				if n := len(l.targets); n > 8 {
					t.Errorf("there are %d targets for 4 servers", n)
				}
			})
		})
	}
}

func TestAServerThatLeavesEndsWhatItHas(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	a, b := tr.origin(), tr.origin()
	d.set(a)
	p := d.proxy(setup{record: "$status $server"})
	// One connection is idle, one is in use.
	first, second := p.dial(), p.dial()
	first.send(get("/1"))
	second.send(get("/2"))
	x, y := a.accept(), a.accept()
	r, _, err := x.readRequest()
	if err != nil {
		t.Fatal(err)
	}
	idle, busy, idleClient, busyClient := x, y, first, second
	if r.URL.Path == "/2" {
		idleClient, busyClient = second, first
	}
	idle.send(ok("1"))
	idleClient.want(200, "1")
	if _, _, err := busy.readRequest(); err != nil {
		t.Fatal(err)
	}
	d.set(b)
	p.wantServers(b)
	idle.wantEnd()
	// What is in flight ends as it would have, and its connection is not kept.
	busy.wantNothing()
	busy.send(ok("2"))
	busyClient.want(200, "2")
	busy.wantEnd()
	busyClient.send(get("/3"))
	z := b.accept()
	z.wantRequest("GET /3", "")
	z.send(ok("3"))
	busyClient.want(200, "3")
	a.wantNobody()
	p.wantRecords("200 "+a.name, "200 "+a.name, "200 "+b.name)
}

// TestARetryGoesToAServerThatHasJoined: a request that was picked from the list of before is tried again on the servers
// of now.
func TestARetryGoesToAServerThatHasJoined(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	a, b := tr.origin(), tr.origin()
	d.set(a)
	p := d.proxy(setup{})
	c := p.dial()
	c.send(get("/"))
	x := a.accept()
	x.wantRequest("GET /", "")
	d.set(b)
	p.wantServers(b)
	x.Close()
	y := b.accept()
	y.wantRequest("GET /", "")
	y.send(ok("b"))
	c.want(200, "b")
}

func TestTunnelsGoToTheServersOfNow(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	a, b := tr.origin(), tr.origin()
	d.set(a)
	p := d.proxy(setup{sock: true})
	c := p.dial()
	x := a.accept()
	d.set(b)
	p.wantServers(b)
	c.send("ping")
	x.wantBytes("ping")
	x.send("pong")
	c.wantBytes("pong")
	p.dial()
	b.accept()
	a.wantNobody()
}

// A name that is not found at the start has been resolved to nothing that could stay in use.
func TestANameThatWasNeverResolvedIsNotSaidToStayInUse(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	p := d.proxy(setup{})
	asked := d.Asked(serviceName, dnsmessage.TypeSRV)
	tr.eventually("it is not asked for any more", func() bool { return d.Asked(serviceName, dnsmessage.TypeSRV) > asked+5 })
	o := tr.origin()
	o.serveEach(func(*http.Request, []byte) string { return ok("x") })
	d.set(o)
	p.wantSaid("level=INFO", "the name can be resolved")
	if strings.Contains(p.said.String(), "stays in use") {
		t.Errorf("nothing had been in use:\n%s", p.said)
	}
	p.wantSaid("the servers have changed with their names")
	p.dial().wantServed("x")
}

// BL-22: a name that cannot be resolved any more fails no request.
func TestTheLastServersStayWhenTheirNameCannotBeResolved(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	o := tr.origin()
	o.serveEach(func(*http.Request, []byte) string { return ok("x") })
	d.set(o)
	p := d.proxy(setup{})
	c := p.dial()
	for _, fail := range []func(){
		func() { d.Fail(serviceName, dnsmessage.RCodeServerFailure) },
		func() { d.Remove(serviceName) },
		func() { d.SetService(serviceName, 0) },
	} {
		fail()
		p.wantSaid("level=WARN", "a name cannot be resolved", "name=srv:"+serviceName, "reason=")
		// It is asked for again and again, and said once.
		asked := d.Asked(serviceName, dnsmessage.TypeSRV)
		tr.eventually("it is not asked for any more", func() bool { return d.Asked(serviceName, dnsmessage.TypeSRV) > asked+5 })
		c.send(get("/"))
		c.want(200, "x")
	}
	if n := p.wantSaid("a name cannot be resolved"); n != 1 {
		t.Errorf("it is said %d times:\n%s", n, p.said)
	}
	d.set(o)
	p.wantSaid("level=INFO", "the name can be resolved")
	c.send(get("/"))
	c.want(200, "x")
	if strings.Contains(p.said.String(), "have changed") {
		t.Errorf("the servers have not changed:\n%s", p.said)
	}
}

func TestANameThatIsFoundLater(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	o := tr.origin()
	o.serveEach(func(*http.Request, []byte) string { return ok("x") })
	p := d.proxy(setup{})
	c := p.dial()
	c.send(get("/"))
	c.wantError("GET", 503)
	d.set(o)
	p.wantServers(o)
	c.send(get("/"))
	c.want(200, "x")
}

func TestServersThatJoinAreChecked(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	var sick, checks [2]atomic.Int64
	var origins [2]*origin
	for i := range origins {
		origins[i] = tr.origin()
		origins[i].serveEach(func(r *http.Request, _ []byte) string {
			if r.URL.Path != "/live" {
				return ok(fmt.Sprint(i))
			}
			checks[i].Add(1)
			if sick[i].Load() != 0 {
				return "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n\r\n"
			}
			return ok("")
		})
	}
	sick[1].Store(1)
	d.set(origins[0])
	p := d.proxy(setup{balance: balance.Options{Algorithm: "round-robin"}, health: &health.Check{
		HTTP: true, Method: "GET", Path: "/live", Statuses: []health.StatusRange{{First: 200, Last: 299}},
		Interval: time.Millisecond, Timeout: patience, Rise: 1, Fall: 1,
	}})
	d.set(origins[:]...)
	p.wantServers(origins[:]...)
	p.wantSaid("the server is down", "server="+origins[1].name, `reason="status 500"`)
	c := p.dial()
	for range 4 {
		if got := c.served(get("/")); got != "0" {
			t.Errorf("served by %s, which is sick", got)
		}
	}
	sick[1].Store(0)
	p.wantSaid("the server is up", "server="+origins[1].name)
	tr.eventually("the server that is well again gets no requests", func() bool { return c.served(get("/")) == "1" })
	// Who has left is not checked any more: its last check is one that had begun before.
	d.set(origins[1])
	p.wantServers(origins[1])
	p.wantSaid("left=[" + origins[0].name + "]")
	before := checks[0].Load()
	others := checks[1].Load()
	tr.eventually("the server that stays is not checked", func() bool { return checks[1].Load() > others+20 })
	if n := checks[0].Load() - before; n > 1 {
		t.Errorf("the server that left was checked %d times", n)
	}
	if got := c.served(get("/")); got != "1" {
		t.Errorf("served by %s", got)
	}
}

func TestWhatIsKnownOfAServerStaysWhenOthersChange(t *testing.T) {
	tr := newTrace(t)
	d := tr.dns()
	down, up, other := tr.origin(), tr.origin(), tr.origin()
	down.close()
	for _, o := range []*origin{up, other} {
		o.serveEach(func(*http.Request, []byte) string { return ok("x") })
	}
	d.set(down, up)
	p := d.proxy(setup{disableTime: time.Hour, balance: balance.Options{Algorithm: "round-robin"}, record: "$retries"})
	c := p.dial()
	for range 4 {
		c.served(get("/"))
	}
	d.set(other, down, up)
	p.wantServers(other, down, up)
	for range 6 {
		c.served(get("/"))
	}
	failed := 0
	for _, line := range p.records() {
		if line != "0" {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("%d requests found the server down that rests after the first", failed)
	}
}
