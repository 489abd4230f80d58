// Command faults lets everything around the proxy go wrong, one thing after the other, and says what its clients saw of
// it: origins that refuse, hang, reset, trickle, flap or answer garbage; connections that close as a request is on its
// way; servers that are killed, hang and become slow in turn; descriptors and disks that run out; clients that do
// nothing but hold a connection, or read slowly; a clock that starts elsewhere; tunnels whose sides end at any byte, in
// any way; twice as many requests as an origin can answer, and a few requests for many loops.
//
//	make faults                                      all of them, about three minutes
//	go run ./internal/faults -binary F -only disk    one
//
// It prints a table: requests, how many of them failed for a client, and for how many that was allowed, which the fault
// itself says: a request that the only server answers with garbage cannot succeed, one that it resets before an answer
// is tried again. It exits with 1 if more failed, or in another way than allowed, or if the proxy did not survive.
//
// The tests of this package run the same faults for a moment, without those figures that are about time.
//
// It knows the proxy from outside only: a binary, its file, its sockets. Everything is on loopback.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// fault is one thing that goes wrong.
type fault struct {
	name string
	run  func(e *env) (*result, error)
}

var faults = []fault{
	{"refuse", refuse},
	{"syn-dropped", synDropped},
	{"black-hole", blackHole},
	{"reset-in-head", resetInHead},
	{"reset-in-body", resetInBody},
	{"trickle", trickle},
	{"flap", flap},
	{"garbage", garbage},
	{"close-idle", closeIdle},
	{"descriptors", descriptors},
	{"disk", disk},
	{"clock", clockElsewhere},
	{"slow-reader", slowReader},
	{"slowloris", slowloris},
	{"failover", failover},
	{"one-slow", oneSlow},
	{"all-slow", allSlow},
	{"tunnels", tunnels},
	{"overload-fifo", overloadFIFO},
	{"overload-adaptive", overloadAdaptive},
	{"reuse", reuse},
}

// errSkipped is the reason why a fault cannot be made here.
type errSkipped struct{ error }

func (e errSkipped) Unwrap() error { return e.error }

// env is where a fault happens.
type env struct {
	binary string
	dir    string // its own
	full   bool   // whole sizes, and bounds on time; else as much as shows that it works
	proxy  *proxy // the latest

	mu   sync.Mutex
	seen map[string]int // requests that origins got, by target
	next int
}

// size is n in a full run, and a part of it else.
func (e *env) size(n, part int) int {
	if e.full {
		return n
	}
	return part
}

// result is what came of a fault.
type result struct {
	mu       sync.Mutex
	requests int
	errors   int // that clients saw: no answer, or one that is not 200
	allowed  int // of the requests: those that may fail
	wrong    []string
	remark   string
}

// wrongf notes what must not be.
func (r *result) wrongf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	const most = 5 // the rest is more of the same
	if len(r.wrong) < most {
		r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
	}
}

// remarkf adds a figure to what is printed.
func (r *result) remarkf(format string, args ...any) {
	if r.remark != "" {
		r.remark += "; "
	}
	r.remark += fmt.Sprintf(format, args...)
}

func (r *result) ok() bool { return len(r.wrong) == 0 && r.errors <= r.allowed }

// try makes a fault happen, between starting and ending a proxy.
func (f *fault) try(binary string, full bool) (r *result, err error) {
	dir, err := os.MkdirTemp("", "millrace-faults-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	e := &env{binary: binary, dir: dir, full: full, seen: make(map[string]int)}
	r, err = f.run(e)
	if e.proxy != nil {
		err = errors.Join(err, e.proxy.stop())
	}
	if err == nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		for target, n := range e.seen {
			if strings.HasPrefix(target, "POST ") && n > 1 {
				r.wrongf("%s came to origins %d times", target, n)
			}
		}
	}
	return r, err
}

func main() {
	binary := flag.String("binary", "bin/millrace", "the program under test")
	only := flag.String("only", "", "comma-separated `names` of faults; empty: all")
	quick := flag.Bool("quick", false, "only as much as the tests do")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if !all(*binary, *only, !*quick) {
		os.Exit(1)
	}
}

// all prints the table, and reports whether everything is as it should be.
func all(binary, only string, full bool) bool {
	fine, found := true, false
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "fault\trequests\terrors\tallowed\tverdict\t")
	var complaints []string
	for _, f := range faults {
		if only != "" && !strings.Contains(","+only+",", ","+f.name+",") {
			continue
		}
		found = true
		began := time.Now()
		fmt.Fprintf(os.Stderr, "%s ...\n", f.name)
		r, err := f.try(binary, full)
		var skipped errSkipped
		switch {
		case errors.As(err, &skipped):
			fmt.Fprintf(table, "%s\t-\t-\t-\tskipped\t%v\n", f.name, err)
			continue
		case err != nil:
			fmt.Fprintf(table, "%s\t-\t-\t-\tFAILED\tsee below\n", f.name)
			complaints = append(complaints, fmt.Sprintf("%s: %v", f.name, err))
			fine = false
			continue
		}
		verdict := "ok"
		if !r.ok() {
			verdict = "EXCEEDED"
			fine = false
		}
		for _, w := range r.wrong {
			complaints = append(complaints, f.name+": "+w)
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%s\t%s\n", f.name, r.requests, r.errors, r.allowed, verdict, r.remark)
		fmt.Fprintf(os.Stderr, "%s: %v\n", f.name, time.Since(began).Round(time.Millisecond))
	}
	table.Flush()
	for _, c := range complaints {
		fmt.Println(c)
	}
	if !found {
		fmt.Fprintf(os.Stderr, "no fault is called %q\n", only)
	}
	return fine && found
}
