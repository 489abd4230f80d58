package configs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// unixPrefix marks the path of a unix socket among addresses.
const unixPrefix = "unix:"

// systemdPrefix marks the name of a socket that systemd passes.
const systemdPrefix = "systemd:"

// maxSocketName is what systemd allows for FileDescriptorName.
const maxSocketName = 255

// maxSocketPath is what the kernel's address of a unix socket holds beside the zero that ends it.
const maxSocketPath = 107

// defaultPort is the port of a server that is named without one.
const defaultPort = 80

const (
	listenHelp = `allowed are "host:port", "[v6]:port", ":port", "unix:/path" and "systemd:NAME"`
	serverHelp = `allowed are "host", "host:port", "[v6]:port", "unix:/path" and "srv:name"`
)

// parseListen reads an address to listen on. What is wrong with it comes back as the message.
func parseListen(s string) (e endpoint, wrong string) {
	if path, ok := strings.CutPrefix(s, unixPrefix); ok {
		return endpoint{path: path}, checkSocketPath(s, path)
	}
	if name, ok := strings.CutPrefix(s, systemdPrefix); ok {
		bad := func(c rune) bool { return c <= ' ' || c > '~' || c == ':' }
		if name == "" || len(name) > maxSocketName || strings.ContainsFunc(name, bad) {
			return e, fmt.Sprintf("%s: the name of a socket has 1 to %d visible characters of ASCII, without ':', as FileDescriptorName in its unit", quoted(s), maxSocketName)
		}
		return endpoint{inherit: name}, ""
	}
	if isNumber(s) && !strings.Contains(s, ".") {
		return e, fmt.Sprintf("%s has no host: write %q for all addresses", quoted(s), ":"+s)
	}
	if addr, err := netip.ParseAddr(s); err == nil {
		return e, fmt.Sprintf("%s has no port: write %q", quoted(s), netip.AddrPortFrom(addr, 8080))
	}
	host, digits, err := net.SplitHostPort(s)
	if err != nil {
		return e, fmt.Sprintf("%s is not an address: %s; %s", quoted(s), splitError(err), listenHelp)
	}
	port, wrong := parsePort(s, digits)
	if wrong != "" {
		return e, wrong
	}
	switch host {
	case "":
		return endpoint{tcp: netip.AddrPortFrom(netip.IPv6Unspecified(), port)}, ""
	case "*":
		return e, fmt.Sprintf("%s is not an address: write %q for all addresses", quoted(s), ":"+digits)
	case "localhost":
		return endpoint{tcp: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)}, ""
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return e, fmt.Sprintf(`%s: the host must be an IP address or "localhost", names are not resolved here; %s`, quoted(s), listenHelp)
	}
	if addr.Zone() != "" {
		return e, quoted(s) + " has a zone, which is not supported"
	}
	return endpoint{tcp: netip.AddrPortFrom(addr.Unmap(), port)}, ""
}

// parseServer reads the address of a server: t is an endpoint, or a host to resolve and a port.
func parseServer(s string) (t target, wrong string) {
	if path, ok := strings.CutPrefix(s, unixPrefix); ok {
		t.path = path
		return t, checkSocketPath(s, path)
	}
	if t, wrong, ok := parseService(s); ok {
		return t, wrong
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		if scheme != "http" {
			return t, fmt.Sprintf("%s is a URL; %s", quoted(s), serverHelp)
		}
		host, path, _ := strings.Cut(rest, "/")
		wrong = fmt.Sprintf("%s is a URL: write %q", quoted(s), host)
		if path = strings.TrimRight(path, "/"); path != "" {
			wrong += fmt.Sprintf(", in a [[backend.NAME.server]] with path = %q", "/"+path)
		}
		return t, wrong
	}
	if strings.HasPrefix(s, "/") {
		return t, fmt.Sprintf("%s is a path: write %q for a unix socket", quoted(s), unixPrefix+s)
	}
	if addr, err := netip.ParseAddr(s); err == nil && addr.Is6() {
		return t, fmt.Sprintf("%s: an IPv6 address goes in brackets: write %q", quoted(s), netip.AddrPortFrom(addr, defaultPort))
	}
	host, bracketed := s, strings.HasPrefix(s, "[")
	t.port = defaultPort
	switch {
	case bracketed && strings.HasSuffix(s, "]"):
		host = s[1 : len(s)-1]
	case strings.Contains(s, ":"):
		var digits string
		var err error
		if host, digits, err = net.SplitHostPort(s); err != nil {
			return t, fmt.Sprintf("%s is not an address: %s; %s", quoted(s), splitError(err), serverHelp)
		}
		if t.port, wrong = parsePort(s, digits); wrong != "" {
			return t, wrong
		}
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err == nil && addr.Zone() != "":
		return t, quoted(s) + " has a zone, which is not supported"
	case err == nil && addr.Is6() == bracketed:
		t.tcp = netip.AddrPortFrom(addr.Unmap(), t.port)
		return t, ""
	case bracketed:
		return t, quoted(s) + ": what is in brackets must be an IPv6 address"
	case host == "":
		return t, quoted(s) + " has no host; " + serverHelp
	}
	if wrong := checkName(strings.TrimSuffix(host, ".")); wrong != "" {
		return t, fmt.Sprintf("%s is not an address: %s; %s", quoted(s), wrong, serverHelp)
	}
	t.host = strings.ToLower(host)
	return t, ""
}

func checkSocketPath(s, path string) string {
	switch {
	case !strings.HasPrefix(path, "/"):
		return fmt.Sprintf("%s: the path of a unix socket must begin with / (%s/path)", quoted(s), unixPrefix)
	case strings.Contains(path, "\x00"):
		return quoted(s) + ": the path of a unix socket cannot have a zero byte"
	case len(path) > maxSocketPath:
		return fmt.Sprintf("%s: the path of a unix socket has at most %d bytes, this one has %d", quoted(s), maxSocketPath, len(path))
	}
	return ""
}

func parsePort(s, digits string) (uint16, string) {
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || digits[0] == '0' {
		return 0, fmt.Sprintf("%s: %s is not a port: allowed are 1 to 65535", quoted(s), quoted(digits))
	}
	return uint16(port), ""
}

// splitError is why an address could not be split, without the address.
func splitError(err error) string {
	if addr, ok := errors.AsType[*net.AddrError](err); ok {
		return addr.Err
	}
	return err.Error()
}

// checkName says what is wrong with the name of a host (RFC 1123, and underscores, which are in use).
func checkName(name string) string {
	if len(name) > 253 {
		return "a host name has at most 253 characters"
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		switch {
		case label == "":
			return "a label of the host name is empty"
		case len(label) > 63:
			return "a label of the host name has more than 63 characters"
		}
		if i := strings.IndexFunc(label, func(c rune) bool { return !isBare(c) }); i >= 0 {
			c := []rune(label[i:])[0]
			if c >= 0x80 {
				return fmt.Sprintf("%q cannot be in a host name: write its ASCII form, xn--...", c)
			}
			return fmt.Sprintf("%q cannot be in a host name", c)
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return "it is neither an IPv4 address nor a host name"
	}
	return ""
}

// checkHost says what is wrong with a pattern for the host of a request: a name, *.name, name.*, an IP address, or *
// for all, and a port if only that port is meant.
func checkHost(s string) string {
	const help = `allowed are "www.example.org", "*.example.org", "example.*", "*" and IP addresses, each with or without a port`
	host, digits := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, digits = s[:i], s[i+1:]
		if _, wrong := parsePort(s, digits); wrong != "" {
			return wrong
		}
	}
	if v6, ok := strings.CutPrefix(host, "["); ok {
		addr, err := netip.ParseAddr(strings.TrimSuffix(v6, "]"))
		if err != nil || !addr.Is6() || addr.Zone() != "" || !strings.HasSuffix(v6, "]") {
			return fmt.Sprintf("%s: what is in brackets must be an IPv6 address; %s", quoted(s), help)
		}
		if normal := "[" + addr.String() + "]"; !strings.EqualFold(normal, host) {
			// Hosts are compared as text, and clients send the normal form (RFC 5952).
			return fmt.Sprintf("%s matches nothing, since addresses are matched in their normal form: write %q", quoted(s), normal+s[len(host):])
		}
		return ""
	}
	if host == "*" {
		return ""
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is4() {
		return ""
	}
	name := host
	if suffix, ok := strings.CutPrefix(host, "*."); ok {
		name = "any." + suffix
	} else if prefix, ok := strings.CutSuffix(host, ".*"); ok {
		name = prefix + ".any"
	}
	if wrong := checkName(name); wrong != "" {
		return fmt.Sprintf("%s is not a host: %s; %s", quoted(s), wrong, help)
	}
	return ""
}
