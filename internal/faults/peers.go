package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// origin is a server that misbehaves on cue.
type origin struct {
	e     *env
	addr  string
	serve func(c *conn)

	mu      sync.Mutex
	l       net.Listener // nil: it refuses
	conns   map[*conn]bool
	serving sync.WaitGroup
}

// conn is one connection to an origin.
type conn struct {
	net.Conn
	o *origin
	r *bufio.Reader
}

// origin starts a server that has serve play each connection.
func (e *env) origin(serve func(c *conn)) (*origin, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	o := &origin{e: e, addr: addr, serve: serve, conns: make(map[*conn]bool)}
	return o, o.up()
}

// up listens.
func (o *origin) up() error {
	l, err := net.Listen("tcp", o.addr)
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.l = l
	o.mu.Unlock()
	o.serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			x := &conn{c, o, bufio.NewReader(c)}
			o.mu.Lock()
			if o.l != l { // it went down meanwhile
				o.mu.Unlock()
				x.reset()
				continue
			}
			o.conns[x] = true
			o.mu.Unlock()
			o.serving.Go(func() {
				o.serve(x)
				x.Close()
				o.mu.Lock()
				delete(o.conns, x)
				o.mu.Unlock()
			})
		}
	})
	return nil
}

// down refuses connections, and resets those that are there.
func (o *origin) down() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.l != nil {
		o.l.Close()
		o.l = nil
	}
	for c := range o.conns {
		c.reset()
	}
}

// close ends the origin.
func (o *origin) close() {
	o.down()
	o.serving.Wait()
}

// reset closes the connection with a RST.
func (c *conn) reset() {
	c.Conn.(*net.TCPConn).SetLinger(0)
	c.Conn.Close()
}

// request reads a whole request and counts it.
func (c *conn) request() (*http.Request, []byte, error) {
	req, err := http.ReadRequest(c.r)
	if err != nil {
		return nil, nil, err
	}
	c.o.e.count(req)
	body, err := io.ReadAll(req.Body)
	return req, body, err
}

// count notes that a request has come to an origin.
func (e *env) count(req *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen[req.Method+" "+req.RequestURI]++
}

// answerTo is the body that every origin answers a request with, and its client expects.
func answerTo(method, target string, bodyBytes int) string {
	return fmt.Sprintf("%s %s with %d bytes\n%s", method, target, bodyBytes, strings.Repeat("filler ", 100))
}

// response is a whole response with a body of known length.
func response(req *http.Request, body []byte) string {
	answer := answerTo(req.Method, req.RequestURI, len(body))
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
}

// well serves as one would wish.
func well(c *conn) {
	for {
		req, body, err := c.request()
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, response(req, body)); err != nil {
			return
		}
	}
}

// instead answers each request by what answer does with it.
func instead(answer func(c *conn, req *http.Request, body []byte) (more bool)) func(c *conn) {
	return func(c *conn) {
		for {
			req, body, err := c.request()
			if err != nil || !answer(c, req, body) {
				return
			}
		}
	}
}

// client is one connection of a client, made when it is needed.
type client struct {
	addr string
	c    net.Conn
	r    *bufio.Reader
}

func (c *client) close() {
	if c.c != nil {
		c.c.Close()
		c.c = nil
	}
}

// dial connects, if there is no connection.
func (c *client) dial() error {
	if c.c != nil {
		return nil
	}
	conn, err := net.DialTimeout("tcp", c.addr, patience)
	if err != nil {
		return err
	}
	c.c, c.r = conn, bufio.NewReader(conn)
	return nil
}

// do sends a request and reads its response: a body that is not complete is an error.
func (c *client) do(method, target, body string) (status int, got string, err error) {
	if err := c.dial(); err != nil {
		return 0, "", err
	}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	c.c.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(c.c, "%s %s HTTP/1.1\r\nHost: faults\r\nContent-Length: %d\r\n\r\n%s", method, target, len(body), body); err != nil {
		return 0, "", err
	}
	res, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return 0, "", err
	}
	text, err := io.ReadAll(res.Body)
	if err == nil && res.Close {
		c.close()
	}
	return res.StatusCode, string(text), err
}

// cut stands for a response that did not arrive, or not whole, among the statuses that a fault allows.
const cut = 0

// ask sends a request of its own and judges what came. Any of the statuses in may is allowed instead of 200; none:
// it must succeed.
func (e *env) ask(r *result, c *client, method, body string, may ...int) {
	e.mu.Lock()
	e.next++
	target := fmt.Sprintf("/%d", e.next)
	e.mu.Unlock()
	status, got, err := c.do(method, target, body)
	if err != nil {
		status = cut
	}
	r.mu.Lock()
	r.requests++
	if status != http.StatusOK {
		r.errors++
	}
	if len(may) > 0 {
		r.allowed++
	}
	r.mu.Unlock()
	switch {
	case status == http.StatusOK && got != answerTo(method, target, len(body)):
		r.wrongf("%s %s got another answer: %.100q", method, target, got)
	case status != http.StatusOK && !slices.Contains(may, status):
		r.wrongf("%s %s got %d (%v)", method, target, status, err)
	}
}

// many has several clients at once send requests, each over one connection as long as it is kept.
func (e *env) many(r *result, clients, requests int, method string, may ...int) {
	var sending sync.WaitGroup
	for range clients {
		sending.Go(func() {
			c := &client{addr: e.proxy.addr}
			defer c.close()
			for range requests {
				e.ask(r, c, method, bodyOf(method), may...)
			}
		})
	}
	sending.Wait()
}

// bodyOf is the body of a test's requests.
func bodyOf(method string) string {
	if method == http.MethodPost || method == http.MethodPut {
		return "what is sent up"
	}
	return ""
}

// fullBacklog returns the address of a listening socket whose queue is full: the kernel drops what would connect.
func fullBacklog() (addr string, release func(), err error) {
	var fds []int
	release = func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	socket := func() (int, error) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			fds = append(fds, fd)
		}
		return fd, err
	}
	l, err := socket()
	if err != nil {
		return "", release, err
	}
	if err := unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return "", release, err
	}
	if err := unix.Listen(l, 0); err != nil {
		return "", release, err
	}
	sa, err := unix.Getsockname(l)
	if err != nil {
		return "", release, err
	}
	for range 16 {
		fd, err := socket()
		if err != nil {
			return "", release, err
		}
		if err := unix.Connect(fd, sa); err != unix.EINPROGRESS && err != nil {
			return "", release, err
		}
		// What is in the queue is writable at once; the first one that is not has been dropped.
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if n, err := unix.Poll(poll, 100); err == nil && n == 0 {
			return fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port), release, nil
		}
	}
	return "", release, errors.New("the queue of a listening socket does not get full")
}
