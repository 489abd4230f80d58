package configs

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/balance"
)

const three = "[[listener]]\naddress = ':1'\n[[route]]\nbackend = 'app'\n[backend.app]\nservers = ['10.0.0.1', '10.0.0.2', '10.0.0.3']\n"

func TestEjections(t *testing.T) {
	if b := parseOK(t, three, nil).Backends[0]; b.Group.JudgeEvery() != 0 || b.ErrorStatus != nil {
		t.Error("servers are judged that nobody has asked for")
	}
	for _, c := range []struct {
		text string
		want balance.Ejection
	}{
		{"", balance.Ejection{
			Window: 10 * time.Second, MinRequests: 20, ErrorRate: 50, MinLatency: 10 * time.Millisecond,
			Time: 30 * time.Second, MaxTime: 5 * time.Minute, MaxShare: 30,
		}},
		{
			"window = '1m'\nmin_requests = 7\nerror_rate = 0\nlatency_factor = 4\nmin_latency = '0'\ntime = '1s'\nmax_time = '1s'\nmax_share = 100",
			balance.Ejection{
				Window: time.Minute, MinRequests: 7, LatencyFactor: 4, Time: time.Second, MaxTime: time.Second, MaxShare: 100,
			},
		},
	} {
		r := &report{src: newSource("f", []byte(three+"[backend.app.ejection]\n"+c.text))}
		f := decode(r)
		f.setDefaults()
		if diff := cmp.Diff(&c.want, f.Backends.items[0].Ejection.options()); diff != "" {
			t.Errorf("%s:\n%s", c.text, diff)
		}
		b := parseOK(t, three+"[backend.app.ejection]\n"+c.text, nil).Backends[0]
		if got := b.Group.JudgeEvery(); got != c.want.Window/10 {
			t.Errorf("%s: judged every %v", c.text, got)
		}
		if got, want := b.ErrorStatus != nil, c.want.ErrorRate > 0; got != want {
			t.Errorf("%s: statuses count: %v", c.text, got)
		}
	}
	for text, counts := range map[string][]int{
		"":                                  {500, 503, 599},
		"error_status = ['404', '502-503']": {404, 502, 503},
		"error_status = []":                 {},
	} {
		set := parseOK(t, three+"[backend.app.ejection]\n"+text, nil).Backends[0].ErrorStatus
		for _, status := range []int{200, 404, 499, 500, 502, 503, 504, 599} {
			want := text == "" && status >= 500
			for _, s := range counts {
				want = want || s == status
			}
			if set.Has(status) != want {
				t.Errorf("%s: %d counts: %v", text, status, !want)
			}
		}
	}
}

func TestProblemsOfEjections(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"window = '100ms'", `ejection.window: "100ms" is too small: allowed are 1s to 1h`},
		{"min_requests = 0", `ejection.min_requests: 0 is too small: allowed are 1 to 1000000`},
		{"error_rate = 101", `ejection.error_rate: 101 is too large: allowed are 0 for none, or 1 to 100`},
		{"latency_factor = 1", `ejection.latency_factor: 1 is too small: allowed are 0 for none, or 2 to 1000`},
		{"latency_factor = 5\nmin_latency = '2h'", `ejection.min_latency: "2h" is too large: allowed are 0 for none, or 1ms to 1h`},
		{"min_latency = '1s'", `ejection.min_latency: has no effect without latency_factor`},
		{"time = '0'", `ejection.time: "0" is too small: allowed are 1ms to 24h`},
		{"max_time = '25h'", `ejection.max_time: "25h" is too large: allowed are 1ms to 24h`},
		{"max_time = '10s'", `f:8:12: backend.app.ejection.max_time: the longest time, 10s, is less than the first one, 30s`},
		{"time = '10m'", `f:8:8: backend.app.ejection.time: the longest time, 5m, is less than the first one, 10m`},
		{"max_share = 0", `ejection.max_share: 0 is too small: allowed are 1 to 100`},
		{"error_rate = 0", `f:7:14: backend.app.ejection: no server would ever leave: set error_rate or latency_factor, or leave the table out`},
		{"error_rate = 0\nlatency_factor = 5\nerror_status = ['500']", `ejection.error_status: has no effect with error_rate = 0`},
		{"error_status = ['5xx']", `ejection.error_status[0]: "5xx" is not a status from 200 to 599, nor a range of them such as 200-399`},
		{"factor = 5", `ejection.factor: unknown key`},
	} {
		got := problemsOf(t, three+"[backend.app.ejection]\n"+c.text)
		if !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%s\ngot  %s\nwant %s", c.text, got, c.want)
		}
	}
}

func TestAnEjectionOfTheOnlyServerIsWarnedOf(t *testing.T) {
	var warnings Problems
	text := strings.Replace(three, ", '10.0.0.2', '10.0.0.3'", "", 1) + "[backend.app.ejection]"
	if _, err := Parse(t.Context(), "f", []byte(text), nil, WithWarnings(&warnings)); err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0].String(), "backend.app.ejection: has no effect with one server: one always stays") {
		t.Error(warnings)
	}
}
