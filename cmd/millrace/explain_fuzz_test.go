package main

import (
	"encoding/json"
	"io"
	"net/netip"
	"strings"
	"testing"

	"millrace/configs"
	"millrace/internal/explain"
	"millrace/internal/resolve"
	"millrace/loop"
)

// fuzzed has every option that looks at requests, and lets many through.
const fuzzed = `
[[listener]]
name = "strict"
address = "127.0.0.1:80"
[[listener]]
name = "lenient"
address = ":81"
scheme = "https"
trusted_proxies = ["192.0.2.0/24"]
deny = ["198.51.100.0/24"]
rate = "1/h"
[listener.http_parseopts]
header_obs_fold = true
header_underscores = true
method_get_body = false
url_normalize = true
url_ctrls_reject = true
url_path_2f_decode = true
url_path_dotseg_remove = true
[[route]]
pattern = '^/p/([^/]*)/(.*)$'
backend = "hash"
backend_path = "/$2/$1"
request.set = ["X-A: $1 $host $http_x_b $listener_addr $server"]
response.set = ["X-R: $status $2"]
[[route]]
hosts = ["*.example", "h"]
not.query = ["a=*"]
backend = "lighttpd"
map_urlpath = [["/a", "/b"]]
map_host_request = [["-", "in"]]
map_host_response = [["-", "-"]]
forwarded = ["for", "by", "proto", "host"]
via = "full"
request_id = "X-Id"
upgrade = true
connect = true
trace = true
[[route]]
path = "/x"
exclude = true
[[route]]
backend = "cookie"
allow = ["192.0.2.0/24", "127.0.0.0/8"]
request.substitute = [["uri", '[a-c]', 'zz'], ["Referer", 'a*', '$0$0']]
upgrade = ["websocket"]
[backend.hash]
servers = ["10.0.0.1:80", "10.0.0.2:80"]
balance = "hash"
[backend.lighttpd]
servers = ["10.0.0.1:80", "10.0.0.2:80"]
balance = "hash"
hash_compat = "lighttpd"
[backend.cookie]
servers = ["10.0.0.1:80", "10.0.0.2:80"]
balance = "maglev"
hash_key = "cookie:c"
`

// FuzzExplain asks about any bytes, as they are and as the command line makes requests of them. Whatever is said must be
// in keeping with itself.
func FuzzExplain(f *testing.F) {
	f.Add(uint8(0), "GET /p/a/b HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
	f.Add(uint8(1), "GET http://h/x/..;/a\nX-Forwarded-For: 1.2.3.4", "HTTP/1.1 302 Found\nLocation: http://in/b/x\nSet-Cookie: a=b; Path=/b")
	f.Add(uint8(1), "CONNECT h:1\nHost: h:1", "")
	f.Add(uint8(0), "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket, x\r\n\r\n", "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nxyz")
	f.Add(uint8(1), "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nA: b\r\n\r\n", "HTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nT: x\r\n\r\n")
	f.Add(uint8(0), "TRACE / HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 0\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nuntil the end")
	f.Add(uint8(1), "OPTIONS * HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 1\r\nFolded: a\r\n b\r\n\r\n", "HTTP/1.1 2")
	f.Add(uint8(2), "GET https://a.example/%2f/%c3 HTTP/1.0", "HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n")
	var o configs.Origins
	plan, err := configs.Parse(f.Context(), "f", []byte(fuzzed), resolve.New(resolve.Options{}), configs.WithOrigins(&o))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, how uint8, request, response string) {
		q := loop.Question{Listener: int(how % 2), Request: []byte(request), Peer: netip.MustParseAddrPort("192.0.2.1:99")}
		line, headers, _ := strings.Cut(request, "\n")
		if r, err := explain.ParseRequest(line, strings.Split(headers, "\n")); err == nil {
			q.Request = r.Bytes
		} else if r, err := explain.ParseRequest(line, nil); err == nil && headers == "" {
			q.Request = r.Bytes
		}
		if r, err := explain.ParseResponse([]byte(response)); err == nil && how%3 != 0 {
			q.Response = r
		} else if response != "" {
			q.Response = []byte(response)
		}
		x := plan.Explain(q)
		e := newExplanation(x, &o, q)
		switch {
		case x.Refused() && (x.Sent != nil || x.Reason == "" || !x.Incomplete && !strings.HasPrefix(string(x.Answer), "HTTP/1.1 ")):
			t.Errorf("refused: %+v", x)
		case !x.Refused() && (x.Backend == nil || x.Tunnel != "connect" && !strings.Contains(string(x.Sent), "\r\n\r\n")):
			t.Errorf("routed: %+v", x)
		case !x.Refused() && q.Response != nil && x.Tunnel != "connect" && !x.Cut && !strings.HasPrefix(string(x.Received), "HTTP/1.1 "):
			t.Errorf("answered: %+v", x)
		}
		if x.Blame != "" && o.Find(x.Blame).Value == "" && o.Find(x.Blame).At == "" {
			t.Errorf("blames %s, which the file does not have", x.Blame)
		}
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var back explanation
		if err := json.Unmarshal(text, &back); err != nil || string(bytesOf(back.Sent)) != string(x.Sent) || string(bytesOf(back.Received)) != string(x.Received) {
			t.Errorf("JSON loses bytes: %v", err)
		}
		if err := e.print(io.Discard); err != nil {
			t.Error(err)
		}
	})
}
