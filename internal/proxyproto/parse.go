package proxyproto

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"unsafe"
)

// Family is the kind of the addresses in a header.
type Family uint8

const (
	// FamilyNone: the header names no addresses (UNKNOWN in version 1, AF_UNSPEC in version 2). Those of the connection
	// itself count.
	FamilyNone Family = iota
	// FamilyInet: both addresses are IPv4.
	FamilyInet
	// FamilyInet6: both addresses are IPv6, of which one may be an IPv4 address in its mapped form.
	FamilyInet6
	// FamilyUnix: the proxy's client has come by a unix socket and has no address.
	FamilyUnix
)

// Header is what a proxy says about a connection.
type Header struct {
	// Version is 1 or 2.
	Version uint8
	// Local: the connection is the proxy's own, such as a health check (LOCAL of version 2, section 2.2). The addresses
	// of the connection itself count.
	Local bool
	// Family says what Source and Destination are.
	Family Family
	// Source is the client's address, Destination the one that it has connected to. They are valid with FamilyInet and
	// FamilyInet6; IPv4 addresses in mapped form are returned as IPv4.
	Source, Destination netip.AddrPort
	// TLVs are the additional fields of version 2 as they came (section 2.2): a type, a length of two bytes and a value
	// each. Parse returns a part of its argument.
	TLVs []byte
}

// Error is why a header is refused.
type Error string

func (e Error) Error() string { return string(e) }

// What Parse returns. ErrNeedMore and ErrNoHeader are no verdicts on a header: the first says that there may be one, the
// second that there is none.
const (
	ErrNeedMore Error = "the PROXY header is incomplete"
	ErrNoHeader Error = "there is no PROXY header"

	ErrTooLong  Error = "the PROXY header is too long"
	ErrLine     Error = "the line of the PROXY header does not end with CR LF"
	ErrProtocol Error = "the protocol of the PROXY header is none of TCP4, TCP6 and UNKNOWN"
	ErrAddress  Error = "an address or port in the PROXY header is malformed"
	ErrVersion  Error = "the version or command of the PROXY header is not known"
	ErrFamily   Error = "the address family or transport of the PROXY header is not known"
	ErrLength   Error = "the addresses do not fit into the PROXY header"
	ErrTLV      Error = "a TLV does not fit into the PROXY header"
	ErrChecksum Error = "the checksum of the PROXY header is wrong"
)

const (
	// MaxV1 is the most that a header of version 1 has, with its line end, in bytes (section 2.1).
	MaxV1 = 107
	// MaxV2 bounds a header of version 2, in bytes. The format has room for 64 KiB. Addresses take at most 216 and
	// certificates of clients a few thousand; HAProxy sends no more than fits into its buffer, which is this.
	MaxV2 = 16 << 10
)

const (
	v1Prefix = "PROXY "
	v2Prefix = "\r\n\r\n\x00\r\nQUIT\n"

	v2Fixed = len(v2Prefix) + 4 // and version and command, family and transport, two bytes of length

	inetLen  = 2*4 + 2*2
	inet6Len = 2*16 + 2*2
	unixLen  = 2 * 108

	tlvHead     = 3
	tlvChecksum = 0x03 // PP2_TYPE_CRC32C
)

// Parse reads the header that buf begins with into h, and returns its length. The error is of type [Error]: see the
// package's comment. Only with ErrNeedMore do more bytes change the answer.
func Parse(buf []byte, h *Header) (n int, err error) {
	*h = Header{}
	switch {
	case startsWith(buf, v2Prefix):
		return parseV2(buf, h)
	case startsWith(buf, v1Prefix):
		return parseV1(buf, h)
	}
	return 0, ErrNoHeader
}

// startsWith reports whether buf may begin with prefix, as far as it has come.
func startsWith(buf []byte, prefix string) bool {
	n := min(len(buf), len(prefix))
	return string(buf[:n]) == prefix[:n]
}

// parseV1 reads a line: PROXY, a protocol, two addresses, two ports, each after a single space (section 2.1).
func parseV1(buf []byte, h *Header) (int, error) {
	end := bytes.IndexByte(buf[:min(len(buf), MaxV1)], '\n')
	switch {
	case end < 0 && len(buf) >= MaxV1:
		return 0, ErrTooLong
	case end < 0:
		return 0, ErrNeedMore
	case buf[end-1] != '\r':
		return 0, ErrLine
	}
	h.Version = 1
	protocol, rest, _ := bytes.Cut(buf[len(v1Prefix):end-1], space)
	switch string(protocol) {
	case "UNKNOWN":
		return end + 1, nil // what follows means nothing
	case "TCP4":
		h.Family = FamilyInet
	case "TCP6":
		h.Family = FamilyInet6
	default:
		return 0, ErrProtocol
	}
	source, rest, _ := bytes.Cut(rest, space)
	destination, rest, _ := bytes.Cut(rest, space)
	sourcePort, destinationPort, _ := bytes.Cut(rest, space)
	var ok, ok2 bool
	if h.Source, ok = parseAddr(source, sourcePort, h.Family); !ok {
		return 0, ErrAddress
	}
	if h.Destination, ok2 = parseAddr(destination, destinationPort, h.Family); !ok2 {
		return 0, ErrAddress
	}
	return end + 1, nil
}

var space = []byte(" ")

// parseAddr reads an address and a port as text.
func parseAddr(text, port []byte, family Family) (netip.AddrPort, bool) {
	if len(text) == 0 || bytes.IndexByte(text, '%') >= 0 {
		return netip.AddrPort{}, false // a zone means something on one machine only
	}
	// Converting it would be an allocation. Nothing keeps the string but an error, which nobody keeps.
	addr, err := netip.ParseAddr(unsafe.String(unsafe.SliceData(text), len(text)))
	if err != nil || addr.Is4() != (family == FamilyInet) {
		return netip.AddrPort{}, false
	}
	if len(port) == 0 || len(port) > 5 || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, false
	}
	number := 0
	for _, c := range port {
		if c < '0' || c > '9' {
			return netip.AddrPort{}, false
		}
		number = 10*number + int(c-'0')
	}
	if number > 65535 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(number)), true
}

// parseV2 reads the binary form (section 2.2).
func parseV2(buf []byte, h *Header) (int, error) {
	const versionAt, familyAt, lengthAt = len(v2Prefix), len(v2Prefix) + 1, len(v2Prefix) + 2
	if len(buf) <= versionAt {
		return 0, ErrNeedMore
	}
	h.Version = 2
	switch buf[versionAt] {
	case 0x20:
		h.Local = true
	case 0x21:
	default:
		return 0, ErrVersion
	}
	if len(buf) <= familyAt {
		return 0, ErrNeedMore
	}
	addresses := 0
	switch buf[familyAt] {
	case 0x00:
	case 0x11, 0x12: // over TCP, or UDP: an address is an address
		h.Family, addresses = FamilyInet, inetLen
	case 0x21, 0x22:
		h.Family, addresses = FamilyInet6, inet6Len
	case 0x31, 0x32:
		h.Family, addresses = FamilyUnix, unixLen
	default:
		if !h.Local {
			return 0, ErrFamily
		}
	}
	if len(buf) < v2Fixed {
		return 0, ErrNeedMore
	}
	n := v2Fixed + int(binary.BigEndian.Uint16(buf[lengthAt:]))
	switch {
	case n > MaxV2:
		return 0, ErrTooLong
	case n < v2Fixed+addresses && !h.Local:
		return 0, ErrLength
	case len(buf) < n:
		return 0, ErrNeedMore
	}
	if h.Local {
		// "The receiver must discard the protocol block including the family", and with it the way to tell where
		// TLVs begin.
		h.Family = FamilyNone
		return n, nil
	}
	body := buf[v2Fixed:n]
	switch h.Family {
	case FamilyInet:
		h.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body[4:])), binary.BigEndian.Uint16(body[10:]))
	case FamilyInet6:
		h.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)).Unmap(), binary.BigEndian.Uint16(body[32:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body[16:])).Unmap(), binary.BigEndian.Uint16(body[34:]))
	}
	h.TLVs = body[addresses:]
	if err := checkTLVs(buf[:n], v2Fixed+addresses); err != nil {
		return 0, err
	}
	return n, nil
}

// checkTLVs walks the TLVs of a header, which begin at a position, and verifies its checksum if it has one.
func checkTLVs(header []byte, at int) error {
	sum := 0 // where the checksum is
	for at < len(header) {
		if len(header)-at < tlvHead {
			return ErrTLV
		}
		kind, length := header[at], int(binary.BigEndian.Uint16(header[at+1:]))
		at += tlvHead
		if length > len(header)-at {
			return ErrTLV
		}
		if kind == tlvChecksum {
			if length != crc32.Size {
				return ErrTLV
			}
			if sum != 0 {
				return ErrChecksum // each would be a part of what the other one is of
			}
			sum = at
		}
		at += length
	}
	if sum == 0 {
		return nil
	}
	if checksum(header, sum) != binary.BigEndian.Uint32(header[sum:]) {
		return ErrChecksum
	}
	return nil
}

// checksum is the CRC-32C of a header, with zeros where it stands itself (section 2.2.3).
func checksum(header []byte, at int) uint32 {
	crc := crc32.Update(0, castagnoli, header[:at])
	crc = crc32.Update(crc, castagnoli, zeros[:])
	return crc32.Update(crc, castagnoli, header[at+crc32.Size:])
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	zeros      [crc32.Size]byte
)
