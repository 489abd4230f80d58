package configs

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/httpparse"
	"millrace/loop"
	"millrace/remap"
)

func TestDefaultsOfThePlan(t *testing.T) {
	plan := parseOK(t, rest, nil)
	if plan.Splice != loop.SpliceAuto || plan.SpliceThreshold != 64<<10 {
		t.Errorf("splice: %v from %d on", plan.Splice, plan.SpliceThreshold)
	}
	if plan.Loops != 0 || plan.MaxConnections != 0 || plan.DrainTimeout != 30*time.Second {
		t.Errorf("server: %+v", plan)
	}
	if want := (loop.Limits{HeaderBytes: 32 << 10, HeaderFields: 128, ClientRate: 240}); plan.Limits != want {
		t.Errorf("limits: %+v", plan.Limits)
	}
	if plan.AccessLog == nil || plan.AccessLog.Path != "stdout" || plan.AccessLog.Format == nil {
		t.Errorf("access log: %+v", plan.AccessLog)
	}
	want := loop.Timeouts{
		ClientHeader: 10 * time.Second, ClientBody: 30 * time.Second, ClientWrite: time.Minute, ClientIdle: 75 * time.Second,
		Connect: 8 * time.Second, Response: time.Minute, BackendRead: time.Minute, TunnelIdle: time.Hour,
	}
	l := plan.Listeners[0]
	if *l.Timeouts != want || *plan.Routes[0].Timeouts[0] != want {
		t.Errorf("timeouts: %+v %+v", l.Timeouts, plan.Routes[0].Timeouts[0])
	}
	if l.Index != 0 || l.Name != ":80" || l.Address != netip.MustParseAddrPort("[::]:80") || l.Path != "" || l.Position != "test.toml:3:11" {
		t.Errorf("listener: %+v", l)
	}
	b := plan.Backends[0]
	if b.Name != "app" || b.IdleTTL != time.Minute || b.IdleMax != 0 || b.Group == nil || b.Group.Len() != 1 {
		t.Errorf("backend: %+v", b)
	}
	if plan.Routes[0].Backend != b {
		t.Errorf("route: %+v", plan.Routes[0])
	}
	if s := b.Servers[0]; s.ID != 0 || s.Name != "10.0.0.1:80" || s.Address != netip.MustParseAddrPort("10.0.0.1:80") || s.Path != "" {
		t.Errorf("server: %+v", s)
	}
}

func TestWhatIsGivenGetsIntoThePlan(t *testing.T) {
	plan := parseOK(t, `
[server]
loops = 3
max_connections = 4000
drain_timeout = "0"
splice = "on"
splice_threshold = "1MiB"
[limits]
header_bytes = "8KiB"
header_fields = 20
body_bytes = "10MB"
client_rate = "1KiB"
connections_per_client = 7
[access_log]
path = "/var/log/millrace.log"
format = "$status"
[[listener]]
name = "web"
address = "unix:/run/web.sock"
[[route]]
path = "/static"
exclude = true
[[route]]
backend = "b"
[backend.b]
servers = ["unix:/run/b.sock"]
ttl = "0"
smax = 3
[backend.a]
servers = ["10.0.0.1:81"]
`, nil)
	if plan.Loops != 3 || plan.MaxConnections != 4000 || plan.DrainTimeout != 0 {
		t.Errorf("server: %+v", plan)
	}
	if want := (loop.Limits{HeaderBytes: 8 << 10, HeaderFields: 20, BodyBytes: 10_000_000, ClientRate: 1024, ConnectionsPerClient: 7}); plan.Limits != want {
		t.Errorf("limits: %+v", plan.Limits)
	}
	if plan.AccessLog.Path != "/var/log/millrace.log" {
		t.Errorf("access log: %+v", plan.AccessLog)
	}
	if plan.Splice != loop.SpliceOn || plan.SpliceThreshold != 1<<20 {
		t.Errorf("splice: %v from %d on", plan.Splice, plan.SpliceThreshold)
	}
	if l := plan.Listeners[0]; l.Name != "web" || l.Path != "/run/web.sock" || l.Address.IsValid() {
		t.Errorf("listener: %+v", l)
	}
	if plan.Routes[0].Backend != nil || plan.Routes[1].Backend != plan.Backends[0] || len(plan.Routes[0].Timeouts) != 1 {
		t.Errorf("routes: %+v %+v", plan.Routes[0], plan.Routes[1])
	}
	// Backends are in the order of the file, whatever their names.
	b := plan.Backends[0]
	if b.Name != "b" || plan.Backends[1].Name != "a" || b.IdleTTL != 0 || b.IdleMax != 3 {
		t.Errorf("backend: %+v", b)
	}
	if s := b.Servers[0]; s.Name != "unix:/run/b.sock" || s.Path != "/run/b.sock" || s.Address.IsValid() {
		t.Errorf("server: %+v", s)
	}
}

func TestRoutesMatchAsTheFileSays(t *testing.T) {
	plan := parseOK(t, `
[[listener]]
name = "public"
address = ":80"
[[listener]]
name = "internal"
address = ":81"
[[route]]
extension = ".bak"
exclude = true
[[route]]
listeners = ["internal"]
prefix = "/adm"
backend = "app"
[[route]]
hosts = ["www.example.org", "*.example.net"]
path = "/api"
backend = "app"
[[route]]
listeners = ["public"]
pattern = '^/[0-9]+$'
backend = "app"
[backend.app]
servers = ["10.0.0.1"]
`, nil)
	for _, c := range []struct {
		listener   int
		host, path string
		want       int
	}{
		{0, "www.example.org", "/api/x.bak", 0},
		{1, "", "/admin", 1},
		{0, "", "/admin", -1},
		{0, "WWW.example.org:80", "/api/x", 2},
		{1, "a.b.example.net", "/api", 2},
		{0, "www.example.org", "/apix", -1},
		{0, "example.net", "/api", -1},
		{0, "other", "/42", 3},
		{1, "other", "/42", -1},
	} {
		got, ok := plan.Table.Match(&remap.Incoming{
			Listener: c.listener, Path: []byte(c.path),
			Req: &httpparse.Request{Authority: httpparse.View{End: uint32(len(c.host))}}, Head: []byte(c.host),
		})
		if !ok {
			got = -1
		}
		if got != c.want {
			t.Errorf("listener %d, %s%s: got route %d, want %d", c.listener, c.host, c.path, got, c.want)
		}
	}
}

// TestADotOfAPatternIsAnyCharacter: a path can have each of them, encoded, and would get past a route that excludes what is
// below a path.
func TestADotOfAPatternIsAnyCharacter(t *testing.T) {
	plan := parseOK(t, `
[[listener]]
address = ":80"
[[route]]
pattern = '^/admin/(.*)$'
exclude = true
[[route]]
backend = "app"
[route.not]
pattern = '(?i)^/private/.+$'
[backend.app]
servers = ["10.0.0.1"]
`, nil)
	for path, want := range map[string]int{
		"/admin/x": 0, "/admin/\n": 0, "/admin/x\ny": 0, "/admin/\r\n": 0, "/admin/\xff": 0,
		"/Private/x": -1, "/private/\n": -1, "/private/\nx": -1,
		"/public/\n": 1,
	} {
		got, ok := plan.Table.Match(&remap.Incoming{Path: []byte(path), Req: &httpparse.Request{}})
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got route %d, want %d", path, got, want)
		}
	}
}

func TestTheClosestTimeoutIsInForce(t *testing.T) {
	// Every place that may have a timeout gives it another value, so that the value says where it came from.
	plan := parseOK(t, `
[timeouts]
client_header = "1s"
client_body = "1s"
client_write = "1s"
client_idle = "1s"
connect = "1s"
response = "1s"
backend_read = "1s"
tunnel_idle = "1s"
[[listener]]
address = ":80"
[[listener]]
address = ":81"
[listener.timeouts]
client_header = "2s"
client_body = "2s"
client_write = "2s"
client_idle = "2s"
tunnel_idle = "2s"
[[route]]
path = "/plain"
backend = "plain"
[[route]]
path = "/own"
backend = "own"
[[route]]
path = "/both"
backend = "own"
[route.timeouts]
client_body = "4s"
client_write = "4s"
connect = "4s"
response = "4s"
backend_read = "4s"
tunnel_idle = "4s"
[[route]]
path = "/none"
exclude = true
[backend.plain]
servers = ["10.0.0.1"]
[backend.own]
servers = ["10.0.0.1"]
[backend.own.timeouts]
connect = "3s"
response = "3s"
backend_read = "3s"
tunnel_idle = "3s"
`, nil)
	line := func(t *loop.Timeouts) string {
		s := ""
		for _, d := range []time.Duration{t.ClientHeader, t.ClientBody, t.ClientWrite, t.ClientIdle, t.Connect, t.Response, t.BackendRead, t.TunnelIdle} {
			s += fmt.Sprintf("%d", d/time.Second)
		}
		return s
	}
	var got []string
	for _, l := range plan.Listeners {
		got = append(got, line(l.Timeouts))
	}
	for _, r := range plan.Routes {
		for _, t := range r.Timeouts {
			got = append(got, line(t))
		}
	}
	want := []string{
		// header body write idle, connect response read tunnel
		"11111111",             // first listener
		"22221112",             // second listener
		"11111111", "22221112", // plain route, by the first and the second listener
		"11113333", "22223333", // a backend's tunnel_idle goes before the listener's
		"14414444", "24424444",
		"11111111", "22221112", // excluded
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if plan.Routes[0].Timeouts[0] != plan.Listeners[0].Timeouts {
		t.Error("equal timeouts are kept twice")
	}
}

func TestServersAreListedOnceAndInOrder(t *testing.T) {
	plan := parseOK(t, `
[[listener]]
address = ":80"
[[route]]
backend = "a"
[[route]]
path = "/b"
backend = "b"
[backend.a]
servers = ["10.0.0.9", "app.example:8080", "10.0.0.1:8080", "unix:/a.sock", "other.example:8080"]
[backend.b]
balance = "round-robin"
[[backend.b.server]]
address = "APP.example"
weight = 5
[[backend.b.server]]
address = "10.0.0.7:81"
`, hosts{
		"app.example":   {"10.0.0.2", "10.0.0.1", "2001:db8::1", "::ffff:10.0.0.2"},
		"other.example": {"10.0.0.3", "10.0.0.2"},
	})
	var got []string
	for _, b := range plan.Backends {
		for i, s := range b.Servers {
			got = append(got, fmt.Sprintf("%s %d %s", b.Name, s.ID, s.Name))
			if b.Group.Name(0) != b.Servers[0].Name || b.Group.Len() != len(b.Servers) {
				t.Errorf("server %d of %s is not that of the group", i, b.Name)
			}
			if s.Address.IsValid() && s.Address.String() != s.Name {
				t.Errorf("%s has address %s", s.Name, s.Address)
			}
		}
	}
	want := []string{
		"a 0 10.0.0.9:80",
		"a 1 10.0.0.2:8080",
		"a 2 10.0.0.1:8080",
		"a 3 [2001:db8::1]:8080",
		"a 4 unix:/a.sock",
		"a 5 10.0.0.3:8080",
		"b 6 10.0.0.2:80",
		"b 7 10.0.0.1:80",
		"b 8 [2001:db8::1]:80",
		"b 9 10.0.0.7:81",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestASockListenerHasItsBackend(t *testing.T) {
	plan := parseOK(t, `
[timeouts]
connect = "1s"
tunnel_idle = "1m"
[[listener]]
address = ":5432"
protocol = "sock"
backend = "pg"
[[listener]]
address = ":5433"
protocol = "sock"
backend = "other"
timeouts.tunnel_idle = "3m"
[backend.other]
servers = ["unix:/run/other.sock"]
[backend.pg]
servers = ["10.0.0.1:5432"]
timeouts.connect = "2s"
timeouts.tunnel_idle = "2m"
`, nil)
	for i, want := range []struct {
		backend             string
		connect, tunnelIdle time.Duration
	}{
		{"pg", 2 * time.Second, 2 * time.Minute},
		{"other", time.Second, 3 * time.Minute},
	} {
		l := plan.Listeners[i]
		if l.Backend == nil || l.Backend.Name != want.backend || l.Timeouts.Connect != want.connect || l.Timeouts.TunnelIdle != want.tunnelIdle {
			t.Errorf("listener %d: %+v, %+v, want %+v", i, l, l.Timeouts, want)
		}
	}
	if len(plan.Routes) != 0 {
		t.Errorf("routes: %+v", plan.Routes)
	}
}

func TestWhatARouteMaySwitchToGetsIntoThePlan(t *testing.T) {
	plan := parseOK(t, `
[[listener]]
address = ":80"
[[route]]
path = "/a"
backend = "app"
upgrade = ["WebSocket", "foo/2"]
[[route]]
path = "/b"
backend = "app"
upgrade = true
[[route]]
path = "/c"
backend = "app"
upgrade = false
[[route]]
backend = "app"
connect = true
pattern = "^/"
[backend.app]
servers = ["10.0.0.1"]
`, nil)
	want := []*loop.Upgrade{{Protocols: []string{"WebSocket", "foo/2"}}, {Any: true}, nil, nil}
	for i, r := range plan.Routes {
		if diff := cmp.Diff(want[i], r.Upgrade); diff != "" || r.Connect != (i == 3) {
			t.Errorf("route %d: connect %v, -want +got:\n%s", i, r.Connect, diff)
		}
	}
}
