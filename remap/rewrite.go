package remap

import (
	"bytes"

	"millrace/httpparse"
)

// Rewrites are rules that change targets before there is a route. They are immutable and may be used by several
// goroutines.
type Rewrites struct{ rules []RewriteRule }

// NewRewrites returns the rules, of which the first counts whose pattern is found in a target. Their names have no meaning,
// and their values may have no variables but groups. It returns nil if there are none.
func NewRewrites(rules []RewriteRule) *Rewrites {
	if len(rules) == 0 {
		return nil
	}
	return &Rewrites{rules}
}

// Append appends what a target in origin-form becomes. Patterns look at path and query, the path in its normal form and
// percent-encoded. changed is false if none is found; ok is false if the target has no normal form, or would become what is no
// target, or one that leads out of where a rule has put it.
func (w *Rewrites) Append(dst, target []byte) (out []byte, changed, ok bool) {
	raw, query, hasQuery := bytes.Cut(target, questionMark)
	normal, ok := NormalPath(nil, raw)
	if !ok {
		return dst, false, false
	}
	begin := len(dst)
	dst = appendEncoded(dst, normal)
	if hasQuery {
		dst = append(dst, '?')
		dst = append(dst, query...)
	}
	for i := range w.rules {
		r := &w.rules[i]
		text := dst[begin:]
		ends := r.Pattern.FindSubmatchIndex(text)
		if ends == nil {
			continue
		}
		mid := len(dst)
		dst = r.Value.append(dst, nil, &matched{text: text, ends: ends}, false)
		tooLong := len(dst) > maxEditedHead // then the value may have been cut
		dst = rooted(moveDown(dst, begin, mid), begin)
		made := dst[begin:]
		return dst, true, httpparse.ValidTarget(made) && !tooLong && !climbs(made)
	}
	return dst[:begin], false, true
}

// Finds reports whether the pattern of a rule is found in a target whose path, in one of its readings, and query these are. It
// builds the target in dst[:0], which must not overlap them, and returns that to be used again.
func (w *Rewrites) Finds(dst, path, query []byte) (target []byte, found bool) {
	target = append(appendEncoded(dst[:0], path), query...)
	for i := range w.rules {
		if w.rules[i].Pattern.Match(target) {
			return target, true
		}
	}
	return target, false
}
