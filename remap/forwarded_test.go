package remap

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"millrace/httpparse"
)

// proxies trusts what is in one of its prefixes.
type proxies []netip.Prefix

func (p proxies) Contains(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(a) })
}

var insiders = proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

func TestWhomTrustedProxiesActFor(t *testing.T) {
	tests := []struct {
		name, fields, client string
	}{
		{"nobody", "", ""},
		{"one", "X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1"},
		{"behind two proxies", "X-Forwarded-For: 192.0.2.1, 10.0.0.7\r\n", "192.0.2.1"},
		{"in two fields", "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 10.0.0.7\r\n", "192.0.2.1"},
		{"what the client made up", "X-Forwarded-For: 198.51.100.1, 192.0.2.1\r\n", "192.0.2.1"},
		{"what the client made up, in a field of its own", "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 192.0.2.1,10.1.1.1\r\n", "192.0.2.1"},
		{"an insider", "X-Forwarded-For: 10.0.0.9, 10.0.0.7\r\n", "10.0.0.9"},
		{"an insider behind what it made up", "X-Forwarded-For: nonsense, 10.0.0.9, 10.0.0.7\r\n", "10.0.0.9"},
		{"empty elements", "X-Forwarded-For: ,, 192.0.2.1 ,\t,\r\n", "192.0.2.1"},
		{"somebody unknown", "X-Forwarded-For: 192.0.2.1, unknown\r\n", ""},
		{"somebody unknown behind a proxy", "X-Forwarded-For: 192.0.2.1, unknown, 10.0.0.7\r\n", "10.0.0.7"},
		{"with a port", "X-Forwarded-For: 192.0.2.1:4711\r\n", "192.0.2.1"},
		{"IPv6", "X-Forwarded-For: 2001:db8::1, fd00::1\r\n", "2001:db8::1"},
		{"IPv6 in brackets", "X-Forwarded-For: [2001:db8::1]\r\n", "2001:db8::1"},
		{"IPv6 with a port", "X-Forwarded-For: [2001:db8::1]:80\r\n", "2001:db8::1"},
		{"IPv4 as IPv6", "X-Forwarded-For: 192.0.2.1, ::ffff:10.0.0.7\r\n", "192.0.2.1"},
		{"a zone", "X-Forwarded-For: fe80::1%eth0\r\n", ""},
		{"a wrong port", "X-Forwarded-For: 192.0.2.1:x\r\n", ""},
		{"brackets around IPv4", "X-Forwarded-For: [192.0.2.1]\r\n", ""},
		{"the other field", "Forwarded: for=192.0.2.1\r\n", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { wantClient(t, ChainXForwardedFor, test.fields, test.client) })
	}
}

func TestWhomTrustedProxiesActForByForwarded(t *testing.T) {
	tests := []struct {
		name, fields, client string
	}{
		{"nobody", "X-Forwarded-For: 192.0.2.1\r\n", ""},
		{"one", "Forwarded: for=192.0.2.1\r\n", "192.0.2.1"},
		{"with more about it", "forwarded: Proto=http ; FOR=192.0.2.1;by=10.0.0.1\r\n", "192.0.2.1"},
		{"IPv6", "Forwarded: for=\"[2001:db8::1]:4711\", for=10.0.0.1\r\n", "2001:db8::1"},
		{"a hidden port", "Forwarded: for=\"192.0.2.1:_x\"\r\n", "192.0.2.1"},
		{"somebody hidden", "Forwarded: for=192.0.2.1, for=_hidden\r\n", ""},
		{"an element about something else", "Forwarded: for=192.0.2.1, proto=https\r\n", ""},
		{"twice in an element", "Forwarded: for=192.0.2.1;for=192.0.2.2\r\n", ""},
		{"an open quote before a proxy's element", "Forwarded: for=\"198.51.100.1, for=192.0.2.1\r\n", "192.0.2.1"},
		{"an open quote before a proxy's element with quotes", "Forwarded: for=\"198.51.100.1, for=192.0.2.1;host=\"a\"\r\n", "192.0.2.1"},
		{"a host that looks like an element", "Forwarded: for=192.0.2.1;host=\"a,for=198.51.100.1;x=\"\r\n", "192.0.2.1"},
		{"a host that looks like a parameter", "Forwarded: for=192.0.2.1;host=\"a;for=198.51.100.1\"\r\n", "192.0.2.1"},
		{"a host with escaped quotes", "Forwarded: for=192.0.2.1;host=\"a\\\",for=198.51.100.1;x=\\\"\", for=10.0.0.1\r\n", "192.0.2.1"},
		{"a quote that is nowhere opened", "Forwarded: for=198.51.100.1\"\r\n", ""},
		{"empty elements", "Forwarded: , for=192.0.2.1,,\r\n", "192.0.2.1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { wantClient(t, ChainForwarded, test.fields, test.client) })
	}
}

func wantClient(t *testing.T, c Chain, fields, want string) {
	t.Helper()
	text := "GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n"
	r := parseRequest(t, text)
	got, _ := c.Client([]byte(text), &r.Head, insiders)
	if want == "" && got.IsValid() || want != "" && got != netip.MustParseAddr(want) {
		t.Errorf("got %v, want %q", got, want)
	}
}

func TestTheChainEndsWithTheClient(t *testing.T) {
	for fields, want := range map[string]string{
		"X-Forwarded-For: 192.0.2.1, 10.0.0.7\r\n":                                    "192.0.2.1",
		"X-Forwarded-For: made up, 192.0.2.1:80 , 10.0.0.7\r\n":                       "made up, 192.0.2.1",
		"X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 192.0.2.1, 10.0.0.7\r\n":        "1.1.1.1, 192.0.2.1",
		"X-Forwarded-For: 1.1.1.1,192.0.2.1\r\nA: b\r\nX-Forwarded-For: 10.0.0.7\r\n": "1.1.1.1, 192.0.2.1",
	} {
		text := "GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n"
		r := parseRequest(t, text)
		client, at := ChainXForwardedFor.Client([]byte(text), &r.Head, insiders)
		out := AppendRequest(nil, []byte(text), r, &RequestFacts{ClientAddr: []byte(client.String()), ChainEnd: at, Proto: "http"})
		sent := parseRequest(t, string(out))
		got := valuesOf(fieldsOf(out, &sent.Head), "x-forwarded-for")
		if len(got) != 1 || got[0] != want {
			t.Errorf("%q became %q, want %q", fields, got, want)
		}
	}
}

func TestLookingForTheClientAllocatesNothing(t *testing.T) {
	text := "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1, 2001:db8::1, 10.0.0.7\r\nForwarded: for=\"[2001:db8::1]\"\r\n\r\n"
	r, buf := parseRequest(t, text), []byte(text)
	var trusted Proxies = insiders
	for _, c := range []Chain{ChainXForwardedFor, ChainForwarded} {
		if n := testing.AllocsPerRun(100, func() { c.Client(buf, &r.Head, trusted) }); n > 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

// FuzzChain compares the search with one in entries that were told apart before. Where there are quotes, whatever stands
// before what a trusted proxy has written must make no difference.
func FuzzChain(f *testing.F) {
	f.Add("192.0.2.1, 10.0.0.7", "10.0.0.9", false)
	f.Add("for=\"[2001:db8::1]:80\";by=x, for=10.0.0.1", "for=_x", true)
	f.Fuzz(func(t *testing.T, first, second string, standard bool) {
		c, name := ChainXForwardedFor, "X-Forwarded-For"
		if standard {
			c, name = ChainForwarded, "Forwarded"
		}
		quotes := standard && strings.Contains(first+second, `"`)
		if quotes {
			second += `, for=203.0.113.1;host="a,for=198.51.100.1;x=\",b="`
		}
		text := "GET / HTTP/1.1\r\nHost: a\r\n" + name + ": " + first + "\r\n" + name + ": " + second + "\r\n\r\n"
		r := &httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 40)}}
		n, err := httpparse.ParseRequest([]byte(text), 0, r)
		if err != nil || n != len(text) || len(r.Fields) != 3 {
			return
		}
		client, at := c.Client([]byte(text), &r.Head, insiders)

		if quotes {
			if client != netip.MustParseAddr("203.0.113.1") {
				t.Fatalf("%q: got %v", text, client)
			}
			return
		}
		var want netip.Addr
		for _, entry := range slices.Backward(strings.Split(first+","+second, ",")) {
			entry = strings.Trim(entry, " \t")
			if entry == "" {
				continue
			}
			node := []byte(entry)
			if standard {
				node = forParameter(node)
			}
			addr := parseNode(node)
			if !addr.IsValid() {
				break
			}
			want = addr
			if !insiders.Contains(addr) {
				break
			}
		}
		if client != want {
			t.Fatalf("%q: got %v, from the right it is %v", text, client, want)
		}
		if client.IsValid() && !standard {
			end := bytes.IndexAny([]byte(text[at:]), ", \t\r")
			if got := parseNode([]byte(text[at : at+end])); got != client {
				t.Fatalf("%q: at %d is %v, want %v", text, at, got, client)
			}
		}
	})
}
