package loop

import (
	"net/http"
	"strings"
	"testing"
)

func TestHopByHopFieldsStayBehind(t *testing.T) {
	eachDelivery(t, func(t *testing.T, d delivery) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		d.send(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n"+
			"Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nTE: gzip\r\nProxy: evil\r\nX-Other: 2\r\n\r\n")
		x := o.accept()
		got := x.wantRequest("GET /", "").Header
		for _, name := range []string{"Connection", "X-Mine", "Keep-Alive", "Proxy-Connection", "Upgrade", "Te", "Proxy"} {
			if v, ok := got[name]; ok {
				t.Errorf("the origin got %s: %q", name, v)
			}
		}
		if got.Get("X-Other") != "2" {
			t.Errorf("the origin got %q without X-Other", got)
		}
		d.send(x, "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Theirs\r\nX-Theirs: 1\r\nKeep-Alive: timeout=5\r\n"+
			"Proxy-Connection: keep-alive\r\nUpgrade: h2\r\nServer: theirs\r\nX-Other: 2\r\nContent-Length: 2\r\n\r\nok")
		got = c.want(200, "ok").Header
		for _, name := range []string{"Connection", "X-Theirs", "Keep-Alive", "Proxy-Connection", "Upgrade"} {
			if v, ok := got[name]; ok {
				t.Errorf("the client got %s: %q", name, v)
			}
		}
		if got.Get("X-Other") != "2" || got.Get("Server") != "theirs" {
			t.Errorf("the client got %q without X-Other, Server", got)
		}
	})
}

func TestTheOriginLearnsWhoTheClientIs(t *testing.T) {
	tests := []struct {
		name   string
		unix   bool
		fields string
		want   map[string]string // absent: empty
	}{
		{"alone", false, "Host: a.example:81\r\n", map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "a.example:81", "X-Host": "a.example:81",
		}},
		{"behind another proxy", false, "Host: a.example\r\nX-Forwarded-For: 10.1.1.1\r\nX-Forwarded-For: 10.2.2.2\r\n", map[string]string{
			"X-Forwarded-For": "10.1.1.1, 10.2.2.2, 127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "a.example", "X-Host": "a.example",
		}},
		{"forged", false, "Host: a.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\nX-Host: b\r\n", map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "a.example", "X-Host": "a.example",
		}},
		{"on a unix socket", true, "Host: a.example\r\nX-Forwarded-For: 10.1.1.1\r\n", map[string]string{
			"X-Forwarded-For": "10.1.1.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "a.example", "X-Host": "a.example",
		}},
		{"on a unix socket, alone", true, "Host: a.example\r\n", map[string]string{
			"X-Forwarded-Proto": "http", "X-Forwarded-Host": "a.example", "X-Host": "a.example",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{unix: test.unix}, o)
			c := p.dial()
			c.send("GET / HTTP/1.1\r\n" + test.fields + "\r\n")
			x := o.accept()
			got := x.wantRequest("GET /", "").Header
			for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Host"} {
				if v := strings.Join(got.Values(name), " | "); v != test.want[name] {
					t.Errorf("%s: %q, want %q", name, v, test.want[name])
				}
			}
			x.send(ok("fine"))
			c.want(200, "fine")
		})
	}
}

func TestTargetsReachTheOriginInOriginForm(t *testing.T) {
	tests := []struct{ sent, host, target, wantHost string }{
		{"/a%20b/../c?d=e", "a.example", "/a%20b/../c?d=e", "a.example"},
		{"http://b.example/x?y", "a.example", "/x?y", "b.example"},
		{"http://b.example:8080", "b.example:8080", "/", "b.example:8080"},
		{"http://b.example?q=1", "b.example", "/?q=1", "b.example"},
	}
	for _, test := range tests {
		t.Run(test.sent, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{}, o)
			c := p.dial()
			c.send("GET " + test.sent + " HTTP/1.1\r\nHost: " + test.host + "\r\n\r\n")
			x := o.accept()
			head := x.wantHead()
			if want := "GET " + test.target + " HTTP/1.1\r\nHost: " + test.wantHost + "\r\n"; !strings.HasPrefix(head, want) {
				t.Errorf("the origin got %q, want %q", head, want)
			}
			if strings.Count(head, "\r\nHost:") != 1 {
				t.Errorf("the origin got %q, want one Host", head)
			}
			x.send(ok("fine"))
			c.want(200, "fine")
		})
	}
}

func TestOPTIONSForTheServerAsAWholePasses(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	c.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
	x := o.accept()
	x.wantRequest("OPTIONS *", "")
	x.send("HTTP/1.1 204 No Content\r\nAllow: GET\r\n\r\n")
	c.wantTo("OPTIONS", 204, "")
}

func TestARequestForNoHostIsSentAsHTTP10OnAConnectionOfItsOwn(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	c.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
	x := o.accept()
	head := x.wantHead()
	if !strings.HasPrefix(head, "GET / HTTP/1.0\r\n") || strings.Contains(head, "Host:") || !strings.Contains(head, "\r\nConnection: close\r\n") {
		t.Errorf("the origin got %q", head)
	}
	// An HTTP/1.1 server that does not repeat the close, though it will close.
	x.send(ok("fine"))
	c.want(200, "fine")
	c.send(get("/next"))
	x.wantGone()
	x = o.accept()
	x.wantRequest("GET /next", "")
}

func TestAResponseOfAnHTTP10ServerIsPassedOnAsHTTP11(t *testing.T) {
	tests := []struct {
		name, response string
		kept           bool
	}{
		{"closing", "HTTP/1.0 200 Fine\r\nContent-Length: 4\r\n\r\nfine", false},
		{"keeping", "HTTP/1.0 200 Fine\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\nfine", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			eachDelivery(t, func(t *testing.T, d delivery) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{}, o)
				c := p.dial()
				c.send(get("/"))
				x := o.accept()
				x.wantRequest("GET /", "")
				d.send(x, test.response)
				res := c.want(200, "fine")
				if res.Proto != "HTTP/1.1" || res.Status != "200 Fine" || res.Close {
					t.Errorf("got %s %s, close: %v", res.Proto, res.Status, res.Close)
				}
				c.send(get("/next"))
				if !test.kept {
					x.wantGone()
					x = o.accept()
				}
				x.wantRequest("GET /next", "")
			})
		})
	}
}

func TestALargeHeadPassesInBothDirections(t *testing.T) {
	eachDelivery(t, func(t *testing.T, d delivery) {
		// Larger than the buffer that a head is read into at first, and than the room before a relay buffer.
		size := 30000
		if d.name == "byte by byte" {
			size = 9000
		}
		value := strings.ReplaceAll(letters(size), "\n", "-")
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		var x *peer
		for range 2 {
			sent := tr.beside("client", func() error {
				d.send(c, "POST / HTTP/1.1\r\nHost: a\r\nX-Large: "+value+"\r\nContent-Length: 4\r\n\r\nbody")
				return nil
			})
			if x == nil {
				x = o.accept()
			}
			if r := x.wantRequest("POST /", "body"); r.Header.Get("X-Large") != value {
				t.Errorf("the origin got %s", excerpt(r.Header.Get("X-Large")))
			}
			sent()
			sent = tr.beside("origin", func() error {
				d.send(x, "HTTP/1.1 200 OK\r\nX-Large: "+value+"\r\nTransfer-Encoding: chunked\r\n\r\n"+chunks("fine")+"0\r\n\r\n")
				return nil
			})
			if res := c.wantTo(http.MethodPost, 200, "fine"); res.Header.Get("X-Large") != value {
				t.Errorf("the client got %s", excerpt(res.Header.Get("X-Large")))
			}
			sent()
		}
	})
}

func TestUnixSocketsWorkOnBothSides(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		tr := newTrace(t)
		o := tr.unixOrigin()
		p := tr.proxy(setup{unix: true}, o)
		c := p.dial()
		m.delivery.send(c, m.client.request("/"))
		x := o.accept()
		x.wantRequest("GET /", "")
		m.respond(x, "an answer")
		m.wantResponse(c, "an answer")
	})
}
