// Package dnstest is a name server for tests: on a port of loopback, over UDP and TCP, with the records that a test
// gives it and takes from it while it runs.
package dnstest

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// Server is a name server. Its methods may be called from any goroutine.
type Server struct {
	// Addr is where it listens.
	Addr netip.AddrPort

	udp     net.PacketConn
	tcp     net.Listener
	serving sync.WaitGroup

	mu      sync.Mutex
	names   map[string]*name
	asked   map[string]int
	forge   func(query []byte) [][]byte
	silent  bool
	noEDNS  bool
	overTCP bool
	conns   map[net.Conn]bool
}

// name is what the server knows of one.
type name struct {
	ttl      uint32
	addrs    []netip.Addr
	alias    string
	services []dnsmessage.SRVResource
	code     dnsmessage.RCode
	broken   map[dnsmessage.Type]bool
}

// Start starts a server that knows no names.
func Start() (*Server, error) {
	// A port that is free for UDP may be taken for TCP.
	for range 100 {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		addr := udp.LocalAddr().(*net.UDPAddr).AddrPort()
		tcp, err := net.Listen("tcp", addr.String())
		if err != nil {
			udp.Close()
			continue
		}
		s := &Server{Addr: addr, udp: udp, tcp: tcp, names: map[string]*name{}, asked: map[string]int{}, conns: map[net.Conn]bool{}}
		s.serving.Go(s.serveUDP)
		s.serving.Go(s.serveTCP)
		return s, nil
	}
	return nil, errors.New("no port is free for UDP and TCP")
}

// Close ends the server.
func (s *Server) Close() {
	s.udp.Close()
	s.tcp.Close()
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	s.serving.Wait()
}

func (s *Server) set(of string, n *name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[strings.ToLower(of)] = n
}

// Set gives an absolute name its addresses, in this order, for a TTL in seconds. Without any it exists and has none.
func (s *Server) Set(of string, ttl uint32, addrs ...string) {
	n := &name{ttl: ttl}
	for _, a := range addrs {
		n.addrs = append(n.addrs, netip.MustParseAddr(a))
	}
	s.set(of, n)
}

// SetService gives an absolute name its services.
func (s *Server) SetService(of string, ttl uint32, services ...dnsmessage.SRVResource) {
	s.set(of, &name{ttl: ttl, services: services})
}

// SetAlias makes a name an alias of another one.
func (s *Server) SetAlias(of string, ttl uint32, to string) { s.set(of, &name{ttl: ttl, alias: to}) }

// Fail has questions about a name answered with a code.
func (s *Server) Fail(of string, code dnsmessage.RCode) { s.set(of, &name{code: code}) }

// FailFor has questions about records of a kind of a name that is known answered with SERVFAIL.
func (s *Server) FailFor(of string, kind dnsmessage.Type) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[of].broken = map[dnsmessage.Type]bool{kind: true}
}

// Remove makes a name one that does not exist.
func (s *Server) Remove(of string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.names, of)
}

// Silence has the server answer nothing, or answer again.
func (s *Server) Silence(silent bool) { s.locked(func() { s.silent = silent }) }

// RefuseEDNS makes it a server that does not know EDNS.
func (s *Server) RefuseEDNS() { s.locked(func() { s.noEDNS = true }) }

// TruncateUDP has it answer over UDP that the answer does not fit.
func (s *Server) TruncateUDP() { s.locked(func() { s.overTCP = true }) }

// Forge has it send what f returns before the answer to a question over UDP.
func (s *Server) Forge(f func(query []byte) [][]byte) { s.locked(func() { s.forge = f }) }

func (s *Server) locked(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Asked returns how often records of a kind of a name have been asked for, over UDP and TCP.
func (s *Server) Asked(of string, kind dnsmessage.Type) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[of+" "+kind.String()]
}

func (s *Server) serveUDP() {
	b := make([]byte, 4<<10)
	for {
		n, from, err := s.udp.ReadFrom(b)
		if err != nil {
			return
		}
		answer := s.answer(b[:n], true)
		s.mu.Lock()
		forge := s.forge
		s.mu.Unlock()
		if forge != nil {
			for _, msg := range forge(append([]byte(nil), b[:n]...)) {
				s.udp.WriteTo(msg, from)
			}
		}
		if answer != nil {
			s.udp.WriteTo(answer, from)
		}
	}
}

func (s *Server) serveTCP() {
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.conns == nil {
			c.Close()
		} else {
			s.conns[c] = true
			s.serving.Go(func() { s.serveConn(c) })
		}
		s.mu.Unlock()
	}
}

func (s *Server) serveConn(c net.Conn) {
	defer func() {
		c.Close()
		s.locked(func() { delete(s.conns, c) })
	}()
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		return
	}
	if answer := s.answer(b, false); answer != nil {
		c.Write(binary.BigEndian.AppendUint16(nil, uint16(len(answer))))
		c.Write(answer)
	}
}

// answer returns the answer to a query, or nil for none.
func (s *Server) answer(query []byte, udp bool) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	of := strings.ToLower(q.Name.String())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[of+" "+q.Type.String()]++
	if s.silent {
		return nil
	}
	a := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: m.ID, Response: true, RecursionDesired: true, RecursionAvailable: true},
		Questions: m.Questions,
	}
	switch {
	case s.noEDNS && len(m.Additionals) > 0:
		a.RCode, a.Questions = dnsmessage.RCodeFormatError, nil
	case s.overTCP && udp:
		a.Truncated = true
	default:
		s.resolve(&a, q, of)
	}
	packed, err := a.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// resolve puts the records of a name into an answer.
func (s *Server) resolve(a *dnsmessage.Message, q dnsmessage.Question, of string) {
	owner := q.Name
	for range 20 {
		n := s.names[of]
		switch {
		case n == nil:
			a.RCode = dnsmessage.RCodeNameError
			return
		case n.code != 0 || n.broken[q.Type]:
			a.RCode = max(n.code, dnsmessage.RCodeServerFailure)
			return
		}
		add := func(kind dnsmessage.Type, body dnsmessage.ResourceBody) {
			a.Answers = append(a.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: owner, Type: kind, Class: dnsmessage.ClassINET, TTL: n.ttl}, Body: body,
			})
		}
		if n.alias != "" {
			target := dnsmessage.MustNewName(n.alias)
			add(dnsmessage.TypeCNAME, &dnsmessage.CNAMEResource{CNAME: target})
			owner, of = target, strings.ToLower(n.alias)
			continue
		}
		for _, addr := range n.addrs {
			switch {
			case q.Type == dnsmessage.TypeA && addr.Is4():
				add(q.Type, &dnsmessage.AResource{A: addr.As4()})
			case q.Type == dnsmessage.TypeAAAA && addr.Is6():
				add(q.Type, &dnsmessage.AAAAResource{AAAA: addr.As16()})
			}
		}
		if q.Type == dnsmessage.TypeSRV {
			for _, srv := range n.services {
				add(q.Type, &srv)
			}
		}
		return
	}
}
