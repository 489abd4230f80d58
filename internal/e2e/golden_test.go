package e2e

import (
	"bufio"
	"bytes"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/internal/golden"
)

var update = flag.Bool("update", false, "write what becomes of requests and responses into internal/golden/testdata instead of comparing it")

// TestGolden plays the examples of internal/golden: each has a configuration, requests, and what origin and client must
// get, to the byte.
func TestGolden(t *testing.T) {
	files, err := golden.ReadAll("../golden/testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f.Path), ".golden"), func(t *testing.T) { playFile(t, f) })
		if *update {
			if err := os.WriteFile(f.Path, []byte(f.Text()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func playFile(t *testing.T, f *golden.File) {
	players := make(map[string]*player) // by configuration
	for _, c := range f.Cases {
		if len(c.Problems) > 0 {
			t.Run(c.ID, func(t *testing.T) { playProblems(t, c) })
			continue
		}
		p := players[c.Name]
		if p == nil {
			p = newPlayer(t, c)
			players[c.Name] = p
		}
		t.Run(c.ID, func(t *testing.T) {
			for i := range c.Steps {
				p.play(t, f, c, &c.Steps[i])
			}
		})
	}
}

// playProblems has the program check a configuration.
func playProblems(t *testing.T, c *golden.Case) {
	addresses := map[string]string{golden.Listener: "127.0.0.1:8080"}
	for _, name := range c.Origins() {
		addresses[name] = "127.0.0.1:9000"
	}
	path := writeConfig(t, golden.Fill(c.Config, addresses))
	p := start(t, binary(t), "check", "--config", path)
	p.wait(t, time.Minute)
	p.told = true
	got := strings.ReplaceAll(strings.TrimSuffix(p.out.String(), "\n"), path, "{config}")
	if *update {
		c.Problems = strings.Split(got, "\n")
		return
	}
	if want := strings.Join(c.Problems, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// player is the program with the configuration of some cases, between a client and recording origins.
type player struct {
	listener  string
	addresses map[string]string

	mu       sync.Mutex
	response string // what the next request is answered with
	origin   string // which got it
	got      string
}

func newPlayer(t *testing.T, c *golden.Case) *player {
	p := &player{listener: freeAddr(t)}
	p.addresses = map[string]string{golden.Listener: p.listener}
	for _, name := range c.Origins() {
		p.addresses[name] = p.listen(t, name)
	}
	startProxy(t, "[access_log]\npath = \"off\"\n"+golden.Fill(c.Config, p.addresses))
	return p
}

// listen starts an origin and returns its address.
func (p *player) listen(t *testing.T, name string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		conns.Wait()
	})
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { p.serve(name, c) })
		}
	})
	return l.Addr().String()
}

// healthPath is what health checks of configurations ask for.
const healthPath = "/health"

// serve records the requests of a connection, and answers them.
func (p *player) serve(name string, c net.Conn) {
	defer c.Close()
	var record bytes.Buffer
	in := bufio.NewReader(io.TeeReader(c, &record))
	for {
		record.Reset()
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		response := golden.DefaultResponse
		if r.URL.Path != healthPath { // which nobody has sent
			p.mu.Lock()
			p.origin, p.got = name, record.String()
			response = golden.Fill(p.response, p.addresses)
			p.mu.Unlock()
		}
		if _, err := io.WriteString(c, response); err != nil || r.Close || strings.Contains(response, "\r\nConnection: close\r\n") {
			return
		}
	}
}

// play sends a request and compares what becomes of it.
func (p *player) play(t *testing.T, f *golden.File, c *golden.Case, s *golden.Step) {
	p.mu.Lock()
	p.response, p.origin, p.got = s.Response, "", ""
	if s.Response == "" {
		p.response = golden.DefaultResponse // nobody is to ask for it
	}
	p.mu.Unlock()
	answer := p.ask(t, golden.Fill(s.Request, p.addresses))
	p.mu.Lock()
	got := golden.Step{
		Request: s.Request, Origin: p.origin, Got: golden.Blank(p.got, p.addresses),
		Response: s.Response, Answer: golden.Blank(answer, p.addresses),
	}
	p.mu.Unlock()
	if *update {
		if got.Response == "" && got.Origin != "" {
			got.Response = golden.DefaultResponse
		}
		*s = got
		return
	}
	for _, x := range []struct{ what, got, want string }{
		{"the origin that was asked", got.Origin, s.Origin},
		{"the origin got", got.Got, s.Got},
		{"the client got", got.Answer, s.Answer},
	} {
		if x.got != x.want {
			t.Errorf("%s:%d: %s: %s\n%s\nwant\n%s\nof\n%s", f.Path, c.Line, c.About, x.what, x.got, x.want, s.Request)
		}
	}
}

// ask sends a request on a connection of its own and returns the answer as it came.
func (p *player) ask(t *testing.T, request string) string {
	c, err := dial(p.listener)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	var record bytes.Buffer
	method, _, _ := strings.Cut(request, " ")
	r, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c, &record)), &http.Request{Method: method})
	if err == nil {
		_, err = io.Copy(io.Discard, r.Body)
	}
	if err != nil {
		t.Fatalf("%v in the answer to\n%s", err, request)
	}
	return record.String()
}
