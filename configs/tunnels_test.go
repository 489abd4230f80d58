package configs

import (
	"strings"
	"testing"
)

func TestBalancesOfRawConnections(t *testing.T) {
	const file = `
[[listener]]
address = ":80"
protocol = "sock"
backend = "app"
[backend.app]
servers = ["10.0.0.1", "10.0.0.2"]
`
	for _, balance := range []string{"fair", "round-robin", "sticky", "random", "first", "hash'\nhash_key = 'client"} {
		parseOK(t, file+"balance = '"+balance+"'\n", nil)
	}
	for _, balance := range []string{"hash", "maglev", "hash'\nhash_key = 'header:X-User"} {
		got := problemsOf(t, file+"balance = '"+balance+"'\n")
		if !strings.Contains(got, `f:5:11: listener[0].backend: "app" has balance = `) || !strings.Contains(got, `(f:8:11), and a sock listener parses none: write balance = "sticky", or hash_key = "client"`) {
			t.Errorf("%s: %s", balance, got)
		}
	}
}
