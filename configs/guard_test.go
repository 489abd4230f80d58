package configs

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"millrace/loop"
	"millrace/remap"
)

func TestWhoMayComeGetsIntoThePlan(t *testing.T) {
	plan := parseOK(t, `
[server]
memory_limit = "1GiB"
user = "www-data"
group = "4"
sandbox = true
[[listener]]
address = ":80"
allow = ["10.0.0.0/8", "::1"]
deny = ["10.9.9.9"]
trusted_proxies = ["10.1.0.0/16"]
trusted_header = "forwarded"
rate = "600/m"
[[listener]]
address = "unix:/run/x"
trusted_proxies = ["unix:"]
deny = ["192.0.2.0/24"]
[[route]]
path = "/a"
backend = "app"
rate = "5/s"
rate_burst = 1
rate_key = "Host"
[[route]]
backend = "app"
rate = "7200/h"
rate_key = "X-Api-Key"
[backend.app]
servers = ["10.0.0.1"]
disable_time = "1500ms"
`, nil)
	if plan.MemoryLimit != 1<<30 || plan.Privileges != (loop.Privileges{User: "www-data", Group: "4", Sandbox: true}) {
		t.Errorf("server: %d, %+v", plan.MemoryLimit, plan.Privileges)
	}
	l := plan.Listeners[0]
	in := func(s *loop.AddrSet, a string) bool { return s.Contains(netip.MustParseAddr(a)) }
	if !in(l.Guard.Allow, "10.3.2.1") || !in(l.Guard.Allow, "::1") || in(l.Guard.Allow, "11.0.0.1") || !in(l.Guard.Deny, "10.9.9.9") || in(l.Guard.Deny, "10.9.9.8") {
		t.Errorf("guard: %+v", l.Guard)
	}
	if l.Trust == nil || l.Trust.Unix || l.Trust.Chain != remap.ChainForwarded || !in(l.Trust.Proxies, "10.1.2.3") {
		t.Errorf("trust: %+v", l.Trust)
	}
	if r := *l.Guard.Rate; r.Interval != 100*time.Millisecond || r.Burst != 600 || r.Key != loop.RateByClient {
		t.Errorf("rate: %+v", r)
	}
	if tr := plan.Listeners[1].Trust; !tr.Unix || tr.Proxies != nil || tr.Chain != remap.ChainXForwardedFor {
		t.Errorf("trust: %+v", tr)
	}
	a, b := *plan.Routes[0].Guard.Rate, *plan.Routes[1].Guard.Rate
	if a.Interval != 200*time.Millisecond || a.Burst != 1 || a.Key != loop.RateByHost {
		t.Errorf("rate: %+v", a)
	}
	if b.Interval != 500*time.Millisecond || b.Burst != 7200 || b.Key != loop.RateByField || string(b.Field) != "x-api-key" {
		t.Errorf("rate: %+v", b)
	}
	if a.ID == b.ID || a.ID == l.Guard.Rate.ID {
		t.Error("two limits have one number")
	}
	if n := plan.Backends[0].RetryAfter; n != 2 {
		t.Errorf("Retry-After: %d", n)
	}
}

func TestWithoutLimitsThereIsNothingToCheck(t *testing.T) {
	plan := parseOK(t, rest, nil)
	if plan.Listeners[0].Guard != nil || plan.Listeners[0].Trust != nil || plan.Routes[0].Guard != nil {
		t.Errorf("%+v %+v", plan.Listeners[0], plan.Routes[0])
	}
}

func TestWrongLimitsAreReported(t *testing.T) {
	listener := func(lines string) string {
		return "[[listener]]\naddress = \":80\"\n" + lines + "\n[[route]]\nbackend = \"app\"\n[backend.app]\nservers = [\"10.0.0.1\"]\n"
	}
	tests := []struct{ file, want string }{
		{listener(`allow = ["10.0.0.1/8"]`), `f:3:10: listener[0].allow[0]: "10.0.0.1/8" has bits behind its prefix: write "10.0.0.0/8" for the network, or "10.0.0.1" for the address`},
		{listener(`deny = ["example.org"]`), `"example.org" is neither an address nor a network`},
		{listener(`deny = []`), "is empty"},
		{listener(`trusted_proxies = []`), "is empty"},
		{listener(`trusted_proxies = ["unix:"]`), `"unix:" is for a listener on a unix socket`},
		{listener(`trusted_header = "Forwarded"`), "has no effect without trusted_proxies"},
		{listener("trusted_proxies = [\"::1\"]\ntrusted_header = \"Via\""), `"Via" is not a field that names clients`},
		{listener(`rate = "100"`), `"100" is not a rate: write a number and a period, such as "100/s"`},
		{listener(`rate = "0/s"`), "out of range"},
		{listener(`rate = "99999999999999999999/s"`), "out of range"},
		{listener(`rate_burst = 3`), "has no effect without rate"},
		{listener(`rate_key = "host"`), "has no effect without rate"},
		{listener("rate = \"1/s\"\nrate_burst = 0"), "0 is too small"},
		{listener("rate = \"1/s\"\nrate_key = \"a b\""), `"a b" is not a key: allowed are "client", "host" and the name of a field`},
		{strings.Replace(listener(`deny = ["10.0.0.1"]`), `":80"`, `"unix:/run/x"`, 1), "has no effect on a unix socket"},
		{strings.Replace(listener(""), "backend = \"app\"\n", "backend = \"app\"\n[[route]]\nexclude = true\ndeny = [\"::1\"]\n", 1), "has no effect with exclude = true"},
		{"[server]\nuser = \"\"" + rest, "is neither a name nor a number"},
		{"[server]\nmemory_limit = \"1MiB\"" + rest, "too small"},
		{"[limits]\nconnections_per_client = -1" + rest, "too small"},
		{"[limits]\nclient_rate = \"1GiB\"" + rest, "too large"},
	}
	for _, test := range tests {
		got := problemsOf(t, test.file)
		if !strings.Contains(got, test.want) || strings.Contains(got, "\n") {
			t.Errorf("%s\ngot  %s\nwant %s", test.file, got, test.want)
		}
	}
}
