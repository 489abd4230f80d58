package httpparse

// ValidAuthority reports whether b is host[:port] without userinfo, as a Host field has it (RFC 9110, 4.2.4 and 7.2).
func ValidAuthority(b []byte) bool { return validAuthority(b) }

// ValidTarget reports whether b is a request target in origin-form: a slash, and then what a target may hold (RFC 9112,
// 3.2.1).
func ValidTarget(b []byte) bool {
	return len(b) > 0 && b[0] == '/' && targetEnd(b, 0) == len(b)
}

// ValidFieldValue reports whether b may be the value of a field: it has no control character but HTAB (RFC 9110, 5.5).
func ValidFieldValue(b []byte) bool { return textEnd(b, 0) == len(b) }
