package resolve

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseHosts(t *testing.T) {
	h := parseHosts(`# comment
127.0.0.1	localhost localhost.localdomain
::1 localhost ip6-localhost # IPv6
10.0.0.1 App.Example. app
  10.0.0.2   app
fe80::1%eth0 zoned
::ffff:10.0.0.3 mapped
not-an-address name
10.0.0.4
`)
	got := fmt.Sprint(h)
	want := "map[app:[10.0.0.1 10.0.0.2] app.example:[10.0.0.1] ip6-localhost:[::1] localhost:[127.0.0.1 ::1] localhost.localdomain:[127.0.0.1] mapped:[10.0.0.3]]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParseConfig(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{
			"nameserver 10.0.0.1\nsearch .\n",
			"[10.0.0.1:53] [] ndots 1, 5s x 2",
		},
		{
			"# comment\n; comment\nnameserver 10.0.0.1 # first\nnameserver fd00::53\nnameserver 10.0.0.3\nnameserver 10.0.0.4\ndomain a.example b.example\n",
			"[10.0.0.1:53 [fd00::53]:53 10.0.0.3:53] [a.example.] ndots 1, 5s x 2",
		},
		{
			"nameserver fe80::1%eth0\ndomain x.example\nsearch A.example b.example.\noptions ndots:3 timeout:2 attempts:4 rotate edns0 single-request\noptions use-vc\n",
			"[[fe80::1%eth0]:53] [a.example. b.example.] ndots 3, 2s x 4, rotate, tcp",
		},
		{
			"search a.example\noptions ndots:99 timeout:0 attempts:99 ndots: timeout:x\nnameserver nonsense\nnameserver\noptions\nnonsense line\n",
			"[127.0.0.1:53 [::1]:53] [a.example.] ndots 15, 1s x 5",
		},
		{
			"nameserver 10.0.0.1\r\nsearch a.example\r\noptions timeout:3 timeout:99 attempts:-1\r\n",
			"[10.0.0.1:53] [a.example.] ndots 1, 30s x 1",
		},
	} {
		c := parseConfig(tt.text)
		got := fmt.Sprintf("%v %v ndots %d, %v x %d", c.servers, c.search, c.ndots, c.timeout, c.attempts)
		if c.rotate {
			got += ", rotate"
		}
		if c.tcp {
			got += ", tcp"
		}
		if got != tt.want {
			t.Errorf("%q:\ngot  %s\nwant %s", tt.text, got, tt.want)
		}
	}
}

func TestNames(t *testing.T) {
	c := &config{search: []string{"a.example.", "b.example."}, ndots: 1}
	for name, want := range map[string]string{
		"app":   "app.a.example. app.b.example. app.",
		"x.app": "x.app. x.app.a.example. x.app.b.example.",
		"app.":  "app.",
	} {
		if got := strings.Join(c.names(name), " "); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func FuzzParseFiles(f *testing.F) {
	f.Add("127.0.0.1 localhost\n::1 localhost # both\n")
	f.Add("nameserver 10.0.0.1\nsearch a.example b\noptions ndots:2 timeout:1 attempts:9 rotate\n")
	f.Add("options ndots:99999999999999999999 timeout:-1\ndomain .\nsearch\n")
	f.Fuzz(func(t *testing.T, text string) {
		for name, addrs := range parseHosts(text) {
			if name != strings.ToLower(name) || len(addrs) == 0 {
				t.Errorf("%q has %v", name, addrs)
			}
		}
		c := parseConfig(text)
		if n := len(c.servers); n == 0 || n > maxServers || c.attempts < 1 || c.attempts > maxAttempts || c.timeout <= 0 || c.ndots < 0 || c.ndots > maxNdots {
			t.Errorf("%+v", c)
		}
		for _, domain := range c.search {
			if !strings.HasSuffix(domain, ".") || domain == "." {
				t.Errorf("%q is searched", domain)
			}
		}
	})
}
