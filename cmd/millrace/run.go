package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"millrace/configs"
	"millrace/loop"
)

func newRun() *cobra.Command {
	var path string
	command := &cobra.Command{
		Use:   "run --config file",
		Short: "Serve what a configuration file says",
		Long: `run reads the configuration file, opens its listeners and serves until it is told
to leave. It stays in the foreground.

The log of the process goes to the standard error: as text on a terminal, as JSON
otherwise. The access log goes where the file says.

TERM or INT: drain and leave; the second one: leave at once. USR1: reopen the
access log. HUP: nothing yet, since this version cannot reload.

Started by systemd, it takes the sockets that it is passed, and says when it serves
and when it begins to leave (Type=notify).

It exits with 0 after a drain, 1 when it could not start or run, 2 when the file is
wrong: then it has said every problem, as check would.`,
		Example: `  millrace run --config /etc/millrace.toml
  kill -USR1 "$(pidof millrace)"     the access log was renamed: begin a new one
  kill -TERM "$(pidof millrace)"     finish what is in flight and leave`,
		Args:                  fileOnly,
		DisableFlagsInUseLine: true,
		RunE: func(command *cobra.Command, _ []string) error {
			log := newLog(command.ErrOrStderr())
			slog.SetDefault(log)
			return run(path, log)
		},
	}
	configFlag(command, &path)
	return command
}

// linger is longer than a loop under load waits for anything, and shorter than what anybody notices who waits for a loop that
// does nothing.
const linger = 100 * time.Millisecond

// run serves what the file at path says, until a signal ends it. What goes wrong is in the log already when it
// returns.
func run(path string, log *slog.Logger) error {
	signals := catchSignals()
	plan, err := load(path, log)
	if plan == nil {
		return err
	}
	// Reading a file of thousands of routes takes ten times as much memory as serving them.
	debug.FreeOSMemory()
	// A processor a loop, and none to spare: the scheduler would wake one that is idle to look for work that is not there,
	// and the loop would often go on over there.
	if n := plan.Loops; n > 0 && n < runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(n)
	}
	plan.Linger = linger
	plan.MemoryLimit = limitMemory(plan.MemoryLimit, log)
	plan.Inherited = activation.Files(true)
	give, err := privileges(path, plan, log)
	if err != nil {
		log.Error("cannot start", "error", err)
		return failure{code: exitFailed}
	}
	srv, err := loop.Start(plan, log, give)
	if err != nil {
		log.Error("cannot start", "error", err)
		return failure{code: exitFailed}
	}
	addresses := make([]string, len(plan.Listeners))
	for i, a := range srv.Addrs() {
		addresses[i] = a.String()
	}
	log.Info("serving", "config", path, "listeners", addresses, "version", version().String(), "pid", os.Getpid())
	notify(daemon.SdNotifyReady, log)
	if err := serve(notifying{srv, log}, signals, log); err != nil {
		log.Error("stopped", "error", err)
		return failure{code: exitFailed}
	}
	log.Info("stopped")
	return nil
}

// privileges returns what gives up the privileges that a plan says, once everything is open. Who is to be become is looked up
// before that.
func privileges(path string, plan *loop.Plan, log *slog.Logger) (give func() error, err error) {
	id, err := findIdentity(plan.Privileges)
	if err != nil {
		return nil, err
	}
	accessLog := ""
	if a := plan.AccessLog; a != nil && a.Path != "stdout" {
		accessLog = a.Path
	}
	var sockets []string
	for _, l := range plan.Listeners {
		if l.Path != "" {
			sockets = append(sockets, l.Path)
		}
	}
	return func() error {
		if err := id.become(accessLog, log); err != nil {
			return err
		}
		if plan.Privileges.Sandbox {
			return enterSandbox(sandboxPermissions(path, accessLog, sockets), log)
		}
		return nil
	}, nil
}

// load compiles the file at path. It returns no plan when the file is wrong, and neither a plan nor an error when
// it was told to leave: looking up names may take its time.
func load(path string, log *slog.Logger) (*loop.Plan, error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var warnings configs.Problems
	plan, err := configs.Load(ctx, path, configs.WithWarnings(&warnings))
	if ctx.Err() != nil {
		log.Info("told to leave before anything was served")
		return nil, nil
	}
	for _, w := range warnings {
		log.Warn(w.String())
	}
	if err == nil {
		return plan, nil
	}
	var problems configs.Problems
	if !errors.As(err, &problems) {
		log.Error("cannot load the configuration", "error", err)
		return nil, failure{code: exitWrong}
	}
	for _, p := range problems {
		log.Error(p.String())
	}
	log.Error("the configuration is wrong; nothing is served", "config", path, "problems", len(problems))
	return nil, failure{code: exitWrong}
}
