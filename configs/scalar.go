package configs

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Each scalar has a function that makes it of what the decoder found, or says what to write instead.

func decodeInt(raw any) (int64, string) {
	switch raw := raw.(type) {
	case int64:
		return raw, ""
	case string:
		if _, err := strconv.ParseInt(raw, 10, 64); err == nil {
			return 0, fmt.Sprintf("%s is a string: write %s, without quotes", describe(raw), raw)
		}
	}
	return 0, describe(raw) + " is not a whole number"
}

func decodeBool(raw any) (bool, string) {
	switch raw := raw.(type) {
	case bool:
		return raw, ""
	case string:
		if raw == "true" || raw == "false" {
			return false, fmt.Sprintf("%s is a string: write %s, without quotes", describe(raw), raw)
		}
	}
	return false, describe(raw) + " is neither true nor false"
}

func decodeString(raw any) (string, string) {
	switch raw := raw.(type) {
	case string:
		return raw, ""
	case int64, float64:
		return "", fmt.Sprintf("%s is not a string: write \"%s\"", describe(raw), describe(raw))
	case map[string]any:
		return "", "is a table, not a string"
	}
	return "", describe(raw) + " is not a string"
}

// durations is what a duration looks like. The units are those that a person uses for a wait; nothing waits for
// less than a millisecond.
var durations = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`)

const durationHelp = `a number and a unit, such as "8s", "500ms" or "1h30m" (units: ms, s, m, h)`

func decodeDuration(raw any) (time.Duration, string) {
	text, ok := raw.(string)
	if !ok {
		switch raw.(type) {
		case int64, float64:
			return 0, noDurationUnit(describe(raw), describe(raw))
		}
		return 0, describe(raw) + " is not a duration: write " + durationHelp
	}
	switch {
	case text == "0":
		return 0, ""
	case strings.HasPrefix(text, "-"):
		return 0, quoted(text) + " is negative: a duration is " + durationHelp
	case isNumber(text):
		return 0, noDurationUnit(quoted(text), text)
	case durations.MatchString(text):
		if d, err := time.ParseDuration(text); err == nil {
			return d, ""
		}
		return 0, quoted(text) + " is too long for any wait"
	}
	return 0, quoted(text) + " is not a duration: write " + durationHelp
}

// noDurationUnit is said of a number, which is seconds in one server's file and milliseconds in another's.
func noDurationUnit(found, number string) string {
	if strings.HasPrefix(number, "-") {
		return found + " is negative: a duration is " + durationHelp
	}
	if number == "0" {
		return found + ` is a number: write "0"`
	}
	return fmt.Sprintf(`%s has no unit: write "%ss" for seconds (units: ms, s, m, h)`, found, number)
}

// sizes is what a size looks like.
var sizes = regexp.MustCompile(`^([0-9]+)([A-Za-z]+)$`)

const sizeHelp = `a whole number and a unit, such as "64KiB" (units: B, KiB, MiB, GiB, KB, MB, GB)`

var sizeUnits = map[string]int64{
	"B":   1,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
	"KB": 1e3, "MB": 1e6, "GB": 1e9,
}

func decodeSize(raw any) (byteCount, string) {
	text, ok := raw.(string)
	if !ok {
		switch raw.(type) {
		case int64, float64:
			return 0, noSizeUnit(describe(raw), describe(raw))
		}
		return 0, describe(raw) + " is not a size: write " + sizeHelp
	}
	switch {
	case text == "0":
		return 0, ""
	case strings.HasPrefix(text, "-"):
		return 0, quoted(text) + " is negative: a size is " + sizeHelp
	case isNumber(text):
		return 0, noSizeUnit(quoted(text), text)
	}
	m := sizes.FindStringSubmatch(text)
	if m == nil {
		return 0, quoted(text) + " is not a size: write " + sizeHelp
	}
	unit, ok := sizeUnits[m[2]]
	if !ok {
		for known := range sizeUnits {
			if strings.EqualFold(known, m[2]) || strings.EqualFold(known, m[2]+"iB") {
				// KB would do for k as well, but memory and buffers are counted in powers of two.
				return 0, fmt.Sprintf("%s is not a size: write %q (units: B, KiB, MiB, GiB, KB, MB, GB)", quoted(text), m[1]+known)
			}
		}
		return 0, quoted(text) + " is not a size: write " + sizeHelp
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || n > math.MaxInt64/unit {
		return 0, quoted(text) + " is too large for any size"
	}
	return byteCount(n * unit), ""
}

func noSizeUnit(found, number string) string {
	if strings.HasPrefix(number, "-") {
		return found + " is negative: a size is " + sizeHelp
	}
	if number == "0" {
		return found + ` is a number: write "0"`
	}
	if strings.Contains(number, ".") {
		return found + " has no unit: write " + sizeHelp
	}
	return fmt.Sprintf(`%s has no unit: write "%sB" for bytes (units: B, KiB, MiB, GiB, KB, MB, GB)`, found, number)
}

// isNumber reports whether text is a number without a unit.
func isNumber(text string) bool {
	return text != "" && strings.Trim(text, "0123456789.") == "" && strings.Count(text, ".") <= 1
}

// formatDuration is how a file would have it: "1h", where String says "1h0m0s".
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// formatSize is how a file would have it, in the largest unit that needs no fraction.
func formatSize(n byteCount) string {
	if n == 0 {
		return "0"
	}
	for _, unit := range []string{"GiB", "MiB", "KiB"} {
		if size := byteCount(sizeUnits[unit]); n%size == 0 {
			return fmt.Sprintf("%d%s", n/size, unit)
		}
	}
	return fmt.Sprintf("%dB", n)
}

// describe is a value in a message: scalars as the file has them, the others by what they are.
func describe(raw any) string {
	switch raw := raw.(type) {
	case string:
		return quoted(raw)
	case int64:
		return strconv.FormatInt(raw, 10)
	case float64:
		return strconv.FormatFloat(raw, 'g', -1, 64)
	case bool:
		return strconv.FormatBool(raw)
	case time.Time:
		return "a date or time"
	case map[string]any:
		return "a table"
	case []any, []map[string]any:
		return "an array"
	}
	return fmt.Sprintf("%T", raw)
}
