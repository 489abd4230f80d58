package resolve

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// ask asks the name servers in turn, each as often as there are attempts, until one answers the question. An answer
// may be that the name does not exist, or has no such records.
func (r *Resolver) ask(ctx context.Context, c *config, q question) (response, error) {
	first := 0
	if c.rotate {
		first = int(r.turns.Add(1)-1) % len(c.servers)
	}
	var last error
	for range c.attempts {
		for i := range c.servers {
			server := c.servers[(first+i)%len(c.servers)]
			answer, err := r.askServer(ctx, c, server, q)
			switch {
			case ctx.Err() != nil:
				return response{}, ctx.Err()
			case err != nil:
				last = fmt.Errorf("%s: %w", server, err)
			case answer.rcode == dnsmessage.RCodeSuccess && !answer.lame, answer.rcode == dnsmessage.RCodeNameError:
				return answer, nil
			case answer.lame:
				last = fmt.Errorf("%s: knows nothing of the name, and asks nobody for it", server)
			default:
				last = fmt.Errorf("%s: answers %s", server, rcodeName(answer.rcode))
			}
		}
	}
	return response{}, last
}

// rcodeName is a response code as name servers' logs have it.
func rcodeName(c dnsmessage.RCode) string {
	switch c {
	case dnsmessage.RCodeFormatError:
		return "FORMERR"
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case dnsmessage.RCodeNotImplemented:
		return "NOTIMP"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	}
	return fmt.Sprintf("with code %d", uint16(c))
}

// askServer asks one server once: over UDP, and over TCP if the answer does not fit. One that does not know EDNS is
// asked without.
func (r *Resolver) askServer(ctx context.Context, c *config, server netip.AddrPort, q question) (response, error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return response{}, ctx.Err()
	}
	answer, err := r.try(ctx, c, server, q, true)
	if err == nil && (answer.rcode == dnsmessage.RCodeFormatError || answer.rcode == dnsmessage.RCodeNotImplemented) {
		answer, err = r.try(ctx, c, server, q, false)
	}
	return answer, err
}

func (r *Resolver) try(ctx context.Context, c *config, server netip.AddrPort, q question, edns bool) (response, error) {
	if !c.tcp {
		answer, err := r.exchange(ctx, c, "udp", server, q, edns)
		if err != nil || !answer.truncated {
			return answer, err
		}
	}
	answer, err := r.exchange(ctx, c, "tcp", server, q, edns)
	if err == nil && answer.truncated {
		err = errors.New("an answer over TCP is truncated")
	}
	return answer, err
}

// exchange sends one message and waits for its answer. Each has a socket of its own, so that its source port is one that
// the kernel draws: together with the ID that is what a forger has to guess (RFC 5452).
func (r *Resolver) exchange(ctx context.Context, c *config, network string, server netip.AddrPort, q question, edns bool) (response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer, err := r.converse(ctx, network, server, q, edns)
	if err != nil && (ctx.Err() == context.DeadlineExceeded || errors.Is(err, os.ErrDeadlineExceeded)) {
		err = fmt.Errorf("no answer within %v", c.timeout)
	}
	// What was asked is known already: the kernel's word is the news.
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	return answer, err
}

func (r *Resolver) converse(ctx context.Context, network string, server netip.AddrPort, q question, edns bool) (response, error) {
	conn, err := r.dialer.DialContext(ctx, network, server.String())
	if err != nil {
		return response{}, err
	}
	defer conn.Close()
	// Whatever ends ctx ends the wait.
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	var random [2]byte
	rand.Read(random[:])
	id := binary.BigEndian.Uint16(random[:])
	msg, err := appendQuery(make([]byte, 2, 2+512), id, q, edns)
	if err != nil {
		return response{}, err
	}
	if network == "tcp" {
		return overTCP(conn, msg, id, q)
	}
	if _, err := conn.Write(msg[2:]); err != nil {
		return response{}, err
	}
	b := make([]byte, 4<<10) // who sends more than it was told is read as far as that
	for {
		n, err := conn.Read(b)
		if err != nil {
			return response{}, err
		}
		// What does not answer the question is not heard: the true answer may still come.
		if answer, err := parse(b[:n], id, q); err != errForeign {
			return answer, err
		}
	}
}

// overTCP sends a message, which has room for its length at its front, and reads the answer (RFC 1035, 4.2.2).
func overTCP(conn net.Conn, msg []byte, id uint16, q question) (response, error) {
	binary.BigEndian.PutUint16(msg, uint16(len(msg)-2))
	if _, err := conn.Write(msg); err != nil {
		return response{}, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return response{}, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, b); err != nil {
		return response{}, err
	}
	return parse(b, id, q)
}
