package loop

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The chaos test sends hundreds of exchanges of every kind through a proxy, in random pieces, while clients and
// origins leave at random moments. Whatever happens, a response that looks complete must be exactly what the
// origin sent for that very request, or one of the proxy's own; and a request that looks complete to the
// origin must be exactly what the client sent.

// chaosBody makes the body of a message: it carries the exchange's number and direction, and its own checksum.
func chaosBody(id int, direction string, size int) string {
	text := fmt.Sprintf("%s %d\n%s\n", direction, id, letters(size))
	return text + fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
}

// chaosCheck says whether body is what chaosBody made for the exchange.
func chaosCheck(body string, id int, direction string) error {
	const sumLength = 2 * sha256.Size
	if len(body) < sumLength {
		return fmt.Errorf("%d bytes", len(body))
	}
	text, sum := body[:len(body)-sumLength], body[len(body)-sumLength:]
	if fmt.Sprintf("%x", sha256.Sum256([]byte(text))) != sum {
		return fmt.Errorf("%d bytes with a wrong checksum: %s", len(body), excerpt(body))
	}
	if want := fmt.Sprintf("%s %d\n", direction, id); !strings.HasPrefix(text, want) {
		return fmt.Errorf("the body of another message: %.30q, want %q", text, want)
	}
	return nil
}

// chaosOrigin is what the origin does with a request.
type chaosOrigin uint8

const (
	answers        chaosOrigin = iota
	answersCloses              // and says so
	answersExtra               // and sends bytes that nobody asked for
	answersEarly               // before it has read the body, which it does not read then, and closes
	cutsBefore                 // closes without an answer
	cutsWithin                 // closes in the middle of its answer
	numOriginKinds             // how many there are
)

// chaosClient is how a client leaves.
type chaosClient uint8

const (
	stays          chaosClient = iota
	halfCloses                 // when all is sent
	resetsSending              // in the middle of its requests
	resetsReading              // in the middle of a response
	numClientKinds             // how many there are
)

// chaosExchange is one request and its response.
type chaosExchange struct {
	id                int
	method            string
	request, response framing
	up, down          int // sizes
	interim           int
	origin            chaosOrigin
	reset             bool // it ends by RST, where it ends at a wrong moment
	cut               float64
	seed              uint64 // of the origin's pieces
}

func (x *chaosExchange) hasBody() bool { return x.method == "POST" || x.method == "PUT" }

// head and framed body of the request, as a client of kind k sends it.
func (x *chaosExchange) bytes(k clientKind) string {
	fields := ""
	framed := ""
	if x.hasBody() {
		body := chaosBody(x.id, "up", x.up)
		fields, framed = fmt.Sprintf("Content-Length: %d\r\n", len(body)), body
		if x.request == byChunks {
			fields, framed = "Transfer-Encoding: chunked\r\n", chunks(body)+"0\r\nX-Sum: 1\r\n\r\n"
		}
	}
	return fmt.Sprintf("%s /%d %s\r\nHost: a\r\n%s%s\r\n%s", x.method, x.id, k.version, k.fields, fields, framed)
}

// answer returns what the origin sends: interim responses, head and framed body.
func (x *chaosExchange) answer() string {
	body := chaosBody(x.id, "down", x.down)
	head, framed := x.response.response(body)
	extra := fmt.Sprintf("X-Id: %d\r\n", x.id)
	if x.origin == answersCloses || x.origin == answersEarly {
		extra += "Connection: close\r\n"
	}
	head = strings.Replace(head, "\r\n", "\r\n"+extra, 1)
	if x.method == "HEAD" {
		framed = ""
	}
	return strings.Repeat(hints103, x.interim) + head + framed
}

// chaos is one run.
type chaos struct {
	tr        *trace
	mu        sync.Mutex
	next      int // the number of the next exchange
	exchanges map[int]*chaosExchange
	seen      map[int]int // heads that the origin got
	complete  int         // responses of the origin's that arrived whole
	own       int         // answers of the proxy's own
	cut       int         // responses that did not arrive, or not whole
}

func (ch *chaos) add(x *chaosExchange) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	x.id = ch.next
	ch.next++
	ch.exchanges[x.id] = x
}

// sendPieces writes s in pieces of random sizes; between some of them the proxy has time to look.
func (ch *chaos) sendPieces(c net.Conn, s string, rng *rand.Rand) error {
	for s != "" {
		n := len(s)
		switch rng.IntN(4) {
		case 0:
			n = min(n, 1+rng.IntN(10))
		case 1:
			n = min(n, 1+rng.IntN(1000))
		case 2:
			n = min(n, 1+rng.IntN(50000))
		}
		if _, err := io.WriteString(c, s[:n]); err != nil {
			return err
		}
		s = s[n:]
		if rng.IntN(3) == 0 {
			ch.tr.proxied.settle()
		} else {
			runtime.Gosched()
		}
	}
	return nil
}

// serve plays the origin on one connection.
func (ch *chaos) serve(c *peer) error {
	for {
		r, err := http.ReadRequest(c.r)
		if err != nil {
			return nil
		}
		id, err := strconv.Atoi(strings.TrimPrefix(r.RequestURI, "/"))
		if err != nil {
			return fmt.Errorf("got a request for %q", r.RequestURI)
		}
		ch.mu.Lock()
		x := ch.exchanges[id]
		ch.seen[id]++
		seen := ch.seen[id]
		ch.mu.Unlock()
		if x == nil || r.Method != x.method {
			return fmt.Errorf("got %s %s, which nobody sent", r.Method, r.RequestURI)
		}
		if most := map[bool]int{true: 1, false: 2}[x.method == "POST"]; seen > most {
			return fmt.Errorf("got %s %d %d times", x.method, id, seen)
		}
		rng := rand.New(rand.NewPCG(x.seed, uint64(seen)))
		kind := x.origin
		if kind == cutsBefore && seen > 1 {
			kind = answers
		}
		if kind == answersEarly && x.hasBody() {
			if ch.sendPieces(c, x.answer(), rng) == nil {
				c.closeWriteNow()
				io.Copy(io.Discard, c) // so that no reset destroys the answer
			}
			return nil
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil // the client has left, and that was seen
		}
		if x.hasBody() {
			if err := chaosCheck(string(body), id, "up"); err != nil {
				return fmt.Errorf("%s %d looks complete, and is %w", x.method, id, err)
			}
		}
		answer := x.answer()
		switch kind {
		case cutsBefore:
			answer = ""
		case cutsWithin:
			whole := len(answer)
			answer = answer[:int(float64(whole)*x.cut)]
		case answersExtra:
			if x.response == untilClose {
				kind = answers // there is no behind
				break
			}
			// Together with the end of the answer: behind it, nothing tells them from the answer to whatever
			// request is sent meanwhile.
			if ch.sendPieces(c, answer[:len(answer)-1], rng) == nil {
				io.WriteString(c, answer[len(answer)-1:]+"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
			}
			return nil
		}
		if ch.sendPieces(c, answer, rng) != nil {
			return nil
		}
		if kind == answers && (x.response != untilClose || x.method == "HEAD") {
			continue
		}
		if (kind == cutsBefore || kind == cutsWithin) && (x.reset || x.response == untilClose) {
			c.reset()
		}
		return nil
	}
}

// closeWriteNow is closeWrite for a connection that may be gone already.
func (c *peer) closeWriteNow() { c.Conn.(*net.TCPConn).CloseWrite() }

// client plays one connection of a client: its requests, and what it may get for them.
func (ch *chaos) client(rng *rand.Rand) error {
	k := clientKinds[rng.IntN(len(clientKinds))]
	n := 1
	if k.keeps {
		n += rng.IntN(4)
	}
	var xs []*chaosExchange
	var all strings.Builder
	for range n {
		x := &chaosExchange{
			method:  []string{"GET", "GET", "POST", "PUT", "HEAD"}[rng.IntN(5)],
			request: byLength, response: []framing{byLength, byChunks, untilClose}[rng.IntN(3)],
			interim: max(0, rng.IntN(6)-3),
			reset:   rng.IntN(2) == 0, cut: rng.Float64() * 0.999, seed: rng.Uint64(),
		}
		if k.chunks && rng.IntN(2) == 0 {
			x.request = byChunks
		}
		x.up, x.down = rng.IntN(1<<rng.IntN(18)), rng.IntN(1<<rng.IntN(18))
		if rng.IntN(3) == 0 {
			x.origin = chaosOrigin(rng.IntN(int(numOriginKinds)))
		}
		ch.add(x)
		xs = append(xs, x)
		all.WriteString(x.bytes(k))
	}
	leaves := stays
	if rng.IntN(3) == 0 {
		leaves = chaosClient(rng.IntN(int(numClientKinds)))
	}
	conn, err := net.Dial("tcp", ch.tr.proxied.srv.Addrs()[0].String())
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * patience))
	c := newPeer(ch.tr, "client", conn)

	// Sending has its own goroutine, as the answers may come before all is sent.
	sending := make(chan struct{})
	sender := rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))
	requests, readings := all.String(), n
	switch leaves {
	case resetsSending:
		requests = requests[:sender.IntN(len(requests))]
	case resetsReading:
		readings = rng.IntN(n)
	}
	var failed error
	go func() {
		defer close(sending)
		if failed = ch.sendPieces(conn, requests, sender); failed != nil {
			return
		}
		switch leaves {
		case resetsSending:
			c.reset()
		case halfCloses:
			c.closeWriteNow()
		}
	}()
	defer func() { <-sending }()
	defer conn.Close() // which ends sending
	for i, x := range xs {
		if i == readings {
			c.r.Peek(1) // some of it has come
			c.reset()
			return nil
		}
		more, err := ch.read(c, x, k, leaves == resetsSending, func() error { <-sending; return failed })
		if !more || err != nil {
			return err
		}
	}
	return nil
}

// read reads the response to one request and judges it. It reports whether another may follow.
func (ch *chaos) read(c *peer, x *chaosExchange, k clientKind, left bool, sent func() error) (more bool, err error) {
	for range x.interim {
		if !k.chunks {
			break
		}
		b, err := c.r.Peek(len("HTTP/1.1 1"))
		if err != nil || string(b) != "HTTP/1.1 1" {
			break
		}
		c.r.Discard(len(hints103))
	}
	res, body, err := c.readResponse(x.method)
	if err == nil && res.ContentLength < 0 && res.TransferEncoding == nil && x.method != "HEAD" {
		// It lasted until the end of the connection, which was a reset if sending has met one: only one of
		// the two is told.
		if failed := sent(); errors.Is(failed, syscall.ECONNRESET) {
			err = failed
		}
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	switch {
	case err != nil:
		ch.cut++
		if errors.Is(err, os.ErrDeadlineExceeded) || x.origin != cutsWithin && !left && !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("%s %d of a client that stays, to an origin that %d: %v", x.method, x.id, x.origin, err)
		}
		return false, nil
	case res.Header.Get("X-Id") == "":
		ch.own++
		if want := fmt.Sprintf("%d %s\n", res.StatusCode, http.StatusText(res.StatusCode)); x.method != "HEAD" && body != want {
			return false, fmt.Errorf("%s %d got %v with %s, want %q", x.method, x.id, res, excerpt(body), want)
		}
		if x.origin != cutsBefore && x.origin != cutsWithin && !left {
			return false, fmt.Errorf("%s %d of a client that stays, to an origin that %d, got %v", x.method, x.id, x.origin, res)
		}
	case res.Header.Get("X-Id") != fmt.Sprint(x.id):
		return false, fmt.Errorf("%s %d got the answer to %s", x.method, x.id, res.Header.Get("X-Id"))
	case x.method == "HEAD":
		ch.complete++
		if body != "" {
			return false, fmt.Errorf("HEAD %d got a body: %s", x.id, excerpt(body))
		}
	default:
		ch.complete++
		if err := chaosCheck(body, x.id, "down"); err != nil {
			return false, fmt.Errorf("%s %d, to an origin that %d, looks complete (%v), and is %w", x.method, x.id, x.origin, res, err)
		}
	}
	return !res.Close && k.keeps && (k.chunks || res.ContentLength >= 0), nil
}

func TestWhateverHappensACompleteResponseIsTheRightOne(t *testing.T) {
	const workers, connections = 8, 30
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			tr := newTrace(t)
			a, b := tr.origin(), tr.origin()
			ch := &chaos{tr: tr, exchanges: map[int]*chaosExchange{}, seen: map[int]int{}}
			tr.proxy(setup{loops: 2, record: "$target", idleMax: 4, splice: int64(seed%2) * 1000}, a, b)
			a.serve(ch.serve)
			b.serve(ch.serve)
			var waits []func()
			for w := range uint64(workers) {
				waits = append(waits, tr.beside("client", func() error {
					rng := rand.New(rand.NewPCG(seed, w))
					for range connections {
						if err := ch.client(rng); err != nil {
							return err
						}
					}
					return nil
				}))
			}
			for _, wait := range waits {
				wait()
			}
			tr.eventually("sessions stay", func() bool { return tr.proxied.open() == 0 })
			if n := tr.proxied.buffers(); n != 0 {
				t.Errorf("%d buffers are in use when all have left", n)
			}
			t.Logf("%d requests: %d answered by the origin, %d by the proxy, %d cut", len(ch.exchanges), ch.complete, ch.own, ch.cut)
			if ch.complete < len(ch.exchanges)/3 || ch.cut == 0 || ch.own == 0 {
				t.Error("this is too much chaos to prove anything, or too little")
			}
			seen := map[string]int{}
			for _, target := range tr.proxied.records() {
				if seen[target]++; seen[target] > 1 && target != "-" {
					t.Errorf("%s has %d records", target, seen[target])
				}
			}
		})
	}
}
