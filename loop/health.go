package loop

import (
	"context"

	"millrace/balance"
	"millrace/internal/health"
)

// watchHealth has the servers checked whose backend asks for it, until ctx ends. The loops learn of it by the state of
// the server in its group, which they look at for every request anyway.
func (srv *Server) watchHealth(ctx context.Context) {
	for _, b := range srv.plan.Backends {
		if b.Health == nil {
			continue
		}
		for i, s := range b.Servers {
			log := srv.log.With("backend", b.Name, "server", s.Name)
			srv.checks.Go(func() {
				server := health.Server{Address: s.Address, Path: s.Path, Preamble: s.localProxyHeader()}
				if s.Socket != nil && s.Path == "" {
					server.Control = s.Socket.control
				}
				b.Health.Watch(ctx, server, func(up bool, reason error) {
					now := int64(clock())
					b.Group.SetUp(balance.Index(i), up, now)
					if b.Limit != nil {
						b.Limit.Kick(-1, now)
					}
					if up {
						log.Info("health check: the server is up")
						return
					}
					log.Warn("health check: the server is down", "reason", reason)
				})
			})
		}
	}
}
