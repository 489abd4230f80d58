package configs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/remap"
)

func TestEditsOfRoutes(t *testing.T) {
	f := decodeOK(t, routed+`
pattern = '^/(a)(b)'
replace_http_host = "www.internal:81"
x_forwarded = "off"
forwarded = ["proto", "for"]
via = "block"
request_id = "X-Request-Id"
backend_path = "/v2/$2"
map_urlpath = [["/xxx", ""], ["/a", "/b"]]
map_urlpath_resp_host_include = ["*"]
map_host_request = [["-", "a.int:80"]]
map_host_response = [["a.int", "-"], ["b.int", ""]]
https_remap = true
reverse = [["/m", "http://a.int/in"], ["/n", "/out"]]
reverse_cookie_domain = [["a.int", "example.org"]]
reverse_cookie_path = [["/in", "/m"]]
[route.request]
set = ["X-A:\t$client_addr $2 ", "X-Forwarded-Proto: https"]
add = ["X-B: $$"]
remove = ["X-C"]
rewrite = [["_uri", '^(.*)$', '$1'], ["Host", 'a', 'b']]
substitute = [["X-D", 'a', '']]
[route.response]
set = ["X-Status: $status"]
`)
	got := f.Routes.items[0].edits
	for name, pair := range map[string][2]any{
		"host":       {got.Host, "www.internal:81"},
		"changed":    {got.ChangeHost, true},
		"forwarding": {got.XForwarded, remap.ForwardOff},
		"forwarded":  {got.Forwarded, remap.ForwardedFor | remap.ForwardedProto},
		"via":        {got.Via, remap.ViaBlock},
		"id":         {got.RequestID, "X-Request-Id"},
		"path":       {got.BackendPath.String(), "/v2/$2"},
		"paths":      {got.MapURLPath, []remap.Mapping{{From: "/xxx"}, {From: "/a", To: "/b"}}},
		"hosts":      {got.MapHostResponse, []remap.Mapping{{From: "a.int", To: "-"}, {From: "b.int"}}},
		"https":      {got.HTTPSRemap, true},
		"reverse":    {got.Reverse, []remap.Reversal{{Mapping: remap.Mapping{From: "http://a.int/in", To: "/m"}}, {Mapping: remap.Mapping{From: "/out", To: "/n"}}}},
		"domain":     {got.ReverseCookieDomain, []remap.Mapping{{From: "a.int", To: "example.org"}}},
		"set":        {got.Request.Set[0].Value.String(), "$client_addr $2"},
		"remove":     {got.Request.Remove, []string{"X-C"}},
		"rule":       {got.Request.Rewrite[0].Name, remap.RewriteTarget},
	} {
		if diff := cmp.Diff(pair[1], pair[0]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if e := remap.NewEdits(decodeOK(t, routed).Routes.items[0].edits); e != nil {
		t.Errorf("a route without edits has %+v", e)
	}
}

func TestProblemsOfEdits(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"preserve_host = false\nreplace_http_host = 'a'", `route[0].preserve_host: has no effect beside replace_http_host`},
		{"replace_http_host = 'a b'", `route[0].replace_http_host: "a b" is not a host`},
		{"x_forwarded = 'on'", `route[0].x_forwarded: "on" is not a way to forward: allowed are "append", "overwrite" or "off"`},
		{"forwarded = []", `route[0].forwarded: is empty: leave it out for no Forwarded`},
		{"forwarded = ['for', 'remote_user']", `route[0].forwarded[1]: "remote_user" is not available`},
		{"forwarded = ['from']", `route[0].forwarded[0]: "from" is not a parameter of Forwarded: allowed are "for", "by", "proto" or "host"`},
		{"via = 'yes'", `route[0].via: "yes" is not allowed`},
		{"request_id = 'Content-Length'", `route[0].request_id: "Content-Length" says where a body ends`},
		{"strip_prefix = 'a'", `route[0].strip_prefix: "a" must begin with /`},
		{"path = '/a'\nstrip_prefix = '/a'\nbackend_path = '/b'", `route[0].strip_prefix: has no effect beside backend_path`},
		{"path = '/mirror/foo/'\nbackend_path = '/b'", `route[0].backend_path: "/b" and what follows "/mirror/foo/" would run into each other, as in "/bx": write "/b/" (path is at f:8:8)`}, // PP-09
		{"backend_path = '/b'", `route[0].backend_path: replaces what the route's path, prefix or pattern matches, and this route has none`},
		{"path = '/a'\nprefix = '/a'\nbackend_path = '/b'", `this route has both`},
		{"path = '/a'\nbackend_path = 'b'", `route[0].backend_path: "b" must begin with "/"`},
		{"path = '/a'\nbackend_path = '/b?c'", `"/b?c" is not a path`},
		{"path = '/a'\nbackend_path = '/b$1'", `f:9:19: route[0].backend_path: $1 is a group of a pattern, and there is none`},
		{"pattern = '(a)'\nbackend_path = '/b$2'", `there is no group $2: the pattern has 1`},
		{"pattern = '(a)'\nbackend_path = '/b$1'\nnocanon = true", `f:10:1: route[0].nocanon: has no effect beside a backend_path with groups`},
		{"map_urlpath = ['/a', '/b']", `f:8:16: route[0].map_urlpath[0]: "/a" is not an array, and this is an array of them: write [["...", "..."], ...]`},
		{"map_urlpath = '/a'", `route[0].map_urlpath: "/a" is not an array of arrays`},
		{"map_urlpath = [['/a', '/b', '/c']]", `f:8:15: route[0].map_urlpath[0]: has 3 strings, and a mapping has two`},
		{"map_urlpath = [['/a', 'b']]", `f:8:23: route[0].map_urlpath[0][1]: "b" is not the beginning of a path`},
		{"map_host_request = [['', 'b']]", `route[0].map_host_request[0][0]: "" is no host: write "-"`},
		{"map_host_request = [['*.a', 'b/']]", `route[0].map_host_request[0][1]: "b/" is not a host`},
		{"map_urlpath_resp_host_include = ['a']", `has no effect without map_urlpath`},
		{"https_remap = true", `has no effect without map_host_request or map_host_response`},
		{"reverse = [['/a', 'balancer://b/']]", `route[0].reverse[0][1]: "balancer://b/": write "backend://b/", for the servers of [backend.NAME]`},
		{"reverse = [['/a', 'backend://b/']]", `route[0].reverse[0][1]: "b" is not the name of a backend: there is "`},
		{"reverse = [['/a', 'backend://app']]", `route[0].reverse[0][1]: "backend://app" has no path: write "backend://app/", or a longer one`},
		{"reverse = [['/a', 'ftp://b/']]", `route[0].reverse[0][1]: "ftp://b/" is neither a path nor a URL`},
		{"reverse_refresh = true", `route[0].reverse_refresh: has no effect without reverse`},
		{"reverse_cookie_path = [['/a;', '/b']]", `route[0].reverse_cookie_path[0][0]: "/a;" cannot be in a cookie`},
		{"[route.request]\nset = ['X-A: b $nope']", `f:9:16: route[0].request.set[0]: there is no variable $nope: there are $client_addr, `},
		{"[route.request]\nset = ['X-A']", `route[0].request.set[0]: "X-A" is not a header: write "Name: value"`},
		{"[route.request]\nset = ['X-A:']", `route[0].request.set[0]: "X-A:" has no value: to take a header away, list its name in remove`},
		{"[route.request]\nset = [\"X-A: a\\nb\"]", `route[0].request.set[0]: "X-A: a\nb" has control characters`},
		{"[route.request]\nset = ['X A: b']", `"X A" is not the name of a header`},
		{"[route.request]\nset = ['X_A: b']", `"X_A" has an underscore, which servers take for a dash or refuse: write "X-A"`},
		{"[route.request]\nset = ['Host: b']", `"Host" cannot be set or removed: use preserve_host, replace_http_host`},
		{"[route.request]\nset = ['Connection: b']", `"Connection" is about one connection, and written by the proxy alone`},
		{"[route.request]\nadd = ['content_length: 5']", `"content_length" says where a body ends`},
		{"[route.request]\nremove = ['X-Forwarded-For']", `"X-Forwarded-For" is written by the proxy: use x_forwarded`},
		{"[route.response]\nremove = ['Content-*']", `route[0].response.remove[0]: would take more away than there may be: "Content-Length" says where a body ends`},
		{"[route.response]\nremove = ['*']", `would take more away than there may be: "Connection" is about one connection`},
		{"[route.request]\nremove = ['X-*']", `would take more away than there may be: "X-Forwarded-For" is written by the proxy`},
		{"[route.request]\nremove = ['X *']", `"X " does not begin the name of a header`},
		{"[route.request]\nremove = ['Expect']", `"Expect" is about what proxies do`},
		{"forwarded = ['for']\n[route.request]\nset = ['Forwarded: a']", `"Forwarded" is written by the proxy`},
		{"via = 'on'\n[route.response]\nremove = ['Via']", `"Via" is what via is about`},
		{"request_id = 'X-Id'\n[route.request]\nset = ['x-id: a']", `"x-id" is what request_id is about`},
		{"[route.request]\nset = ['X-A: b', 'x-a: c']", `route[0].request.set[1]: "x-a" is set or removed already`},
		{"[route.request]\nset = ['X-A: b']\nrewrite = [['X-A', 'a', 'b']]", `"X-A" is set or removed, so that there is nothing to change`},
		{"[route.request]\nrewrite = [['uri', '(', '$1']]", `f:9:20: route[0].request.rewrite[0][1]: "(" is not a regular expression`},
		{"[route.request]\nrewrite = [['uri', '(?=a)', '$1']]", `is not a regular expression`},
		{"[route.request]\nrewrite = [['uri', 'a', 'a b']]", `"a b" cannot be in a target`},
		{"[route.request]\nrewrite = [['Host', 'a', 'a b']]", `route[0].request.rewrite[0][2]: "a b" cannot be in a host`},
		{"[route.request]\nrewrite = [['host', 'a', 'http://$0']]", `"http://$0" cannot be in a host`},
		{"[route.request]\nrewrite = [['_pathinfo', 'a', 'b']]", `route[0].request.rewrite[0][0]: "_pathinfo" is of CGI programs, and servers get HTTP: leave the rule out`},
		{"[route.response]\nrewrite = [['_uri', 'a', 'b']]", `route[0].response.rewrite[0][0]: "_uri" is the target of a request`},
		{"error_override = ['404-']", `route[0].error_override[0]: "404-" is not a status from 400 to 599, nor a range of them such as 500-599`},
		{"[route.request]\nrewrite = [['uri', 'a']]", `has 2 strings, and a rule has three`},
		{"[route.response]\nrewrite = [['Transfer-Encoding', 'a', 'b']]", `"Transfer-Encoding" says where a body ends`},
		{"[route.request]\nset = ['X-A: $status']", `$status is not known yet when a request is sent`},
	} {
		got := problemsOf(t, routed+c.text)
		if !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%s\ngot  %s\nwant %s", c.text, got, c.want)
		}
	}
	got := problemsOf(t, strings.Replace(routed, "backend = \"app\"\n", "exclude = true\nvia = 'on'\n", 1))
	if want := "route[0].via: has no effect with exclude = true"; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	got = problemsOf(t, strings.Replace(routed, "address = \":80\"\n", "address = ':80'\nscheme = 'ftp'\n", 1))
	if want := `listener[0].scheme: "ftp" is not a scheme: allowed are "http" and "https"`; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	got = problemsOf(t, "[server]\nname = 'a b'\n"+routed)
	if want := `server.name: "a b" is not a name of a host`; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestWarningsOfEdits(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"path = '/mirror/foo'\nbackend_path = '/'", `route[0].backend_path: ends with /, and path = "/mirror/foo" does not (f:8:8): what follows the path has one of its own, so that "/mirror/foo/x" becomes "//x"`}, // PP-11
		{"path = '/'\nbackend_path = '/'", ""},
		{"prefix = '/a'\nbackend_path = '/b/'", ""},
		{"prefix = '/a/'\nbackend_path = '/b'", `f:9:16: route[0].backend_path: does not end with /, and prefix = "/a/" does (f:8:10), so that "/a/x" becomes "/bx"`},
		{"map_urlpath = [['/a', '/b'], ['/c', '/d/']]", `f:8:37: route[0].map_urlpath[1][1]: one of the two ends with / and the other does not, so that "/c/x" becomes "/d//x"`},
		{"map_urlpath = [['/a/', '/b']]", `so that "/a/x" becomes "/bx"`},
		{"map_urlpath = [['/a/', '']]", `so that "/a/x" becomes "x"`},
		{"map_urlpath = [['/a', ''], ['/b/', '/'], ['/c/', '/d?e=']]", ""},
		{"reverse = [['/a', 'http://b/c/']]", `f:8:19: route[0].reverse[0][1]: one of the two ends with / and the other does not, so that "http://b/c/x" becomes "/ax"`},
		{"reverse = [['/', 'http://b:81']]", `so that "http://b:81/x" becomes "//x"`},
		{"reverse = [['/', 'http://b/'], ['/a', 'http://b'], ['/a', 'backend://app/'], ['/a', '/b']]", ""},
		{"https_remap = true\nmap_host_request = [['-', 'a']]", `f:8:15: route[0].https_remap: has no effect: clients use https only where a listener has scheme = "https", and none of this route's has`},
		{"preserve_host = false\nmap_host_request = [['-', 'a']]", `route[0].map_host_request: does not change Host`},
	} {
		var warnings Problems
		if _, err := Parse(t.Context(), "f", []byte(routed+c.text), hosts{}, WithWarnings(&warnings)); err != nil {
			t.Errorf("%s: %v", c.text, err)
		}
		got := warnings.Error()
		if !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%s\ngot  %s\nwant %s", c.text, got, c.want)
		}
	}
}

func TestHostsOfServers(t *testing.T) {
	text := strings.Replace(routed, `["10.0.0.1"]`, `["10.0.0.1", "10.0.0.1:8080", "[2001:db8::1]", "[2001:db8::1]:81", "app.internal:8080", "unix:/run/a"]`, 1)
	plan, err := Parse(t.Context(), "f", []byte(text), hosts{"app.internal": {"10.0.0.9"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range plan.Backends[0].Servers {
		got = append(got, s.Host)
	}
	want := []string{"10.0.0.1", "10.0.0.1:8080", "[2001:db8::1]", "[2001:db8::1]:81", "app.internal:8080", "localhost"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
