package httpparse

// Response is a response head, as views into the buffer it was parsed from.
type Response struct {
	Head
	// Status is the status code, 100 to 999.
	Status int
	// Reason is the reason phrase; it may be empty.
	Reason View
}

// ParseResponse parses a response head from the beginning of buf: see ParseRequest. Names with underscores pass,
// whatever r.Allow says: no client takes them for others.
func ParseResponse(buf []byte, scanned int, r *Response) (n int, err error) {
	*r = Response{Head: Head{Fields: r.Fields[:0], Allow: r.Allow | AllowUnderscores}}
	buf = buf[:min(len(buf), maxHead)]
	scanned = min(scanned, len(buf))
	if !worthParsing(buf, scanned, 0, r.Fields, r.Allow) {
		return 0, needMore(len(buf))
	}
	at, err := parseStatusLine(buf, r)
	if err == nil {
		at, err = parseFields(buf, at, &r.Head)
	}
	if err == ErrNeedMore {
		*r = Response{Head: Head{Fields: r.Fields[:0], Allow: r.Allow}}
		return 0, needMore(len(buf))
	}
	if err != nil {
		return 0, err
	}
	return at, nil
}

// parseStatusLine parses a status-line (RFC 9112, 4) and returns where the next line begins; or ErrNeedMore;
// or an *Error. The blank before an empty reason phrase may be missing, as many servers have it.
func parseStatusLine(buf []byte, r *Response) (next int, err error) {
	if r.Version, err = parseVersion(buf, 0); err != nil {
		return 0, err
	}
	if r.Version != HTTP10 && r.Version != HTTP11 {
		return 0, syntax(UnknownVersion, 0)
	}
	at := len("HTTP/1.1")
	if at == len(buf) || buf[at] != ' ' {
		return 0, badEnd(buf, at, BadStatusLine)
	}
	at++
	for end := at + 3; at < end; at++ {
		if at == len(buf) || buf[at] < '0' || buf[at] > '9' {
			return 0, badEnd(buf, at, BadStatusLine)
		}
		r.Status = r.Status*10 + int(buf[at]-'0')
	}
	if r.Status < 100 {
		return 0, syntax(BadStatusLine, at-3)
	}
	if at < len(buf) && buf[at] == ' ' {
		at++
		start := at
		at = textEnd(buf, at)
		r.Reason = View{uint32(start), uint32(at)}
	}
	if at+1 >= len(buf) || buf[at] != '\r' || buf[at+1] != '\n' {
		return 0, badEnd(buf, at, BadStatusLine)
	}
	return at + 2, nil
}
