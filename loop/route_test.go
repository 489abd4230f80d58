package loop

import (
	"net/netip"
	"testing"

	"millrace/remap"
)

func TestRoutesSeeTheWholeRequest(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	p := tr.proxy(setup{
		rules: []remap.Rule{
			{Methods: []string{"DELETE"}, Clients: loopback, Headers: []remap.Pair{{Name: "X-Sure", Value: "yes"}}, Query: []remap.Pair{{Name: "really", Value: "*"}}},
			{Not: &remap.Rule{Methods: []string{"DELETE"}}},
		},
	}, o)
	c := p.dial()
	request := func(line, field string) { c.send(line + " HTTP/1.1\r\nHost: a.example\r\n" + field + "\r\n") }
	request("GET /x?really", "")
	x := o.accept()
	x.wantRequest("GET /x?really", "")
	x.send(ok("got"))
	c.want(200, "got")
	request("DELETE /x?really", "")
	c.wantError("DELETE", 404)
	request("DELETE /x?rarely", "X-Sure: yes\r\n")
	c.wantError("DELETE", 404)
	request("DELETE /x?really", "X-Sure: yes\r\n")
	x.wantRequest("DELETE /x?really", "")
	x.send(ok("gone"))
	c.want(200, "gone")
}
