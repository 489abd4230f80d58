package e2e

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"millrace/internal/golden"
)

// TestMigrating starts each file of docs/migrating.md with recording origins, and asks it for what the tables of its
// section list.
func TestMigrating(t *testing.T) {
	text, err := os.ReadFile("../../docs/migrating.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split(string(text), "\n## ")[1:]
	for _, section := range sections {
		title, _, _ := strings.Cut(section, "\n")
		t.Run(title, func(t *testing.T) { migrate(t, section) })
	}
	if len(sections) < 5 {
		t.Errorf("only %d sections", len(sections))
	}
}

var (
	tomlBlock     = regexp.MustCompile("(?s)```toml\n(.*?)```")
	serverAddress = regexp.MustCompile(`10\.0\.0\.(\d+):8080`)
	tableRow      = regexp.MustCompile(`(?m)^\|(.*)\|$`)
)

// migrate plays the tables of a section against each of its files.
func migrate(t *testing.T, section string) {
	// 10.0.0.11:8080 is the origin s11.
	section = serverAddress.ReplaceAllString(section, "{s$1}")
	files := tomlBlock.FindAllStringSubmatch(section, -1)
	if len(files) == 0 {
		t.Fatal("no file")
	}
	for _, file := range files {
		config := strings.NewReplacer(`address = ":80"`, `address = "{listener}"`,
			// The first check decides alone, and a busy machine is no server that is down.
			`path = "`+healthPath+`"`, `path = "`+healthPath+`"`+"\ntimeout = \"1m\"").Replace(file[1])
		c := &golden.Case{Config: config}
		p := newPlayer(t, c)
		rows := 0
		var header []string
		for _, m := range tableRow.FindAllStringSubmatch(section, -1) {
			cells := strings.Split(m[1], "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			switch {
			case cells[0] == "a client asks for":
				header = cells
			case strings.HasPrefix(cells[0], "---"):
			case len(header) == 4:
				p.askedFor(t, cells)
				rows++
			case len(header) == 3:
				p.said(t, cells)
				rows++
			}
		}
		if rows == 0 {
			t.Error("no tables")
		}
	}
}

// get asks for a URL without its scheme.
func (p *player) get(t *testing.T, url, response string) (answer *http.Response, body, origin string, asked *http.Request) {
	p.mu.Lock()
	p.response, p.origin, p.got = response, "", ""
	p.mu.Unlock()
	host, path, _ := strings.Cut(url, "/")
	text := p.ask(t, "GET /"+path+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	answer, body = parseResponse(t, text)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.got != "" {
		asked = parseRequest(t, p.got)
	}
	return answer, body, p.origin, asked
}

// askedFor plays a row of what servers are asked for: URL, server, target, Host.
func (p *player) askedFor(t *testing.T, row []string) {
	answer, _, origin, asked := p.get(t, row[0], golden.DefaultResponse)
	if status, refused := strings.CutPrefix(row[1], "none, "); refused {
		if origin != "" || !strings.HasPrefix(answer.Status, status+" ") {
			t.Errorf("%s: %s of %q, want %s", row[0], answer.Status, origin, row[1])
		}
		return
	}
	if !slices.Contains(strings.Split(row[1], " or "), "{"+origin+"}") || asked == nil {
		t.Errorf("%s: %s of %q, want %s", row[0], answer.Status, origin, row[1])
		return
	}
	host := row[3]
	if host == "that of the server" {
		host = p.addresses[origin]
	}
	if asked.RequestURI != row[2] || asked.Host != host {
		t.Errorf("%s: asked for %s of %s, want %s of %s", row[0], asked.RequestURI, asked.Host, row[2], host)
	}
}

// said plays a row of what servers say: URL, a status or a field, a body or a field.
func (p *player) said(t *testing.T, row []string) {
	const page = "its own page"
	name, value, isField := strings.Cut(row[1], ": ")
	response := "HTTP/1.1 302 Found\r\n" + row[1] + "\r\nContent-Length: 0\r\n\r\n"
	if !isField {
		response = "HTTP/1.1 " + row[1] + " Here\r\nContent-Length: 12\r\n\r\n" + page
	}
	answer, body, _, _ := p.get(t, row[0], response)
	if !isField {
		if body != row[2] || !strings.HasPrefix(answer.Status, row[1]+" ") {
			t.Errorf("%s: %s became %s %q, want %q", row[0], row[1], answer.Status, body, row[2])
		}
		return
	}
	_, want, _ := strings.Cut(row[2], ": ")
	if got := answer.Header.Get(name); got != want {
		t.Errorf("%s: %s %q became %q, want %q", row[0], name, value, got, want)
	}
}

func parseRequest(t *testing.T, text string) *http.Request {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func parseResponse(t *testing.T, text string) (r *http.Response, body string) {
	r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(b)
}
