// Command millrace is a reverse proxy: it takes HTTP/1.x from clients and hands it to origins, as one TOML file
// says. docs/millrace.md is its manual page.
//
// This package is the command line and nothing else: arguments, signals, exit codes and the log of the process.
// What a file means is the matter of package configs, what becomes of it that of package loop.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// The exit codes. They are part of the interface: scripts and service managers tell a wrong file, which no
// restart mends, from a start that failed.
const (
	exitOK     = 0
	exitFailed = 1 // could not start or run
	exitWrong  = 2 // wrong usage or wrong file
)

func main() {
	os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
}

// failure is an error with the code to exit with. A nil error is one that has been told already.
type failure struct {
	code int
	err  error
}

func (f failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit code %d", f.code)
	}
	return f.err.Error()
}

func (f failure) Unwrap() error { return f.err }

// execute runs the command line and returns the code to exit with.
func execute(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetContext(context.Background())
	command, err := root.ExecuteC()
	if err == nil {
		return exitOK
	}
	var f failure
	if !errors.As(err, &f) {
		// The commands return failures only, so this one is cobra's, about the arguments.
		fmt.Fprintf(stderr, "millrace: %v\nRun '%s --help' for usage.\n", err, command.CommandPath())
		return exitWrong
	}
	if f.err != nil {
		fmt.Fprintf(stderr, "millrace: %v\n", f.err)
	}
	return f.code
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "millrace",
		Short: "A reverse proxy: event loops, one binary, one file",
		Long: `millrace takes HTTP/1.x requests from clients and hands them to origins, as one
TOML file says. It runs in the foreground and leaves detaching to the service
manager.

Exit codes:
  0  fine
  1  could not start or run
  2  wrong usage or wrong file

Signals:
  TERM, INT  stop accepting, finish what is in flight, leave;
             the second one: leave at once
  USR1       reopen the access log, after it was renamed
  HUP        nothing yet: this version cannot reload; it is logged, and millrace
             keeps running`,
		Example: `  millrace demo                                  look around, without a file
  millrace check --config /etc/millrace.toml     is the file right?
  millrace run --config /etc/millrace.toml       serve`,
		// Without a command there is nothing to do. That is wrong usage, so the help goes to the standard error.
		RunE: func(command *cobra.Command, _ []string) error {
			command.SetOut(command.ErrOrStderr())
			if err := command.Help(); err != nil {
				return failure{exitFailed, err}
			}
			return failure{code: exitWrong}
		},
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version().String(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddCommand(newRun(), newCheck(), newExplain(), newDemo(), newVersion())
	return root
}

// fileOnly is for a command whose only input is the file.
func fileOnly(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q is too much: there is one file, which is named by --config", args[0])
	}
	return nil
}

// configFlag adds --config to a command that cannot do without.
func configFlag(command *cobra.Command, path *string) {
	command.Flags().StringVarP(path, "config", "c", "", "the configuration `file`")
	for _, err := range []error{
		command.MarkFlagRequired("config"),
		command.MarkFlagFilename("config", "toml"),
	} {
		if err != nil {
			panic(err) // the flag is defined above
		}
	}
}
