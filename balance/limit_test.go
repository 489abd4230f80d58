package balance

import (
	"fmt"
	"testing"
	"time"
)

// pickAll picks until there is nothing left to pick, each server being full with its first request, and returns who was
// picked.
func pickAll(g *Group, tried *Tried) (picked []Index) {
	for {
		i, ok := g.Pick(0, NoKey, tried)
		if !ok {
			return picked
		}
		g.SetFull(i, true)
		picked = append(picked, i)
	}
}

func TestFullServersArePassedOver(t *testing.T) {
	for _, name := range Algorithms() {
		if Keyed(name) {
			continue
		}
		g, err := New([]Server{{Name: "a", Weight: 1}, {Name: "b", Weight: 3}, {Name: "c", Weight: 1}}, Options{Algorithm: name, Limited: true})
		if err != nil {
			t.Fatal(err)
		}
		if picked := pickAll(g, nil); len(picked) != 3 {
			t.Errorf("%s: picked %v", name, picked)
		}
		if !g.Busy(0, nil) {
			t.Errorf("%s: all are full, and nobody is worth waiting for", name)
		}
		g.Done(1, OutcomeOK, 0)
		g.SetFull(1, false)
		if i, ok := g.Pick(0, NoKey, nil); !ok || i != 1 {
			t.Errorf("%s: picked %d, %v when server 1 has room again", name, i, ok)
		}
	}
}

func TestNobodyStandsInForAFullServer(t *testing.T) {
	servers := []Server{
		{Name: "a", Weight: 1},
		{Name: "b", Weight: 1},
		{Name: "spare", Weight: 1, Status: Spare},
		{Name: "standby", Weight: 1, Status: Standby},
		{Name: "next set", Weight: 1, Set: 1},
	}
	for _, name := range Algorithms() {
		if Keyed(name) {
			continue
		}
		g, err := New(servers, Options{Algorithm: name, Limited: true, DisableTime: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if picked := pickAll(g, nil); len(picked) != 2 {
			t.Errorf("%s: picked %v", name, picked)
		}
		g.SetUp(0, false, 0)
		if picked := pickAll(g, nil); len(picked) != 1 || picked[0] != 2 {
			t.Errorf("%s: picked %v when one is missing, want its spare", name, picked)
		}
		for i := range 3 {
			g.SetUp(Index(i), false, 0)
		}
		if picked := pickAll(g, nil); len(picked) != 1 || picked[0] != 3 {
			t.Errorf("%s: picked %v when all are missing, want the standby", name, picked)
		}
	}
}

func TestWhoIsWorthWaitingFor(t *testing.T) {
	g, err := New([]Server{{Name: "a", Weight: 1}, {Name: "b", Weight: 1}}, Options{Limited: true, DisableTime: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	pickAll(g, nil)
	var tried Tried
	tried.Add(0)
	if !g.Busy(0, &tried) {
		t.Error("a has been tried: b is worth waiting for")
	}
	tried.Add(1)
	if g.Busy(0, &tried) {
		t.Error("all have been tried")
	}
	if _, ok := g.NextUp(0); ok {
		t.Error("nobody rests")
	}
	g.Done(0, OutcomeConnectFailed, 5)
	g.Done(1, OutcomeConnectFailed, 3)
	if g.Busy(6, nil) {
		t.Error("all rest")
	}
	if at, ok := g.NextUp(6); !ok || at != 3+int64(time.Second) {
		t.Errorf("the first rest ends at %d, %v", at, ok)
	}
	g.SetUp(1, false, 6)
	if at, ok := g.NextUp(6); !ok || at != 5+int64(time.Second) {
		t.Errorf("without the server that is out of service, the first rest ends at %d, %v", at, ok)
	}
}

func TestAKeyWaitsForItsServer(t *testing.T) {
	for _, name := range []string{"hash", "sticky", "maglev"} {
		g, err := New([]Server{{Name: "a", Weight: 1}, {Name: "b", Weight: 1}}, Options{Algorithm: name, Limited: true})
		if err != nil {
			t.Fatal(err)
		}
		first, _ := g.Pick(0, 42, nil)
		g.SetFull(first, true)
		if i, ok := g.Pick(0, 42, nil); !ok || i != first || !g.Keyed() {
			t.Errorf("%s: the key's server is %d, and %d (%v) when that is full", name, first, i, ok)
		}
	}
}

func TestWhoIsEjectedIsNotPickedBeyondItsLimit(t *testing.T) {
	e := Ejection{Window: time.Second, MinRequests: 5, ErrorRate: 50, Time: time.Hour, MaxTime: time.Hour, MaxShare: 100}
	g, err := New([]Server{{Name: "a", Weight: 1}, {Name: "b", Weight: 1}}, Options{Algorithm: "first", Limited: true, Ejection: &e})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		g.Pick(0, NoKey, nil)
		g.Done(0, OutcomeError, 0)
	}
	if changes := g.Judge(0); len(changes) != 1 || changes[0].Server != 0 {
		t.Fatalf("judged: %v", changes)
	}
	if picked := pickAll(g, nil); fmt.Sprint(picked) != "[1]" {
		t.Errorf("picked %v, want only the one that is not out, which is full then", picked)
	}
	if !g.Busy(0, nil) || g.WorthWaiting(0, 0) || !g.WorthWaiting(1, 0) {
		t.Error("it is the other one that is worth waiting for")
	}
	g.SetUp(1, false, 0)
	if picked := pickAll(g, nil); fmt.Sprint(picked) != "[0]" {
		t.Errorf("picked %v with the other one gone, want the one that is out until it is full", picked)
	}
	if !g.Busy(0, nil) || !g.WorthWaiting(0, 0) {
		t.Error("with the other one gone it is worth waiting for")
	}
}
