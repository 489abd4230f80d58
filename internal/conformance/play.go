package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds each wait for millrace. Cases that pass do not use it up.
const patience = 20 * time.Second

// Delivery is how the bytes of a case arrive. The zero value is in one write for each step.
type Delivery struct {
	// Side is whose bytes are cut: ClientSends or OriginSends.
	Side StepKind
	// Single cuts them behind every byte.
	Single bool
	// At cuts them once, behind so many bytes; 0: not at all.
	At int
}

func (d Delivery) whole() bool { return !d.Single && d.At == 0 }

func (d Delivery) String() string {
	side := "client's"
	if d.Side == OriginSends {
		side = "origin's"
	}
	switch {
	case d.Single:
		return side + " bytes one at a time"
	case d.At > 0:
		return fmt.Sprintf("%s bytes cut behind %d", side, d.At)
	}
	return "whole"
}

// maxCuts is how many places a side's bytes are cut at, at the most: those of long messages are all alike.
const maxCuts = 600

// Deliveries returns all ways in which the case's bytes are to arrive: whole, one byte at a time, and in two parts, cut
// at every place. Of every so many cuts it takes one.
func (c *Case) Deliveries(every int) []Delivery {
	all := []Delivery{{}}
	for _, side := range []StepKind{ClientSends, OriginSends} {
		n := 0
		for _, s := range c.Steps {
			if s.Kind == side {
				n += len(s.Data)
			}
		}
		if n < 2 {
			continue
		}
		if n <= maxCuts {
			all = append(all, Delivery{Side: side, Single: true})
		}
		// Cases begin at different places, so that all kinds of places have their turn.
		step := every * (1 + n/maxCuts)
		for at := 1 + c.Line%every; at < n; at += step {
			all = append(all, Delivery{Side: side, At: at})
		}
	}
	return all
}

// Runner plays cases, one after the other, between a proxy and an origin of its own.
type Runner struct {
	// Origin is where the origin listens: the proxy's one server.
	Origin netip.AddrPort
	// Proxy is where the proxy listens.
	Proxy  netip.AddrPort
	listen int
	diag   *diagnosis
}

// NewRunner opens the origin. Proxy is to be set before a case is played.
func NewRunner() (*Runner, error) {
	diag, err := newDiagnosis()
	if err != nil {
		return nil, err
	}
	fd, address, err := listen()
	if err != nil {
		diag.close()
		return nil, err
	}
	return &Runner{Origin: address, listen: fd, diag: diag}, nil
}

// Close closes the origin.
func (r *Runner) Close() {
	unix.Close(r.listen)
	r.diag.close()
}

// play is one performance of a case.
type play struct {
	*Runner
	c        *Case
	delivery Delivery
	exact    bool // compare byte for byte; else contents in chunks may be cut in another way
	client   *socket
	heads    []bool
	origins  []*socket
	talks    *socket // the origin's connection that has got something last
	sent     int     // bytes, of the side whose bytes are cut
	mayOrig  []byte
	mayCli   []byte
}

// begin connects the client.
func (r *Runner) begin(c *Case, d Delivery) (*play, error) {
	for s := accept(r.listen); s != nil; s = accept(r.listen) {
		s.close() // late for the case before
	}
	client, err := connect(r.Proxy)
	if err != nil {
		return nil, err
	}
	n := 0
	for _, s := range c.Steps {
		n += len(s.Data)
	}
	return &play{Runner: r, c: c, delivery: d, exact: d.whole() && n < 4000, client: client, heads: c.headRequests()}, nil
}

var requestStart = regexp.MustCompile(`(?m)^([A-Z]+) \S+ HTTP/1\.[01]\r?$`)

// headRequests says which of the client's requests are HEAD.
func (c *Case) headRequests() (heads []bool) {
	for _, s := range c.Steps {
		if s.Kind != ClientSends {
			continue
		}
		for _, m := range requestStart.FindAllSubmatch(s.Data, -1) {
			heads = append(heads, string(m[1]) == "HEAD")
		}
	}
	return heads
}

func (p *play) end() {
	p.client.abort()
	for _, s := range p.origins {
		s.close()
	}
}

// look waits for something to happen, and takes what there is.
func (p *play) look(wait time.Duration) (happened bool) {
	fds := []unix.PollFd{{Fd: int32(p.listen), Events: unix.POLLIN}}
	socks := []*socket{nil}
	for _, s := range append([]*socket{p.client}, p.origins...) {
		if !s.ended {
			fds = append(fds, unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN})
			socks = append(socks, s)
		}
	}
	timeout := unix.NsecToTimespec(int64(wait))
	if n, err := unix.Ppoll(fds, &timeout, nil); n <= 0 || err != nil {
		return false
	}
	for i, f := range fds {
		if f.Revents != 0 && socks[i] != nil {
			socks[i].read()
		}
	}
	if fds[0].Revents != 0 {
		for s := accept(p.listen); s != nil; s = accept(p.listen) {
			s.read()
			p.origins = append(p.origins, s)
		}
	}
	return true
}

// until waits until cond reports true, or an error.
func (p *play) until(what string, cond func() (bool, error)) error {
	deadline := time.Now().Add(patience)
	for {
		ok, err := cond()
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", what, err)
		case ok:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%s: nothing more after %v", what, patience)
		}
		p.look(100 * time.Millisecond)
	}
}

// Play plays a case, and returns an error if anything happens that the case does not say, or if something does not
// happen.
func (r *Runner) Play(c *Case, d Delivery) error {
	p, err := r.begin(c, d)
	if err != nil {
		return err
	}
	defer p.end()
	for _, s := range c.Steps {
		if err := p.step(s); err != nil {
			return p.report(fmt.Errorf("line %d: %w", s.Line, err))
		}
	}
	if err := p.finish(); err != nil {
		return p.report(err)
	}
	return nil
}

// report adds what has happened to an error.
func (p *play) report(err error) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: %s, %v: %v\n\tthe client got %q", p.c.File, p.c.Line, p.c, p.delivery, err, clip(p.client.in))
	switch {
	case p.client.reset:
		b.WriteString(", reset")
	case p.client.ended:
		b.WriteString(", closed")
	}
	for i, s := range p.origins {
		fmt.Fprintf(&b, "\n\tthe origin's connection %d got %q", i+1, clip(s.in))
		if s.ended && !s.closed {
			b.WriteString(", closed")
		}
	}
	return errors.New(b.String())
}

func clip(b []byte) string {
	const most = 1000
	if len(b) > most {
		return string(b[:most]) + "..."
	}
	return string(b)
}

func (p *play) step(s Step) error {
	switch s.Kind {
	case ClientSends:
		return p.send(p.client, s.Kind, s.Data)
	case OriginSends:
		return p.send(p.talks, s.Kind, s.Data)
	case OriginGets:
		if err := p.originGets(s.Data); err != nil {
			return err
		}
		if p.c.answered {
			return p.answer(p.talks)
		}
	case ClientGets:
		p.client.want = append(p.client.want, s.Data...)
		return p.until("the client is to get something", func() (bool, error) {
			return p.matches(p.client, p.responses)
		})
	case ClientMayGet:
		p.mayCli = s.Data
	case OriginMayGet:
		p.mayOrig = s.Data
	case UntilRead:
		p.untilRead(p.client, patience)
		if p.talks != nil {
			p.untilRead(p.talks, patience)
		}
	case ClientEnds:
		p.client.endWrite()
	case ClientResets:
		p.client.abort()
	case OriginEnds:
		p.talks.endWrite()
	case OriginResets:
		p.talks.abort()
	case OriginLosesConn:
		c := p.talks
		return p.until("the proxy is to close the origin's connection", func() (bool, error) { return c.ended, nil })
	}
	return nil
}

// send sends a side's bytes, cut as the delivery says.
func (p *play) send(s *socket, side StepKind, data []byte) error {
	if side != p.delivery.Side || p.delivery.whole() {
		return p.write(s, data)
	}
	waits := true // until the proxy does not read on: it may have to do something else first
	for len(data) > 0 {
		n := len(data)
		if left := p.delivery.At - p.sent; left > 0 {
			n = min(n, left)
		}
		if p.delivery.Single {
			n = 1
		}
		if err := p.write(s, data[:n]); err != nil {
			return err
		}
		p.sent += n
		if data = data[n:]; len(data) > 0 && waits {
			waits = p.untilRead(s, 5*time.Millisecond)
		}
	}
	return nil
}

func (p *play) write(s *socket, data []byte) error {
	return p.until("sending", func() (bool, error) {
		data = data[s.write(data):]
		if len(data) > 0 {
			p.look(time.Millisecond)
		}
		return len(data) == 0, nil
	})
}

// untilRead waits until the proxy has read what s has sent, and reports whether it has.
func (p *play) untilRead(s *socket, most time.Duration) bool {
	for deadline := time.Now().Add(most); !s.closed; {
		n, err := p.diag.unread(s)
		if n == 0 || err != nil {
			return err == nil
		}
		if time.Now().After(deadline) {
			return false
		}
		p.look(pollWait)
	}
	return true
}

// okAnswer is what an origin says of which the case does not say it.
const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// answer answers the last request that an origin's connection has got.
func (p *play) answer(s *socket) error {
	answer := okAnswer
	requests, _ := ReadRequests(s.in)
	if n := len(requests); n > 0 && requests[n-1].Method == "HEAD" {
		answer = strings.TrimSuffix(answer, "ok")
	}
	return p.write(s, []byte(answer))
}

// originGets waits until the origin has got exactly data, on one connection, behind what that has got before.
func (p *play) originGets(data []byte) error {
	chosen := false
	return p.until("the origin is to get something", func() (bool, error) {
		if !chosen {
			s := p.speaking()
			if s == nil {
				if p.client.ended {
					return false, errors.New("the client's connection has ended")
				}
				return false, nil
			}
			chosen = true
			p.talks = s
			s.want = append(s.want, data...)
		}
		return p.matches(p.talks, p.requests)
	})
}

// speaking returns an origin's connection that has got something new.
func (p *play) speaking() *socket {
	if p.talks != nil && len(p.talks.in) > p.talks.seen {
		return p.talks
	}
	for _, s := range p.origins {
		if len(s.in) > s.seen {
			return s
		}
	}
	return nil
}

// requests and responses are streams in a form in which they can be compared.
func (p *play) requests(b []byte) string { return canonical(ReadRequests(b)) }

func (p *play) responses(b []byte) string { return canonical(ReadResponses(b, false, p.heads)) }

// matches reports whether s has got what it is to get; an error if it has got something else.
func (p *play) matches(s *socket, form func([]byte) string) (bool, error) {
	got, want := string(s.in), string(s.want)
	if !p.exact {
		got, want = form(s.in), form(s.want)
	}
	switch {
	case got == want:
		s.seen = len(s.in)
		return true, nil
	case !strings.HasPrefix(want, got):
		return false, fmt.Errorf("got\n\t%q, want\n\t%q", clip([]byte(got)), clip([]byte(want)))
	case s.ended:
		return false, fmt.Errorf("the connection has ended, want\n\t%q", clip([]byte(want)))
	}
	return false, nil
}

// finish waits for one of the case's endings.
func (p *play) finish() error {
	var ending *Ending
	err := p.until(fmt.Sprintf("it is to end with %v", p.c.Then), func() (bool, error) {
		for i := range p.c.Then {
			if p.hasEnded(&p.c.Then[i]) {
				ending = &p.c.Then[i]
				return true, nil
			}
		}
		if p.client.ended {
			return false, errors.New("the client's connection has ended otherwise")
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	p.look(0) // whatever has been sent to the origin is there by now
	if err := p.nothingElse(); err != nil {
		return err
	}
	if ending.Origin == "closed" {
		err := p.until("the proxy is to close the origin's connection", func() (bool, error) { return p.talks.ended, nil })
		if err != nil {
			return err
		}
	}
	if ending.End == Kept {
		return p.probe(ending.Origin == "kept")
	}
	return nil
}

// hasEnded reports whether the case has ended in a certain way.
func (p *play) hasEnded(e *Ending) bool {
	c := p.client
	switch {
	case e.End == Kept && c.ended, e.End != Kept && !c.ended && !c.closed, c.reset != (e.End == Reset):
		return false
	}
	messages, err := ReadResponses(c.in, c.ended && !c.reset, p.heads)
	if err != nil {
		return false
	}
	complete := true
	var statuses []int
	for _, m := range messages {
		complete = m.Complete
		if m.Status != 0 {
			statuses = append(statuses, m.Status)
		}
		if p.c.answered && m.Status == 200 && m.Complete && string(m.Body) != "ok" && len(m.Body) > 0 {
			return false
		}
	}
	if complete == e.Cut {
		return false
	}
	if n := len(messages); n > 0 && e.End == Kept && strings.EqualFold(messages[n-1].Get("Connection"), "close") {
		return false // it is only not closed yet
	}
	if e.Statuses != nil {
		return slices.Equal(statuses, e.Statuses)
	}
	got, want := p.responses(c.in), p.responses(c.want)
	if e.Cut {
		most := p.responses(append(bytes.Clone(c.want), p.mayCli...))
		return strings.HasPrefix(got, want) && strings.HasPrefix(most, got)
	}
	return len(c.in) == c.seen
}

// nothingElse checks that the origin has got nothing that the case does not say.
func (p *play) nothingElse() error {
	for _, s := range p.origins {
		if len(s.in) == 0 && !p.c.Forwards() && p.mayOrig == nil {
			return errors.New("the proxy has connected to the origin")
		}
		if len(s.in) == s.seen {
			continue
		}
		got, most := p.requests(s.in), p.requests(append(bytes.Clone(s.want), p.mayOrig...))
		if p.mayOrig == nil || got == most || !strings.HasPrefix(most, got) {
			return fmt.Errorf("the origin has got something that it should not:\n\t%q", clip(s.in[s.seen:]))
		}
		s.seen = len(s.in)
	}
	return nil
}

// The request that shows that a connection is kept, as a client sends it and as the origin gets it, and its answer.
var (
	probeSent   = []byte("GET /probe HTTP/1.1\r\nHost: probe.example\r\n\r\n")
	probeGot    = []byte("GET /probe HTTP/1.1\r\nHost: probe.example\r\n" + Forwarded("probe.example") + "\r\n\r\n")
	probeAnswer = []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nprobe")
)

// probe sends one more request on the client's connection: what came before must have left nothing behind.
func (p *play) probe(sameOrigin bool) error {
	before, talked := len(p.client.in), p.talks
	if err := p.write(p.client, probeSent); err != nil {
		return err
	}
	var s *socket
	err := p.until("the origin is to get another request", func() (bool, error) {
		if s = p.speaking(); s == nil {
			if p.client.ended {
				return false, errors.New("the client's connection has ended")
			}
			return false, nil
		}
		got := s.in[s.seen:]
		if !bytes.HasPrefix(probeGot, got) {
			return false, fmt.Errorf("it got %q", clip(got))
		}
		return len(got) == len(probeGot), nil
	})
	if err != nil {
		return err
	}
	if sameOrigin && s != talked {
		return errors.New("the origin's connection was not used again")
	}
	if err := p.write(s, probeAnswer); err != nil {
		return err
	}
	return p.until("the client is to get the answer to another request", func() (bool, error) {
		got := p.client.in[before:]
		switch {
		case !bytes.HasPrefix(probeAnswer, got):
			return false, fmt.Errorf("it got %q", clip(got))
		case len(got) == len(probeAnswer):
			return true, nil
		case p.client.ended:
			return false, errors.New("the client's connection has ended")
		}
		return false, nil
	})
}
