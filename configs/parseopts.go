package configs

import (
	"millrace/httpparse"
	"millrace/loop"
	"millrace/remap"
)

// parseopts is the table of the defaults, and of what a listener says of its own. The names are those of lighttpd's
// server.http-parseopts, but for the first two, which it does not have.
type parseopts struct {
	section
	HeaderObsFold        value[bool] `toml:"header_obs_fold"`
	HeaderUnderscores    value[bool] `toml:"header_underscores"`
	MethodGetBody        value[bool] `toml:"method_get_body"`
	URLNormalize         value[bool] `toml:"url_normalize"`
	URLNormalizeRequired value[bool] `toml:"url_normalize_required"`
	URLCtrlsReject       value[bool] `toml:"url_ctrls_reject"`
	URLInvalidUTF8Reject value[bool] `toml:"url_invalid_utf8_reject"`
	URLPathBackslash     value[bool] `toml:"url_path_backslash_trans"`
	URLPath2FDecode      value[bool] `toml:"url_path_2f_decode"`
	URLPath2FReject      value[bool] `toml:"url_path_2f_reject"`
	URLPathDotsegRemove  value[bool] `toml:"url_path_dotseg_remove"`
	URLPathDotsegReject  value[bool] `toml:"url_path_dotseg_reject"`
	URLQuery20Plus       value[bool] `toml:"url_query_20_plus"`
}

// each returns the options in the order of the model.
func (o *parseopts) each() []*value[bool] {
	return []*value[bool]{
		&o.HeaderObsFold, &o.HeaderUnderscores, &o.MethodGetBody, &o.URLNormalize, &o.URLNormalizeRequired,
		&o.URLCtrlsReject, &o.URLInvalidUTF8Reject, &o.URLPathBackslash, &o.URLPath2FDecode, &o.URLPath2FReject,
		&o.URLPathDotsegRemove, &o.URLPathDotsegReject, &o.URLQuery20Plus,
	}
}

// ofTarget are the options that act only with url_normalize, and what they are to a target.
func (o *parseopts) ofTarget() map[*value[bool]]remap.TargetOptions {
	return map[*value[bool]]remap.TargetOptions{
		&o.URLNormalizeRequired: remap.NormalizeRequired,
		&o.URLCtrlsReject:       remap.RejectCtrls,
		&o.URLInvalidUTF8Reject: remap.RejectInvalidUTF8,
		&o.URLPathBackslash:     remap.TranslateBackslash,
		&o.URLPath2FDecode:      remap.Decode2F,
		&o.URLPath2FReject:      remap.Reject2F,
		&o.URLPathDotsegRemove:  remap.RemoveDotSegments,
		&o.URLPathDotsegReject:  remap.RejectDotSegments,
		&o.URLQuery20Plus:       remap.PlusInQuery,
	}
}

func (o *parseopts) setDefaults() {
	for _, option := range o.each() {
		setDefault(option, option == &o.MethodGetBody)
	}
}

// over returns the options in force where o is closer than defaults.
func (o *parseopts) over(defaults *parseopts) parseopts {
	merged := *defaults
	for i, option := range o.each() {
		if option.given {
			*merged.each()[i] = *option
		}
	}
	return merged
}

// parseopts checks the options of a table, own, of which merged are in force.
func (v validator) parseopts(own, merged *parseopts) {
	on := func(x *value[bool]) bool { return x.ok && x.v }
	for option := range own.ofTarget() {
		if option.given && on(option) && merged.URLNormalize.ok && !merged.URLNormalize.v {
			v.value(option.place, "has no effect without url_normalize = true")
		}
	}
	exclusive := func(a, b, mergedA, mergedB *value[bool], nameA, nameB string) {
		switch {
		case !on(mergedA) || !on(mergedB):
		case b.given:
			v.value(b.place, "excludes %s: set one of them to true, not both", nameA)
		case a.given:
			v.value(a.place, "excludes %s: set one of them to true, not both", nameB)
		}
	}
	exclusive(&own.URLPath2FDecode, &own.URLPath2FReject, &merged.URLPath2FDecode, &merged.URLPath2FReject,
		"url_path_2f_decode", "url_path_2f_reject")
	exclusive(&own.URLPathDotsegRemove, &own.URLPathDotsegReject, &merged.URLPathDotsegRemove, &merged.URLPathDotsegReject,
		"url_path_dotseg_remove", "url_path_dotseg_reject")
}

// compile returns the options as the data plane wants them.
func (o *parseopts) compile() loop.ParseOptions {
	p := loop.ParseOptions{RefuseGetBody: !o.MethodGetBody.v}
	if o.HeaderObsFold.v {
		p.Head |= httpparse.AllowObsFold
	}
	if o.HeaderUnderscores.v {
		p.Head |= httpparse.AllowUnderscores
	}
	if !o.URLNormalize.v {
		return p
	}
	p.Target = remap.NormalizeURL
	for option, bit := range o.ofTarget() {
		if option.v {
			p.Target |= bit
		}
	}
	return p
}
