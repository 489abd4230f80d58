package conformance

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

//go:embed testdata/*.cases
var tables embed.FS

// Load returns the cases of all tables.
func Load() ([]*Case, error) {
	entries, err := tables.ReadDir("testdata")
	if err != nil {
		return nil, err
	}
	var all []*Case
	for _, e := range entries {
		text, err := tables.ReadFile(path.Join("testdata", e.Name()))
		if err != nil {
			return nil, err
		}
		cases, err := Parse(e.Name(), text)
		if err != nil {
			return nil, err
		}
		all = append(all, cases...)
	}
	return all, nil
}

// Parse reads a table. It returns an error with file and line for whatever it does not understand.
//
// A table is lines of text. Those that begin with # are left out. The first is "group TITLE". A case
// begins with "case NAME" and has these lines:
//
//	rfc 9112 6.3       the section that decides; required
//	why TEXT           a remark
//	off REASON         the case is not played
//	C> BYTES           steps, see StepKind; lines of one kind are one step, up to an empty line
//	then 400 closed    how it ends: statuses, "cut" if the last response is incomplete, "kept", "closed" or "reset",
//	                   and perhaps "origin kept" or "origin closed"; several ways are divided by "or"
//	peers WORD         what other proxies may do: "refuse", "forward", "either"; "answer", which is "refuse" or to answer
//	                   the request themselves; "any"; or "skip REASON". Without it, "either" if nothing is passed on and
//	                   the answer is millrace's own, else "forward"
//	need KIND VALUE    see Need
//
// BYTES end with CRLF, unless the line ends with a backslash. In them, \r, \n, \t, \0, \s (a blank that can be seen), \\, \{
// and \xHH stand for one byte; {40*ab} for 40 times "ab"; and {forwarded HOST} for the fields that millrace adds to
// a request for a host.
//
// An origin of which the case does not say what it sends answers each request with 200 and the content "ok".
func Parse(file string, text []byte) ([]*Case, error) {
	p := parser{file: file}
	for line := range bytes.Lines(text) {
		p.line++
		if err := p.parseLine(strings.TrimSuffix(string(line), "\n")); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, p.line, err)
		}
	}
	if err := p.endCase(); err != nil {
		return nil, err
	}
	return p.cases, nil
}

// parser is a table that is being read.
type parser struct {
	file, group string
	line        int
	cases       []*Case
	now         *Case  // the case that is being read
	last        string // the word that the line before began with
	accept      bool   // the case has a peers line
}

var stepWords = map[string]StepKind{
	"C>": ClientSends, "O>": OriginSends, "C<": ClientGets, "O<": OriginGets, "C~": ClientMayGet, "O~": OriginMayGet,
}

var events = map[string]StepKind{
	"C! fin": ClientEnds, "C! reset": ClientResets,
	"O! fin": OriginEnds, "O! reset": OriginResets, "O! closed": OriginLosesConn,
}

func (p *parser) parseLine(line string) error {
	if strings.TrimSpace(line) == "" {
		p.last = ""
		return nil
	}
	if line[0] == '#' {
		return nil
	}
	word, rest, _ := strings.Cut(line, " ")
	last := p.last
	p.last = word
	switch {
	case word == "group":
		if p.group != "" || rest == "" {
			return errors.New("group: one title a table")
		}
		p.group = rest
		return nil
	case word == "case":
		if err := p.endCase(); err != nil {
			return err
		}
		return p.beginCase(rest)
	case p.now == nil:
		return fmt.Errorf("%q before the first case", word)
	}
	c := p.now
	if kind, ok := stepWords[word]; ok {
		data, err := unescape(rest)
		if err != nil {
			return err
		}
		if n := len(c.Steps); last == word {
			c.Steps[n-1].Data = append(c.Steps[n-1].Data, data...)
		} else {
			c.Steps = append(c.Steps, Step{kind, data, p.line})
		}
		return nil
	}
	switch word {
	case "rfc":
		c.RFC = rest
	case "why":
		c.Why = strings.TrimSpace(c.Why + " " + rest)
	case "off":
		c.Off = rest
	case "---":
		c.Steps = append(c.Steps, Step{Kind: UntilRead, Line: p.line})
	case "C!", "O!":
		kind, ok := events[line]
		if !ok {
			return fmt.Errorf("unknown event %q", line)
		}
		c.Steps = append(c.Steps, Step{Kind: kind, Line: p.line})
	case "then":
		return c.parseThen(rest)
	case "peers":
		p.accept = true
		return c.Accept.parse(rest)
	case "need":
		kind, value, _ := strings.Cut(rest, " ")
		if !slices.Contains(needKinds, kind) {
			return fmt.Errorf("need: unknown kind %q", kind)
		}
		c.Accept.Needs = append(c.Accept.Needs, Need{kind, value})
	default:
		return fmt.Errorf("unknown word %q", word)
	}
	return nil
}

func (p *parser) beginCase(name string) error {
	if p.group == "" || name == "" {
		return errors.New("a case needs a name, and a group before it")
	}
	for _, c := range p.cases {
		if c.Name == name {
			return fmt.Errorf("a second case with the name %q", name)
		}
	}
	p.now = &Case{Group: p.group, File: p.file, Line: p.line, Name: name}
	p.accept = false
	return nil
}

// endCase checks the case that has been read.
func (p *parser) endCase() error {
	c := p.now
	if c == nil {
		return nil
	}
	p.now = nil
	fail := func(what string) error { return fmt.Errorf("%s:%d: case %q: %s", c.File, c.Line, c.Name, what) }
	switch {
	case c.RFC == "":
		return fail("no rfc line")
	case len(c.Then) == 0:
		return fail("no then line")
	}
	sends, gets, exact := false, false, false
	for _, s := range c.Steps {
		switch s.Kind {
		case ClientSends:
			sends = true
		case OriginGets:
			gets = true
		case OriginSends, OriginEnds, OriginResets:
			if !gets {
				return fail("the origin does something before it gets a request")
			}
			exact = true
		case ClientGets:
			if c.Then[0].Statuses != nil {
				return fail("C< says what the client gets, and so does then")
			}
		}
	}
	if !sends {
		return fail("the client sends nothing")
	}
	c.answered = gets && !exact
	if !p.accept {
		own := len(c.Then[0].Statuses) > 0 && c.Then[0].Statuses[len(c.Then[0].Statuses)-1] >= 400
		c.Accept.Forward = true
		c.Accept.Refuse = own && !c.answered
	}
	p.cases = append(p.cases, c)
	return nil
}

func (c *Case) parseThen(text string) error {
	for way := range strings.SplitSeq(text, " or ") {
		var e Ending
		words := strings.Fields(way)
		ended := false
		for i := 0; i < len(words); i++ {
			switch w := words[i]; w {
			case "none":
				e.Statuses = []int{}
			case "cut":
				e.Cut = true
			case "kept", "closed", "reset":
				ended = true
				e.End = map[string]End{"kept": Kept, "closed": Closed, "reset": Reset}[w]
			case "origin":
				if i++; i == len(words) || words[i] != "kept" && words[i] != "closed" {
					return errors.New("then: origin kept, or origin closed")
				}
				e.Origin = words[i]
			default:
				n, err := strconv.Atoi(w)
				if err != nil || n < 100 || n > 999 {
					return fmt.Errorf("then: %q is no status, nor cut, kept, closed, reset, origin", w)
				}
				e.Statuses = append(e.Statuses, n)
			}
		}
		if !ended {
			return fmt.Errorf("then: %q does not say kept, closed or reset", way)
		}
		c.Then = append(c.Then, e)
	}
	return nil
}

func (a *Accept) parse(text string) error {
	word, rest, _ := strings.Cut(text, " ")
	switch {
	case word == "refuse" && rest == "":
		a.Refuse = true
	case word == "forward" && rest == "":
		a.Forward = true
	case word == "either" && rest == "":
		a.Refuse, a.Forward = true, true
	case word == "answer" && rest == "":
		a.Refuse, a.Answer = true, true
	case word == "any" && rest == "":
		a.Refuse, a.Answer, a.Forward = true, true, true
	case word == "skip" && rest != "":
		a.Skip = rest
	default:
		return fmt.Errorf("peers: refuse, forward, either, answer, any, or skip and a reason, not %q", text)
	}
	return nil
}

// maxRepeat bounds what one pair of braces stands for, in bytes.
const maxRepeat = 1 << 20

// unescape returns the bytes that a line of a table stands for.
func unescape(s string) ([]byte, error) {
	b := []byte{}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{':
			end := strings.IndexByte(s[i:], '}')
			if end < 0 {
				return nil, errors.New("a brace that is not closed")
			}
			inner := s[i+1 : i+end]
			i += end
			if host, ok := strings.CutPrefix(inner, "forwarded "); ok {
				b = append(b, Forwarded(host)...)
				continue
			}
			times, what, ok := strings.Cut(inner, "*")
			n, err := strconv.Atoi(times)
			if !ok || err != nil || n < 0 || n > maxRepeat || n*len(what) > maxRepeat {
				return nil, fmt.Errorf("{%s}: neither a number, * and text, nor forwarded and a host", inner)
			}
			unit, err := unescape(what + `\`)
			if err != nil {
				return nil, err
			}
			b = append(b, bytes.Repeat(unit, n)...)
		case '\\':
			if i++; i == len(s) {
				return b, nil
			}
			c, width, err := escape(s[i:])
			if err != nil {
				return nil, err
			}
			b = append(b, c)
			i += width - 1
		default:
			b = append(b, s[i])
		}
	}
	return append(b, "\r\n"...), nil
}

// escape returns the byte that s begins with, behind a backslash, and the width of its name.
func escape(s string) (c byte, width int, err error) {
	switch s[0] {
	case 'r':
		return '\r', 1, nil
	case 'n':
		return '\n', 1, nil
	case 't':
		return '\t', 1, nil
	case 's':
		return ' ', 1, nil
	case '0':
		return 0, 1, nil
	case '\\', '{':
		return s[0], 1, nil
	case 'x':
		if len(s) >= 3 {
			if n, err := strconv.ParseUint(s[1:3], 16, 8); err == nil {
				return byte(n), 3, nil
			}
		}
	}
	return 0, 0, fmt.Errorf("unknown escape %q", `\`+s[:1])
}

// Forwarded returns the lines that millrace adds to a request for host from 127.0.0.1, without the last one's end.
func Forwarded(host string) string {
	return "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Host: " + host + "\r\nX-Forwarded-Host: " + host
}
