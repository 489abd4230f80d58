package loop

import (
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"millrace/httpparse"
)

// answer ends an exchange that failed: by our own answer, if nothing of the server's has been sent and
// somebody is there to read it; else by closing, so that a response that was cut does not look complete.
func (s *session) answer(f fault, now Time) bool {
	x := s.x
	s.unpaid()
	if x.kind == tunnelSock {
		return s.endTunnel(f, now)
	}
	x.fault = f
	verdict := &faults[f]
	if x.answered || verdict.status == 0 {
		s.showCut()
		x.persistent = false
		if x.status == 0 {
			x.status = statusClientGone
		}
		s.setStage(stageFinish, now)
		return true
	}
	if !verdict.keep || s.l.draining || x.waitsFor100 || x.reqBody.Kind == httpparse.BodyLength && x.up.in.Length > drainMax {
		x.persistent = false
	}
	// Who is refused by a guard is refused before it is known whether there could have been a tunnel.
	upgrade := x.kind == tunnelUpgrade || (f == faultDenied || f == faultRate) && x.up.done && x.req.Seen.Has(httpparse.FieldUpgrade)
	if x.req.Method == httpparse.MethodConnect || upgrade && s.sentMore() {
		// A client that was sure of its tunnel has sent bytes for it: they are not the next request.
		x.persistent = false
	}
	x.status = verdict.status
	if verdict.status == 503 {
		x.retryAfter = x.comeAgain(f)
	}
	out := s.appendReply(s.l.scratch[:0], verdict.status)
	s.l.scratch = out[:0]
	if x.req.Method != httpparse.MethodHead {
		x.down.payload = int64(contentLength(s.l.plan.OwnErrors[verdict.status], verdict.status))
	}
	x.answered = true
	x.downAt = now
	if s.say(out, now) != faultNone {
		x.persistent = false
		s.setStage(stageFinish, now)
		return true
	}
	s.setStage(stageFlush, now)
	return true
}

// showCut has the end of the connection show that the response was cut. A body of known length, or in chunks,
// is seen to be cut by its framing; one that lasts until the end of the connection only by how that ends.
func (s *session) showCut() {
	down := &s.x.down
	s.aborted = !down.chunked && (down.in.Kind == httpparse.BodyChunked || down.in.Kind == httpparse.BodyUntilClose)
}

// appendReply appends a complete response of our own.
func (s *session) appendReply(dst []byte, status int) []byte {
	x := s.x
	reason := fasthttp.StatusMessage(status)
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, reason...)
	dst = append(dst, "\r\nDate: "...)
	dst = fasthttp.AppendHTTPDate(dst, time.Now())
	dst = append(dst, '\r', '\n')
	page := s.l.plan.OwnErrors[status]
	dst = appendContent(dst, page, status)
	dst = dst[:len(dst)-len("\r\n")]
	if status == 405 {
		// RFC 9110, 15.5.6. What else passes is for the server to say.
		dst = append(dst, "\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"...)
	}
	if x.retryAfter > 0 {
		dst = append(dst, "\r\nRetry-After: "...) // RFC 9110, 10.2.3; RFC 6585, 4
		dst = strconv.AppendInt(dst, int64(x.retryAfter), 10)
	}
	switch {
	case !x.persistent:
		dst = append(dst, "\r\nConnection: close"...)
	case x.req.Version < httpparse.HTTP11:
		dst = append(dst, "\r\nConnection: keep-alive"...)
	}
	dst = append(dst, "\r\n\r\n"...)
	if x.req.Method == httpparse.MethodHead {
		return dst // RFC 9110, 9.3.2
	}
	return appendContentText(dst, page, status)
}

// appendContent appends the fields that say what the content of an error response is: the page, or without one the status
// and its reason, on a line.
func appendContent(dst []byte, page *ErrorPage, status int) []byte {
	dst = append(dst, "Content-Type: "...)
	if page != nil {
		dst = append(dst, page.ContentType...)
	} else {
		dst = append(dst, "text/plain"...)
	}
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(contentLength(page, status)), 10)
	return append(dst, '\r', '\n')
}

// appendContentText appends that content.
func appendContentText(dst []byte, page *ErrorPage, status int) []byte {
	if page != nil {
		return append(dst, page.Body...)
	}
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, fasthttp.StatusMessage(status)...)
	return append(dst, '\n')
}

// comeAgain is what a client is told to wait, in seconds, after a fault that passes.
func (x *exchange) comeAgain(f fault) int32 {
	if f == faultNoServer {
		return int32(x.backend.RetryAfter)
	}
	return ourShortage
}

// ourShortage is how long a client is to wait that was refused because we ran short of something, in seconds: a few
// requests will have ended by then.
const ourShortage = 1

// contentLength is the length of that content.
func contentLength(page *ErrorPage, status int) int {
	if page != nil {
		return len(page.Body)
	}
	return len("502 ") + len(fasthttp.StatusMessage(status)) + len("\n")
}

// flush waits until the answer is out.
func (s *session) flush(now Time) bool {
	x := s.x
	if s.client.waiting() {
		moved, errno := s.client.flush(s.l)
		if errno != 0 {
			x.fault, x.persistent = faultClientGone, false
			s.setStage(stageFinish, now)
			return true
		}
		if moved {
			s.took(now)
		}
		if s.client.waiting() {
			return false
		}
	}
	if x.persistent && !x.up.done {
		x.upAt = now
		s.setStage(stageDrain, now)
		return true
	}
	s.setStage(stageFinish, now)
	return true
}

// finish is the one end of every exchange. Then the session waits for the next request, or closes.
func (s *session) finish(now Time) bool {
	l, x := s.l, s.x
	keep := x.persistent && !l.draining
	// A client that has not said that this is its last request may have sent more, which is only not here yet. A drain
	// does not wait for that: many clients notice only with their next request that a connection has ended.
	mayFollow := !x.up.done || s.in.len() > 0 || !l.draining && (x.head == 0 || x.req.Persistent())
	gone := x.fault == faultClientGone || x.fault == faultClientTimeout
	s.finishExchange(now)
	if !keep {
		l.bufs.release(&s.in)
		l.bufs.release(&s.client.out)
		l.dropPipe(&s.client)
		if s.aborted && !gone && sysUnsent(s.client.fd) > 0 {
			s.polls = 0
			s.setStage(stageLinger, now)
			return true
		}
		if !gone && !s.aborted && !s.client.eof && (mayFollow || s.client.readable && !s.client.quiet()) && closeWrite(s.client.fd) {
			s.setStage(stageLinger, now)
			return true
		}
		s.close()
		return false
	}
	s.in.w = copy(s.in.b, s.in.bytes())
	s.in.r = 0
	if s.in.w == 0 {
		l.bufs.release(&s.in)
	}
	s.setStage(stageHead, now)
	if s.turn.requests++; s.turn.requests >= turnRequests && (s.in.w > 0 || s.client.readable) {
		s.yield()
		return false
	}
	return true
}

// finishExchange gives back what the exchange holds and writes its record.
func (s *session) finishExchange(now Time) {
	l, x := s.l, s.x
	if s.t != nil {
		s.t.finish()
	}
	s.giveBack(s.judge(x.fault), false)
	if l.access != nil {
		s.log(now)
	}
	s.x = nil
	if t := s.t; t != nil {
		s.t = nil
		l.spare.putTunnel(t)
		return
	}
	l.spare.putExchange(x)
	if s.behind != nil {
		*s.behind = client{} // the next request may be another's
	}
}

// log writes the record of the exchange that ends.
func (s *session) log(now Time) {
	l, x := s.l, s.x
	head := s.quotable()
	r := &l.record
	r.Time = x.wall
	r.ClientAddr, r.ClientPort = s.clientAddr(), s.port
	r.Method, r.Target = x.req.MethodName.Of(head), x.req.Target.Of(head)
	r.Version = uint8(x.req.Version)
	r.Host = x.req.Authority.Of(head)
	r.Referer = s.field(httpparse.FieldReferer)
	r.UserAgent = s.field(httpparse.FieldUserAgent)
	r.Status = x.status
	r.BytesIn, r.BytesOut, r.BodyOut = x.bytesIn, x.bytesOut, x.down.payload
	r.Total = micro(time.Duration(now - x.started))
	r.Connect, r.FirstByte = micro(x.connected), micro(x.firstByte)
	r.Listener = s.listener.Name
	r.Backend, r.Server = "", ""
	if x.backend != nil {
		r.Backend = x.backend.Name
		if x.attempts > 0 {
			r.Server = x.server.Name
		}
	}
	r.Retries = max(x.attempts-1, 0)
	r.End = faults[x.fault].end
	if !l.access.Pending() {
		l.arm(&l.flushLog, now+logDelay)
	}
	l.access.Log(r)
}

// field returns the value of a request field for the record, or nothing.
func (s *session) field(id httpparse.FieldID) []byte {
	if !s.x.req.Seen.Has(id) {
		return nil
	}
	v, _ := s.x.req.Lookup(id)
	return v.Of(s.quotable())
}

// quotable is what the views of the request are views into.
func (s *session) quotable() []byte {
	if s.t != nil {
		return s.t.quoted
	}
	return s.in.b[:s.x.head]
}

// micro is d in microseconds, and -1 for what did not happen.
func micro(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return d.Microseconds()
}

// linger reads and forgets what the client still sends, until it ends too; or, before a reset, until its connection is gone,
// since a client may read on that sends no more.
func (s *session) linger(now Time) bool {
	for s.client.readable {
		if s.turn.up >= turnBytes {
			s.yield()
			return false
		}
		n, errno := s.client.recv(s.l.relay)
		s.turn.up += n
		if errno != 0 || s.client.eof && !s.aborted {
			s.close()
			return false
		}
	}
	return false
}

// resetPoll is how often it is looked whether the client has taken what is ahead of a reset: no event tells.
const resetPoll = 50 * time.Millisecond

// delivers reports whether what the kernel holds for the client is to be delivered before the connection is reset. A reset
// destroys it, and with it what was whole: the end of the response before the one that was cut.
func (s *session) delivers() bool {
	if sysUnsent(s.client.fd) == 0 {
		return false
	}
	if s.polls++; s.polls < int(lingerTime/resetPoll) {
		return true
	}
	s.polls = 0
	return s.stillTakes(&s.client)
}

// stillTakes is asked when the time to linger is up: it reports whether e has yet to take bytes that the kernel
// holds for it, and has taken some, a client at the rate that it is held to. Closing now would destroy them: bytes that
// nobody has read make it a reset.
func (s *session) stillTakes(e *endpoint) bool {
	before := s.unsent
	s.unsent = sysUnsent(e.fd)
	if s.unsent == 0 || before == 0 {
		return s.unsent > 0
	}
	least := int64(1)
	if e == &s.client {
		least = max(s.l.plan.Limits.ClientRate*int64(lingerTime/time.Second), 1)
	}
	return before-s.unsent >= least
}
