package configs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// resolverFunc is a function as a Resolver.
type resolverFunc func(ctx context.Context, host string) ([]netip.Addr, error)

func (f resolverFunc) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	return f(ctx, host)
}

// withServers is a configuration whose one backend has the given servers.
func withServers(servers ...string) []byte {
	return []byte(strings.Replace(rest, `"10.0.0.1"`, `"`+strings.Join(servers, `", "`)+`"`, 1))
}

func TestNamesThatCannotBeResolved(t *testing.T) {
	r := resolverFunc(func(_ context.Context, host string) ([]netip.Addr, error) {
		switch host {
		case "missing.example":
			return nil, &net.DNSError{Err: "no such host", Name: host, Server: "192.0.2.53:53", IsNotFound: true}
		case "broken.example":
			return nil, errors.New("read udp: connection refused")
		case "zoned.example":
			return []netip.Addr{netip.MustParseAddr("fe80::1%eth0")}, nil
		}
		return nil, nil
	})
	plan, err := Parse(t.Context(), "f", withServers("missing.example", "broken.example:81", "zoned.example", "empty.example", "MISSING.example:82"), r)
	want := `f:7:12: backend.app.servers[0]: "missing.example" cannot be resolved: no such host
f:7:31: backend.app.servers[1]: "broken.example" cannot be resolved: read udp: connection refused
f:7:52: backend.app.servers[2]: "zoned.example" cannot be resolved: the name has no usable address
f:7:69: backend.app.servers[3]: "empty.example" cannot be resolved: the name has no usable address
f:7:86: backend.app.servers[4]: "missing.example" cannot be resolved: no such host`
	if plan != nil || err == nil || err.Error() != want {
		t.Errorf("got plan %v and\n%v\nwant\n%s", plan, err, want)
	}
}

func TestANameIsLookedUpOnce(t *testing.T) {
	var mu sync.Mutex
	asked := make(map[string]int)
	r := resolverFunc(func(_ context.Context, host string) ([]netip.Addr, error) {
		mu.Lock()
		defer mu.Unlock()
		asked[host]++
		return []netip.Addr{netip.MustParseAddr("10.0.0.2")}, nil
	})
	plan, err := Parse(t.Context(), "f", withServers("app.example:1", "app.example:2", "App.Example:3"), r)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Backends[0].Servers) != 3 || len(asked) != 1 || asked["app.example"] != 1 {
		t.Errorf("%d servers, asked for %v", len(plan.Backends[0].Servers), asked)
	}
}

func TestNamesAreResolvedConcurrentlyAndNotAllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		r := resolverFunc(func(context.Context, string) ([]netip.Addr, error) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			<-time.After(time.Second) // of the bubble, which nobody waits for
			mu.Lock()
			now--
			mu.Unlock()
			return []netip.Addr{netip.MustParseAddr("10.0.0.2")}, nil
		})
		var names []string
		for i := range 3 * resolveAtOnce {
			names = append(names, fmt.Sprintf("app%d.example", i))
		}
		start := time.Now()
		if _, err := Parse(t.Context(), "f", withServers(names...), r); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); most != resolveAtOnce || took != 3*time.Second {
			t.Errorf("%d at once, in %v", most, took)
		}
	})
}

func TestANameServerThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := resolverFunc(func(ctx context.Context, host string) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, &net.DNSError{Err: "i/o timeout", Name: host, IsTimeout: true}
		})
		start := time.Now()
		_, err := Parse(t.Context(), "f", withServers("app.example"), r)
		want := `f:7:12: backend.app.servers[0]: "app.example" cannot be resolved: no answer within 10s`
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if took := time.Since(start); took != resolveTimeout {
			t.Errorf("gave up after %v", took)
		}
	})
}

func TestResolvingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	r := resolverFunc(func(ctx context.Context, _ string) ([]netip.Addr, error) {
		cancel(errors.New("interrupted"))
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if _, err := Parse(ctx, "f", withServers("app.example"), r); err == nil || !strings.HasSuffix(err.Error(), "cannot be resolved: context canceled") {
		t.Errorf("got %v", err)
	}
}

func TestNoNamesNoResolver(t *testing.T) {
	r := resolverFunc(func(_ context.Context, host string) ([]netip.Addr, error) {
		t.Errorf("asked for %s", host)
		return nil, nil
	})
	if _, err := Parse(t.Context(), "f", withServers("10.0.0.1", "[::1]:81", "unix:/a"), r); err != nil {
		t.Error(err)
	}
}
