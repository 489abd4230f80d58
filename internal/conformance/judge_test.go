package conformance

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// parseOne reads a table of one case.
func parseOne(t *testing.T, lines string) *Case {
	t.Helper()
	cases, err := Parse("test", []byte("group G\ncase c\nrfc 9112 3\n"+lines))
	if err != nil {
		t.Fatal(err)
	}
	return cases[0]
}

const (
	refusedCase   = "C> GET / HTTP/1.1\nC> X : y\nC>\nthen 400 closed\n"
	forwardedCase = "C> POST / HTTP/1.1\nC> Host: a\nC> Content-Length: 2\nC>\nC> hi\\\nO< POST / HTTP/1.1\nO< Host: a\nO< Content-Length: 2\nO<\nO< hi\\\nthen 200 kept\n"
	badResponse   = "C> GET / HTTP/1.1\nC> Host: a\nC>\nO< GET / HTTP/1.1\nO< Host: a\nO<\nO> HTTP/1.1 200 OK\nO> Content-Length: x\nO>\nthen 502 kept\n"
	cutResponse   = "C> GET / HTTP/1.1\nC> Host: a\nC>\nO< GET / HTTP/1.1\nO< Host: a\nO<\nO> HTTP/1.1 200 OK\nO> Content-Length: 3\nO>\nO> a\\\nO! fin\nC~ HTTP/1.1 200 OK\nC~ Content-Length: 3\nC~\nC~ abc\\\nthen cut closed\npeers either\nneed incomplete\n"

	get      = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	post     = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
	answerOK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	answer4  = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
	answer5  = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
)

func TestJudgementIsFair(t *testing.T) {
	for _, tt := range []struct {
		name, lines string
		origin      string
		client      string
		closed      bool
		want        string // part of the verdict; empty: passed
	}{
		{"refused", refusedCase, "", answer4, true, ""},
		{"refused, and the connection kept", refusedCase, "", answer4, false, ""},
		{"refused without a word", refusedCase, "", "", true, ""},
		{"waited", refusedCase, "", "", false, ""},
		{"made well-formed", refusedCase, get, answerOK, false, ""},
		{"made well-formed where the RFC says MUST", refusedCase + "peers refuse\n", get, answerOK, false, "passes it on"},
		{"passed on as it is", refusedCase, "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", answerOK, false, "passes on the field line"},
		{"made two", refusedCase, get + get, answerOK + answerOK, false, "makes 2 requests"},
		{"answered by the proxy itself", refusedCase, "", answerOK, false, "passes nothing on"},
		{"answered by the proxy itself, which may", refusedCase + "peers answer\n", "", answerOK, false, ""},

		{"passed on", forwardedCase, post, answerOK, false, ""},
		{"passed on in chunks", forwardedCase, "POST / HTTP/1.1\r\nhost: a\r\nVia: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n", answerOK, true, ""},
		{"not passed on", forwardedCase, "", answer4, true, "passes 0 requests on, not 1"},
		{"not passed on, which is right, too", forwardedCase + "peers either\n", "", answer4, true, ""},
		{"other content", forwardedCase, strings.Replace(post, "hi", "ho", 1), answerOK, false, "makes the content"},
		{"another method", forwardedCase, strings.Replace(post, "POST", "PUT", 1), answerOK, false, "makes PUT of POST"},
		{"a part", forwardedCase, strings.TrimSuffix(post, "i"), answer5, true, "a part of the request"},
		{"another status", forwardedCase, post, answer5, false, "answers 502, not 200"},
		{"a need that is met", forwardedCase + "need host a\nneed lacks X\nneed body hi\nneed target /\n", post, answerOK, false, ""},
		{"a need that is not", forwardedCase + "need has X: y\n", post, answerOK, false, "makes X"},
		{"a connection that is to be closed", forwardedCase + "need closed\n", post, answerOK, false, "keeps the connection"},

		{"a bad response refused", badResponse, get, answer5, false, ""},
		{"a bad response not answered", badResponse, get, "", true, ""},
		{"a bad response made good", badResponse, get, answerOK, false, ""},
		{"a bad response made good where the RFC says MUST", badResponse + "peers refuse\n", get, answerOK, false, "passes the response on"},
		{"a bad response passed on", badResponse, get, "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", true, "Content-Length"},

		{"a cut that shows", cutResponse, get, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na", true, ""},
		{"a cut that is an error", cutResponse, get, answer5, false, ""},
		{"a cut that does not show", cutResponse, get, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", false, "as if it were complete"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := &Observation{Case: parseOne(t, tt.lines), Client: []byte(tt.client), Closed: tt.closed}
			if tt.origin != "" {
				o.Origins = [][]byte{[]byte(tt.origin)}
			}
			err := o.Judge()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// relay is a proxy that passes bytes on and looks at none, but for what to replace.
func relay(t *testing.T, r *Runner, replace ...string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r.Proxy = netip.MustParseAddrPort(l.Addr().String())
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			origin, err := net.Dial("tcp", r.Origin.String())
			if err != nil {
				client.Close()
				return
			}
			go func() {
				io.Copy(client, origin)
				client.Close()
			}()
			go func() {
				defer origin.Close()
				b := make([]byte, 4096)
				for {
					n, err := client.Read(b)
					if err != nil {
						return
					}
					io.WriteString(origin, strings.NewReplacer(replace...).Replace(string(b[:n])))
				}
			}()
		}
	}()
}

func TestAPlayNoticesWhatShouldNotBe(t *testing.T) {
	r, err := NewRunner()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	relay(t, r, "X-Remove: y\r\n", "", "GET /probe HTTP/1.1\r\nHost: probe.example\r\n", "GET /probe HTTP/1.1\r\nHost: probe.example\r\n"+Forwarded("probe.example")+"\r\n")
	for _, tt := range []struct{ name, lines, want string }{
		{"right", "C> GET / HTTP/1.1\nC> Host: a\nC> X-Remove: y\nC>\nO< GET / HTTP/1.1\nO< Host: a\nO<\nthen 200 kept origin kept\n", ""},
		{"right, with all bytes named", "C> GET / HTTP/1.1\nC> Host: a\nC>\nO< GET / HTTP/1.1\nO< Host: a\nO<\nO> HTTP/1.1 204 No\nO>\nC< HTTP/1.1 204 No\nC<\nthen kept\n", ""},
		{"a byte too many at the origin", "C> GET / HTTP/1.1\nC> X: y\nC>\nO< GET / HTTP/1.1\nO<\nthen 200 kept\n", "the origin is to get something"},
		{"a byte missing", "C> GET / HTTP/1.1\nC>\nO< GET / HTTP/1.1\nO< X: y\nO<\nthen 200 kept\n", "the origin is to get something"},
		{"another status", "C> GET / HTTP/1.1\nC> Host: a\nC>\nO< GET / HTTP/1.1\nO< Host: a\nO<\nO> HTTP/1.1 201 OK\nO> Content-Length: 0\nO>\nO! fin\nthen 200 closed\n", "ended otherwise"},
		{"another byte at the client", "C> GET / HTTP/1.1\nC> Host: a\nC>\nO< GET / HTTP/1.1\nO< Host: a\nO<\nO> HTTP/1.1 204 No\nO>\nC< HTTP/1.1 204 Yes\nC<\nthen kept\n", "the client is to get something"},
		{"something passed on that should not be", "C> GET / HTTP/1.1\nC> Host: a\nC>\nC> X\\\nO< GET / HTTP/1.1\nO< Host: a\nO<\nthen 200 kept\n", "the origin is to get something"},
		{"a connection that is not kept", "C> GET / HTTP/1.1\nC> Host: a\nC>\nO< GET / HTTP/1.1\nO< Host: a\nO<\nO> HTTP/1.1 200 OK\nO> Content-Length: 0\nO>\nO! fin\nthen 200 kept\n", "ended"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := parseOne(t, tt.lines)
			err := r.Play(c, Delivery{})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v\nwant %q", err, tt.want)
			}
		})
	}
}
