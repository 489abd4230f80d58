package remap

import (
	"bytes"
	"math/bits"
	"strings"
)

// Miss is a condition because of which a request does not meet a rule.
type Miss struct {
	// Not says that it is one of Rule.Not, which the request meets.
	Not bool
	// Key names the field of Rule, as configurations do: "listeners", "hosts", "path", "prefix", "extension", "pattern",
	// "methods", "headers", "query", "clients".
	Key string
	// Index is which of Headers or Query it is; -1 for the other conditions, whose lists are met or missed as a whole.
	Index int
}

// Misses returns every condition that keeps a request from meeting a rule; none if it meets it. It is for people who
// ask: Match, of the same conditions, decides.
func (t *Table) Misses(in *Incoming, rule int) (misses []Miss) {
	s := subject{Incoming: in}
	var b [maxHost]byte
	s.name, s.port = host(in, &b)
	r := &t.rules[rule]
	for m, c := range r.all.each {
		if !c.allHold(&s) {
			misses = append(misses, m)
		}
	}
	if r.none == nil {
		return misses
	}
	for m, c := range r.none.each {
		if c.oneHolds(&s) {
			m.Not = true
			misses = append(misses, m)
		}
	}
	return misses
}

// each yields the conditions that are set one by one, each as if it were the only one.
func (c *conditions) each(yield func(Miss, *conditions) bool) {
	list := []struct {
		set  bool
		key  string
		only conditions
	}{
		{len(c.listeners) > 0, "listeners", conditions{listeners: c.listeners}},
		{len(c.hosts) > 0, "hosts", conditions{hosts: c.hosts}},
		{c.path != "", "path", conditions{path: c.path}},
		{c.prefix != "", "prefix", conditions{prefix: c.prefix}},
		{c.extension != "", "extension", conditions{extension: c.extension}},
		{c.pattern != nil, "pattern", conditions{pattern: c.pattern}},
		{len(c.methods) > 0, "methods", conditions{methods: c.methods}},
		{len(c.clients) > 0, "clients", conditions{clients: c.clients}},
	}
	for i := range list {
		if l := &list[i]; l.set && !yield(Miss{Key: l.key, Index: -1}, &l.only) {
			return
		}
	}
	for i := range c.headers {
		if !yield(Miss{Key: "headers", Index: i}, &conditions{headers: c.headers[i : i+1]}) {
			return
		}
	}
	for i := range c.query {
		if !yield(Miss{Key: "query", Index: i}, &conditions{query: c.query[i : i+1]}) {
			return
		}
	}
}

// MatchesText reports whether text is what pattern says, in which a star stands for any text, also for none, as it does
// in Pair.Value.
func MatchesText(pattern string, text []byte) bool {
	return glob(bytes.Split([]byte(pattern), star)).match(text)
}

// readingWords say what a server does that has a Reading, in the order of its bits.
var readingWords = [...]string{
	"dot segments are taken for names",
	"an encoded slash is taken for a part of a name",
	"what follows a semicolon is left out",
	"a backslash is taken for a slash",
	"what follows two slashes is taken for a host",
}

// String returns the reading in words.
func (r Reading) String() string {
	var b bytes.Buffer
	for rest := uint8(r); rest != 0; rest &= rest - 1 {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(readingWords[bits.TrailingZeros8(rest)])
	}
	return b.String()
}

// String returns the options that are set, by the names that they have in configurations.
func (o TargetOptions) String() string {
	var b bytes.Buffer
	for i, name := range targetOptionNames {
		if o&(1<<i) != 0 {
			if b.Len() > 0 {
				b.WriteString(", ")
			}
			b.WriteString(name)
		}
	}
	return b.String()
}

// targetOptionNames are lighttpd's, in the order of the bits.
var targetOptionNames = [...]string{
	"url_normalize", "url_normalize_required", "url_ctrls_reject", "url_invalid_utf8_reject", "url_path_backslash_trans",
	"url_path_2f_decode", "url_path_2f_reject", "url_path_dotseg_remove", "url_path_dotseg_reject", "url_query_20_plus",
}

// Refusing returns those of the options that refuse a target by themselves; 0 if it is refused for what it is. It is for
// people who ask: AppendTarget decides.
func (o TargetOptions) Refusing(target []byte) (which TargetOptions) {
	const refuse = RejectCtrls | RejectInvalidUTF8 | Reject2F | RejectDotSegments
	if _, _, err := AppendTarget(nil, target, o&^refuse); err != nil {
		return 0
	}
	for rest := o & refuse; rest != 0; rest &= rest - 1 {
		one := rest & -rest
		if _, _, err := AppendTarget(nil, target, o&^refuse|one); err != nil {
			which |= one
		}
	}
	return which
}

// First returns the name of the first option that is set.
func (o TargetOptions) First() string {
	name, _, _ := strings.Cut(o.String(), ",")
	return name
}
