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

// TestATargetThatIsRewrittenInSomeReadingIsRefused: the rules are no way around what every reading of a path has to lead to.
func TestATargetThatIsRewrittenInSomeReadingIsRefused(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.echo("GET")
	p := tr.proxy(setup{with: func(plan *Plan) {
		plan.Rewrites = remap.NewRewrites([]remap.RewriteRule{
			{Name: remap.RewriteTarget, Pattern: regexp.MustCompile("^/admin(/|$)"), Value: text(t, "/login")},
			{Name: remap.RewriteTarget, Pattern: regexp.MustCompile(`^/find\?all$`), Value: text(t, "/login")},
		})
	}}, o)
	for _, path := range []string{"/admin;x", `/x\..\admin`, "/x/..;/admin/y", "/admin/../x", "//x/admin", "/find;x?all"} {
		c := p.dial()
		c.send(get(path))
		c.wantError("GET", 400)
	}
	c := p.dial()
	for path, want := range map[string]string{
		"/x/../admin": "/login", "/%61dmin": "/login", "/admin/;x": "/login", "/find?all": "/login",
		"/find;x?one": "/find;x?one", "/cart;x/admin": "/cart;x/admin", "/x;y": "/x;y", "/admins;x": "/admins;x",
	} {
		c.send(get(path))
		c.want(200, "GET "+want+" HTTP/1.1")
	}
}
