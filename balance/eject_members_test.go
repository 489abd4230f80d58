package balance

import (
	"strings"
	"testing"
	"time"
)

// follow has the court's group followed by one with the servers of these names; what they are like goes with them. A
// digit behind a name is the server's weight.
func (c *court) follow(names ...string) {
	c.Helper()
	var servers []Server
	var latency []int64
	var bad []int
	for _, name := range names {
		s := Server{Name: name[:1], Weight: 1}
		if len(name) > 1 {
			s.Weight = int(name[1] - '0')
		}
		servers = append(servers, s)
		if i, ok := c.g.Find(s.Name); ok {
			latency, bad = append(latency, c.latency[i]), append(bad, c.bad[i])
		} else {
			latency, bad = append(latency, 2*ms), append(bad, 0)
		}
	}
	c.g = follow(c.T, c.g, c.now, servers...)
	c.latency, c.bad, c.asked = latency, bad, make([]int, len(names))
}

// A change of the list neither shortens an ejection nor prolongs it, whatever becomes of the server's place and weight.
func TestAnEjectionOutlivesAChangeOfServers(t *testing.T) {
	for _, tt := range []struct{ name, servers string }{
		{"one joins in front", "x a b c"},
		{"one leaves in front", "b c"},
		{"the others leave", "b x y"},
		{"it changes places", "c a b"},
		{"its weight changes", "a b3 c"},
		{"nothing changes", "a b c"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCourt(t, strict, Options{Algorithm: "round-robin", ForceRecovery: true, MaxFails: 1}, 3)
			held := c.request()
			for c.g.Name(held) != "b" {
				held = c.request()
			}
			c.g.servers[held].inFlight.Add(1) // as if it had not been answered yet
			c.eject(1)
			c.latency[1] = 2 * ms
			old := c.g
			c.follow(strings.Fields(tt.servers)...)
			b, _ := c.g.Find("b")
			// What comes of what it still has does not end it.
			old.Connected(held)
			old.Done(held, OutcomeConnectFailed, c.now)
			for n := 1; n < 30; n++ {
				if c.wants(c.second(30), ""); c.asked[b] > 0 {
					t.Fatalf("it has a request %d s after", n)
				}
				if !c.g.Ejected(b) {
					t.Fatalf("it is not ejected any more %d s after", n)
				}
			}
			said, _ := c.until(5, 30)
			c.wants(said, "+b")
			c.wants(c.second(30), "")
			if c.g.Ejected(b) || c.asked[b] == 0 {
				t.Errorf("it is ejected: %v, and has had %d requests since", c.g.Ejected(b), c.asked[b])
			}
			// What it was out for the last time is known.
			c.latency[b] *= 100
			said, _ = c.until(20, 30)
			if !strings.HasPrefix(said, "-b 1m0s: ") {
				t.Errorf("judged %q", said)
			}
		})
	}
}

// Lists that change more often than a window passes do not keep a server from being judged.
func TestAnswersCountOverChangesOfServers(t *testing.T) {
	for _, lists := range [][]string{{"x a b c", "a b c"}, {"a b c", "a b2 c"}, {"b c x", "y b x"}} {
		c := newCourt(t, strict, Options{Algorithm: "round-robin"}, 3)
		for n := range 20 {
			c.wants(c.second(30), "")
			c.follow(strings.Fields(lists[n%2])...)
		}
		said := ""
		for n := 0; n < 12 && said == ""; n++ {
			b, _ := c.g.Find("b")
			c.bad[b] = 100
			said = c.second(30)
			c.follow(strings.Fields(lists[n%2])...)
		}
		if !strings.HasPrefix(said, "-b 30s: ") {
			t.Errorf("%v: judged %q", lists, said)
		}
	}
}

// Of a server that has left, nothing is remembered.
func TestAServerThatLeftComesBackUnejected(t *testing.T) {
	c := newCourt(t, strict, Options{Algorithm: "round-robin"}, 3)
	c.eject(1)
	c.follow("a", "c")
	c.follow("a", "b", "c")
	if c.g.Ejected(1) || c.g.Resting(1, c.now) {
		t.Error("it is ejected still")
	}
	if c.second(30); c.asked[1] != 10 {
		t.Errorf("it has %d of 30 requests", c.asked[1])
	}
}

// When the others have left, the server that is out is better than none.
func TestWhoIsEjectedStandsInWhenTheOthersLeave(t *testing.T) {
	c := newCourt(t, strict, Options{Algorithm: "round-robin"}, 3)
	c.eject(1)
	c.follow("b")
	for range 3 {
		c.request()
	}
	if !c.g.Ejected(0) {
		t.Error("it is back")
	}
	c.follow("b", "x")
	if c.second(30); c.asked[0] != 0 {
		t.Errorf("it has %d requests though another has joined", c.asked[0])
	}
	if c.g.Resting(0, c.now+int64(30*time.Second)) {
		t.Error("it never comes back")
	}
}
