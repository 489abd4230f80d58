package demo

import (
	"bytes"
	"embed"
	"html/template"
	"strings"

	"github.com/valyala/fasthttp"
)

//go:embed page
var files embed.FS

var page = template.Must(template.ParseFS(files, "page/index.html"))

// assets are what the page is made of: plain files, no build step.
var assets = map[string]struct{ file, contentType string }{
	"/demo.css": {"page/demo.css", "text/css; charset=utf-8"},
	"/demo.js":  {"page/demo.js", "text/javascript; charset=utf-8"},
	"/icon.svg": {"page/icon.svg", "image/svg+xml"},
}

// policy lets the page use its own files and talk to where it came from, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// pageData is what the page shows before its script has done anything.
type pageData struct {
	Received *received
	Fields   []field
	Names    []string
	Try      []try
}

// field is a field line, cut at its colon.
type field struct{ Name, Value string }

// try is an endpoint to try.
type try struct{ Link, Curl, What string }

// page serves the page and its parts, and says what there is for any other path.
func (o *origin) page(ctx *fasthttp.RequestCtx, path string) {
	if asset, ok := assets[path]; ok {
		body, err := files.ReadFile(asset.file)
		if err != nil {
			panic(err) // it is embedded
		}
		ctx.SetContentType(asset.contentType)
		ctx.SetBody(body)
		return
	}
	if path != "/" {
		refuse(ctx, fasthttp.StatusNotFound, "nothing here; there are "+strings.Join(paths(), ", "))
		return
	}
	r, err := o.receive(ctx)
	if err != nil {
		refuse(ctx, fasthttp.StatusBadRequest, "the body could not be read: "+err.Error())
		return
	}
	var body bytes.Buffer
	err = page.Execute(&body, pageData{Received: r, Fields: splitFields(r.Fields), Names: names[:], Try: tries("http://" + string(ctx.Host()))})
	if err != nil {
		refuse(ctx, fasthttp.StatusInternalServerError, err.Error())
		return
	}
	header := &ctx.Response.Header
	header.Set("Content-Security-Policy", policy)
	header.Set("Referrer-Policy", "no-referrer")
	ctx.SetContentType("text/html; charset=utf-8")
	ctx.SetBody(body.Bytes())
}

func splitFields(lines []string) []field {
	list := make([]field, len(lines))
	for i, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		list[i] = field{name, strings.TrimSpace(value)}
	}
	return list
}

func paths() []string {
	list := []string{"/"}
	for _, e := range endpoints {
		list = append(list, e.path)
	}
	return list
}

// tries lists the endpoints for a page at url.
func tries(url string) []try {
	list := make([]try, len(endpoints))
	for i, e := range endpoints {
		list[i] = try{Link: e.link(), Curl: e.curlLine(url), What: e.what}
	}
	return list
}

// curlLine is the command to try the endpoint with, for a proxy at url.
func (e *endpoint) curlLine(url string) string {
	return "curl " + strings.ReplaceAll(e.curl, "URL", url)
}

// link is what a browser tries the endpoint with: the path and query of the curl line.
func (e *endpoint) link() string {
	_, link, _ := strings.Cut(e.curl, "URL")
	return strings.TrimRight(link, "'")
}
