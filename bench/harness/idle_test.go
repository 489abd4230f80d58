package main

import (
	"strings"
	"testing"
)

func TestIdleMarkdown(t *testing.T) {
	got := idleMarkdown(machine{Date: "2026-01-02", Commit: "abc", Command: "harness"}, 1000, []idleResult{
		{name: "fine", before: 10 << 20, after: 10<<20 + 2_000_000},
		{name: "broken", failure: "no memory"},
	}, []string{"a remark"})
	for _, want := range []string{
		"# 1000 idle tunnels, 2026-01-02, abc\n", "Note: a remark.\n", "| fine | 10.0 | 11.9 | 2000 | none |\n",
		"| broken | | | | no memory |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestRawNamesItsPeers(t *testing.T) {
	o, err := parseOptions([]string{"-raw", "-root", "../..", "-sizes", "1KiB"})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(o.peers, ","); got != strings.Join(rawPeers, ",") {
		t.Errorf("peers: %s", got)
	}
	if o.peersNamed || len(o.sizes) != 1 || o.sizes[0].name != "1KiB" {
		t.Errorf("sizes: %v; peers named: %v", o.sizes, o.peersNamed)
	}
}

func TestLimitIdleMakesDo(t *testing.T) {
	o := &options{idle: 1 << 30}
	if err := o.limitIdle(); err != nil {
		t.Skip(err)
	}
	if o.idle < 1 || o.idle >= 1<<30 {
		t.Errorf("%d tunnels", o.idle)
	}
}
