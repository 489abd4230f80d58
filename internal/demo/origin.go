package demo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// The bounds of what a request can ask for.
const (
	maxSlow   = 30 * time.Second
	maxBytes  = 1 << 30
	maxChunks = 10_000
	maxLines  = 60
)

// headerBytes is the longest request head that an origin reads. It is more than the proxy lets through, so that
// the limit that shows is the proxy's.
const headerBytes = 64 << 10

// endpoint is what an origin offers at a path.
type endpoint struct {
	path string
	// curl are the arguments to try it with, in which URL stands for the proxy's.
	curl string
	what string

	serve func(*origin, *fasthttp.RequestCtx)
}

var endpoints = []endpoint{
	{"/echo", "-d hello=world URL/echo", "what the origin received, as JSON; any method", (*origin).echo},
	{"/slow", "'URL/slow?ms=1500'", "answers after that many milliseconds", (*origin).slow},
	{"/bytes", "-o /dev/null 'URL/bytes?n=10000000'", "that many bytes, with a Content-Length", (*origin).bytes},
	{"/chunked", "--raw 'URL/chunked?n=5'", "that many chunks", (*origin).chunked},
	{"/status", "-i 'URL/status?code=503'", "that status code", (*origin).status},
	{"/stream", "-N 'URL/stream?n=10'", "a line a second, that many of them", (*origin).stream},
}

// origin is one of the servers behind the proxy.
type origin struct {
	name     string
	listener net.Listener
	server   *fasthttp.Server
	ended    chan error // gets the result of serving; of capacity 1
}

// startOrigin starts an origin on a port that the kernel chooses.
func startOrigin(ctx context.Context, name string, log *slog.Logger) (*origin, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("origin %s: %w", name, err)
	}
	o := &origin{name: name, listener: listener, ended: make(chan error, 1)}
	o.server = &fasthttp.Server{
		Name:           name,
		Handler:        o.handle,
		Logger:         originLog{log, name},
		ReadBufferSize: headerBytes,
		// Names stay as they were sent and bodies unread: the point is to show what came.
		DisableHeaderNamesNormalizing: true,
		DisablePreParseMultipartForm:  true,
		StreamRequestBody:             true,
		CloseOnShutdown:               true,
		// The proxy decides how long a connection is kept.
		IdleTimeout: 5 * time.Minute,
	}
	go func() { o.ended <- o.server.Serve(listener) }()
	return o, nil
}

// stop ends the origin. What is still being answered is told to end by the Done channel of its context.
func (o *origin) stop(ctx context.Context) error {
	err := o.server.ShutdownWithContext(ctx)
	// It is closed already, unless the server was told to stop before it had begun to serve.
	if err := o.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("origin %s: %w", o.name, err)
	}
	if err := errors.Join(err, <-o.ended); err != nil {
		return fmt.Errorf("origin %s: %w", o.name, err)
	}
	return nil
}

// address is where the origin listens.
func (o *origin) address() string { return o.listener.Addr().String() }

// originLog passes on what fasthttp has to say.
type originLog struct {
	log  *slog.Logger
	name string
}

func (l originLog) Printf(format string, args ...any) {
	l.log.Debug("origin", "name", l.name, "message", fmt.Sprintf(format, args...))
}

// refuse answers with a status code and a reason. Unlike the context's Error it keeps the fields that are set.
func refuse(ctx *fasthttp.RequestCtx, code int, reason string) {
	ctx.SetStatusCode(code)
	ctx.SetContentType("text/plain; charset=utf-8")
	ctx.SetBodyString(reason + "\n")
}

func (o *origin) handle(ctx *fasthttp.RequestCtx) {
	header := &ctx.Response.Header
	header.Set("X-Origin", o.name)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	path := string(ctx.Path())
	for i := range endpoints {
		if endpoints[i].path == path {
			endpoints[i].serve(o, ctx)
			return
		}
	}
	o.page(ctx, path)
}

// received is a request as an origin saw it.
type received struct {
	Origin  string `json:"origin"`
	Address string `json:"address"`
	// RequestLine and Fields are the head, line by line.
	RequestLine string   `json:"request_line"`
	Fields      []string `json:"fields"`
	BodyBytes   int64    `json:"body_bytes"`
	BodySHA256  string   `json:"body_sha256"`
	// Connection counts the connections of the origin, ConnectionRequest the requests of this one: they show
	// that the proxy uses its connections again.
	Connection        uint64 `json:"connection"`
	ConnectionRequest uint64 `json:"connection_request"`
}

// receive reads the request. The error is that of reading the body.
func (o *origin) receive(ctx *fasthttp.RequestCtx) (*received, error) {
	r := &received{
		Origin:            o.name,
		Address:           o.address(),
		RequestLine:       fmt.Sprintf("%s %s %s", ctx.Method(), ctx.RequestURI(), ctx.Request.Header.Protocol()),
		Fields:            fieldLines(ctx.Request.Header.RawHeaders()),
		Connection:        ctx.ConnID(),
		ConnectionRequest: ctx.ConnRequestNum(),
	}
	digest := sha256.New()
	n, err := readBody(ctx, digest)
	r.BodyBytes, r.BodySHA256 = n, hex.EncodeToString(digest.Sum(nil))
	return r, err
}

func readBody(ctx *fasthttp.RequestCtx, digest hash.Hash) (int64, error) {
	body := ctx.RequestBodyStream()
	if body == nil {
		n, err := digest.Write(ctx.Request.Body())
		return int64(n), err
	}
	return io.Copy(digest, body)
}

// fieldLines splits field lines. It decodes nothing: a byte that is not ASCII is a Latin-1 character, so that each
// shows.
func fieldLines(raw []byte) []string {
	list := []string{}
	for line := range bytes.Lines(raw) {
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			list = append(list, latin1(line))
		}
	}
	return list
}

func latin1(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		s.WriteRune(rune(c))
	}
	return s.String()
}

// echo answers with what was received.
func (o *origin) echo(ctx *fasthttp.RequestCtx) {
	r, err := o.receive(ctx)
	if err != nil {
		refuse(ctx, fasthttp.StatusBadRequest, "the body could not be read: "+err.Error())
		return
	}
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		refuse(ctx, fasthttp.StatusInternalServerError, err.Error())
		return
	}
	ctx.SetContentType("application/json")
	ctx.SetBody(append(body, '\n'))
}

// slow answers after a while.
func (o *origin) slow(ctx *fasthttp.RequestCtx) {
	ms, ok := number(ctx, "ms", 1000, 0, int(maxSlow/time.Millisecond))
	if !ok {
		return
	}
	timer := time.NewTimer(time.Duration(ms) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		fmt.Fprintf(ctx, "%s answers after %d ms\n", o.name, ms)
	case <-ctx.Done():
		refuse(ctx, fasthttp.StatusServiceUnavailable, "the demo ends")
	}
}

// bytes answers with so many bytes.
func (o *origin) bytes(ctx *fasthttp.RequestCtx) {
	n, ok := number(ctx, "n", 1024, 0, maxBytes)
	if !ok {
		return
	}
	ctx.SetContentType("application/octet-stream")
	ctx.SetBodyStream(&repeated{left: n}, n)
}

// pattern is what the bodies of /bytes consist of, over and over: lines of 64 bytes, by which a byte that is
// lost or doubled would be seen.
const pattern = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+\n"

// repeated reads as the pattern, over and over, until so many bytes have been read.
type repeated struct{ at, left int }

func (r *repeated) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(len(p), r.left)]
	for n := 0; n < len(p); {
		copied := copy(p[n:], pattern[r.at:])
		n += copied
		r.at = (r.at + copied) % len(pattern)
	}
	r.left -= len(p)
	return len(p), nil
}

// chunked answers with so many chunks, each of which is a line.
func (o *origin) chunked(ctx *fasthttp.RequestCtx) {
	n, ok := number(ctx, "n", 5, 0, maxChunks)
	if !ok {
		return
	}
	ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
		for i := range n {
			fmt.Fprintf(w, "chunk %d of %d from %s\n", i+1, n, o.name)
			if w.Flush() != nil {
				return
			}
		}
	})
}

// status answers with a status code.
func (o *origin) status(ctx *fasthttp.RequestCtx) {
	code, ok := number(ctx, "code", fasthttp.StatusOK, 200, 599)
	if !ok {
		return
	}
	ctx.SetStatusCode(code)
	if code != fasthttp.StatusNoContent && code != fasthttp.StatusNotModified {
		fmt.Fprintf(ctx, "%s answers with %d\n", o.name, code)
	}
}

// stream answers with a line a second.
func (o *origin) stream(ctx *fasthttp.RequestCtx) {
	n, ok := number(ctx, "n", 10, 1, maxLines)
	if !ok {
		return
	}
	done := ctx.Done() // the context is another request's when the body is written
	ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for i := range n {
			fmt.Fprintf(w, "line %d of %d from %s\n", i+1, n, o.name)
			if w.Flush() != nil {
				return
			}
			if i == n-1 {
				return
			}
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
}

// number reads a number from the query. If it is not one, or out of bounds, it answers so itself.
func number(ctx *fasthttp.RequestCtx, name string, otherwise, least, most int) (int, bool) {
	text := ctx.QueryArgs().Peek(name)
	if len(text) == 0 {
		return otherwise, true
	}
	n, err := strconv.Atoi(string(text))
	if err != nil || n < least || n > most {
		refuse(ctx, fasthttp.StatusBadRequest, fmt.Sprintf("%s must be a number from %d to %d", name, least, most))
		return 0, false
	}
	return n, true
}
