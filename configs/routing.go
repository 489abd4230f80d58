package configs

import (
	"regexp"
	"slices"
	"strings"

	"millrace/httpparse"
	"millrace/remap"
)

// maps reports whether paths with other endings go by the routes for an extension, before all others.
func (t *routing) maps(extension value[string]) bool {
	return extension.given && slices.ContainsFunc(t.extensions, func(m remap.Mapping) bool { return m.To == extension.v })
}

// routing checks what is done with requests before they have a route.
func (v validator) routing() {
	t := &v.f.Routing
	if t.RewriteOnce.given && t.RewriteOnce.ok && len(t.RewriteOnce.v) == 0 {
		v.value(t.RewriteOnce.place, "is empty: leave it out")
	}
	for _, x := range t.RewriteOnce.v {
		if len(x.items) != 2 {
			v.value(x.place, `has %d strings, and a rule has two: ['pattern', 'target']`, len(x.items))
			continue
		}
		p, to := x.items[0], x.items[1]
		pattern, err := regexp.Compile(p.v)
		if err != nil {
			v.value(p.place, "%s", badPattern(p.v, err))
			continue
		}
		value := v.template(to, remap.TemplateScope{Groups: pattern.NumSubexp(), GroupsOnly: true})
		if value == nil {
			continue
		}
		if literal, _ := value.Literal(); !httpparse.ValidTarget([]byte("/" + literal)) {
			v.value(to.place, "%s cannot be in a target: allowed are visible ASCII characters but #, percent-encoded where needed", quoted(to.v))
		}
		t.rewrites = append(t.rewrites, remap.RewriteRule{Name: remap.RewriteTarget, Pattern: pattern, Value: value})
	}
	extension := func(x value[string]) {
		if x.v == "" || strings.HasPrefix(x.v, "/") {
			v.value(x.place, `%s is not the end of a path: write one such as ".jsp"`, quoted(x.v))
		}
	}
	known := func(x value[string]) {
		extension(x)
		has := func(r *route) bool { return r.Extension.v == x.v }
		if x.v != "" && !slices.ContainsFunc(v.f.Routes.items, has) && !v.f.Routes.unread() {
			v.value(x.place, "%s is the extension of no route", quoted(x.v))
		}
	}
	t.extensions = v.mappings(t.MapExtensions, extension, known)
}
