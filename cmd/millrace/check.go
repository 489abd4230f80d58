package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"millrace/configs"
)

func newCheck() *cobra.Command {
	var path string
	command := &cobra.Command{
		Use:   "check --config file",
		Short: "Check a configuration file",
		Long: `check reads a configuration file as run does, names of servers looked up, and
opens no listener. Then it runs the tests of the file, if it has any.

It prints "ok" when run could use the file. Otherwise it prints every problem, one
a line, as file:line:column: key: message, to the standard error, and exits with 2.
A warning is about what is allowed but hardly meant; it changes nothing.`,
		Example:               `  millrace check --config /etc/millrace.toml && systemctl restart millrace`,
		Args:                  fileOnly,
		DisableFlagsInUseLine: true,
		RunE: func(command *cobra.Command, _ []string) error {
			var warnings configs.Problems
			_, err := configs.Load(command.Context(), path, configs.WithWarnings(&warnings), configs.WithTests())
			for _, w := range warnings {
				fmt.Fprintf(command.ErrOrStderr(), "warning: %v\n", w)
			}
			if err == nil {
				fmt.Fprintln(command.OutOrStdout(), "ok")
				return nil
			}
			return tellProblems(command.ErrOrStderr(), err)
		},
	}
	configFlag(command, &path)
	return command
}

// tellProblems prints what is wrong with a file, one problem a line, and returns what to exit with.
func tellProblems(w io.Writer, err error) error {
	problems, ok := errors.AsType[configs.Problems](err)
	if !ok {
		return failure{exitWrong, err}
	}
	for _, p := range problems {
		fmt.Fprintln(w, p)
	}
	return failure{code: exitWrong}
}
