// Package e2e tests the program as its users meet it: the real binary, run as a process with a TOML file, between
// real peers. The origins are nginx, or a few lines of Go where one has to misbehave on cue; the clients are curl,
// wget, wrk, h2load, chromium, or a bare socket where a test counts connections. Tunnels are between PostgreSQL, Redis,
// PHP-FPM, netcat, node's ws and their like.
//
// A test names the programs that it needs. Without them it is skipped, but not in CI (environment variable CI not
// empty), where it fails: a test that nobody notices to be skipped tests nothing.
//
//	go test ./internal/e2e                          about three minutes
//	MILLRACE_E2E_FULL=1 go test ./internal/e2e      whole sizes: 1 GiB bodies, the whole of Go's source,
//	                                                a minute of pgbench ("make demos" has the tunnels only)
//	MILLRACE_E2E_BINARY=F go test ./internal/e2e    tests that binary, such as a release, and builds none
//	go test -short ./...                            leaves this package out
//
// Everything is on loopback, in temporary folders; processes are ended by their id. Nothing waits for a time to
// pass in the hope that something has settled by then: tests poll for what they wait for, with a deadline. Each
// test logs the figures it went by.
//
// The tests share the machine with nobody, so none of them is parallel. Bounds on memory are those of the binary
// without the race detector, which is how it is built here.
package e2e

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// program is the path of the program under test: see binary.
var program string

// full says that tests use their whole sizes.
var full = os.Getenv("MILLRACE_E2E_FULL") != ""

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("end-to-end tests are not short")
		return
	}
	if program = os.Getenv("MILLRACE_E2E_BINARY"); program != "" {
		os.Exit(m.Run())
	}
	os.Exit(build(m.Run))
}

// build builds the program into a temporary folder, runs the tests and removes it.
func build(run func() int) int {
	dir, err := os.MkdirTemp("", "millrace-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "millrace")
	// The version stamp is of no use here, and asking git for it can fail.
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "millrace/cmd/millrace").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, out)
		return 1
	}
	return run()
}

// binary returns the path of the program under test.
func binary(t *testing.T) string {
	t.Helper()
	if err := dependOnSources(); err != nil {
		t.Fatal(err)
	}
	return program
}

// dependOnSources looks at every file that the program is built from. The go command notes which files a test looks
// at, and takes a result from its cache only if none of them has changed; what the compiler reads for us it does not
// see, nor what happens before the first test begins.
var dependOnSources = sync.OnceValue(func() error {
	const top = "../.."
	return filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && path != top && (strings.HasPrefix(name, ".") || name == "bin" || name == "testdata"):
			return filepath.SkipDir
		case entry.Type().IsRegular() && !strings.HasSuffix(name, "_test.go"):
			_, err = os.Stat(path)
		}
		return err
	})
})

// needs finds the programs that a test uses. Without one of them the test cannot run.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, ok := find(name); ok {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed, and in CI it has to be", name)
		}
		t.Skipf("%s is not installed", name)
	}
}

// find returns the path of a program. Debian keeps servers in /usr/sbin, which is not in everybody's PATH.
func find(name string) (path string, ok bool) {
	for _, candidate := range []string{name, filepath.Join("/usr/sbin", name)} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path, true
		}
	}
	return "", false
}

// pollEvery is how often a condition is looked at.
const pollEvery = 10 * time.Millisecond

// eventually waits until ok reports true; what says what is waited for.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	started := time.Now()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for !ok() {
		if time.Since(started) > within {
			t.Fatalf("waited %v for this: %s", within, what)
		}
		<-poll.C
	}
}

// throughout checks ok again and again for a time in which it must not change.
func throughout(t *testing.T, span time.Duration, ok func() error) {
	t.Helper()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for started := time.Now(); time.Since(started) < span; <-poll.C {
		if err := ok(); err != nil {
			t.Fatalf("%v into %v: %v", time.Since(started).Round(time.Millisecond), span, err)
		}
	}
}

// mib is bytes as a number of MiB.
func mib(n int64) float64 { return float64(n) / (1 << 20) }
