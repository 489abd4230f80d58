package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A large body must pass through: the process may not grow with it.
const (
	memoryBound = 64 << 20 // whatever happens
	growthBound = 8 << 20  // while one body of any size passes
)

// TestLargeBodies sends a body up to nginx, which stores it, and down again.
func TestLargeBodies(t *testing.T) {
	needs(t, "nginx", "curl")
	size := int64(128 << 20)
	if full {
		size = 1 << 30
	}
	file := filepath.Join(t.TempDir(), "body")
	want := randomFile(t, file, size)
	root := t.TempDir()
	o := startOrigin(t, originConfig{Root: root})
	listen := freeAddr(t)
	p := startProxy(t, basic(listen, []string{o.addr}, silent))
	url := "http://" + listen + "/body"
	get(t, "http://"+listen+"/small") // what only the first request needs is there then
	before := p.memory(t)

	code, took := watchMemory(t, p, start(t, "curl", "-sS", "-f", "-T", file, "-w", "%{http_code} %{size_upload}", url))
	if want := fmt.Sprintf("201 %d", size); code != want {
		t.Errorf("curl -T: %q, want %q", code, want)
	}
	logTransfer(t, "up", size, took, p.memory(t))
	if got := hashOf(t, filepath.Join(root, "body")); got != want {
		t.Errorf("the origin got another body: %s, want %s", got, want)
	}

	back := filepath.Join(t.TempDir(), "back")
	code, took = watchMemory(t, p, start(t, "curl", "-sS", "-f", "-o", back, "-w", "%{http_code} %{size_download}", url))
	if want := fmt.Sprintf("200 %d", size); code != want {
		t.Errorf("curl: %q, want %q", code, want)
	}
	logTransfer(t, "down", size, took, p.memory(t))
	if got := hashOf(t, back); got != want {
		t.Errorf("the client got another body: %s, want %s", got, want)
	}
	if growth := p.memory(t).peak - before.resident; growth > growthBound {
		t.Errorf("memory grew by %.1f MiB while %.0f MiB went up and down, want at most %.0f", mib(growth), mib(size), mib(growthBound))
	}
}

// TestSlowReader has a client read at 2 MiB/s what the origin sends at full speed: the difference must wait at the
// origin.
func TestSlowReader(t *testing.T) {
	needs(t, "nginx", "curl")
	size := int64(32 << 20)
	if full {
		size = 1 << 30 // eight and a half minutes
	}
	root := t.TempDir()
	want := randomFile(t, filepath.Join(root, "body"), size)
	o := startOrigin(t, originConfig{Root: root})
	listen := freeAddr(t)
	p := startProxy(t, basic(listen, []string{o.addr}, silent))
	get(t, "http://"+listen+"/small")
	before := p.memory(t)

	back := filepath.Join(t.TempDir(), "back")
	code, took := watchMemory(t, p, start(t, "curl", "-sS", "-f", "--limit-rate", "2M", "-o", back, "-w", "%{http_code}",
		"http://"+listen+"/body"))
	if code != "200" {
		t.Errorf("curl: %q, want 200", code)
	}
	logTransfer(t, "down to a slow reader", size, took, p.memory(t))
	if got := hashOf(t, back); got != want {
		t.Errorf("the client got another body: %s, want %s", got, want)
	}
	if took < 10*time.Second {
		t.Errorf("the client was not slow: it took %v", took)
	}
	if growth := p.memory(t).peak - before.resident; growth > growthBound {
		t.Errorf("memory grew by %.1f MiB for a slow reader, want at most %.0f", mib(growth), mib(growthBound))
	}
}

// watchMemory returns what a client wrote and how long it took, and fails when the proxy takes too much memory
// meanwhile.
func watchMemory(t *testing.T, p *proxy, client *process) (out string, took time.Duration) {
	t.Helper()
	started := time.Now()
	eventually(t, 15*time.Minute, client.name+" ends", func() bool {
		if m := p.memory(t); m.resident > memoryBound || m.peak > memoryBound {
			t.Fatalf("the proxy takes %.1f MiB, %.1f at its peak: more than %.0f", mib(m.resident), mib(m.peak), mib(memoryBound))
		}
		return client.ended()
	})
	took = time.Since(started)
	if code := client.exitCode(); code != 0 {
		t.Errorf("%s: exit code %d: %s", client.name, code, client.out)
	}
	return client.out.String(), took
}

func logTransfer(t *testing.T, what string, size int64, took time.Duration, m memory) {
	t.Helper()
	t.Logf("%.0f MiB %s in %v, %.0f MiB/s: %.1f MiB of memory, %.1f at its peak", mib(size), what,
		took.Round(time.Millisecond), mib(size)/took.Seconds(), mib(m.resident), mib(m.peak))
}

// randomFile writes a file whose every piece differs from every other, and returns its hash.
func randomFile(t *testing.T, path string, size int64) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, hash), rand.NewChaCha8([32]byte{1}), size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

func hashOf(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(hash.Sum(nil))
}
