package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// starving has a connection limit that the descriptors do not allow for, and clients that nothing but the test
// ends.
const starving = `
[server]
max_connections = 10000
drain_timeout = "5s"

[access_log]
path = "off"
`

// TestFewDescriptors starts the proxy with 256 descriptors and sends 1,000 clients at once, which stay.
func TestFewDescriptors(t *testing.T) {
	needs(t, "nginx", "sh")
	o := startOrigin(t, originConfig{})
	listen := freeAddr(t)
	p := startLimited(t, 256, basic(listen, []string{o.addr}, starving))
	starve(t, p, listen)
}

// TestDescriptorsRunOut takes descriptors away from a proxy that believes to have enough: accept and connect fail.
func TestDescriptorsRunOut(t *testing.T) {
	needs(t, "nginx", "sh")
	o := startOrigin(t, originConfig{})
	listen := freeAddr(t)
	p := startLimited(t, 4096, basic(listen, []string{o.addr}, starving))
	limit := unix.Rlimit{Cur: 128, Max: 128}
	if err := unix.Prlimit(p.pid(), unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		t.Fatal(err)
	}
	starve(t, p, listen)
	if !p.said("too many open files") {
		t.Error("the proxy's log does not tell that descriptors ran out")
	}
}

// starve sends 1,000 clients at once to a proxy that has a client already. New ones are served or refused, and stay,
// or they wait. The old one is served all the time, nobody crashes or spins, and when the others have left,
// everybody is served again.
func starve(t *testing.T, p *proxy, listen string) {
	t.Helper()
	const clients = 1000
	old := gather(t, 1, listen, "/small")[0]

	all := make(crowd, clients)
	t.Cleanup(all.leave)
	statuses := make(map[int]int)
	var mu sync.Mutex
	var gone sync.WaitGroup
	begin := make(chan struct{})
	for i := range all {
		gone.Go(func() {
			<-begin
			status := 0 // not answered
			c, err := connect(listen)
			if err == nil {
				all[i] = c
				if c.send("GET /small HTTP/1.1\r\nHost: e2e\r\n\r\n") == nil {
					status, _, _, _ = c.answer(3 * time.Second)
				}
			} else {
				status = -1 // not connected
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[status]++
		})
	}
	close(begin)
	gone.Wait()
	t.Logf("of %d clients: %d served, %d got 503, %d wait, %d could not connect", clients, statuses[http.StatusOK],
		statuses[http.StatusServiceUnavailable], statuses[0], statuses[-1])
	if got := statuses[http.StatusOK] + statuses[http.StatusServiceUnavailable] + statuses[0]; got != clients {
		t.Errorf("statuses %v: want 200, 503 or none yet", statuses)
	}

	// Starved: the kernel holds some hundred clients that cannot be accepted.
	const span = time.Second
	busy := p.cpu(t)
	throughout(t, span, func() error {
		if p.ended() {
			return fmt.Errorf("the proxy ended with %d", p.exitCode())
		}
		return nil
	})
	busy = p.cpu(t) - busy
	if err := old.get("/small"); err != nil {
		t.Errorf("the client that was there before the others came: %v", err)
	}
	t.Logf("%v of processor time in %v while %d clients wait", busy, span, statuses[0])
	if busy > span/4 {
		t.Errorf("the proxy spins: %v of processor time in %v", busy, span)
	}

	left := time.Now()
	all.leave()
	eventually(t, 2*soon, "everything is served again", func() bool {
		for range 50 {
			if _, err := tryGet("http://" + listen + "/small"); err != nil {
				return false
			}
		}
		return true
	})
	t.Logf("everybody served %v after the clients left", time.Since(left).Round(time.Millisecond))
}
