package configs

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"millrace/balance"
	"millrace/internal/accesslog"
	"millrace/internal/health"
	"millrace/internal/resolve"
	"millrace/loop"
	"millrace/remap"
)

// The model is the file as Go types: a struct for each table, a field for each key, and the key's name in its tag.
// Fields without a tag are what validation made of the others, for compilation.

// place is where something stands.
type place struct {
	key       string // its path, as the file spells it
	keyAt, at int    // offsets of the key and of the value
}

// value is one scalar, or one array of scalars.
type value[T any] struct {
	place
	// given says that the file has the key; ok that v holds what the file says there, or the default. A key that
	// is given and not ok has been reported. near says that the file has a key with nearly this name, which has been
	// reported too, so that nothing is to be said about this one being missing.
	given, ok, near bool
	// text is the value as the file has it, for messages.
	text string
	v    T
}

func (x *value[T]) absent() bool { return !x.given && !x.near }
func (x *value[T]) misspelt()    { x.near = true }

// protocols is what a request may switch to: any protocol, those of a list, or none.
type protocols struct {
	any  bool
	list []value[string]
}

// row is an array of strings in an array of them.
type row struct {
	place
	items []value[string]
}

// byteCount is a number of bytes.
type byteCount int64

// section is what all tables have.
type section struct {
	place
	given, ok, near bool // as those of value
}

func (s *section) base() *section { return s }
func (s *section) absent() bool   { return !s.given && !s.near }
func (s *section) misspelt()      { s.near = true }

// unread reports whether the file may have more of the table than the model.
func (s *section) unread() bool { return s.near || s.given && !s.ok }

// tables is an array of tables, in the order of the file.
type tables[T any] struct {
	section
	items []*T
}

func (t *tables[T]) add() any {
	item := new(T)
	t.items = append(t.items, item)
	return item
}

// named is a table of tables with names that the user chooses, in the order of the file.
type named[T any] struct {
	section
	names []string
	items []*T
}

func (n *named[T]) add(name string) any {
	item := new(T)
	n.names = append(n.names, name)
	n.items = append(n.items, item)
	return item
}

// file is the whole configuration.
type file struct {
	section
	Server    server           `toml:"server"`
	Timeouts  timeouts         `toml:"timeouts"`
	Limits    limits           `toml:"limits"`
	Parseopts parseopts        `toml:"http_parseopts"`
	AccessLog accessLog        `toml:"access_log"`
	Admin     admin            `toml:"admin"`
	Resolver  resolver         `toml:"resolver"`
	Listeners tables[listener] `toml:"listener"`
	Routing   routing          `toml:"routing"`
	Routes    tables[route]    `toml:"route"`
	Pages     tables[page]     `toml:"error_page"`
	Backends  named[backend]   `toml:"backend"`
	Tests     tables[test]     `toml:"test"`

	found map[resolve.Query]resolve.Answer // what the names of servers have come to
}

type server struct {
	section
	Loops          value[int64]         `toml:"loops"`
	MaxConnections value[int64]         `toml:"max_connections"`
	DrainTimeout   value[time.Duration] `toml:"drain_timeout"`
	Name           value[string]        `toml:"name"`

	Splice          value[string]    `toml:"splice"`
	SpliceThreshold value[byteCount] `toml:"splice_threshold"`
	MemoryLimit     value[byteCount] `toml:"memory_limit"`
	User            value[string]    `toml:"user"`
	Group           value[string]    `toml:"group"`
	Sandbox         value[bool]      `toml:"sandbox"`
}

// timeouts is the table of the defaults, and of what a listener, a route or a backend says of its own.
type timeouts struct {
	section
	ClientHeader value[time.Duration] `toml:"client_header"`
	ClientBody   value[time.Duration] `toml:"client_body"`
	ClientWrite  value[time.Duration] `toml:"client_write"`
	ClientIdle   value[time.Duration] `toml:"client_idle"`
	Connect      value[time.Duration] `toml:"connect"`
	Response     value[time.Duration] `toml:"response"`
	BackendRead  value[time.Duration] `toml:"backend_read"`
	TunnelIdle   value[time.Duration] `toml:"tunnel_idle"`
}

type limits struct {
	section
	HeaderBytes  value[byteCount] `toml:"header_bytes"`
	HeaderFields value[int64]     `toml:"header_fields"`
	BodyBytes    value[byteCount] `toml:"body_bytes"`
	ClientRate   value[byteCount] `toml:"client_rate"`

	ConnectionsPerClient value[int64] `toml:"connections_per_client"`
}

type accessLog struct {
	section
	Path   value[string] `toml:"path"`
	Format value[string] `toml:"format"`

	format *accesslog.Format
}

type admin struct {
	section
	Address value[string] `toml:"address"`
}

// routing is the table of what comes before routes.
type routing struct {
	section
	RewriteOnce   value[[]row] `toml:"rewrite_once"`
	MapExtensions value[[]row] `toml:"map_extensions"`

	rewrites   []remap.RewriteRule
	extensions []remap.Mapping
}

type listener struct {
	section
	Name      value[string] `toml:"name"`
	Address   value[string] `toml:"address"`
	Protocol  value[string] `toml:"protocol"`
	Backend   value[string] `toml:"backend"`
	Scheme    value[string] `toml:"scheme"`
	Timeouts  timeouts      `toml:"timeouts"`
	Parseopts parseopts     `toml:"http_parseopts"`

	Socket listenerSocket `toml:"socket"`

	Allow          value[[]value[string]] `toml:"allow"`
	Deny           value[[]value[string]] `toml:"deny"`
	TrustedProxies value[[]value[string]] `toml:"trusted_proxies"`
	TrustedHeader  value[string]          `toml:"trusted_header"`
	Rate           value[string]          `toml:"rate"`
	RateBurst      value[int64]           `toml:"rate_burst"`
	RateKey        value[string]          `toml:"rate_key"`
	ProxyProtocol  value[string]          `toml:"proxy_protocol"`

	guard   *guard
	trust   *trust
	bind    endpoint
	backend int // index, for protocol = "sock"
}

type route struct {
	section
	Name      value[string]          `toml:"name"`
	Listeners value[[]value[string]] `toml:"listeners"`
	Hosts     value[[]value[string]] `toml:"hosts"`
	Path      value[string]          `toml:"path"`
	Prefix    value[string]          `toml:"prefix"`
	Extension value[string]          `toml:"extension"`
	Pattern   value[string]          `toml:"pattern"`
	Methods   value[[]value[string]] `toml:"methods"`
	Headers   value[[]value[string]] `toml:"headers"`
	Query     value[[]value[string]] `toml:"query"`
	Clients   value[[]value[string]] `toml:"clients"`
	Not       routeNot               `toml:"not"`
	Exclude   value[bool]            `toml:"exclude"`
	Trace     value[bool]            `toml:"trace"`
	Backend   value[string]          `toml:"backend"`
	Upgrade   value[protocols]       `toml:"upgrade"`
	Connect   value[bool]            `toml:"connect"`
	Timeouts  timeouts               `toml:"timeouts"`
	Allow     value[[]value[string]] `toml:"allow"`
	Deny      value[[]value[string]] `toml:"deny"`
	Rate      value[string]          `toml:"rate"`
	RateBurst value[int64]           `toml:"rate_burst"`
	RateKey   value[string]          `toml:"rate_key"`

	ErrorOverride         value[[]value[string]] `toml:"error_override"`
	PreserveHost          value[bool]            `toml:"preserve_host"`
	ReplaceHTTPHost       value[string]          `toml:"replace_http_host"`
	XForwarded            value[string]          `toml:"x_forwarded"`
	Forwarded             value[[]value[string]] `toml:"forwarded"`
	Via                   value[string]          `toml:"via"`
	RequestID             value[string]          `toml:"request_id"`
	StripPrefix           value[string]          `toml:"strip_prefix"`
	BackendPath           value[string]          `toml:"backend_path"`
	NoCanon               value[bool]            `toml:"nocanon"`
	MapURLPath            value[[]row]           `toml:"map_urlpath"`
	MapURLPathHostInclude value[[]value[string]] `toml:"map_urlpath_resp_host_include"`
	MapURLPathHostExclude value[[]value[string]] `toml:"map_urlpath_resp_host_exclude"`
	MapHostRequest        value[[]row]           `toml:"map_host_request"`
	MapHostResponse       value[[]row]           `toml:"map_host_response"`
	HTTPSRemap            value[bool]            `toml:"https_remap"`
	Reverse               value[[]row]           `toml:"reverse"`
	ReverseRefresh        value[bool]            `toml:"reverse_refresh"`
	ReverseCookieDomain   value[[]row]           `toml:"reverse_cookie_domain"`
	ReverseCookiePath     value[[]row]           `toml:"reverse_cookie_path"`
	Request               fieldEdits             `toml:"request"`
	Response              fieldEdits             `toml:"response"`

	guard     *guard
	override  *loop.StatusSet
	edits     remap.EditOptions
	listeners []int // indexes; nil for all
	rule      remap.Rule
	backend   int // index

	reversed []int // index by index of edits.Reverse: whose servers are meant, -1 for none
}

// page is an own page for errors.
type page struct {
	section
	Status      value[[]value[string]] `toml:"status"`
	File        value[string]          `toml:"file"`
	Text        value[string]          `toml:"text"`
	ContentType value[string]          `toml:"content_type"`
	ErrorsOf    value[string]          `toml:"errors_of"`

	statuses []int
	body     []byte
}

// fieldEdits is the table of what is changed in the fields of requests, or of responses.
type fieldEdits struct {
	section
	Set        value[[]value[string]] `toml:"set"`
	Add        value[[]value[string]] `toml:"add"`
	Remove     value[[]value[string]] `toml:"remove"`
	Rewrite    value[[]row]           `toml:"rewrite"`
	Substitute value[[]row]           `toml:"substitute"`
}

// routeNot is the table of conditions that a request must not meet.
type routeNot struct {
	section
	Hosts     value[[]value[string]] `toml:"hosts"`
	Path      value[string]          `toml:"path"`
	Prefix    value[string]          `toml:"prefix"`
	Extension value[string]          `toml:"extension"`
	Pattern   value[string]          `toml:"pattern"`
	Methods   value[[]value[string]] `toml:"methods"`
	Headers   value[[]value[string]] `toml:"headers"`
	Query     value[[]value[string]] `toml:"query"`
	Clients   value[[]value[string]] `toml:"clients"`

	rule remap.Rule
}

// conditions is what a route and its table "not" have in common.
type conditions struct {
	hosts                            *value[[]value[string]]
	path, prefix, extension, pattern *value[string]
	methods, headers, query, clients *value[[]value[string]]
}

func (r *route) conditions() conditions {
	return conditions{&r.Hosts, &r.Path, &r.Prefix, &r.Extension, &r.Pattern, &r.Methods, &r.Headers, &r.Query, &r.Clients}
}

func (n *routeNot) conditions() conditions {
	return conditions{&n.Hosts, &n.Path, &n.Prefix, &n.Extension, &n.Pattern, &n.Methods, &n.Headers, &n.Query, &n.Clients}
}

type backend struct {
	section
	Balance           value[string]          `toml:"balance"`
	HashKey           value[string]          `toml:"hash_key"`
	HashCompat        value[string]          `toml:"hash_compat"`
	HashBalanceFactor value[int64]           `toml:"hash_balance_factor"`
	Servers           value[[]value[string]] `toml:"servers"`
	Server            tables[backendServer]  `toml:"server"`
	Resolve           value[string]          `toml:"resolve"`
	SplitHostnames    value[bool]            `toml:"split_hostnames"`
	TTL               value[time.Duration]   `toml:"ttl"`
	SMax              value[int64]           `toml:"smax"`
	MinIdle           value[int64]           `toml:"min_idle"`
	Max               value[int64]           `toml:"max"`
	Queue             value[int64]           `toml:"queue"`
	QueueTimeout      value[time.Duration]   `toml:"queue_timeout"`
	QueueOrder        value[string]          `toml:"queue_order"`
	ServerWait        value[time.Duration]   `toml:"server_wait_timeout"`
	MaxRequests       value[int64]           `toml:"max_requests"`
	MaxAge            value[time.Duration]   `toml:"max_age"`
	DisableReuse      value[bool]            `toml:"disable_reuse"`
	DisableTime       value[time.Duration]   `toml:"disable_time"`
	MaxFails          value[int64]           `toml:"max_fails"`
	FailOnStatus      value[[]value[string]] `toml:"fail_on_status"`
	FailOnTimeout     value[bool]            `toml:"fail_on_timeout"`
	SlowStart         value[time.Duration]   `toml:"slow_start"`
	ForceRecovery     value[bool]            `toml:"force_recovery"`
	RetryOn           value[[]value[string]] `toml:"retry_on"`
	MaxAttempts       value[int64]           `toml:"max_attempts"`
	RetryBudget       value[int64]           `toml:"retry_budget"`
	Ping              value[time.Duration]   `toml:"ping"`
	StickySession     value[string]          `toml:"sticky_session"`
	StickySessionSep  value[string]          `toml:"sticky_session_sep"`
	ScolonPathDelim   value[bool]            `toml:"scolon_path_delim"`
	StickyHeader      value[string]          `toml:"sticky_header"`
	StickyCookie      stickyCookie           `toml:"sticky_cookie"`
	NoFailover        value[bool]            `toml:"no_failover"`
	SendProxy         value[string]          `toml:"send_proxy"`
	SendProxyTLV      value[bool]            `toml:"send_proxy_tlv"`
	Timeouts          timeouts               `toml:"timeouts"`
	Health            healthCheck            `toml:"health"`
	Ejection          ejection               `toml:"ejection"`
	Socket            backendSocket          `toml:"socket"`

	targets []*target
	hashKey loop.Key // what hash_key says
	failOn  *loop.StatusSet
	retryOn loop.RetryOn
	sticky  *loop.Sticky // nil: there are no sessions
	// retryStatus is what retry_on has besides words.
	retryStatus *loop.StatusSet
	socket      *loop.BackendSocket // of connections to all servers; nil: nothing is set
	raw         bool                // nothing but sock listeners leads to it
}

// healthCheck is the table that has a backend's servers checked.
type healthCheck struct {
	section
	Type     value[string]          `toml:"type"`
	Method   value[string]          `toml:"method"`
	Path     value[string]          `toml:"path"`
	Host     value[string]          `toml:"host"`
	Status   value[[]value[string]] `toml:"status"`
	Body     value[string]          `toml:"body"`
	Port     value[int64]           `toml:"port"`
	Interval value[time.Duration]   `toml:"interval"`
	Jitter   value[time.Duration]   `toml:"jitter"`
	Timeout  value[time.Duration]   `toml:"timeout"`
	Rise     value[int64]           `toml:"rise"`
	Fall     value[int64]           `toml:"fall"`

	statuses []health.StatusRange
}

type backendServer struct {
	section
	Address value[string] `toml:"address"`
	Path    value[string] `toml:"path"`
	Weight  value[int64]  `toml:"weight"`
	LBSet   value[int64]  `toml:"lbset"`
	Status  value[string] `toml:"status"`
	Max     value[int64]  `toml:"max"`

	Route     value[string] `toml:"route"`
	Redirect  value[string] `toml:"redirect"`
	SendProxy value[string] `toml:"send_proxy"`
}

// endpoint is an address to listen on or to connect to: a unix socket's path, an IP address and port, or, to listen on, the
// name of a socket that is inherited.
type endpoint struct {
	path    string
	tcp     netip.AddrPort
	inherit string
}

func (e endpoint) valid() bool { return e.path != "" || e.tcp.IsValid() || e.inherit != "" }

// String is the form of logs: ip:port, unix:/path, or systemd:name.
func (e endpoint) String() string {
	if e.inherit != "" {
		return systemdPrefix + e.inherit
	}
	if e.path != "" {
		return unixPrefix + e.path
	}
	return e.tcp.String()
}

// target is what one entry of a backend's servers names: an endpoint, or a host that is one or several.
type target struct {
	place
	endpoint
	host   string // to resolve, lower case; empty when the entry is an endpoint
	port   uint16 // of host
	weight int
	set    int
	status balance.Status
	root   string // begins the path of each request
	max    int    // connections

	route, redirect string // of sessions
	sendProxy       uint8

	service bool // host is the name of a service
	later   bool // it need not be found for a start
	whole   bool // its addresses are one server
}

// key is one key of the format.
type key struct {
	// path has no indexes, and NAME for the name of a backend: backend.NAME.server.weight.
	path string
	// table is the header of its table as the file has it: [[backend.NAME.server]].
	table string
	name  string
}

// keys returns all keys that have values and an effect, in the order of the model.
func keys() []key { return appendKeys(nil, "", "", reflect.TypeFor[file]()) }

func appendKeys(list []key, path, header string, table reflect.Type) []key {
	for i, f := range fields(table) {
		below := join(path, f.name)
		switch empty := reflect.New(table.Field(f.index).Type).Interface().(type) {
		case interface{ add() any }:
			list = appendKeys(list, below, "[["+below+"]]", reflect.TypeOf(empty.add()).Elem())
		case interface{ add(string) any }:
			below += ".NAME"
			list = appendKeys(list, below, "["+below+"]", reflect.TypeOf(empty.add("")).Elem())
		case interface{ base() *section }:
			list = appendKeys(list, below, "["+below+"]", reflect.TypeOf(empty).Elem())
		default:
			if table == reflect.TypeFor[timeouts]() && !slices.Contains(homes(scopes[i]), header) {
				continue
			}
			list = append(list, key{below, header, f.name})
		}
	}
	return list
}

// field is a field of a table's struct that stands for a key.
type field struct {
	name  string
	index int
}

func fields(table reflect.Type) []field {
	var list []field
	for i := range table.NumField() {
		if name, ok := table.Field(i).Tag.Lookup("toml"); ok {
			list = append(list, field{name, i})
		}
	}
	return list
}

// plain is a key's spelling without what does not matter: lighttpd writes disable-time, Apache DisableTime.
func plain(key string) string { return strings.ToLower(separators.Replace(key)) }

var separators = strings.NewReplacer("_", "", "-", "")

// join appends a key to a path, quoted if it would have to be in the file.
func join(path, key string) string {
	if key == "" || strings.ContainsFunc(key, func(c rune) bool { return !isBare(c) }) {
		key = quoted(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// isBare reports whether a character may stand in a key without quotes.
func isBare(c rune) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}
