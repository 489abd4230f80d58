package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// readings are the places where the program may read the time of day, and what for. time.Now reads the monotonic clock
// too, and the difference of two readings is by that one: so a reading may be for a difference, but no deadline may
// be made of what a clock on the wall shows.
var readings = map[string]string{
	"loop/clock.go":                "where the data plane's clock starts: all it reads later is the time since then",
	"loop/session_request.go":      "the time of day in the access log's records",
	"loop/session_finish.go":       "the Date of the proxy's own answers",
	"internal/accesslog/writer.go": "how long ago something was last reported, which is a difference",
}

// TestNoDeadlineIsReckonedByTheWallClock reads the sources of everything that serves: a wall clock that jumps, by NTP or
// by hand, changes times in the log and in Date, and nothing else. To let it jump for one process only there is no
// way, and to let it jump for the machine is not for a test.
func TestNoDeadlineIsReckonedByTheWallClock(t *testing.T) {
	const top = "../.."
	found := map[string]bool{}
	for _, pkg := range []string{"loop", "pool", "balance", "remap", "httpparse", "internal/accesslog"} {
		names, err := filepath.Glob(filepath.Join(top, pkg, "*.go"))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: no sources (%v)", pkg, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			path, _ := filepath.Rel(top, name)
			path = filepath.ToSlash(path)
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				of, named := sel.X.(*ast.Ident)
				switch {
				case named && of.Name == "time" && sel.Sel.Name == "Now":
					found[path] = true
					if readings[path] == "" {
						t.Errorf("%s reads the time of day. If that is for a record and not for a deadline, say so here", path)
					}
				case sel.Sel.Name == "CLOCK_REALTIME" || strings.HasPrefix(sel.Sel.Name, "Gettimeofday"):
					t.Errorf("%s uses %s", path, sel.Sel.Name)
				}
				return true
			})
		}
	}
	for path := range readings {
		if !found[path] {
			t.Errorf("%s does not read the time of day any more", path)
		}
	}
}
