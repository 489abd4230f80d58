package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// wrkRun is what wrk says about one run.
type wrkRun struct {
	requests     int64
	perSecond    float64
	p50, p99     time.Duration
	badStatus    int64 // responses with a status of 400 or more
	socketErrors int64 // connects, reads and writes that failed
	timeouts     int64 // requests that took longer than wrk's 2 s
	cpu          time.Duration
}

// runWrk runs wrk with one thread on the load's CPU.
func runWrk(ctx context.Context, o *options, c cell, url string, seconds int) (wrkRun, error) {
	cmd := pinned(
		ctx, o.loadCPU, "wrk", "--latency", "-t", "1", "-c", strconv.Itoa(c.Conns),
		"-d", fmt.Sprintf("%ds", seconds), "-s", scriptFile(o, c.Script), url,
	)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return wrkRun{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	w, err := parseWrk(string(out))
	w.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return w, err
}

var (
	wrkRequests  = regexp.MustCompile(`(?m)^ *(\d+) requests in `)
	wrkPerSecond = regexp.MustCompile(`(?m)^Requests/sec: *([\d.]+)`)
	wrkQuantile  = regexp.MustCompile(`(?m)^ *(50|99)% +([\d.]+)(us|ms|s|m|h)\b`)
	wrkBadStatus = regexp.MustCompile(`(?m)^ *Non-2xx or 3xx responses: (\d+)`)
	wrkSockets   = regexp.MustCompile(`(?m)^ *Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
)

// parseWrk reads the text that "wrk --latency" prints. The lines about errors are there only if there were some.
func parseWrk(out string) (w wrkRun, err error) {
	m := wrkRequests.FindStringSubmatch(out)
	s := wrkPerSecond.FindStringSubmatch(out)
	if m == nil || s == nil {
		return w, fmt.Errorf("wrk printed no result: %s", strings.TrimSpace(out))
	}
	if w.requests, err = strconv.ParseInt(m[1], 10, 64); err != nil {
		return w, err
	}
	if w.perSecond, err = strconv.ParseFloat(s[1], 64); err != nil {
		return w, err
	}
	for _, m := range wrkQuantile.FindAllStringSubmatch(out, -1) {
		d, err := time.ParseDuration(m[2] + m[3])
		if err != nil {
			return w, err
		}
		if m[1] == "50" {
			w.p50 = d
		} else {
			w.p99 = d
		}
	}
	if m := wrkBadStatus.FindStringSubmatch(out); m != nil {
		w.badStatus, _ = strconv.ParseInt(m[1], 10, 64) // digits, by the expression
	}
	if m := wrkSockets.FindStringSubmatch(out); m != nil {
		for _, digits := range m[1:4] {
			n, _ := strconv.ParseInt(digits, 10, 64)
			w.socketErrors += n
		}
		w.timeouts, _ = strconv.ParseInt(m[4], 10, 64)
	}
	if w.requests == 0 {
		return w, errors.New("not one request was answered")
	}
	return w, nil
}
