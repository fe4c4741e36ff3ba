package main

import (
	"bufio"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"fleetctl/cmd/fleetctl/page"
	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/report"
)

func (a *app) reportCommand() *cli.Command {
	return &cli.Command{
		Name:  "report",
		Usage: "write the fleet as one HTML file, for somebody who signs, to standard output",
		Description: "The page needs no network and no other file: fleetctl report > fleet.html. It prints well, too.\n" +
			"-o html (default) or json, which has the same facts.",
		Flags:  slices.Concat(a.commonFlags(), a.inventoryFlags()),
		Action: a.report,
	}
}

func (a *app) report(c *cli.Context) error {
	write, err := reportWriter(c)
	if err != nil {
		return err
	}
	return a.withRecords(c, existingRecords, func(f enroll.Fleet) error {
		r, err := enroll.Report(c.Context, f)
		if err != nil {
			return err
		}
		r.Version = version
		for i, concern := range r.Concerns {
			r.Concerns[i].Do = cure(concern)
		}
		defer a.halt.Hold()()
		out := bufio.NewWriterSize(a.stdout, 64<<10)
		if err := write(out, r); err != nil {
			return err
		}
		return out.Flush()
	})
}

// reportWriter is what writes the format of -o.
func reportWriter(c *cli.Context) (func(io.Writer, report.Report) error, error) {
	format := "html"
	if c.IsSet("output") {
		format = c.String("output")
	}
	switch format {
	case "html":
		return page.Write, nil
	case "json":
		return reportJSON, nil
	}
	return nil, usage("report -o %s: none of html, json", format)
}

// cure is what to do about a concern; a host that is alone with it is named.
func cure(c report.Concern) string {
	host := "HOST"
	if c.Hosts == 1 {
		host = c.Examples[0]
	}
	do := advise(host, outcome.Reason{Code: c.Code, Hint: c.Do}).Hint
	return strings.ReplaceAll(do, "HOST", host)
}

// reportJSON writes a report as one document. What may be long comes last, and one by one.
func reportJSON(w io.Writer, r report.Report) error {
	if err := jsonHead(w, reportSchema, r); err != nil {
		return err
	}
	if err := jsonList(w, "log", r.Log); err != nil {
		return err
	}
	if err := jsonList(w, "hosts", r.Hosts); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n}\n")
	return err
}

// jsonList writes a list that is a member of an object.
func jsonList[T any](w io.Writer, name string, values iter.Seq2[T, error]) error {
	list, err := jsonMember(w, name)
	if err != nil {
		return err
	}
	for v, err := range values {
		if err != nil {
			return err
		}
		if err := list.row(v, nil); err != nil {
			return err
		}
	}
	return list.end()
}
