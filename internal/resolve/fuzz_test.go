package resolve

import (
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// seeds are answers as name servers give them.
func seeds(f *testing.F) (list [][]byte) {
	name := dnsmessage.MustNewName("app.example.")
	other := dnsmessage.MustNewName("node.example.")
	add := func(h dnsmessage.Header, kind dnsmessage.Type, answers ...dnsmessage.Resource) {
		h.ID, h.Response = 7, true
		m := dnsmessage.Message{Header: h, Questions: []dnsmessage.Question{{Name: name, Type: kind, Class: dnsmessage.ClassINET}}, Answers: answers}
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		list = append(list, b)
	}
	of := func(owner dnsmessage.Name, body dnsmessage.ResourceBody) dnsmessage.Resource {
		return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: owner, Class: dnsmessage.ClassINET, TTL: 30}, Body: body}
	}
	add(dnsmessage.Header{RecursionAvailable: true}, dnsmessage.TypeA, of(name, &dnsmessage.AResource{A: [4]byte{10, 0, 0, 1}}))
	add(dnsmessage.Header{}, dnsmessage.TypeAAAA, of(name, &dnsmessage.CNAMEResource{CNAME: other}), of(other, &dnsmessage.AAAAResource{AAAA: [16]byte{15: 1}}))
	add(dnsmessage.Header{}, dnsmessage.TypeA, of(name, &dnsmessage.CNAMEResource{CNAME: other}), of(other, &dnsmessage.CNAMEResource{CNAME: name}))
	add(dnsmessage.Header{}, dnsmessage.TypeSRV, of(name, &dnsmessage.SRVResource{Priority: 1, Weight: 2, Port: 80, Target: other}))
	add(dnsmessage.Header{RCode: dnsmessage.RCodeNameError}, dnsmessage.TypeA)
	add(dnsmessage.Header{Truncated: true}, dnsmessage.TypeA)
	return list
}

func FuzzParseAnswer(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b, uint8(0))
		f.Add(b, uint8(1))
		f.Add(b, uint8(2))
	}
	kinds := []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeSRV}
	f.Fuzz(func(t *testing.T, msg []byte, kind uint8) {
		q := question{dnsmessage.MustNewName("app.example."), kinds[int(kind)%len(kinds)]}
		r, err := parse(msg, 7, q)
		if err != nil {
			if !r.empty() {
				t.Errorf("an error, and %+v", r)
			}
			return
		}
		if r.ttl < 0 || r.ttl > maxTTL {
			t.Errorf("TTL %v", r.ttl)
		}
		if q.kind == dnsmessage.TypeSRV && len(r.addrs) > 0 || q.kind != dnsmessage.TypeSRV && len(r.services) > 0 {
			t.Errorf("%v: records of another kind: %+v", q.kind, r)
		}
		for _, a := range r.addrs {
			if !a.IsValid() || a.Is4In6() || q.kind == dnsmessage.TypeA && !a.Is4() {
				t.Errorf("%v: address %v", q.kind, a)
			}
		}
		if r.truncated && !r.empty() {
			t.Error("records of an answer that is not whole")
		}
	})
}
