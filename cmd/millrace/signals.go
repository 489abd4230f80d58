package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// leaveGrace bounds how long leaving at once may take: the connections are cut within milliseconds, and the rest
// is for writing the last records of the access log.
const leaveGrace = time.Second

// server is what the signals act on.
type server interface {
	// Drain stops accepting and returns when what is in flight has ended. When ctx ends it cuts what is left.
	Drain(ctx context.Context) error
	// Wait returns when the server has ended.
	Wait() error
	// ReopenLogs opens the access log anew.
	ReopenLogs() error
}

// catchSignals has the signals delivered to the channel that it returns instead of ending the process. It is
// called before anything that takes time, so that no signal finds the process without a handler.
func catchSignals() chan os.Signal {
	// A reader of the standard output or error that goes away must not take the proxy along: the write fails,
	// and is reported, instead.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	return signals
}

// serve obeys signals until the server has ended.
func serve(srv server, signals <-chan os.Signal, log *slog.Logger) error {
	ctx, cut := context.WithCancel(context.Background())
	defer cut()
	draining := false
	ended := make(chan error, 1)
	go func(ended chan<- error) { ended <- srv.Wait() }(ended)
	for {
		select {
		case err := <-ended:
			return err
		case s := <-signals:
			switch s {
			case syscall.SIGUSR1:
				// Not here: it waits for the writer of the log, which may be stuck.
				go reopen(srv, log)
			case syscall.SIGHUP:
				log.Warn("this version cannot reload its configuration; the old one stays in use", "signal", s.String())
			case syscall.SIGTERM, syscall.SIGINT:
				if draining {
					log.Warn("leaving at once", "signal", s.String())
					cut()
					return leave(ended)
				}
				draining = true
				log.Info("draining: what is in flight ends, nothing new begins; a second signal ends it at once",
					"signal", s.String())
				// From here on it is Drain's end that counts: it comes after Wait's, and has more to say.
				ended = make(chan error, 1)
				go func(ended chan<- error) { ended <- srv.Drain(ctx) }(ended)
			}
		}
	}
}

// leave waits for a drain that was cut short.
func leave(ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	case <-time.After(leaveGrace):
		return fmt.Errorf("something did not end within %v of being told to", leaveGrace)
	}
}

func reopen(srv server, log *slog.Logger) {
	if err := srv.ReopenLogs(); err != nil {
		log.Error("the access log was not reopened", "error", err)
		return
	}
	log.Info("the access log was reopened")
}
