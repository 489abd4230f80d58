package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"millrace/internal/resolve/dnstest"
)

// named is a server that answers with its name, at the port that is returned.
func named(t *testing.T, name string) (port uint16) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, name) })}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return uint16(listener.Addr().(*net.TCPAddr).Port)
}

// TestProcessFollowsNames: the servers of a running process come and go with a name, which is not there at first.
func TestProcessFollowsNames(t *testing.T) {
	dns, err := dnstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dns.Close)
	dns.Set("node.example.", 0, "127.0.0.1")
	set := func(port uint16) {
		dns.SetService("_http._tcp.app.example.", 0, dnsmessage.SRVResource{Port: port, Target: dnsmessage.MustNewName("node.example.")})
	}
	a, b := named(t, "a"), named(t, "b")
	address := freeAddress(t)
	config := filepath.Join(t.TempDir(), "millrace.toml")
	text := fmt.Sprintf(`[access_log]
path = "off"
[resolver]
nameservers = [%q]
min_ttl = "1ms"
negative_ttl = "1ms"
[[listener]]
address = %q
[[route]]
backend = "app"
[backend.app]
servers = ["srv:_http._tcp.app.example."]
resolve = "later"
`, dns.Addr, address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, "run", "--config", config)
	says(t, p.stderr, `"level":"WARN","msg":".*(cannot be resolved: no such host)`)
	says(t, p.stderr, `"msg":"serving"`)
	get := func() (int, string) {
		res, err := http.Get("http://" + address)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	if status, body := get(); status != http.StatusServiceUnavailable {
		t.Errorf("without a server: %d %s", status, body)
	}
	for _, server := range []struct {
		name string
		port uint16
	}{{"a", a}, {"b", b}, {"a", a}} {
		set(server.port)
		says(t, p.stderr, fmt.Sprintf(`"msg":"the servers have changed with their names".*"joined":\["127.0.0.1:%d"\],"left":\[`, server.port))
		if status, body := get(); status != http.StatusOK || body != server.name {
			t.Errorf("got %d %s, want %s", status, body, server.name)
		}
	}
	dns.Silence(true)
	end := time.Now().Add(limit)
	for asked := dns.Asked("_http._tcp.app.example.", dnsmessage.TypeSRV); asked == dns.Asked("_http._tcp.app.example.", dnsmessage.TypeSRV) && time.Now().Before(end); {
		if status, body := get(); status != http.StatusOK || body != "a" {
			t.Fatalf("got %d %s while the name server is silent", status, body)
		}
	}
	p.signal(syscall.SIGTERM)
	p.exits(exitOK)
}
