package configs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"millrace/balance"
	"millrace/internal/resolve"
	"millrace/loop"
)

// resolverFunc is a function as a Resolver.
type resolverFunc func(ctx context.Context, host string) ([]netip.Addr, error)

func (f resolverFunc) Lookup(ctx context.Context, q resolve.Query) (a resolve.Answer, err error) {
	addrs, err := f(ctx, q.Name)
	for _, addr := range addrs {
		a.Records = append(a.Records, resolve.Record{Addr: addr, Host: q.Name})
	}
	return a, err
}

// Watch is not for compiling.
func (f resolverFunc) Watch(context.Context, resolve.Query, resolve.Answer, func(resolve.Answer, error)) {
	panic("its answers do not change")
}

// withServers is a configuration whose one backend has the given servers.
func withServers(servers ...string) []byte {
	return []byte(strings.Replace(rest, `"10.0.0.1"`, `"`+strings.Join(servers, `", "`)+`"`, 1))
}

// BL-22: there is no proxy without its servers, and whoever starts it is told which of them it is.
func TestNamesThatCannotBeResolved(t *testing.T) {
	r := resolverFunc(func(_ context.Context, host string) ([]netip.Addr, error) {
		switch host {
		case "missing.example":
			return nil, resolve.ErrNotFound
		case "broken.example":
			return nil, errors.New("read udp: connection refused")
		}
		return nil, nil
	})
	plan, err := Parse(t.Context(), "f", withServers("missing.example", "broken.example:81", "empty.example", "MISSING.example:82"), r)
	want := `f:7:12: backend.app.servers[0]: "missing.example" cannot be resolved: no such host
f:7:31: backend.app.servers[1]: "broken.example" cannot be resolved: read udp: connection refused
f:7:52: backend.app.servers[2]: "empty.example" cannot be resolved: the name has no usable address
f:7:69: backend.app.servers[3]: "missing.example" cannot be resolved: no such host`
	if plan != nil || err == nil || err.Error() != want {
		t.Errorf("got plan %v and\n%v\nwant\n%s", plan, err, want)
	}
}

func TestANameIsLookedUpOnce(t *testing.T) {
	var mu sync.Mutex
	asked := make(map[string]int)
	r := resolverFunc(func(_ context.Context, host string) ([]netip.Addr, error) {
		mu.Lock()
		defer mu.Unlock()
		asked[host]++
		return []netip.Addr{netip.MustParseAddr("10.0.0.2")}, nil
	})
	plan, err := Parse(t.Context(), "f", withServers("app.example:1", "app.example:2", "App.Example:3"), r)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Backends[0].Servers) != 3 || len(asked) != 1 || asked["app.example"] != 1 {
		t.Errorf("%d servers, asked for %v", len(plan.Backends[0].Servers), asked)
	}
}

func TestNamesAreResolvedConcurrentlyAndNotAllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		r := resolverFunc(func(context.Context, string) ([]netip.Addr, error) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			<-time.After(time.Second) // of the bubble, which nobody waits for
			mu.Lock()
			now--
			mu.Unlock()
			return []netip.Addr{netip.MustParseAddr("10.0.0.2")}, nil
		})
		var names []string
		for i := range 3 * resolveAtOnce {
			names = append(names, fmt.Sprintf("app%d.example", i))
		}
		start := time.Now()
		if _, err := Parse(t.Context(), "f", withServers(names...), r); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); most != resolveAtOnce || took != 3*time.Second {
			t.Errorf("%d at once, in %v", most, took)
		}
	})
}

func TestANameServerThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := resolverFunc(func(ctx context.Context, host string) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		start := time.Now()
		_, err := Parse(t.Context(), "f", withServers("app.example"), r)
		want := `f:7:12: backend.app.servers[0]: "app.example" cannot be resolved: no answer within 10s`
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if took := time.Since(start); took != resolveTimeout {
			t.Errorf("gave up after %v", took)
		}
	})
}

func TestResolvingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	r := resolverFunc(func(ctx context.Context, _ string) ([]netip.Addr, error) {
		cancel(errors.New("interrupted"))
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if _, err := Parse(ctx, "f", withServers("app.example"), r); err == nil || !strings.HasSuffix(err.Error(), "cannot be resolved: context canceled") {
		t.Errorf("got %v", err)
	}
}

func TestNoNamesNoResolver(t *testing.T) {
	r := resolverFunc(func(_ context.Context, host string) ([]netip.Addr, error) {
		t.Errorf("asked for %s", host)
		return nil, nil
	})
	if _, err := Parse(t.Context(), "f", withServers("10.0.0.1", "[::1]:81", "unix:/a"), r); err != nil {
		t.Error(err)
	}
}

// answers is a Resolver that knows what is in it, by the form that a file has.
type answers map[string][]resolve.Record

func (a answers) Lookup(_ context.Context, q resolve.Query) (resolve.Answer, error) {
	if records, ok := a[q.String()]; ok {
		return resolve.Answer{Records: records, TTL: time.Minute}, nil
	}
	return resolve.Answer{}, resolve.ErrNotFound
}

// Watch is not for compiling.
func (a answers) Watch(context.Context, resolve.Query, resolve.Answer, func(resolve.Answer, error)) {
	panic("its answers do not change")
}

func record(addr string, port, priority, weight uint16, host string) resolve.Record {
	return resolve.Record{Addr: netip.MustParseAddr(addr), Port: port, Priority: priority, Weight: weight, Host: host}
}

// shown is what a backend's servers are, as text.
func shown(servers []*loop.BackendServer, members []balance.Server) string {
	var lines []string
	for i, s := range servers {
		lines = append(lines, fmt.Sprintf("%s host %s weight %d set %d", s.Name, s.Host, members[i].Weight, members[i].Set))
	}
	return strings.Join(lines, "\n")
}

func TestServicesBecomeServers(t *testing.T) {
	service := resolve.Query{Name: "_http._tcp.example", Service: true}
	plan, err := Parse(t.Context(), "f", withServers("srv:_HTTP._tcp.example", "10.0.0.9:81"), answers{
		"srv:_http._tcp.example": {
			record("10.0.0.1", 80, 0, 10, "a.example"), record("10.0.0.2", 8080, 0, 0, "b.example"), record("fd00::1", 80, 7, 65535, "c.example"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	b := plan.Backends[0]
	if len(b.Servers) != 4 || b.Servers[3].ID != 3 || b.Group.Len() != 4 || plan.Resolver == nil {
		t.Fatalf("%d servers, the last has ID %d", len(b.Servers), b.Servers[3].ID)
	}
	if got := b.Names.First[service]; len(b.Names.Queries) != 1 || b.Names.Queries[0] != service || len(got.Records) != 3 {
		t.Errorf("queries %v, answers %v", b.Names.Queries, b.Names.First)
	}
	for _, tt := range []struct {
		records []resolve.Record
		want    string
	}{
		{
			b.Names.First[service].Records,
			`10.0.0.1:80 host a.example weight 1 set 0
10.0.0.2:8080 host b.example:8080 weight 1 set 0
[fd00::1]:80 host c.example weight 1000 set 7
10.0.0.9:81 host 10.0.0.9:81 weight 1 set 0`,
		},
		{
			[]resolve.Record{record("10.0.0.9", 81, 3, 20, "a.example"), record("10.0.0.1", 80, 3, 1000, "b.example")},
			`10.0.0.9:81 host a.example:81 weight 20 set 3
10.0.0.1:80 host b.example weight 1000 set 3`,
		},
		{nil, "10.0.0.9:81 host 10.0.0.9:81 weight 1 set 0"},
	} {
		got := shown(b.Names.Servers(map[resolve.Query][]resolve.Record{service: tt.records}))
		if got != tt.want {
			t.Errorf("got\n%s\nwant\n%s", got, tt.want)
		}
	}
}

func TestANameThatMayBeFoundLater(t *testing.T) {
	var warnings Problems
	file := append(withServers("app.example", "10.0.0.1"), "resolve = 'later'\n"...)
	plan, err := Parse(t.Context(), "f", file, answers{}, WithWarnings(&warnings))
	if err != nil {
		t.Fatal(err)
	}
	if want := `f:7:12: backend.app.servers[0]: "app.example" cannot be resolved: no such host; its backend goes on without it until it can be`; len(warnings) != 1 || warnings[0].String() != want {
		t.Errorf("warnings %v", warnings)
	}
	if b := plan.Backends[0]; len(b.Servers) != 1 || len(b.Names.Queries) != 1 || len(b.Names.First) != 0 {
		t.Errorf("%d servers, queries %v, answers %v", len(b.Servers), b.Names.Queries, b.Names.First)
	}
	// Without any server at all.
	plan, err = Parse(t.Context(), "f", append(withServers("app.example"), "resolve = 'later'\n"...), answers{})
	if err != nil {
		t.Fatal(err)
	}
	if b := plan.Backends[0]; len(b.Servers) != 0 || b.Group.Len() != 0 {
		t.Errorf("%d servers", len(b.Servers))
	}
}

func TestBackendsWithoutNamesAskNobody(t *testing.T) {
	plan, err := Parse(t.Context(), "f", withServers("10.0.0.1"), answers{})
	if err != nil {
		t.Fatal(err)
	}
	if plan.Backends[0].Names != nil {
		t.Error("there are names")
	}
}

func TestWhatIsSaidOfResolving(t *testing.T) {
	known := answers{"srv:s.example": {record("10.0.0.1", 80, 0, 1, "a.example")}, "app.example": {record("10.0.0.1", 0, 0, 0, "")}}
	for _, tt := range []struct{ lines, want string }{
		{"[resolver]\nnameservers = ['10.0.0.53', '10.0.0.54:5353', 'fd00::53', '[fd00::54]:5353', 'fe80::1%eth0']\ntimeout = '2s'\nmin_ttl = '1s'\nmax_ttl = '1s'", ""},
		{"[resolver]\nnameservers = ['ns.example']", `f:11:16: resolver.nameservers[0]: "ns.example" is not the address of a name server: allowed are "10.0.0.53", "10.0.0.53:5353", "fd00::53" and "[fd00::53]:5353"`},
		{"[resolver]\nnameservers = ['10.0.0.53:0', ':53']", `f:11:16: resolver.nameservers[0]: "10.0.0.53:0" is not the address of a name server: allowed are "10.0.0.53", "10.0.0.53:5353", "fd00::53" and "[fd00::53]:5353"
f:11:31: resolver.nameservers[1]: ":53" is not the address of a name server: allowed are "10.0.0.53", "10.0.0.53:5353", "fd00::53" and "[fd00::53]:5353"`},
		{"[resolver]\nnameservers = ['10.0.0.53', '10.0.0.53:53']", `f:11:29: resolver.nameservers[1]: "10.0.0.53:53" is listed twice`},
		{"[resolver]\nnameservers = []", `f:11:15: resolver.nameservers: is empty: list at least one address, or leave it out for those of resolv.conf`},
		{"[resolver]\ntimeout = '0'", `f:11:11: resolver.timeout: "0" is too small: allowed are 1ms to 720h`},
		{"[resolver]\nmin_ttl = '0'\nmax_ttl = '8d'", `f:11:11: resolver.min_ttl: "0" is too small: allowed are 1ms to 168h
f:12:11: resolver.max_ttl: "8d" is not a duration: write a number and a unit, such as "8s", "500ms" or "1h30m" (units: ms, s, m, h)`},
		{"[resolver]\nmax_ttl = '500ms'", `f:11:11: resolver.max_ttl: min_ttl, 1s, is more than max_ttl, 500ms`},
		{"[resolver]\nmin_ttl = '2h'", `f:11:11: resolver.min_ttl: min_ttl, 2h, is more than max_ttl, 1h`},
		{"[backend.b]\nservers = ['app.example']\nresolve = 'never'", `f:12:11: backend.b.resolve: "never" is not a time to resolve: allowed are "start" or "later"`},
		{"[backend.b]\nservers = ['srv:s.example', 'app.example:81']", ""},
		{"[backend.b]\nservers = ['srv:s.example:80']", `f:11:12: backend.b.servers[0]: "srv:s.example:80" has a port, which the records of a service say: write "srv:s.example"`},
		{"[backend.b]\nservers = ['srv:', 'srv:a b']", `f:11:12: backend.b.servers[0]: "srv:" is not a service: a label of the host name is empty; allowed are names such as "srv:_http._tcp.example.org"
f:11:20: backend.b.servers[1]: "srv:a b" is not a service: ' ' cannot be in a host name; allowed are names such as "srv:_http._tcp.example.org"`},
		{"[backend.b]\nservers = ['srv:s.example', 'srv:S.example']", `f:11:29: backend.b.servers[1]: "srv:S.example" is listed twice (f:11:12)`},
		{"[[backend.b.server]]\naddress = 'srv:s.example'\nweight = 2\nlbset = 1", `f:12:1: backend.b.server[0].weight: has no effect with "srv:s.example": the records of a service say it of each of its servers
f:13:1: backend.b.server[0].lbset: has no effect with "srv:s.example": the records of a service say it of each of its servers`},
		{"[backend.b]\nservers = ['srv:s.example']\nbalance = 'hash'\nhash_compat = 'lighttpd'", `f:11:12: backend.b.servers[0]: "srv:s.example" has weights, and lighttpd places keys without: it is not for a backend with hash_compat`},
	} {
		text := strings.TrimSuffix(rest, "\n") + "\n" + tt.lines + "\n"
		if n := strings.Count(rest, "\n"); n < 9 {
			text = strings.TrimSuffix(rest, "\n") + strings.Repeat("\n", 10-n) + tt.lines + "\n"
		}
		_, err := Parse(t.Context(), "f", []byte(text), known)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s\ngave\n%s\nwant\n%s", tt.lines, got, tt.want)
		}
	}
	// srv is a name as well.
	plan, err := Parse(t.Context(), "f", withServers("srv:81"), answers{"srv": {record("10.0.0.1", 0, 0, 0, "srv")}})
	if err != nil || plan.Backends[0].Servers[0].Name != "10.0.0.1:81" {
		t.Errorf("%v", err)
	}
}

func TestAddressesThatAreOneServer(t *testing.T) {
	known := answers{
		"app.example":   {record("10.0.0.1", 0, 0, 0, "app.example"), record("fd00::1", 0, 0, 0, "app.example")},
		"srv:s.example": {record("10.0.0.2", 80, 0, 3, "a.example"), record("10.0.0.3", 80, 0, 3, "a.example"), record("10.0.0.3", 81, 1, 3, "a.example")},
	}
	for _, tt := range []struct{ line, want string }{
		{"", "10.0.0.1:8080= [fd00::1]:8080= 10.0.0.9:80= 10.0.0.2:80= 10.0.0.3:80= 10.0.0.3:81="},
		{
			"split_hostnames = false\n",
			"10.0.0.1:8080=app.example:8080 [fd00::1]:8080=app.example:8080 10.0.0.9:80= 10.0.0.2:80=a.example:80 10.0.0.3:80=a.example:80 10.0.0.3:81=a.example:81",
		},
	} {
		plan, err := Parse(t.Context(), "f", append(withServers("app.example:8080", "10.0.0.9", "srv:s.example"), tt.line...), known)
		if err != nil {
			t.Fatal(err)
		}
		n := plan.Backends[0].Names
		found := make(map[resolve.Query][]resolve.Record)
		for q, a := range n.First {
			found[q] = a.Records
		}
		servers, members := n.Servers(found)
		var got []string
		for i, s := range servers {
			got = append(got, s.Name+"="+members[i].Of)
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.line, got, tt.want)
		}
	}
	var warnings Problems
	if _, err := Parse(t.Context(), "f", append(withServers("10.0.0.1"), "split_hostnames = false\n"...), known, WithWarnings(&warnings)); err != nil ||
		len(warnings) != 1 || warnings[0].String() != "f:8:19: backend.app.split_hostnames: has no effect: no server of this backend is given by name" {
		t.Errorf("%v, warnings %v", err, warnings)
	}
}

// Each server that a name comes to has the max of its entry, whenever it comes.
func TestNamesOfServersWithAMax(t *testing.T) {
	const file = "[[listener]]\naddress = ':80'\n[[route]]\nbackend = 'app'\n[backend.app]\nresolve = 'later'\nmax = 3\n" +
		"[[backend.app.server]]\naddress = 'app.internal:80'\n[[backend.app.server]]\naddress = 'more.internal:80'\nmax = 5\n"
	b := parseOK(t, file, hosts{"app.internal": {"10.0.0.1", "10.0.0.3"}}).Backends[0]
	if b.Limit == nil {
		t.Fatal("there is no limit")
	}
	most := func(servers []*loop.BackendServer) string {
		var list []string
		for _, s := range servers {
			list = append(list, fmt.Sprint(s.Name, " ", s.Max))
		}
		return strings.Join(list, ", ")
	}
	if got := most(b.Servers); got != "10.0.0.1:80 3, 10.0.0.3:80 3" {
		t.Errorf("at first: %s", got)
	}
	servers, _ := b.Names.Servers(map[resolve.Query][]resolve.Record{
		{Name: "app.internal"}:  {record("10.0.0.3", 0, 0, 0, "app.internal")},
		{Name: "more.internal"}: {record("10.0.0.7", 0, 0, 0, "more.internal")},
	})
	if got := most(servers); got != "10.0.0.3:80 3, 10.0.0.7:80 5" {
		t.Errorf("later: %s", got)
	}
}
