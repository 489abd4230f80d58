// Package golden reads examples of what becomes of requests and responses, which are data for several tests: the
// end-to-end tests play them against the binary, package remap's against its tables and edits.
//
// A file is lines. One that begins with "#" is a comment. A configuration has a name and is followed by its text,
// indented; a case has an identifier, the name of its configuration, and what it is about:
//
//	config A:
//		map_urlpath = [["/xxx", "/yyy"]]
//
//	HR-02 A: a prefix ends anywhere
//		> GET /xxxyz HTTP/1.1
//		> Host: www.example.org
//		@ app
//		>> GET /yyyyz HTTP/1.1
//		>> Host: www.example.org
//		<< HTTP/1.1 302 Found
//		<< Location: /yyy/1
//		< HTTP/1.1 302 Found
//		< Location: /xxx/1
//
// ">" is what the client sends, "@" the origin that gets it, ">>" what that gets, "<<" what it answers, and "<" what the
// client gets. They are whole heads; what follows an empty line is a body, each line of which ends with a line feed.
// Without "<<" and "<", the origin has answered [DefaultResponse] and the client got it so. Without "@" no origin is asked.
// A case can have several requests. One with "!" lines instead is about what the program says of the configuration.
//
// In all of them "{listener}" stands for the address of the listener and "{NAME}" for that of the origin NAME; "{date}"
// for any date. A configuration that has no listener, no routes or no backends gets one, which leads to the origin app.
package golden

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// DefaultResponse is what an origin answers that has been told nothing else.
const DefaultResponse = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

// File is a file of examples.
type File struct {
	Path  string
	Cases []*Case

	items []item
}

// item is what a file has in order: text that is kept as it is, or a case.
type item struct {
	text string
	c    *Case
}

// Case is one example.
type Case struct {
	ID    string // such as "HR-02"
	Name  string // of the configuration
	About string
	// Config is the whole configuration, with names for addresses.
	Config string
	Steps  []Step
	// Problems is what the program says of the configuration, a line each; empty: the case is not about that.
	Problems []string
	// Line is where the case begins in its file.
	Line int
}

// Step is a request and what became of it. Messages are as they are sent.
type Step struct {
	Request  string
	Origin   string // which got it; empty: none
	Got      string
	Response string
	Answer   string // what the client got
}

var (
	configLine = regexp.MustCompile(`^config ([A-Za-z0-9-]+):$`)
	caseLine   = regexp.MustCompile(`^([A-Z]+-[0-9]+) ([A-Za-z0-9-]+): (.+)$`)
	place      = regexp.MustCompile(`\{([a-z][a-z0-9]*)\}`)
)

// Listener and Date are the places that are not those of origins.
const (
	Listener = "listener"
	Date     = "date"
)

// Origins lists the origins that a configuration names, each once.
func (c *Case) Origins() []string {
	var names []string
	for _, m := range place.FindAllStringSubmatch(c.Config, -1) {
		if m[1] != Listener && !slices.Contains(names, m[1]) {
			names = append(names, m[1])
		}
	}
	return names
}

// Fill puts addresses in the places that stand for them.
func Fill(text string, addresses map[string]string) string {
	return place.ReplaceAllStringFunc(text, func(p string) string {
		if a, ok := addresses[p[1:len(p)-1]]; ok {
			return a
		}
		return p
	})
}

var dateLine = regexp.MustCompile(`(?m)^Date: [^\r\n]*`)

// Blank puts places where addresses are, and for dates.
func Blank(text string, addresses map[string]string) string {
	for name, a := range addresses {
		text = strings.ReplaceAll(text, a, "{"+name+"}")
	}
	return dateLine.ReplaceAllString(text, "Date: {"+Date+"}")
}

// ReadAll reads the files of examples in a folder.
func ReadAll(dir string) ([]*File, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.golden"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s has no examples", dir)
	}
	var files []*File
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		f, err := parse(path, string(text))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func parse(path, text string) (*File, error) {
	f := &File{Path: path}
	configs := make(map[string]string)
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := 0; i < len(lines); {
		line := lines[i]
		begin := i
		wrong := func(format string, args ...any) error {
			return fmt.Errorf("%s:%d: %s", path, begin+1, fmt.Sprintf(format, args...))
		}
		i++
		if line == "" || line[0] == '#' {
			f.keep(line)
			continue
		}
		for i < len(lines) && strings.HasPrefix(lines[i], "\t") {
			i++
		}
		block := lines[begin+1 : i]
		if m := configLine.FindStringSubmatch(line); m != nil {
			if _, twice := configs[m[1]]; twice {
				return nil, wrong("a second configuration %s", m[1])
			}
			var b strings.Builder
			for _, l := range block {
				b.WriteString(l[1:] + "\n")
			}
			configs[m[1]] = b.String()
			f.keep(line)
			for _, l := range block {
				f.keep(l)
			}
			continue
		}
		m := caseLine.FindStringSubmatch(line)
		if m == nil {
			return nil, wrong("%q is neither a configuration nor a case", line)
		}
		config, ok := configs[m[2]]
		if !ok {
			return nil, wrong("there is no configuration %s above", m[2])
		}
		c := &Case{ID: m[1], Name: m[2], About: m[3], Config: whole(config), Line: begin + 1}
		if err := c.parse(block); err != nil {
			return nil, wrong("%s: %v", c.ID, err)
		}
		f.Cases = append(f.Cases, c)
		f.items = append(f.items, item{c: c})
	}
	return f, nil
}

func (f *File) keep(line string) { f.items = append(f.items, item{text: line}) }

// whole adds what a configuration does not say.
func whole(config string) string {
	if !strings.Contains(config, "[[route]]") {
		// Keys may be followed by tables of the route.
		config = "[[route]]\nbackend = \"app\"\n" + config
	}
	if !strings.Contains(config, "[[listener]]") {
		config = "[[listener]]\naddress = \"{listener}\"\n" + config
	}
	if !strings.Contains(config, "[backend.") {
		config += "[backend.app]\nservers = [\"{app}\"]\n"
	}
	return config
}

// parse reads the indented lines of a case.
func (c *Case) parse(block []string) error {
	texts := make(map[string][]string) // of the step that is being read
	flush := func() {
		if len(texts) == 0 {
			return
		}
		s := Step{Request: message(texts[">"]), Got: message(texts[">>"]), Response: message(texts["<<"]), Answer: message(texts["<"])}
		if len(texts["@"]) > 0 {
			s.Origin = texts["@"][0]
			if s.Response == "" {
				s.Response = DefaultResponse
			}
			if s.Answer == "" {
				s.Answer = s.Response
			}
		}
		c.Steps = append(c.Steps, s)
		texts = make(map[string][]string)
	}
	for _, line := range block {
		mark, text, _ := strings.Cut(line[1:], " ")
		switch mark {
		case "!":
			c.Problems = append(c.Problems, text)
			continue
		case ">":
			if len(texts[">>"])+len(texts["@"])+len(texts["<<"])+len(texts["<"]) > 0 {
				flush()
			}
		case "@", ">>", "<<", "<":
		default:
			return fmt.Errorf("%q begins with no mark", line)
		}
		texts[mark] = append(texts[mark], text)
	}
	flush()
	if len(c.Steps) == 0 && len(c.Problems) == 0 {
		return fmt.Errorf("nothing is said")
	}
	return nil
}

// message makes a message of its lines.
func message(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	end := slices.Index(lines, "")
	if end < 0 {
		return strings.Join(lines, "\r\n") + "\r\n\r\n"
	}
	m := strings.Join(lines[:end], "\r\n") + "\r\n\r\n"
	for _, l := range lines[end+1:] {
		m += l + "\n"
	}
	return m
}

// Text returns the file as it is now, with the cases as they are now.
func (f *File) Text() string {
	var b strings.Builder
	for _, it := range f.items {
		if it.c == nil {
			b.WriteString(it.text + "\n")
			continue
		}
		c := it.c
		fmt.Fprintf(&b, "%s %s: %s\n", c.ID, c.Name, c.About)
		for _, p := range c.Problems {
			b.WriteString("\t! " + p + "\n")
		}
		for _, s := range c.Steps {
			writeMessage(&b, ">", s.Request)
			if s.Origin != "" {
				b.WriteString("\t@ " + s.Origin + "\n")
				writeMessage(&b, ">>", s.Got)
			}
			if s.Origin != "" && s.Response != DefaultResponse {
				writeMessage(&b, "<<", s.Response)
			}
			if s.Origin == "" || s.Answer != s.Response {
				writeMessage(&b, "<", s.Answer)
			}
		}
	}
	return b.String()
}

func writeMessage(b *strings.Builder, mark, m string) {
	head, body, _ := strings.Cut(m, "\r\n\r\n")
	for line := range strings.SplitSeq(head, "\r\n") {
		b.WriteString("\t" + mark + " " + line + "\n")
	}
	if body == "" {
		return
	}
	b.WriteString("\t" + mark + "\n")
	for line := range strings.SplitSeq(strings.TrimSuffix(body, "\n"), "\n") {
		b.WriteString("\t" + mark + " " + line + "\n")
	}
}
