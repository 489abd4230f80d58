package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// echoMax is the largest message.
const echoMax = 16 << 20

// startEcho is a WebSocket server that sends each message back as it came, and ends with its client.
func startEcho(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"echo"}})
		if err != nil {
			return // it has answered
		}
		defer c.CloseNow()
		c.SetReadLimit(echoMax)
		for {
			kind, message, err := c.Read(r.Context())
			if err != nil {
				if status := websocket.CloseStatus(err); status != websocket.StatusNormalClosure {
					t.Errorf("echo: %v", err)
				}
				return
			}
			if err := c.Write(r.Context(), kind, message); err != nil {
				t.Errorf("echo: %v", err)
				return
			}
		}
	})}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("echo: %v", err)
		}
	})
	return l.Addr().String()
}

// TestWebSocketEcho sends messages of 1 byte to 16 MiB through WebSockets, several at a time, and gets each of them
// back, copied and spliced.
func TestWebSocketEcho(t *testing.T) {
	for _, splice := range []string{"on", "off"} {
		t.Run("splice "+splice, func(t *testing.T) {
			listen, logged := freeAddr(t), t.TempDir()+"/access.log"
			startProxy(t, fmt.Sprintf(`
[server]
splice = %q
[access_log]
path = %q
format = '$status $end'
[[listener]]
address = %q
[[route]]
path = "/refused"
backend = "echo"
[[route]]
backend = "echo"
upgrade = ["websocket"]
[backend.echo]
servers = [%q]
`, splice, logged, listen, startEcho(t)))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, res, err := websocket.Dial(ctx, "ws://"+listen+"/refused", nil); err == nil || res == nil || res.StatusCode != http.StatusUpgradeRequired {
				t.Errorf("a route without upgrade: got %v, %v", res, err)
			}
			const clients = 4
			inParallel(t, clients, clients, func(i int) error {
				c, _, err := websocket.Dial(ctx, "ws://"+listen+"/", &websocket.DialOptions{Subprotocols: []string{"echo"}})
				if err != nil {
					return err
				}
				defer c.CloseNow()
				if c.Subprotocol() != "echo" {
					return fmt.Errorf("the protocol is %q", c.Subprotocol())
				}
				c.SetReadLimit(echoMax)
				rng := rand.NewChaCha8([32]byte{byte(i)})
				for size := 1; size <= echoMax; size *= 4 {
					message := make([]byte, size)
					rng.Read(message)
					sent := make(chan error, 1)
					go func() { sent <- c.Write(ctx, websocket.MessageBinary, message) }()
					kind, got, err := c.Read(ctx)
					if err := errors.Join(err, <-sent); err != nil {
						return fmt.Errorf("a message of %d bytes: %w", size, err)
					}
					if kind != websocket.MessageBinary || !bytes.Equal(got, message) {
						return fmt.Errorf("a message of %d bytes came back as another one of %d", size, len(got))
					}
				}
				return c.Close(websocket.StatusNormalClosure, "")
			})
			want := "426 ok\n"
			for range clients {
				want += "101 ok\n"
			}
			eventually(t, soon, "every tunnel has its record", func() bool {
				got, err := os.ReadFile(logged)
				return err == nil && string(got) == want
			})
		})
	}
}

// TestSockListener passes raw bytes to a server that speaks first and ends its side before the client does.
func TestSockListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.WriteString(c, "hello\n")
				io.Copy(c, c)
			}()
		}
	}()
	listen := freeAddr(t)
	startProxy(t, fmt.Sprintf(`
[[listener]]
address = %q
protocol = "sock"
backend = "raw"
[backend.raw]
servers = ["127.0.0.1:1", %q]
`, listen, l.Addr()))
	c, err := net.Dial("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(soon))
	greeting := make([]byte, len("hello\n"))
	if _, err := io.ReadFull(c, greeting); err != nil || string(greeting) != "hello\n" {
		t.Fatalf("got %q, %v", greeting, err)
	}
	message := bytes.Repeat([]byte("0123456789"), 1<<20)
	go func() {
		c.Write(message)
		c.(*net.TCPConn).CloseWrite()
	}()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, message) {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(message))
	}
}
