package remap

import "millrace/httpparse"

// appendEdited appends the fields of a head that are not in drop and that no Connection field takes away, edited. Each
// run of neighbours that pass as they are is copied in one piece, as appendRuns does.
func (t *Trip) appendEdited(dst, buf []byte, h *httpparse.Head, drop httpparse.FieldSet, s *side, response bool) []byte {
	if !s.editsFields() {
		return appendFields(dst, buf, h, drop)
	}
	var names connectionNames
	var named *connectionNames
	if h.ConnNames {
		named = &names
		named.collect(buf, h)
	}
	fields := h.Fields
	kept := 0
	for i := range fields {
		f := &fields[i]
		name := f.Name.Of(buf)
		stays := drop.Has(f.ID) || named != nil && named.has(buf, name)
		var edit *fieldEdit
		if !stays {
			if edit = s.find(name); edit == nil {
				continue
			}
		}
		if kept < i {
			dst = append(dst, buf[fields[kept].Name.Start:f.Name.Start]...)
		}
		kept = i + 1
		if !stays && !edit.remove {
			dst = t.appendField(dst, name, f.Value.Of(buf), edit, response)
		}
	}
	if kept < len(fields) {
		dst = append(dst, buf[fields[kept].Name.Start:lineEnd(buf, fields[len(fields)-1].Value)]...)
	}
	return dst
}

// appendField appends a field with its value edited.
func (t *Trip) appendField(dst, name, value []byte, edit *fieldEdit, response bool) []byte {
	line := len(dst)
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	begin := len(dst)
	switch edit.content {
	case plainText:
		dst = append(dst, value...)
	case cookieContent:
		dst = t.appendCookie(dst, value)
	case refreshContent:
		dst = t.appendRefresh(dst, value)
	default:
		done := false
		if response {
			dst, done = t.appendReversed(dst, value)
		}
		switch {
		case done:
		case edit.content == uriContent:
			dst = t.appendMappedURI(dst, value, response)
		default:
			dst = append(dst, value...)
		}
	}
	dst = t.applyRules(dst, begin, edit.rewrite, edit.substitute)
	return t.endLine(dst, line, begin, response)
}

// appendLines appends the lines that edits set and add.
func (t *Trip) appendLines(dst []byte, s *side, response bool) []byte {
	for i := range s.lines {
		l := &s.lines[i]
		if l.fixed != "" && len(dst) <= maxEditedHead {
			dst = append(dst, l.fixed...)
			continue
		}
		line := len(dst)
		dst = append(dst, l.Name...)
		dst = append(dst, ": "...)
		begin := len(dst)
		dst = l.Value.append(dst, t, &t.groups, false)
		if len(dst) == begin {
			dst = dst[:line] // nothing to say
			continue
		}
		dst = t.endLine(dst, line, begin, response)
	}
	return dst
}

// endLine ends the line that begins at dst[line], and whose value, which edits have made, at dst[begin]. It is the one
// place that every value passes that is made for a request: what would not be one is never sent.
func (t *Trip) endLine(dst []byte, line, begin int, response bool) []byte {
	if httpparse.ValidFieldValue(dst[begin:]) && len(dst) <= maxEditedHead {
		return append(dst, crlf...)
	}
	if !response || len(dst) > maxEditedHead {
		t.Refused = true
	}
	return dst[:line]
}

// appendResponseFields appends the server's fields but those in drop, edited, and the lines that edits add.
func (t *Trip) appendResponseFields(dst, buf []byte, r *httpparse.Response, drop httpparse.FieldSet) []byte {
	e := t.Edits
	t.Refused, t.status = false, r.Status
	dst = t.appendEdited(dst, buf, &r.Head, drop, &e.response, true)
	if e.response.own {
		dst = t.appendVia(dst, r.Version)
	}
	return t.appendLines(dst, &e.response, true)
}

// FilterTrailer takes those fields out of a trailer section that edits have to do with, in either direction: what the
// head must not say, or says differently, must not come behind the body. Nor must what is the same name to CGI. It works in
// place.
func (t *Trip) FilterTrailer(buf []byte, fields []httpparse.Field) []httpparse.Field {
	kept := fields[:0]
	for _, f := range fields {
		name := f.Name.Of(buf)
		if !t.Edits.request.concerns(name) && !t.Edits.response.concerns(name) {
			kept = append(kept, f)
		}
	}
	return kept
}

// concerns reports whether there are edits for the fields of a name, whatever its punctuation.
func (s *side) concerns(name []byte) bool {
	for i := range s.fields {
		if equalDashed(name, s.fields[i].name) {
			return true
		}
	}
	return s.removesPrefix(name)
}

// isPunctuation has the characters of a name that CGI makes underscores of, but for the dash.
var isPunctuation = func() (table [256]bool) {
	for i := range table {
		c := byte(i)
		table[c] = c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z')
	}
	return table
}()

func hasPunctuation(name []byte) bool {
	for _, c := range name {
		if isPunctuation[c] {
			return true
		}
	}
	return false
}

// equalDashed is equalName with punctuation of the field's name taken for dashes.
func equalDashed(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		switch {
		case 'A' <= c && c <= 'Z':
			c |= 0x20
		case isPunctuation[c]:
			c = '-'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
