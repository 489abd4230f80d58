package configs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"millrace/httpparse"
	"millrace/internal/health"
	"millrace/loop"
)

// maxPageBytes bounds an error page: each loop keeps one of them, and each client that is slow to take it another.
const maxPageBytes = 64 << 10

// errorsOf are the words that say whose errors a page is for.
var errorsOf = []string{"all", "proxy", "servers"}

// pageStatuses reads a list of statuses and ranges of them.
func (v validator) pageStatuses(list value[[]value[string]]) (statuses []int) {
	for _, s := range list.v {
		r, err := health.ParseStatusRange(s.v)
		switch {
		case err != nil:
			v.value(s.place, "%s is not a status from 400 to 599, nor a range of them such as 500-599", quoted(s.v))
		case r.First < 400:
			v.value(s.place, "%s is no error: allowed are statuses from 400 to 599, and ranges of them", quoted(s.v))
		default:
			for status := r.First; status <= r.Last; status++ {
				statuses = append(statuses, status)
			}
		}
	}
	return statuses
}

// errorOverride checks which errors of servers a route replaces.
func (v validator) errorOverride(r *route, excluded bool) {
	if excluded && r.ErrorOverride.given {
		v.key(r.ErrorOverride.place, "has no effect with exclude = true: what matches is not proxied")
		return
	}
	if !v.notEmptyHere(r.ErrorOverride, "leave it out") {
		return
	}
	r.override = new(loop.StatusSet)
	for _, status := range v.pageStatuses(r.ErrorOverride) {
		r.override.Add(status)
	}
}

// errorPages checks the pages and reads their files.
func (v validator) errorPages() {
	overrides := slices.ContainsFunc(v.f.Routes.items, func(r *route) bool { return r.ErrorOverride.given })
	for _, p := range v.f.Pages.items {
		switch {
		case p.Status.absent():
			v.missing(p.place, "status", `is missing: list the statuses that the page is for, as ["404", "500-599"]`)
		case v.notEmptyHere(p.Status, "list at least one status"):
			p.statuses = v.pageStatuses(p.Status)
		}
		switch {
		case p.File.given && p.Text.given:
			v.key(p.Text.place, "has no effect beside file: leave one of them out")
		case p.File.given && p.File.ok:
			p.body = v.pageFile(p.File)
		case p.Text.given && p.Text.ok:
			if p.body = []byte(p.Text.v); len(p.body) > maxPageBytes {
				v.value(p.Text.place, "has %d bytes: a page has %s at most", len(p.body), formatSize(maxPageBytes))
			}
		case p.File.absent() && p.Text.absent():
			v.missing(p.place, "file", "is missing: name a file, or write the page as text")
		}
		if c := p.ContentType; c.ok && (c.v == "" || !httpparse.ValidFieldValue([]byte(c.v)) || !strings.Contains(c.v, "/")) {
			v.value(c.place, `%s is not a media type: write one such as "text/html; charset=utf-8"`, quoted(c.v))
		}
		switch of := p.ErrorsOf; {
		case of.ok && !slices.Contains(errorsOf, of.v):
			v.value(of.place, "%s is not allowed: allowed are %s", quoted(of.v), quotedList(errorsOf))
		case of.v == "servers" && !overrides && !v.f.Routes.unread():
			v.warn(of.place, "has no effect: no route has error_override")
		}
	}
}

// pageFile reads a file. Its path is relative to the folder of the configuration.
func (v validator) pageFile(file value[string]) []byte {
	path := file.v
	if path == "" {
		v.value(file.place, `"" is not the path of a file`)
		return nil
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(v.src.name), path)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = errors.New("not a file") // nor to be waited for, as a pipe would be
	case info.Size() > maxPageBytes:
		err = errors.New("larger than " + formatSize(maxPageBytes))
	}
	var body []byte
	if err == nil {
		body, err = os.ReadFile(path)
	}
	if err != nil {
		var inFile *fs.PathError
		if errors.As(err, &inFile) {
			err = inFile.Err // the path is in the problem already
		}
		v.value(file.place, "%s cannot be read: %v", quoted(path), err)
	}
	return body
}

// errorPages puts the pages where each status finds its own. The first that lists a status counts.
func (c *compiler) errorPages() {
	for _, p := range c.f.Pages.items {
		page := &loop.ErrorPage{ContentType: p.ContentType.v, Body: p.body}
		for _, status := range p.statuses {
			if p.ErrorsOf.v != "servers" {
				addPage(&c.plan.OwnErrors, status, page)
			}
			if p.ErrorsOf.v != "proxy" {
				addPage(&c.plan.ServerErrors, status, page)
			}
		}
	}
}

func addPage(pages *loop.ErrorPages, status int, page *loop.ErrorPage) {
	if *pages == nil {
		*pages = make(loop.ErrorPages)
	}
	if (*pages)[status] == nil {
		(*pages)[status] = page
	}
}
