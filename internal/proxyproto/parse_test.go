package proxyproto_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	peer "github.com/pires/go-proxyproto"

	"millrace/internal/proxyproto"
)

const signature = "\r\n\r\n\x00\r\nQUIT\n"

// v2 is a header of version 2 with what is said of its length being true.
func v2(versionAndCommand, family byte, body string) string {
	head := append([]byte(signature), versionAndCommand, family)
	head = binary.BigEndian.AppendUint16(head, uint16(len(body)))
	return string(head) + body
}

func tlv(kind byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))) + value
}

// withChecksum fills in the checksum of a header whose last TLV it is.
func withChecksum(header string) string {
	b := []byte(header)
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(b[len(b)-4:], sum)
	return string(b)
}

const (
	inet  = "\xc0\x00\x02\x01" + "\xc6\x33\x64\x02" + "\x30\x39" + "\x01\xbb" // 192.0.2.1:12345 to 198.51.100.2:443
	inet6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02" + "\x30\x39" + "\x01\xbb"
	mapped = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc6\x33\x64\x02" + "\x30\x39" + "\x01\xbb"
)

var unixPaths = strings.Repeat("a", 108) + strings.Repeat("b", 108)

// said is a header in words.
func said(h *proxyproto.Header) string {
	if h.Local {
		return "local"
	}
	switch h.Family {
	case proxyproto.FamilyNone:
		return fmt.Sprintf("unknown %q", h.TLVs)
	case proxyproto.FamilyUnix:
		return fmt.Sprintf("unix %q", h.TLVs)
	}
	return fmt.Sprintf("%v to %v %q", h.Source, h.Destination, h.TLVs)
}

var headers = []struct {
	name, header string
	err          error
	want         string
}{
	{"TCP4", "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n", nil, `192.0.2.1:12345 to 198.51.100.2:443 ""`},
	{"TCP6", "PROXY TCP6 2001:db8::1 2001:db8::2 12345 443\r\n", nil, `[2001:db8::1]:12345 to [2001:db8::2]:443 ""`},
	{"TCP6 with IPv4 in it", "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n", nil, `192.0.2.1:1 to [2001:db8::2]:2 ""`},
	{"the longest TCP6", "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", nil, `[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535 to [ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535 ""`},
	{"UNKNOWN", "PROXY UNKNOWN\r\n", nil, `unknown ""`},
	{"UNKNOWN with addresses", "PROXY UNKNOWN ffff::1 whatever 1 2\r\n", nil, `unknown ""`},
	{"the longest of all", "PROXY UNKNOWN " + strings.Repeat("x", 91) + "\r\n", nil, `unknown ""`},
	{"one byte more", "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", proxyproto.ErrTooLong, ""},
	{"port 0", "PROXY TCP4 192.0.2.1 198.51.100.2 0 0\r\n", nil, `192.0.2.1:0 to 198.51.100.2:0 ""`},
	{"bare LF", "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\n", proxyproto.ErrLine, ""},
	{"no protocol", "PROXY \r\n", proxyproto.ErrProtocol, ""},
	{"UDP", "PROXY UDP4 192.0.2.1 198.51.100.2 12345 443\r\n", proxyproto.ErrProtocol, ""},
	{"lower case", "PROXY tcp4 192.0.2.1 198.51.100.2 12345 443\r\n", proxyproto.ErrProtocol, ""},
	{"two spaces", "PROXY TCP4  192.0.2.1 198.51.100.2 12345 443\r\n", proxyproto.ErrAddress, ""},
	{"a space at the end", "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443 \r\n", proxyproto.ErrAddress, ""},
	{"IPv6 in TCP4", "PROXY TCP4 2001:db8::1 2001:db8::2 12345 443\r\n", proxyproto.ErrAddress, ""},
	{"IPv4 in TCP6", "PROXY TCP6 192.0.2.1 198.51.100.2 12345 443\r\n", proxyproto.ErrAddress, ""},
	{"leading zeros", "PROXY TCP4 192.0.02.1 198.51.100.2 12345 443\r\n", proxyproto.ErrAddress, ""},
	{"a leading zero in a port", "PROXY TCP4 192.0.2.1 198.51.100.2 012 443\r\n", proxyproto.ErrAddress, ""},
	{"a port that is too large", "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", proxyproto.ErrAddress, ""},
	{"a negative port", "PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n", proxyproto.ErrAddress, ""},
	{"no ports", "PROXY TCP4 192.0.2.1 198.51.100.2\r\n", proxyproto.ErrAddress, ""},
	{"a zone", "PROXY TCP6 fe80::1%eth0 2001:db8::2 1 2\r\n", proxyproto.ErrAddress, ""},
	{"a method", "PROXX / HTTP/1.1\r\n", proxyproto.ErrNoHeader, ""},
	{"a request", "GET / HTTP/1.1\r\n", proxyproto.ErrNoHeader, ""},
	{"an empty line and a request", "\r\nGET / HTTP/1.1\r\n", proxyproto.ErrNoHeader, ""},

	{"IPv4", v2(0x21, 0x11, inet), nil, `192.0.2.1:12345 to 198.51.100.2:443 ""`},
	{"IPv4 over UDP", v2(0x21, 0x12, inet), nil, `192.0.2.1:12345 to 198.51.100.2:443 ""`},
	{"IPv6", v2(0x21, 0x21, inet6), nil, `[2001:db8::1]:12345 to [2001:db8::2]:443 ""`},
	{"IPv4 in IPv6", v2(0x21, 0x21, mapped), nil, `192.0.2.1:12345 to 198.51.100.2:443 ""`},
	{"UNIX", v2(0x21, 0x31, unixPaths), nil, `unix ""`},
	{"UNSPEC", v2(0x21, 0x00, ""), nil, `unknown ""`},
	{"UNSPEC with TLVs", v2(0x21, 0x00, tlv(0x05, "id")), nil, `unknown "\x05\x00\x02id"`},
	{"LOCAL", v2(0x20, 0x00, ""), nil, "local"},
	{"LOCAL with addresses", v2(0x20, 0x11, inet), nil, "local"},
	{"LOCAL of no family, with anything", v2(0x20, 0x77, "anything"), nil, "local"},
	{"TLVs", v2(0x21, 0x11, inet+tlv(0x02, "a.example")+tlv(0xe0, "")+tlv(0x04, "")), nil, `192.0.2.1:12345 to 198.51.100.2:443 "\x02\x00\ta.example\xe0\x00\x00\x04\x00\x00"`},
	{"a checksum", withChecksum(v2(0x21, 0x11, inet+tlv(0xea, "x")+tlv(0x03, "\x00\x00\x00\x00"))), nil, ""},
	{"a wrong checksum", v2(0x21, 0x11, inet+tlv(0x03, "1234")), proxyproto.ErrChecksum, ""},
	{"a short checksum", v2(0x21, 0x11, inet+tlv(0x03, "123")), proxyproto.ErrTLV, ""},
	{"two checksums", v2(0x21, 0x11, inet+tlv(0x03, "1234")+tlv(0x03, "1234")), proxyproto.ErrChecksum, ""},
	{"a TLV that is cut", v2(0x21, 0x11, inet+"\x02\x00\x05abcd"), proxyproto.ErrTLV, ""},
	{"half of a TLV's head", v2(0x21, 0x11, inet+"\x02\x00"), proxyproto.ErrTLV, ""},
	{"addresses that are cut", v2(0x21, 0x11, inet[1:]), proxyproto.ErrLength, ""},
	{"IPv4 for IPv6", v2(0x21, 0x21, inet), proxyproto.ErrLength, ""},
	{"a short path", v2(0x21, 0x31, unixPaths[1:]), proxyproto.ErrLength, ""},
	{"version 3", v2(0x31, 0x11, inet), proxyproto.ErrVersion, ""},
	{"command 2", v2(0x22, 0x11, inet), proxyproto.ErrVersion, ""},
	{"family 4", v2(0x21, 0x41, inet), proxyproto.ErrFamily, ""},
	{"transport 3", v2(0x21, 0x13, inet), proxyproto.ErrFamily, ""},
	{"a family without a transport", v2(0x21, 0x10, inet), proxyproto.ErrFamily, ""},
	{"the longest", v2(0x21, 0x11, inet+tlv(0xe0, strings.Repeat("x", proxyproto.MaxV2-16-12-3))), nil, ""},
	{"one byte longer", v2(0x21, 0x11, inet+tlv(0xe0, strings.Repeat("x", proxyproto.MaxV2-16-12-3+1))), proxyproto.ErrTooLong, ""},
}

func TestHeadersAreRead(t *testing.T) {
	for _, test := range headers {
		t.Run(test.name, func(t *testing.T) {
			const behind = "GET / HTTP/1.1\r\n\r\n"
			var h proxyproto.Header
			n, err := proxyproto.Parse([]byte(test.header+behind), &h)
			if err != test.err {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			if err != nil {
				return
			}
			if n != len(test.header) {
				t.Errorf("the header has %d bytes, %d are taken for it", len(test.header), n)
			}
			if got := said(&h); test.want != "" && got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			for i := range len(test.header) {
				if _, err := proxyproto.Parse([]byte(test.header[:i]), &h); err != proxyproto.ErrNeedMore {
					t.Fatalf("after %d of %d bytes: %v", i, n, err)
				}
			}
		})
	}
}

func TestReadingAndWritingAllocateNothing(t *testing.T) {
	for _, test := range headers {
		if test.err != nil {
			continue
		}
		b := []byte(test.header)
		out := make([]byte, 0, 2*len(b)+200)
		var h proxyproto.Header
		allocs := testing.AllocsPerRun(100, func() {
			if _, err := proxyproto.Parse(b, &h); err != nil {
				t.Fatal(err)
			}
			out = proxyproto.Append(out[:0], &h)
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations", test.name, allocs)
		}
	}
}

func TestWhatIsWrittenIsReadByOthers(t *testing.T) {
	v4, other4 := netip.MustParseAddrPort("192.0.2.1:12345"), netip.MustParseAddrPort("198.51.100.2:443")
	v6, other6 := netip.MustParseAddrPort("[2001:db8::1]:12345"), netip.MustParseAddrPort("[2001:db8::2]:443")
	for _, test := range []struct {
		name string
		proxyproto.Header
		want [2]string // as version 1 and 2
	}{
		{"IPv4", proxyproto.Header{Source: v4, Destination: other4}, [2]string{"192.0.2.1:12345 198.51.100.2:443", "192.0.2.1:12345 198.51.100.2:443"}},
		{"IPv6", proxyproto.Header{Source: v6, Destination: other6}, [2]string{"[2001:db8::1]:12345 [2001:db8::2]:443", "[2001:db8::1]:12345 [2001:db8::2]:443"}},
		{"IPv4 to IPv6", proxyproto.Header{Source: v4, Destination: other6}, [2]string{"192.0.2.1:12345 [2001:db8::2]:443", "192.0.2.1:12345 [2001:db8::2]:443"}},
		{"IPv4 to nobody knows where", proxyproto.Header{Source: v4}, [2]string{"192.0.2.1:12345 0.0.0.0:0", "192.0.2.1:12345 0.0.0.0:0"}},
		{"IPv6 to nobody knows where", proxyproto.Header{Source: v6}, [2]string{"[2001:db8::1]:12345 [::]:0", "[2001:db8::1]:12345 [::]:0"}},
		{"nobody knows whom", proxyproto.Header{}, [2]string{"", ""}},
		{"its own", proxyproto.Header{Local: true, Source: v4, Destination: other4, TLVs: []byte(tlv(0x05, "id"))}, [2]string{"", ""}},
		{"TLVs", proxyproto.Header{Source: v4, Destination: other4, TLVs: []byte(tlv(0x05, "id") + tlv(0x03, "1234") + tlv(0xe0, ""))}, [2]string{"192.0.2.1:12345 198.51.100.2:443", "192.0.2.1:12345 198.51.100.2:443"}},
	} {
		for i, want := range test.want {
			t.Run(fmt.Sprintf("%s, version %d", test.name, i+1), func(t *testing.T) {
				h := test.Header
				h.Version = uint8(i + 1)
				header := proxyproto.Append(nil, &h)
				var back proxyproto.Header
				n, err := proxyproto.Parse(header, &back)
				if n != len(header) || err != nil || back.Version != h.Version {
					t.Fatalf("%q: %d, %v, version %d", header, n, err, back.Version)
				}
				r := bufio.NewReader(bytes.NewReader(header))
				other, err := peer.Read(r)
				if err != nil {
					t.Fatalf("%q: %v", header, err)
				}
				if _, err := r.ReadByte(); err != io.EOF {
					t.Errorf("%q: the other one has not read all of it", header)
				}
				got := ""
				if source, ok := other.SourceAddr.(*net.TCPAddr); ok {
					got = addrText(source) + " " + addrText(other.DestinationAddr.(*net.TCPAddr))
				}
				if got != want {
					t.Errorf("%q: the other one reads %q, want %q", header, got, want)
				}
				if h.Version == 2 && (got == "") != other.Command.IsLocal() {
					t.Errorf("%q: local is %v", header, other.Command.IsLocal())
				}
				tlvs, err := other.TLVs()
				if err != nil {
					t.Errorf("%q: %v", header, err)
				}
				if test.name == "TLVs" && h.Version == 2 && (len(tlvs) != 2 || tlvs[0].Type != 0x05 || tlvs[1].Type != 0xe0) {
					t.Errorf("%q: TLVs %v", header, tlvs)
				}
			})
		}
	}
}

// addrText is an address with IPv4 in its own form, however it was sent.
func addrText(a *net.TCPAddr) string {
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String()
}

func FuzzParse(f *testing.F) {
	for _, test := range headers {
		f.Add([]byte(test.header))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		const most = 1 << 10 // longer ones find nothing more, and each is parsed byte by byte
		input = input[:min(len(input), most)]
		input = append(make([]byte, 0, len(input)), input...) // a byte read behind the end is one too many
		var h proxyproto.Header
		n, err := proxyproto.Parse(input, &h)
		whole := fmt.Sprint(n, err, said(&h))
		if n > len(input) || n == 0 && err == nil {
			t.Fatalf("%q: %s", input, whole)
		}
		// In pieces it is the same, and never decided before.
		for i := range len(input) {
			var part proxyproto.Header
			n2, err2 := proxyproto.Parse(input[:i:i], &part)
			if err2 == proxyproto.ErrNeedMore {
				continue
			}
			if err != err2 || n2 != n || err == nil && fmt.Sprint(n2, err2, said(&part)) != whole {
				t.Fatalf("%q: %s, but after %d bytes %d %v", input, whole, i, n2, err2)
			}
			break
		}
		if err != proxyproto.ErrNeedMore {
			var more proxyproto.Header
			n2, err2 := proxyproto.Parse(append(bytes.Clone(input), "\r\nGET / HTTP/1.1\r\n\r\n"...), &more)
			if n2 != n || err2 != err || err == nil && said(&more) != said(&h) {
				t.Fatalf("%q: %s, with more behind it %d %v", input, whole, n2, err2)
			}
		}
		if err != nil {
			return
		}
		// Written anew it says the same.
		again := proxyproto.Append(nil, &h)
		var back proxyproto.Header
		if n, err := proxyproto.Parse(again, &back); n != len(again) || err != nil || back.Source != h.Source || back.Destination != h.Destination || back.Local != (h.Version == 2 && !h.Source.IsValid()) {
			t.Fatalf("%q is written as %q, which is %d %v %s", input, again, n, err, said(&back))
		}
		// What is accepted, the other implementation accepts and reads in the same way.
		agree(t, input[:n], &h)
	})
}

// agree compares a header that was accepted with what another implementation makes of it.
func agree(t *testing.T, header []byte, h *proxyproto.Header) {
	if h.Version == 2 && !h.Source.IsValid() {
		// It reads the addresses of LOCAL, which the standard has ignored, and refuses AF_UNSPEC, which the standard
		// has everybody know.
		return
	}
	r := bufio.NewReaderSize(bytes.NewReader(header), proxyproto.MaxV2)
	other, err := peer.Read(r)
	if errors.Is(err, peer.ErrInvalidLength) && len(header) > 4096 {
		return // its own bound
	}
	if err != nil {
		t.Fatalf("%q: accepted as %s, refused by the other one: %v", header, said(h), err)
	}
	got := netip.AddrPort{}
	switch a := other.SourceAddr.(type) {
	case *net.TCPAddr:
		got = a.AddrPort()
	case *net.UDPAddr:
		got = a.AddrPort()
	}
	got = netip.AddrPortFrom(got.Addr().Unmap(), got.Port())
	if h.Source.IsValid() && got != h.Source {
		t.Fatalf("%q: the source is %v, for the other one %v", header, h.Source, got)
	}
}
