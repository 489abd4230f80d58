package configs

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/balance"
	"millrace/loop"
)

// balanced is a file with a backend that has the given lines.
func balanced(lines string) string {
	return strings.Replace(rest, `servers = ["10.0.0.1"]`, lines, 1)
}

const two = "servers = ['10.0.0.1', '10.0.0.2']\n"

func TestProblemsOfBalancing(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{two + "balance = 'leastconn'", `f:8:11: backend.app.balance: "leastconn" is "least-connection" here`},
		{two + "balance = 'ip_hash'", `f:8:11: backend.app.balance: "ip_hash" is "sticky" here`},
		{two + "balance = 'roundrobin'", `f:8:11: backend.app.balance: "roundrobin" is "round-robin" here`},
		{two + "balance = 'hashed'", `f:8:11: backend.app.balance: "hashed" is not a way to balance: allowed are "fair"`},
		{two + "hash_key = 'path'", `f:8:1: backend.app.hash_key: has no effect with balance = "fair": it is for "hash" and "maglev"`},
		{two + "balance = 'sticky'\nhash_key = 'client'", `f:9:1: backend.app.hash_key: has no effect with balance = "sticky": it is for "hash" and "maglev"`},
		{two + "balance = 'hash'\nhash_key = 'host'", `f:9:12: backend.app.hash_key: "host" is no part of a request: allowed are "path", "uri", "client", "header:NAME", "cookie:NAME" and "query:NAME"`},
		{two + "balance = 'hash'\nhash_key = 'path:'", `"path:" is no part of a request`},
		{two + "balance = 'hash'\nhash_key = 'header:'", `backend.app.hash_key: "header:" has no name behind the colon: allowed are`},
		{two + "balance = 'hash'\nhash_key = 'cookie:a b'", `"cookie:a b" has no name behind the colon`},
		{two + "hash_balance_factor = 125", `f:8:1: backend.app.hash_balance_factor: has no effect with balance = "fair": it is for "hash", "sticky" and "maglev"`},
		{two + "balance = 'hash'\nhash_balance_factor = 100", `backend.app.hash_balance_factor: 100 is too small: allowed are 101 to 10000`},
		{two + "hash_compat = 'lighttpd'", `f:8:1: backend.app.hash_compat: has no effect with balance = "fair": it is for "hash" and "sticky"`},
		{two + "balance = 'maglev'\nhash_compat = 'lighttpd'", `backend.app.hash_compat: has no effect with balance = "maglev"`},
		{two + "balance = 'hash'\nhash_compat = 'nginx'", `f:9:15: backend.app.hash_compat: "nginx" is not known: allowed is "lighttpd"`},
		{two + "balance = 'hash'\nhash_compat = 'lighttpd'\nhash_key = 'uri'", `f:10:1: backend.app.hash_key: lighttpd hashes nothing but path and client: allowed with hash_compat are "path" and "client"`},
		{two + "balance = 'hash'\nhash_compat = 'lighttpd'\nhash_balance_factor = 150", `f:10:1: backend.app.hash_balance_factor: has no effect with hash_compat: lighttpd bounds nothing`},
		{"balance = 'hash'\nhash_compat = 'lighttpd'\n[[backend.app.server]]\naddress = '10.0.0.1'\nweight = 2", `f:11:1: backend.app.server[0].weight: has no effect with hash_compat: lighttpd has no weights`},
	} {
		got := problemsOf(t, balanced(c.lines))
		if !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%s\ngave\n%s\nwant only\n%s", c.lines, got, c.want)
		}
	}
}

func TestKeysGetIntoThePlan(t *testing.T) {
	for lines, want := range map[string]loop.Key{
		"":                                             {},
		"balance = 'random'":                           {},
		"balance = 'hash'":                             {Source: loop.KeyPath},
		"balance = 'carp'":                             {Source: loop.KeyPath},
		"balance = 'maglev'":                           {Source: loop.KeyPath},
		"balance = 'sticky'":                           {Source: loop.KeyClient},
		"balance = 'hash'\nhash_key = 'path'":          {Source: loop.KeyPath},
		"balance = 'hash'\nhash_key = 'uri'":           {Source: loop.KeyURI},
		"balance = 'maglev'\nhash_key = 'client'":      {Source: loop.KeyClient},
		"balance = 'hash'\nhash_key = 'header:X-User'": {Source: loop.KeyHeader, Name: "X-User"},
		"balance = 'hash'\nhash_key = 'cookie:SID'\nhash_balance_factor=101": {Source: loop.KeyCookie, Name: "SID"},
		"balance = 'hash'\nhash_key = 'query:u'":                             {Source: loop.KeyQuery, Name: "u"},
		"balance = 'hash'\nhash_compat = 'lighttpd'":                         {Source: loop.KeyPath, Lighttpd: true},
		"balance = 'sticky'\nhash_compat = 'lighttpd'":                       {Source: loop.KeyClient, Lighttpd: true},
	} {
		plan := parseOK(t, balanced(two+lines), nil)
		if got := plan.Backends[0].Key; got != want {
			t.Errorf("%s\ngave %+v, want %+v", lines, got, want)
		}
	}
}

// What lighttpd hashes of a server is its address as text, without brackets, and its port; or a socket's path.
func TestServersAsLighttpdHashesThem(t *testing.T) {
	for _, tt := range []struct{ servers, key, want string }{
		{"'10.0.0.1:81', '10.0.0.2:81'", "/a", "10.0.0.2:81"},
		{"'[2001:db8::1]:81', 'unix:/run/b'", "/a", "[2001:db8::1]:81"},
		{"'[2001:db8::1]:81', 'unix:/run/b'", "/b", "unix:/run/b"},
	} {
		plan := parseOK(t, balanced("servers = ["+tt.servers+"]\nbalance = 'hash'\nhash_compat = 'lighttpd'"), nil)
		g := plan.Backends[0].Group
		i, _ := g.Pick(0, balance.LighttpdKey([]byte(tt.key), []byte("www.example.org")), nil)
		if g.Name(i) != tt.want {
			t.Errorf("%s of %s goes to %s, want %s", tt.key, tt.servers, g.Name(i), tt.want)
		}
	}
}

func TestManyServersAreBetterHashedByATable(t *testing.T) {
	var list []string
	for i := range manyServers + 1 {
		list = append(list, fmt.Sprintf("'10.0.1.%d'", i))
	}
	for lines, warned := range map[string]bool{
		"balance = 'hash'\nservers = [" + strings.Join(list, ",") + "]":               true,
		"balance = 'sticky'\nservers = [" + strings.Join(list, ",") + "]":             true,
		"balance = 'maglev'\nservers = [" + strings.Join(list, ",") + "]":             false,
		"balance = 'random'\nservers = [" + strings.Join(list, ",") + "]":             false,
		"balance = 'hash'\nservers = [" + strings.Join(list[:manyServers], ",") + "]": false,
	} {
		var warnings Problems
		if _, err := Parse(t.Context(), "f", []byte(balanced(lines)), hosts{}, WithWarnings(&warnings)); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(warnings.Error(), "maglev takes the same time for any number of them"); got != warned {
			t.Errorf("%.20s: warned: %v, want %v (%v)", lines, got, warned, warnings)
		}
	}
}

func TestNoOtherWayMindsManyServers(t *testing.T) {
	list := make([]string, 1000)
	for i := range list {
		list[i] = fmt.Sprintf("'10.0.%d.%d'", i/100, i%100)
	}
	for _, algorithm := range balance.Algorithms() {
		if balance.Keyed(algorithm) && algorithm != "maglev" {
			continue
		}
		var warnings Problems
		lines := fmt.Sprintf("balance = '%s'\nservers = [%s]", algorithm, strings.Join(list, ","))
		if _, err := Parse(t.Context(), "f", []byte(balanced(lines)), hosts{}, WithWarnings(&warnings)); err != nil {
			t.Fatal(err)
		}
		if len(warnings) > 0 {
			t.Errorf("%s: %v", algorithm, warnings)
		}
	}
}

func TestProblemsOfSets(t *testing.T) {
	server := func(line string) string { return "[[backend.app.server]]\naddress = '10.0.0.1'\n" + line }
	for _, c := range []struct{ lines, want string }{
		{server("lbset = 100"), "f:9:9: backend.app.server[0].lbset: 100 is too large: allowed are 0 to 99"},
		{server("lbset = -1"), "f:9:9: backend.app.server[0].lbset: -1 is too small: allowed are 0 to 99"},
		{server("status = '+X'"), `f:9:10: backend.app.server[0].status: "+X" is not a status: allowed are the words "disabled"`},
		{two + "slow_start = '-1s'", `backend.app.slow_start: `},
		{two + "force_recovery = 'on'", `backend.app.force_recovery: "on" is neither true nor false`},
	} {
		got := problemsOf(t, balanced(c.lines))
		if !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%s\ngave\n%s\nwant only\n%s", c.lines, got, c.want)
		}
	}
}

func TestSetsGetIntoThePlan(t *testing.T) {
	var warnings Problems
	file := balanced("balance = 'first'\n[[backend.app.server]]\naddress = '10.0.0.1'\nlbset = 1\n" +
		"[[backend.app.server]]\naddress = '10.0.0.2'\nstatus = 'standby'\n[[backend.app.server]]\naddress = '10.0.0.3'\nstatus = '-H+D'")
	plan, err := Parse(t.Context(), "f", []byte(file), hosts{}, WithWarnings(&warnings))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	g := plan.Backends[0].Group
	for _, want := range []string{"10.0.0.2:80", "10.0.0.1:80"} {
		i, ok := g.Pick(0, balance.NoKey, nil)
		if !ok || g.Name(i) != want {
			t.Fatalf("picked %s, %v, want %s", g.Name(i), ok, want)
		}
		g.Done(i, balance.OutcomeConnectFailed, 0)
	}
	if _, ok := g.Pick(0, balance.NoKey, nil); ok {
		t.Error("the disabled server was picked")
	}

	file = balanced("[[backend.app.server]]\naddress = '10.0.0.1'\nstatus = 'drain'\n[[backend.app.server]]\naddress = '10.0.0.2'\nstatus = 'S'")
	if _, err := Parse(t.Context(), "f", []byte(file), hosts{}, WithWarnings(&warnings)); err != nil {
		t.Fatal(err)
	}
	if want := "f:6:10: backend.app: each of its servers is disabled, stopped or draining: all requests get 503"; warnings.Error() != want {
		t.Errorf("warnings %v, want %s", warnings, want)
	}
}

func TestProblemsOfFailing(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{two + "max_fails = 0", "f:8:13: backend.app.max_fails: 0 is too small: allowed are 1 to 1000"},
		{two + "max_attempts = 1001", "backend.app.max_attempts: 1001 is too large: allowed are 0 for no limit, or 1 to 1000"},
		{two + "ping = '1'", "backend.app.ping"},
		{two + "retry_budget = 101", "backend.app.retry_budget: 101 is too large: allowed are 0 for no limit, or 1 to 100"},
		{two + "fail_on_status = ['500', '199']", `f:8:26: backend.app.fail_on_status[1]: "199" is not a status from 200 to 599`},
		{two + "fail_on_status = [500]", `500 is not a string: write "500"`},
		{two + "retry_on = ['connect', 'conn-failure']", `f:8:24: backend.app.retry_on[1]: "conn-failure" is "connect" here`},
		{two + "retry_on = ['reset-before-headers']", `f:8:13: backend.app.retry_on[0]: "reset-before-headers" is "closed" here`},
		{two + "retry_on = ['5xx']", `f:8:13: backend.app.retry_on[0]: "5xx" is "500-599" here`},
		{two + "retry_on = ['connect', 'all']", `f:8:24: backend.app.retry_on[1]: "all" is nothing to try again on: allowed are "connect", "closed", "timeout", statuses from 400 to 599 and ranges of them such as "502-504"`},
		{two + "retry_on = ['304-503']", `backend.app.retry_on[0]: "304-503" has statuses that are no errors: allowed are those from 400 to 599`},
	} {
		got := problemsOf(t, balanced(c.lines))
		if !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%s\ngave\n%s\nwant only\n%s", c.lines, got, c.want)
		}
	}
}

func TestFailingGetsIntoThePlan(t *testing.T) {
	b := parseOK(t, balanced(two), nil).Backends[0]
	if b.FailOnStatus != nil || b.FailOnTimeout || b.RetryOn != loop.RetryConnect|loop.RetryClosed || b.MaxAttempts != 0 || b.Budget == nil {
		t.Errorf("defaults: %+v", b)
	}
	b = parseOK(t, balanced(two+"fail_on_status = ['500', '502-504']\nfail_on_timeout = true\nretry_on = ['timeout', 'closed']\n"+
		"max_attempts = 3\nretry_budget = 20\nbalance = 'first'\nmax_fails = 2"), nil).Backends[0]
	for status := 200; status < 600; status++ {
		if got, want := b.FailOnStatus.Has(status), status == 500 || status >= 502 && status <= 504; got != want {
			t.Errorf("fail_on_status has %d: %v", status, got)
		}
	}
	if !b.FailOnTimeout || b.RetryOn != loop.RetryTimeout|loop.RetryClosed || b.MaxAttempts != 3 || b.Budget == nil {
		t.Errorf("given: %+v", b)
	}
	for n, rests := range []bool{false, true} {
		b.Group.Pick(0, balance.NoKey, nil)
		b.Group.Done(0, balance.OutcomeUnfit, 0)
		if b.Group.Resting(0, 0) != rests {
			t.Errorf("after %d failures it rests: %v", n+1, !rests)
		}
	}
	b = parseOK(t, balanced(two+"retry_on = ['connect', '421', '502-504']"), nil).Backends[0]
	for status := 200; status < 600; status++ {
		if got, want := b.RetryStatus.Has(status), status == 421 || status >= 502 && status <= 504; got != want {
			t.Errorf("a request is tried again after %d: %v", status, got)
		}
	}
	if b.Ping != 0 || parseOK(t, balanced(two+"ping = '500ms'"), nil).Backends[0].Ping != 500*time.Millisecond {
		t.Error("ping is lost")
	}
	if b.RetryOn != loop.RetryConnect {
		t.Errorf("it is tried again on %v", b.RetryOn)
	}
	if on := parseOK(t, balanced(two+"retry_on = []"), nil).Backends[0].RetryOn; on != 0 {
		t.Errorf("an empty list tries again on %v", on)
	}
}

func TestWhoNeverRestsNeedsNoOptionsOfResting(t *testing.T) {
	for _, line := range []string{"max_fails = 2", "fail_on_status = ['500']", "fail_on_timeout = true", "slow_start = '1s'", "force_recovery = true"} {
		var warnings Problems
		if _, err := Parse(t.Context(), "f", []byte(balanced(two+"disable_time = '0'\n"+line)), hosts{}, WithWarnings(&warnings)); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(warnings.Error(), `has no effect with disable_time = "0": no server ever rests`) {
			t.Errorf("%s: warnings %v", line, warnings)
		}
	}
}

// Servers that never rest come back all the same: to ejection, health checks, and with their names.
func TestWhoNeverRestsMayStartSlowly(t *testing.T) {
	const slow = "disable_time = '0'\nslow_start = '1s'\n"
	for _, lines := range []string{
		two + slow + "[backend.app.ejection]",
		two + slow + "[backend.app.health]",
		"servers = ['a.example']\n" + slow,
	} {
		var warnings Problems
		if _, err := Parse(t.Context(), "f", []byte(balanced(lines)), hosts{"a.example": {"10.0.0.1", "10.0.0.2"}}, WithWarnings(&warnings)); err != nil {
			t.Fatal(err)
		}
		if len(warnings) > 0 {
			t.Errorf("%s\nwarnings %v", lines, warnings)
		}
	}
}
