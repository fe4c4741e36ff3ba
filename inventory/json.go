package inventory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// maxDepth bounds the nesting of JSON.
const maxDepth = 10_000

func looksLikeJSON(data []byte) bool {
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	return len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[' || trimmed[0] == '"')
}

// jsonReader builds the same nodes from JSON as the YAML parser does from YAML, with their places.
type jsonReader struct {
	dec    *json.Decoder
	file   string
	data   []byte
	offset int // up to where line and column are known
	line   int
	column int
}

// parseJSON reads one JSON document. {"__ansible_vault": …} and {"__ansible_unsafe": …} become what they were before
// Ansible wrote them.
func parseJSON(file string, data []byte) (*document, error) {
	r := &jsonReader{dec: json.NewDecoder(bytes.NewReader(data)), file: file, data: data, line: 1, column: 1}
	r.dec.UseNumber()
	root, err := r.value(0)
	if err == nil {
		if _, more := r.dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is something behind the end of the document")
		}
	}
	if err != nil {
		return nil, r.failure(err)
	}
	return &document{file: file, root: root, keys: map[string]string{}, anchors: map[*yaml.Node]anchored{}}, nil
}

func (r *jsonReader) failure(err error) error {
	var fault *Error
	if errors.As(err, &fault) {
		return err
	}
	off := int(r.dec.InputOffset())
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		off = max(int(syntax.Offset)-1, 0) // of the offending character, or one before it
		for off+1 < len(r.data) && strings.IndexByte(" \t\r\n", r.data[off]) >= 0 {
			off++
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		off, err = len(r.data), errors.New("the document ends too early")
	}
	return &Error{Pos: posOf(r.file, r.data, off), Msg: "JSON: " + err.Error()}
}

// mark moves on to the beginning of the next token.
func (r *jsonReader) mark() (line, column int) {
	next := int(r.dec.InputOffset())
	for next < len(r.data) && strings.IndexByte(" \t\r\n,:", r.data[next]) >= 0 {
		next++
	}
	passed := r.data[r.offset:next]
	if i := bytes.LastIndexByte(passed, '\n'); i >= 0 {
		r.line += bytes.Count(passed, []byte{'\n'})
		r.column = 1
		passed = passed[i+1:]
	}
	r.column += utf8.RuneCount(passed)
	r.offset = next
	return r.line, r.column
}

func (r *jsonReader) value(depth int) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, errors.New("nested too deeply")
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Style: yaml.TaggedStyle}
	n.Line, n.Column = r.mark()
	token, err := r.dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		n.Style = yaml.FlowStyle
		if t == '{' {
			return r.object(n, depth)
		}
		return r.array(n, depth)
	case string:
		n.Tag, n.Value = "!!str", t
	case json.Number:
		n.Tag, n.Value = "!!int", t.String()
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
	case bool:
		n.Tag, n.Value = "!!bool", fmt.Sprint(t)
	case nil:
		n.Tag = "!!null"
	}
	return n, nil
}

func (r *jsonReader) object(n *yaml.Node, depth int) (*yaml.Node, error) {
	n.Kind, n.Tag = yaml.MappingNode, "!!map"
	for r.dec.More() {
		key, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		value, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, key, value)
	}
	if _, err := r.dec.Token(); err != nil {
		return nil, err
	}
	return revive(n), nil
}

func (r *jsonReader) array(n *yaml.Node, depth int) (*yaml.Node, error) {
	n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
	for r.dec.More() {
		item, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, item)
	}
	_, err := r.dec.Token()
	return n, err
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
