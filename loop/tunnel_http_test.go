package loop

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"millrace/remap"
)

// handshake is a client's half of the WebSocket handshake (RFC 6455, 1.3), and switching the server's.
const (
	handshake = "GET /chat HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
	switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

// anyProtocol allows every one.
var anyProtocol = &Upgrade{Any: true}

// asking is a request to switch, with the given fields.
func asking(fields string) string {
	return "GET /chat HTTP/1.1\r\nHost: a.example\r\n" + fields + "\r\n"
}

func TestAHandshakePassesWithTheFieldsItNeeds(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{upgrade: anyProtocol, record: "$request $host $referer $user_agent $status $bytes_in $bytes_out $end"}, o)
	c := p.dial()
	ask := strings.Replace(handshake, "\r\n\r\n", "\r\nConnection: X-Hop\r\nX-Hop: 1\r\nReferer: http://b/\r\nUser-Agent: tester\r\nTE: trailers\r\n\r\n", 1)
	c.send(ask)
	x := o.accept()
	r := x.wantRequest("GET /chat", "")
	for name, want := range map[string]string{
		"Upgrade": "websocket", "Connection": "upgrade, TE", "Te": "trailers", "X-Hop": "",
		"Sec-Websocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-Websocket-Version": "13",
	} {
		if got := strings.Join(r.Header.Values(name), ", "); got != want {
			t.Errorf("the server got %s: %q, want %q", name, got, want)
		}
	}
	x.send(strings.Replace(switching, "\r\n\r\n", "\r\nKeep-Alive: 5\r\nX-Y: z\r\n\r\n", 1))
	got := c.wantHead()
	want := "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Y: z\r\n" +
		"Upgrade: websocket\r\nConnection: upgrade\r\n\r\n"
	if got != want {
		t.Errorf("the client got %q, want %q", got, want)
	}
	c.send("frame")
	x.wantBytes("frame")
	x.Close()
	c.wantEnd()
	c.Close()
	p.wantRecords(fmt.Sprintf("GET /chat HTTP/1.1 a.example http://b/ tester 101 %d %d ok", len(ask)+len("frame"), len(want)))
}

func TestEarlyFramesComeFirst(t *testing.T) {
	for _, w := range tunnelWays[2:4] {
		t.Run(w.name, func(t *testing.T) {
			for name, early := range map[string]string{
				"a frame": "first frame, ", "as much as a read takes": letters(4 << 10), "more": letters(30000), "a request": get("/smuggled"),
			} {
				t.Run(name, func(t *testing.T) {
					for _, pieces := range []bool{false, true} {
						tr := newTrace(t)
						o := tr.origin()
						var s setup
						w.set(&s)
						p := tr.proxy(s, o)
						c := p.dial()
						if pieces {
							c.sendHalves(w.ask + early)
						} else {
							c.send(w.ask + early)
						}
						x := o.accept()
						if w.answer != "" {
							x.wantHead()
							x.wantNothing() // it has not agreed yet
							x.send(w.answer + early)
						} else {
							x.send(early)
						}
						x.wantBytes(early)
						c.wantHead()
						c.wantBytes(early)
						c.send("second")
						x.wantBytes("second")
						x.send("second")
						c.wantBytes("second")
					}
				})
			}
		})
	}
}

func TestAnUpgradeThatIsNotAskedForAsItShouldBeIsLeftOut(t *testing.T) {
	websocket := &Upgrade{Protocols: []string{"websocket"}}
	tests := []struct {
		name, request string
		allowed       *Upgrade
	}{
		{"no upgrade on the route", handshake, nil},
		{"another protocol", strings.Replace(handshake, ": websocket", ": irc", 1), websocket},
		{"a longer name", strings.Replace(handshake, ": websocket", ": websockets", 1), websocket},
		{"another version", strings.Replace(handshake, ": websocket", ": websocket/2", 1), websocket},
		{"h2c", asking("Upgrade: h2c\r\nConnection: upgrade, http2-settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"), anyProtocol},
		{"no connection option", asking("Upgrade: websocket\r\n"), websocket},
		{"another connection option", asking("Upgrade: websocket\r\nConnection: upgrades, keep-alive\r\n"), websocket},
		{"no protocol", asking("Upgrade:\r\nConnection: upgrade\r\n"), anyProtocol},
		{"HTTP/1.0", strings.Replace(handshake, "HTTP/1.1", "HTTP/1.0", 1), websocket},
		{"a body", asking("Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 4\r\n") + "body", websocket},
		{"a body in chunks", asking("Upgrade: websocket\r\nConnection: upgrade\r\nTransfer-Encoding: chunked\r\n") + "4\r\nbody\r\n0\r\n\r\n", websocket},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{upgrade: test.allowed}, o)
			c := p.dial()
			c.send(test.request)
			x := o.accept()
			r, _, err := x.readRequest()
			if err != nil {
				t.Fatal(err)
			}
			if r.Header.Get("Upgrade") != "" || strings.Contains(strings.ToLower(r.Header.Get("Connection")), "upgrade") {
				t.Errorf("the server is asked to switch: %v", r.Header)
			}
			x.send(ok("fine"))
			c.want(200, "fine")
		})
	}
}

func TestOnlyProtocolsThatAreAllowedAreAskedFor(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{upgrade: &Upgrade{Protocols: []string{"WebSocket", "foo/2"}}}, o)
	c := p.dial()
	c.send(asking("Upgrade: h2c, websocket,, irc/1\r\nConnection: keep-alive,UPGRADE\r\nUpgrade: FOO/2 ,foo/3\r\n"))
	x := o.accept()
	if got := strings.Join(x.wantRequest("GET /chat", "").Header.Values("Upgrade"), "|"); got != "websocket, FOO/2" {
		t.Errorf("the server is asked for %q", got)
	}
	x.send("HTTP/1.1 101 Ok\r\nupgrade: foo/2\r\nconnection: upgrade\r\n\r\nhello")
	if head := c.wantHead(); !strings.Contains(head, "\r\nUpgrade: foo/2\r\n") {
		t.Errorf("the client is told %q", head)
	}
	c.wantBytes("hello")
}

func TestASwitchToWhatWasNotAskedForIsAnError(t *testing.T) {
	for name, test := range map[string]struct{ request, answer string }{
		"not asked at all":     {get("/"), switching},
		"something else":       {handshake, strings.Replace(switching, ": websocket", ": irc", 1)},
		"to more":              {handshake, strings.Replace(switching, ": websocket", ": websocket, irc", 1)},
		"to nothing":           {handshake, strings.Replace(switching, "Upgrade: websocket\r\n", "", 1)},
		"with a body":          {handshake, strings.Replace(switching, "\r\n\r\n", "\r\nContent-Length: 7\r\n\r\n", 1)},
		"to what is forbidden": {strings.Replace(handshake, ": websocket", ": websocket, h2c", 1), strings.Replace(switching, ": websocket", ": h2c", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{upgrade: anyProtocol, record: "$status $end"}, o)
			c := p.dial()
			c.send(test.request)
			x := o.accept()
			x.wantHead()
			x.send(test.answer + "frames")
			c.wantError("GET", 502)
			x.wantGone()
			c.Close()
			p.wantRecords("502 backend_error")
		})
	}
}

func TestARefusedUpgradeIsAnOrdinaryAnswer(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{upgrade: anyProtocol, record: "$status $end"}, o)
	c := p.dial()
	c.send(handshake)
	x := o.accept()
	x.wantHead()
	x.send("HTTP/1.1 401 Unauthorized\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nno")
	if res := c.want(401, "no"); res.Header.Get("Upgrade") != "" || res.Close {
		t.Errorf("got %v", res)
	}
	// Both connections go on, and the next attempt may succeed.
	c.send(get("/x"))
	x.wantRequest("GET /x", "")
	x.send(ok("fine"))
	c.want(200, "fine")
	c.send(handshake)
	x.wantHead()
	x.send(hints103 + switching)
	if head := c.wantHead(); !strings.HasPrefix(head, "HTTP/1.1 103 ") {
		t.Errorf("got %q", head)
	}
	c.wantHead()
	c.send("frame")
	x.wantBytes("frame")
	c.Close()
	x.wantEnd()
	x.Close()
	p.wantRecords("401 ok", "200 ok", "101 ok")
}

// denied has no route take anybody.
func denied(plan *Plan) { plan.Routes[0].Guard = &Guard{Deny: addrs("127.0.0.0/8")} }

// exhausted has a listener whose rate leaves no room for anything.
func exhausted(plan *Plan) { plan.Listeners[0].Guard = &Guard{Rate: &Rate{Interval: time.Hour}} }

func TestWhatWasSentForATunnelThatWasRefusedIsNoRequest(t *testing.T) {
	refusal := "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
	for name, test := range map[string]struct {
		set    setup
		ask    string
		answer string // of the server; empty: it is not asked
		status int
	}{
		"upgrade":                 {setup{upgrade: anyProtocol}, handshake, refusal, 403},
		"upgrade, bad answer":     {setup{upgrade: anyProtocol}, handshake, "nonsense\r\n\r\n", 502},
		"upgrade, denied":         {setup{upgrade: anyProtocol, with: denied}, handshake, "", 403},
		"upgrade, too often":      {setup{upgrade: anyProtocol, with: exhausted}, handshake, "", 429},
		"connect":                 {setup{}, tunnelWays[3].ask, "", 405},
		"connect on some route":   {setup{connect: true, rules: []remap.Rule{{Hosts: []string{"other"}}}}, tunnelWays[3].ask, "", 405},
		"connect, excluded route": {setup{excluded: map[int]bool{0: true}}, tunnelWays[3].ask, "", 405},
		"connect with a body":     {setup{connect: true}, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 3\r\n\r\n", "", 400},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(test.set, o)
			c := p.dial()
			c.send(test.ask + get("/smuggled"))
			if test.answer != "" {
				x := o.accept()
				x.wantHead()
				x.send(test.answer)
			}
			res, _, err := c.readResponse("GET")
			if err != nil || res.StatusCode != test.status || !res.Close {
				t.Fatalf("got %v, %v, want %d and the end", res, err, test.status)
			}
			c.wantEnd()
			o.wantNobody()
		})
	}
}

// TestWhatHasComeForATunnelIsNoRequestWhereverItIs: it came while the server was asked, and nobody has read it yet.
func TestWhatHasComeForATunnelIsNoRequestWhereverItIs(t *testing.T) {
	for _, answer := range []string{"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "nonsense\r\n\r\n"} {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{upgrade: anyProtocol}, o)
		c := p.dial()
		c.send(handshake)
		x := o.accept()
		x.wantHead()
		c.send(get("/smuggled")) // on loopback it is in the proxy's socket when this returns, and so before the answer
		x.send(answer)
		res, _, err := c.readResponse("GET")
		if err != nil || res.StatusCode < 400 || !res.Close {
			t.Fatalf("got %v, %v, want an error and the end", res, err)
		}
		c.wantEnd()
		o.wantNobody()
	}
}

func TestConnectIsAnsweredWhenAServerIsConnected(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{connect: true, record: "$request $status $retries $end"}, tr.refusing(), o)
	c := p.dial()
	c.send("CONNECT anywhere.example:443 HTTP/1.1\r\nHost: anywhere.example:443\r\n\r\n")
	x := o.accept()
	if head := c.wantHead(); head != "HTTP/1.1 200 Connection established\r\n\r\n" {
		t.Errorf("got %q", head)
	}
	x.wantNothing() // of the request
	x.send("220 hello")
	c.wantBytes("220 hello")
	c.Close()
	x.wantEnd()
	x.Close()
	p.wantRecords("CONNECT anywhere.example:443 HTTP/1.1 200 1 ok")
}

func TestConnectWithoutAServerIsAnsweredLikeAnyRequest(t *testing.T) {
	tr := newTrace(t)
	p := tr.proxy(setup{connect: true, record: "$status $end"}, tr.refusing())
	c := p.dial()
	c.send(tunnelWays[3].ask)
	c.wantError(http.MethodConnect, 502)
	c.wantEnd()
	p.wantRecords("502 backend_error")
}

func TestAnUpgradeIsTriedAgainLikeAnyGET(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{upgrade: anyProtocol, record: "$status $retries $end"}, o)
	c := p.dial()
	c.send(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	x.send(ok("fine"))
	c.want(200, "fine")
	release := p.hold()
	x.reset() // the pooled connection is dead when the handshake comes
	c.send(handshake + "early")
	release()
	y := o.accept()
	if y.wantRequest("GET /chat", "").Header.Get("Upgrade") != "websocket" {
		t.Error("the second attempt does not ask to switch")
	}
	y.send(switching)
	c.wantHead()
	y.wantBytes("early")
	c.Close()
	y.wantEnd()
	y.Close()
	if got := p.records(); len(got) != 2 || !strings.HasPrefix(got[1], "101 ") || !strings.HasSuffix(got[1], " ok") {
		t.Errorf("records: %q", got)
	}
}
