package configs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// warningsOf returns the warnings of a file without problems, one a line.
func warningsOf(t *testing.T, text string) string {
	t.Helper()
	var warnings Problems
	if _, err := Parse(t.Context(), "f", []byte(text), hosts{"a.example": {"10.0.0.1", "10.0.0.2"}}, WithWarnings(&warnings)); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return warnings.Error()
}

// raw is a file with a backend that has the given lines, and that only a sock listener leads to.
func raw(lines string) string {
	return "[[listener]]\naddress = ':80'\nprotocol = 'sock'\nbackend = 'app'\n\n[backend.app]\n" + two + lines
}

func TestOptionsOfRetriesThatCannotMatter(t *testing.T) {
	const (
		never = "has no effect with retry_on = [] (f:8:12), which has no request tried again: leave it out"
		once  = " has no effect with max_attempts = 1 (f:8:16), which has nothing tried again after it: raise that, or leave this out"
		free  = "a retry where no server was connected to costs none of it: leave it out"
		sock  = "only sock listeners lead to this backend, and they parse nothing"
	)
	for _, c := range []struct{ text, want string }{
		{balanced(two + "retry_on = []\nmax_attempts = 3"), "f:9:16: backend.app.max_attempts: " + never},
		{balanced(two + "retry_on = []\nmax_attempts = 1"), "f:9:16: backend.app.max_attempts: " + never},
		{balanced(two + "retry_on = []\nretry_budget = 10"), "f:9:16: backend.app.retry_budget: " + never},
		{balanced(two + "retry_on = []\nretry_budget = 0"), "f:9:16: backend.app.retry_budget: " + never},
		{balanced(two + "retry_on = []\nmax_attempts = 3\nretry_budget = 10"), "f:9:16: backend.app.max_attempts: " + never +
			"\nf:10:16: backend.app.retry_budget: " + never},
		{balanced(two + "max_attempts = 1\nretry_on = ['connect']"), `f:9:13: backend.app.retry_on[0]: "connect"` + once},
		{balanced(two + "max_attempts = 1\nretry_on = ['connect']\nping = '1s'"), `f:9:13: backend.app.retry_on[0]: "connect"` + once},
		{balanced(two + "max_attempts = 1\nretry_on = ['connect']\nserver_wait_timeout = '1s'"), `f:9:13: backend.app.retry_on[0]: "connect"` + once},
		{balanced(two + "max_attempts = 1\nretry_on = ['closed', 'timeout', '502-504']"), `f:9:23: backend.app.retry_on[1]: "timeout"` + once +
			"\n" + `f:9:34: backend.app.retry_on[2]: "502-504"` + once},
		{balanced(two + "max_attempts = 1\nretry_budget = 10"), "f:9:16: backend.app.retry_budget: " +
			"has no effect with max_attempts = 1 (f:8:16), which leaves no retry that costs any of it: leave it out"},
		{balanced(two + "retry_on = ['connect']\nretry_budget = 10"), "f:9:16: backend.app.retry_budget: " +
			`has no effect with nothing but "connect" in retry_on (f:8:12), since ` + free},
		{raw("retry_budget = 10"), "f:8:16: backend.app.retry_budget: has no effect, since " + sock + ", and " + free},
		{raw("send_proxy = 'v1'\nretry_budget = 10"), "f:9:16: backend.app.retry_budget: has no effect, since " + sock + ", and " + free},
		{raw("retry_on = []\nretry_budget = 10"), "f:9:16: backend.app.retry_budget: " + never},
		{raw("retry_on = ['closed', 'timeout']\nmax_attempts = 2"), "f:9:16: backend.app.max_attempts: " +
			`has no effect without "connect" in retry_on (f:8:12), since ` + sock + ": add that, or leave this out"},
		{raw("max_attempts = 1\nretry_on = ['connect', 'closed', 'timeout']"), `f:9:13: backend.app.retry_on[0]: "connect"` + once},
	} {
		if diff := cmp.Diff(c.want, warningsOf(t, c.text)); diff != "" {
			t.Errorf("%s\n-want +got:\n%s", c.text, diff)
		}
	}
}

func TestOptionsOfRetriesThatMatter(t *testing.T) {
	for _, text := range []string{
		balanced(two + "max_attempts = 1"),
		balanced(two + "max_attempts = 2\nretry_budget = 0"),
		balanced(two + "retry_on = []"),
		balanced(two + "retry_on = ['connect']\nmax_attempts = 2"),
		balanced(two + "retry_on = ['connect', 'closed', 'timeout', '503']\nmax_attempts = 2\nretry_budget = 10"),
		// Attempts on a kept connection that has ended do not count.
		balanced(two + "retry_on = ['closed']\nmax_attempts = 1"),
		// A server that is asked whether it wants a body has been connected to.
		balanced(two + "retry_on = ['connect']\nping = '1s'\nretry_budget = 10"),
		balanced(two + "retry_on = ['connect', 'closed']\nretry_budget = 10"),
		balanced(two + "retry_on = ['connect', '503']\nretry_budget = 10"),
		balanced(two + "retry_on = ['timeout']\nretry_budget = 10"),
		balanced(two + "retry_on = ['421']\nretry_budget = 10\nmax_attempts = 2"),
		// What is the default says nothing.
		balanced(two + "retry_on = []\nmax_attempts = 0\nretry_budget = 20"),
		balanced(two + "retry_on = ['connect']\nretry_budget = 20"),
		balanced(two + "max_attempts = 1\nretry_budget = 20"),
		raw("max_attempts = 2"),
		raw("retry_budget = 20"),
		raw("retry_on = ['connect']\nmax_attempts = 2"),
		// Requests get to it as well.
		raw("retry_budget = 10\nretry_on = ['timeout']\nmax_attempts = 2\n[[listener]]\naddress = ':81'\n[[route]]\nbackend = 'app'"),
	} {
		if got := warningsOf(t, text); got != "" {
			t.Errorf("%s\nwarnings %s", text, got)
		}
	}
}

// What could not be read may be what an option matters for.
func TestNothingIsSaidOfRetriesBesideAProblemOfTheirs(t *testing.T) {
	for _, lines := range []string{
		"retry_on = ['conn-failure']\nmax_attempts = 1",
		"retry_on = ['connect', 'close']\nretry_budget = 10",
		"retry_on = ['connect', 503]\nretry_budget = 10",
		"retry_on = ['connect', '304']\nretry_budget = 10",
		"retry_on = [503]\nmax_attempts = 2",
		"retry_on = []\nretry_onn = ['closed']\nmax_attempts = 2",
		"retry_on = ['connect']\nretry_budget = 10\npings = '1s'",
		"retry_on = ['connect']\nretry_budget = 10\nping = '1'",
	} {
		var warnings Problems
		_, err := Parse(t.Context(), "f", []byte(balanced(two+lines)), hosts{}, WithWarnings(&warnings))
		if err == nil || len(warnings) > 0 {
			t.Errorf("%s\ngave error %v and warnings %v", lines, err, warnings)
		}
	}
}
