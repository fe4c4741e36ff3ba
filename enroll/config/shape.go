package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"fleetctl/enroll/outcome"
)

// shape holds a YAML document against the Go type that it is read into, before it is: what is wrong is said in the words of
// whoever wrote it, with the key and its place. yaml.v3 itself would name Go's types, and no column.
type shape struct {
	file string
	errs []*outcome.InputError
}

func (s *shape) fail(n *yaml.Node, key, hint, format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	if key != "" {
		msg = key + ": " + msg
	}
	s.errs = append(s.errs, &outcome.InputError{File: s.file, Line: n.Line, Column: n.Column, Msg: msg, Hint: hint})
}

// check compares a node with a type; key is its dotted path, "" for the whole document.
func (s *shape) check(n *yaml.Node, t reflect.Type, key string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return // it leaves the default
	}
	switch t.Kind() {
	case reflect.Pointer:
		s.check(n, t.Elem(), key)
	case reflect.Struct:
		s.mapping(n, t, key)
	case reflect.Slice:
		s.list(n, t, key)
	case reflect.Map:
		s.anyKeys(n, t, key)
	case reflect.String, reflect.Int, reflect.Bool:
		s.scalar(n, t, key)
	}
}

// mapping is a mapping of known keys.
func (s *shape) mapping(n *yaml.Node, t reflect.Type, key string) {
	if !s.isMapping(n, key) {
		return
	}
	fields := fieldsOf(t)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		field, ok := fields[k.Value]
		switch {
		case k.ShortTag() == "!!merge":
			s.merged(v, t, key)
		case !ok:
			s.fail(k, "", unknownHint(k.Value, fields), "unknown key %q", join(key, k.Value))
		default:
			s.check(v, field, join(key, k.Value))
		}
	}
}

// merged are the keys of other mappings ("<<").
func (s *shape) merged(n *yaml.Node, t reflect.Type, key string) {
	if n.Kind != yaml.SequenceNode {
		s.check(n, t, key)
		return
	}
	for _, item := range n.Content {
		s.check(item, t, key)
	}
}

// isMapping says whether a node is a mapping, and reports keys that it has twice.
func (s *shape) isMapping(n *yaml.Node, key string) bool {
	if n.Kind != yaml.MappingNode {
		s.fail(n, key, "", "expected keys with values, found %s", found(n))
		return false
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if first, twice := lines[k.Value]; twice {
			s.fail(k, join(key, k.Value), "", "is there twice: first in line %d", first)
			return false
		}
		lines[k.Value] = k.Line
	}
	return true
}

// anyKeys is a mapping whose keys are anybody's.
func (s *shape) anyKeys(n *yaml.Node, t reflect.Type, key string) {
	if !s.isMapping(n, key) {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		s.check(n.Content[i+1], t.Elem(), join(key, n.Content[i].Value))
	}
}

func (s *shape) list(n *yaml.Node, t reflect.Type, key string) {
	if n.Kind != yaml.SequenceNode {
		hint := ""
		if n.Kind == yaml.ScalarNode && t.Elem().Kind() == reflect.String {
			hint = fmt.Sprintf("%s: [%s]", last(key), n.Value)
		}
		s.fail(n, key, hint, "expected a list%s, found %s", like(n, t), found(n))
		return
	}
	for i, item := range n.Content {
		s.check(item, t.Elem(), fmt.Sprintf("%s[%d]", key, i))
	}
}

// like shows a list of the one thing that somebody wrote.
func like(n *yaml.Node, t reflect.Type) string {
	switch {
	case t.Elem().Kind() == reflect.Map:
		return " of mappings"
	case n.Kind == yaml.ScalarNode:
		return fmt.Sprintf(" like [%s]", n.Value)
	}
	return ""
}

// scalar is a text, a number, or true or false. A text may be written as any scalar.
func (s *shape) scalar(n *yaml.Node, t reflect.Type, key string) {
	want := map[reflect.Kind]string{reflect.String: "a text", reflect.Int: "a whole number", reflect.Bool: "true or false"}[t.Kind()]
	fits := n.Kind == yaml.ScalarNode
	switch {
	case fits && t.Kind() == reflect.Int:
		fits = n.ShortTag() == "!!int" && n.Decode(new(int)) == nil // yaml.v3 would cut what is behind the point
	case fits && t.Kind() == reflect.Bool:
		fits = n.Decode(new(bool)) == nil
	}
	if !fits {
		s.fail(n, key, "", "expected %s, found %s", want, found(n))
	}
}

// found is what somebody wrote, in their words.
func found(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	}
	switch n.ShortTag() {
	case "!!str":
		return "the text " + strconv.Quote(n.Value)
	case "!!int", "!!float":
		return "the number " + n.Value
	}
	return n.Value
}

// unknownHint names the key that was probably meant, else those that there are.
func unknownHint(key string, fields map[string]reflect.Type) string {
	names := slices.Sorted(maps.Keys(fields))
	if near := outcome.Nearest(key, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "the keys there are " + strings.Join(names, ", ")
}

// fieldsOf are the keys of a struct with the types of their values.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name != "" && name != "-" {
			fields[name] = t.Field(i).Type
		}
	}
	return fields
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

func last(key string) string { return key[strings.LastIndex(key, ".")+1:] }

// checkShape says everything that keeps a node from being read as a T. file is where it stands; "" for nowhere.
func checkShape[T any](file string, n *yaml.Node) []*outcome.InputError {
	s := shape{file: file}
	s.check(n, reflect.TypeFor[T](), "")
	slices.SortStableFunc(s.errs, func(a, b *outcome.InputError) int { return cmp.Or(a.Line-b.Line, a.Column-b.Column) })
	return s.errs
}

// decodeOver lays a value of the inventory over what is there.
func decodeOver[T any](value any, into *T) error {
	var n yaml.Node
	if err := n.Encode(value); err != nil {
		return err
	}
	errs := checkShape[T]("", &n)
	if len(errs) == 0 {
		return n.Decode(into)
	}
	words := make([]string, len(errs))
	for i, e := range errs {
		words[i] = e.Msg
	}
	return outcome.WithHint(errors.New(strings.Join(words, "; ")), "%s", errs[0].Hint)
}
