package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"fleetctl/inventory/values"
)

// maxAliased bounds how many values the aliases of a document may stand for, so that a small file cannot fill the
// memory ("billion laughs").
const maxAliased = 10_000_000

// document is a parsed YAML or JSON document.
type document struct {
	file    string
	root    *yaml.Node // nil when there is nothing in it
	keys    map[string]string
	anchors map[*yaml.Node]anchored
	aliased int
	slab    []yaml.Node // of jsonParser
}

// anchored is the value that aliases share, and how many values it consists of. open marks the value as being read.
type anchored struct {
	value any
	size  int
	open  bool
}

// pair is one entry of a mapping.
type pair struct {
	key, value *yaml.Node
	text       string // the key as text
	isString   bool   // the key is a string in YAML, too
}

// parseYAML reads the one document of a YAML stream.
func parseYAML(file string, data []byte) (*document, error) {
	doc := &document{file: file, keys: map[string]string{}, anchors: map[*yaml.Node]anchored{}}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	root := new(yaml.Node)
	if err := decodeNode(dec, root); err != nil {
		if errors.Is(err, io.EOF) {
			return doc, nil
		}
		return nil, &Error{Pos: yamlErrorPos(file, dec), Msg: "YAML: " + yamlMessage(err)}
	}
	second := new(yaml.Node)
	switch err := decodeNode(dec, second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, &Error{Pos: yamlErrorPos(file, dec), Msg: "YAML: " + yamlMessage(err)}
	default:
		return nil, errorAt(doc.pos(second), "a second YAML document begins here; an inventory is one document")
	}
	if len(root.Content) > 0 {
		doc.root = root.Content[0]
	}
	return doc, nil
}

// decodeNode decodes one document. The decoder panics on some malformed input instead of returning an error.
func decodeNode(dec *yaml.Decoder, node *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot be parsed (%v)", r)
		}
	}()
	return dec.Decode(node)
}

// yamlMessage is the parser's complaint without the line, which is often that of the enclosing block or off by one.
func yamlMessage(err error) string {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		if _, after, found := strings.Cut(rest, ": "); found {
			msg = after
		}
	}
	return msg
}

// yamlErrorPos is where the parser stopped. yaml.v3 (whose last release is v3.0.1) knows line and column but prints
// only a line, so this reads its mark; without the mark, the error names the file alone.
func yamlErrorPos(file string, dec *yaml.Decoder) Pos {
	pos := Pos{File: file}
	mark := reflect.ValueOf(dec).Elem()
	for _, name := range []string{"parser", "parser", "problem_mark"} {
		if mark.Kind() == reflect.Pointer {
			mark = mark.Elem()
		}
		if mark.Kind() != reflect.Struct {
			return pos
		}
		mark = mark.FieldByName(name)
	}
	if mark.Kind() != reflect.Struct {
		return pos
	}
	line, column := mark.FieldByName("line"), mark.FieldByName("column")
	if line.CanInt() && column.CanInt() {
		pos.Line, pos.Column = int(line.Int())+1, int(column.Int())+1
	}
	return pos
}

func (d *document) pos(n *yaml.Node) Pos {
	return Pos{File: d.file, Line: n.Line, Column: n.Column}
}

// follow is the node that an alias stands for, or the node itself.
func follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

// isNull says whether the node is absent or null.
func (d *document) isNull(n *yaml.Node) bool {
	n = follow(n)
	if n.Kind != yaml.ScalarNode {
		return false
	}
	v, err := d.scalar(n)
	return err == nil && v == nil
}

// pairs are the entries of a mapping in order, with what << merges in; a key that stands there twice is an error.
// depth counts merges inside of merges, which only an alias to an enclosing mapping can make endless.
func (d *document) pairs(n *yaml.Node, depth int) ([]pair, error) {
	if depth > 100 {
		return nil, errorAt(d.pos(n), "the mapping merges itself (<<)")
	}
	own := make([]pair, 0, len(n.Content)/2)
	var merged []pair
	seen := newKeySet(len(n.Content) / 2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.ScalarNode && key.Tag == "!!merge" {
			more, err := d.merge(value, depth)
			if err != nil {
				return nil, err
			}
			merged = append(merged, more...)
			continue
		}
		text, isString, err := d.keyText(key)
		if err != nil {
			return nil, err
		}
		if !seen.add(text) {
			first := own[slices.IndexFunc(own, func(p pair) bool { return p.text == text })]
			return nil, errorAt(d.pos(key), "duplicate key %q: it already stands in line %d", text, first.key.Line)
		}
		own = append(own, pair{key, value, text, isString})
	}
	if merged == nil {
		return own, nil
	}
	return overlay(merged, own), nil
}

// keySet notices keys that come twice. Few keys, as a host has them, need no map.
type keySet struct {
	few  []string
	many map[string]bool
}

func newKeySet(size int) *keySet {
	if size > 8 {
		return &keySet{many: make(map[string]bool, size)}
	}
	return &keySet{few: make([]string, 0, 8)}
}

// add reports whether the key is new.
func (s *keySet) add(key string) bool {
	if s.many == nil {
		known := slices.Contains(s.few, key)
		s.few = append(s.few, key)
		return !known
	}
	known := s.many[key]
	s.many[key] = true
	return !known
}

// merge are the entries that "<<: value" brings in; of several mappings, the first one wins.
func (d *document) merge(value *yaml.Node, depth int) ([]pair, error) {
	value = follow(value)
	switch value.Kind {
	case yaml.MappingNode:
		pairs, err := d.pairs(value, depth+1)
		if err != nil {
			return nil, err
		}
		return pairs, d.countAliased(value, len(pairs))
	case yaml.SequenceNode:
		var all []pair
		for i := len(value.Content) - 1; i >= 0; i-- {
			item := follow(value.Content[i])
			if item.Kind != yaml.MappingNode {
				return nil, errorAt(d.pos(value.Content[i]), "<< takes a mapping or a list of mappings")
			}
			more, err := d.merge(item, depth)
			if err != nil {
				return nil, err
			}
			all = append(all, more...)
		}
		return all, nil
	}
	return nil, errorAt(d.pos(value), "<< takes a mapping or a list of mappings")
}

// overlay puts the entries together: a key keeps its first place and its last value, as in a Python dict.
func overlay(lists ...[]pair) []pair {
	var out []pair
	index := make(map[string]int)
	for _, list := range lists {
		for _, p := range list {
			if i, ok := index[p.text]; ok {
				out[i] = p
				continue
			}
			index[p.text] = len(out)
			out = append(out, p)
		}
	}
	return out
}

func (d *document) countAliased(n *yaml.Node, size int) error {
	d.aliased += size
	if d.aliased > maxAliased {
		return errorAt(d.pos(n), "the aliases of this file stand for more than %d values", maxAliased)
	}
	return nil
}

// keyText is a key as text, and whether it is a string in YAML.
func (d *document) keyText(key *yaml.Node) (text string, isString bool, err error) {
	n := follow(key)
	if n.Kind != yaml.ScalarNode {
		return "", false, errorAt(d.pos(key), "a key must be a plain value, not a list or a mapping")
	}
	v, err := d.scalar(n)
	if err != nil {
		return "", false, err
	}
	switch v := v.(type) {
	case string:
		if s, ok := d.keys[v]; ok {
			return s, true, nil // one copy of ansible_host, not one a host
		}
		d.keys[v] = v
		return v, true, nil
	case values.Unsafe:
		return string(v), true, nil
	case values.Vault:
		return "", false, errorAt(d.pos(key), "a key cannot be encrypted")
	}
	return strings.Trim(string(values.AppendJSON(nil, v, 0)), `"`), false, nil
}
