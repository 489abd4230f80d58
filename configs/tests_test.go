package configs

import (
	"strings"
	"testing"
)

// tested is a file to be tested, with blocks of tests behind it.
const tested = `[[listener]]
name = "web"
address = ":80"
[[listener]]
name = "tls"
address = ":8443"
scheme = "https"
[[listener]]
address = "unix:/run/x"
[[route]]
name = "api"
path = "/api"
strip_prefix = "/api"
backend = "app"
clients = ["192.0.2.0/24"]
[[route]]
name = "shop"
hosts = ["shop.example"]
deny = ["198.51.100.0/24"]
backend = "shop"
reverse = [["/", "http://10.0.0.3:80/"]]
response.remove = ["X-Powered-By"]
[[route]]
path = "/.git"
exclude = true
[backend.app]
servers = ["10.0.0.1:80", "10.0.0.2:80"]
[backend.shop]
servers = ["10.0.0.3:80", "10.0.0.4:80"]
balance = "first"
`

// testedLine is the line that what is behind tested begins with.
var testedLine = strings.Count(tested, "\n") + 1

// runTested parses tested with blocks of tests, and runs these.
func runTested(t *testing.T, blocks string) Problems {
	t.Helper()
	_, err := Parse(t.Context(), "f", []byte(tested+blocks), nil, WithTests())
	if err == nil {
		return nil
	}
	return err.(Problems)
}

func TestTestsThatPass(t *testing.T) {
	for _, block := range []string{
		`request = "http://a.example/api/x?y"
route = "api"
backend = "app"
request_has = ["GET /x?y HTTP/1.1", "host: a.example", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: http"]
request_lacks = ["Cookie: *", "GET /api*"]`,
		`request = "GET https://a.example/api"
request_has = ["X-Forwarded-Proto: https"]`, // by its scheme
		`request = "GET http://a.example:8443/api"
request_has = ["X-Forwarded-Proto: https"]`, // by its port
		`request = "GET https://a.example/api"
listener = "web"
request_has = ["X-Forwarded-Proto: http"]`,
		`request = "PUT http://shop.example/api"
client = "203.0.113.9:4711"
route = "shop"
server = "10.0.0.3:80"`,
		`request = "http://shop.example/"
client = "198.51.100.1"
route = "shop"
status = 403
response_has = ["HTTP/1.1 403 Forbidden", "Content-Length: *"]`,
		`request = "http://a.example/.git/config"
status = 404`,
		`request = "GET /api"
status = 400`, // no Host
		`request = "GET /api HTTP/1.0"
route = "api"
request_has = ["Connection: close"]`,
		`request = "http://shop.example/"
response = """
HTTP/1.1 302 Found
Location: http://10.0.0.3:80/login
X-Powered-By: me
Content-Length: 0
"""
status = 302
response_has = ["Location: http://shop.example/login"]
response_lacks = ["X-Powered-By: *"]`,
		`request = "http://shop.example/"
response = "HTTP/1.1 103 Hints\nLink: x\n\nHTTP/1.1 200 OK\nA: b\nContent-Length: 0\n"
status = 200
response_has = ["A: b"]`,
		`request = "http://shop.example/"
listener = "unix:/run/x"
request_lacks = ["X-Forwarded-For: *"]`,
	} {
		if got := runTested(t, "[[test]]\n"+block); got != nil {
			t.Errorf("%s\n%v", block, got)
		}
	}
}

func TestTestsThatFail(t *testing.T) {
	for _, c := range []struct{ block, want string }{
		{"request = 'http://a.example/api'\nroute = 'shop'", `f:31:9: test[0].route: expected "shop", found route[0] "api" (f:10:3)`},
		{"request = 'http://a.example/'\nroute = 'shop'", `f:31:9: test[0].route: expected "shop", found no route: it gets 404: no route matches`},
		{"request = 'http://a.example/api'\nbackend = 'shop'", `f:31:11: test[0].backend: expected "shop", found "app", by route[0] "api" (f:10:3)`},
		{"request = 'http://a.example/api'\nserver = '10.0.0.1:80'", `test[0].server: expected "10.0.0.1:80", found any of the servers of backend "app": its balance does not decide by the request`},
		{"request = 'http://shop.example/'\nserver = '10.0.0.4:80'", `test[0].server: expected "10.0.0.4:80", found "10.0.0.3:80"`},
		{"request = 'http://a.example/.git'\nserver = '10.0.0.4:80'", `expected "10.0.0.4:80", found none: it gets 404: the route excludes what it matches`},
		{"request = 'http://shop.example/'\nstatus = 403", `f:31:10: test[0].status: expected 403, found that it goes to backend "shop" by route[1] "shop" (f:16:3), which decides about the status`},
		{"request = 'http://shop.example/%'\nstatus = 403", `test[0].status: expected 403, found 400: the path has a percent sign`},
		{"request = 'http://shop.example/'\nresponse = 'HTTP/1.1 200 OK'\nstatus = 204", `test[0].status: expected 204, found 200`},
		{"request = 'http://shop.example/'\nresponse = 'nonsense'\nstatus = 204", `test[0].status: expected 204, found 502: the response is malformed`},
		{"request = 'http://a.example/api'\nrequest_has = ['GET /api HTTP/1.1']", `f:31:16: test[0].request_has[0]: expected "GET /api HTTP/1.1", found "GET / HTTP/1.1"`},
		{"request = 'http://a.example/api'\nrequest_has = ['Host: b']", `expected "Host: b", found "Host: a.example"`},
		{"request = 'http://a.example/api'\nrequest_has = ['Cookie: b']", `expected "Cookie: b", found no such line in what the server gets`},
		{"request = 'http://a.example/'\nrequest_has = ['Cookie: b']", `expected "Cookie: b", found that the server gets nothing: it gets 404: no route matches`},
		{"request = 'http://a.example/api'\nrequest_lacks = ['a: b', 'HOST: *']", `f:31:26: test[0].request_lacks[1]: expected no "HOST: *", found "Host: a.example"`},
		{"request = 'http://shop.example/'\nresponse_has = ['A: b']", `expected "A: b", found that the client gets nothing: it goes to backend "shop"`},
		{"request = 'http://a.example/'\nresponse_lacks = ['Date: *']", `expected no "Date: *", found "Date: `},
	} {
		got := runTested(t, "[[test]]\n"+strings.ReplaceAll(c.block, "'", `"`))
		if len(got) != 1 || !strings.Contains(got[0].String(), shifted(c.want)) {
			t.Errorf("%s\ngot  %v\nwant %s", c.block, got, shifted(c.want))
		}
	}
}

// shifted has positions behind tested where they are: f:31 is the second line of a test.
func shifted(want string) string {
	return strings.Replace(want, "f:31:", "f:"+decimal(int64(testedLine+2))+":", 1)
}

func TestTestsThatAreWrong(t *testing.T) {
	for _, c := range []struct{ block, want string }{
		{"", "test[0]: expects nothing: say at least one of route, backend"},
		{"status = 404", "test[0].request: is missing: allowed are "},
		{"request = 'a b c d'\nstatus = 404", `test[0].request: "a b c d" is not a request: allowed are "URL"`},
		{"request = '/'\nheaders = ['a']\nstatus = 404", `test[0].headers[0]: "a" is not a header: write "Name: value"`},
		{"request = '/'\nclient = 'x'\nstatus = 404", `test[0].client: "x" is not an address: allowed are "192.0.2.1"`},
		{"request = '/'\nlistener = 'wep'\nstatus = 404", `test[0].listener: "wep" is not the name of a listener; did you mean "web"?`},
		{"request = '/'\nroute = 'apy'", `test[0].route: "apy" is not the name of a route; did you mean "api"?`},
		{"request = '/'\nroute = ''", `test[0].route: "" is not the name of a route`},
		{"request = '/'\nbackend = 'ap'", `test[0].backend: "ap" is not the name of a backend; did you mean "app"?`},
		{"request = '/'\nstatus = 600", `test[0].status: 600 is not a status: allowed are 100 to 599`},
		{"request = '/'\nresponse = ' '\nstatus = 200", `test[0].response: the response is empty`},
		{"request = '/'\nrequest_has = []", `test[0].request_has: is empty: leave it out, or list at least one line`},
		{"request = '/'\nstatis = 200", `test[0].statis: unknown key; did you mean "status"?`},
	} {
		text := tested + "[[test]]\n" + strings.ReplaceAll(c.block, "'", `"`)
		// They are wrong whether they are run or not.
		_, err := Parse(t.Context(), "f", []byte(text), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\ngot  %v\nwant %s", c.block, err, c.want)
		}
	}
}

func TestNamesOfRoutes(t *testing.T) {
	for text, want := range map[string]string{
		"name = \"api\"\nhosts = [\"b\"]\nbackend = \"app\"": `route[3].name: "api" is the name of route[0] already (f:11:8)`,
		"name = \"a b\"\nhosts = [\"b\"]\nbackend = \"app\"": `route[3].name: "a b" is not a name`,
	} {
		if got := runTested(t, "[[route]]\n"+text); len(got) != 1 || !strings.Contains(got[0].String(), want) {
			t.Errorf("got %v, want %s", got, want)
		}
	}
}

// TestOnlyWhoAsksRunsTests: a running proxy does not depend on them.
func TestOnlyWhoAsksRunsTests(t *testing.T) {
	text := tested + "[[test]]\nrequest = \"http://a.example/\"\nstatus = 200\n"
	if _, err := Parse(t.Context(), "f", []byte(text), nil); err != nil {
		t.Errorf("not asked: %v", err)
	}
	if _, err := Parse(t.Context(), "f", []byte(text), nil, WithTests()); err == nil {
		t.Error("asked: passes")
	}
}
