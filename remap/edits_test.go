package remap

import (
	"regexp"
	"strings"
	"testing"

	"millrace/httpparse"
)

// exchange is a request and its response through edits.
type exchange struct {
	t       *testing.T
	o       EditOptions
	trip    Trip
	scheme  string
	version string // of the client's request; "1.1" if empty
	host    string // "-": none
	head    []byte
	req     *httpparse.Request
	reqText string // what the server got
	refused bool
}

// send has a request edited: a request line without its version, and fields without Host.
func (x *exchange) send(line string, fields ...string) {
	x.t.Helper()
	e := NewEdits(x.o)
	version := x.version
	if version == "" {
		version = "1.1"
	}
	if x.scheme == "" {
		x.scheme = "http"
	}
	lines := []string{line + " HTTP/" + version}
	if x.host != "-" {
		lines = append(lines, "Host: "+x.host)
	}
	text := head(append(lines, fields...)...)
	x.head = []byte(text)
	x.req = parseRequest(x.t, text)
	f := RequestFacts{ClientAddr: []byte("127.0.0.1"), Proto: x.scheme}
	if e != nil {
		t := &x.trip
		t.Begin(e)
		t.Head, t.Req, t.Scheme = x.head, x.req, x.scheme
		t.ClientAddr, t.ClientPort = f.ClientAddr, 50312
		t.Local = append(t.Local, "127.0.0.1:19101"...)
		t.Server, t.ServerHost = "10.0.0.9:8080", "app.internal:8080"
		f.Trip = t
	}
	x.reqText = string(AppendRequest(nil, x.head, x.req, &f))
	if x.refused = x.trip.Refused; !x.refused {
		parseRequest(x.t, x.reqText) // what is sent is a head
	}
}

// target is that of the request that the server got.
func (x *exchange) target() string {
	line, _, _ := strings.Cut(x.reqText, "\r\n")
	return strings.Split(line, " ")[1]
}

// got returns what the server got of a field, all values in order, with "; " between them.
func (x *exchange) got(name string) string {
	r := parseRequest(x.t, x.reqText)
	return strings.Join(valuesOf(fieldsOf([]byte(x.reqText), &r.Head), strings.ToLower(name)), "|")
}

// answer has a response edited and returns what the client gets of the first of the fields' names.
func (x *exchange) answer(fields ...string) string {
	x.t.Helper()
	name, _, _ := strings.Cut(fields[0], ":")
	return strings.Join(x.answered(200, name, fields...), "|")
}

func (x *exchange) answered(status int, name string, fields ...string) []string {
	x.t.Helper()
	line := "HTTP/1.1 200 OK"
	if status == 302 {
		line = "HTTP/1.1 302 Found"
	}
	text := head(append([]string{line}, fields...)...)
	r := parseResponse(x.t, text)
	f := ResponseFacts{Body: httpparse.Framing{Kind: httpparse.BodyNone}}
	if x.trip.Edits != nil {
		f.Trip = &x.trip
	}
	out := AppendResponse(nil, []byte(text), r, &f)
	r2 := parseResponse(x.t, string(out))
	return valuesOf(fieldsOf(out, &r2.Head), strings.ToLower(name))
}

func template(t *testing.T, text string) *Template {
	t.Helper()
	tp, err := ParseTemplate(text, TemplateScope{Groups: 9, Response: true})
	if err != nil {
		t.Fatal(err)
	}
	return tp
}

// pairs makes mappings of from, to, from, to.
func pairs(texts ...string) (list []Mapping) {
	for i := 0; i < len(texts); i += 2 {
		list = append(list, Mapping{texts[i], texts[i+1]})
	}
	return list
}

// Configurations of lighttpd that the examples HR and HS are about.
func configA() EditOptions {
	return EditOptions{MapHostRequest: pairs("-", "backend.int:8080"), MapHostResponse: pairs("-", "-"), MapURLPath: pairs("/xxx", "/yyy")}
}

func configB() EditOptions { return EditOptions{MapURLPath: pairs("/xxx/", "/")} }

func configC() EditOptions { return EditOptions{MapURLPath: pairs("/xxx", "")} }

func configD() EditOptions {
	return EditOptions{
		MapHostRequest:  pairs("keep.org", "-", "blank.org", "", "www.example.org", "int.example.net", "-", "fallback.int"),
		MapHostResponse: pairs("int.example.net", "www.example.org", "other.int", "-", "stop.int", "", "-", "zzz.org"),
	}
}

func configE() EditOptions {
	return EditOptions{MapURLPath: pairs("/a", "/1", "/b", "/1", "/c/", "/2/")}
}

func configF() EditOptions {
	return EditOptions{HTTPSRemap: true, MapHostRequest: pairs("-", "backend.int"), MapHostResponse: pairs("-", "-", "x.int", "")}
}

func configG() EditOptions { return EditOptions{MapHostResponse: pairs("-", "pub.example.org")} }

func configH() EditOptions {
	return EditOptions{
		MapHostRequest:  pairs("www.example.org", "int.example.net"),
		MapHostResponse: pairs("-", "www.example.org", "cookie.int", "d.org"),
		MapURLPath:      pairs("/xxx", "/yyy", "/key", "/value"),
	}
}

// TestRemapRequests goes through lighttpd's examples about requests. "fix" marks those that are meant to differ: see
// docs/compatibility.md.
func TestRemapRequests(t *testing.T) {
	for _, tt := range []struct {
		id, host, line, field string // field: "Name: value", sent
		config                func() EditOptions
		target, hostGot       string // wanted; "" is not looked at
		value                 string // of the field
	}{
		{"HR-01", "", "GET /xxx/foo?x=/xxx", "", configA, "/yyy/foo?x=/xxx", "backend.int:8080", ""},
		{"HR-02", "", "GET /xxxyz", "", configA, "/yyyyz", "", ""},
		{"HR-03", "", "GET /%78xx/enc", "", configA, "/yyy/enc", "", ""},
		{"HR-04", "", "GET http://www.example.org/xxx/abs", "", configA, "/yyy/abs", "", ""},
		{"HR-05", "", "GET /other", "", configA, "/other", "backend.int:8080", ""},
		{"HR-07", "", "GET /", "Destination: http://www.example.org/xxx/b", configA, "", "", "http://backend.int:8080/yyy/b"},
		{"HR-08", "", "GET /", "Content-Location: http://www.example.org/xxx/c", configA, "", "", "http://backend.int:8080/yyy/c"},
		{"HR-09", "", "GET /", "Location: http://www.example.org/xxx/l", configA, "", "", "http://www.example.org/xxx/l"},
		{"HR-10 fix", "", "GET /", "Destination: http://elsewhere.org/xxx/b", configA, "", "", "http://elsewhere.org/xxx/b"},
		{"HR-11 path", "", "GET /", "Destination: /xxx/b", configA, "", "", "/yyy/b"},
		{"HR-11 relative", "", "GET /", "Destination: rel/xxx/b", configA, "", "", "rel/xxx/b"},
		{"HR-11 no path", "", "GET /", "Destination: http://www.example.org", configA, "", "", "http://backend.int:8080/"},
		{"HR-31", "", "GET /xxx/foo", "", configB, "/foo", "", ""},
		{"HR-31 no slash", "", "GET /xxx", "", configB, "/xxx", "", ""},
		{"HR-31 other", "", "GET /zzz", "", configB, "/zzz", "", ""},
		{"HR-33 keep", "keep.org", "GET /", "", configD, "", "keep.org", ""},
		{"HR-33 blank", "blank.org", "GET /", "Destination: http://keep.org/d", configD, "", "blank.org", "http://blank.org/d"},
		{"HR-33 www", "", "GET /", "Destination: http://keep.org/d", configD, "", "int.example.net", "http://www.example.org/d"},
		{"HR-34", "www.example.org", "GET /", "", configD, "", "int.example.net", ""},
		{"HR-34 port", "www.example.org:80", "GET /", "", configD, "", "int.example.net", ""},
		{"HR-34 case", "WWW.Example.ORG", "GET /", "", configD, "", "int.example.net", ""},
		{"HR-35", "unlisted.org", "GET /", "", configD, "", "fallback.int", ""},
		{"HR-35 port", "unlisted.org:8080", "GET /", "", configD, "", "fallback.int", ""},
		{"HR-43", "", "GET /xxx/foo", "", configC, "/foo", "", ""},
		{"HR-44 fix", "", "GET /xxx", "", configC, "/", "", ""},
		{"HR-44 query fix", "", "GET /xxx?q=1", "", configC, "/?q=1", "", ""},
	} {
		t.Run(tt.id, func(t *testing.T) {
			x := exchange{t: t, o: tt.config(), host: tt.host}
			if x.host == "" {
				x.host = "www.example.org"
			}
			var fields []string
			if tt.field != "" {
				fields = []string{tt.field}
			}
			x.send(tt.line, fields...)
			if tt.target != "" && x.target() != tt.target {
				t.Errorf("target %q, want %q", x.target(), tt.target)
			}
			if tt.hostGot != "" && x.got("Host") != tt.hostGot {
				t.Errorf("host %q, want %q", x.got("Host"), tt.hostGot)
			}
			if tt.value != "" {
				name, _, _ := strings.Cut(tt.field, ":")
				if got := x.got(name); got != tt.value {
					t.Errorf("%s %q, want %q", name, got, tt.value)
				}
			}
			if got := x.got("X-Forwarded-Host"); got != x.host {
				t.Errorf("X-Forwarded-Host %q, want %q", got, x.host)
			}
		})
	}
}

func TestRemapWithoutHost(t *testing.T) {
	x := exchange{t: t, o: configA(), host: "-", version: "1.0"}
	x.send("GET /xxx") // HR-06
	if !strings.HasPrefix(x.reqText, "GET /yyy HTTP/1.0\r\n") || x.got("Host") != "" {
		t.Errorf("HR-06: got %q", x.reqText)
	}
	if got := x.answer("Location: http://backend.int:8080/yyy"); got != "http://backend.int:8080/xxx" {
		t.Errorf("HR-06: Location %q", got)
	}
}

// TestRemapResponses goes through lighttpd's examples about responses.
func TestRemapResponses(t *testing.T) {
	for _, tt := range []struct {
		id, host, target string // of the request
		config           func() EditOptions
		field, want      string
	}{
		{"HR-12", "", "/", configA, "Location: http://backend.int:8080/yyy/p?q=1", "http://www.example.org/xxx/p?q=1"},
		{"HR-13", "", "/", configA, "Content-Location: /yyy/z", "/xxx/z"},
		{"HR-14 URI", "", "/", configA, "URI: http://backend.int:8080/yyy/u", "http://backend.int:8080/yyy/u"},
		{"HR-14 Destination", "", "/", configA, "Destination: http://backend.int:8080/yyy/d", "http://backend.int:8080/yyy/d"},
		{"HR-14 Refresh", "", "/", configA, "Refresh: 0; url=http://backend.int:8080/yyy/d", "0; url=http://backend.int:8080/yyy/d"},
		{"HR-15", "", "/", configA, "Location: HTTP://BACKEND.INT:8080/yyy", "HTTP://www.example.org/xxx"},
		{"HR-16", "", "/", configA, "Location: http://backend.int:8080", "http://www.example.org/"},
		{"HR-17", "", "/", configA, "Location: https://backend.int:8080/yyy/s", "https://www.example.org/xxx/s"},
		{"HR-18 fix", "", "/", configA, "Location: http://nope.int/yyy/1", "http://nope.int/yyy/1"},
		{"HR-19", "", "/", configA, "Location: //backend.int:8080/yyy/1", "//backend.int:8080/yyy/1"},
		{"HR-20", "", "/", configA, "Content-Location: http:///yyy", "http:///yyy"},
		{"HR-21 fix", "", "/", configA, "Location: http://backend.int:8080?u=1", "http://www.example.org/?u=1"},
		{"HR-22 fix", "", "/", configA, "Location: http://user@backend.int:8080/yyy/s", "http://user@backend.int:8080/yyy/s"},
		{"HR-23 fix", "", "/", configA, "Location: foo?next=http://backend.int:8080/yyy/s", "foo?next=http://backend.int:8080/yyy/s"},
		{"HR-24", "", "/", configA, "Set-Cookie: a=1; Path=/yyy; Domain=backend.int:8080", "a=1; Path=/xxx; Domain=www.example.org"},
		{"HR-25", "", "/", configA, `Set-Cookie: b=2; domain=.backend.int; path="/yyy/k"; HttpOnly`, `b=2; domain=.backend.int; path="/xxx/k"; HttpOnly`},
		{"HR-26 fix", "", "/", configA, "Set-Cookie: c=3; Secure; Path=/yyy", "c=3; Secure; Path=/xxx"},
		{"HR-27 fix", "", "/", configA, "Set-Cookie: a=1; HttpOnly; Domain=backend.int:8080; Path=/yyy", "a=1; HttpOnly; Domain=www.example.org; Path=/xxx"},
		{"HR-28", "", "/", configA, "Set-Cookie: a=1; Max-Age=5; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/yyy; Domain=.backend.int:8080", "a=1; Max-Age=5; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/xxx; Domain=.www.example.org"},
		{"HR-29", "", "/", configA, "Set-Cookie: Path=/yyy; x=1; path=/yyy", "Path=/yyy; x=1; path=/xxx"},
		{"HR-30", "", "/", configA, "Set-Cookie: a=1; DOMAIN = backend.int:8080; PATH = /yyy", "a=1; DOMAIN = backend.int:8080; PATH = /yyy"},
		{"HR-32", "", "/xxx/foo", configB, "Location: /foo", "/xxx/foo"},
		{"HR-32 cookie", "", "/xxx/foo", configB, "Set-Cookie: a=b; Path=/", "a=b; Path=/xxx/"},
		{"HR-32 doubled", "", "/xxx", configB, "Location: /xxx/", "/xxx/xxx/"},
		{"HR-32 relative", "", "/xxx", configB, "Content-Location: foo", "foo"},
		{"HR-36", "", "/", configD, "Location: http://int.example.net/1", "http://www.example.org/1"},
		{"HR-37", "", "/", configD, "Location: http://other.int/1", "http://www.example.org/1"},
		{"HR-37 stop", "", "/", configD, "Location: http://stop.int/1", "http://stop.int/1"},
		{"HR-38", "unlisted.org", "/", configD, "Location: http://fallback.int/1", "http://zzz.org/1"},
		{"HR-39", "keep.org", "/", configD, "Location: http://keep.org/1", "http://zzz.org/1"},
		{"HR-40", "", "/b/x", configE, "Location: /1/x", "/b/x"},
		{"HR-41", "", "/zz", configE, "Location: /1/x", "/a/x"},
		{"HR-42", "", "/c/x", configE, "Location: /1/x", "/a/x"},
		{"HR-42 memory", "", "/c/x", configE, "Content-Location: /2/y", "/c/y"},
		{"HR-43", "", "/xxx/foo", configC, "Location: /foo", "/xxx/foo"},
		{"HR-43 cookie", "", "/xxx/foo", configC, "Set-Cookie: a=b; Path=/", "a=b; Path=/xxx/"},
		{"HR-45", "", "/", configG, "Location: http://www.example.org/1", "http://pub.example.org/1"},
		{"HR-45 other", "", "/", configG, "Location: http://backend.int/1", "http://backend.int/1"},
		{"HR-46", "", "/xxx/1", configH, "Location: http://int.example.net/yyy/1", "http://www.example.org/xxx/1"},
		{"HR-46 cookie", "", "/xxx/1", configH, "Set-Cookie: a=1; Domain=.cookie.int; Path=/value/x", "a=1; Domain=.d.org; Path=/key/x"},
		{"HR-47", "", "/key", configH, "Location: http://int.example.net/valuexyz", "http://www.example.org/keyxyz"},
		{"HR-48", "other.org", "/", configH, "Location: http://int.example.net/valuexyz", "http://int.example.net/keyxyz"},
		{"a port is no part of a cookie's domain", "www.example.org:8081", "/", configA, "Set-Cookie: a=1; Domain=backend.int:8080", "a=1; Domain=www.example.org"},
	} {
		t.Run(tt.id, func(t *testing.T) {
			x := exchange{t: t, o: tt.config(), host: tt.host}
			if x.host == "" {
				x.host = "www.example.org"
			}
			x.send("GET " + tt.target)
			if got := x.answer(tt.field); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestWhosePathsAreMapped(t *testing.T) {
	for _, tt := range []struct {
		include, exclude []string
		in, want         string
	}{
		{[]string{"*"}, nil, "http://nope.int/yyy/1", "http://nope.int/xxx/1"}, // HR-18 as lighttpd has it
		{[]string{"nope.int"}, nil, "http://NOPE.int/yyy/1", "http://NOPE.int/xxx/1"},
		{[]string{"nope.int"}, nil, "http://backend.int:8080/yyy/1", "http://www.example.org/yyy/1"},
		{nil, []string{"www.example.org"}, "http://backend.int:8080/yyy/1", "http://www.example.org/yyy/1"},
		{nil, []string{"nope.int"}, "http://other.int/yyy/1", "http://other.int/xxx/1"},
		{nil, nil, "http://app.internal:8080/yyy/1", "http://app.internal:8080/xxx/1"}, // the server's own
		{nil, nil, "http://10.0.0.9:8080/yyy/1", "http://10.0.0.9:8080/xxx/1"},
	} {
		o := configA()
		o.PathHosts, o.NotPathHosts = tt.include, tt.exclude
		x := exchange{t: t, o: o, host: "www.example.org"}
		x.send("GET /")
		if got := x.answer("Location: " + tt.in); got != tt.want {
			t.Errorf("%q %q: %s became %s, want %s", tt.include, tt.exclude, tt.in, got, tt.want)
		}
	}
}

func TestEachLineIsMapped(t *testing.T) {
	x := exchange{t: t, o: configA(), host: "www.example.org"}
	x.send("GET /")
	if got := x.answer("Location: /yyy/1", "Location: /yyy/2"); got != "/xxx/1|/xxx/2" {
		t.Errorf("got %q", got)
	}
}

func TestHTTPSRemap(t *testing.T) {
	for _, tt := range []struct{ id, scheme, field, want string }{
		{"HS-01", "http", "Destination: https://www.example.org/d", "https://backend.int/d"},
		{"HS-02", "https", "Destination: https://www.example.org/d", "http://backend.int/d"},
		{"HS-03", "https", "Destination: http://www.example.org/d", "http://backend.int/d"},
		{"HS-04", "https", "Destination: https://elsewhere.org/d", "https://elsewhere.org/d"},
		{"HS-05 fix", "https", "Destination: HTTPS://www.example.org/d", "http://backend.int/d"},
		{"HS-06", "http", "Location: http://backend.int/1", "http://www.example.org/1"},
		{"HS-07", "https", "Location: http://backend.int/1", "https://www.example.org/1"},
		{"HS-08", "https", "Content-Location: https://backend.int/2", "https://www.example.org/2"},
		{"HS-09", "https", "Location: http://x.int/1", "http://x.int/1"},
		{"HS-10", "https", "Location: http://elsewhere.int/1", "http://elsewhere.int/1"},
		// Without map_urlpath, nothing but the host is looked at in lighttpd too; the slash is added all the same.
		{"HS-11", "https", "Location: http://BACKEND.int", "https://www.example.org/"},
	} {
		t.Run(tt.id, func(t *testing.T) {
			x := exchange{t: t, o: configF(), scheme: tt.scheme, host: "www.example.org"}
			var got string
			if strings.HasPrefix(tt.field, "Destination") {
				x.send("GET /", tt.field)
				got = x.got("Destination")
			} else {
				x.send("GET /")
				got = x.answer(tt.field)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestForwarded(t *testing.T) {
	const all = ForwardedFor | ForwardedBy | ForwardedProto | ForwardedHost
	const own = `for=127.0.0.1;by="127.0.0.1:19101";proto=http;host="www.example.org"`
	for _, tt := range []struct {
		id         string
		parameters ForwardedParameters
		host       string
		fields     []string
		forwarded  string
		xff        string
	}{
		{"FW-01", all, "", nil, own, "127.0.0.1"},
		{"FW-02", all, "", []string{"Forwarded: for=9.9.9.9;proto=https", "X-Forwarded-For: 7.7.7.7"}, "for=9.9.9.9;proto=https, " + own, "7.7.7.7, 127.0.0.1"},
		{"FW-03", all, "", []string{"X-Forwarded-For: 7.7.7.7, 2001:db8::1"}, `for="7.7.7.7", for="[2001:db8::1]", ` + own, "7.7.7.7, 2001:db8::1, 127.0.0.1"},
		{"FW-04", ForwardedFor | ForwardedProto, "", []string{"X-Forwarded-For: unknown"}, `for="unknown", for=127.0.0.1;proto=http`, "unknown, 127.0.0.1"},
		{"FW-05", all, "-", nil, `for=127.0.0.1;by="127.0.0.1:19101";proto=http`, "127.0.0.1"},
		{"FW-06", ForwardedHost, "www.example.org:8081", nil, `host="www.example.org:8081"`, "127.0.0.1"},
		{"FW-08", 0, "", []string{"Forwarded: for=9.9.9.9"}, "for=9.9.9.9", "127.0.0.1"},
		{"a port and a quote in what the client says", ForwardedFor, "", []string{`X-Forwarded-For: 7.7.7.7:80, a"b\`}, `for="7.7.7.7:80", for="a\"b\\", for=127.0.0.1`, `7.7.7.7:80, a"b\, 127.0.0.1`},
		{"a quote that is left open", ForwardedFor, "", []string{`Forwarded: for=9.9.9.9;x="`}, "for=127.0.0.1", "127.0.0.1"},
		{"a quote that swallows another line", ForwardedFor, "", []string{`Forwarded: for=9.9.9.9;x="\"`, "Forwarded: for=b"}, "for=127.0.0.1", "127.0.0.1"},
		{"quotes that end", ForwardedFor, "", []string{`Forwarded: for="[::1]";x="\","`}, `for="[::1]";x="\",", for=127.0.0.1`, "127.0.0.1"},
		{"several lines", ForwardedFor, "", []string{"Forwarded: for=a", "Forwarded: for=b"}, "for=a, for=b, for=127.0.0.1", "127.0.0.1"},
	} {
		t.Run(tt.id, func(t *testing.T) {
			x := exchange{t: t, o: EditOptions{Forwarded: tt.parameters}, host: tt.host}
			switch tt.host {
			case "":
				x.host = "www.example.org"
			case "-":
				x.version = "1.0"
			}
			x.send("GET /", tt.fields...)
			if got := x.got("Forwarded"); got != tt.forwarded {
				t.Errorf("Forwarded: %q, want %q", got, tt.forwarded)
			}
			if got := x.got("X-Forwarded-For"); got != tt.xff {
				t.Errorf("X-Forwarded-For: %q, want %q", got, tt.xff)
			}
			if tt.host == "-" && (x.got("X-Host") != "" || x.got("X-Forwarded-Host") != "") {
				t.Error("a host that was not named")
			}
		})
	}
}

func TestXForwarded(t *testing.T) {
	sent := []string{"X-Forwarded-For: 7.7.7.7", "X-Forwarded-Proto: https", "X-Host: evil"}
	for _, tt := range []struct {
		id                    string
		mode                  Forwarding
		xff, proto, host, fwd string
	}{
		{"FW-07", ForwardAppend, "7.7.7.7, 127.0.0.1", "http", "www.example.org", `for="7.7.7.7", for=127.0.0.1`},
		{"overwrite", ForwardOverwrite, "127.0.0.1", "http", "www.example.org", "for=127.0.0.1"},
		{"off", ForwardOff, "7.7.7.7", "https", "evil", `for="7.7.7.7", for=127.0.0.1`},
	} {
		t.Run(tt.id, func(t *testing.T) {
			x := exchange{t: t, o: EditOptions{XForwarded: tt.mode, Forwarded: ForwardedFor}, host: "www.example.org"}
			x.send("GET /", sent...)
			for name, want := range map[string]string{"X-Forwarded-For": tt.xff, "X-Forwarded-Proto": tt.proto, "X-Host": tt.host, "Forwarded": tt.fwd} {
				if got := x.got(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestVia(t *testing.T) {
	for _, tt := range []struct {
		mode          ViaMode
		name          string
		up, down      string
		client, there string
	}{
		{ViaOn, "proxy.example.org:8080", "1.0 a|1.1 proxy.example.org:8080", "1.1 proxy.example.org:8080", "Via: 1.0 a", ""},
		{ViaFull, "", "1.1 millrace (millrace)", "1.1 millrace (millrace)", "X: y", ""},
		{ViaBlock, "p", "", "1.1 there", "Via: 1.0 a", "Via: 1.1 there"},
	} {
		x := exchange{t: t, o: EditOptions{Via: tt.mode, ServerName: tt.name}, host: "h"}
		x.send("GET /", tt.client)
		if got := x.got("Via"); got != tt.up {
			t.Errorf("request: %q, want %q", got, tt.up)
		}
		there := tt.there
		if there == "" {
			there = "X: y"
		}
		if got := strings.Join(x.answered(200, "Via", there), "|"); got != tt.down {
			t.Errorf("response: %q, want %q", got, tt.down)
		}
	}
}

func TestRequestID(t *testing.T) {
	o := EditOptions{RequestID: "X-Request-Id", Response: FieldEdits{Set: []FieldLine{{"X-Id", template(t, "$request_id")}}}}
	x := exchange{t: t, o: o, host: "h"}
	x.send("GET /", "x-request-id: abc-123")
	if got := x.got("X-Request-Id"); got != "abc-123" {
		t.Errorf("the client's became %q", got)
	}
	if got := strings.Join(x.answered(200, "X-Id", "A: b"), "|"); got != "abc-123" {
		t.Errorf("the response has %q", got)
	}
	for _, fields := range [][]string{
		nil, {"X-Request-Id: a b"}, {"X-Request-Id:"}, {"X-Request-Id: a", "X-Request-Id: b"}, {"X-Request-Id: " + strings.Repeat("a", maxRequestID+1)},
	} {
		x := exchange{t: t, o: o, host: "h"}
		x.send("GET /", fields...)
		id := x.got("X-Request-Id")
		if !regexp.MustCompile("^[0-9a-f]{32}$").MatchString(id) {
			t.Errorf("%q: made %q", fields, id)
		}
		if got := strings.Join(x.answered(200, "X-Id", "A: b"), "|"); got != id {
			t.Errorf("the response has %q, the request had %q", got, id)
		}
	}
}

// TestProxyPass goes through Apache's examples of how paths are joined.
func TestProxyPass(t *testing.T) {
	strip := func(prefix string) EditOptions { return EditOptions{Rule: &Rule{Path: prefix}, StripPrefix: prefix} }
	join := func(path, backend string) EditOptions {
		return EditOptions{Rule: &Rule{Path: path}, BackendPath: template(t, backend)}
	}
	match := func(pattern, backend string) EditOptions {
		return EditOptions{Rule: &Rule{Pattern: regexp.MustCompile(pattern)}, BackendPath: template(t, backend)}
	}
	for _, tt := range []struct {
		id       string
		o        EditOptions
		in, want string
	}{
		{"PP-01", strip("/mirror/foo"), "/mirror/foo", "/"},
		{"PP-02", strip("/mirror/foo"), "/mirror/foo/", "/"},
		{"PP-03", strip("/mirror/foo"), "/mirror/foo/bar", "/bar"},
		{"PP-04", strip("/mirror/foo"), "/mirror/foobar", "/mirror/foobar"},
		{"PP-05", strip("/mirror/foo"), "/mirror//foo/bar", "/bar"},
		{"PP-05", strip("/mirror/foo"), "/mirror/foo//bar", "/bar"},
		{"PP-06", strip("/mirror/foo"), "/mirror/foo?q=1", "/?q=1"},
		{"PP-08", join("/mirror/foo/", "/"), "/mirror/foo/", "/"},
		{"PP-08", join("/mirror/foo/", "/"), "/mirror/foo/bar", "/bar"},
		{"PP-08", join("/mirror/foo/", "/"), "/mirror/foo/?q", "/?q"},
		{"PP-11", join("/mirror/foo", "/"), "/mirror/foo", "/"},
		{"PP-11", join("/mirror/foo", "/"), "/mirror/foo/", "//"},
		{"PP-11", join("/mirror/foo", "/"), "/mirror/foo/bar", "//bar"},
		{"PP-11", join("/mirror/foo", "/"), "/mirror/foo/?q", "//?q"},
		{"PP-12", join("/foo", "/bar"), "/foo", "/bar"},
		{"PP-12", join("/foo", "/bar"), "/foo/", "/bar/"},
		{"PP-12", join("/foo", "/bar"), "/foo/x", "/bar/x"},
		{"PP-13", join("/foo/", "/bar/"), "/foo/", "/bar/"},
		{"PP-13", join("/foo/", "/bar/"), "/foo/x", "/bar/x"},
		{"PP-14", join("/", "/"), "/x?a=b", "/x?a=b"},
		{"PP-14", join("/", "/"), "/a%20b/%2e%2e/c", "/c"},
		{"PP-14", join("/", "/"), "/%7Euser/~x", "/~user/~x"},
		{"PP-14", join("/", "/"), "/a;b=c/d", "/a;b=c/d"},
		{"PP-14", join("/", "/"), "/x%3Fy", "/x%3Fy"},
		{"PP-15 fix", join("/", "/"), "/a%2fb", "/a/b"},
		{"PP-40", match(`^(/.*\.gif)$`, "/g$1"), "/x/y.gif", "/g/x/y.gif"},
		{"PP-41", match(`\.png$`, "/p"), "/x/y.png?q=1", "/p/x/y.png?q=1"},
		{"PP-50", EditOptions{Request: FieldEdits{Remove: []string{"X"}}}, "/n/a%2fb%20c/%41?x=%20", "/n/a%2fb%20c/%41?x=%20"},
		{"PP-51", EditOptions{Request: FieldEdits{Remove: []string{"X"}}}, "/n/../n/a", "/n/../n/a"},
		{"PP-52 fix", join("/c", "/c"), "/c/a%2fb%20c/%41?x=%20", "/c/a/b%20c/A?x=%20"},
		{"what is decoded is encoded again", join("/c", "/d"), "/c/%0d%0aff%c3%a4%3f%23", "/d/%0D%0Aff%C3%A4%3F%23"},
		{"a group is encoded", match("(?s)^/f/(.*)$", "/g/$1"), "/f/%0d%0aX:%20y%3f", "/g/%0D%0AX:%20y%3F"},
		{"a request for the server as a whole", join("/", "/x/"), "*", "*"},
		{"bytes beyond ASCII", join("/c", "/d"), "/c/%c3%a4%25", "/d/%C3%A4%25"},
	} {
		t.Run(tt.id, func(t *testing.T) {
			x := exchange{t: t, o: tt.o, host: "h"}
			method := "GET "
			if tt.in == "*" {
				method = "OPTIONS "
			}
			x.send(method + tt.in)
			if got := x.target(); got != tt.want {
				t.Errorf("%s became %s, want %s", tt.in, got, tt.want)
			}
		})
	}
}

// TestEditsBeginWithTheTargetToSend: where the target has been brought into another form, that is what edits change.
func TestEditsBeginWithTheTargetToSend(t *testing.T) {
	in := head("GET /a\\b/c?%7e HTTP/1.1", "Host: h")
	trip := Trip{Edits: NewEdits(EditOptions{StripPrefix: "/a"}), Head: []byte(in), Req: parseRequest(t, in), Scheme: "http"}
	f := RequestFacts{Proto: "http", Target: []byte("/a/b/c?~"), Trip: &trip}
	if out := string(AppendRequest(nil, []byte(in), trip.Req, &f)); !strings.HasPrefix(out, "GET /b/c?~ HTTP/1.1\r\n") || trip.Refused {
		t.Errorf("got %q", out)
	}
}

// TestRewrite goes through the examples of lighttpd 1.5.
func TestRewrite(t *testing.T) {
	rule := func(name, pattern, value string) RewriteRule {
		return RewriteRule{name, regexp.MustCompile(pattern), template(t, value)}
	}
	requests := func(rules ...RewriteRule) EditOptions {
		return EditOptions{Request: FieldEdits{Rewrite: rules}}
	}
	for _, tt := range []struct {
		id       string
		o        EditOptions
		in, want string
	}{
		{"RW-01", requests(rule("uri", "^/proxy(.*)", "$1")), "/proxy/what/ever?x=1", "/what/ever?x=1"},
		{"RW-02 fix", requests(rule("uri", "^/proxy(.*)", "$1")), "/proxy", "/"},
		{"RW-03", requests(rule("uri", "^/proxy(.*)", "$1")), "/other", "/other"},
		{"RW-04", requests(rule("uri", "^/proxyme/?(.*)", "/$1")), "/proxyme", "/"},
		{"RW-04", requests(rule("uri", "^/proxyme/?(.*)", "/$1")), "/proxyme/", "/"},
		{"RW-04", requests(rule("uri", "^/proxyme/?(.*)", "/$1")), "/proxyme/a", "/a"},
		{"RW-08", requests(rule("uri", "^(.*)$", "$1")), "/what/ever", "/what/ever"},
		{"the first that matches", requests(rule("uri", "^/a", "/1"), rule("uri", "^/", "/2")), "/b", "/2"},
		{"substitute", EditOptions{Request: FieldEdits{Substitute: []RewriteRule{rule("uri", "b+", "<$0>"), rule("uri", "[<>]", ".")}}}, "/abbc/b", "/a.bb.c/.b."},
	} {
		x := exchange{t: t, o: tt.o, host: "h"}
		x.send("GET " + tt.in)
		if got := x.target(); got != tt.want {
			t.Errorf("%s: %s became %s, want %s", tt.id, tt.in, got, tt.want)
		}
	}
	x := exchange{t: t, o: requests(rule("Host", ".*", "en.wikipedia.org")), host: "any"} // RW-05
	x.send("GET /")
	if got := x.got("Host"); got != "en.wikipedia.org" {
		t.Errorf("RW-05: host %q", got)
	}
	for _, tt := range []struct {
		id, pattern, value string
		in, want           string
	}{
		{"RW-06", "^http://en.wikipedia.org/(.*)", "http://127.0.0.1:1445/$1", "http://en.wikipedia.org/wiki/Main_Page", "http://127.0.0.1:1445/wiki/Main_Page"},
		{"RW-07", "wikipedia", "X", "http://en.wikipedia.org/a", "X"},
		{"no match", "wikipedia", "X", "http://example.org/a", "http://example.org/a"},
	} {
		x := exchange{t: t, o: EditOptions{Response: FieldEdits{Rewrite: []RewriteRule{rule("Location", tt.pattern, tt.value)}}}, host: "h"}
		x.send("GET /")
		if got := x.answer("location: " + tt.in); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.id, got, tt.want)
		}
	}
}

// TestReverse goes through Apache's examples of ProxyPassReverse.
func TestReverse(t *testing.T) {
	three := pairs("http://127.0.0.1:18001/in", "/m", "http://backend.int:8080/in", "/m", "/in", "/m")
	two := pairs("http://127.0.0.1:18001/", "/", "http://backend.int/app/", "/")
	for _, tt := range []struct {
		id, host string
		rules    []Mapping
		name     string
		in, want string
	}{
		{"RV-01", "", three, "Location", "http://127.0.0.1:18001/in/x?q=1", "http://www.example.org/m/x?q=1"},
		{"RV-02", "", three, "Location", "http://127.0.0.1:18001/inside", "http://www.example.org/mside"},
		{"RV-03", "", three, "Location", "http://127.0.0.1:18001/IN/x", "http://www.example.org/m/x"},
		{"RV-04", "", three, "Location", "http://BACKEND.INT:8080/in/x", "http://www.example.org/m/x"},
		{"RV-05", "", three, "Location", "/in/x", "http://www.example.org/m/x"},
		{"RV-05", "", three, "Location", "/in", "http://www.example.org/m"},
		{"RV-06", "", three, "Location", "http://third.org/in/x", "http://www.example.org/m/x"},
		{"RV-06", "", three, "Location", "https://backend.int:8080/in/x", "http://www.example.org/m/x"},
		{"RV-07", "", three, "Location", "/other", "/other"},
		{"RV-07", "", three, "Location", "in/x", "in/x"},
		{"RV-08", "www.example.org:8080", three, "Location", "/in/x", "http://www.example.org:8080/m/x"},
		{"RV-08 no host", "-", three, "Location", "/in/x", "http://proxy.example.org/m/x"},
		{"RV-09", "", three, "Content-Location", "http://127.0.0.1:18001/in/c", "http://www.example.org/m/c"},
		{"RV-09", "", three, "URI", "http://127.0.0.1:18001/in/c", "http://www.example.org/m/c"},
		{"RV-09", "", three, "Destination", "http://127.0.0.1:18001/in/c", "http://www.example.org/m/c"},
		{"RV-09", "", three, "Refresh", "http://127.0.0.1:18001/in/c", "http://127.0.0.1:18001/in/c"},
		{"RV-09", "", three, "Link", "<http://127.0.0.1:18001/in/c>", "<http://127.0.0.1:18001/in/c>"},
		{"RV-10", "", two, "Location", "http://127.0.0.1:18001/x", "http://www.example.org/x"},
		{"RV-10", "", two, "Location", "http://backend.int/app/x", "http://www.example.org/x"},
		{"RV-11", "", two, "Location", "http://backend.int/app", "http://backend.int/app"},
		{"RV-11", "", two, "Location", "/x", "/x"},
	} {
		x := exchange{t: t, o: EditOptions{Reverse: tt.rules, ServerName: "proxy.example.org"}, host: tt.host}
		switch tt.host {
		case "":
			x.host = "www.example.org"
		case "-":
			x.version = "1.0"
		}
		x.send("GET /")
		if got := x.answer(tt.name + ": " + tt.in); got != tt.want {
			t.Errorf("%s: %s became %s, want %s", tt.id, tt.in, got, tt.want)
		}
	}
	x := exchange{t: t, o: EditOptions{Reverse: three}, host: "-", version: "1.0"}
	x.send("GET /")
	if got := x.answer("Location: /in/x"); got != "/m/x" {
		t.Errorf("neither client nor proxy has a name: %q", got)
	}
}

// TestReverseCookies goes through Apache's examples of ProxyPassReverseCookiePath and ...CookieDomain.
func TestReverseCookies(t *testing.T) {
	o := EditOptions{
		ReverseCookiePath:   pairs("/in", "/m", "/", "/all/"),
		ReverseCookieDomain: pairs("backend.int", "public.org", ".b2.int", ".p2.org"),
	}
	for _, tt := range []struct{ id, in, want string }{
		{"CK-01", "a=1; Path=/in; Domain=backend.int", "a=1; Path=/m; Domain=public.org"},
		{"CK-02", "a=1; path=/in/sub; Secure", "a=1; path=/m; Secure"},
		{"CK-03", "a=1; Path=/", "a=1; Path=/all/"},
		{"CK-04", "a=1; Path=/inside", "a=1; Path=/m"},
		{"CK-05 fix", "a=1; Domain=backend.int.evil", "a=1; Domain=backend.int.evil"},
		{"CK-06", "a=1; Domain=.backend.int", "a=1; Domain=.backend.int"},
		{"CK-07", "a=1; domain=.b2.int; path=/x", "a=1; domain=.p2.org; path=/all/"},
		{"CK-08", "a=1; Domain=BACKEND.int", "a=1; Domain=public.org"},
		{"CK-09", "a=1;path=/in;httponly;domain=backend.int", "a=1;path=/m;httponly;domain=public.org"},
		{"CK-10", `a=1; Path="/in"; Path = /in`, `a=1; Path="/in"; Path = /in`},
		{"CK-11 fix", "Path=/in; b=c", "Path=/in; b=c"},
	} {
		x := exchange{t: t, o: o, host: "h"}
		x.send("GET /")
		if got := x.answer("Set-Cookie: " + tt.in); got != tt.want {
			t.Errorf("%s: %s became %s, want %s", tt.id, tt.in, got, tt.want)
		}
	}
	x := exchange{t: t, o: o, host: "h"}
	x.send("GET /")
	if got := x.answer("Set-Cookie: a=1; Path=/in", "Set-Cookie: b=2; Path=/"); got != "a=1; Path=/m|b=2; Path=/all/" {
		t.Errorf("CK-12: %q", got)
	}
}

func TestFieldEdits(t *testing.T) {
	o := EditOptions{
		Rule: &Rule{Pattern: regexp.MustCompile("^/(a+)/(.*)$")},
		Request: FieldEdits{
			Set: []FieldLine{
				{"X-Env", template(t, "prod")},
				{"X-All", template(t, "$client_addr:$client_port $scheme $host $method $target $path $query $listener_addr $server $$")},
				{"X-Groups", template(t, "${1}x$2")},
				{"X-Agent", template(t, "$http_user_agent")},
				{"X-Nothing", template(t, "$http_absent")},
			},
			Add:    []FieldLine{{"X-More", template(t, "2")}},
			Remove: []string{"X-Secret"},
		},
		Response: FieldEdits{
			Set:    []FieldLine{{"Server", template(t, "s")}, {"X-Status", template(t, "$status $1")}},
			Add:    []FieldLine{{"Vary", template(t, "Origin")}},
			Remove: []string{"X-Powered-By"},
		},
	}
	x := exchange{t: t, o: o, host: "Www.example.org:80"}
	x.send("GET /aa/b%20c?d=e", "x-env: dev", "X-Kept: 1", "X-More: 1", "x-SECRET: s", "User-Agent: u", "X-Nothing: n", "X-Env: test")
	for name, want := range map[string]string{
		"X-Env": "prod", "X-Kept": "1", "X-More": "1|2", "X-Secret": "", "X-Agent": "u", "X-Nothing": "", "X-Groups": "aaxb c",
		"X-All": "127.0.0.1:50312 http Www.example.org:80 GET /aa/b%20c?d=e /aa/b%20c d=e 127.0.0.1:19101 10.0.0.9:8080 $",
	} {
		if got := x.got(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{"Server": "s", "X-Status": "302 aa", "Vary": "Accept|Origin", "X-Powered-By": "", "X-Kept": "1"} {
		got := strings.Join(x.answered(302, name, "server: t", "Vary: Accept", "X-Kept: 1", "X-POWERED-BY: p"), "|")
		if got != want {
			t.Errorf("response, %s: %q, want %q", name, got, want)
		}
	}
}

// TestNothingBreaksOut has a pattern find line ends in a path, which is matched decoded.
func TestNothingBreaksOut(t *testing.T) {
	rule := &Rule{Pattern: regexp.MustCompile(`(?s)^/(.*)$`)}
	x := exchange{t: t, host: "h", o: EditOptions{Rule: rule, Request: FieldEdits{Set: []FieldLine{{"X-A", template(t, "$1")}}}}}
	x.send("GET /a%0d%0aX-Evil:%201")
	if !x.refused || strings.Contains(x.reqText, "Evil: 1") {
		t.Errorf("got %q", x.reqText)
	}
	x = exchange{t: t, host: "h", o: EditOptions{Rule: rule, Response: FieldEdits{Set: []FieldLine{{"X-A", template(t, "$1")}}}}}
	x.send("GET /a%0d%0aX-Evil:%201")
	if got := x.answered(200, "X-A", "B: c"); len(got) != 0 || x.trip.Refused {
		t.Errorf("got %q", got)
	}
	host := EditOptions{Request: FieldEdits{Rewrite: []RewriteRule{{"Host", regexp.MustCompile("h"), template(t, "$http_x")}}}}
	x = exchange{t: t, host: "h", o: host}
	if x.send("GET /", "X: a b"); !x.refused {
		t.Errorf("got %q", x.reqText)
	}
	target := EditOptions{Request: FieldEdits{Rewrite: []RewriteRule{{"uri", regexp.MustCompile("."), template(t, "$http_x")}}}}
	x = exchange{t: t, host: "h", o: target}
	if x.send("GET /", "X: a HTTP/1.1"); !x.refused {
		t.Errorf("got %q", x.reqText)
	}
}

func TestAHeadThatEditsMakeHasABound(t *testing.T) {
	many := EditOptions{Request: FieldEdits{Set: []FieldLine{{"X-A", template(t, strings.Repeat("$http_x", 100))}}}}
	x := exchange{t: t, host: "h", o: many}
	if x.send("GET /", "X: "+strings.Repeat("x", 40000)); !x.refused || len(x.reqText) > maxEditedHead+100 {
		t.Errorf("%d bytes, refused: %v", len(x.reqText), x.refused)
	}
	x = exchange{t: t, host: "h", o: EditOptions{Request: FieldEdits{Substitute: []RewriteRule{{"X", regexp.MustCompile(""), template(t, "$http_x")}}}}}
	if x.send("GET /", "X: "+strings.Repeat("x", 40000)); !x.refused {
		t.Errorf("%d bytes", len(x.reqText))
	}
}

func TestChangedHost(t *testing.T) {
	x := exchange{t: t, o: EditOptions{ChangeHost: true}, host: "h"}
	x.send("GET /")
	if got := x.got("Host"); got != "app.internal:8080" || x.got("X-Forwarded-Host") != "h" {
		t.Errorf("the server's: %q", got)
	}
	x = exchange{t: t, o: EditOptions{ChangeHost: true, Host: "fixed", MapHostRequest: pairs("-", "mapped")}, host: "h"}
	x.send("GET /")
	if got := x.got("Host"); got != "fixed" {
		t.Errorf("a fixed one: %q", got)
	}
	x = exchange{t: t, o: EditOptions{ChangeHost: true}, host: "-", version: "1.0"}
	x.send("GET /")
	if !strings.HasPrefix(x.reqText, "GET / HTTP/1.0\r\nHost: app.internal:8080\r\n") {
		t.Errorf("of an old client: %q", x.reqText)
	}
}

func TestNoEdits(t *testing.T) {
	if e := NewEdits(EditOptions{Rule: &Rule{Path: "/"}, ServerName: "p"}); e != nil {
		t.Errorf("%+v", e)
	}
}

func TestTrailersAreEditedToo(t *testing.T) {
	e := NewEdits(EditOptions{Request: FieldEdits{Remove: []string{"X-User"}}})
	section := []byte("X-user: root\r\nX_User: root\r\nX-Sum: 1\r\n\r\n") // one name to CGI
	fields, _, err := httpparse.ParseTrailer(section, 0, make([]httpparse.Field, 0, 8))
	if err != nil {
		t.Fatal(err)
	}
	x := Trip{Edits: e}
	if got := string(AppendTrailer(nil, section, x.FilterTrailer(section, fields))); got != "X-Sum: 1\r\n\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestTemplateProblems(t *testing.T) {
	for _, tt := range []struct {
		text   string
		scope  TemplateScope
		offset int
		want   string
	}{
		{"a $nope", TemplateScope{Groups: -1}, 2, "there is no variable $nope: there are $client_addr, "},
		{"ab$", TemplateScope{}, 2, `"$" begins a variable: write "$$" for a dollar sign`},
		{"${a", TemplateScope{}, 0, `"$" begins a variable`},
		{"$1", TemplateScope{Groups: -1}, 0, "$1 is a group of a pattern, and there is none"},
		{"$0$2", TemplateScope{Groups: 1}, 2, "there is no group $2: the pattern has 1"},
		{"$status", TemplateScope{}, 0, "$status is not known yet"},
		{"$host", TemplateScope{GroupsOnly: true}, 0, "$host is not allowed here"},
	} {
		_, err := ParseTemplate(tt.text, tt.scope)
		e, ok := err.(*TemplateError)
		if !ok || e.Offset != tt.offset || !strings.HasPrefix(e.Message, tt.want) {
			t.Errorf("%s: %v, want %q at %d", tt.text, err, tt.want, tt.offset)
		}
	}
}

// TestEditsDoNotAllocate: all but patterns and their groups, for which package regexp allocates.
func TestEditsDoNotAllocate(t *testing.T) {
	o := configA()
	o.Forwarded, o.Via, o.RequestID = ForwardedFor|ForwardedBy|ForwardedProto|ForwardedHost, ViaOn, "X-Request-Id"
	o.Request.Set = []FieldLine{{"X-Client", template(t, "$client_addr:$client_port $host $http_user_agent $target")}}
	o.Response.Set = []FieldLine{{"X-Status", template(t, "$status $request_id")}}
	o.Reverse = pairs("http://x.int/", "/x/")
	text := head("GET /%78xx/foo?x HTTP/1.1", "Host: WWW.Example.org:80", "User-Agent: u", "Destination: http://www.example.org/xxx/b", "X-Forwarded-For: a")
	answer := head("HTTP/1.1 302 Found", "Location: http://backend.int:8080/yyy/p?q=1", "Set-Cookie: a=1; Path=/yyy; Domain=backend.int:8080", "Content-Length: 0")
	r, s := parseRequest(t, text), parseResponse(t, answer)
	trip := new(Trip)
	e, dst, local := NewEdits(o), make([]byte, 0, 4096), "127.0.0.1:80"
	f := RequestFacts{ClientAddr: []byte("192.0.2.7"), Proto: "http", Trip: trip}
	g := ResponseFacts{Trip: trip}
	buf, res := []byte(text), []byte(answer)
	n := testing.AllocsPerRun(100, func() {
		trip.Begin(e)
		trip.Head, trip.Req, trip.Scheme, trip.ClientAddr, trip.ClientPort = buf, r, "http", f.ClientAddr, 1
		trip.Local = append(trip.Local, local...)
		trip.Server, trip.ServerHost = "10.0.0.9:8080", "app"
		AppendRequest(dst, buf, r, &f)
		AppendResponse(dst, res, s, &g)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
