package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// upgrading is a proxy that lets WebSockets pass to the given server, with a record "STATUS END" of each.
func upgrading(t *testing.T, server string) (p *proxy, listen, logged string) {
	t.Helper()
	listen, logged = freeAddr(t), filepath.Join(t.TempDir(), "access.log")
	return startProxy(t, fmt.Sprintf(`
[server]
drain_timeout = "5s"
[access_log]
path = %q
format = '$status $end'
[[listener]]
address = %q
[[route]]
backend = "ws"
upgrade = ["websocket"]
[backend.ws]
servers = [%q]
`, logged, listen, server)), listen, logged
}

// frameSize is the length of one of many messages: mostly small, some of a few MiB at most, and the last of 16 MiB.
func frameSize(i, frames int) int {
	rng := rand.New(rand.NewPCG(uint64(i), 4))
	switch {
	case i == 0:
		return 1
	case i == frames-1:
		return echoMax
	case i%500 == 499: // 64 KiB to 4 MiB
		return 1 << 16 << rng.IntN(6) * (8 + rng.IntN(9)) / 8
	}
	return 1 + rng.IntN(1<<rng.IntN(13)) // to 4 KiB
}

// TestWebSocketFrames sends 10,000 messages of 1 byte to 16 MiB without waiting for any of them to come back. They come
// back in order, each with the CRC of what was sent, while pings are answered.
func TestWebSocketFrames(t *testing.T) {
	const frames = 10_000
	_, listen, logged := upgrading(t, startEcho(t))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+listen+"/", &websocket.DialOptions{Subprotocols: []string{"echo"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(echoMax)

	sums := make(chan uint32, frames)
	sent := make(chan error, 1)
	var bytes atomic.Int64
	go func() {
		source := rand.NewChaCha8([32]byte{'w', 's'})
		room := make([]byte, echoMax)
		for i := range frames {
			message := room[:frameSize(i, frames)]
			source.Read(message)
			sums <- crc32.ChecksumIEEE(message)
			bytes.Add(int64(len(message)))
			if err := c.Write(ctx, websocket.MessageBinary, message); err != nil {
				sent <- fmt.Errorf("message %d: %w", i, err)
				return
			}
		}
		sent <- nil
	}()
	pinged := make(chan error, 1)
	const pings = 20
	go func() {
		for range pings {
			if err := c.Ping(ctx); err != nil {
				pinged <- err
				return
			}
		}
		pinged <- nil
	}()
	started := time.Now()
	room := make([]byte, 32<<10)
	for i := range frames {
		kind, r, err := c.Reader(ctx)
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		digest := crc32.NewIEEE()
		n, err := io.CopyBuffer(digest, struct{ io.Reader }{r}, room)
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if want := <-sums; kind != websocket.MessageBinary || int(n) != frameSize(i, frames) || digest.Sum32() != want {
			t.Fatalf("message %d came back with %d bytes and CRC %08x, want %d and %08x", i, n, digest.Sum32(), frameSize(i, frames), want)
		}
	}
	t.Logf("%d messages, %.0f MiB there and back in %v", frames, mib(bytes.Load()), time.Since(started).Round(time.Millisecond))
	if err := <-sent; err != nil {
		t.Error(err)
	}
	// Pongs come with what is read.
	reading := c.CloseRead(ctx)
	if err := <-pinged; err != nil {
		t.Errorf("%d pings: %v", pings, err)
	}
	if err := c.Close(websocket.StatusNormalClosure, "all said"); err != nil {
		t.Errorf("closing: %v", err)
	}
	<-reading.Done()
	awaitLog(t, logged, "101 ok\n")
}

// awaitLog waits until the access log has exactly these lines.
func awaitLog(t *testing.T, path, want string) {
	t.Helper()
	var got string
	defer func() {
		if t.Failed() {
			t.Logf("the access log has %q", got)
		}
	}()
	eventually(t, 20*time.Second, fmt.Sprintf("the access log has %d records", strings.Count(want, "\n")), func() bool {
		b, err := os.ReadFile(path)
		got = string(b)
		return err == nil && got == want
	})
}

// TestWebSocketClose ends WebSockets from either side: the other gets the code and the reason, and answers.
func TestWebSocketClose(t *testing.T) {
	const code, reason = websocket.StatusCode(4321), "enough"
	heard := make(chan error, 2)
	server := serveWebSockets(t, func(r *http.Request, c *websocket.Conn) {
		if r.URL.Path == "/server" {
			heard <- c.Close(code, reason)
			return
		}
		_, _, err := c.Read(r.Context())
		heard <- err
	})
	_, listen, logged := upgrading(t, server)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, who := range []string{"client", "server"} {
		c, _, err := websocket.Dial(ctx, "ws://"+listen+"/"+who, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		var closed, told error // of who closes, and of who is told
		if who == "client" {
			closed = c.Close(code, reason)
			told = <-heard
		} else {
			_, _, told = c.Read(ctx)
			closed = <-heard
		}
		if closed != nil {
			t.Errorf("the %s closes: %v", who, closed)
		}
		var end websocket.CloseError
		if !errors.As(told, &end) || end.Code != code || end.Reason != reason {
			t.Errorf("the %s has closed with %d %s, and the other side was told %v", who, code, reason, told)
		}
	}
	awaitLog(t, logged, "101 ok\n101 ok\n")
}

// serveWebSockets is a server that has serve play each WebSocket. What is no WebSocket is refused.
func serveWebSockets(t *testing.T, serve func(r *http.Request, c *websocket.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var playing sync.WaitGroup
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		playing.Add(1)
		defer playing.Done()
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return // it has answered
		}
		defer c.CloseNow()
		serve(r, c)
	})}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		playing.Wait()
	})
	return l.Addr().String()
}

// TestWebSocketCrowd holds 2,000 WebSockets open at once. Each of them works, before and after all the others have come.
func TestWebSocketCrowd(t *testing.T) {
	// The clients and the servers are both of this process.
	n := min(2000, clientsThatFit(t)/2)
	p, listen, _ := upgrading(t, startEcho(t))
	before := p.sockets(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	crowd := make([]*websocket.Conn, n)
	defer func() {
		for _, c := range crowd {
			if c != nil {
				c.CloseNow()
			}
		}
	}()
	echo := func(i int, text string) error {
		text = fmt.Sprintf("%s %d", text, i)
		if err := crowd[i].Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			return err
		}
		_, got, err := crowd[i].Read(ctx)
		if err == nil && string(got) != text {
			err = fmt.Errorf("%q came back as %q", text, got)
		}
		return err
	}
	started := time.Now()
	inParallel(t, 32, n, func(i int) (err error) {
		if crowd[i], _, err = websocket.Dial(ctx, "ws://"+listen+"/", nil); err != nil {
			return err
		}
		return echo(i, "first")
	})
	came := time.Since(started)
	if open := p.sockets(t) - before; open != 2*n {
		t.Errorf("the proxy has %d sockets for %d WebSockets, want two each", open, n)
	}
	inParallel(t, 32, n, func(i int) error { return echo(i, "again") })
	inParallel(t, 32, n, func(i int) error { return crowd[i].Close(websocket.StatusNormalClosure, "") })
	t.Logf("%d WebSockets came in %v", n, came.Round(time.Millisecond))
	eventually(t, 20*time.Second, "the proxy has closed every connection", func() bool { return p.sockets(t) == before })
}

// wsScript is a server and a client of the library that is usual in node. Arguments: where the server listens, and
// where the client finds it. Messages are compressed, as the two agree by the extension permessage-deflate.
const wsScript = `
const { WebSocket, WebSocketServer } = require("ws");
const [port, url] = process.argv.slice(1);
const fail = (what) => { console.log("FAILED:", what); process.exit(1); };
const server = new WebSocketServer({ host: "127.0.0.1", port: +port, perMessageDeflate: true, maxPayload: 32 << 20 });
server.on("connection", (ws) => {
  ws.on("message", (data, binary) => ws.send(data, { binary }));
  ws.on("error", fail);
});
server.on("listening", () => {
  const ws = new WebSocket(url, ["chat"], { maxPayload: 32 << 20 });
  const messages = ["", "a text", "\u20ac".repeat(1000)];
  for (let size = 1; size <= 16 << 20; size *= 8) {
    messages.push(Buffer.alloc(size, (i) => i).map((_, i) => (i * 2654435761) >>> 13));
  }
  let next = 0, ponged = 0;
  ws.on("open", () => {
    if (!ws.extensions.includes("permessage-deflate")) fail("no compression: " + ws.extensions);
    ws.ping("are you there");
    for (const m of messages) ws.send(m);
  });
  ws.on("pong", (data) => { if (String(data) !== "are you there") fail("pong " + data); ponged++; });
  ws.on("message", (data, binary) => {
    const want = messages[next++];
    if (binary !== Buffer.isBuffer(want) || Buffer.compare(data, Buffer.from(want)) !== 0) fail("message " + (next - 1));
    if (next === messages.length) ws.close(4000, "done");
  });
  ws.on("error", fail);
  ws.on("close", (code) => {
    if (next !== messages.length || ponged !== 1) fail(next + " messages, " + ponged + " pongs");
    console.log("closed", code, "behind", next, "messages");
    server.close(() => process.exit(0));
  });
});
`

// TestWebSocketNode has node's ws speak to itself through the proxy.
func TestWebSocketNode(t *testing.T) {
	needs(t, "node")
	// Debian's folder of libraries.
	node := func(args ...string) []string { return append([]string{"NODE_PATH=/usr/share/nodejs", "node"}, args...) }
	if have := start(t, "env", node("-e", `require("ws").WebSocketServer || process.exit(1)`)...); have.wait(t, time.Minute) != 0 {
		have.told = true
		const why = "node's library ws is not installed (Debian: node-ws)"
		if os.Getenv("CI") != "" {
			t.Fatalf("%s, and in CI it has to be", why)
		}
		t.Skip(why)
	}
	server := freeAddr(t)
	_, listen, logged := upgrading(t, server)
	_, port, _ := strings.Cut(server, ":")
	out := run(t, time.Minute, 0, "env", node("-e", wsScript, port, "ws://"+listen+"/")...)
	if out != "closed 4000 behind 12 messages\n" {
		t.Errorf("node said %q", out)
	}
	awaitLog(t, logged, "101 ok\n")
}

// wsPage opens a WebSocket as noVNC does, to where the page came from: the server speaks first. It tells what came of
// it by a request.
const wsPage = `<!doctype html><title>echo</title><script>
const report = (result) => fetch("/result", { method: "POST", body: JSON.stringify(result) });
const ws = new WebSocket("ws://" + location.host + "/websockify", ["binary"]);
ws.binaryType = "arraybuffer";
const sizes = [1, 125, 126, 1000, 65535, 65536, 1 << 20, 4 << 20];
let greeting = "", at = 0, sent;
const say = () => {
  sent = new Uint8Array(sizes[at]);
  for (let i = 0; i < sent.length; i++) sent[i] = (i * 2654435761 + at) >>> 11;
  ws.send(sent);
};
ws.onmessage = (e) => {
  const got = new Uint8Array(e.data);
  if (!greeting) {
    greeting = new TextDecoder().decode(got);
    return say();
  }
  if (got.length !== sent.length || got.some((b, i) => b !== sent[i])) return report({ error: "message " + at });
  if (++at < sizes.length) return say();
  ws.close(1000, "done");
};
ws.onerror = () => report({ error: "the browser reports an error behind message " + at });
ws.onclose = (e) => report({ greeting, echoed: at, protocol: ws.protocol, code: e.code, clean: e.wasClean });
</script>`

// TestWebSocketBrowser has a browser echo over a WebSocket.
func TestWebSocketBrowser(t *testing.T) {
	needs(t, "chromium")
	const greeting = "RFB 003.008\n"
	type report struct {
		Error    string
		Greeting string
		Echoed   int
		Protocol string
		Code     int
		Clean    bool
	}
	reports := make(chan report, 10)
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, wsPage) })
	mux.HandleFunc("POST /result", func(_ http.ResponseWriter, r *http.Request) {
		var got report
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			got.Error = err.Error()
		}
		reports <- got
	})
	mux.HandleFunc("/websockify", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"binary"}})
		if err != nil {
			return // it has answered
		}
		defer c.CloseNow()
		c.SetReadLimit(echoMax)
		message := []byte(greeting)
		for {
			if err := c.Write(r.Context(), websocket.MessageBinary, message); err != nil {
				return
			}
			if _, message, err = c.Read(r.Context()); err != nil {
				return
			}
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: mux}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })

	_, listen, _ := upgrading(t, l.Addr().String())
	browser := start(t, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--user-data-dir="+t.TempDir(), "--remote-debugging-port=0", "http://"+listen+"/")
	browser.endsBy(t, syscall.SIGTERM)
	select {
	case got := <-reports:
		want := report{Greeting: greeting, Echoed: 8, Protocol: "binary", Code: 1000, Clean: true}
		if got != want {
			t.Errorf("the page reports %+v, want %+v", got, want)
		}
	case <-browser.done:
		t.Errorf("the browser has ended with %d", browser.exitCode())
	case <-time.After(time.Minute):
		t.Error("the page has reported nothing in a minute")
	}
}
