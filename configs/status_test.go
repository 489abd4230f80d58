package configs

import (
	"strings"
	"testing"

	"millrace/balance"
)

func TestStatus(t *testing.T) {
	const d, s, n, h, r, i = balance.Disabled, balance.Stopped, balance.Draining, balance.Standby, balance.Spare, balance.IgnoreErrors
	for text, want := range map[string]balance.Status{
		"disabled": d, "stopped": s, "drain": n, "standby": h, "spare": r, "ignore-errors": i,
		"standby ignore-errors": h | i, " spare\tdrain ": r | n,
		"D": d, "s": s, "+N": n, "+H": h, "+R": r, "+I": i, "E": 0, "-E": 0, "-H": 0,
		"S-E": s, "SH": s | h, "+SH-E": s | h, "H-H": 0, "+h+i": h | i, "HI-I": h,
	} {
		got, wrong := parseStatus(text)
		if got != want || wrong != "" {
			t.Errorf("%q: %v, %s, want %v", text, got, wrong, want)
		}
	}
	for text, want := range map[string]string{
		"": "says nothing", "  ": "says nothing", "X": "is not a status", "up": "is not a status", "standby H": "is not a status",
		"Standby": "is not a status", "H I": "is not a status", "+": "a sign without a letter", "H-": "a sign without a letter",
		"+-H": "a sign without a letter", "C": "failed health checks", "+O": "is not a status",
	} {
		if got, wrong := parseStatus(text); !strings.Contains(wrong, want) || got != 0 {
			t.Errorf("%q: %v, %q, want %q", text, got, wrong, want)
		}
	}
}

// FuzzStatus has a status written out in words mean what it meant before.
func FuzzStatus(f *testing.F) {
	for _, text := range []string{"", "+H", "S-E", "standby ignore-errors", "D+S-N", "+-", "C"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		status, wrong := parseStatus(text)
		if wrong != "" {
			if status != 0 {
				t.Errorf("%q: %v, and %s", text, status, wrong)
			}
			return
		}
		if status == 0 {
			return // E alone, or what was set and cleared
		}
		again, wrong := parseStatus(status.String())
		if again != status || wrong != "" {
			t.Errorf("%q is %v, which is read as %v, %s", text, status, again, wrong)
		}
	})
}

// BL-18: a server that begins in error is tried by the first request.
func TestAServerThatBeginsInErrorIsUsedAtOnce(t *testing.T) {
	b := parseOK(t, "[[listener]]\naddress = ':1'\n[[route]]\nbackend = 'app'\n[backend.app]\ndisable_time = '2s'\nbalance = 'byrequests'\n"+
		"[[backend.app.server]]\naddress = '10.0.0.1'\nstatus = '+E'\n[[backend.app.server]]\naddress = '10.0.0.2'", nil).Backends[0]
	for want := range balance.Index(2) {
		if got, ok := b.Group.Pick(0, balance.NoKey, nil); !ok || got != want {
			t.Errorf("picked %d, want %d", got, want)
		}
	}
}
