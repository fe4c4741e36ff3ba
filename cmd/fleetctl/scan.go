package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
	"fleetctl/enroll/scan"
)

func (a *app) scanCommand() *cli.Command {
	return &cli.Command{
		Name:      "scan",
		Usage:     "ask every host's TPM who it is, and record it",
		ArgsUsage: "[INVENTORY]",
		Flags: slices.Concat(a.commonFlags(), a.hostFlags(), a.connectFlags(), scanFlags(), metricsFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "resume", Usage: "go on with the last scan: only hosts that it did not finish"},
			&cli.BoolFlag{Name: "retry-failed", Usage: "only hosts that failed in the last scan"},
			&cli.StringFlag{Name: "out", Value: "out", Usage: "machines that were taken out stand in `DIR`/removed.yaml, too"},
		}),
		Before: a.resumes,
		Action: a.scan,
	}
}

func scanFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "proof", Value: true, Usage: "prove by credential activation that the TPM holds its EK"},
		&cli.StringFlag{Name: "identify-with", Value: scan.ViaHelper, Usage: "helper, shell or tbot"},
		&cli.BoolFlag{Name: "compare-with-tbot", Usage: "ask the tbot on the hosts, too, and name those that differ"},
		&cli.BoolFlag{Name: "keep-helper", Usage: "leave the helper on the hosts for the next scan"},
	}
}

// ask reads scanFlags.
func (a *app) ask(c *cli.Context) (scan.Ask, error) {
	switch via := c.String("identify-with"); via {
	case scan.ViaHelper, scan.ViaShell, scan.ViaTbot:
	default:
		return scan.Ask{}, usage("--identify-with %s: none of helper, shell, tbot", via)
	}
	return scan.Ask{
		Helpers: a.helpers, Via: c.String("identify-with"), Compare: c.Bool("compare-with-tbot"),
		KeepHelper: c.Bool("keep-helper"), Proof: c.Bool("proof"),
	}, nil
}

func (a *app) scan(c *cli.Context) error {
	if c.Bool("resume") && c.Bool("retry-failed") {
		return usage("--resume and --retry-failed exclude each other")
	}
	v, err := a.viewOf(c)
	if err != nil {
		return err
	}
	opts := enroll.ScanOptions{Resume: c.Bool("resume"), RetryFailed: c.Bool("retry-failed"), Out: c.String("out")}
	if opts.Ask, err = a.ask(c); err != nil {
		return err
	}
	s, err := a.session(c, needs{hosts: true, records: makeRecords, cluster: byTheWay})
	if err != nil {
		return err
	}
	defer s.close()
	s.Watcher = v.printer.lined(s.Watcher)
	report, err := enroll.Scan(c.Context, s.Fleet, opts)
	return show(v, report, s.measured(c, nil, err))
}
