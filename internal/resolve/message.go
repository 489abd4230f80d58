package resolve

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// udpSize is what we take of an answer over UDP, in bytes: what passes nearly everywhere in one piece.
const udpSize = 1232

// maxAliases bounds a chain of aliases (CNAME).
const maxAliases = 16

// question is what one message asks for.
type question struct {
	name dnsmessage.Name // absolute
	kind dnsmessage.Type
}

// service is a record of a service (RFC 2782).
type service struct {
	priority, weight, port uint16
	target                 string // absolute
}

// response is what a message answers to a question.
type response struct {
	rcode     dnsmessage.RCode
	truncated bool
	// lame: it is from a server that neither knows the name nor asks others for it.
	lame     bool
	addrs    []netip.Addr
	services []service
	// alias is the name at the end of a chain of aliases that the answer has no records of; else empty.
	alias string
	ttl   time.Duration // the least of all records that the answer is made of
}

func (r *response) empty() bool { return len(r.addrs) == 0 && len(r.services) == 0 }

// maxTTL is the largest TTL there is (RFC 2181, 8).
const maxTTL = (1<<31 - 1) * time.Second

// ttlOf returns the TTL of a record. One with the highest bit set is 0 (RFC 2181, 8).
func ttlOf(seconds uint32) time.Duration {
	if seconds >= 1<<31 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// appendQuery appends a message that asks q. With edns it says how large an answer may be (RFC 6891, 6.2.3).
func appendQuery(dst []byte, id uint16, q question, edns bool) ([]byte, error) {
	b := dnsmessage.NewBuilder(dst, dnsmessage.Header{ID: id, RecursionDesired: true})
	err := errors.Join(b.StartQuestions(), b.Question(dnsmessage.Question{Name: q.name, Type: q.kind, Class: dnsmessage.ClassINET}))
	if edns && err == nil {
		var h dnsmessage.ResourceHeader
		err = errors.Join(h.SetEDNS0(udpSize, dnsmessage.RCodeSuccess, false), b.StartAdditionals(), b.OPTResource(h, dnsmessage.OPTResource{}))
	}
	if err != nil {
		return nil, err
	}
	return b.Finish()
}

// errForeign says that a message is no answer to the question: somebody else's, or a forgery.
var errForeign = errors.New("not an answer to this question")

// parse reads the answer to a question. The error is errForeign when it is the answer to nothing that was asked.
func parse(msg []byte, id uint16, q question) (response, error) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || h.ID != id || !h.Response || h.OpCode != 0 {
		return response{}, errForeign
	}
	r := response{rcode: h.RCode, truncated: h.Truncated, ttl: maxTTL}
	asked, err := p.Question()
	if err == dnsmessage.ErrSectionDone && (h.RCode == dnsmessage.RCodeFormatError || h.RCode == dnsmessage.RCodeNotImplemented) {
		return r, nil // a server that does not know EDNS may send back a head alone (RFC 6891, 7)
	}
	if err != nil || !sameName(asked.Name, q.name) || asked.Type != q.kind || asked.Class != dnsmessage.ClassINET {
		return response{}, errForeign
	}
	if err := p.SkipAllQuestions(); err != nil {
		return response{}, fmt.Errorf("malformed answer: %w", err)
	}
	if r.truncated {
		return r, nil // what there is of it may be a part, so all of it is asked for again
	}
	a := answers{kind: q.kind, aliases: make(map[string]alias)}
	if err := a.read(&p); err != nil {
		return response{}, fmt.Errorf("malformed answer: %w", err)
	}
	if err := r.extend(&p); err != nil {
		return response{}, fmt.Errorf("malformed answer: %w", err)
	}
	if err := a.follow(&r, q.name); err != nil {
		return response{}, err
	}
	r.lame = r.rcode == dnsmessage.RCodeSuccess && r.empty() && r.alias == "" && !h.Authoritative && !h.RecursionAvailable
	return r, nil
}

// extend adds to the response code what the OPT record has of it (RFC 6891, 6.1.3).
func (r *response) extend(p *dnsmessage.Parser) error {
	if err := p.SkipAllAuthorities(); err != nil {
		return err
	}
	for {
		h, err := p.AdditionalHeader()
		if err == dnsmessage.ErrSectionDone {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Type == dnsmessage.TypeOPT {
			r.rcode = h.ExtendedRCode(r.rcode)
		}
		if err := p.SkipAdditional(); err != nil {
			return err
		}
	}
}

// alias is a CNAME record.
type alias struct {
	target dnsmessage.Name
	ttl    time.Duration
}

// owned is an address or a service, and the name that has it.
type owned struct {
	owner   string
	ttl     time.Duration
	addr    netip.Addr
	service service
}

// answers are the records of an answer, in whatever order.
type answers struct {
	kind    dnsmessage.Type
	aliases map[string]alias
	records []owned
}

// read reads the answer section.
func (a *answers) read(p *dnsmessage.Parser) error {
	for {
		h, err := p.AnswerHeader()
		if err == dnsmessage.ErrSectionDone {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Class != dnsmessage.ClassINET || h.Type != a.kind && h.Type != dnsmessage.TypeCNAME {
			if err := p.SkipAnswer(); err != nil {
				return err
			}
			continue
		}
		o := owned{owner: fold(h.Name), ttl: ttlOf(h.TTL)}
		switch h.Type {
		case dnsmessage.TypeCNAME:
			r, err := p.CNAMEResource()
			if err != nil {
				return err
			}
			a.aliases[o.owner] = alias{r.CNAME, o.ttl}
			continue
		case dnsmessage.TypeA:
			r, err := p.AResource()
			if err != nil {
				return err
			}
			o.addr = netip.AddrFrom4(r.A)
		case dnsmessage.TypeAAAA:
			r, err := p.AAAAResource()
			if err != nil {
				return err
			}
			// An IPv4 address in the clothes of IPv6 is one that IPv4 is spoken to.
			o.addr = netip.AddrFrom16(r.AAAA).Unmap()
		case dnsmessage.TypeSRV:
			r, err := p.SRVResource()
			if err != nil {
				return err
			}
			o.service = service{r.Priority, r.Weight, r.Port, fold(r.Target)}
		}
		a.records = append(a.records, o)
	}
}

// follow takes the records of a name, or of what it is an alias of, into the response.
func (a *answers) follow(r *response, name dnsmessage.Name) error {
	owner := fold(name)
	for hops := 0; ; hops++ {
		next, ok := a.aliases[owner]
		if !ok {
			break
		}
		if hops == maxAliases {
			return fmt.Errorf("more than %d aliases", maxAliases)
		}
		r.ttl = min(r.ttl, next.ttl)
		owner = fold(next.target)
		r.alias = owner
	}
	for _, o := range a.records {
		if o.owner != owner {
			continue
		}
		r.alias = ""
		r.ttl = min(r.ttl, o.ttl)
		if a.kind == dnsmessage.TypeSRV {
			r.services = append(r.services, o.service)
		} else {
			r.addrs = append(r.addrs, o.addr)
		}
	}
	return nil
}

// fold returns a name as it is compared: case does not matter (RFC 4343).
func fold(n dnsmessage.Name) string { return strings.ToLower(string(n.Data[:n.Length])) }

func sameName(a, b dnsmessage.Name) bool { return fold(a) == fold(b) }
