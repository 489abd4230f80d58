package e2e

import (
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestKilledOrigins kills one of three origins and starts it again, ten times, under the load of wrk. Clients must
// not notice. An origin is back in service before the next one dies.
func TestKilledOrigins(t *testing.T) {
	needs(t, "nginx", "wrk")
	const times = 10
	var origins []*origin
	var servers []string
	for range 3 {
		o := startOrigin(t, originConfig{})
		origins = append(origins, o)
		servers = append(servers, o.addr)
	}
	listen := freeAddr(t)
	startProxy(t, basic(listen, servers, silent))
	wrk := start(t, "wrk", "-t", "2", "-c", "64", "-d", "10m", "--timeout", "5s", "http://"+listen+"/small")

	// Enough requests that each of the 64 connections is likely to have made several.
	const many = 2000
	busy := func(o *origin) {
		t.Helper()
		from := o.served(t)
		eventually(t, 20*time.Second, o.addr+" is busy", func() bool {
			if wrk.ended() {
				t.Fatalf("wrk ended: %s", wrk.out)
			}
			return o.served(t) > from+many
		})
	}
	for _, o := range origins {
		busy(o)
	}
	for i := range times {
		victim, other := origins[i%3], origins[(i+1)%3]
		victim.kill()
		busy(other)
		victim.restart(t)
		busy(victim)
	}
	for _, o := range origins {
		busy(o)
	}
	wrk.signal(t, syscall.SIGINT) // it reports and leaves
	wrk.wait(t, 20*time.Second)

	report := wrk.out.String()
	requests := figure(t, report, `(\d+) requests in`)
	failed := figure(t, report, `Non-2xx or 3xx responses: (\d+)`)
	broken := figure(t, report, `Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	t.Logf("%d requests while an origin was killed %d times: %d failed, %d socket errors", requests, times, failed, broken)
	if requests < times*many || failed != 0 || broken != 0 {
		t.Errorf("wrk reports:\n%s", report)
	}
}

// figure is the sum of the numbers that a pattern finds in a report; 0 when wrk has left the line out.
func figure(t *testing.T, report, pattern string) (sum int) {
	t.Helper()
	groups := regexp.MustCompile(pattern).FindStringSubmatch(report)
	for i := 1; i < len(groups); i++ {
		n, err := strconv.Atoi(groups[i])
		if err != nil {
			t.Fatalf("%v in:\n%s", err, report)
		}
		sum += n
	}
	return sum
}
