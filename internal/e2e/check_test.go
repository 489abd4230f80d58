package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// twelveMistakes is a wrong file. An arrow stands where a problem has to be reported, right before the place.
const twelveMistakes = `[server]
loops = →5000
→max_conections = 100
drain_timeout = →"30 parsecs"

[timeouts]
connect = →8

[limits]
header_bytes = →"1GiB"

[access_log]
format = →'$client_addr $nonsense'

[[listener]]
name = "web"
address = →"127.0.0.1:80800"

[[listener]]
name = →"web"
address = "127.0.0.1:8081"

[[route]]
path = →"api"
backend = "app"

[[route]]
pattern = →"^/(.*$"
backend = →"ap"

[backend.app]
balance = →"random-walk"
servers = ["127.0.0.1:9000"]
`

// mistakenKeys are those of the arrows, in order.
var mistakenKeys = []string{
	"server.loops", "server.max_conections", "server.drain_timeout", "timeouts.connect", "limits.header_bytes",
	"access_log.format", "listener[0].address", "listener[1].name", "route[0].path", "route[1].pattern",
	"route[1].backend", "backend.app.balance",
}

// TestWrongFile has the program look at a file with twelve mistakes: all of them are told at once, each with its
// place, and nothing is served.
func TestWrongFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "wrong.toml")
	var text strings.Builder
	var want []string // the beginnings of the problems
	for i, line := range strings.Split(strings.TrimSuffix(twelveMistakes, "\n"), "\n") {
		if before, after, ok := strings.Cut(line, "→"); ok {
			want = append(want, fmt.Sprintf("%s:%d:%d: %s: ", file, i+1, len(before)+1, mistakenKeys[len(want)]))
			line = before + after
		}
		text.WriteString(line + "\n")
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}

	t.Run("check", func(t *testing.T) {
		var got []string
		for line := range strings.Lines(run(t, soon, 2, binary(t), "check", "--config", file)) {
			if line = strings.TrimSuffix(line, "\n"); !strings.HasPrefix(line, "warning: ") {
				got = append(got, line)
			}
		}
		compareProblems(t, got, want)
	})
	t.Run("run", func(t *testing.T) {
		var got []string
		for line := range strings.Lines(run(t, soon, 2, binary(t), "run", "--config", file)) {
			var entry struct{ Level, Msg string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatalf("%v in the log: %q", err, line)
			}
			if entry.Level == "ERROR" && strings.HasPrefix(entry.Msg, file) {
				got = append(got, entry.Msg)
			}
		}
		compareProblems(t, got, want)
	})
	t.Run("right", func(t *testing.T) {
		right := writeConfig(t, basic("127.0.0.1:8080", []string{"127.0.0.1:9000"}, ""))
		if out := run(t, soon, 0, binary(t), "check", "--config", right); out != "ok\n" {
			t.Errorf("check of a right file: %q, want ok", out)
		}
	})
	t.Run("no file", func(t *testing.T) {
		run(t, soon, 2, binary(t), "check", "--config", file+".not")
		run(t, soon, 2, binary(t), "run", "--config", file+".not")
		run(t, soon, 2, binary(t), "run")
	})
}

func compareProblems(t *testing.T, got, want []string) {
	t.Helper()
	for i, line := range got {
		t.Log(line)
		if i < len(want) && !strings.HasPrefix(line, want[i]) {
			t.Errorf("want %s...", want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d problems, want %d", len(got), len(want))
	}
}
