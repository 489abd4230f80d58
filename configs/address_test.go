package configs

import (
	"strings"
	"testing"
)

func TestListenAddresses(t *testing.T) {
	for _, c := range []struct{ address, want, wrong string }{
		{address: "0.0.0.0:8080", want: "0.0.0.0:8080"},
		{address: "127.0.0.1:80", want: "127.0.0.1:80"},
		{address: "[::1]:80", want: "[::1]:80"},
		{address: "[::]:80", want: "[::]:80"},
		{address: ":80", want: "[::]:80"},
		{address: "localhost:80", want: "127.0.0.1:80"},
		{address: "[::ffff:10.0.0.1]:80", want: "10.0.0.1:80"},
		{address: "unix:/run/web.sock", want: "unix:/run/web.sock"},
		{address: "systemd:web", want: "systemd:web"},
		{address: "systemd:millrace.socket", want: "systemd:millrace.socket"},
		{address: "systemd:", wrong: `"systemd:": the name of a socket has 1 to 255 visible characters`},
		{address: "systemd:a:b", wrong: `the name of a socket has 1 to 255 visible characters`},
		{address: "systemd:a b", wrong: `the name of a socket has 1 to 255 visible characters`},
		{address: "8080", wrong: `"8080" has no host: write ":8080" for all addresses`},
		{address: "*:8080", wrong: `"*:8080" is not an address: write ":8080" for all addresses`},
		{address: "10.0.0.1", wrong: `"10.0.0.1" has no port: write "10.0.0.1:8080"`},
		{address: "::1", wrong: `"::1" has no port: write "[::1]:8080"`},
		{address: "[::1]", wrong: `missing port in address; allowed are "host:port", "[v6]:port", ":port", "unix:/path" and "systemd:NAME"`},
		{address: "", wrong: `missing port in address`},
		{address: "www.example.org:80", wrong: `the host must be an IP address or "localhost", names are not resolved here`},
		{address: "10.0.0.256:80", wrong: `the host must be an IP address or "localhost"`},
		{address: "[fe80::1%eth0]:80", wrong: `has a zone, which is not supported`},
		{address: ":0", wrong: `"0" is not a port: allowed are 1 to 65535`},
		{address: ":65536", wrong: `"65536" is not a port`},
		{address: ":080", wrong: `"080" is not a port`},
		{address: ":http", wrong: `"http" is not a port`},
		{address: ":", wrong: `"" is not a port`},
		{address: ":-1", wrong: `"-1" is not a port`},
		{address: "unix:web.sock", wrong: `the path of a unix socket must begin with /`},
		{address: "unix:@abstract", wrong: `the path of a unix socket must begin with /`},
		{address: "unix:/a\x00b", wrong: `the path of a unix socket cannot have a zero byte`},
		{address: "unix:/" + strings.Repeat("x", 106), want: "unix:/" + strings.Repeat("x", 106)},
		{address: "unix:/" + strings.Repeat("x", 107), wrong: `at most 107 bytes, this one has 108`},
	} {
		e, wrong := parseListen(c.address)
		got := ""
		if wrong == "" {
			got = e.String()
		}
		if got != c.want || !strings.Contains(wrong, c.wrong) || (wrong == "") != (c.wrong == "") {
			t.Errorf("%q: got %q, %q; want %q, %q", c.address, got, wrong, c.want, c.wrong)
		}
	}
}

func TestServerAddresses(t *testing.T) {
	for _, c := range []struct{ address, want, wrong string }{
		{address: "10.0.0.1", want: "10.0.0.1:80"},
		{address: "10.0.0.1:8080", want: "10.0.0.1:8080"},
		{address: "[::1]", want: "[::1]:80"},
		{address: "[::1]:8080", want: "[::1]:8080"},
		{address: "[::ffff:10.0.0.1]:8080", want: "10.0.0.1:8080"},
		{address: "unix:/run/app.sock", want: "unix:/run/app.sock"},
		{address: "app", want: "name app 80"},
		{address: "App.Example.org:8080", want: "name app.example.org 8080"},
		{address: "my_app-1.internal.", want: "name my_app-1.internal. 80"},
		{address: "localhost:3000", want: "name localhost 3000"},
		{address: "", wrong: `"" has no host`},
		{address: ":8080", wrong: `":8080" has no host`},
		{address: "http://10.0.0.1:8080/", wrong: `"http://10.0.0.1:8080/" is a URL: write "10.0.0.1:8080"`},
		{address: "http://10.0.0.1:8080/app/", wrong: `is a URL: write "10.0.0.1:8080", in a [[backend.NAME.server]] with path = "/app"`},
		{address: "https://10.0.0.1", wrong: `is a URL; allowed are "host", "host:port", "[v6]:port", "unix:/path" and "srv:name"`},
		{address: "/run/app.sock", wrong: `is a path: write "unix:/run/app.sock" for a unix socket`},
		{address: "unix:app.sock", wrong: `must begin with /`},
		{address: "::1", wrong: `an IPv6 address goes in brackets: write "[::1]:80"`},
		{address: "::1:8080:x", wrong: `too many colons in address`},
		{address: "[10.0.0.1]:80", wrong: `what is in brackets must be an IPv6 address`},
		{address: "[app]", wrong: `what is in brackets must be an IPv6 address`},
		{address: "[]", wrong: `what is in brackets must be an IPv6 address`},
		{address: "[fe80::1%eth0]:80", wrong: `has a zone`},
		{address: "10.0.0.256", wrong: `it is neither an IPv4 address nor a host name`},
		{address: "app:http", wrong: `"http" is not a port: allowed are 1 to 65535`},
		{address: "app:", wrong: `"" is not a port`},
		{address: "a b", wrong: `' ' cannot be in a host name`},
		{address: "a..b", wrong: `a label of the host name is empty`},
		{address: "bücher.example", wrong: `'ü' cannot be in a host name: write its ASCII form, xn--...`},
		{address: strings.Repeat("x", 64), wrong: `a label of the host name has more than 63 characters`},
		{address: strings.Repeat("abc.", 64) + "de", wrong: `a host name has at most 253 characters`},
	} {
		s, wrong := parseServer(c.address)
		got := ""
		switch {
		case wrong != "":
		case s.host != "":
			got = "name " + s.host + " " + decimal(int64(s.port))
		default:
			got = s.endpoint.String()
		}
		if got != c.want || !strings.Contains(wrong, c.wrong) || (wrong == "") != (c.wrong == "") {
			t.Errorf("%q: got %q, %q; want %q, %q", c.address, got, wrong, c.want, c.wrong)
		}
	}
}

func TestHostPatterns(t *testing.T) {
	for _, c := range []struct{ host, wrong string }{
		{"www.example.org", ""},
		{"WWW.Example.ORG", ""},
		{"www.example.org:8080", ""},
		{"*.example.org", ""},
		{"*.example.org:8080", ""},
		{"example.*", ""},
		{"*", ""},
		{"*:8080", ""},
		{"10.0.0.1", ""},
		{"10.0.0.1:80", ""},
		{"[::1]", ""},
		{"[::1]:80", ""},
		{"[2001:DB8::1]", ""},
		{"[0:0::1]:80", `matches nothing, since addresses are matched in their normal form: write "[::1]:80"`},
		{"::1", `"::1" is not a host`},
		{"[10.0.0.1]", `what is in brackets must be an IPv6 address`},
		{"[::1", `what is in brackets must be an IPv6 address`},
		{"", `"" is not a host: a label of the host name is empty`},
		{"example.org.", `a label of the host name is empty`},
		{"*example.org", `'*' cannot be in a host name; allowed are "www.example.org", "*.example.org", "example.*", "*" and IP addresses`},
		{"www.*.org", `'*' cannot be in a host name`},
		{"*.example.*", `'*' cannot be in a host name`},
		{"*.", `a label of the host name is empty`},
		{"www.example.org:http", `"http" is not a port`},
		{"http://www.example.org", `"//www.example.org" is not a port`},
		{"www.example.org/a", `'/' cannot be in a host name`},
		{"10.0.0.256", `it is neither an IPv4 address nor a host name`},
		{"größe.example", `write its ASCII form, xn--...`},
	} {
		wrong := checkHost(c.host)
		if !strings.Contains(wrong, c.wrong) || (wrong == "") != (c.wrong == "") {
			t.Errorf("%q: got %q, want %q", c.host, wrong, c.wrong)
		}
	}
}
