package configs

import (
	"net"
	"net/netip"
	"strings"
	"time"

	"millrace/loop"
)

// The ranges of socket options: those of the kernel, where it has any.
const (
	maxBacklog       = 1_000_000
	minKeepAlive     = time.Second
	maxKeepAlive     = 32767 * time.Second // MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL
	maxKeepAliveProb = 127                 // MAX_TCP_KEEPCNT
	maxUserTimeout   = 24 * time.Hour
	maxDeferAccept   = time.Hour
	maxFastOpen      = 65535
	maxMark          = 1<<32 - 1
	minSocketBuffer  = 4 << 10
	maxSocketBuffer  = 1 << 30
	maxInterfaceName = 15 // IFNAMSIZ, without the zero that ends it
)

// listenerSocket is the table of the options of a listening socket, which those that it accepts inherit.
type listenerSocket struct {
	section
	Backlog           value[int64]         `toml:"backlog"`
	KeepAlive         value[bool]          `toml:"keepalive"`
	KeepAliveIdle     value[time.Duration] `toml:"keepalive_idle"`
	KeepAliveInterval value[time.Duration] `toml:"keepalive_interval"`
	KeepAliveCount    value[int64]         `toml:"keepalive_count"`
	UserTimeout       value[time.Duration] `toml:"user_timeout"`
	DeferAccept       value[time.Duration] `toml:"defer_accept"`
	FastOpen          value[int64]         `toml:"fastopen"`
	Mark              value[int64]         `toml:"mark"`
	Interface         value[string]        `toml:"interface"`
	Transparent       value[bool]          `toml:"transparent"`
	ReceiveBuffer     value[byteCount]     `toml:"receive_buffer"`
	SendBuffer        value[byteCount]     `toml:"send_buffer"`
}

// backendSocket is the table of the options of sockets that connect to servers.
type backendSocket struct {
	section
	KeepAlive         value[bool]            `toml:"keepalive"`
	KeepAliveIdle     value[time.Duration]   `toml:"keepalive_idle"`
	KeepAliveInterval value[time.Duration]   `toml:"keepalive_interval"`
	KeepAliveCount    value[int64]           `toml:"keepalive_count"`
	UserTimeout       value[time.Duration]   `toml:"user_timeout"`
	Mark              value[int64]           `toml:"mark"`
	Interface         value[string]          `toml:"interface"`
	SourceAddress     value[[]value[string]] `toml:"source_address"`
	Transparent       value[bool]            `toml:"transparent"`
	ReceiveBuffer     value[byteCount]       `toml:"receive_buffer"`
	SendBuffer        value[byteCount]       `toml:"send_buffer"`

	source4, source6 netip.Addr
}

func (s *listenerSocket) setDefaults() {
	setDefault(&s.Backlog, 4096)
	setDefault(&s.KeepAlive, false)
	setDefault(&s.KeepAliveIdle, 0)
	setDefault(&s.KeepAliveInterval, 0)
	setDefault(&s.KeepAliveCount, 0)
	setDefault(&s.UserTimeout, 0)
	setDefault(&s.DeferAccept, 0)
	setDefault(&s.FastOpen, 0)
	setDefault(&s.Mark, 0)
	setDefault(&s.Transparent, false)
	setDefault(&s.ReceiveBuffer, 0)
	setDefault(&s.SendBuffer, 0)
}

func (s *backendSocket) setDefaults() {
	setDefault(&s.KeepAlive, false)
	setDefault(&s.KeepAliveIdle, 0)
	setDefault(&s.KeepAliveInterval, 0)
	setDefault(&s.KeepAliveCount, 0)
	setDefault(&s.UserTimeout, 0)
	setDefault(&s.Mark, 0)
	setDefault(&s.Transparent, false)
	setDefault(&s.ReceiveBuffer, 0)
	setDefault(&s.SendBuffer, 0)
}

// listenerSocket checks the options of a listener's socket.
func (v validator) listenerSocket(l *listener) {
	s := &l.Socket
	between(v, s.Backlog, 1, maxBacklog, "", decimal)
	v.keepAlive(s.KeepAlive, s.KeepAliveIdle, s.KeepAliveInterval, s.KeepAliveCount, l.bind.path == "")
	between(v, s.UserTimeout, minTimeout, maxUserTimeout, "0 for the system's, or ", formatDuration)
	v.seconds(s.DeferAccept, time.Second, maxDeferAccept, "0 not to defer, or ")
	between(v, s.FastOpen, 1, maxFastOpen, "0 for none, or ", decimal)
	between(v, s.Mark, 1, maxMark, "0 for none, or ", decimal)
	between(v, s.ReceiveBuffer, minSocketBuffer, maxSocketBuffer, "0 for the system's, or ", formatSize)
	between(v, s.SendBuffer, minSocketBuffer, maxSocketBuffer, "0 for the system's, or ", formatSize)
	v.networkInterface(s.Interface)
	if l.bind.inherit != "" && s.Backlog.given {
		v.key(s.Backlog.place, "has no effect on a socket of systemd, which listens already: write Backlog= in its unit")
	}
	if l.bind.path == "" {
		return
	}
	for _, x := range []given{
		{s.KeepAlive.given, s.KeepAlive.place},
		{s.KeepAliveIdle.given, s.KeepAliveIdle.place},
		{s.KeepAliveInterval.given, s.KeepAliveInterval.place},
		{s.KeepAliveCount.given, s.KeepAliveCount.place},
		{s.UserTimeout.given, s.UserTimeout.place},
		{s.DeferAccept.given, s.DeferAccept.place},
		{s.FastOpen.given, s.FastOpen.place},
		{s.Mark.given, s.Mark.place},
		{s.Interface.given, s.Interface.place},
		{s.Transparent.given, s.Transparent.place},
		{s.ReceiveBuffer.given, s.ReceiveBuffer.place},
		{s.SendBuffer.given, s.SendBuffer.place},
	} {
		if x.given {
			v.key(x.place, "has no effect on a unix socket: it is for TCP")
		}
	}
}

// keepAlive checks when the kernel asks a silent peer whether it is there.
func (v validator) keepAlive(on value[bool], idle, interval value[time.Duration], count value[int64], tcp bool) {
	v.seconds(idle, minKeepAlive, maxKeepAlive, "0 for the system's, or ")
	v.seconds(interval, minKeepAlive, maxKeepAlive, "0 for the system's, or ")
	between(v, count, 1, maxKeepAliveProb, "0 for the system's, or ", decimal)
	if !on.ok || on.v || on.near || !tcp {
		return
	}
	for _, x := range []given{{idle.v != 0, idle.place}, {interval.v != 0, interval.place}, {count.v != 0, count.place}} {
		if x.given {
			v.key(x.place, "has no effect without keepalive = true")
		}
	}
}

// given is a key that may be there.
type given struct {
	given bool
	place
}

// seconds checks a duration that the kernel counts in seconds.
func (v validator) seconds(x value[time.Duration], low, high time.Duration, zero string) {
	between(v, x, low, high, zero, formatDuration)
	if x.given && x.ok && low <= x.v && x.v <= high && x.v%time.Second != 0 {
		v.value(x.place, "%s is not a whole number of seconds, in which the kernel counts it", x.text)
	}
}

// networkInterface checks that there is an interface.
func (v validator) networkInterface(name value[string]) {
	if !name.given || !name.ok {
		return
	}
	if name.v == "" || len(name.v) > maxInterfaceName || strings.ContainsAny(name.v, "/ \t\n\x00") {
		v.value(name.place, "%s is not the name of an interface: allowed are 1 to %d characters, without blanks and slashes", quoted(name.v), maxInterfaceName)
		return
	}
	if _, err := net.InterfaceByName(name.v); err == nil {
		return
	}
	var known []string
	if all, err := net.Interfaces(); err == nil {
		for _, i := range all {
			known = append(known, i.Name)
		}
	}
	if len(known) == 0 {
		return // they cannot be listed here: it will show at the start
	}
	v.value(name.place, "%s", strings.Replace(unknownName(name.v, "interface", known), "the name of a interface", "an interface of this machine", 1))
}

// backendSocket checks the options of the sockets that connect to the servers of a backend.
func (v validator) backendSocket(b *backend) {
	s := &b.Socket
	if !s.given {
		return
	}
	v.keepAlive(s.KeepAlive, s.KeepAliveIdle, s.KeepAliveInterval, s.KeepAliveCount, true)
	between(v, s.UserTimeout, minTimeout, maxUserTimeout, "0 for the system's, or ", formatDuration)
	between(v, s.Mark, 1, maxMark, "0 for none, or ", decimal)
	between(v, s.ReceiveBuffer, minSocketBuffer, maxSocketBuffer, "0 for the system's, or ", formatSize)
	between(v, s.SendBuffer, minSocketBuffer, maxSocketBuffer, "0 for the system's, or ", formatSize)
	v.networkInterface(s.Interface)
	v.sources(s)
	if s.SourceAddress.given && s.Transparent.ok && s.Transparent.v {
		v.key(s.SourceAddress.place, "has no effect with transparent = true: connections come from the client's address")
	}
	tcp := len(b.targets) == 0 // what is wrong with them has been said
	for _, t := range b.targets {
		tcp = tcp || t.path == ""
	}
	if !tcp {
		v.key(s.place, "has no effect: all servers are on unix sockets")
	}
}

// sources reads the addresses to connect from.
func (v validator) sources(s *backendSocket) {
	list := s.SourceAddress
	if list.given && list.ok && len(list.v) == 0 {
		v.value(list.place, "is empty: leave it out for the kernel's choice")
	}
	for _, x := range list.v {
		addr, err := netip.ParseAddr(x.v)
		addr = addr.Unmap()
		switch {
		case err != nil || addr.Zone() != "" || addr.IsUnspecified():
			v.value(x.place, `%s is not an address to connect from: allowed is an IP address of this machine, such as "10.0.0.5"`, quoted(x.v))
			continue
		case addr.Is4() && s.source4.IsValid() || addr.Is6() && s.source6.IsValid():
			v.value(x.place, "%s is the second address of its family: each server is connected to from one", quoted(x.v))
			continue
		case !isLocal(addr):
			v.value(x.place, "%s is not an address of this machine", quoted(x.v))
			continue
		}
		if addr.Is4() {
			s.source4 = addr
		} else {
			s.source6 = addr
		}
	}
}

// isLocal reports whether an address is one of this machine's, as far as that can be found out.
func isLocal(addr netip.Addr) bool {
	if addr.IsLoopback() {
		return true // all of 127.0.0.0/8 is
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Unmap().WithZone("") == addr {
			return true
		}
	}
	return false
}

// settings collects what is set.
type settings struct {
	c    *compiler
	list []loop.SocketSetting
}

// add adds an option, unless its value is the one that means to leave it alone.
func (s *settings) add(option loop.SocketOption, p place, value int64, text string) {
	if value == 0 && text == "" {
		return
	}
	s.list = append(s.list, loop.SocketSetting{Option: option, Value: int(value), Text: text, Key: p.key, Position: s.c.src.at(p)})
}

func (s *settings) addBool(option loop.SocketOption, x value[bool]) {
	if x.v {
		s.add(option, x.place, 1, "")
	}
}

func (s *settings) addKeepAlive(on value[bool], idle, interval value[time.Duration], count value[int64]) {
	s.addBool(loop.SocketKeepAlive, on)
	s.add(loop.SocketKeepAliveIdle, idle.place, int64(idle.v/time.Second), "")
	s.add(loop.SocketKeepAliveInterval, interval.place, int64(interval.v/time.Second), "")
	s.add(loop.SocketKeepAliveCount, count.place, count.v, "")
}

func (c *compiler) listenerSocket(l *listenerSocket) []loop.SocketSetting {
	s := settings{c: c}
	s.addBool(loop.SocketTransparent, l.Transparent)
	s.addKeepAlive(l.KeepAlive, l.KeepAliveIdle, l.KeepAliveInterval, l.KeepAliveCount)
	s.add(loop.SocketUserTimeout, l.UserTimeout.place, l.UserTimeout.v.Milliseconds(), "")
	s.add(loop.SocketDeferAccept, l.DeferAccept.place, int64(l.DeferAccept.v/time.Second), "")
	s.add(loop.SocketFastOpen, l.FastOpen.place, l.FastOpen.v, "")
	s.add(loop.SocketMark, l.Mark.place, l.Mark.v, "")
	s.add(loop.SocketInterface, l.Interface.place, 0, l.Interface.v)
	s.add(loop.SocketReceiveBuffer, l.ReceiveBuffer.place, int64(l.ReceiveBuffer.v), "")
	s.add(loop.SocketSendBuffer, l.SendBuffer.place, int64(l.SendBuffer.v), "")
	return s.list
}

// backendSocket is nil where nothing is set.
func (c *compiler) backendSocket(b *backendSocket) *loop.BackendSocket {
	s := settings{c: c}
	s.addBool(loop.SocketTransparent, b.Transparent)
	s.addKeepAlive(b.KeepAlive, b.KeepAliveIdle, b.KeepAliveInterval, b.KeepAliveCount)
	s.add(loop.SocketUserTimeout, b.UserTimeout.place, b.UserTimeout.v.Milliseconds(), "")
	s.add(loop.SocketMark, b.Mark.place, b.Mark.v, "")
	s.add(loop.SocketInterface, b.Interface.place, 0, b.Interface.v)
	s.add(loop.SocketReceiveBuffer, b.ReceiveBuffer.place, int64(b.ReceiveBuffer.v), "")
	s.add(loop.SocketSendBuffer, b.SendBuffer.place, int64(b.SendBuffer.v), "")
	if len(s.list) == 0 && !b.source4.IsValid() && !b.source6.IsValid() {
		return nil
	}
	source := b.SourceAddress.place
	if b.Transparent.v {
		source = b.Transparent.place
	}
	return &loop.BackendSocket{
		Settings: s.list, Source4: b.source4, Source6: b.source6, FromClient: b.Transparent.v,
		SourceKey: source.key, SourcePosition: c.src.at(source),
	}
}
