package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEveryWayToBalanceIsMeasured takes them from the table of the manual.
func TestEveryWayToBalanceIsMeasured(t *testing.T) {
	manual, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(manual), "### `backend.NAME.balance`")
	section, _, _ = strings.Cut(section, "\n### ")
	var words []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)`").FindAllStringSubmatch(section, -1) {
		words = append(words, row[1])
	}
	// These are others under another name: see the table, and balanceAlgorithms.
	same := []string{"sqf", "sticky"}
	slices.Sort(words)
	if want := slices.Sorted(slices.Values(append(same, balanceAlgorithms...))); !slices.Equal(words, want) {
		t.Errorf("the manual has %v, measured or said to be the same are %v", words, want)
	}
}

func TestBalanceMeasuresAllWaysAgainstTheBase(t *testing.T) {
	o, err := parseOptions([]string{"-root", "../..", "-balance", "-quick"})
	if err != nil {
		t.Fatal(err)
	}
	if cells := o.cells(); len(cells) != 1 || cells[0].Script != "keys" || cells[0].path != "/5B" || o.seconds != 2 {
		t.Errorf("cells %v, %d s, want one with the script keys, and 2 s", cells, o.seconds)
	}
	for servers, want := range map[int]string{
		1:    "fair-1 round-robin-1 hash-1 maglev-1 bytraffic-1 bybusyness-1 first-1 random-1 ewma-1",
		1000: "fair-1 round-robin-1000 fair-1000 hash-1000 maglev-1000 bytraffic-1000 bybusyness-1000 first-1000 random-1000 ewma-1000 limit_spread-64 limit_spread-1000",
	} {
		var names []string
		for _, p := range balancePeers(o, servers, 64) {
			names = append(names, p.name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%d servers: %s, want %s", servers, got, want)
		}
	}
	if o, err = parseOptions([]string{"-root", "../..", "-balance", "-peers", "maglev,ewma", "-conns", "8"}); err != nil {
		t.Fatal(err)
	}
	if strings.Join(o.peers, " ") != "maglev ewma" || !slices.Equal(o.conns, []int{8}) {
		t.Errorf("options given beside it do not win: %+v", o)
	}
}

func TestBalanceGoesWithFewOptions(t *testing.T) {
	for _, args := range []string{
		"-raw", "-idle 5", "-edits", "-routes", "-strace", "-baseline /bin/millrace", "-origin nginx", "-peers nginx", "-peers sqf",
	} {
		args := append([]string{"-root", "../..", "-balance"}, strings.Fields(args)...)
		if _, err := parseOptions(args); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}

func TestServersAreAddressesOfThisMachine(t *testing.T) {
	addrs := serverAddrs("80", 1000)
	for i, want := range map[int]string{0: "127.0.1.1:80", 249: "127.0.1.250:80", 250: "127.0.2.1:80", 999: "127.0.4.250:80"} {
		if addrs[i] != want {
			t.Errorf("server %d is %s, want %s", i, addrs[i], want)
		}
	}
	slices.Sort(addrs)
	if n := len(slices.Compact(addrs)); n != 1000 {
		t.Errorf("%d different ones", n)
	}
}

func TestConfigurationOfBalance(t *testing.T) {
	for key, want := range map[string]string{
		"":    "balance = \"fair\"\nttl",
		"uri": "balance = \"fair\"\nhash_key = \"uri\"\nttl",
	} {
		s := &settings{
			Listen: "127.0.0.1:1", Balance: "fair", HashKey: key, Servers: []string{"127.0.1.1:2", "127.0.1.2:2"},
			Config: filepath.Join(t.TempDir(), "config"),
		}
		if err := fill("../peers/millrace-balance.toml", s); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(s.Config)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{want, "servers = [\n  \"127.0.1.1:2\",\n  \"127.0.1.2:2\",\n]\n"} {
			if !strings.Contains(string(got), want) {
				t.Errorf("%q is not in\n%s", want, got)
			}
		}
	}
}

func TestBalanceTable(t *testing.T) {
	run := func(cpu float64) []measurement {
		return []measurement{{CPU: cpu, PerSecond: 40_000, Conns: 1200, ConnsMade: 3, Utilization: 0.9}}
	}
	r := report{
		Machine: machine{Date: "2026-11-21", Commit: "abc1234", CPUs: 2},
		Results: []result{
			{cell: cell{Script: "keys", Size: "5B", Conns: 64, Servers: 1}, Peers: []peerResult{
				{Name: "fair-1", Runs: run(10)}, {Name: "round-robin-1", Runs: run(10.5)},
			}},
			{cell: cell{Script: "keys", Size: "5B", Conns: 64, Servers: 1000}, Peers: []peerResult{
				{Name: "fair-1", Runs: run(10)},
				{Name: "round-robin-1000", Runs: run(11)},
				{Name: "hash-1000", Runs: run(13.2)},
				{Name: "maglev-1000", Runs: []measurement{{Failure: "no figure"}}},
				{Name: "limit_spread-64", Runs: run(8)},
				{Name: "limit_spread-1000", Runs: run(11.2)},
			}},
		},
	}
	out := t.TempDir()
	if err := r.write(&options{out: out, balance: true}, new(strings.Builder)); err == nil || err.Error() != "1 runs had errors" {
		t.Errorf("write: %v, want an error about one run", err)
	}
	got, err := os.ReadFile(filepath.Join(out, "2026-11-21-abc1234-balance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# Ways to balance, 2026-11-21, abc1234\n",
		"## 1 server, keys, 5B, 64 connections\n",
		"\nAll within 5 % of fair-1.\n",
		"## 1000 servers, keys, 5B, 64 connections\n",
		"| hash-1000 | 13.20 (13.20-13.20) | 1.320 | 1.200 | 40000 | 0s | 0s | 1200 | 3 | 90 % | 0 % | none |\n",
		"| maglev-1000 | | | | | | | | | | | **1 of 1 runs**: no figure |\n",
		"\nMore than 5 % above fair-1: round-robin-1000, hash-1000 (1.200 times round-robin).\n",
		"\nThe kernel alone: 1000 connections in turn take 1.400 times, or 3.20 us more than, what 64 take (limit_spread).\n",
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("the report lacks %q:\n%s", want, got)
		}
	}
	if n := strings.Count(string(got), "\n|---|---:"); n != 2 {
		t.Errorf("%d tables, want 2", n)
	}
}
