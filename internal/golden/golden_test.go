package golden

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestFilesAreWrittenAsTheyAreRead: what -update writes differs in nothing but what became of a request.
func TestFilesAreWrittenAsTheyAreRead(t *testing.T) {
	files, err := ReadAll("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		if f.Text() != string(text) {
			t.Errorf("%s became\n%s", f.Path, f.Text())
		}
	}
}

func TestCase(t *testing.T) {
	f, err := parse("f", `config x:
	strip_prefix = "/a"

XX-1 x: two requests
	> GET /a/1 HTTP/1.1
	@ app
	>> GET /1 HTTP/1.1
	<< HTTP/1.1 200 OK
	<< Content-Length: 2
	<<
	<< a
	> GET /b HTTP/1.1
	< HTTP/1.1 404 Not Found
`)
	if err != nil {
		t.Fatal(err)
	}
	c := f.Cases[0]
	if c.ID != "XX-1" || c.About != "two requests" || c.Line != 4 || len(c.Steps) != 2 {
		t.Fatalf("%+v", c)
	}
	for _, want := range []string{`address = "{listener}"`, "[[route]]\nbackend = \"app\"\nstrip_prefix = \"/a\"\n", `servers = ["{app}"]`} {
		if !strings.Contains(c.Config, want) {
			t.Errorf("no %s in\n%s", want, c.Config)
		}
	}
	const response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na\n"
	if want := (Step{"GET /a/1 HTTP/1.1\r\n\r\n", "app", "GET /1 HTTP/1.1\r\n\r\n", response, response}); c.Steps[0] != want {
		t.Errorf("%+v", c.Steps[0])
	}
	if want := (Step{Request: "GET /b HTTP/1.1\r\n\r\n", Answer: "HTTP/1.1 404 Not Found\r\n\r\n"}); c.Steps[1] != want {
		t.Errorf("%+v", c.Steps[1])
	}
}

func TestWrongFiles(t *testing.T) {
	for text, want := range map[string]string{
		"what":                                `f:1: "what" is neither a configuration nor a case`,
		"XX-1 x: y\n\t> a":                    "f:1: there is no configuration x above",
		"config x:\nconfig x:":                "f:2: a second configuration x",
		"config x:\nXX-1 x: y":                "f:2: XX-1: nothing is said",
		"config x:\n\nXX-1 x: y\n\tGET / a b": `f:3: XX-1: "\tGET / a b" begins with no mark`,
	} {
		if _, err := parse("f", text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestPlaces(t *testing.T) {
	addresses := map[string]string{"app": "127.0.0.1:1"}
	const blank = "Location: http://{app}/$x\r\nDate: {date}\r\n"
	full := Fill("Location: http://{app}/$x\r\nDate: now\r\n", addresses)
	if full != "Location: http://127.0.0.1:1/$x\r\nDate: now\r\n" || Blank(full, addresses) != blank {
		t.Errorf("%q, %q", full, Blank(full, addresses))
	}
}

// TestNoExampleIsMissing: these are all that docs/compatibility.md is about.
func TestNoExampleIsMissing(t *testing.T) {
	files, err := ReadAll("testdata")
	if err != nil {
		t.Fatal(err)
	}
	has := make(map[string]bool)
	for _, f := range files {
		for _, c := range f.Cases {
			has[c.ID] = true
		}
	}
	for family, ranges := range map[string][][2]int{
		"HR": {{1, 48}}, "HS": {{1, 11}}, "FW": {{1, 8}}, "RW": {{1, 15}}, "RV": {{1, 14}}, "CK": {{1, 12}}, "EX": {{1, 4}}, "EO": {{1, 5}}, "HD": {{1, 2}},
		"PP": {{1, 15}, {20, 24}, {33, 34}, {40, 41}, {50, 53}, {60, 60}},
	} {
		for _, r := range ranges {
			for n := r[0]; n <= r[1]; n++ {
				if id := fmt.Sprintf("%s-%02d", family, n); !has[id] {
					t.Errorf("no %s", id)
				}
			}
		}
	}
}
