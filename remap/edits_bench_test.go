package remap

import "testing"

// tenEdits are ten edits of each request and ten of each response: those of bench/peers/millrace-edits.toml.
func tenEdits(t testing.TB) EditOptions {
	lines := func(texts ...string) (list []FieldLine) {
		for i := 0; i < len(texts); i += 2 {
			list = append(list, FieldLine{texts[i], template(t, texts[i+1])})
		}
		return list
	}
	return EditOptions{
		MapURLPath:        pairs("/", "/"),
		MapHostRequest:    pairs("-", "origin.internal"),
		MapHostResponse:   pairs("-", "-"),
		Forwarded:         ForwardedFor | ForwardedProto | ForwardedHost,
		ReverseCookiePath: pairs("/in", "/out"),
		Request: FieldEdits{
			Set:    lines("X-Client", "$client_addr:$client_port", "X-Env", "bench", "X-Target", "$target"),
			Add:    lines("X-Agent", "$http_user_agent"),
			Remove: []string{"X-Secret", "X-Debug", "X-Internal-*"},
		},
		Response: FieldEdits{
			Set:    lines("X-Status", "$status", "X-Served-By", "$server", "Strict-Transport-Security", "max-age=31536000"),
			Add:    lines("Vary", "Origin"),
			Remove: []string{"X-Powered-By", "X-Sendfile", "X-Accel-*"},
		},
	}
}

// editedExchange returns what writes the heads of a request of a browser and of its response, with the edits, or without any.
func editedExchange(t testing.TB, e *Edits) func() {
	text := []byte(head("GET /shop/items?page=2 HTTP/1.1", "Host: www.example.org", "User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
		"Accept: text/html,application/xhtml+xml", "Accept-Language: en", "Accept-Encoding: gzip, br", "Cookie: session=0123456789abcdef"))
	answer := []byte(head("HTTP/1.1 302 Found", "Server: nginx", "Date: Sat, 21 Nov 2026 12:00:00 GMT", "Content-Type: text/html",
		"Content-Length: 0", "Location: http://origin.internal/shop/", "Set-Cookie: session=0123456789abcdef; Path=/in", "X-Powered-By: x"))
	r, s := parseRequest(t, string(text)), parseResponse(t, string(answer))
	dst := make([]byte, 0, 4096)
	f := RequestFacts{ClientAddr: []byte("192.0.2.7"), Proto: "http"}
	var g ResponseFacts
	trip := new(Trip)
	if e != nil {
		f.Trip, g.Trip = trip, trip
	}
	return func() {
		if e != nil {
			trip.Begin(e)
			trip.Head, trip.Req, trip.Scheme, trip.ClientAddr, trip.ClientPort = text, r, "http", f.ClientAddr, 50312
			trip.Server, trip.ServerHost = "10.0.0.9:8080", "10.0.0.9:8080"
		}
		AppendRequest(dst, text, r, &f)
		AppendResponse(dst, answer, s, &g)
	}
}

func TestTenEditsDoNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, editedExchange(t, NewEdits(tenEdits(t)))); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkEdits writes both heads of an exchange.
func BenchmarkEdits(b *testing.B) {
	for _, bb := range []struct {
		name  string
		edits *Edits
	}{{"none", nil}, {"ten", NewEdits(tenEdits(b))}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			exchange := editedExchange(b, bb.edits)
			for b.Loop() {
				exchange()
			}
		})
	}
}
