package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"text/template"
)

// origin is an nginx that serves a folder, in a single process.
type origin struct {
	*process
	addr   string // host:port or unix:/path
	status string // host:port of the status page
	dir    string // its own: logs, temporary files
	conf   string
}

// originConfig is what a test wants of an origin.
type originConfig struct {
	Root  string // the folder it serves; empty: a new one
	Addr  string // empty: a free port
	Extra string // directives in its server block
	Log   bool   // write an access log, see origin.requests
}

// Files have no type that a browser or wget would look into: only listings are HTML. Heads and small files leave
// in one write (sendfile off), so that killing the origin never sends a part of such a response.
var originTemplate = template.Must(template.New("nginx.conf").Parse(`
daemon off;
master_process off;
worker_rlimit_nofile 4096;
pid {{.Dir}}/nginx.pid;
error_log stderr crit;

events {
    worker_connections 2048;
}

http {
    log_format connections '$connection $connection_requests $status $request_uri';
    access_log {{if .Log}}{{.Dir}}/access.log connections{{else}}off{{end}};
    client_body_temp_path {{.Dir}}/body;
    proxy_temp_path       {{.Dir}}/proxy;
    fastcgi_temp_path     {{.Dir}}/fastcgi;
    uwsgi_temp_path       {{.Dir}}/uwsgi;
    scgi_temp_path        {{.Dir}}/scgi;

    types { }
    default_type application/octet-stream;
    sendfile off;
    client_max_body_size 0;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    reset_timedout_connection on;

    server {
        listen {{.Addr}} backlog=4096;
        root {{.Root}};
        index .no-index;
        absolute_redirect off;
        location / {
            autoindex on;
            dav_methods PUT DELETE;
            create_full_put_path on;
        }
        location = /small {
            return 200 "a small answer\n";
        }
        {{.Extra}}
    }

    server {
        listen {{.Status}};
        access_log off;
        location / { stub_status; }
    }
}
`))

func startOrigin(t *testing.T, c originConfig) *origin {
	t.Helper()
	o := &origin{addr: c.Addr, status: freeAddr(t), dir: t.TempDir()}
	if o.addr == "" {
		o.addr = freeAddr(t)
	}
	if c.Root == "" {
		c.Root = t.TempDir()
	}
	var text bytes.Buffer
	err := originTemplate.Execute(&text, map[string]any{
		"Addr": o.addr, "Status": o.status, "Dir": o.dir, "Root": c.Root, "Extra": c.Extra, "Log": c.Log,
	})
	if err != nil {
		t.Fatal(err)
	}
	o.conf = filepath.Join(o.dir, "nginx.conf")
	if err := os.WriteFile(o.conf, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	o.restart(t)
	return o
}

// restart starts the origin, again if it was killed, and returns when it listens.
func (o *origin) restart(t *testing.T) {
	t.Helper()
	o.process = start(t, "nginx", "-e", "stderr", "-p", o.dir, "-c", o.conf)
	eventually(t, soon, "nginx listens on "+o.addr, func() bool {
		if o.ended() {
			t.Fatalf("nginx ended:\n%s", o.out)
		}
		return accepts(o.addr) && accepts(o.status)
	})
}

var stubRequests = regexp.MustCompile(`\n\s*\d+ \d+ (\d+)`)

// served is how many requests an origin has had in this life, the look at it included.
func (o *origin) served(t *testing.T) int {
	t.Helper()
	body := get(t, "http://"+o.status+"/")
	m := stubRequests.FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("the status page has no number of requests: %q", body)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// logged is what an origin's access log tells: how many requests came, on how many connections, and how many were
// answered with an error.
func (o *origin) logged(t *testing.T) (requests, connections, errors int) {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(o.dir, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for line := range strings.Lines(string(log)) {
		var connection, status string
		var number int
		if _, err := fmt.Sscan(line, &connection, &number, &status); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		seen[connection] = true
		requests++
		if status[0] >= '4' {
			errors++
		}
	}
	return requests, len(seen), errors
}

// get returns the body of a response with status 200, on a connection of its own.
func get(t *testing.T, url string) string {
	t.Helper()
	body, err := tryGet(url)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func tryGet(url string) (string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: soon}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return string(body), err
}
