package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoDeadlineIsReckonedByTheWallClock reads the sources of the data path. There the time of day is for two things:
// records of the access log, which take it as a number, and Date. Its own clock, loop/clock.go, is the time since the
// process started, which is by the monotonic clock, and so is the timerfd. So a wall clock that jumps, by NTP or by
// hand, changes what is written and not when anything happens. To let it jump for one process only there is no way,
// and to let it jump for the machine is not for a test.
func TestNoDeadlineIsReckonedByTheWallClock(t *testing.T) {
	const top = "../.."
	started := false
	for _, pkg := range []string{"loop", "pool", "balance", "remap", "httpparse"} {
		names, err := filepath.Glob(filepath.Join(top, pkg, "*.go"))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: no sources (%v)", pkg, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(name, "/loop/clock.go") {
				started = true
				continue
			}
			told := map[ast.Node]bool{} // readings that are told to somebody
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					switch {
					case n.Sel.Name == "UnixNano":
						told[n.X] = true
					case n.Sel.Name == "CLOCK_REALTIME" || n.Sel.Name == "Gettimeofday" || is(n, "time", "Until"):
						t.Errorf("%v: %s is of the wall clock", files.Position(n.Pos()), n.Sel.Name)
					}
				case *ast.CallExpr:
					if is(n.Fun, "fasthttp", "AppendHTTPDate") {
						told[n.Args[1]] = true
					}
					if is(n.Fun, "time", "Now") && !told[n] {
						t.Errorf("%v: reads the time of day, and not for a record or a Date", files.Position(n.Pos()))
					}
				}
				return true
			})
		}
	}
	if !started {
		t.Error("there is no loop/clock.go any more")
	}
}

// is reports whether an expression is a name of a package.
func is(n ast.Expr, pkg, name string) bool {
	sel, ok := n.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	of, ok := sel.X.(*ast.Ident)
	return ok && of.Name == pkg
}
