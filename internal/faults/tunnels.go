package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// tunnels: both sides of thousands of tunnels, raw ones and those of an upgrade, send in random pieces, and end at random
// bytes, properly or not. What arrives is what the other side sent, from its beginning on. All of it arrives if its
// sender said goodbye and the network had taken that, whatever happened to the sender then. An end that looks proper was
// one. In the end the proxy has as many sockets as before, and no more pipes than were in use at once.
func tunnels(e *env) (*result, error) {
	const (
		workers = 64
		seed    = 1
	)
	connections := e.size(10_000, 400)
	raiseFiles(8 * workers)
	r := &result{}
	pairs := makePairs(connections, seed)
	o, err := e.origin(func(c *conn) { serveTunnel(c, pairs) })
	if err != nil {
		return r, err
	}
	defer o.close()
	raw, err := freeAddr()
	if err != nil {
		return r, err
	}
	log := filepath.Join(e.dir, "access.log")
	p, err := e.start(setting{log: log, server: `splice_threshold = "4KiB"`, tables: fmt.Sprintf(`
[[listener]]
name = "raw"
address = %q
protocol = "sock"
backend = "raw"

[[route]]
path = "/tunnel"
backend = "raw"
upgrade = ["chaos"]

[backend.raw]
servers = [%q]
disable_time = "0"
`, raw, o.addr)}, o.addr)
	if err != nil {
		return r, err
	}
	before, pipesBefore, err := p.kinds()
	if err != nil {
		return r, err
	}

	began := time.Now()
	var next atomic.Int64
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for {
				id := int(next.Add(1)) - 1
				if id >= len(pairs) {
					return
				}
				addr := raw
				if pairs[id].upgrade {
					addr = p.addr
				}
				if err := pairs[id].dial(addr, id); err != nil {
					r.wrongf("tunnel %d: %v", id, err)
				}
			}
		})
	}
	working.Wait()
	took := time.Since(began)

	whole, acked := 0, 0
	var carried int64
	var longest time.Duration
	for id, pair := range pairs {
		r.requests++
		if pair.began {
			select {
			case <-pair.served:
			case <-time.After(2 * patience):
				return r, fmt.Errorf("the server of tunnel %d (%v) never ends", id, &pair.server)
			}
		} else if pair.server.proper() {
			r.wrongf("tunnel %d to %v never began", id, &pair.server)
		}
		if !pair.began {
			continue
		}
		if err := errors.Join(pair.client.judge(&pair.server), pair.server.judge(&pair.client)); err != nil {
			r.wrongf("tunnel %d, upgrade %v: %v", id, pair.upgrade, err)
			r.errors++
		}
		carried += int64(pair.client.heard + pair.server.heard)
		longest = max(longest, pair.client.took, pair.server.took)
		switch c, s := pair.client.end, pair.server.end; {
		case c <= endsLast && s <= endsLast:
			whole++
		case c <= endsThenResets && s <= endsThenResets:
			acked++
		}
	}
	sockets, pipes := 0, 0
	err = await("the proxy has closed every connection", func() bool {
		sockets, pipes, err = p.kinds()
		return err != nil || sockets == before
	})
	if err != nil {
		return r, fmt.Errorf("%w: %d sockets, %d before", err, sockets, before)
	}
	pipes -= pipesBefore
	// One each way, with two descriptors.
	if most := 2 * 2 * workers; pipes > most {
		r.wrongf("%d descriptors of pipes are left, want at most %d", pipes, most)
	}
	records := 0
	if err := await("every tunnel has its record", func() bool {
		text, err := os.ReadFile(log)
		records = bytes.Count(text, []byte{'\n'})
		return err == nil && records >= len(pairs)
	}); err != nil || records != len(pairs) {
		r.wrongf("%d records of %d tunnels", records, len(pairs))
	}
	r.remarkf("%d ended well, %d by a reset behind a goodbye; %d MiB in %v, the longest in %v; %d descriptors of pipes in stock",
		whole, acked, carried>>20, took.Round(time.Millisecond), longest.Round(time.Millisecond), pipes)
	return r, nil
}

// tunnelEnd is how one side of a tunnel ends.
type tunnelEnd uint8

const (
	ends           tunnelEnd = iota // a FIN behind all it has to say, and then it hears the other out
	endsFirst                       // the same, but it hears nothing before it has said everything
	endsLast                        // the same, but it says nothing before it has heard everything
	endsThenResets                  // a FIN, and a reset as soon as the proxy's kernel has taken that
	resetsMidway                    // a reset in the middle
	dies                            // closed in the middle, as the kernel does it for a process that was killed
	numTunnelEnds
)

func (end tunnelEnd) String() string {
	return [...]string{"ends", "ends first", "ends last", "ends and resets", "resets", "dies"}[end]
}

// tunnelSide is what one side of a tunnel does, and what it met.
type tunnelSide struct {
	end  tunnelEnd
	seed uint64
	size int // bytes it has to say; those that it says if it does not end early

	heard  int
	heardE error         // how hearing ended: io.EOF is a FIN
	broke  error         // why it could say no more
	wrong  error         // what it heard that was not said
	took   time.Duration // for all of it
}

func (d *tunnelSide) String() string {
	return fmt.Sprintf("a side that %v, of %d bytes", d.end, d.size)
}

// proper reports whether a side hears the other out.
func (d *tunnelSide) proper() bool { return d.end <= endsLast }

// says is what a side has to say.
func (d *tunnelSide) says() []byte {
	b := make([]byte, d.size)
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], d.seed)
	rand.NewChaCha8(seed).Read(b)
	return b
}

// tunnelPair is one tunnel.
type tunnelPair struct {
	upgrade        bool
	client, server tunnelSide
	began          bool          // the server has said so
	served         chan struct{} // closed when the server's side has ended
}

func makePairs(n int, seed uint64) []*tunnelPair {
	rng := rand.New(rand.NewPCG(seed, 0))
	pairs := make([]*tunnelPair, n)
	for i := range pairs {
		side := func() tunnelSide {
			d := tunnelSide{seed: rng.Uint64(), size: rng.IntN(1 << rng.IntN(21))}
			if rng.IntN(4) > 0 {
				d.end = tunnelEnd(rng.IntN(int(numTunnelEnds)))
			}
			return d
		}
		pair := &tunnelPair{upgrade: i%2 == 1, client: side(), server: side(), served: make(chan struct{})}
		if pair.client.end == pair.server.end && (pair.client.end == endsFirst || pair.client.end == endsLast) {
			pair.server.end = ends // else each may wait for the other
		}
		if i%8 < 2 {
			// One says much and leaves, when the other has not yet begun to hear and still has much to say to it. What
			// was said waits in the proxy, or in its kernel, then.
			leaves, stays := &pair.client, &pair.server
			if rng.IntN(2) == 0 {
				leaves, stays = stays, leaves
			}
			leaves.end, leaves.size = endsThenResets, 100_000+rng.IntN(900_000)
			stays.end, stays.size = endsFirst, 500_000+rng.IntN(2_000_000)
		}
		pairs[i] = pair
	}
	return pairs
}

// upgradeHead asks for the tunnel that the server's head grants.
const (
	upgradeHead = "GET /tunnel HTTP/1.1\r\nHost: faults\r\nConnection: upgrade\r\nUpgrade: chaos\r\n\r\n"
	grantedHead = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chaos\r\n\r\n"
)

// dial plays the client's side: the number of the tunnel, and when the server has answered that, what there is to say.
func (pair *tunnelPair) dial(addr string, id int) error {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * patience))
	r := bufio.NewReader(c)
	ask := binary.BigEndian.AppendUint32(nil, uint32(id))
	if pair.upgrade {
		ask = append([]byte(upgradeHead), ask...)
	}
	if _, err := c.Write(ask); err != nil {
		return err
	}
	if pair.upgrade {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return pair.notBegun(err)
		}
		if res.StatusCode != http.StatusSwitchingProtocols {
			return fmt.Errorf("an upgrade was answered with %s", res.Status)
		}
	}
	if _, err := r.ReadByte(); err != nil {
		return pair.notBegun(err)
	}
	pair.began = true
	pair.client.play(c, r, &pair.server)
	return nil
}

// notBegun is an error if the server was to stay.
func (pair *tunnelPair) notBegun(err error) error {
	if pair.server.proper() || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// serveTunnel plays the server's side.
func serveTunnel(c *conn, pairs []*tunnelPair) {
	c.SetDeadline(time.Now().Add(2 * patience))
	head, err := c.r.Peek(4)
	if err == nil && string(head) == "GET " {
		if _, err = http.ReadRequest(c.r); err == nil {
			_, err = io.WriteString(c, grantedHead)
		}
	}
	var id [4]byte
	if err == nil {
		_, err = io.ReadFull(c.r, id[:])
	}
	if err != nil {
		return
	}
	pair := pairs[binary.BigEndian.Uint32(id[:])]
	defer close(pair.served)
	if _, err := c.Write([]byte{'!'}); err != nil {
		pair.server.broke = err
	}
	pair.server.play(c.Conn, c.r, &pair.client)
}

// play plays a side to its end. What it hears is compared with what the other has to say.
func (d *tunnelSide) play(c net.Conn, r *bufio.Reader, other *tunnelSide) {
	tcp := c.(*net.TCPConn)
	began := time.Now()
	defer func() { d.took = time.Since(began) }()
	hear := func() {
		want := other.says()
		b := make([]byte, 1+int(d.seed%100_000))
		for d.heardE == nil {
			var n int
			n, d.heardE = r.Read(b)
			if d.heard+n > len(want) || !bytes.Equal(b[:n], want[d.heard:d.heard+n]) {
				d.wrong = fmt.Errorf("bytes %d to %d are not those that were said", d.heard, d.heard+n)
				tcp.SetLinger(0)
				tcp.Close()
				return
			}
			d.heard += n
		}
	}
	talk := func() {
		rng := rand.New(rand.NewPCG(d.seed, 1))
		text := d.says()
		if d.end >= resetsMidway {
			text = text[:rng.IntN(len(text)+1)]
		}
		for len(text) > 0 && d.broke == nil {
			n := min(len(text), 1+rng.IntN(1<<rng.IntN(18)))
			if n, d.broke = tcp.Write(text[:n]); rng.IntN(3) == 0 {
				runtime.Gosched()
			}
			text = text[n:]
		}
		switch d.end {
		case resetsMidway:
			tcp.SetLinger(0)
			tcp.Close()
		case dies:
			tcp.Close()
		default:
			if err := tcp.CloseWrite(); d.broke == nil {
				d.broke = err
			}
		}
		if d.end == endsThenResets {
			if d.broke == nil {
				d.broke = acknowledged(tcp)
			}
			tcp.SetLinger(0)
			tcp.Close()
		}
	}
	switch d.end {
	case endsFirst:
		talk()
		hear()
	case endsLast:
		hear()
		talk()
	default:
		var talking sync.WaitGroup
		talking.Go(talk)
		hear()
		talking.Wait()
	}
}

// acknowledged waits until the kernel on the other side has everything that was sent, a FIN included. It is an error
// if the connection is reset before.
func acknowledged(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var info *unix.TCPInfo
	left, failed := 0, error(nil)
	look := func(fd uintptr) {
		if left, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); failed == nil {
			info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		}
	}
	err = await("the goodbye is acknowledged", func() bool {
		err := errors.Join(raw.Control(look), failed)
		const closed = 7 // TCP_CLOSE of the kernel's net/tcp_states.h
		failed = err
		return err != nil || left == 0 || info.State == closed
	})
	if err == nil && failed == nil && left > 0 {
		err = unix.ECONNRESET
	}
	return errors.Join(err, failed)
}

// patienceWithTheGone is how long the proxy takes what is said to a side that is gone, before it cuts the tunnel. It is a
// constant of the proxy's. Only on a very busy machine does anybody here speak for so long.
const patienceWithTheGone = 5 * time.Second

// judge says what is wrong with what d heard of other, if anything.
func (d *tunnelSide) judge(other *tunnelSide) error {
	switch {
	case d.wrong != nil:
		return fmt.Errorf("%v and %v: %w", d, other, d.wrong)
	case errors.Is(d.heardE, os.ErrDeadlineExceeded):
		return fmt.Errorf("%v heard %d bytes of %v, and then nothing", d, d.heard, other)
	case !d.proper():
		return nil // it did not stay to hear
	case other.end == endsThenResets && d.took >= patienceWithTheGone:
		return nil // it had more to say than it was given time for
	case other.end <= endsThenResets && other.broke == nil && (d.heardE != io.EOF || d.heard != other.size):
		return fmt.Errorf("%v heard %d bytes and %v of %v; it could say no more: %v; they took %v and %v", d, d.heard, d.heardE, other,
			d.broke, d.took, other.took)
	case other.end == resetsMidway && d.heardE == io.EOF && d.broke == nil:
		// An error that sending has met is not told again to reading, which sees the end then.
		return fmt.Errorf("%v heard a proper end behind %d bytes of %v", d, d.heard, other)
	}
	return nil
}

// kinds counts the program's sockets and its descriptors of pipes.
func (p *proxy) kinds() (sockets, pipes int, err error) {
	dir := fmt.Sprintf("/proc/%d/fd/", p.pid())
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, 0, err
	}
	for _, entry := range entries {
		link, err := os.Readlink(dir + entry.Name())
		switch {
		case err != nil: // closed meanwhile
		case strings.HasPrefix(link, "socket:"):
			sockets++
		case strings.HasPrefix(link, "pipe:"):
			pipes++
		}
	}
	return sockets, pipes, nil
}
