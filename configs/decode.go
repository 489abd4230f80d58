package configs

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// decode reads the file into the model. It reports every key that is not of the format and every value that is not
// of its key's type, and returns nil only when the file is not TOML at all.
func decode(r *report) *file {
	tree, positions, failed := r.src.read()
	if failed != nil {
		r.value(place{at: failed.at}, "%s", failed.message)
		return nil
	}
	f := new(file)
	d := decoder{r}
	d.table(tree, positions, place{}, reflect.ValueOf(f).Elem())
	return f
}

type decoder struct{ *report }

// table reads raw into a struct of the model.
func (d decoder) table(raw map[string]any, n *node, p place, table reflect.Value) {
	*table.Addr().Interface().(interface{ base() *section }).base() = section{place: p, given: true, ok: true}
	known := fields(table.Type())
	names := slices.Collect(maps.Keys(raw))
	n.inOrder(names)
	spelt := make(map[int]string) // field index: how the file spells it
	for _, name := range names {
		child := n.below(name)
		p := place{join(p.key, name), child.keyAt, child.at}
		i := slices.IndexFunc(known, func(f field) bool { return plain(f.name) == plain(name) })
		if i < 0 {
			if meant := d.unknown(p, name, known); meant >= 0 {
				table.Field(known[meant].index).Addr().Interface().(interface{ misspelt() }).misspelt()
			}
			continue
		}
		if before, twice := spelt[i]; twice {
			d.key(p, "is the same key as %s, which is given already", quoted(before))
			continue
		}
		spelt[i] = name
		d.field(raw[name], child, p, table.Field(known[i].index))
	}
}

// field reads the value of a known key.
func (d decoder) field(raw any, n *node, p place, dst reflect.Value) {
	switch dst := dst.Addr().Interface().(type) {
	case *value[int64]:
		scalar(d, raw, p, dst, decodeInt)
	case *value[bool]:
		scalar(d, raw, p, dst, decodeBool)
	case *value[string]:
		scalar(d, raw, p, dst, decodeString)
	case *value[time.Duration]:
		scalar(d, raw, p, dst, decodeDuration)
	case *value[byteCount]:
		scalar(d, raw, p, dst, decodeSize)
	case *value[[]value[string]]:
		d.strings(raw, n, p, dst)
	case *value[protocols]:
		d.protocols(raw, n, p, dst)
	case *value[[]row]:
		d.rows(raw, n, p, dst)
	case interface {
		add() any
		base() *section
	}:
		*dst.base() = section{place: p, given: true, ok: d.tables(raw, n, p, dst.add)}
	case interface {
		add(string) any
		base() *section
	}:
		*dst.base() = section{place: p, given: true, ok: d.named(raw, n, p, dst.add)}
	case interface{ base() *section }:
		*dst.base() = section{place: p, given: true}
		switch raw := raw.(type) {
		case map[string]any:
			d.table(raw, n, p, reflect.ValueOf(dst).Elem())
		case []map[string]any:
			d.key(p, "is one table: write [%s], with single brackets", withoutIndexes(p.key))
		default:
			d.value(p, "%s is not a table: write [%s]", describe(raw), withoutIndexes(p.key))
		}
	default:
		panic(fmt.Sprintf("configs: the model has a field of type %T", dst))
	}
}

// scalar reads one value.
func scalar[T any](d decoder, raw any, p place, dst *value[T], decode func(any) (T, string)) {
	v, wrong := decode(raw)
	*dst = value[T]{place: p, given: true, ok: wrong == "", text: describe(raw), v: v}
	if wrong != "" {
		d.value(p, "%s", wrong)
	}
}

// strings reads an array of strings. Elements that are none are left out.
func (d decoder) strings(raw any, n *node, p place, dst *value[[]value[string]]) {
	*dst = value[[]value[string]]{place: p, given: true}
	var list []any
	switch raw := raw.(type) {
	case []any:
		list = raw
	case string:
		d.value(p, "%s is one string: write [%s]", describe(raw), describe(raw))
		return
	case int64:
		d.value(p, `%s is not an array of strings: write ["%d"]`, describe(raw), raw)
		return
	default:
		d.value(p, "%s is not an array of strings", describe(raw))
		return
	}
	dst.ok = true
	for i, raw := range list {
		e := n.element(i)
		var s value[string]
		scalar(d, raw, place{fmt.Sprintf("%s[%d]", p.key, i), e.keyAt, e.at}, &s, decodeString)
		if s.ok {
			dst.v = append(dst.v, s)
		}
		dst.ok = dst.ok && s.ok
	}
}

// protocols reads true, false, or an array of protocols.
func (d decoder) protocols(raw any, n *node, p place, dst *value[protocols]) {
	list, isList := raw.([]any)
	if isList {
		var names value[[]value[string]]
		d.strings(list, n, p, &names)
		*dst = value[protocols]{place: p, given: true, ok: names.ok, text: describe(raw), v: protocols{list: append([]value[string]{}, names.v...)}}
		return
	}
	scalar(d, raw, p, dst, func(raw any) (protocols, string) {
		if name, ok := raw.(string); ok && name != "true" && name != "false" {
			return protocols{}, fmt.Sprintf("%s is one string: write [%s]", describe(raw), describe(raw))
		}
		v, wrong := decodeBool(raw)
		if wrong != "" && !strings.HasSuffix(wrong, "without quotes") {
			wrong = describe(raw) + " is neither true nor false nor an array of protocols"
		}
		return protocols{any: v}, wrong
	})
}

// rows reads an array of arrays of strings. Those that are none are left out.
func (d decoder) rows(raw any, n *node, p place, dst *value[[]row]) {
	*dst = value[[]row]{place: p, given: true}
	list, ok := raw.([]any)
	if !ok {
		d.value(p, `%s is not an array of arrays: write [["...", "..."], ...]`, describe(raw))
		return
	}
	dst.ok = true
	for i, raw := range list {
		e := n.element(i)
		p := place{fmt.Sprintf("%s[%d]", p.key, i), e.keyAt, e.at}
		if _, isArray := raw.([]any); !isArray {
			d.value(p, `%s is not an array, and this is an array of them: write [["...", "..."], ...]`, describe(raw))
			dst.ok = false
			return
		}
		var items value[[]value[string]]
		d.strings(raw, e, p, &items)
		if items.ok {
			dst.v = append(dst.v, row{p, items.v})
		}
		dst.ok = dst.ok && items.ok
	}
}

// tables reads an array of tables, and reports whether it is one.
func (d decoder) tables(raw any, n *node, p place, add func() any) bool {
	var list []any
	switch raw := raw.(type) {
	case []map[string]any: // [[listener]]
		for _, table := range raw {
			list = append(list, table)
		}
	case []any: // listener = [{...}, {...}]
		list = raw
	case map[string]any:
		d.key(p, "may be there several times: write [[%s]], with double brackets", withoutIndexes(p.key))
		return false
	default:
		d.value(p, "%s is not an array of tables: write [[%s]]", describe(raw), withoutIndexes(p.key))
		return false
	}
	ok := true
	for i, raw := range list {
		e := n.element(i)
		p := place{fmt.Sprintf("%s[%d]", p.key, i), e.keyAt, e.at}
		table, isTable := raw.(map[string]any)
		if !isTable {
			d.value(p, "%s is not a table", describe(raw))
			ok = false
			continue
		}
		d.table(table, e, p, reflect.ValueOf(add()).Elem())
	}
	return ok
}

// named reads a table of tables, and reports whether it is one.
func (d decoder) named(raw any, n *node, p place, add func(string) any) bool {
	header := withoutIndexes(p.key) + ".NAME"
	tree, ok := raw.(map[string]any)
	if _, array := raw.([]map[string]any); array {
		d.key(p, "has a name, which is part of its header: write [%s]", header)
		return false
	}
	if !ok {
		d.value(p, "%s is not a table: write [%s]", describe(raw), header)
		return false
	}
	names := slices.Collect(maps.Keys(tree))
	n.inOrder(names)
	for _, name := range names {
		child := n.below(name)
		p := place{join(p.key, name), child.keyAt, child.at}
		switch raw := tree[name].(type) {
		case map[string]any:
			d.table(raw, child, p, reflect.ValueOf(add(name)).Elem())
		case []map[string]any:
			d.key(p, "is one table: write [%s], with single brackets", p.key)
			ok = false
		default:
			d.key(p, "belongs into a table with a name: write [%s]", header)
			ok = false
		}
	}
	return ok
}

// withoutIndexes makes a table's header of a key path.
func withoutIndexes(path string) string {
	for {
		before, rest, ok := strings.Cut(path, "[")
		_, after, closed := strings.Cut(rest, "]")
		if !ok || !closed {
			return path
		}
		path = before + after
	}
}

// unknown reports a key that is not of the format, with what it may have been meant to be. It returns the index of
// the key of this table that was meant, or -1.
func (d decoder) unknown(p place, name string, known []field) int {
	names := make([]string, len(known))
	for i, f := range known {
		names[i] = f.name
	}
	if other, ok := foreign[plain(name)]; ok && strings.HasPrefix(p.key, "backend.") {
		d.key(p, "%s", other)
		return -1
	}
	if meant, ok := nearest(name, names); ok {
		d.key(p, "unknown key; did you mean %q?", meant)
		return slices.Index(names, meant)
	}
	var elsewhere []string
	for _, k := range keys() {
		if plain(k.name) == plain(name) {
			elsewhere = append(elsewhere, k.table)
		}
	}
	if len(elsewhere) > 0 {
		d.key(p, "unknown key here; it belongs to %s", orList(elsewhere))
	} else {
		d.key(p, "unknown key; known here: %s", strings.Join(names, ", "))
	}
	return -1
}
