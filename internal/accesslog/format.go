package accesslog

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Format is a compiled format. It is immutable and may be shared by any number of goroutines.
type Format struct {
	parts []part
	json  bool // strings are quoted and escaped as JSON, what is absent is null
}

// part is a literal, or the value of one name.
type part struct {
	name    name
	literal string // of nameLiteral
}

// name is a value that a record has.
type name uint8

const (
	nameLiteral name = iota
	nameTimeLocal
	nameTimeISO
	nameTimeUTC
	nameTimeUnixMS
	nameClientAddr
	nameClientPort
	nameRequest
	nameMethod
	nameTarget
	nameProtocol
	nameHost
	nameReferer
	nameUserAgent
	nameStatus
	nameBytesIn
	nameBytesOut
	nameBodyBytes
	nameBodyBytesCLF
	nameTotal
	nameConnect
	nameFirstByte
	nameBackend
	nameServer
	nameListener
	nameRetries
	nameEnd
)

// names is what may stand after a $ in a template, in the order in which an error lists it.
var names = [...]struct {
	text string
	name name
}{
	{"time_local", nameTimeLocal},
	{"time_iso8601", nameTimeISO},
	{"time_utc", nameTimeUTC},
	{"time_unix_ms", nameTimeUnixMS},
	{"client_addr", nameClientAddr},
	{"client_port", nameClientPort},
	{"request", nameRequest},
	{"method", nameMethod},
	{"target", nameTarget},
	{"protocol", nameProtocol},
	{"host", nameHost},
	{"referer", nameReferer},
	{"user_agent", nameUserAgent},
	{"status", nameStatus},
	{"bytes_in", nameBytesIn},
	{"bytes_out", nameBytesOut},
	{"body_bytes", nameBodyBytes},
	{"body_bytes_clf", nameBodyBytesCLF},
	{"total_us", nameTotal},
	{"connect_us", nameConnect},
	{"first_byte_us", nameFirstByte},
	{"backend", nameBackend},
	{"server", nameServer},
	{"listener", nameListener},
	{"retries", nameRetries},
	{"end", nameEnd},
}

// Names returns every name that a template may use, without the $.
func Names() []string {
	list := make([]string, len(names))
	for i := range names {
		list[i] = names[i].text
	}
	return list
}

// elsewhere says what nginx's names are called here, for whoever brings a log_format along.
var elsewhere = map[string]string{
	"remote_addr":            "$client_addr",
	"remote_port":            "$client_port",
	"remote_user":            "a literal -",
	"request_method":         "$method",
	"request_uri":            "$target",
	"uri":                    "$target",
	"server_protocol":        "$protocol",
	"http_host":              "$host",
	"http_referer":           "$referer",
	"http_user_agent":        "$user_agent",
	"request_length":         "$bytes_in",
	"bytes_sent":             "$bytes_out",
	"body_bytes_sent":        "$body_bytes",
	"request_time":           "$total_us, in microseconds",
	"upstream_connect_time":  "$connect_us, in microseconds",
	"upstream_header_time":   "$first_byte_us, in microseconds",
	"upstream_response_time": "$total_us and $first_byte_us, in microseconds",
	"upstream_addr":          "$server",
	"proxy_host":             "$backend",
	"msec":                   "$time_unix_ms, in milliseconds",
}

// The formats that have a name. The first two are Apache's, byte for byte; the "-" between the address and
// the time are the identity (RFC 1413) and the user, which a proxy has no notion of.
const (
	common   = `$client_addr - - [$time_local] "$request" $status $body_bytes_clf`
	combined = common + ` "$referer" "$user_agent"`
)

// jsonNames are the members of a JSON record, in order.
var jsonNames = []string{
	"time_utc", "client_addr", "client_port", "method", "target", "protocol", "host", "referer", "user_agent",
	"status", "bytes_in", "bytes_out", "body_bytes", "total_us", "connect_us", "first_byte_us",
	"backend", "server", "listener", "retries", "end",
}

// Compile compiles a format: "common" and "combined" as Apache prints them, "json", or a template in which
// $name or ${name} stands for a value and $$ for a dollar sign. An unknown name is an error that says where it
// stands, as a byte offset from 0, and which names there are.
func Compile(format string) (*Format, error) {
	switch format {
	case "common":
		return compileTemplate(common)
	case "combined":
		return compileTemplate(combined)
	case "json":
		return compileJSON(), nil
	}
	return compileTemplate(format)
}

func compileJSON() *Format {
	f := &Format{json: true}
	separator := "{"
	for _, text := range jsonNames {
		n, _ := lookup(text)
		f.parts = append(f.parts, part{literal: separator + strconv.Quote(text) + ":"}, part{name: n})
		separator = ","
	}
	f.parts = append(f.parts, part{literal: "}"})
	return f
}

func compileTemplate(template string) (*Format, error) {
	f := new(Format)
	var literal []byte
	named := false
	for at := 0; at < len(template); {
		c := template[at]
		if c < 0x20 && c != '\t' || c == 0x7f {
			// A line break would make two lines of one record; the others have no business in a log either.
			return nil, fmt.Errorf("control byte 0x%02x at offset %d of the log format", c, at)
		}
		if c != '$' {
			literal = append(literal, c)
			at++
			continue
		}
		if strings.HasPrefix(template[at:], "$$") {
			literal = append(literal, '$')
			at += len("$$")
			continue
		}
		text, size, err := nameAt(template, at)
		if err != nil {
			return nil, err
		}
		n, known := lookup(text)
		if !known {
			return nil, unknownName(text, at)
		}
		if len(literal) > 0 {
			f.parts = append(f.parts, part{literal: string(literal)})
			literal = literal[:0]
		}
		f.parts = append(f.parts, part{name: n})
		named = true
		at += size
	}
	if !named {
		// A misspelt "combined" would otherwise be a format that prints its own name.
		return nil, fmt.Errorf("log format %q is none of common, combined, json, and no template: it has no $name; %s",
			template, knownNames())
	}
	if len(literal) > 0 {
		f.parts = append(f.parts, part{literal: string(literal)})
	}
	return f, nil
}

// nameAt reads the $name or ${name} at offset at; size is the length of the whole.
func nameAt(template string, at int) (text string, size int, err error) {
	rest := template[at+len("$"):]
	braced := strings.HasPrefix(rest, "{")
	if braced {
		rest = rest[len("{"):]
	}
	end := 0
	for end < len(rest) && isNameByte(rest[end]) {
		end++
	}
	if end == 0 {
		return "", 0, fmt.Errorf("no name after the $ at offset %d of the log format; a dollar sign is written $$", at)
	}
	if !braced {
		return rest[:end], len("$") + end, nil
	}
	if end == len(rest) || rest[end] != '}' {
		return "", 0, fmt.Errorf("no } after the ${%s at offset %d of the log format", rest[:end], at)
	}
	return rest[:end], len("${}") + end, nil
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

func lookup(text string) (name, bool) {
	for i := range names {
		if names[i].text == text {
			return names[i].name, true
		}
	}
	return 0, false
}

func unknownName(text string, at int) error {
	hint := ""
	if ours, ok := elsewhere[text]; ok {
		hint = ", which is " + ours + " here"
	}
	return fmt.Errorf("unknown name $%s at offset %d of the log format%s; %s", text, at, hint, knownNames())
}

func knownNames() string {
	list := Names()
	slices.Sort(list)
	return "known names: $" + strings.Join(list, " $")
}

// Append appends r to dst as one line, its "\n" included, and returns the extended slice. It allocates only
// when dst has no room.
//
// In a text format, every byte of a value outside of printable ASCII, and the double quote and the backslash,
// is written \xHH; a value that is absent is "-". In JSON, bytes that are not UTF-8 become U+FFFD, and what is
// absent is an empty string or null.
func (f *Format) Append(dst []byte, r *Record) []byte {
	var s stamps
	return f.append(dst, r, &s)
}

func (f *Format) append(dst []byte, r *Record, s *stamps) []byte {
	for i := range f.parts {
		switch p := &f.parts[i]; p.name {
		case nameLiteral:
			dst = append(dst, p.literal...)
		case nameTimeLocal:
			second, _ := split(r.Time)
			dst = s.local.append(dst, second, time.Local, layoutLocal)
		case nameTimeISO:
			second, _ := split(r.Time)
			dst = s.iso.append(dst, second, time.Local, layoutISO)
		case nameTimeUTC:
			dst = f.appendTimeUTC(dst, r.Time, &s.utc)
		case nameTimeUnixMS:
			dst = strconv.AppendInt(dst, r.Time/1e6, 10)
		case nameClientAddr:
			dst = f.appendBytes(dst, r.ClientAddr)
		case nameClientPort:
			dst = f.appendNumber(dst, int64(r.ClientPort), 0)
		case nameRequest:
			dst = f.appendRequestLine(dst, r)
		case nameMethod:
			dst = f.appendBytes(dst, r.Method)
		case nameTarget:
			dst = f.appendBytes(dst, r.Target)
		case nameProtocol:
			dst = f.appendProtocol(dst, r.Version)
		case nameHost:
			dst = f.appendBytes(dst, r.Host)
		case nameReferer:
			dst = f.appendBytes(dst, r.Referer)
		case nameUserAgent:
			dst = f.appendBytes(dst, r.UserAgent)
		case nameStatus:
			dst = f.appendNumber(dst, int64(r.Status), 0)
		case nameBytesIn:
			dst = strconv.AppendInt(dst, r.BytesIn, 10)
		case nameBytesOut:
			dst = strconv.AppendInt(dst, r.BytesOut, 10)
		case nameBodyBytes:
			dst = strconv.AppendInt(dst, r.BodyOut, 10)
		case nameBodyBytesCLF:
			dst = f.appendNumber(dst, r.BodyOut, 0)
		case nameTotal:
			dst = f.appendNumber(dst, r.Total, -1)
		case nameConnect:
			dst = f.appendNumber(dst, r.Connect, -1)
		case nameFirstByte:
			dst = f.appendNumber(dst, r.FirstByte, -1)
		case nameBackend:
			dst = f.appendString(dst, r.Backend)
		case nameServer:
			dst = f.appendString(dst, r.Server)
		case nameListener:
			dst = f.appendString(dst, r.Listener)
		case nameRetries:
			dst = strconv.AppendInt(dst, int64(r.Retries), 10)
		case nameEnd:
			dst = f.appendString(dst, r.End.String())
		}
	}
	return append(dst, '\n')
}

// appendNumber appends n, or what stands for an absent value when n is that of an absent one.
func (f *Format) appendNumber(dst []byte, n, absent int64) []byte {
	if n != absent {
		return strconv.AppendInt(dst, n, 10)
	}
	if f.json {
		return append(dst, "null"...)
	}
	return append(dst, '-')
}

func (f *Format) appendProtocol(dst []byte, version uint8) []byte {
	switch {
	case version == 0 && f.json:
		return append(dst, `""`...)
	case version == 0:
		return append(dst, '-')
	case f.json:
		return append(appendVersion(append(dst, '"'), version), '"')
	}
	return appendVersion(dst, version)
}

func (f *Format) appendTimeUTC(dst []byte, ns int64, s *stamp) []byte {
	if f.json {
		return append(s.appendMicros(append(dst, '"'), ns), '"')
	}
	return s.appendMicros(dst, ns)
}

// appendBytes appends what a client sent, in the manner of the format.
func (f *Format) appendBytes(dst, s []byte) []byte { return appendValue(f, dst, s, plainPrefix(s)) }

// appendString appends a word of ours, in the manner of the format.
func (f *Format) appendString(dst []byte, s string) []byte { return appendValue(f, dst, s, 0) }

func appendValue[S string | []byte](f *Format, dst []byte, s S, known int) []byte {
	switch {
	case f.json:
		return append(appendJSON(append(dst, '"'), s, known), '"')
	case len(s) == 0:
		return append(dst, '-')
	}
	return appendText(dst, s, known)
}

// appendRequestLine appends the request line. It exists in text formats only.
func (f *Format) appendRequestLine(dst []byte, r *Record) []byte {
	if len(r.Method) == 0 && len(r.Target) == 0 {
		return append(dst, '-')
	}
	dst = f.appendBytes(dst, r.Method)
	dst = append(dst, ' ')
	dst = f.appendBytes(dst, r.Target)
	if r.Version == 0 {
		return dst
	}
	return appendVersion(append(dst, ' '), r.Version)
}

func appendVersion(dst []byte, version uint8) []byte {
	if version == 11 {
		return append(dst, "HTTP/1.1"...)
	}
	dst = append(dst, "HTTP/"...)
	dst = strconv.AppendUint(dst, uint64(version/10), 10)
	dst = append(dst, '.')
	return strconv.AppendUint(dst, uint64(version%10), 10)
}
