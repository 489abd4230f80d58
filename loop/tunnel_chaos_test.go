package loop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Tunnels under chaos: both sides of many connections send at the same time, in random pieces, and end at random
// bytes, properly or not. Whatever arrives must be what the other side sent, from its beginning on; all of it, if
// that side ended properly and the receiver stayed to hear it; and an end that looks proper must have been one.

// chaosEnd is how one side of a tunnel ends.
type chaosEnd uint8

const (
	ends           chaosEnd = iota // a FIN behind all it has to say, and then it listens to the end
	endsFirst                      // the same, but it hears nothing before it has said everything
	endsLast                       // the same, but it says nothing before it has heard everything
	resetsMidway                   // a reset in the middle
	endsThenResets                 // a FIN, and later a reset
	numChaosEnds
)

// chaosSide is what one side of a tunnel does.
type chaosSide struct {
	end  chaosEnd
	seed uint64
	size int

	sent   int   // bytes that its kernel took
	broke  error // why it could send no more
	heard  int
	heardE error // how hearing ended: io.EOF is a FIN
}

// proper reports whether a side ends as it should, and hears the other out.
func (d *chaosSide) proper() bool { return d.end <= endsLast }

// says is what a side has to say.
func (d *chaosSide) says() []byte {
	b := make([]byte, d.size)
	io.ReadFull(rand.NewChaCha8([32]byte{byte(d.seed), byte(d.seed >> 8), 't'}), b)
	return b
}

// tunnelPair is one connection of the chaos.
type tunnelPair struct {
	client, server chaosSide
	served         chan struct{} // closed when the server's side has ended
}

// play plays a side to its end. What it hears is compared with what the other has to say.
func (d *chaosSide) play(c *peer, other *chaosSide, rng *rand.Rand) error {
	b := make([]byte, 1+rng.IntN(100000)) // hearing may go on beside talking, which uses rng
	talk := func() {
		text := d.says()
		if d.end == resetsMidway {
			text = text[:rng.IntN(len(text)+1)]
		}
		for len(text) > 0 && d.broke == nil {
			n := min(len(text), 1+rng.IntN(1<<rng.IntN(18)))
			var m int
			m, d.broke = c.Write(text[:n])
			d.sent += m
			text = text[m:]
			if rng.IntN(3) == 0 {
				runtime.Gosched()
			}
		}
	}
	finish := func() {
		if d.end == resetsMidway {
			c.reset()
		} else {
			c.closeWriteSoon()
		}
	}
	var wrong error
	hear := func() {
		want := other.says()
		for d.heardE == nil {
			var n int
			n, d.heardE = c.r.Read(b)
			if d.heard+n > len(want) || !bytes.Equal(b[:n], want[d.heard:d.heard+n]) {
				wrong = fmt.Errorf("%s: bytes %d to %d are not those that were sent", c.name, d.heard, d.heard+n)
				return
			}
			d.heard += n
		}
	}
	switch d.end {
	case endsFirst:
		talk()
		finish()
		hear()
	case endsLast:
		hear()
		talk()
		finish()
	default:
		var talking sync.WaitGroup
		talking.Go(func() {
			talk()
			finish()
		})
		if d.end == endsThenResets {
			talking.Wait()
			c.reset()
		}
		hear()
		talking.Wait()
	}
	return wrong
}

// judge says what is wrong with what d heard of other, if anything.
func (d *chaosSide) judge(name string, other *chaosSide, unix bool) error {
	switch {
	case errors.Is(d.heardE, os.ErrDeadlineExceeded):
		return fmt.Errorf("%s (%d) heard %d of %d bytes of a side that %d, and then nothing", name, d.end, d.heard, other.size, other.end)
	case !d.proper():
		return nil // it did not stay to hear
	case other.proper() && (d.heardE != io.EOF || d.heard != other.size):
		return fmt.Errorf("%s (%d) heard %d of %d bytes and %v from a side that %d", name, d.end, d.heard, other.size, d.heardE, other.end)
	case !unix && other.end == resetsMidway && d.heardE == io.EOF && d.broke == nil:
		// An error that sending has met is not told again to reading, which sees the end then. A unix socket
		// shows no reset at all unless bytes were unread.
		return fmt.Errorf("%s (%d) heard a proper end behind %d bytes of a side that was reset", name, d.end, d.heard)
	}
	return nil
}

func TestWhateverHappensInATunnelBytesArriveInOrder(t *testing.T) {
	eachTunnel(t, func(t *testing.T, w *tunnelWay) {
		for seed := range uint64(2) {
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
				w.chaos(t, seed, setup{loops: 2, record: "$end"})
			})
		}
	})
}

func (w *tunnelWay) chaos(t *testing.T, seed uint64, s setup) {
	const workers, connections = 6, 20
	tr := newTrace(t)
	o := w.origin(tr)
	w.set(&s)
	s.with = asksWhoIsSilent
	p := tr.proxy(s, o)
	pairs := make([]*tunnelPair, workers*connections)
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := range pairs {
		side := func() chaosSide {
			d := chaosSide{seed: rng.Uint64(), size: rng.IntN(1 << rng.IntN(21))}
			if rng.IntN(2) == 0 {
				d.end = chaosEnd(rng.IntN(int(numChaosEnds)))
			}
			return d
		}
		pairs[i] = &tunnelPair{client: side(), server: side(), served: make(chan struct{})}
		if pairs[i].client.end == endsLast && pairs[i].server.end == endsLast {
			pairs[i].server.end = ends // else each waits for the other
		}
	}
	o.serve(func(x *peer) error {
		x.askWhenSilent()
		var id [4]byte
		if w.answer != "" {
			if _, err := x.readHead(); err != nil {
				return nil
			}
			io.WriteString(x, w.answer)
		}
		if _, err := io.ReadFull(x.r, id[:]); err != nil {
			return nil // its client was reset before
		}
		pair := pairs[binary.BigEndian.Uint32(id[:])]
		defer close(pair.served)
		return pair.server.play(x, &pair.client, rand.New(rand.NewPCG(seed, pair.server.seed)))
	})
	var waits []func()
	for worker := range workers {
		waits = append(waits, tr.beside("client", func() error {
			for i := range connections {
				id := worker*connections + i
				if err := w.chaosClient(p, pairs[id], id); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	for _, wait := range waits {
		wait()
	}
	tr.eventually("tunnels stay", func() bool { return p.open() == 0 })
	whole, unheard := 0, 0
	for _, pair := range pairs {
		if !pair.client.proper() {
			select {
			case <-pair.served:
			default:
				unheard++
			}
			continue
		}
		<-pair.served // its number has arrived, so it was served
		if err := errors.Join(pair.client.judge("client", &pair.server, w.unix), pair.server.judge("server", &pair.client, w.unix)); err != nil {
			t.Error(err)
		}
		if pair.server.proper() {
			whole++
		}
	}
	t.Logf("%d of %d ended properly on both sides", whole, len(pairs))
	if n := p.buffers(); n != 0 {
		t.Errorf("%d buffers are in use when all have left", n)
	}
	// A client that is fast to reset may be gone before the last packet of the handshake has arrived, if it was dropped and
	// had to be sent again. Then there never was a connection.
	if got := len(p.records()); got > len(pairs) || got < len(pairs)-unheard {
		t.Errorf("%d records of %d tunnels, of which %d were reset before the server heard of them", got, len(pairs), unheard)
	}
}

// asksWhoIsSilent sets what notices that a reset was lost. It is one packet, which nobody sends again, and a kernel that is
// busy drops packets of the loopback as well; who only listens would wait for ever.
func asksWhoIsSilent(plan *Plan) {
	options := []SocketSetting{set(SocketKeepAlive, 1), set(SocketKeepAliveIdle, 1), set(SocketKeepAliveInterval, 1)}
	plan.Listeners[0].Socket = options
	for _, s := range plan.Backends[0].Servers {
		s.Socket = &BackendSocket{Settings: options}
	}
}

// askWhenSilent does the same for a side.
func (c *peer) askWhenSilent() {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 20})
	}
}

// chaosClient plays the client of one tunnel. Its number comes first, behind whatever it has to ask, in one piece.
func (w *tunnelWay) chaosClient(p *proxy, pair *tunnelPair, id int) error {
	addr := p.srv.Addrs()[0]
	conn, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * patience))
	c := newPeer(p.tr, "client", conn)
	c.askWhenSilent()
	if _, err := c.Write(binary.BigEndian.AppendUint32([]byte(w.ask), uint32(id))); err != nil {
		return err
	}
	if w.ask != "" {
		if _, err := c.readHead(); err != nil {
			// The server was reset right behind its answer.
			if pair.server.proper() || !errors.Is(err, syscall.ECONNRESET) && err != io.EOF && err != io.ErrUnexpectedEOF {
				return fmt.Errorf("tunnel %d to a server that %d: no answer: %w", id, pair.server.end, err)
			}
			pair.client.heardE = err
			return nil
		}
	}
	return pair.client.play(c, &pair.server, rand.New(rand.NewPCG(uint64(id), pair.client.seed)))
}
