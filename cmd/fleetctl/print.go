package main

import (
	"bufio"
	"bytes"
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

	lines *lines // what hosts have had a line for already
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

// tabular says whether rows are cells: for people, or for a spreadsheet.
func (p *printer) tabular() bool { return p.format == "table" || p.format == "csv" }

// write writes a document of rows that are all at hand: see stream.
func write[H, R any](p *printer, s shape[H, R], head H, header []string, rows []R, cells func(R) []string) error {
	defer p.halt.Hold()()
	return stream(p, s, head, header, func(yield func(R, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}, cells)
}

// stream writes a document, its rows one by one, without keeping them: there may be 100,000. As JSON and YAML it is one
// object with the head's members and a list of the rows; as JSON lines a line a row, and one for the head where there is one;
// tables and CSV have the rows' cells. Only a table is kept, in its cells, to align them.
func stream[H, R any](
	p *printer, s shape[H, R], head H, header []string, rows iter.Seq2[R, error], cells func(R) []string,
) error {
	out := bufio.NewWriterSize(p.w, 64<<10)
	w, err := p.rowWriter(out, s.schema(), head, header)
	if err != nil {
		return err
	}
	for r, err := range rows {
		if err != nil {
			return err
		}
		var row []string
		if p.tabular() {
			row = cells(r)
		}
		if err := w.row(r, row); err != nil {
			return err
		}
	}
	if err := w.end(); err != nil {
		return err
	}
	return out.Flush()
}

// table writes n rows of cells as a table or as CSV, where a document has other rows than these.
func (p *printer) table(header []string, n int, cells func(i int) []string) error {
	defer p.halt.Hold()()
	w := p.cellWriter(p.w, header)
	for i := range n {
		if err := w.row(nil, cells(i)); err != nil {
			return err
		}
	}
	return w.end()
}

// rowWriter writes rows in one format.
type rowWriter struct {
	row func(v any, cells []string) error
	end func() error
}

// rowWriter begins a document. Its head is written at once, or as the last of JSON lines.
func (p *printer) rowWriter(w io.Writer, s schema, head any, header []string) (rowWriter, error) {
	switch p.format {
	case "jsonl":
		return jsonLines(w, s, head), nil
	case "json":
		return jsonDocument(w, s, head)
	case "yaml":
		return yamlDocument(w, s, head)
	}
	return p.cellWriter(w, header), nil
}

func (p *printer) cellWriter(w io.Writer, header []string) rowWriter {
	if p.format == "csv" {
		return csvRows(w, header)
	}
	return p.tableRows(w, header)
}

// writeJSONLine writes a value with its schema as one line.
func writeJSONLine(w io.Writer, schema string, v any) error {
	raw, err := withSchema(schema, v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(raw, '\n'))
	return err
}

func jsonLines(w io.Writer, s schema, head any) rowWriter {
	return rowWriter{
		row: func(v any, _ []string) error { return writeJSONLine(w, s.line, v) },
		end: func() error {
			if s.end == "" {
				return nil
			}
			return writeJSONLine(w, s.end, head)
		},
	}
}

func jsonDocument(w io.Writer, s schema, head any) (rowWriter, error) {
	if err := jsonHead(w, s.document, head); err != nil {
		return rowWriter{}, err
	}
	var list rowWriter
	if s.list != "" {
		var err error
		if list, err = jsonMember(w, s.list); err != nil {
			return rowWriter{}, err
		}
	}
	return rowWriter{row: list.row, end: func() error {
		if list.end != nil {
			if err := list.end(); err != nil {
				return err
			}
		}
		_, err := io.WriteString(w, "\n}\n")
		return err
	}}, nil
}

// jsonHead begins an object that lacks its end: more members may follow.
func jsonHead(w io.Writer, schema string, head any) error {
	raw, err := withSchema(schema, head)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := json.Indent(&text, raw, "", "  "); err != nil {
		return err
	}
	text.Truncate(text.Len() - len("\n}"))
	_, err = text.WriteTo(w)
	return err
}

// jsonMember begins one more member of an object that is not at its end: a list.
func jsonMember(w io.Writer, name string) (rowWriter, error) {
	_, err := fmt.Fprintf(w, ",\n  %q: [", name)
	before, after := "\n    ", "]"
	return rowWriter{
		row: func(v any, _ []string) error {
			data, err := json.MarshalIndent(v, "    ", "  ")
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(w, "%s%s", before, data)
			before, after = ",\n    ", "\n  ]"
			return err
		},
		end: func() error {
			_, err := io.WriteString(w, after)
			return err
		},
	}, err
}

func yamlDocument(w io.Writer, s schema, head any) (rowWriter, error) {
	raw, err := withSchema(s.document, head)
	if err == nil {
		err = writeYAML(w, raw)
	}
	if err != nil || s.list == "" {
		return rowWriter{end: func() error { return nil }}, err
	}
	rows := 0
	return rowWriter{
		row: func(v any, _ []string) error {
			if rows++; rows == 1 {
				if _, err := fmt.Fprintf(w, "%s:\n", s.list); err != nil {
					return err
				}
			}
			raw, err := json.Marshal([]any{v})
			if err != nil {
				return err
			}
			return writeYAML(w, raw)
		},
		end: func() error {
			if rows > 0 {
				return nil
			}
			_, err := fmt.Fprintf(w, "%s: []\n", s.list)
			return err
		},
	}, nil
}

// writeYAML writes JSON as YAML.
func writeYAML(w io.Writer, raw []byte) error {
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

func csvRows(w io.Writer, header []string) rowWriter {
	out := csv.NewWriter(w)
	names := make([]string, len(header))
	for i, h := range header {
		names[i] = strings.ReplaceAll(strings.ToLower(h), " ", "_")
	}
	_ = out.Write(names) // errors are kept until Flush
	return rowWriter{
		row: func(_ any, cells []string) error {
			cells = escaped(cells)
			for i, c := range cells {
				cells[i] = records.CSVCell(c)
			}
			return out.Write(cells)
		},
		end: func() error {
			out.Flush()
			return out.Error()
		},
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
