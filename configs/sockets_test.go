package configs

import (
	"strings"
	"testing"

	"millrace/loop"
)

func TestProxyProtocolIsCompiled(t *testing.T) {
	plan := parseOK(t, `
[[listener]]
address = ":80"
trusted_proxies = ["10.0.0.0/8"]
proxy_protocol = "optional"
[[listener]]
address = ":81"
protocol = "sock"
backend = "app"
trusted_proxies = ["10.0.0.0/8"]
proxy_protocol = "required"
[[listener]]
address = ":82"
[[route]]
backend = "app"
[[route]]
path = "/x"
backend = "plain"
[backend.app]
send_proxy = "v2"
send_proxy_tlv = true
[[backend.app.server]]
address = "10.0.0.1"
[[backend.app.server]]
address = "10.0.0.2"
send_proxy = "v1"
[[backend.app.server]]
address = "10.0.0.3"
send_proxy = "off"
[backend.plain]
servers = ["10.0.0.4"]
`, nil)
	for i, want := range []loop.ProxyProtocol{loop.ProxyOptional, loop.ProxyRequired, loop.ProxyOff} {
		l := plan.Listeners[i]
		if l.ProxyProtocol != want || (l.Trust != nil) != (want != loop.ProxyOff) {
			t.Errorf("listener %d: %d, %v", i, l.ProxyProtocol, l.Trust)
		}
	}
	for i, want := range []uint8{2, 1, 0} {
		if s := plan.Backends[0].Servers[i]; s.SendProxy != want || !s.SendProxyTLV {
			t.Errorf("server %d: version %d, TLVs %v", i, s.SendProxy, s.SendProxyTLV)
		}
	}
	if s := plan.Backends[1].Servers[0]; s.SendProxy != 0 || s.SendProxyTLV {
		t.Errorf("%+v", s)
	}
}

// with puts lines into the listener and the backend of a file without other problems.
func with(listener, backend string) string {
	file := strings.Replace(rest, "address = \":80\"\n", "address = \":80\"\n"+listener+"\n", 1)
	return strings.Replace(file, "servers = [\"10.0.0.1\"]\n", "servers = [\"10.0.0.1\"]\n"+backend+"\n", 1)
}

// wantProblem compiles a file that has one problem.
func wantProblem(t *testing.T, file, want string) {
	t.Helper()
	if got := problemsOf(t, file); !strings.Contains(got, want) || strings.Contains(got, "\n") {
		t.Errorf("%s\ngot  %s\nwant %s", file, got, want)
	}
}

func TestProxyProtocolIsChecked(t *testing.T) {
	for _, test := range []struct{ listener, backend, want string }{
		{"trusted_proxies = [\"::1\"]\nproxy_protocol = \"on\"", "", `"on" is not a word for proxy_protocol: allowed are "off", "optional" and "required"`},
		{`proxy_protocol = "required"`, "", "f:4:1: listener[0].proxy_protocol: needs trusted_proxies"},
		{"", `send_proxy = "v3"`, `"v3" is not a word for send_proxy: allowed are "off", "v1" and "v2"`},
		{"", "send_proxy_tlv = true", `has no effect without send_proxy = "v2"`},
		{"", "send_proxy = \"v1\"\nsend_proxy_tlv = true", `has no effect without send_proxy = "v2"`},
		{"protocol = \"sock\"\nbackend = \"app\"\ntrusted_proxies = [\"::1\"]\ntrusted_header = \"Forwarded\"\nproxy_protocol = \"required\"", "", "trusted_header: has no effect on a sock listener"},
		{"protocol = \"sock\"\nbackend = \"app\"\ntrusted_proxies = [\"::1\"]\nproxy_protocol = \"off\"", "", "trusted_proxies: has no effect on a sock listener"},
	} {
		wantProblem(t, with(test.listener, test.backend), test.want)
	}
}
