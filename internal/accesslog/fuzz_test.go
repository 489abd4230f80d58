package accesslog

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzAppend checks that nothing a client can send makes more or less than one line of a record, or JSON that
// does not parse, or text that is not printable.
func FuzzAppend(f *testing.F) {
	f.Add([]byte("GET"), []byte("/"), []byte("example.org"), []byte("http://example.org/"), []byte("curl/8.5.0"), int64(971211336123456789), 200)
	f.Add([]byte(""), []byte(""), []byte(""), []byte(""), []byte(""), int64(0), 0)
	f.Add([]byte("GET\n"), []byte("/\r\n\x00"), []byte("\"}\n{\""), []byte("\\"), []byte("\u2028\u0085\xff\xc3("), int64(-1), -1)

	formats := map[string]*Format{}
	for _, format := range []string{"common", "combined", "json", "$host\t$method $target $time_utc"} {
		formats[format] = mustCompile(f, format)
	}
	f.Fuzz(func(t *testing.T, method, target, host, referer, userAgent []byte, ns int64, status int) {
		r := &Record{
			Time: ns, ClientAddr: host, Method: method, Target: target, Version: uint8(status), Host: host,
			Referer: referer, UserAgent: userAgent, Status: status, BodyOut: ns, Backend: string(target), End: End(status),
		}
		for format, compiled := range formats {
			line := compiled.Append(nil, r)
			if bytes.IndexByte(line, '\n') != len(line)-1 {
				t.Errorf("%s: not one line: %q", format, line)
			}
			line = line[:len(line)-1]
			if format == "json" {
				var members map[string]any
				if err := json.Unmarshal(line, &members); err != nil || len(members) != len(jsonNames) {
					t.Errorf("%v, %d members: %s", err, len(members), line)
				}
				continue
			}
			for _, c := range line {
				if (c < 0x20 || c >= 0x7f) && c != '\t' {
					t.Errorf("%s: byte 0x%02x in %q", format, c, line)
				}
			}
		}
	})
}
