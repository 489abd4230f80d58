package remap

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNormalPath(t *testing.T) {
	for _, tt := range []struct {
		path, want string // want "": refused
	}{
		{"/", "/"},
		{"", "/"},
		{"*", "*"},
		{"/a/b", "/a/b"},
		{"/a/b/", "/a/b/"},
		{"/a.b/.c/..d/.../e.", "/a.b/.c/..d/.../e."},
		{"/.a", "/.a"},
		{"/..a", "/..a"},

		{"//", "/"},
		{"///a////b//", "/a/b/"},

		{"/.", "/"},
		{"/./", "/"},
		{"/a/.", "/a/"},
		{"/a/./b", "/a/b"},
		{"/..", "/"},
		{"/../", "/"},
		{"/../../a", "/a"},
		{"/a/..", "/"},
		{"/a/../", "/"},
		{"/a/../b", "/b"},
		{"/a/b/..", "/a/"},
		{"/a/b/../..", "/"},
		{"/a/b/../../../c", "/c"},
		{"/a//../b", "/b"},
		{"/a/.//../b", "/b"},
		{"//../b", "/b"},

		{"/%41", "/A"},
		{"/a%20b%c3%A9", "/a b\xc3\xa9"},
		{"/%2541", "/%41"},
		{"/%2e", "/"},
		{"/a/%2e%2E/b", "/b"},
		{"/a/.%2e", "/"},
		{"/a%2f%2fb", "/a/b"},
		{"/a%2F..%2fb", "/b"},
		{"/a%2f..", "/"},
		{"/%2f", "/"},
		{"/a%5cb", `/a\b`},
		{"/a%0ab", "/a\nb"},
		{"/a;x=1/b", "/a;x=1/b"},
		{"/a/../b/./c//d%2fe%2Ff;x=1", "/b/c/d/e/f;x=1"},

		{"/%", ""},
		{"/%4", ""},
		{"/%4g", ""},
		{"/%g4", ""},
		{"/%%41", ""},
		{"/%00", ""},
		{"/a%00b", ""},
		{"a", ""},
		{"**", ""},
		{"%2fa", ""},
		{"../a", ""},
	} {
		t.Run(tt.path, func(t *testing.T) {
			path := []byte(tt.path)
			out, ok := NormalPath(nil, path)
			if ok != (tt.want != "") || ok && string(out) != tt.want {
				t.Fatalf("%q, %v, want %q", out, ok, tt.want)
			}
			if string(path) != tt.path {
				t.Errorf("the path was changed to %q", path)
			}
			if tt.path == tt.want && &out[0] != &path[0] {
				t.Error("a normal path was copied")
			}
		})
	}
}

func TestNormalPathUsesScratch(t *testing.T) {
	scratch := make([]byte, 64)
	out, ok := NormalPath(scratch, []byte("/a//b"))
	if !ok || string(out) != "/a/b" || &out[0] != &scratch[0] {
		t.Errorf("%q, %v", out, ok)
	}
}

// anyPath draws paths that are full of what normalisation is about.
var anyPath = rapid.Custom(func(t *rapid.T) string {
	part := rapid.SampledFrom([]string{"/", "//", ".", "..", "a", "b", "%2e", "%2F", "%25", "%41", "%c3%a9", "/../", "/./"})
	return "/" + strings.Join(rapid.SliceOfN(part, 0, 12).Draw(t, "parts"), "")
})

// naiveNormalPath is the definition, one step after the other.
func naiveNormalPath(path string) string {
	var decoded []byte
	for i := 0; i < len(path); i++ {
		if path[i] == '%' {
			decoded = append(decoded, unhex(path[i+1])<<4|unhex(path[i+2]))
			i += 2
		} else {
			decoded = append(decoded, path[i])
		}
	}
	var out []string
	segments := strings.Split(string(decoded), "/")[1:]
	for i, s := range segments {
		isLast := i == len(segments)-1
		switch s {
		case "", ".":
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, s)
			continue
		}
		if isLast && len(out) > 0 {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/")
}

func TestNormalPathProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := anyPath.Draw(t, "path")
		out, ok := NormalPath(nil, []byte(path))
		if !ok {
			t.Fatal("refused")
		}
		if want := naiveNormalPath(path); string(out) != want {
			t.Fatalf("%q, want %q", out, want)
		}
		checkNormal(t, out)
	})
}

// checkNormal checks that a path is in normal form. A percent sign in it stands for itself, so that it has to be
// encoded before the path can be looked at as a path again.
func checkNormal(t interface{ Fatalf(string, ...any) }, path []byte) {
	if path[0] != '/' && string(path) != "*" {
		t.Fatalf("%q is not absolute", path)
	}
	if bytes.Contains(path, []byte("//")) {
		t.Fatalf("%q has an empty segment", path)
	}
	for s := range strings.SplitSeq(string(path), "/") {
		if s == "." || s == ".." {
			t.Fatalf("%q has a dot segment", path)
		}
	}
	again, ok := NormalPath(nil, bytes.ReplaceAll(path, []byte("%"), []byte("%25")))
	if !ok || !bytes.Equal(again, path) {
		t.Fatalf("the normal form of %q is %q, %v", path, again, ok)
	}
}

func FuzzNormalPath(f *testing.F) {
	for _, s := range []string{"/", "*", "/a/../b/./c//d%2fe%2Ff;x=1", "/%2e%2e/%2541/..a", "/a%00", "/a/..//"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, path []byte) {
		before := bytes.Clone(path)
		out, ok := NormalPath(make([]byte, 0, 16), path)
		if !bytes.Equal(path, before) {
			t.Fatalf("%q was changed to %q", before, path)
		}
		if ok {
			checkNormal(t, out)
		}
	})
}
