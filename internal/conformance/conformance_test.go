package conformance

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

	"go.uber.org/goleak"
)

// runners is how many cases are played at a time. Most of them wait for the kernel most of the time.
const runners = 16

// full has each case's bytes cut at every place. Otherwise it is every some.
var full = os.Getenv("MILLRACE_CONFORMANCE_FULL") != ""

// program is the path of the program under test.
var program string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(build(m.Run))
}

// build builds the program into a temporary folder, runs the tests and removes it.
func build(run func() int) int {
	dir, err := os.MkdirTemp("", "millrace-conformance-")
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
	code := run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// dependOnSources looks at every file that the program is built from. The go command notes which files a test looks
// at, and takes a result from its cache only if none of them has changed; what the compiler reads for us it does not
// see, nor what happens before the first test begins.
func dependOnSources(t *testing.T) {
	t.Helper()
	const top = "../.."
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
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
	if err != nil {
		t.Fatal(err)
	}
}

// TestMillraceDoesWhatTheTablesSay plays every case against the program, in every delivery.
func TestMillraceDoesWhatTheTablesSay(t *testing.T) {
	dependOnSources(t)
	cases, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	rs := make([]*Runner, runners)
	for i := range rs {
		if rs[i], err = NewRunner(); err != nil {
			t.Fatal(err)
		}
		defer rs[i].Close()
	}
	p, err := Servers(program)[0].Start(t.TempDir(), rs)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		for _, bad := range []string{"panic: ", "fatal error: ", `"level":"ERROR"`} {
			if out := p.out.String(); strings.Contains(out, bad) {
				t.Errorf("millrace wrote:\n%s", out)
			}
		}
	}()

	every := 6
	switch {
	case full:
		every = 1
	case testing.Short():
		every = 40
	}
	work := make(chan *Case)
	var playing sync.WaitGroup
	var mu sync.Mutex
	played, performances := 0, 0
	for _, r := range rs {
		playing.Go(func() {
			for c := range work {
				n := 0
				for _, d := range c.Deliveries(every) {
					n++
					if err := r.Play(c, d); err != nil {
						t.Error(err)
						break // the others are likely to fail in the same way
					}
				}
				mu.Lock()
				played, performances = played+1, performances+n
				mu.Unlock()
			}
		})
	}
	off := 0
	for _, c := range cases {
		if c.Off != "" {
			off++
			continue
		}
		work <- c
	}
	close(work)
	playing.Wait()
	t.Logf("%d cases, played %d times; %d are off", played, performances, off)
}
