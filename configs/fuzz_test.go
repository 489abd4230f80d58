package configs

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzParse: whatever the bytes, there is a plan or there are problems, never both and never neither, and each
// problem is one line at a place that the file has. The seeds in testdata/fuzz are files with mistakes; the shipped
// files are added here.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range append(files, "testdata/mistakes.toml") {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(tested + "[[test]]\nrequest = \"PUT http://shop.example/a\"\nheaders = [\"A: b\"]\nresponse = \"HTTP/1.1 302 F\\nLocation: /x\"\n" +
		"route = \"api\"\nserver = \"10.0.0.1:80\"\nstatus = 200\nrequest_has = [\"A: *\"]\nresponse_lacks = [\"Location: /x\"]\n"))
	resolver := resolverFunc(func(_ context.Context, host string) ([]netip.Addr, error) {
		if len(host)%5 == 0 {
			return nil, errors.New("no such host")
		}
		return []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(len(host))})}, nil
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		var warnings Problems
		plan, err := Parse(t.Context(), "f", data, resolver, WithWarnings(&warnings), WithTests(), WithOrigins(new(Origins)))
		if (plan == nil) == (err == nil) {
			t.Fatalf("plan %v and error %v", plan, err)
		}
		problems, _ := errors.AsType[Problems](err)
		if err != nil && len(problems) == 0 {
			t.Fatalf("no problems in %T", err)
		}
		text := strings.TrimPrefix(string(data), "\xef\xbb\xbf")
		lines := strings.Split(text, "\n")
		for _, list := range []Problems{problems, warnings} {
			for i, p := range list {
				if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > utf8.RuneCountInString(lines[p.Line-1])+1 {
					t.Errorf("outside of the file: %s", p)
				}
				if p.Message == "" || strings.ContainsAny(p.String(), "\n\r\x1b") {
					t.Errorf("not one line: %q", p)
				}
				if i > 0 && (p.Line < list[i-1].Line || p.Line == list[i-1].Line && p.Column < list[i-1].Column) {
					t.Errorf("out of order: %s before %s", list[i-1], p)
				}
			}
		}
		if plan == nil {
			return
		}
		if len(plan.Listeners) == 0 || len(plan.Routes) == 0 || len(plan.Backends) == 0 || plan.Table == nil {
			t.Fatalf("incomplete plan %+v", plan)
		}
		id := 0
		for _, b := range plan.Backends {
			if len(b.Servers) == 0 || b.Group.Len() != len(b.Servers) {
				t.Errorf("backend %s has %d servers, and %d in its group", b.Name, len(b.Servers), b.Group.Len())
			}
			for _, s := range b.Servers {
				if s.ID != id || s.Address.IsValid() == (s.Path != "") {
					t.Errorf("server %+v, want id %d", s, id)
				}
				id++
			}
		}
		for _, r := range plan.Routes {
			if len(r.Timeouts) != len(plan.Listeners) {
				t.Errorf("%d timeouts for %d listeners", len(r.Timeouts), len(plan.Listeners))
			}
		}
	})
}
