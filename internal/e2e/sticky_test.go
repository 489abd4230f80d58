package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// named starts an origin that answers everything with its name. It is closed by stop, or at the end of the test.
func named(t *testing.T, name string) (addr string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, name) })}
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(l)
	}()
	stop = func() {
		srv.Close()
		<-done
	}
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

// TestAJarStaysWithItsServer has curl keep the cookie that the proxy sets. It leads to the same server, also after the
// proxy has been started anew, until that server is gone.
func TestAJarStaysWithItsServer(t *testing.T) {
	needs(t, "curl")
	var servers []string
	stop := map[string]func(){}
	for _, name := range []string{"a", "b", "c", "d"} {
		addr, ends := named(t, name)
		servers = append(servers, addr)
		stop[name] = ends
	}
	listen, dir := freeAddr(t), t.TempDir()
	config := basic(listen, servers, silent) + `
balance = "random"
disable_time = "1h"
[backend.origin.sticky_cookie]
name = "SERVERID"
secret = "not known to anybody"
`
	visit := func(jar string) (name string, told bool) {
		t.Helper()
		x := curl(t, dir, "http://"+listen+"/", []string{"-b", jar, "-c", jar})
		if x.facts.Code != 200 {
			t.Fatalf("got %s", x.status)
		}
		return x.body, len(x.header.Values("Set-Cookie")) > 0
	}
	stays := func(jar, at string) {
		t.Helper()
		for range 8 {
			if name, told := visit(jar); name != at || told {
				t.Fatalf("at %s, and then at %s (told: %v)", at, name, told)
			}
		}
	}
	p := startProxy(t, config)
	jar, other := filepath.Join(dir, "jar"), filepath.Join(dir, "other")
	first, told := visit(jar)
	if !told {
		t.Fatal("the client is told nothing")
	}
	stays(jar, first)
	// Somebody else, who is on another server.
	elsewhere := first
	for elsewhere == first {
		os.Remove(other)
		elsewhere, _ = visit(other)
	}
	stays(other, elsewhere)
	stays(jar, first)

	p.signal(t, 15)
	p.wait(t, 20*time.Second)
	startProxy(t, config)
	stays(jar, first)
	stays(other, elsewhere)

	stop[first]()
	second, told := visit(jar)
	if second == first || !told {
		t.Fatalf("%s is gone, and answers; or the client is not told of %s", first, second)
	}
	stays(jar, second)
	stays(other, elsewhere)
}

// balancer is the same backend in Apache's words and in ours.
type balancer struct {
	apache, millrace string
	members          []member
}

type member struct{ addr, apache, millrace string }

// besideApache starts Apache and the proxy with the same backends. It returns where each of them listens for each.
func besideApache(t *testing.T, balancers []balancer) (theirs, ours []string) {
	t.Helper()
	needs(t, "apache2")
	dir := t.TempDir()
	var apache, millrace strings.Builder
	fmt.Fprintf(&apache, "ServerName e2e.example\nPidFile %[1]s/pid\nDefaultRuntimeDir %[1]s\nErrorLog %[1]s/error.log\nStartServers 1\n", dir)
	if os.Getuid() == 0 {
		apache.WriteString("User www-data\nGroup www-data\n")
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []string{"mpm_event", "authz_core", "proxy", "proxy_http", "slotmem_shm", "lbmethod_byrequests", "proxy_balancer"} {
		module := "/usr/lib/apache2/modules/mod_" + m + ".so"
		if _, err := os.Stat(module); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("apache2 has no %s, and in CI it has to", module)
			}
			t.Skipf("apache2 has no %s", module)
		}
		fmt.Fprintf(&apache, "LoadModule %s_module %s\n", m, module)
	}
	millrace.WriteString(silent)
	for i, b := range balancers {
		theirs, ours = append(theirs, freeAddr(t)), append(ours, freeAddr(t))
		fmt.Fprintf(&apache, "Listen %[1]s\n<VirtualHost %[1]s>\n<Proxy balancer://b%[2]d>\n", theirs[i], i)
		fmt.Fprintf(&millrace, "[[listener]]\nname = 'l%[1]d'\naddress = %[2]q\n[[route]]\nlisteners = ['l%[1]d']\npath = '/'\nbackend = 'b%[1]d'\n"+
			"[backend.b%[1]d]\ndisable_time = '1h'\n%[3]s\n", i, ours[i], b.millrace)
		for _, m := range b.members {
			fmt.Fprintf(&apache, "BalancerMember http://%s retry=3600 %s\n", m.addr, m.apache)
			fmt.Fprintf(&millrace, "[[backend.b%d.server]]\naddress = %q\n%s\n", i, m.addr, m.millrace)
		}
		fmt.Fprintf(&apache, "</Proxy>\nProxyPass / balancer://b%d/ %s\n</VirtualHost>\n", i, b.apache)
	}
	conf := filepath.Join(dir, "apache2.conf")
	if err := os.WriteFile(conf, []byte(apache.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	program, _ := find("apache2")
	httpd := start(t, program, "-X", "-f", conf)
	startProxy(t, millrace.String())
	eventually(t, 20*time.Second, "apache2 serves", func() bool {
		if httpd.ended() {
			log, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			t.Fatalf("apache2 ended:\n%s\n%s", httpd.out, log)
		}
		return accepts(theirs[len(theirs)-1])
	})
	return theirs, ours
}

// TestSessionsAsApacheHasThem sends the same requests through Apache and through the proxy, with the same options. The
// servers n1, n2 and n3 are draining, so that they get nothing but their sessions; what is balanced goes to n0.
func TestSessionsAsApacheHasThem(t *testing.T) {
	var members []member
	for i := range 4 {
		addr, _ := named(t, fmt.Sprintf("n%d", i))
		m := member{addr: addr}
		if i > 0 {
			m.apache, m.millrace = fmt.Sprintf("route=n%d status=+N", i), fmt.Sprintf("route = 'n%d'\nstatus = 'drain'", i)
		}
		members = append(members, m)
	}
	options := []balancer{
		{"stickysession=JSESSIONID|jsessionid", "sticky_session = 'JSESSIONID|jsessionid'", members},
		{"stickysession=JSESSIONID|jsessionid scolonpathdelim=On", "sticky_session = 'JSESSIONID|jsessionid'\nscolon_path_delim = true", members},
		{"stickysession=SID stickysessionsep=-", "sticky_session = 'SID'\nsticky_session_sep = '-'", members},
		{"stickysession=ROUTEID stickysessionsep=Off", "sticky_session = 'ROUTEID'\nsticky_session_sep = 'off'", members},
	}
	names := [][]string{{"JSESSIONID", "jsessionid", "SID"}, {"JSESSIONID", "jsessionid"}, {"SID", "sid"}, {"ROUTEID"}}
	theirs, ours := besideApache(t, options)
	compared, routed := 0, 0
	compare := func(option int, target, cookie string) {
		t.Helper()
		their := servedBy(t, theirs[option], target, cookie)
		our := servedBy(t, ours[option], target, cookie)
		if their != our {
			t.Errorf("%s: %s with %q is served by %s, with Apache by %s", options[option].apache, target, cookie, our, their)
		}
		if compared++; our != "n0" {
			routed++
		}
	}
	ids := []string{"abc.n2", "abc.n2.n3", "abc", "abc.", ".n3", "n2", ".n2", "-n3", "a-n2", "a-b-n2", "a.n9", "a-n9", "a.N2", `"a.n3"`, ""}
	for option := range options {
		for _, name := range names[option] {
			for _, id := range ids {
				for _, form := range []string{
					"NAME=ID", "NAMEX=a.n1; NAME=ID", "XNAME=a.n1; NAME=ID", "a=b; NAME=ID; c=d", "a=b,NAME=ID,c=d", "a=b NAME=ID",
					"NAME=ID; NAME=a.n1", "NAME; NAME=ID", "NAME \t=ID;", "a=NAME=ID",
				} {
					compare(option, "/", strings.NewReplacer("NAME", name, "ID", id).Replace(form))
				}
				if strings.Contains(id, `"`) || id == "" {
					continue // no part of a URL; and where Apache goes on behind an empty one is an accident of its parser
				}
				for _, form := range []string{
					"/a;NAME=ID", "/a;NAME=ID?x=1", "/a;NAME=ID;y=2", "/a?NAME=ID", "/a?x=1&NAME=ID&y=2", "/a;NAME=ID/b/c", "/a;b=c;NAME=ID",
					"/a;NAME", "/a%3BNAME=ID", "/;NAME=ID;NAME=a.n1", "/a;NAMEX=a.n1;NAME=ID",
				} {
					target := strings.NewReplacer("NAME", name, "ID", id).Replace(form)
					compare(option, target, "")
					compare(option, target, name+"=y.n3")
				}
			}
		}
	}
	t.Logf("%d requests, of which %d went to the server of a session", compared, routed)
	if routed < compared/20 {
		t.Errorf("only %d of %d requests went to the server of a session", routed, compared)
	}
	// What is repaired: the name of a parameter begins behind a delimiter.
	if their, our := servedBy(t, theirs[0], "/xjsessionid=q.n2", ""), servedBy(t, ours[0], "/xjsessionid=q.n2", ""); their != "n2" || our != "n0" {
		t.Errorf("a name in the middle of a word leads to %s, with Apache to %s", our, their)
	}
}

var serverName = regexp.MustCompile(`^n[0-9]$`)

// TestFailoverOfSessionsAsApacheHasIt plays the same sessions with servers that are down through Apache and through the
// proxy. Where nobody answers, the status is the proxy's own.
func TestFailoverOfSessionsAsApacheHasIt(t *testing.T) {
	var up []string
	for i := range 3 {
		addr, _ := named(t, fmt.Sprintf("n%d", i+1))
		up = append(up, addr)
	}
	dead := freeAddr(t)
	n1 := func(addr, apache, millrace string) []member {
		return []member{
			{addr, "route=n1 " + apache, "route = 'n1'\n" + millrace},
			{up[1], "route=n2", "route = 'n2'"},
			{up[2], "route=n3", "route = 'n3'"},
		}
	}
	const theirSID, ourSID = "stickysession=SID forcerecovery=Off", "balance = 'byrequests'\nsticky_session = 'SID'"
	scenes := []struct {
		id string
		balancer
		sessions string // "none" for none
	}{
		{"ST-20", balancer{theirSID, ourSID, n1(dead, "", "")}, "a.n1 a.n1 a.n1 none a.n3 none a.n1 none none"},
		{"ST-21", balancer{theirSID + " nofailover=On", ourSID + "\nno_failover = true", n1(dead, "", "")}, "a.n1 a.n1 none a.n1 a.n2 a.n9 none"},
		// Sessions of n2 would cost it more turns in Apache while n1 drains than here: there n1 has a part in them.
		{"ST-22", balancer{theirSID, ourSID, n1(up[0], "status=+N", "status = 'drain'")}, "a.n1 none a.n1 none none a.n1 none none"},
		{"ST-23", balancer{theirSID, ourSID, n1(up[0], "status=+H", "status = 'standby'")}, "x.n1 none x.n1 none none none"},
		{"ST-24 dead", balancer{theirSID, ourSID, n1(dead, "redirect=n3", "redirect = 'n3'")}, "a.n1 a.n1 none a.n1"},
		{"ST-24 disabled", balancer{theirSID, ourSID, n1(up[0], "redirect=n3 status=+D", "redirect = 'n3'\nstatus = 'disabled'")}, "a.n1 none a.n1 none none"},
		{
			"ST-24 without failover",
			balancer{theirSID + " nofailover=On", ourSID + "\nno_failover = true", n1(dead, "redirect=n3", "redirect = 'n3'")},
			"a.n1 a.n1 none",
		},
		{"BL-20", balancer{theirSID, ourSID, n1(dead, "redirect=n3", "redirect = 'n3'")}, "a.n1 a.n1 a.n1 none none none none none none"},
		{"of a higher set", balancer{theirSID, ourSID, n1(up[0], "lbset=1", "lbset = 1")}, "a.n1 none a.n1 none none none"},
		{"of a spare", balancer{theirSID, ourSID, n1(up[0], "status=+R", "status = 'spare'")}, "a.n1 none a.n1 none none none"},
	}
	var balancers []balancer
	for _, s := range scenes {
		balancers = append(balancers, s.balancer)
	}
	theirs, ours := besideApache(t, balancers)
	for i, s := range scenes {
		var their, our []string
		for session := range strings.FieldsSeq(s.sessions) {
			cookie := ""
			if session != "none" {
				cookie = "SID=" + session
			}
			their = append(their, answeredBy(t, theirs[i], "/", cookie))
			our = append(our, answeredBy(t, ours[i], "/", cookie))
		}
		t.Logf("%s: %s are served by %v", s.id, s.sessions, our)
		if !slices.Equal(their, our) {
			t.Errorf("%s: %s are served by %v, with Apache by %v", s.id, s.sessions, our, their)
		}
	}
}

// servedBy sends one request on a connection of its own and returns the name of the origin that has answered.
func servedBy(t *testing.T, address, target, cookie string) string {
	t.Helper()
	by := answeredBy(t, address, target, cookie)
	if by == nobody {
		t.Fatalf("%s %q: nobody has answered", target, cookie)
	}
	return by
}

// nobody is who has answered when no server has.
const nobody = "-"

// answeredBy is servedBy where perhaps no server answers.
func answeredBy(t *testing.T, address, target, cookie string) string {
	t.Helper()
	c, err := dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if cookie != "" {
		cookie = "Cookie: " + cookie + "\r\n"
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: e2e.example\r\nConnection: close\r\n%s\r\n", target, cookie); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode == 502 || res.StatusCode == 503) {
		return nobody
	}
	if err != nil || !serverName.Match(body) {
		t.Fatalf("%s %q: got %s, %q, %v", target, cookie, res.Status, body, err)
	}
	return string(body)
}
