package loop

import (
	"millrace/httpparse"
	"millrace/internal/accesslog"
)

// fault is why an exchange could not go on. It carries what has to be decided: what the client is told,
// whether the client's connection can be kept, and what the record says. See faults, the one table.
type fault uint8

const (
	faultNone fault = iota

	// The client's side.
	faultBadRequest    // syntax or framing that is refused
	faultVersion       // an HTTP version that is not spoken
	faultTargetTooLong // the request line does not fit into header_bytes
	faultHeadTooLarge  // header_bytes or header_fields
	faultUnknownCoding // a transfer coding other than chunked
	faultMethod        // TRACE, and CONNECT where no route has it
	faultBodyTooLarge  // body_bytes
	faultHeaderTimeout // client_header
	faultBodyTimeout   // client_body
	faultBodyCut       // the client ended its side in the middle of a request
	faultClientGone    // reset, or its side no longer takes bytes
	faultClientTimeout // client_write
	faultNoRoute       // no route, or an excluded one
	faultShutdown      // the drain timeout passed
	faultTunnelIdle    // tunnel_idle
	faultDenied        // allow, deny
	faultRate          // rate

	// The server's side.
	faultNoServer        // none is eligible
	faultQueueFull       // queue
	faultQueueTimeout    // queue_timeout, or dropped by queue_order = "adaptive"
	faultQueueLeft       // the client ended its side while its request waited
	faultNoDescriptor    // no descriptor or local port for a connection
	faultNoMemory        // memory_limit
	faultConnect         // refused, unreachable
	faultConnectTimeout  // connect
	faultServerClosed    // closed or reset before a response head
	faultBadResponse     // syntax or framing that is refused
	faultResponseTimeout // response, or no progress while sending the request
	faultResponseCut     // closed, reset or wrong in the middle of a body
	faultReadTimeout     // backend_read
	faultPing            // ping
	faultPassedOver      // a status that retry_on has; another server is reserved for the request
)

// faults says for each fault: the status that the client gets if nothing else was sent (0: nobody is
// there to be told), whether the connection may go on after that answer (only where the request's framing
// is beyond doubt and it has been read), and how the record names it.
var faults = [...]struct {
	status int
	keep   bool
	end    accesslog.End
}{
	faultNone:            {0, true, accesslog.EndOK},
	faultBadRequest:      {400, false, accesslog.EndBadRequest},
	faultVersion:         {505, false, accesslog.EndBadRequest},
	faultTargetTooLong:   {414, false, accesslog.EndBadRequest},
	faultHeadTooLarge:    {431, false, accesslog.EndBadRequest},
	faultUnknownCoding:   {501, false, accesslog.EndBadRequest},
	faultMethod:          {405, true, accesslog.EndBadRequest},
	faultBodyTooLarge:    {413, false, accesslog.EndBadRequest},
	faultHeaderTimeout:   {408, false, accesslog.EndClientTimeout},
	faultBodyTimeout:     {408, false, accesslog.EndClientTimeout},
	faultBodyCut:         {400, false, accesslog.EndClientAbort},
	faultClientGone:      {0, false, accesslog.EndClientAbort},
	faultClientTimeout:   {0, false, accesslog.EndClientTimeout},
	faultNoRoute:         {404, true, accesslog.EndNoRoute},
	faultShutdown:        {0, false, accesslog.EndShutdown},
	faultTunnelIdle:      {0, false, accesslog.EndTunnelIdle},
	faultDenied:          {403, true, accesslog.EndDenied},
	faultRate:            {429, true, accesslog.EndRateLimited},
	faultNoServer:        {503, true, accesslog.EndNoServer},
	faultQueueFull:       {503, true, accesslog.EndQueueFull},
	faultQueueTimeout:    {503, true, accesslog.EndQueueTimeout},
	faultQueueLeft:       {503, false, accesslog.EndClientAbort},
	faultNoDescriptor:    {503, true, accesslog.EndNoResource},
	faultNoMemory:        {503, false, accesslog.EndOverload},
	faultConnect:         {502, true, accesslog.EndBackendError},
	faultConnectTimeout:  {504, true, accesslog.EndBackendTimeout},
	faultServerClosed:    {502, true, accesslog.EndBackendError},
	faultBadResponse:     {502, true, accesslog.EndBackendError},
	faultResponseTimeout: {504, true, accesslog.EndBackendTimeout},
	faultResponseCut:     {502, false, accesslog.EndBackendError},
	faultReadTimeout:     {504, false, accesslog.EndBackendTimeout},
	faultPing:            {504, true, accesslog.EndBackendTimeout},
	faultPassedOver:      {502, true, accesslog.EndBackendError},
}

// statusClientGone is what a record shows for a client that left before any answer: nginx's number for it,
// which log analysers know.
const statusClientGone = 499

// refusal maps what the parser says of a request.
func refusal(err error) fault {
	e, ok := err.(*httpparse.Error)
	if !ok {
		panicf("loop: not a parser's error: %v", err)
	}
	switch e.Status() {
	case 414:
		return faultTargetTooLong
	case 431:
		return faultHeadTooLarge
	case 501:
		return faultUnknownCoding
	case 505:
		return faultVersion
	}
	return faultBadRequest
}
