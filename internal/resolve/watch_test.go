package resolve

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// stepped is a Watch whose clock a test moves.
type stepped struct {
	*testing.T
	pauses chan time.Duration
	passed chan bool
	told   chan string
}

func watch(t *testing.T, r *Resolver, q Query, first Answer) *stepped {
	s := &stepped{t, make(chan time.Duration), make(chan bool), make(chan string, 1)}
	r.wait = func(ctx context.Context, d time.Duration) bool {
		select {
		case s.pauses <- d:
		case <-ctx.Done():
			return false
		}
		select {
		case ok := <-s.passed:
			return ok
		case <-ctx.Done():
			return false
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Watch(ctx, q, first, func(a Answer, err error) { s.told <- show(a, err) })
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return s
}

// next wants the watch to wait for a time, lets that pass, and wants what is told then.
func (s *stepped) next(pause time.Duration, want string) {
	s.Helper()
	select {
	case got := <-s.pauses:
		if got != pause {
			s.Errorf("waits for %v, want %v", got, pause)
		}
	case <-time.After(patience):
		s.Fatal("it does not wait")
	}
	s.passed <- true
	select {
	case got := <-s.told:
		if got != want {
			s.Errorf("told %s, want %s", got, want)
		}
	case <-time.After(patience):
		s.Fatal("nothing is told")
	}
}

func TestANameIsLookedUpWhenItsTTLHasPassed(t *testing.T) {
	s := server(t)
	r := resolver(t, Options{MinTTL: 5 * time.Second, MaxTTL: time.Minute, NegativeTTL: 3 * time.Second}, s)
	s.Set("app.example.", 30, "10.0.0.1")
	first, err := r.Lookup(t.Context(), Query{Name: "app.example"})
	if err != nil {
		t.Fatal(err)
	}
	w := watch(t, r, Query{Name: "app.example"}, first)
	s.Set("app.example.", 1, "10.0.0.2")
	w.next(30*time.Second, "10.0.0.2 5s")
	s.Fail("app.example.", dnsmessage.RCodeServerFailure)
	w.next(5*time.Second, "10.0.0.2 3s partial")
	s.Remove("app.example.")
	w.next(3*time.Second, "error: no such host")
	s.Set("app.example.", 3600, "10.0.0.3")
	w.next(3*time.Second, "10.0.0.3 1m0s")
	s.FailFor("app.example.", dnsmessage.TypeA)
	w.next(time.Minute, "10.0.0.3 3s partial")
	w.next(3*time.Second, "10.0.0.3 3s partial")
	// Once for each answer, and once more, by resolv.conf's two attempts, when it failed.
	if n := s.Asked("app.example.", dnsmessage.TypeAAAA); n != 8 {
		t.Errorf("asked %d times", n)
	}
}

func TestANameThatWasNotFoundYet(t *testing.T) {
	s := server(t)
	r := resolver(t, Options{NegativeTTL: 3 * time.Second}, s)
	w := watch(t, r, Query{Name: "app.example"}, Answer{})
	w.next(0, "error: no such host")
	s.Fail("app.example.", dnsmessage.RCodeRefused)
	w.next(3*time.Second, fmt.Sprintf("error: %s: answers REFUSED", s.Addr))
	s.Set("app.example.", 30, "10.0.0.1")
	w.next(3*time.Second, "10.0.0.1 30s")
}
