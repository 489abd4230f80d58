package httpparse

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// scans are the searches, each with the rule that it has to go by, byte by byte.
var scans = []struct {
	name  string
	end   func([]byte, int) int
	holds func(byte) bool
}{
	{"name", nameEnd, func(c byte) bool { return isToken[c] && c != '_' }},
	{"text", textEnd, func(c byte) bool { return c >= 0x20 && c != 0x7f || c == '\t' }},
	{"target", targetEnd, func(c byte) bool { return c > 0x20 && c < 0x7f && c != '#' }},
}

// checkScan compares a search with its rule.
func checkScan(t *testing.T, end func([]byte, int) int, holds func(byte) bool, buf []byte, at int) {
	t.Helper()
	want := at
	for want < len(buf) && holds(buf[want]) {
		want++
	}
	if got := end(buf, at); got != want {
		t.Fatalf("from %d on in %q: ends at %d, want %d", at, buf, got, want)
	}
}

func TestScansEndWhereTheirRuleSays(t *testing.T) {
	for _, s := range scans {
		t.Run(s.name, func(t *testing.T) {
			// Every byte, at every place in the words that it can be in, before every other byte: what is behind a byte that
			// is found must not matter.
			for c := range 256 {
				for place := range 17 {
					buf := []byte(strings.Repeat("a", 20))
					buf[place] = byte(c)
					checkScan(t, s.end, s.holds, buf, 0)
					for next := range 256 {
						buf[place+1] = byte(next)
						checkScan(t, s.end, s.holds, buf, place&3)
					}
				}
			}
			random := rand.New(rand.NewPCG(1, 2))
			common := []byte("abcXYZ-019:_ \t~!#?/\r\n\x00\x7f\x80\xff")
			for range 200_000 {
				buf := make([]byte, random.IntN(40))
				for i := range buf {
					buf[i] = common[random.IntN(len(common))]
					if random.IntN(2) == 0 {
						buf[i] = 'e'
					}
				}
				checkScan(t, s.end, s.holds, buf, random.IntN(len(buf)+1))
			}
		})
	}
}

// A name is known by what it is, however it is written and whatever is behind it; and no other name is taken for it.
func TestKnownNames(t *testing.T) {
	for id := FieldOther + 1; id < numFieldIDs; id++ {
		name := fieldNames[id]
		for _, spelled := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			for _, behind := range []string{"", ":", ": x\r\n", ":xxxxxxxxxxxxxxxx"} {
				buf := []byte("\x00" + spelled + behind)
				if got, obscured := identify(buf, 1, 1+len(name)); got != id || obscured {
					t.Errorf("%q in %q: %d, %v, want %d", spelled, buf, got, obscured, id)
				}
			}
		}
		for i := range name {
			for c := range 256 {
				other := []byte(name)
				other[i] = byte(c)
				if !isToken[byte(c)] || bytes.EqualFold(other, []byte(name)) {
					continue
				}
				for _, behind := range []string{"", ": xxxxxxxx"} {
					if got, _ := identify(append(bytes.Clone(other), behind...), 0, len(name)); got == id {
						t.Errorf("%q is taken for %q", other, name)
					}
				}
			}
		}
	}
}
