package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// with starts a proxy before origins that serve as given, and ends the origins when f has ended.
func (e *env) with(s setting, r *result, f func(origins []*origin) error, serve ...func(c *conn)) (*result, error) {
	var origins []*origin
	var addrs []string
	for _, play := range serve {
		o, err := e.origin(play)
		if err != nil {
			return nil, err
		}
		defer o.close()
		origins = append(origins, o)
		addrs = append(addrs, o.addr)
	}
	if _, err := e.start(s, addrs...); err != nil {
		return nil, err
	}
	return r, f(origins)
}

// refuse: the first of two servers is down. No client notices.
func refuse(e *env) (*result, error) {
	r := &result{}
	return e.with(setting{backend: `disable_time = "100ms"`}, r, func(origins []*origin) error {
		origins[0].down()
		e.many(r, 4, e.size(2000, 25), http.MethodGet)
		e.many(r, 4, e.size(2000, 25), http.MethodPost)
		return nil
	}, well, well)
}

// synDropped: the first of two servers does not even answer the connection attempt. Each attempt costs the connect
// timeout, and no client notices more.
func synDropped(e *env) (*result, error) {
	full, release, err := fullBacklog()
	if err != nil {
		return nil, err
	}
	defer release()
	o, err := e.origin(well)
	if err != nil {
		return nil, err
	}
	defer o.close()
	if _, err := e.start(setting{tables: "[timeouts]\nconnect = \"200ms\"\n", backend: `disable_time = "500ms"`}, full, o.addr); err != nil {
		return nil, err
	}
	r := &result{}
	e.many(r, 4, e.size(500, 10), http.MethodGet)
	e.many(r, 4, e.size(500, 10), http.MethodPost)
	return r, nil
}

// blackHole: a server takes every third request and never answers it. Who asked gets 504, and the others are served
// meanwhile.
func blackHole(e *env) (*result, error) {
	r := &result{}
	hole := instead(func(c *conn, req *http.Request, body []byte) bool {
		if req.Method == http.MethodPut {
			c.r.Peek(1) // until the proxy has had enough
			return false
		}
		_, err := io.WriteString(c, response(req, body))
		return err == nil
	})
	return e.with(setting{tables: "[timeouts]\nresponse = \"300ms\"\n"}, r, func([]*origin) error {
		var waiting sync.WaitGroup
		waiting.Go(func() { e.many(r, 8, e.size(20, 2), http.MethodPut, http.StatusGatewayTimeout) })
		e.many(r, 4, e.size(2000, 50), http.MethodGet)
		waiting.Wait()
		return nil
	}, hole)
}

// resetInHead: the server resets in the middle of its head. It has begun to answer, so nothing is tried again.
func resetInHead(e *env) (*result, error) {
	r := &result{}
	return e.with(setting{}, r, func([]*origin) error {
		e.many(r, 4, e.size(500, 10), http.MethodGet, http.StatusBadGateway)
		e.many(r, 4, e.size(500, 10), http.MethodPost, http.StatusBadGateway)
		return nil
	}, instead(func(c *conn, req *http.Request, body []byte) bool {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le")
		c.reset()
		return false
	}))
}

// resetInBody: the server resets in the middle of a body, of each framing. The client sees that it was cut: what arrives
// may look like nothing, but never complete.
func resetInBody(e *env) (*result, error) {
	r := &result{}
	heads := []string{"Content-Length: 100000\r\n", "Transfer-Encoding: chunked\r\n", ""}
	var mu sync.Mutex
	next := 0
	return e.with(setting{}, r, func([]*origin) error {
		e.many(r, 4, e.size(500, 15), http.MethodGet, cut, http.StatusBadGateway)
		e.many(r, 4, e.size(500, 15), http.MethodPost, cut, http.StatusBadGateway)
		return nil
	}, instead(func(c *conn, req *http.Request, body []byte) bool {
		mu.Lock()
		head := heads[next%len(heads)]
		next++
		mu.Unlock()
		answer := answerTo(req.Method, req.RequestURI, len(body))
		if strings.HasPrefix(head, "Transfer") {
			answer = fmt.Sprintf("%x\r\n%s\r\n", len(answer), answer)
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\n"+head+"\r\n"+answer)
		c.reset()
		return false
	}))
}

// trickle: the server sends its answers byte by byte. They arrive as they are.
func trickle(e *env) (*result, error) {
	r := &result{}
	return e.with(setting{}, r, func([]*origin) error {
		e.many(r, 32, e.size(4, 1), http.MethodGet)
		e.many(r, 32, e.size(4, 1), http.MethodPost)
		return nil
	}, instead(func(c *conn, req *http.Request, body []byte) bool {
		for i, b := range []byte(response(req, body)) {
			if _, err := c.Write([]byte{b}); err != nil {
				return false
			}
			if e.full && i%16 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		return true
	}))
}

// flap: the first of two servers comes and goes, with resets. What is idempotent succeeds; what is not is never
// tried again, so the ones that were under way fail.
func flap(e *env) (*result, error) {
	const posting = 4 // clients
	r := &result{}
	return e.with(setting{backend: `disable_time = "20ms"`}, r, func(origins []*origin) error {
		stop := make(chan struct{})
		var flapping sync.WaitGroup
		var failed error
		times := 0
		flapping.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
				origins[0].down()
				times++
				if failed = origins[0].up(); failed != nil {
					return
				}
			}
		})
		var sending sync.WaitGroup
		sending.Go(func() { e.many(r, 4, e.size(5000, 200), http.MethodGet) })
		sending.Go(func() { e.many(r, posting, e.size(5000, 200), http.MethodPost, http.StatusBadGateway, cut) })
		sending.Wait()
		close(stop)
		flapping.Wait()
		r.allowed = posting * times // those that are under way
		r.remarkf("%d times down and up", times)
		return failed
	}, well, well)
}

// garbage: the server answers what is not HTTP, or could be read in two ways.
func garbage(e *env) (*result, error) {
	r := &result{}
	answers := []string{
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"<html>no head at all</html>\r\n\r\n",
		"HTTP/1.1 two hundred\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n12345",
		"HTTP/1.1 200 OK\r\nContent-Length : 4\r\n\r\n1234",
		"HTTP/1.1 200 OK\r\n continued\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100_000) + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		strings.Repeat("\x00", 4096),
	}
	var mu sync.Mutex
	next := 0
	return e.with(setting{}, r, func([]*origin) error {
		e.many(r, 4, e.size(1000, len(answers)), http.MethodGet, http.StatusBadGateway)
		e.many(r, 4, e.size(1000, len(answers)), http.MethodPost, http.StatusBadGateway)
		return nil
	}, instead(func(c *conn, req *http.Request, body []byte) bool {
		mu.Lock()
		answer := answers[next%len(answers)]
		next++
		mu.Unlock()
		io.WriteString(c, answer)
		return false
	}))
}

// closeIdle: the server closes a kept connection at the worst moment, which is when the next request is on its way: it
// has reached the kernel, and nobody will read it. What is idempotent is tried again; anything else may have
// been acted on, for all the proxy knows, and fails.
func closeIdle(e *env) (*result, error) {
	r := &result{}
	return e.with(setting{}, r, func([]*origin) error {
		e.many(r, 4, e.size(2000, 50), http.MethodGet)
		e.many(r, 4, e.size(2000, 50), http.MethodPost, http.StatusBadGateway)
		return nil
	}, func(c *conn) {
		req, body, err := c.request()
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, response(req, body)); err != nil {
			return
		}
		c.r.Peek(1)
		c.reset()
	})
}
