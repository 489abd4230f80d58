package configs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProblemsOfValues(t *testing.T) {
	// The text goes before the rest of a file that is right, or in the place of a line of it.
	for _, c := range []struct{ line, text, want string }{
		{"", "[server]\nloops = -1", "f:2:9: server.loops: -1 is too small: allowed are 0 for one a CPU, or 1 to 1024"},
		{"", "[server]\nloops = 1025", "1025 is too large"},
		{"", "[server]\nmax_connections = 10000001", "server.max_connections: 10000001 is too large: allowed are 0 to derive it from the open-file limit, or 1 to 10000000"},
		{"", "[server]\ndrain_timeout = '721h'", `server.drain_timeout: "721h" is too large: allowed are 0 for no limit, or 1ms to 720h`},
		{"", "[timeouts]\nconnect = '0.5ms'", `timeouts.connect: "0.5ms" is too small: allowed are 0 for no limit, or 1ms to 720h`},
		{"", "[limits]\nheader_bytes = '1023B'", `limits.header_bytes: "1023B" is too small: allowed are 1KiB to 1MiB`},
		{"", "[limits]\nheader_bytes = '2MiB'", `limits.header_bytes: "2MiB" is too large: allowed are 1KiB to 1MiB`},
		{"", "[server]\nsplice = 'yes'", `f:2:10: server.splice: "yes" is not a way to splice: allowed are "auto", "on" and "off"`},
		{"", "[server]\nsplice_threshold = '1KiB'", `f:2:20: server.splice_threshold: "1KiB" is too small: allowed are 4KiB to 1GiB`},
		{"", "[limits]\nheader_bytes = '0'", `limits.header_bytes: "0" is too small`},
		{"", "[limits]\nheader_fields = 1025", `limits.header_fields: 1025 is too large: allowed are 1 to 1024`},
		{"", "[limits]\nbody_bytes = '1048577GiB'", `limits.body_bytes: "1048577GiB" is too large: allowed are 0 for no limit, or 1B to 1048576GiB`},
		{"", "[access_log]\npath = ''", `access_log.path: "" is not a path: allowed are a file, "stdout" and "off"`},
		{"", "[access_log]\nformat = 'combine'", `access_log.format: log format "combine" is none of common, combined, json`},
		{"", "[access_log]\npath = 'off'\nformat = '$nobody'", `access_log.format: unknown name $nobody at offset 0`},
		{"", "[admin]", "f:1:2: admin.address: is missing: allowed are"},
		{"", "[admin]\naddress = ':80'", `f:2:11: admin.address: "[::]:80" is listened on already by listener[0].address (f:4:11)`},
		{"", "[admin]\naddress = 'x:1'", `admin.address: "x:1": the host must be an IP address`},

		{`address = ":80"`, "name = 'a'", "f:2:3: listener[0].address: is missing: allowed are"},
		{`address = ":80"`, "address = ':80'\nname = ''", `listener[0].name: "" is not a name: allowed are 1 to 64 letters, digits, '.', '_' and '-'`},
		{`address = ":80"`, "address = ':80'\nname = 'a b'", `listener[0].name: "a b" is not a name`},
		{`address = ":80"`, "address = ':80'\nname = '" + strings.Repeat("x", 65) + "'", `is not a name`},
		{`address = ":80"`, "address = ':80'\nprotocol = 'tcp'", `f:4:12: listener[0].protocol: "tcp" is not a protocol: allowed are "http" and "sock"`},
		{`address = ":80"`, "address = ':80'\nbackend = 'app'", `f:4:1: listener[0].backend: is for protocol = "sock": what an http listener receives goes by its routes`},
		{`address = ":80"`, "address = ':80'\nprotocol = 'sock'", `f:2:3: listener[0].backend: is missing: protocol = "sock" needs the name of a [backend.NAME]`},
		{`address = ":80"`, "address = ':80'\nprotocol = 'sock'\nbackend = 'ap'", `f:5:11: listener[0].backend: "ap" is not the name of a backend; did you mean "app"?`},
		{`address = ":80"`, "address = ':80'\nprotocol = 'sock'\nbackend = 'app'\ntimeouts.client_idle = '1s'", `f:6:10: listener[0].timeouts.client_idle: has no effect in a sock listener, which parses nothing: it belongs to [timeouts] or [listener.timeouts]`},
		{`address = ":80"`, "address = ':80'\n[listener.timeouts]\nresponse = '1s'", "f:5:1: listener[0].timeouts.response: has no effect in a listener: it belongs to [timeouts], [route.timeouts] or [backend.NAME.timeouts]"},

		{`backend = "app"`, "path = '/'", "f:4:3: route[0].backend: is missing: name a [backend.NAME], or set exclude = true"},
		{`backend = "app"`, "backend = 'app'\nexclude = true", "f:5:1: route[0].backend: has no effect with exclude = true: what matches is not proxied"},
		{`backend = "app"`, "exclude = true\n[route.timeouts]\nclient_body = '1s'\nconnect = '1s'", "f:6:8: route[0].timeouts: has no effect with exclude = true: what matches is not proxied"},
		{`backend = "app"`, "backend = 'app'\ntimeouts.client_idle = '1s'", "f:6:10: route[0].timeouts.client_idle: has no effect in a route: it belongs to [timeouts] or [listener.timeouts]"},
		{`backend = "app"`, "exclude = true\nupgrade = true\nconnect = false", "f:6:1: route[0].upgrade: has no effect with exclude = true: what matches is not proxied\nf:7:1: route[0].connect: has no effect with exclude = true: what matches is not proxied"},
		{`backend = "app"`, "backend = 'app'\nupgrade = 'websocket'", `f:6:11: route[0].upgrade: "websocket" is one string: write ["websocket"]`},
		{`backend = "app"`, "backend = 'app'\nupgrade = 'true'", `f:6:11: route[0].upgrade: "true" is a string: write true, without quotes`},
		{`backend = "app"`, "backend = 'app'\nupgrade = 1", `f:6:11: route[0].upgrade: 1 is neither true nor false nor an array of protocols`},
		{`backend = "app"`, "backend = 'app'\nupgrade = []", `f:6:11: route[0].upgrade: is empty: write false to allow no protocol`},
		{`backend = "app"`, "backend = 'app'\nupgrade = ['foo/1', 'web socket', 1]", "f:6:21: route[0].upgrade[1]: \"web socket\" is not a protocol: allowed are a name, such as \"websocket\", and a name with a version\nf:6:35: route[0].upgrade[2]: 1 is not a string: write \"1\""},
		{`backend = "app"`, "backend = 'app'\nupgrade = ['foo', 'FOO', 'H2C']", "f:6:19: route[0].upgrade[1]: \"FOO\" is listed twice\nf:6:26: route[0].upgrade[2]: \"H2C\" cannot be allowed: the requests inside of it would be seen by no route"},
		{`backend = "app"`, "backend = 'app'\npath = '/x'\nconnect = true", `f:7:1: route[0].connect: has no effect: CONNECT has no path and matches as if for /, which the conditions of this route do not`},
		{`backend = "app"`, "backend = 'app'\npattern = 'x'\nconnect = true", `f:7:1: route[0].connect: has no effect`},
		{`backend = "app"`, "backend = 'app'\nlisteners = []", "route[0].listeners: is empty, which no listener matches: leave it out to match every listener"},
		{`backend = "app"`, "backend = 'app'\nhosts = []", "route[0].hosts: is empty, which no host matches: leave it out to match every host"},
		{`backend = "app"`, "backend = 'app'\nlisteners = [':80', ':80']", `f:6:21: route[0].listeners[1]: ":80" is listed twice`},
		{`backend = "app"`, "backend = 'app'\nlisteners = ['web']", `route[0].listeners[0]: "web" is not the name of a listener: there is ":80"`},
		{`backend = "app"`, "backend = 'app'\nhosts = ['a.example', 'A.Example']", `f:6:23: route[0].hosts[1]: "A.Example" is listed twice`},
		{`backend = "app"`, "backend = 'app'\npath = ''", `route[0].path: "" must begin with /`},
		{`backend = "app"`, "backend = 'app'\npath = '/a/../b'", `route[0].path: "/a/../b" matches nothing, since paths are matched in their normal form: write "/b"`},
		{`backend = "app"`, "backend = 'app'\nprefix = '/a//'", `route[0].prefix: "/a//" matches nothing, since paths are matched in their normal form: write "/a/"`},
		{`backend = "app"`, "backend = 'app'\nprefix = 'a'", `route[0].prefix: "a" must begin with /`},
		{`backend = "app"`, "backend = 'app'\nextension = ''", `route[0].extension: "" is the end of every path: leave it out instead`},
		{`backend = "app"`, "backend = 'app'\nextension = '/a'", `route[0].extension: "/a" begins with /, and an extension is the end of a path: write prefix = "/a"`},
		{`backend = "app"`, "backend = 'app'\npattern = '('", "route[0].pattern: \"(\" is not a regular expression: missing closing ): `(` (RE2 syntax: no look-around, no back-references)"},
		{`backend = "app"`, "backend = 'app'\npattern = '(a)\\1'", "invalid escape sequence: `\\1` (RE2 syntax"},

		{`servers = ["10.0.0.1"]`, "balance = 'fair'", "f:6:10: backend.app.servers: is missing: list at least one address, or add [[backend.app.server]]"},
		{`servers = ["10.0.0.1"]`, "servers = []", "f:7:11: backend.app.servers: is empty: list at least one address"},
		{`servers = ["10.0.0.1"]`, "server = []", "f:7:1: backend.app.server: is empty: add at least one [[backend.app.server]]"},
		{`servers = ["10.0.0.1"]`, "servers = ['10.0.0.1', '10.0.0.1:80']", `f:7:24: backend.app.servers[1]: "10.0.0.1:80" is listed twice (f:7:12)`},
		{`servers = ["10.0.0.1"]`, "servers = ['unix:/a', 'unix:/a']", `backend.app.servers[1]: "unix:/a" is listed twice`},
		{`servers = ["10.0.0.1"]`, "[[backend.app.server]]\nweight = 1", "f:7:15: backend.app.server[0].address: is missing"},
		{`servers = ["10.0.0.1"]`, "[[backend.app.server]]\naddress = '10.0.0.1'\nweight = 0", "backend.app.server[0].weight: 0 is too small: allowed are 1 to 1000"},
		{`servers = ["10.0.0.1"]`, "servers = ['10.0.0.1']\nsmax = -1", "backend.app.smax: -1 is too small: allowed are 0 for no limit, or 1 to 1000000"},
		{`servers = ["10.0.0.1"]`, "servers = ['10.0.0.1']\nttl = '1us'", "backend.app.ttl: \"1us\" is not a duration"},
		{`servers = ["10.0.0.1"]`, "servers = ['10.0.0.1']\ndisable_time = '1000h'", `backend.app.disable_time: "1000h" is too large: allowed are 0 never to rest a server, or 1ms to 720h`},
		{`servers = ["10.0.0.1"]`, "servers = ['10.0.0.1']\ntimeouts.client_body = '1s'", "f:8:10: backend.app.timeouts.client_body: has no effect in a backend: it belongs to [timeouts], [listener.timeouts] or [route.timeouts]"},
		{`servers = ["10.0.0.1"]`, "servers = ['10.0.0.1']\n[backend.'a b']\nservers = ['10.0.0.1']", `f:8:10: backend."a b": "a b" is not a name`},
		{`servers = ["10.0.0.1"]`, "servers = ['10.0.0.1']\n[backend.'']\nservers = ['10.0.0.1']", `f:8:10: backend."": "" is not a name`},
	} {
		text := c.text + rest
		if c.line != "" {
			text = strings.Replace(rest, c.line, c.text, 1)
		}
		got := "\n" + problemsOf(t, text)
		for want := range strings.Lines(c.want) {
			if !strings.Contains(got, strings.TrimSuffix(want, "\n")) {
				t.Errorf("%s\ngave%s\nwithout\n%s", c.text, got, want)
			}
		}
		most := strings.Count(c.want, "\n") + 1
		if strings.HasPrefix(c.text, "[admin]") {
			most++ // which is not available in any case
		}
		if n := strings.Count(got, "\n"); n > most {
			t.Errorf("%s\ngave %d problems:%s", c.text, n, got)
		}
	}
}

func TestAddressesThatCannotBeListenedOnTwice(t *testing.T) {
	for _, c := range []struct {
		a, b    string
		overlap bool
	}{
		{"10.0.0.1:80", "10.0.0.1:80", true},
		{"10.0.0.1:80", "[::ffff:10.0.0.1]:80", true},
		{":80", "[::]:80", true},
		{":80", "0.0.0.0:80", true},
		{"0.0.0.0:80", ":80", true},
		{"127.0.0.1:80", "localhost:80", true},
		{"unix:/run/a", "unix:/run//a", true},
		{"10.0.0.1:80", "10.0.0.1:81", false},
		{"10.0.0.1:80", "0.0.0.0:80", false},
		{"10.0.0.1:80", ":80", false},
		{"[::1]:80", ":80", false},
		{"unix:/run/a", "unix:/run/b", false},
		{"unix:/run/a", ":80", false},
	} {
		a, _ := parseListen(c.a)
		b, _ := parseListen(c.b)
		if got := overlap(a, b); got != c.overlap {
			t.Errorf("%s and %s: got %v", c.a, c.b, got)
		}
	}
}

func TestConditionsThatAreAllowed(t *testing.T) {
	for _, text := range []string{
		`path = "/"`,
		`path = "/a/"`,
		`path = "/100%"`,
		`path = "/größe"`,
		`prefix = "/"`,
		`prefix = "/."`,
		`prefix = "/a/.ht"`,
		`extension = "jsp"`,
		`pattern = '^/(.*)\.do$'`,
		`hosts = ["*", "a.example:8080", "*.a.example", "a.*"]`,
		`listeners = [":80"]`,
		`timeouts = {connect = "0", client_body = "1ms", tunnel_idle = "720h"}`,
		`exclude = false`,
	} {
		parseOK(t, strings.Replace(rest, "[[route]]", "[[route]]\n"+text, 1), nil)
	}
}

// A wrong reference is reported once, not as an unused backend or listener as well.
func TestWrongReferencesCauseNoWarnings(t *testing.T) {
	var warnings Problems
	_, err := Parse(t.Context(), "f", []byte(strings.Replace(rest, `"app"`, `"ap"`, 1)), hosts{}, WithWarnings(&warnings))
	want := `f:5:11: route[0].backend: "ap" is not the name of a backend; did you mean "app"?`
	if err == nil || err.Error() != want || len(warnings) > 0 {
		t.Errorf("got %v and warnings %v", err, warnings)
	}
}

func TestReferencesToNothing(t *testing.T) {
	for n, want := range map[int]string{
		0:  `"web" is not the name of a listener: there is none`,
		2:  `"web" is not the name of a listener: there is "listener-00" or "listener-01"`,
		11: `"web" is not the name of a listener`,
	} {
		known := make([]string, n)
		for i := range known {
			known[i] = "listener-" + string(rune('0'+i/10)) + string(rune('0'+i%10))
		}
		if diff := cmp.Diff(want, unknownName("web", "listener", known)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}
