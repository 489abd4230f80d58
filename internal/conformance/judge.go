package conformance

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Judge holds an observation against what the RFCs leave open to a proxy. It returns nil if that is kept to, else what
// the proxy has done.
func (o *Observation) Judge() error {
	c := o.Case
	requests, err := o.requests()
	if err != nil {
		return fmt.Errorf("passes on %w", err)
	}
	responses, wrong := ReadResponses(o.Client, o.Closed, c.headRequests())
	refused := o.refused(responses, wrong)
	if whole(requests) == 0 && (refused && c.Accept.Refuse || wrong == nil && c.Accept.Answer) {
		return nil
	}
	if whole(requests) == 0 && !c.Forwards() {
		return fmt.Errorf("passes nothing on, %s", o.answer(responses, wrong))
	}
	if !c.Forwards() {
		// millrace refuses the request, this one does not.
		if !c.Accept.Forward {
			return fmt.Errorf("passes it on, %s", describe(requests))
		}
		if n := len(requests); !c.Accept.has("requests") && n != 1 {
			return fmt.Errorf("makes %d requests of it, %s", n, describe(requests))
		}
		return o.needs(requests, responses, wrong)
	}
	if err := o.sameRequests(requests); err != nil {
		return fmt.Errorf("%w, %s", err, o.answer(responses, wrong))
	}
	if refused && c.Accept.Refuse {
		return o.needsOf(requests, responses, wrong, true)
	}
	if !c.Accept.Forward {
		return fmt.Errorf("passes the response on: %s", o.answer(responses, wrong))
	}
	if wrong != nil {
		return fmt.Errorf("sends the client %w", wrong)
	}
	if err := o.sameResponses(responses); err != nil {
		return err
	}
	return o.needs(requests, responses, wrong)
}

// requests reads what the origin has got, on all its connections.
func (o *Observation) requests() (all []*Message, err error) {
	for _, b := range o.Origins {
		got, err := ReadRequests(b)
		if err != nil {
			return nil, err
		}
		all = append(all, got...)
	}
	return all, nil
}

// whole counts the requests that are complete.
func whole(requests []*Message) (n int) {
	for _, m := range requests {
		if m.Complete {
			n++
		}
	}
	return n
}

// refused reports whether the client has been told, or shown, that something is wrong: the last answer is an error, or
// it is incomplete, or there is none.
func (o *Observation) refused(responses []*Message, wrong error) bool {
	if wrong != nil {
		return false
	}
	if len(responses) == 0 {
		return true
	}
	if (o.Closed || o.Reset) && finals(responses) < o.answers() {
		return true
	}
	last := responses[len(responses)-1]
	return last.Status >= 400 || !last.Complete
}

// answers is how many final responses millrace gives.
func (o *Observation) answers() int {
	messages, _ := ReadResponses(o.wanted(), true, o.Case.headRequests())
	n := finals(messages)
	for _, status := range o.Case.Then[0].Statuses {
		if status >= 200 {
			n++
		}
	}
	return n
}

// wanted is what the client gets from millrace, as far as the case says it byte for byte.
func (o *Observation) wanted() (stream []byte) {
	for _, s := range o.Case.Steps {
		if s.Kind == ClientGets {
			stream = append(stream, s.Data...)
		}
	}
	return stream
}

// sameRequests compares what the origin has got with what it gets from millrace: the same requests with the same
// content.
func (o *Observation) sameRequests(got []*Message) error {
	var stream []byte
	for _, s := range o.Case.Steps {
		if s.Kind == OriginGets {
			stream = append(stream, s.Data...)
		}
	}
	want, err := ReadRequests(stream)
	if err != nil {
		panic(fmt.Sprintf("conformance: %v: the origin is to get %v", o.Case, err))
	}
	if o.Case.Accept.has("requests") {
		return nil // needs looks at them
	}
	if len(got) != len(want) {
		return fmt.Errorf("passes %d requests on, not %d", len(got), len(want))
	}
	for i, m := range got {
		w := want[i]
		switch {
		case m.Method != w.Method:
			return fmt.Errorf("makes %s of %s", m.Method, w.Method)
		case w.Complete && !m.Complete:
			return errors.New("passes on a part of the request")
		case w.Complete && string(m.Body) != string(w.Body):
			return fmt.Errorf("makes the content %q of %q", excerpt(string(m.Body)), excerpt(string(w.Body)))
		}
	}
	return nil
}

// sameResponses compares what the client has got with what it gets from millrace, where millrace passes a response on:
// the same final statuses, with the same content.
func (o *Observation) sameResponses(got []*Message) error {
	c := o.Case
	var want []*Message
	stream := o.wanted()
	switch {
	case stream != nil:
		want, _ = ReadResponses(stream, true, c.headRequests())
	case c.answered:
		for _, n := range c.Then[0].Statuses {
			want = append(want, &Message{Status: n, Complete: true})
		}
	default:
		return nil // millrace refuses the response, or shows that it is incomplete: see needs
	}
	got, want = slices.DeleteFunc(slices.Clone(got), interim), slices.DeleteFunc(want, interim)
	if n := len(want) - 1; c.Accept.Refuse && n > 0 && len(got) == n && want[n].Status >= 400 {
		want = want[:n] // it waits for more of what millrace refuses, or has closed the connection
	}
	if len(got) != len(want) {
		return fmt.Errorf("gives the client %d responses, not %d", len(got), len(want))
	}
	for i, m := range got {
		w := want[i]
		switch {
		case m.Status >= 400 && w.Status >= 400 && stream == nil: // both refuse it
		case m.Status != w.Status:
			return fmt.Errorf("answers %d, not %d", m.Status, w.Status)
		case !m.Complete:
			return fmt.Errorf("cuts the answer %d off", m.Status)
		case stream != nil && string(m.Body) != string(w.Body):
			return fmt.Errorf("makes the content %q of %q", excerpt(string(m.Body)), excerpt(string(w.Body)))
		}
	}
	return nil
}

// interim reports whether a message is a response before the final one (RFC 9110, 15.2).
func interim(m *Message) bool { return m.Status >= 100 && m.Status < 200 }

// answer says what the client has got.
func (o *Observation) answer(responses []*Message, wrong error) string {
	end := ""
	switch {
	case o.Reset:
		end = ", resets"
	case !o.Closed && len(responses) == 0:
		end = ", waits"
	}
	if wrong != nil {
		return "answers with " + wrong.Error() + end
	}
	if len(responses) == 0 {
		return "answers nothing" + end
	}
	s := "answers"
	for _, m := range responses {
		s += fmt.Sprintf(" %d", m.Status)
		if !m.Complete {
			s += " (cut)"
		}
	}
	return s + end
}

// describe names requests.
func describe(requests []*Message) string {
	var s []string
	for _, m := range requests {
		one := excerpt(m.Method + " " + m.Target)
		if len(m.Body) > 0 {
			one += " with " + strconv.Quote(excerpt(string(m.Body)))
		}
		if !m.Complete {
			one += " (incomplete)"
		}
		s = append(s, one)
	}
	return "as " + strings.Join(s, " and ")
}

// has reports whether there is a need of a kind.
func (a *Accept) has(kind string) bool {
	return slices.ContainsFunc(a.Needs, func(n Need) bool { return n.Kind == kind })
}

func (o *Observation) needs(requests, responses []*Message, wrong error) error {
	return o.needsOf(requests, responses, wrong, false)
}

// needsOf checks the case's needs; those about requests only, if the response has been refused.
func (o *Observation) needsOf(requests, responses []*Message, wrong error, requestsOnly bool) error {
	for _, n := range o.Case.Accept.Needs {
		if err := o.need(n, requests, responses, wrong, requestsOnly); err != nil {
			return err
		}
	}
	return nil
}

func (o *Observation) need(n Need, requests, responses []*Message, wrong error, requestsOnly bool) error {
	switch n.Kind {
	case "requests":
		if got := whole(requests); strconv.Itoa(got) != n.Value {
			return fmt.Errorf("passes %d requests on, not %s, %s", got, n.Value, describe(requests))
		}
	case "body", "method", "target", "host", "has", "lacks", "unmerged":
		if len(requests) == 0 {
			return errors.New("passes nothing on")
		}
		return n.ofRequest(requests[0])
	}
	if requestsOnly {
		return nil
	}
	switch n.Kind {
	case "statuses":
		var got []string
		for _, m := range responses {
			got = append(got, strconv.Itoa(m.Status))
		}
		if s := strings.Join(got, " "); s != n.Value {
			return fmt.Errorf("answers %s, not %s", s, n.Value)
		}
	case "closed":
		if !o.Closed && !o.Reset {
			return errors.New("keeps the connection")
		}
	case "content", "gives", "hides", "incomplete":
		if wrong != nil {
			return fmt.Errorf("sends the client %w", wrong)
		}
		if len(responses) == 0 {
			return errors.New("answers nothing")
		}
		return n.ofResponse(responses[len(responses)-1], o.Reset)
	}
	return nil
}

// escapes finds percent-encoded bytes, whose letters may be of any case.
var escapes = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

func (n Need) ofRequest(m *Message) error {
	switch n.Kind {
	case "body":
		if string(m.Body) != n.Value {
			return fmt.Errorf("passes the content %q on, not %q", excerpt(string(m.Body)), n.Value)
		}
	case "method":
		if m.Method != n.Value {
			return fmt.Errorf("makes %s of %s", m.Method, n.Value)
		}
	case "target":
		if escapes.ReplaceAllStringFunc(m.Target, strings.ToUpper) != escapes.ReplaceAllStringFunc(n.Value, strings.ToUpper) {
			return fmt.Errorf("makes the target %s of %s", m.Target, n.Value)
		}
	case "host":
		host, _, _ := strings.Cut(m.Get("Host"), ":") // which port a server is told is a matter of configuration
		if host != n.Value {
			return fmt.Errorf("passes it on to the host %q, not %q", m.Get("Host"), n.Value)
		}
	case "has":
		return n.isField(m)
	case "lacks":
		if m.Has(n.Value) {
			return fmt.Errorf("passes %s: %s on", n.Value, excerpt(m.Get(n.Value)))
		}
	case "unmerged":
		name, value, _ := strings.Cut(n.Value, ": ")
		own := []string{"content-length", "transfer-encoding", "connection"} // of the proxy, in the head
		if !slices.Contains(own, strings.ToLower(name)) && strings.Contains(m.Get(name), value) {
			return fmt.Errorf("makes a field %s of the trailer", name)
		}
	}
	return nil
}

func (n Need) ofResponse(m *Message, reset bool) error {
	switch n.Kind {
	case "content":
		if string(m.Body) != n.Value {
			return fmt.Errorf("gives the client the content %q, not %q", excerpt(string(m.Body)), n.Value)
		}
	case "gives":
		return n.isField(m)
	case "hides":
		if m.Has(n.Value) {
			return fmt.Errorf("passes %s: %s on", n.Value, excerpt(m.Get(n.Value)))
		}
	case "incomplete":
		if m.Complete && !reset && m.Status < 400 {
			return fmt.Errorf("answers %d as if it were complete, with %q", m.Status, excerpt(string(m.Body)))
		}
	}
	return nil
}

// isField checks a field line.
func (n Need) isField(m *Message) error {
	name, value, _ := strings.Cut(n.Value, ": ")
	if got := m.Get(name); got != value {
		return fmt.Errorf("makes %s: %s of %s", name, strconv.Quote(excerpt(got)), n.Value)
	}
	return nil
}
