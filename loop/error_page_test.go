package loop

import (
	"strings"
	"testing"

	"millrace/remap"
)

// paged gives a plan pages for two statuses, and has every route replace errors of servers.
func paged(plan *Plan) {
	page := &ErrorPage{ContentType: "text/html", Body: []byte("<p>sorry</p>")}
	plan.ServerErrors = ErrorPages{500: page, 401: page}
	plan.OwnErrors = ErrorPages{404: page, 502: page}
	override := new(StatusSet)
	for status := 400; status < 600; status++ {
		if status != 403 {
			override.Add(status)
		}
	}
	for _, r := range plan.Routes {
		r.ErrorOverride = override
	}
}

// TestErrorsOfServersGetAnOwnPage: status and reason stay, and both connections go on.
func TestErrorsOfServersGetAnOwnPage(t *testing.T) {
	for name, body := range map[string]string{
		"length":  "Content-Length: 5\r\n\r\nstack",
		"empty":   "Content-Length: 0\r\n\r\n",
		"chunked": "Transfer-Encoding: chunked\r\n\r\n2\r\nst\r\n3\r\nack\r\n0\r\nX-Sum: 1\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{with: paged}, o)
			c := p.dial()
			c.send(get("/1"))
			x := o.accept()
			x.wantRequest("GET /1", "")
			x.send("HTTP/1.1 500 Broken Again\r\nSet-Cookie: a=1\r\nX-Debug: stack\r\nDate: then\r\nETag: \"a\"\r\n" + body)
			res := c.want(500, "<p>sorry</p>")
			if res.Status != "500 Broken Again" || res.ContentLength != int64(len("<p>sorry</p>")) {
				t.Errorf("got %q, %d bytes", res.Status, res.ContentLength)
			}
			for field, want := range map[string]string{"Content-Type": "text/html", "Set-Cookie": "", "X-Debug": "", "Date": "then", "Etag": "", "Connection": ""} {
				wantField(tr, res.Header, field, want)
			}
			c.send(get("/2"))
			x.wantRequest("GET /2", "")
			x.send(ok("fine"))
			c.want(200, "fine")
		})
	}
}

// TestTheRestOfAnErrorIsNotWaitedFor: the client has its page, and the server's connection ends.
func TestTheRestOfAnErrorIsNotWaitedFor(t *testing.T) {
	for name, body := range map[string]string{
		"length":  "Content-Length: 500\r\n\r\nstack",
		"chunked": "Transfer-Encoding: chunked\r\n\r\n5\r\nstack\r\n",
		"wrong":   "Transfer-Encoding: chunked\r\n\r\nno chunk\r\n",
		"close":   "Connection: close\r\n\r\nstack",
		"more":    "Content-Length: 5\r\n\r\nstackHTTP/1.1 200 OK\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{with: paged}, o)
			c := p.dial()
			c.send(get("/1"))
			x := o.accept()
			x.wantRequest("GET /1", "")
			x.send("HTTP/1.1 500 Broken\r\n" + body)
			c.want(500, "<p>sorry</p>")
			x.wantGone()
			c.send(get("/2"))
			x = o.accept()
			x.wantRequest("GET /2", "")
			x.send(ok("fine"))
			c.want(200, "fine")
		})
	}
}

func TestAnErrorThatComesInPieces(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: paged}, o)
	c := p.dial()
	c.send(get("/1"))
	x := o.accept()
	x.wantRequest("GET /1", "")
	x.sendBytes("HTTP/1.1 500 Broken\r\nX-Debug: stack\r\nContent-Length: 0\r\n\r\n")
	wantField(tr, c.want(500, "<p>sorry</p>").Header, "X-Debug", "")
	c.send(get("/2"))
	x.wantRequest("GET /2", "")
	x.send(ok("fine"))
	c.want(200, "fine")
}

// TestErrorsWithoutAPage have the status and a reason for content; what belongs to a status stays.
func TestErrorsWithoutAPage(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: paged}, o)
	c := p.dial()
	c.send(get("/"))
	x := o.accept()
	for i, tt := range []struct {
		status, field, want, body string
		code                      int
	}{
		{"401 Who", "WWW-Authenticate: Basic realm=a", "Basic realm=a", "<p>sorry</p>", 401},
		{"405 No", "Allow: GET", "GET", "405 Method Not Allowed\n", 405},
		{"416 No", "Content-Range: bytes */5", "bytes */5", "416 Requested Range Not Satisfiable\n", 416},
		{"503 No", "Retry-After: 7", "7", "503 Service Unavailable\n", 503},
		{"500 No", "Allow: GET", "", "<p>sorry</p>", 500},
		{"503 No", "Retry-After: 7\r\nConnection: retry-after", "", "503 Service Unavailable\n", 503}, // for us alone (RFC 9110, 7.6.1)
		{"499 Gone Away", "Allow: GET", "", "499 Unknown Status Code\n", 499},
	} {
		if i > 0 {
			c.send(get("/"))
		}
		x.wantRequest("GET /", "")
		x.send("HTTP/1.1 " + tt.status + "\r\n" + tt.field + "\r\nContent-Length: 5\r\n\r\nstack")
		name, _, _ := strings.Cut(tt.field, ":")
		wantField(tr, c.want(tt.code, tt.body).Header, name, tt.want)
	}
}

// TestWhatIsNoErrorPasses, and so does an error that is not listed.
func TestWhatIsNoErrorPasses(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: paged}, o)
	c := p.dial()
	c.send(get("/1"))
	x := o.accept()
	x.wantRequest("GET /1", "")
	x.send("HTTP/1.1 403 Forbidden\r\nX-Debug: 1\r\nContent-Length: 5\r\n\r\nstack")
	wantField(tr, c.want(403, "stack").Header, "X-Debug", "1")
	c.send(get("/2"))
	x.wantRequest("GET /2", "")
	x.send("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n")
	wantField(tr, c.want(304, "").Header, "Etag", `"a"`)
}

func TestAnOwnPageIsNotSentToHEAD(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: paged}, o)
	c := p.dial()
	c.send("HEAD /1 HTTP/1.1\r\nHost: a.example\r\n\r\n")
	x := o.accept()
	x.wantRequest("HEAD /1", "")
	x.send("HTTP/1.1 500 Broken\r\nContent-Length: 500\r\n\r\n")
	if res := c.wantTo("HEAD", 500, ""); res.ContentLength != int64(len("<p>sorry</p>")) {
		t.Errorf("a length of %d", res.ContentLength)
	}
	c.send("HEAD /2 HTTP/1.1\r\nHost: a.example\r\n\r\n")
	x.wantRequest("HEAD /2", "")
	x.send("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
	c.wantTo("HEAD", 200, "")
}

func TestAnOldClientGetsAnOwnPage(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: paged}, o)
	c := p.dial()
	c.send("GET /1 HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n")
	x := o.accept()
	x.wantRequest("GET /1", "")
	x.send("HTTP/1.1 500 Broken\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstack\r\n0\r\n\r\n")
	wantField(tr, c.want(500, "<p>sorry</p>").Header, "Connection", "keep-alive")
	c.send("GET /2 HTTP/1.0\r\nHost: a.example\r\n\r\n")
	x.wantRequest("GET /2", "")
	x.send(ok("fine"))
	c.want(200, "fine")
	c.wantEnd()
}

// TestAnErrorBeforeTheEndOfTheRequest: a server that answers early wants no more of the body.
func TestAnErrorBeforeTheEndOfTheRequest(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: paged}, o)
	c := p.dial()
	c.send("POST /1 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nabcde")
	x := o.accept()
	x.wantHead()
	x.wantBytes("abcde")
	x.send("HTTP/1.1 413 Too Much\r\nContent-Length: 5\r\n\r\nstack")
	c.want(413, "413 Request Entity Too Large\n")
	x.wantGone()
	c.send("fghij" + get("/2"))
	x = o.accept()
	x.wantRequest("GET /2", "")
	x.send(ok("fine"))
	c.want(200, "fine")
}

// TestOwnPagesAreEdited: what a route sets in responses is in these too.
func TestOwnPagesAreEdited(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{with: func(plan *Plan) {
		paged(plan)
		edited(remap.EditOptions{Response: remap.FieldEdits{
			Set: []remap.FieldLine{{Name: "X-Status", Value: text(t, "$status $path")}}, Remove: []string{"Date"},
		}})(plan)
	}}, o)
	c := p.dial()
	c.send(get("/1"))
	x := o.accept()
	x.wantRequest("GET /1", "")
	x.send("HTTP/1.1 500 Broken\r\nDate: then\r\nX-Status: 1\r\nContent-Length: 5\r\n\r\nstack")
	res := c.want(500, "<p>sorry</p>")
	wantField(tr, res.Header, "X-Status", "500 /1")
	wantField(tr, res.Header, "Date", "")
}

func TestOwnAnswersHavePages(t *testing.T) {
	tr := newTrace(t)
	p := tr.proxy(setup{with: func(plan *Plan) {
		paged(plan)
		plan.Table = remap.New([]remap.Rule{{Path: "/app"}})
	}}, tr.refusing())
	c := p.dial()
	c.send(get("/nowhere"))
	wantField(tr, c.want(404, "<p>sorry</p>").Header, "Content-Type", "text/html")
	c.send("HEAD /nowhere HTTP/1.1\r\nHost: a.example\r\n\r\n")
	if res := c.wantTo("HEAD", 404, ""); res.ContentLength != int64(len("<p>sorry</p>")) {
		t.Errorf("a length of %d", res.ContentLength)
	}
	c.send(get("/app"))
	c.want(502, "<p>sorry</p>")
	c.send("TRACE /app HTTP/1.1\r\nHost: a.example\r\n\r\n")
	res := c.want(405, "405 Method Not Allowed\n")
	wantField(tr, res.Header, "Content-Type", "text/plain")
}
