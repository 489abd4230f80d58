package configs

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestDurations(t *testing.T) {
	for _, c := range []struct {
		raw   any
		want  time.Duration
		wrong string
	}{
		{raw: "8s", want: 8 * time.Second},
		{raw: "500ms", want: 500 * time.Millisecond},
		{raw: "1.5s", want: 1500 * time.Millisecond},
		{raw: "1h30m", want: 90 * time.Minute},
		{raw: "0s", want: 0},
		{raw: "0", want: 0},
		{raw: "", wrong: `"" is not a duration: write a number and a unit, such as "8s", "500ms" or "1h30m" (units: ms, s, m, h)`},
		{raw: "8", wrong: `"8" has no unit: write "8s" for seconds (units: ms, s, m, h)`},
		{raw: "1.5", wrong: `"1.5" has no unit: write "1.5s" for seconds`},
		{raw: int64(8), wrong: `8 has no unit: write "8s" for seconds (units: ms, s, m, h)`},
		{raw: 1.5, wrong: `1.5 has no unit: write "1.5s" for seconds`},
		{raw: int64(0), wrong: `0 is a number: write "0"`},
		{raw: int64(-8), wrong: `-8 is negative: a duration is a number and a unit`},
		{raw: "-8s", wrong: `"-8s" is negative: a duration is`},
		{raw: "+8s", wrong: `"+8s" is not a duration`},
		{raw: "8 s", wrong: `"8 s" is not a duration`},
		{raw: "8S", wrong: `"8S" is not a duration`},
		{raw: "8sec", wrong: `"8sec" is not a duration`},
		{raw: "1d", wrong: `"1d" is not a duration`},
		{raw: "5us", wrong: `"5us" is not a duration`},
		{raw: "s", wrong: `"s" is not a duration`},
		{raw: "1.s", wrong: `"1.s" is not a duration`},
		{raw: ".5s", wrong: `".5s" is not a duration`},
		{raw: "99999999999h", wrong: `"99999999999h" is too long for any wait`},
		{raw: true, wrong: `true is not a duration`},
		{raw: []any{"8s"}, wrong: `an array is not a duration`},
	} {
		got, wrong := decodeDuration(c.raw)
		checkScalar(t, c.raw, got, c.want, wrong, c.wrong)
	}
}

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		raw   any
		want  byteCount
		wrong string
	}{
		{raw: "0", want: 0},
		{raw: "0KiB", want: 0},
		{raw: "1B", want: 1},
		{raw: "64KiB", want: 64 << 10},
		{raw: "2MiB", want: 2 << 20},
		{raw: "3GiB", want: 3 << 30},
		{raw: "64KB", want: 64_000},
		{raw: "2MB", want: 2_000_000},
		{raw: "3GB", want: 3_000_000_000},
		{raw: "8589934591GiB", want: 8589934591 << 30},
		{raw: "8589934592GiB", wrong: `"8589934592GiB" is too large for any size`},
		{raw: "99999999999999999999B", wrong: `is too large for any size`},
		{raw: int64(32768), wrong: `32768 has no unit: write "32768B" for bytes (units: B, KiB, MiB, GiB, KB, MB, GB)`},
		{raw: "32768", wrong: `"32768" has no unit: write "32768B" for bytes`},
		{raw: int64(0), wrong: `0 is a number: write "0"`},
		{raw: int64(-1), wrong: `-1 is negative: a size is a whole number and a unit`},
		{raw: "-1B", wrong: `"-1B" is negative: a size is`},
		{raw: "1.5KiB", wrong: `"1.5KiB" is not a size: write a whole number and a unit, such as "64KiB" (units: B, KiB, MiB, GiB, KB, MB, GB)`},
		{raw: 1.5, wrong: `1.5 has no unit: write a whole number and a unit`},
		{raw: "64k", wrong: `"64k" is not a size: write "64KiB" (units: B, KiB, MiB, GiB, KB, MB, GB)`},
		{raw: "64M", wrong: `"64M" is not a size: write "64MiB"`},
		{raw: "64kib", wrong: `"64kib" is not a size: write "64KiB"`},
		{raw: "64mb", wrong: `"64mb" is not a size: write "64MB"`},
		{raw: "64b", wrong: `"64b" is not a size: write "64B"`},
		{raw: "64TiB", wrong: `"64TiB" is not a size`},
		{raw: "64 KiB", wrong: `"64 KiB" is not a size`},
		{raw: "+64KiB", wrong: `"+64KiB" is not a size`},
		{raw: "KiB", wrong: `"KiB" is not a size`},
		{raw: "", wrong: `"" is not a size`},
		{raw: false, wrong: `false is not a size`},
	} {
		got, wrong := decodeSize(c.raw)
		checkScalar(t, c.raw, got, c.want, wrong, c.wrong)
	}
}

func TestOtherScalars(t *testing.T) {
	for _, c := range []struct {
		decode func(any) (any, string)
		raw    any
		want   any
		wrong  string
	}{
		{anyOf(decodeInt), int64(4), int64(4), ""},
		{anyOf(decodeInt), "4", nil, `"4" is a string: write 4, without quotes`},
		{anyOf(decodeInt), "four", nil, `"four" is not a whole number`},
		{anyOf(decodeInt), 4.0, nil, `4 is not a whole number`},
		{anyOf(decodeInt), map[string]any{}, nil, `a table is not a whole number`},
		{anyOf(decodeBool), true, true, ""},
		{anyOf(decodeBool), "true", nil, `"true" is a string: write true, without quotes`},
		{anyOf(decodeBool), "enable", nil, `"enable" is neither true nor false`},
		{anyOf(decodeBool), int64(1), nil, `1 is neither true nor false`},
		{anyOf(decodeString), "x", "x", ""},
		{anyOf(decodeString), int64(8080), nil, `8080 is not a string: write "8080"`},
		{anyOf(decodeString), true, nil, `true is not a string`},
		{anyOf(decodeString), []any{"x"}, nil, `an array is not a string`},
		{anyOf(decodeString), []map[string]any{}, nil, `an array is not a string`},
		{anyOf(decodeString), map[string]any{}, nil, `is a table, not a string`},
		{anyOf(decodeString), time.Now(), nil, `a date or time is not a string`},
	} {
		got, wrong := c.decode(c.raw)
		if c.wrong == "" {
			checkScalar(t, c.raw, got, c.want, wrong, c.wrong)
		} else if wrong != c.wrong {
			t.Errorf("%#v: got %q, want %q", c.raw, wrong, c.wrong)
		}
	}
}

func anyOf[T any](decode func(any) (T, string)) func(any) (any, string) {
	return func(raw any) (any, string) { return decode(raw) }
}

func checkScalar[T comparable](t *testing.T, raw any, got, want T, wrong, wantWrong string) {
	t.Helper()
	if (wrong == "") != (wantWrong == "") || !strings.Contains(wrong, wantWrong) {
		t.Errorf("%#v: got message %q, want %q", raw, wrong, wantWrong)
	}
	if wrong == "" && got != want {
		t.Errorf("%#v: got %v, want %v", raw, got, want)
	}
}

func TestFormatsAreReadBack(t *testing.T) {
	for _, text := range []string{"0s", "1ms", "30s", "1m", "1m30s", "1h", "1h30m", "1h0m1s", "720h"} {
		d, wrong := decodeDuration(text)
		if got := formatDuration(d); wrong != "" || got != text {
			t.Errorf("%s is written as %s, %s", text, got, wrong)
		}
	}
	for _, text := range []string{"0", "1B", "1025B", "1KiB", "32KiB", "1MiB", "16GiB"} {
		n, wrong := decodeSize(text)
		if got := formatSize(n); wrong != "" || got != text {
			t.Errorf("%s is written as %s, %s", text, got, wrong)
		}
	}
}

func TestLongAndUnprintableValuesStayOnOneLine(t *testing.T) {
	for _, value := range []string{strings.Repeat("ä", 1000), "a\nb\x1b[31mc\u2028d", "`(?!\n`"} {
		for _, format := range []string{
			"[server]\nloops = %s\n",
			"%s = 1\n",
			"[timeouts]\nconnect = %s\n",
			"[access_log]\nformat = %s\n",
			"[[listener]]\naddress = %s\nname = %[1]s\n",
			"[[route]]\npattern = %s\nbackend = %[1]s\nhosts = [%[1]s]\npath = %[1]s\n",
			"[backend.%s]\nservers = [%[1]s]\n",
		} {
			quotedForTOML := `"` + strings.NewReplacer("\n", `\n`, "\x1b", `\u001b`, "\u2028", `\u2028`).Replace(value) + `"`
			got := problemsOf(t, fmt.Sprintf(format, quotedForTOML))
			for line := range strings.Lines(got) {
				if !strings.HasPrefix(line, "f:") || len(line) > 1500 || strings.ContainsAny(line, "\x1b\u2028\r") {
					t.Errorf("%q", line)
				}
			}
		}
	}
}
