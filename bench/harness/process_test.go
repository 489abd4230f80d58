package main

import (
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	for _, test := range []struct {
		stat        string
		pid, parent int
		ok          bool
	}{
		{"42 (nginx) S 7 42 42 0 -1", 42, 7, true},
		{"42 (a (b) c) d) R 7 42", 42, 7, true},
		{"42 (nginx) S", 0, 0, false},
		{"", 0, 0, false},
	} {
		pid, parent, ok := parseStat(test.stat)
		if pid != test.pid || parent != test.parent || ok != test.ok {
			t.Errorf("parseStat(%q) = %d, %d, %t, want %d, %d, %t", test.stat, pid, parent, ok, test.pid, test.parent, test.ok)
		}
	}
}

func TestParseSchedstat(t *testing.T) {
	if got, err := parseSchedstat("26533449 5393242 82\n"); err != nil || got != 26533449*time.Nanosecond {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := parseSchedstat("\n"); err == nil {
		t.Errorf("an empty line gave %v, want an error", got)
	}
}

func TestStatusBytes(t *testing.T) {
	status := "Name:\tnginx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"
	for key, want := range map[string]int64{"VmRSS": 1 << 20, "VmHWM": 2 << 20, "VmSwap": 0} {
		if got := statusBytes(status, key); got != want {
			t.Errorf("%s = %d, want %d", key, got, want)
		}
	}
}

func TestCPUBusyLeavesOutIdleAndWaiting(t *testing.T) {
	stat := "cpu  1000 0 0 0 0 0 0 0 0 0\ncpu0 1 2 3 5000 6000 4 5 6 700 800\ncpu1 9 0 0 0 0 0 0 0 0 0\n"
	if got, err := cpuBusy(stat, 0); err != nil || got != 210*time.Millisecond {
		t.Errorf("cpu0: got %v, %v, want 210ms", got, err)
	}
	if got, err := cpuBusy(stat, 2); err == nil {
		t.Errorf("cpu2 gave %v, want an error", got)
	}
}
