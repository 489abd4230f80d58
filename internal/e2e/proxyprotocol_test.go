package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// soon bounds what takes milliseconds, on the slowest machine that tests run on.
const soon = 30 * time.Second

// startHAProxy runs HAProxy with the sections of a configuration that a test is about.
func startHAProxy(t *testing.T, sections string, listens ...string) *process {
	t.Helper()
	path := filepath.Join(t.TempDir(), "haproxy.cfg")
	text := "global\n    maxconn 200\ndefaults\n    timeout client 60s\n    timeout server 60s\n    timeout connect 60s\n" + sections
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return startedOn(t, start(t, "haproxy", "-db", "-f", path), listens...)
}

// startNginx runs nginx, in a single process, with the blocks of a configuration that a test is about.
func startNginx(t *testing.T, blocks string, listens ...string) *process {
	t.Helper()
	return startNginxWith(t, "", blocks, listens...)
}

// startNginxWith has directives before all others, such as load_module.
func startNginxWith(t *testing.T, before, blocks string, listens ...string) *process {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf("%s\ndaemon off;\nmaster_process off;\npid %s/nginx.pid;\nerror_log stderr crit;\nevents { }\n%s", before, dir, blocks)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return startedOn(t, start(t, "nginx", "-e", "stderr", "-p", dir, "-c", path), listens...)
}

func startedOn(t *testing.T, p *process, listens ...string) *process {
	t.Helper()
	for _, address := range listens {
		eventually(t, soon, p.name+" listens on "+address, func() bool {
			if p.ended() {
				t.Fatalf("%s ended:\n%s", p.name, p.out)
			}
			return accepts(address)
		})
	}
	return p
}

// nginxTells is an http block of a server that answers with what it knows of its client.
func nginxTells(t *testing.T, listen, answer string) string {
	t.Helper()
	dir := t.TempDir()
	return fmt.Sprintf(`http {
    access_log off;
    client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
    server {
        listen %[2]s;
        location / { return 200 "%[3]s"; }
    }
}
`, dir, listen, answer)
}

// getFrom sends a request from an address of the loopback network, on a connection of its own, and returns the body of
// the answer and the port that it was sent from.
func getFrom(t *testing.T, local, address string) (body, port string) {
	t.Helper()
	ip := net.ParseIP(local)
	var used string
	client := http.Client{Timeout: soon, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: ip}}).DialContext(ctx, network, address)
			if err == nil {
				_, used, _ = net.SplitHostPort(c.LocalAddr().String())
			}
			return c, err
		},
	}}
	response, err := client.Get("http://" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s %q, %v", response.Status, b, err)
	}
	return string(b), used
}

// believing is a configuration with a listener of each kind that wants a PROXY header from 127.0.0.1.
func believing(web, raw, origin, extra string) string {
	return fmt.Sprintf(`
[access_log]
format = "$client_addr:$client_port $listener"
[[listener]]
name = "web"
address = %q
trusted_proxies = ["127.0.0.1"]
proxy_protocol = "required"
[[listener]]
name = "raw"
address = %q
protocol = "sock"
backend = "app"
trusted_proxies = ["127.0.0.1"]
proxy_protocol = "required"
[[route]]
backend = "app"
[backend.app]
servers = [%q]
%s`, web, raw, origin, extra)
}

func TestCurlSendsAProxyHeader(t *testing.T) {
	needs(t, "curl", "nginx")
	origin, web, raw := freeAddr(t), freeAddr(t), freeAddr(t)
	startNginx(t, nginxTells(t, origin, "$http_x_forwarded_for"), origin)
	startProxy(t, believing(web, raw, origin, ""))
	got := run(t, soon, 0, "curl", "-sS", "--max-time", "20", "--haproxy-protocol", "http://"+web+"/a", "http://"+web+"/b")
	if got != "127.0.0.1127.0.0.1" {
		t.Errorf("the server is told %q", got)
	}
	// Without one nobody is let in: curl's word for an empty answer is 52, and for a reset 56.
	p := start(t, "curl", "-sS", "--max-time", "20", "http://"+web+"/")
	if code := p.wait(t, soon); code != 52 && code != 56 {
		t.Errorf("curl without a header: exit code %d", code)
	}
}

// TestOthersTellUs has HAProxy and nginx, in both versions, say who the client is.
func TestOthersTellUs(t *testing.T) {
	needs(t, "haproxy", "nginx")
	origin, web, raw := freeAddr(t), freeAddr(t), freeAddr(t)
	startNginx(t, nginxTells(t, origin, "for $http_x_forwarded_for"), origin)
	proxy := startProxy(t, believing(web, raw, origin, ""))
	var sections strings.Builder
	fronts := make(map[string]string)
	for name, options := range map[string]string{
		"v1": "send-proxy", "v2": "send-proxy-v2", "v2 with a checksum": "send-proxy-v2 proxy-v2-options crc32c,unique-id",
	} {
		for kind, to := range map[string]string{"web": web, "raw": raw} {
			address := freeAddr(t)
			fronts[name+" to "+kind] = address
			fmt.Fprintf(&sections, "listen l%d\n    mode tcp\n    bind %s\n    unique-id-format id-%%pid\n    server s %s %s\n", len(fronts), address, to, options)
		}
	}
	var addresses []string
	for _, address := range fronts {
		addresses = append(addresses, address)
	}
	startHAProxy(t, sections.String(), addresses...)
	if module := "/usr/lib/nginx/modules/ngx_stream_module.so"; exists(module) {
		fronts["nginx to web"], fronts["nginx to raw"] = freeAddr(t), freeAddr(t)
		startNginxWith(t, "load_module "+module+";", fmt.Sprintf(`stream {
    proxy_protocol on;
    server { listen %s; proxy_pass %s; }
    server { listen %s; proxy_pass %s; }
}
`, fronts["nginx to web"], web, fronts["nginx to raw"], raw), fronts["nginx to web"], fronts["nginx to raw"])
	} else if os.Getenv("CI") != "" {
		t.Error("nginx has no stream module, and in CI it has to have it")
	}
	for name, address := range fronts {
		t.Run(name, func(t *testing.T) {
			got, port := getFrom(t, "127.0.0.7", address)
			want, listener := "for 127.0.0.7", "web"
			if strings.HasSuffix(name, "raw") {
				want, listener = "for ", "raw" // nothing is parsed, and nothing added
			}
			if got != want {
				t.Errorf("the server is told %q, want %q", got, want)
			}
			record := "127.0.0.7:" + port + " " + listener
			eventually(t, soon, "the record "+record, func() bool { return proxy.said(record) })
		})
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestWeTellOthers has HAProxy and nginx believe us, in both versions, while health checks are made.
func TestWeTellOthers(t *testing.T) {
	needs(t, "haproxy", "nginx")
	servers := map[string]string{"nginx": freeAddr(t), "haproxy": freeAddr(t)}
	startNginx(t, nginxTells(t, servers["nginx"]+" proxy_protocol", "$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port"), servers["nginx"])
	startHAProxy(t, fmt.Sprintf("frontend f\n    mode http\n    bind %s accept-proxy\n"+
		"    http-request return status 200 content-type text/plain lf-string \"%%[src]:%%[src_port] %%[dst]:%%[dst_port]\"\n", servers["haproxy"]), servers["haproxy"])
	var config strings.Builder
	fronts := make(map[string]string)
	config.WriteString("[access_log]\npath = \"off\"\n")
	for name, server := range servers {
		for _, version := range []string{"v1", "v2"} {
			for _, protocol := range []string{"http", "sock"} {
				address := freeAddr(t)
				kind := fmt.Sprint(name, "-", version, "-", protocol)
				fronts[kind] = address
				fmt.Fprintf(&config, "[[listener]]\nname = %q\naddress = %q\nprotocol = %q\n", kind, address, protocol)
				if protocol == "sock" {
					fmt.Fprintf(&config, "backend = %q\n", kind)
				} else {
					fmt.Fprintf(&config, "[[route]]\nlisteners = [%q]\nbackend = %[1]q\n", kind)
				}
				fmt.Fprintf(&config, "[backend.%s]\nservers = [%q]\nsend_proxy = %q\n[backend.%[1]s.health]\ninterval = \"20ms\"\ntimeout = \"1m\"\n", kind, server, version)
			}
		}
	}
	proxy := startProxy(t, config.String())
	for kind, address := range fronts {
		t.Run(kind, func(t *testing.T) {
			for range 3 {
				got, port := getFrom(t, "127.0.0.7", address)
				if want := "127.0.0.7:" + port + " " + address; got != want {
					t.Errorf("the server knows %q, want %q", got, want)
				}
			}
		})
	}
	if proxy.said("health check: the server is down") {
		t.Errorf("a check has failed:\n%s", proxy.out)
	}
}

// TestTLVsPass has one HAProxy tell another through us what both of them know and we do not.
func TestTLVsPass(t *testing.T) {
	needs(t, "haproxy")
	last, web, raw, first, firstRaw := freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t)
	startHAProxy(t, fmt.Sprintf("frontend f\n    mode http\n    bind %s accept-proxy\n"+
		"    http-request return status 200 content-type text/plain lf-string \"%%[src] %%[fc_pp_unique_id]\"\n", last), last)
	startProxy(t, believing(web, raw, last, "send_proxy = \"v2\"\nsend_proxy_tlv = true\n"))
	startHAProxy(t, fmt.Sprintf("listen a\n    mode tcp\n    bind %s\n    unique-id-format the-id\n    server s %s send-proxy-v2 proxy-v2-options crc32c,unique-id\n"+
		"listen b\n    mode tcp\n    bind %s\n    unique-id-format the-id\n    server s %s send-proxy-v2 proxy-v2-options crc32c,unique-id\n", first, web, firstRaw, raw), first, firstRaw)
	for _, address := range []string{first, firstRaw} {
		if got, _ := getFrom(t, "127.0.0.7", address); got != "127.0.0.7 the-id" {
			t.Errorf("the last one knows %q", got)
		}
	}
}
