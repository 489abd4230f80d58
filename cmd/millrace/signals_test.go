package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// scripted is a server of which the test says what happens, and a serve that obeys signals for it.
type scripted struct {
	t       *testing.T
	signals chan os.Signal
	served  chan error

	ended    chan error // Wait returns what comes
	drained  chan error // Drain returns what comes; nil: it returns when its context ends
	reopened chan error // ReopenLogs returns what comes

	mu  sync.Mutex
	log strings.Builder
}

func (s *scripted) Wait() error       { return <-s.ended }
func (s *scripted) ReopenLogs() error { return <-s.reopened }

func (s *scripted) Drain(ctx context.Context) error {
	if s.drained != nil {
		return <-s.drained
	}
	<-ctx.Done()
	return nil
}

func (s *scripted) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *scripted) start(t *testing.T) *scripted {
	s.t = t
	s.signals, s.served = make(chan os.Signal), make(chan error, 1)
	s.ended, s.reopened = make(chan error, 1), make(chan error)
	go func() { s.served <- serve(s, s.signals, slog.New(slog.NewTextHandler(s, nil))) }()
	return s
}

// send sends a signal and lets it have its effect.
func (s *scripted) send(sig os.Signal) {
	s.signals <- sig
	synctest.Wait()
}

// logged checks that the log has a line with all of these.
func (s *scripted) logged(words ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(s.log.String()) {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			return
		}
	}
	s.t.Errorf("the log has no line with %q:\n%s", words, s.log.String())
}

// running checks that serve has not returned.
func (s *scripted) running() {
	s.t.Helper()
	select {
	case err := <-s.served:
		s.t.Fatalf("serve returned %v", err)
	default:
	}
}

// returns checks what serve returns.
func (s *scripted) returns(want error) {
	s.t.Helper()
	if err := <-s.served; !errors.Is(err, want) {
		s.t.Errorf("serve returned %v, want %v", err, want)
	}
	s.ended <- nil // lets the goroutine go that waits for it
}

var errBoom = errors.New("boom")

func TestServeDrains(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		for _, outcome := range []error{nil, errBoom} {
			synctest.Test(t, func(t *testing.T) {
				s := (&scripted{drained: make(chan error)}).start(t)
				s.send(sig)
				s.logged("draining", sig.String())
				s.running()
				s.drained <- outcome
				s.returns(outcome)
			})
		}
	}
}

func TestServeLeavesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(scripted).start(t)
		s.send(syscall.SIGTERM)
		s.running()
		s.send(syscall.SIGINT)
		s.logged("leaving at once", "interrupt")
		s.returns(nil)
	})
}

func TestServeLeavesWhatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := (&scripted{drained: make(chan error)}).start(t)
		s.send(syscall.SIGTERM)
		start := time.Now()
		s.send(syscall.SIGTERM)
		if err := <-s.served; err == nil || !strings.Contains(err.Error(), "within 1s") {
			t.Errorf("serve returned %v", err)
		}
		if took := time.Since(start); took != leaveGrace {
			t.Errorf("leaving took %v", took)
		}
		s.drained <- nil
		s.ended <- nil
	})
}

func TestServeReturnsWhenTheServerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(scripted).start(t)
		s.ended <- errBoom
		s.returns(errBoom)
	})
}

func TestServeGoesOnAfterHUP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(scripted).start(t)
		s.send(syscall.SIGHUP)
		s.send(syscall.SIGHUP)
		s.logged("level=WARN", "cannot reload", "hangup")
		s.running()
		s.send(syscall.SIGTERM)
		s.send(syscall.SIGTERM)
		s.returns(nil)
	})
}

// TestServeReopens has a reopening that takes its time, and one that fails: neither keeps signals from being obeyed.
func TestServeReopens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(scripted).start(t)
		s.send(syscall.SIGUSR1)
		s.send(syscall.SIGUSR1)
		s.running()
		s.reopened <- nil
		synctest.Wait()
		s.logged("level=INFO", "the access log was reopened")
		s.reopened <- errBoom
		synctest.Wait()
		s.logged("level=ERROR", "the access log was not reopened", "boom")
		s.send(syscall.SIGTERM)
		s.send(syscall.SIGTERM)
		s.returns(nil)
	})
}
