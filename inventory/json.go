package inventory

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// maxDepth bounds the nesting of JSON.
const maxDepth = 10_000

// rawNode is the kind of a node that holds JSON text which nobody has parsed yet: the variables of one host in a
// listing. Parsed all at once, those of 100,000 hosts would be most of the memory.
const rawNode yaml.Kind = 1 << 7

func looksLikeJSON(data []byte) bool {
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	return len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[' || trimmed[0] == '"')
}

// jsonParser parses JSON (RFC 8259) into the nodes that the YAML parser makes, with their places. encoding/json would
// need three times as long, and has no places.
type jsonParser struct {
	file string
	text string
	i    int

	known, line, column int // the place of byte number known
	slab                []yaml.Node
}

// parseJSON reads one JSON document. {"__ansible_vault": …} and {"__ansible_unsafe": …} become what they were before
// Ansible wrote them. With lazy, the variables of hosts in _meta become raw nodes.
func parseJSON(file string, data []byte, lazy bool) (*document, error) {
	p := &jsonParser{file: file, text: string(data), line: 1, column: 1}
	place := placeInside
	if lazy {
		place = placeTop
	}
	root, err := p.document(place)
	if err != nil {
		return nil, err
	}
	return &document{file: file, root: root, keys: map[string]string{}, anchors: map[*yaml.Node]anchored{}}, nil
}

// expand parses a raw node; other nodes are returned as they are.
func (d *document) expand(n *yaml.Node) (*yaml.Node, error) {
	if n.Kind != rawNode {
		return n, nil
	}
	p := &jsonParser{file: d.file, text: n.Value, line: n.Line, column: n.Column, slab: d.slab}
	root, err := p.document(placeInside)
	d.slab = p.slab
	return root, err
}

// jsonPlace says where in a listing a value stands, down to the values that stay raw.
type jsonPlace int

const (
	placeInside   jsonPlace = iota // anywhere else
	placeTop                       // the document
	placeMeta                      // the value of _meta
	placeHostvars                  // the value of hostvars
	placeHost                      // the variables of a host
)

// of is the place of the value behind a key.
func (place jsonPlace) of(key string) jsonPlace {
	switch {
	case place == placeTop && key == "_meta":
		return placeMeta
	case place == placeMeta && key == "hostvars":
		return placeHostvars
	case place == placeHostvars:
		return placeHost
	}
	return placeInside
}

func (p *jsonParser) document(place jsonPlace) (*yaml.Node, error) {
	root, err := p.value(place, 0)
	if err != nil {
		return nil, err
	}
	if p.skip(); p.i < len(p.text) {
		return nil, p.fail("there is something behind the end of the document")
	}
	return root, nil
}

// fail is an error at the current byte.
func (p *jsonParser) fail(format string, args ...any) error {
	pos := Pos{File: p.file}
	pos.Line, pos.Column = p.mark()
	if p.i >= len(p.text) {
		return errorAt(pos, "JSON: the document ends too early")
	}
	return errorAt(pos, "JSON: "+format, args...)
}

// unexpected is the error for a character that cannot stand where it stands.
func (p *jsonParser) unexpected(want string) error {
	r, _ := utf8.DecodeRuneInString(p.text[min(p.i, len(p.text)):])
	return p.fail("unexpected %q, expected %s", r, want)
}

// mark is line and column of the current byte; columns count characters.
func (p *jsonParser) mark() (line, column int) {
	passed := p.text[p.known:p.i]
	if i := strings.LastIndexByte(passed, '\n'); i >= 0 {
		p.line += strings.Count(passed, "\n")
		p.column = 1
		passed = passed[i+1:]
	}
	p.column += utf8.RuneCountInString(passed)
	p.known = p.i
	return p.line, p.column
}

func (p *jsonParser) skip() {
	for p.i < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.i]) >= 0 {
		p.i++
	}
}

// take skips blanks and then the character, if it is there.
func (p *jsonParser) take(c byte) bool {
	p.skip()
	if p.i < len(p.text) && p.text[p.i] == c {
		p.i++
		return true
	}
	return false
}

// node is a new node at the current byte.
func (p *jsonParser) node(kind yaml.Kind, style yaml.Style, tag string) *yaml.Node {
	if len(p.slab) == 0 {
		p.slab = make([]yaml.Node, 64) // one allocation for many nodes
	}
	n := &p.slab[0]
	p.slab = p.slab[1:]
	n.Kind, n.Style, n.Tag = kind, style, tag
	n.Line, n.Column = p.mark()
	return n
}

func (p *jsonParser) value(place jsonPlace, depth int) (*yaml.Node, error) {
	p.skip()
	if p.i >= len(p.text) || depth > maxDepth {
		return nil, p.fail("it is nested too deeply")
	}
	switch c := p.text[p.i]; {
	case c == '{' && place == placeHost:
		return p.raw()
	case c == '{':
		return p.object(place, depth)
	case c == '[':
		return p.array(depth)
	case c == '"':
		return p.string()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	return p.word()
}

// raw takes an object as text. What is wrong inside of it comes to light when it is expanded.
func (p *jsonParser) raw() (*yaml.Node, error) {
	n := p.node(rawNode, 0, "")
	start, depth := p.i, 0
	for ; p.i < len(p.text); p.i++ {
		switch p.text[p.i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				p.i++
				n.Value = p.text[start:p.i]
				return n, nil
			}
		case '"':
			for p.i++; p.i < len(p.text) && p.text[p.i] != '"'; p.i++ {
				if p.text[p.i] == '\\' {
					p.i++
				}
			}
		}
	}
	p.i = len(p.text)
	return nil, p.fail("")
}

func (p *jsonParser) object(place jsonPlace, depth int) (*yaml.Node, error) {
	n := p.node(yaml.MappingNode, yaml.FlowStyle, "!!map")
	p.i++
	if p.take('}') {
		return n, nil
	}
	for {
		if p.skip(); p.i >= len(p.text) || p.text[p.i] != '"' {
			return nil, p.unexpected("a key in double quotes")
		}
		key, err := p.string()
		if err != nil {
			return nil, err
		}
		if !p.take(':') {
			return nil, p.unexpected("a colon behind the key")
		}
		value, err := p.value(place.of(key.Value), depth+1)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, key, value)
		if p.take('}') {
			return revive(n), nil
		}
		if !p.take(',') {
			return nil, p.unexpected("a comma or }")
		}
	}
}

func (p *jsonParser) array(depth int) (*yaml.Node, error) {
	n := p.node(yaml.SequenceNode, yaml.FlowStyle, "!!seq")
	p.i++
	if p.take(']') {
		return n, nil
	}
	for {
		item, err := p.value(placeInside, depth+1)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, item)
		if p.take(']') {
			return n, nil
		}
		if !p.take(',') {
			return nil, p.unexpected("a comma or ]")
		}
	}
}

// revive turns an object that stands for a vault or unsafe value into that value.
func revive(n *yaml.Node) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		var tag string
		switch n.Content[i].Value {
		case "__ansible_vault":
			tag = "!vault"
		case "__ansible_unsafe":
			tag = "!unsafe"
		default:
			continue
		}
		value := n.Content[i+1]
		if value.Kind != yaml.ScalarNode {
			continue
		}
		return &yaml.Node{
			Kind: yaml.ScalarNode, Style: yaml.TaggedStyle, Tag: tag,
			Value: value.Value, Line: n.Line, Column: n.Column,
		}
	}
	return n
}
