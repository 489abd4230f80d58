package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"millrace/configs"
	"millrace/internal/explain"
	"millrace/loop"
)

// The outcomes of an explanation.
const (
	routed  = "routed"  // a server gets the request
	refused = "refused" // none does: the proxy answers by itself, or closes the connection
)

// explanation is what explain prints, as JSON has it. Messages are strings in which each character is the byte of its
// number (ISO 8859-1): JSON has no bytes, and a head need not be UTF-8.
type explanation struct {
	Outcome string `json:"outcome"`
	// Status is that of what the client gets, if that is known.
	Status int           `json:"status,omitempty"`
	Reason string        `json:"reason,omitempty"`
	Blame  *settingValue `json:"blame,omitempty"` // the setting behind the reason

	Client     string `json:"client"` // empty on a unix socket
	Method     string `json:"method,omitempty"`
	Target     string `json:"target,omitempty"`
	Host       string `json:"host,omitempty"`
	Path       string `json:"path,omitempty"`              // that routes are chosen by
	Normalized string `json:"normalized_target,omitempty"` // by http_parseopts
	Rewritten  string `json:"rewritten_target,omitempty"`  // by routing.rewrite_once
	Request    string `json:"request"`                     // as the client sends it

	Listener listenerText `json:"listener"`
	Routes   []routeText  `json:"routes,omitempty"` // in order, up to the one that matches
	// Mapped is the setting that has the route come before all others; Routes has only that then.
	Mapped  *settingValue `json:"mapped,omitempty"`
	Backend *backendText  `json:"backend,omitempty"`
	Tunnel  string        `json:"tunnel,omitempty"` // "upgrade", "connect", "sock"

	Sent     string `json:"sent,omitempty"`     // what the server gets
	Answer   string `json:"answer,omitempty"`   // the proxy's own answer
	Received string `json:"received,omitempty"` // what the client gets of the response
	Cut      bool   `json:"cut,omitempty"`      // the response ends before its body does

	Timeouts         []settingValue `json:"timeouts"`
	Limits           []settingValue `json:"limits"`
	ListenerSettings []settingValue `json:"listener_settings,omitempty"`
	RouteSettings    []settingValue `json:"route_settings,omitempty"`
	BackendSettings  []settingValue `json:"backend_settings,omitempty"`
}

// settingValue is a key with the value in force, as a file would have it.
type settingValue struct {
	Key   string `json:"key"`
	Value string `json:"value,omitempty"`
	At    string `json:"at,omitempty"` // file:line:column; empty for a default
}

type listenerText struct {
	Name string `json:"name"`
	At   string `json:"at"`
}

type routeText struct {
	Index   int        `json:"index"`
	Name    string     `json:"name,omitempty"`
	At      string     `json:"at"`
	Matches bool       `json:"matches"`
	Misses  []missText `json:"misses,omitempty"`
}

// missText is a condition that keeps a route from matching.
type missText struct {
	settingValue
	// Not says that the request meets it, and must not.
	Not bool `json:"not,omitempty"`
}

type backendText struct {
	Name    string   `json:"name"`
	At      string   `json:"at"`
	Balance string   `json:"balance"`
	Servers []string `json:"servers"`
	// Server gets the request. It is certain, or one that the balance may choose.
	Server  string `json:"server,omitempty"`
	Certain bool   `json:"certain"`
	// Keyed says that the balance goes by a key of the request, Session that the server has the request's session.
	Keyed   bool `json:"keyed,omitempty"`
	Session bool `json:"session,omitempty"`
}

// newExplanation puts what a plan says together with where the file says it.
func newExplanation(x *loop.Explanation, o *configs.Origins, q loop.Question) *explanation {
	e := &explanation{
		Outcome: routed, Status: x.Status, Reason: x.Reason,
		Method: latin1(x.Method), Target: latin1(x.Target), Host: latin1(x.Host), Path: latin1(x.Path), Normalized: latin1(x.Normalized), Rewritten: latin1(x.Rewritten),
		Tunnel: x.Tunnel, Request: latin1(q.Request), Sent: latin1(x.Sent), Answer: latin1(x.Answer), Received: latin1(x.Received), Cut: x.Cut,
	}
	if x.Refused() {
		e.Outcome = refused
	}
	if x.Client.IsValid() {
		e.Client = x.Client.String()
	}
	if x.Blame != "" {
		blame := valueOf(o.Find(x.Blame))
		e.Blame = &blame
	}
	listener := fmt.Sprintf("listener[%d]", q.Listener)
	e.Listener = listenerText{x.Listener.Name, o.Find(listener + ".address").At}
	for _, try := range x.Tries {
		e.Routes = append(e.Routes, tried(try, o))
	}
	if x.Mapped {
		mapping := valueOf(o.Find("routing.map_extensions"))
		e.Mapped = &mapping
	}
	e.settle(x, o, q.Listener)
	e.ListenerSettings = append(values(o.Under(listener), true), values(o.Under(listener+".socket"), true)...)
	for _, s := range o.Under("http_parseopts") {
		if s = o.Find(listener + "." + s.Key); s.At != "" {
			e.ListenerSettings = append(e.ListenerSettings, valueOf(s))
		}
	}
	if x.Route >= 0 {
		route := fmt.Sprintf("route[%d]", x.Route)
		for _, table := range []string{route, route + ".not", route + ".request", route + ".response"} {
			e.RouteSettings = append(e.RouteSettings, values(o.Under(table), true)...)
		}
	}
	if b := x.Backend; b != nil {
		key := "backend." + b.Name
		e.BackendSettings = backendSettings(o, key)
		e.Backend = &backendText{Name: b.Name, At: o.Find(key).At, Certain: x.Steady, Keyed: x.Keyed, Session: x.Session}
		e.Backend.Balance, _ = strconv.Unquote(o.Find(key + ".balance").Value)
		for _, s := range b.Servers {
			e.Backend.Servers = append(e.Backend.Servers, s.Name)
		}
		if x.Server >= 0 {
			e.Backend.Server = b.Servers[x.Server].Name
		}
	}
	return e
}

// settle says which timeouts and limits are in force. What parses nothing has few.
func (e *explanation) settle(x *loop.Explanation, o *configs.Origins, listener int) {
	raw := x.Listener.Backend != nil
	for _, s := range o.Timeouts(listener, x.Route) {
		if !raw || strings.HasSuffix(s.Key, ".connect") || strings.HasSuffix(s.Key, ".tunnel_idle") {
			e.Timeouts = append(e.Timeouts, valueOf(s))
		}
	}
	for _, s := range o.Under("limits") {
		if !raw || s.Key == "limits.connections_per_client" {
			e.Limits = append(e.Limits, valueOf(s))
		}
	}
	for _, key := range []string{"server.max_connections", "server.memory_limit", "server.drain_timeout"} {
		e.Limits = append(e.Limits, valueOf(o.Find(key)))
	}
}

// backendSettings is what is in force for a backend: of its servers and sockets what the file says of them, of other tables
// everything, if the file has them.
func backendSettings(o *configs.Origins, key string) []settingValue {
	list := values(o.Under(key), false)
	for i := 0; ; i++ {
		server := o.Under(fmt.Sprintf("%s.server[%d]", key, i))
		if len(server) == 0 {
			break
		}
		list = append(list, values(server, true)...)
	}
	for _, table := range []string{key + ".sticky_cookie", key + ".health", key + ".ejection"} {
		if o.Find(table).At != "" {
			list = append(list, values(o.Under(table), false)...)
		}
	}
	list = append(list, values(o.Under(key+".socket"), true)...)
	for i := range list {
		if list[i].Key == key+".sticky_cookie.secret" {
			list[i].Value = `"..."` // explanations are passed on
		}
	}
	return list
}

func tried(try loop.Try, o *configs.Origins) routeText {
	key := fmt.Sprintf("route[%d]", try.Route)
	r := routeText{Index: try.Route, At: o.Find(key).At, Matches: len(try.Misses) == 0}
	r.Name, _ = strconv.Unquote(o.Find(key + ".name").Value)
	for _, m := range try.Misses {
		condition := key + "." + m.Key
		if m.Not {
			condition = key + ".not." + m.Key
		}
		s := o.Find(condition)
		if m.Index >= 0 {
			s = o.Element(condition, m.Index)
		}
		r.Misses = append(r.Misses, missText{valueOf(s), m.Not})
	}
	return r
}

func valueOf(s configs.Setting) settingValue { return settingValue{s.Key, s.Value, s.At} }

// values are settings, or those of them that the file has.
func values(list []configs.Setting, given bool) (out []settingValue) {
	for _, s := range list {
		if !given || s.At != "" {
			out = append(out, valueOf(s))
		}
	}
	return out
}

// latin1 makes a string of bytes, a character of each.
func latin1[T string | []byte](b T) string {
	runes := make([]rune, len(b))
	for i := range len(b) {
		runes[i] = rune(b[i])
	}
	return string(runes)
}

// bytesOf is what latin1 was made of.
func bytesOf(s string) []byte {
	var b []byte
	for _, c := range s {
		b = append(b, byte(c))
	}
	return b
}

// print writes the explanation for people.
func (e *explanation) print(out io.Writer) error {
	buffered := bufio.NewWriter(out)
	w := tabwriter.NewWriter(buffered, 0, 0, 2, ' ', 0)
	e.printWhat(w)
	e.printRoutes(w)
	e.printWhere(w)
	printMessage(w, "The server gets:", e.Sent)
	printMessage(w, "The client gets from the proxy:", e.Answer)
	printMessage(w, "The client gets of the response:", e.Received)
	if e.Cut {
		fmt.Fprint(w, "\nThe response ends before its body does.\n")
	}
	for _, s := range []struct {
		title string
		list  []settingValue
	}{
		{"Timeouts", e.Timeouts},
		{"Limits", e.Limits},
		{"What the listener says", e.ListenerSettings},
		{"What the route says", e.RouteSettings},
		{"What is in force for the backend", e.BackendSettings},
	} {
		printSettings(w, s.title, s.list)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return buffered.Flush()
}

// printWhat says what was asked.
func (e *explanation) printWhat(w io.Writer) {
	if e.Tunnel != "sock" {
		fmt.Fprintf(w, "Request\t%s %s\n", visible(e.Method), visible(e.Target))
		if e.Host != "" {
			fmt.Fprintf(w, "Host\t%s\n", visible(e.Host))
		}
	}
	client := e.Client
	if client == "" {
		client = "without an address"
	}
	fmt.Fprintf(w, "Client\t%s\n", client)
	fmt.Fprintf(w, "Listener\t%s (%s)\n", visible(e.Listener.Name), e.Listener.At)
	if e.Normalized != "" && e.Normalized != e.Target {
		fmt.Fprintf(w, "Target\t%s, by http_parseopts\n", visible(e.Normalized))
	}
	if e.Rewritten != "" {
		fmt.Fprintf(w, "Target\t%s, by rewrite_once\n", visible(e.Rewritten))
	}
	if e.Path != "" {
		fmt.Fprintf(w, "Path\t%s\n", visible(e.Path))
	}
}

// printRoutes says which routes were tried.
func (e *explanation) printRoutes(w io.Writer) {
	if len(e.Routes) == 0 {
		return
	}
	fmt.Fprint(w, "\nRoutes\n")
	for _, r := range e.Routes {
		verdict := "does not match"
		if r.Matches {
			verdict = "matches"
		}
		name := fmt.Sprintf("route[%d]", r.Index)
		if r.Name != "" {
			name += " " + strconv.Quote(r.Name)
		}
		fmt.Fprintf(w, "  %s (%s) %s\n", name, r.At, verdict)
		if m := e.Mapped; m != nil {
			fmt.Fprintf(w, "    before all others, by %s = %s (%s)\n", m.Key, m.Value, m.At)
		}
		for _, m := range r.Misses {
			what := "is not met"
			if m.Not {
				what = "is met"
			}
			fmt.Fprintf(w, "    %s = %s (%s) %s\n", m.Key, m.Value, m.At, what)
		}
	}
}

// printWhere says where the request goes, or why it goes nowhere.
func (e *explanation) printWhere(w io.Writer) {
	fmt.Fprint(w, "\n")
	if e.Reason != "" {
		status := ""
		if e.Status != 0 {
			status = strconv.Itoa(e.Status) + ": "
		}
		what := "Refused"
		if e.Outcome == routed || e.Status/100 == 2 {
			what = "Answer"
		}
		fmt.Fprintf(w, "%s\t%s%s\n", what, status, visible(e.Reason))
		if b := e.Blame; b != nil {
			text := b.Key
			if b.Value != "" {
				text += " = " + b.Value
			}
			fmt.Fprintf(w, "Because of\t%s (%s)\n", text, placeOr(b.At))
		}
	}
	b := e.Backend
	if b == nil {
		return
	}
	fmt.Fprintf(w, "Backend\t%s (%s), balance %s\n", b.Name, b.At, b.Balance)
	switch {
	case b.Server == "":
	case b.Certain && len(b.Servers) == 1:
		fmt.Fprintf(w, "Server\t%s, the only one\n", b.Server)
	case b.Session:
		fmt.Fprintf(w, "Server\t%s, by the request's session, of %s\n", b.Server, strings.Join(b.Servers, ", "))
	case b.Certain && b.Keyed:
		fmt.Fprintf(w, "Server\t%s, by the request, of %s\n", b.Server, strings.Join(b.Servers, ", "))
	case b.Certain:
		fmt.Fprintf(w, "Server\t%s, of %s\n", b.Server, strings.Join(b.Servers, ", "))
	default:
		fmt.Fprintf(w, "Server\tany that may be picked of %s; here %s\n", strings.Join(b.Servers, ", "), b.Server)
	}
	if e.Tunnel != "" {
		fmt.Fprintf(w, "Tunnel\t%s\n", map[string]string{
			"upgrade": "if the server switches protocols",
			"connect": "the server is told nothing of the request",
			"sock":    "bytes pass both ways, nothing is parsed",
		}[e.Tunnel])
	}
}

func placeOr(at string) string {
	if at == "" {
		return "default"
	}
	return at
}

// printMessage shows a message line by line, and the beginning of its body.
func printMessage(w io.Writer, title, message string) {
	if message == "" {
		return
	}
	fmt.Fprintf(w, "\n%s\n", title)
	lines, body := explain.Lines(bytesOf(message))
	for _, l := range lines {
		fmt.Fprintf(w, "  %s\n", visible(latin1(l)))
	}
	if len(body) == 0 {
		return
	}
	fmt.Fprint(w, "\n")
	const most = 1 << 10
	for l := range bytes.Lines(body[:min(len(body), most)]) {
		fmt.Fprintf(w, "  %s\n", visible(latin1(bytes.TrimRight(l, "\r\n"))))
	}
	if len(body) > most {
		fmt.Fprintf(w, "  ... and %d bytes more\n", len(body)-most)
	}
}

func printSettings(w *tabwriter.Writer, title string, list []settingValue) {
	if len(list) == 0 {
		return
	}
	w.Flush() // the columns of what is above do not matter here
	fmt.Fprintf(w, "\n%s\n", title)
	for _, s := range list {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", s.Key, s.Value, placeOr(s.At))
	}
	w.Flush()
}

// visible shows what a terminal would act upon, and what is not ASCII, as \xNN. Its argument is one of latin1.
func visible(s string) string {
	var b strings.Builder
	for _, c := range s {
		if c < ' ' || c >= 0x7f {
			fmt.Fprintf(&b, `\x%02x`, c)
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}
