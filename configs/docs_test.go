package configs

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const manual = "../docs/configuration.md"

// chapter is a heading of the manual, such as "limits.header_bytes" or "[route.timeouts]", and what is below it.
type chapter struct{ title, text string }

func chapters(t *testing.T) []chapter {
	t.Helper()
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	headings := regexp.MustCompile("(?m)^##+ `(.*)`$")
	var list []chapter
	at := headings.FindAllStringSubmatchIndex(string(text), -1)
	for i, m := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		list = append(list, chapter{string(text[m[2]:m[3]]), string(text[m[1]:end])})
	}
	return list
}

var defaultLine = regexp.MustCompile("(?m)^- Default: (.+)$")

func TestEveryKeyIsInTheManual(t *testing.T) {
	list := chapters(t)
	find := func(title string) (chapter, bool) {
		i := slices.IndexFunc(list, func(c chapter) bool { return c.title == title })
		if i < 0 {
			return chapter{}, false
		}
		c := list[i]
		list[i].title = "" // seen
		return c, true
	}
	defaults := defaultTexts()
	own := make(map[string][]string) // table with the keys of another: its keys
	for _, k := range keys() {
		if strings.HasSuffix(k.table, ".timeouts]") || strings.HasSuffix(k.table, ".http_parseopts]") {
			own[k.table] = append(own[k.table], "`"+k.name+"`")
			continue
		}
		c, ok := find(k.path)
		if !ok {
			t.Errorf("%s has no chapter, or two", k.path)
			continue
		}
		m := defaultLine.FindStringSubmatch(c.text)
		switch want, has := defaults[k.path]; {
		case m == nil:
			t.Errorf("%s: no line for the default", k.path)
		case has && !sameValue(strings.Trim(m[1], "`"), want):
			t.Errorf("%s: the manual has %s for the default, the program `%s`", k.path, m[1], want)
		case !has && strings.HasPrefix(m[1], "`"):
			t.Errorf("%s: the manual has %s for the default, the program none", k.path, m[1])
		}
		if !strings.Contains(c.text, "\n- Allowed: ") {
			t.Errorf("%s: no line for the allowed values", k.path)
		}
		if !strings.Contains(c.text, "```toml") || !regexp.MustCompile(`(?m)^`+k.name+` = `).MatchString(c.text) {
			t.Errorf("%s: no example", k.path)
		}
	}
	for table, names := range own {
		c, ok := find(table)
		if line := "\n- Keys: " + strings.Join(names, ", ") + "\n"; !ok || !strings.Contains(c.text, line) {
			t.Errorf("%s: no line %s", table, line)
		}
	}
	for _, c := range list {
		if c.title != "" && !strings.HasPrefix(c.title, "[") {
			t.Errorf("the manual has a chapter about %s, which is no key", c.title)
		}
	}
}

// defaultTexts returns the default of each key that has one, as the file would have it.
func defaultTexts() map[string]string {
	f := new(file)
	f.Listeners.add()
	f.Routes.add()
	f.Tests.add()
	f.Pages.add()
	f.Backends.items = append(f.Backends.items, new(backend))
	f.Backends.items[0].Server.add()
	f.setDefaults()
	texts := make(map[string]string)
	for path, v := range leaves("", reflect.ValueOf(f).Elem()) {
		switch v := v.(type) {
		case *value[int64]:
			put(texts, path, v, decimal)
		case *value[bool]:
			put(texts, path, v, func(b bool) string { return describe(b) })
		case *value[protocols]:
			put(texts, path, v, func(p protocols) string { return describe(p.any) })
		case *value[string]:
			put(texts, path, v, quoted)
		case *value[time.Duration]:
			put(texts, path, v, func(d time.Duration) string { return quoted(formatDuration(d)) })
		case *value[byteCount]:
			put(texts, path, v, func(n byteCount) string { return quoted(formatSize(n)) })
		}
	}
	return texts
}

// sameValue reports whether two texts are the same value: "60s" is "1m".
func sameValue(a, b string) bool {
	da, wrongA := decodeDuration(strings.Trim(a, `"`))
	db, wrongB := decodeDuration(strings.Trim(b, `"`))
	return a == b || wrongA == "" && wrongB == "" && da == db
}

func put[T any](texts map[string]string, path string, v *value[T], format func(T) string) {
	if v.ok {
		texts[path] = format(v.v)
	}
}

// leaves returns the values of a table of the model, by path; of arrays, those of the first element.
func leaves(path string, table reflect.Value) map[string]any {
	found := make(map[string]any)
	for _, f := range fields(table.Type()) {
		below := join(path, f.name)
		v := table.Field(f.index)
		if items := v.FieldByName("items"); v.Kind() == reflect.Struct && items.IsValid() {
			if v.FieldByName("names").IsValid() {
				below += ".NAME"
			}
			if items.Len() == 0 {
				continue
			}
			v = reflect.NewAt(items.Index(0).Type().Elem(), items.Index(0).UnsafePointer()).Elem()
		} else if _, ok := v.Addr().Interface().(interface{ base() *section }); !ok {
			found[below] = v.Addr().Interface()
			continue
		}
		for p, leaf := range leaves(below, v) {
			found[p] = leaf
		}
	}
	return found
}

func TestExamplesInTheManualAreRight(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	// What an example leaves out, because it is about something else, is no problem of it.
	incomplete := regexp.MustCompile(`: is missing: |is not the name of a (backend|listener)|is not available in this version|is not an (interface|address) of this machine|cannot be read: no such file`)
	blocks := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatchIndex(string(text), -1)
	for _, b := range blocks {
		example := text[b[2]:b[3]]
		line := strings.Count(string(text[:b[2]]), "\n")
		_, err := Parse(t.Context(), manual, example, hosts{"app.internal": {"10.0.0.9"}, "cluster.internal": {"10.0.0.7"}, "srv:_http._tcp.api.internal": {"10.0.0.9"}})
		if err == nil {
			continue
		}
		for _, p := range err.(Problems) {
			if !incomplete.MatchString(p.String()) {
				p.Line += line
				t.Error(p)
			}
		}
	}
	if len(blocks) < len(keys())/2 {
		t.Errorf("only %d examples", len(blocks))
	}
}

func TestReferenceFileHasEveryKeyAtItsDefault(t *testing.T) {
	const name = "millrace.toml"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	r := &report{src: newSource(name, text)}
	f := decode(r)
	if f == nil || len(r.problems) > 0 {
		t.Fatal(sorted(r.problems))
	}
	defaults := defaultTexts()
	for path, leaf := range leaves("", reflect.ValueOf(f).Elem()) {
		want, has := defaults[path]
		if !has {
			continue
		}
		given, text := givenText(leaf)
		if given && !sameValue(text, want) {
			t.Errorf("%s is %s, the default is %s", path, text, want)
		}
		if !given && path != "listener.name" && !strings.HasPrefix(path, "backend.NAME.server.") && !strings.HasPrefix(path, "backend.NAME.health.") &&
			!strings.HasPrefix(path, "backend.NAME.sticky_cookie.") && !strings.HasPrefix(path, "backend.NAME.ejection.") {
			t.Errorf("%s is not given", path)
		}
	}
	// Keys without a default, or of which the file can have only one, are there as comments.
	section, lines := "", make(map[string]bool)
	header := regexp.MustCompile(`^(?:# )?(\[\[?[a-z_.]+\]\]?)$`)
	key := regexp.MustCompile(`^(?:# )?([a-z0-9_]+) = `)
	for line := range strings.Lines(string(text)) {
		if m := header.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			section = strings.Replace(m[1], "backend.app", "backend.NAME", 1)
		} else if m := key.FindStringSubmatch(line); m != nil {
			lines[section+" "+m[1]] = true
		}
	}
	for _, k := range keys() {
		if !lines[k.table+" "+k.name] {
			t.Errorf("%s: no line in %s", k.path, name)
		}
	}
}

func givenText(leaf any) (bool, string) {
	switch v := leaf.(type) {
	case *value[int64]:
		return v.given, v.text
	case *value[bool]:
		return v.given, v.text
	case *value[protocols]:
		return v.given, v.text
	case *value[string]:
		return v.given, v.text
	case *value[time.Duration]:
		return v.given, v.text
	case *value[byteCount]:
		return v.given, v.text
	}
	return false, ""
}
