package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
)

func (a *app) removeCommand() *cli.Command {
	return &cli.Command{
		Name:      "remove",
		Usage:     "take hosts out: the rule, then the service and its state, then the record",
		ArgsUsage: "HOST…",
		Flags: slices.Concat(a.commonFlags(), a.hostFlags(), a.connectFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "offline", Usage: "the hosts are lost: only the rules and the records"},
			&cli.BoolFlag{Name: "check", Usage: "change nothing; say what would be done; exit 4"},
			&cli.BoolFlag{Name: "diff", Usage: "show what changes in files, with secrets masked"},
			&cli.StringFlag{Name: "out", Value: "out", Usage: "write the tokens' files to `DIR`"},
		}),
		Action: a.remove,
	}
}

func (a *app) remove(c *cli.Context) error {
	if !c.Args().Present() {
		return usage("which hosts? Name them, as the inventory does")
	}
	if c.IsSet("limit") {
		return usage("--limit does not narrow a removal: name the hosts that shall go, and no others")
	}
	v, err := a.changesViewOf(c, true)
	if err != nil {
		return err
	}
	// Arguments are hosts here, so the inventory is fleet.yaml's or -i.
	s, err := a.session(c, needs{config: true, records: existingRecords, cluster: always})
	if err != nil {
		return err
	}
	defer s.close()
	report, err := enroll.Remove(c.Context, s.Fleet, enroll.RemoveOptions{
		Names: c.Args().Slice(), Offline: c.Bool("offline"), Check: c.Bool("check"), Diff: c.Bool("diff"), Out: c.String("out"),
	})
	return show(v, report, err)
}
