package remap

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"millrace/httpparse"
)

func TestAppendTarget(t *testing.T) {
	const u = NormalizeURL
	for _, test := range []struct {
		name         string
		opts         TargetOptions
		target, want string // want "": refused
	}{
		// RFC 3986, 6.2.2: case and percent-encoding.
		{"plain", u, "/a/b.c?d=e&f", "/a/b.c?d=e&f"},
		{"no path", u, "?a", "/?a"},
		{"unreserved, encoded", u, "/%61%2D%2e%5F%7e%30?%61", "/a-._~0?a"},
		{"small letters", u, "/%c3%a9%2f?%c3%a9", "/%C3%A9%2F?%C3%A9"},
		{"what may not be bare", u, "/a\"<>[\\]^`{|}?b\"<>[\\]^`{|}", "/a%22%3C%3E%5B%5C%5D%5E%60%7B%7C%7D?b%22%3C%3E%5B%5C%5D%5E%60%7B%7C%7D"},
		{"reserved, encoded", u, "/%40%3a%3B%2c?%40%26%3d", "/%40%3A%3B%2C?%40%26%3D"},
		{"encoded twice", u, "/%2561?%2561", "/%2561?%2561"},
		{"empty query", u, "/a?", "/a?"},
		{"question marks", u, "/a?b?c", "/a?b?c"},
		{"dot segments stay", u, "/a/%2e%2e/b", "/a/../b"},
		{"double slashes stay", u, "//a//b", "//a//b"},
		{"percent sign alone in the query", u, "/?100%&a=%4", "/?100%25&a=%254"},
		{"percent sign alone in the path", u, "/100%", ""},
		{"no hexadecimal digits", u, "/%zz", ""},
		{"NUL in the path", u, "/%00", ""},
		{"NUL in the query", u, "/?%00", "/?%00"},

		{"required", u | NormalizeRequired, "/%40%3a%3B%2c%21?%40%3a%2f%3F", "/@:;,!?@:/?"},
		{"required, separators", u | NormalizeRequired, "/%2f%3F%23%25%20?%26%3D%3b%2B%23%25", "/%2F%3F%23%25%20?%26%3D%3B%2B%23%25"},

		{"control characters", u, "/%0a%7F?%09", "/%0A%7F?%09"},
		{"control character in the path", u | RejectCtrls, "/a%0A", ""},
		{"control character in the query", u | RejectCtrls, "/a?%1f", ""},
		{"DEL", u | RejectCtrls, "/%7f", ""},
		{"no control character", u | RejectCtrls, "/%20%80?%20", "/%20%80?%20"},

		{"not UTF-8", u, "/%ff", "/%FF"},
		{"not UTF-8 in the path", u | RejectInvalidUTF8, "/%ff", ""},
		{"not UTF-8 in the query", u | RejectInvalidUTF8, "/?a=%C3", ""},
		{"overlong slash", u | RejectInvalidUTF8, "/..%c0%afb", ""},
		{"overlong slash of three bytes", u | RejectInvalidUTF8, "/..%e0%80%afb", ""},
		{"surrogate", u | RejectInvalidUTF8, "/%ed%a0%80", ""},
		{"beyond Unicode", u | RejectInvalidUTF8, "/%f4%90%80%80", ""},
		{"cut by the query", u | RejectInvalidUTF8, "/%c3?%a9", ""},
		{"UTF-8", u | RejectInvalidUTF8, "/%c3%a9%e2%82%ac%f0%9f%98%80?%C3%A9", "/%C3%A9%E2%82%AC%F0%9F%98%80?%C3%A9"},

		{"backslashes", u | TranslateBackslash, "/a\\b%5Cc?d\\e%5c", "/a/b/c?d%5Ce%5C"},
		{"encoded slashes", u | Decode2F, "/a%2fb%2F?c%2f", "/a/b/?c%2F"},
		{"no encoded slashes", u | Reject2F, "/a%2fb", ""},
		{"encoded slashes in the query", u | Reject2F, "/a?b%2f", "/a?b%2F"},

		{"dot segments", u | RemoveDotSegments, "/a/./b/../c?../d", "/a/c?../d"},
		{"encoded dot segments", u | RemoveDotSegments, "/a/%2e/b/%2E./c", "/a/c"},
		{"double slashes", u | RemoveDotSegments, "//a///b//", "/a/b/"},
		{"above the root", u | RemoveDotSegments, "/../../a", "/a"},
		{"dot segment last", u | RemoveDotSegments, "/a/b/..", "/a/"},
		{"slash in a segment", u | RemoveDotSegments, "/a/b%2f../c", "/a/b%2F../c"},
		{"slash decoded first", u | RemoveDotSegments | Decode2F, "/a/b%2f../c", "/a/c"},
		{"backslash first", u | RemoveDotSegments | TranslateBackslash, `/a\b\..\c`, "/a/c"},
		{"no dot segment", u | RejectDotSegments, "/a/.b/..c/d.", "/a/.b/..c/d."},
		{"a dot segment", u | RejectDotSegments, "/a/./b", ""},
		{"two dots", u | RejectDotSegments, "/a/..", ""},
		{"encoded dots", u | RejectDotSegments, "/a/%2e%2e/b", ""},
		{"a double slash", u | RejectDotSegments, "/a//b", ""},
		{"an escape", u | RejectDotSegments, "/a%20b/%c3", "/a%20b/%C3"},
		{"dots in the query", u | RejectDotSegments, "/a?/../b//c", "/a?/../b//c"},

		{"spaces in the query", u | PlusInQuery, "/a%20b?c%20d+e%2b", "/a%20b?c+d+e%2B"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, path, err := AppendTarget([]byte("GET "), []byte(test.target), test.opts)
			if test.want == "" {
				if err != ErrTarget {
					t.Fatalf("%q %v, want an error", out, err)
				}
				return
			}
			if err != nil || string(out) != "GET "+test.want {
				t.Fatalf("%q %v, want %q", out, err, test.want)
			}
			if want, _, _ := bytes.Cut(out[4:], []byte("?")); path != len(want) {
				t.Errorf("the path has %d bytes, want %d", path, len(want))
			}
		})
	}
}

// Whatever is asked for, the result is a target that the parser takes for the same, and in its final form; the route
// is that of the path which is sent.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{
		"/public/..%2fadmin", "//admin", "/%61dmin?a=%20+b", "/admin;x", "/admin%00", "/admin/.;/", `/\admin`,
		"/a\"b?100%", "/%c3%a9/%2e%2E/?%zz", "/.%2e/..%5c..//", "?%ff",
	} {
		f.Add([]byte(s), uint16(NormalizeURL|RemoveDotSegments|Decode2F))
		f.Add([]byte(s), uint16(NormalizeURL|NormalizeRequired|TranslateBackslash|RemoveDotSegments|PlusInQuery))
		f.Add([]byte(s), uint16(NormalizeURL|RejectCtrls|RejectInvalidUTF8|Reject2F|RejectDotSegments))
	}
	f.Fuzz(func(t *testing.T, target []byte, bits uint16) {
		opts := TargetOptions(bits) | NormalizeURL
		if len(target) == 0 || target[0] != '/' && target[0] != '?' || bytes.ContainsAny(target, "# ") {
			return
		}
		for _, c := range target {
			if c <= ' ' || c >= 0x7f {
				return // the parser has refused it
			}
		}
		before := bytes.Clone(target)
		out, n, err := AppendTarget(nil, target, opts)
		if !bytes.Equal(target, before) {
			t.Fatalf("%q was changed to %q", before, target)
		}
		if err != nil {
			return
		}
		head := append(append([]byte("GET "), out...), " HTTP/1.1\r\nHost: h\r\n\r\n"...)
		r := httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 2)}}
		if _, err := httpparse.ParseRequest(head, 0, &r); err != nil || r.Form != httpparse.FormOrigin {
			t.Fatalf("%q became %q: %v", target, out, err)
		}
		path := r.Path.Of(head)
		if !bytes.Equal(path, out[:n]) || !bytes.Equal(r.PathQuery.Of(head), out) {
			t.Fatalf("%q became %q with the path %q", target, out, out[:n])
		}
		again, _, err := AppendTarget(nil, out, opts)
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("%q became %q, and then %q, %v", target, out, again, err)
		}
		normal, ok := NormalPath(nil, path)
		if !ok {
			t.Fatalf("%q became %q, which has no normal form", target, out)
		}
		if opts&(RemoveDotSegments|RejectDotSegments) != 0 && bytes.Contains(path, []byte("//")) {
			t.Fatalf("%q became %q", target, out)
		}
		if opts&(RemoveDotSegments|RejectDotSegments) != 0 && opts&(Decode2F|Reject2F) != 0 && opts&TranslateBackslash != 0 &&
			bytes.IndexByte(normal, ';') < 0 {
			// Nothing is left that two servers could read differently.
			for _, s := range readingsOf(string(path)) {
				if s != string(normal) {
					t.Fatalf("%q became %q, which is %q or %q", target, out, normal, s)
				}
			}
		}
		if opts&RejectInvalidUTF8 != 0 && !utf8.Valid(decodedForTest(out)) {
			t.Fatalf("%q became %q", target, out)
		}
	})
}

// decodedForTest decodes what is encoded, and makes nothing of the rest.
func decodedForTest(target []byte) []byte {
	var out []byte
	for i := 0; i < len(target); i++ {
		if c, ok := unescape(target[i:]); target[i] == '%' && ok {
			out = append(out, c)
			i += 2
			continue
		}
		out = append(out, target[i])
	}
	return out
}
