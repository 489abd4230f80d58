package configs

import (
	"strings"
	"testing"
)

func TestSyntaxErrorsHaveTheirPosition(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"word without quotes", "[server]\nloops = four\n", `f:2:9: expected value but found "four" instead; text goes in quotes, such as "8s"`},
		{"duration without quotes", "[server]\ndrain_timeout = 30s\n", `f:2:19: `},
		{"address without quotes", "a = 127.0.0.1:80\n", `text goes in quotes`},
		{"path without quotes", "a = /api\n", `f:1:5: `},
		{"string without an end", "a = 1\nb = \"abc\nc = 1\n", "f:2:9: strings cannot contain newlines"},
		{"escape in a pattern", "pattern = \"^/(.*)\\.do$\"\n", `f:1:18: invalid escape in string '\.'; in single quotes a backslash is only itself: '\.'`},
		{"header without an end", "[server\nloops = 1\n", "f:1:8: expected '.' or ']' to end table name"},
		{"no equals sign", "loops 4\n", "f:1:7: expected '.' or '='"},
		{"no value", "loops =\n", `f:1:8: expected value but found '\n' instead`},
		{"typographic quotes", "name = “web”\n", "f:1:8: expected value but found '“' instead"},
		{"comma missing", "a = [\"x\"\n\"y\"]\n", "f:2:1: expected a comma"},
		{"key given twice", "a = 1\nb = 2\na = 3\n", "f:3:1: key 'a' has already been defined."},
		{"table given twice", "[server]\n[limits]\n[server]\n", "f:3:2: key 'server' has already been defined."},
		{"table and array", "[listener]\n[[listener]]\n", "f:2:3: key 'listener' was already created and cannot be used as an array."},
		{"number too large", "a = 99999999999999999999\n", "f:1:5: 99999999999999999999 is out of range for int64"},
		{"no such date", "a = 2024-13-40\n", `f:1:5: invalid datetime`},
		{"zero byte", "a = 1\nb = \"x\x00\"\n", "f:2:7: TOML files cannot contain control characters"},
		{"not UTF-8", "a = 1\n# \xff\n", "f:2:3: invalid UTF-8 byte: 0xff"},
		{"UTF-16", "\xff\xfea\x00=\x001\x00", "f:1:1: "},
		{"only the first of several", "a = \nb = \n", "f:1:5: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := problemsOf(t, c.text)
			if !strings.HasPrefix(got, c.want) && !strings.Contains(got, "; "+c.want) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if strings.Contains(got, "\n") {
				t.Errorf("more than one problem:\n%s", got)
			}
		})
	}
}

func TestDeepNestingIsRefused(t *testing.T) {
	for _, open := range []string{"[", "{a=", "[{a="} {
		got := problemsOf(t, "a = "+strings.Repeat(open, 4<<20/len(open)))
		if !strings.Contains(got, "nested more than the maximum of 10000 levels") {
			t.Errorf("%.200s", got)
		}
	}
}

func TestByteOrderMarkAndLineEnds(t *testing.T) {
	parseOK(t, "\xef\xbb\xbf"+strings.ReplaceAll(rest, "\n", "\r\n"), nil)
	got := problemsOf(t, "\xef\xbb\xbfloops = 1\r\n"+strings.ReplaceAll(rest, "\n", "\r\n")+"x = 1\r\n")
	want := "f:1:1: loops: unknown key here; it belongs to [server]\nf:9:1: backend.app.x: unknown key; known here: balance, hash_key, hash_compat, hash_balance_factor, servers, server, resolve, split_hostnames, ttl, smax, min_idle, max, queue, queue_timeout, queue_order, server_wait_timeout, max_requests, max_age, disable_reuse, disable_time, max_fails, fail_on_status, fail_on_timeout, slow_start, force_recovery, retry_on, max_attempts, retry_budget, ping, sticky_session, sticky_session_sep, scolon_path_delim, sticky_header, sticky_cookie, no_failover, send_proxy, send_proxy_tlv, timeouts, health, ejection, socket"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestPositionsOfEveryFormOfTable(t *testing.T) {
	// Each bad key stands where the column that its value has says.
	for _, c := range []struct{ text, want string }{
		{"[server]\n  bad1 = 1", "f:2:3: server.bad1: "},
		{"server = { loops = 1, bad2 = 1 }", "f:1:23: server.bad2: "},
		{"server.bad3 = 1", "f:1:8: server.bad3: "},
		{"[ \"server\" ]\n'bad4' = 1", "f:2:1: server.bad4: "},
		{"[[listener]]\n[[listener]]\nbad5 = 1", "f:3:1: listener[1].bad5: "},
		{"[[listener]]\n[listener.timeouts]\nbad6 = 1", "f:3:1: listener[0].timeouts.bad6: "},
		{"[[listener]]\n[[listener]]\ntimeouts.bad7 = 1", "f:3:10: listener[1].timeouts.bad7: "},
		{"listener = [{address = ':1'},\n  {address = ':2', bad8 = 1}]", "f:2:20: listener[1].bad8: "},
		{"[backend.a]\n[[backend.a.server]]\n[[backend.a.server]]\nbad9 = 1", "f:4:1: backend.a.server[1].bad9: "},
		{"[backend]\na = { servers = ['x'], bad10 = 1 }", "f:2:24: backend.a.bad10: "},
		{"[backend.\"a b\".timeouts]\nbad11 = 1", "f:2:1: backend.\"a b\".timeouts.bad11: "},
		{"[timeouts]\nconnect = [\n  1]", "f:2:11: timeouts.connect: an array"},
		{"[backend.a]\nservers = [\n  'x', # one\n\n  7]", "f:5:3: backend.a.servers[1]: 7"},
		{"[backend.a]\nservers = [['x']]", "f:2:11: backend.a.servers[0]: an array"},
		{"[server]\nloops = \"\"\"x\"\"\"", "f:2:9: server.loops: \"x\""},
	} {
		if got := problemsOf(t, c.text); !strings.Contains("\n"+got, "\n"+c.want) {
			t.Errorf("%s\ngave\n%s\nwithout %s", c.text, got, c.want)
		}
	}
}
