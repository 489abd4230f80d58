package remap

import (
	"net/netip"
	"testing"
)

func TestConditions(t *testing.T) {
	const text = "GET /x?debug=1&na%6De=a+b%26c&debug=0&flag&&=odd&pct=5%&q=%zz HTTP/1.1\r\nHost: a.example\r\n" +
		"X-Env: staging\r\nx-env: blue-2\r\nX-Empty:\r\nCookie: a=1; session=xyz\r\n\r\n"
	in := &Incoming{Client: netip.MustParseAddr("::ffff:192.0.2.7"), Path: []byte("/x"), Req: parseRequest(t, text), Head: []byte(text)}
	networks := func(list ...string) (p []netip.Prefix) {
		for _, s := range list {
			p = append(p, netip.MustParsePrefix(s))
		}
		return p
	}
	for name, tt := range map[string]struct {
		rule Rule
		want bool
	}{
		"method":                   {Rule{Methods: []string{"POST", "GET"}}, true},
		"other method":             {Rule{Methods: []string{"POST"}}, false},
		"a method's case":          {Rule{Methods: []string{"get"}}, false},
		"header":                   {Rule{Headers: []Pair{{"x-ENV", "staging"}}}, true},
		"header, a second line":    {Rule{Headers: []Pair{{"X-Env", "blue-*"}}}, true},
		"header, other value":      {Rule{Headers: []Pair{{"X-Env", "prod"}}}, false},
		"header, other case":       {Rule{Headers: []Pair{{"X-Env", "Staging"}}}, false},
		"header, any value":        {Rule{Headers: []Pair{{"X-Env", "*"}}}, true},
		"header, empty":            {Rule{Headers: []Pair{{"X-Empty", ""}}}, true},
		"header, empty is any":     {Rule{Headers: []Pair{{"X-Empty", "*"}}}, true},
		"header, not empty":        {Rule{Headers: []Pair{{"X-Env", ""}}}, false},
		"header, absent":           {Rule{Headers: []Pair{{"X-En", "*"}}}, false},
		"both headers":             {Rule{Headers: []Pair{{"X-Env", "staging"}, {"Cookie", "*session=*"}}}, true},
		"one of two headers":       {Rule{Headers: []Pair{{"X-Env", "staging"}, {"Cookie", "session=*"}}}, false},
		"parameter":                {Rule{Query: []Pair{{"debug", "1"}}}, true},
		"parameter, a second one":  {Rule{Query: []Pair{{"debug", "0"}}}, true},
		"parameter, other value":   {Rule{Query: []Pair{{"debug", "2"}}}, false},
		"parameter, decoded":       {Rule{Query: []Pair{{"name", "a b&c"}}}, true},
		"parameter without value":  {Rule{Query: []Pair{{"flag", ""}}}, true},
		"parameter without name":   {Rule{Query: []Pair{{"", "odd"}}}, true},
		"parameter, no escape":     {Rule{Query: []Pair{{"pct", "5%"}, {"q", "%zz"}}}, true},
		"parameter, absent":        {Rule{Query: []Pair{{"bug", "*"}}}, false},
		"parameter, case":          {Rule{Query: []Pair{{"Debug", "*"}}}, false},
		"client":                   {Rule{Clients: networks("10.0.0.0/8", "192.0.2.0/24")}, true},
		"other client":             {Rule{Clients: networks("10.0.0.0/8", "::/0")}, false},
		"all at once":              {Rule{Methods: []string{"GET"}, Headers: []Pair{{"x-env", "*"}}, Query: []Pair{{"debug", "*"}}, Path: "/x", Hosts: []string{"a.example"}}, true},
		"not, nothing set":         {Rule{Not: &Rule{}}, true},
		"not that":                 {Rule{Not: &Rule{Methods: []string{"GET"}}}, false},
		"not another":              {Rule{Not: &Rule{Methods: []string{"PUT"}}}, true},
		"not one of several":       {Rule{Not: &Rule{Methods: []string{"PUT"}, Path: "/x"}}, false},
		"not one of two headers":   {Rule{Not: &Rule{Headers: []Pair{{"X-Env", "prod"}, {"X-Env", "staging"}}}}, false},
		"not one of two networks":  {Rule{Not: &Rule{Clients: networks("10.0.0.0/8", "192.0.2.7/32")}}, false},
		"not a parameter":          {Rule{Not: &Rule{Query: []Pair{{"debug", "*"}}}}, false},
		"not a host":               {Rule{Not: &Rule{Hosts: []string{"*.example"}}}, false},
		"not a listener":           {Rule{Not: &Rule{Listeners: []int{0}}}, false},
		"not an extension":         {Rule{Not: &Rule{Extension: "x"}}, false},
		"not everything":           {Rule{Not: &Rule{Path: "/"}}, false},
		"that and not that either": {Rule{Path: "/x", Not: &Rule{Path: "/x/y", Prefix: "/y"}}, true},
	} {
		if _, ok := New([]Rule{tt.rule}).Match(in); ok != tt.want {
			t.Errorf("%s: %v, want %v", name, ok, tt.want)
		}
	}
	in.Client = netip.Addr{}
	if _, ok := New([]Rule{{Clients: networks("0.0.0.0/0", "::/0")}}).Match(in); ok {
		t.Error("a client without an address is in a network")
	}
	in.Client = netip.MustParseAddr("192.0.2.7")
	table := New([]Rule{{
		Headers: []Pair{{"Cookie", "*session=*"}}, Query: []Pair{{"name", "a*c"}}, Clients: networks("192.0.2.0/24"),
		Not: &Rule{Methods: []string{"PUT"}, Headers: []Pair{{"x", "y"}}, Query: []Pair{{"x", "y"}}},
	}})
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := table.Match(in); !ok {
			t.Error("no match")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true},
		{"", "a", false},
		{"a", "a", true},
		{"a", "ab", false},
		{"*", "", true},
		{"*", "abc", true},
		{"**", "", true},
		{"a*", "a", true},
		{"a*", "ba", false},
		{"*a", "ba", true},
		{"*a", "ab", false},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"a*b*c", "abc", true},
		{"a*b*c", "a-b-b-c", true},
		{"a*b*c", "acb", false},
		{"*b*b*", "b", false},
		{"*b*b*", "xbxbx", true},
		{"a*bc*c", "abc", false},
		{"a*bc*c", "abcc", true},
	} {
		if got := compilePairs([]Pair{{Value: tt.pattern}})[0].value.match([]byte(tt.text)); got != tt.want {
			t.Errorf("%q, %q: %v", tt.pattern, tt.text, got)
		}
	}
}

// TestTheHostIsThatOfTheRequest: in absolute-form, what Host says is ignored (RFC 9112, 3.2.2), by everybody.
func TestTheHostIsThatOfTheRequest(t *testing.T) {
	x := exchange{t: t, host: "evil.example", o: EditOptions{Request: FieldEdits{Set: []FieldLine{{"X-Asked", template(t, "$http_host")}}}}}
	x.send("GET http://good.example/")
	if got := x.got("X-Asked"); got != "good.example" {
		t.Errorf("$http_host is %q", got)
	}
	in := Incoming{Path: []byte("/"), Req: x.req, Head: x.head}
	if _, ok := New([]Rule{{Headers: []Pair{{"Host", "evil.example"}}}}).Match(&in); ok {
		t.Error("a route was chosen by a Host that does not count")
	}
	if _, ok := New([]Rule{{Headers: []Pair{{"host", "good.*"}}}}).Match(&in); !ok {
		t.Error("a route was not chosen by the host of the request")
	}
}
