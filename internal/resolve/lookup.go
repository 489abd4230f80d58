package resolve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Query is what is looked up: the addresses of a host, or the servers of a service.
type Query struct {
	// Name is the host, or for a service the name of its records, such as _http._tcp.example.org. With a dot at its
	// end it is absolute: the search list is not gone through.
	Name string
	// Service: SRV records (RFC 2782) are asked for, and the addresses of the hosts that they name.
	Service bool
}

// String returns the query as a configuration has it.
func (q Query) String() string {
	if q.Service {
		return "srv:" + q.Name
	}
	return q.Name
}

// Record is one address of a name, or one server of a service.
type Record struct {
	Addr netip.Addr // neither with a zone, nor IPv4 in IPv6
	// The others are those of a service, else 0.
	Port, Priority, Weight uint16
	Host                   string // the name that the address is of, without a dot at its end
}

// Answer is what a query has come to.
type Answer struct {
	// Records are at least one, and different by address and port. They are in order of priority, address and port,
	// whatever order they came in.
	Records []Record
	// TTL is how long they hold, within the bounds of the Resolver's options.
	TTL time.Duration
	// Partial is what could not be found out, or nil. The records are those of the other part then, and of what was
	// known before.
	Partial error

	known memory
}

// Equal reports whether two answers have the same records.
func (a Answer) Equal(b Answer) bool { return slices.Equal(a.Records, b.Records) }

// ErrNotFound says that a name does not exist or has no usable records, by the word of a name server.
var ErrNotFound = errors.New("no such host")

// memory is which addresses a question had when it was last answered.
type memory map[question][]netip.Addr

// Options say where a Resolver asks, and how long answers hold.
type Options struct {
	// Nameservers are asked in this order. None: those of resolv.conf, on port 53.
	Nameservers []netip.AddrPort
	// Timeout bounds one attempt with one name server. 0: as resolv.conf says.
	Timeout time.Duration
	// MinTTL and MaxTTL bound how long an answer holds. NegativeTTL is how long a failure does.
	MinTTL, MaxTTL, NegativeTTL time.Duration
	// ResolvConf and Hosts are files; empty: those in /etc.
	ResolvConf, Hosts string
}

// Bounds of what names may come to, so that nobody's records exhaust the proxy.
const (
	maxRecords = 1024
	maxTargets = 256 // hosts of a service
	// atOnce bounds the messages under way, each of which has a descriptor.
	atOnce = 16
	// hostsTTL is how often a name is looked up that a hosts file has, which says nothing of time.
	hostsTTL = 5 * time.Second
)

// Resolver looks names up. Its methods may be called from any goroutine.
type Resolver struct {
	options Options
	conf    file[*config]
	hosts   file[hosts]
	dialer  net.Dialer
	slots   chan struct{}
	turns   atomic.Uint32
	// wait waits, or returns false when ctx ends first. A test has another one.
	wait func(ctx context.Context, d time.Duration) bool
}

// New returns a resolver.
func New(o Options) *Resolver {
	return &Resolver{
		options: o,
		conf:    file[*config]{path: cmp.Or(o.ResolvConf, "/etc/resolv.conf"), parse: parseConfig},
		hosts:   file[hosts]{path: cmp.Or(o.Hosts, "/etc/hosts"), parse: parseHosts},
		slots:   make(chan struct{}, atOnce),
		wait:    wait,
	}
}

// config is resolv.conf, with what the options say instead.
func (r *Resolver) config() *config {
	c := *r.conf.get()
	if len(r.options.Nameservers) > 0 {
		c.servers = r.options.Nameservers
	}
	if r.options.Timeout > 0 {
		c.timeout = r.options.Timeout
	}
	return &c
}

// Lookup answers a query. It may take as long as ctx allows, or as all attempts with all name servers take, for each
// name of the search list.
func (r *Resolver) Lookup(ctx context.Context, q Query) (Answer, error) {
	return r.lookup(ctx, q, nil)
}

// lookup is Lookup for one who knows what the answer was before.
func (r *Resolver) lookup(ctx context.Context, q Query, before memory) (Answer, error) {
	c := r.config()
	l := &lookup{r: r, c: c, before: before, known: make(memory)}
	var a Answer
	var ttl time.Duration
	if q.Service {
		list, t, err := l.service(ctx, q.Name)
		if err != nil {
			return Answer{}, err
		}
		a.Records, ttl = list, t
	} else {
		addrs, t, err := l.host(ctx, q.Name)
		if err != nil {
			return Answer{}, err
		}
		for _, addr := range addrs {
			a.Records = append(a.Records, Record{Addr: addr, Host: strings.TrimSuffix(q.Name, ".")})
		}
		ttl = t
	}
	a.Records = inOrder(slices.DeleteFunc(a.Records, unusable))
	if len(a.Records) == 0 {
		return Answer{}, ErrNotFound
	}
	if len(a.Records) > maxRecords {
		return Answer{}, fmt.Errorf("it has more than %d addresses", maxRecords)
	}
	a.TTL = min(max(ttl, r.options.MinTTL), r.options.MaxTTL)
	if l.failed != nil {
		a.Partial, a.TTL = l.failed, min(a.TTL, r.options.NegativeTTL)
	}
	a.known = l.known
	return a, nil
}

// unusable reports whether a record has no address of a server: the unspecified one, which stands for names that are
// not to be reached, and would be ourselves; a multicast address; one that is valid on one link only.
func unusable(r Record) bool {
	return r.Addr.IsUnspecified() || r.Addr.IsMulticast() || r.Addr.Is6() && r.Addr.IsLinkLocalUnicast()
}

// inOrder sorts records, and leaves out those whose server is there already: the one with the highest priority (the
// lowest number) and weight stays.
func inOrder(list []Record) []Record {
	slices.SortFunc(list, func(a, b Record) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Priority, b.Priority),
			cmp.Compare(b.Weight, a.Weight), strings.Compare(a.Host, b.Host))
	})
	list = slices.CompactFunc(list, func(a, b Record) bool { return a.Addr == b.Addr && a.Port == b.Port })
	slices.SortStableFunc(list, func(a, b Record) int { return cmp.Compare(a.Priority, b.Priority) })
	return list
}

// lookup is one query under way.
type lookup struct {
	r      *Resolver
	c      *config
	before memory

	mu     sync.Mutex
	known  memory
	failed error // what failed of it while the whole did not
}

// host finds the addresses of a host.
func (l *lookup) host(ctx context.Context, name string) ([]netip.Addr, time.Duration, error) {
	plain := strings.ToLower(strings.TrimSuffix(name, "."))
	if addrs := l.r.hosts.get()[plain]; len(addrs) > 0 {
		return addrs, hostsTTL, nil
	}
	if plain == "localhost" || strings.HasSuffix(plain, ".localhost") {
		// Name servers are not to be asked for it (RFC 6761, 6.3).
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, hostsTTL, nil
	}
	for _, full := range l.c.names(plain + name[len(strings.TrimSuffix(name, ".")):]) {
		addrs, ttl, err := l.addresses(ctx, full)
		if err != ErrNotFound {
			return addrs, ttl, err
		}
	}
	return nil, 0, ErrNotFound
}

// addresses asks for the addresses of an absolute name, of both kinds at once.
func (l *lookup) addresses(ctx context.Context, name string) ([]netip.Addr, time.Duration, error) {
	kinds := [...]dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA}
	var found [len(kinds)]response
	var errs [len(kinds)]error
	var wg sync.WaitGroup
	for i, kind := range kinds {
		wg.Go(func() { found[i], errs[i] = l.records(ctx, name, kind) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, 0, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var addrs []netip.Addr
	var failed error
	ttl := maxTTL
	for i, kind := range kinds {
		var of []netip.Addr
		q := question{kind: kind}
		q.name, _ = dnsmessage.NewName(name)
		switch {
		case errs[i] == nil:
			of, ttl = found[i].addrs, min(ttl, found[i].ttl)
		case errs[i] != ErrNotFound:
			of, failed = l.before[q], errs[i]
		}
		if len(of) > 0 {
			l.known[q] = of
			addrs = append(addrs, of...)
		}
	}
	switch {
	case len(addrs) > 0:
		if failed != nil {
			l.failed = failed
		}
		return addrs, ttl, nil
	case failed != nil:
		return nil, 0, failed
	}
	return nil, 0, ErrNotFound
}

// service finds the servers of a service.
func (l *lookup) service(ctx context.Context, name string) ([]Record, time.Duration, error) {
	for _, full := range l.c.names(name) {
		answer, err := l.records(ctx, full, dnsmessage.TypeSRV)
		if err == ErrNotFound {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		return l.servers(ctx, answer)
	}
	return nil, 0, ErrNotFound
}

// servers finds the addresses of the hosts of a service. A host that does not exist has none; if none of them has, the
// service has no servers.
func (l *lookup) servers(ctx context.Context, answer response) ([]Record, time.Duration, error) {
	byHost := make(map[string][]service)
	for _, s := range answer.services {
		if s.target != "." && s.port != 0 { // the first says that there is no such service (RFC 2782)
			byHost[s.target] = append(byHost[s.target], s)
		}
	}
	if len(byHost) > maxTargets {
		return nil, 0, fmt.Errorf("it has more than %d hosts", maxTargets)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var list []Record
	var failed error
	ttl := answer.ttl
	for host, services := range byHost {
		wg.Go(func() {
			addrs, t, err := l.host(ctx, host)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				if err != ErrNotFound {
					failed = fmt.Errorf("%s: %w", strings.TrimSuffix(host, "."), err)
				}
				return
			}
			ttl = min(ttl, t)
			for _, s := range services {
				for _, addr := range addrs {
					list = append(list, Record{addr, s.port, s.priority, s.weight, strings.TrimSuffix(host, ".")})
				}
			}
		})
	}
	wg.Wait()
	switch {
	case ctx.Err() != nil:
		return nil, 0, ctx.Err()
	case len(list) == 0 && failed != nil:
		return nil, 0, failed
	case len(list) == 0:
		return nil, 0, ErrNotFound
	}
	if failed != nil {
		l.mu.Lock()
		l.failed = failed
		l.mu.Unlock()
	}
	return list, ttl, nil
}

// records asks for records of an absolute name, and of what it is an alias of where an answer stops at that.
func (l *lookup) records(ctx context.Context, name string, kind dnsmessage.Type) (response, error) {
	ttl := maxTTL
	for range maxAliases {
		full, err := dnsmessage.NewName(name)
		if err != nil {
			return response{}, ErrNotFound // too long, with what it was searched in, to exist
		}
		answer, err := l.r.ask(ctx, l.c, question{full, kind})
		if err != nil {
			return response{}, err
		}
		answer.ttl = min(ttl, answer.ttl)
		switch {
		case answer.rcode == dnsmessage.RCodeNameError:
			return response{}, ErrNotFound
		case !answer.empty():
			return answer, nil
		case answer.alias == "":
			return response{}, ErrNotFound
		}
		name, ttl = answer.alias, answer.ttl
	}
	return response{}, fmt.Errorf("more than %d aliases", maxAliases)
}
