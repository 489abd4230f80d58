package remap

import (
	"bytes"

	"millrace/httpparse"
)

// appendTarget appends the target that the server gets. raw is what it would be without edits.
func (t *Trip) appendTarget(dst []byte, raw []byte) []byte {
	e := t.Edits
	if !e.editsTarget || len(raw) == 1 && raw[0] == '*' {
		return append(dst, raw...)
	}
	begin := len(dst)
	dst = t.appendPath(dst, raw)
	if i := bytes.IndexByte(raw, '?'); i >= 0 {
		dst = append(dst, raw[i:]...)
	}
	if len(e.o.MapURLPath) > 0 {
		mid := len(dst)
		dst = moveDown(t.appendMappedPath(dst, dst[begin:mid], false), begin, mid)
	}
	dst = t.applyRules(dst, begin, e.path, e.pathSub)
	dst = rooted(dst, begin)
	if t.ServerPath != "" {
		mid := len(dst)
		dst = append(dst, t.ServerPath...)
		dst = moveDown(append(dst, dst[begin:mid]...), begin, mid)
	}
	if !httpparse.ValidTarget(dst[begin:]) || len(dst) > maxEditedHead || climbs(dst[begin:]) {
		t.Refused = true
	}
	return dst
}

// climbs reports whether the path of a target has a dot segment in any reading that a server may have of it. The path
// that edits begin with has none in its normal form. One in what they end with has been put together, as by a prefix
// /static and the path /static../x, or read otherwise before: it would lead out of where edits have put the path.
func climbs(target []byte) bool {
	path, _, _ := bytes.Cut(target, questionMark)
	return readings(path)&readDots != 0
}

// appendPath appends the path that the server gets, encoded, with StripPrefix and BackendPath applied. raw is the target that
// the path was taken from.
func (t *Trip) appendPath(dst, raw []byte) []byte {
	e, gone, begin := t.Edits, 0, len(dst)
	switch b := e.o.BackendPath; {
	case b != nil && e.matched > 0:
		dst = append(dst, b.text...)
		gone = min(e.matched, len(t.path))
	case b != nil:
		dst = b.append(dst, t, &t.groups, true)
		if _, variables := b.Literal(); variables {
			return rooted(dst, begin)
		}
	case e.o.StripPrefix != "" && isBelow(t.path, e.o.StripPrefix):
		gone = len(e.o.StripPrefix)
	}
	if rest, ok := t.rawRest(raw, gone); ok {
		whole := rooted(append(dst, rest...), begin)
		if !bytes.HasPrefix(whole[begin:], twoSlashes) {
			return whole
		}
	}
	rest := len(dst)
	dst = appendEncoded(dst, t.path[gone:])
	if e.o.BackendPath != nil {
		return dst
	}
	return rooted(dst, rest)
}

var twoSlashes = []byte("//")

// rawRest returns what of a target's path is behind the first characters of its normal form, as it was written, with NoCanon. It
// fails where these are not the first of the path as it was written too, or end there in the middle of a segment, as in
// /foo%2Fbar behind /foo.
func (t *Trip) rawRest(raw []byte, gone int) (rest []byte, ok bool) {
	if !t.Edits.o.NoCanon {
		return nil, false
	}
	raw, _, _ = bytes.Cut(raw, questionMark)
	if !bytes.HasPrefix(raw, t.path[:gone]) {
		return nil, false
	}
	rest = raw[gone:]
	if next := t.path[gone:]; len(rest) > 0 && (len(next) == 0 || next[0] == '/') && rest[0] != '/' {
		return nil, false
	}
	return rest, true
}

// applyRules applies rules to dst[begin:]: the first of rewrite whose pattern is found in it, then each of substitute.
func (t *Trip) applyRules(dst []byte, begin int, rewrite, substitute []RewriteRule) []byte {
	for i := range rewrite {
		r := &rewrite[i]
		text := dst[begin:]
		ends := r.Pattern.FindSubmatchIndex(text)
		if ends == nil {
			continue
		}
		mid := len(dst)
		dst = r.Value.append(dst, t, &matched{text: text, ends: ends}, false)
		if len(dst) > maxEditedHead {
			t.Refused = true // the value may have been cut, and what it takes the place of makes room
		}
		dst = moveDown(dst, begin, mid)
		break
	}
	for i := range substitute {
		dst = t.substitute(dst, begin, &substitute[i])
	}
	return dst
}

// substitute replaces what a rule's pattern matches in dst[begin:], everywhere.
func (t *Trip) substitute(dst []byte, begin int, r *RewriteRule) []byte {
	text := dst[begin:]
	all := r.Pattern.FindAllSubmatchIndex(text, maxMatches)
	if all == nil {
		return dst
	}
	mid, done := len(dst), 0
	for _, ends := range all {
		dst = append(dst, text[done:ends[0]]...)
		dst = r.Value.append(dst, t, &matched{text: text, ends: ends}, false)
		done = ends[1]
		if len(dst) > maxEditedHead {
			t.Refused = true // what it takes the place of makes room
			break
		}
	}
	dst = append(dst, text[done:]...)
	return moveDown(dst, begin, mid)
}

func (e *Edits) editsHost() bool {
	return e.o.ChangeHost || len(e.o.MapHostRequest) > 0 || len(e.host.rewrite)+len(e.host.substitute) > 0
}

// appendHost appends the host that the server is asked for; nothing if there is none.
func (t *Trip) appendHost(dst []byte) []byte {
	e := t.Edits
	authority := t.Req.Authority.Of(t.Head)
	if !e.editsHost() {
		return append(dst, authority...)
	}
	begin := len(dst)
	switch {
	case e.o.ChangeHost && e.o.Host != "":
		dst = append(dst, e.o.Host...)
	case e.o.ChangeHost:
		dst = append(dst, t.ServerHost...)
	case len(authority) == 0:
		return dst
	default:
		if to, _ := t.mapHost(t.clientHost, false); to != nil {
			authority = to
		}
		dst = append(dst, authority...)
	}
	dst = t.applyRules(dst, begin, e.host.rewrite, e.host.substitute)
	if !httpparse.ValidAuthority(dst[begin:]) || len(dst) > maxEditedHead {
		t.Refused = true
	}
	return dst
}

// appendRequestFields appends the client's fields but those in drop, edited, and the lines that edits add.
func (t *Trip) appendRequestFields(dst []byte, drop httpparse.FieldSet) []byte {
	e := t.Edits
	dst = t.appendEdited(dst, t.Head, &t.Req.Head, drop&^e.keep, &e.request, false)
	if e.request.own {
		if dst = t.appendOwnRequest(dst); len(dst) > maxEditedHead {
			t.Refused = true // a short X-Forwarded-For is a long Forwarded
		}
	}
	return t.appendLines(dst, &e.request, false)
}

// appendOwnRequest appends the fields that say whom the request comes from and by whom.
func (t *Trip) appendOwnRequest(dst []byte) []byte {
	o := &t.Edits.o
	authority := t.Req.Authority.Of(t.Head)
	if o.XForwarded == ForwardOverwrite {
		if len(t.ClientAddr) > 0 {
			dst = appendLine(dst, "X-Forwarded-For", t.ClientAddr)
		}
		dst = appendLine(dst, "X-Forwarded-Proto", stringBytes(t.Scheme))
		if len(authority) > 0 {
			dst = appendLine(dst, "X-Host", authority)
			dst = appendLine(dst, "X-Forwarded-Host", authority)
		}
	}
	if o.Forwarded != 0 {
		dst = t.appendForwarded(dst)
	}
	if o.Via == ViaOn || o.Via == ViaFull {
		dst = t.appendVia(dst, t.Req.Version)
	}
	if o.RequestID != "" {
		dst = appendLine(dst, o.RequestID, t.requestID())
	}
	return dst
}

func appendLine(dst []byte, name string, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, crlf...)
}

// appendVia appends a Via field for a message of version v (RFC 9110, 7.6.3).
func (t *Trip) appendVia(dst []byte, v httpparse.Version) []byte {
	o := &t.Edits.o
	dst = append(dst, "Via: "...)
	dst = append(dst, '0'+byte(v/10), '.', '0'+byte(v%10), ' ')
	if o.ServerName != "" {
		dst = append(dst, o.ServerName...)
	} else {
		dst = append(dst, product...)
	}
	if o.Via == ViaFull {
		dst = append(dst, " ("+product+")"...)
	}
	return append(dst, crlf...)
}

// appendForwarded appends a Forwarded field (RFC 7239): what the client has sent, else what its X-Forwarded-For says, and
// an element of our own.
func (t *Trip) appendForwarded(dst []byte) []byte {
	o := &t.Edits.o
	dst = append(dst, "Forwarded: "...)
	begin := len(dst)
	if o.XForwarded != ForwardOverwrite {
		dst = appendHeader(dst, t.Head, &t.Req.Head, "forwarded")
		if opensQuote(dst[begin:]) {
			dst = dst[:begin]
		}
		if len(dst) == begin {
			dst = t.appendSeed(dst, begin)
		}
	}
	if len(dst) > begin {
		dst = append(dst, ", "...)
	}
	element := len(dst)
	if o.Forwarded&ForwardedFor != 0 {
		dst = append(dst, "for="...)
		switch {
		case len(t.ClientAddr) == 0:
			dst = append(dst, "unknown"...) // RFC 7239, 6.2
		case bytes.IndexByte(t.ClientAddr, ':') >= 0:
			dst = append(dst, `"[`...)
			dst = append(dst, t.ClientAddr...)
			dst = append(dst, `]"`...)
		default:
			dst = append(dst, t.ClientAddr...)
		}
	}
	if o.Forwarded&ForwardedBy != 0 && len(t.Local) > 0 {
		dst = appendSemicolon(dst, element)
		dst = append(dst, "by="...)
		dst = appendQuoted(dst, t.Local)
	}
	if o.Forwarded&ForwardedProto != 0 {
		dst = appendSemicolon(dst, element)
		dst = append(dst, "proto="...)
		dst = append(dst, t.Scheme...)
	}
	if authority := t.Req.Authority.Of(t.Head); o.Forwarded&ForwardedHost != 0 && len(authority) > 0 {
		dst = appendSemicolon(dst, element)
		dst = append(dst, "host="...)
		dst = appendQuoted(dst, authority)
	}
	if len(dst) == element { // of host alone, of a client that has named none
		dst = append(dst, "for=unknown"...)
	}
	return append(dst, crlf...)
}

// opensQuote reports whether a list ends inside of a quoted-string (RFC 9110, 5.6.4). What is appended to it would be a
// part of that string, and not say who has sent the request.
func opensQuote(list []byte) bool {
	quoted := false
	for i := 0; i < len(list); i++ {
		switch {
		case list[i] == '"':
			quoted = !quoted
		case list[i] == '\\' && quoted:
			i++
		}
	}
	return quoted
}

func appendSemicolon(dst []byte, begin int) []byte {
	if len(dst) > begin {
		return append(dst, ';')
	}
	return dst
}

// appendSeed appends the items of the client's X-Forwarded-For as elements of Forwarded (RFC 7239, 7.4).
func (t *Trip) appendSeed(dst []byte, begin int) []byte {
	h := &t.Req.Head
	for i := range h.Fields {
		if h.Fields[i].ID != httpparse.FieldXForwardedFor {
			continue
		}
		v := h.Fields[i].Value
		if t.ChainEnd > 0 {
			v = cutList(t.Head, v, t.ChainEnd) // the rest is the client, who comes next, and those who are believed
		}
		rest := v.Of(t.Head)
		for more := true; more; {
			var item []byte
			item, rest, more = bytes.Cut(rest, comma)
			if item = bytes.Trim(item, " \t"); len(item) == 0 {
				continue
			}
			dst = appendListItem(dst, begin, forEquals)
			if bytes.Count(item, colon) > 1 && item[0] != '[' {
				// An IPv6 address. One colon is before the port of an IPv4 address.
				dst = append(dst, `"[`...)
				dst = appendQuotedText(dst, item)
				dst = append(dst, `]"`...)
			} else {
				dst = appendQuoted(dst, item)
			}
		}
	}
	return dst
}

var comma, colon, forEquals = []byte(","), []byte(":"), []byte("for=")

// appendQuoted appends a quoted-string (RFC 9110, 5.6.4).
func appendQuoted(dst, text []byte) []byte {
	dst = append(dst, '"')
	dst = appendQuotedText(dst, text)
	return append(dst, '"')
}

func appendQuotedText(dst, text []byte) []byte {
	for _, c := range text {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return dst
}

// appendVersionAndHost appends the rest of the request line, and Host. old: the client has asked for no host.
func (t *Trip) appendVersionAndHost(dst []byte, old bool) []byte {
	if old {
		dst = append(dst, " HTTP/1.0\r\n"...)
	} else {
		dst = append(dst, " HTTP/1.1\r\n"...)
	}
	line := len(dst)
	dst = append(dst, "Host: "...)
	begin := len(dst)
	if dst = t.appendHost(dst); len(dst) == begin {
		return dst[:line]
	}
	return append(dst, crlf...)
}
