package configs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Two parsers read the file. BurntSushi/toml decodes it and knows the rules about tables and duplicate keys, but
// does not say where a value was. pelletier/go-toml's syntax tree has every position and no values of interest.
// What only one of them takes for TOML is not a configuration: nobody should have to know which one was right.

// source is the text of a file.
type source struct {
	name  string
	data  []byte // without a byte order mark
	lines []int  // offset of each line's first byte
}

func newSource(name string, data []byte) *source {
	// Clipped, because go-toml finds the offset of a slice by its capacity.
	s := &source{name: name, data: slices.Clip(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))), lines: []int{0}}
	for i, c := range s.data {
		if c == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// line returns the number of the line that an offset is in, from 0.
func (s *source) line(at int) int {
	return sort.SearchInts(s.lines, at+1) - 1
}

// position turns an offset into a line and a column, both from 1; the column counts characters. The place of an
// offset inside of a character, where a parser may well give up, is that character's.
func (s *source) position(at int) (line, column int) {
	at = max(0, min(at, len(s.data)))
	n := s.line(at)
	column = 1
	for next := s.lines[n]; next < at; column++ {
		_, size := utf8.DecodeRune(s.data[next:])
		if next += size; next > at {
			break
		}
	}
	return n + 1, column
}

// at is a place as "file:line:column".
func (s *source) at(p place) string {
	line, column := s.position(p.at)
	return fmt.Sprintf("%s:%d:%d", s.name, line, column)
}

// syntaxError is where a parser gave up, and why.
type syntaxError struct {
	at      int
	message string
}

// wordsBytes bounds the files that the second parser is asked about once the first has refused them. It follows
// brackets as deep as they go, some hundred bytes of stack each, where go-toml stops at 10000.
const wordsBytes = 256 << 10

// read parses the file into tables and where everything in them stands.
func (s *source) read() (tree map[string]any, positions *node, failed *syntaxError) {
	positions, failed = s.index()
	if failed == nil {
		tree, failed = s.decode()
		return tree, positions, failed
	}
	if len(s.data) <= wordsBytes {
		// go-toml is exact about the place, BurntSushi has the better words, and may have stopped earlier.
		if _, also := s.decode(); also != nil && s.line(also.at) < s.line(failed.at) {
			return nil, nil, also
		} else if also != nil && s.line(also.at) == s.line(failed.at) {
			failed.message = also.message
		}
	}
	failed.message += s.quoteHint(failed.at)
	return nil, nil, failed
}

// decode reads the values.
func (s *source) decode() (tree map[string]any, failed *syntaxError) {
	defer func() {
		// The decoder panics where its lexer and its parser disagree. That is its mistake, but a reload must
		// not end the running process for it.
		if r := recover(); r != nil {
			tree, failed = nil, &syntaxError{0, fmt.Sprintf("not understood: %v", r)}
		}
	}()
	if _, err := toml.Decode(string(s.data), &tree); err != nil {
		failed = &syntaxError{0, strings.TrimPrefix(err.Error(), "toml: ")}
		if parse, ok := errors.AsType[toml.ParseError](err); ok {
			failed = &syntaxError{parse.Position.Start, lowerFirst(parse.Message)}
		}
		return nil, failed
	}
	return tree, nil
}

func lowerFirst(s string) string {
	if strings.HasPrefix(s, "TOML") {
		return s
	}
	return strings.ToLower(s[:min(1, len(s))]) + s[min(1, len(s)):]
}

// quoteHint is for the mistakes of whoever comes from a file without quotes, or writes a pattern.
func (s *source) quoteHint(at int) string {
	at = max(0, min(at, len(s.data)))
	if at < len(s.data) && s.data[at] == '\\' {
		return `; in single quotes a backslash is only itself: '\.'`
	}
	line := s.data[s.lines[s.line(at)]:]
	if end := bytes.IndexByte(line, '\n'); end >= 0 {
		line = line[:end]
	}
	if unquoted.Match(line) {
		return `; text goes in quotes, such as "8s"`
	}
	return ""
}

// unquoted matches a value that begins like a word, or like a number and then is not one.
var unquoted = regexp.MustCompile(`^[^="']*=\s*([A-Za-z/:]|[0-9]+[A-Za-z.:])`)

// node is where a key and its value stand, and what is below it. A table of the file has a node for each key, an
// array one for each element.
type node struct {
	keyAt, at int // offsets of the key and of the value; both of the key in a table's header
	keys      map[string]*node
	elements  []*node
}

// below returns the node of a key. Should the two parsers ever differ over what is in a table, positions are those
// of the table.
func (n *node) below(key string) *node {
	if child := n.keys[key]; child != nil {
		return child
	}
	return &node{keyAt: n.keyAt, at: n.at}
}

// element returns the node of an array's element.
func (n *node) element(i int) *node {
	if i < len(n.elements) {
		return n.elements[i]
	}
	return &node{keyAt: n.keyAt, at: n.at}
}

// inOrder sorts keys by where they stand.
func (n *node) inOrder(keys []string) {
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(n.below(a).keyAt, n.below(b).keyAt), cmp.Compare(a, b))
	})
}

// make returns the node of a key, which is at offset at if it is new.
func (n *node) make(key string, at int) *node {
	child := n.keys[key]
	if child == nil {
		child = &node{keyAt: at, at: at}
		if n.keys == nil {
			n.keys = make(map[string]*node)
		}
		n.keys[key] = child
	}
	return child
}

// index finds every key and value.
func (s *source) index() (*node, *syntaxError) {
	var p unstable.Parser
	p.Reset(s.data)
	root := new(node)
	table := root
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = root
			for it := e.Key(); it.Next(); {
				key := it.Node()
				table = table.make(string(key.Data), int(key.Raw.Offset))
				if e.Kind == unstable.ArrayTable && it.IsLast() {
					table.elements = append(table.elements, &node{keyAt: int(key.Raw.Offset), at: int(key.Raw.Offset)})
				}
				if last := len(table.elements) - 1; last >= 0 {
					table = table.elements[last]
				}
			}
		case unstable.KeyValue:
			s.indexKey(table, e)
		}
	}
	err := p.Error()
	if err == nil {
		return root, nil
	}
	failed := &syntaxError{len(s.data), err.Error()}
	if at, ok := errors.AsType[*unstable.ParserError](err); ok && at.Highlight != nil {
		failed.at = int(p.Range(at.Highlight).Offset)
	}
	return nil, failed
}

func (s *source) indexKey(table *node, keyValue *unstable.Node) {
	end := 0
	for it := keyValue.Key(); it.Next(); {
		key := it.Node()
		table = table.make(string(key.Data), int(key.Raw.Offset))
		end = int(key.Raw.Offset + key.Raw.Length)
	}
	// An array's node has no position of its own, but nothing besides blanks is between a key, the "=" and the value.
	for end < len(s.data) && strings.IndexByte(" \t=", s.data[end]) >= 0 {
		end++
	}
	table.at = end
	s.indexValue(table, keyValue.Value())
}

// indexValue descends into arrays and inline tables; n is the node of the value.
func (s *source) indexValue(n *node, value *unstable.Node) {
	switch value.Kind {
	case unstable.Array:
		for it := value.Children(); it.Next(); {
			element := it.Node()
			at := n.at
			if element.Kind != unstable.Array {
				at = int(element.Raw.Offset)
			}
			child := &node{keyAt: at, at: at}
			s.indexValue(child, element)
			n.elements = append(n.elements, child)
		}
	case unstable.InlineTable:
		for it := value.Children(); it.Next(); {
			s.indexKey(n, it.Node())
		}
	}
}
