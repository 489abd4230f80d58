package remap

import (
	"bytes"
	"regexp"
	"testing"

	"millrace/httpparse"
)

// FuzzEdits has edits of every kind change heads that the parser accepts: what is not refused must be a head that the
// parser accepts, for the same method or status, with the same body.
func FuzzEdits(f *testing.F) {
	f.Add([]byte(curlHead), []byte(nginxHead), "X-A", "(.*)", "$1 $http_user_agent", "/a", "/b/", uint32(0x1ffff), false)
	f.Add([]byte(head("GET /xxx/%0d%0aa?b HTTP/1.1", "Host: h", "Destination: http://h/xxx", "X-Forwarded-For: a, \"b")),
		[]byte(head("HTTP/1.1 302 Found", "Location: http://backend.int:8080/yyy", "Set-Cookie: a=b; Path=/yyy; Domain=backend.int:8080", "Content-Length: 0")),
		"uri", "^/(.)", "/$target", "h", "i:81", uint32(0x1ff), true)
	f.Add([]byte(head("GET /b/%2e%2e/x?y HTTP/1.1", "Host: h:80", "Content-Location: http://h/b/x", "Accept: */*")),
		[]byte(head("HTTP/1.1 201 Created", "Location: http://app.internal:8080/base/b/x", "Set-Cookie: a=b; path=/b; domain=h", "Content-Length: 0")),
		"X-B", "b", "$path$$", "/b", "", uint32(0x1c0c7), false)
	f.Fuzz(func(t *testing.T, in, res []byte, name, pattern, value, from, to string, which uint32, secure bool) {
		if len(pattern) > 50 || len(value) > 200 || !regexp.MustCompile("^[A-Za-z][A-Za-z-]*$").MatchString(name) {
			return
		}
		re, err := regexp.Compile(pattern)
		if err != nil {
			return
		}
		tp, err := ParseTemplate(value, TemplateScope{Groups: re.NumSubexp(), Response: true})
		if err != nil {
			return
		}
		switch lower := string(appendLower(nil, []byte(name))); lower {
		case "connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "transfer-encoding", "content-length",
			"expect", "max-forwards", "proxy", "proxy-authenticate":
			return // which configurations cannot have
		case "host", "uri", "x-host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host":
			which &^= 0x300 // nor those as fields of their own
		}
		has := func(bit uint32) bool { return which&(1<<bit) != 0 }
		o := EditOptions{Rule: &Rule{Pattern: re}}
		if has(0) {
			o.MapURLPath = pairs("/xxx", "/yyy", "/", "/b/")
		}
		if has(1) {
			o.MapHostRequest, o.HTTPSRemap = pairs("-", "backend.int:8080"), true
		}
		if has(2) {
			o.MapHostResponse = pairs("-", "-")
		}
		if has(3) {
			o.Forwarded, o.Via, o.RequestID = ForwardedFor|ForwardedBy|ForwardedProto|ForwardedHost, ViaFull, "X-Request-Id"
		}
		if has(4) {
			o.XForwarded = ForwardOff
		} else if has(5) {
			o.XForwarded = ForwardOverwrite
		}
		if has(6) {
			o.Reverse = []Reversal{
				{Mapping: Mapping{"http://backend.int:8080", "/m"}},
				{Mapping{"/b", "/p/"}, []string{"http://app.internal:8080/x"}},
				{Mapping: Mapping{"/", "/n"}},
			}
			o.ReverseCookiePath, o.ReverseCookieDomain, o.ReverseRefresh = pairs("/", "/all"), pairs("h", "i"), true
		}
		if has(7) {
			o.StripPrefix = "/xxx"
		}
		line, rule := FieldLine{name, tp}, RewriteRule{name, re, tp}
		if has(8) {
			o.Request.Set, o.Response.Set = []FieldLine{line}, []FieldLine{line}
		}
		if has(9) {
			o.Request.Add, o.Response.Remove = []FieldLine{line}, []string{name}
		}
		if has(10) {
			o.Request.Rewrite, o.Response.Substitute = []RewriteRule{rule}, []RewriteRule{rule}
		}
		if has(11) {
			o.Request.Substitute, o.Response.Rewrite = []RewriteRule{rule}, []RewriteRule{rule}
		}
		if has(12) {
			o.ChangeHost = true
		}
		if has(13) {
			// Texts of it that no target can have, the configuration refuses; here the edits have to.
			o.BackendPath = tp
		}
		if has(14) {
			o.ServerPaths = true
		}
		if has(15) {
			o.Request.Remove, o.Response.Remove = append(o.Request.Remove, "ac*"), append(o.Response.Remove, "x-*")
		}
		if has(17) {
			o.NoCanon = true
		}
		if has(16) {
			o.PathHosts = []string{"*"}
		}
		// Maps with what a configuration takes for a map.
		isPath := func(s string) bool { return httpparse.ValidTarget([]byte(s)) }
		if (from == "" || isPath(from)) && (to == "" || isPath(to)) {
			o.MapURLPath = append(o.MapURLPath, Mapping{from, to})
		}
		if from != "" && (from == "-" || httpparse.ValidAuthority([]byte(from))) && (to == "" || to == "-" || httpparse.ValidAuthority([]byte(to))) {
			o.MapHostRequest = append(pairs(from, to), o.MapHostRequest...)
			o.MapHostResponse = append(pairs(from, to), o.MapHostResponse...)
		}
		if isPath(from) && isPath(to) {
			o.Reverse = append([]Reversal{{Mapping{from, to}, []string{"http://app.internal:8080/base", "http://h"}}}, o.Reverse...)
			o.Reverse = append(o.Reverse, Reversal{Mapping: Mapping{from, to}})
		}
		if cookie := regexp.MustCompile("^[!-:<-~]+$"); cookie.MatchString(from) && cookie.MatchString(to) {
			o.ReverseCookiePath, o.ReverseCookieDomain = append(o.ReverseCookiePath, Mapping{from, to}), append(o.ReverseCookieDomain, Mapping{from, to})
		}
		e := NewEdits(o)
		if e == nil {
			return
		}
		r := &httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 40)}}
		n, err := httpparse.ParseRequest(in, 0, r)
		if err != nil {
			return
		}
		body, err := httpparse.RequestFraming(in[:n], r)
		if err != nil || r.Method == httpparse.MethodConnect {
			return
		}
		if _, ok := NormalPath(nil, r.Path.Of(in)); !ok {
			return // refused before
		}
		scheme := "http"
		if secure {
			scheme = "https"
		}
		var trip Trip
		trip.Begin(e)
		trip.Head, trip.Req, trip.Scheme = in, r, scheme
		trip.ClientAddr, trip.ClientPort = []byte("2001:db8::1"), 1
		trip.Local = append(trip.Local, "[::1]:80"...)
		trip.Server, trip.ServerHost = "10.0.0.9:8080", "app.internal:8080"
		if o.ServerPaths {
			trip.ServerPath = "/base%2f"
		}
		before := bytes.Clone(in)
		out := AppendRequest(nil, in, r, &RequestFacts{ClientAddr: trip.ClientAddr, Proto: scheme, Body: body, Trip: &trip})
		if !bytes.Equal(in, before) {
			t.Fatal("the client's head was changed")
		}
		if !trip.Refused {
			r2 := &httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 60)}}
			n2, err := httpparse.ParseRequest(out, 0, r2)
			if err != nil || n2 != len(out) {
				t.Fatalf("%q became %q: %d bytes, %v", in[:n], out, n2, err)
			}
			if a, b := r.MethodName.Of(in), r2.MethodName.Of(out); !bytes.Equal(a, b) {
				t.Fatalf("method %q became %q", a, b)
			}
			want := body
			if body.Kind == httpparse.BodyNone && r2.Seen.Has(httpparse.FieldContentLength) {
				want.Kind = httpparse.BodyLength
			}
			if body2, err := httpparse.RequestFraming(out, r2); err != nil || body2 != want {
				t.Fatalf("%q is framed as %v, %v, want %v", out, body2, err, body)
			}
		}

		s := &httpparse.Response{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 40)}}
		n, err = httpparse.ParseResponse(res, 0, s)
		if err != nil || s.Status < 200 {
			return
		}
		body, err = httpparse.ResponseFraming(res[:n], s, r.Method)
		if err != nil {
			return
		}
		if body.Kind == httpparse.BodyUntilClose {
			body.Kind = httpparse.BodyChunked
		}
		out = AppendResponse(nil, res, s, &ResponseFacts{Body: body, Trip: &trip})
		if trip.Refused {
			return
		}
		s2 := &httpparse.Response{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 60)}}
		n2, err := httpparse.ParseResponse(out, 0, s2)
		if err != nil || n2 != len(out) || s2.Status != s.Status {
			t.Fatalf("%q became %q: %d bytes, %v", res[:n], out, n2, err)
		}
		if body2, err := httpparse.ResponseFraming(out, s2, r.Method); err != nil || body2.Kind != body.Kind ||
			body.Kind == httpparse.BodyLength && body2.Length != body.Length {
			t.Fatalf("%q is framed as %v, %v, want %v", out, body2, err, body)
		}
	})
}
