package remap

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"millrace/httpparse"
)

// Template is a text with variables. The zero value is the empty text.
//
// A variable is $name or ${name}; $0 to $9 are the groups of a pattern, and $$ is a dollar sign.
type Template struct {
	text  string
	parts []part
}

// String returns the text that the template was parsed from.
func (t *Template) String() string { return t.text }

// part is a piece of text, or a variable.
type part struct {
	variable variable
	text     string // of a text; of a header, its name in lower case
	group    int
}

type variable uint8

const (
	varText variable = iota
	varGroup
	varClientAddr
	varClientPort
	varScheme
	varHost
	varMethod
	varTarget
	varPath
	varQuery
	varRequestID
	varListenerAddr
	varServer
	varStatus
	varHeader
)

// variables are those with a name of their own. Those for one header are headerVariable and its name.
var variables = []struct {
	name     string
	variable variable
}{
	{"client_addr", varClientAddr},
	{"client_port", varClientPort},
	{"scheme", varScheme},
	{"host", varHost},
	{"method", varMethod},
	{"target", varTarget},
	{"path", varPath},
	{"query", varQuery},
	{"request_id", varRequestID},
	{"listener_addr", varListenerAddr},
	{"server", varServer},
	{"status", varStatus},
}

const headerVariable = "http_"

// TemplateScope says which variables a template may have.
type TemplateScope struct {
	// Groups is the number of the last group that there is; -1: there is no pattern, so that not even $0 is one.
	Groups int
	// Response allows what is known only when there is a response.
	Response bool
	// GroupsOnly allows groups and nothing else.
	GroupsOnly bool
}

// TemplateError says what is wrong with a template.
type TemplateError struct {
	// Offset is where in the text, in bytes.
	Offset  int
	Message string
}

func (e *TemplateError) Error() string { return e.Message }

// ParseTemplate parses a template. The error is a *[TemplateError].
func ParseTemplate(text string, scope TemplateScope) (*Template, error) {
	t := &Template{text: text}
	for at := 0; at < len(text); {
		dollar := strings.IndexByte(text[at:], '$')
		if dollar < 0 {
			t.addText(text[at:])
			break
		}
		t.addText(text[at : at+dollar])
		at += dollar
		if strings.HasPrefix(text[at:], "$$") {
			t.addText("$")
			at += 2
			continue
		}
		name, length := variableName(text[at:])
		if length == 0 {
			return nil, &TemplateError{at, `"$" begins a variable: write "$$" for a dollar sign`}
		}
		p, wrong := scope.variable(name)
		if wrong != "" {
			return nil, &TemplateError{at, wrong}
		}
		t.parts = append(t.parts, p)
		at += length
	}
	return t, nil
}

func (t *Template) addText(s string) {
	if s == "" {
		return
	}
	if n := len(t.parts); n > 0 && t.parts[n-1].variable == varText {
		t.parts[n-1].text += s
		return
	}
	t.parts = append(t.parts, part{text: s})
}

// variableName returns the name that text, which begins with a dollar sign, has behind it, and how long that is with
// all that belongs to it; 0 if there is none.
func variableName(text string) (name string, length int) {
	if strings.HasPrefix(text, "${") {
		end := strings.IndexByte(text, '}')
		if end < 0 {
			return "", 0
		}
		return text[2:end], end + 1
	}
	if len(text) > 1 && isDigit(text[1]) {
		return text[1:2], 2 // one digit: $10 is the first group and a zero
	}
	end := 1
	for end < len(text) && (text[end] == '_' || isDigit(text[end]) || 'a' <= text[end]|0x20 && text[end]|0x20 <= 'z') {
		end++
	}
	if end == 1 {
		return "", 0
	}
	return text[1:end], end
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func (s TemplateScope) variable(name string) (p part, wrong string) {
	if len(name) == 1 && isDigit(name[0]) {
		group := int(name[0] - '0')
		switch {
		case s.Groups < 0:
			return p, fmt.Sprintf("$%s is a group of a pattern, and there is none", name)
		case group > s.Groups:
			return p, fmt.Sprintf("there is no group $%s: the pattern has %d", name, s.Groups)
		}
		return part{variable: varGroup, group: group}, ""
	}
	if s.GroupsOnly {
		return p, fmt.Sprintf("$%s is not allowed here: allowed are the groups of a pattern, $0 to $9", name)
	}
	for _, v := range variables {
		switch {
		case v.name != name:
		case v.variable == varStatus && !s.Response:
			return p, "$status is not known yet when a request is sent"
		default:
			return part{variable: v.variable}, ""
		}
	}
	if header, ok := strings.CutPrefix(name, headerVariable); ok && header != "" {
		if strings.EqualFold(header, "host") {
			return part{variable: varHost}, "" // Host does not count in absolute-form (RFC 9112, 3.2.2)
		}
		return part{variable: varHeader, text: strings.ToLower(strings.ReplaceAll(header, "_", "-"))}, ""
	}
	return p, fmt.Sprintf("there is no variable $%s: there are %s", name, s.names())
}

// names lists the variables that there are.
func (s TemplateScope) names() string {
	var list []string
	for _, v := range variables {
		if v.variable != varStatus || s.Response {
			list = append(list, "$"+v.name)
		}
	}
	list = append(list, "$"+headerVariable+"NAME for a header of the request")
	if s.Groups >= 0 {
		list = append(list, "$0 to $"+strconv.Itoa(min(s.Groups, 9)))
	}
	return strings.Join(list, ", ")
}

// Literal returns the text between the variables, and whether there are variables.
func (t *Template) Literal() (text string, variables bool) {
	var b strings.Builder
	for _, p := range t.parts {
		b.WriteString(p.text)
	}
	return b.String(), slices.ContainsFunc(t.parts, func(p part) bool { return p.variable != varText })
}

// uses reports whether a variable occurs.
func (t *Template) uses(v variable) bool {
	return t != nil && slices.ContainsFunc(t.parts, func(p part) bool { return p.variable == v })
}

// matched is a text in which a pattern was found: the ends of each group, as package regexp has them.
type matched struct {
	text []byte
	ends []int
	// decoded says that the text has no percent-encoding, so that what is taken from it for a URL gets one.
	decoded bool
}

// group appends a group; one that took no part in the match is empty.
func (m *matched) append(dst []byte, group int, encode bool) []byte {
	if 2*group+1 >= len(m.ends) || m.ends[2*group] < 0 {
		return dst
	}
	text := m.text[m.ends[2*group]:m.ends[2*group+1]]
	if encode && m.decoded {
		return appendEncoded(dst, text)
	}
	return append(dst, text...)
}

// append appends what the template comes to. encode is for a place in a URL.
func (t *Template) append(dst []byte, x *Trip, m *matched, encode bool) []byte {
	for i := range t.parts {
		if len(dst) > maxEditedHead {
			return dst // whoever ends the line refuses it
		}
		p := &t.parts[i]
		switch p.variable {
		case varText:
			dst = append(dst, p.text...)
		case varGroup:
			dst = m.append(dst, p.group, encode)
		case varClientAddr:
			dst = append(dst, x.ClientAddr...)
		case varClientPort:
			if x.ClientPort != 0 {
				dst = strconv.AppendUint(dst, uint64(x.ClientPort), 10)
			}
		case varScheme:
			dst = append(dst, x.Scheme...)
		case varHost:
			dst = append(dst, x.Req.Authority.Of(x.Head)...)
		case varMethod:
			dst = append(dst, x.Req.MethodName.Of(x.Head)...)
		case varTarget:
			dst = appendTarget(dst, x.Head, x.Req)
		case varPath:
			dst = append(dst, x.Req.Path.Of(x.Head)...)
		case varQuery:
			if q := x.Req.PathQuery.Of(x.Head)[x.Req.Path.Len():]; len(q) > 0 {
				dst = append(dst, q[1:]...)
			}
		case varRequestID:
			dst = append(dst, x.requestID()...)
		case varListenerAddr:
			dst = append(dst, x.Local...)
		case varServer:
			dst = append(dst, x.Server...)
		case varStatus:
			dst = strconv.AppendInt(dst, int64(x.status), 10)
		case varHeader:
			dst = appendHeader(dst, x.Head, &x.Req.Head, p.text)
		}
	}
	return dst
}

// appendHeader appends the values of all fields of a name, which is in lower case, as one list (RFC 9110, 5.3).
func appendHeader(dst, buf []byte, h *httpparse.Head, name string) []byte {
	begin := len(dst)
	for i := range h.Fields {
		if f := &h.Fields[i]; equalName(f.Name.Of(buf), name) && f.Value.Len() > 0 {
			dst = appendListItem(dst, begin, f.Value.Of(buf))
		}
	}
	return dst
}

// equalName compares a field's name with one in lower case.
func equalName(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
