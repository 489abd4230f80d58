package remap

import (
	"bytes"
	"strings"
	"testing"

	"millrace/httpparse"
)

// field is a field line as a recipient understands it.
type field struct{ name, value string } // name in lower case

func fieldsOf(buf []byte, h *httpparse.Head) []field {
	var fields []field
	for _, f := range h.Fields {
		fields = append(fields, field{strings.ToLower(string(f.Name.Of(buf))), string(f.Value.Of(buf))})
	}
	return fields
}

// valuesOf returns the values of all fields of a name.
func valuesOf(fields []field, name string) []string {
	var values []string
	for _, f := range fields {
		if f.name == name {
			values = append(values, f.value)
		}
	}
	return values
}

// written are the fields that a head may have from us rather than from whoever sent it.
var written = map[string]bool{
	"host": true, "x-forwarded-for": true, "x-forwarded-proto": true, "x-host": true, "x-forwarded-host": true,
	"content-length": true, "transfer-encoding": true, "te": true, "connection": true,
}

// checkFields checks that what was sent on is what came in, in order, but for what stays behind. The names in
// stays are those that must be left out, whatever they say.
func checkFields(t *testing.T, in []byte, h *httpparse.Head, out []field, stays map[string]bool) {
	t.Helper()
	var want, got []field
	names := 0
	for _, v := range valuesOf(fieldsOf(in, h), "connection") {
		for name := range strings.SplitSeq(v, ",") {
			if strings.Trim(name, " \t") != "" {
				names++
			}
		}
	}
	for _, f := range fieldsOf(in, h) {
		named := h.ConnNames && (names > maxNames || h.NamedByConnection(in, []byte(f.name))) && !endToEnd([]byte(f.name))
		if !written[f.name] && !stays[f.name] && !named {
			want = append(want, f)
		}
	}
	for _, f := range out {
		if stays[f.name] {
			t.Fatalf("%s was sent on", f.name)
		}
		if !written[f.name] {
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
}

// checkOnly checks that a field occurs once, with a value, or not at all if the value is "".
func checkOnly(t *testing.T, fields []field, name, want string) {
	t.Helper()
	got := valuesOf(fields, name)
	if want == "" && len(got) == 0 || len(got) == 1 && got[0] == want {
		return
	}
	t.Fatalf("%s: %q, want %q", name, got, want)
}

// FuzzRequest sends requests that the parser accepts on, and has the parser read what came of them.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(curlHead), false)
	f.Add([]byte(browserHead), true)
	f.Fuzz(func(t *testing.T, in []byte, closes bool) {
		r := &httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 40)}}
		n, err := httpparse.ParseRequest(in, 0, r)
		if err != nil {
			return
		}
		body, err := httpparse.RequestFraming(in[:n], r)
		if err != nil || r.Method == httpparse.MethodConnect {
			return
		}
		before := bytes.Clone(in)
		facts := RequestFacts{ClientAddr: []byte("192.0.2.7"), Proto: "http", Body: body, Close: closes}
		out := AppendRequest(nil, in, r, &facts)
		if !bytes.Equal(in, before) {
			t.Fatal("the client's head was changed")
		}

		// Room for what we write on top of what came in.
		r2 := &httpparse.Request{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 60)}}
		n2, err := httpparse.ParseRequest(out, 0, r2)
		if err != nil || n2 != len(out) {
			t.Fatalf("%q became %q: %d bytes, %v", in[:n], out, n2, err)
		}
		if a, b := r.MethodName.Of(in), r2.MethodName.Of(out); !bytes.Equal(a, b) {
			t.Fatalf("method %q became %q", a, b)
		}
		checkTarget(t, string(r.PathQuery.Of(in)), r, r2, out)
		authority := string(r.Authority.Of(in))
		if got := string(r2.Authority.Of(out)); got != authority {
			t.Fatalf("for %q, was for %q", got, authority)
		}
		want := body
		if body.Kind == httpparse.BodyNone && r2.Seen.Has(httpparse.FieldContentLength) {
			want.Kind = httpparse.BodyLength // of no bytes, and said so
		}
		if body2, err := httpparse.RequestFraming(out, r2); err != nil || body2 != want {
			t.Fatalf("%q is framed as %v, %v, want %v", out, body2, err, body)
		}
		wantVersion := httpparse.HTTP11
		if !r.Seen.Has(httpparse.FieldHost) && authority == "" {
			wantVersion = httpparse.HTTP10
		}
		if r2.Version != wantVersion {
			t.Fatalf("version %d, want %d", r2.Version, wantVersion)
		}

		fields := fieldsOf(out, &r2.Head)
		stays := map[string]bool{"keep-alive": true, "proxy-connection": true, "upgrade": true, "proxy": true}
		if body.Kind != httpparse.BodyChunked {
			stays["trailer"] = true
		}
		if r.Version == httpparse.HTTP10 {
			stays["expect"] = true
		}
		checkFields(t, in, &r.Head, fields, stays)
		checkOnly(t, fields, "x-forwarded-proto", "http")
		checkOnly(t, fields, "x-host", authority)
		checkOnly(t, fields, "x-forwarded-host", authority)
		if v := valuesOf(fields, "x-forwarded-for"); len(v) != 1 || !strings.HasSuffix(", "+v[0], ", 192.0.2.7") {
			t.Fatalf("X-Forwarded-For: %q", v)
		}
		var connection []string
		if closes || wantVersion == httpparse.HTTP10 {
			connection = append(connection, "close")
		}
		if te := valuesOf(fields, "te"); len(te) != 0 {
			checkOnly(t, fields, "te", "trailers")
			connection = append(connection, "TE")
		}
		checkOnly(t, fields, "connection", strings.Join(connection, ", "))
	})
}

// checkTarget checks that a request sent on is for the path and query that it was for.
func checkTarget(t *testing.T, want string, r, r2 *httpparse.Request, out []byte) {
	t.Helper()
	switch {
	case r.Form == httpparse.FormAsterisk, r.Form == httpparse.FormAbsolute && want == "" && r.Method == httpparse.MethodOptions:
		want = "*"
	case r.Form == httpparse.FormAbsolute && !strings.HasPrefix(want, "/"):
		want = "/" + want
	}
	if got := string(r2.Target.Of(out)); got != want {
		t.Fatalf("target %q, want %q", got, want)
	}
}

// FuzzResponse sends responses that the parser accepts on, to each kind of client.
func FuzzResponse(f *testing.F) {
	f.Add([]byte(nginxHead), false, false)
	f.Fuzz(func(t *testing.T, in []byte, toHead, old bool) {
		r := &httpparse.Response{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 40)}}
		n, err := httpparse.ParseResponse(in, 0, r)
		if err != nil || r.Status == 101 {
			return
		}
		method := httpparse.MethodGet
		if toHead {
			method = httpparse.MethodHead
		}
		body, err := httpparse.ResponseFraming(in[:n], r, method)
		if err != nil {
			return
		}
		// What the loop does with a body whose end only framing can show.
		facts := ResponseFacts{Body: body, Close: old}
		if body.Kind == httpparse.BodyChunked || body.Kind == httpparse.BodyUntilClose {
			facts.Body.Kind = httpparse.BodyChunked
			if old {
				facts.Body.Kind = httpparse.BodyUntilClose
			}
		}
		before := bytes.Clone(in)
		out := AppendResponse(nil, in, r, &facts)
		if !bytes.Equal(in, before) {
			t.Fatal("the server's head was changed")
		}

		r2 := &httpparse.Response{Head: httpparse.Head{Fields: make([]httpparse.Field, 0, 60)}}
		n2, err := httpparse.ParseResponse(out, 0, r2)
		if err != nil || n2 != len(out) {
			t.Fatalf("%q became %q: %d bytes, %v", in[:n], out, n2, err)
		}
		if r2.Status != r.Status || !bytes.Equal(r2.Reason.Of(out), r.Reason.Of(in)) || r2.Version != httpparse.HTTP11 {
			t.Fatalf("%q became %q", in[:n], out)
		}
		if body2, err := httpparse.ResponseFraming(out, r2, method); err != nil || body2.Kind != facts.Body.Kind ||
			body2.Kind == httpparse.BodyLength && body2.Length != body.Length {
			t.Fatalf("%q is framed as %v, %v, want %v", out, body2, err, facts.Body)
		}
		fields := fieldsOf(out, &r2.Head)
		stays := map[string]bool{"keep-alive": true, "proxy-connection": true, "upgrade": true, "te": true}
		if facts.Body.Kind != httpparse.BodyChunked {
			stays["trailer"] = true
		}
		if r.Status != 407 {
			stays["proxy-authenticate"] = true
		}
		// Of the fields that a request gets from us, these pass in a response.
		var in2 []field
		for _, f := range fields {
			switch f.name {
			case "content-length", "transfer-encoding", "connection":
			case "host", "x-host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host":
			default:
				in2 = append(in2, f)
			}
		}
		checkFields(t, in, &r.Head, in2, stays)
		if len(valuesOf(fields, "content-length")) > 1 {
			t.Fatalf("%q", out)
		}
		if r.Status < 200 || r.Status == 204 {
			checkOnly(t, fields, "content-length", "")
		}
		connection := ""
		if old {
			connection = "close"
		}
		checkOnly(t, fields, "connection", connection)
	})
}

// FuzzTrailer sends trailer sections that the parser accepts on.
func FuzzTrailer(f *testing.F) {
	f.Add([]byte("X-Checksum: 1\r\nContent-Length: 5\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		fields, _, err := httpparse.ParseTrailer(in, 0, make([]httpparse.Field, 0, 40))
		if err != nil {
			return
		}
		out := AppendTrailer(nil, in, fields)
		again, n, err := httpparse.ParseTrailer(out, 0, make([]httpparse.Field, 0, 40))
		if err != nil || n != len(out) {
			t.Fatalf("%q became %q: %d bytes, %v", in, out, n, err)
		}
		for _, f := range again {
			if !allowedInTrailer(f.Name.Of(out)) || hopByHop.Has(f.ID) || f.ID == httpparse.FieldContentLength {
				t.Fatalf("%q became %q", in, out)
			}
		}
		if twice := AppendTrailer(nil, out, again); !bytes.Equal(twice, out) {
			t.Fatalf("%q became %q", out, twice)
		}
	})
}
