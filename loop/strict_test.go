package loop

import (
	"fmt"
	"strings"
	"testing"

	"millrace/httpparse"
	"millrace/remap"
)

// smuggled is what an attacker hides behind a message whose end is in doubt.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

// What is malformed, or what two readers could understand differently, is refused; the connection ends, and nothing
// of it, nor of what is behind it, reaches a server.
func TestEachRuleOfSyntaxIsKept(t *testing.T) {
	head := func(fields string) string { return "POST / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" }
	line := func(line string) string { return line + "\r\nHost: a\r\n\r\n" }
	host := func(host string) string { return "GET / HTTP/1.1\r\n" + host + "\r\n\r\n" }
	chunked := func(body string) string { return head("Transfer-Encoding: chunked\r\n") + body }
	for _, rule := range []struct {
		clause   string
		status   int
		requests []string
	}{
		{"RFC 9112, 2.2: a line ends with CRLF; a CR alone is refused", 400, []string{
			"GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost: a\n\r\n", "GET / HTTP/1.1\rHost: a\r\n\r\n",
			"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n",
		}},
		{"RFC 9112, 2.2: nothing but empty lines before the request line, and few of them", 400, []string{
			strings.Repeat("\r\n", httpparse.MaxEmptyLines+1) + get("/"), " " + get("/"), "\t" + get("/"), "\x00" + get("/"),
			"\xef\xbb\xbf" + get("/"), "x\r\n" + get("/"), "\v" + get("/"), "\r" + get("/"),
		}},
		{"RFC 9112, 2.2: no blank before the first field", 400, []string{"GET / HTTP/1.1\r\n Host: a\r\n\r\n", "GET / HTTP/1.1\r\n\tX: y\r\nHost: a\r\n\r\n"}},
		{"RFC 9112, 2.3: HTTP-version", 400, []string{
			line("GET / HTTP/1.10"), line("GET / HTTP/01.1"), line("GET / HTTP/1"), line("GET / http/1.1"), line("GET / HTTP/1,1"),
			line("GET / HTTP 1.1"), line("GET / HTTP/1.1x"), line("GET / HTTPS/1.1"), line("GET / HTTP/ 1.1"),
		}},
		{"RFC 9110, 2.5: a version that is not spoken", 505, []string{line("GET / HTTP/0.9"), line("GET / HTTP/1.2"), line("GET / HTTP/2.0"), line("GET / HTTP/3.0")}},
		{"RFC 9112, 3: one space between method, target and version", 400, []string{
			line("GET  / HTTP/1.1"), line("GET /  HTTP/1.1"), line("GET\t/ HTTP/1.1"), line("GET /\tHTTP/1.1"), line("GET / HTTP/1.1 "),
			line("GET/ HTTP/1.1"), line("GET /HTTP/1.1"), line("GET /"), line("GET"), line("GET / x HTTP/1.1"), line("GET\v/ HTTP/1.1"),
		}},
		{"RFC 9110, 5.6.2 and 9.1: a method is a token", 400, []string{
			line("G\x00T / HTTP/1.1"), line("GE\"T / HTTP/1.1"), line("G\xc9T / HTTP/1.1"), line("(GET) / HTTP/1.1"), line("GET: / HTTP/1.1"), line("GET, / HTTP/1.1"),
		}},
		{"RFC 9112, 3.2: one of four forms of a target, without a fragment", 400, []string{
			line("GET a HTTP/1.1"), line("GET ?a HTTP/1.1"), line("GET #a HTTP/1.1"), line("GET /a#b HTTP/1.1"), line("GET /?a#b HTTP/1.1"),
			line("GET * HTTP/1.1"), line("OPTIONS ** HTTP/1.1"), line("OPTIONS *?a HTTP/1.1"), line("GET a:80 HTTP/1.1"), line(`GET \a HTTP/1.1`),
			line("GET ../a HTTP/1.1"), line("GET %2fa HTTP/1.1"), line("GET http://a/#b HTTP/1.1"),
		}},
		{"RFC 3986, 2: no control character, blank or byte beyond ASCII in a target", 400, []string{
			line("GET /\x00 HTTP/1.1"), line("GET /a\x01 HTTP/1.1"), line("GET /a\x7f HTTP/1.1"), line("GET /a\rb HTTP/1.1"), line("GET /a\nb HTTP/1.1"),
			line("GET /caf\xc3\xa9 HTTP/1.1"), line("GET /?\xff HTTP/1.1"), line("GET /a b HTTP/1.1"), line("GET /a\vb HTTP/1.1"),
		}},
		{"RFC 3986, 2.1: a percent sign begins an escape; and no NUL in a path", 400, []string{
			line("GET /% HTTP/1.1"), line("GET /%4 HTTP/1.1"), line("GET /%zz HTTP/1.1"), line("GET /%%41 HTTP/1.1"), line("GET /admin%00 HTTP/1.1"), line("GET /%00.jpg HTTP/1.1"),
		}},
		{"RFC 9110, 4.2.4 and 7.4: absolute-form is http, without userinfo", 400, []string{
			line("GET ftp://a/ HTTP/1.1"), line("GET https://a/ HTTP/1.1"), line("GET HTTPS://a/ HTTP/1.1"), line("GET http://u@a/ HTTP/1.1"),
			line("GET http://u:p@a/ HTTP/1.1"), line("GET http:///a HTTP/1.1"), line("GET http://:80/ HTTP/1.1"), line("GET http:/a HTTP/1.1"),
			line("GET http:a HTTP/1.1"), line(`GET http://a\@b/ HTTP/1.1`), line("GET file:///etc/passwd HTTP/1.1"), line("GET http://a b/ HTTP/1.1"),
		}},
		{"RFC 9112, 5.1: a name is a token, and the colon follows", 400, []string{
			head("X : y\r\n"), head("X\t: y\r\n"), head("X y: z\r\n"), head(": y\r\n"), head("X\r\n"), head("X\x00: y\r\n"), head("X\x7f: y\r\n"),
			head("X\xe9: y\r\n"), head("X(): y\r\n"), head("\"X\": y\r\n"), head("X/Y: z\r\n"), head("X\v: y\r\n"), head("X[0]: y\r\n"), head("X,Y: z\r\n"),
		}},
		{"RFC 9112, 5.2: no folded lines", 400, []string{
			head("X: y\r\n z\r\n"), head("X: y\r\n\tz\r\n"), head("X:\r\n y\r\n"), head("X: y\r\n \r\n"), head("X: y\r\n Content-Length: 5\r\n"),
		}},
		{"RFC 9110, 5.5: no control character in a value", 400, []string{
			head("X: y\x00z\r\n"), head("X: \x00\r\n"), head("X: y\x01\r\n"), head("X: y\vz\r\n"), head("X: y\fz\r\n"), head("X: y\x7fz\r\n"),
			head("X: y\x1bz\r\n"), head("X: y\rz\r\n"), head("X: y\nz\r\n"), head("X: y\r\r\n"), head("X: y\n\r\n"), head("X: y\rContent-Length: 5\r\n"),
		}},
		{"RFC 3875, 4.1.18: no underscores in names, and no names that are others to some", 400, []string{
			head("X_Y: z\r\n"), head("_: z\r\n"), head("Content_Length: 5\r\n"), head("Transfer_Encoding: chunked\r\n"), head("transfer_Encoding: chunked\r\n"),
			head("X-Forwarded_For: ::1\r\n"), head("Content.Length: 5\r\n"), head("Transfer~Encoding: chunked\r\n"), head("X.Forwarded.Proto: https\r\n"),
		}},
		{"RFC 9112, 3.2: one Host", 400, []string{
			"GET / HTTP/1.1\r\n\r\n", "GET http://a/ HTTP/1.1\r\n\r\n", host("Host: a\r\nHost: a"), host("Host: a\r\nhOST: b"), "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
			"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", host("Host: a\r\nX: y\r\nHost: b"), host("Hos\x00t: a"),
		}},
		{"RFC 3986, 3.2.2, as behaviour.md narrows it: a Host is a name or an address, and a port", 400, []string{
			host("Host:"), host("Host: "), host("Host: a b"), host("Host: a,b"), host("Host: a/b"), host("Host: a?b"), host("Host: a#b"), host("Host: u@a"),
			host("Host: http://a"), host("Host: a\\b"), host("Host: a:80:80"), host("Host: a:x"), host("Host: a:-1"), host("Host: a:65536"), host("Host: a:8 0"),
			host("Host: :80"), host("Host: [::1"), host("Host: ::1"), host("Host: [::1]x"), host("Host: [::g]"), host("Host: [1.2.3.4]"), host("Host: [fe80::1%25en0]"),
			host("Host: [v1.a]"), host("Host: %61"), host("Host: a%00"), host("Host: \xc3\xa9"), host("Host: \"a\""), host("Host: <a>"), host("Host: [::1]:65536"),
			host("Host: a\tb"), host("Host: [::1].a"), "GET http://a/ HTTP/1.1\r\nHost: a/b\r\n\r\n", "GET / HTTP/1.0\r\nHost: a b\r\n\r\n",
		}},
		{"RFC 9112, 6.3 (5) and RFC 9110, 8.6: one Content-Length, of digits", 400, []string{
			head("Content-Length: +5\r\n"), head("Content-Length: -5\r\n"), head("Content-Length: -0\r\n"), head("Content-Length: 5 \x0b\r\n"), head("Content-Length: 1 2\r\n"), head("Content-Length: 0x5\r\n"),
			head("Content-Length: 5h\r\n"), head("Content-Length: 1e1\r\n"), head("Content-Length: 5.0\r\n"), head("Content-Length: 1_0\r\n"), head("Content-Length:\r\n"),
			head("Content-Length: 5, 5\r\n"), head("Content-Length: 5,6\r\n"), head("Content-Length: 5;\r\n"), head("Content-Length: \"5\"\r\n"), head("Content-Length: ,5\r\n"),
			head("Content-Length: 9223372036854775808\r\n"), head("Content-Length: 18446744073709551616\r\n"), head("Content-Length: 18446744073709551621\r\n"),
			head("Content-Length: 99999999999999999999999999\r\n"), head("Content-Length: 05\r\n"), head("Content-Length: 00\r\n"), head("Content-Length: \xd9\xa5\r\n"),
			head("Content-Length: 5\r\nContent-Length: 5\r\n"), head("Content-Length: 5\r\ncontent-length: 6\r\n"), head("Content-Length: 0\r\nX: y\r\nContent-Length: 36\r\n"),
			head("Content-Length\t: 5\r\n"), head("Content-Length: \n5\r\n"), head("Content-Length : 5\r\n"),
		}},
		{"RFC 9112, 6.3 (3): no Transfer-Encoding with Content-Length", 400, []string{
			head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", head("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") + "0\r\n\r\n",
			head("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", head("content-length: 5\r\ntRANSFER-eNCODING: chunked\r\n"), head("Content-Length: 5\r\nTransfer-Encoding: gzip\r\n"),
			head("Content-Length: 5\r\nTransfer-Encoding: identity\r\n"), head("Content-Length: x\r\nTransfer-Encoding: chunked\r\n"),
		}},
		{"RFC 9112, 6.1: no Transfer-Encoding in HTTP/1.0", 400, []string{
			"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
			"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
		}},
		{"RFC 9112, 6.3 (4): chunked is the last coding, once", 400, []string{
			head("Transfer-Encoding: chunked, chunked\r\n"), head("Transfer-Encoding: chunked, gzip\r\n"), head("Transfer-Encoding: chunked, identity\r\n"),
			head("Transfer-Encoding: xchunked\r\n"), head("Transfer-Encoding: chunke\r\n"), head("Transfer-Encoding: cow\r\n"),
			head("Transfer-Encoding: identity\r\n"), head("Transfer-Encoding: identity, chunked\r\n"), head("Transfer-Encoding: \r\n"), head("Transfer-Encoding: ,chunked\r\n"),
			head("Transfer-Encoding: chunked,\r\n"), head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), head("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n"),
			head("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"), head("Transfer-Encoding: \"chunked\"\r\n"), head("Transfer-Encoding: chunked;a=b\r\n"),
			head("Transfer-Encoding: chunked x\r\n"), head("Transfer-Encoding: \vchunked\r\n"), head("Transfer-Encoding: chunked\x00\r\n"), head("Transfer-Encoding: ch\xc3\xbcnked\r\n"),
			head("Transfer-Encoding:\r\n chunked\r\n"), head("Transfer-Encoding : chunked\r\n"), head("Transfer Encoding: chunked\r\n"), head("Transfer-Encoding: chunked\xa0\r\n"),
		}},
		{"RFC 9112, 6.1: a coding that we do not know", 501, []string{
			head("Transfer-Encoding: gzip, chunked\r\n"), head("Transfer-Encoding: deflate,  chunked\r\n"),
		}},
		{"RFC 9112, 7.1: chunk-size", 400, []string{
			chunked("\r\n\r\n"), chunked("-1\r\n"), chunked("+1\r\nx\r\n0\r\n\r\n"), chunked("0x1\r\nx\r\n0\r\n\r\n"), chunked(" 1\r\nx\r\n0\r\n\r\n"), chunked("1 \r\nx\r\n0\r\n\r\n"),
			chunked("1\t\r\nx\r\n0\r\n\r\n"), chunked("1 ;a\r\nx\r\n0\r\n\r\n"), chunked("x\r\n"), chunked(";a\r\n"), chunked("00000000000000001\r\nx\r\n0\r\n\r\n"),
			chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), chunked("ffffffffffffffff\r\nx\r\n"), chunked("1\x00\r\nx\r\n0\r\n\r\n"), chunked("1,1\r\nx\r\n0\r\n\r\n"), chunked("1_\r\nx\r\n"),
		}},
		{"RFC 9112, 7.1: CRLF in chunked framing", 400, []string{
			chunked("1\nx\r\n0\r\n\r\n"), chunked("1\r\nx\n0\r\n\r\n"), chunked("1\r\nx\r\n0\n\r\n"), chunked("1\r\nx\r\n0\r\n\n"), chunked("1\rx\r\n0\r\n\r\n"), chunked("1\r\nx\r0\r\n\r\n"),
			chunked("1\r\nxy\r\n0\r\n\r\n"), chunked("1\r\nx0\r\n\r\n"), chunked("1;a\nx\r\n0\r\n\r\n"), chunked("1;a\rb\r\nx\r\n0\r\n\r\n"), chunked("1\r\r\nx\r\n0\r\n\r\n"), chunked("2\r\n\nx\n0\r\n\r\n"),
		}},
		{"RFC 9112, 7.1.1: chunk extensions are few and have no control characters", 400, []string{
			chunked("1;" + strings.Repeat("x", httpparse.MaxChunkExtension+1) + "\r\nx\r\n0\r\n\r\n"), chunked("0;" + strings.Repeat("x", httpparse.MaxChunkExtension+1) + "\r\n\r\n"),
			chunked("1;a=\"\x00\"\r\nx\r\n0\r\n\r\n"), chunked("1;a=\"\n\"\r\nx\r\n0\r\n\r\n"),
		}},
		{"RFC 9112, 7.1.2: trailers are fields", 400, []string{
			chunked("0\r\nX : y\r\n\r\n"), chunked("0\r\nX: y\n\r\n"), chunked("0\r\n X: y\r\n\r\n"), chunked("0\r\nX: y\r\n z\r\n\r\n"), chunked("0\r\nX: \x00\r\n\r\n"),
			chunked("0\r\n" + smuggled), chunked("0\r\nContent_Length: 5\r\n\r\n"), chunked("0\r\n" + strings.Repeat("X: y\r\n", maxTrailerFields+1) + "\r\n"),
		}},
		{"RFC 9110, 9.3.8: TRACE has no content", 400, []string{
			"TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "TRACE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		}},
		{"RFC 9110, 7.6.2: Max-Forwards is a number", 400, []string{
			"OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: x\r\n\r\n", "TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: -1\r\n\r\n", "TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 1\r\nMax-Forwards: 0\r\n\r\n",
		}},
		{"RFC 9110, 7.6.1: what Connection lists is bounded", 400, []string{head("Connection: " + strings.Repeat("x,", httpparse.MaxConnectionOptions+1) + "\r\n")}},
		{"RFC 9112, 3: a request line that is too long", 414, []string{get("/" + strings.Repeat("x", 2000))}},
		{"RFC 6585, 5: a head that is too large", 431, []string{head("X: " + strings.Repeat("x", 2000) + "\r\n"), head(strings.Repeat("X: y\r\n", 70))}},
		{"RFC 9110, 15.5.14: a body that is too large", 413, []string{head("Content-Length: 1001\r\n"), head("Content-Length: 999999999999999999\r\n"), chunked("7fffffffffffffff\r\n" + letters(1200))}},
	} {
		t.Run(rule.clause, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			o.serveNobody()
			p := tr.proxy(setup{limits: Limits{HeaderBytes: 1000, HeaderFields: 64, BodyBytes: 1000}, trace: true}, o)
			for _, request := range rule.requests {
				c := p.dial()
				c.Write([]byte(request + smuggled + smuggled)) // the proxy may close before it has all of it
				method, _, _ := strings.Cut(request, " ")
				res, body, err := c.readResponse(method)
				if err != nil || res.StatusCode != rule.status || !res.Close || body != fmt.Sprintf("%d %s\n", rule.status, res.Status[4:]) {
					t.Errorf("%s: got %v %q %v, want %d and the end of the connection", excerpt(request), res, body, err, rule.status)
					continue
				}
				if rest := c.wantGone(); rest != "" {
					t.Errorf("%s: %s came behind %d", excerpt(request), excerpt(rest), rule.status)
				}
				c.Close()
			}
		})
	}
}

// serveNobody says that no complete request may come. A body may turn out to be wrong only when its head has gone
// out, so that connections may.
func (o *origin) serveNobody() {
	o.serve(func(x *peer) error {
		if r, body, err := x.readRequest(); err == nil {
			return fmt.Errorf("got %s %s with %q", r.Method, r.RequestURI, body)
		}
		return nil
	})
}

// What looks odd and is allowed: strictness is not there for its own sake.
func TestWhatTheGrammarAllowsPasses(t *testing.T) {
	for request, want := range map[string]string{
		strings.Repeat("\r\n", httpparse.MaxEmptyLines) + get("/"):                                            "GET /",
		"M-SEARCH /a HTTP/1.1\r\nHost: a\r\n\r\n":                                                             "M-SEARCH /a",
		"GET /a%20b%2Fc?d[]=e|f HTTP/1.1\r\nHost: a\r\n\r\n":                                                  "GET /a%20b%2Fc?d[]=e|f",
		"GET /?100% HTTP/1.1\r\nHost: a\r\n\r\n":                                                              "GET /?100%",
		"GET HTTP://A.Example:80/x HTTP/1.1\r\nHost: b\r\n\r\n":                                               "GET /x",
		"GET / HTTP/1.1\r\nHost: [::ffff:1.2.3.4]:80\r\n\r\n":                                                 "GET /",
		"GET / HTTP/1.1\r\nHost: a..b.:0080\r\n\r\n":                                                          "GET /",
		"GET / HTTP/1.1\r\nHost: !$&'()*+;=~a\r\n\r\n":                                                        "GET /",
		"GET / HTTP/1.1\r\nHost:\t a \t\r\nX:\r\nY: \xe9\r\n\r\n":                                             "GET /",
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n":                                              "GET /",
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx":                                             "GET / x",
		"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:CHUNKED\r\n\r\n1;a=b\r\nx\r\n000\r\nX: y\r\n\r\n":    "POST / x",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00000000000001\r\nx\r\n0;\"\r\n\r\n": "POST / x",
	} {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		c.send(request)
		x := o.accept()
		r, body, err := x.readRequest()
		if err != nil || strings.TrimSpace(r.Method+" "+r.RequestURI+" "+string(body)) != want {
			t.Errorf("%q: the origin got %v %q %v", request, r, body, err)
		}
		x.send(ok("fine"))
		c.want(200, "fine")
	}
}

// A path is sent on as it came only if every server would take it for the route's. There are two ways to use routes
// as a fence, and each has a test: this and that is not for everybody, and nothing but that is.
func TestNoPathGoesAroundItsRoute(t *testing.T) {
	rules := []remap.Rule{{Path: "/admin"}, {Path: "/public"}, {}}
	for _, test := range []struct {
		target         string
		exceptAdmin    int // status if /admin is excluded; 200: it is sent as it came
		nothingButThat int // if all but /public is
	}{
		{"/public/x", 200, 200},
		{"/public/a%20b", 200, 200},
		{"/public//x", 200, 200},
		{"/public/./x/../y", 200, 200},
		{"/public/a%2fb", 200, 200},
		{"/public/a;b=c/d", 200, 200},
		{`/public/a\b`, 200, 200},
		{"/publicity", 200, 404},
		{"/", 200, 404},

		{"/admin", 404, 404},
		{"/admin/x", 404, 404},
		{"/%61dmin", 404, 404},
		{"/%2561dmin", 200, 404}, // encoded twice: see decision 7
		{"//admin", 404, 404},
		{"/.//admin", 404, 404},
		{"///admin", 404, 404},
		{"/admin;x", 400, 404},
		{"/admin;x/y", 400, 404},
		{"/admin%3bx", 400, 404},
		{"/admin/.;/", 404, 404},
		{"/;/admin", 400, 404},
		{"/admin%00", 400, 400},
		{"/admin%2fx", 404, 404},
		{`/\admin`, 400, 404},
		{`/admin\x`, 400, 404},
		{"/admin%5cx", 400, 404},

		{"/public/../admin", 404, 404},
		{"/public/..%2fadmin", 404, 404},
		{"/public%2f..%2fadmin", 404, 404},
		{"/public/%2e%2e/admin", 404, 404},
		{"/public/..;/admin", 400, 400},
		{"/public/..;a=b/admin", 400, 400},
		{`/public/..\admin`, 400, 400},
		{"/public/..%5cadmin", 400, 400},
		{`/public\..\admin`, 400, 404},
		{"/admin/../public", 400, 400},
		{"/admin/%2e%2e/public", 400, 400},
		{"/admin/..%2fpublic", 400, 400},
		{"/admin%2f../public", 400, 400},
		{"/public/../public/x", 200, 200},
		{"/x/../public", 400, 400},
		{"//public/admin", 400, 400},
		{"//public/x", 400, 400},
		{"//x", 200, 404},
		{`/\public/admin`, 400, 404},
		{`/public/a/../b;c/%2f`, 200, 200},
		{`/public/a/../b;c/%2f\d`, 400, 400}, // more than is worth looking at
	} {
		for name, fence := range map[string]struct {
			excluded map[int]bool
			status   int
		}{
			"/admin is excluded":          {map[int]bool{0: true}, test.exceptAdmin},
			"all but /public is excluded": {map[int]bool{0: true, 2: true}, test.nothingButThat},
		} {
			t.Run(fmt.Sprint(test.target, " ", name), func(t *testing.T) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{rules: rules, excluded: fence.excluded}, o)
				c := p.dial()
				c.send(get(test.target))
				if fence.status != 200 {
					c.wantError("GET", fence.status)
					o.wantNobody()
					return
				}
				x := o.accept()
				x.wantRequest("GET "+test.target, "")
				x.send(ok("fine"))
				c.want(200, "fine")
			})
		}
	}
	// Without any fence nothing is refused that has a path: there is nothing to go around.
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	var x *peer
	for _, target := range []string{"/admin;x", "//admin", "/public/..%2fadmin", `/\admin`, "/a/../b;c/%5c", "/admin/.;/"} {
		c.send(get(target))
		if x == nil {
			x = o.accept()
		}
		x.wantRequest("GET "+target, "")
		x.send(ok("fine"))
		c.want(200, "fine")
	}
}

// With url_normalize, the route is that of the path which is sent.
func TestANormalisedTargetIsRoutedAndSent(t *testing.T) {
	lighttpd := remap.NormalizeURL | remap.NormalizeRequired | remap.RejectCtrls | remap.Decode2F | remap.RemoveDotSegments
	for _, test := range []struct {
		opts         remap.TargetOptions
		target, sent string // sent "": 400, "-": 404
	}{
		{remap.NormalizeURL, "/%7ea/%c3%a9?b=%5b%41", "/~a/%C3%A9?b=%5BA"},
		{remap.NormalizeURL, "/x/../y", "/x/../y"},
		{lighttpd, "/public/..%2fadmin", "-"},
		{lighttpd, "//admin", "-"},
		{lighttpd, "/%61dmin", "-"},
		{lighttpd, "/admin;x", ""},
		{lighttpd, "/admin%00", ""},
		{lighttpd, "/a%0ab", ""},
		{lighttpd, "/admin/.;/", "-"},
		{lighttpd, `/\admin`, ""},
		{lighttpd | remap.TranslateBackslash, `/\admin`, "-"},
		{lighttpd, "/admin/..%2fpublic", "/public"},
		{lighttpd, "//public//x", "/public/x"},
		{lighttpd, "/public/%0d%0aX:%20y", ""},
		{lighttpd &^ remap.RejectCtrls, "/public/%0d%0aX:%20y?%0D%0A", "/public/%0D%0AX:%20y?%0D%0A"},
		{lighttpd, "http://b.example/public/../x?y", "/x?y"},
		{lighttpd, "http://b.example?y", "/?y"},
		{lighttpd, "http://b.example", "/"},
		{remap.NormalizeURL | remap.RejectDotSegments, "/public/../x", ""},
		{remap.NormalizeURL | remap.RejectDotSegments, "/public//x", ""},
		{remap.NormalizeURL | remap.Reject2F, "/public/%2f", ""},
		{remap.NormalizeURL | remap.RejectInvalidUTF8, "/public/%c0%af", ""},
		{remap.NormalizeURL | remap.PlusInQuery, "/?a%20b", "/?a+b"},
	} {
		t.Run(fmt.Sprintf("%b %s", test.opts, test.target), func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{
				rules: []remap.Rule{{Path: "/admin"}, {}}, excluded: map[int]bool{0: true},
				parse: ParseOptions{Target: test.opts}, record: "$target $status",
			}, o)
			c := p.dial()
			c.send(get(test.target))
			record := test.target + " 200"
			switch test.sent {
			case "":
				c.wantError("GET", 400)
				record = test.target + " 400"
			case "-":
				c.wantError("GET", 404)
				record = test.target + " 404"
			default:
				x := o.accept()
				x.wantRequest("GET "+test.sent, "")
				x.send(ok("fine"))
				c.want(200, "fine")
			}
			c.Close()
			p.wantRecords(strings.ReplaceAll(record, `\`, `\x5C`))
		})
	}
	t.Run("OPTIONS for the server as a whole", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{parse: ParseOptions{Target: lighttpd}}, o)
		c := p.dial()
		c.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\nOPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n")
		x := o.accept()
		for range 2 {
			x.wantRequest("OPTIONS *", "")
			x.send(ok("fine"))
			c.wantTo("OPTIONS", 200, "fine")
		}
	})
	t.Run("sent again", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{parse: ParseOptions{Target: lighttpd}}, tr.refusing(), o)
		c := p.dial()
		var x *peer
		for range 4 {
			c.send(get("/a/../b"))
			if x == nil {
				x = o.accept()
			}
			x.wantRequest("GET /b", "")
			x.send(ok("fine"))
			c.want(200, "fine")
		}
	})
}

func TestOldNeighboursAreToleratedWhereTheFileSaysSo(t *testing.T) {
	eachDelivery(t, func(t *testing.T, d delivery) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{parse: ParseOptions{Head: httpparse.AllowObsFold | httpparse.AllowUnderscores}}, o)
		c := p.dial()
		d.send(c, "GET / HTTP/1.1\r\nHost: a\r\nX_Y: 1\r\nX-Long: b\r\n\tc\r\n   d\r\nX-Last: e\r\n\r\n")
		x := o.accept()
		head := x.wantHead()
		if !strings.Contains(head, "\r\nX_Y: 1\r\nX-Long: b  \tc     d\r\nX-Last: e\r\n") {
			t.Errorf("the origin got %q", head)
		}
		d.send(x, "HTTP/1.1 200 OK\r\nX_Y: 1\r\nX-Long: b\r\n c\r\nContent-Length: 4\r\n\r\nfine")
		res := c.want(200, "fine")
		if got := res.Header.Get("X-Long"); got != "b   c" || res.Header.Get("X_Y") != "1" {
			t.Errorf("the client got %q", res.Header)
		}
		for _, fields := range []string{"Content_Length: 5\r\n", "Host:\r\n b\r\n", "Content-Length: 1\r\n 0\r\n"} {
			c := p.dial()
			d.send(c, "POST / HTTP/1.1\r\nHost: a\r\n"+fields+"\r\n")
			c.wantError("POST", 400)
			c.wantGone()
		}
	})
	t.Run("a server of old, and none is allowed", func(t *testing.T) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{}, o)
		c := p.dial()
		c.send(get("/"))
		x := o.accept()
		x.wantRequest("GET /", "")
		x.send("HTTP/1.1 200 OK\r\nX: b\r\n c\r\nContent-Length: 0\r\n\r\n")
		c.wantError("GET", 502)
		x.wantGone()
	})
}

func TestABodyOfGETIsRefusedWhereTheFileSaysSo(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{parse: ParseOptions{RefuseGetBody: true}}, o)
	for _, method := range []string{"GET", "HEAD"} {
		for _, body := range []string{"Content-Length: 1\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"} {
			c := p.dial()
			c.send(method + " / HTTP/1.1\r\nHost: a\r\n" + body)
			c.wantError(method, 400)
			c.wantGone()
		}
	}
	o.wantNobody()
	c := p.dial()
	c.send("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" + post("/", "body"))
	x := o.accept()
	x.wantRequest("GET /", "")
	x.send(ok("1"))
	c.want(200, "1")
	x.wantRequest("POST /", "body")
	x.send(ok("2"))
	c.want(200, "2")
}
