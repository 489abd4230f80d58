package loop

import (
	"millrace/httpparse"
)

// ErrorPage is the content of an error response.
type ErrorPage struct {
	// ContentType is the value of the field of that name.
	ContentType string
	Body        []byte
}

// ErrorPages are own pages, by status. Nil is none.
type ErrorPages map[int]*ErrorPage

// keptInErrors are the fields of a server's error response that mean something whatever its content says: they tell the
// client what it needs to know to ask again (RFC 9110, 10.2.1, 10.2.3, 11.6.1, 11.7.1, 14.4), and when that was said.
var keptInErrors = []struct {
	status int // 0: any
	name   string
}{
	{0, "date"},
	{0, "retry-after"},
	{401, "www-authenticate"},
	{405, "allow"},
	{407, "proxy-authenticate"},
	{416, "content-range"},
}

// override makes an own response of the error of a server in v, whose head has n bytes and whose body comes as body says.
// It returns a window with a head of n bytes, and its content if there is to be one, and leaves nothing of the server's.
//
// What has come of the server's body together with its head is read and forgotten. If that is all of it, the connection can be
// used again; else it is closed, since waiting for bytes that nobody wants keeps the client waiting too.
func (s *session) override(v window, n int, body httpparse.Framing) (own window, ownN int, ownBody httpparse.Framing, f fault) {
	l, x, c := s.l, s.x, s.origin
	head, rest := v.base[v.r:v.r+n], v.from(n)
	x.down.start(body, false)
	_, used, err := x.down.frame(l.scratch[:0], rest)
	if err != nil || !x.down.done || used < rest.w-rest.r {
		x.keepServer = false
	}

	status := x.res.Status
	page := l.plan.ServerErrors[status]
	out := append(l.normal[:0], "HTTP/1.1 "...)
	out = append(out, byte('0'+status/100), byte('0'+status/10%10), byte('0'+status%10), ' ')
	out = append(out, x.res.Reason.Of(head)...)
	out = append(out, '\r', '\n')
	for i := range x.res.Fields {
		if field := &x.res.Fields[i]; keptInError(status, field.Name.Of(head)) && !x.res.NamedByConnection(head, field.Name.Of(head)) {
			out = append(out, field.Name.Of(head)...)
			out = append(out, ": "...)
			out = append(out, field.Value.Of(head)...)
			out = append(out, '\r', '\n')
		}
	}
	out = appendContent(out, page, status)
	out = append(out, '\r', '\n')
	ownN, ownBody = len(out), httpparse.Framing{}
	if x.req.Method != httpparse.MethodHead { // RFC 9110, 9.3.2
		ownBody = httpparse.Framing{Kind: httpparse.BodyLength, Length: int64(contentLength(page, status))}
		out = appendContentText(out, page, status)
	}
	l.normal = out[:0]
	if !v.inPlace {
		l.bufs.release(&c.in)
	}
	if _, err := httpparse.ParseResponse(out[:ownN], 0, &x.res); err != nil {
		return own, 0, ownBody, faultBadResponse // of more fields than there is room for
	}
	return window{out, 0, len(out), true}, ownN, ownBody, faultNone
}

// keptInError reports whether a field of an error of a server passes though its content is replaced.
func keptInError(status int, name []byte) bool {
	for _, k := range keptInErrors {
		if (k.status == 0 || k.status == status) && len(name) == len(k.name) && equalFold(name, k.name) {
			return true
		}
	}
	return false
}
