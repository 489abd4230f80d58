package remap

import (
	"bytes"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"

	"millrace/httpparse"
)

// EditOptions says what of requests and responses is changed beyond what a proxy has to change. The zero value changes
// nothing. What each option does is in docs/configuration.md, under the key of its name.
type EditOptions struct {
	// Rule is the route's: BackendPath replaces what its Path, its Prefix or its Pattern matched, and groups are
	// those of its Pattern.
	Rule *Rule

	ChangeHost bool
	// Host is the host that the server is asked for, with ChangeHost; empty: the server's own, Trip.ServerHost.
	Host string

	XForwarded Forwarding
	Forwarded  ForwardedParameters
	Via        ViaMode
	// RequestID is the name of a field; empty: there is none.
	RequestID string
	// ServerName is what the proxy calls itself. It may be empty.
	ServerName string

	StripPrefix string
	BackendPath *Template // nil: none
	NoCanon     bool
	MapURLPath  []Mapping
	// PathHosts and NotPathHosts, unless they are empty, replace the rule about which URLs MapURLPath is for.
	PathHosts, NotPathHosts []string
	MapHostRequest          []Mapping
	MapHostResponse         []Mapping
	HTTPSRemap              bool
	// ServerPaths says that there are servers with a Trip.ServerPath.
	ServerPaths bool

	Reverse             []Reversal
	ReverseRefresh      bool // Reverse is for the URL in Refresh too
	ReverseCookieDomain []Mapping
	ReverseCookiePath   []Mapping

	Request, Response FieldEdits
}

// Mapping is a text and what takes its place.
type Mapping struct{ From, To string }

// Reversal maps URLs of servers to this side. From is what the URL begins with, or its path, and To the path on this side.
type Reversal struct {
	Mapping
	// Servers, if there are any, are the URLs of servers, in front of From, which is a path then: "http://host:port/path",
	// without a slash at the end. Each ends where a segment does, and so does From.
	Servers []string
}

// FieldEdits changes the fields of a head.
type FieldEdits struct {
	Set []FieldLine
	Add []FieldLine
	// Remove are names; with a star at the end, all names that begin so.
	Remove []string
	// Rewrite replaces a whole value, Substitute what a pattern matches in it. In requests, RewriteTarget is a name too.
	Rewrite, Substitute []RewriteRule
}

// FieldLine is a field to send.
type FieldLine struct {
	Name  string
	Value *Template
}

// RewriteTarget is the name by which rules mean the request target.
const RewriteTarget = "uri"

// RewriteRule changes the value of a field.
type RewriteRule struct {
	Name    string
	Pattern *regexp.Regexp
	Value   *Template
}

// Forwarding says what becomes of X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host and X-Host.
type Forwarding uint8

const (
	// ForwardAppend appends the client's address to X-Forwarded-For, and replaces the others.
	ForwardAppend Forwarding = iota
	// ForwardOverwrite replaces all of them.
	ForwardOverwrite
	// ForwardOff lets them pass as they came.
	ForwardOff
)

// ForwardedParameters is a set of parameters of the Forwarded field (RFC 7239, 5).
type ForwardedParameters uint8

const (
	ForwardedFor ForwardedParameters = 1 << iota
	ForwardedBy
	ForwardedProto
	ForwardedHost
)

// ViaMode says what becomes of Via (RFC 9110, 7.6.3).
type ViaMode uint8

const (
	// ViaOff lets it pass.
	ViaOff ViaMode = iota
	// ViaOn adds this proxy, in requests and responses.
	ViaOn
	// ViaFull does too, with a comment that says what this proxy is.
	ViaFull
	// ViaBlock removes it from requests.
	ViaBlock
)

// product is what this proxy is, and what it calls itself without a name of its own.
const product = "millrace"

// Edits are EditOptions made ready. They are immutable and may be used by several goroutines. Nil edits nothing.
//
// All that edits write is looked at before it is sent: a target, a host or a field that would not be one, because of
// what a pattern found in a request, has the request refused; in a response the field is left out. So no edit can
// produce a line end, or make two fields of one.
type Edits struct {
	o EditOptions

	local   bool           // Trip.Local is used
	pattern *regexp.Regexp // the route's, if groups of it are used
	matched int            // length of what BackendPath replaces, without a pattern

	editsTarget bool
	path        []RewriteRule // of the target: rewrite
	pathSub     []RewriteRule
	host        fieldEdit // rules for Host
	drop        httpparse.FieldSet
	keep        httpparse.FieldSet

	request, response side
}

// side is what becomes of the fields of one direction.
type side struct {
	fields   []fieldEdit
	lengths  uint64   // of the names of fields, a bit each, modulo 64: most fields that come are none of them
	prefixes []string // of names that are removed, in lower case
	lines    []editLine
	own      bool // the proxy adds fields of its own
	// punctuation: what is removed is so with whatever punctuation its name comes. CGI, and servers that do as it does, make one
	// variable of X-User, X_User and X.User.
	punctuation bool
}

// editLine is a line that is set or added.
type editLine struct {
	FieldLine
	fixed string // the whole of it, if nothing of it changes; then it has been seen to be valid
}

func newEditLine(l FieldLine) editLine {
	value := ""
	for _, p := range l.Value.parts {
		if p.variable != varText {
			return editLine{l, ""}
		}
		value += p.text
	}
	if value == "" || !httpparse.ValidFieldValue([]byte(value)) {
		return editLine{l, ""}
	}
	return editLine{l, l.Name + ": " + value + "\r\n"}
}

// removed is what becomes of a field that one of side.prefixes is for.
var removed = fieldEdit{remove: true}

// fieldEdit is what becomes of the fields of one name.
type fieldEdit struct {
	name    string // in lower case
	remove  bool
	content content
	// rewrite and substitute are tried in this order.
	rewrite, substitute []RewriteRule
}

// content says what a value is.
type content uint8

const (
	plainText content = iota
	uriContent
	reverseOnly // a URL that only Reverse is for
	refreshContent
	cookieContent
)

// NewEdits makes edits ready. It returns nil if there are none. Values that are not what they are for, such as a host
// that is none, are the caller's to refuse.
func NewEdits(o EditOptions) *Edits {
	e := &Edits{o: o}
	if o.BackendPath != nil {
		e.matched = len(o.Rule.Path) + len(o.Rule.Prefix)
	}
	if o.Rule != nil && o.Rule.Pattern != nil && e.usesGroups() {
		e.pattern = o.Rule.Pattern
	}
	e.compileRequest()
	e.compileResponse()
	if !e.changes() {
		return nil
	}
	e.local = e.usesLocal()
	return e
}

// changes reports whether there is anything to do.
func (e *Edits) changes() bool {
	return e.editsTarget || e.editsHost() || e.drop != 0 || e.keep != 0 || e.request.changes() || e.response.changes()
}

func (s *side) changes() bool {
	return s.editsFields() || len(s.lines) > 0 || s.own
}

// editsFields reports whether the fields that have come are looked at.
func (s *side) editsFields() bool { return len(s.fields)+len(s.prefixes) > 0 }

// usesGroups reports whether groups of the route's pattern are used. In rules, groups are those of the rule.
func (e *Edits) usesGroups() bool {
	if e.o.BackendPath != nil && e.o.Rule.Path == "" && e.o.Rule.Prefix == "" {
		return true
	}
	for _, list := range [][]FieldLine{e.o.Request.Set, e.o.Request.Add, e.o.Response.Set, e.o.Response.Add} {
		for _, l := range list {
			if l.Value.uses(varGroup) {
				return true
			}
		}
	}
	return false
}

// xForwarded are the fields that XForwarded is about.
const xForwarded = httpparse.FieldSet(1<<httpparse.FieldXForwardedFor |
	1<<httpparse.FieldXForwardedProto |
	1<<httpparse.FieldXForwardedHost |
	1<<httpparse.FieldXHost)

func (e *Edits) compileRequest() {
	o := &e.o
	if o.XForwarded == ForwardOff {
		e.keep = xForwarded
	}
	s := &e.request
	s.punctuation = true
	s.own = o.XForwarded == ForwardOverwrite || o.Forwarded != 0 || o.Via == ViaOn || o.Via == ViaFull || o.RequestID != ""
	if len(o.MapURLPath) > 0 || len(o.MapHostRequest) > 0 {
		s.field("destination").content = uriContent
		s.field("content-location").content = uriContent
	}
	if o.Forwarded != 0 {
		s.field("forwarded").remove = true // written anew
	}
	if o.Via == ViaBlock {
		s.field("via").remove = true
	}
	if o.RequestID != "" {
		s.field(o.RequestID).remove = true // written anew
	}
	for _, r := range o.Request.Rewrite {
		switch {
		case strings.EqualFold(r.Name, RewriteTarget):
			e.path = append(e.path, r)
		case strings.EqualFold(r.Name, "host"):
			e.host.rewrite = append(e.host.rewrite, r)
		default:
			f := s.field(r.Name)
			f.rewrite = append(f.rewrite, r)
		}
	}
	for _, r := range o.Request.Substitute {
		switch {
		case strings.EqualFold(r.Name, RewriteTarget):
			e.pathSub = append(e.pathSub, r)
		case strings.EqualFold(r.Name, "host"):
			e.host.substitute = append(e.host.substitute, r)
		default:
			f := s.field(r.Name)
			f.substitute = append(f.substitute, r)
		}
	}
	s.compileLines(&o.Request)
	e.editsTarget = o.ServerPaths || o.StripPrefix != "" || o.BackendPath != nil || len(o.MapURLPath) > 0 || len(e.path)+len(e.pathSub) > 0
}

func (e *Edits) compileResponse() {
	o, s := &e.o, &e.response
	s.own = o.Via == ViaOn || o.Via == ViaFull
	if len(o.Reverse) > 0 {
		for _, name := range []string{"location", "content-location", "uri", "destination"} {
			s.field(name).content = reverseOnly
		}
		if o.ReverseRefresh {
			s.field("refresh").content = refreshContent
		}
	}
	if len(o.MapURLPath) > 0 || len(o.MapHostResponse) > 0 {
		s.field("location").content = uriContent
		s.field("content-location").content = uriContent
	}
	if len(o.MapURLPath)+len(o.MapHostResponse)+len(o.ReverseCookieDomain)+len(o.ReverseCookiePath) > 0 {
		s.field("set-cookie").content = cookieContent
	}
	for _, r := range o.Response.Rewrite {
		f := s.field(r.Name)
		f.rewrite = append(f.rewrite, r)
	}
	for _, r := range o.Response.Substitute {
		f := s.field(r.Name)
		f.substitute = append(f.substitute, r)
	}
	s.compileLines(&o.Response)
}

func (s *side) compileLines(edits *FieldEdits) {
	for _, name := range edits.Remove {
		if prefix, ok := strings.CutSuffix(name, "*"); ok {
			s.prefixes = append(s.prefixes, strings.ToLower(prefix))
			continue
		}
		s.field(name).remove = true
	}
	for _, l := range edits.Set {
		s.field(l.Name).remove = true
	}
	for _, l := range slices.Concat(edits.Set, edits.Add) {
		s.lines = append(s.lines, newEditLine(l))
	}
}

// field returns what becomes of the fields of a name.
func (s *side) field(name string) *fieldEdit {
	name = strings.ToLower(name)
	for i := range s.fields {
		if s.fields[i].name == name {
			return &s.fields[i]
		}
	}
	s.fields = append(s.fields, fieldEdit{name: name})
	s.lengths |= 1 << (len(name) % 64)
	return &s.fields[len(s.fields)-1]
}

// find returns what becomes of a field, nil if it passes.
func (s *side) find(name []byte) *fieldEdit {
	if s.lengths>>(len(name)%64)&1 != 0 {
		for i := range s.fields {
			if equalName(name, s.fields[i].name) {
				return &s.fields[i]
			}
		}
	}
	for _, p := range s.prefixes {
		if len(name) >= len(p) && equalName(name[:len(p)], p) {
			return &removed
		}
	}
	if s.punctuation && hasPunctuation(name) && s.removes(name) {
		return &removed
	}
	return nil
}

// removes reports whether fields of a name are removed, with dashes in place of other punctuation.
func (s *side) removes(name []byte) bool {
	for i := range s.fields {
		if f := &s.fields[i]; f.remove && equalDashed(name, f.name) {
			return true
		}
	}
	return s.removesPrefix(name)
}

// removesPrefix reports whether it is because of how the name begins.
func (s *side) removesPrefix(name []byte) bool {
	for _, p := range s.prefixes {
		if len(name) >= len(p) && equalDashed(name[:len(p)], p) {
			return true
		}
	}
	return false
}

// NeedsLocal reports whether Trip.Local is used, which may take a system call to find out.
func (e *Edits) NeedsLocal() bool { return e.local }

func (e *Edits) usesLocal() bool {
	if e.o.Forwarded&ForwardedBy != 0 {
		return true
	}
	for _, f := range []*FieldEdits{&e.o.Request, &e.o.Response} {
		for _, list := range [][]FieldLine{f.Set, f.Add} {
			for _, l := range list {
				if l.Value.uses(varListenerAddr) {
					return true
				}
			}
		}
		for _, list := range [][]RewriteRule{f.Rewrite, f.Substitute} {
			for _, r := range list {
				if r.Value.uses(varListenerAddr) {
					return true
				}
			}
		}
	}
	return false
}

// Trip is what edits know of one exchange, and what they remember of its request until its response. It keeps its
// memory from one exchange to the next.
type Trip struct {
	Edits *Edits
	// Head is the client's request head, and Req the views into it. The head may move between request and response.
	Head []byte
	Req  *httpparse.Request
	// ClientAddr is the client's address as text, without a port, and ClientPort its port; empty and 0 on a unix socket.
	ClientAddr []byte
	ClientPort uint16
	// ChainEnd is as in RequestFacts.
	ChainEnd int
	// Scheme is that of the URLs that clients use: "http" or "https".
	Scheme string
	// Local is the address that the client has connected to, as ip:port or unix:/path.
	Local []byte
	// Server is the address of the server, as ip:port or unix:/path, and ServerHost what a Host field for it says.
	Server, ServerHost string
	// ServerPath is what the path of each request to the server begins with, as it is in URLs and without a slash at the
	// end; EditOptions.ServerPaths must be set for it.
	ServerPath string

	// Refused says that what edits have made of the request is no request, because of what it says.
	Refused bool

	status     int
	clientHost []byte // in lower case, without the default port
	path       []byte // normal form of the client's path
	groups     matched
	host       *Mapping // the first of MapHostRequest that was applied
	urlPath    *Mapping // the first of MapURLPath that was applied
	id         [32]byte
	hasID      bool
	clientID   httpparse.View // in Head, if the client has sent a usable one
}

// Begin makes t ready for another exchange. What the caller has to say is set after it.
func (t *Trip) Begin(e *Edits) {
	*t = Trip{Edits: e, Local: t.Local[:0], clientHost: keepRoom(t.clientHost), path: keepRoom(t.path)}
}

// maxRoom bounds what a Trip keeps of each of its buffers, in bytes: one long path is not remembered for ever.
const maxRoom = 4 << 10

func keepRoom(b []byte) []byte {
	if cap(b) > maxRoom {
		return nil
	}
	return b[:0]
}

// beginRequest looks at the client's head, once an attempt. target is what the server would get without edits.
func (t *Trip) beginRequest(target []byte) {
	e := t.Edits
	t.Refused, t.host, t.urlPath = false, nil, nil
	t.clientHost = appendClientHost(t.clientHost[:0], t.Req.Authority.Of(t.Head), t.Scheme)
	if e.editsTarget || e.pattern != nil {
		t.findPath(target)
	}
	if e.pattern != nil {
		t.groups = matched{text: t.path, ends: e.pattern.FindSubmatchIndex(t.path), decoded: true}
	}
}

// findPath finds the normal form of a target's path, which the route was chosen by.
func (t *Trip) findPath(target []byte) {
	raw, _, _ := bytes.Cut(target, questionMark)
	normal, ok := NormalPath(t.path[:0], raw)
	if !ok {
		t.Refused = true
		return
	}
	if len(raw) > 0 && &normal[0] == &raw[0] {
		normal = append(t.path[:0], raw...) // what it lies in is used again
	}
	t.path = normal
}

// appendClientHost appends a host in lower case, without the port that its scheme has anyway.
func appendClientHost(dst, authority []byte, scheme string) []byte {
	defaultPort := ":80"
	if scheme == "https" {
		defaultPort = ":443"
	}
	if n := len(authority) - len(defaultPort); n > 0 && string(authority[n:]) == defaultPort {
		authority = authority[:n]
	}
	return appendLower(dst, authority)
}

// maxRequestID bounds what is taken for an identifier, in bytes.
const maxRequestID = 128

// requestID returns the identifier of the exchange: the client's, where that is wanted and it has sent one, else a
// random one of 128 bits, which all attempts and the response share.
func (t *Trip) requestID() []byte {
	if t.clientID.Len() > 0 {
		return t.clientID.Of(t.Head)
	}
	if t.hasID {
		return t.id[:]
	}
	if name := t.Edits.o.RequestID; name != "" {
		if t.clientID = findRequestID(t.Head, &t.Req.Head, name); t.clientID.Len() > 0 {
			return t.clientID.Of(t.Head)
		}
	}
	const digits = "0123456789abcdef"
	for half := range 2 {
		v := rand.Uint64()
		for i := range 16 {
			t.id[half*16+i] = digits[v&0xf]
			v >>= 4
		}
	}
	t.hasID = true
	return t.id[:]
}

// findRequestID returns the value of the only field of a name, if it is visible characters and not too many.
func findRequestID(buf []byte, h *httpparse.Head, name string) (id httpparse.View) {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Name.Len() != len(name) || !strings.EqualFold(string(f.Name.Of(buf)), name) {
			continue
		}
		if id.Len() > 0 || f.Value.Len() > maxRequestID {
			return httpparse.View{}
		}
		for _, c := range f.Value.Of(buf) {
			if c <= ' ' || c >= 0x7f {
				return httpparse.View{}
			}
		}
		id = f.Value
	}
	return id
}

// maxEditedHead bounds what edits make of a head, in bytes: half as much again as the largest that is taken. A template
// can name what a client has sent many times.
const maxEditedHead = 3 << 19

// maxMatches bounds how often a rule replaces in one value. An empty pattern matches at every byte.
const maxMatches = 1000
