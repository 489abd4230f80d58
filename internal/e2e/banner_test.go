package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// mailServer speaks SMTP as far as one client needs it (RFC 5321), and keeps the mails that it has taken.
type mailServer struct {
	mu    sync.Mutex
	mails []string
	errs  []error
}

// startMailServer listens at an address of a network, and is gone when the test ends.
func startMailServer(t *testing.T, network, address string) (m *mailServer, at string) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	m = &mailServer{}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(time.Minute))
				if err := m.serve(c); err != nil {
					m.mu.Lock()
					m.errs = append(m.errs, err)
					m.mu.Unlock()
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
		if err := errors.Join(m.errs...); err != nil {
			t.Errorf("the mail server: %v", err)
		}
	})
	return m, l.Addr().String()
}

// serve speaks first, and then answers.
func (m *mailServer) serve(conn net.Conn) error {
	c := textproto.NewConn(conn)
	if err := c.PrintfLine("220 mail.example.org ESMTP"); err != nil {
		return err
	}
	for {
		line, err := c.ReadLine()
		if err == io.EOF {
			return nil // a client that only wanted to see the banner
		}
		if err != nil {
			return err
		}
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		answer := "250 fine"
		switch verb {
		case "DATA":
			if err := c.PrintfLine("354 go on"); err != nil {
				return err
			}
			mail, err := c.ReadDotBytes()
			if err != nil {
				return err
			}
			m.mu.Lock()
			m.mails = append(m.mails, string(mail))
			m.mu.Unlock()
		case "QUIT":
			return c.PrintfLine("221 goodbye")
		case "EHLO", "HELO", "MAIL", "RCPT":
		default:
			answer = "502 not here"
		}
		if err := c.PrintfLine("%s", answer); err != nil {
			return err
		}
	}
}

// TestTheServerSpeaksFirst has curl send a mail through a sock listener: SMTP's client says nothing before it has been
// greeted. So has netcat nothing to say, and reads the greeting.
func TestTheServerSpeaksFirst(t *testing.T) {
	needs(t, "curl", "nc")
	socket := filepath.Join(openDir(t), "mail")
	overTCP, tcp := startMailServer(t, "tcp", "127.0.0.1:0")
	overUnix, _ := startMailServer(t, "unix", socket)
	eachSock(t, false, tcp, socket, func(t *testing.T, p *sockProxy) {
		var text strings.Builder
		text.WriteString("Subject: a mail\n\n")
		for line := range 20_000 {
			fmt.Fprintf(&text, "this is line %d of a mail that is not short\n", line)
		}
		file := filepath.Join(t.TempDir(), "mail")
		if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, time.Minute, 0, "curl", "--silent", "--show-error", "--max-time", "50", "smtp://"+p.listen, "--mail-from",
			"from@example.org", "--mail-rcpt", "to@example.org", "--crlf", "--upload-file", file)
		// -N: netcat ends its side at once, having nothing to say, and hears the other side out.
		greeting := run(t, time.Minute, 0, "sh", "-c", `exec nc -N "$@" </dev/null`, "sh", "127.0.0.1", p.port())
		if greeting != "220 mail.example.org ESMTP\r\n" {
			t.Errorf("netcat was greeted with %q", greeting)
		}
		byServer, ok := p.finish(t)
		m := overTCP
		if byServer["unix:"+socket] > 0 {
			m = overUnix
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(m.mails) != 1 || m.mails[0] != text.String() {
			t.Errorf("%d mails have arrived, want the one that was sent", len(m.mails))
		}
		if n := total(byServer); n != 2 || ok != 2 {
			t.Errorf("%d connections, %d of them ended in order by both sides, want 2", n, ok)
		}
	})
}

// TestHalfClose has netcat and a server send a file each, end their side, and go on hearing the other's. Whoever has
// little to say has ended long before the other. The server is another netcat where it is the one that ends first: a
// netcat that listens leaves when its client has ended, whatever it still had to say.
func TestHalfClose(t *testing.T) {
	needs(t, "nc")
	const much = 24 << 20
	for _, c := range []struct {
		name           string
		client, server int // bytes
	}{
		{"both", much, much},
		{"client soon", 1, much},
		{"server soon", much, 1},
		{"client at once", 0, much},
		{"server at once", much, 0},
		{"neither says anything", 0, 0},
	} {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(c.name+" "+network, func(t *testing.T) {
				dir := openDir(t)
				path := func(name string) string { return filepath.Join(dir, name) }
				said := [2][]byte{bytesOf(1, c.client), bytesOf(2, c.server)}
				for i, name := range []string{"client", "server"} {
					if err := os.WriteFile(path(name), said[i], 0o600); err != nil {
						t.Fatal(err)
					}
				}
				server := freeAddr(t)
				if network == "unix" {
					server = "unix:" + path("socket")
				}
				files := func(from, to string) []string {
					return []string{"-c", `from=$1 to=$2 && shift 2 && exec nc "$@" <"$from" >"$to"`, "sh", path(from), path(to)}
				}
				var over func()
				if c.server <= c.client/2 {
					over = listenWithNetcat(t, server, files("server", "heard by server"))
				} else {
					over = listenOnce(t, server, said[1], path("heard by server"))
				}
				p := startSock(t, "", server)
				run(t, time.Minute, 0, "sh", append(files("client", "heard by client"), "-N", "127.0.0.1", p.port())...)
				over()
				for i, name := range []string{"heard by server", "heard by client"} {
					heard, err := os.ReadFile(path(name))
					if err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(heard, said[i]) {
						t.Errorf("%s: %d bytes, want the %d that were said", name, len(heard), len(said[i]))
					}
				}
				if byServer, ok := p.finish(t); total(byServer) != 1 || ok != 1 {
					t.Errorf("connections: %v, %d of them ended in order, want one", byServer, ok)
				}
			})
		}
	}
}

// listenWithNetcat has a netcat, started by the words before its arguments, serve one connection. over waits for its end.
func listenWithNetcat(t *testing.T, address string, words []string) (over func()) {
	t.Helper()
	args := append(words, "-v", "-N", "-l")
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		args = append(args, "-U", path)
	} else {
		host, port, _ := strings.Cut(address, ":")
		args = append(args, host, port)
	}
	p := start(t, "sh", args...)
	eventually(t, 20*time.Second, "netcat listens", func() bool { return p.said("Listening on") })
	return func() {
		t.Helper()
		if code := p.wait(t, time.Minute); code != 0 {
			t.Errorf("the server's netcat ended with %d", code)
		}
	}
}

// listenOnce is a server of one connection: it says what it has to say, ends its side, and writes to a file what it
// hears meanwhile and afterwards.
func listenOnce(t *testing.T, address string, say []byte, heard string) (over func()) {
	t.Helper()
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		defer l.Close()
		c, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		said := make(chan error, 1)
		go func() {
			_, err := c.Write(say)
			said <- errors.Join(err, c.(interface{ CloseWrite() error }).CloseWrite())
		}()
		b, err := io.ReadAll(c)
		served <- errors.Join(err, <-said, os.WriteFile(heard, b, 0o600))
	}()
	t.Cleanup(func() { l.Close() })
	return func() {
		t.Helper()
		if err := <-served; err != nil {
			t.Errorf("the server: %v", err)
		}
	}
}

// bytesOf is n bytes that a seed makes.
func bytesOf(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}
