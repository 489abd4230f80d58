package accesslog

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// apacheExample is the request that Apache's manual explains its formats with.
func apacheExample() *Record {
	return &Record{
		Time:       time.Date(2000, time.October, 10, 13, 55, 36, 123456789, time.Local).UnixNano(),
		ClientAddr: []byte("127.0.0.1"), ClientPort: 50312,
		Method: []byte("GET"), Target: []byte("/apache_pb.gif"), Version: 10,
		Host:      []byte("www.example.com"),
		Referer:   []byte("http://www.example.com/start.html"),
		UserAgent: []byte("Mozilla/4.08 [en] (Win98; I ;Nav)"),
		Status:    200, BytesIn: 231, BytesOut: 2571, BodyOut: 2326,
		Total: 1834, Connect: 212, FirstByte: 1650,
		Backend: "app", Server: "10.0.0.1:8080", Listener: "web", Retries: 1,
	}
}

// unread is a connection on which no request line came in time.
func unread() *Record {
	return &Record{
		Time:       time.Date(2000, time.October, 10, 13, 55, 36, 0, time.Local).UnixNano(),
		ClientAddr: []byte("2001:db8::1"), ClientPort: 50312,
		Status: 408, BytesOut: 120, Total: 10000000, Connect: -1, FirstByte: -1,
		End: EndClientTimeout,
	}
}

// hostile is a request made to break a log.
func hostile() *Record {
	r := apacheExample()
	r.Target = []byte("/\"a\\b\x7f\xff\x00\r\n\tz")
	r.Referer = []byte("é\u2028\u0085\xc3")
	r.UserAgent = []byte("\x1b[2J")
	return r
}

func TestAppend(t *testing.T) {
	withoutBody := apacheExample()
	withoutBody.Status, withoutBody.BodyOut = 304, 0
	unanswered := apacheExample()
	unanswered.Status, unanswered.BodyOut, unanswered.End = 0, 0, EndClientAbort
	unknownVersion := apacheExample()
	unknownVersion.Version = 0

	tests := []struct {
		name, format string
		record       *Record
		want         string
	}{
		{
			"common", "common", apacheExample(),
			`127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326`,
		},
		{
			"combined", "combined", apacheExample(),
			`127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326 ` +
				`"http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)"`,
		},
		{
			"no body is a dash in common", "common", withoutBody,
			`127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 304 -`,
		},
		{
			"no body is 0 elsewhere", "$body_bytes", withoutBody,
			`0`,
		},
		{
			"no request line", "combined", unread(),
			`2001:db8::1 - - [10/Oct/2000:13:55:36 -0700] "-" 408 - "-" "-"`,
		},
		{
			"no answer", "$status $end", unanswered,
			`- client_abort`,
		},
		{
			"no version", `"$request" $protocol`, unknownVersion,
			`"GET /apache_pb.gif" -`,
		},
		{
			"every byte that could hurt is escaped as nginx does", "combined", hostile(),
			`127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /\x22a\x5Cb\x7F\xFF\x00\x0D\x0A\x09z HTTP/1.0" 200 2326 ` +
				`"\xC3\xA9\xE2\x80\xA8\xC2\x85\xC3" "\x1B[2J"`,
		},
		{
			"times", "$time_local|$time_iso8601|$time_utc|$time_unix_ms", apacheExample(),
			`10/Oct/2000:13:55:36 -0700|2000-10-10T13:55:36-07:00|2000-10-10T20:55:36.123456Z|971211336123`,
		},
		{
			"numbers", "$client_port $bytes_in $bytes_out $body_bytes $total_us $connect_us $first_byte_us $retries", apacheExample(),
			`50312 231 2571 2326 1834 212 1650 1`,
		},
		{
			"what did not happen", "$connect_us $first_byte_us $backend $server $listener $method $target $host", unread(),
			`- - - - - - - -`,
		},
		{
			"words", "$method $target $protocol $host $backend/$server via $listener: $end", apacheExample(),
			`GET /apache_pb.gif HTTP/1.0 www.example.com app/10.0.0.1:8080 via web: ok`,
		},
		{
			"braces, dollars, tabs and what is beyond ASCII", "${total_us}us\t$$5 ± $status", apacheExample(),
			"1834us\t$5 ± 200",
		},
		{
			"json", "json", apacheExample(),
			`{"time_utc":"2000-10-10T20:55:36.123456Z","client_addr":"127.0.0.1","client_port":50312,` +
				`"method":"GET","target":"/apache_pb.gif","protocol":"HTTP/1.0","host":"www.example.com",` +
				`"referer":"http://www.example.com/start.html","user_agent":"Mozilla/4.08 [en] (Win98; I ;Nav)",` +
				`"status":200,"bytes_in":231,"bytes_out":2571,"body_bytes":2326,` +
				`"total_us":1834,"connect_us":212,"first_byte_us":1650,` +
				`"backend":"app","server":"10.0.0.1:8080","listener":"web","retries":1,"end":"ok"}`,
		},
		{
			"json of what did not happen", "json", unread(),
			`{"time_utc":"2000-10-10T20:55:36.000000Z","client_addr":"2001:db8::1","client_port":50312,` +
				`"method":"","target":"","protocol":"","host":"","referer":"","user_agent":"",` +
				`"status":408,"bytes_in":0,"bytes_out":120,"body_bytes":0,` +
				`"total_us":10000000,"connect_us":null,"first_byte_us":null,` +
				`"backend":"","server":"","listener":"","retries":0,"end":"client_timeout"}`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, err := Compile(test.format)
			if err != nil {
				t.Fatal(err)
			}
			got := string(f.Append([]byte("before "), test.record))
			if diff := cmp.Diff("before "+test.want+"\n", got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestAppendJSONKeepsWhatUTF8CanSay(t *testing.T) {
	f := mustCompile(t, "json")
	line := f.Append(nil, hostile())
	var got struct {
		Target    string `json:"target"`
		Referer   string `json:"referer"`
		UserAgent string `json:"user_agent"`
	}
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	if want := "/\"a\\b\x7f\uFFFD\x00\r\n\tz"; got.Target != want {
		t.Errorf("target %q, want %q", got.Target, want)
	}
	if want := "é\u2028\u0085\uFFFD"; got.Referer != want {
		t.Errorf("referer %q, want %q", got.Referer, want)
	}
	if want := "\x1b[2J"; got.UserAgent != want {
		t.Errorf("user agent %q, want %q", got.UserAgent, want)
	}
	for _, c := range string(line[:len(line)-1]) {
		if c < 0x20 || breaksLine(c) && c >= 0x7f {
			t.Errorf("%U stands in the line as it is: %s", c, line)
		}
	}
}

func TestAppendKeepsSecondsApart(t *testing.T) {
	// The records of one Buffer share its stamps, and long requests come in between short ones.
	f := mustCompile(t, "$time_utc $time_iso8601 $time_local")
	r := apacheExample()
	var s stamps
	for _, second := range []int64{0, 1, 1, 0, 951782400, 1, 951782399} {
		r.Time = second * 1e9
		want := string(f.Append(nil, r))
		if got := string(f.append(nil, r, &s)); got != want {
			t.Errorf("second %d: %q, want %q", second, got, want)
		}
	}
}

func TestPlainPrefix(t *testing.T) {
	for c := range 256 {
		for at := range 19 {
			s := []byte("just a plain text..")
			s[at] = byte(c)
			want := 16 // of 19: the last three do not make eight
			if !plain[c] {
				want = at / 8 * 8
			}
			if got := plainPrefix(s); got != want {
				t.Fatalf("plainPrefix(%q) = %d, want %d", s, got, want)
			}
		}
	}
}

func TestCompileErrors(t *testing.T) {
	tests := []struct{ format, want string }{
		{"$client_addr $statsu", `unknown name $statsu at offset 13 of the log format; known names: $backend $body_bytes`},
		{"$remote_addr", `unknown name $remote_addr at offset 0 of the log format, which is $client_addr here; known names: `},
		{"ab ${request_time}s", `unknown name $request_time at offset 3 of the log format, which is $total_us, in microseconds here; `},
		{"$statusses", `unknown name $statusses at offset 0`},
		{"$", `no name after the $ at offset 0 of the log format; a dollar sign is written $$`},
		{"$status costs 5$ ", `no name after the $ at offset 15`},
		{"${}", `no name after the $ at offset 0`},
		{"${status", `no } after the ${status at offset 0`},
		{"$status${end now}", `no } after the ${end at offset 7`},
		{"$status\n$end", `control byte 0x0a at offset 7`},
		{"$status\x7f", `control byte 0x7f at offset 7`},
		{"combind", `log format "combind" is none of common, combined, json, and no template: it has no $name; known names: `},
		{"", `log format "" is none of `},
	}
	for _, test := range tests {
		f, err := Compile(test.format)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("Compile(%q) = %v, %v; want an error that begins with %s", test.format, f, err, test.want)
		}
	}
}

func TestEveryNameCompiles(t *testing.T) {
	for _, name := range Names() {
		f := mustCompile(t, "$"+name)
		if line := string(f.Append(nil, apacheExample())); len(line) < 2 {
			t.Errorf("$%s prints %q", name, line)
		}
	}
	for theirs, ours := range elsewhere {
		if slices.Contains(Names(), theirs) {
			t.Errorf("$%s is said to be %s, but exists", theirs, ours)
		}
	}
}

func TestManualHasEveryName(t *testing.T) {
	manual, err := os.ReadFile("../../docs/access-log.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `\\$([a-z0-9_]+)` \\|").FindAllStringSubmatch(string(manual), -1) {
		documented[m[1]] = true
	}
	for _, name := range Names() {
		if !documented[name] {
			t.Errorf("docs/access-log.md has no row for $%s", name)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("docs/access-log.md has a row for $%s, which does not exist", name)
	}
	for _, word := range endNames {
		if !strings.Contains(string(manual), "| `"+word+"` |") {
			t.Errorf("docs/access-log.md has no row for the end %s", word)
		}
	}
}

func TestEndString(t *testing.T) {
	for e := range End(len(endNames)) {
		if e.String() == "" {
			t.Errorf("End(%d) has no word", uint8(e))
		}
	}
	if got := End(250).String(); got != "end_250" {
		t.Errorf("End(250) = %s", got)
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	for _, format := range []string{"common", "combined", "json", "$time_iso8601 $time_utc $end $request"} {
		f := mustCompile(t, format)
		for _, r := range []*Record{apacheExample(), unread(), hostile()} {
			dst := make([]byte, 0, 4096)
			if n := testing.AllocsPerRun(100, func() { dst = f.Append(dst[:0], r) }); n != 0 {
				t.Errorf("Append of %q allocates %v times", format, n)
			}
		}
	}
}

func mustCompile(t testing.TB, format string) *Format {
	t.Helper()
	f, err := Compile(format)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
