package remap

import (
	"bytes"
	"slices"
	"testing"
)

// readingsOf returns what a path is in all of its readings, sorted.
func readingsOf(path string) []string {
	normal, ok := NormalPath(nil, []byte(path))
	if !ok {
		return nil
	}
	p := []byte(path)
	if string(normal) == path {
		normal = p
	}
	list := []string{string(normal)}
	all := Readings(p, normal)
	for r := all; r != 0; r = (r - 1) & all {
		list = append(list, string(AppendReading(nil, p, r)))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func TestReadings(t *testing.T) {
	for _, test := range []struct {
		path string
		want []string
	}{
		{"/", []string{"/"}},
		{"/a/b.c/.d/..e", []string{"/a/b.c/.d/..e"}},
		{"/a%20b/%c3%a9", []string{"/a b/\xc3\xa9"}},
		{"/%61dmin", []string{"/admin"}},
		{"/a//b", []string{"/a/b"}},
		{"/public/../admin", []string{"/admin", "/public/../admin"}},
		{"/public/%2e%2E/admin", []string{"/admin", "/public/../admin"}},
		{"/public/..%2fadmin", []string{"/admin", "/public/..%2fadmin", "/public/../admin"}},
		{"/admin/..%2Fpublic", []string{"/admin/..%2Fpublic", "/admin/../public", "/public"}},
		{"/a%2fb", []string{"/a%2fb", "/a/b"}},
		{"//admin", []string{"/", "/admin"}},
		{"//public/admin", []string{"/admin", "/public/admin"}},
		{`/\public/admin`, []string{`/\public/admin`, "/admin", "/public/admin"}},
		{"/admin;x", []string{"/admin", "/admin;x"}},
		{"/admin;x=1/b;y", []string{"/admin/b", "/admin;x=1/b;y"}},
		{"/admin%3bx", []string{"/admin", "/admin;x"}},
		{"/public/..;/admin", []string{"/admin", "/public/../admin", "/public/..;/admin"}},
		{"/admin/.;/", []string{"/admin/", "/admin/./", "/admin/.;/"}},
		{`/public\..\admin`, []string{"/admin", "/public/../admin", `/public\..\admin`}},
		{"/public/..%5cadmin", []string{"/admin", "/public/../admin", `/public/..\admin`}},
	} {
		if got := readingsOf(test.path); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.path, got, test.want)
		}
	}
}

// Every reading of a path is one that routes can be chosen by, and the plain reading is NormalPath's.
func FuzzReadings(f *testing.F) {
	for _, s := range []string{"/public/..%2fadmin", "//a/..;b/%5c", `/\a/.;/..`, "/%2e%2e/;/a%2F/", "/a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, path []byte) {
		before := bytes.Clone(path)
		normal, ok := NormalPath(nil, path)
		if !ok || len(path) == 0 || path[0] != '/' {
			return
		}
		const prefix = "kept"
		for r := range Reading(1 << 5) {
			out := AppendReading([]byte(prefix), path, r)
			if !bytes.HasPrefix(out, []byte(prefix)) {
				t.Fatalf("%q, %b: %q", path, r, out)
			}
			out = out[len(prefix):]
			if len(out) == 0 || out[0] != '/' || bytes.Contains(out, []byte("//")) {
				t.Fatalf("%q, %b: %q", path, r, out)
			}
			if r == 0 && !bytes.Equal(out, normal) {
				t.Fatalf("%q: %q, want %q", path, out, normal)
			}
			if r&^Readings(path, normal) != 0 {
				// What the path has no occasion for makes no difference.
				if same := AppendReading(nil, path, r&Readings(path, normal)); !bytes.Equal(same, out) {
					t.Fatalf("%q has readings %b; %b: %q, want %q", path, Readings(path, normal), r, out, same)
				}
			}
		}
		if !bytes.Equal(path, before) {
			t.Fatalf("%q was changed to %q", before, path)
		}
	})
}
