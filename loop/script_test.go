package loop

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/balance"
	"millrace/remap"
)

// A script is what clients and origins do to a proxy, step by step: see FuzzSession, which makes them up, and
// judge, which says what must be true afterwards whatever they did.
//
// Commands are separated by NUL. Each is a letter, and bytes that belong to it:
//
//	c BYTES  the present client sends them
//	d BYTES  it sends them in pieces; the first byte says how large, and the proxy sees each before the next comes
//	f        it sends its FIN
//	r        it closes its connection, by a reset if the transport has one
//	p, P     it stops reading; it reads on
//	n        another client comes, and is the present one
//	0 to 3   that client is the present one
//	o BYTES  the present origin connection sends them
//	e BYTES  the same in pieces, as with d
//	F, R     it sends its FIN; it closes
//	m        the next origin connection is the present one; a new one is when it comes
//	s        the proxy's sockets take only a few KiB at a time from now on
//	q        the proxy goes on until there is nothing left for it to do
//
// What stands between two q reaches the proxy in one batch. The first byte of a script says over what: 't' is TCP,
// with one server; anything else unix sockets, with two.
//
// In BYTES, every $ becomes a tag, such as -0007-: a new one each time for a client; for an origin that of the last
// request that it has got on the connection. ^ and a byte n stand for 256 times n letters. So a message can say what
// it is, however the fuzzer cuts it to pieces: "GET /$", "Content-Length: 256\r\n\r\n^\x01".

// Bounds of a script. Everything that is sent fits into the sockets' buffers, so that only what a script does with
// s and p makes anybody wait.
const (
	scriptBytes    = 128 << 10 // that all clients, or all origins, send
	scriptCommands = 200
	scriptClients  = 4
	scriptPieces   = 40
)

// world is a proxy with nothing but scripts around it. It has no timeouts: what happens is up to the script.
type world struct {
	srv       *Server
	l         *Loop
	probe     probe
	tcp       bool
	client    unix.Sockaddr // where clients connect to
	listeners []int         // the origins'
	files     int           // that are open between two scripts
	spares    [3]int        // sessions, exchanges, backend connections in stock
	watched   int           // descriptors that the loop watches
	buf       []byte
}

func newWorld(t testing.TB, tcp bool) *world {
	t.Helper()
	w := &world{tcp: tcp, buf: make([]byte, 64<<10)}
	dir := t.TempDir()
	group := &Backend{Name: "app"}
	var members []balance.Server
	lis := &Listener{Name: "web", Timeouts: &Timeouts{}, Position: "test"}
	servers := 2
	if tcp {
		servers = 1
		lis.Address = netip.MustParseAddrPort("127.0.0.1:0")
	} else {
		lis.Path = filepath.Join(dir, "proxy")
	}
	for id := range servers {
		bs := &BackendServer{ID: id}
		var sa unix.Sockaddr
		family := unix.AF_INET
		if tcp {
			sa = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
		} else {
			family = unix.AF_UNIX
			bs.Path = filepath.Join(dir, fmt.Sprint("origin", id))
			bs.Name = "unix:" + bs.Path
			sa = &unix.SockaddrUnix{Name: bs.Path}
		}
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			t.Cleanup(func() { unix.Close(fd) })
			err = unix.Bind(fd, sa)
		}
		if err == nil {
			err = unix.Listen(fd, 64)
		}
		if err == nil && tcp {
			sa, err = unix.Getsockname(fd)
		}
		if err != nil {
			t.Fatal(err)
		}
		if tcp {
			bs.Address = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*unix.SockaddrInet4).Port))
			bs.Name = bs.Address.String()
		}
		w.listeners = append(w.listeners, fd)
		group.Servers = append(group.Servers, bs)
		members = append(members, balance.Server{Name: bs.Name, Weight: 1})
	}
	var err error
	if group.Group, err = balance.New(members, balance.Options{Algorithm: "fair"}); err != nil {
		t.Fatal(err)
	}
	w.srv, err = Start(&Plan{
		Loops:     1,
		Limits:    Limits{HeaderBytes: 4 << 10, HeaderFields: 32, BodyBytes: 64 << 10},
		Listeners: []*Listener{lis},
		Table:     remap.New([]remap.Rule{{}}),
		Routes:    []*Route{{Backend: group, Timeouts: []*Timeouts{{}}}},
		Backends:  []*Backend{group},
	}, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.srv.loops[0].post(w.srv.loops[0].drain)
		if err := w.srv.Wait(); err != nil {
			t.Errorf("the proxy ended: %v", err)
		}
		unix.Close(w.probe.fd)
	})
	w.l = w.srv.loops[0]
	if err := w.probe.open(w.l); err != nil {
		t.Fatal(err)
	}
	w.client, _ = sockaddr(lis.Address, lis.Path)
	if tcp {
		w.client, _ = sockaddr(netip.MustParseAddrPort(w.srv.Addrs()[0].String()), "")
	}
	w.watched = w.look().watched
	return w
}

// glance is what can be seen of a loop between two turns.
type glance struct {
	queued              int    // on its run list
	state               uint64 // changes with whatever its sessions do
	open, idle, buffers int
	requests            int64 // in flight, as the balancer counts
	spares              [3]int
	watched             int
	// Only with TCP: what the proxy's ends have seen, by the port of the clients, and by its own ports on connections
	// to origins.
	clients, origins map[int]arrival
}

// arrival is what the proxy's end of a connection has seen of the other one.
type arrival struct {
	received, sent uint64 // bytes
	state          uint8
}

// States of a TCP connection, as the kernel numbers them.
const (
	tcpEstablished = 1
	tcpSynSent     = 2
	tcpFinWait1    = 4
	tcpFinWait2    = 5
	tcpClose       = 7
)

// probe has functions run on a loop's goroutine by an event of its own: everything that was to be told before has
// been told then. A post would not do: the poller runs what is posted without a look at its descriptors in between.
type probe struct {
	endpoint
	orders chan func()
	done   chan struct{}
}

func (p *probe) open(l *Loop) error {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return err
	}
	p.orders, p.done = make(chan func(), 1), make(chan struct{})
	p.fd, p.own = fd, p
	registered := make(chan error)
	l.post(func() { registered <- l.registerRead(&p.endpoint) })
	return <-registered
}

func (p *probe) ready(*endpoint) {
	f := <-p.orders
	f()
	p.done <- struct{}{}
}

func (p *probe) run(f func()) {
	p.orders <- f
	if _, err := unix.Write(p.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		panicf("probe: %v", err)
	}
	<-p.done
}

func (w *world) look() (g glance) {
	w.probe.run(func() { g = w.glance() })
	return g
}

// glance is look for whoever may look at the loop: its own goroutine, or whoever holds it.
func (w *world) glance() glance {
	l := w.l
	g := glance{
		queued: l.runs.queued(), state: l.state(),
		open: l.open, idle: l.idle.Len(), buffers: l.bufs.inUse,
		spares: [3]int{len(l.spare.sessions), len(l.spare.exchanges), len(l.spare.conns)},
	}
	group := l.plan.Backends[0].Group
	for i := range group.Len() {
		g.requests += group.InFlight(balance.Index(i))
	}
	if w.tcp {
		g.clients, g.origins = map[int]arrival{}, map[int]arrival{}
	}
	for fd, e := range l.fds {
		if e == nil {
			continue
		}
		g.watched++
		if w.tcp {
			g.note(fd, e)
		}
	}
	return g
}

// state is a hash of what stands in l's sessions.
func (l *Loop) state() uint64 {
	h := fnv.New64a()
	for s := l.sessions.next; s != &l.sessions; s = s.next {
		fmt.Fprintln(h, s.stage, s.req, s.res, s.stageSince, s.in.r, s.in.w, s.client.out.r, s.client.out.w, s.client.readable, s.client.writable)
		if x := s.x; x != nil {
			fmt.Fprintln(h, x.upAt, x.downAt, x.attempts, x.scanned, x.bytesIn, x.bytesOut)
		}
		if c := s.origin; c != nil {
			fmt.Fprintln(h, c.out.r, c.out.w, c.in.r, c.in.w, c.readable, c.writable)
		}
	}
	return h.Sum64()
}

// note adds what the kernel says of the connection at e, if it is one.
func (g *glance) note(fd int, e *endpoint) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return
	}
	a := arrival{info.Bytes_received, info.Bytes_sent - info.Bytes_retrans, info.State}
	if s, ok := e.own.(*session); ok && e == &s.client {
		g.clients[int(s.port)] = a
	} else if sa, err := unix.Getsockname(fd); err == nil {
		if _, listens := e.own.(*listener); !listens {
			g.origins[sa.(*unix.SockaddrInet4).Port] = a
		}
	}
}

// plug is the script's end of a connection.
type plug struct {
	fd      int // -1: closed
	port    int // of TCP, at the client's end of the connection
	sent    []byte
	got     []byte
	finSent bool
	reset   bool // by us
	paused  bool // it does not read
	known   bool // the proxy has had it among its clients; only with TCP
	ended   bool // the proxy has closed it
	cut     bool // and it looked like a failure
	// Of an origin's connection: the requests that have come, the end of the last complete one, and whether there
	// is the head of another behind that.
	heads  []originHead
	parsed int
	within bool
}

// originHead is the head of a request, as an origin got it.
type originHead struct {
	method, tag string
	answer      int // where in what was sent the answer begins
}

// scriptRun is one run of a script.
type scriptRun struct {
	w       *world
	clients []*plug
	origins []*plug
	client  int // the present ones
	origin  int
	tags    int
	budget  [2]int // bytes that clients, and origins, may still send
	idle    int    // connections in the proxy's pool when it was last quiet
	release func() // of the hold on the loop; nil: it runs
}

// play runs a script and takes everything down afterwards: first the origins, then the clients.
func (w *world) play(script []byte) *scriptRun {
	const tcpBytes = 40 << 10 // so that it fits the first window
	r := &scriptRun{w: w, budget: [2]int{scriptBytes, scriptBytes}}
	if w.tcp {
		r.budget = [2]int{tcpBytes, tcpBytes}
	}
	r.connect()
	if len(script) > 0 {
		script = script[1:]
	}
	commands := bytes.Split(script, []byte{0})
	for i, c := range commands[:min(len(commands), scriptCommands)] {
		if len(c) == 0 {
			continue
		}
		if c[0] == 'q' {
			r.quiet()
			continue
		}
		// A batch of one command needs no hold.
		if r.release == nil && i+1 < len(commands) && !bytes.Equal(commands[i+1], []byte{'q'}) {
			r.hold()
		}
		r.do(c[0], c[1:])
	}
	r.quiet()
	r.end()
	return r
}

// hold stops the loop, so that what is done meanwhile reaches it in one batch.
func (r *scriptRun) hold() {
	holding, released := make(chan struct{}), make(chan struct{})
	r.w.l.post(func() { close(holding); <-released })
	<-holding
	r.release = func() { close(released) }
}

// quiet lets the loop go on until it has nothing left to do. Whatever it sends meanwhile is read.
func (r *scriptRun) quiet() {
	// What is on its way needs time, when the machine is busy; but where there is no room for it, it does not come.
	const late = patience / 40
	if r.release != nil {
		for since := time.Now(); !r.arrived(r.w.glance(), true) && time.Since(since) < late; {
			runtime.Gosched()
		}
		r.release()
		r.release = nil
	}
	last := r.w.look()
	was := false // all had arrived when last was taken
	for since := time.Now(); ; {
		progress := r.receive()
		g := r.w.look()
		is := r.arrived(g, false)
		switch {
		case progress || g.queued > 0 || g.state != last.state:
			since = time.Now()
		case was && is, time.Since(since) > late:
			r.idle = g.idle
			return
		default:
			runtime.Gosched()
		}
		last, was = g, is
	}
}

// arrived reports whether all that was sent has reached the proxy, and all that it sent to origins has reached them. A
// proxy that is held has not accepted those who came meanwhile.
func (r *scriptRun) arrived(g glance, held bool) bool {
	if !r.w.tcp {
		return true
	}
	for _, p := range r.clients {
		a, ok := g.clients[p.port]
		p.known = p.known || ok
		if !held && !p.known && !p.reset && !p.ended || ok && !p.arrived(a) {
			return false
		}
	}
	for port, a := range g.origins {
		i := slices.IndexFunc(r.origins, func(p *plug) bool { return p.port == port })
		if i < 0 && held {
			continue
		}
		if i < 0 || a.state == tcpSynSent {
			return false
		}
		if p := r.origins[i]; !p.arrived(a) || p.fd >= 0 && a.sent != uint64(len(p.got)) {
			return false
		}
	}
	return true
}

func (p *plug) arrived(a arrival) bool {
	switch {
	case p.reset:
		return a.state == tcpClose
	case a.received < uint64(len(p.sent)):
		return false
	case p.finSent:
		return a.state != tcpEstablished && a.state != tcpFinWait1 && a.state != tcpFinWait2
	}
	return true
}

// receive takes new connections of the proxy's, and reads what it has sent. It reports whether there was any.
func (r *scriptRun) receive() (progress bool) {
	for _, l := range r.w.listeners {
		for {
			fd, sa, err := unix.Accept4(l, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if err != nil {
				break
			}
			p := &plug{fd: fd}
			if in, ok := sa.(*unix.SockaddrInet4); ok {
				p.port = in.Port
				p.noDelay()
			}
			r.origins = append(r.origins, p)
			r.origin = len(r.origins) - 1
			progress = true
		}
	}
	for _, p := range r.origins {
		if p.read(r.w.buf) {
			progress = true
			p.look()
		}
	}
	for _, p := range r.clients {
		if !p.paused && p.read(r.w.buf) {
			progress = true
		}
	}
	return progress
}

// read reads what is there.
func (p *plug) read(buf []byte) (progress bool) {
	for p.fd >= 0 && !p.ended {
		n, err := unix.Read(p.fd, buf)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return progress
		case err != nil:
			p.ended, p.cut = true, true
		case n == 0:
			p.ended = true
		}
		p.got = append(p.got, buf[:max(n, 0)]...)
		progress = true
	}
	return progress
}

// look finds the heads of requests in what an origin has got since it last looked.
func (p *plug) look() {
	for {
		req, _, size, err := readRequest(p.got[p.parsed:])
		if req == nil {
			return
		}
		if !p.within {
			p.heads = append(p.heads, originHead{req.Method, tagOf(req.RequestURI), len(p.sent)})
			p.within = true
		}
		if err != nil {
			return // its body is not complete
		}
		p.parsed += size
		p.within = false
	}
}

// readRequest reads a request as net/http does. There is none if its head is incomplete or refused; an error with
// one is what its body ends with.
func readRequest(b []byte) (req *http.Request, body []byte, size int, err error) {
	src := bytes.NewReader(b)
	in := bufio.NewReader(src)
	req, err = http.ReadRequest(in)
	if err != nil {
		return nil, nil, 0, err
	}
	body, err = io.ReadAll(req.Body)
	return req, body, len(b) - src.Len() - in.Buffered(), err
}

var tagPattern = regexp.MustCompile(`-\d{4}-`)

// tagOf returns the tag in s, or noTag.
func tagOf(s string) string {
	if tag := tagPattern.FindString(s); tag != "" {
		return tag
	}
	return noTag
}

// noTag is what stands for the tag of a request that has none.
const noTag = "-none-"

// do does one command.
func (r *scriptRun) do(command byte, text []byte) {
	c := r.clients[r.client]
	switch command {
	case 'c':
		r.clientSends(c, text)
	case 'd':
		r.pieces(text, func(piece []byte) { r.clientSends(c, piece) })
	case 'f':
		c.fin()
	case 'r':
		c.close()
	case 'p', 'P':
		c.paused = command == 'p'
	case 'n':
		if len(r.clients) < scriptClients {
			r.connect()
		}
	case '0', '1', '2', '3':
		r.client = min(int(command-'0'), len(r.clients)-1)
	case 's':
		r.quiet()
		r.w.probe.run(func() {
			for fd, e := range r.w.l.fds {
				if e != nil && !r.w.tcp {
					unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1)
				}
			}
		})
	}
	if len(r.origins) == 0 {
		return
	}
	o := r.origins[r.origin]
	switch command {
	case 'o':
		r.originSends(o, text)
	case 'e':
		r.pieces(text, func(piece []byte) { r.originSends(o, piece) })
	case 'F':
		o.fin()
	case 'R':
		o.close()
	case 'm':
		r.origin = (r.origin + 1) % len(r.origins)
	}
}

// pieces has text sent piece by piece.
func (r *scriptRun) pieces(text []byte, send func(piece []byte)) {
	if len(text) == 0 {
		return
	}
	size := max(int(text[0]), 1)
	text = text[1:]
	for i := 0; len(text) > 0; i++ {
		n := min(size, len(text))
		if i == scriptPieces {
			n = len(text)
		}
		send(text[:n])
		r.quiet()
		text = text[n:]
	}
}

// connect adds a client.
func (r *scriptRun) connect() {
	family := unix.AF_UNIX
	if r.w.tcp {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Connect(fd, r.w.client)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		panicf("client: %v", err)
	}
	p := &plug{fd: fd}
	if r.w.tcp {
		sa, err := unix.Getsockname(fd)
		if err != nil {
			panicf("client: %v", err)
		}
		p.port = sa.(*unix.SockaddrInet4).Port
		p.noDelay()
	}
	r.clients = append(r.clients, p)
	r.client = len(r.clients) - 1
}

// noDelay makes each piece a segment, which does not wait for the one before to be acknowledged.
func (p *plug) noDelay() {
	if err := unix.SetsockoptInt(p.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		panicf("setsockopt: %v", err)
	}
}

func (r *scriptRun) clientSends(p *plug, text []byte) {
	out := expand(text, func() string {
		r.tags++
		return fmt.Sprintf("-%04d-", r.tags)
	})
	p.send(out, &r.budget[0])
}

// originSends sends text as an answer to the last request. On a connection that answers nothing at the moment, the
// proxy sees it before it sends another request there: what crosses a request on its way cannot be told from
// the answer to it, by nobody.
func (r *scriptRun) originSends(p *plug, text []byte) {
	if r.idle > 0 {
		r.quiet()
		defer r.quiet()
	}
	tag := noTag
	if n := len(p.heads); n > 0 {
		tag = p.heads[n-1].tag
	}
	p.send(expand(text, func() string { return tag }), &r.budget[1])
}

// expand replaces what stands for something else in the bytes of a command.
func expand(text []byte, tag func() string) []byte {
	var out []byte
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '$':
			out = append(out, tag()...)
		case text[i] == '^' && i+1 < len(text):
			i++
			out = append(out, letters(256*int(text[i]))...)
		default:
			out = append(out, text[i])
		}
	}
	return out
}

// send writes b, as much of it as the socket takes.
func (p *plug) send(b []byte, budget *int) {
	b = b[:min(len(b), *budget)]
	for len(b) > 0 && p.fd >= 0 && !p.finSent {
		n, err := unix.SendmsgN(p.fd, b, nil, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			// A reset, unless there is no room: reading will not tell of it any more.
			p.cut = p.cut || err != unix.EAGAIN
			return
		}
		*budget -= n
		p.sent = append(p.sent, b[:n]...)
		b = b[n:]
	}
}

func (p *plug) fin() {
	if p.fd >= 0 && !p.finSent {
		p.finSent = true
		unix.Shutdown(p.fd, unix.SHUT_WR)
	}
}

// close resets the connection. A unix socket shows a reset only if it has not read everything.
func (p *plug) close() {
	if p.fd < 0 {
		return
	}
	p.reset = true
	unix.SetsockoptLinger(p.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	unix.Close(p.fd)
	p.fd = -1
}

// end takes the script's peers down. What clients have been sent is read before.
func (r *scriptRun) end() {
	for _, p := range r.clients {
		p.paused = false
	}
	// The proxy may try a request again, on a new connection; each time it gets one, that ends too.
	for {
		for _, p := range r.origins {
			p.fin()
		}
		r.quiet()
		if !slices.ContainsFunc(r.origins, func(p *plug) bool { return p.fd >= 0 && !p.finSent }) {
			break
		}
	}
	for _, p := range r.clients {
		p.fin()
	}
	r.quiet()
	for _, p := range slices.Concat(r.clients, r.origins) {
		if p.fd >= 0 {
			unix.Close(p.fd)
			p.fd = -1
		}
	}
}
