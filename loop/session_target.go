package loop

import (
	"bytes"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"millrace/httpparse"
	"millrace/remap"
)

// refusesBody reports whether a request with a body is refused for its method: TRACE has none (RFC 9110, 9.3.8),
// and in GET and HEAD it has no meaning (RFC 9110, 9.3.1), so that readers disagree about it.
func (s *session) refusesBody() bool {
	switch s.x.req.Method {
	case httpparse.MethodTrace:
		return true
	case httpparse.MethodGet, httpparse.MethodHead:
		return s.listener.Parse.RefuseGetBody
	}
	return false
}

// targetPath returns the path that the server will see. With url_normalize, it makes the target in its one form
// first; ok is false if that is refused.
func (s *session) targetPath() (path []byte, ok bool) {
	x := s.x
	if x.rewritten > 0 {
		return x.sentTarget[:x.rewritten], true
	}
	opts := s.listener.Parse.Target
	if opts != 0 && (x.req.Form == httpparse.FormOrigin || x.req.Form == httpparse.FormAbsolute) {
		target := x.req.PathQuery.Of(s.in.b)
		switch {
		case len(target) > 0:
		case x.req.Method == httpparse.MethodOptions:
			return slash, true // it is for the server as a whole (RFC 9112, 3.2.4)
		default:
			target = slash
		}
		out, n, err := remap.AppendTarget(x.sentTarget[:0], target, opts)
		if err != nil {
			return nil, false
		}
		x.sentTarget = out
		return out[:n], true
	}
	path = x.req.Path.Of(s.in.b)
	if len(path) == 0 {
		path = slash
	}
	return path, true
}

// rewrite changes the target of the request, of which path is the path, by the rules that come before routes. ok is false if
// it cannot be: then the request is refused.
func (s *session) rewrite(path []byte) (rewritten []byte, ok bool) {
	l, x := s.l, s.x
	target := s.target()
	switch {
	case len(path) == 1 && path[0] == '*', len(target) == 0 && x.req.Method == httpparse.MethodOptions:
		return path, true // it is for the server as a whole (RFC 9112, 3.2.4)
	case len(target) == 0:
		target = slash
	case target[0] == '?': // of absolute-form without a path
		target = append([]byte{'/'}, target...)
	}
	out, changed, ok := l.plan.Rewrites.Append(l.scratch[:0], target)
	l.scratch = out[:0]
	if !ok || !changed {
		return path, ok
	}
	x.sentTarget = append(x.sentTarget[:0], out...)
	path, _, _ = bytes.Cut(x.sentTarget, questionMark)
	x.rewritten = len(path)
	return path, true
}

// sameRoute reports whether the route of a request for path is the same in every reading that servers may have of it.
// If it is not, nobody can say whether the route that was chosen is the one for what the server makes of the request.
func (s *session) sameRoute(in remap.Incoming, path []byte, readings remap.Reading, route int) bool {
	if readings.Absurd() {
		return false
	}
	_, _, strays := s.strays(in, path, readings, route)
	return !strays
}

// noRoute and otherTarget stand for a route: none matches, and rules of rewrite_once would have changed the target.
const (
	noRoute     = -1
	otherTarget = -2
)

// strays looks for a reading in which the route is another, and returns it with that route, noRoute or otherTarget.
func (s *session) strays(in remap.Incoming, path []byte, readings remap.Reading, route int) (r remap.Reading, other int, found bool) {
	l := s.l
	for r := readings; r != 0; r = (r - 1) & readings {
		l.normal = remap.AppendReading(l.normal[:0], path, r)
		in.Path = l.normal
		if s.rewrites(l.normal) {
			return r, otherTarget, true
		}
		if i, ok := l.plan.Table.Match(&in); !ok {
			return r, noRoute, true
		} else if i != route {
			return r, i, true
		}
	}
	return 0, route, false
}

// rewrites reports whether a target that no rule has changed would have been by one if this were its path. What rules have made
// is not looked at again, and the server does not see what it was made from.
func (s *session) rewrites(path []byte) bool {
	l := s.l
	if l.plan.Rewrites == nil || s.x.rewritten > 0 {
		return false
	}
	target := s.target()
	query := target[len(target):]
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		query = target[i:]
	}
	out, found := l.plan.Rewrites.Finds(l.scratch, path, query)
	l.scratch = out[:0]
	return found
}

// countForwards counts this hop of a TRACE or OPTIONS (RFC 9110, 7.6.2). If it is the last, it answers, and reports
// that.
func (s *session) countForwards(route *Route, now Time) (answered bool, f fault) {
	x := s.x
	head := s.in.b[:x.head]
	if x.req.Method == httpparse.MethodTrace && !route.Trace {
		return false, faultMethod
	}
	n, found, err := x.req.MaxForwards(head)
	switch {
	case err != nil:
		return false, refusal(err)
	case !found:
		return false, faultNone
	case n > 0:
		x.forwards, x.counted = n-1, true
		return false, faultNone
	}
	body := x.sentTarget[:0]
	if x.req.Method == httpparse.MethodTrace {
		body = appendReflection(body, head, &x.req)
	}
	x.sentTarget = body
	s.answerLastHop(body, now)
	return true, faultNone
}

// appendReflection appends a request head as it was received, which is the content of the answer to TRACE, but for
// the fields that hold secrets (RFC 9110, 9.3.8).
func appendReflection(dst, head []byte, r *httpparse.Request) []byte {
	dst = append(dst, r.MethodName.Of(head)...)
	dst = append(dst, ' ')
	dst = append(dst, r.Target.Of(head)...)
	dst = append(dst, " HTTP/1."...)
	dst = append(dst, '0'+byte(r.Version%10), '\r', '\n')
	for i := range r.Fields {
		f := &r.Fields[i]
		name := f.Name.Of(head)
		if f.ID == httpparse.FieldAuthorization || f.ID == httpparse.FieldProxyAuthorization || bytes.EqualFold(name, cookie) {
			continue
		}
		dst = append(dst, name...)
		dst = append(dst, ": "...)
		dst = append(dst, f.Value.Of(head)...)
		dst = append(dst, '\r', '\n')
	}
	return append(dst, '\r', '\n')
}

var cookie = []byte("cookie")

// answerLastHop answers a request that may not be sent on: 200, and for TRACE what was received.
func (s *session) answerLastHop(body []byte, now Time) {
	l, x := s.l, s.x
	if l.draining || x.waitsFor100 || x.reqBody.Kind == httpparse.BodyLength && x.up.in.Length > drainMax {
		x.persistent = false
	}
	x.status = 200
	out := append(l.scratch[:0], "HTTP/1.1 200 OK\r\nDate: "...)
	out = fasthttp.AppendHTTPDate(out, time.Now())
	if len(body) > 0 {
		out = append(out, "\r\nContent-Type: message/http"...)
	}
	out = append(out, "\r\nContent-Length: "...)
	out = strconv.AppendInt(out, int64(len(body)), 10)
	switch {
	case !x.persistent:
		out = append(out, "\r\nConnection: close"...)
	case x.req.Version < httpparse.HTTP11:
		out = append(out, "\r\nConnection: keep-alive"...)
	}
	out = append(out, "\r\n\r\n"...)
	out = append(out, body...)
	l.scratch = out[:0]
	x.down.payload = int64(len(body))
	x.answered = true
	x.downAt = now
	if s.say(out, now) != faultNone {
		x.fault, x.persistent = faultClientGone, false
		s.setStage(stageFinish, now)
		return
	}
	s.setStage(stageFlush, now)
}
