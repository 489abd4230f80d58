package loop

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"millrace/balance"
	"millrace/remap"
)

// jsession is how most of Apache's examples find sessions.
var jsession = Sticky{Cookie: "JSESSIONID", Param: "jsessionid", Separator: '.'}

// sessionsBy returns a setup of members with sessions. Requests without one go to the first member that is up and may
// have them.
func sessionsBy(st Sticky, members ...balance.Server) setup {
	return setup{
		balance: balance.Options{Algorithm: "first", DisableTime: time.Hour},
		members: members,
		record:  "$status $server",
		with:    func(p *Plan) { p.Backends[0].Sticky = &st },
	}
}

// routes are members with these routes, "-" for none.
func routes(names ...string) []balance.Server {
	members := make([]balance.Server, len(names))
	for i, name := range names {
		members[i].Route = strings.Trim(name, "-")
	}
	return members
}

// Members 1, 2 and 3 are n1, n2 and n3. Member 0 serves what is balanced, having no sessions of its own.
func TestApachesSessions(t *testing.T) {
	const balanced = "0"
	scolon := jsession
	scolon.SemicolonEnds = true
	dash := Sticky{Cookie: "SID", Param: "SID", Separator: '-'}
	whole := Sticky{Cookie: "ROUTEID", Param: "ROUTEID"}
	for _, tt := range []struct {
		id     string
		by     Sticky
		target string
		cookie string
		want   string
	}{
		{"ST-01", jsession, "/", "JSESSIONID=abc.n2", "2"},
		{"ST-02", jsession, "/", "JSESSIONID=abc.n2.n3", balanced},
		{"ST-03", jsession, "/", "JSESSIONID=abc", balanced},
		{"ST-03", jsession, "/", "JSESSIONID=abc.", balanced},
		{"ST-04", jsession, "/", "JSESSIONID=.n3", "3"},
		{"ST-05", jsession, "/", "jsessionid=abc.n2", balanced},
		{"ST-05", jsession, "/", "XJSESSIONID=abc.n2", balanced},
		{"ST-06", jsession, "/", "a=b; JSESSIONID=abc.n3; c=d", "3"},
		{"ST-06", jsession, "/", "a=b,JSESSIONID=abc.n3,c=d", "3"},
		{"ST-06", jsession, "/", "JSESSIONID = abc.n3", "3"},
		{"ST-07", jsession, "/", `JSESSIONID="abc.n3"`, balanced},
		{"ST-08", jsession, "/", "JSESSIONIDX=abc.n1; JSESSIONID=abc.n3", "3"},
		{"ST-09", jsession, "/", "JSESSIONID=a.n2; JSESSIONID=a.n3", "2"},
		{"ST-09", jsession, "/", "x=y\r\nCookie: JSESSIONID=a.n2\r\nCookie: JSESSIONID=a.n3", "2"},
		{"ST-10", jsession, "/a;jsessionid=abc.n2", "", "2"},
		{"ST-10", jsession, "/a;jsessionid=abc.n2?x=1", "", "2"},
		{"ST-10", scolon, "/a;jsessionid=abc.n2", "", "2"},
		{"ST-10", scolon, "/a;jsessionid=abc.n2?x=1", "", "2"},
		{"ST-11", jsession, "/a;jsessionid=abc.n2;y=2", "", balanced},
		{"ST-11", scolon, "/a;jsessionid=abc.n2;y=2", "", "2"},
		{"ST-12", jsession, "/a?jsessionid=abc.n3", "", "3"},
		{"ST-12", jsession, "/a?x=1&jsessionid=abc.n3&y=2", "", "3"},
		{"ST-13", jsession, "/a;JSESSIONID=abc.n2", "", balanced},
		{"ST-14", jsession, "/a;jsessionid=abc.n2/b/c", "", balanced},
		{"ST-14", scolon, "/a;jsessionid=abc.n2/b/c", "", balanced},
		{"ST-15", jsession, "/xjsessionid=q.n2/b", "", balanced},
		{"ST-15 repaired", jsession, "/xjsessionid=q.n2", "", balanced},
		{"ST-15 repaired", jsession, "/a?xjsessionid=q.n2", "", balanced},
		{"ST-16", jsession, "/a;jsessionid=x.n2", "JSESSIONID=y.n3", "2"},
		{"ST-17", jsession, "/a;jsessionid=x", "JSESSIONID=y.n3", balanced},
		{"ST-18", dash, "/", "SID=abc-n2", "2"},
		{"ST-18", dash, "/", "SID=abc.n2", balanced},
		{"ST-18", dash, "/", "SID=a-b-n2", balanced},
		{"ST-18", dash, "/", "SID=-n3", "3"},
		{"ST-19", whole, "/", "ROUTEID=n2", "2"},
		{"ST-19", whole, "/", "ROUTEID=.n2", balanced},
		{"ST-19", whole, "/", "ROUTEID=abc.n2", balanced},

		{"one name", dash, "/a;SID=abc-n2", "SID=abc-n3", "2"},
		{"an encoded semicolon", jsession, "/a%3bjsessionid=abc.n2", "", "2"},
		{"encoded semicolons", scolon, "/a%3Bjsessionid=abc.n2%3By=2", "", "2"},
		{"an encoded question mark", jsession, "/a%3Fjsessionid=abc.n2", "", balanced},
		{"empty, and then not", jsession, "/a?jsessionid=&jsessionid=abc.n2", "", "2"},
		{"empty", jsession, "/a?jsessionid=", "JSESSIONID=y.n3", "3"},
		{"absolute-form", jsession, "http://a/b;jsessionid=abc.n2", "", "2"},
		{"neither", jsession, "/a?jsessionid", "JSESSIONID; JSESSIONID", balanced},
	} {
		t.Run(strings.ReplaceAll(fmt.Sprint(tt.id, " ", tt.target, " ", tt.cookie), "\r\n", " "), func(t *testing.T) {
			tr := newTrace(t)
			p := tr.proxy(sessionsBy(tt.by, routes("-", "n1", "n2", "n3")...), tr.fleet(4)...)
			fields := []string{"Host: a"}
			if tt.cookie != "" {
				fields = append(fields, "Cookie: "+tt.cookie)
			}
			c := p.dial()
			for range 2 {
				if got := c.served(request(tt.target, fields...)); got != tt.want {
					t.Errorf("served by %s, want %s", got, tt.want)
				}
			}
		})
	}
}

// A normalised target is looked at in its one form.
func TestASessionInANormalisedURL(t *testing.T) {
	tr := newTrace(t)
	s := sessionsBy(jsession, routes("-", "n1")...)
	s.parse.Target = remap.NormalizeURL
	p := tr.proxy(s, tr.fleet(2)...)
	if got := p.dial().served(request("/a;jsession%69d=abc.n1?b", "Host: a")); got != "1" {
		t.Errorf("served by %s", got)
	}
}

// withSession is a request of a session.
func withSession(id string) string { return request("/", "Host: a", "Cookie: SID="+id) }

func TestSessionsOfServersThatFail(t *testing.T) {
	sid := Sticky{Cookie: "SID", Param: "sid", Separator: '.'}
	only := sid
	only.NoFailover = true
	redirect := routes("n1", "n2", "n3")
	redirect[0].Redirect = "n3"
	disabled := routes("n1", "n2", "n3")
	disabled[0].Redirect, disabled[0].Status = "n3", balance.Disabled
	drained := routes("n1", "n2")
	drained[0].Status = balance.Draining
	standby := routes("n1", "n2")
	standby[0].Status = balance.Standby
	for _, tt := range []struct {
		name    string
		by      Sticky
		members []balance.Server
		servers string // for each whether it is there
		trace   string // id of a session, or none, and who serves it
		retries string // of each request
	}{
		{"ST-20 a dead server", sid, routes("n1", "n2", "n3"), "-++", "a.n1:1 a.n1:1 a.n3:2 none:1", "1 0 0 0"},
		{"ST-21 without failover", only, routes("n1", "n2", "n3"), "-++", "a.n1:502 a.n1:503 a.n1:503 none:1 a.n2:1 a.n9:1", "0 0 0 0 0 0"},
		{"ST-22 a draining server", sid, drained, "++", "a.n1:0 none:1 a.n1:0 none:1", "0 0 0 0"},
		{"ST-23 a standby", sid, standby, "++", "x.n1:0 none:1 x.n1:0", "0 0 0"},
		{"ST-24 a dead server with a redirect", sid, redirect, "-++", "a.n1:2 a.n1:2 none:1", "1 0 0"},
		{"ST-24 a disabled server with a redirect", sid, disabled, "+++", "a.n1:2 a.n1:2 none:1", "0 0 0"},
		{"ST-24 without failover, the redirect is none", only, redirect, "-++", "a.n1:2 a.n1:2 none:1", "1 0 0"},
		{"without failover, the redirect is dead too", only, redirect, "-+-", "a.n1:502 a.n1:503 none:1", "1 0 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTrace(t)
			servers := tr.fleet(len(tt.servers))
			for i, there := range tt.servers {
				if there == '-' {
					servers[i] = tr.refusing()
				}
			}
			s := sessionsBy(tt.by, tt.members...)
			s.record = "$status $retries"
			p := tr.proxy(s, servers...)
			c := p.dial()
			var records []string
			retries := strings.Fields(tt.retries)
			for i, step := range strings.Fields(tt.trace) {
				id, want, _ := strings.Cut(step, ":")
				r := get("/")
				if id != "none" {
					r = withSession(id)
				}
				if got := c.served(r); got != want {
					t.Errorf("step %d, %s: served by %s", i, step, got)
				}
				if len(want) < 3 {
					want = "200"
				}
				records = append(records, want+" "+retries[i])
			}
			p.wantRecords(records...)
		})
	}
}

// TestBL20 is Apache's: sessions of n1, which is dead, go to its redirect n3, and that counts as turns of n3.
func TestBL20SessionsTakeTurns(t *testing.T) {
	tr := newTrace(t)
	members := routes("n1", "n2", "n3")
	members[0].Redirect = "n3"
	s := sessionsBy(Sticky{Cookie: "SID", Separator: '.'}, members...)
	s.balance.Algorithm = "byrequests"
	servers := tr.fleet(3)
	servers[0] = tr.refusing()
	c := tr.proxy(s, servers...).dial()
	for range 3 {
		if got := c.served(withSession("a.n1")); got != "2" {
			t.Errorf("a session of n1 is served by %s", got)
		}
	}
	c.wantServed("1 1 1 1 2 1 2")
}

func TestASessionFollowsTheHealthOfItsServer(t *testing.T) {
	tr := newTrace(t)
	p := tr.proxy(sessionsBy(Sticky{Cookie: "SID", Separator: '.'}, routes("n1", "n2")...), tr.fleet(2)...)
	c := p.dial()
	for _, want := range []string{"1", "0", "1"} {
		p.group.SetUp(1, want == "1", 0)
		if got := c.served(withSession("a.n2")); got != want {
			t.Errorf("served by %s, want %s", got, want)
		}
	}
}

func TestAFieldNamesTheServer(t *testing.T) {
	tr := newTrace(t)
	by := jsession
	by.Header = "X-Route"
	p := tr.proxy(sessionsBy(by, routes("-", "n1", "n2", "n3")...), tr.fleet(4)...)
	c := p.dial()
	for fields, want := range map[string]string{
		"X-Route: n2":                                   "2",
		"x-rOUTE:   n3  ":                               "3",
		"X-Route: n3\r\nX-Route: n2":                    "3",
		"X-Route: N2":                                   "0",
		"X-Route: abc.n2":                               "0",
		"X-Route:":                                      "0",
		"X-Routes: n2":                                  "0",
		"X-Route: n2\r\nCookie: JSESSIONID=a.n3":        "2",
		"X-Route: n9\r\nCookie: JSESSIONID=a.n3":        "3",
		"Cookie: JSESSIONID=a.n1\r\nX-Forwarded-For: a": "1",
	} {
		if got := c.served(request("/", "Host: a", fields)); got != want {
			t.Errorf("%q is served by %s, want %s", fields, got, want)
		}
	}
}

// A kept connection that ends under a request says nothing about its server: the session stays there.
func TestASessionStaysWhenAKeptConnectionEnds(t *testing.T) {
	for _, noFailover := range []bool{false, true} {
		t.Run(fmt.Sprint("no failover: ", noFailover), func(t *testing.T) {
			tr := newTrace(t)
			other, o := tr.origin(), tr.origin()
			by := Sticky{Cookie: "SID", Separator: '.', NoFailover: noFailover}
			s := sessionsBy(by, routes("n1", "n2")...)
			s.record = "$status $server $retries"
			p := tr.proxy(s, other, o)
			c := p.dial()
			c.send(withSession("a.n2"))
			x := o.accept()
			x.wantRequest("GET /", "")
			x.send(ok("fine"))
			c.want(200, "fine")
			c.send(withSession("a.n2"))
			x.wantRequest("GET /", "")
			x.Close()
			x = o.accept()
			x.wantRequest("GET /", "")
			x.send(ok("again"))
			c.want(200, "again")
			other.wantNobody()
			p.wantRecords("200 "+o.name+" 0", "200 "+o.name+" 1")
		})
	}
}

// A new connection that ends under a request goes to another server, if any may have it.
func TestASessionLeavesAServerThatDies(t *testing.T) {
	tr := newTrace(t)
	other, o := tr.origin(), tr.origin()
	p := tr.proxy(sessionsBy(Sticky{Cookie: "SID", Separator: '.'}, routes("n1", "n2")...), other, o)
	c := p.dial()
	c.send(withSession("a.n2"))
	x := o.accept()
	x.wantRequest("GET /", "")
	x.Close()
	x = other.accept()
	x.wantRequest("GET /", "")
	x.send(ok("fine"))
	c.want(200, "fine")
	p.wantRecords("200 " + other.name)
}

// own is a backend that tells clients where their session is.
var own = StickyCookie{Name: "SERVER", Path: "/", HTTPOnly: true, SameSite: "Lax", Secret: []byte("of the tests"), Backend: "app"}

// sessionsByOwn is sessionsBy with a cookie of our own.
func sessionsByOwn(st Sticky, servers []any, members ...balance.Server) setup {
	for len(members) < len(servers) {
		members = append(members, balance.Server{})
	}
	cookie := own
	st.Own = &cookie
	for i := range members {
		members[i].Token = cookie.Token(nameOf(servers[i]))
	}
	s := sessionsBy(st, members...)
	sticky := s.with
	s.with = func(p *Plan) {
		sticky(p)
		for i, server := range p.Backends[0].Servers {
			server.SetCookie = cookie.Field(members[i].Token)
		}
	}
	return s
}

func nameOf(server any) string {
	if o, ok := server.(*origin); ok {
		return o.name
	}
	return server.(string)
}

// told sends a request and returns who has answered it, or else the status, and the cookies that come with that.
func (c *peer) told(request string) (by string, cookies []*http.Cookie) {
	c.tr.Helper()
	c.send(request)
	res, body, err := c.readResponse("GET")
	if err != nil {
		c.tr.Fatalf("%s: %v", c.name, err)
	}
	if res.StatusCode != 200 {
		body = fmt.Sprint(res.StatusCode)
	}
	return body, res.Cookies()
}

// wantTold wants a request with this Cookie field to be served by a server and the client to be told that, or not.
func (c *peer) wantTold(field, by string, tell bool) (value string) {
	c.tr.Helper()
	r := get("/")
	if field != "" {
		r = request("/", "Host: a", "Cookie: "+field)
	}
	got, cookies := c.told(r)
	if got != by || (len(cookies) == 1) != tell || len(cookies) > 1 {
		c.tr.Fatalf("%q: served by %s, with cookies %v, want %s, %v", field, got, cookies, by, tell)
	}
	if !tell {
		return ""
	}
	return cookies[0].Value
}

func TestAClientIsToldWhichServerHasAnswered(t *testing.T) {
	tr := newTrace(t)
	servers := tr.fleet(3)
	p := tr.proxy(sessionsByOwn(Sticky{}, servers), servers...)
	c := p.dial()
	tokens := make([]string, 3)
	for i := range tokens {
		p.group.SetUp(balance.Index((i+1)%3), false, 0)
		p.group.SetUp(balance.Index((i+2)%3), false, 0)
		tokens[i] = c.wantTold("", fmt.Sprint(i), true)
		for k := range tokens {
			p.group.SetUp(balance.Index(k), true, 0)
		}
	}
	for i, token := range tokens {
		by := fmt.Sprint(i)
		c.wantTold("SERVER="+token, by, false)
		c.wantTold("a=b;SERVER="+token+"; c=d", by, false)
		// One that is stale or forged does not hide one that is right.
		c.wantTold("SERVER=x; SERVER="+token+"; SERVER="+tokens[0], by, false)
		c.wantTold("SERVER=x\r\nCookie: SERVER="+token, by, false)
	}
	// What is not a token of this backend is ignored, and the client is told anew.
	elsewhere := own
	elsewhere.Backend = "db"
	forged := own
	forged.Secret = []byte("of others")
	name := nameOf(servers[2])
	for _, field := range []string{
		"SERVER=", "SERVER=2", "SERVER=" + name, "server=" + tokens[2], "XSERVER=" + tokens[2], "SERVER=" + tokens[2] + "x",
		"SERVER=" + tokens[2][:len(tokens[2])-1], "a=b,SERVER=" + tokens[2], `SERVER="` + tokens[2] + `"`, "SERVER",
		"SERVER=" + elsewhere.Token(name), "SERVER=" + forged.Token(name), "SERVER=" + own.Token("10.9.9.9:80"),
	} {
		if got := c.wantTold(field, "0", true); got != tokens[0] {
			t.Errorf("%q: told %q, want %q", field, got, tokens[0])
		}
	}
	// A server that is gone is left, and the client is told.
	p.group.SetUp(2, false, 0)
	if got := c.wantTold("SERVER="+tokens[2], "0", true); got != tokens[0] {
		t.Errorf("told %q, want %q", got, tokens[0])
	}
	c.wantTold("SERVER="+tokens[0], "0", false)
	// It says nothing of the servers' addresses.
	for i, token := range tokens {
		host, port, _ := strings.Cut(nameOf(servers[i]), ":")
		if strings.Contains(token, host) || strings.Contains(token, port) || !regexp.MustCompile(`^[-_0-9A-Za-z]{22}$`).MatchString(token) {
			t.Errorf("server %s is called %q", nameOf(servers[i]), token)
		}
	}
}

func TestAClientIsToldOfFailover(t *testing.T) {
	tr := newTrace(t)
	servers := tr.fleet(2)
	servers[0] = tr.refusing()
	p := tr.proxy(sessionsByOwn(Sticky{}, servers), servers...)
	c := p.dial()
	dead := "SERVER=" + own.Token(nameOf(servers[0]))
	token := c.wantTold(dead, "1", true)
	c.wantTold("SERVER="+token, "1", false)
	p.wantRecords("200 "+nameOf(servers[1]), "200 "+nameOf(servers[1]))
}

func TestNobodyIsToldOfAServerThatHasNotAnswered(t *testing.T) {
	tr := newTrace(t)
	servers := []any{tr.refusing()}
	p := tr.proxy(sessionsByOwn(Sticky{NoFailover: true}, servers), servers...)
	c := p.dial()
	c.wantTold("", "502", false)
	c.wantTold("SERVER="+own.Token(nameOf(servers[0])), "503", false)
}

// A session of the server's own counts more than our cookie, which then follows it.
func TestWhatCountsMost(t *testing.T) {
	tr := newTrace(t)
	servers := tr.fleet(3)
	by := jsession
	by.Header = "X-Route"
	p := tr.proxy(sessionsByOwn(by, servers, routes("n1", "n2", "n3")...), servers...)
	c := p.dial()
	token := make([]string, 3)
	for i := range token {
		token[i] = own.Token(nameOf(servers[i]))
	}
	for _, tt := range []struct{ fields, by, told string }{
		{"Cookie: SERVER=" + token[1] + "; JSESSIONID=a.n3", "2", token[2]},
		{"Cookie: SERVER=" + token[2] + "; JSESSIONID=a.n3", "2", ""},
		{"Cookie: SERVER=" + token[1] + "; JSESSIONID=a.n9", "1", ""},
		{"Cookie: SERVER=" + token[1] + "; JSESSIONID=a", "1", ""},
		{"X-Route: n2\r\nCookie: JSESSIONID=a.n3", "1", token[1]},
	} {
		got, cookies := c.told(request("/", "Host: a", tt.fields))
		told := ""
		if len(cookies) > 0 {
			told = cookies[0].Value
		}
		if got != tt.by || told != tt.told {
			t.Errorf("%q is served by %s and told %q, want %s, %q", tt.fields, got, told, tt.by, tt.told)
		}
	}
}

// Whatever the response, the cookie is in its head, once, and the response is what it was.
func TestTheCookieIsInEveryKindOfResponse(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		tr := newTrace(t)
		o := tr.origin()
		servers := []any{o}
		p := tr.proxy(sessionsByOwn(Sticky{}, servers), servers...)
		c := p.dial()
		m.delivery.send(c, m.client.request("/"))
		x := o.accept()
		x.wantRequest("GET /", "")
		m.respond(x, "the body")
		res := c.want(200, "the body")
		if got := res.Header.Values("Set-Cookie"); len(got) != 1 || !strings.HasPrefix(got[0], "SERVER=") {
			t.Errorf("got the cookies %q", got)
		}
	})
	t.Run("interim and HEAD", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		servers := []any{o}
		c := tr.proxy(sessionsByOwn(Sticky{}, servers), servers...).dial()
		c.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
		x := o.accept()
		x.wantRequest("HEAD /", "")
		x.send(hints103 + "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 10\r\n\r\n")
		if head := c.wantHead(); strings.Contains(head, "SERVER") {
			t.Errorf("the interim response is %q", head)
		}
		head := c.wantHead()
		field := string(own.Field(own.Token(o.name)))
		if !strings.Contains(head, "Set-Cookie: a=b\r\n") || strings.Count(head, field) != 1 || !strings.Contains(head, "Content-Length: 10\r\n") {
			t.Errorf("the response is %q", head)
		}
	})
	t.Run("101", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		servers := []any{o}
		s := sessionsByOwn(Sticky{}, servers)
		s.upgrade = anyProtocol
		c := tr.proxy(s, servers...).dial()
		c.send(handshake)
		x := o.accept()
		x.wantRequest("GET /chat", "")
		x.send("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nhello")
		if head := c.wantHead(); strings.Count(head, "Set-Cookie: SERVER=") != 1 {
			t.Errorf("the response is %q", head)
		}
		c.wantBytes("hello")
	})
}

func TestRequestsOfSeveralSessionsOnOneConnection(t *testing.T) {
	tr := newTrace(t)
	servers := tr.fleet(3)
	p := tr.proxy(sessionsByOwn(Sticky{}, servers), servers...)
	c := p.dial()
	order := []int{2, 0, 1, 2, 2, 0}
	var all strings.Builder
	for _, i := range order {
		all.WriteString(request("/", "Host: a", "Cookie: SERVER="+own.Token(nameOf(servers[i]))))
	}
	all.WriteString(get("/")) // of no session
	c.send(all.String())
	for _, i := range append(order, 0) {
		if res := c.want(200, fmt.Sprint(i)); len(res.Cookies()) > 0 && i != 0 {
			t.Errorf("%d: told %v", i, res.Cookies())
		}
	}
}

func TestConnectGoesToTheServerOfItsSession(t *testing.T) {
	tr := newTrace(t)
	other, o := tr.origin(), tr.origin()
	s := sessionsBy(Sticky{Header: "X-Route", Cookie: "SID", Param: "SID"}, routes("n1", "n2")...)
	s.connect = true
	p := tr.proxy(s, other, o)
	c := p.dial()
	c.send("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nX-Route: n2\r\n\r\n")
	x := o.accept()
	c.wantHead()
	x.send("hello")
	c.wantBytes("hello")
	other.wantNobody()
}

func TestTheFieldOfTheCookie(t *testing.T) {
	for _, tt := range []struct {
		c    StickyCookie
		want string
	}{
		{StickyCookie{Name: "S"}, "Set-Cookie: S=x\r\n"},
		{own, "Set-Cookie: SERVER=x; Path=/; HttpOnly; SameSite=Lax\r\n"},
		{
			StickyCookie{Name: "S", Path: "/a", Domain: "example.org", MaxAge: 3600, Secure: true, SameSite: "None"},
			"Set-Cookie: S=x; Path=/a; Domain=example.org; Max-Age=3600; Secure; SameSite=None\r\n",
		},
	} {
		if got := string(tt.c.Field("x")); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	// The same configuration has the same tokens, on every machine and after every start.
	if got, want := own.Token("10.0.0.1:8080"), "kyyzahdTyhvsQD1FSZbGKw"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzSessionID holds what finds the id of a session in a URL and in a Cookie field against expressions that say the
// same. What is found is part of what was looked at, and nothing else is looked at.
func FuzzSessionID(f *testing.F) {
	for _, seed := range []struct{ target, cookie, name string }{
		{"/a;jsessionid=abc.n2?x=1", "JSESSIONID=abc.n2", "jsessionid"},
		{"/a;jsessionid=abc.n2;y=2", "a=b; jsessionid=abc.n3; c=d", "jsessionid"},
		{"/a?x=1&sid=a-n3&y=2", "a=b,sid=abc.n3,c=d", "sid"},
		{"/xsid=q.n2/b", "sid = abc.n3", "sid"},
		{"/a%3bsid=a%3By", `sid="abc.n3"`, "sid"},
		{"/a?sid=&sid=x", "sidx=1; sid=; sid=2", "sid"},
		{"/;a=;a=;a", "a=\ta;a", "a"},
		{"/%3", "=", "%3"},
		{"/%3ba%3ba=", "a = b", "a"},
	} {
		f.Add([]byte(seed.target), []byte(seed.cookie), seed.name)
	}
	f.Fuzz(func(t *testing.T, target, cookie []byte, name string) {
		if name == "" || len(name) > 64 || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(";,=&?", c) }) {
			return // no file has it
		}
		if len(target) > 1000 || len(cookie) > 1000 {
			return // the expressions would take most of the time
		}
		target, cookie = exactly(target), exactly(cookie)
		quoted := regexp.QuoteMeta(name)
		mark := `(?s:[;?&]|%3[Bb])`
		for _, semicolonEnds := range []bool{false, true} {
			got := urlSession(target, name, semicolonEnds)
			// Every place where the parameter may be, the first with a value counts.
			var want []byte
			begin, end := regexp.MustCompile(`^`+mark+quoted+`=`), regexp.MustCompile(`[?&]`)
			if semicolonEnds {
				end = regexp.MustCompile(mark)
			}
			for i := range target {
				if m := begin.Find(target[i:]); m != nil && want == nil {
					value := target[i+len(m):]
					if at := end.FindIndex(value); at != nil {
						value = value[:at[0]]
					}
					if len(value) > 0 {
						want = value
					}
				}
			}
			if string(got) != string(want) {
				t.Errorf("%q in %q, semicolon %v: got %q, want %q", name, target, semicolonEnds, got, want)
			}
		}
		got, found := cookieSession(cookie, name)
		m := regexp.MustCompile(`(?s)(?:^|[;, \t])` + quoted + `[ \t]*=([^;,]*)`).FindSubmatch(cookie)
		if found != (m != nil) || found && string(got) != strings.Trim(string(m[1]), " \t") {
			t.Errorf("%q in %q: got %q %v, want %q", name, cookie, got, found, m)
		}
		for _, separator := range []byte{0, '.', ';'} {
			st := Sticky{Separator: separator}
			route := st.routeOf(got)
			if _, behind, _ := strings.Cut(string(got), string(rune(separator))); separator != 0 && string(route) != behind {
				t.Errorf("%q behind %q is %q", got, separator, route)
			}
		}
	})
}

// exactly has whoever reads behind the end of b found out.
func exactly(b []byte) []byte { return append(make([]byte, 0, len(b)), b...)[:len(b):len(b)] }
