package loop

import (
	"context"
	"time"
)

// watchEjections has the servers judged of the backends that eject them, until ctx ends. As with health checks, loops
// learn of it by the state of the server in its group.
func (srv *Server) watchEjections(ctx context.Context) {
	for _, b := range srv.plan.Backends {
		if b.Names == nil { // else see members.judge
			srv.watchEjectionsOf(ctx, b, func() { srv.judge(b) })
		}
	}
}

// watchEjectionsOf calls judge at the pace of a backend, if that ejects servers, until ctx ends.
func (srv *Server) watchEjectionsOf(ctx context.Context, b *Backend, judge func()) {
	every := b.Group.JudgeEvery()
	if every <= 0 {
		return
	}
	srv.checks.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				judge()
			}
		}
	})
}

func (srv *Server) judge(b *Backend) {
	now := int64(clock())
	for _, j := range b.Group.Judge(now) {
		log := srv.log.With("backend", b.Name, "server", b.Servers[j.Server].Name)
		if j.Out {
			log.Warn("ejection: the server is out", "for", j.For.String(), "reason", j.Reason)
		} else {
			log.Info("ejection: the server is back")
		}
	}
	if b.Limit != nil {
		b.Limit.Kick(-1, now) // those whose time is over may be asked again
	}
}
