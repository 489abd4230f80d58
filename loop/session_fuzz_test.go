package loop

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"millrace/httpparse"
)

// FuzzSession plays scripts, and judges what has come of them: see script_test.go for what a script can do.
//
// Whatever clients and origins do: nothing crashes; everything borrowed is given back; what an origin gets is requests
// that net/http and our own parser read the same way, and that clients have sent; a request that is not
// idempotent reaches origins once, any other at most twice; a response that is complete for its reader
// is the one that an origin completed for that very request, or one of the proxy's own.
func FuzzSession(f *testing.F) {
	for _, script := range sessionScripts {
		f.Add([]byte("u" + script))
		f.Add([]byte("t" + script))
	}
	worlds := newWorlds(f)
	f.Fuzz(func(t *testing.T, script []byte) {
		if tagPattern.Match(script) {
			t.Skip("forged tags")
		}
		r := worlds.of(script).play(script)
		if err := errors.Join(r.judge()...); err != nil {
			t.Errorf("%v\n%s", err, r)
		}
	})
}

// worlds are one over unix sockets, and one over TCP.
type worlds [2]*world

func newWorlds(t testing.TB) (w worlds) {
	t.Helper()
	w = worlds{newWorld(t, false), newWorld(t, true)}
	files, err := countFiles()
	if err != nil {
		t.Fatal(err)
	}
	for i := range w {
		w[i].files = files
	}
	return w
}

// of returns the one that a script asks for.
func (w worlds) of(script []byte) *world {
	if len(script) > 0 && script[0] == 't' {
		return w[1]
	}
	return w[0]
}

// String tells what was sent and got.
func (r *scriptRun) String() string {
	var b strings.Builder
	tell := func(name string, i int, p *plug) {
		end := "open"
		switch {
		case p.reset:
			end = "closed by the script"
		case p.cut:
			end = "cut"
		case p.ended:
			end = "ended"
		}
		fmt.Fprintf(&b, "%s %d sent %s\n\tgot %s, %s\n", name, i, excerpt(string(p.sent)), excerpt(string(p.got)), end)
	}
	for i, p := range r.clients {
		tell("client", i, p)
	}
	for i, p := range r.origins {
		tell("origin connection", i, p)
	}
	return b.String()
}

// judge returns everything that is wrong.
func (r *scriptRun) judge() (wrong []error) {
	wrong = append(wrong, r.leaks()...)
	asked := map[string]asked{}
	for _, p := range r.clients {
		for _, a := range p.asks() {
			if a.tag != noTag {
				asked[a.tag] = a
			}
		}
	}
	seen := map[string]int{}
	for i, p := range r.origins {
		if err := p.judgeOrigin(asked, seen); err != nil {
			wrong = append(wrong, fmt.Errorf("origin connection %d: %w", i, err))
		}
	}
	for i, p := range r.clients {
		if err := r.judgeClient(p); err != nil {
			wrong = append(wrong, fmt.Errorf("client %d: %w", i, err))
		}
	}
	return wrong
}

// leaks looks for what was not given back. Closing takes the proxy a moment.
func (r *scriptRun) leaks() (wrong []error) {
	w := r.w
	var g glance
	for range 10_000 {
		if g = w.look(); g.open == 0 && g.idle == 0 && g.watched == w.watched {
			break
		}
	}
	if g.open != 0 || g.idle != 0 || g.buffers != 0 || g.requests != 0 || g.watched != w.watched {
		wrong = append(wrong, fmt.Errorf("all have left, and there are %d sessions, %d idle connections, %d buffers, "+
			"%d requests in flight, %d descriptors instead of %d", g.open, g.idle, g.buffers, g.requests, g.watched, w.watched))
	}
	if n := w.srv.conns.Load(); n != 0 {
		wrong = append(wrong, fmt.Errorf("%d connections are counted when all have left", n))
	}
	for i, what := range []string{"sessions", "exchanges", "backend connections"} {
		if g.spares[i] < w.spares[i] {
			wrong = append(wrong, fmt.Errorf("of %d %s in stock %d have come back", w.spares[i], what, g.spares[i]))
		}
	}
	w.spares = g.spares
	if n, err := countFiles(); err != nil || n != w.files {
		wrong = append(wrong, fmt.Errorf("%d files are open, %d were (%v)", n, w.files, err))
	}
	return wrong
}

// asked is a request as a client sent it, and as net/http reads it.
type asked struct {
	method, tag string
	body        []byte
	complete    bool
}

// asks reads the requests that a client has sent, up to the first that net/http refuses.
func (p *plug) asks() (all []asked) {
	for b := p.sent; ; {
		req, body, size, err := readRequest(b)
		if req == nil {
			return all
		}
		all = append(all, asked{req.Method, tagOf(req.RequestURI), body, err == nil})
		if err != nil {
			return all
		}
		b = b[size:]
	}
}

// judgeOrigin looks at what an origin got on one connection. seen counts the requests with each tag.
func (p *plug) judgeOrigin(sent map[string]asked, seen map[string]int) error {
	for b := p.got; len(b) > 0; {
		theirs, body, size, err := readRequest(b)
		ours, ourSize, ourErr := ourRequest(b)
		if theirs == nil {
			if ours != nil || !errors.Is(err, io.ErrUnexpectedEOF) || ourErr != httpparse.ErrNeedMore {
				return fmt.Errorf("net/http finds no request (%v), and we %v (%v), in %s", err, ours, ourErr, excerpt(string(b)))
			}
			// The beginning of a head, which the proxy has not completed.
			if line, _, whole := strings.Cut(string(b), "\r\n"); whole {
				method, _, _ := strings.Cut(line, " ")
				return see(method, tagOf(line), seen)
			}
			return nil
		}
		if ours == nil {
			return fmt.Errorf("net/http finds %s %s, and we %v, in %s", theirs.Method, theirs.RequestURI, ourErr, excerpt(string(b)))
		}
		if theirs.Method != ours.method || theirs.RequestURI != ours.target || theirs.Host != ours.host || (err == nil) != (ourErr == nil) ||
			!bytes.Equal(body, ours.body) || err == nil && size != ourSize {
			return fmt.Errorf("net/http finds %s %s for %q with %d bytes in %d (%v), and we %s %s for %q with %d bytes in %d (%v)",
				theirs.Method, theirs.RequestURI, theirs.Host, len(body), size, err,
				ours.method, ours.target, ours.host, len(ours.body), ourSize, ourErr)
		}
		tag := tagOf(theirs.RequestURI)
		if err := see(theirs.Method, tag, seen); err != nil {
			return err
		}
		if a, ok := sent[tag]; ok {
			if a.method != theirs.Method || !bytes.HasPrefix(a.body, body) || err == nil && (!a.complete || len(body) != len(a.body)) {
				return fmt.Errorf("%s %s with %s (%v): sent was %s with %s (complete: %t)",
					theirs.Method, tag, excerpt(string(body)), err, a.method, excerpt(string(a.body)), a.complete)
			}
		}
		if err != nil {
			return nil // the proxy has not completed it
		}
		b = b[size:]
	}
	return nil
}

// see counts a request.
func see(method, tag string, seen map[string]int) error {
	if tag == noTag {
		return nil
	}
	seen[tag]++
	most := 1
	if slices.Contains([]string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"}, method) {
		most = 2
	}
	if seen[tag] > most {
		return fmt.Errorf("%s %s has come %d times", method, tag, seen[tag])
	}
	return nil
}

// ownRequest is a request as our own parser reads it.
type ownRequest struct {
	method, target, host string
	body                 []byte
}

// ourRequest reads a request as a session would. There is none if its head is incomplete or refused.
func ourRequest(b []byte) (*ownRequest, int, error) {
	req := httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 64)}}
	n, err := httpparse.ParseRequest(b, 0, &req)
	if err != nil {
		return nil, 0, err
	}
	framing, err := httpparse.RequestFraming(b[:n], &req)
	if err != nil {
		return nil, 0, err
	}
	own := &ownRequest{method: string(req.MethodName.Of(b)), target: string(req.Target.Of(b)), host: string(req.Authority.Of(b))}
	var p pump
	p.start(framing, false)
	out, used, err := p.frame(nil, window{b, n, len(b), false})
	if err == nil && !p.done {
		err = io.ErrUnexpectedEOF
	}
	own.body = out
	return own, n + used, err
}

// answer is a response as net/http reads it. An error is why it is not complete.
type answer struct {
	res  *http.Response
	body []byte
	err  error
}

// readAnswer reads a response, after interim ones.
func readAnswer(in *bufio.Reader, method string) answer {
	for {
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return answer{err: err}
		}
		if res.StatusCode < 200 {
			continue
		}
		body, err := io.ReadAll(res.Body)
		return answer{res, body, err}
	}
}

// failing is the end of a stream that did not end in order.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("cut") }

// stream reads b, and then its end.
func stream(b []byte, inOrder bool) *bufio.Reader {
	if inOrder {
		return bufio.NewReader(bytes.NewReader(b))
	}
	return bufio.NewReader(io.MultiReader(bytes.NewReader(b), failing{}))
}

// judgeClient looks at what a client got.
func (r *scriptRun) judgeClient(p *plug) error {
	in := stream(p.got, p.ended && !p.cut)
	for _, request := range p.asks() {
		got := readAnswer(in, request.method)
		if got.res == nil {
			return nil
		}
		for _, tag := range tagPattern.FindAllString(string(got.body)+fmt.Sprint(got.res.Header), -1) {
			if request.tag != noTag && tag != request.tag {
				return fmt.Errorf("%s %s got what answers %s: %v %s", request.method, request.tag, tag, got.res, excerpt(string(got.body)))
			}
		}
		if got.err != nil {
			return nil // it shows that it was cut
		}
		if request.tag == noTag || got.own(request.method) {
			continue
		}
		if !r.w.tcp && got.res.ContentLength < 0 && got.res.TransferEncoding == nil {
			continue // a unix socket has no reset that would show a cut
		}
		if err := r.wasGiven(request, got); err != nil {
			return err
		}
	}
	return nil
}

// own reports whether a response may be one of the proxy's.
func (a answer) own(method string) bool {
	line := fmt.Sprintf("%d %s\n", a.res.StatusCode, http.StatusText(a.res.StatusCode))
	return a.res.StatusCode >= 400 && a.res.ContentLength == int64(len(line)) && (method == http.MethodHead || string(a.body) == line)
}

// endedInOrder reports whether the proxy may have seen the end of an origin's connection as one that was meant: a FIN,
// whatever came behind it, or over a unix socket a close.
func (p *plug) endedInOrder(tcp bool) bool { return p.finSent || p.reset && !tcp }

// wasGiven says whether an origin has given that very answer to the request, completely.
func (r *scriptRun) wasGiven(request asked, got answer) error {
	var given []string
	for _, p := range r.origins {
		for i, head := range p.heads {
			if head.tag != request.tag {
				continue
			}
			answer, last := p.sent[head.answer:], true
			if i+1 < len(p.heads) {
				answer, last = p.sent[head.answer:p.heads[i+1].answer], false
			}
			was := readAnswer(stream(answer, last && p.endedInOrder(r.w.tcp)), head.method)
			if was.res == nil {
				given = append(given, fmt.Sprintf("%s (%v)", excerpt(string(answer)), was.err))
				continue
			}
			if was.err == nil && was.res.StatusCode == got.res.StatusCode && bytes.Equal(was.body, got.body) {
				return nil
			}
			given = append(given, fmt.Sprintf("%v with %s (%v)", was.res.Status, excerpt(string(was.body)), was.err))
		}
	}
	return fmt.Errorf("%s %s got %s with %s, complete; given was %q", request.method, request.tag,
		got.res.Status, excerpt(string(got.body)), given)
}

// countFiles counts what the process has open.
func countFiles() (int, error) {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	return len(names), err
}

// TestScriptsPutTogetherByChance plays scripts of commands that the seeds are made of: the fuzzer changes bytes, and takes
// long to come by two messages that have to do with each other.
func TestScriptsPutTogetherByChance(t *testing.T) {
	const scripts = 300
	var commands []string
	for _, s := range sessionScripts {
		commands = append(commands, strings.Split(s, "\x00")...)
	}
	tr := newTrace(t)
	worlds := newWorlds(t)
	for seed := range uint64(scripts) {
		rng := rand.New(rand.NewPCG(seed, 0))
		script := []string{}
		for range 3 + rng.IntN(20) {
			c := commands[rng.IntN(len(commands))]
			if at := rng.IntN(8 * len(c)); at > 0 && at < len(c) {
				c = c[:at] // a part of it, and perhaps the rest later
				if rng.IntN(2) == 0 {
					script = append(script, c, "q", c[:1]+commands[rng.IntN(len(commands))][1:])
					continue
				}
			}
			script = append(script, c)
			if rng.IntN(2) == 0 {
				script = append(script, "q")
			}
		}
		text := string("ut"[rng.IntN(2)]) + strings.Join(script, "\x00")
		r := worlds.of([]byte(text)).play([]byte(text))
		if err := errors.Join(r.judge()...); err != nil {
			tr.Fatalf("seed %d: %q\n%v\n%s", seed, text, err, r)
		}
	}
}
