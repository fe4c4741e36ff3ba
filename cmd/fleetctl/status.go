package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
)

func (a *app) statusCommand() *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "say how every host is: healthy, drifted, never joined; exit 3 when one is not well, 4 for drift",
		ArgsUsage: "[INVENTORY]",
		Flags: slices.Concat(a.commonFlags(), a.fleetFlags(), a.hostFlags(), a.connectFlags(), metricsFlags(), []cli.Flag{
			&cli.StringFlag{Name: "templates", Usage: "take templates from `DIR` in place of the built-in ones"},
			&cli.BoolFlag{Name: "no-cluster", Usage: "don't ask the cluster with tctl"},
		}),
		Action: a.status,
	}
}

func (a *app) status(c *cli.Context) error {
	p, err := a.printer(c)
	if err != nil {
		return err
	}
	n := needs{config: true, hosts: true, records: existingRecords, cluster: ifThere}
	if c.Bool("no-cluster") {
		n.cluster = never
	}
	s, err := a.session(c, n)
	if err != nil {
		return err
	}
	defer s.close()
	report, err := enroll.Status(c.Context, s.Fleet, p.linedStates())
	return show(statusView{a, p}, report, s.measured(c, report.Counts, err))
}
