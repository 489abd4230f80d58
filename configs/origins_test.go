package configs

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/loop"
)

const withOrigins = `[timeouts]
connect = "3s"
response = "50s"
[limits]
body_bytes = "1MiB"
[http_parseopts]
header_underscores = true
[[listener]]
address = ":80"
[listener.timeouts]
client_body = "7s"
tunnel_idle = "2h"
[[listener]]
name = "raw"
address = ":81"
protocol = "sock"
backend = "app"
[[listener]]
address = ":82"
http_parseopts.header_underscores = false
[[route]]
path = "/up"
backend = "app"
[route.timeouts]
client_body = "5m"
response = "10m"
[[route]]
hosts = ["a", "b"]
headers = ["X: y", "Z: *"]
backend = "app"
[backend.app]
servers = ["10.0.0.1:80"]
balance = "first"
Max-Fails = 3
[backend.app.timeouts]
connect = "1s"
tunnel_idle = "30m"
`

func originsOf(t *testing.T, text string) (*Origins, *loop.Plan) {
	t.Helper()
	var o Origins
	plan, err := Parse(t.Context(), "f", []byte(text), nil, WithOrigins(&o))
	if err != nil {
		t.Fatal(err)
	}
	return &o, plan
}

func TestTimeoutsSayWhereTheyComeFrom(t *testing.T) {
	o, plan := originsOf(t, withOrigins)
	texts := func(list []Setting) (lines []string) {
		for _, s := range list {
			lines = append(lines, strings.TrimSpace(s.Key+" "+s.Value+" "+s.At))
		}
		return lines
	}
	want := []string{
		`timeouts.client_header "10s"`, `route[0].timeouts.client_body "5m" f:25:15`, `timeouts.client_write "1m"`,
		`timeouts.client_idle "1m15s"`, `backend.app.timeouts.connect "1s" f:36:11`, `route[0].timeouts.response "10m" f:26:12`,
		`timeouts.backend_read "1m"`, `backend.app.timeouts.tunnel_idle "30m" f:37:15`,
	}
	if d := cmp.Diff(want, texts(o.Timeouts(0, 0))); d != "" {
		t.Error(d)
	}
	if got := texts(o.Timeouts(0, 1)); got[1] != `listener[0].timeouts.client_body "7s" f:11:15` || got[5] != `timeouts.response "50s" f:3:12` {
		t.Errorf("got %q", got)
	}
	// Whatever is said is what the plan has.
	for l, lis := range plan.Listeners {
		same(t, o.Timeouts(l, -1), lis.Timeouts)
		for r, rt := range plan.Routes {
			same(t, o.Timeouts(l, r), rt.Timeouts[l])
		}
	}
}

func same(t *testing.T, list []Setting, timeouts *loop.Timeouts) {
	t.Helper()
	v := reflect.ValueOf(*timeouts)
	if v.NumField() != len(list) {
		t.Fatalf("%d timeouts of %d", len(list), v.NumField())
	}
	for i, s := range list {
		if want := fmt.Sprintf("%q", formatDuration(v.Field(i).Interface().(time.Duration))); s.Value != want {
			t.Errorf("%s is said to be %s, the plan has %s", s.Key, s.Value, want)
		}
	}
}

func TestWhereKeysStand(t *testing.T) {
	o, _ := originsOf(t, withOrigins)
	for key, want := range map[string]Setting{
		"limits.body_bytes":        {Value: `"1MiB"`, At: "f:5:14"},
		"limits.client_rate":       {Value: `"240B"`},
		"route[1]":                 {At: "f:27:3"},
		"route[1].hosts":           {Value: `["a", "b"]`, At: "f:28:9"},
		"backend.app":              {At: "f:31:10"},
		"backend.app.max_fails":    {Value: "3", At: "f:34:13"},
		"backend.app.max_attempts": {Value: "0"},
		"listener[0].http_parseopts.header_underscores": {Value: "true", At: "f:7:22"},
		"listener[2].http_parseopts.header_underscores": {Value: "false", At: "f:20:37"},
		"listener[2].http_parseopts.url_normalize":      {Value: "false"},
		"route[7].name": {},
	} {
		got := o.Find(key)
		got.Key, got.known = "", false
		if got != want {
			t.Errorf("%s: %+v, want %+v", key, got, want)
		}
	}
	if got := o.Element("route[1].headers", 1); got.Key != "route[1].headers[1]" || got.Value != `"Z: *"` || got.At != "f:29:20" {
		t.Errorf("got %+v", got)
	}
	if got := o.Element("route[1].hosts", 1); got.Key != "route[1].hosts" {
		t.Errorf("got %+v", got)
	}
	var keys []string
	for _, s := range o.Under("limits") {
		keys = append(keys, s.Key)
	}
	if got := strings.Join(keys, " "); got != "limits.header_bytes limits.header_fields limits.body_bytes limits.client_rate limits.connections_per_client" {
		t.Errorf("got %s", got)
	}
}

// TestEveryKeyHasAnOrigin: a key that is added to the model is found.
func TestEveryKeyHasAnOrigin(t *testing.T) {
	o, _ := originsOf(t, withOrigins)
	for _, k := range keys() {
		if strings.HasPrefix(k.path, "test.") || strings.HasPrefix(k.path, "error_page.") || strings.Contains(k.path, "NAME.server.") {
			continue // there is none in the file
		}
		path := strings.NewReplacer("listener.", "listener[0].", "route.", "route[0].", "NAME", "app").Replace(k.path)
		if _, ok := o.by[path]; !ok {
			t.Errorf("%s is not there", path)
		}
	}
}
