package configs

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/internal/health"
)

func TestHealthChecks(t *testing.T) {
	if b := parseOK(t, rest, nil).Backends[0]; b.Health != nil {
		t.Errorf("checks that nobody asked for: %+v", b.Health)
	}
	for _, c := range []struct {
		text string
		want health.Check
	}{
		{"", health.Check{
			HTTP: true, Method: "GET", Path: "/", Statuses: []health.StatusRange{{First: 200, Last: 399}},
			Interval: 5 * time.Second, Jitter: 500 * time.Millisecond, Timeout: 2 * time.Second, Rise: 2, Fall: 3,
		}},
		{
			"method = 'HEAD'\npath = '/a?b'\nhost = 'x:1'\nstatus = ['204', '300-399']\nport = 81\ninterval = '1s'\njitter = '0'\ntimeout = '1h'\nrise = 1\nfall = 1",
			health.Check{
				HTTP: true, Method: "HEAD", Path: "/a?b", Host: "x:1", Statuses: []health.StatusRange{{First: 204, Last: 204}, {First: 300, Last: 399}},
				Port: 81, Interval: time.Second, Timeout: time.Hour, Rise: 1, Fall: 1,
			},
		},
	} {
		b := parseOK(t, rest+"[backend.app.health]\n"+c.text, nil).Backends[0]
		if diff := cmp.Diff(&c.want, b.Health); diff != "" {
			t.Errorf("%s:\n%s", c.text, diff)
		}
	}
	if check := parseOK(t, rest+"[backend.app.health]\ntype = 'tcp'", nil).Backends[0].Health; check.HTTP {
		t.Errorf("%+v", check)
	}
}

func TestProblemsOfHealthChecks(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"type = 'https'", `health.type: "https" is not a kind of check: allowed are "http" and "tcp"`},
		{"type = 'tcp'\npath = '/'", `health.path: has no effect with type = "tcp", which sends nothing`},
		{"type = 'tcp'\nstatus = ['200']", `health.status: has no effect with type = "tcp"`},
		{"method = 'POST'", `health.method: "POST" is not a method for a check, which must not change anything: allowed are "GET", "HEAD" or "OPTIONS"`},
		{"method = 'HEAD'\nbody = 'ok'", `health.body: has no effect with method = "HEAD"`},
		{"path = 'live'", `health.path: "live" is not a path`},
		{"path = \"/a\\r\\nb\"", `health.path: "/a\r\nb" is not a path`},
		{"path = '/a b'", `is not a path`},
		{"host = 'a/b'", `health.host: "a/b" is not a host`},
		{"host = \"a\\nb\"", `health.host: "a\nb" is not a host`},
		{"status = []", `health.status: is empty, so that no answer would be good: leave it out for 200-399`},
		{"status = ['2xx']", `health.status[0]: "2xx" is not a status from 200 to 599, nor a range of them such as 200-399`},
		{"port = 65536", `health.port: 65536 is too large: allowed are 0 for the server's own, or 1 to 65535`},
		{"interval = '0'", `health.interval: "0" is too small: allowed are 10ms to 24h`},
		{"jitter = '25h'", `health.jitter: "25h" is too large: allowed are 0 for none, or 1ms to 24h`},
		{"timeout = '0'", `health.timeout: "0" is too small`},
		{"rise = 0", `health.rise: 0 is too small: allowed are 1 to 1000`},
		{"fall = 1001", `health.fall: 1001 is too large`},
		{"uri = '/'", `health.uri: unknown key`},
	} {
		got := problemsOf(t, rest+"[backend.app.health]\n"+c.text)
		if !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%s\ngot  %s\nwant %s", c.text, got, c.want)
		}
	}
}

func TestUnixSocketsHaveNoPortToCheck(t *testing.T) {
	const ignored = "backend.app.health.port: has no effect: each server of this backend is a unix socket, which has no port; leave it out"
	for _, c := range []struct{ lines, want string }{
		{"servers = ['unix:/run/a']\n[backend.app.health]\nport = 81", "f:9:8: " + ignored},
		{"servers = ['unix:/run/a', 'unix:/run/b']\n[backend.app.health]\ntype = 'tcp'\nport = 81", "f:10:8: " + ignored},
		{"[[backend.app.server]]\naddress = 'unix:/run/a'\n[backend.app.health]\nport = 81", "f:10:8: " + ignored},
		{"servers = ['unix:/run/a']\n[backend.app.health]\nport = 0", ""},
		{"servers = ['unix:/run/a']\n[backend.app.health]", ""},
		{"servers = ['unix:/run/a', '10.0.0.1']\n[backend.app.health]\nport = 81", ""},
		{"servers = ['unix:/run/a', 'a.example']\n[backend.app.health]\nport = 81", ""},
		{"servers = ['10.0.0.1']\n[backend.app.health]\nport = 81", ""},
	} {
		if got := warningsOf(t, balanced(c.lines)); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.lines, got, c.want)
		}
	}
	for _, servers := range []string{ // what could not be read may have one
		"servers = ['unix:/run/a', '10.0.0.1:0']",
		"servers = ['unix:/run/a', 1]",
		"servers = ['unix:/run/a']\nserver = '10.0.0.1'",
		"serverss = ['10.0.0.1']\n[[backend.app.server]]\naddress = 'unix:/run/a'",
	} {
		var warnings Problems
		text := balanced(servers + "\n[backend.app.health]\nport = 81")
		if _, err := Parse(t.Context(), "f", []byte(text), nil, WithWarnings(&warnings)); err == nil || len(warnings) > 0 {
			t.Errorf("%s\ngave error %v and warnings %v", text, err, warnings)
		}
	}
}
