// Package explain makes messages of what people write for them: on a command line, or in a [[test]] of a configuration.
// It makes malformed ones too, since what becomes of those is worth knowing; what it refuses is what no message could be
// made of.
//
//	r, err := explain.ParseRequest("GET https://www.example.org/a?b", []string{"Accept: text/html"})
//	// r.Bytes: GET /a?b HTTP/1.1, Host: www.example.org, Accept: text/html
//
// It knows nothing of the rest of the program, and says nothing about what a proxy makes of a message.
package explain

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Request is a request head, with what its URL says about how it comes.
type Request struct {
	// Bytes is the head, with the empty line.
	Bytes []byte
	// Scheme is "http" or "https", and Port the port that the URL leads to; empty and 0 if it is no URL.
	Scheme string
	Port   uint16
}

// RequestForms says what ParseRequest takes.
const RequestForms = `allowed are "URL", "METHOD URL" and "METHOD URL HTTP/1.0"; a URL is "http://host/path?query", or "/path" with a Host among the headers`

// ParseRequest makes a request head of a line, which is what RequestForms says, and header lines. An http or https URL
// becomes a target in origin-form and a Host field, unless there is one among the headers. Nothing in the URL is
// decoded, encoded or put right.
func ParseRequest(line string, headers []string) (Request, error) {
	var r Request
	words := strings.Split(line, " ")
	method, url, version := "GET", words[0], "HTTP/1.1"
	switch len(words) {
	case 1:
	case 2, 3:
		method, url = words[0], words[1]
		if len(words) == 3 {
			version = words[2]
		}
	default:
		return r, fmt.Errorf("%q is not a request: %s", line, RequestForms)
	}
	if method == "" || url == "" || version == "" || strings.ContainsAny(line, "\r\n") {
		return r, fmt.Errorf("%q is not a request: %s", line, RequestForms)
	}
	if strings.Contains(url, "#") {
		return r, fmt.Errorf("%q has a fragment, which no client sends", url)
	}
	target, host := url, ""
	for _, scheme := range []string{"http", "https"} {
		rest, ok := cutFold(url, scheme+"://")
		if !ok {
			continue
		}
		end := strings.IndexAny(rest, "/?")
		if end < 0 {
			end = len(rest)
		}
		host, target = rest[:end], rest[end:]
		if !strings.HasPrefix(target, "/") {
			target = "/" + target
		}
		r.Scheme = scheme
		var err error
		if r.Port, err = port(host, scheme); err != nil {
			return r, err
		}
	}
	hasHost := false
	for _, h := range headers {
		name, _, ok := strings.Cut(h, ":")
		if !ok || strings.ContainsAny(h, "\r\n") {
			return r, fmt.Errorf(`%q is not a header: write "Name: value"`, h)
		}
		hasHost = hasHost || strings.EqualFold(name, "Host")
	}
	b := []byte(method + " " + target + " " + version + "\r\n")
	if r.Scheme != "" && !hasHost {
		b = append(b, "Host: "+host+"\r\n"...)
	}
	for _, h := range headers {
		b = append(b, h+"\r\n"...)
	}
	r.Bytes = append(b, "\r\n"...)
	return r, nil
}

// cutFold is strings.CutPrefix without regard to case.
func cutFold(s, prefix string) (after string, found bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// port returns the port that a host names, or that its scheme has.
func port(host, scheme string) (uint16, error) {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.Contains(host[i:], "]") && host[i+1:] != "" {
		n, err := strconv.ParseUint(host[i+1:], 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q has no port from 0 to 65535", host)
		}
		return uint16(n), nil
	}
	if scheme == "https" {
		return 443, nil
	}
	return 80, nil
}

// ErrEmpty is returned for a response without a line.
var ErrEmpty = errors.New("the response is empty: it begins with a line such as HTTP/1.1 200 OK")

// ParseResponse makes a response of text: head, empty line, body. Editors write lines with a line feed alone, so that in a
// head each of them becomes CRLF where no CR is before it; behind the empty line nothing is changed. A head that is not
// ended is ended.
func ParseResponse(text []byte) ([]byte, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, ErrEmpty
	}
	var b []byte
	for len(text) > 0 {
		line, rest, ended := bytes.Cut(text, []byte("\n"))
		if text = rest; !ended && len(line) == 0 {
			break
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
		b = append(append(b, line...), "\r\n"...)
		if len(line) != 0 {
			continue
		}
		if interim(b) {
			// Another head comes behind this one.
			next, err := ParseResponse(text)
			if err == ErrEmpty {
				return b, nil
			}
			return append(b, next...), err
		}
		return append(b, text...), nil
	}
	return append(b, "\r\n"...), nil
}

// interim reports whether a response begins with a status line of 1xx, but for 101, behind which comes no HTTP.
func interim(b []byte) bool {
	_, status, ok := bytes.Cut(b[:min(len(b), len("HTTP/1.1 100"))], []byte(" "))
	return ok && len(status) == 3 && status[0] == '1' && string(status) != "101"
}

// ParseClient reads the address of a client, with or without a port, which is 0 then.
func ParseClient(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.AddrPortFrom(a, 0), nil
	}
	if a, err := netip.ParseAddrPort(s); err == nil && a.Addr().Zone() == "" {
		return a, nil
	}
	return netip.AddrPort{}, fmt.Errorf(`%q is not an address: allowed are "192.0.2.1", "192.0.2.1:5000", "2001:db8::1" and "[2001:db8::1]:5000"`, s)
}

// Lines returns the lines of a head, without their ends and without what is behind the empty line, and the body.
func Lines(message []byte) (lines []string, body []byte) {
	for len(message) > 0 {
		line, rest, _ := bytes.Cut(message, []byte("\r\n"))
		if message = rest; len(line) == 0 {
			break
		}
		lines = append(lines, string(line))
	}
	return lines, message
}
