package e2e

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// postgres is a PostgreSQL cluster of the test's own, reached over TCP and over a unix socket.
type postgres struct {
	bin       string // the folder of its programs
	tcp, unix string // addresses, the latter without "unix:"
}

// startPostgres makes a new cluster, without a password, and starts its server.
func startPostgres(t *testing.T) *postgres {
	t.Helper()
	// Debian keeps the programs of each version in a folder of their own, and wrappers in PATH.
	bins, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // the pattern is well-formed
	pg := &postgres{}
	if len(bins) > 0 {
		pg.bin = filepath.Dir(slices.Max(bins))
	} else {
		needs(t, "initdb", "postgres", "psql", "pgbench")
		path, _ := find("postgres")
		pg.bin = filepath.Dir(path)
	}
	dir, port := openDir(t), freePort(t)
	as := servant(t, "postgres", dir)
	data := filepath.Join(dir, "data")
	words := func(program string, args ...string) []string {
		return append(append(slices.Clone(as), filepath.Join(pg.bin, program)), args...)
	}
	initdb := words("initdb", "--pgdata="+data, "--username=postgres", "--auth=trust", "--encoding=UTF8",
		"--locale=C", "--no-sync", "--no-instructions")
	run(t, 5*time.Minute, 0, initdb[0], initdb[1:]...)
	pg.tcp, pg.unix = fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("%s/.s.PGSQL.%d", dir, port)
	// What would be lost with the machine may be lost: the disk is not what is tested.
	server := words("postgres", "-D", data, "-p", fmt.Sprint(port), "-k", dir, "-c", "listen_addresses=127.0.0.1",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=100", "-c", "max_wal_size=4GB",
		"-c", "autovacuum=off")
	p := start(t, server[0], server[1:]...)
	p.endsBy(t, syscall.SIGQUIT) // an immediate shutdown
	eventually(t, time.Minute, "PostgreSQL is ready", func() bool {
		if p.ended() {
			t.Fatalf("PostgreSQL ended with %d:\n%s", p.exitCode(), p.out)
		}
		return p.said("ready to accept connections")
	})
	return pg
}

// psql runs commands through the proxy. Any error ends it with another exit code.
func (pg *postgres) psql(t *testing.T, p *sockProxy, command string) string {
	t.Helper()
	return run(t, 10*time.Minute, 0, filepath.Join(pg.bin, "psql"), "--no-psqlrc", "--host=127.0.0.1", "--port="+p.port(),
		"--username=postgres", "--dbname=postgres", "--set=ON_ERROR_STOP=1", "--quiet", "--tuples-only", "--no-align",
		"--command="+command)
}

var (
	pgbenchDone   = regexp.MustCompile(`number of transactions actually processed: (\d+)`)
	pgbenchFailed = regexp.MustCompile(`number of failed transactions: (\d+) `)
)

// pgbench runs its built-in load through the proxy, and returns how many transactions it made.
func (pg *postgres) pgbench(t *testing.T, p *sockProxy, args ...string) (transactions string) {
	t.Helper()
	args = append([]string{"--host=127.0.0.1", "--port=" + p.port(), "--username=postgres"}, args...)
	// It exits with 2 if any of its clients met an error.
	out := run(t, 5*time.Minute, 0, filepath.Join(pg.bin, "pgbench"), append(args, "postgres")...)
	done, failed := pgbenchDone.FindStringSubmatch(out), pgbenchFailed.FindStringSubmatch(out)
	if done == nil || done[1] == "0" || failed != nil && failed[1] != "0" {
		t.Fatalf("pgbench:\n%s", out)
	}
	return done[1]
}

// TestPostgres puts a sock listener before two addresses of a PostgreSQL server. pgbench runs through it without an
// error, on kept connections and on one for each transaction, and COPY takes the same bytes in and out.
func TestPostgres(t *testing.T) {
	pg := startPostgres(t)
	p := startSock(t, "", pg.tcp, "unix:"+pg.unix)

	seconds, copied := 5, int64(32<<20)
	if full {
		seconds, copied = 60, 1<<30
	}
	pg.psql(t, p, "select 1")
	run(t, 5*time.Minute, 0, filepath.Join(pg.bin, "pgbench"), "--initialize", "--scale=2", "--quiet", "--host=127.0.0.1",
		"--port="+p.port(), "--username=postgres", "postgres")
	kept := pg.pgbench(t, p, "--client=16", "--jobs=2", fmt.Sprintf("--time=%d", seconds))
	// Every update of pgbench leaves a row of its history.
	if rows := strings.TrimSpace(pg.psql(t, p, "select count(*) from pgbench_history")); rows != kept {
		t.Errorf("pgbench has made %s transactions, and the server has %s of them", kept, rows)
	}
	anew := pg.pgbench(t, p, "--client=8", "--connect", "--select-only", fmt.Sprintf("--time=%d", max(2, seconds/6)))

	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	want := writeRows(t, in, copied)
	pg.psql(t, p, "create unlogged table blob (id int, content text)")
	started := time.Now()
	pg.psql(t, p, fmt.Sprintf(`\copy blob from '%s'`, in))
	up := time.Since(started)
	started = time.Now()
	// A table has no order of its own.
	pg.psql(t, p, fmt.Sprintf(`\copy (select * from blob order by id) to '%s'`, out))
	down := time.Since(started)
	if got := sum(t, out); got != want {
		t.Errorf("COPY has taken a file with SHA-256 %s in, and given one with %s out", want, got)
	}

	byServer, ok := p.finish(t)
	t.Logf("%s transactions on kept connections, %s with a connection each; COPY of %.0f MiB in by %v, out by %v; connections: %v",
		kept, anew, mib(copied), up.Round(time.Millisecond), down.Round(time.Millisecond), byServer)
	if len(byServer) != 2 || byServer[pg.tcp] == 0 || byServer["unix:"+pg.unix] == 0 {
		t.Errorf("connections by server: %v, want some to each", byServer)
	}
	if n := total(byServer); ok != n {
		t.Errorf("%d of %d connections were ended in order by both sides", ok, n)
	}
}

// writeRows writes a file of about so many bytes as COPY reads and writes it, a number and a text in each line, and
// returns its SHA-256. The texts cannot be compressed, and are of many lengths.
func writeRows(t *testing.T, path string, bytes int64) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	digest := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(f, digest), 1<<20)
	source, lengths := rand.NewChaCha8([32]byte{'c', 'o', 'p', 'y'}), rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 16<<10)
	for row, written := 0, int64(0); written < bytes; row++ {
		some := random[:1+lengths.IntN(len(random))]
		source.Read(some)
		n, err := fmt.Fprintf(w, "%d\t%s\n", row, hex.EncodeToString(some))
		if err != nil {
			t.Fatal(err)
		}
		written += int64(n)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(digest.Sum(nil))
}

// sum is the SHA-256 of a file.
func sum(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(digest.Sum(nil))
}
