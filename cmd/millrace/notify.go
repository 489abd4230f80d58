package main

import (
	"context"
	"log/slog"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notify tells the service manager of a state, if there is one that wants to know (NOTIFY_SOCKET, sd_notify(3)).
func notify(state string, log *slog.Logger) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("cannot tell the service manager", "state", state, "error", err)
	}
}

// notifying is a server whose service manager is told when it begins to leave.
type notifying struct {
	server
	log *slog.Logger
}

// Drain is that of the server.
func (n notifying) Drain(ctx context.Context) error {
	notify(daemon.SdNotifyStopping, n.log)
	return n.server.Drain(ctx)
}
