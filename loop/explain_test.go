package loop

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"millrace/balance"
	"millrace/remap"
)

// explained has a plan explain a request from 192.0.2.7.
func explained(t *testing.T, plan *Plan, request, response string) *Explanation {
	t.Helper()
	q := Question{Peer: netip.MustParseAddrPort("192.0.2.7:1234"), Request: []byte(request)}
	if response != "" {
		q.Response = []byte(response)
	}
	return plan.Explain(q)
}

// planOf is the plan that a proxy of a setup would have, before servers that do not exist.
func planOf(t *testing.T, s setup) *Plan {
	t.Helper()
	tr := newTrace(t)
	plan := s.plan(&proxy{tr: tr}, []any{"10.0.0.1:80", "10.0.0.2:80"})
	if s.with != nil {
		s.with(plan)
	}
	return plan
}

func TestAnExplanationHasWhatTheServerGets(t *testing.T) {
	plan := planOf(t, setup{rules: []remap.Rule{{Path: "/a"}, {Hosts: []string{"b.example"}, Methods: []string{"PUT"}}, {}}})
	x := explained(t, plan, get("/x?y"), "")
	if x.Refused() || x.Route != 2 || x.Path != "/x" || x.Host != "a.example" || x.Server < 0 {
		t.Fatalf("got %+v", x)
	}
	want := "GET /x?y HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Host: a.example\r\nX-Forwarded-Host: a.example\r\n\r\n"
	if string(x.Sent) != want {
		t.Errorf("sent %q", x.Sent)
	}
	var why []string
	for _, try := range x.Tries {
		for _, m := range try.Misses {
			why = append(why, m.Key)
		}
		why = append(why, ".")
	}
	if got := strings.Join(why, " "); got != "path . hosts methods . ." {
		t.Errorf("tried %s", got)
	}
}

func TestAnExplanationHasWhatTheClientGets(t *testing.T) {
	plan := planOf(t, setup{})
	for _, c := range []struct{ name, response, want string }{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"},
		{"until the connection ends", "HTTP/1.0 200 OK\r\n\r\nab", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"},
		{
			"an interim response", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
		},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"},
	} {
		x := explained(t, plan, get("/"), c.response)
		if string(x.Received) != c.want || x.Cut || x.Reason != "" {
			t.Errorf("%s: got %q, %+v", c.name, x.Received, x)
		}
	}
	x := explained(t, plan, get("/"), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
	if !x.Cut || x.Status != 200 {
		t.Errorf("a response that is cut: %+v", x)
	}
	for _, bad := range []string{"HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n", "", "HTTP/1.1 101 Switching Protocols\r\n\r\n"} {
		q := Question{Peer: netip.MustParseAddrPort("192.0.2.7:1234"), Request: []byte(get("/")), Response: []byte(bad)}
		if x := plan.Explain(q); x.Status != 502 || x.Reason == "" || !strings.HasPrefix(string(x.Received), "HTTP/1.1 502 ") {
			t.Errorf("%q: got %+v", bad, x)
		}
	}
}

func TestAnExplanationSaysWhatIsRefusedAndWhy(t *testing.T) {
	exclude := func(plan *Plan) {
		plan.Listeners[0].Guard = &Guard{Deny: NewAddrSet(netip.MustParsePrefix("198.51.100.0/24"))}
		plan.Routes[1].Guard = &Guard{Allow: NewAddrSet(netip.MustParsePrefix("198.51.100.0/24"))}
		plan.Listeners[0].Parse.Target = remap.NormalizeURL | remap.RejectCtrls
	}
	plan := planOf(t, setup{
		rules:    []remap.Rule{{Path: "/not"}, {Path: "/closed"}, {Path: "/admin"}, {}},
		excluded: map[int]bool{0: true}, with: exclude,
		limits: Limits{HeaderBytes: 1 << 10, HeaderFields: 10, BodyBytes: 10},
	})
	for _, c := range []struct {
		request string
		status  int
		reason  string
		blame   string
	}{
		{get("/not/x"), 404, "excludes", "route[0].exclude"},
		{get("/closed"), 403, "allow of the route", "route[1].allow"},
		{get("/a%01"), 400, "url_ctrls_reject", "listener[0].http_parseopts.url_ctrls_reject"},
		{get("/a%"), 400, "percent sign", ""},
		{get("/x/..;/admin"), 400, "semicolon", "route[2]"},
		{"GET / HTTP/1.1\r\n\r\n", 400, "Host is missing", ""},
		{"GET / HTTP/1.1\r\nHost: a\r\nX_Y: z\r\n\r\n", 400, "underscore", "listener[0].http_parseopts.header_underscores"},
		{"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 1<<10) + "\r\n\r\n", 431, "header_bytes", "limits.header_bytes"},
		{"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 11) + "\r\n", 431, "header_fields", "limits.header_fields"},
		{"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", 413, "body_bytes", "limits.body_bytes"},
		{"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "together", ""},
		{"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405, "CONNECT", ""},
		{"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "TRACE", "route[3].trace"},
		{"OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n", 200, "Max-Forwards", ""},
		{"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "https", "listener[0].scheme"},
		{"\x00", 400, "method is not a token", ""},
	} {
		x := explained(t, plan, c.request, "")
		if !x.Refused() || x.Status != c.status || !strings.Contains(x.Reason, c.reason) || x.Blame != c.blame ||
			!strings.HasPrefix(string(x.Answer), "HTTP/1.1 ") {
			t.Errorf("%q: %d, %q, blame %q, answer %q", c.request, x.Status, x.Reason, x.Blame, x.Answer)
		}
	}
	if x := explained(t, plan, "GET / HT", ""); !x.Incomplete || !x.Refused() {
		t.Errorf("half a head: %+v", x)
	}
	x := plan.Explain(Question{Peer: netip.MustParseAddrPort("198.51.100.3:9"), Request: []byte(get("/"))})
	if !x.Closed || !x.Refused() || x.Blame != "listener[0].deny" {
		t.Errorf("a client that is kept out: %+v", x)
	}
}

func TestAnExplanationOfATunnel(t *testing.T) {
	plan := planOf(t, setup{connect: true, upgrade: &Upgrade{Any: true}})
	x := explained(t, plan, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "")
	if x.Refused() || x.Tunnel != "connect" || x.Server < 0 || string(x.Answer) != string(established) {
		t.Errorf("got %+v", x)
	}
	x = explained(t, plan, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nbytes")
	if x.Refused() || x.Tunnel != "upgrade" || x.Status != 101 || !strings.Contains(string(x.Received), "Upgrade: websocket\r\n") {
		t.Errorf("got %+v", x)
	}
	x = explained(t, planOf(t, setup{sock: true}), "", "")
	if x.Refused() || x.Tunnel != "sock" || x.Server < 0 {
		t.Errorf("got %+v", x)
	}
}

// TestQuestionsLeaveNothingBehind: a balance that was asked is as it was before.
func TestQuestionsLeaveNothingBehind(t *testing.T) {
	set := new(StatusSet)
	set.Add(500)
	plan := planOf(t, setup{roundRobin: true, disableTime: time.Hour, failover: Backend{FailOnStatus: set}, with: func(p *Plan) {
		p.Routes[0].Guard = &Guard{Rate: &Rate{Interval: 1 << 40, Burst: 1}}
	}})
	seen := make(map[int]int)
	for range 20 {
		x := explained(t, plan, get("/"), "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
		if x.Status != 500 {
			t.Fatalf("got %+v", x)
		}
		seen[x.Server]++
	}
	if seen[0] != 10 || seen[1] != 10 {
		t.Errorf("servers %v", seen)
	}
}

func TestAnExplanationKnowsSessions(t *testing.T) {
	st := Sticky{Header: "X-Route"}
	setup := sessionsBy(st, balance.Server{Route: "n1"}, balance.Server{Route: "n2", Status: balance.Stopped})
	setup.balance.Algorithm = "fair"
	plan := planOf(t, setup)
	request := func(route string) string { return "GET / HTTP/1.1\r\nHost: a\r\nX-Route: " + route + "\r\n\r\n" }
	if x := explained(t, plan, request("n1"), ""); !x.Session || !x.Steady || x.Server != 0 {
		t.Errorf("a session: %+v", x)
	}
	if x := explained(t, plan, request("n3"), ""); x.Session || x.Server != 0 {
		t.Errorf("no session: %+v", x)
	}
	if x := explained(t, plan, request("n2"), ""); x.Session || x.Server != 0 {
		t.Errorf("a session of a server that is stopped: %+v", x)
	}
	plan.Backends[0].Sticky = &Sticky{Header: "X-Route", NoFailover: true}
	x := explained(t, plan, request("n2"), "")
	if !x.Refused() || x.Status != 503 || x.Blame != "backend.app.no_failover" || !strings.Contains(x.Reason, "session") {
		t.Errorf("a session that nobody else may have: %+v", x)
	}
}

func TestAnExplanationIsOfTheLastServer(t *testing.T) {
	set := new(StatusSet)
	set.Add(503)
	plan := planOf(t, setup{with: func(p *Plan) { p.Backends[0].RetryStatus, p.Backends[0].Ping = set, time.Second }})
	x := explained(t, plan, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
	if x.Status != 503 || string(x.Received) != "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n" || x.Blame != "backend.app.retry_on" {
		t.Errorf("got %+v, received %q", x, x.Received)
	}
	if !strings.Contains(string(x.Sent), "Expect: 100-continue\r\n") || !strings.HasSuffix(string(x.Sent), "\r\n\r\n") {
		t.Errorf("a server that is asked before it gets the body gets %q", x.Sent)
	}
}

// Another server is spoken of only where one may be asked.
func TestAnExplanationKnowsWhetherAStatusMayBeTriedAgain(t *testing.T) {
	set := new(StatusSet)
	set.Add(503)
	set.Add(421)
	for _, test := range []struct {
		method, status string
		attempts       int
		again          bool
	}{
		{"GET", "503", 0, true},
		{"GET", "503", 2, true},
		{"GET", "503", 1, false},
		{"GET", "200", 0, false},
		{"POST", "503", 0, false},
		{"POST", "421", 0, true},
	} {
		plan := planOf(t, setup{with: func(p *Plan) { p.Backends[0].RetryStatus, p.Backends[0].MaxAttempts = set, test.attempts }})
		x := explained(t, plan, test.method+" / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 "+test.status+" No\r\nContent-Length: 0\r\n\r\n")
		if again := x.Blame == "backend.app.retry_on"; again != test.again {
			t.Errorf("%+v: %q, %q", test, x.Reason, x.Blame)
		}
	}
}

// The client is the one that a PROXY header names.
func TestAnExplanationOfAClientThatAProxyNames(t *testing.T) {
	tr := newTrace(t)
	p := &proxy{tr: tr, said: &said{}}
	plan := setup{}.plan(p, []any{"127.0.0.1:1"})
	plan.Listeners[0].ProxyProtocol = ProxyRequired
	x := plan.Explain(Question{Peer: netip.MustParseAddrPort("192.0.2.7:1"), Request: []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")})
	if x.Closed || x.Server != 0 || !strings.Contains(string(x.Sent), "X-Forwarded-For: 192.0.2.7\r\n") {
		t.Errorf("got %+v", x)
	}
}
