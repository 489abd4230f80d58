package configs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/remap"
)

func TestPathsOfServers(t *testing.T) {
	file := func(path string) string {
		return "[[listener]]\naddress = ':80'\n[[route]]\nbackend = 'app'\nreverse = [['/', 'backend://app/'], ['/m', '/in'], ['/n', 'backend://other/x']]\n" +
			"[backend.other]\nservers = ['10.0.0.9:80', 'unix:/run/a']\n" +
			"[[backend.app.server]]\naddress = 'app.internal:8080'\npath = '" + path + "'\n[[backend.app.server]]\naddress = '10.0.0.2:81'\n"
	}
	names := hosts{"app.internal": {"10.0.0.1", "10.0.0.3"}}
	f := file("/base")
	plan, err := Parse(t.Context(), "f", []byte(f), names)
	if err != nil {
		t.Fatal(err)
	}
	var roots []string
	for _, s := range plan.Backends[1].Servers {
		roots = append(roots, s.Name+s.Root)
	}
	if diff := cmp.Diff([]string{"10.0.0.1:8080/base", "10.0.0.3:8080/base", "10.0.0.2:81"}, roots); diff != "" {
		t.Error(diff)
	}
	r := &report{src: newSource("f", []byte(f))}
	decoded := decode(r)
	decoded.setDefaults()
	validate(r, decoded, 0)
	findServers(t.Context(), r, decoded, names)
	compile(r, decoded, names)
	want := []remap.Reversal{
		{Mapping: remap.Mapping{From: "/", To: "/"}, Servers: []string{"http://app.internal:8080/base", "http://10.0.0.2:81"}},
		{Mapping: remap.Mapping{From: "/in", To: "/m"}},
		{Mapping: remap.Mapping{From: "/x", To: "/n"}, Servers: []string{"http://10.0.0.9", "http://localhost"}},
	}
	edits := decoded.Routes.items[0].edits
	if diff := cmp.Diff(want, edits.Reverse); diff != "" || !edits.ServerPaths {
		t.Errorf("paths: %v\n%s", edits.ServerPaths, diff)
	}
	for path, want := range map[string]string{
		"/":    `backend.app.server[0].path: "/" is the beginning of every path: leave it out`,
		"a":    `backend.app.server[0].path: "a" is not a path: allowed are visible ASCII characters after a "/"`,
		"/a?b": `"/a?b" is not a path`,
		"/a/":  `"/a/" ends with /, and what follows has one of its own: write "/a"`,
	} {
		_, err := Parse(t.Context(), "f", []byte(file(path)), names)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

func TestServersOfAServiceHaveNoURLsToReverse(t *testing.T) {
	got := problemsOf(t, "[[listener]]\naddress = ':80'\n[[route]]\nbackend = 'app'\nreverse = [['/', 'backend://app/']]\n[backend.app]\nservers = ['srv:_http._tcp.app.internal']\n")
	want := `f:5:18: route[0].reverse[0][1]: "backend://app/": servers of [backend.app] are those of a service`
	if !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}
