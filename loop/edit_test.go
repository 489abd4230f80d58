package loop

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"millrace/remap"
)

// edited has every route of a plan edit.
func edited(o remap.EditOptions) func(*Plan) {
	return func(plan *Plan) {
		for _, r := range plan.Routes {
			r.Edits = remap.NewEdits(o)
		}
	}
}

func text(t *testing.T, s string) *remap.Template {
	t.Helper()
	tp, err := remap.ParseTemplate(s, remap.TemplateScope{Groups: 9, Response: true})
	if err != nil {
		t.Fatal(err)
	}
	return tp
}

func wantField(tr *trace, h http.Header, name, want string) {
	tr.Helper()
	if got := strings.Join(h.Values(name), "|"); got != want {
		tr.Errorf("%s: %q, want %q", name, got, want)
	}
}

// TestHeadsAreEdited is lighttpd's configuration H between real sockets (HR-46, HR-47), and what else an exchange knows.
func TestHeadsAreEdited(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: edited(remap.EditOptions{
		MapHostRequest:  []remap.Mapping{{From: "www.example.org", To: "int.example.net"}},
		MapHostResponse: []remap.Mapping{{From: "-", To: "www.example.org"}, {From: "cookie.int", To: "d.org"}},
		MapURLPath:      []remap.Mapping{{From: "/xxx", To: "/yyy"}, {From: "/key", To: "/value"}},
		Forwarded:       remap.ForwardedFor | remap.ForwardedBy,
		RequestID:       "X-Request-Id",
		Request: remap.FieldEdits{
			Set:    []remap.FieldLine{{Name: "X-Client", Value: text(t, "$client_addr $client_port $listener_addr $server")}},
			Remove: []string{"X-Secret"},
		},
		Response: remap.FieldEdits{Set: []remap.FieldLine{{Name: "X-Request-Id", Value: text(t, "$request_id")}}},
	})}, o)
	c := p.dial()
	c.send("GET /xxx/1 HTTP/1.1\r\nHost: www.example.org\r\nX-Secret: s\r\n\r\n")
	x := o.accept()
	r := x.wantRequest("GET /yyy/1", "")
	if r.Host != "int.example.net" {
		t.Errorf("host %q", r.Host)
	}
	local, remote := c.RemoteAddr().String(), c.LocalAddr().String()
	wantField(tr, r.Header, "X-Client", strings.Replace(remote, ":", " ", 1)+" "+local+" "+o.name)
	wantField(tr, r.Header, "Forwarded", `for=127.0.0.1;by="`+local+`"`)
	wantField(tr, r.Header, "X-Forwarded-Host", "www.example.org")
	wantField(tr, r.Header, "X-Secret", "")
	id := r.Header.Get("X-Request-Id")
	x.send("HTTP/1.1 302 Found\r\nLocation: http://int.example.net/yyy/1\r\nSet-Cookie: a=1; Domain=.cookie.int; Path=/value/x\r\nContent-Length: 0\r\n\r\n")
	res := c.want(302, "")
	wantField(tr, res.Header, "Location", "http://www.example.org/xxx/1")
	wantField(tr, res.Header, "Set-Cookie", "a=1; Domain=.d.org; Path=/key/x")
	wantField(tr, res.Header, "X-Request-Id", id)

	// The next request on the connection has nothing of the first.
	c.send("GET /key HTTP/1.1\r\nHost: www.example.org\r\n\r\n")
	r = x.wantRequest("GET /value", "")
	if next := r.Header.Get("X-Request-Id"); next == id || len(next) != 32 {
		t.Errorf("request ids %q and %q", id, next)
	}
	x.send("HTTP/1.1 302 Found\r\nLocation: http://int.example.net/valuexyz\r\nContent-Length: 0\r\n\r\n")
	wantField(tr, c.want(302, "").Header, "Location", "http://www.example.org/keyxyz")
}

// TestEditsAreMadeForEachAttempt: what a request is mapped by is the same when it is sent again, and what it says of its
// server is that server's.
func TestEditsAreMadeForEachAttempt(t *testing.T) {
	tr := newTrace(t)
	first, second := tr.origin(), tr.origin()
	p := tr.proxy(setup{roundRobin: true, with: edited(remap.EditOptions{
		MapURLPath: []remap.Mapping{{From: "/a", To: "/1"}, {From: "/b", To: "/1"}},
		RequestID:  "X-Request-Id",
		Request:    remap.FieldEdits{Set: []remap.FieldLine{{Name: "X-Server", Value: text(t, "$server")}}},
	})}, first, second)
	c := p.dial()
	c.send(get("/b/x"))
	x := first.accept()
	r := x.wantRequest("GET /1/x", "")
	id := r.Header.Get("X-Request-Id")
	wantField(tr, r.Header, "X-Server", first.name)
	x.Close()
	x = second.accept()
	r = x.wantRequest("GET /1/x", "")
	wantField(tr, r.Header, "X-Server", second.name)
	wantField(tr, r.Header, "X-Request-Id", id)
	x.send("HTTP/1.1 302 Found\r\nLocation: /1/x\r\nContent-Length: 0\r\n\r\n")
	wantField(tr, c.want(302, "").Header, "Location", "/b/x") // HR-40
}

// TestTheRequestHeadMayMove: the response is edited by what the request said, though its head has got another buffer while
// a large body went by.
func TestTheRequestHeadMayMove(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: edited(remap.EditOptions{
		Rule:     &remap.Rule{Pattern: regexp.MustCompile("^/(.*)$")},
		Response: remap.FieldEdits{Set: []remap.FieldLine{{Name: "X-Said", Value: text(t, "$http_x_said $host $1")}}},
	})}, o)
	c := p.dial()
	body := letters(200 << 10)
	sent := tr.beside("client", func() error {
		_, err := c.Write([]byte("POST /p HTTP/1.1\r\nHost: a.example\r\nX-Said: word\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"32000\r\n" + body + "\r\n0\r\n\r\n"))
		return err
	})
	x := o.accept()
	x.wantRequest("POST /p", body)
	sent()
	x.send(ok("fine"))
	wantField(tr, c.want(200, "fine").Header, "X-Said", "word a.example p")
}

func TestWhatEditsRefuse(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: edited(remap.EditOptions{
		Rule:     &remap.Rule{Pattern: regexp.MustCompile("(?s)^/req/(.*)$")},
		Request:  remap.FieldEdits{Set: []remap.FieldLine{{Name: "X-A", Value: text(t, "$1")}}},
		Response: remap.FieldEdits{Set: []remap.FieldLine{{Name: "X-B", Value: text(t, strings.Repeat("$http_x", 100))}}},
	})}, o)
	c := p.dial()
	c.send(get("/req/a%0d%0aX-Evil:%201"))
	c.wantError("GET", 400)
	c.wantEnd()

	// A response that edits blow up beyond any bound.
	c = p.dial()
	c.send("GET /req/a HTTP/1.1\r\nHost: a.example\r\nX: " + strings.Repeat("x", 30000) + "\r\n\r\n")
	o.accept().wantEnd() // the first was given back unused
	x := o.accept()
	x.wantRequest("GET /req/a", "")
	x.send(ok("fine"))
	c.wantError("GET", 502)
}

// TestTrailersDoNotSayWhatHeadsMustNot sends behind a body what is taken from the head.
func TestTrailersDoNotSayWhatHeadsMustNot(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: edited(remap.EditOptions{
		Request:  remap.FieldEdits{Remove: []string{"X-User"}},
		Response: remap.FieldEdits{Remove: []string{"X-Debug"}},
	})}, o)
	c := p.dial()
	c.send("POST / HTTP/1.1\r\nHost: a.example\r\nX-User: root\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-User: root\r\nX-Sum: 1\r\n\r\n")
	x := o.accept()
	if head := x.wantHead(); strings.Contains(head, "root") {
		t.Errorf("got %q", head)
	}
	x.wantBytes("2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n")
	x.send("HTTP/1.1 200 OK\r\nX-Debug: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ncd\r\n0\r\nX-Debug: 2\r\nX-Sum: 2\r\n\r\n")
	if head := c.wantHead(); strings.Contains(head, "Debug") {
		t.Errorf("got %q", head)
	}
	c.wantBytes("2\r\ncd\r\n0\r\nX-Sum: 2\r\n\r\n")
}

func TestTheSchemeOfAListener(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: func(plan *Plan) {
		plan.Listeners[0].Scheme = "https"
		edited(remap.EditOptions{Reverse: []remap.Reversal{{Mapping: remap.Mapping{From: "/in", To: "/m"}}}})(plan)
	}}, o)
	c := p.dial()
	c.send(get("/"))
	x := o.accept()
	wantField(tr, x.wantRequest("GET /", "").Header, "X-Forwarded-Proto", "https")
	x.send("HTTP/1.1 302 Found\r\nLocation: /in/x\r\nContent-Length: 0\r\n\r\n")
	wantField(tr, c.want(302, "").Header, "Location", "https://a.example/m/x")
	c.send("GET https://a.example/y HTTP/1.1\r\nHost: a.example\r\n\r\n")
	x.wantRequest("GET /y", "")
	x.send(ok("fine"))
	c.want(200, "fine")
}

// TestWhatAListenerOnAllAddressesIsCalled asks the kernel which address a client has connected to.
func TestWhatAListenerOnAllAddressesIsCalled(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	by := edited(remap.EditOptions{Forwarded: remap.ForwardedBy})
	p := tr.proxy(setup{address: "0.0.0.0:0", with: by}, o)
	c := p.dial()
	c.send(get("/"))
	x := o.accept()
	wantField(tr, x.wantRequest("GET /", "").Header, "Forwarded", `by="`+c.RemoteAddr().String()+`"`)
	x.send(ok(""))
	c.want(200, "")
}

func TestAClientOnAUnixSocketIsUnknown(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{unix: true, with: edited(remap.EditOptions{Forwarded: remap.ForwardedFor | remap.ForwardedBy})}, o)
	c := p.dial()
	c.send(get("/"))
	x := o.accept()
	wantField(tr, x.wantRequest("GET /", "").Header, "Forwarded", `for=unknown;by="unix:`+c.RemoteAddr().String()+`"`)
	x.send(ok(""))
	c.want(200, "")
}
