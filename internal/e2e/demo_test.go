package e2e

import (
	"encoding/json"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startDemo runs "millrace demo" and returns where its page is.
func startDemo(t *testing.T) (p *process, url string) {
	t.Helper()
	p = start(t, binary(t), "demo", "--address", freeAddr(t))
	eventually(t, soon, "the demo serves", func() bool {
		if p.ended() {
			t.Fatalf("millrace demo ended with %d", p.exitCode())
		}
		return p.said("The access log follows")
	})
	url = regexp.MustCompile(`http://127\.0\.0\.1:\d+/`).FindString(p.out.String())
	if url == "" {
		t.Fatal("the demo does not tell where it is")
	}
	return p, url
}

// TestDemo tries what "millrace demo" says can be tried, with curl, and stops it as Ctrl-C does.
func TestDemo(t *testing.T) {
	needs(t, "curl", "sh")
	p, url := startDemo(t)

	lines := regexp.MustCompile(`(?m)^ +(curl .*?)(?:  .*)?$`).FindAllStringSubmatch(p.out.String(), -1)
	if len(lines) < 4 {
		t.Fatalf("the demo offers %d lines to try", len(lines))
	}
	// All at the same time: one of them takes ten seconds.
	var tries []*process
	for _, line := range lines {
		tries = append(tries, start(t, "sh", "-c", "exec "+line[1]))
	}
	for i, try := range tries {
		if code := try.wait(t, 30*time.Second); code != 0 {
			t.Errorf("%s: exit code %d", lines[i][1], code)
		}
		t.Logf("%s: %d bytes", lines[i][1], len(try.out.String()))
	}

	origins := make(map[string]int)
	for range 9 {
		var answer struct{ Origin string }
		text := run(t, soon, 0, "curl", "-sS", "-f", url+"echo")
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		origins[answer.Origin]++
	}
	t.Logf("who answered: %v", origins)
	if len(origins) != 3 {
		t.Errorf("%d origins answered, want 3", len(origins))
	}
	page := run(t, soon, 0, "curl", "-sS", "-f", url)
	if !strings.Contains(page, "<title>millrace demo</title>") {
		t.Errorf("the page is %.200q", page)
	}

	p.signal(t, syscall.SIGINT)
	if code := p.wait(t, soon); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestDemoPage has a browser show the demo's page and run its script.
func TestDemoPage(t *testing.T) {
	needs(t, "chromium")
	_, url := startDemo(t)
	dom := run(t, time.Minute, 0, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--user-data-dir="+t.TempDir(), "--virtual-time-budget=5000", "--dump-dom", url)
	name := regexp.MustCompile(`<span id="origin" data-origin="(\w+)">(\w+)</span>`).FindStringSubmatch(dom)
	if name == nil || name[1] != name[2] {
		t.Fatalf("the page does not name an origin:\n%s", excerpt(dom))
	}
	// Only the script enables the buttons and marks the fields that the proxy has set.
	enabled := len(regexp.MustCompile(`<button[^>]*>`).FindAllString(dom, -1)) - len(regexp.MustCompile(`<button[^>]* disabled[^>]*>`).FindAllString(dom, -1))
	ours := regexp.MustCompile(`<tr class="ours"><th scope="row">([^<]*)`).FindAllStringSubmatch(dom, -1)
	t.Logf("origin %s; %d buttons enabled; %d fields of the proxy's", name[1], enabled, len(ours))
	if enabled != 3 || len(ours) == 0 {
		t.Errorf("the script has not run:\n%s", excerpt(dom))
	}
}
