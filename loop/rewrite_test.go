package loop

import (
	"regexp"
	"testing"

	"millrace/remap"
)

// TestTargetsAreRewrittenOnce, each on its own: nothing of one request is left for the next on its connection, and a
// request that is sent again is the same.
func TestTargetsAreRewrittenOnce(t *testing.T) {
	tr := newTrace(t)
	first, second := tr.origin(), tr.origin()
	p := tr.proxy(setup{roundRobin: true, with: func(plan *Plan) {
		plan.Rewrites = remap.NewRewrites([]remap.RewriteRule{
			{Name: remap.RewriteTarget, Pattern: regexp.MustCompile("^/a(.*)$"), Value: text(t, "/a/b$1")},
		})
	}}, first, second)
	c := p.dial()
	c.send(get("/a?q"))
	x := first.accept()
	x.wantRequest("GET /a/b?q", "")
	x.Close()
	x = second.accept()
	x.wantRequest("GET /a/b?q", "")
	x.send(ok("fine"))
	c.want(200, "fine")
	c.send(get("/c%7e?q"))
	x = first.accept()
	x.wantRequest("GET /c%7e?q", "")
	x.send(ok("fine"))
	c.want(200, "fine")
}
