package configs

import (
	"millrace/loop"
)

// proxyProtocols are the words for listener.proxy_protocol.
var proxyProtocols = map[string]loop.ProxyProtocol{"off": loop.ProxyOff, "optional": loop.ProxyOptional, "required": loop.ProxyRequired}

// sendProxies are the words for send_proxy: a version, or 0 for none.
var sendProxies = map[string]uint8{"off": 0, "v1": 1, "v2": 2}

// proxyProtocol checks what a listener says about PROXY headers.
func (v validator) proxyProtocol(l *listener) {
	p := l.ProxyProtocol
	if !p.given || !p.ok {
		return
	}
	if _, known := proxyProtocols[p.v]; !known {
		v.value(p.place, `%s is not a word for proxy_protocol: allowed are "off", "optional" and "required"`, quoted(p.v))
		return
	}
	if h := l.TrustedHeader; h.given && p.v != "off" && l.Protocol.v == "sock" {
		v.key(h.place, "has no effect on a sock listener, which parses nothing: it is for http")
	}
	if p.v != "off" && l.TrustedProxies.absent() {
		v.key(p.place, "needs trusted_proxies: a PROXY header is believed of those only")
	}
}

// takesProxyHeaders reports whether a listener asks trusted peers for PROXY headers.
func (l *listener) takesProxyHeaders() bool {
	return proxyProtocols[l.ProxyProtocol.v] != loop.ProxyOff
}

// sendProxy checks which servers of a backend are told whom connections are made for.
func (v validator) sendProxy(b *backend) {
	version2 := false
	check := func(x value[string]) {
		if !x.ok {
			return
		}
		version, known := sendProxies[x.v]
		if !known {
			v.value(x.place, `%s is not a word for send_proxy: allowed are "off", "v1" and "v2"`, quoted(x.v))
		}
		version2 = version2 || !known || version == 2
	}
	check(b.SendProxy)
	for _, s := range b.Server.items {
		if s.SendProxy.given {
			check(s.SendProxy)
		}
	}
	if t := b.SendProxyTLV; t.given && t.ok && t.v && !version2 {
		v.key(t.place, `has no effect without send_proxy = "v2": version 1 has no TLVs`)
	}
}

// sendsProxy is the version by which a server is told, by its own word or the backend's.
func (b *backend) sendsProxy(own value[string]) uint8 {
	if own.given {
		return sendProxies[own.v]
	}
	return sendProxies[b.SendProxy.v]
}
