package httpparse

// View is a half-open byte range [Start, End) of the buffer that was parsed. Views stay valid when the
// buffer's bytes are copied elsewhere, as long as they are resolved against the copy.
type View struct{ Start, End uint32 }

// Of returns the bytes of v in b, the buffer that was parsed or a copy of it.
func (v View) Of(b []byte) []byte { return b[v.Start:v.End] }

// Len returns the length of v in bytes.
func (v View) Len() int { return int(v.End - v.Start) }

// Version is an HTTP version as major*10+minor.
type Version uint8

// The versions that are spoken (RFC 9112, 2.3).
const (
	HTTP10 Version = 10
	HTTP11 Version = 11
)

// FieldID names the fields that the proxy itself acts upon; every other field is FieldOther.
type FieldID uint8

// The fields known to the proxy.
const (
	FieldOther FieldID = iota
	FieldHost
	FieldConnection
	FieldProxyConnection
	FieldKeepAlive
	FieldTE
	FieldTrailer
	FieldTransferEncoding
	FieldUpgrade
	FieldContentLength
	FieldExpect
	FieldProxy // httpoxy: never forwarded
	FieldXForwardedFor
	FieldXForwardedProto
	FieldXForwardedHost
	FieldXHost
	FieldUserAgent
	FieldReferer
	FieldDate
	FieldServer
	FieldMaxForwards
	FieldAuthorization
	FieldProxyAuthenticate
	FieldProxyAuthorization
	numFieldIDs
)

// FieldSet is a set of FieldIDs.
type FieldSet uint64

// Has reports whether id is in the set.
func (s FieldSet) Has(id FieldID) bool { return s&(1<<id) != 0 }

// Field is one field line: its name, and its value without surrounding blanks.
type Field struct {
	Name, Value View
	ID          FieldID
}

// Head is what request and response heads have in common.
type Head struct {
	// Fields are the field lines in order. The caller supplies the array: parsing refuses a head with more
	// lines than cap(Fields), and never grows it.
	Fields []Field
	// Seen holds the IDs that occur in Fields.
	Seen    FieldSet
	Version Version
	// What the Connection fields list (RFC 9110, 7.6.1): close, keep-alive, and whether any other name is
	// there, so that NamedByConnection must be asked.
	ConnClose, ConnKeepAlive, ConnNames bool
	// Allow is what the caller tolerates beyond the grammar. Parsing leaves it as it is.
	Allow Leniency

	options uint8 // how many the Connection fields list, up to one more than MaxConnectionOptions
}
