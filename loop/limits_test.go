package loop

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWhatOneReadLeavesOverFitsABufferOfItsSize(t *testing.T) {
	var p buffers
	b := p.get(headRoom + relayRead + tailRoom)
	if len(b) > relayRead+2*headRoom {
		t.Errorf("%d bytes take a buffer of %d", headRoom+relayRead+tailRoom, len(b))
	}
	p.put(b)
}

func TestAtMaxConnectionsTheNextClientWaitsUntilAnotherLeaves(t *testing.T) {
	for _, loops := range []int{1, 2} {
		for name, leave := range map[string]func(c *peer){"FIN": func(c *peer) { c.Close() }, "RST": (*peer).reset} {
			t.Run(fmt.Sprintf("%d loops, %s", loops, name), func(t *testing.T) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{loops: loops, maxConns: 2}, o)
				a, b := p.dial(), p.dial()
				for _, c := range []*peer{a, b} {
					c.send(get("/"))
					x := o.accept()
					x.wantRequest("GET /", "")
					x.send(ok("fine"))
					c.want(200, "fine")
					x.Close()
				}
				var waiting []*peer
				for i := range 3 {
					c := p.dial()
					c.send(get(fmt.Sprint("/", i)))
					waiting = append(waiting, c)
				}
				p.settle()
				p.settle()
				if n := p.open(); n != 2 {
					t.Fatalf("%d clients are in, want 2", n)
				}
				o.wantNobody()
				if !strings.Contains(p.said.String(), "max_connections reached") {
					t.Errorf("the process log says %q", p.said)
				}
				// As one leaves, one gets in. Which of them depends on the loop that it came to.
				for range waiting {
					if a != nil {
						leave(a)
						a = nil
					}
					x := o.accept()
					r, _, err := x.readRequest()
					if err != nil {
						t.Fatal(err)
					}
					if n := p.open(); n != 2 {
						t.Errorf("%d clients are in, want 2", n)
					}
					x.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine")
					var i int
					fmt.Sscanf(r.RequestURI, "/%d", &i)
					waiting[i].want(200, "fine")
					leave(waiting[i])
				}
				leave(b)
				tr.eventually("sessions stay", func() bool { return p.open() == 0 })
			})
		}
	}
}

func TestAFloodOfConnectionsIsAccepted(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{loops: 2}, o)
	const n = 3 * acceptBurst
	clients := make([]*peer, n)
	release := p.hold() // so that one loop finds its share of them at once
	for i := range clients {
		clients[i] = p.dial()
	}
	release()
	tr.eventually("not all of them get in", func() bool { return p.open() == n })
	for _, c := range clients {
		c.Close()
	}
	tr.eventually("sessions stay", func() bool { return p.open() == 0 })
}

// childFiles is the open-file limit of a child proxy: enough for some ten clients.
const childFiles = 64

// child is a proxy in a process of its own, so that it can run out of descriptors while the test does not.
type child struct {
	tr    *trace
	addr  string
	in    io.Writer
	lines *bufio.Scanner
	cmd   *exec.Cmd
}

// TestChild is not a test: it is what a child process runs.
func TestChild(t *testing.T) {
	servers, isChild := os.LookupEnv("MILLRACE_TEST_SERVERS")
	if !isChild {
		t.Skip("not a child")
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: childFiles, Max: childFiles}); err != nil {
		t.Fatal(err)
	}
	tr := newTrace(t)
	var names []any
	for name := range strings.FieldsSeq(servers) {
		names = append(names, name)
	}
	p := tr.proxy(setup{roundRobin: true}, names...)
	fmt.Println("child:", p.srv.Addrs()[0])
	var taken []int
	release := func() {
		for _, fd := range taken {
			unix.Close(fd)
		}
		taken = nil
	}
	resume := func() {}
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		answer := "done"
		switch commands.Text() {
		case "exhaust":
			for {
				fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
				if err != nil {
					break
				}
				taken = append(taken, fd)
			}
		case "release":
			release()
		case "hold":
			resume = p.hold()
		case "resume":
			resume()
		case "settle":
			p.settle()
		case "open":
			answer = fmt.Sprint(p.open())
		case "said":
			answer = fmt.Sprintf("%q", p.said)
		case "drain":
			// Right behind whatever holds the loop: before it looks at what has come in the meantime.
			p.srv.loops[0].post(p.srv.loops[0].drain)
			resume()
			if err := p.srv.Wait(); err != nil {
				t.Error(err)
			}
			p.check()
			release()
		}
		fmt.Println("child:", answer)
	}
	release()
	p.drain()
}

// child starts one before the given origins.
func (tr *trace) child(origins ...*origin) *child {
	tr.Helper()
	var names []string
	for _, o := range origins {
		names = append(names, o.name)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
	// Under the race detector, a process would wait for a second before it ends.
	cmd.Env = append(os.Environ(), "MILLRACE_TEST_SERVERS="+strings.Join(names, " "), "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tr.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tr.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tr.Fatal(err)
	}
	ch := &child{tr: tr, in: in, lines: bufio.NewScanner(out), cmd: cmd}
	tr.Cleanup(func() {
		in.Close()
		expired := time.AfterFunc(2*patience, func() { cmd.Process.Kill() })
		defer expired.Stop()
		var rest strings.Builder
		for ch.lines.Scan() {
			rest.WriteString(ch.lines.Text() + "\n")
		}
		if err := cmd.Wait(); err != nil {
			tr.Errorf("child: %v\n%s", err, rest.String())
		}
	})
	ch.addr = ch.reply()
	return ch
}

// reply returns the next line that the child says to the test.
func (ch *child) reply() string {
	ch.tr.Helper()
	var other strings.Builder
	for ch.lines.Scan() {
		if line, ok := strings.CutPrefix(ch.lines.Text(), "child: "); ok {
			return line
		}
		other.WriteString(ch.lines.Text() + "\n")
	}
	ch.tr.Fatalf("the child has ended:\n%s", other.String())
	return ""
}

func (ch *child) do(command string) string {
	ch.tr.Helper()
	if _, err := fmt.Fprintln(ch.in, command); err != nil {
		ch.tr.Fatal(err)
	}
	return ch.reply()
}

func (ch *child) dial() *peer {
	ch.tr.Helper()
	return ch.tr.connect("tcp", ch.addr)
}

func TestWithoutDescriptorsClientsWaitAndThoseWhoAreInAreServed(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	ch := tr.child(o)
	in := ch.dial()
	in.send(get("/1"))
	x := o.accept()
	x.wantRequest("GET /1", "")
	if got := ch.do("exhaust"); got != "done" {
		t.Fatal(got)
	}
	waiting := ch.dial()
	waiting.send(get("/waiting"))
	ch.do("settle")
	for _, path := range []string{"/1", "/2", "/3"} {
		if path != "/1" {
			in.send(get(path))
			x.wantRequest("GET "+path, "")
		}
		x.send(ok(path))
		in.want(200, path)
	}
	waiting.wantNothing()
	if n := ch.do("open"); n != "1" {
		t.Errorf("%s clients are in, want 1", n)
	}
	if said := ch.do("said"); strings.Count(said, "accepting pauses") != 1 {
		t.Errorf("the process log says %s", said)
	}
	// Descriptors that others have freed are found by trying again.
	ch.do("release")
	x.wantRequest("GET /waiting", "")
	x.send(ok("welcome"))
	waiting.want(200, "welcome")
	in.send(get("/4"))
	x.wantRequest("GET /4", "")
	x.send(ok("4"))
	in.want(200, "4")
	ch.do("drain")
}

func TestTheEndOfAClientLetsTheNextOneIn(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	ch := tr.child(o)
	in := ch.dial()
	ch.do("settle")
	ch.do("exhaust")
	waiting := ch.dial()
	ch.do("settle")
	in.Close()
	tr.eventually("the next one does not get in", func() bool { return ch.do("open") == "1" })
	waiting.send("GARBAGE\r\n\r\n")
	waiting.wantError("GET", 400)
	waiting.Close()
	ch.do("drain")
}

func TestWithoutDescriptorsARequestIsToldSoAndTheConnectionKept(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	ch := tr.child(o)
	c := ch.dial()
	ch.do("settle")
	ch.do("exhaust")
	for range 3 {
		c.send(post("/", "body"))
		if res := c.wantError("POST", 503); res.Close {
			t.Error("503 says Connection: close, and nothing is wrong with the client's")
		}
	}
	o.wantNobody()
	ch.do("release")
	c.send(post("/", "body"))
	x := o.accept()
	x.wantRequest("POST /", "body")
	x.send(ok("fine"))
	c.want(200, "fine")
	ch.do("drain")
}

func TestWithoutDescriptorsAnIdleConnectionMakesRoom(t *testing.T) {
	tr := newTrace(t)
	one, two := tr.origin(), tr.origin()
	ch := tr.child(one, two)
	c := ch.dial()
	c.send(get("/1"))
	x := one.accept()
	x.wantRequest("GET /1", "")
	x.send(ok("1"))
	c.want(200, "1")
	ch.do("exhaust")
	c.send(get("/2"))
	y := two.accept()
	x.wantEnd()
	y.wantRequest("GET /2", "")
	y.send(ok("2"))
	c.want(200, "2")
	ch.do("drain")
}

func TestWithoutDescriptorsWhoCameFirstIsServedFirst(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	ch := tr.child(o)
	var clients []*peer
	for range 4 {
		clients = append(clients, ch.dial())
		ch.do("settle")
	}
	ch.do("exhaust")
	// The second needs a connection: the last one pays for it, since it came last and waits for nothing.
	clients[1].send(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	clients[3].wantEnd()
	x.send(ok("fine"))
	clients[1].want(200, "fine")
	clients[0].wantNothing()
	clients[2].wantNothing()
	ch.do("drain")
}

func TestADrainWithoutDescriptorsEnds(t *testing.T) {
	// The drain itself finds the requests. The first gets the descriptor of the listener, the second makes
	// room for its connection at the expense of the client that the drain looks at next.
	tr := newTrace(t)
	o := tr.origin()
	o.serveEach(func(r *http.Request, _ []byte) string { return ok(r.RequestURI) })
	ch := tr.child(o)
	var clients []*peer
	for range 3 {
		clients = append(clients, ch.dial())
		ch.do("settle")
	}
	ch.do("exhaust")
	ch.do("hold")
	clients[0].send(get("/0"))
	clients[1].send(get("/1"))
	ch.do("drain")
	clients[0].want(200, "/0")
	clients[1].want(200, "/1")
	clients[2].wantEnd()
}

func TestTheLargestHeadFitsABufferAsItIsSentOn(t *testing.T) {
	// A host is named up to three times in the head that a server gets, and a server may take nothing of it.
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{limits: Limits{HeaderBytes: 1 << 20}}, o)
	c := p.dial()
	c.send(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	p.onLoops(func(l *Loop) { tr.shrink(l.sessions.next.origin.fd, unix.SO_SNDBUF) })
	x.send(ok("fine"))
	c.want(200, "fine")
	host := strings.Repeat("a.", 500000) + "example"
	c.send("GET /next HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
	tr.eventually("the origin's socket takes everything", func() bool { return len(p.held()) == 2 })
	if head := x.wantHead(); strings.Count(head, host) != 3 {
		t.Errorf("the origin got %s", excerpt(head))
	}
	x.send(ok("next"))
	c.want(200, "next")
}
