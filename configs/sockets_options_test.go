package configs

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"millrace/loop"
)

func TestSocketOptionsAreCompiled(t *testing.T) {
	plan := parseOK(t, `
[[listener]]
address = ":80"
[listener.socket]
backlog = 100
keepalive = true
keepalive_idle = "2m"
keepalive_interval = "15s"
keepalive_count = 4
user_timeout = "1500ms"
defer_accept = "5s"
fastopen = 256
mark = 4294967295
interface = "lo"
transparent = true
receive_buffer = "64KiB"
send_buffer = "128KiB"
[[listener]]
address = ":81"
[[listener]]
address = "unix:/run/x"
[listener.socket]
backlog = 7
[[route]]
backend = "app"
[[route]]
path = "/a"
backend = "plain"
[[route]]
path = "/b"
backend = "clear"
[backend.app]
servers = ["10.0.0.1", "10.0.0.2"]
[backend.app.socket]
user_timeout = "20s"
mark = 7
interface = "lo"
source_address = ["127.0.0.5", "::1"]
send_buffer = "64KiB"
[backend.plain]
servers = ["10.0.0.3"]
[backend.plain.socket]
mark = 0
[backend.clear]
servers = ["10.0.0.4"]
[backend.clear.socket]
transparent = true
`, nil)
	want := []loop.SocketSetting{
		{Option: loop.SocketTransparent, Value: 1, Key: "listener[0].socket.transparent", Position: "test.toml:15:15"},
		{Option: loop.SocketKeepAlive, Value: 1, Key: "listener[0].socket.keepalive", Position: "test.toml:6:13"},
		{Option: loop.SocketKeepAliveIdle, Value: 120, Key: "listener[0].socket.keepalive_idle", Position: "test.toml:7:18"},
		{Option: loop.SocketKeepAliveInterval, Value: 15, Key: "listener[0].socket.keepalive_interval", Position: "test.toml:8:22"},
		{Option: loop.SocketKeepAliveCount, Value: 4, Key: "listener[0].socket.keepalive_count", Position: "test.toml:9:19"},
		{Option: loop.SocketUserTimeout, Value: 1500, Key: "listener[0].socket.user_timeout", Position: "test.toml:10:16"},
		{Option: loop.SocketDeferAccept, Value: 5, Key: "listener[0].socket.defer_accept", Position: "test.toml:11:16"},
		{Option: loop.SocketFastOpen, Value: 256, Key: "listener[0].socket.fastopen", Position: "test.toml:12:12"},
		{Option: loop.SocketMark, Value: 1<<32 - 1, Key: "listener[0].socket.mark", Position: "test.toml:13:8"},
		{Option: loop.SocketInterface, Text: "lo", Key: "listener[0].socket.interface", Position: "test.toml:14:13"},
		{Option: loop.SocketReceiveBuffer, Value: 64 << 10, Key: "listener[0].socket.receive_buffer", Position: "test.toml:16:18"},
		{Option: loop.SocketSendBuffer, Value: 128 << 10, Key: "listener[0].socket.send_buffer", Position: "test.toml:17:15"},
	}
	if diff := cmp.Diff(want, plan.Listeners[0].Socket); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for i, backlog := range []int{100, 4096, 7} {
		if l := plan.Listeners[i]; l.Backlog != backlog || i > 0 && l.Socket != nil {
			t.Errorf("listener %d: backlog %d, %v", i, l.Backlog, l.Socket)
		}
	}
	app := plan.Backends[0]
	if app.Servers[0].Socket != app.Servers[1].Socket {
		t.Error("each server has options of its own")
	}
	wantApp := &loop.BackendSocket{
		Settings: []loop.SocketSetting{{Option: loop.SocketUserTimeout, Value: 20_000}, {Option: loop.SocketMark, Value: 7}, {Option: loop.SocketInterface, Text: "lo"}, {Option: loop.SocketSendBuffer, Value: 64 << 10}},
		Source4:  netip.MustParseAddr("127.0.0.5"), Source6: netip.IPv6Loopback(),
		SourceKey: "backend.app.socket.source_address", SourcePosition: "test.toml:38:18",
	}
	options := cmp.Options{cmpopts.IgnoreFields(loop.SocketSetting{}, "Key", "Position"), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}
	if diff := cmp.Diff(wantApp, app.Servers[0].Socket, options); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if s := plan.Backends[1].Servers[0].Socket; s != nil {
		t.Errorf("%+v", s)
	}
	if s := plan.Backends[2].Servers[0].Socket; !s.FromClient || len(s.Settings) != 1 || s.SourceKey != "backend.clear.socket.transparent" {
		t.Errorf("%+v", s)
	}
}

func TestSocketOptionsAreChecked(t *testing.T) {
	listener := func(lines string) string { return with("[listener.socket]\n"+lines, "") }
	backend := func(lines string) string { return with("", "[backend.app.socket]\n"+lines) }
	onUnix := func(file, address string) string { return strings.Replace(file, address, "unix:/run/x", 1) }
	for _, test := range []struct{ file, want string }{
		{listener("backlog = 0"), "0 is too small: allowed are 1 to 1000000"},
		{listener("keepalive_count = 4"), "f:5:1: listener[0].socket.keepalive_count: has no effect without keepalive = true"},
		{listener("keepalive_idle = \"1s\""), "has no effect without keepalive = true"},
		{listener("keepalive = true\nkeepalive_idle = \"1500ms\""), `"1500ms" is not a whole number of seconds`},
		{listener("keepalive = true\nkeepalive_idle = \"10h\""), "too large"},
		{listener("keepalive = true\nkeepalive_interval = \"1ms\""), "too small"},
		{listener("keepalive = true\nkeepalive_count = 128"), "too large"},
		{listener("user_timeout = \"25h\""), "too large"},
		{listener("defer_accept = \"100ms\""), "too small"},
		{listener("fastopen = 65536"), "too large"},
		{listener("mark = 4294967296"), "too large"},
		{listener("mark = -1"), "too small"},
		{listener("receive_buffer = \"1B\""), "too small"},
		{listener("send_buffer = \"2GiB\""), "too large"},
		{listener("interface = \"nonesuch\""), `"nonesuch" is not an interface of this machine`},
		{listener("interface = \"a/b\""), `"a/b" is not the name of an interface`},
		{listener("interface = \"sixteencharacter\""), "is not the name of an interface: allowed are 1 to 15 characters"},
		{onUnix(listener("defer_accept = \"1s\""), ":80"), "listener[0].socket.defer_accept: has no effect on a unix socket: it is for TCP"},
		{onUnix(listener("keepalive_idle = \"1s\""), ":80"), "listener[0].socket.keepalive_idle: has no effect on a unix socket"},
		{strings.Replace(listener("backlog = 7"), ":80", "systemd:web", 1), "listener[0].socket.backlog: has no effect on a socket of systemd"},
		{onUnix(listener("interface = \"lo\""), ":80"), "has no effect on a unix socket"},
		{backend("source_address = []"), "is empty"},
		{backend("source_address = [\"192.0.2.77\"]"), `backend.app.socket.source_address[0]: "192.0.2.77" is not an address of this machine`},
		{backend("source_address = [\"0.0.0.0\"]"), "is not an address to connect from"},
		{backend("source_address = [\"localhost\"]"), "is not an address to connect from"},
		{backend("source_address = [\"127.0.0.1\", \"127.0.0.2\"]"), `"127.0.0.2" is the second address of its family`},
		{backend("source_address = [\"127.0.0.1\"]\ntransparent = true"), "has no effect with transparent = true"},
		{backend("interface = \"nonesuch\""), "is not an interface of this machine"},
		{backend("user_timeout = \"25h\""), "too large"},
		{onUnix(backend("mark = 7"), "10.0.0.1"), "f:9:14: backend.app.socket: has no effect: all servers are on unix sockets"},
	} {
		wantProblem(t, test.file, test.want)
	}
}

func TestAListenerMayHaveASocketOfSystemds(t *testing.T) {
	plan := parseOK(t, strings.Replace(with("trusted_proxies = [\"unix:\"]\n[listener.socket]\nkeepalive = true", ""), ":80", "systemd:web", 1), nil)
	l := plan.Listeners[0]
	if l.Inherit != "web" || l.Path != "" || l.Address.IsValid() || len(l.Socket) != 1 || l.Name != "systemd:web" {
		t.Errorf("%+v", l)
	}
	wantProblem(t, strings.Replace(rest, ":80\"\n", "systemd:web\"\n[[listener]]\naddress = \"systemd:web\"\n", 1), `"systemd:web" is listened on already by listener[0].address`)
	parseOK(t, strings.Replace(rest, ":80\"\n", "systemd:web\"\n[[listener]]\naddress = \"systemd:other\"\n[[listener]]\naddress = \":80\"\n", 1), nil)
}
