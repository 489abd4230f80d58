package loop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/balance"
)

// misbehaving is an origin that reads each request, answers with what it is given, and closes the connection.
func (tr *trace) misbehaving(answer string, reset bool) *origin {
	o := tr.origin()
	o.serve(func(x *peer) error {
		if _, _, err := x.readRequest(); err != nil {
			return nil
		}
		x.Write([]byte(answer))
		if reset {
			x.reset()
		}
		return nil
	})
	return o
}

// The rows of lighttpd's matrix of failures, with what is done about them here: whether another server gets the request,
// whether the first one rests, and what the client sees. Where lighttpd never tries again, what is idempotent is here.
func TestTheMatrixOfFailures(t *testing.T) {
	silent := func(tr *trace) any {
		o := tr.origin()
		o.serve(func(x *peer) error {
			for {
				if _, _, err := x.readRequest(); err != nil {
					return nil
				}
			}
		})
		return o
	}
	answering := func(answer string, reset bool) func(tr *trace) any {
		return func(tr *trace) any { return tr.misbehaving(answer, reset) }
	}
	for _, tt := range []struct {
		name      string
		server    func(tr *trace) any
		get, post string // what the client sees: "1" for the other server's answer, "cut"
		rests     bool
	}{
		{"connecting fails", func(tr *trace) any { return tr.refusing() }, "1", "1", true},
		{"connecting takes too long", func(tr *trace) any { return tr.full() }, "1", "1", true},
		{"it closes before a response", answering("", false), "1", "502", false},
		{"it resets before a response", answering("", true), "1", "502", false},
		{"it closes in the middle of a head", answering("HTTP/1.1 200 OK\r\nContent-", false), "502", "502", false},
		{"it resets in the middle of a head", answering("HTTP/1.1 200 OK\r\nContent-", true), "502", "502", false},
		{"an invalid status line", answering("HTTP/1.1 OK\r\n\r\n", false), "502", "502", false},
		{"a status below 100", answering("HTTP/1.1 099 x\r\nContent-Length: 0\r\n\r\n", false), "502", "502", false},
		{"a head of more than 65535 bytes", answering("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 70_000)+"\r\n\r\n", false), "502", "502", false},
		{"a bad Content-Length", answering("HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\na", false), "502", "502", false},
		{"another transfer coding", answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", false), "502", "502", false},
		{"no response in time", silent, "504", "504", false},
		{"it closes in the middle of a body", answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", false), "cut", "cut", false},
		{"its own error", answering("HTTP/1.1 500 x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", false), "500", "500", false},
	} {
		for method, want := range map[string]string{"GET": tt.get, "POST": tt.post} {
			t.Run(tt.name+", "+method, func(t *testing.T) {
				tr := newTrace(t)
				timeouts := Timeouts{Connect: time.Second, Response: time.Second}
				p := tr.proxy(setup{
					timeouts: timeouts, balance: balance.Options{Algorithm: "first", DisableTime: time.Hour},
				}, tt.server(tr), tr.fleet(2)[1])
				c := p.dial()
				if method == "POST" {
					c.send(post("/", "body"))
				} else {
					c.send(get("/"))
				}
				got := "cut"
				res, body, err := c.readResponse(method)
				switch {
				case err != nil:
				case res.StatusCode == 200:
					got = body
				default:
					got = fmt.Sprint(res.StatusCode)
				}
				if got != want {
					t.Errorf("the client sees %s (%v), want %s", got, err, want)
				}
				p.settle()
				if rests := p.group.Resting(0, int64(clock())); rests != tt.rests {
					t.Errorf("the server rests: %v", rests)
				}
			})
		}
	}
}

func TestBlackHoles(t *testing.T) {
	t.Run("BL-19 and one that is alive", func(t *testing.T) {
		tr := newTrace(t)
		p := tr.proxy(setup{
			timeouts: Timeouts{Connect: time.Second}, balance: balance.Options{Algorithm: "byrequests", DisableTime: time.Hour}, record: "$status $retries",
		}, tr.full(), tr.fleet(2)[1])
		p.dial().wantServed("1 1 1")
		p.wantRecords("200 1", "200 0", "200 0") // only the first one has waited
	})
	t.Run("BL-19 a single one", func(t *testing.T) {
		tr := newTrace(t)
		p := tr.proxy(setup{timeouts: Timeouts{Connect: short}, disableTime: time.Hour}, tr.full())
		c := p.dial()
		start := time.Now()
		c.wantServed("504")
		tr.notBefore(start, short)
	})
}

func TestForcedRecoveryDoesNotWaitForWhoIsDisabled(t *testing.T) {
	tr := newTrace(t)
	p := tr.proxy(setup{
		balance: balance.Options{Algorithm: "byrequests", DisableTime: time.Hour, ForceRecovery: true},
		members: []balance.Server{{}, {}, {Status: balance.Disabled}},
		record:  "$status $retries",
	}, append([]any{tr.refusing(), tr.refusing()}, tr.fleet(3)[2])...)
	p.dial().wantServed("502 502")
	p.wantRecords("502 1", "502 1") // BL-13: here both are tried each time
}
