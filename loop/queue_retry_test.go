package loop

import "testing"

// What a server thinks of our expectation is no answer to the client's request, whether there is room elsewhere or not.
func TestARefusedPingWaitsForRoom(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	q := &Limit{Queue: 1}
	s := limited(1, q, 1)
	with := s.with
	s.with = func(plan *Plan) {
		with(plan)
		plan.Backends[0].Ping = patience
	}
	p := tr.proxy(s, o)
	c := p.dial()
	c.send(post("/", "hello"))
	x := o.accept()
	x.wantPing()
	x.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
	x.wantEnd()
	y := o.accept()
	y.wantRequest("POST /", "hello")
	y.send(ok("fine"))
	c.want(200, "fine")
}
