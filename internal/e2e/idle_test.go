package e2e

import (
	"fmt"
	"regexp"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestIdleConnections holds 10,000 keep-alive connections, each of which has made a request: they cost little, none
// of them is dropped before client_idle, and all of them after it.
func TestIdleConnections(t *testing.T) {
	needs(t, "nginx")
	const (
		wanted     = 10_000
		perClient  = 2 << 10          // bytes of memory
		clientIdle = 40 * time.Second // what takes two seconds may take twenty times as long
		hold       = 2 * time.Second
		slack      = 2 * soon // for dropping so many at once
	)
	n := min(wanted, clientsThatFit(t))
	if n < wanted {
		t.Logf("the open-file limit allows for %d connections, not for %d", n, wanted)
	}
	o := startOrigin(t, originConfig{})
	listen := freeAddr(t)
	p := startProxy(t, basic(listen, []string{o.addr}, fmt.Sprintf(`
[server]
max_connections = %d
drain_timeout = "5s"

[timeouts]
client_idle = "%v"

[access_log]
path = "off"
`, wanted, clientIdle)))
	if m := regexp.MustCompile(`"accepted":(\d+)`).FindStringSubmatch(p.out.String()); m != nil {
		t.Logf("max_connections = %d, and the proxy says that it accepts %s", wanted, m[1])
		accepted, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		n = min(n, accepted)
	}

	gather(t, 100, listen, "/small").leave() // what the first requests need is there then
	eventually(t, soon, "the first clients are gone", func() bool {
		files, err := p.descriptors()
		if err != nil {
			t.Fatal(err)
		}
		return files < 100
	})
	before := p.memory(t)
	started := time.Now()
	clients := gather(t, n, listen, "/small")
	opened := time.Now()
	after := p.memory(t)
	t.Logf("%d connections in %v: memory from %.1f to %.1f MiB, %d bytes each (%d at the peak)", n,
		opened.Sub(started).Round(time.Millisecond), mib(before.resident), mib(after.resident),
		(after.resident-before.resident)/int64(n), (after.peak-before.resident)/int64(n))
	if growth := after.resident - before.resident; growth > perClient*int64(n) {
		t.Errorf("memory grew by %d bytes a connection, want at most %d", growth/int64(n), perClient)
	}

	throughout(t, hold, func() error {
		files, err := p.descriptors()
		if err == nil && files < n {
			err = fmt.Errorf("%d descriptors for %d connections", files, n)
		}
		return err
	})
	clients.each(t, func(c *client) error {
		idle := time.Since(c.since)
		if idle > clientIdle {
			return fmt.Errorf("this machine is too slow: %v between two requests, and client_idle is %v", idle, clientIdle)
		}
		if err := c.get("/small"); err != nil {
			return fmt.Errorf("dropped after %v: %w", idle, err)
		}
		return nil
	})
	again := p.memory(t)
	t.Logf("all of them answered a second time, %v after the first at the latest; memory %.1f MiB, %.1f at its peak",
		time.Since(opened).Round(time.Millisecond), mib(again.resident), mib(again.peak))

	var late, early time.Duration
	clients.each(t, func(c *client) error {
		return c.closed(time.Until(c.since.Add(clientIdle + slack)))
	})
	for _, c := range clients {
		// The proxy begins to count somewhere between the two.
		late = max(late, c.ended.Sub(c.since)-clientIdle)
		early = max(early, c.asked.Add(clientIdle).Sub(c.ended))
	}
	t.Logf("all of them dropped at most %v after client_idle", late.Round(time.Millisecond))
	if early > 0 {
		t.Errorf("some were dropped %v before client_idle", early)
	}
}

// clientsThatFit is how many connections the proxy can hold on this machine: it may need a second descriptor for
// each, and some for itself. The clients are this process', which has the same limit.
func clientsThatFit(t *testing.T) int {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	own := uint64(100 + 20*runtime.NumCPU())
	if limit.Max < 2*own {
		t.Fatalf("the open-file limit is %s", strconv.FormatUint(limit.Max, 10))
	}
	// Not all of the rest, so that nobody has to wait for a place.
	return int(min((limit.Max-own)/2, 1<<20)) * 96 / 100
}
