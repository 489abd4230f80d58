package configs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/balance"
	"millrace/loop"
)

// withRoutes are two servers with routes, of which the second has more lines.
func withRoutes(more string) string {
	return "[[backend.app.server]]\naddress = '10.0.0.1'\nroute = 'n1'\n[[backend.app.server]]\naddress = '10.0.0.2'\nroute = 'n2'\n" + more
}

const (
	cookieTable = "[backend.app.sticky_cookie]\n"
	goodCookie  = "name = 'S'\nsecret = '0123456789abcdef'\n"
)

func TestProblemsOfSessions(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{"sticky_session = ''\n" + withRoutes(""), `f:7:18: backend.app.sticky_session: "" is not where sessions are: allowed are "COOKIE|PARAMETER", and one name for both`},
		{"sticky_session = '|a'\n" + withRoutes(""), `"|a" is not where sessions are`},
		{"sticky_session = 'a|'\n" + withRoutes(""), `"a|" is not where sessions are`},
		{"sticky_session = 'a b|c'\n" + withRoutes(""), `"a b|c" is not where sessions are`},
		{"sticky_session = 'a|b=c'\n" + withRoutes(""), `"a|b=c" is not where sessions are`},
		{"sticky_session = 'a'\nsticky_session_sep = ''\n" + withRoutes(""), `f:8:22: backend.app.sticky_session_sep: "" is not a separator: allowed are one visible character`},
		{"sticky_session = 'a'\nsticky_session_sep = '..'\n" + withRoutes(""), `".." is not a separator`},
		{"sticky_session = 'a'\nsticky_session_sep = ';'\n" + withRoutes(""), `";" is not a separator`},
		{"sticky_session = 'a'\nsticky_session_sep = 'ü'\n" + withRoutes(""), `"ü" is not a separator`},
		{two + "sticky_session_sep = '-'", `f:8:1: backend.app.sticky_session_sep: has no effect without sticky_session`},
		{two + "scolon_path_delim = true", `f:8:1: backend.app.scolon_path_delim: has no effect without sticky_session`},
		{"sticky_header = 'R'\nscolonpathdelim = true\n" + withRoutes(""), `f:8:1: backend.app.scolonpathdelim: has no effect without sticky_session`},
		{two + "no_failover = true", `f:8:1: backend.app.no_failover: has no effect without sticky_session, sticky_header or [backend.app.sticky_cookie]`},
		{two + "sticky_session = 'a'", `f:8:1: backend.app.sticky_session: has no effect: no server has a route; give each its own, in [[backend.app.server]]`},
		{two + "sticky_header = 'X-Route'", `f:8:1: backend.app.sticky_header: has no effect: no server has a route`},
		{"sticky_header = 'X Route'\n" + withRoutes(""), `f:7:17: backend.app.sticky_header: "X Route" is not the name of a field`},
		{"sticky_header = 'R'\n" + withRoutes("redirect = 'n3'"), `f:14:12: backend.app.server[1].redirect: "n3" is not the name of a route; did you mean "n1"?`},
		{"sticky_header = 'R'\n" + withRoutes("redirect = 'n2'"), `f:14:12: backend.app.server[1].redirect: "n2" is the route of this very server`},
		{"sticky_header = 'R'\n" + strings.Replace(withRoutes(""), "'n2'", "'a;b'", 1), `f:13:9: backend.app.server[1].route: "a;b" is not a route: allowed are 1 to 63 visible characters`},
		{"sticky_header = 'R'\n" + strings.Replace(withRoutes(""), "'n2'", "''", 1), `"" is not a route`},
		{"sticky_header = 'R'\n" + strings.Replace(withRoutes(""), "'n2'", "'"+strings.Repeat("n", 64)+"'", 1), `is not a route`},
		{strings.Replace(withRoutes(""), "route = 'n2'", "", 1), `f:9:1: backend.app.server[0].route: has no effect without sticky_session, sticky_header or [backend.app.sticky_cookie]`},
		{"sticky_sesion = 'a'\n" + withRoutes(""), `f:7:1: backend.app.sticky_sesion: unknown key; did you mean "sticky_session"?`},

		{two + cookieTable + "secret = '0123456789abcdef'", `f:8:14: backend.app.sticky_cookie.name: is missing`},
		{two + cookieTable + "name = 'S'", `f:8:14: backend.app.sticky_cookie.secret: is missing: write at least 16 characters that nobody else knows, such as what "openssl rand -hex 16" prints`},
		{two + cookieTable + "name = 'S'\nsecret = 'hush'", `f:10:10: backend.app.sticky_cookie.secret: is too short: write at least 16 characters`},
		{two + cookieTable + strings.Replace(goodCookie, "'S'", "'a b'", 1), `f:9:8: backend.app.sticky_cookie.name: "a b" is not the name of a cookie`},
		{"sticky_session = 'S|s'\n" + withRoutes("") + cookieTable + goodCookie, `"S" is the cookie of sticky_session, which is the server's: this one would take its place`},
		{two + cookieTable + goodCookie + "path = 'a'", `f:11:8: backend.app.sticky_cookie.path: "a" is not a path for a cookie`},
		{two + cookieTable + goodCookie + "path = '/;a'", `"/;a" is not a path for a cookie`},
		{two + cookieTable + goodCookie + "domain = 'example.org:80'", `backend.app.sticky_cookie.domain: "example.org:80" is not a domain`},
		{two + cookieTable + goodCookie + "max_age = '10ms'", `backend.app.sticky_cookie.max_age: "10ms" is too small: allowed are 0 for as long as the client runs, or 1s to 9600h`},
		{two + cookieTable + goodCookie + "max_age = '1s500ms'", `"1s500ms" is not a number of whole seconds`},
		{two + cookieTable + goodCookie + "same_site = 'off'", `backend.app.sticky_cookie.same_site: "off" is not what same_site can be: allowed are "lax", "strict", "none" and ""`},
		{two + cookieTable + goodCookie + "same_site = 'none'", `"none" needs secure = true`},
		{two + cookieTable + strings.Replace(goodCookie, "'S'", "'__Secure-S'", 1), `"__Secure-S" needs secure = true`},
		{two + cookieTable + strings.Replace(goodCookie, "'S'", "'__Host-S'", 1) + "secure = true\ndomain = 'a.example'", `"__Host-S" needs path = "/" and no domain`},
	} {
		got := problemsOf(t, balanced(c.lines))
		if !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%s\ngave\n%s\nwant only\n%s", c.lines, got, c.want)
		}
		if strings.Contains(got, "hush") {
			t.Errorf("%s tells the secret", got)
		}
	}
}

func TestASockListenerHasNoSessions(t *testing.T) {
	text := balanced(two+cookieTable+goodCookie) + "[[listener]]\naddress = ':81'\nprotocol = 'sock'\nbackend = 'app'\n"
	want := `"app" finds sessions in requests (f:8:14), and a sock listener parses none: write balance = "sticky", in a backend of its own`
	if got := problemsOf(t, text); !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSessionsGetIntoThePlan(t *testing.T) {
	for lines, want := range map[string]*loop.Sticky{
		two: nil,
		"sticky_session = 'JSESSIONID|jsessionid'\n" + withRoutes(""):                            {Cookie: "JSESSIONID", Param: "jsessionid", Separator: '.'},
		"sticky_session = 'SID'\nstickysessionsep = '-'\nnofailover = true\n" + withRoutes(""):   {Cookie: "SID", Param: "SID", Separator: '-', NoFailover: true},
		"sticky_session = 'A|b|c'\nsticky_session_sep = 'Off'\n" + withRoutes("redirect = 'n1'"): {Cookie: "A", Param: "b|c"},
		"sticky_session = 'A'\nscolon_path_delim = true\n" + withRoutes(""):                      {Cookie: "A", Param: "A", Separator: '.', SemicolonEnds: true},
		"sticky_header = 'X-Route'\n" + withRoutes(""):                                           {Header: "X-Route", Separator: '.'},
		two + "no_failover = true\n" + cookieTable + goodCookie: {
			Separator: '.', NoFailover: true,
			Own: &loop.StickyCookie{Name: "S", Secret: []byte("0123456789abcdef"), Path: "/", HTTPOnly: true, SameSite: "Lax", Backend: "app"},
		},
		two + cookieTable + goodCookie + "path = '/a'\ndomain = 'example.org'\nmax_age = '1h'\nhttp_only = false\nsecure = true\nsame_site = 'none'": {
			Separator: '.',
			Own: &loop.StickyCookie{
				Name: "S", Secret: []byte("0123456789abcdef"), Path: "/a", Domain: "example.org", MaxAge: 3600, Secure: true, SameSite: "None",
				Backend: "app",
			},
		},
	} {
		if diff := cmp.Diff(want, parseOK(t, balanced(lines), nil).Backends[0].Sticky); diff != "" {
			t.Errorf("%s\ngave (-want +got):\n%s", lines, diff)
		}
	}
}

// What the file calls servers is what the balance calls them, redirects included.
func TestServersOfSessions(t *testing.T) {
	plan := parseOK(t, balanced("sticky_session = 'SID'\n"+withRoutes("redirect = 'n1'\nstatus = 'disabled'\n")+cookieTable+goodCookie), nil)
	b := plan.Backends[0]
	for route, want := range map[string][]balance.Index{"n1": {0}, "n2": {1, 0}, "n3": nil} {
		if got := b.Group.ByRoute([]byte(route)); !cmp.Equal(got, want) {
			t.Errorf("route %s is of %v, want %v", route, got, want)
		}
	}
	for i, s := range b.Servers {
		field := string(s.SetCookie)
		token := strings.TrimSuffix(strings.TrimPrefix(field, "Set-Cookie: S="), "; Path=/; HttpOnly; SameSite=Lax\r\n")
		if len(token) != 22 {
			t.Errorf("the cookie of %s is %q", s.Name, field)
		}
		if got := b.Group.ByToken([]byte(token)); len(got) == 0 || got[0] != balance.Index(i) {
			t.Errorf("%q is of %v, want %d first", token, got, i)
		}
	}
	// A name that is several servers gives each of them its route, and each its own cookie.
	plan = parseOK(t, balanced("sticky_header = 'R'\n[[backend.app.server]]\naddress = 'app.internal:8080'\nroute = 'n1'\n"+cookieTable+goodCookie),
		hosts{"app.internal": {"10.0.0.9", "10.0.0.8"}})
	if b := plan.Backends[0]; len(b.Group.ByRoute([]byte("n1"))) != 2 || string(b.Servers[0].SetCookie) == string(b.Servers[1].SetCookie) {
		t.Errorf("%v, %q, %q", b.Group.ByRoute([]byte("n1")), b.Servers[0].SetCookie, b.Servers[1].SetCookie)
	}
}

func TestAllServersDrainTheirSessions(t *testing.T) {
	var warnings Problems
	text := balanced("sticky_header = 'R'\n[[backend.app.server]]\naddress = '10.0.0.1'\nroute = 'n1'\nstatus = 'drain'\n")
	if _, err := Parse(t.Context(), "f", []byte(text), hosts{}, WithWarnings(&warnings)); err != nil {
		t.Fatal(err)
	}
	want := "f:6:10: backend.app: each of its servers is disabled, stopped or draining: all requests but those of sessions on draining servers get 503"
	if warnings.Error() != want {
		t.Errorf("warnings %v, want %s", warnings, want)
	}
}
