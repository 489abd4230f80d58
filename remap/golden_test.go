package remap_test

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"millrace/configs"
	"millrace/httpparse"
	"millrace/internal/golden"
	"millrace/loop"
	"millrace/remap"
)

// TestGolden plays the examples of internal/golden that are about tables and edits alone, without a socket: the same heads
// have to come out. internal/e2e plays all of them against the binary.
func TestGolden(t *testing.T) {
	files, err := golden.ReadAll("../internal/golden/testdata")
	if err != nil {
		t.Fatal(err)
	}
	played := 0
	for _, f := range files {
		for _, c := range f.Cases {
			if len(c.Problems) > 0 {
				continue // it is about the configuration alone
			}
			t.Run(c.ID, func(t *testing.T) {
				p := newPlayer(t, c)
				for i := range c.Steps {
					p.play(t, &c.Steps[i])
				}
			})
			played++
		}
	}
	if played < 100 {
		t.Errorf("only %d examples", played)
	}
}

// player is a configuration compiled, with addresses that nobody listens on.
type player struct {
	plan      *loop.Plan
	addresses map[string]string
}

func newPlayer(t *testing.T, c *golden.Case) player {
	p := player{addresses: map[string]string{golden.Listener: "127.0.0.1:19101"}}
	for i, name := range c.Origins() {
		p.addresses[name] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(20001+i)).String()
	}
	plan, err := configs.Parse(t.Context(), "f", []byte(golden.Fill(c.Config, p.addresses)), nil)
	if err != nil {
		t.Fatal(err)
	}
	p.plan = plan
	return p
}

func (p player) play(t *testing.T, s *golden.Step) {
	head := []byte(golden.Fill(s.Request, p.addresses))
	r := &httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 40)}}
	n, err := httpparse.ParseRequest(head, 0, r)
	if err != nil {
		t.Fatalf("%v in %q", err, head)
	}
	head = head[:n]
	body, err := httpparse.RequestFraming(head, r)
	if err != nil {
		t.Fatal(err)
	}
	path := r.Path.Of(head)
	if len(path) == 0 {
		path = []byte("/") // of absolute-form
	}
	var target []byte // if it was rewritten
	if w := p.plan.Rewrites; w != nil {
		asked := append(path[:len(path):len(path)], r.PathQuery.Of(head)[r.Path.Len():]...)
		out, changed, ok := w.Append(nil, asked)
		if !ok {
			if s.Origin != "" {
				t.Errorf("%q is refused", head)
			}
			return
		}
		if changed {
			target = out
			path, _, _ = bytes.Cut(target, []byte("?"))
		}
	}
	normal, ok := remap.NormalPath(nil, path)
	if !ok {
		t.Fatalf("no normal form of the path in %q", head)
	}
	client := netip.MustParseAddr("127.0.0.1")
	i, ok := p.plan.Table.Match(&remap.Incoming{Client: client, Path: normal, Req: r, Head: head, Target: target})
	if !ok || p.plan.Routes[i].Backend == nil {
		if s.Origin != "" {
			t.Errorf("no route for %q, which %s is to get", head, s.Origin)
		}
		return // what else the client gets is the loop's business
	}
	route := p.plan.Routes[i]
	at := slices.IndexFunc(route.Backend.Servers, func(b *loop.BackendServer) bool { return b.Name == p.addresses[s.Origin] })
	if at < 0 {
		t.Errorf("%q goes to backend %s, want %q", head, route.Backend.Name, s.Origin)
		return
	}
	server := route.Backend.Servers[at]
	facts := remap.RequestFacts{Target: target, ClientAddr: []byte("127.0.0.1"), Proto: p.plan.Listeners[0].Scheme, Body: body}
	var trip remap.Trip
	if route.Edits != nil {
		trip.Begin(route.Edits)
		trip.Head, trip.Req, trip.Scheme, trip.ClientAddr = head, r, facts.Proto, facts.ClientAddr
		trip.Local = append(trip.Local, p.addresses[golden.Listener]...)
		trip.Server, trip.ServerHost, trip.ServerPath = server.Name, server.Host, server.Root
		facts.Trip = &trip
	}
	got := string(remap.AppendRequest(nil, head, r, &facts))
	if got = golden.Blank(got, p.addresses); got != s.Got || trip.Refused {
		t.Errorf("the origin got (refused: %v)\n%s\nwant\n%s\nof\n%s", trip.Refused, got, s.Got, s.Request)
	}
	p.playResponse(t, s, r, route, facts.Trip)
}

func (p player) playResponse(t *testing.T, s *golden.Step, req *httpparse.Request, route *loop.Route, trip *remap.Trip) {
	text := []byte(golden.Fill(s.Response, p.addresses))
	r := &httpparse.Response{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 40)}}
	n, err := httpparse.ParseResponse(text, 0, r)
	if err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	if route.ErrorOverride.Has(r.Status) {
		return // the loop's business too
	}
	body, err := httpparse.ResponseFraming(text[:n], r, req.Method)
	if err != nil {
		t.Fatal(err)
	}
	facts := remap.ResponseFacts{Body: body, Close: !req.Persistent(), Trip: trip}
	got := string(remap.AppendResponse(nil, text[:n], r, &facts)) + string(text[n:])
	if got = golden.Blank(got, p.addresses); got != s.Answer {
		t.Errorf("the client got\n%s\nwant\n%s\nof\n%s", got, s.Answer, strings.TrimSpace(s.Response))
	}
}
