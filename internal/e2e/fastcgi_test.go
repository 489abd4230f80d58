package e2e

import (
	"crypto/md5"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// script tells what it has received, and then sends that many bytes.
const script = `<?php
$body = file_get_contents("php://input");
header("Content-Type: text/plain");
echo $_SERVER["REQUEST_METHOD"], " ", strlen($body), " ", md5($body), "\n";
$line = str_repeat("0123456789abcde", 68) . "abc\n";
for ($left = (int)$_GET["answer"]; $left > 0; $left -= strlen($line)) {
    echo substr($line, 0, $left);
}
`

// startPHP starts PHP-FPM on a unix socket.
func startPHP(t *testing.T) (socket, file string) {
	t.Helper()
	needs(t, "cgi-fcgi")
	// Debian's has its version in its name.
	found, _ := filepath.Glob("/usr/sbin/php-fpm*") // the pattern is well-formed
	program := "php-fpm"
	if len(found) > 0 {
		program = slices.Max(found)
	}
	needs(t, program)
	dir := openDir(t)
	socket, file = filepath.Join(dir, "fpm"), filepath.Join(dir, "script.php")
	conf := filepath.Join(dir, "fpm.conf")
	asUser := ""
	if os.Geteuid() == 0 {
		asUser = "user = nobody"
	}
	for path, text := range map[string]string{
		file: script,
		conf: fmt.Sprintf(`
[global]
daemonize = no
error_log = /dev/stderr

[www]
%s
listen = %s
listen.mode = 0666
pm = static
pm.max_children = 2
`, asUser, socket),
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := start(t, program, "--nodaemonize", "--no-php-ini", "--prefix", dir, "--fpm-config", conf)
	p.endsBy(t, syscall.SIGTERM)
	eventually(t, 20*time.Second, "PHP-FPM is ready", func() bool {
		if p.ended() {
			t.Fatalf("PHP-FPM ended with %d:\n%s", p.exitCode(), p.out)
		}
		return accepts("unix:" + socket)
	})
	return socket, file
}

// TestFastCGI has a FastCGI client run a PHP script through sock listeners, one on TCP and one on a unix socket, before
// PHP-FPM's unix socket.
func TestFastCGI(t *testing.T) {
	socket, file := startPHP(t)
	for _, listen := range []string{"", "unix:" + filepath.Join(openDir(t), "front")} {
		name := "tcp to unix"
		if listen != "" {
			name = "unix to unix"
		}
		t.Run(name, func(t *testing.T) {
			p := startSock(t, listen, "unix:"+socket)
			sizes := []struct{ body, answer int }{{0, 0}, {0, 1}, {1, 100}, {100_000, 10}, {3 << 20, 5 << 20}}
			for i, size := range sizes {
				body := bytesOf(byte(i), size.body)
				from := filepath.Join(t.TempDir(), "body")
				if err := os.WriteFile(from, body, 0o600); err != nil {
					t.Fatal(err)
				}
				out := run(t, time.Minute, 0, "sh", "-c", `from=$1 && shift && exec env "$@" <"$from"`, "sh", from,
					"REQUEST_METHOD=POST", "SCRIPT_FILENAME="+file, fmt.Sprintf("QUERY_STRING=answer=%d", size.answer),
					fmt.Sprintf("CONTENT_LENGTH=%d", size.body), "CONTENT_TYPE=application/octet-stream",
					"cgi-fcgi", "-bind", "-connect", strings.TrimPrefix(p.listen, "unix:"))
				_, content, _ := strings.Cut(out, "\r\n\r\n")
				first, rest, _ := strings.Cut(content, "\n")
				if want := fmt.Sprintf("POST %d %x", size.body, md5.Sum(body)); first != want {
					t.Errorf("the script has received %q, want %q in\n%s", first, want, excerpt(out))
				}
				if len(rest) != size.answer {
					t.Errorf("%d bytes came behind that, want %d", len(rest), size.answer)
				}
			}
			if byServer, _ := p.finish(t); total(byServer) != len(sizes) {
				t.Errorf("connections: %v, want %d", byServer, len(sizes))
			}
		})
	}
}
