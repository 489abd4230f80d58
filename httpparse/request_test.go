package httpparse_test

import (
	"net/netip"
	"strings"
	"testing"

	"millrace/httpparse"
)

const host = "Host: h\r\n"

func TestRequestAccepted(t *testing.T) {
	for _, test := range []struct{ name, head, want string }{
		{
			"origin-form", "GET /a/b?c=d HTTP/1.1\r\n" + host,
			`GET|GET origin "/a/b?c=d" authority="h" path="/a/b" pathquery="/a/b?c=d" 11 [Host: "h"]`,
		},
		{
			"empty query", "GET /? HTTP/1.1\r\n" + host,
			`GET|GET origin "/?" authority="h" path="/" pathquery="/?" 11 [Host: "h"]`,
		},
		{
			"question marks in the query", "GET /a?b?c HTTP/1.1\r\n" + host,
			`GET|GET origin "/a?b?c" authority="h" path="/a" pathquery="/a?b?c" 11 [Host: "h"]`,
		},
		{
			"two slashes are no authority", "GET //evil/x HTTP/1.1\r\n" + host,
			`GET|GET origin "//evil/x" authority="h" path="//evil/x" pathquery="//evil/x" 11 [Host: "h"]`,
		},
		{
			"what browsers leave unescaped", "GET /a|b{c}\\d^e\"f`g<h>[i]?|\" HTTP/1.1\r\n" + host,
			"GET|GET origin \"/a|b{c}\\\\d^e\\\"f`g<h>[i]?|\\\"\" authority=\"h\" path=\"/a|b{c}\\\\d^e\\\"f`g<h>[i]\" " +
				"pathquery=\"/a|b{c}\\\\d^e\\\"f`g<h>[i]?|\\\"\" 11 [Host: \"h\"]",
		},
		{
			"HTTP/1.0 without Host", "GET / HTTP/1.0\r\n",
			`GET|GET origin "/" authority="" path="/" pathquery="/" 10`,
		},
		{
			"absolute-form overrides Host", "GET http://a.example:81/p?q HTTP/1.1\r\n" + host,
			`GET|GET absolute "http://a.example:81/p?q" authority="a.example:81" path="/p" pathquery="/p?q" 11 [Host: "h"]`,
		},
		{
			"absolute-form without path", "GET HTTPS://a HTTP/1.1\r\n" + host,
			`GET|GET absolute "HTTPS://a" authority="a" path="" pathquery="" 11 [Host: "h"]`,
		},
		{
			"absolute-form with a query and no path", "GET http://a?q=/ HTTP/1.1\r\n" + host,
			`GET|GET absolute "http://a?q=/" authority="a" path="" pathquery="?q=/" 11 [Host: "h"]`,
		},
		{
			"absolute-form with an address", "GET http://[2001:db8::1]:8080/ HTTP/1.1\r\n" + host,
			`GET|GET absolute "http://[2001:db8::1]:8080/" authority="[2001:db8::1]:8080" path="/" pathquery="/" 11 [Host: "h"]`,
		},
		{
			"asterisk-form", "OPTIONS * HTTP/1.1\r\n" + host,
			`OPTIONS|OPTIONS asterisk "*" authority="h" path="*" pathquery="*" 11 [Host: "h"]`,
		},
		{
			"authority-form", "CONNECT a:443 HTTP/1.1\r\n" + host,
			`CONNECT|CONNECT authority "a:443" authority="a:443" path="" pathquery="" 11 [Host: "h"]`,
		},
		{
			"authority-form with an address", "CONNECT [::1]:443 HTTP/1.1\r\n" + host,
			`CONNECT|CONNECT authority "[::1]:443" authority="[::1]:443" path="" pathquery="" 11 [Host: "h"]`,
		},
		{
			"unknown method of all token characters", "a!#$%&'*+-.^_`|~09Z / HTTP/1.1\r\n" + host,
			"a!#$%&'*+-.^_`|~09Z|other origin \"/\" authority=\"h\" path=\"/\" pathquery=\"/\" 11 [Host: \"h\"]",
		},
		{
			"methods are case-sensitive", "get / HTTP/1.1\r\n" + host,
			`get|other origin "/" authority="h" path="/" pathquery="/" 11 [Host: "h"]`,
		},
		{
			"longest method", strings.Repeat("M", maxMethod) + " / HTTP/1.1\r\n" + host,
			strings.Repeat("M", maxMethod) + `|other origin "/" authority="h" path="/" pathquery="/" 11 [Host: "h"]`,
		},
		{
			"empty lines before it", strings.Repeat("\r\n", httpparse.MaxEmptyLines) + "GET / HTTP/1.1\r\n" + host,
			`GET|GET origin "/" authority="h" path="/" pathquery="/" 11 [Host: "h"]`,
		},
		{
			"blanks around values", "GET / HTTP/1.1\r\nHost:h\r\nA: \t x \t y\t \r\nB:\r\nC: \t \r\n",
			`GET|GET origin "/" authority="h" path="/" pathquery="/" 11 [Host: "h"] [A: "x \t y"] [B: ""] [C: ""]`,
		},
		{
			"high bytes in a value", "GET / HTTP/1.1\r\n" + host + "A: \x80caf\xc3\xa9\xff\r\n",
			`GET|GET origin "/" authority="h" path="/" pathquery="/" 11 [Host: "h"] [A: "\x80café\xff"]`,
		},
		{
			"names in any case, and one that is known but for its punctuation",
			"GET / HTTP/1.1\r\nhOsT: h\r\nuser.agent: x\r\nX~: y\r\n`: z\r\n",
			"GET|GET origin \"/\" authority=\"h\" path=\"/\" pathquery=\"/\" 11 [hOsT: \"h\"] [user.agent: \"x\"] [X~: \"y\"] [`: \"z\"]",
		},
		{
			"connection options", "GET / HTTP/1.1\r\n" + host + "Connection: Keep-Alive ,, x-y\r\nConnection: CLOSE\r\n",
			`GET|GET origin "/" authority="h" path="/" pathquery="/" 11 close keep-alive names [Host: "h"] ` +
				`[Connection: "Keep-Alive ,, x-y"] [Connection: "CLOSE"]`,
		},
		{
			"no connection options", "GET / HTTP/1.1\r\n" + host + "Connection: , ,\r\n",
			`GET|GET origin "/" authority="h" path="/" pathquery="/" 11 [Host: "h"] [Connection: ", ,"]`,
		},
		{
			"as many fields as allowed", "GET / HTTP/1.1\r\n" + host + strings.Repeat("a:b\r\n", maxFields-1),
			`GET|GET origin "/" authority="h" path="/" pathquery="/" 11 [Host: "h"]` + strings.Repeat(` [a: "b"]`, maxFields-1),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			head := test.head + "\r\n"
			for _, behind := range []string{"", "x", "\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"} {
				n, found, err := arriveAnyhow(t, parseRequest(new(httpparse.Request)), []byte(head+behind))
				if err != nil || n != len(head) || found != test.want {
					t.Fatalf("%q\n%d %v %s\nwant\n%d %s", head+behind, n, err, found, len(head), test.want)
				}
			}
		})
	}
}

// What is refused, and the byte at which that is noticed. Nothing that comes behind changes the answer.
func TestRequestRefused(t *testing.T) {
	const line = "GET / HTTP/1.1\r\n" // 16 bytes
	const tail = "\r\n" + host + "\r\n"
	for _, test := range []struct {
		name, head string
		kind       httpparse.Kind
		offset     int
		status     int
	}{
		// Before the request line.
		{"too many empty lines", strings.Repeat("\r\n", httpparse.MaxEmptyLines+1) + "GET / HTTP/1.1" + tail, httpparse.BadRequestLine, 2*httpparse.MaxEmptyLines + 2, 400},
		{"LF before it", "\nGET / HTTP/1.1" + tail, httpparse.BadLineEnd, 0, 400},
		{"CR before it", "\rGET / HTTP/1.1" + tail, httpparse.BadLineEnd, 0, 400},
		{"CR CR LF before it", "\r\r\nGET / HTTP/1.1" + tail, httpparse.BadLineEnd, 0, 400},
		{"space before it", " GET / HTTP/1.1" + tail, httpparse.BadMethod, 0, 400},
		{"NUL before it", "\x00GET / HTTP/1.1" + tail, httpparse.BadMethod, 0, 400},
		{"TLS", "\x16\x03\x01\x02\x00\x01", httpparse.BadMethod, 0, 400},
		{"byte order mark", "\xef\xbb\xbfGET / HTTP/1.1" + tail, httpparse.BadMethod, 0, 400},

		// The method.
		{"colon in the method", "GE:T / HTTP/1.1" + tail, httpparse.BadRequestLine, 2, 400},
		{"high byte in the method", "G\xc9T / HTTP/1.1" + tail, httpparse.BadRequestLine, 1, 400},
		{"tab behind the method", "GET\t/ HTTP/1.1" + tail, httpparse.BadRequestLine, 3, 400},
		{"method alone", "GET" + tail, httpparse.BadRequestLine, 3, 400},
		{"CR behind the method", "GET\r/ HTTP/1.1" + tail, httpparse.BadLineEnd, 3, 400},
		{"LF behind the method", "GET\n/ HTTP/1.1" + tail, httpparse.BadLineEnd, 3, 400},
		{"long method", strings.Repeat("M", maxMethod+1) + " / HTTP/1.1" + tail, httpparse.BadMethod, maxMethod, 400},
		{"long text that is no request", strings.Repeat("M", 999), httpparse.BadMethod, maxMethod, 400},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", httpparse.UnknownVersion, 6, 505},

		// The target.
		{"two spaces before the target", "GET  / HTTP/1.1" + tail, httpparse.BadTarget, 4, 400},
		{"no version", "GET /" + tail, httpparse.BadTarget, 5, 400},
		{"no version but a space", "GET / " + tail, httpparse.BadVersion, 6, 400},
		{"tab in the target", "GET /a\tb HTTP/1.1" + tail, httpparse.BadTarget, 6, 400},
		{"NUL in the target", "GET /a\x00b HTTP/1.1" + tail, httpparse.BadTarget, 6, 400},
		{"DEL in the target", "GET /a\x7fb HTTP/1.1" + tail, httpparse.BadTarget, 6, 400},
		{"high byte in the target", "GET /caf\xc3\xa9 HTTP/1.1" + tail, httpparse.BadTarget, 8, 400},
		{"high byte in the query", "GET /?\xff HTTP/1.1" + tail, httpparse.BadTarget, 6, 400},
		{"0x80 in the target", "GET /\x80 HTTP/1.1" + tail, httpparse.BadTarget, 5, 400},
		{"CR in the target", "GET /a\rb HTTP/1.1" + tail, httpparse.BadLineEnd, 6, 400},
		{"LF in the target", "GET /a\nb HTTP/1.1" + tail, httpparse.BadLineEnd, 6, 400},
		{"LF behind the target", "GET /a\nHost: h\n\n", httpparse.BadLineEnd, 6, 400},
		{"fragment", "GET /a#b HTTP/1.1" + tail, httpparse.BadTarget, 6, 400},
		{"fragment alone", "GET # HTTP/1.1" + tail, httpparse.BadTarget, 4, 400},
		{"fragment far behind", "GET /aaaaaaaaaaaaaaaaaaaaaa?bbbbbbbb#b HTTP/1.1" + tail, httpparse.BadTarget, 36, 400},
		{"space in the target", "GET /a b HTTP/1.1" + tail, httpparse.BadVersion, 7, 400},
		{"relative path", "GET a/b HTTP/1.1" + tail, httpparse.BadTarget, 4, 400},
		{"query alone", "GET ?a HTTP/1.1" + tail, httpparse.BadTarget, 4, 400},
		{"backslash", "GET \\a HTTP/1.1" + tail, httpparse.BadTarget, 4, 400},
		{"asterisk without OPTIONS", "GET * HTTP/1.1" + tail, httpparse.BadTarget, 4, 400},
		{"asterisk and more", "OPTIONS *a HTTP/1.1" + tail, httpparse.BadTarget, 8, 400},
		{"authority without CONNECT", "GET h:80 HTTP/1.1" + tail, httpparse.BadTarget, 4, 400},
		{"path with CONNECT", "CONNECT / HTTP/1.1" + tail, httpparse.BadTarget, 8, 400},
		{"absolute with CONNECT", "CONNECT http://h:80/ HTTP/1.1" + tail, httpparse.BadTarget, 8, 400},
		{"asterisk with CONNECT", "CONNECT * HTTP/1.1" + tail, httpparse.BadTarget, 8, 400},
		{"CONNECT without port", "CONNECT h HTTP/1.1" + tail, httpparse.BadTarget, 8, 400},
		{"CONNECT to an address without port", "CONNECT [::1] HTTP/1.1" + tail, httpparse.BadTarget, 8, 400},
		{"CONNECT with an empty port", "CONNECT h: HTTP/1.1" + tail, httpparse.BadTarget, 8, 400},
		{"CONNECT without host", "CONNECT :80 HTTP/1.1" + tail, httpparse.BadTarget, 8, 400},
		{"CONNECT with userinfo", "CONNECT u@h:80 HTTP/1.1" + tail, httpparse.BadTarget, 8, 400},
		{"other scheme", "GET ftp://h/ HTTP/1.1" + tail, httpparse.BadTarget, 4, 400},
		{"scheme without slashes", "GET http:h/ HTTP/1.1" + tail, httpparse.BadTarget, 4, 400},
		{"scheme with one slash", "GET http:/h/ HTTP/1.1" + tail, httpparse.BadTarget, 4, 400},
		{"scheme alone", "GET http:// HTTP/1.1" + tail, httpparse.BadTarget, 4, 400},
		{"no authority", "GET http:///a HTTP/1.1" + tail, httpparse.BadTarget, 11, 400},
		{"no authority but a port", "GET http://:80/ HTTP/1.1" + tail, httpparse.BadTarget, 11, 400},
		{"userinfo", "GET http://u:p@h/ HTTP/1.1" + tail, httpparse.BadTarget, 11, 400},
		{"empty userinfo", "GET http://@h/ HTTP/1.1" + tail, httpparse.BadTarget, 11, 400},
		{"backslash in the authority", "GET http://h\\@e/ HTTP/1.1" + tail, httpparse.BadTarget, 11, 400},

		// The version.
		{"two spaces before the version", "GET /  HTTP/1.1" + tail, httpparse.BadVersion, 6, 400},
		{"space behind the version", "GET / HTTP/1.1 " + tail, httpparse.BadVersion, 14, 400},
		{"text behind the version", "GET / HTTP/1.1x" + tail, httpparse.BadVersion, 14, 400},
		{"long minor version", "GET / HTTP/1.10" + tail, httpparse.BadVersion, 14, 400},
		{"long major version", "GET / HTTP/11.1" + tail, httpparse.BadVersion, 12, 400},
		{"no minor version", "GET / HTTP/1" + tail, httpparse.BadVersion, 12, 400},
		{"small letters", "GET / http/1.1" + tail, httpparse.BadVersion, 6, 400},
		{"other protocol", "GET / RTSP/1.0" + tail, httpparse.BadVersion, 6, 400},
		{"LF behind the version", "GET / HTTP/1.1\nHost: h\r\n\r\n", httpparse.BadLineEnd, 14, 400},
		{"CR behind the version", "GET / HTTP/1.1\rHost: h\r\n\r\n", httpparse.BadLineEnd, 14, 400},
		{"HTTP/0.9", "GET / HTTP/0.9" + tail, httpparse.UnknownVersion, 6, 505},
		{"HTTP/1.2", "GET / HTTP/1.2" + tail, httpparse.UnknownVersion, 6, 505},
		{"HTTP/2.0", "GET / HTTP/2.0" + tail, httpparse.UnknownVersion, 6, 505},
		{"HTTP/9.9", "GET / HTTP/9.9" + tail, httpparse.UnknownVersion, 6, 505},
		{"HTTP/0.0", "GET / HTTP/0.0" + tail, httpparse.UnknownVersion, 6, 505},

		// Field lines.
		{"no colon", line + "Hosth\r\n\r\n", httpparse.BadFieldName, 21, 400},
		{"no name", line + ": h\r\n\r\n", httpparse.BadFieldName, 16, 400},
		{"space in the name", line + "Ho st: h\r\n\r\n", httpparse.BadFieldName, 18, 400},
		{"space before the colon", line + "Host : h\r\n\r\n", httpparse.BadFieldName, 20, 400},
		{"tab before the colon", line + "Host\t: h\r\n\r\n", httpparse.BadFieldName, 20, 400},
		{"NUL in the name", line + "Ho\x00st: h\r\n\r\n", httpparse.BadFieldName, 18, 400},
		{"DEL in the name", line + "Ho\x7fst: h\r\n\r\n", httpparse.BadFieldName, 18, 400},
		{"high byte in the name", line + "H\xf6st: h\r\n\r\n", httpparse.BadFieldName, 17, 400},
		{"bracket in the name", line + "Host[]: h\r\n\r\n", httpparse.BadFieldName, 20, 400},
		{"slash in the name", line + "a/b: h\r\n\r\n", httpparse.BadFieldName, 17, 400},
		{"CR in the name", line + "Ho\rst: h\r\n\r\n", httpparse.BadLineEnd, 18, 400},
		{"LF in the name", line + "Ho\nst: h\r\n\r\n", httpparse.BadLineEnd, 18, 400},
		{"folded line", line + host + " i\r\n\r\n", httpparse.BadFieldName, 25, 400},
		{"folded line with a tab", line + host + "\ti\r\n\r\n", httpparse.BadFieldName, 25, 400},
		{"blank before the first field", line + " Host: h\r\n\r\n", httpparse.BadFieldName, 16, 400},
		{"line of blanks", line + host + "  \r\n\r\n", httpparse.BadFieldName, 25, 400},
		{"NUL in a value", line + host + "A: b\x00c\r\n\r\n", httpparse.BadFieldValue, 29, 400},
		{"backspace in a value", line + host + "A: b\x08c\r\n\r\n", httpparse.BadFieldValue, 29, 400},
		{"vertical tab in a value", line + host + "A: b\vc\r\n\r\n", httpparse.BadFieldValue, 29, 400},
		{"0x1f in a value", line + host + "A: b\x1fc\r\n\r\n", httpparse.BadFieldValue, 29, 400},
		{"DEL in a value", line + host + "A: b\x7fc\r\n\r\n", httpparse.BadFieldValue, 29, 400},
		{"control character behind tabs in a value", line + host + "A: b\t\t\t\t\x01\r\n\r\n", httpparse.BadFieldValue, 33, 400},
		{"CR in a value", line + host + "A: b\rc\r\n\r\n", httpparse.BadLineEnd, 29, 400},
		{"LF in a value", line + host + "A: b\nc\r\n\r\n", httpparse.BadLineEnd, 29, 400},
		{"LF ends a line", line + host + "A: b\nC: d\r\n\r\n", httpparse.BadLineEnd, 29, 400},
		{"CR CR LF ends a line", line + host + "A: b\r\r\n\r\n", httpparse.BadLineEnd, 29, 400},
		{"LF ends the head", line + host + "\n", httpparse.BadLineEnd, 25, 400},
		{"LF CR LF ends the head", line + "Host: h\n\r\n", httpparse.BadLineEnd, 23, 400},
		{"CR CR LF ends the head", line + host + "\r\r\n", httpparse.BadLineEnd, 25, 400},
		{
			"too many fields, and a wrong line behind", line + host + strings.Repeat("a:b\r\n", maxFields) + "c\n\r\n",
			httpparse.TooManyFields, 25 + 5*(maxFields-1), 431,
		},
		{"too many fields", line + host + strings.Repeat("a:b\r\n", maxFields) + "\r\n", httpparse.TooManyFields, 25 + 5*(maxFields-1), 431},

		// Names with underscores, which servers that speak CGI to what is behind them take for dashes (RFC 3875, 4.1.18).
		{"Content_Length", line + host + "Content_Length: 1\r\n\r\n", httpparse.UnderscoreInName, 32, 400},
		{"CONTENT_LENGTH", line + host + "CONTENT_LENGTH: 1\r\n\r\n", httpparse.UnderscoreInName, 32, 400},
		{"transfer_encoding", line + host + "transfer_encoding: chunked\r\n\r\n", httpparse.UnderscoreInName, 33, 400},
		{"X_Forwarded_Host", line + host + "X_Forwarded_Host: a\r\n\r\n", httpparse.UnderscoreInName, 26, 400},
		{"a name like any other", line + host + "A_B: a\r\n\r\n", httpparse.UnderscoreInName, 26, 400},
		{"underscore alone", line + "_: a\r\n\r\n", httpparse.UnderscoreInName, 16, 400},
		{"underscore last", line + "A_ : a\r\n\r\n", httpparse.UnderscoreInName, 17, 400},

		// Names that are framing's or routing's but for other punctuation, which some of them treat alike.
		{"Content.Length", line + host + "Content.Length: 1\r\n\r\n", httpparse.ObscuredField, 25, 400},
		{"transfer~encoding", line + host + "transfer~encoding: chunked\r\n\r\n", httpparse.ObscuredField, 25, 400},
		{"Transfer'Encoding", line + host + "Transfer'Encoding: chunked\r\n\r\n", httpparse.ObscuredField, 25, 400},
		{"X-Forwarded!For", line + host + "X-Forwarded!For: ::1\r\n\r\n", httpparse.ObscuredField, 25, 400},
		{"x.forwarded.proto", line + host + "x.forwarded.proto: https\r\n\r\n", httpparse.ObscuredField, 25, 400},
		{"X+Forwarded|Host", line + host + "X+Forwarded|Host: a\r\n\r\n", httpparse.ObscuredField, 25, 400},
		{"X.Host", line + host + "X.Host: a\r\n\r\n", httpparse.ObscuredField, 25, 400},
		{"Proxy*Connection", line + host + "Proxy*Connection: close\r\n\r\n", httpparse.ObscuredField, 25, 400},
		{"Keep^Alive", line + host + "Keep^Alive: 1\r\n\r\n", httpparse.ObscuredField, 25, 400},
		{"Max#Forwards", line + host + "Max#Forwards: 1\r\n\r\n", httpparse.ObscuredField, 25, 400},

		// Host.
		{"no Host", line + "\r\n", httpparse.MissingHost, 5, 400},
		{"no Host with absolute-form", "GET http://h/ HTTP/1.1\r\n\r\n", httpparse.MissingHost, 13, 400},
		{"two Hosts", line + host + "host: i\r\n\r\n", httpparse.RepeatedHost, 31, 400},
		{"two equal Hosts", line + host + host + "\r\n", httpparse.RepeatedHost, 31, 400},
		{"two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\n" + host + host + "\r\n", httpparse.RepeatedHost, 31, 400},
		{"wrong Host in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a b\r\n\r\n", httpparse.BadHost, 22, 400},
		{"wrong Host with absolute-form", "GET http://h/ HTTP/1.1\r\nHost: a/b\r\n\r\n", httpparse.BadHost, 30, 400},
		{"two Hosts with absolute-form", "GET http://h/ HTTP/1.1\r\n" + host + host + "\r\n", httpparse.RepeatedHost, 39, 400},
		{"empty Host", line + "Host:\r\n\r\n", httpparse.BadHost, -1, 400},
		{"empty Host with absolute-form", "GET http://h/ HTTP/1.1\r\nHost: \r\n\r\n", httpparse.BadHost, -1, 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, behind := range []string{"", "x", "\r\n\r\n", "\x00"} {
				_, _, err := arriveAnyhow(t, parseRequest(new(httpparse.Request)), []byte(test.head+behind))
				wantError(t, err, test.kind, test.offset)
				if status := err.(*httpparse.Error).Status(); status != test.status {
					t.Errorf("status %d, want %d", status, test.status)
				}
			}
		})
	}
}

// Every single byte at every kind of place: the tables of characters against their definitions.
func TestRequestCharacters(t *testing.T) {
	const alnum = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	const tchar = alnum + "!#$%&'*+-.^_`|~" // RFC 9110, 5.6.2
	visible := func(c byte) bool { return c > ' ' && c < 0x7f }
	for _, place := range []struct {
		name, before, after string
		allowed             func(c byte) bool
	}{
		{"method", "GET", " / HTTP/1.1\r\n" + host, func(c byte) bool { return strings.IndexByte(tchar, c) >= 0 }},
		{"path", "GET /a", "bcdefghij HTTP/1.1\r\n" + host, func(c byte) bool { return visible(c) && c != '#' }},
		{"query", "GET /aaaaaaaa?", "b HTTP/1.1\r\n" + host, func(c byte) bool { return visible(c) && c != '#' }},
		{"name", "GET / HTTP/1.1\r\n" + host + "a", "b: c\r\n", func(c byte) bool { return strings.IndexByte(tchar+":", c) >= 0 && c != '_' }},
		{
			"first of a name", "GET / HTTP/1.1\r\n" + host, "b: c\r\n",
			func(c byte) bool { return strings.IndexByte(tchar, c) >= 0 && c != '_' },
		},
		{"value", "GET / HTTP/1.1\r\n" + host + "a: b", "cdefghij\r\n", func(c byte) bool { return c == '\t' || c >= ' ' && c != 0x7f }},
		{"end of a value", "GET / HTTP/1.1\r\n" + host + "a: bcdefghij", "\r\n", func(c byte) bool { return c == '\t' || c >= ' ' && c != 0x7f }},
		{"host", "GET / HTTP/1.1\r\nHost: a", "b\r\n", func(c byte) bool { return strings.IndexByte(alnum+"-._~!$&'()*+;=", c) >= 0 }},
		{"port", "GET / HTTP/1.1\r\nHost: a:1", "2\r\n", func(c byte) bool { return c >= '0' && c <= '9' }},
	} {
		t.Run(place.name, func(t *testing.T) {
			for c := range 256 {
				input := []byte(place.before + string([]byte{byte(c)}) + place.after + "\r\n")
				_, _, err := arrive(t, parseRequest(new(httpparse.Request)), input)
				if (err == nil) != place.allowed(byte(c)) {
					t.Errorf("%#x: %v", c, err)
				}
			}
		})
	}
}

func TestRequestHosts(t *testing.T) {
	parse := parseRequest(new(httpparse.Request))
	accepted := func(host string) bool {
		_, _, err := arrive(t, parse, []byte("GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"))
		return err == nil
	}
	for host, want := range map[string]bool{
		"a":                     true,
		"www.example.org":       true,
		"www.example.org.":      true,
		"WWW.Example.ORG:8080":  true,
		"under_score.example":   true,
		"xn--mllrd-kva.example": true,
		"127.0.0.1":             true,
		"127.0.0.1:80":          true,
		"999.1":                 true, // a name
		"a:":                    true, // RFC 3986, 3.2.3
		"[::1]:":                true,
		"a:0":                   true,
		"a:65535":               true,
		"a:00080":               true,
		"[::1]":                 true,
		"[::1]:80":              true,
		"[2001:DB8::1]:80":      true,

		"a:65536":        false,
		"a:000080":       false,
		"a:99999":        false,
		"a:-1":           false,
		"a:+1":           false,
		"a:http":         false,
		"a:80:80":        false,
		"a::80":          false,
		":80":            false,
		":":              false,
		"::1":            false,
		"a b":            false,
		"a\tb":           false,
		"a,b":            false,
		"a, b":           false,
		"u@a":            false,
		"a@":             false,
		"a/b":            false,
		"a/":             false,
		"a\\b":           false,
		"a?b":            false,
		"a#b":            false,
		"a%2eb":          false,
		"a%":             false,
		"\"a\"":          false,
		"<a>":            false,
		"b\xc3\xbccher":  false,
		"http://a":       false,
		"[]":             false,
		"[":              false,
		"]":              false,
		"[::1":           false,
		"::1]":           false,
		"[::1]a":         false,
		"[::1]80":        false,
		"[::1]:80:80":    false,
		"a[::1]":         false,
		"[a]":            false,
		"[1.2.3.4]":      false,
		"[fe80::1%25en]": false,
		"[fe80::1%en]":   false,
		"[v1.a]":         false,
		"[[::1]]":        false,
	} {
		if accepted(host) != want {
			t.Errorf("Host: %s: accepted: %t, want %t", host, !want, want)
		}
	}

	// net/netip knows what an IPv6 address is.
	for _, address := range []string{
		"::", "::1", "1::", "1::1", ":", ":::", "::::", "1", "1:", ":1", "1:2", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7",
		"1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3:4::5:6:7:8", "1:2:3:4:5:6:7:8::", "1::2::3",
		"12345::", "::12345", "::abcd", "::ABCD", "::g", "1:2:3:4:5:6:7:", ":2:3:4:5:6:7:8", "1::2:", ":1::2", "1:::2",
		"::1.2.3.4", "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:1.2.3.4", "1::1.2.3.4",
		"::1.2.3", "::1.2.3.4.5", "::1.2.3.", "::.1.2.3", "::1.2.3.256", "::1.2.3.01", "::01.2.3.4", "::1.2.3.4:5", "::1..3.4",
		"::1.2.3.4000", "::a.2.3.4", "1.2.3.4::", "1.2.3.4:1::", "::0.0.0.0", "::1.2.3.a", "1:2:3:4:5:6::1.2.3.4",
		"1:2:3:4:5::1.2.3.4", "::2:3:4:5:6:1.2.3.4", "::1.2.3.4 ", "::1.2.3.25555555555",
	} {
		parsed, err := netip.ParseAddr(address)
		if got, want := accepted("["+address+"]"), err == nil && parsed.Is6(); got != want {
			t.Errorf("[%s]: accepted: %t, want %t", address, got, want)
		}
	}
}

// What can be known to be wrong is refused at once, and not when the sender has sent the rest.
func TestRequestRefusedEarly(t *testing.T) {
	long := strings.Repeat("x", 4000)
	for _, test := range []struct {
		name string
		head string // the shortest beginning that is refused
	}{
		{"first byte", "\x16"},
		{"second empty-line byte", "\rG"},
		{"first LF", "\n"},
		{"byte of the method", "GE{"},
		{"length of the method", strings.Repeat("M", maxMethod+1)},
		{"byte of the target", "GET /\x80"},
		{"byte of the version", "GET / HTTPS"},
		{"end of the request line", "GET / HTTP/2.0\r\n"},
		{"end of a long request line", "GET /" + long + " HTTP/2.0\r\n"},
		{"end of a long request line of wrong form", "GET " + long + " HTTP/1.1\r\n"},
		{"end of a long request line behind empty lines", "\r\n\r\nGET " + long + " HTTP/1.1\r\n"},
		{"LF that ends a long request line", "GET /" + long + " HTTP/1.1\n"},
		{"LF in a long request line", "GET /" + long + "\n"},
		{"LF that ends a field line", "GET / HTTP/1.1\r\nA: " + long + "\n"},
		{"end of a wrong field line", "GET / HTTP/1.1\r\nA: " + long + "\r\nB: " + long + "\x00\r\n"},
		{"end of a folded line", "GET / HTTP/1.1\r\nA: " + long + "\r\n b: " + long + "\r\n"},
		{"end of a line with a wrong name", "GET / HTTP/1.1\r\nA: " + long + "\r\nB[]: " + long + "\r\n"},
		{"end of a disguised field", "GET / HTTP/1.1\r\nA: " + long + "\r\nContent_Length: 7\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantRefusedAt(t, parseRequest(new(httpparse.Request)), []byte(test.head))
		})
	}
}

// An incomplete head yields nothing, so that a view into a buffer that is gone is never used.
func TestRequestIsEmptyUntilComplete(t *testing.T) {
	r := httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, maxFields)}}
	input := []byte(browserRequest)
	for end := range input {
		if _, err := httpparse.ParseRequest(input, 0, &r); err != nil {
			t.Fatal(err)
		}
		if _, err := httpparse.ParseRequest(input[:end], max(0, end-1), &r); err != httpparse.ErrNeedMore {
			t.Fatal(err)
		}
		if len(r.Fields) != 0 || cap(r.Fields) != maxFields || r.Seen != 0 || r.Target.Len() != 0 || r.ConnKeepAlive {
			t.Fatalf("%d bytes: %+v", end, r)
		}
	}
}

// scanned is a promise about the end of the head only: a caller that has forgotten it gets the same answer.
func TestRequestScannedIsOptional(t *testing.T) {
	var r httpparse.Request
	parse := parseRequest(&r)
	input := []byte(browserRequest)
	_, want, _ := parse(input, 0)
	for scanned := range input {
		n, found, err := parse(input, scanned)
		if err != nil || n != len(input) || found != want {
			t.Fatalf("scanned %d: %d %v %s", scanned, n, err, found)
		}
	}
}
