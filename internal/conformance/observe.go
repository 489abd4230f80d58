package conformance

import (
	"slices"
	"strings"
	"time"
)

// Observation is what has happened when a case was played against a proxy of which nothing is known.
type Observation struct {
	Case *Case
	// Origins is what each of the origin's connections has got.
	Origins [][]byte
	// Client is what the client has got. Closed and Reset say how that ended; neither, that it did not.
	Client        []byte
	Closed, Reset bool
}

// How long an unknown proxy may keep everybody waiting: it is not known what it waits for. idle is the silence after
// which nothing more is expected, and most what one step may take.
const (
	idle = 300 * time.Millisecond
	most = 3 * time.Second
)

// Observe plays a case, its bytes whole, against a proxy that may do otherwise than the case says: a step that waits
// ends when its time is over, and an origin that gets a request that nobody expects answers it.
func (r *Runner) Observe(c *Case) (*Observation, error) {
	p, err := r.begin(c, Delivery{})
	if err != nil {
		return nil, err
	}
	defer p.end()
	for i, s := range c.Steps {
		p.observe(s)
		if s.Kind == OriginSends && !originActs(c.Steps[i+1:]) {
			p.closeIfAsked(p.talks)
		}
	}
	for {
		p.settle(func() bool { return p.client.ended || p.pending() != nil })
		s := p.pending()
		if s == nil {
			break
		}
		p.answer(s)
		p.seenAll(s)
		p.closeIfAsked(s)
	}
	if !p.client.ended && len(p.client.in) == 0 {
		// It waits for more. That nothing more comes may bring it to say something.
		p.client.endWrite()
		p.settle(func() bool { return p.client.ended })
	}
	p.look(50 * time.Millisecond) // what was sent to the origin when the client had its answer already
	o := &Observation{Case: c, Client: p.client.in, Closed: p.client.ended && !p.client.reset, Reset: p.client.reset}
	for _, s := range p.origins {
		o.Origins = append(o.Origins, s.in)
	}
	return o, nil
}

// originActs reports whether the origin does something by itself before it gets another request.
func originActs(steps []Step) bool {
	for _, s := range steps {
		switch s.Kind {
		case OriginSends, OriginEnds, OriginResets:
			return true
		case OriginGets:
			return false
		}
	}
	return false
}

// closeIfAsked ends an origin's connection whose last request says that it is the last: some proxies wait for that.
func (p *play) closeIfAsked(s *socket) {
	if s == nil {
		return
	}
	got, _ := ReadRequests(s.in)
	if len(got) == 0 {
		return
	}
	options := strings.ToLower(got[len(got)-1].Get("Connection"))
	old := got[len(got)-1].Version == "HTTP/1.0" && !strings.Contains(options, "keep-alive")
	if old || strings.Contains(options, "close") {
		s.endWrite()
	}
}

// settle waits until cond reports true, or nothing has happened for a while.
func (p *play) settle(cond func() bool) {
	start := time.Now()
	last := start
	for !cond() {
		if p.look(10 * time.Millisecond) {
			last = time.Now()
		}
		if now := time.Now(); now.Sub(last) > idle || now.Sub(start) > most {
			return
		}
	}
}

// observe does one step, as far as that is possible.
func (p *play) observe(s Step) {
	switch s.Kind {
	case ClientSends:
		p.offer(p.client, s.Data)
	case OriginSends:
		if p.talks != nil {
			p.offer(p.talks, s.Data)
			p.seenAll(p.talks)
		}
	case OriginGets:
		p.settle(func() bool { return p.client.ended || p.arrived(s.Data) })
		if c := p.speaking(); c != nil {
			p.talks = c
			c.seen = len(c.in)
			if p.c.answered {
				p.answer(c)
				p.seenAll(c)
				p.closeIfAsked(c)
			}
		}
	case ClientGets:
		p.client.want = append(p.client.want, s.Data...)
		want, _ := ReadResponses(p.client.want, false, p.heads)
		p.settle(func() bool {
			got, err := ReadResponses(p.client.in, false, p.heads)
			return p.client.ended || err != nil || finals(got) >= finals(want) && finals(want) > 0
		})
	case UntilRead:
		p.untilRead(p.client, idle)
		if p.talks != nil {
			p.untilRead(p.talks, idle)
		}
	case ClientEnds:
		p.client.endWrite()
	case ClientResets:
		p.client.abort()
	case OriginEnds, OriginResets, OriginLosesConn:
		if p.talks == nil {
			return
		}
		switch s.Kind {
		case OriginEnds:
			p.talks.endWrite()
		case OriginResets:
			p.talks.abort()
		default:
			c := p.talks
			p.settle(func() bool { return c.ended })
		}
	}
}

// offer sends data for as long as somebody takes it.
func (p *play) offer(s *socket, data []byte) {
	p.settle(func() bool {
		n := s.write(data)
		data = data[n:]
		return len(data) == 0
	})
}

// arrived reports whether a connection of the origin has got a request that is complete, or will never be; or any, if
// what the case expects is not complete either.
func (p *play) arrived(want []byte) bool {
	s := p.speaking()
	if s == nil {
		return false
	}
	if expected, err := ReadRequests(want); err == nil && len(expected) > 0 && !expected[len(expected)-1].Complete {
		got, _ := ReadRequests(s.in)
		return len(got) > 0 && got[len(got)-1].Method != "" && len(got[len(got)-1].Body) >= len(expected[len(expected)-1].Body)
	}
	return complete(s)
}

// complete reports whether an origin's connection holds nothing but complete requests, or something wrong.
func complete(s *socket) bool {
	got, err := ReadRequests(s.in)
	return err != nil || len(got) > 0 && got[len(got)-1].Complete
}

// pending returns a connection of the origin that waits for an answer.
func (p *play) pending() *socket {
	i := slices.IndexFunc(p.origins, func(s *socket) bool {
		got, err := ReadRequests(s.in)
		n := 0
		for _, m := range got {
			if m.Complete {
				n++
			}
		}
		if err != nil {
			n++ // whatever it is, somebody waits
		}
		return !s.ended && s.answered < n
	})
	if i < 0 {
		return nil
	}
	return p.origins[i]
}

// seenAll notes that everything that an origin's connection has got is answered.
func (p *play) seenAll(s *socket) {
	s.seen = len(s.in)
	got, err := ReadRequests(s.in)
	s.answered = len(got)
	if err != nil {
		s.answered++
	}
}

// finals counts the complete responses that are not interim ones.
func finals(messages []*Message) (n int) {
	for _, m := range messages {
		if m.Complete && m.Status >= 200 {
			n++
		}
	}
	return n
}
