package configs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// resolveTimeout bounds how long a start, or a check, waits for name servers.
const resolveTimeout = 10 * time.Second

// resolveAtOnce bounds the queries under way, so that a file with thousands of names floods no name server.
const resolveAtOnce = 16

// lookup is one name, asked for once however many backends use it.
type lookup struct {
	host    string
	targets []*target
	addrs   []netip.Addr
	err     error
}

// resolve finds the addresses of all servers that are given by name.
func resolve(ctx context.Context, r *report, f *file, resolver Resolver) {
	lookups := lookups(f)
	if len(lookups) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	var wg sync.WaitGroup
	turn := make(chan struct{}, resolveAtOnce)
	for _, l := range lookups {
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			l.run(ctx, resolver)
		})
	}
	wg.Wait()
	for _, l := range lookups {
		for _, t := range l.targets {
			t.addrs = l.addrs
			if l.err != nil {
				r.value(t.place, "%s cannot be resolved: %v", quoted(l.host), l.err)
			}
		}
	}
}

// lookups collects the names in the order of the file.
func lookups(f *file) []*lookup {
	var list []*lookup
	byHost := make(map[string]*lookup)
	for _, b := range f.Backends.items {
		for _, t := range b.targets {
			if t.host == "" {
				continue
			}
			l := byHost[t.host]
			if l == nil {
				l = &lookup{host: t.host}
				byHost[t.host] = l
				list = append(list, l)
			}
			l.targets = append(l.targets, t)
		}
	}
	return list
}

func (l *lookup) run(ctx context.Context, resolver Resolver) {
	addrs, err := resolver.LookupNetIP(ctx, "ip", l.host)
	if err != nil {
		l.err = lookupError(ctx, err)
		return
	}
	for _, a := range addrs {
		// An address with a zone is valid on one link only, and connecting would need the link's number.
		if a = a.Unmap(); a.IsValid() && a.Zone() == "" {
			l.addrs = append(l.addrs, a)
		}
	}
	if len(l.addrs) == 0 {
		l.err = errors.New("the name has no usable address")
	}
}

// lookupError leaves out what the message has already: the name, and the server that was asked.
func lookupError(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", formatDuration(resolveTimeout))
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return errors.New(dns.Err)
	}
	return err
}
