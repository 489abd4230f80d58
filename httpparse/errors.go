package httpparse

import (
	"errors"
	"fmt"
)

// ErrNeedMore says that the input is a correct beginning. It is a normal result, not a failure.
var ErrNeedMore = errors.New("httpparse: need more input")

// Kind is what is wrong with a message.
type Kind uint8

// The kinds of errors.
const (
	BadRequestLine Kind = iota
	BadMethod
	BadTarget
	BadVersion
	UnknownVersion
	BadStatusLine
	BadLineEnd
	BadFieldName
	BadFieldValue
	TooManyFields
	HeadTooLarge
	TooManyOptions
	MissingHost
	RepeatedHost
	BadHost
	BadContentLength
	RepeatedContentLength
	BadTransferEncoding
	UnknownTransferCoding
	LengthWithChunked
	ObscuredField
	UnderscoreInName
	BadMaxForwards
	BadChunkSize
	BadChunkExtension
	BadChunkEnd
	numKinds
)

// kinds gives each kind its words, and the status that answers a request with it.
var kinds = [numKinds]struct {
	text   string
	status int
}{
	BadRequestLine:        {"malformed request line", 400},
	BadMethod:             {"method is not a token", 400},
	BadTarget:             {"malformed request target", 400},
	BadVersion:            {"malformed HTTP version", 400},
	UnknownVersion:        {"HTTP version is neither 1.0 nor 1.1", 505},
	BadStatusLine:         {"malformed status line", 400},
	BadLineEnd:            {"line does not end with CRLF", 400},
	BadFieldName:          {"field name is not a token followed by a colon", 400},
	BadFieldValue:         {"control character in a field value", 400},
	TooManyFields:         {"too many fields", 431},
	HeadTooLarge:          {"head is too large", 431},
	TooManyOptions:        {"too many connection options", 400},
	MissingHost:           {"Host is missing", 400},
	RepeatedHost:          {"Host is repeated", 400},
	BadHost:               {"malformed Host", 400},
	BadContentLength:      {"malformed Content-Length", 400},
	RepeatedContentLength: {"Content-Length is repeated", 400},
	BadTransferEncoding:   {"Transfer-Encoding is not allowed here, or chunked is not its only coding", 400},
	UnknownTransferCoding: {"unknown transfer coding", 501},
	LengthWithChunked:     {"Content-Length together with Transfer-Encoding", 400},
	ObscuredField:         {"field name that some servers take for a framing field", 400},
	UnderscoreInName:      {"underscore in a field name", 400},
	BadMaxForwards:        {"malformed or repeated Max-Forwards", 400},
	BadChunkSize:          {"malformed chunk size", 400},
	BadChunkExtension:     {"malformed or too long chunk extension", 400},
	BadChunkEnd:           {"chunk does not end with CRLF", 400},
}

// String returns what is wrong, in plain words.
func (k Kind) String() string { return kinds[k].text }

// Error is a syntax error.
type Error struct {
	// Offset is where it was noticed, in bytes from the beginning of the input.
	Offset int
	Kind   Kind
}

// Error names the place and what is wrong there.
func (e *Error) Error() string { return fmt.Sprintf("httpparse: byte %d: %s", e.Offset, e.Kind) }

// Status is the response status that a request with this error calls for: 400, 431, 501 or 505. A response
// with an error is always answered with 502, whatever this returns.
func (e *Error) Status() int { return kinds[e.Kind].status }

func syntax(kind Kind, offset int) error { return &Error{Offset: offset, Kind: kind} }
