package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program is the path of the program under test.
var program string

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("faults are not short")
		return
	}
	os.Exit(build(m.Run))
}

// build builds the program into a temporary folder, runs the tests and removes it.
func build(run func() int) int {
	dir, err := os.MkdirTemp("", "millrace-faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "millrace")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "millrace/cmd/millrace").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, out)
		return 1
	}
	return run()
}

// TestFaults lets each fault happen for a moment. What is about time is left to "make faults".
func TestFaults(t *testing.T) {
	if err := dependOnSources(); err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			r, err := f.try(program, false)
			var skipped errSkipped
			if errors.As(err, &skipped) {
				if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") != "" {
					t.Fatalf("%v, and in CI it has to be there", err)
				}
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d requests, %d errors, %d allowed; %s", r.requests, r.errors, r.allowed, r.remark)
			for _, w := range r.wrong {
				t.Error(w)
			}
			if r.errors > r.allowed {
				t.Errorf("clients saw %d errors of %d requests, allowed are %d", r.errors, r.requests, r.allowed)
			}
		})
	}
}

// dependOnSources looks at every file that the program is built from: the go command takes a result from its cache only
// if no file has changed that the test has looked at, and what the compiler reads it does not see.
func dependOnSources() error {
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
}
