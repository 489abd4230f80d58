package httpparse_test

import (
	"strings"
	"testing"

	"millrace/httpparse"
)

func TestFieldIDs(t *testing.T) {
	names := map[string]httpparse.FieldID{
		"host":                httpparse.FieldHost,
		"connection":          httpparse.FieldConnection,
		"proxy-connection":    httpparse.FieldProxyConnection,
		"keep-alive":          httpparse.FieldKeepAlive,
		"te":                  httpparse.FieldTE,
		"trailer":             httpparse.FieldTrailer,
		"transfer-encoding":   httpparse.FieldTransferEncoding,
		"upgrade":             httpparse.FieldUpgrade,
		"content-length":      httpparse.FieldContentLength,
		"expect":              httpparse.FieldExpect,
		"proxy":               httpparse.FieldProxy,
		"x-forwarded-for":     httpparse.FieldXForwardedFor,
		"x-forwarded-proto":   httpparse.FieldXForwardedProto,
		"x-forwarded-host":    httpparse.FieldXForwardedHost,
		"x-host":              httpparse.FieldXHost,
		"user-agent":          httpparse.FieldUserAgent,
		"referer":             httpparse.FieldReferer,
		"date":                httpparse.FieldDate,
		"server":              httpparse.FieldServer,
		"max-forwards":        httpparse.FieldMaxForwards,
		"authorization":       httpparse.FieldAuthorization,
		"proxy-authenticate":  httpparse.FieldProxyAuthenticate,
		"proxy-authorization": httpparse.FieldProxyAuthorization,
	}
	r := httpparse.Response{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 1)}}
	idOf := func(name string) httpparse.FieldID {
		t.Helper()
		if _, err := httpparse.ParseResponse([]byte("HTTP/1.1 200 OK\r\n"+name+": x\r\n\r\n"), 0, &r); err != nil {
			t.Fatal(name, err)
		}
		id := r.Fields[0].ID
		if want := httpparse.FieldSet(1) << id; r.Seen != want {
			t.Errorf("%s: Seen %b, want %b", name, r.Seen, want)
		}
		return id
	}
	for name, id := range names {
		for _, spelling := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			if got := idOf(spelling); got != id {
				t.Errorf("%s: ID %d, want %d", spelling, got, id)
			}
		}
		// Whatever is changed in a known name, it is unknown then, or another. Punctuation instead of a dash is
		// for TestObscuredNamesAreRefused.
		for i := range name {
			for _, c := range []byte("!~^`.xZ") {
				if name[i] == '-' && c != 'x' && c != 'Z' {
					continue
				}
				other := name[:i] + string([]byte{c}) + name[i+1:]
				if got, want := idOf(other), names[strings.ToLower(other)]; got != want {
					t.Errorf("%s: ID %d, want %d", other, got, want)
				}
			}
			other := name[:i] + name[i+1:]
			if got, want := idOf(other), names[other]; got != want {
				t.Errorf("%s: ID %d, want %d", other, got, want)
			}
		}
		if got := idOf(name + "s"); got != httpparse.FieldOther {
			t.Errorf("%ss: ID %d", name, got)
		}
	}
}

func TestPersistent(t *testing.T) {
	for _, test := range []struct {
		version, connection string
		want                bool
	}{
		{"1.1", "", true},
		{"1.1", "keep-alive", true},
		{"1.1", "upgrade", true},
		{"1.1", "close", false},
		{"1.1", "Close", false},
		{"1.1", "keep-alive, close", false},
		{"1.1", "closed", true},
		{"1.1", "not-close", true},
		{"1.0", "", false},
		{"1.0", "keep-alive", true},
		{"1.0", "Keep-Alive", true},
		{"1.0", "close, keep-alive", false},
		{"1.0", "upgrade", false},
	} {
		head := "HTTP/" + test.version + " 200 OK\r\nConnection: " + test.connection + "\r\n\r\n"
		r := httpparse.Response{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 1)}}
		if _, err := httpparse.ParseResponse([]byte(head), 0, &r); err != nil {
			t.Fatal(err)
		}
		if r.Persistent() != test.want {
			t.Errorf("HTTP/%s, Connection: %s: %t", test.version, test.connection, r.Persistent())
		}
	}
}

func TestNamedByConnection(t *testing.T) {
	buf := []byte("HTTP/1.1 200 OK\r\nConnection: close, X-Foo\t,,^a\r\nX-Bar: x-baz\r\nconnection:x-BAR \r\n\r\n")
	r := httpparse.Response{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 4)}}
	if _, err := httpparse.ParseResponse(buf, 0, &r); err != nil {
		t.Fatal(err)
	}
	if !r.ConnNames || !r.ConnClose || r.ConnKeepAlive {
		t.Errorf("%+v", r.Head)
	}
	for name, want := range map[string]bool{
		"x-foo": true, "X-FOO": true, "x-bar": true, "^A": true, "close": true,
		"x-fo": false, "x-fooo": false, "x-baz": false, "~a": false, "keep-alive": false, "": false,
	} {
		if got := r.NamedByConnection(buf, []byte(name)); got != want {
			t.Errorf("%q: %t, want %t", name, got, want)
		}
	}
	if _, err := httpparse.ParseResponse([]byte("HTTP/1.1 200 OK\r\nA: b\r\n\r\n"), 0, &r); err != nil {
		t.Fatal(err)
	}
	if r.NamedByConnection(buf, []byte("x-foo")) {
		t.Error("named without a Connection field")
	}
}

func TestLookup(t *testing.T) {
	buf := []byte("HTTP/1.1 200 OK\r\nDate: a\r\nX: b\r\nServer: c\r\nserver: d\r\n\r\n")
	r := httpparse.Response{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 4)}}
	if _, err := httpparse.ParseResponse(buf, 0, &r); err != nil {
		t.Fatal(err)
	}
	if v, ok := r.Lookup(httpparse.FieldServer); !ok || string(v.Of(buf)) != "c" {
		t.Errorf("%q %t", v.Of(buf), ok)
	}
	if v, ok := r.Lookup(httpparse.FieldHost); ok || v.Len() != 0 {
		t.Errorf("%v %t", v, ok)
	}
	if v, ok := r.Lookup(httpparse.FieldOther); !ok || string(v.Of(buf)) != "b" {
		t.Errorf("%q %t", v.Of(buf), ok)
	}
}

func TestTrailer(t *testing.T) {
	for _, test := range []struct{ name, section, want string }{
		{"empty", "\r\n", ""},
		{"one field", "A: b\r\n\r\n", ` [A: "b"]`},
		{
			"fields", "A: b\r\nC:\r\nDigest: sha-256=4REjxQ4yrqUVicfSKYNO/cF9zNj5ANbzgDZt3/h3Qxo=\r\n\r\n",
			` [A: "b"] [C: ""] [Digest: "sha-256=4REjxQ4yrqUVicfSKYNO/cF9zNj5ANbzgDZt3/h3Qxo="]`,
		},
		{"as many as allowed", strings.Repeat("a:b\r\n", maxFields-1) + "\r\n", strings.Repeat(` [a: "b"]`, maxFields-1)},
	} {
		for _, behind := range []string{"", "x", "\r\n", "GET / HTTP/1.1\r\n\r\n"} {
			n, found, err := arriveAnyhow(t, parseTrailer(), []byte(test.section+behind))
			if err != nil || n != len(test.section) || found != test.want {
				t.Errorf("%s: %d %v %s", test.name, n, err, found)
			}
		}
	}
	for _, test := range []struct {
		name, section string
		kind          httpparse.Kind
		offset        int
	}{
		{"CR", "\rA: b\r\n\r\n", httpparse.BadLineEnd, 0},
		{"LF", "\n", httpparse.BadLineEnd, 0},
		{"blank first", " A: b\r\n\r\n", httpparse.BadFieldName, 0},
		{"folded", "A: b\r\n\tc\r\n\r\n", httpparse.BadFieldName, 6},
		{"no colon", "A\r\n\r\n", httpparse.BadFieldName, 1},
		{"no name", ":\r\n\r\n", httpparse.BadFieldName, 0},
		{"space before the colon", "A : b\r\n\r\n", httpparse.BadFieldName, 1},
		{"next request", "GET / HTTP/1.1\r\n\r\n", httpparse.BadFieldName, 3},
		{"NUL", "A: \x00\r\n\r\n", httpparse.BadFieldValue, 3},
		{"LF ends a line", "A: b\n\r\n", httpparse.BadLineEnd, 4},
		{"LF ends the section", "A: b\r\n\n", httpparse.BadLineEnd, 6},
		{"LF far behind", "A: " + strings.Repeat("b", 99) + "\r\nC: d\n", httpparse.BadLineEnd, 108},
		{"disguised", "Content_Length: 5\r\n\r\n", httpparse.ObscuredField, 0},
		{"too many", strings.Repeat("a:b\r\n", maxFields) + "\r\n", httpparse.TooManyFields, 5 * (maxFields - 1)},
	} {
		for _, behind := range []string{"", "x", "\r\n\r\n"} {
			_, found, err := arriveAnyhow(t, parseTrailer(), []byte(test.section+behind))
			wantError(t, err, test.kind, test.offset)
			if found != "" {
				t.Errorf("%s: fields with an error: %s", test.name, found)
			}
		}
	}
}

func TestConnectionOptionsAreBounded(t *testing.T) {
	options := func(n int) string { return strings.Repeat("x ,\t, ", n) }
	for _, test := range []struct {
		name, fields string
		refused      int // byte; 0 if not at all
	}{
		{"as many as allowed", "Connection: " + options(httpparse.MaxConnectionOptions) + "\r\n", 0},
		{"one more", "Connection: " + options(httpparse.MaxConnectionOptions) + "close\r\n", 29},
		{"one more in another line", "Connection: " + options(httpparse.MaxConnectionOptions) + "\r\nconnection: close\r\n", 43 + 6*httpparse.MaxConnectionOptions},
		{"many times more", "Connection: " + options(400) + "\r\n", 29},
		{"empty ones", "Connection: " + strings.Repeat(",", 9*httpparse.MaxConnectionOptions) + "\r\n", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := arriveAnyhow(t, parseResponse(new(httpparse.Response)), []byte("HTTP/1.1 200 OK\r\n"+test.fields+"\r\n"))
			if test.refused == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantError(t, err, httpparse.TooManyOptions, test.refused)
			if status := err.(*httpparse.Error).Status(); status != 400 {
				t.Errorf("status %d", status)
			}
		})
	}
}
