package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestTree has wget fetch a tree of files by its listings, through the proxy and directly: the same must arrive,
// and both sides of the proxy must keep their connections.
func TestTree(t *testing.T) {
	needs(t, "nginx", "wget", "diff", "go")
	source := filepath.Join(strings.TrimSpace(run(t, time.Minute, 0, "go", "env", "GOROOT")), "src")
	parts := []string{"net", "go", "crypto"} // about 2,000 files
	if full {
		parts = []string{""}
	}

	var origins []*origin
	var servers []string
	for range 3 {
		o := startOrigin(t, originConfig{Root: source, Log: true})
		origins = append(origins, o)
		servers = append(servers, o.addr)
	}
	direct := startOrigin(t, originConfig{Root: source})
	listen, accessLog := freeAddr(t), filepath.Join(t.TempDir(), "access.log")
	startProxy(t, fmt.Sprintf(`
[access_log]
path = %q
format = '$client_port $status $end'

[[listener]]
address = %q

[[route]]
path = "/"
backend = "tree"

[backend.tree]
balance = "round-robin"
servers = %s
`, accessLog, listen, quoteList(servers)))

	dirs := [2]string{filepath.Join(t.TempDir(), "proxied"), filepath.Join(t.TempDir(), "direct")}
	var took [2]time.Duration
	for i, address := range []string{listen, direct.addr} {
		args := []string{
			"--recursive", "--level=inf", "--no-parent", "--no-host-directories", "--execute=robots=off",
			"--default-page=.listing.html", "--tries=1", "--timeout=20", "--no-verbose", "--directory-prefix=" + dirs[i],
		}
		for _, part := range parts {
			args = append(args, strings.TrimSuffix("http://"+address+"/"+part, "/")+"/")
		}
		started := time.Now()
		// wget exits with 8 if any response was an error, and with 4 if any connection broke.
		run(t, 5*time.Minute, 0, "wget", args...)
		took[i] = time.Since(started)
	}

	run(t, time.Minute, 0, "diff", "-r", dirs[0], dirs[1])
	files := 0
	for _, part := range parts {
		files += sameFiles(t, filepath.Join(source, part), filepath.Join(dirs[0], part))
	}

	requests, most := 0, 2*runtime.NumCPU() // each loop has connections of its own
	for i, o := range origins {
		n, connections, errors := o.logged(t)
		requests += n
		t.Logf("origin %d: %d requests on %d connections", i+1, n, connections)
		if n < files/3 || connections > most || errors > 0 {
			t.Errorf("origin %d: %d requests for %d files on %d connections, %d errors; want a third on at most %d", i+1, n,
				files, connections, errors, most)
		}
	}
	ports := proxyLog(t, accessLog, requests)
	t.Logf("%d files by %d requests on %d connections: %v through the proxy, %v directly", files, requests, ports,
		took[0].Round(time.Millisecond), took[1].Round(time.Millisecond))
	// wget opens a new connection after an answer that it does not read; there are none here.
	if ports > 5 {
		t.Errorf("wget needed %d connections for %d requests", ports, requests)
	}
}

// proxyLog checks that the proxy's access log has that many requests, all of which went well, and returns how many
// ports they came from.
func proxyLog(t *testing.T, path string, requests int) (ports int) {
	t.Helper()
	var seen map[string]bool
	// The log is written some time after the fact.
	eventually(t, soon, fmt.Sprintf("the access log has %d requests", requests), func() bool {
		log, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		seen = make(map[string]bool)
		n := 0
		for line := range strings.Lines(string(log)) {
			port, result, _ := strings.Cut(line, " ")
			if strings.HasSuffix(line, "\n") && result != "200 ok\n" {
				t.Fatalf("access log: %q", line)
			}
			seen[port] = true
			n++
		}
		return n == requests
	})
	return len(seen)
}

// sameFiles compares what was fetched with the files that the origins served, and returns how many there are.
// Listings leave out names that begin with a dot.
func sameFiles(t *testing.T, source, fetched string) (files int) {
	t.Helper()
	err := filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		name, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		want, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join(fetched, name))
		if err != nil {
			return err
		}
		if string(got) != string(want) {
			return fmt.Errorf("%s: fetched %d bytes that differ from the %d of the file", name, len(got), len(want))
		}
		files++
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return files
}
