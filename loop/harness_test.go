package loop

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"millrace/balance"
	"millrace/internal/accesslog"
	"millrace/internal/health"
	"millrace/remap"
)

// The tests of the data plane run over real sockets and read like a trace: a client sends, an origin wants
// and answers, the client wants. Clients and origins are peers, driven line by line by the test itself, so
// that a test says in which order things happen. Nothing sleeps: whoever waits has a deadline.

// patience bounds every wait of a test. A test that passes does not use it up, so it can be long enough for a
// machine that is busy with other things.
const patience = 20 * time.Second

// trace is one test: its peers and its proxy, and what has to be gone when it ends.
type trace struct {
	*testing.T
	proxied *proxy // the latest proxy; nil until there is one
}

// newTrace starts a test. When it ends, and all that it started has been closed, no descriptor and no
// goroutine may be left.
func newTrace(t *testing.T) *trace {
	t.Helper()
	tr := &trace{T: t}
	before, running := openFiles(t), goleak.IgnoreCurrent()
	t.Cleanup(func() {
		if t.Failed() {
			return // what it left open says nothing
		}
		tr.eventually("descriptors are left open", func() bool { return len(openFiles(t)) <= len(before) })
		if len(openFiles(t)) > len(before) {
			t.Errorf("before: %q\nafter: %q", before, openFiles(t))
		}
		goleak.VerifyNone(t, running)
	})
	return tr
}

// openFiles lists the descriptors of the process.
func openFiles(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			open = append(open, e.Name()+" "+to)
		}
	}
	return open
}

// eventually waits for cond, and fails the test if it does not come true.
func (tr *trace) eventually(otherwise string, cond func() bool) {
	tr.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !cond(); <-tick.C {
		if time.Now().After(end) {
			tr.Errorf("after %v: %s", patience, otherwise)
			return
		}
	}
}

// beside runs f beside the test, for what would block it: a large body. The test waits for it by calling
// wait, or at its end.
func (tr *trace) beside(what string, f func() error) (wait func()) {
	done := make(chan error, 1)
	go func() { done <- f() }()
	wait = sync.OnceFunc(func() {
		tr.Helper()
		select {
		case err := <-done:
			if err != nil {
				tr.Errorf("%s: %v", what, err)
			}
		case <-time.After(2 * patience):
			tr.Errorf("%s has not ended", what)
		}
	})
	tr.Cleanup(wait)
	return wait
}

// origin is a server that a test plays: by hand, with accept, or by serve.
type origin struct {
	tr   *trace
	l    net.Listener
	name string // as a plan writes it
}

// origin listens on a loopback port.
func (tr *trace) origin() *origin {
	tr.Helper()
	return tr.listen("tcp", "127.0.0.1:0")
}

// unixOrigin listens on a unix socket.
func (tr *trace) unixOrigin() *origin {
	tr.Helper()
	return tr.listen("unix", filepath.Join(tr.TempDir(), "origin"))
}

func (tr *trace) listen(network, address string) *origin {
	tr.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		tr.Fatal(err)
	}
	o := &origin{tr: tr, l: l, name: l.Addr().String()}
	if network == "unix" {
		o.name = "unix:" + address
	}
	tr.Cleanup(o.close)
	return o
}

// close stops listening: further connections are refused.
func (o *origin) close() { o.l.Close() }

// accept waits for the proxy's next connection.
func (o *origin) accept() *peer {
	o.tr.Helper()
	o.l.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Now().Add(patience))
	c, err := o.l.Accept()
	if err != nil {
		o.tr.Fatalf("origin: no connection: %v", err)
	}
	return o.tr.peer("origin", c)
}

// wantNobody says that no connection waits. On loopback, one that the proxy has made is there already.
func (o *origin) wantNobody() {
	o.tr.Helper()
	raw, err := o.l.(syscall.Conn).SyscallConn()
	if err != nil {
		o.tr.Fatal(err)
	}
	var accepted error
	err = raw.Control(func(fd uintptr) {
		var got int
		if got, _, accepted = unix.Accept4(int(fd), unix.SOCK_CLOEXEC); accepted == nil {
			unix.Close(got)
		}
	})
	if err != nil || accepted != unix.EAGAIN {
		o.tr.Errorf("origin: a connection that nobody should have made (%v, %v)", accepted, err)
	}
}

// serve has f serve each connection, beside the test.
func (o *origin) serve(f func(x *peer) error) {
	var conns []net.Conn
	var mu sync.Mutex
	var serving sync.WaitGroup
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			c, err := o.l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			serving.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(2 * patience))
				if err := f(newPeer(o.tr, "origin", c)); err != nil {
					o.tr.Errorf("origin: %v", err)
				}
			})
		}
	}()
	o.tr.Cleanup(func() {
		o.l.Close()
		<-accepting
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
}

// serveEach has answer make the response to each request, on as many connections as the proxy makes. The
// connection ends with the first response that asks for it, or when the proxy ends it.
func (o *origin) serveEach(answer func(r *http.Request, body []byte) string) {
	o.serve(func(x *peer) error {
		for {
			r, body, err := x.readRequest()
			if err != nil {
				return nil // the proxy closed it; whether it may have is not this origin's to judge
			}
			res := answer(r, body)
			if _, err := io.WriteString(x, res); err != nil || strings.Contains(res, "Connection: close") {
				return nil
			}
		}
	})
}

// refusing returns the address of a server that refuses connections: bound, so that nobody else gets it, and
// not listening.
func (tr *trace) refusing() string {
	tr.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		tr.Cleanup(func() { unix.Close(fd) })
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err != nil {
		tr.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		tr.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
}

// setup is what a test's plan differs in from one that never times out, limits nothing and has one route for
// everything.
type setup struct {
	loops        int
	timeouts     Timeouts
	limits       Limits
	maxConns     int
	disableTime  time.Duration
	idleTTL      time.Duration
	idleMax      int
	drainTimeout time.Duration
	address      string       // of the listener; absent: a port of 127.0.0.1
	unix         bool         // the listener is a unix socket
	rules        []remap.Rule // absent: one that matches everything
	excluded     map[int]bool // rules that exclude
	parse        ParseOptions // of the listener
	trace        bool         // whether routes let TRACE pass
	record       string       // format of the access log; absent: off
	roundRobin   bool         // else fair
	balance      balance.Options
	members      []balance.Server // what is said of the servers but their names and addresses
	key          Key
	failover     Backend // its options of failing and trying again; RetryOn has its default if it is 0
	health       *health.Check
	logTo        string      // the access log's file; absent: one of the test's own
	sock         bool        // the listener parses nothing
	upgrade      *Upgrade    // of every route
	connect      bool        // likewise
	splice       int64       // from how many bytes on; 0: not at all
	with         func(*Plan) // what else there is to say about the plan
}

// proxy is the server under test.
type proxy struct {
	tr    *trace
	srv   *Server
	group *balance.Group
	said  *said
	log   string // the access log's file
	ended bool
}

// proxy starts a proxy before the given servers: origins, or names.
func (tr *trace) proxy(s setup, servers ...any) *proxy {
	tr.Helper()
	p := &proxy{tr: tr, said: &said{}, log: s.logTo}
	plan := s.plan(p, servers)
	if s.with != nil {
		s.with(plan)
	}
	srv, err := Start(plan, slog.New(slog.NewTextHandler(p.said, nil)))
	if err != nil {
		tr.Fatalf("start: %v", err)
	}
	p.srv = srv
	tr.proxied = p
	tr.Cleanup(func() { p.drain() })
	return p
}

func (s setup) plan(p *proxy, servers []any) *Plan {
	tr := p.tr
	tr.Helper()
	plan := &Plan{
		Loops:          max(s.loops, 1),
		MaxConnections: s.maxConns,
		DrainTimeout:   s.drainTimeout,
		Limits:         s.limits,
	}
	if s.splice > 0 {
		plan.Splice, plan.SpliceThreshold = SpliceOn, s.splice
	}
	if plan.Limits.HeaderBytes == 0 {
		plan.Limits.HeaderBytes = 32 << 10
	}
	if plan.Limits.HeaderFields == 0 {
		plan.Limits.HeaderFields = 128
	}
	lis := &Listener{Name: "web", Timeouts: &s.timeouts, Parse: s.parse, Position: "test"}
	switch {
	case s.unix:
		lis.Path = filepath.Join(tr.TempDir(), "listener")
	case s.address != "":
		lis.Address = netip.MustParseAddrPort(s.address)
	default:
		lis.Address = netip.MustParseAddrPort("127.0.0.1:0")
	}
	plan.Listeners = []*Listener{lis}
	b := &Backend{Name: "app", IdleTTL: s.idleTTL, IdleMax: s.idleMax, Health: s.health}
	var members []balance.Server
	for id, v := range servers {
		name, ok := v.(string)
		if !ok {
			name = v.(*origin).name
		}
		bs := &BackendServer{ID: id, Name: name}
		if path, ok := strings.CutPrefix(name, "unix:"); ok {
			bs.Path = path
		} else {
			bs.Address = netip.MustParseAddrPort(name)
		}
		b.Servers = append(b.Servers, bs)
		member := balance.Server{}
		if id < len(s.members) {
			member = s.members[id]
		}
		member.Name, member.Weight = name, max(member.Weight, 1)
		members = append(members, member)
	}
	options := s.balance
	if s.roundRobin {
		options.Algorithm = "round-robin"
	}
	if s.disableTime != 0 {
		options.DisableTime = s.disableTime
	}
	var err error
	b.Group, err = balance.New(members, options)
	if err != nil {
		tr.Fatal(err)
	}
	b.Key = s.key
	b.FailOnStatus, b.FailOnTimeout, b.MaxAttempts, b.Budget = s.failover.FailOnStatus, s.failover.FailOnTimeout, s.failover.MaxAttempts, s.failover.Budget
	b.RetryStatus, b.ErrorStatus = s.failover.RetryStatus, s.failover.ErrorStatus
	if b.RetryOn = s.failover.RetryOn; b.RetryOn == 0 {
		b.RetryOn = RetryConnect | RetryClosed
	}
	p.group = b.Group
	if s.sock {
		lis.Backend = b
	}
	plan.Backends = []*Backend{b}
	rules := s.rules
	if rules == nil {
		rules = []remap.Rule{{}}
	}
	plan.Table = remap.New(rules)
	for i := range rules {
		r := &Route{Backend: b, Timeouts: []*Timeouts{&s.timeouts}, Trace: s.trace, Upgrade: s.upgrade, Connect: s.connect}
		if s.excluded[i] {
			r.Backend = nil
		}
		plan.Routes = append(plan.Routes, r)
	}
	if s.record != "" {
		format, err := accesslog.Compile(s.record)
		if err != nil {
			tr.Fatal(err)
		}
		if p.log == "" {
			p.log = filepath.Join(tr.TempDir(), "access.log")
		}
		plan.AccessLog = &AccessLog{Path: p.log, Format: format}
	}
	return plan
}

// said is the process log.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// drain ends the proxy. Everything borrowed must have been given back then.
func (p *proxy) drain() {
	p.tr.Helper()
	if p.ended {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p.drainWithin(ctx)
	if ctx.Err() != nil {
		p.tr.Errorf("the drain did not end by itself")
	}
}

func (p *proxy) drainWithin(ctx context.Context) {
	p.tr.Helper()
	if err := p.srv.Drain(ctx); err != nil {
		p.tr.Errorf("drain: %v", err)
	}
	p.check()
}

// check looks whether everything that was borrowed has been given back. The loops have ended.
func (p *proxy) check() {
	p.tr.Helper()
	p.ended = true
	for _, l := range p.srv.loops {
		if l.bufs.inUse != 0 || l.open != 0 || l.idle.Len() != 0 {
			p.tr.Errorf("loop %d has ended with %d buffers in use, %d sessions, %d idle connections",
				l.id, l.bufs.inUse, l.open, l.idle.Len())
		}
		if l.pipes.open != 0 {
			p.tr.Errorf("loop %d has ended with %d pipes", l.id, l.pipes.open)
		}
	}
	groups := []*balance.Group{p.group}
	for _, b := range p.srv.plan.Backends {
		if b.Names != nil {
			groups = append(groups, b.Names.latest.Load().Group)
		}
	}
	for _, g := range groups {
		for i := range g.Len() {
			if n := g.InFlight(balance.Index(i)); n != 0 {
				p.tr.Errorf("server %d has %d requests in flight when all have ended", i, n)
			}
		}
	}
	for _, b := range p.srv.plan.Backends {
		if b.Limit == nil {
			continue
		}
		for i := range b.Limit.slots {
			if open, idle := b.Limit.Connections(i); open != 0 || b.Limit.Waiting() != 0 {
				p.tr.Errorf("server %d has %d connections, %d idle, and %d wait, when all have ended", i, open, idle, b.Limit.Waiting())
			}
		}
	}
	if n := p.srv.conns.Load(); n != 0 {
		p.tr.Errorf("%d connections are counted when all have ended", n)
	}
	if text := p.said.String(); strings.Contains(text, "level=ERROR") {
		p.tr.Errorf("the process log says:\n%s", text)
	}
}

// onLoops runs f on each loop's goroutine, one after the other, and waits for it.
func (p *proxy) onLoops(f func(l *Loop)) {
	p.tr.Helper()
	for _, l := range p.srv.loops {
		done := make(chan struct{})
		l.post(func() { f(l); close(done) })
		select {
		case <-done:
		case <-p.srv.done:
		case <-time.After(patience):
			p.tr.Errorf("loop %d does not turn", l.id)
		}
	}
}

// settle returns when the loops have looked at everything that was sent before.
func (p *proxy) settle() {
	p.tr.Helper()
	p.onLoops(func(*Loop) {})
}

// hold stops loop 0 until release: what happens in the meantime reaches it in one batch.
func (p *proxy) hold() (release func()) {
	holding, released := make(chan struct{}), make(chan struct{})
	p.srv.loops[0].post(func() { close(holding); <-released })
	<-holding
	release = sync.OnceFunc(func() { close(released) })
	p.tr.Cleanup(release)
	return release
}

// open counts the client connections of all loops.
func (p *proxy) open() int {
	p.tr.Helper()
	n := 0
	p.onLoops(func(l *Loop) { n += l.open })
	return n
}

// buffers counts those in use on all loops.
func (p *proxy) buffers() int {
	p.tr.Helper()
	n := 0
	p.onLoops(func(l *Loop) { n += l.bufs.inUse })
	return n
}

// idle counts the pooled connections of all loops.
func (p *proxy) idle() int {
	p.tr.Helper()
	n := 0
	p.onLoops(func(l *Loop) { n += l.idle.Len() })
	return n
}

// records drains the proxy and returns the lines of its access log.
func (p *proxy) records() []string {
	p.tr.Helper()
	p.drain()
	text, err := os.ReadFile(p.log)
	if err != nil {
		p.tr.Fatal(err)
	}
	if len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// wantRecords compares the records with those wanted, in any order: requests end when they end.
func (p *proxy) wantRecords(want ...string) {
	p.tr.Helper()
	got := p.records()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		p.tr.Errorf("records:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// dial connects a client.
func (p *proxy) dial() *peer {
	p.tr.Helper()
	addr := p.srv.Addrs()[0]
	return p.tr.connect(addr.Network(), addr.String())
}

func (tr *trace) connect(network, address string) *peer {
	tr.Helper()
	c, err := net.DialTimeout(network, address, patience)
	if err != nil {
		tr.Fatalf("client: %v", err)
	}
	return tr.peer("client", c)
}

// peer is one end of a connection that the test plays: a client, or an origin's side.
type peer struct {
	net.Conn
	tr   *trace
	name string
	r    *bufio.Reader
}

func newPeer(tr *trace, name string, c net.Conn) *peer {
	return &peer{Conn: c, tr: tr, name: name, r: bufio.NewReader(c)}
}

// peer makes one that the test itself drives. When the test ends it is reset, since nobody is interested in
// how the proxy would go on.
func (tr *trace) peer(name string, c net.Conn) *peer {
	p := newPeer(tr, name, c)
	tr.Cleanup(p.reset)
	c.SetDeadline(time.Now().Add(2 * patience))
	return p
}

// send writes s in one call.
func (c *peer) send(s string) {
	c.tr.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.tr.Fatalf("%s: send: %v", c.name, err)
	}
}

// sendBytes writes s in single bytes, each of them seen by the proxy before the next one comes.
func (c *peer) sendBytes(s string) {
	c.tr.Helper()
	for i := range len(s) {
		c.send(s[i : i+1])
		c.tr.proxied.settle()
	}
}

// sendHalves writes s in two pieces.
func (c *peer) sendHalves(s string) {
	c.tr.Helper()
	c.send(s[:len(s)/2])
	c.tr.proxied.settle()
	c.send(s[len(s)/2:])
}

// closeWrite sends a FIN and leaves the other direction open.
func (c *peer) closeWrite() {
	c.tr.Helper()
	if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		c.tr.Fatalf("%s: close write: %v", c.name, err)
	}
}

// reset closes the connection with a RST. A unix socket has none: closing it with bytes unread comes close.
func (c *peer) reset() {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}

// readHead returns a message head as it came, with the empty line.
func (c *peer) readHead() (string, error) {
	var head strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		head.WriteString(line)
		if err != nil {
			return head.String(), err
		}
		if line == "\r\n" {
			return head.String(), nil
		}
	}
}

// wantHead returns the next message head as it came, with the empty line.
func (c *peer) wantHead() string {
	c.tr.Helper()
	head, err := c.readHead()
	if err != nil {
		c.tr.Fatalf("%s: got %q, then %v, want a head", c.name, head, err)
	}
	return head
}

// readRequest reads a whole request.
func (c *peer) readRequest() (*http.Request, []byte, error) {
	r, err := http.ReadRequest(c.r)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(r.Body)
	return r, body, err
}

// wantRequest reads a whole request and compares its request line, such as "GET /a", and its body.
func (c *peer) wantRequest(line, body string) *http.Request {
	c.tr.Helper()
	r, got, err := c.readRequest()
	if err != nil {
		c.tr.Fatalf("%s: want request %q: %v", c.name, line, err)
	}
	if is := r.Method + " " + r.RequestURI; is != line {
		c.tr.Fatalf("%s: got request %q, want %q", c.name, is, line)
	}
	if string(got) != body {
		c.tr.Fatalf("%s: %s has the body %s, want %s", c.name, line, excerpt(string(got)), excerpt(body))
	}
	return r
}

// readResponse reads a whole response to a request of the given method. An error with a response is what
// ended its body.
func (c *peer) readResponse(method string) (*http.Response, string, error) {
	res, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

// want reads a whole response to a GET and compares its status and body.
func (c *peer) want(status int, body string) *http.Response {
	c.tr.Helper()
	return c.wantTo("GET", status, body)
}

// wantTo is want for any method.
func (c *peer) wantTo(method string, status int, body string) *http.Response {
	c.tr.Helper()
	res, got, err := c.readResponse(method)
	if err != nil {
		c.tr.Fatalf("%s: want response %d %s: got %v %s: %v", c.name, status, excerpt(body), res, excerpt(got), err)
	}
	if res.StatusCode != status || got != body {
		c.tr.Fatalf("%s: got response %d %s, want %d %s", c.name, res.StatusCode, excerpt(got), status, excerpt(body))
	}
	return res
}

// wantError reads one of the proxy's own answers, which must be complete, and returns it.
func (c *peer) wantError(method string, status int) *http.Response {
	c.tr.Helper()
	line := fmt.Sprintf("%d %s\n", status, http.StatusText(status))
	body := line
	if method == http.MethodHead {
		body = ""
	}
	res := c.wantTo(method, status, body)
	if res.ContentLength != int64(len(line)) {
		c.tr.Errorf("%s: %d with Content-Length %d, want %d", c.name, status, res.ContentLength, len(line))
	}
	if _, err := http.ParseTime(res.Header.Get("Date")); err != nil {
		c.tr.Errorf("%s: %d with Date %q: %v", c.name, status, res.Header.Get("Date"), err)
	}
	return res
}

// wantBytes reads exactly s.
func (c *peer) wantBytes(s string) {
	c.tr.Helper()
	b := make([]byte, len(s))
	if n, err := io.ReadFull(c.r, b); err != nil || string(b) != s {
		c.tr.Fatalf("%s: got %s (%v), want %s", c.name, excerpt(string(b[:n])), err, excerpt(s))
	}
}

// wantEnd says that the connection has ended, in order, and that nothing came before.
func (c *peer) wantEnd() {
	c.tr.Helper()
	if b, err := c.r.ReadByte(); err != io.EOF {
		c.tr.Fatalf("%s: got %q, %v, want the end of the connection", c.name, b, err)
	}
}

// wantGone reads until the connection has ended, in whatever way, and returns what came before.
func (c *peer) wantGone() string {
	c.tr.Helper()
	rest, err := io.ReadAll(c.r)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		c.tr.Fatalf("%s: got %s, %v, want the end of the connection", c.name, excerpt(string(rest)), err)
	}
	return string(rest)
}

// wantNothing says that nothing has come, and that the connection is open.
func (c *peer) wantNothing() {
	c.tr.Helper()
	if n := c.r.Buffered(); n > 0 {
		b, _ := c.r.Peek(n)
		c.tr.Fatalf("%s: got %s, want nothing", c.name, excerpt(string(b)))
	}
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		c.tr.Fatal(err)
	}
	var n int
	var peeked error
	b := make([]byte, 512)
	err = raw.Control(func(fd uintptr) { n, _, peeked = unix.Recvfrom(int(fd), b, unix.MSG_PEEK|unix.MSG_DONTWAIT) })
	if err != nil || peeked != unix.EAGAIN {
		c.tr.Fatalf("%s: got %s (%v, %v), want nothing", c.name, excerpt(string(b[:max(n, 0)])), peeked, err)
	}
}

// excerpt shows the ends of a long text.
func excerpt(s string) string {
	if len(s) <= 400 {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q ... %q (%d bytes)", s[:200], s[len(s)-100:], len(s))
}

// get is an HTTP/1.1 request for a path.
func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: a.example\r\n\r\n" }

// post is an HTTP/1.1 request with a body of known length.
func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

// ok is a response with a body of known length.
func ok(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}
