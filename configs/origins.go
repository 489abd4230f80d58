package configs

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Origins says where a file says what its plan does. A plan does not keep that: the data plane has no use for it.
type Origins struct {
	f    *file
	src  *source
	list []Setting
	by   map[string]int // key path: index into list
	// under has the values of each table, in the order of the model.
	under map[string][]Setting
}

// Setting is a key with the value that is in force.
type Setting struct {
	// Key is the key's path, with the blocks of an array counted from 0, such as "route[2].timeouts.connect". Names are
	// spelt as the manual has them.
	Key string
	// Value is as a file would have it. It is empty for a table.
	Value string
	// At is file:line:column of the value; empty if it is the default.
	At string

	known bool // the value is given, or has a default
}

// WithOrigins stores in dst where everything in the file stands. There is nothing in it when the file has problems.
func WithOrigins(dst *Origins) Option {
	return func(o *options) { o.origins = dst }
}

// fill reads the model.
func (o *Origins) fill(r *report, f *file) {
	*o = Origins{f: f, src: r.src, by: make(map[string]int), under: make(map[string][]Setting)}
	o.table("", reflect.ValueOf(f).Elem())
}

func (o *Origins) add(s Setting) {
	o.by[s.Key] = len(o.list)
	o.list = append(o.list, s)
}

// table adds a table of the model, with all below it.
func (o *Origins) table(path string, table reflect.Value) {
	if s := table.Addr().Interface().(interface{ base() *section }).base(); path != "" {
		o.add(Setting{Key: path, At: o.at(s.place, s.given)})
	}
	for _, f := range fields(table.Type()) {
		below := f.name
		if path != "" {
			below = path + "." + f.name
		}
		v := table.Field(f.index)
		switch leaf := v.Addr().Interface().(type) {
		case interface{ add() any }:
			items := v.FieldByName("items")
			for i := range items.Len() {
				o.table(fmt.Sprintf("%s[%d]", below, i), element(items, i))
			}
		case interface{ add(string) any }:
			items, names := v.FieldByName("items"), v.FieldByName("names")
			for i := range items.Len() {
				o.table(below+"."+names.Index(i).String(), element(items, i))
			}
		case interface{ base() *section }:
			o.table(below, v)
		default:
			s := o.setting(below, leaf)
			o.add(s)
			if s.known {
				o.under[path] = append(o.under[path], s)
			}
		}
	}
}

// element is the table that an item of the model points to, in which fields can be looked at.
func element(items reflect.Value, i int) reflect.Value {
	return reflect.NewAt(items.Index(i).Type().Elem(), items.Index(i).UnsafePointer()).Elem()
}

func (o *Origins) at(p place, given bool) string {
	if !given {
		return ""
	}
	return o.src.at(p)
}

// setting is a value of the model.
func (o *Origins) setting(key string, leaf any) Setting {
	s := Setting{Key: key}
	switch v := leaf.(type) {
	case *value[int64]:
		settle(o, &s, v, decimal)
	case *value[bool]:
		settle(o, &s, v, func(b bool) string { return describe(b) })
	case *value[string]:
		settle(o, &s, v, quoted)
	case *value[time.Duration]:
		settle(o, &s, v, func(d time.Duration) string { return quoted(formatDuration(d)) })
	case *value[byteCount]:
		settle(o, &s, v, func(n byteCount) string { return quoted(formatSize(n)) })
	case *value[[]value[string]]:
		settle(o, &s, v, listText)
	case *value[protocols]:
		settle(o, &s, v, func(p protocols) string {
			if len(p.list) > 0 {
				return listText(p.list)
			}
			return describe(p.any)
		})
	case *value[[]row]:
		settle(o, &s, v, func(rows []row) string {
			texts := make([]string, len(rows))
			for i, r := range rows {
				texts[i] = listText(r.items)
			}
			return "[" + strings.Join(texts, ", ") + "]"
		})
	default:
		panic(fmt.Sprintf("configs: the model has a field of type %T", leaf))
	}
	return s
}

func settle[T any](o *Origins, s *Setting, v *value[T], format func(T) string) {
	if !v.ok {
		return
	}
	s.Value, s.At, s.known = format(v.v), o.at(v.place, v.given), true
}

func listText(list []value[string]) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = quoted(v.v)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// Find returns the setting of a key, or a table, by its path. What a listener does not say of its http_parseopts is what
// the file says of them for all. It returns the path and nothing else of what the file does not have.
func (o *Origins) Find(key string) Setting {
	if i, ok := o.by[key]; ok && o.list[i].At != "" {
		return o.list[i]
	}
	if table, name, ok := strings.Cut(key, "].http_parseopts."); ok && strings.HasPrefix(table, "listener[") {
		return o.Find("http_parseopts." + name)
	}
	if i, ok := o.by[key]; ok {
		return o.list[i]
	}
	return Setting{Key: key}
}

// Under returns the settings of a table, without those of the tables in it, in the order of the manual: what is given and
// what has a default.
func (o *Origins) Under(table string) []Setting { return o.under[table] }

// Element returns where an element of a list stands, by the path of the list and its index.
func (o *Origins) Element(key string, i int) Setting {
	s := o.Find(key)
	list, ok := o.stringsAt(key)
	if !ok || i >= len(list) {
		return s
	}
	return Setting{Key: fmt.Sprintf("%s[%d]", key, i), Value: quoted(list[i].v), At: o.src.at(list[i].place), known: true}
}

// stringsAt returns the list of strings of a route's key.
func (o *Origins) stringsAt(key string) ([]value[string], bool) {
	var index int
	var name string
	if n, err := fmt.Sscanf(key, "route[%d].%s", &index, &name); n != 2 || err != nil || index >= len(o.f.Routes.items) {
		return nil, false
	}
	r := o.f.Routes.items[index]
	switch name {
	case "headers":
		return r.Headers.v, true
	case "query":
		return r.Query.v, true
	case "not.headers":
		return r.Not.Headers.v, true
	case "not.query":
		return r.Not.Query.v, true
	}
	return nil, false
}

// Timeouts returns the timeouts in force for what comes by a listener, and takes a route unless that is negative, each
// with the key that decides: the route's, else the backend's, else the listener's, else that of [timeouts].
func (o *Origins) Timeouts(listener, routeIndex int) []Setting {
	var r *route
	if routeIndex >= 0 {
		r = o.f.Routes.items[routeIndex]
	}
	merged := o.f.merged(o.f.timeoutsOf(o.f.Listeners.items[listener], r)...)
	names := fields(reflect.TypeFor[timeouts]())
	var list []Setting
	for i, t := range merged.each() {
		s := Setting{Key: "timeouts." + names[i].name, known: true}
		settle(o, &s, t, func(d time.Duration) string { return quoted(formatDuration(d)) })
		if t.given {
			s.Key = t.key
		}
		list = append(list, s)
	}
	return list
}
