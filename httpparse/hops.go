package httpparse

// mostForwards is the largest number of hops that is counted. A larger one is taken for it (RFC 9110, 7.6.2).
const mostForwards = 1<<31 - 1

// MaxForwards returns how many more times the request whose head is in buf may be sent on (RFC 9110, 7.6.2), and
// whether it says so. It returns an *Error for what is no number, and for two of them.
func (r *Request) MaxForwards(buf []byte) (n int, found bool, err error) {
	if !r.Seen.Has(FieldMaxForwards) {
		return 0, false, nil
	}
	for i := range r.Fields {
		if r.Fields[i].ID != FieldMaxForwards {
			continue
		}
		v := r.Fields[i].Value
		if found || v.Len() == 0 {
			return 0, false, syntax(BadMaxForwards, int(v.Start))
		}
		found = true
		for _, c := range v.Of(buf) {
			if c < '0' || c > '9' {
				return 0, false, syntax(BadMaxForwards, int(v.Start))
			}
			n = min(n*10+int(c-'0'), mostForwards)
		}
	}
	return n, true, nil
}
