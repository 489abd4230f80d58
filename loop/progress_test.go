package loop

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// endlessRate is a rate that nobody keeps up: every wait for the client counts as if it had sent or taken nothing.
const endlessRate = 1 << 40

// drip sends s in single bytes, some in each timeout, until the connection ends.
func (c *peer) drip(s string) {
	tick := time.NewTicker(short / 8)
	defer tick.Stop()
	for i := range len(s) {
		if _, err := io.WriteString(c, s[i:i+1]); err != nil {
			return
		}
		<-tick.C
	}
}

func TestABodyThatComesTooSlowlyTimesOut(t *testing.T) {
	for name, test := range map[string]struct {
		early  bool
		splice int64
	}{
		"copied":         {false, 0},
		"spliced":        {false, 1},
		"answered early": {true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{
				splice:   test.splice,
				timeouts: Timeouts{ClientBody: 4 * short},
				limits:   Limits{ClientRate: endlessRate},
				record:   "$status",
			}, o)
			c := p.dial()
			start := time.Now()
			c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
			x := o.accept()
			x.wantHead()
			status := 408
			if test.early {
				x.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
				status = 403
			}
			dripped := tr.beside("client", func() error { c.drip(letters(10000)); return nil })
			if res, _, err := c.readResponse("POST"); err != nil || res.StatusCode != status {
				t.Fatalf("got %v, %v, want %d", res, err, status)
			}
			c.wantGone()
			tr.notBefore(start, 4*short)
			c.Close()
			dripped()
			p.wantRecords(fmt.Sprint(status))
		})
	}
}

func TestAResponseThatIsTakenTooSlowlyIsCut(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{
		timeouts: Timeouts{ClientWrite: 4 * short},
		limits:   Limits{ClientRate: endlessRate},
		record:   "$status $end",
	}, o)
	c := p.dialSlow(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	sent := tr.beside("origin", func() error {
		head, piece := byLength.endless()
		if _, err := io.WriteString(x, head); err != nil {
			return err
		}
		for {
			if _, err := io.WriteString(x, piece); err != nil {
				return nil // the proxy has given up
			}
		}
	})
	// It makes progress in every timeout, and is cut off all the same.
	tick := time.NewTicker(short / 8)
	defer tick.Stop()
	b := make([]byte, 4096)
	for {
		if _, err := c.Read(b); err != nil {
			break
		}
		<-tick.C
	}
	sent()
	c.Close()
	p.wantRecords("200 client_timeout")
}

// A client that takes little is not cut off as long as it keeps up the rate, whatever the kernel holds for it.
func TestAResponseThatIsTakenFastEnoughIsNotCut(t *testing.T) {
	for i, rate := range []int64{0, 1, 0, 1} {
		splice := int64(i / 2)
		t.Run(fmt.Sprint("rate ", rate, ", spliced from: ", splice), func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{
				timeouts: Timeouts{ClientWrite: 4 * short},
				limits:   Limits{ClientRate: rate},
				record:   "$status $end",
				splice:   splice,
			}, o)
			c := p.dialSlow(get("/"))
			x := o.accept()
			x.wantRequest("GET /", "")
			body := letters(16000)
			head, framed := byLength.response(body)
			x.send(head) // by itself: what comes with it is not spliced
			c.wantHead()
			x.send(framed)
			start := time.Now()
			tick := time.NewTicker(short)
			defer tick.Stop()
			b := make([]byte, 3000)
			var got strings.Builder
			for !strings.HasSuffix(got.String(), body) {
				n, err := c.r.Read(b)
				if err != nil {
					t.Fatalf("after %v and %d bytes: %v", time.Since(start), got.Len(), err)
				}
				got.Write(b[:n])
				<-tick.C
			}
			p.wantRecords("200 ok")
		})
	}
}

// While the server is what is waited for, its client's clock stands.
func TestAClientIsNotBlamedForASlowServer(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{
		timeouts: Timeouts{ClientBody: 20 * short, ClientWrite: 20 * short},
		limits:   Limits{ClientRate: endlessRate},
		record:   "$status $end",
	}, o)
	const size = 16 << 20 // more than the sockets between us hold
	c := p.dial()
	sent := tr.beside("client", func() error {
		_, err := io.WriteString(c, fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)+strings.Repeat("x", size))
		return err
	})
	x := o.accept()
	r, err := http.ReadRequest(x.r)
	if err != nil {
		t.Fatal(err)
	}
	// The server takes nothing, and then answers nothing, for longer than the client may be slow.
	pause := func() { <-time.After(22 * short) }
	pause()
	if n, err := io.Copy(io.Discard, r.Body); n != size || err != nil {
		t.Fatalf("%d bytes of the body, %v", n, err)
	}
	sent()
	pause()
	x.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
	c.wantHead()
	c.wantBytes("half")
	pause()
	x.send("half")
	c.wantBytes("half")
	p.wantRecords("200 ok")
}

func TestDebt(t *testing.T) {
	const s = Time(time.Second)
	tests := []struct {
		debt, waited Time
		n, rate      int64
		want         Time
	}{
		{0, 0, 0, 100, 0},
		{0, s, 0, 100, s},
		{s, s, 0, 100, 2 * s},
		{s, s, 50, 100, 3 * s / 2},
		{0, s, 100, 100, 0},
		{0, s, 1 << 62, 1, 0},
		{5 * s, 5 * s, 999, 100, 10 * s / 1000},
		{0, s, 1000, endlessRate, s},
		{Time(30*24*time.Hour) / 2, Time(30*24*time.Hour) / 2, 1 << 50, 1 << 30, Time(30*24*time.Hour) - 1<<20*s},
	}
	for _, test := range tests {
		if got := owe(test.debt, test.waited, test.n, test.rate); got != test.want {
			t.Errorf("owe(%d, %d, %d, %d) = %d, want %d", test.debt, test.waited, test.n, test.rate, got, test.want)
		}
	}
}

// What waits in a pipe has not been taken, and going from there into the socket takes nothing back: a client that reads
// steadily is not cut off, though its socket takes more only once in several timeouts.
func TestASteadyReaderOfASplicedResponseIsNotCut(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{
		splice:   1,
		timeouts: Timeouts{ClientWrite: 4 * short},
		limits:   Limits{ClientRate: 1},
		record:   "$status $end",
	}, o)
	c := p.dial()
	if err := c.Conn.(*net.TCPConn).SetReadBuffer(16 << 10); err != nil {
		t.Fatal(err)
	}
	p.settle()
	p.onLoops(func(l *Loop) {
		if err := unix.SetsockoptInt(l.sessions.next.client.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 200<<10); err != nil {
			t.Error(err)
		}
	})
	c.send(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	body := letters(2 << 20)
	sent := tr.beside("origin", func() error {
		head, framed := byLength.response(body)
		_, err := io.WriteString(x, head+framed)
		return err
	})
	c.wantHead()
	tick := time.NewTicker(short)
	defer tick.Stop()
	const piece = 18 << 10
	for range 40 {
		c.wantBytes(body[:piece])
		body = body[piece:]
		<-tick.C
	}
	c.wantBytes(body)
	sent()
	p.wantRecords("200 ok")
}
