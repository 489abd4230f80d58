package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Problem is one thing that is wrong with a configuration, or that is hardly meant.
type Problem struct {
	File string
	// Line and Column count from 1, Column in characters; both are 0 when the problem is the file as a whole.
	Line, Column int
	// Key is the path of the key as the file spells it, such as "route[2].timeouts.connect", with the blocks of
	// an array counted from 0. It is empty when the file is not TOML.
	Key string
	// Message is one line: what is wrong, the value, and what is allowed.
	Message string

	cause error
}

// String returns the problem as one line, file:line:column: key: message.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Error returns what String does.
func (p Problem) Error() string { return p.String() }

// Unwrap returns the error behind the problem, such as [fs.ErrNotExist], or nil.
func (p Problem) Unwrap() error { return p.cause }

// Problems is every problem of a file, in order of position.
type Problems []Problem

// Error returns all problems, one a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the problems as errors.
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

// report collects what the steps find.
type report struct {
	src      *source
	problems []found
	warnings []found
}

// found is a problem with the offset that it is sorted by.
type found struct {
	at int
	Problem
}

// value reports a problem with the value at p.
func (r *report) value(p place, format string, args ...any) {
	r.problems = append(r.problems, r.found(p.at, p.key, format, args...))
}

// key reports a problem with the key at p: that it is there, or what is missing below it.
func (r *report) key(p place, format string, args ...any) {
	r.problems = append(r.problems, r.found(p.keyAt, p.key, format, args...))
}

// missing reports that the table at p lacks a key.
func (r *report) missing(p place, key, format string, args ...any) {
	r.problems = append(r.problems, r.found(p.keyAt, join(p.key, key), format, args...))
}

// warn reports something about p that is allowed.
func (r *report) warn(p place, format string, args ...any) {
	r.warnings = append(r.warnings, r.found(p.at, p.key, format, args...))
}

func (r *report) found(at int, key, format string, args ...any) found {
	line, column := r.src.position(at)
	message := oneLine(fmt.Sprintf(format, args...))
	return found{at, Problem{File: r.src.name, Line: line, Column: column, Key: key, Message: message}}
}

// sorted returns the problems in order of position, those of one position in the order in which they were found.
func sorted(list []found) Problems {
	if len(list) == 0 {
		return nil
	}
	slices.SortStableFunc(list, func(a, b found) int { return cmp.Compare(a.at, b.at) })
	problems := make(Problems, len(list))
	for i, f := range list {
		problems[i] = f.Problem
	}
	return problems
}

// oneLine keeps what a file or a library put into a message from breaking the line, or the terminal, or from being
// a line that nobody reads.
func oneLine(s string) string {
	const most = 1000
	var b strings.Builder
	for _, c := range s {
		switch {
		case b.Len() >= most:
			return b.String() + "..."
		case unicode.IsPrint(c):
			b.WriteRune(c)
		default:
			fmt.Fprintf(&b, `\u%04x`, c)
		}
	}
	return b.String()
}

// quoted is a value in a message: as a TOML string would be written, and cut if it is long.
func quoted(s string) string {
	const most = 80
	n := 0
	for i := range s {
		if n++; n > most {
			return fmt.Sprintf("%q...", s[:i])
		}
	}
	return fmt.Sprintf("%q", s)
}

// quotedList is a list of values in a message: "a", "b" or "c".
func quotedList(words []string) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = quoted(w)
	}
	return orList(list)
}

// orList is a list in a message: a, b or c.
func orList(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	last := len(list) - 1
	return strings.Join(list[:last], ", ") + " or " + list[last]
}

// nearest returns the candidate that word was most likely meant to be: the one the fewest edits away, if they are
// few for the length of the word.
func nearest(word string, candidates []string) (string, bool) {
	const longest = 64 // no name of ours is as long, and the time grows with the product of the lengths
	if len(word) < 2 || len(word) > longest {
		return "", false
	}
	word = plain(word)
	best, fewest := "", max(1, len(word)/3)+1
	for _, c := range candidates {
		if len(c) > longest {
			continue
		}
		if n := edits(word, plain(c)); n < fewest {
			best, fewest = c, n
		}
	}
	return best, best != ""
}

// edits is the number of bytes to insert, delete, replace or swap with their neighbour to make b of a (the optimal
// string alignment distance).
func edits(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
