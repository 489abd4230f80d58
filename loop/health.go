package loop

import (
	"context"

	"millrace/balance"
)

// watchHealth has the servers checked whose backend asks for it, until ctx ends. The loops learn of it by the state of
// the server in its group, which they look at for every request anyway.
func (srv *Server) watchHealth(ctx context.Context) {
	for _, b := range srv.plan.Backends {
		if b.Health == nil || b.Names != nil { // see members.check
			continue
		}
		for i, s := range b.Servers {
			srv.checkHealth(ctx, b, s, func(up bool) {
				now := int64(clock())
				b.Group.SetUp(balance.Index(i), up, now)
				if b.Limit != nil {
					b.Limit.Kick(-1, now)
				}
			})
		}
	}
}
