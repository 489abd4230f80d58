package configs

import (
	"math"
	"strings"
)

// everythingReached warns of routes that an earlier one leaves nothing for.
func (v validator) everythingReached() {
	routes := v.f.Routes.items
	earlier := map[reachKey][]int{} // routes, by what they take, in order
	for i, r := range routes {
		first := math.MaxInt
		for key := range r.takenBy() {
			for _, j := range earlier[key] {
				if j >= first {
					break
				}
				if routes[j].covers(r) && (routes[j].Extension.v == r.Extension.v || !v.f.Routing.maps(r.Extension)) {
					first = j
				}
			}
		}
		if first < i {
			by := routes[first]
			v.warn(r.place, "is never reached: %s takes every request that it would match (%s)", by.key, v.src.at(by.place))
		}
		for _, key := range r.takes() {
			earlier[key] = append(earlier[key], i)
		}
	}
}

// reachKey is a part of the conditions of a route: enough of them that few of thousands of routes have it, so that not
// every two have to be compared. Hosts are in lower case, and empty for a route for all of them.
type reachKey struct {
	host string
	kind reachKind
	text string
}

// reachKind tells which condition a reachKey is about.
type reachKind uint8

const (
	reachAll reachKind = iota
	reachPath
	reachPrefix
	reachExtension
)

// takes returns the keys that a route is found by when it may cover others.
func (r *route) takes() []reachKey {
	c := r.conditions()
	key := reachKey{}
	switch {
	case !isRoot(c.path):
		key.kind, key.text = reachPath, strings.TrimSuffix(c.path.v, "/")
	case c.prefix.given:
		key.kind, key.text = reachPrefix, c.prefix.v
	case c.extension.given:
		key.kind, key.text = reachExtension, c.extension.v
	}
	if !c.hosts.given {
		return []reachKey{key}
	}
	var keys []reachKey
	for _, h := range c.hosts.v {
		key.host = strings.ToLower(h.v)
		keys = append(keys, key)
	}
	return keys
}

// takenBy returns the keys of all routes that may cover r: see covers.
func (r *route) takenBy() map[reachKey]struct{} {
	c := r.conditions()
	hosts := []string{""}
	if c.hosts.given && len(c.hosts.v) > 0 {
		// Who covers it covers each of its hosts. One is enough to find him by.
		h := strings.ToLower(c.hosts.v[0].v)
		hosts = append(hosts, h, "*")
		for i := 1; i < len(h); i++ {
			if h[i] == '.' {
				hosts = append(hosts, "*"+h[i:])
			}
		}
	}
	keys := map[reachKey]struct{}{}
	for _, h := range hosts {
		keys[reachKey{host: h}] = struct{}{}
		for _, p := range []*value[string]{c.path, c.prefix} {
			if !p.given {
				continue
			}
			for i := range len(p.v) + 1 {
				keys[reachKey{h, reachPrefix, p.v[:i]}] = struct{}{}
				if i == len(p.v) || p.v[i] == '/' {
					keys[reachKey{h, reachPath, p.v[:i]}] = struct{}{}
				}
			}
		}
		if c.extension.given {
			for i := range len(c.extension.v) + 1 {
				keys[reachKey{h, reachExtension, c.extension.v[i:]}] = struct{}{}
			}
		}
	}
	return keys
}
