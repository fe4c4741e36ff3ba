package main

import (
	"encoding/json"
	"io"

	"github.com/urfave/cli/v2"
	"gopkg.in/yaml.v3"
)

// printer writes results to stdout in one of the formats of -o.
type printer struct {
	w      io.Writer
	format string
}

func (a *app) printer(c *cli.Context) (*printer, error) {
	p := &printer{w: a.stdout, format: c.String("output")}
	switch p.format {
	case "table", "json", "jsonl", "yaml", "csv":
		return p, nil
	}
	return nil, usage("-o %s: none of table, json, jsonl, yaml, csv", p.format)
}

// write writes n rows. row returns the i-th one as a value for JSON lines and as cells; whole is the one document for
// JSON and YAML.
func (p *printer) write(header []string, n int, row func(i int) (any, []string), whole func() any) error {
	switch p.format {
	case "json":
		enc := json.NewEncoder(p.w)
		enc.SetIndent("", "  ")
		return enc.Encode(whole())
	case "yaml":
		return writeYAML(p.w, whole())
	}
	put, end := rowWriter(p.format, p.w, header)
	for i := range n {
		v, cells := row(i)
		if err := put(v, cells); err != nil {
			return err
		}
	}
	return end()
}

// writeYAML writes a value with the keys that its JSON has.
func writeYAML(w io.Writer, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(raw, &node); err != nil { // JSON is YAML; a node keeps the order of keys
		return err
	}
	blockStyle(&node)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return err
	}
	return enc.Close()
}

// blockStyle makes YAML out of JSON's nodes: lists and mappings over several lines, keys without quotes.
func blockStyle(n *yaml.Node) {
	n.Style &^= yaml.FlowStyle
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			c.Style = 0
		}
		blockStyle(c)
	}
}
