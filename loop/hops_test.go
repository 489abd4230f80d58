package loop

import (
	"strings"
	"testing"
)

// RFC 9110, 9.3.8 and 7.6.2.
func TestTRACEPassesWhereTheRouteSaysSo(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{trace: true}, o)
	c := p.dial()
	c.send("TRACE /a?b HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n")
	x := o.accept()
	if r := x.wantRequest("TRACE /a?b", ""); r.Header.Get("Max-Forwards") != "2" || len(r.Header["Max-Forwards"]) != 1 {
		t.Errorf("the origin got Max-Forwards %q", r.Header["Max-Forwards"])
	}
	x.send("HTTP/1.1 200 OK\r\nContent-Type: message/http\r\nContent-Length: 4\r\n\r\nTRAC")
	c.wantTo("TRACE", 200, "TRAC")
	c.send("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
	if r := x.wantRequest("TRACE /", ""); r.Header.Get("Max-Forwards") != "" {
		t.Errorf("the origin got Max-Forwards %q", r.Header["Max-Forwards"])
	}
	x.send(ok("fine"))
	c.wantTo("TRACE", 200, "fine")
}

func TestTRACEIsRefusedOtherwise(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	for _, fields := range []string{"", "Max-Forwards: 0\r\n", "Max-Forwards: 1\r\n"} {
		c.send("TRACE / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n")
		if res := c.wantError("TRACE", 405); res.Header.Get("Allow") == "" || strings.Contains(res.Header.Get("Allow"), "TRACE") {
			t.Errorf("405 with Allow: %q", res.Header.Get("Allow")) // RFC 9110, 15.5.6
		}
	}
	o.wantNobody()
}

func TestTheLastHopAnswers(t *testing.T) {
	eachDelivery(t, func(t *testing.T, d delivery) {
		tr := newTrace(t)
		o := tr.origin()
		p := tr.proxy(setup{trace: true, record: "$method $status $body_bytes $backend $end"}, o)
		c := p.dial()
		d.send(c, "TRACE http://a/x?y HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nX:\t1 \r\nCookie: secret\r\nauthorization: secret\r\nProxy-Authorization: secret\r\n\r\n")
		const reflection = "TRACE http://a/x?y HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nX: 1\r\n\r\n"
		res := c.wantTo("TRACE", 200, reflection)
		if res.Header.Get("Content-Type") != "message/http" || res.Close || res.Header.Get("Date") == "" {
			t.Errorf("got %v", res)
		}
		d.send(c, "OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n")
		if res := c.wantTo("OPTIONS", 200, ""); res.ContentLength != 0 || res.Header.Get("Content-Type") != "" {
			t.Errorf("got %v", res)
		}
		d.send(c, "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nContent-Length: 4\r\n\r\nbody")
		c.wantTo("OPTIONS", 200, "")
		d.send(c, "OPTIONS / HTTP/1.0\r\nMax-Forwards: 0\r\nConnection: keep-alive\r\n\r\n")
		if res := c.wantTo("OPTIONS", 200, ""); !strings.EqualFold(res.Header.Get("Connection"), "keep-alive") {
			t.Errorf("got %v", res)
		}
		o.wantNobody()

		// Others do not count (RFC 9110, 7.6.2).
		d.send(c, "GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n")
		x := o.accept()
		if r := x.wantRequest("GET /", ""); r.Header.Get("Max-Forwards") != "0" {
			t.Errorf("the origin got Max-Forwards %q", r.Header["Max-Forwards"])
		}
		x.send(ok("fine"))
		c.want(200, "fine")
		d.send(c, "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 99999999999\r\n\r\n")
		if r := x.wantRequest("OPTIONS *", ""); r.Header.Get("Max-Forwards") != "2147483646" {
			t.Errorf("the origin got Max-Forwards %q", r.Header["Max-Forwards"])
		}
		x.send(ok("fine"))
		c.wantTo("OPTIONS", 200, "fine")

		d.send(c, "OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nContent-Length: 300000\r\n\r\n")
		if res := c.wantTo("OPTIONS", 200, ""); !res.Close {
			t.Error("a large body is waited for")
		}
		c.Close()
		p.wantRecords("TRACE 200 63 - ok", "OPTIONS 200 0 - ok", "OPTIONS 200 0 - ok", "OPTIONS 200 0 - ok", "GET 200 4 app ok",
			"OPTIONS 200 4 app ok", "OPTIONS 200 0 - ok")
	})
}
