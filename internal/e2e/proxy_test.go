package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// proxy is the program under test, serving.
type proxy struct {
	*process
	config string // path of its file
}

// writeConfig writes a configuration file and returns its path.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "millrace.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// startProxy runs the program with a configuration and returns when it says that it serves. At the end of the test
// it must still run, and leave in order when it is told to.
func startProxy(t *testing.T, config string) *proxy {
	t.Helper()
	path := writeConfig(t, config)
	return serving(t, path, start(t, binary(t), "run", "--config", path))
}

// startLimited is startProxy with a limit of open files, soft and hard, that is there before the program is.
func startLimited(t *testing.T, files int, config string) *proxy {
	t.Helper()
	path := writeConfig(t, config)
	// The shell becomes the program, so the process id is the program's.
	return serving(t, path, start(t, "sh", "-c", `ulimit -n "$1" && shift && exec "$@"`, "sh", strconv.Itoa(files),
		binary(t), "run", "--config", path))
}

func serving(t *testing.T, config string, process *process) *proxy {
	t.Helper()
	p := &proxy{process, config}
	eventually(t, soon, "millrace serves", func() bool {
		if p.ended() {
			t.Fatalf("millrace ended with %d:\n%s", p.exitCode(), p.out)
		}
		return p.said(`"msg":"serving"`)
	})
	t.Cleanup(func() {
		if t.Failed() || p.killed {
			return // what it does now says nothing
		}
		if p.ended() {
			if code := p.exitCode(); code != 0 {
				t.Errorf("millrace ended with %d:\n%s", code, p.out)
			}
		} else {
			p.signal(t, syscall.SIGTERM)
			if code := p.wait(t, soon); code != 0 {
				t.Errorf("millrace ended with %d:\n%s", code, p.out)
			}
		}
		for _, bad := range []string{"panic: ", "fatal error: ", `"level":"ERROR"`} {
			if p.said(bad) {
				t.Errorf("millrace said %s:\n%s", bad, excerpt(p.out.String()))
			}
		}
	})
	return p
}

// said reports whether the program has written something to its log.
func (p *process) said(what string) bool { return strings.Contains(p.out.String(), what) }

// quoteList is a TOML array of strings.
func quoteList(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// basic is a configuration with one listener and one backend, and what else the test needs of tables.
func basic(listen string, servers []string, tables string) string {
	return tables + `
[[listener]]
address = "` + listen + `"

[[route]]
path = "/"
backend = "origin"

[backend.origin]
servers = ` + quoteList(servers) + `
`
}

// silent has no access log, and drains no longer than a test would wait.
const silent = `
[server]
drain_timeout = "5s"

[access_log]
path = "off"
`
