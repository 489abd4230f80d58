package loop

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/remap"
)

// counted counts what is read from a connection.
type counted struct {
	io.Reader
	n int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += int64(n)
	return n, err
}

func TestARecordSaysWhatHappened(t *testing.T) {
	const chunkedHead = "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	// finish reads everything up to the end of the connection, so that every byte sent is counted.
	finish := func(c *peer) { c.closeWrite(); c.wantGone() }
	tests := []struct {
		name   string
		script func(tr *trace, p *proxy, o *origin, c *peer) (sent string)
		want   string // but for bytes in and out
	}{
		{"nothing but a connection", func(tr *trace, p *proxy, o *origin, c *peer) string {
			finish(c)
			return ""
		}, ""},
		{"an answer by length", func(tr *trace, p *proxy, o *origin, c *peer) string {
			c.send(get("/x"))
			x := o.accept()
			x.wantHead()
			x.send(ok("12345"))
			c.want(200, "12345")
			finish(c)
			return get("/x")
		}, "GET /x HTTP/1.1 a.example 200 ok 0 5 web app SERVER"},
		{"an answer in chunks", func(tr *trace, p *proxy, o *origin, c *peer) string {
			c.send(get("/x"))
			x := o.accept()
			x.wantHead()
			x.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks("12345") + "0\r\n\r\n")
			c.want(200, "12345")
			finish(c)
			return get("/x")
		}, "GET /x HTTP/1.1 a.example 200 ok 0 5 web app SERVER"},
		{"an answer until close, to an old client", func(tr *trace, p *proxy, o *origin, c *peer) string {
			c.send("GET /x HTTP/1.0\r\n\r\n")
			x := o.accept()
			x.wantHead()
			x.send("HTTP/1.1 200 OK\r\n\r\n12345")
			x.closeWrite()
			c.want(200, "12345")
			finish(c)
			return "GET /x HTTP/1.0\r\n\r\n"
		}, "GET /x HTTP/1.0 - 200 ok 0 5 web app SERVER"},
		{"an answer behind interim ones", func(tr *trace, p *proxy, o *origin, c *peer) string {
			c.send(get("/x"))
			x := o.accept()
			x.wantHead()
			x.send(hints103 + ok("12345"))
			c.wantBytes(hints103)
			c.want(200, "12345")
			finish(c)
			return get("/x")
		}, "GET /x HTTP/1.1 a.example 200 ok 0 5 web app SERVER"},
		{"an answer to HEAD", func(tr *trace, p *proxy, o *origin, c *peer) string {
			request := "HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n"
			c.send(request)
			x := o.accept()
			x.wantHead()
			x.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
			c.wantTo("HEAD", 200, "")
			finish(c)
			return request
		}, "HEAD /x HTTP/1.1 h 200 ok 0 0 web app SERVER"},
		{"an upload", func(tr *trace, p *proxy, o *origin, c *peer) string {
			c.send(post("/x", letters(100000)))
			x := o.accept()
			x.wantRequest("POST /x", letters(100000))
			x.send("HTTP/1.1 204 No Content\r\n\r\n")
			c.wantTo("POST", 204, "")
			finish(c)
			return post("/x", letters(100000))
		}, "POST /x HTTP/1.1 a.example 204 ok 0 0 web app SERVER"},
		{"an upload in chunks, with trailers", func(tr *trace, p *proxy, o *origin, c *peer) string {
			request := chunkedHead + chunks(letters(1000)) + "0\r\nX-Sum: 1\r\n\r\n"
			c.send(request)
			x := o.accept()
			x.wantRequest("POST /x", letters(1000))
			x.send(ok(""))
			c.want(200, "")
			finish(c)
			return request
		}, "POST /x HTTP/1.1 h 200 ok 0 0 web app SERVER"},
		{"an error of the origin's", func(tr *trace, p *proxy, o *origin, c *peer) string {
			c.send(get("/x"))
			x := o.accept()
			x.wantHead()
			x.send("HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops")
			c.want(500, "oops")
			finish(c)
			return get("/x")
		}, "GET /x HTTP/1.1 a.example 500 ok 0 4 web app SERVER"},
		{"no answer", func(tr *trace, p *proxy, o *origin, c *peer) string {
			c.send(post("/x", "12345"))
			x := o.accept()
			x.wantHead()
			x.Close()
			c.wantError("POST", 502)
			finish(c)
			return post("/x", "12345")
		}, "POST /x HTTP/1.1 a.example 502 backend_error 0 16 web app SERVER"},
		{"an answer that was cut", func(tr *trace, p *proxy, o *origin, c *peer) string {
			c.send(get("/x"))
			x := o.accept()
			x.wantHead()
			x.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n123")
			x.closeWrite()
			c.wantCut()
			return get("/x")
		}, "GET /x HTTP/1.1 a.example 200 backend_error 0 3 web app SERVER"},
		{"no route", func(tr *trace, p *proxy, o *origin, c *peer) string {
			c.send(get("/nowhere"))
			c.wantError("GET", 404)
			finish(c)
			return get("/nowhere")
		}, "GET /nowhere HTTP/1.1 a.example 404 no_route 0 14 web - -"},
		{"a head that is refused", func(tr *trace, p *proxy, o *origin, c *peer) string {
			c.send("GET /x HTTP/1.1\r\n\r\n")
			c.wantError("GET", 400)
			finish(c)
			return "GET /x HTTP/1.1\r\n\r\n"
		}, "* 400 bad_request 0 16 web - -"},
		{"a framing that is refused", func(tr *trace, p *proxy, o *origin, c *peer) string {
			request := "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n"
			c.send(request)
			c.wantError("GET", 400)
			finish(c)
			return request
		}, "POST /x HTTP/1.1 h 400 bad_request 0 16 web - -"},
		{"a head that does not end", func(tr *trace, p *proxy, o *origin, c *peer) string {
			c.send("GET /x HTTP/1.1\r\nHost:")
			c.closeWrite()
			c.wantError("GET", 400)
			c.wantEnd()
			return "GET /x HTTP/1.1\r\nHost:"
		}, "* 400 client_abort 0 16 web - -"},
		{"a client that leaves", func(tr *trace, p *proxy, o *origin, c *peer) string {
			c.send(get("/x"))
			x := o.accept()
			x.wantHead()
			c.reset()
			x.wantGone()
			return get("/x")
		}, "GET /x HTTP/1.1 a.example 499 client_abort 0 0 web app SERVER"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{
				rules:  []remap.Rule{{Path: "/x"}},
				record: "$method $target $protocol $host $status $end $retries $body_bytes $listener $backend $server|$bytes_in|$bytes_out",
			}, o)
			c := p.dial()
			in := &counted{Reader: c.Conn}
			c.r = bufio.NewReader(in)
			sent := test.script(tr, p, o, c)
			c.Close()
			records := p.records()
			if test.want == "" {
				if len(records) != 0 {
					t.Errorf("records: %q", records)
				}
				return
			}
			if len(records) != 1 {
				t.Fatalf("records: %q, want one", records)
			}
			parts := strings.Split(records[0], "|")
			want := strings.Replace(test.want, "SERVER", o.name, 1)
			// Of a head that cannot be parsed, how much is told is not promised.
			if rest, loose := strings.CutPrefix(want, "*"); parts[0] != want && !(loose && strings.HasSuffix(parts[0], rest)) {
				t.Errorf("record %q, want %q", parts[0], want)
			}
			if parts[1] != fmt.Sprint(len(sent)) {
				t.Errorf("bytes in: %s, want %d", parts[1], len(sent))
			}
			if parts[2] != fmt.Sprint(in.n) {
				t.Errorf("bytes out: %s, want %d", parts[2], in.n)
			}
		})
	}
}

func TestEveryPipelinedRequestHasOneRecord(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.serveEach(func(r *http.Request, body []byte) string { return ok(string(body)) })
	p := tr.proxy(setup{loops: 2, record: "$method $target $status $bytes_in $body_bytes $end"}, o)
	var want []string
	const n = 300
	c := p.dial()
	var all strings.Builder
	for i := range n {
		request := post(fmt.Sprint("/", i), letters(i))
		all.WriteString(request)
		want = append(want, fmt.Sprintf("POST /%d 200 %d %d ok", i, len(request), i))
	}
	sent := tr.beside("client", func() error {
		_, err := io.WriteString(c, all.String())
		return err
	})
	for i := range n {
		c.want(200, letters(i))
	}
	sent()
	p.wantRecords(want...)
}

func TestARecordSaysWhenThingsHappened(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{record: "$time_unix_ms $connect_us $first_byte_us $total_us"}, o)
	c := p.dial()
	var x *peer
	begun := time.Now().UnixMilli()
	for range 2 {
		c.send(get("/"))
		if x == nil {
			x = o.accept()
		}
		x.wantRequest("GET /", "")
		x.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1")
		c.wantHead()
		c.wantBytes("1")
		x.send("2")
		c.wantBytes("2")
	}
	c.send("NONSENSE\r\n\r\n")
	c.wantError("GET", 400)
	c.Close()
	ended := time.Now().UnixMilli()
	records := p.records()
	if len(records) != 3 {
		t.Fatalf("records: %q", records)
	}
	for i, record := range records {
		var v [4]int64
		for j, word := range strings.Fields(record) {
			v[j] = -1
			if word != "-" {
				n, err := strconv.ParseInt(word, 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				v[j] = n
			}
		}
		when, connect, first, total := v[0], v[1], v[2], v[3]
		if when < begun || when > ended || total < 0 || total > (ended-begun+1)*1000 {
			t.Errorf("record %d: %q, between %d and %d", i, record, begun, ended)
		}
		if connected := connect >= 0; connected != (i == 0) {
			t.Errorf("record %d: %q: connected: %v", i, record, connected)
		}
		if answered := first >= 0; answered != (i < 2) || first > total {
			t.Errorf("record %d: %q: first byte", i, record)
		}
	}
}

func TestRecordsAreWrittenSoonAndToTheFileOfTheDay(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	o.serveEach(func(*http.Request, []byte) string { return ok("fine") })
	p := tr.proxy(setup{record: "$target $status"}, o)
	c := p.dial()
	written := func(path, want string) {
		t.Helper()
		tr.eventually("the record is not written", func() bool {
			text, err := os.ReadFile(path)
			return err == nil && string(text) == want
		})
	}
	c.send(get("/1"))
	c.want(200, "fine")
	written(p.log, "/1 200\n")
	if err := os.Rename(p.log, p.log+".1"); err != nil {
		t.Fatal(err)
	}
	if err := p.srv.ReopenLogs(); err != nil {
		t.Fatal(err)
	}
	c.send(get("/2"))
	c.want(200, "fine")
	written(p.log, "/2 200\n")
	written(p.log+".1", "/1 200\n")
}
