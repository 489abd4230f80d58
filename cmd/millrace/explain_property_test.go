package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httputil"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/configs"
	"millrace/loop"
)

// The property: whatever explain prints of a request is what the running program does with it. Configurations are made at
// random of every kind of condition and edit, requests and responses of everything that those look at.
const (
	worlds            = 20
	requestsPerWorld  = 500
	sourceAddresses   = 3
	patienceOfClients = time.Minute // with the machine at its busiest, all that is waited for here comes sooner
)

func TestExplainPrintsWhatHappens(t *testing.T) {
	var all tally
	for seed := range uint64(worlds) {
		w := newWorld(t, seed)
		for n := range requestsPerWorld {
			if w.ask(n); t.Failed() {
				t.Logf("seed %d; the file:\n%s", seed, w.text)
				w.leave()
				return
			}
		}
		all.add(w.tally)
		w.leave()
	}
	t.Logf("%+v", all)
	// What was never met was not tested.
	if all.routed < worlds*requestsPerWorld/4 || all.refused < worlds*requestsPerWorld/10 || all.certain < all.routed/4 ||
		all.responses < all.routed*3/4 || all.closed == 0 || all.connect == 0 || all.switched == 0 || all.badResponses == 0 {
		t.Errorf("of %d requests, only %+v", worlds*requestsPerWorld, all)
	}
	for option, n := range all.options {
		if n == 0 {
			t.Errorf("no request met %s", option)
		}
	}
}

// tally counts what was met.
type tally struct {
	routed, certain, refused, closed, connect, switched, responses, badResponses int
	options                                                                      map[string]int
}

func (a *tally) add(b tally) {
	a.routed, a.certain, a.refused = a.routed+b.routed, a.certain+b.certain, a.refused+b.refused
	a.closed, a.connect, a.switched = a.closed+b.closed, a.connect+b.connect, a.switched+b.switched
	a.responses, a.badResponses = a.responses+b.responses, a.badResponses+b.badResponses
	if a.options == nil {
		a.options = make(map[string]int)
		for _, list := range [][]string{conditions, slices.Concat(edits...)} {
			for _, o := range list {
				a.options[o] = 0
			}
		}
	}
	for o, n := range b.options {
		a.options[o] += n
	}
}

// world is a proxy that runs, with servers and clients.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	seed    uint64
	text    string // of the file
	plan    *loop.Plan
	origins configs.Origins
	chosen  map[int][]string // options of each route
	listen  []string         // addresses
	servers []string
	sockets []net.Listener
	arrived chan arrival
	gone    chan struct{}
	clients map[string]*caller
	command *exec.Cmd
	tally   tally
}

// arrival is a request that a server has got.
type arrival struct {
	server     string
	head, body []byte
	reply      chan<- reply
}

// reply is what the server does about it.
type reply struct {
	bytes []byte
	close bool
}

// caller is a client's connection.
type caller struct {
	net.Conn
	r    *bufio.Reader
	peer netip.AddrPort
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), arrived: make(chan arrival), gone: make(chan struct{}),
		clients: make(map[string]*caller), tally: tally{options: make(map[string]int)},
	}
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		w.sockets, w.servers = append(w.sockets, l), append(w.servers, l.Addr().String())
		go w.serve(l)
	}
	folder := t.TempDir()
	w.listen = []string{freeAddress(t), freeAddress(t), "unix:" + filepath.Join(folder, "s")}
	config := filepath.Join(folder, "millrace.toml")
	// What is thrown together at random may be no configuration.
	for tries := 0; ; tries++ {
		w.text = w.makeFile()
		if err := os.WriteFile(config, []byte(w.text), 0o600); err != nil {
			t.Fatal(err)
		}
		var err error
		if w.plan, err = configs.Load(t.Context(), config, configs.WithOrigins(&w.origins)); err == nil {
			break
		} else if tries == 20 {
			t.Fatalf("no file is right: %v\n%s", err, w.text)
		}
	}
	w.start(config)
	return w
}

// start runs the program.
func (w *world) start(config string) {
	w.command = exec.CommandContext(w.t.Context(), "millrace", "run", "--config", config)
	stderr, err := w.command.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.command.Start(); err != nil {
		w.t.Fatal(err)
	}
	r := bufio.NewReader(stderr)
	says(w.t, r, `"msg":"serving"`)
	go io.Copy(io.Discard, r)
}

// leave ends all that was started.
func (w *world) leave() {
	close(w.gone)
	for _, c := range w.clients {
		c.Close()
	}
	for _, l := range w.sockets {
		l.Close()
	}
	w.command.Process.Kill()
	w.command.Wait()
}

// serve is a server: it shows each request, and answers as it is told.
func (w *world) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			<-w.gone
			c.Close()
		}()
		go func() {
			defer c.Close()
			r := bufio.NewReader(c)
			replies := make(chan reply)
			for {
				head, err := readHead(r)
				if err != nil {
					return
				}
				_, body, err := readBody(r, head, "", true)
				if err != nil {
					return
				}
				select {
				case w.arrived <- arrival{l.Addr().String(), head, body, replies}:
				case <-w.gone:
					return
				}
				select {
				case a := <-replies:
					if _, err := c.Write(a.bytes); err != nil || a.close {
						return
					}
				case <-w.gone:
					return
				}
			}
		}()
	}
}

// readHead reads to the empty line.
func readHead(r *bufio.Reader) (head []byte, err error) {
	for {
		line, err := r.ReadBytes('\n')
		head = append(head, line...)
		if err != nil || len(line) <= len("\r\n") {
			return head, err
		}
	}
}

// readBody reads what a head announces, without its framing. With untilClose it returns whether the body lasts until the
// connection ends.
func readBody(r *bufio.Reader, head []byte, method string, request bool) (untilClose bool, body []byte, err error) {
	status := ""
	if !request {
		status = string(head[len("HTTP/1.1 "):len("HTTP/1.1 200")])
	}
	switch {
	case method == "HEAD", status == "204", status == "304", status == "101":
		return false, nil, nil
	case chunked.Match(head):
		if body, err = io.ReadAll(httputil.NewChunkedReader(r)); err == nil {
			_, err = readHead(r) // the trailer section
		}
		return false, body, err
	}
	if m := length.FindSubmatch(head); m != nil {
		n, _ := strconv.Atoi(string(m[1]))
		body = make([]byte, n)
		_, err = io.ReadFull(r, body)
		return false, body, err
	}
	if request {
		return false, nil, nil
	}
	body, err = io.ReadAll(r)
	return true, body, err
}

var (
	chunked = regexp.MustCompile(`(?i)\ntransfer-encoding: *chunked\r\n`)
	length  = regexp.MustCompile(`(?i)\ncontent-length: *([0-9]+)\r\n`)
	closing = regexp.MustCompile(`(?i)\nconnection: *close\r\n`)
	// changing is what is another each time: the clock, and identifiers.
	changing = regexp.MustCompile(`\nDate: [^\r]*GMT\r|[0-9a-f]{32}`)
)

// readResponse reads heads up to that of the final response, and its body.
func readAnswer(r *bufio.Reader, method string) (heads, body []byte, ends bool, err error) {
	for {
		head, err := readHead(r)
		heads = append(heads, head...)
		if err != nil || len(head) < len("HTTP/1.1 200") {
			return heads, nil, true, err
		}
		if head[len("HTTP/1.1 ")] == '1' && !bytes.HasPrefix(head, []byte("HTTP/1.1 101")) {
			continue
		}
		untilClose, body, err := readBody(r, head, method, false)
		return heads, body, untilClose || closing.Match(head), err
	}
}

// dial returns a connection from one of the source addresses to a listener.
func (w *world) dial(listener, source int) *caller {
	w.t.Helper()
	key := fmt.Sprint(listener, source)
	if c := w.clients[key]; c != nil {
		return c
	}
	c := new(caller)
	var err error
	if path, ok := strings.CutPrefix(w.listen[listener], "unix:"); ok {
		c.Conn, err = net.Dial("unix", path)
	} else {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+source))}}
		if c.Conn, err = d.Dial("tcp", w.listen[listener]); err == nil {
			c.peer = c.LocalAddr().(*net.TCPAddr).AddrPort()
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
	c.r = bufio.NewReader(c)
	w.clients[key] = c
	return c
}

// ask has the n-th request explained, sends it, and holds the one against the other.
func (w *world) ask(n int) {
	listener, source := w.rng.IntN(len(w.listen)), w.rng.IntN(sourceAddresses)
	request, method := w.makeRequest()
	response := w.makeResponse(method, bytes.Contains(request, []byte("Upgrade:")))
	c := w.dial(listener, source)
	c.SetDeadline(time.Now().Add(patienceOfClients))
	again := false
	defer func() {
		if !again {
			c.Close()
			delete(w.clients, fmt.Sprint(listener, source))
		}
	}()

	e := w.explain(loop.Question{Listener: listener, Peer: c.peer, Request: request, Response: response.bytes})
	wrong := func(format string, args ...any) {
		w.t.Helper()
		w.t.Errorf("request %d by listener %d from %v: %q\nresponse %q\nexplained as %s %d %q, server %+v, sent %q, answer %q, received %q\n%s", n, listener, c.peer, request, response.bytes,
			e.Outcome, e.Status, e.Reason, e.Backend, e.Sent, e.Answer, e.Received, fmt.Sprintf(format, args...))
	}
	w.count(e)
	if _, err := c.Write(request); err != nil && e.Answer != "" {
		wrong("write: %v", err)
		return
	}
	if e.Outcome == refused || e.Tunnel == "connect" {
		w.refuse(e, c, method, &again, wrong)
		return
	}
	var a arrival
	select {
	case a = <-w.arrived:
	case <-time.After(patienceOfClients):
		c.SetDeadline(time.Now())
		got, err := io.ReadAll(c.r)
		wrong("no server got it, and the client got %q, %v", got, err)
		return
	}
	certain := e.Backend.Certain
	switch {
	case certain && a.server != e.Backend.Server:
		wrong("server %s got it", a.server)
	case !slices.Contains(e.Backend.Servers, a.server):
		wrong("server %s got it, which is of another backend", a.server)
	}
	w.sameRequest(e, a, wrong)
	select {
	case a.reply <- response:
	case <-time.After(patienceOfClients):
		wrong("the server has gone away")
		return
	}
	heads, body, ends, err := readAnswer(c.r, method)
	if err != nil {
		wrong("the client got %q, %q and %v", heads, body, err)
		return
	}
	if certain || a.server == e.Backend.Server {
		w.sameResponse(bytesOf(e.Received), heads, body, method, wrong)
	}
	again = !ends && e.Tunnel == "" && !bytes.HasPrefix(heads, []byte("HTTP/1.1 101"))
	if ends {
		w.wantEnd(c, wrong)
	}
}

// explain asks as a program would, that reads what is printed.
func (w *world) explain(q loop.Question) explanation {
	text, err := json.Marshal(newExplanation(w.plan.Explain(q), &w.origins, q))
	var e explanation
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func (w *world) count(e explanation) {
	if n := len(e.Routes); n > 0 && e.Routes[n-1].Matches {
		for _, o := range w.chosen[e.Routes[n-1].Index] {
			w.tally.options[o]++
		}
	}
	switch {
	case e.Tunnel == "connect" && e.Outcome == routed:
		w.tally.connect++
	case e.Outcome == refused && e.Answer == "":
		w.tally.closed++
	case e.Outcome == refused:
		w.tally.refused++
	default:
		w.tally.routed++
		if e.Backend.Certain {
			w.tally.certain++
		}
		switch {
		case e.Status == 502:
			w.tally.badResponses++
		case e.Status == 101:
			w.tally.switched++
		default:
			w.tally.responses++
		}
	}
}

// refuse reads what the proxy answers by itself.
func (w *world) refuse(e explanation, c *caller, method string, again *bool, wrong func(string, ...any)) {
	if e.Answer == "" { // it is not even listened to
		var reset net.Error
		if got, err := io.ReadAll(c.r); len(got) > 0 || errors.As(err, &reset) && reset.Timeout() {
			wrong("the client got %q, %v", got, err)
		}
		return
	}
	if e.Tunnel == "connect" {
		head, err := readHead(c.r)
		if string(head) != string(bytesOf(e.Answer)) {
			wrong("the client got %q, %v", head, err)
		}
		return
	}
	heads, body, ends, err := readAnswer(c.r, method)
	if err != nil {
		wrong("the client got %q, %q and %v", heads, body, err)
		return
	}
	w.sameResponse(bytesOf(e.Answer), heads, body, method, wrong)
	if *again = !ends; ends {
		w.wantEnd(c, wrong)
	}
}

// wantEnd waits for the end of a connection that is announced.
func (w *world) wantEnd(c *caller, wrong func(string, ...any)) {
	if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
		wrong("behind the end: %q, %v", rest, err)
	}
}

// sameRequest holds what a server got against what was printed. Where any server could get it, the servers' names may
// differ.
func (w *world) sameRequest(e explanation, a arrival, wrong func(string, ...any)) {
	r := bufio.NewReader(bytes.NewReader(bytesOf(e.Sent)))
	head, _ := readHead(r)
	_, body, err := readBody(r, head, "", true)
	if err != nil {
		wrong("the body that is printed: %v", err)
	}
	got, want := w.masked(a.head, !e.Backend.Certain), w.masked(head, !e.Backend.Certain)
	if got != want {
		wrong("the server got\n%q, not\n%q", got, want)
	}
	if !bytes.Equal(a.body, body) {
		wrong("the server got the body %q, not %q", a.body, body)
	}
	// Each route says which it is in what it sends.
	name := "X-Route: " + e.Routes[len(e.Routes)-1].Name + "\r\n"
	if !bytes.Contains(a.head, []byte(name)) {
		wrong("it took another route: %q", a.head)
	}
}

func (w *world) masked(head []byte, anyServer bool) string {
	text := changing.ReplaceAllString(string(head), "*")
	if anyServer {
		for _, s := range w.servers {
			text = strings.ReplaceAll(text, s, "SERVER")
		}
	}
	return text
}

func (w *world) sameResponse(printed, heads, body []byte, method string, wrong func(string, ...any)) {
	wantHeads, wantBody, _, err := readAnswer(bufio.NewReader(bytes.NewReader(printed)), method)
	if err != nil {
		wrong("the response that is printed: %v", err)
	}
	if got, want := w.masked(heads, false), w.masked(wantHeads, false); got != want {
		wrong("the client got\n%q, not\n%q", got, want)
	}
	if string(changing.ReplaceAll(body, nil)) != string(changing.ReplaceAll(wantBody, nil)) {
		wrong("the client got the body %q, not %q", body, wantBody)
	}
}

// conditions are those of routes; with "not." before it, each is one that must not be met.
var conditions = []string{
	`hosts = ["a.example", "*.b.example"]`, `hosts = ["c.*:8080", "in.example"]`, `path = "/api"`, `path = "/g/"`, `prefix = "/p"`,
	`extension = ".php"`, `pattern = '^/g/([a-z]*)/?(.*)$'`, `methods = ["POST", "PUT", "M-SEARCH"]`, `headers = ["X-Env: st*"]`,
	`headers = ["Cookie: *c=1*", "X-Env: *"]`, `query = ["v=2"]`, `clients = ["127.0.0.2", "5.6.7.0/24"]`, `listeners = ["l1"]`,
	`not.hosts = ["a.example"]`, `not.path = "/api"`, `not.prefix = "/g"`, `not.extension = ".php"`, `not.pattern = 'a.c'`,
	`not.methods = ["PUT"]`, `not.headers = ["X-Env: test"]`, `not.query = ["a=*"]`, `not.clients = ["127.0.0.3"]`,
}

// edits are of each kind what a route may have one of.
var edits = [][]string{
	{`preserve_host = false`, `replace_http_host = "in.example:81"`},
	{`x_forwarded = "overwrite"`, `x_forwarded = "off"`},
	{`forwarded = ["for", "by", "proto", "host"]`, `forwarded = ["for"]`},
	{`via = "on"`, `via = "full"`, `via = "block"`},
	{`request_id = "X-Request-Id"`},
	{`strip_prefix = "/api"`, `backend_path = "/new"`, `map_urlpath = [["/api", "/v2"], ["/", "/w/"]]`},
	{"map_urlpath = [[\"/p\", \"/q\"]]\nmap_urlpath_resp_host_include = [\"a.example\"]", "map_urlpath = [[\"/p\", \"/q\"]]\nmap_urlpath_resp_host_exclude = [\"other.example\"]"},
	{`nocanon = true`},
	{`map_host_request = [["a.example", "in.example"], ["-", "x.example:81"]]`},
	{`map_host_response = [["-", "-"], ["in.example", "a.example"], ["cookie.example", "c.example"]]`},
	{`https_remap = true`},
	{`reverse = [["/shop", "http://in.example/v2"], ["/r", "/v2"]]`, "reverse = [[\"/r\", \"/v2\"]]\nreverse_refresh = true"},
	{`reverse_cookie_domain = [["cookie.example", "www.example"]]`},
	{`reverse_cookie_path = [["/v2", "/api"]]`},
	{`request.add = ["X-Added: $path?$query", "X-Added: $method"]`},
	{`request.remove = ["Cookie", "Referer"]`},
	{`request.rewrite = [["uri", '^/p(.*)', '/q$1'], ["Host", '^a\.(.*)', 'b.$1'], ["User-Agent", '.*', 'agent']]`},
	{`request.substitute = [["uri", 'a', 'bb'], ["Accept", '/', '\']]`},
	{`response.set = ["X-S: $status $host $path $server"]`},
	{`response.add = ["Vary: Origin", "X-Who: $client_addr $http_x_env"]`},
	{`response.remove = ["Server", "Set-Cookie"]`},
	{`response.rewrite = [["Location", '^http://other\.example(.*)', '$1']]`},
	{`response.substitute = [["Link", 'x', 'y'], ["Server", '[0-9.]+', '']]`},
	{`deny = ["127.0.0.3"]`, `allow = ["127.0.0.0/28"]`},
	{`trace = true`},
	{`connect = true`},
	{`upgrade = true`, `upgrade = ["websocket"]`},
}

// balances are those of backends. hash_balance_factor is not among them: it looks at what is in flight, and a client has its
// answer a moment before the proxy is done with it.
var balances = []string{
	`balance = "hash"`, "balance = \"hash\"\nhash_key = \"uri\"", "balance = \"hash\"\nhash_key = \"header:X-Env\"", `balance = "sticky"`,
	"balance = \"hash\"\nhash_compat = \"lighttpd\"", "balance = \"sticky\"\nhash_compat = \"lighttpd\"", "balance = \"maglev\"\nhash_key = \"cookie:c\"",
	"balance = \"maglev\"\nhash_key = \"query:v\"", `balance = "first"`, `balance = "round-robin"`, `balance = "fair"`, `balance = "random"`, `balance = "ewma"`,
}

// sessions are those of backends.
var sessions = []string{
	`sticky_header = "X-Env"`, `sticky_session = "c|v"`, "sticky_header = \"X-Env\"\nsticky_cookie.secret = \"0123456789abcdef\"",
}

// parsing are options of listeners.
var parsing = []string{
	"header_obs_fold = true", "header_underscores = true", "method_get_body = false", "url_normalize = true",
	"url_normalize = true\nhttp_parseopts.url_normalize_required = true\nhttp_parseopts.url_path_2f_decode = true\nhttp_parseopts.url_path_dotseg_remove = true",
	"url_normalize = true\nhttp_parseopts.url_ctrls_reject = true\nhttp_parseopts.url_path_2f_reject = true\nhttp_parseopts.url_path_dotseg_reject = true",
	"url_normalize = true\nhttp_parseopts.url_invalid_utf8_reject = true\nhttp_parseopts.url_path_backslash_trans = true\nhttp_parseopts.url_query_20_plus = true",
}

func pick[T any](w *world, list []T) T { return list[w.rng.IntN(len(list))] }

// one reports whether one chance in n comes up.
func (w *world) one(n int) bool { return w.rng.IntN(n) == 0 }

// makeFile makes a configuration, which may well be wrong.
func (w *world) makeFile() string {
	var b strings.Builder
	b.WriteString("[access_log]\npath = \"off\"\n[limits]\nheader_bytes = \"2KiB\"\nheader_fields = 20\nbody_bytes = \"100B\"\n")
	fmt.Fprintf(&b, "[server]\nloops = %d\n", 1+w.rng.IntN(2))
	if w.one(2) {
		b.WriteString("name = \"proxy.example\"\n")
	}
	for i, address := range w.listen {
		fmt.Fprintf(&b, "[[listener]]\nname = \"l%d\"\naddress = %q\n", i, address)
		if w.one(2) {
			b.WriteString("http_parseopts." + pick(w, parsing) + "\n")
		}
		if w.one(3) {
			b.WriteString("scheme = \"https\"\n")
		}
		switch {
		case strings.HasPrefix(address, "unix:"):
			if w.one(2) {
				b.WriteString("trusted_proxies = [\"unix:\"]\n")
			}
		case w.one(3):
			b.WriteString("trusted_proxies = [\"127.0.0.2\"]\n")
			if w.one(2) {
				b.WriteString("trusted_header = \"Forwarded\"\n")
			}
		}
		if w.one(4) && !strings.HasPrefix(address, "unix:") {
			b.WriteString("deny = [\"127.0.0.4\", \"1.2.3.4\"]\n")
		}
	}
	routes := w.makeRoutes()
	if mapped := strings.Contains(routes, "\nextension = \".php\""); mapped || w.one(3) {
		b.WriteString("[routing]\nrewrite_once = [['^/pq/([^?]*)', '/api/$1'], ['%7Ea(.*)', '/v2$1']]\n")
		if mapped {
			b.WriteString("map_extensions = [[\".do\", \".php\"]]\n")
		}
	}
	b.WriteString(routes)
	for i := range 3 {
		servers := w.servers[:1+w.rng.IntN(len(w.servers))]
		session := w.one(2)
		texts := make([]string, len(servers))
		for i, s := range servers {
			texts[i] = fmt.Sprintf("{address = %q}", s)
			if session {
				texts[i] = fmt.Sprintf("{address = %q, route = %q}", s, []string{"staging", "test", "n3"}[i])
			}
		}
		fmt.Fprintf(&b, "[backend.b%d]\nserver = [%s]\n%s\n", i, strings.Join(texts, ", "), pick(w, balances))
		if session {
			b.WriteString(pick(w, sessions) + "\n")
		}
		if w.one(3) {
			b.WriteString("max = 50\n") // more than are asked at a time
		}
	}
	return b.String()
}

// routesPerWorld is how many routes a file has.
const routesPerWorld = 6

// makeRoutes makes routes that are right. Over all worlds each option is in one at least.
func (w *world) makeRoutes() string {
	w.chosen = make(map[int][]string)
	all := slices.Concat(append(edits, conditions)...)
	var routes strings.Builder
	for i := range routesPerWorld {
		tested := all[(int(w.seed)*routesPerWorld+i)%len(all)]
		for tries := 0; ; tries++ {
			w.chosen[i] = nil
			text := w.makeRoute(i, tested)
			_, err := configs.Parse(w.t.Context(), "f", []byte(routeAlone+text), nil)
			if err == nil {
				routes.WriteString(text)
				break
			} else if tries == 1000 {
				w.t.Fatalf("no route with %s is right: %v", tested, err)
			}
		}
	}
	return routes.String()
}

// routeAlone is the rest of a file for a route.
const routeAlone = `
[[listener]]
name = "l1"
address = ":80"
[backend]
b0.servers = ["10.0.0.1"]
b1.servers = ["10.0.0.1"]
b2.servers = ["10.0.0.1"]
`

// makeRoute makes a route with an option, which may well be wrong.
func (w *world) makeRoute(i int, tested string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[[route]]\nname = \"r%d\"\n", i)
	w.choose(&b, i, tested)
	more := w.rng.IntN(2)
	if i < routesPerWorld-1 {
		more++ // what is behind a route without conditions gets nothing
	}
	for range more {
		w.choose(&b, i, pick(w, conditions))
	}
	if !slices.ContainsFunc(edits, func(list []string) bool { return slices.Contains(list, tested) }) && w.one(4) {
		return b.String() + "exclude = true\n"
	}
	fmt.Fprintf(&b, "backend = \"b%d\"\n", w.rng.IntN(3))
	fmt.Fprintf(&b, "request.set = [\"X-Route: r%d\", \"X-V: $client_addr,$client_port,$scheme,$host,$target,$request_id,$listener_addr,$server,$http_x_env\"]\n", i)
	for range w.rng.IntN(8) {
		w.choose(&b, i, pick(w, pick(w, edits)))
	}
	return b.String()
}

// choose gives a route an option, unless it has the key already.
func (w *world) choose(b *strings.Builder, route int, option string) {
	key, _, _ := strings.Cut(option, " =")
	for _, o := range w.chosen[route] {
		if strings.HasPrefix(o, key+" =") {
			return
		}
	}
	w.chosen[route] = append(w.chosen[route], option)
	b.WriteString(option + "\n")
}

var (
	methods  = []string{"GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "M-SEARCH"}
	hosts    = []string{"a.example", "a.example", "A.Example:80", "x.b.example", "c.d:8080", "in.example", "a.example.", "[::1]:443", "h"}
	segments = []string{
		"api", "api", "p", "pq", "g", "g", "abc", "x.php", "x.do", "v2", "a%20b", "%7Ea", "a%c3%a4", "%ff", "a;b", "~$-_", "a:b@c",
		"..", ".", "%2e%2E", "%2F", "..;", "a\\b", "%5c", "%01", "%00", "%zz", "", "",
	}
	queries = []string{"", "", "", "?", "?v=2", "?v=%32&a=1", "?a=%01", "?x=%20+y", "?x=%ff", "?q=%", "?http://a.example/"}
	lines   = []string{
		"X-Env: staging", "X-Env: test", "Cookie: c=1; k=v", "Cookie: k=v; c=2", "Cookie: c=1.n3", "User-Agent: test/1.0", "Accept: text/html, */*", "Referer: http://a.example/p",
		"X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 5.6.7.8, 127.0.0.2", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "X-Host: evil",
		"Forwarded: for=1.2.3.4;proto=https", "Forwarded: for=\"[2001:db8::1]:5\", for=5.6.7.8", "Via: 1.0 first", "Connection: X-Env, keep-alive", "Connection: close",
		"TE: trailers", "Proxy: http://x", "X_Under: y", "X-Fold: a\r\n b", "Destination: http://a.example/api/x", "Content-Location: /api/y",
		"Max-Forwards: 0", "Max-Forwards: 7", "X-Request-Id: abc-1", "X-Empty:", "Authorization: secret", "X-Long: " + strings.Repeat("x", 300),
		"X-Bytes: \xe4\xf6", "Expect: something", "Keep-Alive: 5", "Proxy-Connection: x", "Accept: a/b",
	}
	badLines = []string{"Bad Name: x", "Host: twice", "Content-Length: x", "NoColon", "X-Huge: " + strings.Repeat("y", 2<<10), "Content_Length: 5", ": none"}
)

// makeRequest makes a request that is complete in itself.
func (w *world) makeRequest() (request []byte, method string) {
	method = pick(w, methods)
	if method == "CONNECT" && !w.one(3) {
		method = "GET" // tunnels end connections
	}
	version := "HTTP/1.1"
	if w.one(8) {
		version = "HTTP/1.0"
	}
	host := pick(w, hosts)
	target := ""
	for range 1 + w.rng.IntN(3) {
		s := pick(w, segments[:13]) // which are harmless
		if w.one(6) {
			s = pick(w, segments)
		}
		target += "/" + s
	}
	target += pick(w, queries)
	switch {
	case method == "CONNECT":
		target = host
		if !strings.Contains(host, ":") {
			target += ":443"
			host = target
		}
	case method == "OPTIONS" && w.one(3):
		target = "*"
	case w.one(10):
		target = pick(w, []string{"http://", "https://", "HTTP://"}) + host + target
	}
	b := []byte(method + " " + target + " " + version + "\r\n")
	if !w.one(30) {
		b = append(b, "Host: "+host+"\r\n"...)
	}
	for range w.rng.IntN(5) {
		b = append(b, pick(w, lines)+"\r\n"...)
	}
	if w.one(15) {
		b = append(b, "Connection: upgrade\r\nUpgrade: websocket, other/1\r\n"...)
	}
	if w.one(20) {
		return append(b, pick(w, badLines)+"\r\n\r\n"...), method
	}
	body := ""
	switch {
	case method != "POST" && method != "PUT" && method != "PATCH" && !w.one(20), method == "CONNECT":
	case w.one(3):
		body = "Transfer-Encoding: chunked\r\n\r\n4;x=y\r\nwiki\r\n3\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n"
	case w.one(20):
		body = "Content-Length: 200\r\n\r\n" + strings.Repeat("z", 200)
	case w.one(5):
		body = "Content-Length: 0\r\n\r\n"
	default:
		body = "Content-Length: 5\r\n\r\nhello"
	}
	if body == "" {
		body = "\r\n"
	}
	return append(b, body...), method
}

var (
	statuses      = []string{"200 OK", "200 OK", "302 Found", "302 Found", "201 Created", "404 Not Found", "500 No", "204 No Content", "304 Not Modified", "401 Who"}
	responseLines = []string{
		"Location: http://in.example/v2/x", "Location: http://a.example/v2", "Location: /v2/y?z", "Location: http://other.example/q/x", "Location: https://x.example:81/w/z",
		"Location: http://SERVER/v2/s", "Content-Location: /v2/c", "Refresh: 0; url=http://in.example/v2/r", "Set-Cookie: a=1; Domain=.cookie.example; Path=/v2/x", "Set-Cookie: b=2; Path=/w; Secure",
		"Server: nginx/1.2.3", "Link: <x>; rel=x", "Vary: Accept", "Via: 1.1 origin", "Date: Sun, 06 Nov 1994 08:49:37 GMT", "Connection: X-Hop", "X-Hop: 1",
		"Proxy-Authenticate: Basic", "X-Status: fine", "Keep-Alive: timeout=5", "Upgrade: h2c", "URI: http://in.example/v2/u", "Destination: /v2/d",
	}
	badResponses = []string{
		"HTTP/1.1 2x0 OK\r\n\r\n", "nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 103 E\r\nContent-Length: 5\r\n\r\n",
	}
)

// makeResponse makes what the server answers, which may have been asked to switch protocols. It sends no body where there
// must be none: what is behind the end of a response may come before or behind the end of its connection's use.
func (w *world) makeResponse(method string, upgrade bool) reply {
	if w.one(15) {
		return reply{[]byte(pick(w, badResponses)), true}
	}
	if upgrade && w.one(2) || w.one(50) {
		return reply{[]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"), true}
	}
	b := ""
	if w.one(10) {
		b = "HTTP/1.1 103 Early Hints\r\nLink: <y>\r\n\r\n"
	}
	version := "HTTP/1.1 "
	if w.one(10) {
		version = "HTTP/1.0 "
	}
	status := pick(w, statuses)
	b += version + status + "\r\n"
	body := func(text string) string {
		if method == "HEAD" || strings.HasPrefix(status, "204") || strings.HasPrefix(status, "304") {
			return ""
		}
		return text
	}
	for range w.rng.IntN(5) {
		b += strings.ReplaceAll(pick(w, responseLines), "SERVER", pick(w, w.servers)) + "\r\n"
	}
	switch {
	case w.one(3):
		return reply{[]byte(b + "Content-Length: 4\r\n\r\n" + body("body")), version == "HTTP/1.0 "}
	case version == "HTTP/1.1 " && w.one(2):
		return reply{[]byte(b + "Transfer-Encoding: chunked\r\n\r\n" + body("2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n")), false}
	case w.one(3):
		return reply{[]byte(b + "Connection: close\r\n\r\n" + body("until the end")), true}
	}
	return reply{[]byte(b + "Content-Length: 0\r\n\r\n"), version == "HTTP/1.0 "}
}
