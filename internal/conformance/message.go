package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Message is a request or a response as it stands on the wire, read strictly: by the grammar of RFC 9112 without any
// of the leniencies that it permits.
type Message struct {
	// Method and Target are a request's, Status a response's.
	Method, Target string
	Status         int
	Version        string // "HTTP/1.1"
	Fields         []Field
	// Head is what came before the content, byte for byte. If the head is incomplete, it is all there is.
	Head []byte
	// Chunked and UntilClose say how the content is framed; Body is as much of it as there is, and Trailer what
	// follows the last chunk, byte for byte.
	Chunked, UntilClose bool
	Body, Trailer       []byte
	Complete            bool
}

// Field is a field line.
type Field struct{ Name, Value string }

// Get returns the values of all lines of a field, as one list.
func (m *Message) Get(name string) string {
	var values []string
	for _, f := range m.Fields {
		if strings.EqualFold(f.Name, name) {
			values = append(values, f.Value)
		}
	}
	return strings.Join(values, ", ")
}

// Has reports whether there is a field.
func (m *Message) Has(name string) bool {
	return slices.ContainsFunc(m.Fields, func(f Field) bool { return strings.EqualFold(f.Name, name) })
}

// ReadRequests reads a stream of requests. The last one may be incomplete. The error says what is wrong with the stream
// behind the messages that are returned, or why somebody could read them in another way.
func ReadRequests(b []byte) ([]*Message, error) {
	return readMessages(b, func(head []byte) (*Message, error) {
		m, err := readHead(head)
		if err != nil {
			return nil, err
		}
		if err := m.readRequestLine(firstLine(head)); err != nil {
			return nil, err
		}
		return m, m.checkHost()
	}, nil)
}

// ReadResponses reads a stream of responses: see ReadRequests. ended says that the connection has ended in order, and
// heads which requests, by their number, were HEAD.
func ReadResponses(b []byte, ended bool, heads []bool) ([]*Message, error) {
	final := 0
	messages, err := readMessages(b, func(head []byte) (*Message, error) {
		m, err := readHead(head)
		if err != nil {
			return nil, err
		}
		return m, m.readStatusLine(firstLine(head))
	}, func(m *Message) bool {
		if interim(m) {
			return true
		}
		final++
		return final <= len(heads) && heads[final-1] || m.Status == 204 || m.Status == 304
	})
	if n := len(messages); ended && n > 0 && messages[n-1].UntilClose {
		messages[n-1].Complete = true
	}
	return messages, err
}

// firstLine is the line that a complete head begins with.
func firstLine(head []byte) []byte {
	line, _, _ := bytes.Cut(head, []byte("\r\n"))
	return line
}

var endOfHead = []byte("\r\n\r\n")

// readMessages reads messages whose heads parse reads. bodiless tells the responses that have no content whatever
// their fields say; it is nil for requests.
func readMessages(b []byte, parse func(head []byte) (*Message, error), bodiless func(*Message) bool) (messages []*Message, err error) {
	for len(b) > 0 {
		end := bytes.Index(b, endOfHead)
		if end < 0 {
			return append(messages, &Message{Head: b}), nil
		}
		end += len(endOfHead)
		m, err := parse(b[:end])
		if err != nil {
			return messages, err
		}
		m.Head = b[:end]
		messages = append(messages, m)
		b = b[end:]
		length, chunked, err := m.framing()
		switch {
		case err != nil:
			return messages, err
		case bodiless != nil && bodiless(m):
			m.Complete = true
		case chunked:
			m.Chunked = true
			if b, err = m.readChunks(b); err != nil {
				return messages, err
			}
		case length >= 0:
			n := min(length, int64(len(b)))
			m.Body, b = b[:n], b[n:]
			m.Complete = n == length
		case bodiless != nil:
			m.UntilClose = true
			m.Body, b = b, nil
		default:
			m.Complete = true
		}
		if !m.Complete {
			return messages, nil
		}
	}
	return messages, nil
}

// readHead reads the field lines of a complete head.
func readHead(head []byte) (*Message, error) {
	m := &Message{}
	_, lines, _ := bytes.Cut(head, []byte("\r\n"))
	var err error
	m.Fields, err = readFields(lines)
	return m, err
}

// readFields reads field lines, and the empty one that ends them.
func readFields(b []byte) (fields []Field, err error) {
	for line := range strings.SplitSeq(strings.TrimSuffix(string(b), "\r\n"), "\r\n") {
		if line == "" {
			continue // there are none at all, or it is the last line's end
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) {
			return nil, fmt.Errorf("the field line %q", excerpt(line))
		}
		if i := strings.IndexFunc(value, isControl); i >= 0 {
			return nil, fmt.Errorf("the byte %#02x in the field %s", value[i], excerpt(name))
		}
		fields = append(fields, Field{name, strings.Trim(value, " \t")})
	}
	return fields, nil
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// isToken reports whether s is a token (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for _, c := range []byte(s) {
		alphanumeric := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !alphanumeric && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

func (m *Message) readRequestLine(line []byte) error {
	parts := strings.Split(string(line), " ")
	if len(parts) != 3 || !isToken(parts[0]) || parts[2] != "HTTP/1.1" && parts[2] != "HTTP/1.0" {
		return fmt.Errorf("the request line %q", excerpt(string(line)))
	}
	m.Method, m.Target, m.Version = parts[0], parts[1], parts[2]
	for _, c := range []byte(m.Target) {
		if c <= ' ' || c >= 0x7f || c == '#' {
			return fmt.Errorf("the byte %#02x in the target", c)
		}
	}
	if !strings.HasPrefix(m.Target, "/") && m.Target != "*" {
		return fmt.Errorf("the target %q, which is not for a server", excerpt(m.Target))
	}
	return nil
}

func (m *Message) readStatusLine(line []byte) error {
	s := string(line)
	if len(s) < len("HTTP/1.1 200") || s[:7] != "HTTP/1." || s[7] != '0' && s[7] != '1' || s[8] != ' ' ||
		len(s) > 12 && s[12] != ' ' || strings.IndexFunc(s, isControl) >= 0 {
		return fmt.Errorf("the status line %q", excerpt(s))
	}
	n, err := strconv.ParseUint(s[9:12], 10, 16)
	if err != nil {
		return fmt.Errorf("the status line %q", excerpt(s))
	}
	m.Version, m.Status = s[:8], int(n)
	return nil
}

// checkHost checks that there is one Host that names one host, as HTTP/1.1 needs it.
func (m *Message) checkHost() error {
	var hosts []string
	for _, f := range m.Fields {
		if strings.EqualFold(f.Name, "Host") {
			hosts = append(hosts, f.Value)
		}
	}
	switch {
	case len(hosts) == 0 && m.Version == "HTTP/1.0":
	case len(hosts) != 1:
		return fmt.Errorf("a request with %d Host fields", len(hosts))
	case strings.ContainsAny(hosts[0], " \t,/@?#\\"):
		return fmt.Errorf("the Host %q", excerpt(hosts[0]))
	}
	return nil
}

// framing returns the content's length, or -1 if there is none declared, or that it is chunked.
func (m *Message) framing() (length int64, chunked bool, err error) {
	length = -1
	for _, f := range m.Fields {
		switch strings.ToLower(f.Name) {
		case "transfer-encoding":
			if chunked || !strings.EqualFold(f.Value, "chunked") || m.Version != "HTTP/1.1" {
				return 0, false, fmt.Errorf("Transfer-Encoding %q with %s", excerpt(f.Value), m.Version)
			}
			chunked = true
		case "content-length":
			if length >= 0 {
				return 0, false, errors.New("two Content-Length fields")
			}
			if !isDigits(f.Value) {
				return 0, false, fmt.Errorf("Content-Length %q", excerpt(f.Value))
			}
			if length, err = strconv.ParseInt(f.Value, 10, 64); err != nil {
				return 0, false, fmt.Errorf("Content-Length %q", excerpt(f.Value))
			}
		}
	}
	if chunked && length >= 0 {
		return 0, false, errors.New("Content-Length and Transfer-Encoding")
	}
	return length, chunked, nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// readChunks reads chunks from b, and returns what comes behind them.
func (m *Message) readChunks(b []byte) (rest []byte, err error) {
	for {
		lf := bytes.IndexByte(b, '\n')
		if lf < 0 {
			return nil, nil
		}
		line := string(b[:lf+1])
		size, extension, extended := strings.Cut(strings.TrimSuffix(line, "\r\n"), ";")
		n, err := strconv.ParseUint(size, 16, 63)
		if !strings.HasSuffix(line, "\r\n") || err != nil || strings.Trim(size, "0123456789abcdefABCDEF") != "" ||
			extended && strings.IndexFunc(extension, isControl) >= 0 {
			return nil, fmt.Errorf("the chunk size line %q", excerpt(line))
		}
		b = b[lf+1:]
		if n == 0 {
			return m.readTrailer(b)
		}
		payload := min(n, uint64(len(b)))
		m.Body = append(m.Body[:len(m.Body):len(m.Body)], b[:payload]...)
		b = b[payload:]
		switch {
		case len(b) < 2:
			if len(b) == 1 && b[0] != '\r' {
				return nil, fmt.Errorf("the byte %#02x behind a chunk", b[0])
			}
			return nil, nil
		case b[0] != '\r' || b[1] != '\n':
			return nil, fmt.Errorf("the bytes %q behind a chunk", b[:2])
		}
		b = b[2:]
	}
}

// readTrailer reads the trailer section.
func (m *Message) readTrailer(b []byte) (rest []byte, err error) {
	end := 2
	if !bytes.HasPrefix(b, []byte("\r\n")) {
		if end = bytes.Index(b, endOfHead); end < 0 {
			return nil, nil
		}
		end += len(endOfHead)
	}
	m.Trailer, m.Complete = b[:end], true
	_, err = readFields(b[:end])
	return b[end:], err
}

// canonical returns messages in a form that does not depend on how a content was cut into chunks. Where the stream b
// is a beginning of another, so is its form.
func canonical(messages []*Message, err error) string {
	var s strings.Builder
	for _, m := range messages {
		s.Write(m.Head)
		s.Write(m.Body)
		if m.Chunked && m.Complete {
			s.WriteString("[end of chunks]")
			s.Write(m.Trailer)
		}
	}
	if err != nil {
		s.WriteString("[wrong: " + err.Error() + "]")
	}
	return s.String()
}

// excerpt cuts a text that is long.
func excerpt(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
