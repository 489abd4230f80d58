package resolve

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"millrace/internal/resolve/dnstest"
)

// patience bounds every wait of a test.
const patience = 20 * time.Second

// server starts a name server.
func server(t *testing.T) *dnstest.Server {
	t.Helper()
	s, err := dnstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// eventually waits for cond, and fails the test if it does not come true.
func eventually(t *testing.T, otherwise string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal(otherwise)
		}
	}
}

// resolver returns one that asks the given servers, and knows the given hosts and resolv.conf.
func resolver(t *testing.T, o Options, servers ...*dnstest.Server) *Resolver {
	t.Helper()
	for _, s := range servers {
		o.Nameservers = append(o.Nameservers, s.Addr)
	}
	if o.Hosts == "" {
		o.Hosts = filepath.Join(t.TempDir(), "hosts")
	}
	if o.ResolvConf == "" {
		o.ResolvConf = written(t, "search .\n")
	}
	if o.Timeout == 0 {
		o.Timeout = patience
	}
	if o.MaxTTL == 0 {
		o.MaxTTL = maxTTL
	}
	if o.NegativeTTL == 0 {
		o.NegativeTTL = 7 * time.Second
	}
	return New(o)
}

// written returns the path of a file with a text.
func written(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// show is an answer as text.
func show(a Answer, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	var words []string
	for _, r := range a.Records {
		word := r.Addr.String()
		if r.Port != 0 {
			word = fmt.Sprintf("%s(%s)/%d/%d", netip.AddrPortFrom(r.Addr, r.Port), r.Host, r.Priority, r.Weight)
		}
		words = append(words, word)
	}
	words = append(words, a.TTL.String())
	if a.Partial != nil {
		words = append(words, "partial")
	}
	return strings.Join(words, " ")
}

func (r *Resolver) want(t *testing.T, name, want string) {
	t.Helper()
	q := Query{Name: name}
	if service, ok := strings.CutPrefix(name, "srv:"); ok {
		q = Query{Name: service, Service: true}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got := show(r.Lookup(ctx, q)); got != want {
		t.Errorf("%s: got %s, want %s", name, got, want)
	}
}

func TestAddressesAreFoundInOrder(t *testing.T) {
	s := server(t)
	r := resolver(t, Options{}, s)
	s.Set("app.example.", 30, "10.0.0.9", "fd00::1", "10.0.0.10", "10.0.0.2", "10.0.0.9")
	r.want(t, "app.example", "10.0.0.2 10.0.0.9 10.0.0.10 fd00::1 30s")
	s.Set("app.example.", 30, "fd00::1", "10.0.0.10", "10.0.0.9", "10.0.0.2")
	r.want(t, "APP.example.", "10.0.0.2 10.0.0.9 10.0.0.10 fd00::1 30s")
	s.Set("mapped.example.", 30, "::ffff:10.0.0.1", "10.0.0.1")
	r.want(t, "mapped.example", "10.0.0.1 30s")
	s.Set("blocked.example.", 30, "0.0.0.0", "::", "224.0.0.1", "fe80::1", "::ffff:0.0.0.0")
	r.want(t, "blocked.example", "error: no such host")
	s.Set("none.example.", 30)
	r.want(t, "none.example", "error: no such host")
	r.want(t, "missing.example", "error: no such host")
}

func TestTTLsAreBounded(t *testing.T) {
	s := server(t)
	r := resolver(t, Options{MinTTL: 10 * time.Second, MaxTTL: time.Minute}, s)
	for ttl, want := range map[uint32]string{0: "10s", 9: "10s", 30: "30s", 61: "1m0s", 1<<31 - 1: "1m0s", 1 << 31: "10s"} {
		s.Set("app.example.", ttl, "10.0.0.1")
		r.want(t, "app.example", "10.0.0.1 "+want)
	}
}

func TestAliasesAreFollowed(t *testing.T) {
	s := server(t)
	r := resolver(t, Options{}, s)
	s.SetAlias("www.example.", 60, "Cdn.Example.")
	s.SetAlias("cdn.example.", 20, "node.example.")
	s.Set("node.example.", 40, "10.0.0.1")
	r.want(t, "www.example", "10.0.0.1 20s")
	s.Remove("node.example.")
	r.want(t, "www.example", "error: no such host")
	// A ring.
	s.SetAlias("node.example.", 40, "www.example.")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if a, err := r.Lookup(ctx, Query{Name: "www.example"}); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("a ring of aliases comes to %s", show(a, err))
	}
}

func TestATruncatedAnswerIsAskedForOverTCP(t *testing.T) {
	s := server(t)
	r := resolver(t, Options{}, s)
	var addrs []string
	for i := range 500 {
		addrs = append(addrs, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
	}
	s.Set("app.example.", 30, addrs...)
	s.TruncateUDP()
	a, err := r.Lookup(t.Context(), Query{Name: "app.example"})
	if err != nil || len(a.Records) != len(addrs) {
		t.Errorf("%d addresses of %d (%v)", len(a.Records), len(addrs), err)
	}
	if n := s.Asked("app.example.", dnsmessage.TypeA); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

func TestTooManyAddresses(t *testing.T) {
	s := server(t)
	r := resolver(t, Options{ResolvConf: written(t, "search .\noptions use-vc\n")}, s)
	var addrs []string
	for i := range maxRecords + 1 {
		addrs = append(addrs, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
	}
	s.Set("app.example.", 30, addrs...)
	r.want(t, "app.example", "error: it has more than 1024 addresses")
}

// TestWhatDoesNotAnswerTheQuestionIsNotHeard: forgeries come before the answer, each wrong in one thing.
func TestWhatDoesNotAnswerTheQuestionIsNotHeard(t *testing.T) {
	s := server(t)
	r := resolver(t, Options{}, s)
	s.Set("app.example.", 30, "10.0.0.1")
	s.Forge(func(query []byte) [][]byte {
		var m dnsmessage.Message
		if err := m.Unpack(query); err != nil {
			t.Error(err)
		}
		forged := func(change func(m *dnsmessage.Message)) []byte {
			f := dnsmessage.Message{Header: m.Header, Questions: slices.Clone(m.Questions)}
			f.Response = true
			f.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 9},
				Body:   &dnsmessage.AResource{A: [4]byte{66, 66, 66, 66}},
			}}
			change(&f)
			b, err := f.Pack()
			if err != nil {
				t.Error(err)
			}
			return b
		}
		return [][]byte{
			forged(func(f *dnsmessage.Message) { f.ID++ }),
			forged(func(f *dnsmessage.Message) { f.Response = false }),
			forged(func(f *dnsmessage.Message) { f.OpCode = 5 }),
			forged(func(f *dnsmessage.Message) { f.Questions[0].Name = dnsmessage.MustNewName("bpp.example.") }),
			forged(func(f *dnsmessage.Message) { f.Questions[0].Type = dnsmessage.TypeMX }),
			forged(func(f *dnsmessage.Message) { f.Questions[0].Class = dnsmessage.ClassCHAOS }),
			forged(func(f *dnsmessage.Message) { f.Questions = nil }),
			query,
			{},
			binary.BigEndian.AppendUint16(nil, m.ID),
		}
	})
	r.want(t, "app.example", "10.0.0.1 30s")
}

func TestRecordsOfOtherNamesAreNotTaken(t *testing.T) {
	q := question{dnsmessage.MustNewName("app.example."), dnsmessage.TypeA}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, Response: true},
		Questions: []dnsmessage.Question{{Name: q.name, Type: q.kind, Class: dnsmessage.ClassINET}},
	}
	for i, owner := range []string{"evil.example.", "aPP.example."} {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(owner), Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.AResource{A: [4]byte{10, 0, 0, byte(i)}},
		})
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parse(b, 7, q); err != nil || fmt.Sprint(got.addrs) != "[10.0.0.1]" {
		t.Errorf("got %v, %v", got.addrs, err)
	}
}

func TestAServerWithoutEDNS(t *testing.T) {
	s := server(t)
	r := resolver(t, Options{}, s)
	s.RefuseEDNS()
	s.Set("app.example.", 30, "10.0.0.1")
	r.want(t, "app.example", "10.0.0.1 30s")
}

func TestTheNextServerIsAsked(t *testing.T) {
	broken, silent, good := server(t), server(t), server(t)
	broken.Fail("app.example.", dnsmessage.RCodeServerFailure)
	silent.Silence(true)
	good.Set("app.example.", 30, "10.0.0.1")
	// A port that nobody listens on: closed only now, so that no other server has got it.
	gone, err := dnstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	r := resolver(t, Options{Timeout: 50 * time.Millisecond}, gone, broken, silent)
	if _, err := r.Lookup(t.Context(), Query{Name: "app.example"}); err == nil || errors.Is(err, ErrNotFound) ||
		err.Error() != silent.Addr.String()+": no answer within 50ms" {
		t.Errorf("got %v", err)
	}
	eventually(t, "attempts are 2, and the silent server was not asked twice", func() bool { return silent.Asked("app.example.", dnsmessage.TypeA) == 2 })
	r = resolver(t, Options{}, gone, broken, good)
	r.want(t, "app.example", "10.0.0.1 30s")
}

func TestAServerThatFails(t *testing.T) {
	s := server(t)
	r := resolver(t, Options{}, s)
	for code, want := range map[dnsmessage.RCode]string{
		dnsmessage.RCodeServerFailure: "answers SERVFAIL", dnsmessage.RCodeRefused: "answers REFUSED", 9: "answers with code 9",
	} {
		s.Fail("app.example.", code)
		r.want(t, "app.example", fmt.Sprintf("error: %s: %s", s.Addr, want))
	}
}

func TestRotate(t *testing.T) {
	a, b := server(t), server(t)
	r := resolver(t, Options{ResolvConf: written(t, "search .\noptions rotate\n")}, a, b)
	a.Set("app.example.", 30, "10.0.0.1")
	b.Set("app.example.", 30, "10.0.0.1")
	for range 4 {
		r.want(t, "app.example", "10.0.0.1 30s")
	}
	asked := func(s *dnstest.Server) int {
		return s.Asked("app.example.", dnsmessage.TypeA) + s.Asked("app.example.", dnsmessage.TypeAAAA)
	}
	if asked(a) != 4 || asked(b) != 4 {
		t.Errorf("asked %d and %d times", asked(a), asked(b))
	}
}

func TestTheSearchList(t *testing.T) {
	s := server(t)
	r := resolver(t, Options{ResolvConf: written(t, "search one.example two.example\noptions ndots:2\n")}, s)
	s.Set("app.two.example.", 30, "10.0.0.2")
	s.Set("app.", 30, "10.0.0.3")
	r.want(t, "app", "10.0.0.2 30s")
	r.want(t, "app.", "10.0.0.3 30s")
	s.Set("x.app.", 30, "10.0.0.4")
	s.Set("x.app.one.example.", 30, "10.0.0.5")
	r.want(t, "x.app", "10.0.0.5 30s")
	s.Set("x.y.app.", 30, "10.0.0.6")
	s.Set("x.y.app.one.example.", 30, "10.0.0.7")
	r.want(t, "x.y.app", "10.0.0.6 30s")
	// Who fails does not say that the name does not exist: the next one could be another host.
	s.Fail("app.one.example.", dnsmessage.RCodeServerFailure)
	r.want(t, "app", fmt.Sprintf("error: %s: answers SERVFAIL", s.Addr))
}

func TestOneKindOfAddressesFails(t *testing.T) {
	s := server(t)
	r := resolver(t, Options{}, s)
	s.Set("app.example.", 30, "10.0.0.1", "fd00::1")
	whole, err := r.Lookup(t.Context(), Query{Name: "app.example"})
	if err != nil || show(whole, err) != "10.0.0.1 fd00::1 30s" {
		t.Fatal(show(whole, err))
	}
	s.Set("app.example.", 30, "10.0.0.2", "fd00::2")
	s.FailFor("app.example.", dnsmessage.TypeAAAA)
	// Nothing is known of before.
	r.want(t, "app.example", "10.0.0.2 7s partial")
	// The others are those of before.
	if got := show(r.lookup(t.Context(), Query{Name: "app.example"}, whole.known)); got != "10.0.0.2 fd00::1 7s partial" {
		t.Errorf("got %s", got)
	}
}

func srv(priority, weight, port uint16, target string) dnsmessage.SRVResource {
	return dnsmessage.SRVResource{Priority: priority, Weight: weight, Port: port, Target: dnsmessage.MustNewName(target)}
}

func TestServices(t *testing.T) {
	s := server(t)
	r := resolver(t, Options{}, s)
	s.Set("a.example.", 50, "10.0.0.1", "10.0.0.2")
	s.Set("b.example.", 20, "10.0.0.3")
	s.SetService("_http._tcp.example.", 30, srv(20, 5, 8080, "b.example."), srv(10, 1, 80, "a.example."), srv(10, 2, 81, "A.example."), srv(10, 9, 80, "missing.example."))
	r.want(t, "srv:_http._tcp.example", "10.0.0.1:80(a.example)/10/1 10.0.0.1:81(a.example)/10/2 10.0.0.2:80(a.example)/10/1 10.0.0.2:81(a.example)/10/2 10.0.0.3:8080(b.example)/20/5 20s")
	before, err := r.Lookup(t.Context(), Query{Name: "_http._tcp.example", Service: true})
	if err != nil {
		t.Fatal(err)
	}
	// One of its hosts cannot be found out about: the others are.
	s.Fail("b.example.", dnsmessage.RCodeServerFailure)
	s.Set("a.example.", 50, "10.0.0.7")
	r.want(t, "srv:_http._tcp.example", "10.0.0.7:80(a.example)/10/1 10.0.0.7:81(a.example)/10/2 7s partial")
	if got := show(r.lookup(t.Context(), Query{Name: "_http._tcp.example", Service: true}, before.known)); got != "10.0.0.7:80(a.example)/10/1 10.0.0.7:81(a.example)/10/2 10.0.0.3:8080(b.example)/20/5 7s partial" {
		t.Errorf("got %s", got)
	}
	s.SetService("_http._tcp.example.", 30, srv(0, 0, 0, "."))
	r.want(t, "srv:_http._tcp.example", "error: no such host")
	s.SetService("_http._tcp.example.", 30, srv(0, 0, 1, "b.example."))
	r.want(t, "srv:_http._tcp.example", fmt.Sprintf("error: b.example: %s: answers SERVFAIL", s.Addr))
	r.want(t, "srv:_smtp._tcp.example", "error: no such host")
	// The same server twice.
	s.SetService("_http._tcp.example.", 30, srv(2, 3, 80, "a.example."), srv(1, 3, 80, "a.example."), srv(1, 4, 80, "a.example."))
	r.want(t, "srv:_http._tcp.example", "10.0.0.7:80(a.example)/1/4 30s")
}

func TestHosts(t *testing.T) {
	s := server(t)
	path := written(t, "10.0.0.1 App.Example alias\n")
	r := resolver(t, Options{Hosts: path}, s)
	s.Set("app.example.", 30, "10.0.0.9")
	r.want(t, "app.example", "10.0.0.1 5s")
	r.want(t, "ALIAS", "10.0.0.1 5s")
	if n := s.Asked("app.example.", dnsmessage.TypeA); n != 0 {
		t.Error("a name server was asked for what the file has")
	}
	// As editors do it: another file takes its place.
	if err := os.Rename(written(t, "10.0.0.2 app.example\n10.0.0.3 app.example\n"), path); err != nil {
		t.Fatal(err)
	}
	r.want(t, "app.example", "10.0.0.2 10.0.0.3 5s")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.want(t, "app.example", "10.0.0.9 30s")
}

func TestLocalhostIsNotAskedFor(t *testing.T) {
	s := server(t)
	r := resolver(t, Options{}, s)
	r.want(t, "localhost", "127.0.0.1 ::1 5s")
	r.want(t, "app.localhost", "127.0.0.1 ::1 5s")
	if n := s.Asked("localhost.", dnsmessage.TypeA); n != 0 {
		t.Error("a name server was asked")
	}
	r = resolver(t, Options{Hosts: written(t, "127.0.0.2 localhost\n")}, s)
	r.want(t, "localhost", "127.0.0.2 5s")
}

func TestALookupEndsWithItsContext(t *testing.T) {
	s := server(t)
	s.Silence(true)
	r := resolver(t, Options{Timeout: time.Hour}, s)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := r.Lookup(ctx, Query{Name: "app.example"})
		ended <- err
	}()
	eventually(t, "nothing was asked", func() bool { return s.Asked("app.example.", dnsmessage.TypeA) > 0 })
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
}

func TestEachQuestionHasItsOwnPort(t *testing.T) {
	// With one socket for all, a forger has 16 bits less to guess.
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := resolver(t, Options{Nameservers: []netip.AddrPort{l.LocalAddr().(*net.UDPAddr).AddrPort()}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Lookup(ctx, Query{Name: "app.example"})
	}()
	var from [2]string
	var ids [2]uint16
	l.SetReadDeadline(time.Now().Add(patience))
	for i := range from {
		b := make([]byte, 512)
		n, addr, err := l.ReadFrom(b)
		if err != nil || n < 12 {
			t.Fatal(n, err)
		}
		from[i], ids[i] = addr.String(), binary.BigEndian.Uint16(b)
	}
	cancel()
	<-ended
	if from[0] == from[1] {
		t.Errorf("both questions came from %s, with IDs %d and %d", from[0], ids[0], ids[1])
	}
}
