package httpparse

// Response is a response head, as views into the buffer it was parsed from.
type Response struct {
	Head
	// Status is the status code, 100 to 999.
	Status int
	// Reason is the reason phrase; it may be empty.
	Reason View
}

// ParseResponse parses a response head from the beginning of buf: see ParseRequest.
func ParseResponse(buf []byte, scanned int, r *Response) (n int, err error) {
	r.Head.reset()
	*r = Response{Head: r.Head}
	end, err := headEnd(buf, 0, scanned)
	if err == ErrNeedMore {
		const begin = "HTTP/1."
		for i := range min(len(buf), len(begin)) {
			if buf[i] != begin[i] {
				return 0, syntax(BadStatusLine, i)
			}
		}
	}
	if err != nil {
		return 0, err
	}
	at, err := parseStatusLine(buf, r)
	if err != nil {
		return 0, err
	}
	if err := parseFields(buf, at, end, &r.Head); err != nil {
		return 0, err
	}
	return end + 2, nil
}

// parseStatusLine parses a status-line (RFC 9112, 4) and returns where the next line begins. The blank
// before an empty reason phrase may be missing, as many servers have it.
func parseStatusLine(buf []byte, r *Response) (next int, err error) {
	const shortest = len("HTTP/1.1 200\r\n\r\n")
	if len(buf) < shortest {
		return 0, syntax(BadStatusLine, 0)
	}
	if r.Version, err = parseVersion(buf, 0); err != nil {
		return 0, err
	}
	if buf[8] != ' ' {
		return 0, syntax(BadStatusLine, 8)
	}
	for i := 9; i < 12; i++ {
		c := buf[i]
		if c < '0' || c > '9' {
			return 0, syntax(BadStatusLine, i)
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 {
		return 0, syntax(BadStatusLine, 9)
	}
	at := 12
	if buf[at] == ' ' {
		at++
		start := at
		// A line end lies ahead: the head's last bytes are one.
		for buf[at] >= 0x20 && buf[at] != 0x7f || buf[at] == '\t' {
			at++
		}
		r.Reason = View{uint32(start), uint32(at)}
	}
	if buf[at] != '\r' || buf[at+1] != '\n' {
		return 0, syntax(BadStatusLine, at)
	}
	return at + 2, nil
}
