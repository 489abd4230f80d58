package httpparse

// Leniency is a set of what is tolerated in a head beyond the grammar, for neighbours that are too old to be
// repaired. The zero value tolerates nothing. Nothing in it makes framing or routing a matter of opinion: what
// could is refused as before.
type Leniency uint8

const (
	// AllowObsFold takes a line that begins with a blank for more of the value before it (RFC 9112, 5.2): the
	// line end between the two is overwritten with blanks in the buffer, so that nobody behind sees a fold.
	// Values that frame, route or describe the connection cannot be continued.
	AllowObsFold Leniency = 1 << iota
	// AllowUnderscores passes names of request fields with underscores, but for those that are a field known
	// to the proxy with its dashes replaced. In responses they always pass.
	AllowUnderscores
)

// isPlainName tells the characters of a token but for the underscore: many servers take it for a dash, as CGI
// does (RFC 3875, 4.1.18), so that a name with one is two names.
var isPlainName = func() (t [256]bool) {
	for c := range t {
		t[c] = isToken[c] && c != '_'
	}
	return t
}()

// mayFold are the known fields whose values may be continued on another line. What others say must not depend on
// how a reader before us took the fold.
const mayFold = FieldSet(1<<FieldOther |
	1<<FieldXForwardedFor |
	1<<FieldUserAgent |
	1<<FieldReferer |
	1<<FieldDate |
	1<<FieldServer |
	1<<FieldAuthorization |
	1<<FieldProxyAuthenticate |
	1<<FieldProxyAuthorization)

// endOfName looks at a name that holds an underscore at buf[at], and returns where it ends.
func (h *Head) endOfName(buf []byte, at int) (colon int, err error) {
	if h.Allow&AllowUnderscores == 0 {
		return 0, syntax(UnderscoreInName, at)
	}
	for at < len(buf) && isToken[buf[at]] {
		at++
	}
	if at == len(buf) || buf[at] != ':' {
		return 0, badEnd(buf, at, BadFieldName)
	}
	return at, nil
}

// folds reports whether the line that begins at buf[at] continues the value of the field before it.
func (h *Head) folds(buf []byte, at int) bool {
	return h.Allow&AllowObsFold != 0 && at < len(buf) && isBlank(buf[at]) &&
		len(h.Fields) > 0 && mayFold.Has(h.Fields[len(h.Fields)-1].ID)
}

// unfold makes the line that begins at buf[at] a part of the field before it, and returns where the next begins.
// It writes only when the line is complete and correct: the answer to a beginning is the same before and after.
func (h *Head) unfold(buf []byte, at int) (next int, err error) {
	end := textEnd(buf, at)
	if end+1 >= len(buf) || buf[end] != '\r' || buf[end+1] != '\n' {
		return 0, badEnd(buf, end, BadFieldValue)
	}
	buf[at-2], buf[at-1] = ' ', ' '
	// Only the line itself is looked at: the value may have been continued thousands of times.
	stop := end
	for stop > at && isBlank(buf[stop-1]) {
		stop--
	}
	if stop == at {
		return end + 2, nil // nothing but blanks, which are no part of the value unless more follows
	}
	v := &h.Fields[len(h.Fields)-1].Value
	if v.Len() == 0 {
		for isBlank(buf[at]) {
			at++
		}
		v.Start = uint32(at)
	}
	v.End = uint32(stop)
	return end + 2, nil
}
