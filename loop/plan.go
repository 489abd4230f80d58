package loop

import (
	"net/netip"
	"os"
	"slices"
	"time"

	"millrace/balance"
	"millrace/httpparse"
	"millrace/internal/accesslog"
	"millrace/internal/health"
	"millrace/remap"
)

// Plan is everything that a configuration says, compiled. It is immutable once a Server has it: a new
// configuration is a new Plan.
type Plan struct {
	// Loops is the number of event loops; 0 means one a usable CPU.
	Loops int
	// Linger is how long a loop without anything to do keeps its processor (one of GOMAXPROCS), in whole milliseconds. It is
	// for a process that does little but run loops: other goroutines may have to wait for that long. 0: not at all.
	Linger time.Duration
	// MaxConnections bounds client connections over all loops; 0 derives it from the open-file limit.
	MaxConnections int
	// DrainTimeout bounds how long a drain waits for exchanges in flight.
	DrainTimeout time.Duration
	// Splice says whether large bodies and tunnels go through pipes, and SpliceThreshold from which size on, in bytes.
	Splice          Splice
	SpliceThreshold int64
	// MemoryLimit is what the process may use, in bytes; 0 is no limit. Half of it is for connections and what they
	// have in buffers.
	MemoryLimit int64
	Privileges  Privileges
	Limits      Limits
	Listeners   []*Listener
	// Rewrites change targets before they are routed; nil: none are.
	Rewrites *remap.Rewrites
	// Table picks the index into Routes.
	Table    *remap.Table
	Routes   []*Route
	Backends []*Backend
	// OwnErrors are the pages of our own answers, ServerErrors those that take the place of what servers say: see
	// Route.ErrorOverride.
	OwnErrors, ServerErrors ErrorPages
	// Resolver looks up the names of backends; nil when none has any.
	Resolver Resolver
	// AccessLog is nil when it is off.
	AccessLog *AccessLog
	// Inherited are the listening sockets that a service manager has passed to the process, under the names that it gave
	// them. A Server uses duplicates of them: those here stay open, so that no client is lost between two processes.
	Inherited []*os.File
}

// Privileges is what the process gives up once its listeners are open. It is for the command to do: a Server takes no
// notice of it.
type Privileges struct {
	// User and Group are names or numbers; empty: as it was started.
	User, Group string
	// Sandbox takes the file system away, but for what a running proxy needs of it.
	Sandbox bool
}

// Limits bounds what a client may send.
type Limits struct {
	// HeaderBytes bounds a request head, and a backend's response head, in bytes.
	HeaderBytes int
	// HeaderFields bounds the field lines of a head.
	HeaderFields int
	// BodyBytes bounds a request body, in bytes; 0 is no limit.
	BodyBytes int64
	// ClientRate is the least that a client may send of a body, or take of a response, on the average, in bytes a
	// second; 0 is no limit.
	ClientRate int64
	// ConnectionsPerClient bounds the connections of one client address, of IPv6 those of one /64, over all loops and
	// listeners; 0 is no limit. It is at most MaxConnectionsPerClient.
	ConnectionsPerClient int
}

// AccessLog says where records go and what they look like.
type AccessLog struct {
	// Path is a file, or "stdout".
	Path   string
	Format *accesslog.Format
}

// Listener is one address to accept clients on.
type Listener struct {
	// Index is the position in Plan.Listeners, which remap.Table knows it by.
	Index int
	// Name is how routes and logs refer to it; it defaults to the address.
	Name string
	// Address is a TCP address; the IPv6 unspecified address listens on both families. Invalid for unix.
	Address netip.AddrPort
	// Path is a unix socket's path, or empty.
	Path string
	// Inherit is the name of the socket in Plan.Inherited that takes the place of both, or empty.
	Inherit  string
	Timeouts *Timeouts
	// Parse is what is tolerated and changed in requests, beyond the strict reading.
	Parse ParseOptions
	// Backend is set for a listener that parses nothing: each client gets a connection to one of its servers.
	Backend *Backend
	// Guard says whose connections are taken, and how many requests; nil: everybody's, any number.
	Guard *Guard
	// Trust says which peers are believed about whom they act for; nil: none.
	Trust *Trust
	// ProxyProtocol says whether those peers begin their connections by naming their clients.
	ProxyProtocol ProxyProtocol
	// Backlog is how many connections the kernel is asked to queue; 0 is 4096. It takes at most net.core.somaxconn.
	Backlog int
	// Socket is what is set of the listening socket, and so of those that it accepts.
	Socket []SocketSetting
	// Scheme is that of the URLs by which clients know what is here: "https" where TLS ends before us, else "http".
	// Empty is "http".
	Scheme string
	// Position is file:line:column of the address in the configuration, for error messages.
	Position string
}

// ParseOptions says how the requests of a listener are read. The zero value is strict and changes nothing.
type ParseOptions struct {
	// Head is tolerated in request heads, and in the heads of the responses to them.
	Head httpparse.Leniency
	// RefuseGetBody refuses GET and HEAD with a body.
	RefuseGetBody bool
	// Target is how targets are brought into one form before they are routed and sent on.
	Target remap.TargetOptions
}

// Route is what a matching request gets.
type Route struct {
	// Name is how the configuration's tests refer to it; it may be empty.
	Name string
	// Backend is nil for an excluded route: what matches it is not proxied.
	Backend *Backend
	// Upgrade is what requests may switch to; nil for nothing.
	Upgrade *Upgrade
	// Connect lets CONNECT make a tunnel to one of Backend's servers.
	Connect bool
	// Timeouts holds the timeouts in force for a request that came by Listeners[i] and took this route.
	Timeouts []*Timeouts
	// Trace lets TRACE pass (RFC 9110, 9.3.8).
	Trace bool
	// Guard says whose requests are taken, and how many; nil: everybody's, any number.
	Guard *Guard
	// Edits is what is changed in requests and responses; nil: nothing.
	Edits *remap.Edits
	// ErrorOverride are the statuses of servers whose content is replaced by a page of Plan.ServerErrors, or by a line with
	// the status where there is none; nil for none.
	ErrorOverride *StatusSet
}

// Backend is a named group of servers.
type Backend struct {
	Name string
	// Servers are index for index those of Group.
	Servers []*BackendServer
	Group   *balance.Group
	// Key is how the key is made that Group goes by.
	Key Key
	// Sticky says how a request shows which server its session is on; nil: no server is better than another.
	Sticky *Sticky
	// FailOnStatus are the statuses that count as failures of the server; nil for none.
	FailOnStatus *StatusSet
	// FailOnTimeout: so does a response that has not come in time.
	FailOnTimeout bool
	// ErrorStatus are the statuses that count as errors for the ejections of Group; nil for none.
	ErrorStatus *StatusSet
	// RetryStatus are the statuses after which a request is given to another server; nil for none.
	RetryStatus *StatusSet
	// RetryOn says after which failures a request is tried again, MaxAttempts how often at most, the first attempt
	// included; 0 is until all servers have been tried. Budget is nil for no bound.
	RetryOn     RetryOn
	MaxAttempts int
	Budget      *RetryBudget
	// Ping is how long a server is waited for that is asked whether it wants the body of a request; 0: it is not asked.
	Ping time.Duration
	// IdleTTL is how long an unused connection is kept. IdleMax bounds the unused connections kept a server
	// and loop; 0 is no bound but the open-file limit.
	IdleTTL time.Duration
	IdleMax int
	// MinIdle is how many unused connections each server has ready, over all loops; 0 is none. ConnectTimeout is how
	// long an attempt to make one may take.
	MinIdle        int
	ConnectTimeout time.Duration
	// Reuse bounds what a connection carries; nil: as many requests as come.
	Reuse *Reuse
	// Limit bounds the connections to the servers that have a Max; nil: none has.
	Limit *Limit
	// Health is how the servers are checked; nil: they are not.
	Health *health.Check
	// RetryAfter is what a client is told to wait, in seconds, when no server is eligible; 0: it is not told.
	RetryAfter int
	// Names are looked up again while the backend is in use, and Servers and Group change with them: to those of
	// another Backend, the next generation. Nil: they stay as they are.
	Names *Names
}

// BackendServer is one address of a backend.
type BackendServer struct {
	// ID is dense over all servers of the plan and keys the loops' connection pools. Of servers that names bring while
	// the plan is in use, it is one that nobody has.
	ID int
	// Name is the address as text: ip:port, or unix:/path.
	Name string
	// Host is what a Host field says that is about this server: the name or address as it was configured, with the
	// port unless it is 80; "localhost" for a unix socket.
	Host string
	// SetCookie is the field line, with its end, that tells a client of this server: see StickyCookie. Empty: none.
	SetCookie []byte
	// Root is what the path of each request to the server begins with, without a slash at the end; empty: nothing.
	Root string
	// Address is valid for TCP; else Path is a unix socket's path.
	Address netip.AddrPort
	Path    string
	// SendProxy is the version of the PROXY protocol by which the server is told whom each connection is made for, 1 or
	// 2; 0: it is not told. Such a connection carries one exchange and is not kept.
	SendProxy uint8
	// SendProxyTLV passes on the TLVs that a client's connection has come with. It is for version 2.
	SendProxyTLV bool
	// Socket is what is set of the sockets that connect to the server; nil: nothing.
	Socket *BackendSocket
	// Max is how many connections there may be to the server, over all loops; 0 is no limit. It is for backends with a
	// Limit.
	Max int

	slot int // in the limit of the backend
}

// Timeouts are the waits that end a session. Zero means no limit.
type Timeouts struct {
	// ClientHeader runs from the first byte of a request to the end of its head.
	ClientHeader time.Duration
	// ClientBody is the longest wait between two reads of a request body.
	ClientBody time.Duration
	// ClientWrite is the longest wait between two writes to the client that make progress.
	ClientWrite time.Duration
	// ClientIdle is the longest wait for the next request.
	ClientIdle time.Duration
	// Connect bounds one attempt to connect to a server.
	Connect time.Duration
	// Response runs from the end of the request to the end of the response head.
	Response time.Duration
	// BackendRead is the longest wait between two reads of a response body, and between two writes of a
	// request to a server that make progress.
	BackendRead time.Duration
	// TunnelIdle is the longest silence of a tunnel.
	TunnelIdle time.Duration
}

// limitsRates reports whether any requests are limited.
func (p *Plan) limitsRates() bool {
	limits := func(g *Guard) bool { return g != nil && g.Rate != nil }
	return slices.ContainsFunc(p.Listeners, func(l *Listener) bool { return limits(l.Guard) }) ||
		slices.ContainsFunc(p.Routes, func(r *Route) bool { return limits(r.Guard) })
}
