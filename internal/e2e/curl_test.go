package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// transfer is what curl saw of one request.
type transfer struct {
	interim []string             // status lines of 1xx responses
	status  string               // code and reason of the final response
	header  textproto.MIMEHeader // of the final response
	trailer textproto.MIMEHeader // behind its body
	body    string
	facts   struct { // what curl tells of it
		Code int   `json:"response_code"`
		Up   int64 `json:"size_upload"`
		Down int64 `json:"size_download"`
	}
}

// curl makes one request. dir is where it may leave what it needs.
func curl(t *testing.T, dir, url string, args []string) *transfer {
	t.Helper()
	heads, body := filepath.Join(dir, "heads"), filepath.Join(dir, "body")
	args = append(slices.Clone(args), "-sS", "-D", heads, "-o", body, "-w", "%{json}", url)
	for _, file := range []string{heads, body} {
		// curl does not create the file of an empty body.
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	x := new(transfer)
	if err := json.Unmarshal([]byte(run(t, 20*time.Second, 0, "curl", args...)), &x.facts); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(heads)
	if err != nil {
		t.Fatal(err)
	}
	for block := range strings.SplitSeq(strings.TrimSuffix(string(text), "\r\n\r\n"), "\r\n\r\n") {
		line, fields, _ := strings.Cut(block, "\r\n")
		// A proxy answers with its own version (RFC 9110, 6.2).
		version, status, isHead := strings.Cut(line, " ")
		switch {
		case !isHead || !strings.HasPrefix(version, "HTTP/"):
			x.trailer = parseFields(block)
		case status[0] == '1':
			x.interim = append(x.interim, status)
		default:
			x.status, x.header = status, parseFields(fields)
		}
	}
	if slices.Contains(args, "-I") {
		return x // curl wrote the head once more
	}
	text, err = os.ReadFile(body)
	if err != nil {
		t.Fatal(err)
	}
	x.body = string(text)
	return x
}

func parseFields(lines string) textproto.MIMEHeader {
	header := make(textproto.MIMEHeader)
	for line := range strings.SplitSeq(lines, "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			header.Add(name, strings.TrimSpace(value))
		}
	}
	return header
}

// boundary is what separates the parts of a multipart/byteranges body; nginx counts them up.
var boundary = regexp.MustCompile(`\b\d{20}\b`)

// hops are the fields that concern a connection or the framing on it, and the date.
var hops = []string{"Connection", "Keep-Alive", "Transfer-Encoding", "Trailer", "Date"}

// compare reports how a transfer through the proxy differs from one without.
func compare(t *testing.T, proxied, direct *transfer) {
	t.Helper()
	if proxied.status != direct.status || proxied.facts.Code != direct.facts.Code {
		t.Errorf("status %q, directly %q", proxied.status, direct.status)
	}
	if !slices.Equal(proxied.interim, direct.interim) {
		t.Errorf("interim responses %q, directly %q", proxied.interim, direct.interim)
	}
	if boundary.ReplaceAllString(proxied.body, "boundary") != boundary.ReplaceAllString(direct.body, "boundary") {
		t.Errorf("body %.200q (%d bytes), directly %.200q (%d bytes)", proxied.body, len(proxied.body), direct.body, len(direct.body))
	}
	if proxied.facts.Up != direct.facts.Up || proxied.facts.Down != direct.facts.Down {
		t.Errorf("%d bytes up and %d down, directly %d and %d", proxied.facts.Up, proxied.facts.Down, direct.facts.Up, direct.facts.Down)
	}
	compareFields(t, "", proxied.header, direct.header)
	compareFields(t, "trailer ", proxied.trailer, direct.trailer)
}

func compareFields(t *testing.T, what string, proxied, direct textproto.MIMEHeader) {
	t.Helper()
	names := make(map[string]bool)
	for _, header := range []textproto.MIMEHeader{proxied, direct} {
		for name := range header {
			names[name] = !slices.Contains(hops, name)
		}
	}
	for name, compared := range names {
		got := boundary.ReplaceAllString(strings.Join(proxied[name], "\n"), "boundary")
		want := boundary.ReplaceAllString(strings.Join(direct[name], "\n"), "boundary")
		if compared && got != want {
			t.Errorf("%s%s: %q, directly %q", what, name, got, want)
		}
	}
}

// TestCurlMatchesNginx makes requests of many kinds to nginx, through the proxy and directly: curl must see the same.
func TestCurlMatchesNginx(t *testing.T) {
	needs(t, "nginx", "curl")
	root, dir := t.TempDir(), t.TempDir()
	upload := filepath.Join(dir, "upload")
	randomFile(t, upload, 300_000)
	randomFile(t, filepath.Join(root, "file"), 200_000)
	text := strings.Repeat("Nothing compresses as well as saying the same again.\n", 1000)
	for name, content := range map[string]string{"text": text, "empty": "", "sub/a b%c+ü": "escaped"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	modified := time.Date(2020, time.February, 29, 12, 0, 0, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(root, "file"), modified, modified); err != nil {
		t.Fatal(err)
	}
	o := startOrigin(t, originConfig{Root: root, Extra: `
        location = /text { gzip on; gzip_types *; gzip_min_length 1; }
        location = /sink { client_body_buffer_size 1m; mirror /discard; error_page 404 405 =200 /text; }
        location = /discard { internal; return 204; }
        location = /nothing { return 204; }
        location = /early { client_max_body_size 10k; }
        location = /elsewhere { return 302 /file?x=y; }
        location = /cookies { add_header Set-Cookie a=1; add_header Set-Cookie "b=2; Path=/"; return 200 ok; }
        location /upload/ { alias ` + root + `/uploaded-; dav_methods PUT DELETE; }
`})
	listen := freeAddr(t)
	startProxy(t, basic(listen, []string{o.addr}, silent))

	tests := []struct {
		name, path string
		args       []string
		status     int
	}{
		{"get", "/file", nil, 200},
		{"query", "/file?a=b&c=%20d?e", nil, 200},
		{"empty", "/empty", nil, 200},
		{"missing", "/missing", nil, 404},
		{"escaped path", "/sub/a%20b%25c+%C3%BC", nil, 200},
		{"listing", "/sub/", nil, 200},
		{"redirect to a folder", "/sub", nil, 301},
		{"redirect", "/elsewhere", nil, 302},
		{"no content", "/nothing", nil, 204},
		{"several fields of a name", "/cookies", nil, 200},
		{"compressed", "/text", []string{"--compressed"}, 200},
		{"compressed, raw", "/text", []string{"-H", "Accept-Encoding: gzip"}, 200},
		{"compressed, head", "/text", []string{"-I", "-H", "Accept-Encoding: gzip"}, 200},

		{"head", "/file", []string{"-I"}, 200},
		{"head of nothing", "/missing", []string{"-I"}, 404},
		{"options", "/file", []string{"-X", "OPTIONS"}, 405},

		{"first bytes", "/file", []string{"-r", "0-99"}, 206},
		{"last bytes", "/file", []string{"-r", "-100"}, 206},
		{"middle", "/file", []string{"-r", "70000-140000"}, 206},
		{"several ranges", "/file", []string{"-r", "0-99,1000-1099,199990-"}, 206},
		{"range behind the end", "/file", []string{"-r", "200000-"}, 416},
		{"not modified", "/file", []string{"-H", "If-Modified-Since: " + modified.Format(http.TimeFormat)}, 304},
		{"any version", "/file", []string{"-H", "If-None-Match: *"}, 304},
		{"another version", "/file", []string{"-H", `If-Match: "other"`}, 412},

		{"http/1.0", "/file", []string{"-0"}, 200},
		{"http/1.0 keep-alive", "/file", []string{"-0", "-H", "Connection: keep-alive"}, 200},
		{"http/1.0 head", "/file", []string{"-0", "-I"}, 200},
		{"http/1.0 missing", "/missing", []string{"-0"}, 404},
		{"http/1.0 listing", "/sub/", []string{"-0"}, 200},
		{"http/1.0 post", "/sink", []string{"-0", "--data-binary", "@" + upload}, 200},

		{"put", "/upload/1", []string{"-T", upload, "-H", "Expect:"}, 201},
		{"put again", "/upload/1", []string{"-T", upload, "-H", "Expect:"}, 204},
		{"put expecting 100", "/upload/2", []string{"-T", upload, "-H", "Expect: 100-continue"}, 201},
		{"put chunked", "/upload/3", []string{"-T", upload, "-H", "Transfer-Encoding: chunked", "-H", "Expect:"}, 201},
		{"put chunked expecting 100", "/upload/4", []string{"-T", upload, "-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue"}, 201},
		{"delete", "/upload/1", []string{"-X", "DELETE"}, 204},
		{"delete again", "/upload/1", []string{"-X", "DELETE"}, 404},

		{"post", "/sink", []string{"--data-binary", "@" + upload, "-H", "Expect:"}, 200},
		{"post nothing", "/sink", []string{"-d", ""}, 200},
		{"post expecting 100", "/sink", []string{"--data-binary", "@" + upload, "-H", "Expect: 100-continue"}, 200},
		{"post chunked", "/sink", []string{"--data-binary", "@" + upload, "-H", "Transfer-Encoding: chunked", "-H", "Expect:"}, 200},
		{"post form", "/sink", []string{"-F", "field=value", "-F", "file=@" + upload}, 200},
		{"refused while expecting 100", "/early", []string{"--data-binary", "@" + upload, "-H", "Expect: 100-continue"}, 413},
		{"post to a file", "/file", []string{"-d", "x"}, 405},
	}
	uploaded := func() string {
		names, err := filepath.Glob(filepath.Join(root, "uploaded-*"))
		if err != nil {
			t.Fatal(err)
		}
		var sums []string
		for _, name := range names {
			sums = append(sums, filepath.Base(name)+" "+hashOf(t, name))
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		return strings.Join(sums, "\n")
	}
	// The requests change the origin's files, so all of them go one way before they go the other.
	var seen [2][]*transfer
	var left [2]string
	for i, address := range []string{o.addr, listen} {
		for _, test := range tests {
			seen[i] = append(seen[i], curl(t, dir, "http://"+address+test.path, test.args))
		}
		left[i] = uploaded()
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			direct, proxied := seen[0][i], seen[1][i]
			if direct.facts.Code != test.status {
				t.Fatalf("the origin answers with %q, so this is not what it is called", direct.status)
			}
			t.Logf("%s, %d interim, %d bytes", proxied.status, len(proxied.interim), len(proxied.body))
			compare(t, proxied, direct)
		})
	}
	if left[0] != left[1] || strings.Count(left[0], "\n") != 2 {
		t.Errorf("uploaded files:\n%s\ndirectly:\n%s", left[1], left[0])
	}
}

// TestCurlMatchesEcho makes requests with bodies to an origin that tells what it got.
func TestCurlMatchesEcho(t *testing.T) {
	needs(t, "curl")
	server := startServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuse" {
			// Without looking at the body: no 100 is sent.
			w.WriteHeader(http.StatusForbidden)
			return
		}
		hash := sha256.New()
		n, err := io.Copy(hash, r.Body)
		w.Header().Set("Trailer", "X-Sum")
		// What the client sent that is no concern of the hop, and what framing its body came in.
		fmt.Fprintf(w, "%s %s %s\nlength %d\nagent %q\nown %q\ntype %q\nbody %d %x %v\ntrailer %q\n", r.Method, r.RequestURI, r.Host,
			r.ContentLength, r.UserAgent(), r.Header["X-Own"], r.Header.Get("Content-Type"), n, hash.Sum(nil), err, r.Trailer["X-Sum"])
		w.Header().Set("X-Sum", "of the answer")
	}))
	listen, dir := freeAddr(t), t.TempDir()
	startProxy(t, basic(listen, []string{server}, silent))
	upload := filepath.Join(dir, "upload")
	randomFile(t, upload, 3<<20)

	expect, chunked := []string{"-H", "Expect: 100-continue"}, []string{"-H", "Transfer-Encoding: chunked"}
	file := []string{"--data-binary", "@" + upload}
	tests := []struct {
		name, path string
		args       [][]string
		interim    int
	}{
		{"get", "/", nil, 0},
		{"get with a body", "/", [][]string{{"-X", "GET", "-d", "body"}}, 0},
		{"own fields", "/?q", [][]string{{"-H", "X-Own: 1", "-H", "X-Own: 2", "-A", "agent/1 (a; b)"}}, 0},
		{"post", "/", [][]string{file, {"-H", "Expect:"}}, 0},
		{"post expecting 100", "/", [][]string{file, expect}, 1},
		{"post chunked", "/", [][]string{file, chunked, {"-H", "Expect:"}}, 0},
		{"post chunked expecting 100", "/", [][]string{file, chunked, expect}, 1},
		{"post small expecting 100", "/", [][]string{{"-d", "small"}, expect}, 1},
		{"post nothing chunked", "/", [][]string{{"-d", ""}, chunked}, 0},
		{"http/1.0 post", "/", [][]string{file, {"-0"}}, 0},
		{"http/1.0 get", "/", [][]string{{"-0"}}, 0},
		{"patch", "/", [][]string{{"-X", "PATCH", "-d", "patch"}}, 0},
		{"unknown method", "/", [][]string{{"-X", "FROBNICATE"}}, 0},
		{"head", "/", [][]string{{"-I"}}, 0},
		{"refused while expecting 100", "/refuse", [][]string{file, expect}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			// The origin must see the same Host both ways.
			args := append(slices.Concat(test.args...), "-H", "Host: e2e.test")
			direct := curl(t, dir, "http://"+server+test.path, args)
			proxied := curl(t, dir, "http://"+listen+test.path, args)
			t.Logf("%s, %d interim, %d bytes up", proxied.status, len(proxied.interim), proxied.facts.Up)
			if len(direct.interim) != test.interim {
				t.Fatalf("the origin sends %q, so this is not what it is called", direct.interim)
			}
			compare(t, proxied, direct)
		})
	}
}

// TestCurlOneConnection makes requests of all kinds on one connection: the end of each message must be found where
// it is, or the next one is misread.
func TestCurlOneConnection(t *testing.T) {
	needs(t, "nginx", "curl")
	root, dir := t.TempDir(), t.TempDir()
	upload := filepath.Join(dir, "upload")
	randomFile(t, upload, 100_000)
	want := randomFile(t, filepath.Join(root, "file"), 100_000)
	o := startOrigin(t, originConfig{Root: root, Log: true, Extra: `location = /nothing { return 204; }`})
	listen := freeAddr(t)
	startProxy(t, basic(listen, []string{o.addr}, `
[server]
loops = 1

[access_log]
path = "off"
`))

	kinds := []struct {
		path string
		args []string
		code int
	}{
		{"/file", []string{"-I"}, 200},
		{"/file", []string{"-r", "10-19"}, 206},
		{"/file", []string{"-H", "If-None-Match: *"}, 304},
		{"/nothing", nil, 204},
		{"/", nil, 200}, // chunked
		{"/put", []string{"-T", upload, "-H", "Transfer-Encoding: chunked", "-H", "Expect:"}, 201},
		{"/put", []string{"-T", upload, "-H", "Expect:"}, 204},
		{"/put", []string{"-T", upload, "-H", "Expect: 100-continue"}, 204},
		{"/put", []string{"-X", "DELETE"}, 204},
		{"/missing", nil, 404},
		{"/file", []string{"-d", "refused"}, 405},
	}
	var args []string
	var codes strings.Builder
	const rounds = 3
	ask := func(i int, path string, extra []string, code int) {
		if len(args) > 0 {
			args = append(args, "--next")
		}
		args = append(args, extra...)
		args = append(args, "-sS", "-o", filepath.Join(dir, fmt.Sprint(i)), "-w", "%{response_code} %{num_connects}\n", "http://"+listen+path)
		connects := 0
		if i == 0 {
			connects = 1
		}
		fmt.Fprintf(&codes, "%d %d\n", code, connects)
	}
	for i := range rounds * len(kinds) {
		// After each of them, one whose body shows whether it is the right one.
		kind := kinds[i%len(kinds)]
		ask(2*i, kind.path, kind.args, kind.code)
		ask(2*i+1, "/file", nil, 200)
	}
	if got := run(t, 20*time.Second, 0, "curl", args...); got != codes.String() {
		t.Errorf("status codes and new connections:\n%swant:\n%s", got, codes.String())
	}
	for i := range rounds * len(kinds) {
		if hashOf(t, filepath.Join(dir, fmt.Sprint(2*i+1))) != want {
			t.Errorf("the file fetched after %v of %s is another", kinds[i%len(kinds)].args, kinds[i%len(kinds)].path)
		}
	}
	requests, connections, _ := o.logged(t)
	t.Logf("%d requests, on %d connections to the origin", requests, connections)
	if connections > 1 {
		t.Errorf("%d connections to the origin, want 1 for %d requests one after the other", connections, requests)
	}
}
