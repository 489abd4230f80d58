package configs

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"millrace/balance"
	"millrace/internal/health"
	"millrace/loop"
)

// The ranges of what is said of balancing.
const (
	maxSet           = 99 // as Apache has it; who needs more has more than one backend
	minBalanceFactor = 101
	maxBalanceFactor = 10_000 // a hundred times a server's share bounds nothing any more
	maxCount         = 1000
	// manyServers is from where looking at each server for every request costs more than a table.
	manyServers = 64
)

// keySources are the words of hash_key, in the order of the manual. Those with a colon have a name behind it.
var keySources = []struct {
	word   string
	source loop.KeySource
}{
	{"path", loop.KeyPath},
	{"uri", loop.KeyURI},
	{"client", loop.KeyClient},
	{"header:", loop.KeyHeader},
	{"cookie:", loop.KeyCookie},
	{"query:", loop.KeyQuery},
}

// balanceElsewhere are ways to balance by the words of other servers, as plain spells them.
var balanceElsewhere = map[string]string{
	"iphash":       `"sticky"`,
	"leastconn":    `"least-connection"`,
	"leasttime":    `"ewma"`,
	"peakewma":     `"ewma"`,
	"ringhash":     `"hash"`,
	"source":       `"sticky"`,
	"uri":          `"hash", whose hash_key is the path, or "uri" with the query`,
	"leastrequest": `"random"`,
}

// ourBalance returns what a way to balance is called here, in quotes, or "" if it is not known.
func ourBalance(word string) string {
	for _, a := range balance.Algorithms() {
		if plain(a) == plain(word) {
			return quoted(a)
		}
	}
	return balanceElsewhere[plain(word)]
}

// retryElsewhere are elements of retry_on by the words of other servers, as plain spells them.
var retryElsewhere = map[string]string{
	"connectfailure":     `"connect"`,
	"connfailure":        `"connect"`,
	"emptyresponse":      `"closed"`,
	"reset":              `"closed"`,
	"resetbeforeheaders": `"closed"`,
	"resetbeforerequest": `"closed"`,
	"responsetimeout":    `"timeout"`,
	"5xx":                `"500-599"`,
	"gatewayerror":       `"502-504"`,
}

const keyHelp = `allowed are "path", "uri", "client", "header:NAME", "cookie:NAME" and "query:NAME"`

// balance checks how a backend's servers are chosen, and makes the key that they are chosen by.
func (v validator) balance(b *backend) {
	known := b.Balance.ok && slices.Contains(balance.Algorithms(), b.Balance.v)
	if b.Balance.ok && !known {
		if ours := ourBalance(b.Balance.v); ours != "" {
			v.value(b.Balance.place, "%s is %s here", quoted(b.Balance.v), ours)
		} else {
			v.value(b.Balance.place, "%s is not a way to balance: allowed are %s", quoted(b.Balance.v), quotedList(balance.Algorithms()))
		}
	}
	keyed := balance.Keyed(b.Balance.v)
	sticky := b.Balance.v == "sticky"
	v.hashKey(b, known, keyed, sticky)
	if c := b.HashCompat; c.given && c.ok {
		switch {
		case !slices.Contains(balance.HashCompats(), c.v):
			v.value(c.place, "%s is not known: allowed is %s", quoted(c.v), quotedList(balance.HashCompats()))
		case known && b.Balance.v != "hash" && !sticky:
			v.key(c.place, `has no effect with balance = %s: it is for "hash" and "sticky"`, quoted(b.Balance.v))
		case b.HashKey.given && b.hashKey.Source != loop.KeyPath && b.hashKey.Source != loop.KeyClient:
			v.key(b.HashKey.place, `lighttpd hashes nothing but path and client: allowed with hash_compat are "path" and "client"`)
		case b.HashBalanceFactor.given:
			v.key(b.HashBalanceFactor.place, "has no effect with hash_compat: lighttpd bounds nothing")
		}
		b.hashKey.Lighttpd = true
		for _, s := range b.Server.items {
			if s.Weight.given && s.Weight.ok && s.Weight.v != 1 {
				v.key(s.Weight.place, "has no effect with hash_compat: lighttpd has no weights")
			}
		}
	}
	if f := b.HashBalanceFactor; f.given && known && !keyed {
		v.key(f.place, `has no effect with balance = %s: it is for "hash", "sticky" and "maglev"`, quoted(b.Balance.v))
	}
	between(v, b.HashBalanceFactor, minBalanceFactor, maxBalanceFactor, "", decimal)
	if n := len(b.Servers.v) + len(b.Server.items); keyed && b.Balance.v != "maglev" && n > manyServers {
		v.warn(b.Balance.place, "%s looks at each of %d servers for every request: maglev takes the same time for any number of them",
			quoted(b.Balance.v), n)
	}
}

// hashKey reads what keys are made from.
func (v validator) hashKey(b *backend, known, keyed, sticky bool) {
	switch {
	case sticky:
		b.hashKey.Source = loop.KeyClient
	case keyed:
		b.hashKey.Source = loop.KeyPath
	}
	k := b.HashKey
	if !k.given || !k.ok {
		return
	}
	if known && (!keyed || sticky) {
		v.key(k.place, `has no effect with balance = %s: it is for "hash" and "maglev"`, quoted(b.Balance.v))
		return
	}
	for _, s := range keySources {
		name, ok := strings.CutPrefix(k.v, s.word)
		named := strings.HasSuffix(s.word, ":")
		if !ok || !named && name != "" {
			continue
		}
		if named && (name == "" || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`;,="`, c) })) {
			v.value(k.place, "%s has no name behind the colon: %s", quoted(k.v), keyHelp)
			return
		}
		b.hashKey = loop.Key{Source: s.source, Name: name}
		return
	}
	v.value(k.place, "%s is no part of a request: %s", quoted(k.v), keyHelp)
}

// serverOptions checks what is said of a server but its address, and returns a target with it.
func (v validator) serverOptions(s *backendServer) target {
	t := target{weight: int(s.Weight.v), set: int(s.LBSet.v), route: s.Route.v, redirect: s.Redirect.v}
	between(v, s.LBSet, 0, maxSet, "", decimal)
	if s.Status.given && s.Status.ok {
		status, wrong := parseStatus(s.Status.v)
		if wrong != "" {
			v.value(s.Status.place, "%s", wrong)
		}
		t.status = status
	}
	if s.Path.given && s.Path.ok {
		t.root = v.serverPath(s.Path)
	}
	return t
}

// recovery checks how servers come back.
func (v validator) recovery(b *backend) {
	between(v, b.SlowStart, minTimeout, maxTimeout, "0 for none, or ", formatDuration)
	const out = balance.Disabled | balance.Stopped | balance.Draining
	if len(b.targets) > 0 && !slices.ContainsFunc(b.targets, func(t *target) bool { return t.status&out == 0 }) {
		what := "all requests"
		if b.sticky != nil {
			what += " but those of sessions on draining servers"
		}
		v.warn(b.place, "each of its servers is disabled, stopped or draining: %s get 503", what)
	}
}

// retryWords are the words of retry_on, in the order of the manual.
var retryWords = []struct {
	word string
	on   loop.RetryOn
}{
	{"connect", loop.RetryConnect},
	{"closed", loop.RetryClosed},
	{"timeout", loop.RetryTimeout},
}

// failing checks what counts as a failure, and what is done about one.
func (v validator) failing(b *backend) {
	between(v, b.MaxFails, 1, maxCount, "", decimal)
	between(v, b.MaxAttempts, 1, maxCount, noLimit, decimal)
	between(v, b.RetryBudget, 1, 100, noLimit, decimal)
	between(v, b.Ping, minTimeout, maxTimeout, "0 for none, or ", formatDuration)
	if b.DisableTime.ok && b.DisableTime.v == 0 {
		for _, x := range []struct {
			given bool
			place
		}{
			{b.MaxFails.given && b.MaxFails.v > 1, b.MaxFails.place},
			{len(b.FailOnStatus.v) > 0, b.FailOnStatus.place},
			{b.FailOnTimeout.v, b.FailOnTimeout.place},
			{b.SlowStart.v > 0 && !b.Health.given && !b.Ejection.given && !b.hasNames(), b.SlowStart.place},
			{b.ForceRecovery.v, b.ForceRecovery.place},
		} {
			if x.given {
				v.warn(x.place, `has no effect with disable_time = "0": no server ever rests`)
			}
		}
	}
	if len(b.FailOnStatus.v) > 0 {
		b.failOn = new(loop.StatusSet)
	}
	for _, s := range b.FailOnStatus.v {
		r, err := health.ParseStatusRange(s.v)
		if err != nil {
			v.value(s.place, "%v", err)
			continue
		}
		for status := r.First; status <= r.Last; status++ {
			b.failOn.Add(status)
		}
	}
	if !b.RetryOn.given {
		b.retryOn = loop.RetryConnect | loop.RetryClosed
	}
	for _, word := range b.RetryOn.v {
		known := false
		for _, w := range retryWords {
			if w.word == word.v {
				b.retryOn |= w.on
				known = true
			}
		}
		if !known {
			known = v.retryStatus(b, word)
		}
		b.RetryOn.ok = b.RetryOn.ok && known
	}
}

// retryStatus reads an element of retry_on that is none of its words, and reports whether it is statuses.
func (v validator) retryStatus(b *backend, s value[string]) bool {
	r, err := health.ParseStatusRange(s.v)
	switch ours := retryElsewhere[plain(s.v)]; {
	case ours != "":
		v.value(s.place, "%s is %s here", quoted(s.v), ours)
		return false
	case err != nil:
		v.value(s.place, `%s is nothing to try again on: allowed are "connect", "closed", "timeout", statuses from 400 to 599 and ranges of them such as "502-504"`, quoted(s.v))
		return false
	case r.First < 400:
		v.value(s.place, "%s has statuses that are no errors: allowed are those from 400 to 599", quoted(s.v))
		return false
	}
	if b.retryStatus == nil {
		b.retryStatus = new(loop.StatusSet)
	}
	for status := r.First; status <= r.Last; status++ {
		b.retryStatus.Add(status)
	}
	return true
}

// member is what the balance has to know of a server.
func (t *target) member(e endpoint) balance.Server {
	s := balance.Server{Name: e.String(), Weight: t.weight, Set: t.set, Status: t.status, Host: e.path, Route: t.route, Redirect: t.redirect}
	if e.path == "" {
		s.Host, s.Port = e.tcp.Addr().String(), e.tcp.Port()
	}
	if t.whole && t.host != "" {
		s.Of = net.JoinHostPort(t.host, strconv.Itoa(int(e.tcp.Port())))
	}
	return s
}

func (b *backend) balanceOptions() balance.Options {
	return balance.Options{
		Algorithm:         b.Balance.v,
		DisableTime:       b.DisableTime.v,
		MaxFails:          int(b.MaxFails.v),
		SlowStart:         b.SlowStart.v,
		ForceRecovery:     b.ForceRecovery.v,
		HashCompat:        b.HashCompat.v,
		HashBalanceFactor: int(b.HashBalanceFactor.v),
		Ejection:          b.Ejection.options(),
		Limited:           b.limited(),
		MayBeEmpty:        b.hasNames(),
		Addresses:         b.hasNames() && !b.SplitHostnames.v,
	}
}
