package accesslog

import "time"

const (
	layoutLocal = "02/Jan/2006:15:04:05 -0700" // Apache's %t, without the brackets
	layoutISO   = "2006-01-02T15:04:05-07:00"  // RFC 3339
	layoutUTC   = "2006-01-02T15:04:05."       // RFC 3339, up to the fraction
)

// stamps is the text of the second that the last record fell into. Formatting a time costs more than the rest
// of a line, and there are many records a second, so each Buffer keeps one.
type stamps struct{ local, iso, utc stamp }

// stamp is one second in one layout. The zero value holds nothing.
type stamp struct {
	second int64
	length uint8 // of text; 0: nothing is held
	text   [31]byte
}

// append appends a second since the epoch. A stamp must be used with one zone and one layout only.
func (s *stamp) append(dst []byte, second int64, zone *time.Location, layout string) []byte {
	if s.length == 0 || s.second != second {
		s.second = second
		s.length = uint8(len(time.Unix(second, 0).In(zone).AppendFormat(s.text[:0], layout)))
	}
	return append(dst, s.text[:s.length]...)
}

// appendMicros appends a time in nanoseconds since the epoch in UTC, to the microsecond.
func (s *stamp) appendMicros(dst []byte, ns int64) []byte {
	second, rest := split(ns)
	dst = s.append(dst, second, time.UTC, layoutUTC)
	micros := rest / 1e3
	for unit := int64(1e5); unit > 0; unit /= 10 {
		dst = append(dst, '0'+byte(micros/unit%10))
	}
	return append(dst, 'Z')
}

// split splits nanoseconds since the epoch into whole seconds and the nanoseconds of the second begun.
func split(ns int64) (second, rest int64) {
	second, rest = ns/1e9, ns%1e9
	if rest < 0 {
		second, rest = second-1, rest+1e9
	}
	return second, rest
}
