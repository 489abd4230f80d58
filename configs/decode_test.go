package configs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestShapesOfTables(t *testing.T) {
	const backend = "[backend.app]\nservers = [\"10.0.0.1\"]\n"
	const listener = "[[listener]]\naddress = \":80\"\n"
	const route = "[[route]]\nbackend = \"app\"\n"
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"empty file", "", []string{
			"f:1:1: listener: is missing: at least one [[listener]] with an address is needed",
			"f:1:1: route: is missing: at least one [[route]] with a backend is needed",
			"f:1:1: backend: is missing: at least one [backend.NAME] with servers is needed",
		}},
		{"empty arrays", "listener = []\nroute = []\nbackend = {}\n", []string{
			"f:1:1: listener: is missing: at least one [[listener]] with an address is needed",
			"f:1:1: route: is missing: at least one [[route]] with a backend is needed",
			"f:1:1: backend: is missing: at least one [backend.NAME] with servers is needed",
		}},
		{"single brackets", "[listener]\naddress = \":80\"\n" + route + backend, []string{
			"f:1:2: listener: may be there several times: write [[listener]], with double brackets",
		}},
		{"double brackets", "[[server]]\nloops = 1\n" + listener + route + backend, []string{
			"f:1:3: server: is one table: write [server], with single brackets",
		}},
		{"backend without a name", listener + route + "[backend]\nservers = [\"10.0.0.1\"]\n", []string{
			"f:6:1: backend.servers: belongs into a table with a name: write [backend.NAME]",
		}},
		{"backend in an array", listener + route + "[[backend]]\nservers = [\"10.0.0.1\"]\n", []string{
			"f:5:3: backend: has a name, which is part of its header: write [backend.NAME]",
		}},
		{"named backend in an array", listener + route + "[[backend.app]]\nservers = [\"10.0.0.1\"]\n", []string{
			"f:5:11: backend.app: is one table: write [backend.app], with single brackets",
		}},
		{"values for tables", "server = 1\nlistener = \":80\"\nroute = [1]\nbackend = \"app\"\n", []string{
			"f:1:10: server: 1 is not a table: write [server]",
			`f:2:12: listener: ":80" is not an array of tables: write [[listener]]`,
			"f:3:10: route[0]: 1 is not a table",
			`f:4:11: backend: "app" is not a table: write [backend.NAME]`,
		}},
		{"values for tables below others", listener + "socket = 1\n" + route + backend + "health = true\n", []string{
			"f:3:10: listener[0].socket: 1 is not a table: write [listener.socket]",
			"f:8:10: backend.app.health: true is not a table: write [backend.app.health]",
		}},
		{"a table below another in an array", listener + route + backend + "[[backend.app.health]]\n", []string{
			"f:7:15: backend.app.health: is one table: write [backend.app.health], with single brackets",
		}},
		{"a status for an array", listener + route + backend + "fail_on_status = 503\n", []string{
			`f:7:18: backend.app.fail_on_status: 503 is not an array of strings: write ["503"]`,
		}},
		{"a server in single brackets", listener + route + "[backend.app.server]\naddress = \"10.0.0.1\"\n", []string{
			"f:5:14: backend.app.server: may be there several times: write [[backend.app.server]], with double brackets",
		}},
		{"string for an array", listener + route + "[backend.app]\nservers = \"10.0.0.1\"\n", []string{
			`f:6:11: backend.app.servers: "10.0.0.1" is one string: write ["10.0.0.1"]`,
		}},
		{"table for an array", listener + route + "[backend.app.servers]\naddress = \"10.0.0.1\"\n", []string{
			`f:5:14: backend.app.servers: a table is not an array of strings`,
		}},
		{"tables for strings", listener + route + "[backend.app]\nservers = [{address = \"10.0.0.1\"}]\n", []string{
			`f:6:12: backend.app.servers[0]: is a table, not a string`,
		}},
		{"inline tables", "listener = [{address = \":80\"}]\nroute = [{backend = \"app\"}]\nbackend.app = {servers = [\"10.0.0.1\"]}\n", nil},
		{"dotted keys", "server.loops = 2\n" + listener + "timeouts.client_idle = \"5s\"\n" + route + backend, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.want == nil {
				parseOK(t, c.text, nil)
				return
			}
			if diff := cmp.Diff(c.want, strings.Split(problemsOf(t, c.text), "\n")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestUnknownKeysComeWithAHint(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"[sever]", `sever: unknown key; did you mean "server"?`},
		{"[[listeners]]", `listeners: unknown key; did you mean "listener"?`},
		{"[server]\nmaxconn = 1", `server.maxconn: unknown key; known here: loops, max_connections, drain_timeout`},
		{"[server]\nloop = 1", `server.loop: unknown key; did you mean "loops"?`},
		{"[timeouts]\nclinet_header = '1s'", `timeouts.clinet_header: unknown key; did you mean "client_header"?`},
		{"connect = '1s'", `connect: unknown key here; it belongs to [timeouts], [[route]], [route.timeouts] or [backend.NAME.timeouts]`},
		{"[server]\nheader_bytes = '1KiB'", `server.header_bytes: unknown key here; it belongs to [limits]`},
		{"[server]\nweight = 1", `server.weight: unknown key here; it belongs to [[backend.NAME.server]]`},
		{"[tls]\ncertificate = 'x'", `tls: unknown key; known here: server, timeouts, limits, http_parseopts, access_log, admin, resolver, listener, routing, route, error_page, backend`},
		{"\"\" = 1", `"": unknown key; known here`},
		{strings.Repeat("x", 100) + " = 1", `unknown key; known here`},
	} {
		if got := problemsOf(t, c.text); !strings.Contains(got, ": "+c.want) && !strings.Contains(got, c.want+";") {
			t.Errorf("%s\ngave\n%s\nwithout %s", c.text, got, c.want)
		}
	}
}

func TestAMisspeltKeyIsNotMissingToo(t *testing.T) {
	for _, text := range []string{
		strings.Replace(rest, "address", "adress", 1),
		strings.Replace(rest, "[[listener]]", "[[listner]]", 1),
		strings.Replace(rest, "[[route]]", "[[routes]]", 1),
		strings.Replace(rest, "[backend.app]", "[backnd.app]", 1),
		strings.Replace(rest, "servers", "serves", 1),
		strings.Replace(rest, "backend =", "bakend =", 1),
		strings.Replace(rest, "address = \":80\"", "nmae = \"web\"\naddress = \":80\"", 1),
		strings.Replace(strings.Replace(rest, "address = \":80\"", "nmae = \"web\"\naddress = \":80\"", 1), "[[route]]", "[[route]]\nlisteners = [\"web\"]", 1),
		strings.Replace(rest, "backend = \"app\"", "exclud = true", 1),
		rest + "[admin]\nadress = \":81\"\n",
	} {
		got := problemsOf(t, text)
		got = strings.ReplaceAll(got, "\nf:8:2: admin: is not available in this version: leave it out", "")
		got = strings.TrimPrefix(got, "f:8:2: admin: is not available in this version: leave it out\n")
		if strings.Contains(got, "\n") || !strings.Contains(got, "did you mean") {
			t.Errorf("%s\ngave\n%s", text, got)
		}
	}
}

func TestSpellingsOfKeys(t *testing.T) {
	plan := parseOK(t, `
[Server]
Max-Connections = 7
[access-log]
path = "off"
[[listener]]
address = ":80"
[[route]]
backend = "app"
[backend.app]
servers = ["10.0.0.1"]
disable-time = "3s"
TTL = "4s"
sMax = 5
[backend.app.timeouts]
backendread = "6s"
`, nil)
	b := plan.Backends[0]
	if plan.MaxConnections != 7 || plan.AccessLog != nil || b.IdleTTL.Seconds() != 4 || b.IdleMax != 5 || plan.Routes[0].Timeouts[0].BackendRead.Seconds() != 6 {
		t.Errorf("%+v %+v", plan, b)
	}

	got := problemsOf(t, rest+"disable-time = \"1s\"\ndisable_time = \"2s\"\n")
	if want := `f:9:1: backend.app.disable_time: is the same key as "disable-time", which is given already`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSpellingsOfOneTableAreDistinct(t *testing.T) {
	seen := make(map[string]string)
	for _, k := range keys() {
		id := k.table + " " + plain(k.name)
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s cannot be told apart", k.path, other)
		}
		seen[id] = k.path
		if k.table == "" {
			t.Errorf("%s belongs to no table", k.path)
		}
	}
	if len(seen) < 40 {
		t.Errorf("only %d keys", len(seen))
	}
}

func TestNearest(t *testing.T) {
	names := []string{"connect", "client_idle", "path", "ttl"}
	for word, want := range map[string]string{
		"conect": "connect", "connnect": "connect", "ocnnect": "connect", "clientidel": "client_idle",
		"paht": "path", "tl": "ttl", "port": "", "x": "", "unrelated": "", "": "",
	} {
		if got, ok := nearest(word, names); got != want || ok != (want != "") {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "abd", 1}, {"kitten", "sitting", 3}} {
		if got := edits(c.a, c.b); got != c.want {
			t.Errorf("%q to %q: got %d edits, want %d", c.a, c.b, got, c.want)
		}
	}
}
