package e2e

import (
	"bufio"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// startRedis starts a Redis server that keeps nothing, reached over TCP and over a unix socket.
func startRedis(t *testing.T) (tcp, unix string) {
	t.Helper()
	needs(t, "redis-server", "redis-cli", "redis-benchmark")
	dir, port := openDir(t), freePort(t)
	unix = filepath.Join(dir, "redis")
	p := start(t, "redis-server", "--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--unixsocket", unix, "--save", "",
		"--appendonly", "no", "--daemonize", "no", "--dir", dir)
	tcp = fmt.Sprintf("127.0.0.1:%d", port)
	eventually(t, 20*time.Second, "Redis is ready", func() bool {
		if p.ended() {
			t.Fatalf("Redis ended with %d:\n%s", p.exitCode(), p.out)
		}
		return accepts(tcp) && accepts("unix:"+unix)
	})
	return tcp, unix
}

// TestRedis pipelines commands through sock listeners: Redis' own benchmark, its mass insertion, and a client that
// asks for everything that was inserted before it reads the first answer.
func TestRedis(t *testing.T) {
	tcp, unix := startRedis(t)
	requests, keys := "100000", 50_000
	if full {
		requests, keys = "1000000", 500_000
	}
	eachSock(t, true, tcp, unix, func(t *testing.T, p *sockProxy) {
		where := []string{"-h", "127.0.0.1", "-p", p.port()}
		if path, ok := strings.CutPrefix(p.listen, "unix:"); ok {
			where = []string{"-s", path}
		}
		started := time.Now()
		// It exits with 1 at the first error.
		out := run(t, 10*time.Minute, 0, "redis-benchmark", append(where, "-n", requests, "-c", "50", "-P", "16", "-r", "100000",
			"-t", "set,get,lpush,lrange_100", "-q")...)
		benchmark := time.Since(started)
		run(t, time.Minute, 0, "redis-cli", append(where, "flushall")...)

		commands := filepath.Join(t.TempDir(), "commands")
		writeCommands(t, commands, keys)
		inserted := run(t, 5*time.Minute, 0, "sh", append([]string{"-c", `from=$1 && shift && exec redis-cli "$@" --pipe <"$from"`, "sh", commands}, where...)...)
		if want := fmt.Sprintf("errors: 0, replies: %d\n", keys); !strings.HasSuffix(inserted, want) {
			t.Fatalf("redis-cli --pipe: %q, want %q at its end", inserted, want)
		}
		started = time.Now()
		if err := readBack(p.listen, keys); err != nil {
			t.Fatal(err)
		}
		asked := time.Since(started)
		_, ok := p.finish(t)
		t.Logf("redis-benchmark by %v; %d keys inserted, and read by one client in %v; %d connections ended in order; %s",
			benchmark.Round(time.Millisecond), keys, asked.Round(time.Millisecond), ok,
			strings.Join(regexp.MustCompile(`\w+: [\d.]+ requests per second`).FindAllString(out, -1), ", "))
		// The benchmark leaves while answers are on their way to some of its connections; the others end in order.
		if ok < 3 {
			t.Errorf("%d connections ended in order, want those of redis-cli and of the reader at least", ok)
		}
	})
}

// keyValue is a key and its value, which is of 0 bytes to 2 KiB.
func keyValue(i int) (key string, value []byte) {
	rng := rand.New(rand.NewPCG(uint64(i), 3))
	value = make([]byte, rng.IntN(1<<rng.IntN(12)))
	for at := range value {
		value[at] = byte(rng.Uint32())
	}
	return fmt.Sprintf("key:%d", i), value
}

// writeCommands writes a file that sets each key, in Redis' protocol.
func writeCommands(t *testing.T, path string, keys int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	for i := range keys {
		key, value := keyValue(i)
		fmt.Fprintf(w, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(key), key, len(value), value)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// readBack asks for every key without waiting for answers, ends its side, and compares what comes with what was set.
func readBack(address string, keys int) error {
	c, err := dial(address)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Minute))
	asked := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(c, 64<<10)
		for i := range keys {
			key, _ := keyValue(i)
			fmt.Fprintf(w, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", len(key), key)
		}
		fmt.Fprintf(w, "*1\r\n$4\r\nQUIT\r\n") // Redis forgets the answers of a client that ends its side without a word
		asked <- w.Flush()
	}()
	r := bufio.NewReaderSize(c, 64<<10)
	for i := range keys {
		key, want := keyValue(i)
		var n int
		if _, err := fmt.Fscanf(r, "$%d\r\n", &n); err != nil {
			return fmt.Errorf("the answer for %s: %w", key, err)
		}
		if n != len(want) {
			return fmt.Errorf("%s has %d bytes, want %d", key, n, len(want))
		}
		got := make([]byte, n+2)
		if _, err := io.ReadFull(r, got); err != nil {
			return fmt.Errorf("the answer for %s: %w", key, err)
		}
		if sum, wanted := crc32.ChecksumIEEE(got[:n]), crc32.ChecksumIEEE(want); sum != wanted {
			return fmt.Errorf("%s has a value with CRC %08x, want %08x", key, sum, wanted)
		}
	}
	rest, err := io.ReadAll(r)
	if err != nil || string(rest) != "+OK\r\n" {
		return fmt.Errorf("behind the last answer: %q, %v", rest, err)
	}
	if err := <-asked; err != nil {
		return err
	}
	return c.(interface{ CloseWrite() error }).CloseWrite()
}
