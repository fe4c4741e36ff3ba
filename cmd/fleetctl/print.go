package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/urfave/cli/v2"
	"gopkg.in/yaml.v3"

	"fleetctl/cmd/fleetctl/screen"
	"fleetctl/enroll/halt"
	"fleetctl/enroll/records"
	"fleetctl/remote"
)

// printer writes results to stdout in one of the formats of -o.
type printer struct {
	w      io.Writer
	format string
	halt   *halt.Halt // who interrupts a report lets it come to its end

	wide  bool         // a table of everything
	style screen.Style // of the tables
}

func (a *app) printer(c *cli.Context) (*printer, error) {
	p := &printer{w: a.stdout, format: c.String("output"), halt: a.halt, style: a.showing}
	switch p.format {
	case "wide":
		p.format, p.wide = "table", true
		return p, nil
	case "table", "json", "jsonl", "yaml", "csv":
		return p, nil
	}
	return nil, usage("-o %s: none of table, wide, json, jsonl, yaml, csv", p.format)
}

// write writes n rows. row returns the i-th one as a value for JSON lines and as cells; whole is the one document for
// JSON and YAML.
func (p *printer) write(header []string, n int, row func(i int) (any, []string), whole func() any) error {
	defer p.halt.Hold()()
	switch p.format {
	case "json":
		enc := json.NewEncoder(p.w)
		enc.SetIndent("", "  ")
		return enc.Encode(whole())
	case "yaml":
		return writeYAML(p.w, whole())
	}
	put, end := p.rowWriter(p.w, header)
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

// printAll writes what comes one by one, without keeping it: there may be 100,000 of them. Only a table is kept, in
// its cells, to align them.
func printAll[T any](p *printer, header []string, seq iter.Seq2[T, error], cells func(T) []string) error {
	w := bufio.NewWriterSize(p.w, 64<<10)
	row, end := p.rowWriter(w, header)
	for v, err := range seq {
		if err != nil {
			return err
		}
		if err := row(v, cells(v)); err != nil {
			return err
		}
	}
	if err := end(); err != nil {
		return err
	}
	return w.Flush()
}

// rowWriter returns what writes a row in the printer's format, and what ends the output.
func (p *printer) rowWriter(w io.Writer, header []string) (row func(v any, cells []string) error, end func() error) {
	switch p.format {
	case "jsonl":
		enc := json.NewEncoder(w)
		return func(v any, _ []string) error { return enc.Encode(v) }, func() error { return nil }
	case "json":
		return jsonRows(w)
	case "yaml":
		return yamlRows(w)
	case "csv":
		return csvRows(w, header)
	}
	return p.tableRows(w, header)
}

func jsonRows(w io.Writer) (row func(any, []string) error, end func() error) {
	before := "[\n  "
	row = func(v any, _ []string) error {
		data, err := json.MarshalIndent(v, "  ", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s%s", before, data)
		before = ",\n  "
		return err
	}
	return row, func() error {
		after := "\n]\n"
		if before == "[\n  " {
			after = "[]\n"
		}
		_, err := io.WriteString(w, after)
		return err
	}
}

func yamlRows(w io.Writer) (row func(any, []string) error, end func() error) {
	rows := 0
	row = func(v any, _ []string) error {
		rows++
		return writeYAML(w, []any{v})
	}
	return row, func() error {
		if rows > 0 {
			return nil
		}
		_, err := io.WriteString(w, "[]\n")
		return err
	}
}

func csvRows(w io.Writer, header []string) (row func(any, []string) error, end func() error) {
	out := csv.NewWriter(w)
	names := make([]string, len(header))
	for i, h := range header {
		names[i] = strings.ReplaceAll(strings.ToLower(h), " ", "_")
	}
	_ = out.Write(names) // errors are kept until Flush
	row = func(_ any, cells []string) error {
		cells = escaped(cells)
		for i, c := range cells {
			cells[i] = records.CSVCell(c)
		}
		return out.Write(cells)
	}
	return row, func() error {
		out.Flush()
		return out.Error()
	}
}

// escaped are cells in which nothing can pass for the end of one, or of the row: they may have a host's words.
func escaped(cells []string) []string {
	out := make([]string, len(cells))
	for i, c := range cells {
		out[i] = remote.Escape(c)
	}
	return out
}

// writeLine writes one line, whatever words are in it.
func writeLine(w io.Writer, format string, args ...any) error {
	_, err := fmt.Fprintln(w, remote.Escape(fmt.Sprintf(format, args...)))
	return err
}
