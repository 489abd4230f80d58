// Command compare plays the cases of package conformance against millrace and against other proxies, and writes what
// comes of it as a page in Markdown.
//
//	go run ./internal/conformance/compare -millrace bin/millrace -o docs/conformance.md
//
// It exits with 1 if millrace fails a case. A proxy that is not installed is left out, and the page says so.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/internal/conformance"
)

func main() {
	binary := flag.String("millrace", "bin/millrace", "the binary of millrace")
	out := flag.String("o", "docs/conformance.md", "the page to write")
	only := flag.String("peers", "", "proxies to compare with, divided by commas; all that are installed if empty")
	group := flag.String("group", "", "play only the groups whose title contains this, and write no page")
	flag.Parse()
	ok, err := run(*binary, *out, *only, *group)
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(1)
	}
}

// result is what came of all cases with one proxy.
type result struct {
	name, version string
	failed        map[*conformance.Case]error
	played        int // performances
}

func run(binary, out, only, group string) (ok bool, err error) {
	cases, err := conformance.Load()
	if err != nil {
		return false, err
	}
	cases = slices.DeleteFunc(cases, func(c *conformance.Case) bool {
		return c.Off != "" || !strings.Contains(strings.ToLower(c.Group), strings.ToLower(group))
	})
	var results []*result
	var missing []string
	for i, s := range conformance.Servers(binary) {
		if i > 0 && only != "" && !slices.Contains(strings.Split(only, ","), s.Name) {
			continue
		}
		version, err := s.Version()
		if err != nil {
			if i == 0 {
				return false, err
			}
			fmt.Fprintf(os.Stderr, "compare: %s is left out: %v\n", s.Name, err)
			missing = append(missing, s.Name)
			continue
		}
		start := time.Now()
		r, err := playAll(s, i == 0, cases)
		if err != nil {
			return false, err
		}
		r.version = version
		results = append(results, r)
		fmt.Printf("%-28s %4d of %d cases passed, played %d times in %v\n", version, passes(r, cases), total(i, cases), r.played,
			time.Since(start).Round(time.Second))
	}
	for _, c := range cases {
		for _, r := range results {
			if err := r.failed[c]; err != nil && (group != "" || r == results[0]) {
				fmt.Printf("%s: %v: %v\n", r.name, c, err)
			}
		}
	}
	if group == "" && only == "" {
		if err := os.WriteFile(out, []byte(page(cases, results, missing)), 0o644); err != nil {
			return false, err
		}
	}
	return len(results[0].failed) == 0, nil
}

// played reports whether a case is played against the proxy in a certain column.
func played(column int, c *conformance.Case) bool { return column == 0 || c.Accept.Skip == "" }

func total(column int, cases []*conformance.Case) (n int) {
	for _, c := range cases {
		if played(column, c) {
			n++
		}
	}
	return n
}

func passes(r *result, cases []*conformance.Case) (n int) {
	column := 1
	if r.name == "millrace" {
		column = 0
	}
	for _, c := range cases {
		if played(column, c) && r.failed[c] == nil {
			n++
		}
	}
	return n
}

// runners is how many cases are played at a time.
const runners = 16

// attempts is how often another proxy has to fail a case before it counts: timing is no one's fault.
const attempts = 3

// playAll plays the cases against a proxy: millrace in every delivery, others whole.
func playAll(s *conformance.Server, strict bool, cases []*conformance.Case) (*result, error) {
	dir, err := os.MkdirTemp("", "conformance-"+s.Name+"-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // servers that drop root's rights still have to read it
		return nil, err
	}
	rs := make([]*conformance.Runner, runners)
	for i := range rs {
		if rs[i], err = conformance.NewRunner(); err != nil {
			return nil, err
		}
		defer rs[i].Close()
	}
	p, err := s.Start(dir, rs)
	if err != nil {
		return nil, err
	}
	res := &result{name: s.Name, failed: make(map[*conformance.Case]error)}
	var mu sync.Mutex
	var playing sync.WaitGroup
	work := make(chan *conformance.Case)
	for _, r := range rs {
		playing.Go(func() {
			for c := range work {
				n, err := play(r, c, strict)
				mu.Lock()
				res.played += n
				if err != nil {
					res.failed[c] = err
				}
				mu.Unlock()
			}
		})
	}
	for _, c := range cases {
		if strict || c.Accept.Skip == "" {
			work <- c
		}
	}
	close(work)
	playing.Wait()
	if err := p.Stop(); err != nil {
		return nil, err
	}
	return res, nil
}

// play plays a case, and returns how often it has and what was wrong.
func play(r *conformance.Runner, c *conformance.Case, strict bool) (n int, err error) {
	if strict {
		for _, d := range c.Deliveries(1) {
			n++
			if err := r.Play(c, d); err != nil {
				return n, err
			}
		}
		return n, nil
	}
	for range attempts {
		n++
		o, failed := r.Observe(c)
		if failed != nil {
			return n, failed
		}
		if err = o.Judge(); err == nil {
			return n, nil
		}
	}
	return n, err
}

// page writes the report.
func page(cases []*conformance.Case, results []*result, missing []string) string {
	var b strings.Builder
	b.WriteString(introduction)
	b.WriteString("\n| group | cases |")
	for _, r := range results {
		b.WriteString(" " + r.version + " |")
	}
	b.WriteString("\n|---|---:|" + strings.Repeat("---:|", len(results)) + "\n")
	row := func(title string, in []*conformance.Case) {
		fmt.Fprintf(&b, "| %s | %d |", title, len(in))
		for i, r := range results {
			if n := total(i, in); n == 0 {
				b.WriteString(" - |")
			} else {
				fmt.Fprintf(&b, " %d / %d |", passes(r, in), n)
			}
		}
		b.WriteString("\n")
	}
	groups := byGroup(cases)
	for _, g := range groups {
		row(g[0].Group, g)
	}
	row("**all**", cases)
	if len(missing) > 0 {
		fmt.Fprintf(&b, "\nNot installed, and so not in the table: %s.\n", strings.Join(missing, ", "))
	}
	b.WriteString(details)
	for _, g := range groups {
		fmt.Fprintf(&b, "\n### %s\n\n", g[0].Group)
		none := true
		for _, c := range g {
			if lines := differences(c, results); lines != "" {
				none = false
				b.WriteString(lines)
			}
		}
		if none {
			b.WriteString("Nothing.\n")
		}
	}
	return b.String()
}

// differences says what became of a case with each proxy that fails it.
func differences(c *conformance.Case, results []*result) string {
	var names []string
	said := make(map[string][]string) // proxies by what they do
	for _, r := range results {
		if err := r.failed[c]; err != nil {
			what := err.Error()
			if said[what] == nil {
				names = append(names, what)
			}
			said[what] = append(said[what], r.name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "- **%s** (RFC %s).", markdown(c.Name), c.RFC)
	if c.Why != "" {
		b.WriteString(" " + markdown(c.Why))
	}
	b.WriteString("\n")
	for _, what := range names {
		fmt.Fprintf(&b, "  - %s: %s\n", strings.Join(said[what], ", "), markdown(what))
	}
	return b.String()
}

// byGroup divides the cases, in the order of their tables' titles.
func byGroup(cases []*conformance.Case) (groups [][]*conformance.Case) {
	sorted := slices.Clone(cases)
	slices.SortStableFunc(sorted, func(a, b *conformance.Case) int { return cmp.Compare(a.Group, b.Group) })
	for i, c := range sorted {
		if i == 0 || c.Group != sorted[i-1].Group {
			groups = append(groups, nil)
		}
		n := len(groups) - 1
		groups[n] = append(groups[n], c)
	}
	return groups
}

// markdown escapes what Markdown would take for its own.
func markdown(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "`", "\\`", "<", "&lt;", "|", `\|`, "[", `\[`, "#", `\#`, "~", `\~`).Replace(s)
}

const introduction = `# Conformance

What proxies do with requests and responses at the edges of RFC 9110 and RFC 9112, and beyond them. ` + "`make conformance`" + `
plays the cases of internal/conformance/testdata and writes this page; it is not edited by hand.

millrace is held to one answer for each case, byte for byte, the one that [behaviour.md](behaviour.md) promises: with
the bytes whole, one at a time, and cut in two at every place. The others are held to whatever the RFCs leave open to
them, with the bytes whole. Most malformed requests may be refused in any way, or passed on in a form that can be read in
one way only; it counts what the origin gets, not how nice the answer is. Only where a paragraph says MUST is there no
choice. Headings, fields, limits and timeouts that are a matter of configuration are not compared. The configurations are
those in internal/conformance/peers, the smallest that make a reverse proxy of each.

This is not a list of holes. What a proxy passes on becomes dangerous together with an origin that reads it in
another way; alone it only says who leaves the question to the next.
`

const details = `
## What the others do otherwise

Each case that a proxy fails, with the paragraph that decides and what the proxy did. The words of a table say what the
client sends; the cases themselves stand in internal/conformance/testdata under the same names. A case that every other
proxy fails was read against its paragraph twice; the argument stands behind its name.
`
