package configs

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"millrace/httpparse"
	"millrace/remap"
)

// edits checks what a route changes in requests and responses, and makes the options of it.
func (v validator) edits(r *route, excluded bool) {
	if excluded {
		v.noEdits(r)
		return
	}
	o := &r.edits
	o.Rule = &r.rule
	o.ServerName = v.f.Server.Name.v
	v.hostEdits(r)
	v.forwarding(r)
	v.pathEdits(r)
	o.MapURLPath = v.mappings(r.MapURLPath, v.mappedPath, v.mappedPath)
	v.slashes(r.MapURLPath, func(m remap.Mapping) remap.Mapping { return m })
	o.MapHostRequest = v.mappings(r.MapHostRequest, v.mappedHostKey, v.mappedHost)
	o.MapHostResponse = v.mappings(r.MapHostResponse, v.mappedHostKey, v.mappedHost)
	o.PathHosts = v.pathHosts(r, r.MapURLPathHostInclude)
	o.NotPathHosts = v.pathHosts(r, r.MapURLPathHostExclude)
	o.HTTPSRemap = r.HTTPSRemap.v
	switch {
	case !r.HTTPSRemap.ok || !r.HTTPSRemap.v:
	case !r.MapHostRequest.given && !r.MapHostResponse.given:
		v.key(r.HTTPSRemap.place, "has no effect without map_host_request or map_host_response: only where a host is replaced is the scheme")
	case !v.servesHTTPS(r):
		v.warn(r.HTTPSRemap.place, `has no effect: clients use https only where a listener has scheme = "https", and none of this route's has`)
	}
	// In Apache's ProxyPassReverse this side comes first, in its cookie directives the server's.
	v.reverse(r)
	o.ReverseRefresh = r.ReverseRefresh.v
	if r.ReverseRefresh.ok && r.ReverseRefresh.v && !r.Reverse.given {
		v.key(r.ReverseRefresh.place, "has no effect without reverse, whose pairs it is about")
	}
	o.ReverseCookieDomain = v.mappings(r.ReverseCookieDomain, v.cookieText, v.cookieText)
	o.ReverseCookiePath = v.mappings(r.ReverseCookiePath, v.cookieText, v.cookieText)
	v.fieldEdits(r, &r.Request, &o.Request, false)
	v.fieldEdits(r, &r.Response, &o.Response, true)
}

// servesHTTPS reports whether requests of clients that use https may take a route.
func (v validator) servesHTTPS(r *route) bool {
	for i, l := range v.f.Listeners.items {
		if l.Scheme.v == "https" && (r.listeners == nil || slices.Contains(r.listeners, i)) {
			return true
		}
	}
	return false
}

// noEdits finds what has no effect in a route that excludes.
func (v validator) noEdits(r *route) {
	for _, x := range []struct {
		given bool
		place
	}{
		{r.PreserveHost.given, r.PreserveHost.place},
		{r.ReplaceHTTPHost.given, r.ReplaceHTTPHost.place},
		{r.XForwarded.given, r.XForwarded.place},
		{r.Forwarded.given, r.Forwarded.place},
		{r.Via.given, r.Via.place},
		{r.RequestID.given, r.RequestID.place},
		{r.StripPrefix.given, r.StripPrefix.place},
		{r.BackendPath.given, r.BackendPath.place},
		{r.NoCanon.given, r.NoCanon.place},
		{r.MapURLPath.given, r.MapURLPath.place},
		{r.MapURLPathHostInclude.given, r.MapURLPathHostInclude.place},
		{r.MapURLPathHostExclude.given, r.MapURLPathHostExclude.place},
		{r.MapHostRequest.given, r.MapHostRequest.place},
		{r.MapHostResponse.given, r.MapHostResponse.place},
		{r.HTTPSRemap.given, r.HTTPSRemap.place},
		{r.Reverse.given, r.Reverse.place},
		{r.ReverseRefresh.given, r.ReverseRefresh.place},
		{r.ReverseCookieDomain.given, r.ReverseCookieDomain.place},
		{r.ReverseCookiePath.given, r.ReverseCookiePath.place},
		{r.Request.given, r.Request.place},
		{r.Response.given, r.Response.place},
	} {
		if x.given {
			v.key(x.place, "has no effect with exclude = true: what matches is not proxied")
		}
	}
}

func (v validator) hostEdits(r *route) {
	o := &r.edits
	o.ChangeHost = r.PreserveHost.ok && !r.PreserveHost.v
	if h := r.ReplaceHTTPHost; h.given && h.ok {
		if !httpparse.ValidAuthority([]byte(h.v)) {
			v.value(h.place, `%s is not a host: allowed are a name or an address, with or without a port`, quoted(h.v))
		}
		o.ChangeHost, o.Host = true, h.v
	}
	switch {
	case r.PreserveHost.given && r.ReplaceHTTPHost.given:
		v.key(r.PreserveHost.place, "has no effect beside replace_http_host: leave one of them out")
	case o.ChangeHost && r.MapHostRequest.given:
		v.warn(r.MapHostRequest.place, "does not change Host, which preserve_host or replace_http_host does: only Destination and Content-Location")
	}
}

var forwardings = []string{"append", "overwrite", "off"} // as remap.Forwarding numbers them

var viaModes = []string{"off", "on", "full", "block"} // as remap.ViaMode numbers them

var forwardedParameters = []struct {
	name      string
	parameter remap.ForwardedParameters
}{
	{"for", remap.ForwardedFor},
	{"by", remap.ForwardedBy},
	{"proto", remap.ForwardedProto},
	{"host", remap.ForwardedHost},
}

func (v validator) forwarding(r *route) {
	o := &r.edits
	if x := r.XForwarded; x.ok {
		i := slices.Index(forwardings, x.v)
		if i < 0 {
			v.value(x.place, "%s is not a way to forward: allowed are %s", quoted(x.v), quotedList(forwardings))
		}
		o.XForwarded = remap.Forwarding(max(i, 0))
	}
	if x := r.Via; x.ok {
		i := slices.Index(viaModes, x.v)
		if i < 0 {
			v.value(x.place, "%s is not allowed: allowed are %s", quoted(x.v), quotedList(viaModes))
		}
		o.Via = remap.ViaMode(max(i, 0))
	}
	if v.notEmptyHere(r.Forwarded, "leave it out for no Forwarded") {
		for _, f := range r.Forwarded.v {
			v.forwardedParameter(o, f)
		}
	}
	if x := r.RequestID; x.ok && x.v != "" {
		if wrong := fieldName(x.v, false, r); wrong != "" {
			v.value(x.place, "%s", wrong)
		}
		o.RequestID = x.v
	}
}

func (v validator) forwardedParameter(o *remap.EditOptions, f value[string]) {
	names := make([]string, len(forwardedParameters))
	for i, p := range forwardedParameters {
		names[i] = p.name
		if p.name == f.v {
			if o.Forwarded&p.parameter != 0 {
				v.value(f.place, "%s is listed twice", quoted(f.v))
			}
			o.Forwarded |= p.parameter
			return
		}
	}
	if f.v == "remote_user" {
		v.value(f.place, `"remote_user" is not available: nobody is authenticated here; allowed are %s`, quotedList(names))
		return
	}
	v.value(f.place, "%s is not a parameter of Forwarded: allowed are %s", quoted(f.v), quotedList(names))
}

// notEmptyHere checks that a list is not empty, and reports whether there is anything in it.
func (v validator) notEmptyHere(list value[[]value[string]], instead string) bool {
	if list.given && list.ok && len(list.v) == 0 {
		v.value(list.place, "is empty: %s", instead)
	}
	return len(list.v) > 0
}

func (v validator) pathEdits(r *route) {
	o := &r.edits
	if p := r.StripPrefix; p.given && p.ok {
		v.path(p, "")
		if p.v == "/" {
			v.value(p.place, `"/" is the beginning of every path, and stays: leave it out`)
		}
		if r.BackendPath.given {
			v.key(p.place, "has no effect beside backend_path, which replaces what the route's condition matched: leave one of them out")
		}
		o.StripPrefix = p.v
	}
	if p := r.BackendPath; p.given && p.ok {
		v.backendPath(r, p)
	}
	o.NoCanon = r.NoCanon.v
	if o.BackendPath == nil || !r.NoCanon.ok || !r.NoCanon.v {
		return
	}
	if _, groups := o.BackendPath.Literal(); groups {
		v.key(r.NoCanon.place, "has no effect beside a backend_path with groups of the pattern: they are of the path in its normal form")
	}
}

// backendPath checks a path that takes the place of what the route's path, prefix or pattern matches.
func (v validator) backendPath(r *route, p value[string]) {
	byPattern := !r.Path.given && !r.Prefix.given
	scope := remap.TemplateScope{Groups: -1, GroupsOnly: true}
	switch {
	case r.Path.given && r.Prefix.given:
		v.key(p.place, "replaces what path or prefix matches, and this route has both: leave one of them out")
	case !byPattern:
	case r.Pattern.given && r.rule.Pattern != nil:
		scope.Groups = r.rule.Pattern.NumSubexp()
	case r.Pattern.given:
		return // the pattern is wrong, and has been reported
	default:
		v.key(p.place, "replaces what the route's path, prefix or pattern matches, and this route has none of them")
	}
	t := v.template(p, scope)
	if t == nil {
		return
	}
	r.edits.BackendPath = t
	literal, _ := t.Literal()
	switch {
	case !strings.HasPrefix(p.v, "/"):
		v.value(p.place, `%s must begin with "/"; strip_prefix takes a prefix away and puts nothing in its place`, quoted(p.v))
	case strings.Contains(literal, "?") || !httpparse.ValidTarget([]byte("/"+literal)):
		v.value(p.place, "%s is not a path: allowed are visible ASCII characters without ? and #, percent-encoded where needed", quoted(p.v))
	case r.Path.given && strings.HasSuffix(r.Path.v, "/") && !strings.HasSuffix(p.v, "/"):
		v.value(p.place, "%s and what follows %s would run into each other, as in %s: write %s (path is at %s)", quoted(p.v), quoted(r.Path.v),
			quoted(p.v+"x"), quoted(p.v+"/"), v.src.at(r.Path.place))
	case r.Path.given && !strings.HasSuffix(r.Path.v, "/") && strings.HasSuffix(p.v, "/"):
		v.warn(p.place, "ends with /, and path = %s does not (%s): what follows the path has one of its own, so that %s becomes %s",
			quoted(r.Path.v), v.src.at(r.Path.place), quoted(r.Path.v+"/x"), quoted(p.v+"/x"))
	case r.Prefix.given && strings.HasSuffix(r.Prefix.v, "/") && !strings.HasSuffix(p.v, "/"):
		v.warn(p.place, "does not end with /, and prefix = %s does (%s), so that %s becomes %s",
			quoted(r.Prefix.v), v.src.at(r.Prefix.place), quoted(r.Prefix.v+"x"), quoted(p.v+"x"))
	}
}

// slashes warns of pairs of beginnings of paths of which one ends with a slash and the other does not. direction is how the one
// replaces the other.
func (v validator) slashes(list value[[]row], direction func(remap.Mapping) remap.Mapping) {
	for _, r := range list.v {
		if len(r.items) != 2 {
			continue
		}
		m := direction(remap.Mapping{From: r.items[0].v, To: r.items[1].v})
		rest := "/x"
		if strings.HasSuffix(m.From, "/") {
			rest = "x"
		}
		if strings.HasSuffix(m.From, "/") != strings.HasSuffix(m.To, "/") && !strings.Contains(m.From+m.To, "?") && !strings.HasPrefix(m.From, backendScheme) {
			v.warn(r.items[1].place, "one of the two ends with / and the other does not, so that %s becomes %s", quoted(m.From+rest), quoted(m.To+rest))
		}
	}
}

// template parses a template; it is nil if that has been reported as wrong.
func (v validator) template(x value[string], scope remap.TemplateScope) *remap.Template {
	t, err := remap.ParseTemplate(x.v, scope)
	if wrong, ok := errors.AsType[*remap.TemplateError](err); ok {
		v.value(v.within(x.place, x.v, wrong.Offset), "%s", wrong.Message)
		return nil
	}
	return t
}

// within returns the place of an offset into a string, if the file has the string without escapes up to there; else that
// of the string.
func (v validator) within(p place, text string, offset int) place {
	begin := p.at + 1 // behind the quote
	if end := begin + offset; end <= len(v.src.data) && string(v.src.data[begin:end]) == text[:offset] {
		p.at = end
	}
	return p
}

// mappings checks an array of pairs.
func (v validator) mappings(list value[[]row], first, second func(value[string])) (pairs []remap.Mapping) {
	if list.given && list.ok && len(list.v) == 0 {
		v.value(list.place, "is empty: leave it out")
	}
	for _, r := range list.v {
		if len(r.items) != 2 {
			v.value(r.place, `has %d strings, and a mapping has two: ["from", "to"]`, len(r.items))
			continue
		}
		first(r.items[0])
		second(r.items[1])
		pairs = append(pairs, remap.Mapping{From: r.items[0].v, To: r.items[1].v})
	}
	return pairs
}

// reverse checks the array of what URLs of servers become.
func (v validator) reverse(r *route) {
	v.slashes(r.Reverse, func(m remap.Mapping) remap.Mapping { return remap.Mapping{From: m.To, To: m.From} })
	for _, m := range v.mappings(r.Reverse, v.publicPath, v.reversedURL) {
		of := -1
		if rest, ok := strings.CutPrefix(m.To, backendScheme); ok {
			name, path, _ := strings.Cut(rest, "/")
			of, m.To = slices.Index(v.f.Backends.names, name), "/"+path
		}
		r.edits.Reverse = append(r.edits.Reverse, remap.Reversal{Mapping: remap.Mapping{From: m.To, To: m.From}})
		r.reversed = append(r.reversed, of)
	}
}

// backendScheme begins what stands for the URLs of all servers of a backend.
const backendScheme = "backend://"

// serverURLs adds to the edits of a route what they need to know of servers.
func (c *compiler) serverURLs(r *route) {
	for i, of := range r.reversed {
		if of < 0 {
			continue
		}
		m := &r.edits.Reverse[i]
		for _, t := range c.f.Backends.items[of].targets {
			e := t.endpoint
			if !e.valid() { // a name's URL is the same at each of its addresses
				e.tcp = netip.AddrPortFrom(netip.IPv4Unspecified(), t.port)
			}
			m.Servers = append(m.Servers, "http://"+t.authority(e)+t.root)
		}
	}
	r.edits.ServerPaths = r.backend >= 0 &&
		slices.ContainsFunc(c.f.Backends.items[r.backend].targets, func(t *target) bool { return t.root != "" })
}

// serverPath checks what the paths of requests to a server begin with, and returns it.
func (v validator) serverPath(p value[string]) string {
	switch {
	case p.v == "/":
		v.value(p.place, `"/" is the beginning of every path: leave it out`)
	case !httpparse.ValidTarget([]byte(p.v)) || strings.Contains(p.v, "?"):
		v.value(p.place, "%s is not a path: allowed are visible ASCII characters after a \"/\", percent-encoded where needed", quoted(p.v))
	case strings.HasSuffix(p.v, "/"):
		v.value(p.place, "%s ends with /, and what follows has one of its own: write %s", quoted(p.v), quoted(strings.TrimRight(p.v, "/")))
	}
	return p.v
}

// mappedPath checks the beginning of a path and query, as it is in URLs.
func (v validator) mappedPath(p value[string]) {
	if p.v != "" && !httpparse.ValidTarget([]byte(p.v)) {
		v.value(p.place, `%s is not the beginning of a path: allowed are "" and visible ASCII characters after a "/", percent-encoded where needed`, quoted(p.v))
	}
}

// mappedHost checks a host as one of a host mapping.
func (v validator) mappedHost(h value[string]) {
	if h.v != "" && h.v != "-" && !httpparse.ValidAuthority([]byte(h.v)) {
		v.value(h.place, `%s is not a host: allowed are a name or an address, with or without a port, "-" for the client's Host and, as the second of a pair, "" to keep what there is`, quoted(h.v))
	}
}

// mappedHostKey checks the first of a pair.
func (v validator) mappedHostKey(h value[string]) {
	if h.v == "" {
		v.value(h.place, `"" is no host: write "-" for the client's Host, whatever it is`)
		return
	}
	v.mappedHost(h)
}

func (v validator) pathHosts(r *route, list value[[]value[string]]) (hosts []string) {
	if !v.notEmptyHere(list, "leave it out") {
		return nil
	}
	if !r.MapURLPath.given {
		v.key(list.place, "has no effect without map_urlpath")
	}
	for _, h := range list.v {
		if h.v != "*" && !httpparse.ValidAuthority([]byte(h.v)) {
			v.value(h.place, `%s is not a host: allowed are a name or an address, with or without a port, and "*" for every host`, quoted(h.v))
		}
		hosts = append(hosts, h.v)
	}
	return hosts
}

func (v validator) publicPath(p value[string]) {
	if !httpparse.ValidTarget([]byte(p.v)) {
		v.value(p.place, `%s is not a path: allowed are visible ASCII characters after a "/", percent-encoded where needed`, quoted(p.v))
	}
}

// reversedURL checks what the URLs of servers begin with.
func (v validator) reversedURL(u value[string]) {
	scheme, rest, found := strings.Cut(u.v, "://")
	host, path, hasPath := strings.Cut(rest, "/")
	of := slices.Index(v.f.Backends.names, host)
	switch {
	case found && scheme == "balancer":
		v.value(u.place, "%s: write %s, for the servers of [backend.NAME]", quoted(u.v), quoted(backendScheme+rest))
	case found && scheme == "backend":
		switch {
		case of < 0 && !v.f.Backends.unread():
			v.value(u.place, "%s", unknownName(host, "backend", v.f.Backends.names))
		case !hasPath || !httpparse.ValidTarget([]byte("/"+path)):
			v.value(u.place, "%s has no path: write %s, or a longer one", quoted(u.v), quoted(backendScheme+host+"/"))
		case of >= 0 && slices.ContainsFunc(v.f.Backends.items[of].targets, func(t *target) bool { return t.service }):
			v.value(u.place, "%s: servers of [backend.%s] are those of a service, whose names and ports change: write what its URLs begin with, or their path alone", quoted(u.v), host)
		}
	case strings.HasPrefix(u.v, "/") && httpparse.ValidTarget([]byte(u.v)):
	case found && (scheme == "http" || scheme == "https") && httpparse.ValidAuthority([]byte(host)) && httpparse.ValidTarget([]byte("/"+path)):
	default:
		v.value(u.place, `%s is neither a path nor a URL: allowed are "/path", "http://host/path", "https://host/path" and "backend://NAME/path"`, quoted(u.v))
	}
}

// cookieText checks a value of an attribute of a cookie (RFC 6265, 4.1.1).
func (v validator) cookieText(c value[string]) {
	if c.v == "" || strings.ContainsFunc(c.v, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == ';' }) {
		v.value(c.place, "%s cannot be in a cookie: allowed are visible ASCII characters but ;", quoted(c.v))
	}
}

// fieldEdits checks what is changed in the fields of requests or of responses.
func (v validator) fieldEdits(r *route, table *fieldEdits, out *remap.FieldEdits, response bool) {
	scope := remap.TemplateScope{Groups: -1, Response: response}
	switch {
	case r.rule.Pattern != nil:
		scope.Groups = r.rule.Pattern.NumSubexp()
	case r.Pattern.given: // it is wrong, and has been reported
		scope.Groups = 9
	}
	v.notEmptyHere(table.Set, "leave it out")
	v.notEmptyHere(table.Add, "leave it out")
	v.notEmptyHere(table.Remove, "leave it out")
	var taken []string // names that are set or removed
	take := func(p place, name string) {
		if slices.ContainsFunc(taken, func(s string) bool { return strings.EqualFold(s, name) }) {
			v.value(p, "%s is set or removed already", quoted(name))
		}
		taken = append(taken, name)
	}
	for _, h := range table.Set.v {
		if l, ok := v.fieldLine(r, h, scope, response); ok {
			take(h.place, l.Name)
			out.Set = append(out.Set, l)
		}
	}
	for _, h := range table.Remove.v {
		wrong := editableName(h.v, response, r)
		if prefix, ok := strings.CutSuffix(h.v, "*"); ok {
			wrong = removablePrefix(prefix, response, r)
		}
		if wrong != "" {
			v.value(h.place, "%s", wrong)
			continue
		}
		take(h.place, h.v)
		out.Remove = append(out.Remove, h.v)
	}
	for _, h := range table.Add.v {
		if l, ok := v.fieldLine(r, h, scope, response); ok {
			out.Add = append(out.Add, l)
		}
	}
	out.Rewrite = v.rules(r, table.Rewrite, response, taken)
	out.Substitute = v.rules(r, table.Substitute, response, taken)
}

// fieldLine checks "Name: value".
func (v validator) fieldLine(r *route, h value[string], scope remap.TemplateScope, response bool) (l remap.FieldLine, ok bool) {
	name, _, found := strings.Cut(h.v, ":")
	if !found {
		v.value(h.place, `%s is not a header: write "Name: value"`, quoted(h.v))
		return l, false
	}
	if wrong := editableName(name, response, r); wrong != "" {
		v.value(h.place, "%s", wrong)
		return l, false
	}
	begin := len(name) + 1
	for begin < len(h.v) && (h.v[begin] == ' ' || h.v[begin] == '\t') {
		begin++
	}
	text := strings.TrimRight(h.v[begin:], " \t")
	t, err := remap.ParseTemplate(text, scope)
	if wrong, bad := errors.AsType[*remap.TemplateError](err); bad {
		v.value(v.within(h.place, h.v, begin+wrong.Offset), "%s", wrong.Message)
		return l, false
	}
	switch {
	case text == "":
		v.value(h.place, "%s has no value: to take a header away, list its name in remove", quoted(h.v))
		return l, false
	case !httpparse.ValidFieldValue([]byte(text)):
		v.value(h.place, "%s has control characters, which no header may have", quoted(h.v))
		return l, false
	}
	return remap.FieldLine{Name: name, Value: t}, true
}

// rules checks an array of rules.
func (v validator) rules(r *route, list value[[]row], response bool, taken []string) (rules []remap.RewriteRule) {
	if list.given && list.ok && len(list.v) == 0 {
		v.value(list.place, "is empty: leave it out")
	}
	for _, x := range list.v {
		if len(x.items) != 3 {
			v.value(x.place, `has %d strings, and a rule has three: ["Name", 'pattern', 'replacement']`, len(x.items))
			continue
		}
		name, ok := v.ruleName(r, x.items[0], response, taken)
		p := x.items[1]
		pattern, err := regexp.Compile(p.v)
		if err != nil {
			v.value(p.place, "%s", badPattern(p.v, err))
			continue
		}
		t := v.template(x.items[2], remap.TemplateScope{Groups: pattern.NumSubexp(), Response: response})
		if t == nil || !ok {
			continue
		}
		literal, _ := t.Literal()
		switch {
		case name == remap.RewriteTarget && !response && !httpparse.ValidTarget([]byte("/"+literal)):
			v.value(x.items[2].place, "%s cannot be in a target: allowed are visible ASCII characters but #, percent-encoded where needed", quoted(x.items[2].v))
		case strings.EqualFold(name, "host") && !response && strings.ContainsFunc(literal, notInHosts):
			v.value(x.items[2].place, "%s cannot be in a host: allowed are a name or an address, with or without a port", quoted(x.items[2].v))
		case !httpparse.ValidFieldValue([]byte(literal)):
			v.value(x.items[2].place, "%s has control characters, which no header may have", quoted(x.items[2].v))
		default:
			rules = append(rules, remap.RewriteRule{Name: name, Pattern: pattern, Value: t})
		}
	}
	return rules
}

// notInHosts tells the characters that no host has, nor the colon before its port, nor the brackets around an address.
func notInHosts(c rune) bool {
	return !strings.ContainsRune("[:]", c) && !httpparse.ValidAuthority([]byte("a"+string(c)+"a"))
}

func badPattern(text string, err error) string {
	return fmt.Sprintf("%s is not a regular expression: %s (RE2 syntax: no look-around, no back-references)",
		quoted(text), strings.TrimPrefix(err.Error(), "error parsing regexp: "))
}

// ruleName checks the name that a rule is for. In requests, that may be the target, and Host.
func (v validator) ruleName(r *route, n value[string], response bool, taken []string) (name string, ok bool) {
	if !response {
		switch strings.ToLower(n.v) {
		case "uri", "_uri": // lighttpd's
			return remap.RewriteTarget, true
		case "host":
			return n.v, true
		case "_pathinfo", "_scriptname", "_docroot":
			v.value(n.place, "%s is of CGI programs, and servers get HTTP: leave the rule out", quoted(n.v))
			return "", false
		}
	} else if strings.EqualFold(n.v, "_uri") {
		v.value(n.place, "%s is the target of a request, and this rule is for responses: name a header", quoted(n.v))
		return "", false
	}
	if wrong := editableName(n.v, response, r); wrong != "" {
		v.value(n.place, "%s", wrong)
		return "", false
	}
	if slices.ContainsFunc(taken, func(s string) bool { return strings.EqualFold(s, n.v) }) {
		v.value(n.place, "%s is set or removed, so that there is nothing to change", quoted(n.v))
		return "", false
	}
	return n.v, true
}

// fieldName says what is wrong with a field as one that is set, removed or rewritten in requests or responses of a route.
func fieldName(name string, response bool, r *route) (wrong string) {
	if !tokens.MatchString(name) {
		return quoted(name) + ` is not the name of a header`
	}
	switch strings.ReplaceAll(strings.ToLower(name), "_", "-") {
	case "connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "http2-settings":
		return quoted(name) + " is about one connection, and written by the proxy alone"
	case "transfer-encoding", "content-length":
		return quoted(name) + " says where a body ends, and is written by the proxy alone"
	case "expect", "max-forwards":
		if !response {
			return quoted(name) + " is about what proxies do, and passes as it has to"
		}
	case "proxy":
		return quoted(name) + " is no header, but a CGI program would take it for HTTP_PROXY; it never passes"
	case "host":
		if !response {
			return quoted(name) + " cannot be set or removed: use preserve_host, replace_http_host, map_host_request or a rewrite rule"
		}
	case "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-host":
		if !response && r.XForwarded.v != "off" {
			return quoted(name) + ` is written by the proxy: use x_forwarded, or set it to "off" first`
		}
	case "forwarded":
		if !response && r.Forwarded.given {
			return quoted(name) + " is written by the proxy: leave forwarded out to write it yourself"
		}
	case "via":
		if r.Via.v != "off" {
			return quoted(name) + ` is what via is about: leave that at "off" to write it yourself`
		}
	}
	if strings.ContainsRune(name, '_') {
		return quoted(name) + " has an underscore, which servers take for a dash or refuse: write " + quoted(strings.ReplaceAll(name, "_", "-"))
	}
	return ""
}

// unremovable are the names that cannot be removed, some of them by what other keys say.
var unremovable = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Upgrade", "HTTP2-Settings", "Transfer-Encoding",
	"Content-Length", "Expect", "Max-Forwards", "Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Host",
	"Forwarded", "Via",
}

// removablePrefix says what is wrong with removing all names that begin with a prefix.
func removablePrefix(prefix string, response bool, r *route) (wrong string) {
	if !tokens.MatchString(prefix + "x") {
		return quoted(prefix) + " does not begin the name of a header"
	}
	for _, name := range unremovable {
		if len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			if wrong := editableName(name, response, r); wrong != "" {
				return "would take more away than there may be: " + wrong
			}
		}
	}
	return ""
}

// editableName is fieldName with the names that other keys of the route choose.
func editableName(name string, response bool, r *route) (wrong string) {
	if !response && r.RequestID.v != "" && strings.EqualFold(name, r.RequestID.v) {
		return quoted(name) + " is what request_id is about"
	}
	return fieldName(name, response, r)
}

// authority is the host of a Host field about a server, of which e is one address.
func (t *target) authority(e endpoint) string {
	if e.path != "" {
		return "localhost" // a socket has no host, and HTTP/1.1 wants one
	}
	host, port := t.host, e.tcp.Port()
	if host == "" {
		host = e.tcp.Addr().String()
		if e.tcp.Addr().Is6() {
			host = netip.AddrPortFrom(e.tcp.Addr(), 0).String()
			host = strings.TrimSuffix(host, ":0")
		}
	}
	if port == 80 {
		return host
	}
	return host + ":" + strconv.Itoa(int(port))
}
