package configs

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/internal/resolve"
	"millrace/loop"
)

var update = flag.Bool("update", false, "write the golden files")

// hosts is a Resolver that knows what is in it and nothing else.
type hosts map[string][]string

func (h hosts) Lookup(_ context.Context, q resolve.Query) (a resolve.Answer, err error) {
	known, ok := h[q.String()]
	if !ok {
		return a, resolve.ErrNotFound
	}
	for _, addr := range known {
		a.Records = append(a.Records, resolve.Record{Addr: netip.MustParseAddr(addr), Host: q.Name})
	}
	return a, nil
}

// Watch is not for compiling.
func (h hosts) Watch(context.Context, resolve.Query, resolve.Answer, func(resolve.Answer, error)) {
	panic("hosts does not change")
}

// parseOK compiles a configuration that is expected to be right.
func parseOK(t *testing.T, text string, h hosts) *loop.Plan {
	t.Helper()
	plan, err := Parse(t.Context(), "test.toml", []byte(text), h)
	if err != nil {
		t.Fatalf("%s\n%s", err, text)
	}
	return plan
}

// problemsOf compiles a configuration that is expected to be wrong, and returns its problems, one a line.
func problemsOf(t *testing.T, text string) string {
	t.Helper()
	plan, err := Parse(t.Context(), "f", []byte(text), hosts{})
	if err == nil || plan != nil {
		t.Fatalf("got plan %v and error %v, want only an error\n%s", plan, err, text)
	}
	if _, ok := errors.AsType[Problems](err); !ok {
		t.Fatalf("the error is a %T", err)
	}
	return err.Error()
}

// rest completes what a test is about to a file without other problems.
const rest = `
[[listener]]
address = ":80"
[[route]]
backend = "app"
[backend.app]
servers = ["10.0.0.1"]
`

func TestEveryMistakeIsReportedOnceAndWhereItIs(t *testing.T) {
	const input, golden = "testdata/mistakes.toml", "testdata/mistakes.txt"
	_, err := Load(t.Context(), input, WithResolver(hosts{}))
	problems, _ := errors.AsType[Problems](err)

	text, err := os.ReadFile(input)
	if err != nil {
		t.Fatal(err)
	}
	var want, got []int // lines
	for i, line := range strings.Split(string(text), "\n") {
		if strings.Contains(line, "# ~") {
			want = append(want, i+1)
		}
	}
	for _, p := range problems {
		got = append(got, p.Line)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines with problems (-want +got):\n%s\n%s", diff, problems.Error())
	}
	if len(want) < 12 {
		t.Errorf("%s has only %d mistakes", input, len(want))
	}

	if *update {
		if err := os.WriteFile(golden, []byte(problems.Error()+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	lines, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(lines), problems.Error()+"\n"); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestShippedFilesAreLoadedWithoutWarnings(t *testing.T) {
	files, err := filepath.Glob("*.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"millrace.toml", "minimal.toml", "three-origins.toml", "unix-socket.toml", "virtual-hosts.toml"} {
		if !slices.Contains(files, want) {
			t.Errorf("%s is missing", want)
		}
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			var warnings Problems
			// Nothing in a shipped file may depend on the network it is tried in.
			plan, err := Load(t.Context(), file, WithResolver(hosts{}), WithWarnings(&warnings))
			if err != nil {
				t.Fatal(err)
			}
			if len(warnings) > 0 {
				t.Error(warnings)
			}
			if plan == nil || plan.Table == nil {
				t.Error("no plan")
			}
		})
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.toml")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, maxFileBytes+1); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing.toml")
	for path, want := range map[string]string{
		missing: ": cannot be read: no such file or directory",
		dir:     ": cannot be read: is a directory",
		large:   ": cannot be read: larger than 16MiB",
	} {
		plan, err := Load(t.Context(), path)
		if plan != nil || err == nil || err.Error() != path+want {
			t.Errorf("got plan %v and error %v, want %s", plan, err, path+want)
		}
	}
	if _, err := Load(t.Context(), missing); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the cause is lost")
	}
}

func TestProblemsComeInOrderOfPosition(t *testing.T) {
	// The steps find these in another order: the reference after the range, the type before both.
	got := problemsOf(t, `
[[route]]
backend = "nobody"
[limits]
header_fields = 5000
[server]
loops = "x"
[[listener]]
address = ":80"
[backend.app]
servers = ["10.0.0.1"]
`)
	want := `
f:3:11: route[0].backend: "nobody" is not the name of a backend: there is "app"
f:5:17: limits.header_fields: 5000 is too large: allowed are 1 to 1024
f:7:9: server.loops: "x" is not a whole number`
	if diff := cmp.Diff(want[1:], got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestColumnsCountCharacters(t *testing.T) {
	got := problemsOf(t, `listener = [{name = "ü", addres = ":80"}]`+"\n"+`route = [{hosts = ["größe.example", "a b"], backend = "app"}]`+"\n[backend.app]\nservers = [\"10.0.0.1\"]\n")
	for _, want := range []string{
		`f:1:21: listener[0].name: "ü" is not a name`,
		`f:1:26: listener[0].addres: unknown key; did you mean "address"?`,
		`f:2:20: route[0].hosts[0]: "größe.example" is not a host`,
		`f:2:37: route[0].hosts[1]: "a b" is not a host`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

func TestWarnings(t *testing.T) {
	const backend = "[backend.app]\nservers = [\"10.0.0.1\"]\n"
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"nothing to warn of", rest, nil},
		{
			"more connections than descriptors",
			"[server]\nmax_connections = 600\n" + rest,
			[]string{"f:2:19: server.max_connections: 600 connections take up to 1200 file descriptors, one to the client and one to a server each, and the open-file limit is 1000"},
		},
		{"as many connections as descriptors", "[server]\nmax_connections = 500\n" + rest, nil},
		{
			"backend without a route",
			rest + "[backend.spare]\nservers = [\"10.0.0.2\"]\n",
			[]string{"f:8:10: backend.spare: no route leads to this backend"},
		},
		{
			"listener without a route",
			"[[listener]]\nname = \"a\"\naddress = \":80\"\n[[listener]]\naddress = \":81\"\n[[route]]\nlisteners = [\"a\"]\nbackend = \"app\"\n" + backend,
			[]string{"f:4:3: listener[1]: no route takes requests of this listener: all of them get 404"},
		},
		{
			"routes behind one that takes everything",
			rest + "[[route]]\npath = \"/a\"\nbackend = \"app\"\n[[route]]\nexclude = true\n",
			[]string{
				"f:8:3: route[1]: is never reached: route[0] takes every request that it would match (f:4:3)",
				"f:11:3: route[2]: is never reached: route[0] takes every request that it would match (f:4:3)",
			},
		},
		{
			"OPTIONS * has no path, and the prefix of all paths leaves it for the next route",
			"[[listener]]\naddress = \":80\"\n[[route]]\nprefix = \"/\"\nbackend = \"app\"\n[[route]]\nexclude = true\n" +
				"[[route]]\npath = \"/a\"\nbackend = \"app\"\n" + backend,
			[]string{"f:8:3: route[2]: is never reached: route[0] takes every request that it would match (f:3:3)"},
		},
		{
			"a route that takes everything of one listener hides only routes of that one",
			"[[listener]]\nname = \"a\"\naddress = \":80\"\n[[listener]]\nname = \"b\"\naddress = \":81\"\n" +
				"[[route]]\nlisteners = [\"a\"]\npath = \"/\"\nbackend = \"app\"\n" +
				"[[route]]\nlisteners = [\"a\"]\nprefix = \"/x\"\nbackend = \"app\"\n" +
				"[[route]]\nlisteners = [\"a\", \"b\"]\nbackend = \"app\"\n" + backend,
			[]string{"f:11:3: route[1]: is never reached: route[0] takes every request that it would match (f:7:3)"},
		},
		{
			"a sock listener's backend with what is for requests",
			"[[listener]]\naddress = \":80\"\nprotocol = \"sock\"\nbackend = \"app\"\n" + backend +
				"balance = \"ewma\"\nfail_on_status = [\"503\"]\nping = \"1s\"\nretry_on = [\"connect\", \"502-504\"]\n",
			[]string{
				`f:7:11: backend.app.balance: "ewma" goes by requests under way alone: only sock listeners lead to this backend, and they parse nothing, so that there is no latency to measure: "random" says the same`,
				"f:8:18: backend.app.fail_on_status: has no effect: only sock listeners lead to this backend, and they parse nothing",
				"f:9:8: backend.app.ping: has no effect: only sock listeners lead to this backend, and they parse nothing",
				`f:10:24: backend.app.retry_on[1]: "502-504" has no effect: only sock listeners lead to this backend, and they parse nothing`,
			},
		},
		{
			"client without a limit",
			"[timeouts]\nclient_idle = \"0s\"\nresponse = \"0\"\n" + rest,
			[]string{"f:2:15: timeouts.client_idle: without a limit, a client that falls silent holds its connection for ever"},
		},
		{
			"encoded path",
			strings.Replace(rest, "[[route]]", "[[route]]\npath = \"/a%20b\"", 1),
			[]string{"f:5:8: route[0].path: paths are matched decoded: %20 stands for these three characters"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var warnings Problems
			o := options{resolver: hosts{}, fileLimit: 1000}
			if _, err := parse(t.Context(), "f", []byte(c.text), o, []Option{WithWarnings(&warnings)}); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range warnings {
				got = append(got, w.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestWarningsComeWithProblemsToo(t *testing.T) {
	var warnings Problems
	_, err := Parse(t.Context(), "f", []byte(rest+"[[route]]\nbackend = \"nobody\"\n"), hosts{}, WithWarnings(&warnings))
	if err == nil || len(warnings) != 1 {
		t.Errorf("got error %v and warnings %v", err, warnings)
	}
}

func TestParseWithoutAResolver(t *testing.T) {
	if plan, err := Parse(t.Context(), "f", []byte(rest), nil); plan == nil || err != nil {
		t.Errorf("got plan %v and error %v", plan, err)
	}
}
