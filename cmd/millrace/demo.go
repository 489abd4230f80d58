package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"syscall"

	"github.com/spf13/cobra"

	"millrace/internal/demo"
)

func newDemo() *cobra.Command {
	var address string
	command := &cobra.Command{
		Use:   "demo [--address address]",
		Short: "Look around: three origins and a proxy, without a file",
		Long: `demo starts three small origins on loopback and a proxy in front of them, and
prints what to try. Its page shows which origin answered and what it received.

Everything ends with it: Ctrl-C.`,
		Example: `  millrace demo
  millrace demo --address 127.0.0.1:0     any free port`,
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
		RunE: func(command *cobra.Command, _ []string) error {
			listen, err := netip.ParseAddrPort(address)
			if err != nil {
				return failure{exitWrong, fmt.Errorf("--address %q is no IP address and port, such as 127.0.0.1:8080", address)}
			}
			log := newLog(command.ErrOrStderr())
			slog.SetDefault(log)
			signals := catchSignals()
			d, err := demo.Start(command.Context(), listen, "stdout", log)
			if errors.Is(err, syscall.EADDRINUSE) {
				err = fmt.Errorf("%s is taken by another program: choose another address with --address, "+
					"such as --address %s for any free port", listen, netip.AddrPortFrom(listen.Addr(), 0))
			}
			if err != nil {
				return failure{exitFailed, err}
			}
			fmt.Fprint(command.OutOrStdout(), d.Guide())
			if err := serve(d, signals, log); err != nil {
				return failure{exitFailed, err}
			}
			return nil
		},
	}
	command.Flags().StringVar(&address, "address", "127.0.0.1:8080", "the `address` to serve on, an IP address and a port")
	return command
}
