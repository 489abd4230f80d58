package arrows

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rule forbids direct imports. Each list has import paths, or "path/..." for the path and all below it. A rule
// applies to the packages in from that are not in notFrom, and forbids the imports in to that are not in notTo.
//
// Direct imports are enough because forbidden targets are closed from the other side too: who may import configs,
// loop or a TOML library is a rule about every package, so there is no way around through a third one.
type rule struct {
	from    []string
	notFrom []string
	to      []string
	notTo   []string
	why     string
}

var (
	everything = []string{"millrace/..."}
	gnet       = "github.com/panjf2000/gnet/v2"
)

var rules = []rule{
	// The map.
	{
		from: []string{"millrace/httpparse", "millrace/pool", "millrace/balance", "millrace/internal/accesslog", "millrace/internal/health", "millrace/internal/explain", "millrace/internal/proxyproto", "millrace/internal/resolve/..."},
		to:   everything,
		why:  "leaves know nothing of each other: each can be read, tested and fuzzed alone",
	},
	{
		from:  []string{"millrace/remap"},
		to:    everything,
		notTo: []string{"millrace/httpparse"},
		why:   "remap rewrites heads, so it reads httpparse's views; of pools, servers and loops it knows nothing",
	},
	{
		from:    everything,
		notFrom: []string{"millrace/cmd/...", "millrace/internal/demo"},
		to:      []string{"millrace/configs"},
		why:     "a file is read by the command line, of which the demo is a command; the rest is given what was compiled",
	},
	{
		from:    everything,
		notFrom: []string{"millrace/cmd/...", "millrace/internal/demo", "millrace/configs"},
		to:      []string{"millrace/loop"},
		why:     "configs compiles a loop.Plan and a command runs it; loops call others, others do not call loops",
	},
	{
		from: []string{"millrace/loop"},
		to:   []string{"millrace/internal/demo"},
		why:  "the demo's origins are clients of the proxy like any other, not a part of it",
	},
	{
		from: everything,
		to:   []string{"millrace/internal/resolve/dnstest"},
		why:  "a name server for tests is not linked into the binary",
	},
	{
		from: []string{"millrace/bench/..."},
		to:   everything,
		why:  "the bench measures the binary that is shipped, from outside",
	},
	{
		from:  []string{"millrace/internal/conformance/..."},
		to:    everything,
		notTo: []string{"millrace/internal/conformance"},
		why:   "a judge is not related to the accused: it reads HTTP with code of its own",
	},

	{
		from: []string{"millrace/internal/faults"},
		to:   everything,
		why:  "faults happen around the binary that is shipped: it is known by its file and its sockets",
	},

	// TOML.
	{
		from:    everything,
		notFrom: []string{"millrace/configs"},
		to:      []string{"github.com/BurntSushi/toml/...", "github.com/pelletier/go-toml/..."},
		why:     "configs is the only code that knows TOML",
	},

	// Sockets.
	{
		from:  []string{"millrace/httpparse", "millrace/pool", "millrace/balance", "millrace/remap", "millrace/internal/proxyproto"},
		to:    []string{"net/...", "os/...", "syscall", "golang.org/x/sys/...", gnet + "/..."},
		notTo: []string{"net/netip"},
		why:   "leaves do no I/O: only loop touches sockets",
	},
	{
		from: []string{"millrace/configs"},
		to:   []string{"net/http/...", "os/exec", "golang.org/x/sys/...", gnet + "/..."},
		why:  "compiling a file has no effect on the world: a wrong file is refused before anything happened",
	},
	{
		from:    everything,
		notFrom: []string{"millrace/loop"},
		to:      []string{gnet + "/..."},
		why:     "pollers belong to loops: only loop touches them",
	},
	{
		from: everything,
		to:   []string{gnet, gnet + "/pkg/buffer/..."},
		why:  "of gnet we use netpoll, not the engine nor its buffers: docs/decisions/0001",
	},
	{
		from: []string{"millrace/loop"},
		to:   []string{"net/http/..."},
		why:  "net/http brings its own goroutines, buffers and reading of HTTP; the data plane has one of each",
	},

	// Owners and time.
	{
		from: []string{"millrace/httpparse", "millrace/pool", "millrace/remap"},
		to:   []string{"sync/..."},
		why:  "they belong to one loop, or never change: a lock would hide that there is a second owner",
	},
	{
		from: []string{"millrace/httpparse", "millrace/pool", "millrace/remap", "millrace/internal/proxyproto"},
		to:   []string{"time"},
		why:  "time is an argument: the loop reads the clock once a wake-up",
	},
	{
		from: []string{"millrace/httpparse", "millrace/pool", "millrace/balance", "millrace/remap"},
		to:   []string{"log/..."},
		why:  "leaves return what happened; whether it is worth a line is decided above them",
	},

	// What the binary is made of.
	{
		from:    everything,
		notFrom: []string{"millrace/cmd/..."},
		to:      []string{"github.com/spf13/..."},
		why:     "the command line ends in cmd",
	},
	{
		from: everything,
		to: []string{
			"testing/...", "github.com/google/go-cmp/...", "github.com/rogpeppe/go-internal/...", "go.uber.org/goleak/...",
			"pgregory.net/rapid/...", "github.com/pires/go-proxyproto/...",
		},
		why: "libraries for tests are not linked into the binary",
	},
}

func TestArrowsPointOneWay(t *testing.T) {
	graph := imports(t)
	packages := slices.Collect(maps.Keys(graph))
	for _, v := range violations(rules, graph) {
		t.Error(v)
	}
	for _, r := range rules {
		for _, from := range r.from {
			if !slices.ContainsFunc(packages, func(p string) bool { return matches(from, p) }) {
				t.Errorf("the rule %q is about %s, which does not exist: it guards nothing", r.why, from)
			}
		}
	}
}

func TestViolationsAreFound(t *testing.T) {
	for _, test := range []struct {
		name string
		rule rule
		want []string
	}{
		{
			"an exact path",
			rule{from: []string{"m/a"}, to: []string{"m/b"}, why: "reasons"},
			[]string{"m/a must not import m/b: reasons"},
		},
		{
			"a tree, with its root",
			rule{from: []string{"m/a"}, to: []string{"net/..."}, why: "reasons"},
			[]string{"m/a must not import net/http: reasons", "m/a must not import net: reasons"},
		},
		{
			"a tree is not a prefix",
			rule{from: []string{"m/a"}, to: []string{"ne/..."}, why: "reasons"},
			nil,
		},
		{
			"without an allowed target",
			rule{from: []string{"m/a"}, to: []string{"net/..."}, notTo: []string{"net/http"}, why: "reasons"},
			[]string{"m/a must not import net: reasons"},
		},
		{
			"without an allowed importer",
			rule{from: []string{"m/..."}, notFrom: []string{"m/a"}, to: []string{"net"}, why: "reasons"},
			[]string{"m/b must not import net: reasons"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			graph := map[string][]string{"m/a": {"m/b", "net", "net/http"}, "m/b": {"net"}}
			if got := violations([]rule{test.rule}, graph); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// violations are all forbidden arrows of the graph, sorted.
func violations(rules []rule, graph map[string][]string) (found []string) {
	for _, r := range rules {
		for from, targets := range graph {
			if !anyMatches(r.from, from) || anyMatches(r.notFrom, from) {
				continue
			}
			for _, to := range targets {
				if anyMatches(r.to, to) && !anyMatches(r.notTo, to) {
					found = append(found, fmt.Sprintf("%s must not import %s: %s", from, to, r.why))
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

func anyMatches(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, path) })
}

func matches(pattern, path string) bool {
	root, tree := strings.CutSuffix(pattern, "/...")
	return path == root || tree && strings.HasPrefix(path, root+"/")
}

// imports asks the go command what every package of the module imports.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", "millrace/...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v: %s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	graph := map[string][]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return graph
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		graph[p.ImportPath] = p.Imports
	}
}
