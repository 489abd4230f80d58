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

func template(t testing.TB, text string) *Template {
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

// configA is the configuration A of internal/golden.
func configA() EditOptions {
	return EditOptions{MapHostRequest: pairs("-", "backend.int:8080"), MapHostResponse: pairs("-", "-"), MapURLPath: pairs("/xxx", "/yyy")}
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

func TestWhereARefreshLeads(t *testing.T) {
	x := &exchange{t: t, host: "h", o: EditOptions{Reverse: []Reversal{{Mapping: Mapping{"http://b/in", "/m"}}}, ReverseRefresh: true}}
	x.send("GET /")
	for value, want := range map[string]string{
		"0; url=http://b/in/c":              "0; url=http://h/m/c",
		"0;url=http://b/in":                 "0;url=http://h/m",
		"1.5 ,\tURL\t=  http://b/in?a;b, c": "1.5 ,\tURL\t=  http://h/m?a;b, c",
		"0; url='http://b/in/c' x":          "0; url='http://h/m/c' x",
		`0; url="http://b/in/c`:             `0; url="http://h/m/c`,
		`0; "http://b/in"`:                  `0; "http://h/m"`,
		"0; http://b/in/c":                  "0; http://h/m/c",
		"0; HTTP://B/in/c":                  "0; http://h/m/c",
		"0; url=http://c/in":                "0; url=http://c/in",
		"0; url=":                           "0; url=",
		"0; url":                            "0; url",
		"0; '":                              "0; '",
		"0;":                                "0;",
		"0":                                 "0",
		"; url=http://b/in":                 "; url=http://b/in",
		"soon; url=http://b/in":             "soon; url=http://b/in",
		"0 url=http://b/in":                 "0 url=http://b/in",
	} {
		if got := x.answer("Refresh: " + value); got != want {
			t.Errorf("%q became %q, want %q", value, got, want)
		}
	}
}

func TestForwarded(t *testing.T) {
	for _, tt := range []struct {
		id         string
		parameters ForwardedParameters
		host       string
		fields     []string
		forwarded  string
		xff        string
	}{
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
		{"append", ForwardAppend, "7.7.7.7, 127.0.0.1", "http", "www.example.org", `for="7.7.7.7", for=127.0.0.1`},
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

// TestProxyPass: internal/golden has Apache's examples; these are about encodings.
func TestProxyPass(t *testing.T) {
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
		{"a pattern without groups", match(`\.png$`, "/p"), "/x/y.png?q=1", "/p/x/y.png?q=1"},
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
func TestNoCanon(t *testing.T) {
	for _, c := range []struct {
		o            EditOptions
		target, want string // "": refused
	}{
		{EditOptions{StripPrefix: "/a"}, "/a/b%2Fc/%41//d?%41", "/b%2Fc/%41//d?%41"},
		{EditOptions{StripPrefix: "/a"}, "/a", "/"},
		{EditOptions{StripPrefix: "/a"}, "/a?b", "/?b"},
		{EditOptions{StripPrefix: "/a"}, "/%61/b%2Fc", "/b/c"},    // written in another way
		{EditOptions{StripPrefix: "/a"}, "/a%2Fb%2Fc", "/b/c"},    // as well
		{EditOptions{StripPrefix: "/a"}, "/a//b%2Fc", "/b/c"},     // not the beginning of a host
		{EditOptions{StripPrefix: "/a"}, "/x/b%2Fc", "/x/b%2Fc"},  // not concerned
		{EditOptions{StripPrefix: "/a"}, "/a/../a/b", ""},         // dot segments in any reading
		{EditOptions{StripPrefix: "/a"}, "/a/%2e%2e%2Fa/b", ""},   //
		{EditOptions{StripPrefix: "/a"}, "/a/b/..;/c", ""},        //
		{EditOptions{StripPrefix: "/a"}, "/x/../a/b%2Fc", "/b/c"}, // none is left of them
		{EditOptions{MapURLPath: pairs("/a%2F", "/b/")}, "/a%2Fb%2Fc", "/b/b%2Fc"},
		{EditOptions{Rule: &Rule{Path: "/a"}, BackendPath: template(t, "/z")}, "/a/b%2fc", "/z/b%2fc"},
		{EditOptions{Rule: &Rule{Path: "/a/"}, BackendPath: template(t, "/")}, "/a/@b%2fc", "/@b%2fc"},
		{EditOptions{Rule: &Rule{Prefix: "/a"}, BackendPath: template(t, "/z")}, "/ab%2fc", "/zb%2fc"},
		{EditOptions{Rule: &Rule{Prefix: "/a"}, BackendPath: template(t, "/z")}, "/a%62%2fc", "/z%62%2fc"},
		{EditOptions{Rule: &Rule{Path: "/"}, BackendPath: template(t, "/z/")}, "/a%2fc", "/z/a%2fc"},
		{EditOptions{Rule: &Rule{Pattern: regexp.MustCompile("b")}, BackendPath: template(t, "/z")}, "/b%2fc", "/z/b%2fc"},
	} {
		x := &exchange{t: t, host: "h", o: c.o}
		x.o.NoCanon = true
		x.send("GET " + c.target)
		if got := x.target(); x.refused != (c.want == "") || !x.refused && got != c.want {
			t.Errorf("%s became %s (refused: %v), want %s", c.target, got, x.refused, c.want)
		}
	}
}

func TestEditsBeginWithTheTargetToSend(t *testing.T) {
	in := head("GET /a\\b/c?%7e HTTP/1.1", "Host: h")
	trip := Trip{Edits: NewEdits(EditOptions{StripPrefix: "/a"}), Head: []byte(in), Req: parseRequest(t, in), Scheme: "http"}
	f := RequestFacts{Proto: "http", Target: []byte("/a/b/c?~"), Trip: &trip}
	if out := string(AppendRequest(nil, []byte(in), trip.Req, &f)); !strings.HasPrefix(out, "GET /b/c?~ HTTP/1.1\r\n") || trip.Refused {
		t.Errorf("got %q", out)
	}
}

// TestRewrite: internal/golden has lighttpd's examples.
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
		{"the first that matches", requests(rule("uri", "^/a", "/1"), rule("uri", "^/", "/2")), "/b", "/2"},
		{"substitute", EditOptions{Request: FieldEdits{Substitute: []RewriteRule{rule("uri", "b+", "<$0>"), rule("uri", "[<>]", ".")}}}, "/abbc/b", "/a.bb.c/.b."},
	} {
		x := exchange{t: t, o: tt.o, host: "h"}
		x.send("GET " + tt.in)
		if got := x.target(); got != tt.want {
			t.Errorf("%s: %s became %s, want %s", tt.id, tt.in, got, tt.want)
		}
	}
	x := exchange{t: t, o: EditOptions{Response: FieldEdits{Rewrite: []RewriteRule{rule("Location", "wikipedia", "X")}}}, host: "h"}
	x.send("GET /")
	if got := x.answer("location: http://example.org/a"); got != "http://example.org/a" {
		t.Errorf("without a match it became %q", got)
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
			Remove: []string{"X-Powered-By", "X-Accel-*"},
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
	for name, want := range map[string]string{"Server": "s", "X-Status": "302 aa", "Vary": "Accept|Origin", "X-Powered-By": "", "X-Kept": "1", "X-Accel-Redirect": "", "X-Accelerate": "1"} {
		got := strings.Join(x.answered(302, name, "server: t", "Vary: Accept", "X-Kept: 1", "X-POWERED-BY: p", "x-accel-redirect: /a", "X-Accelerate: 1", "X-Accel-: 1"), "|")
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

// TestAValueThatIsCutIsNotSent: what it takes the place of is long enough to make room for it.
func TestAValueThatIsCutIsNotSent(t *testing.T) {
	rules := []RewriteRule{{"X", regexp.MustCompile("^(.*)$"), template(t, strings.Repeat("$1", 40))}}
	x := exchange{t: t, host: "h", o: EditOptions{Request: FieldEdits{Rewrite: rules}}}
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
	e := NewEdits(EditOptions{Request: FieldEdits{Remove: []string{"X-User", "X-Team-*"}}})
	section := []byte("X_Team_Role: root\r\nX-user: root\r\nX_User: root\r\nX.User: root\r\nX-Sum: 1\r\n\r\n") // one name to CGI
	fields, _, err := httpparse.ParseTrailer(section, 0, make([]httpparse.Field, 0, 8))
	if err != nil {
		t.Fatal(err)
	}
	x := Trip{Edits: e}
	if got := string(AppendTrailer(nil, section, x.FilterTrailer(section, fields))); got != "X-Sum: 1\r\n\r\n" {
		t.Errorf("got %q", got)
	}
}

// TestNoPunctuationSavesWhatIsRemoved: a server that passes fields as variables would find the client's beside ours.
func TestNoPunctuationSavesWhatIsRemoved(t *testing.T) {
	x := exchange{t: t, host: "a", o: EditOptions{
		RequestID: "X-Request-Id",
		Request: FieldEdits{
			Set:        []FieldLine{{"X-Real-IP", template(t, "1.2.3.4")}},
			Remove:     []string{"X-User", "X-Team-*", "Under_Score"},
			Substitute: []RewriteRule{{Name: "X-Sub", Pattern: regexp.MustCompile("root"), Value: template(t, "b")}},
		},
	}}
	x.send("GET /", "X.Real.IP: root", "x~real-ip: root", "X.User: root", "X!USER: root", "X.Team.Role: root", "X-Team+x: root",
		"X.Request.Id: root", "X.Sub: kept", "X.Users: kept", "XUser: kept", "Under-Score: kept")
	if strings.Contains(x.reqText, "root") || strings.Count(x.reqText, ": kept\r\n") != 4 || !strings.Contains(x.reqText, "X-Real-IP: 1.2.3.4\r\n") {
		t.Errorf("got %q", x.reqText)
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
	o.Reverse = []Reversal{{Mapping: Mapping{"http://x.int/", "/x/"}}, {Mapping{"/", "/y"}, []string{"http://y.int/a"}}}
	o.ServerPaths = true
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
		trip.ServerPath = "/base"
		AppendRequest(dst, buf, r, &f)
		AppendResponse(dst, res, s, &g)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
