package main

import (
	"strings"
	"testing"
	"time"
)

const cleanRun = `Running 4s test @ http://127.0.0.1:8080/5B
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.29ms  350.21us   7.74ms   81.91%
    Req/Sec    49.89k     2.99k   54.22k    72.50%
  Latency Distribution
     50%    1.21ms
     75%    1.42ms
     90%  980.00us
     99%    2.52s
  198591 requests in 4.00s, 48.30MB read
Requests/sec:  49640.79
Transfer/sec:     12.07MB
`

func TestParseWrk(t *testing.T) {
	want := wrkRun{requests: 198591, perSecond: 49640.79, p50: 1210 * time.Microsecond, p99: 2520 * time.Millisecond}
	withErrors := want
	withErrors.badStatus, withErrors.socketErrors, withErrors.timeouts = 17, 1+2+3, 4

	for _, test := range []struct {
		name, out string
		want      wrkRun
	}{
		{"a run without errors", cleanRun, want},
		{
			"a run with errors", strings.Replace(cleanRun, "Requests/sec:",
				"  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 17\nRequests/sec:", 1),
			withErrors,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseWrk(test.out)
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestParseWrkRefusesARunWithoutResult(t *testing.T) {
	for name, out := range map[string]string{
		"no output":  "",
		"a message":  "unable to connect to 127.0.0.1:8080 Connection refused\n",
		"no answers": strings.Replace(strings.Replace(cleanRun, "198591", "0", 1), "49640.79", "0.00", 1),
	} {
		if got, err := parseWrk(out); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
	}
}
