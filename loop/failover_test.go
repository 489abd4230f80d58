package loop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/balance"
)

// wantServed sends requests one after the other: each is served by the origin of that number, or gets that status.
func (c *peer) wantServed(want string) {
	c.tr.Helper()
	var got []string
	for range strings.Fields(want) {
		got = append(got, c.served(get("/")))
	}
	if s := strings.Join(got, " "); s != want {
		c.tr.Errorf("served by %s, want %s", s, want)
	}
}

// What Apache has shown for the same members, with the statuses that it is here. "-" is a server that refuses
// connections, and what it is called in wants is its place in the list.
func TestFailover(t *testing.T) {
	apache := balance.Options{Algorithm: "byrequests", DisableTime: time.Hour}
	forced := apache
	forced.ForceRecovery = true
	const standby, spare, ignore = balance.Standby, balance.Spare, balance.IgnoreErrors
	for _, tt := range []struct {
		name    string
		servers string // for each whether it is there
		o       balance.Options
		members []balance.Server
		want    string
		retries string // of each request
	}{
		{"BL-01 dead and alive", "-+", apache, nil, "1 1 1", "1 0 0"},
		{"BL-02 all dead, forced recovery", "--", forced, nil, "502 502 502", "1 1 1"},
		{"BL-03 all dead", "--", apache, nil, "502 503 503", "1 0 0"},
		{"BL-04 four dead and one alive", "----+", apache, nil, "4 4", "4 0"},
		{"BL-05 a single dead one, forced recovery", "-", forced, nil, "502 502", "0 0"},
		{"BL-06 a standby waits", "++", apache, []balance.Server{{}, {Status: standby}}, "0 0 0", "0 0 0"},
		{"BL-06 a standby stands in", "-+", apache, []balance.Server{{}, {Status: standby}}, "1 1 1", "1 0 0"},
		{"BL-07 a spare stands in", "-++", apache, []balance.Server{{}, {}, {Status: spare}}, "1 2 1 2", "1 0 0 0"},
		{"BL-08 sets", "-++", apache, []balance.Server{{}, {Set: 1}, {Set: 2}}, "1 1 1", "1 0 0"},
		{"BL-09 a standby goes before the next set", "-++", apache, []balance.Server{{}, {Status: standby}, {Set: 1}}, "1 1 1", "1 0 0"},
		{"BL-15 a dead one that ignores errors", "-+", apache, []balance.Server{{Status: ignore}}, "502 1 502 1", "0 0 0 0"},
		{"BL-17 nobody is left", "++", apache, []balance.Server{{Status: balance.Disabled}, {Status: balance.Stopped}}, "503 503", "0 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTrace(t)
			servers := tr.fleet(len(tt.servers))
			for i, there := range tt.servers {
				if there == '-' {
					servers[i] = tr.refusing()
				}
			}
			p := tr.proxy(setup{balance: tt.o, members: tt.members, record: "$status $retries"}, servers...)
			p.dial().wantServed(tt.want)
			var records []string
			retries := strings.Fields(tt.retries)
			for i, w := range strings.Fields(tt.want) {
				if len(w) < 3 {
					w = "200"
				}
				records = append(records, fmt.Sprint(w, " ", retries[i]))
			}
			p.wantRecords(records...)
		})
	}
}
