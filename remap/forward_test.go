package remap

import (
	"bytes"
	"strings"
	"testing"

	"millrace/httpparse"
)

func TestATargetOfOurOwnAndACountReplaceTheClients(t *testing.T) {
	head := []byte("OPTIONS http://a/%61?b HTTP/1.1\r\nHost: c\r\nMax-Forwards: 5\r\nX: y\r\n\r\n")
	r := &httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 8)}}
	if _, err := httpparse.ParseRequest(head, 0, r); err != nil {
		t.Fatal(err)
	}
	facts := RequestFacts{Proto: "http", Target: []byte("/a?b"), MaxForwards: 4, CountForwards: true}
	got := string(AppendRequest(nil, head, r, &facts))
	if want := "OPTIONS /a?b HTTP/1.1\r\nHost: a\r\nX: y\r\nMax-Forwards: 4\r\n"; !strings.HasPrefix(got, want) || strings.Count(got, "Max-Forwards") != 1 {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTrailersThatAreForbiddenToSomeAreDropped(t *testing.T) {
	section := []byte("X_Auth_User: a\r\ncontent_type: b\r\nX_Forwarded_Port: c\r\nX_Sum: d\r\nCache_Control: e\r\n\r\n")
	fields, _, err := httpparse.ParseTrailer(section, 0, make([]httpparse.Field, 0, 8))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(AppendTrailer(nil, section, fields)); got != "X_Sum: d\r\n\r\n" {
		t.Errorf("%q", got)
	}
}

func TestTargetsAreWrittenWithoutAllocation(t *testing.T) {
	target := []byte("/a/%2e%2e//b;c/%2f?d=%20e")
	dst := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		out, path, err := AppendTarget(dst, target, NormalizeURL|RemoveDotSegments|RejectInvalidUTF8)
		if err != nil {
			t.Fatal(err)
		}
		normal, _ := NormalPath(out[len(out):cap(out)][:0], out[:path])
		all := Readings(out[:path], normal)
		for r := all; r != 0; r = (r - 1) & all {
			AppendReading(normal[:0], out[:path], r)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzForwarded sends requests on that are read with any options. Whatever they are, the strict parser takes what is
// sent for the same request, for the same server, with the same body.
func FuzzForwarded(f *testing.F) {
	for _, s := range []string{
		curlHead, browserHead,
		"GET /a/%2e%2e/b\\c?d%20e HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n",
		"OPTIONS http://h?a HTTP/1.1\r\nHost: i\r\nMax-Forwards: 3\r\nX_y:\r\n\tz\r\n\r\n",
		"POST /%0d%0aX:%20y HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: a,\r\nA: \r\n \r\n\r\n",
	} {
		f.Add([]byte(s), uint8(3), uint16(1<<10-1))
		f.Add([]byte(s), uint8(1), uint16(NormalizeURL|RemoveDotSegments|Decode2F|TranslateBackslash))
		f.Add([]byte(s), uint8(2), uint16(0))
	}
	f.Fuzz(func(t *testing.T, in []byte, allow uint8, opts uint16) {
		r := &httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 40), Allow: httpparse.Leniency(allow & 3)}}
		in = bytes.Clone(in) // unfolding writes to it
		n, err := httpparse.ParseRequest(in, 0, r)
		if err != nil || r.Method == httpparse.MethodConnect {
			return
		}
		head := in[:n]
		body, err := httpparse.RequestFraming(head, r)
		if err != nil {
			return
		}
		facts := RequestFacts{ClientAddr: []byte("192.0.2.7"), Proto: "http", Body: body}
		if m, found, err := r.MaxForwards(head); err == nil && found && m > 0 {
			facts.MaxForwards, facts.CountForwards = m-1, true
		}
		if target := r.PathQuery.Of(head); opts != 0 && len(target) > 0 && r.Form != httpparse.FormAsterisk {
			facts.Target, _, err = AppendTarget(nil, target, TargetOptions(opts)|NormalizeURL)
			if err != nil {
				return
			}
		}
		out := AppendRequest(nil, head, r, &facts)

		strict := &httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 60), Allow: r.Allow & httpparse.AllowUnderscores}}
		n2, err := httpparse.ParseRequest(out, 0, strict)
		if err != nil || n2 != len(out) {
			t.Fatalf("%q became %q: %d bytes, %v", head, out, n2, err)
		}
		if a, b := r.MethodName.Of(head), strict.MethodName.Of(out); !bytes.Equal(a, b) {
			t.Fatalf("method %q became %q", a, b)
		}
		if a, b := r.Authority.Of(head), strict.Authority.Of(out); !bytes.Equal(a, b) {
			t.Fatalf("for %q, was for %q", b, a)
		}
		if len(facts.Target) > 0 && !bytes.Equal(strict.Target.Of(out), facts.Target) {
			t.Fatalf("target %q became %q", facts.Target, strict.Target.Of(out))
		}
		framing, err := httpparse.RequestFraming(out, strict)
		if framing.Kind == httpparse.BodyLength && framing.Length == 0 && body.Kind == httpparse.BodyNone {
			framing = body // said so
		}
		if err != nil || framing != body {
			t.Fatalf("%q is framed as %v, %v, want %v", out, framing, err, body)
		}
		if facts.CountForwards {
			if m, found, err := strict.MaxForwards(out); m != facts.MaxForwards || !found || err != nil {
				t.Fatalf("%q: Max-Forwards %d %v %v, want %d", out, m, found, err, facts.MaxForwards)
			}
		}
		var want, got []field
		for _, f := range fieldsOf(head, &r.Head) {
			if compared(f.name) && !requestStays[f.name] && !r.ConnNames {
				want = append(want, f)
			}
		}
		for _, f := range fieldsOf(out, &strict.Head) {
			if compared(f.name) && !r.ConnNames {
				got = append(got, f)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("sent on: %q, want %q", got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("sent on: %q, want %q", got, want)
			}
		}
	})
}

// requestStays are the fields that are never sent on.
var requestStays = map[string]bool{"keep-alive": true, "proxy-connection": true, "upgrade": true, "proxy": true}

// compared reports whether FuzzForwarded compares fields of a name: not those that may be dropped or be written anew.
func compared(name string) bool {
	return !written[name] && name != "max-forwards" && name != "expect" && name != "trailer"
}
