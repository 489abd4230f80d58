package proxyproto

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// Append appends the header that h says, of its version.
//
// The family is that of the addresses, whatever h says of it: IPv6 if one of them is, with the other in its mapped form.
// A destination that is not valid is sent as the unspecified address with port 0. Without a valid source the header
// names no addresses and passes no TLVs: UNKNOWN in version 1, which has no other word for Local either, and LOCAL in
// version 2, as HAProxy sends it, since not everybody takes AF_UNSPEC with a client.
//
// TLVs are for version 2. They have to be well-formed and fit, as those are that Parse returns. A checksum among them is
// left out: it was that of another header.
func Append(dst []byte, h *Header) []byte {
	source, destination := h.Source, h.Destination
	named := source.IsValid() && !h.Local
	if named && !destination.IsValid() {
		destination = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
		if source.Addr().Is6() {
			destination = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
		}
	}
	v4 := named && source.Addr().Is4() && destination.Addr().Is4()
	if h.Version == 1 {
		return appendV1(dst, named, v4, source, destination)
	}
	begin := len(dst)
	dst = append(dst, v2Prefix...)
	switch {
	case !named:
		return append(dst, 0x20, 0x00, 0, 0)
	case v4:
		dst = append(dst, 0x21, 0x11, 0, 0)
		a, b := source.Addr().As4(), destination.Addr().As4()
		dst = append(append(dst, a[:]...), b[:]...)
	default:
		dst = append(dst, 0x21, 0x21, 0, 0)
		a, b := source.Addr().As16(), destination.Addr().As16()
		dst = append(append(dst, a[:]...), b[:]...)
	}
	dst = binary.BigEndian.AppendUint16(dst, source.Port())
	dst = binary.BigEndian.AppendUint16(dst, destination.Port())
	for tlvs := h.TLVs; len(tlvs) > 0; {
		n := tlvHead + int(binary.BigEndian.Uint16(tlvs[1:]))
		if tlvs[0] != tlvChecksum {
			dst = append(dst, tlvs[:n]...)
		}
		tlvs = tlvs[n:]
	}
	binary.BigEndian.PutUint16(dst[begin+v2Fixed-2:], uint16(len(dst)-begin-v2Fixed))
	return dst
}

func appendV1(dst []byte, named, v4 bool, source, destination netip.AddrPort) []byte {
	dst = append(dst, v1Prefix...)
	if !named {
		return append(dst, "UNKNOWN\r\n"...)
	}
	a, b := source.Addr(), destination.Addr()
	if v4 {
		dst = append(dst, "TCP4 "...)
	} else {
		dst = append(dst, "TCP6 "...)
		a, b = netip.AddrFrom16(a.As16()), netip.AddrFrom16(b.As16())
	}
	dst = append(a.AppendTo(dst), ' ')
	dst = append(b.AppendTo(dst), ' ')
	dst = append(strconv.AppendUint(dst, uint64(source.Port()), 10), ' ')
	return append(strconv.AppendUint(dst, uint64(destination.Port()), 10), "\r\n"...)
}
