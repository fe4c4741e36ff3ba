package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
	"gopkg.in/yaml.v3"

	"fleetctl/enroll/outcome"
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

// results writes the results of a run over hosts: one document with the recap as JSON or YAML, a row a host else.
func (p *printer) results(results []outcome.Result, s outcome.Summary) error {
	if results == nil {
		results = []outcome.Result{}
	}
	header := []string{"HOST", "OUTCOME", "STATUS", "EK PUBLIC HASH", "EKCERT SERIAL", "PROVEN", "MESSAGE"}
	return p.write(header, len(results), func(i int) (any, []string) {
		r := results[i]
		return r, []string{r.Host, string(r.Outcome), string(r.Code), r.EKHash, r.Serial, strconv.FormatBool(r.Proven), note(r)}
	}, func() any {
		return struct {
			Recap outcome.Summary  `json:"recap"`
			Hosts []outcome.Result `json:"hosts"`
		}{s, results}
	})
}

// note is the message of a result, or else what was warned of.
func note(r outcome.Result) string {
	if r.Message != "" {
		return r.Message
	}
	var all []string
	for _, w := range r.Warnings {
		all = append(all, w.Message)
	}
	return strings.Join(all, "; ")
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
	case "jsonl":
		enc := json.NewEncoder(p.w)
		for i := range n {
			v, _ := row(i)
			if err := enc.Encode(v); err != nil {
				return err
			}
		}
		return nil
	case "csv":
		return writeCSV(p.w, header, n, row)
	}
	return writeTable(p.w, header, n, row)
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

func writeCSV(w io.Writer, header []string, n int, row func(int) (any, []string)) error {
	out := csv.NewWriter(w)
	names := make([]string, len(header))
	for i, h := range header {
		names[i] = strings.ReplaceAll(strings.ToLower(h), " ", "_")
	}
	_ = out.Write(names)
	for i := range n {
		_, cells := row(i)
		_ = out.Write(cells)
	}
	out.Flush()
	return out.Error()
}

func writeTable(w io.Writer, header []string, n int, row func(int) (any, []string)) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, strings.Join(header, "\t"))
	for i := range n {
		_, cells := row(i)
		fmt.Fprintln(out, strings.Join(cells, "\t"))
	}
	return out.Flush()
}
