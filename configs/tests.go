package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"millrace/internal/explain"
	"millrace/loop"
	"millrace/remap"
)

// test is a request with what is expected to become of it.
type test struct {
	section
	Request       value[string]          `toml:"request"`
	Headers       value[[]value[string]] `toml:"headers"`
	Client        value[string]          `toml:"client"`
	Listener      value[string]          `toml:"listener"`
	Response      value[string]          `toml:"response"`
	Route         value[string]          `toml:"route"`
	Backend       value[string]          `toml:"backend"`
	Server        value[string]          `toml:"server"`
	Status        value[int64]           `toml:"status"`
	RequestHas    value[[]value[string]] `toml:"request_has"`
	RequestLacks  value[[]value[string]] `toml:"request_lacks"`
	ResponseHas   value[[]value[string]] `toml:"response_has"`
	ResponseLacks value[[]value[string]] `toml:"response_lacks"`

	request  explain.Request
	response []byte
	client   netip.AddrPort
	listener int // index; -1: whichever the URL leads to
	route    int // index; -1: it was not found
}

// defaultTestClient is whom the request of a test comes from that does not say: an address for documentation (RFC 5737).
const defaultTestClient = "192.0.2.1"

// WithTests has [Load] and [Parse] run the tests of the file when it has no other problems. Each expectation that is not
// met is a problem.
func WithTests() Option {
	return func(o *options) { o.runTests = true }
}

// distinctRouteNames checks that no two routes have one name.
func (v validator) distinctRouteNames() {
	first := make(map[string]*route)
	for _, r := range v.f.Routes.items {
		if !r.Name.given || !r.Name.ok {
			continue
		}
		if other := first[r.Name.v]; other != nil {
			v.value(r.Name.place, "%s is the name of %s already (%s)", quoted(r.Name.v), other.key, v.src.at(other.Name.place))
			continue
		}
		first[r.Name.v] = r
	}
}

// tests checks what can be known of the tests without running them.
func (v validator) tests() {
	for _, t := range v.f.Tests.items {
		v.test(t)
	}
}

func (v validator) test(t *test) {
	t.listener, t.route = -1, -1
	headers := make([]string, len(t.Headers.v))
	for i, h := range t.Headers.v {
		headers[i] = h.v
		if _, err := explain.ParseRequest("/", headers[i:i+1]); err != nil {
			v.value(h.place, "%v", err)
			headers[i] = "X-Wrong: reported"
		}
	}
	if t.Request.absent() {
		v.missing(t.place, "request", "is missing: %s", explain.RequestForms)
	} else if t.Request.given && t.Request.ok {
		var err error
		if t.request, err = explain.ParseRequest(t.Request.v, headers); err != nil {
			v.value(t.Request.place, "%v", err)
		}
	}
	if t.Client.ok {
		var err error
		if t.client, err = explain.ParseClient(t.Client.v); err != nil {
			v.value(t.Client.place, "%v", err)
		}
	}
	if t.Response.given && t.Response.ok {
		var err error
		if t.response, err = explain.ParseResponse([]byte(t.Response.v)); err != nil {
			v.value(t.Response.place, "%v", err)
		}
	}
	v.testReferences(t)
	if s := t.Status; s.given && s.ok && (s.v < 100 || s.v > 599) {
		v.value(s.place, "%d is not a status: allowed are 100 to 599", s.v)
	}
	expects := t.near || t.Route.given || t.Backend.given || t.Server.given || t.Status.given
	for _, list := range []value[[]value[string]]{t.RequestHas, t.RequestLacks, t.ResponseHas, t.ResponseLacks} {
		expects = expects || list.given
		if list.given && list.ok && len(list.v) == 0 {
			v.value(list.place, "is empty: leave it out, or list at least one line")
		}
	}
	if !expects {
		v.key(t.place, "expects nothing: say at least one of route, backend, server, status, request_has, request_lacks, response_has and response_lacks")
	}
}

// testReferences looks up what a test names.
func (v validator) testReferences(t *test) {
	if t.Listener.given && t.Listener.ok {
		known := make([]string, len(v.f.Listeners.items))
		unsure := v.f.Listeners.unread()
		for i, l := range v.f.Listeners.items {
			known[i] = l.Name.v
			unsure = unsure || l.Name.near || !l.Name.ok
		}
		if t.listener = slices.Index(known, t.Listener.v); t.listener < 0 && !unsure {
			v.value(t.Listener.place, "%s", unknownName(t.Listener.v, "listener", known))
		} else if t.listener >= 0 && v.f.Listeners.items[t.listener].Protocol.v == "sock" {
			v.value(t.Listener.place, "%s is a sock listener, which parses no requests", quoted(t.Listener.v))
		}
	}
	if t.Route.given && t.Route.ok {
		known := make([]string, len(v.f.Routes.items))
		unsure := v.f.Routes.unread()
		for i, r := range v.f.Routes.items {
			known[i] = r.Name.v
			unsure = unsure || r.Name.near || !r.Name.ok && r.Name.given
		}
		if t.route = slices.Index(known, t.Route.v); (t.route < 0 || t.Route.v == "") && !unsure {
			v.value(t.Route.place, "%s", unknownName(t.Route.v, "route", known))
		}
	}
	if t.Backend.given {
		v.backendIndex(t.Backend)
	}
}

// runTests runs the tests of a file without problems.
func runTests(r *report, f *file, plan *loop.Plan) {
	for _, t := range f.Tests.items {
		run := testRun{r, f, plan, t, nil}
		run.run()
	}
}

type testRun struct {
	*report
	f    *file
	plan *loop.Plan
	t    *test
	x    *loop.Explanation
}

func (r testRun) run() {
	t := r.t
	listener := t.listener
	if listener < 0 {
		listener = r.plan.ListenerFor(t.request.Scheme, t.request.Port)
	}
	if listener < 0 {
		r.value(t.Request.place, "comes by no listener: there is none that parses requests")
		return
	}
	q := loop.Question{Listener: listener, Peer: t.client, Request: t.request.Bytes, Response: t.response}
	if r.plan.Listeners[listener].Path != "" && !t.Client.given {
		q.Peer = netip.AddrPort{} // who comes by a unix socket has no address
	}
	r.x = r.plan.Explain(q)
	r.wantRoute()
	r.wantBackend()
	r.wantServer()
	r.wantStatus()
	sent, _ := explain.Lines(r.x.Sent)
	r.wantLines(sent, "the server", r.x.Sent == nil, t.RequestHas, t.RequestLacks)
	received := r.x.Received
	if r.x.Refused() || received == nil {
		received = r.x.Answer
	}
	r.wantLines(finalHead(received), "the client", received == nil, t.ResponseHas, t.ResponseLacks)
}

// finalHead returns the lines of a response's head, behind those of interim responses.
func finalHead(response []byte) []string {
	for {
		lines, rest := explain.Lines(response)
		if len(lines) == 0 || !strings.HasPrefix(lines[0], "HTTP/1.1 1") || strings.HasPrefix(lines[0], "HTTP/1.1 101 ") || len(rest) == 0 {
			return lines
		}
		response = rest
	}
}

// outcome says what became of the request instead of what was expected.
func (r testRun) outcome() string {
	switch x := r.x; {
	case x.Closed, x.Incomplete:
		return "its " + strings.TrimPrefix(x.Reason, "the ")
	case x.Refused():
		return fmt.Sprintf("it gets %d: %s", x.Status, x.Reason)
	default:
		return fmt.Sprintf("it goes to backend %s by %s", quoted(x.Backend.Name), r.routeName(x.Route))
	}
}

func (r testRun) routeName(i int) string {
	rt := r.f.Routes.items[i]
	name := rt.key
	if rt.Name.given {
		name += " " + quoted(rt.Name.v)
	}
	return name + " (" + r.src.at(rt.place) + ")"
}

func (r testRun) wantRoute() {
	want := r.t.Route
	if !want.given || r.x.Route == r.t.route {
		return
	}
	found := "no route: " + r.outcome()
	if r.x.Route >= 0 {
		found = r.routeName(r.x.Route)
	}
	r.value(want.place, "expected %s, found %s", quoted(want.v), found)
}

func (r testRun) wantBackend() {
	want := r.t.Backend
	switch {
	case !want.given:
	case r.x.Refused():
		r.value(want.place, "expected %s, found none: %s", quoted(want.v), r.outcome())
	case r.x.Backend.Name != want.v:
		r.value(want.place, "expected %s, found %s, by %s", quoted(want.v), quoted(r.x.Backend.Name), r.routeName(r.x.Route))
	}
}

func (r testRun) wantServer() {
	want, x := r.t.Server, r.x
	switch {
	case !want.given:
	case x.Refused():
		r.value(want.place, "expected %s, found none: %s", quoted(want.v), r.outcome())
	case !x.Steady:
		r.value(want.place, "expected %s, found any of the servers of backend %s: its balance does not decide by the request", quoted(want.v), quoted(x.Backend.Name))
	case x.Backend.Servers[x.Server].Name != want.v:
		r.value(want.place, "expected %s, found %s", quoted(want.v), quoted(x.Backend.Servers[x.Server].Name))
	}
}

func (r testRun) wantStatus() {
	want, x := r.t.Status, r.x
	switch {
	case !want.given || x.Status == int(want.v):
	case x.Status == 0:
		r.value(want.place, "expected %d, found that %s, which decides about the status; a response = '''...''' stands in for it", want.v, r.outcome())
	case x.Reason == "":
		r.value(want.place, "expected %d, found %d", want.v, x.Status)
	default:
		r.value(want.place, "expected %d, found %d: %s", want.v, x.Status, x.Reason)
	}
}

// wantLines holds lines of a head against those that it is to have, and not to have.
func (r testRun) wantLines(lines []string, whose string, nothing bool, has, lacks value[[]value[string]]) {
	for _, want := range has.v {
		if i := slices.IndexFunc(lines, func(l string) bool { return sameLine(want.v, l) }); i >= 0 {
			continue
		}
		switch similar := fieldLines(lines, want.v); {
		case nothing:
			r.value(want.place, "expected %s, found that %s gets nothing: %s", quoted(want.v), whose, r.outcome())
		case len(similar) > 0:
			r.value(want.place, "expected %s, found %s", quoted(want.v), quotedList(similar))
		default:
			r.value(want.place, "expected %s, found no such line in what %s gets", quoted(want.v), whose)
		}
	}
	for _, unwanted := range lacks.v {
		if i := slices.IndexFunc(lines, func(l string) bool { return sameLine(unwanted.v, l) }); i >= 0 {
			r.value(unwanted.place, "expected no %s, found %s", quoted(unwanted.v), quoted(lines[i]))
		}
	}
}

// sameLine reports whether a line is what is expected: a name matters without its case, and a star stands for any text.
// The first line of a head has no name.
func sameLine(want, line string) bool {
	name, value, ok := fieldOf(want)
	lineName, lineValue, lineOK := fieldOf(line)
	if !ok || !lineOK {
		return remap.MatchesText(want, []byte(line))
	}
	return strings.EqualFold(name, lineName) && remap.MatchesText(value, []byte(lineValue))
}

// fieldOf divides a line into a name and a value.
func fieldOf(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(line, ":")
	return name, strings.Trim(value, " \t"), ok && tokens.MatchString(name)
}

// fieldLines returns the lines with the name that is expected; for a line without a name, the first.
func fieldLines(lines []string, want string) (similar []string) {
	name, _, ok := fieldOf(want)
	if !ok {
		return lines[:min(len(lines), 1)]
	}
	for _, l := range lines {
		if n, _, ok := fieldOf(l); ok && strings.EqualFold(n, name) {
			similar = append(similar, l)
		}
	}
	return similar
}
