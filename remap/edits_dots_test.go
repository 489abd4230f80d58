package remap

import (
	"regexp"
	"testing"
)

// TestEditsClimbNowhere: no request gets out of the directory that edits put its path into, however its server reads it.
func TestEditsClimbNowhere(t *testing.T) {
	rule := func(pattern, value string) FieldEdits {
		return FieldEdits{Rewrite: []RewriteRule{{RewriteTarget, regexp.MustCompile(pattern), template(t, value)}}}
	}
	for name, tt := range map[string]struct {
		o        EditOptions
		in, want string // "": refused
	}{
		"prefix and backend_path":   {EditOptions{Rule: &Rule{Prefix: "/static"}, BackendPath: template(t, "/files/")}, "/static../secret", ""},
		"one dot":                   {EditOptions{Rule: &Rule{Prefix: "/static"}, BackendPath: template(t, "/files/")}, "/static.", ""},
		"an encoded dot":            {EditOptions{Rule: &Rule{Prefix: "/static"}, BackendPath: template(t, "/files/")}, "/static%2e%2e/secret", ""},
		"dots in a name":            {EditOptions{Rule: &Rule{Prefix: "/static"}, BackendPath: template(t, "/files/")}, "/static..a/.b?../c", "/files/..a/.b?../c"},
		"map_urlpath":               {EditOptions{MapURLPath: pairs("/static", "/files/")}, "/static../secret", ""},
		"a group":                   {EditOptions{Rule: &Rule{Pattern: regexp.MustCompile("^/u-(.*)$")}, BackendPath: template(t, "/home/$1")}, "/u-../x", ""},
		"a rule":                    {EditOptions{Request: rule("^/u-(.*)$", "/home/$1")}, "/u-../x", ""},
		"a rule, only in the query": {EditOptions{Request: rule("^/u-(.*)$", "/home/$1")}, "/u-x?a=/../b", "/home/x?a=/../b"},
		"what the client sent":      {EditOptions{Request: rule("^.*$", "/home$path")}, "/a/..%2f../x", ""},
		"a parameter":               {EditOptions{Rule: &Rule{Path: "/"}, BackendPath: template(t, "/home/")}, "/..;/x", ""},
		"a backslash":               {EditOptions{Rule: &Rule{Path: "/"}, BackendPath: template(t, "/home/")}, `/..%5cx`, ""},
		"a parameter alone":         {EditOptions{StripPrefix: "/app"}, "/app/x;v=1", "/x;v=1"},
	} {
		x := exchange{t: t, o: tt.o, host: "h"}
		x.send("GET " + tt.in)
		if got := x.target(); x.refused != (tt.want == "") || !x.refused && got != tt.want {
			t.Errorf("%s: %s became %s, refused: %v; want %q", name, tt.in, got, x.refused, tt.want)
		}
	}
}
