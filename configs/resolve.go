package configs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/balance"
	"millrace/internal/resolve"
	"millrace/loop"
)

// resolveTimeout bounds how long a start, or a check, waits for name servers.
const resolveTimeout = 10 * time.Second

// resolveAtOnce bounds the names under way, so that a file with thousands of them floods no name server.
const resolveAtOnce = 16

// The ranges of what is said of resolving.
const (
	minTTL         = time.Millisecond
	maxTTL         = 7 * 24 * time.Hour // RFC 2181 allows 68 years, which is a mistake
	maxNameservers = 16
)

// servicePrefix marks the name of a service among addresses.
const servicePrefix = "srv:"

// dnsPort is the port of a name server that is given without one.
const dnsPort = 53

const nameserverHelp = `allowed are "10.0.0.53", "10.0.0.53:5353", "fd00::53" and "[fd00::53]:5353"`

// resolver is the table of how names are resolved.
type resolver struct {
	section
	Nameservers value[[]value[string]] `toml:"nameservers"`
	Timeout     value[time.Duration]   `toml:"timeout"`
	MinTTL      value[time.Duration]   `toml:"min_ttl"`
	MaxTTL      value[time.Duration]   `toml:"max_ttl"`
	NegativeTTL value[time.Duration]   `toml:"negative_ttl"`

	nameservers []netip.AddrPort
}

func (s *resolver) setDefaults() {
	setDefault(&s.MinTTL, time.Second)
	setDefault(&s.MaxTTL, time.Hour)
	setDefault(&s.NegativeTTL, 10*time.Second)
}

// options are what a resolver goes by.
func (s *resolver) options() resolve.Options {
	return resolve.Options{
		Nameservers: s.nameservers,
		Timeout:     s.Timeout.v,
		MinTTL:      s.MinTTL.v,
		MaxTTL:      s.MaxTTL.v,
		NegativeTTL: s.NegativeTTL.v,
	}
}

func (v validator) resolver() {
	s := &v.f.Resolver
	between(v, s.Timeout, minTimeout, maxTimeout, "", formatDuration)
	between(v, s.MinTTL, minTTL, maxTTL, "", formatDuration)
	between(v, s.MaxTTL, minTTL, maxTTL, "", formatDuration)
	between(v, s.NegativeTTL, minTTL, maxTTL, "", formatDuration)
	if s.MinTTL.ok && s.MaxTTL.ok && s.MinTTL.v > s.MaxTTL.v {
		x := s.MaxTTL
		if !x.given {
			x = s.MinTTL
		}
		v.value(x.place, "min_ttl, %s, is more than max_ttl, %s", formatDuration(s.MinTTL.v), formatDuration(s.MaxTTL.v))
	}
	n := s.Nameservers
	switch {
	case n.given && n.ok && len(n.v) == 0:
		v.value(n.place, "is empty: list at least one address, or leave it out for those of resolv.conf")
	case len(n.v) > maxNameservers:
		v.value(n.place, "has %d addresses: allowed are up to %d", len(n.v), maxNameservers)
	}
	for _, a := range n.v {
		addr, ok := parseNameserver(a.v)
		switch {
		case !ok:
			v.value(a.place, "%s is not the address of a name server: %s", quoted(a.v), nameserverHelp)
		case slices.Contains(s.nameservers, addr):
			v.value(a.place, "%s is listed twice", quoted(a.v))
		default:
			s.nameservers = append(s.nameservers, addr)
		}
	}
}

func parseNameserver(s string) (netip.AddrPort, bool) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(addr.Unmap(), dnsPort), true
	}
	addr, err := netip.ParseAddrPort(s)
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), err == nil && addr.Port() != 0
}

// resolveWords are the words of backend.NAME.resolve.
var resolveWords = []string{"start", "later"}

// names checks what is said of a backend's names.
func (v validator) names(b *backend) {
	if r := b.Resolve; r.ok && !slices.Contains(resolveWords, r.v) {
		v.value(r.place, "%s is not a time to resolve: allowed are %s", quoted(r.v), quotedList(resolveWords))
	}
	for _, t := range b.targets {
		t.whole = !b.SplitHostnames.v
	}
	if !b.SplitHostnames.v && len(b.targets) > 0 && !b.hasNames() {
		v.warn(b.SplitHostnames.place, "has no effect: no server of this backend is given by name")
	}
	if b.Resolve.v == "later" && len(b.targets) > 0 && !b.hasNames() {
		v.warn(b.Resolve.place, "has no effect: no server of this backend is given by name")
	}
	for _, s := range b.Server.items {
		if !strings.HasPrefix(s.Address.v, servicePrefix) || isNumber(s.Address.v[len(servicePrefix):]) {
			continue
		}
		for _, x := range []value[int64]{s.Weight, s.LBSet} {
			if x.given {
				v.key(x.place, "has no effect with %s: the records of a service say it of each of its servers", quoted(s.Address.v))
			}
		}
	}
	if !b.HashCompat.given {
		return
	}
	for _, t := range b.targets {
		if t.service {
			v.value(t.place, "%s has weights, and lighttpd places keys without: it is not for a backend with hash_compat", quoted(t.query().String()))
		}
	}
}

func (b *backend) hasNames() bool {
	return slices.ContainsFunc(b.targets, func(t *target) bool { return t.host != "" })
}

// parseService reads the name of a service; ok is false when s is something else.
func parseService(s string) (t target, wrong string, ok bool) {
	name, ok := strings.CutPrefix(s, servicePrefix)
	if !ok || isNumber(name) { // a host of this name, and a port
		return t, "", false
	}
	if host, _, hasPort := strings.Cut(name, ":"); hasPort {
		return t, fmt.Sprintf("%s has a port, which the records of a service say: write %q", quoted(s), servicePrefix+host), true
	}
	if wrong := checkName(strings.TrimSuffix(name, ".")); wrong != "" {
		return t, fmt.Sprintf(`%s is not a service: %s; allowed are names such as "srv:_http._tcp.example.org"`, quoted(s), wrong), true
	}
	t.host, t.service = strings.ToLower(name), true
	return t, "", true
}

// query is what is asked for a target that is a name.
func (t *target) query() resolve.Query { return resolve.Query{Name: t.host, Service: t.service} }

// lookup is one name, asked for once however many backends use it.
type lookup struct {
	query   resolve.Query
	targets []*target
	answer  resolve.Answer
	err     error
}

// findServers finds the servers that are given by name.
func findServers(ctx context.Context, r *report, f *file, resolver Resolver) {
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
	f.found = make(map[resolve.Query]resolve.Answer)
	for _, l := range lookups {
		if l.err == nil {
			f.found[l.query] = l.answer
			continue
		}
		for _, t := range l.targets {
			if t.later {
				r.warn(t.place, "%s cannot be resolved: %v; its backend goes on without it until it can be", quoted(l.query.Name), l.err)
			} else {
				r.value(t.place, "%s cannot be resolved: %v", quoted(l.query.Name), l.err)
			}
		}
	}
}

// lookups collects the names in the order of the file.
func lookups(f *file) []*lookup {
	var list []*lookup
	byQuery := make(map[resolve.Query]*lookup)
	for _, b := range f.Backends.items {
		for _, t := range b.targets {
			if t.host == "" {
				continue
			}
			t.later = b.Resolve.v == "later"
			l := byQuery[t.query()]
			if l == nil {
				l = &lookup{query: t.query()}
				byQuery[l.query] = l
				list = append(list, l)
			}
			l.targets = append(l.targets, t)
		}
	}
	return list
}

func (l *lookup) run(ctx context.Context, resolver Resolver) {
	l.answer, l.err = resolver.Lookup(ctx, l.query)
	switch {
	case l.err == nil && len(l.answer.Records) == 0:
		l.err = errors.New("the name has no usable address")
	case l.err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		l.err = fmt.Errorf("no answer within %s", formatDuration(resolveTimeout))
	}
}

// servers returns what a target comes to with the records of its name: targets that are endpoints.
func (t *target) servers(found map[resolve.Query][]resolve.Record) []*target {
	if t.valid() {
		return []*target{t}
	}
	records := found[t.query()]
	heaviest := uint16(0)
	for _, r := range records {
		heaviest = max(heaviest, r.Weight)
	}
	list := make([]*target, len(records))
	for i, r := range records {
		one := *t
		one.tcp = netip.AddrPortFrom(r.Addr.Unmap(), t.port)
		if t.service {
			one.tcp = netip.AddrPortFrom(r.Addr.Unmap(), r.Port)
			one.host, one.set, one.weight = r.Host, int(r.Priority), shareOf(r.Weight, heaviest)
		}
		list[i] = &one
	}
	return list
}

// shareOf brings the weight of a record into the range of weights. One of 0 is to get next to nothing (RFC 2782), or
// as much as the others where all have it.
func shareOf(weight, heaviest uint16) int {
	share := int(weight)
	if heaviest > balance.MaxWeight {
		share = share * balance.MaxWeight / int(heaviest)
	}
	return max(share, 1)
}

// names are what a backend needs to change with its names; nil if it does not.
func (b *backend) names(found map[resolve.Query]resolve.Answer) *loop.Names {
	if !b.hasNames() {
		return nil
	}
	n := &loop.Names{First: make(map[resolve.Query]resolve.Answer), Servers: b.members}
	for _, t := range b.targets {
		q := t.query()
		if t.host == "" || slices.Contains(n.Queries, q) {
			continue
		}
		n.Queries = append(n.Queries, q)
		if a, ok := found[q]; ok {
			n.First[q] = a
		}
	}
	return n
}
