package remap

import (
	"bytes"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

// index finds the rules that a request can possibly meet, so that a table of thousands costs as much as one of ten.
// It goes by hosts, and below them by how the path begins, or else by how it ends; all other conditions are looked at
// rule by rule. Every rule is found by whatever request meets it. Which is the first of them is decided by their numbers.
type index struct {
	whole, suffix, prefix map[string]*paths // by the name of a hostPattern of the kind
	any                   *paths            // of rules for any host
}

// paths has the rules for a host: each in one of two trees.
type paths struct {
	begins node // by what paths begin with
	ends   node // by what they end with, read backwards
}

// node is a node of a tree of the beginnings of paths. A path's walk from the root passes the rules of all its
// beginnings.
type node struct {
	label  string  // what of the path leads here from the parent
	rules  []int32 // ascending
	starts []byte  // of the labels of below
	below  []*node
}

func (x *index) build(rules []rule) {
	x.any = new(paths)
	for i := range rules {
		c := &rules[i].all
		if len(c.hosts) == 0 {
			x.any.add(c, int32(i))
		}
		for _, h := range c.hosts {
			switch h.kind {
			case wholeHost:
				pathsOf(&x.whole, h.name).add(c, int32(i))
			case hostSuffix:
				pathsOf(&x.suffix, h.name).add(c, int32(i))
			case hostPrefix:
				pathsOf(&x.prefix, h.name).add(c, int32(i))
			default:
				x.any.add(c, int32(i))
			}
		}
	}
}

func pathsOf(hosts *map[string]*paths, name string) *paths {
	if *hosts == nil {
		*hosts = make(map[string]*paths)
	}
	p := (*hosts)[name]
	if p == nil {
		p = new(paths)
		(*hosts)[name] = p
	}
	return p
}

// add adds a rule with these conditions.
func (p *paths) add(c *conditions, rule int32) {
	begins := c.begins()
	if len(begins) < len(c.extension) && (begins == "" || begins == "/") { // which tells nothing
		backwards := []byte(c.extension)
		slices.Reverse(backwards)
		p.ends.add(string(backwards), rule)
		return
	}
	p.begins.add(begins, rule)
}

// begins returns what every path begins with that meets the conditions, as far as that can be told.
func (c *conditions) begins() string {
	longest := c.path
	if len(c.prefix) > len(longest) {
		longest = c.prefix
	}
	if c.pattern == nil {
		return longest
	}
	if literal := LiteralPrefix(c.pattern.String()); len(literal) > len(longest) {
		return literal
	}
	return longest
}

// LiteralPrefix returns the text that a path has to begin with to match an expression; often none.
func LiteralPrefix(expression string) string {
	re, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return ""
	}
	re = re.Simplify()
	if re.Op != syntax.OpConcat || len(re.Sub) < 2 || re.Sub[0].Op != syntax.OpBeginText {
		return ""
	}
	l := re.Sub[1]
	if l.Op != syntax.OpLiteral || l.Flags&syntax.FoldCase != 0 {
		return ""
	}
	literal, _, _ := strings.Cut(string(l.Rune), string(utf8.RuneError)) // which every byte matches that is not UTF-8
	return literal
}

// add adds a rule for the paths that begin with key.
func (n *node) add(key string, rule int32) {
	for {
		if key == "" {
			if len(n.rules) == 0 || n.rules[len(n.rules)-1] != rule { // two of its hosts may lead here
				n.rules = append(n.rules, rule)
			}
			return
		}
		i := bytes.IndexByte(n.starts, key[0])
		if i < 0 {
			n.starts = append(n.starts, key[0])
			n.below = append(n.below, &node{label: key, rules: []int32{rule}})
			return
		}
		child := n.below[i]
		common := 0
		for common < min(len(key), len(child.label)) && key[common] == child.label[common] {
			common++
		}
		if common < len(child.label) {
			rest := *child
			rest.label = child.label[common:]
			*child = node{label: child.label[:common], starts: []byte{rest.label[0]}, below: []*node{&rest}}
		}
		n, key = child, key[common:]
	}
}

// first returns the number of the first rule that s meets, or how many rules there are.
func (x *index) first(rules []rule, s *subject) int {
	best := x.any.first(rules, s, len(rules))
	if n := x.whole[string(s.name)]; n != nil {
		best = n.first(rules, s, best)
	}
	if len(x.suffix)+len(x.prefix) == 0 {
		return best
	}
	// A star stands for one character at least.
	for i, c := range s.name {
		if c != '.' {
			continue
		}
		if i > 0 {
			if n := x.suffix[string(s.name[i:])]; n != nil {
				best = n.first(rules, s, best)
			}
		}
		if i+1 < len(s.name) {
			if n := x.prefix[string(s.name[:i+1])]; n != nil {
				best = n.first(rules, s, best)
			}
		}
	}
	return best
}

// first returns the number of the first rule of p that s meets, if that is less than best.
func (p *paths) first(rules []rule, s *subject, best int) int {
	n := &p.begins
	for path := s.Path; ; {
		best = n.firstHere(rules, s, best)
		if len(path) == 0 {
			break
		}
		i := bytes.IndexByte(n.starts, path[0])
		if i < 0 || !hasPrefix(path, n.below[i].label) {
			break
		}
		n = n.below[i]
		path = path[len(n.label):]
	}
	n = &p.ends
	for end := len(s.Path); end > 0; {
		i := bytes.IndexByte(n.starts, s.Path[end-1])
		if i < 0 {
			break
		}
		n = n.below[i]
		for _, c := range []byte(n.label) {
			if end == 0 || s.Path[end-1] != c {
				return best
			}
			end--
		}
		best = n.firstHere(rules, s, best)
	}
	return best
}

// firstHere returns the number of the first rule at n that s meets, if that is less than best.
func (n *node) firstHere(rules []rule, s *subject, best int) int {
	for _, r := range n.rules {
		if int(r) >= best {
			break
		}
		if rules[r].match(s) {
			return int(r)
		}
	}
	return best
}
