package loop

import (
	"bytes"
	"strings"
	"testing"

	"millrace/balance"
)

// FuzzKeyParts compares what is found in a Cookie field and in a query with plain ways to say it.
func FuzzKeyParts(f *testing.F) {
	for _, seed := range []string{"", "a", "a=", "a=b", "x=y; a=b", "a=b;a=c", " a =b", "\ta=b=c ", ";;=;a", "u=1&a=2&a=3", "&a&=&a="} {
		f.Add(seed, "a")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		if strings.ContainsAny(name, "=;& \t") {
			return // not allowed in hash_key
		}
		wantCookie := ""
		for _, pair := range strings.Split(text, ";") {
			if value, ok := strings.CutPrefix(strings.Trim(pair, " \t"), name+"="); ok {
				wantCookie = value
				break
			}
		}
		wantParameter := ""
		for _, pair := range strings.Split(text, "&") {
			if pair == name {
				break
			}
			if value, ok := strings.CutPrefix(pair, name+"="); ok {
				wantParameter = value
				break
			}
		}
		b := []byte(text)
		b = b[:len(b):len(b)]
		if got := cookieValue(b, name); string(got) != wantCookie {
			t.Errorf("cookie %q of %q is %q, want %q", name, text, got, wantCookie)
		}
		if got := parameterValue(b, name); string(got) != wantParameter {
			t.Errorf("parameter %q of %q is %q, want %q", name, text, got, wantParameter)
		}
		if !bytes.Equal(b, []byte(text)) {
			t.Error("the text has changed")
		}
	})
}

func TestNoKeyOfNothing(t *testing.T) {
	if keyOf(nil) != balance.NoKey || keyOf([]byte("a")) == balance.NoKey || orAnother(balance.NoKey) == balance.NoKey {
		t.Error("nothing has a key, or something has none")
	}
}
