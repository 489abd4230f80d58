// Package health asks servers whether they can serve, whatever requests say of them. It runs outside of the event
// loops, on goroutines of its own, and tells its caller only what has changed.
package health

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Check is what a server is asked, how often, and which answers are good. It does not change once it is in use.
type Check struct {
	// HTTP sends a request and reads the answer. Without it a connection that is made is answer enough.
	HTTP bool
	// Method, Path and Host are those of the request. Path begins with "/" and may have a query. An empty Host is
	// the server's address.
	Method, Path, Host string
	// Statuses are the final statuses that are good.
	Statuses []StatusRange
	// Body has to occur in the first MaxBody bytes of the content, unless it is empty.
	Body string
	// Port replaces the server's own, unless it is 0 or the server is a unix socket.
	Port uint16
	// Interval is from the end of one check to the beginning of the next, and Jitter the most that is added to it
	// at random, so that many proxies do not ask a server all at once.
	Interval, Jitter time.Duration
	// Timeout bounds one check, from connecting to the last byte that is needed.
	Timeout time.Duration
	// Rise is the number of good checks in a row that bring a server back, and Fall the number of bad ones in a row
	// that take it out. The first check of all decides alone.
	Rise, Fall int
}

// MaxBody is how much of an answer's content is searched for Check.Body, in bytes.
const MaxBody = 64 << 10

// StatusRange is the status codes from First to Last, both included.
type StatusRange struct{ First, Last int }

// String returns the range as a file has it: 200, or 200-299.
func (r StatusRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// ParseStatusRange reads one status, such as "204", or a range of them, such as "200-399". Only final ones are
// statuses of an answer (RFC 9110, 15), so that a range lies within 200 and 599.
func ParseStatusRange(s string) (StatusRange, error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	r := StatusRange{status(first), status(last)}
	if r.First == 0 || r.Last == 0 || r.First > r.Last {
		return StatusRange{}, fmt.Errorf("%q is not a status from 200 to 599, nor a range of them such as 200-399", s)
	}
	return r, nil
}

// status reads a final status code; it is 0 for anything else.
func status(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || len(s) != 3 || n < 200 || n > 599 {
		return 0
	}
	return n
}

// Server is where a server is: a TCP address, or the path of a unix socket.
type Server struct {
	Address netip.AddrPort
	Path    string
	// Preamble is sent first on each connection, whatever is asked then.
	Preamble []byte
	// Control is that of [net.Dialer]; it may be nil.
	Control func(network, address string, c syscall.RawConn) error
}

func (s Server) endpoint(port uint16) (network, address string) {
	if s.Path != "" {
		return "unix", s.Path
	}
	return "tcp", netip.AddrPortFrom(s.Address.Addr(), cmp.Or(port, s.Address.Port())).String()
}

// Watch checks a server until ctx ends. A server counts as up when Watch begins; changed is told when that changes,
// with the reason that the last check gave (nil when it is up again). It is called by one goroutine, and the next
// check waits for it.
func (c *Check) Watch(ctx context.Context, s Server, changed func(up bool, reason error)) {
	p := c.newProbe(s)
	defer p.close()
	state := tally{up: true}
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		err := p.run(ctx)
		if ctx.Err() != nil {
			return // the check was broken off, which says nothing of the server
		}
		if state.count(c, err == nil) {
			changed(state.up, err)
		}
		pause := c.Interval
		if c.Jitter > 0 {
			pause += rand.N(c.Jitter + 1)
		}
		wait.Reset(pause)
	}
}

// tally is what the checks so far have come to.
type tally struct {
	up     bool
	begun  bool
	streak int // checks in a row that speak against up
}

// count adds a check, and reports whether it changes what the server counts as.
func (t *tally) count(c *Check, good bool) bool {
	first := !t.begun
	t.begun = true
	if good == t.up {
		t.streak = 0
		return false
	}
	t.streak++
	needed := c.Fall
	if good {
		needed = c.Rise
	}
	if t.streak < needed && !first {
		return false
	}
	t.up, t.streak = good, 0
	return true
}

// probe checks one server.
type probe struct {
	*Check
	network, address string
	preamble         []byte
	dialer           net.Dialer
	client           *http.Client
	url              string
}

func (c *Check) newProbe(s Server) *probe {
	p := &probe{Check: c, preamble: s.Preamble, dialer: net.Dialer{Control: s.Control}}
	p.network, p.address = s.endpoint(c.Port)
	if !c.HTTP {
		return p
	}
	host := "localhost"
	if p.network == "tcp" {
		host = p.address
	}
	p.url = "http://" + host + c.Path
	p.client = &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return p.dial(ctx)
			},
			// Whether the server takes new connections is part of the question.
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: MaxBody,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return p
}

func (p *probe) close() {
	if p.client != nil {
		p.client.CloseIdleConnections()
	}
}

// run makes one check. The error says in a few words what is wrong with the server.
func (p *probe) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	var err error
	if p.HTTP {
		err = p.request(ctx)
	} else {
		err = p.connect(ctx)
	}
	if err != nil && ctx.Err() == context.DeadlineExceeded {
		return fmt.Errorf("no answer within %v", p.Timeout)
	}
	// What was asked is known already: the kernel's word is the news.
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return err
}

// dial makes a connection on which the preamble has been sent.
func (p *probe) dial(ctx context.Context) (net.Conn, error) {
	conn, err := p.dialer.DialContext(ctx, p.network, p.address)
	if err != nil || len(p.preamble) == 0 {
		return conn, err
	}
	if _, err := conn.Write(p.preamble); err != nil { // a few bytes, which the kernel takes at once
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func (p *probe) connect(ctx context.Context) error {
	conn, err := p.dial(ctx)
	if err != nil {
		return err
	}
	conn.Close()
	return nil
}

func (p *probe) request(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, p.Method, p.url, http.NoBody)
	if err != nil {
		return err
	}
	r.Host = p.Host // empty: the URL's
	r.Header.Set("User-Agent", "millrace-health-check")
	answer, err := p.client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	good := func(r StatusRange) bool { return r.First <= answer.StatusCode && answer.StatusCode <= r.Last }
	if !slices.ContainsFunc(p.Statuses, good) {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	if p.Body == "" {
		return nil
	}
	content, err := io.ReadAll(io.LimitReader(answer.Body, MaxBody))
	switch {
	case bytes.Contains(content, []byte(p.Body)):
		return nil // whatever became of the rest
	case err != nil:
		return err
	}
	return fmt.Errorf("%q is not in its answer", p.Body)
}
