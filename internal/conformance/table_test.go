package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const small = `# a comment
group Things

case a good one
rfc 9112 3
why because,
why and so on
C> GET /\x41 HTTP/1.1
C> Host: a\sb\t\r\n\0\\\{{3*xy}
C>
C> body\
O< one

O< two\
O> HTTP/1.1 200 OK
---
C! fin
O! closed
then 200 cut closed origin closed or 502 kept
peers either
need has X: y
`

func TestATableSaysWhatItSays(t *testing.T) {
	cases, err := Parse("small.cases", []byte(small))
	if err != nil || len(cases) != 1 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	c := cases[0]
	if c.String() != "Things: a good one" || c.RFC != "9112 3" || c.Why != "because, and so on" || c.Line != 4 {
		t.Errorf("%+v", c)
	}
	want := []Step{
		{ClientSends, []byte("GET /A HTTP/1.1\r\nHost: a b\t\r\n\x00\\{xyxyxy\r\n\r\nbody"), 8},
		{OriginGets, []byte("one\r\n"), 12},
		{OriginGets, []byte("two"), 14},
		{OriginSends, []byte("HTTP/1.1 200 OK\r\n"), 15},
		{UntilRead, nil, 16},
		{ClientEnds, nil, 17},
		{OriginLosesConn, nil, 18},
	}
	if len(c.Steps) != len(want) {
		t.Fatalf("%d steps, want %d: %v", len(c.Steps), len(want), c.Steps)
	}
	for i, s := range c.Steps {
		if s.Kind != want[i].Kind || string(s.Data) != string(want[i].Data) || s.Line != want[i].Line {
			t.Errorf("step %d: %v %q at %d, want %v %q at %d", i, s.Kind, s.Data, s.Line, want[i].Kind, want[i].Data, want[i].Line)
		}
	}
	if len(c.Then) != 2 || c.Then[0].String() != "200 cut closed origin closed" || c.Then[1].String() != "502 kept" {
		t.Errorf("then %v", c.Then)
	}
	if a := c.Accept; !a.Refuse || !a.Forward || len(a.Needs) != 1 || a.Needs[0] != (Need{"has", "X: y"}) {
		t.Errorf("accept %+v", a)
	}
}

func TestAWrongTableIsRefusedWithItsPlace(t *testing.T) {
	const begin = "group G\ncase c\nrfc 9112 3\n"
	for _, tt := range []struct{ table, want string }{
		{"case c\n", "t:1: a case needs a name, and a group before it"},
		{"group G\nC> x\n", `t:2: "C>" before the first case`},
		{"group G\ngroup H\n", "t:2: group"},
		{begin + "C> x\nthen 200 kept\ncase c\n", `t:6: a second case with the name "c"`},
		{"group G\ncase c\nC> x\nthen 200 kept\n", `t:2: case "c": no rfc line`},
		{begin + "C> x\n", `t:2: case "c": no then line`},
		{begin + "then 200 kept\n", `t:2: case "c": the client sends nothing`},
		{begin + "C> x\nO> y\nthen 200 kept\n", "before it gets a request"},
		{begin + "C> x\nC< y\nthen 200 kept\n", "and so does then"},
		{begin + "C> \\q\n", `t:4: unknown escape "\\q"`},
		{begin + "C> \\x4\n", "t:4: unknown escape"},
		{begin + "C> {3*a\n", "t:4: a brace that is not closed"},
		{begin + "C> {x*a}\n", "t:4: {x*a}"},
		{begin + "C> {9999999*a}\n", "t:4: {9999999*a}"},
		{begin + "C! gone\n", `t:4: unknown event "C! gone"`},
		{begin + "X> y\n", `t:4: unknown word "X>"`},
		{begin + "then 200\n", "does not say kept, closed or reset"},
		{begin + "then 20 kept\n", "t:4: then"},
		{begin + "then 200 kept origin gone\n", "t:4: then"},
		{begin + "peers maybe\n", "t:4: peers"},
		{begin + "peers skip\n", "t:4: peers"},
		{begin + "need more\n", "t:4: need"},
	} {
		_, err := Parse("t", []byte(tt.table))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %s", tt.table, err, tt.want)
		}
	}
}

func TestThereAreEnoughCases(t *testing.T) {
	cases, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	const least = 300
	if len(cases) < least {
		t.Errorf("%d cases, want %d at least", len(cases), least)
	}
	// What differs in its name only is no case of its own.
	seen := make(map[string]*Case)
	for _, c := range cases {
		key := ""
		for _, s := range c.Steps {
			key += string(rune('0'+s.Kind)) + string(s.Data) + "|"
		}
		if other := seen[key]; other != nil {
			t.Errorf("%v and %v have the same steps", c, other)
		}
		seen[key] = c
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(small))
	files, err := filepath.Glob("testdata/*.cases")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:min(len(b), 2000)])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		cases, err := Parse("f", b)
		if err != nil {
			return
		}
		for _, c := range cases {
			if c.RFC == "" || len(c.Then) == 0 || len(c.Steps) == 0 {
				t.Errorf("an incomplete case: %+v", c)
			}
			c.headRequests()
		}
	})
}
