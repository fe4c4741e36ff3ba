package inventory

import (
	"encoding/base64"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"fleetctl/inventory/values"
)

// value is the node as a value of a variable.
func (d *document) value(n *yaml.Node) (any, error) {
	v, _, err := d.sized(n)
	return v, err
}

// sized is the value of the node and the number of values in it.
func (d *document) sized(n *yaml.Node) (any, int, error) {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return d.shared(n)
	}
	return d.build(n)
}

// shared reads a node that has an anchor once, for all its aliases.
func (d *document) shared(n *yaml.Node) (any, int, error) {
	target := follow(n)
	a, known := d.anchors[target]
	if a.open {
		return nil, 0, errorAt(d.pos(n), "*%s stands inside of what it names", n.Value)
	}
	if !known {
		d.anchors[target] = anchored{open: true}
		v, size, err := d.build(target)
		if err != nil {
			return nil, 0, err
		}
		a = anchored{value: v, size: size}
		d.anchors[target] = a
	}
	if n.Kind == yaml.AliasNode {
		return a.value, a.size, d.countAliased(n, a.size)
	}
	return a.value, a.size, nil
}

func (d *document) build(n *yaml.Node) (any, int, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		v, err := d.scalar(n)
		return v, 1, err
	case yaml.SequenceNode:
		return d.sequence(n)
	case yaml.MappingNode:
		return d.mapping(n)
	}
	return nil, 0, errorAt(d.pos(n), "unexpected YAML node")
}

func (d *document) sequence(n *yaml.Node) (any, int, error) {
	if err := d.checkTag(n, "!!seq"); err != nil {
		return nil, 0, err
	}
	list, total := make([]any, 0, len(n.Content)), 1
	for _, item := range n.Content {
		v, size, err := d.sized(item)
		if err != nil {
			return nil, 0, err
		}
		list, total = append(list, v), total+size
	}
	if n.Tag == "!unsafe" {
		return makeUnsafe(list), total, nil
	}
	return list, total, nil
}

func (d *document) mapping(n *yaml.Node) (any, int, error) {
	if err := d.checkTag(n, "!!map"); err != nil {
		return nil, 0, err
	}
	pairs, err := d.pairs(n, 0)
	if err != nil {
		return nil, 0, err
	}
	m, total := make(map[string]any, len(pairs)), 1
	for _, p := range pairs {
		v, size, err := d.sized(p.value)
		if err != nil {
			return nil, 0, err
		}
		m[p.text], total = v, total+size
	}
	if n.Tag == "!unsafe" {
		return makeUnsafe(m), total, nil
	}
	return m, total, nil
}

func (d *document) checkTag(n *yaml.Node, want string) error {
	if n.Tag == "" || n.Tag == want || n.Tag == "!unsafe" {
		return nil
	}
	return errorAt(d.pos(n), "the tag %s is not known in an inventory", n.Tag)
}

// scalar is the value of a scalar node.
func (d *document) scalar(n *yaml.Node) (any, error) {
	var v any
	var err error
	switch {
	case n.Style&yaml.TaggedStyle != 0:
		v, err = d.tagged(n)
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		v = n.Value
	default:
		v, err = values.PlainScalar(n.Value)
	}
	if err != nil {
		return nil, &Error{Pos: d.pos(n), Msg: err.Error()}
	}
	return v, nil
}

func (d *document) tagged(n *yaml.Node) (any, error) {
	tag, text := n.Tag, n.Value
	switch tag {
	case "!vault", "!vault-encrypted":
		return values.Vault{Text: text, Place: d.pos(n).String()}, nil
	case "!unsafe":
		return values.Unsafe(text), nil
	case "!!str", "!!python/unicode":
		return text, nil
	case "!!null":
		return nil, nil
	case "!!int":
		return values.ParseYAMLInt(text)
	case "!!float":
		return values.ParseYAMLFloat(text)
	case "!!timestamp":
		return values.ParseTimestamp(text)
	case "!!bool":
		if v, ok := values.PlainWord(strings.ToLower(text)).(bool); ok {
			return v, nil
		}
		return nil, fmt.Errorf("%q is no boolean", text)
	case "!!binary":
		raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
		return string(raw), err
	}
	return nil, fmt.Errorf("the tag %s is not known in an inventory", tag)
}

// makeUnsafe marks every string in the value.
func makeUnsafe(v any) any {
	switch v := v.(type) {
	case string:
		return values.Unsafe(v)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = makeUnsafe(item)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			out[key] = makeUnsafe(item)
		}
		return out
	}
	return v
}
