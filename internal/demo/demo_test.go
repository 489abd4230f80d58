package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"millrace/configs"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(
		m,
		// fasthttp keeps the time of its Date fields in a goroutine that never ends.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		// It looks every 10 seconds whether its server has stopped.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	)
}

var anyPort = netip.MustParseAddrPort("127.0.0.1:0")

func start(t *testing.T) *Demo {
	t.Helper()
	d, err := Start(t.Context(), anyPort, os.DevNull, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Drain(context.Background()); err != nil {
			t.Errorf("Drain: %v", err)
		}
		if err := d.Wait(); err != nil {
			t.Errorf("Wait: %v", err)
		}
	})
	return d
}

// client is one whose connections are the test's own.
func client(t *testing.T) *http.Client {
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

func do(t *testing.T, c *http.Client, method, url, body string) (*http.Response, string) {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, url, reader)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return response, string(text)
}

// TestEndpoints asks for each of them, of an origin and through the proxy.
func TestEndpoints(t *testing.T) {
	d := start(t)
	c := client(t)
	tests := []struct {
		name, target string
		status       int
		chunked      bool
		want         string
	}{
		{"slow", "/slow?ms=1", 200, false, `^\w{5} answers after 1 ms\n$`},
		{"slow with a wrong number", "/slow?ms=30001", 400, false, `^ms must be a number from 0 to 30000\n$`},
		{"bytes", "/bytes?n=130", 200, false, `^(0123456789[a-zA-Z]{52}\+\n){2}01$`},
		{"no bytes", "/bytes?n=0", 200, false, `^$`},
		{"bytes with a wrong number", "/bytes?n=many", 400, false, `^n must be a number from 0 to 1073741824\n$`},
		{"chunked", "/chunked?n=3", 200, true, `^chunk 1 of 3 from (\w+)\nchunk 2 of 3 from \w+\nchunk 3 of 3 from \w+\n$`},
		{"status", "/status?code=503", 503, false, `^\w{5} answers with 503\n$`},
		{"status without a body", "/status?code=204", 204, false, `^$`},
		{"status that is none", "/status?code=100", 400, false, `^code must be a number from 200 to 599\n$`},
		{"stream", "/stream?n=1", 200, true, `^line 1 of 1 from \w+\n$`},
		{"stream that is too long", "/stream?n=61", 400, false, `^n must be a number from 1 to 60\n$`},
		{"nothing", "/nothing", 404, false, `^nothing here; there are /, /echo, /slow, /bytes, /chunked, /status, /stream\n$`},
		{"script", "/demo.js", 200, false, `fetch\("/echo"`},
		{"style", "/demo.css", 200, false, `color-scheme: light dark`},
		{"icon", "/icon.svg", 200, false, `^<svg `},
	}
	bases := map[string]string{"origin": "http://" + d.origins[0].address(), "proxy": d.URL()}
	for by, base := range bases {
		for _, test := range tests {
			t.Run(by+" "+test.name, func(t *testing.T) {
				response, body := do(t, c, "GET", base+test.target, "")
				if response.StatusCode != test.status || !regexp.MustCompile(test.want).MatchString(body) {
					t.Errorf("%d, %.100q; want %d, %s", response.StatusCode, body, test.status, test.want)
				}
				if chunked := slices.Contains(response.TransferEncoding, "chunked"); chunked != test.chunked {
					t.Errorf("chunked: %t, want %t", chunked, test.chunked)
				}
				if name := response.Header.Get("X-Origin"); !slices.Contains(names[:], name) {
					t.Errorf("X-Origin is %q", name)
				}
			})
		}
	}
}

func TestEcho(t *testing.T) {
	d := start(t)
	c := client(t)
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"} {
		for _, size := range []int{0, 11, 3 << 20} {
			body := strings.Repeat("hello world", size/11+1)[:size]
			response, text := do(t, c, method, d.URL()+"/echo?a=b%20c", body)
			var got received
			if err := json.Unmarshal([]byte(text), &got); err != nil || response.StatusCode != 200 {
				t.Fatalf("%s: %d, %v in %s", method, response.StatusCode, err, text)
			}
			digest := sha256.Sum256([]byte(body))
			if got.BodyBytes != int64(size) || got.BodySHA256 != hex.EncodeToString(digest[:]) {
				t.Errorf("%s: a body of %d bytes was received as %d, %s", method, size, got.BodyBytes, got.BodySHA256)
			}
			if want := method + " /echo?a=b%20c HTTP/1.1"; got.RequestLine != want {
				t.Errorf("request line %q, want %q", got.RequestLine, want)
			}
			if !slices.Contains(got.Fields, "User-Agent: Go-http-client/1.1") || !slices.Contains(got.Fields, "X-Forwarded-For: 127.0.0.1") {
				t.Errorf("fields %q", got.Fields)
			}
			if got.Origin != response.Header.Get("X-Origin") || got.Connection == 0 || got.ConnectionRequest == 0 {
				t.Errorf("%+v", got)
			}
		}
	}
	for target, length := range map[string]int64{"/bytes?n=130": 130, "/status?code=404": 23} {
		response, text := do(t, c, "HEAD", d.URL()+target, "")
		if response.ContentLength != length || text != "" {
			t.Errorf("HEAD %s: length %d, body %q", target, response.ContentLength, text)
		}
	}
}

func TestOriginsTakeTurns(t *testing.T) {
	d := start(t)
	c := client(t)
	counts := map[string]int{}
	for range 30 {
		response, _ := do(t, c, "GET", d.URL()+"/echo", "")
		counts[response.Header.Get("X-Origin")]++
	}
	for _, name := range names {
		if counts[name] != 10 {
			t.Errorf("of 30 requests, %s answered %d", name, counts[name])
		}
	}
}

func TestPage(t *testing.T) {
	d := start(t)
	response, page := do(t, client(t), "GET", d.URL()+"/", "")
	if got := response.Header.Get("Content-Security-Policy"); got != policy {
		t.Errorf("policy %q", got)
	}
	if got := response.Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
		t.Errorf("type %q", got)
	}
	for _, want := range []string{
		`data-origin="` + response.Header.Get("X-Origin") + `"`,
		"GET / HTTP/1.1",
		`<th scope="row">User-Agent</th><td>Go-http-client/1.1</td>`,
		`<a href="/slow?ms=1500">`,
		"<code tabindex=\"0\">curl -d hello=world http://" + strings.TrimPrefix(d.URL(), "http://") + "/echo</code>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %s:\n%s", want, page)
		}
	}
	// What the policy forbids would fail without a word.
	if inline := regexp.MustCompile(`(?i)<style|<script[^>]*>[^<]|\sstyle=|\son\w+=|https?://[^1]`).FindString(page); inline != "" {
		t.Errorf("the page has %s", inline)
	}
	for _, reference := range regexp.MustCompile(`(?:src|href)="(/[\w.]+)"`).FindAllStringSubmatch(page, -1) {
		path := reference[1]
		_, isAsset := assets[path]
		isEndpoint := slices.ContainsFunc(endpoints, func(e endpoint) bool { return e.path == path })
		if !isAsset && !isEndpoint {
			t.Errorf("the page refers to %s, which does not exist", path)
		}
	}
}

func TestPageEscapesWhatItReceived(t *testing.T) {
	d := start(t)
	conn, err := net.Dial("tcp", d.origins[0].address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Evil: <script>alert(1)</script>\xe9\r\nConnection: close\r\n\r\n")
	page, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(page, []byte("<script>alert")) || !bytes.Contains(page, []byte("&lt;script&gt;alert(1)&lt;/script&gt;é")) {
		t.Errorf("%s", page)
	}
}

func TestGuide(t *testing.T) {
	d := start(t)
	guide := d.Guide()
	for _, want := range []string{d.URL() + "/\n", "/echo", "/slow", "/bytes", "/chunked", "/status", "/stream", "round-robin"} {
		if !strings.Contains(guide, want) {
			t.Errorf("the guide has no %s:\n%s", want, guide)
		}
	}
	// The file that it shows is one that works.
	if _, err := configs.Parse(t.Context(), "guide", []byte(d.config), nil); err != nil {
		t.Error(err)
	}
}

func TestStartOnATakenAddress(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := netip.MustParseAddrPort(taken.Addr().String())
	if d, err := Start(t.Context(), address, os.DevNull, slog.New(slog.DiscardHandler)); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Start = %v, %v; want EADDRINUSE", d, err)
	}
}

// TestDrain drains while a response is under way, which takes longer than a drain may.
func TestDrain(t *testing.T) {
	d, err := Start(t.Context(), anyPort, os.DevNull, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c := client(t)
	response, err := c.Get(d.URL() + "/stream?n=60")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	waited := make(chan error, 1)
	go func() { waited <- d.Wait() }()

	if err := d.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(response.Body); err == nil {
		t.Error("a response that was cut looks complete")
	}
	for _, address := range []string{strings.TrimPrefix(d.URL(), "http://"), d.origins[0].address()} {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			t.Errorf("%s still accepts", address)
		}
	}
}

func TestPageURL(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080",
		"0.0.0.0:8080":   "http://127.0.0.1:8080",
		"[::]:8080":      "http://127.0.0.1:8080",
		"[::1]:8080":     "http://[::1]:8080",
	} {
		if got := pageURL(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))); got != want {
			t.Errorf("pageURL(%s) = %s, want %s", address, got, want)
		}
	}
}
