package main

import (
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
)

func (a *app) enrollCommand() *cli.Command {
	return &cli.Command{
		Name:      "enroll",
		Usage:     "all of it: scan, bot and tokens, then tbot on every host, verified",
		ArgsUsage: "[INVENTORY]",
		Flags: slices.Concat(a.commonFlags(), a.fleetFlags(), a.hostFlags(), a.connectFlags(), scanFlags(), policyFlags(),
			metricsFlags(), []cli.Flag{
				&cli.BoolFlag{Name: "check", Usage: "change nothing; print the plans; exit 4 when there is something to do"},
				&cli.BoolFlag{Name: "diff", Usage: "show what changes in files, with secrets masked"},
				&cli.StringFlag{Name: "out", Value: "out", Usage: "write the bot's and the tokens' files to `DIR`"},
				&cli.BoolFlag{Name: "prune", Usage: "take rules that somebody else wrote out of the tokens"},
				&cli.BoolFlag{Name: "tokens-only", Usage: "stop after the bot and the tokens"},
				&cli.BoolFlag{Name: "install-only", Usage: "no scan and no tokens: only the hosts"},
				&cli.BoolFlag{Name: "adopt", Usage: "replace a configuration or a unit that somebody else wrote"},
				&cli.BoolFlag{Name: "strict", Usage: "refuse what tbot would ignore in its services: mistyped keys and types"},
				&cli.BoolFlag{Name: "no-rollback", Usage: "leave changed files as they are when a host fails"},
				&cli.BoolFlag{Name: "resume", Usage: "go on with the last enroll: only hosts that it did not finish"},
				&cli.StringFlag{Name: "templates", Usage: "take templates from `DIR` in place of the built-in ones"},
				&cli.DurationFlag{Name: "join-timeout", Value: 90 * time.Second, Usage: "how long a tbot may take to join"},
			}),
		Before: a.resumes,
		Action: a.enroll,
	}
}

// policyFlags are those by which a person says that something large is meant.
func policyFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "accept-policy", Usage: "go on although fleet.yaml's tokens, bot, cluster or CAs have changed"},
		&cli.IntFlag{Name: "allow-removals", Usage: "let `N` machines lose their last rule; N has to be just their number"},
	}
}

func (a *app) enroll(c *cli.Context) error {
	if c.Bool("tokens-only") && c.Bool("install-only") {
		return usage("--tokens-only and --install-only exclude each other")
	}
	v, err := a.changesViewOf(c, c.Bool("check") || c.Bool("diff") || c.Bool("verbose"))
	if err != nil {
		return err
	}
	opts, err := a.enrollOptions(c)
	if err != nil {
		return err
	}
	n := needs{config: true, hosts: true, records: makeRecords, cluster: always}
	switch {
	case opts.InstallOnly:
		n.cluster, n.records = never, existingRecords
	case opts.Check:
		n.cluster = ifThere
	}
	s, err := a.session(c, n)
	if err != nil {
		return err
	}
	defer s.close()
	s.Watcher = v.printer.lined(s.Watcher)
	report, err := enroll.Enroll(c.Context, s.Fleet, opts)
	v.cluster = report.Cluster
	return show(v, report.HostsReport, s.measured(c, nil, err))
}

func (a *app) enrollOptions(c *cli.Context) (o enroll.EnrollOptions, err error) {
	o = enroll.EnrollOptions{
		Out: c.String("out"), Check: c.Bool("check"), Diff: c.Bool("diff"), Prune: c.Bool("prune"),
		TokensOnly: c.Bool("tokens-only"), InstallOnly: c.Bool("install-only"), Adopt: c.Bool("adopt"),
		Strict: c.Bool("strict"), NoRollback: c.Bool("no-rollback"), Resume: c.Bool("resume"), JoinTimeout: c.Duration("join-timeout"),
		AcceptPolicy: c.Bool("accept-policy"), AllowRemovals: c.Int("allow-removals"),
	}
	o.Ask, err = a.ask(c)
	return o, err
}

// changesViewOf makes the view of enroll and of remove.
func (a *app) changesViewOf(c *cli.Context, steps bool) (changesView, error) {
	p, err := a.printer(c)
	return changesView{app: a, printer: p, steps: steps, check: c.Bool("check")}, err
}
