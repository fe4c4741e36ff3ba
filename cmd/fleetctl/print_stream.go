package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"
	"text/tabwriter"
)

// printAll writes what comes one by one, without keeping it: there may be 100,000 of them. Only a table is kept, in
// its cells, to align them.
func printAll[T any](p *printer, header []string, seq iter.Seq2[T, error], cells func(T) []string) error {
	w := bufio.NewWriterSize(p.w, 64<<10)
	row, end := rowWriter(p.format, w, header)
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

// rowWriter returns what writes a row in a format, and what ends the output.
func rowWriter(format string, w io.Writer, header []string) (row func(v any, cells []string) error, end func() error) {
	switch format {
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
	return tableRows(w, header)
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
	row = func(_ any, cells []string) error { return out.Write(cells) }
	return row, func() error {
		out.Flush()
		return out.Error()
	}
}

func tableRows(w io.Writer, header []string) (row func(any, []string) error, end func() error) {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, strings.Join(header, "\t"))
	row = func(_ any, cells []string) error {
		_, err := fmt.Fprintln(out, strings.Join(cells, "\t"))
		return err
	}
	return row, out.Flush
}
