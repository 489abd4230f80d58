package configs

import (
	"strings"
	"testing"

	"millrace/httpparse"
	"millrace/loop"
	"millrace/remap"
)

func TestParseOptionsGetIntoThePlan(t *testing.T) {
	plan := parseOK(t, `
[http_parseopts]
header_obs_fold = true
url_normalize = true
url-path-2f-decode = true
[[listener]]
address = ":80"
[[listener]]
address = ":81"
[listener.http_parseopts]
header_obs_fold = false
header_underscores = true
method_get_body = false
url_path_2f_decode = false
url_path_2f_reject = true
url_normalize_required = true
url_ctrls_reject = true
url_invalid_utf8_reject = true
url_path_backslash_trans = true
url_path_dotseg_remove = true
url_query_20_plus = true
[[listener]]
address = ":82"
http_parseopts.url_normalize = false
[[listener]]
address = ":83"
http_parseopts.url_path_dotseg_reject = true
[[route]]
backend = "app"
trace = true
[backend.app]
servers = ["10.0.0.1"]
`, nil)
	for i, want := range []loop.ParseOptions{
		{Head: httpparse.AllowObsFold, Target: remap.NormalizeURL | remap.Decode2F},
		{
			Head: httpparse.AllowUnderscores, RefuseGetBody: true,
			Target: remap.NormalizeURL | remap.NormalizeRequired | remap.RejectCtrls | remap.RejectInvalidUTF8 |
				remap.TranslateBackslash | remap.Reject2F | remap.RemoveDotSegments | remap.PlusInQuery,
		},
		{Head: httpparse.AllowObsFold},
		{Head: httpparse.AllowObsFold, Target: remap.NormalizeURL | remap.Decode2F | remap.RejectDotSegments},
	} {
		if got := plan.Listeners[i].Parse; got != want {
			t.Errorf("listener %d: %+v, want %+v", i, got, want)
		}
	}
	if !plan.Routes[0].Trace {
		t.Error("trace is off")
	}
	plan = parseOK(t, rest, nil)
	if got := plan.Listeners[0].Parse; got != (loop.ParseOptions{}) || plan.Routes[0].Trace {
		t.Errorf("by default: %+v, trace %v", got, plan.Routes[0].Trace)
	}
}

func TestParseOptionsThatContradictThemselvesAreProblems(t *testing.T) {
	for _, test := range []struct{ global, own, want string }{
		{"url_ctrls_reject = true", "", "f:2:20: http_parseopts.url_ctrls_reject: has no effect without url_normalize = true"},
		{"url_ctrls_reject = false", "", ""},
		{
			"url_normalize = true\nurl_path_2f_decode = true\nurl_path_2f_reject = true", "",
			"f:4:22: http_parseopts.url_path_2f_reject: excludes url_path_2f_decode: set one of them to true, not both",
		},
		{
			"url_normalize = true\nurl_path_dotseg_reject = true\nurl_path_dotseg_remove = true", "",
			"f:3:26: http_parseopts.url_path_dotseg_reject: excludes url_path_dotseg_remove: set one of them to true, not both",
		},
		{
			"url_normalize = true\nurl_path_2f_reject = true", "url_path_2f_decode = true",
			"f:5:37: listener[0].http_parseopts.url_path_2f_decode: excludes url_path_2f_reject: set one of them to true, not both",
		},
		{"url_normalize = true\nurl_path_2f_reject = true", "url_path_2f_reject = false\nurl_path_2f_decode = true", ""},
		{"", "url_query_20_plus = true", "f:4:36: listener[0].http_parseopts.url_query_20_plus: has no effect without url_normalize = true"},
		{"url_normalize = true\nurl_query_20_plus = true", "url_normalize = false", ""},
		{"url_normalize = 1", "", "f:2:17: http_parseopts.url_normalize: 1 is neither true nor false"},
		{"header_underscore = true", "", `f:2:1: http_parseopts.header_underscore: unknown key; did you mean "header_underscores"?`},
	} {
		text := "[http_parseopts]\n" + test.global + "\n[[listener]]\naddress = ':80'\n"
		if test.own != "" {
			text = "[http_parseopts]\n" + test.global + "\n[[listener]]\nhttp_parseopts." +
				strings.ReplaceAll(test.own, "\n", "\nhttp_parseopts.") + "\naddress = ':80'\n"
		}
		text += "[[route]]\nbackend = 'app'\n[backend.app]\nservers = ['10.0.0.1']\n"
		_, err := Parse(t.Context(), "f", []byte(text), nil)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s\ngave %s\nwant %s", text, got, test.want)
		}
	}
	for text, want := range map[string]string{
		"[[listener]]\naddress = ':80'\nprotocol = 'sock'\nbackend = 'app'\nhttp_parseopts.header_obs_fold = true\n[[route]]\nbackend = 'app'\n": "f:5:1: listener[0].http_parseopts: has no effect in a sock listener, which parses nothing",
		"[[listener]]\naddress = ':80'\n[[route]]\nexclude = true\ntrace = false\n[[route]]\nbackend = 'app'\n":                                  "f:5:1: route[0].trace: has no effect with exclude = true: what matches is not proxied",
	} {
		_, err := Parse(t.Context(), "f", []byte(text+"[backend.app]\nservers = ['10.0.0.1']\n"), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngave %v\nwant %s", text, err, want)
		}
	}
}
