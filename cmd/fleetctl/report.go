package main

import (
	"bufio"
	"cmp"
	_ "embed"
	"html/template"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/records"
	"fleetctl/remote"
)

//go:embed report.html
var reportHTML string

func (a *app) reportCommand() *cli.Command {
	return &cli.Command{
		Name:        "report",
		Usage:       "write the fleet as one HTML file to standard output",
		Description: "The page needs no network and no script: fleetctl report > fleet.html",
		Flags:       slices.Concat(a.commonFlags(), a.inventoryFlags()),
		Action:      a.report,
	}
}

// fleetReport is what report.html shows.
type fleetReport struct {
	Version string
	States  []stateCount
	Hosts   []records.View
	Rules   string // those that somebody should look at; "" for none
}

// stateCount is how many hosts are in a state.
type stateCount struct {
	State outcome.Code
	Hosts int
}

func (a *app) report(c *cli.Context) error {
	page, err := template.New("report").Funcs(template.FuncMap{"join": strings.Join, "one": remote.Escape}).Parse(reportHTML)
	if err != nil {
		return err
	}
	r := fleetReport{Version: version}
	counts := map[outcome.Code]int{}
	err = a.withRecords(c, existingRecords, func(f enroll.Fleet) error {
		for view, err := range records.List(c.Context, f.Store, f.Inventory) {
			if err != nil {
				return err
			}
			counts[view.State]++
			r.Hosts = append(r.Hosts, view)
		}
		rules, err := enroll.OpenRules(c.Context, f)
		r.Rules = openRulesText(rules)
		return err
	})
	if err != nil {
		return err
	}
	for state, n := range counts {
		r.States = append(r.States, stateCount{state, n})
	}
	slices.SortFunc(r.States, func(x, y stateCount) int { return cmp.Compare(x.State, y.State) })
	out := bufio.NewWriter(a.stdout)
	if err := page.Execute(out, r); err != nil {
		return err
	}
	return out.Flush()
}
