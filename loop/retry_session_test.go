package loop

import (
	"testing"
	"time"

	"millrace/balance"
)

// A session goes elsewhere after a status that retry_on has, as it does after a failure: to whom its server redirects,
// else to anybody, and to nobody with NoFailover.
func TestSessionsAndStatusesAfterWhichAnotherServerIsTried(t *testing.T) {
	members := []balance.Server{{}, {Route: "b", Redirect: "c"}, {Route: "c"}}
	request := request("/", "Host: a", "Cookie: SID=x.b")
	for _, tt := range []struct {
		name string
		by   Sticky
		to   []balance.Server
		want string
	}{
		{"redirect", Sticky{Cookie: "SID", Separator: '.'}, members, "2"},
		{"redirect alone", Sticky{Cookie: "SID", Separator: '.', NoFailover: true}, members, "2"},
		{"anybody", Sticky{Cookie: "SID", Separator: '.'}, []balance.Server{{}, {Route: "b"}, {}}, "0"},
		{"nobody", Sticky{Cookie: "SID", Separator: '.', NoFailover: true}, []balance.Server{{}, {Route: "b"}, {}}, "503"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTrace(t)
			servers := tr.fleet(3)
			servers[1], _ = tr.failing(503)
			s := sessionsBy(tt.by, tt.to...)
			s.failover = Backend{RetryStatus: failOn(503)}
			c := tr.proxy(s, servers...).dial()
			for range 2 {
				if got := c.served(request); got != tt.want {
					t.Errorf("served by %s, want %s", got, tt.want)
				}
			}
		})
	}
}

// A session that nobody else may have stays on a server that has been ejected.
func TestASessionThatIsAllowedNoOtherServerStaysOnOneThatIsOut(t *testing.T) {
	for noFailover, want := range map[bool]string{true: "503", false: "0"} {
		tr := newTrace(t)
		servers := tr.fleet(2)
		bad, answer := tr.answering()
		answer.Store(unavailable)
		servers[1] = bad
		s := sessionsBy(Sticky{Cookie: "SID", Separator: '.', NoFailover: noFailover}, routes("-", "b")...)
		s.balance.Ejection = &balance.Ejection{
			Window: time.Second, MinRequests: 1, ErrorRate: 50, Time: time.Hour, MaxTime: time.Hour, MaxShare: 100,
		}
		s.failover = Backend{ErrorStatus: failOn(503)}
		p := tr.proxy(s, servers...)
		c := p.dial()
		session := request("/", "Host: a", "Cookie: SID=x.b")
		tr.eventually("the server is not ejected", func() bool {
			c.served(session)
			return p.group.Ejected(1)
		})
		for range 5 {
			if got := c.served(session); got != want {
				t.Errorf("no failover: %v: %s, want %s", noFailover, got, want)
			}
		}
	}
}
