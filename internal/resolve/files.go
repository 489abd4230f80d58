package resolve

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxFile bounds what is read of a file, in bytes: lists of hosts that are not to be reached can be long.
const maxFile = 32 << 20

// file is a file that is read again when it has changed.
type file[T any] struct {
	path  string
	parse func(text string) T

	mu    sync.Mutex
	read  bool
	info  fs.FileInfo // of what was read; nil: there was no file
	value T
}

// get returns what is in the file now. When it cannot be read, that is what was in it last.
func (f *file[T]) get() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if !f.read || f.info != nil {
			f.read, f.info, f.value = true, nil, f.parse("")
		}
	case err == nil && (!f.read || f.info == nil || !os.SameFile(info, f.info) || info.ModTime() != f.info.ModTime() || info.Size() != f.info.Size()):
		if text, err := readFile(f.path); err == nil {
			f.read, f.info, f.value = true, info, f.parse(text)
		}
	}
	if !f.read {
		f.value = f.parse("")
	}
	return f.value
}

func readFile(path string) (string, error) {
	in, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, maxFile))
	return string(bytes.ToValidUTF8(text, []byte("?"))), err
}

// hosts is what a hosts file says, by names in lower case without a dot at the end.
type hosts map[string][]netip.Addr

// parseHosts reads the format of hosts(5). Lines that cannot be read are passed over.
func parseHosts(text string) hosts {
	h := make(hosts)
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(words[0])
		if err != nil || addr.Zone() != "" {
			continue // an address with a zone is valid on one link only
		}
		for _, name := range words[1:] {
			name = strings.ToLower(strings.TrimSuffix(name, "."))
			h[name] = append(h[name], addr.Unmap())
		}
	}
	return h
}

// config is what resolv.conf says.
type config struct {
	servers  []netip.AddrPort
	search   []string // domains, absolute
	ndots    int
	timeout  time.Duration // of one attempt with one server
	attempts int           // with each server
	rotate   bool          // begin with another server each time
	tcp      bool          // never UDP
}

// What resolv.conf may say, as resolv.conf(5) has it.
const (
	dnsPort        = 53
	maxServers     = 3
	maxNdots       = 15
	maxTimeout     = 30
	maxAttempts    = 5
	defaultTimeout = 5 * time.Second
)

// parseConfig reads the format of resolv.conf(5). What cannot be read is passed over; what is missing has its default.
func parseConfig(text string) *config {
	c := &config{ndots: 1, timeout: defaultTimeout, attempts: 2}
	searched := false
	for line := range strings.Lines(text) {
		if i := strings.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if addr, err := netip.ParseAddr(words[1]); err == nil && len(c.servers) < maxServers {
				c.servers = append(c.servers, netip.AddrPortFrom(addr, dnsPort))
			}
		case "domain", "search": // the last of both counts
			searched = true
			c.search = nil
			for i, domain := range words[1:] {
				if domain = absolute(domain); domain != "." && (i == 0 || words[0] == "search") {
					c.search = append(c.search, domain)
				}
			}
		case "options":
			for _, option := range words[1:] {
				c.option(option)
			}
		}
	}
	if len(c.servers) == 0 {
		c.servers = []netip.AddrPort{
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort),
			netip.AddrPortFrom(netip.IPv6Loopback(), dnsPort),
		}
	}
	if !searched {
		c.search = ownDomain()
	}
	return c
}

func (c *config) option(option string) {
	name, digits, _ := strings.Cut(option, ":")
	n, err := strconv.Atoi(digits)
	number := func(most int) int { return min(max(n, 0), most) }
	switch {
	case name == "rotate":
		c.rotate = true
	case name == "use-vc" || name == "usevc" || name == "tcp":
		c.tcp = true
	case err != nil:
	case name == "ndots":
		c.ndots = number(maxNdots)
	case name == "timeout":
		c.timeout = time.Duration(max(number(maxTimeout), 1)) * time.Second
	case name == "attempts":
		c.attempts = max(number(maxAttempts), 1)
	}
}

// ownDomain is what is searched when nothing is said: the domain of this host.
func ownDomain() []string {
	name, err := os.Hostname()
	if err != nil {
		return nil
	}
	if _, domain, ok := strings.Cut(name, "."); ok && domain != "" {
		return []string{absolute(domain)}
	}
	return nil
}

// names returns the absolute names to ask for, in order, when somebody says name.
func (c *config) names(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	var searched []string
	for _, domain := range c.search {
		searched = append(searched, name+"."+domain)
	}
	if strings.Count(name, ".") >= c.ndots {
		return append([]string{name + "."}, searched...)
	}
	return append(searched, name+".")
}

func absolute(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) + "." }
