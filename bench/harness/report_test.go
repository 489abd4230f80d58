package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNewMeasurement(t *testing.T) {
	// Four seconds, in which the proxy used two of its CPU and others 0.2; origin and wrk three of theirs, others 0.8.
	before := sample{at: time.Unix(1, 0), proxy: usage{cpu: time.Second}, origin: usage{cpu: time.Second}, proxyBusy: time.Second}
	after := sample{
		at:        time.Unix(5, 0),
		proxy:     usage{cpu: 3 * time.Second, rss: 1, rssPeak: 2},
		origin:    usage{cpu: 2 * time.Second},
		proxyBusy: 3200 * time.Millisecond,
		loadBusy:  3800 * time.Millisecond,
	}
	w := wrkRun{requests: 100_000, perSecond: 25_000, p50: 1, p99: 2, cpu: 2 * time.Second}
	got := newMeasurement(w, before, after)
	if got.Foreign < 0.199 || got.Foreign > 0.201 {
		t.Errorf("foreign is %v, want 0.2, that of the load's CPU", got.Foreign)
	}
	got.Foreign = 0
	want := measurement{
		CPU: 20, PerSecond: 25_000, P50: 1, P99: 2, RSS: 1, RSSPeak: 2, Utilization: 0.5, Requests: 100_000,
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestMedianLeavesOutRunsWithErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		runs []measurement
		want float64 // of CPU; 0: there is none
	}{
		{"odd", []measurement{{CPU: 9}, {CPU: 1}, {CPU: 2}}, 2},
		{"even", []measurement{{CPU: 4}, {CPU: 1}, {CPU: 2}, {CPU: 9}}, 3},
		{"with errors", []measurement{{CPU: 5}, {CPU: 1, BadStatus: 1}, {CPU: 1, SocketErrors: 1}, {CPU: 1, Timeouts: 1}, {Failure: "down"}}, 5},
		{"nothing but errors", []measurement{{CPU: 1, BadStatus: 1}}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := medianOf(test.runs)
			switch {
			case got == nil && test.want != 0:
				t.Errorf("got none, want %v", test.want)
			case got != nil && got.CPU != test.want:
				t.Errorf("got %v, want %v", got.CPU, test.want)
			}
		})
	}
}

// TestReport writes a report of two proxies, of which one failed in one round.
func TestReport(t *testing.T) {
	run := measurement{CPU: 20, PerSecond: 40_000, P50: time.Millisecond, RSS: 3 << 20, RSSPeak: 4 << 20, Utilization: 0.8}
	slower, failed := run, run
	slower.CPU, slower.Foreign = 40, 0.25
	failed.SocketErrors = 3
	r := &report{
		Machine: machine{Date: "2026-11-21", Commit: "abc1234", Kernel: "6.18", CPUs: 2, CPU: "Some CPU"},
		Results: []result{{
			cell: cell{Script: "small", Size: "5B", Conns: 64},
			Peers: []peerResult{
				{Name: "millrace", Runs: []measurement{run, run}},
				{Name: "nginx", Runs: []measurement{slower, failed}},
				{Name: "haproxy", Runs: []measurement{{Failure: "first line\nlast line"}}},
			},
		}},
	}
	dir := t.TempDir()
	var stdout bytes.Buffer
	if err := r.write(&options{out: dir}, &stdout); err == nil || err.Error() != "2 runs had errors" {
		t.Errorf("write: %v, want an error about 2 runs", err)
	}

	md, err := os.ReadFile(filepath.Join(dir, "2026-11-21-abc1234.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(md, stdout.Bytes()) {
		t.Error("stdout and the file differ")
	}
	for _, want := range []string{
		"## small, 5B, 64 connections",
		"| millrace | 20.00 (20.00-20.00) | 1.00 | 40000 | 1.00 | 1ms | 0s | 3.0 | 4.0 | 80 % | 0 % | none |",
		"| nginx | 40.00 (40.00-40.00) | 0.50 | 40000 | 1.00 | 1ms | 0s | 3.0 | 4.0 | 80 % | **25 %** | **1 of 2 runs**: 3 socket errors |",
		"| haproxy | | | | | | | | | | | **1 of 1 runs**: last line |",
	} {
		if !strings.Contains(string(md), want+"\n") {
			t.Errorf("the table lacks %q:\n%s", want, md)
		}
	}

	data, err := os.ReadFile(filepath.Join(dir, "2026-11-21-abc1234.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if got := back.Results[0].Peers[1].Median; got == nil || got.CPU != 40 {
		t.Errorf("nginx's median in the JSON is %+v, want 40 us", got)
	}
}

// TestWhatFeaturesCost stands below the table, if both were measured.
func TestWhatFeaturesCost(t *testing.T) {
	res := result{cell: cell{Script: "small", Size: "5B", Conns: 64}, Peers: []peerResult{
		{Name: "millrace", Median: &measurement{CPU: 10, PerSecond: 1}},
		{Name: "millrace-edits", Median: &measurement{CPU: 10.8, PerSecond: 1}},
	}}
	var b strings.Builder
	res.table(&b)
	if want := "\nTen edits each way: +0.80 us of CPU a request, 1.08 times what it costs without.\n"; !strings.HasSuffix(b.String(), want) {
		t.Errorf("no %q in\n%s", want, b.String())
	}
	res.Peers = res.Peers[:1]
	b.Reset()
	if res.table(&b); strings.Contains(b.String(), "edits") {
		t.Errorf("without them\n%s", &b)
	}
}
