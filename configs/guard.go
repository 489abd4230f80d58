package configs

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"millrace/loop"
	"millrace/remap"
)

// guard is what a listener or a route says about who may come in, and how often.
type guard struct {
	allow, deny []netip.Prefix
	rate        *loop.Rate
}

// trust is what a listener says about proxies before it.
type trust struct {
	proxies []netip.Prefix
	unix    bool
	chain   remap.Chain
}

func (v validator) guardListener(l *listener) {
	given := func(p place, key string) {
		if l.Protocol.ok && l.Protocol.v == "sock" && !(key == "trusted_proxies" && l.takesProxyHeaders()) {
			v.key(p, "has no effect on a sock listener, which parses nothing: %s is for http", key)
		}
	}
	l.guard = v.guard(l.Allow, l.Deny, l.Rate, l.RateBurst, l.RateKey)
	l.trust = v.trust(l)
	for _, x := range []struct {
		given bool
		place
		name string
	}{
		{l.TrustedProxies.given, l.TrustedProxies.place, "trusted_proxies"},
		{l.Rate.given, l.Rate.place, "rate"},
	} {
		if x.given {
			given(x.place, x.name)
		}
	}
	if l.bind.path == "" || l.trust != nil && l.trust.unix {
		return
	}
	for _, list := range []value[[]value[string]]{l.Allow, l.Deny} {
		if list.given {
			v.key(list.place, `has no effect on a unix socket, whose clients have no address, unless trusted_proxies has "unix:"`)
		}
	}
}

func (v validator) guardRoute(r *route) {
	r.guard = v.guard(r.Allow, r.Deny, r.Rate, r.RateBurst, r.RateKey)
	if !r.Exclude.ok || !r.Exclude.v {
		return
	}
	for _, x := range []struct {
		given bool
		place
	}{{r.Allow.given, r.Allow.place}, {r.Deny.given, r.Deny.place}, {r.Rate.given, r.Rate.place}} {
		if x.given {
			v.key(x.place, "has no effect with exclude = true: what matches is not proxied")
		}
	}
}

// guard checks the keys that listeners and routes have in common. It returns nil when none of them says anything.
func (v validator) guard(allow, deny value[[]value[string]], rate value[string], burst value[int64], key value[string]) *guard {
	g := guard{allow: v.prefixes(allow), deny: v.prefixes(deny), rate: v.rate(rate, burst, key)}
	if g.allow == nil && g.deny == nil && g.rate == nil {
		return nil
	}
	return &g
}

func (v validator) trust(l *listener) *trust {
	var t trust
	if h := l.TrustedHeader; h.given && h.ok {
		switch strings.ToLower(h.v) {
		case "x-forwarded-for":
		case "forwarded":
			t.chain = remap.ChainForwarded
		default:
			v.value(h.place, `%s is not a field that names clients: allowed are "X-Forwarded-For" and "Forwarded"`, quoted(h.v))
		}
		if l.TrustedProxies.absent() {
			v.key(h.place, "has no effect without trusted_proxies: nobody is believed")
		}
	}
	if !l.TrustedProxies.given {
		return nil
	}
	list := l.TrustedProxies
	list.v = nil
	for _, p := range l.TrustedProxies.v {
		if p.v == unixPrefix {
			t.unix = true
			if l.bind.tcp.IsValid() {
				v.value(p.place, `"unix:" is for a listener on a unix socket`)
			}
			continue
		}
		list.v = append(list.v, p)
	}
	if len(l.TrustedProxies.v) == 0 || len(list.v) > 0 {
		t.proxies = v.prefixes(list)
	}
	return &t
}

// prefixes reads a list of addresses and networks. It is nil when there is none.
func (v validator) prefixes(list value[[]value[string]]) []netip.Prefix {
	if list.given && list.ok && len(list.v) == 0 {
		v.value(list.place, "is empty: leave it out, or list at least one address or network")
	}
	var prefixes []netip.Prefix
	for _, x := range list.v {
		p, wrong := parsePrefix(x.v)
		if wrong != "" {
			v.value(x.place, "%s", wrong)
			continue
		}
		prefixes = append(prefixes, p)
	}
	return prefixes
}

const prefixHelp = `allowed are "192.0.2.1", "192.0.2.0/24", "2001:db8::1" and "2001:db8::/32"`

// parsePrefix reads an address, which is a network of one, or a network.
func parsePrefix(s string) (p netip.Prefix, wrong string) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), ""
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return p, fmt.Sprintf("%s is neither an address nor a network: %s", quoted(s), prefixHelp)
	}
	if m := p.Masked(); m != p {
		return p, fmt.Sprintf("%s has bits behind its prefix: write %q for the network, or %q for the address", quoted(s), m, p.Addr())
	}
	return p, ""
}

// ratePattern is what a rate looks like.
var ratePattern = regexp.MustCompile(`^([0-9]+)/(s|m|h)$`)

var ratePeriods = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

// rate reads the three keys of a limit on requests.
func (v validator) rate(rate value[string], burst value[int64], key value[string]) *loop.Rate {
	if rate.absent() {
		if burst.given {
			v.key(burst.place, "has no effect without rate")
		}
		if key.given {
			v.key(key.place, "has no effect without rate")
		}
		return nil
	}
	between(v, burst, 1, maxRate, "", decimal)
	r := &loop.Rate{Burst: int(burst.v)}
	if key.given && key.ok {
		switch name := strings.ToLower(key.v); {
		case name == "client":
		case name == "host":
			r.Key = loop.RateByHost
		case tokens.MatchString(name) && len(name) <= maxNameLength:
			r.Key, r.Field = loop.RateByField, []byte(name)
		default:
			v.value(key.place, `%s is not a key: allowed are "client", "host" and the name of a field`, quoted(key.v))
		}
	}
	if !rate.ok {
		return nil
	}
	m := ratePattern.FindStringSubmatch(rate.v)
	if m == nil {
		v.value(rate.place, `%s is not a rate: write a number and a period, such as "100/s" or "600/m" (periods: s, m, h)`, quoted(rate.v))
		return nil
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || n < 1 || n > maxRate {
		v.value(rate.place, "%s is out of range: allowed are 1 to %d requests in a period", quoted(rate.v), maxRate)
		return nil
	}
	r.Interval = ratePeriods[m[2]] / time.Duration(n)
	if !burst.given {
		r.Burst = int(n)
	}
	return r
}

// account checks the name or number of a user or group. Whether there is one shows at the start.
func (v validator) account(name value[string]) {
	if name.given && name.ok && (name.v == "" || strings.ContainsAny(name.v, ":\x00\n/ ")) {
		v.value(name.place, "%s is neither a name nor a number: leave it out to stay who started it", quoted(name.v))
	}
}

// guard compiles what has been checked.
func (c *compiler) guard(g *guard) *loop.Guard {
	if g == nil {
		return nil
	}
	compiled := &loop.Guard{Allow: addrSet(g.allow), Deny: addrSet(g.deny)}
	if g.rate != nil {
		rate := *g.rate
		rate.ID = c.rates
		c.rates++
		compiled.Rate = &rate
	}
	return compiled
}

func (t *trust) compile() *loop.Trust {
	if t == nil {
		return nil
	}
	return &loop.Trust{Proxies: addrSet(t.proxies), Unix: t.unix, Chain: t.chain}
}

func addrSet(prefixes []netip.Prefix) *loop.AddrSet {
	if len(prefixes) == 0 {
		return nil
	}
	return loop.NewAddrSet(prefixes...)
}
