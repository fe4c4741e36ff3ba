package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
	"fleetctl/enroll/token"
)

func (a *app) tokensCommand() *cli.Command {
	return &cli.Command{
		Name:      "tokens",
		Usage:     "write bot and tokens from the records; compare them with the cluster; apply them",
		ArgsUsage: "[PLAN]",
		Flags: slices.Concat(a.commonFlags(), a.fleetFlags(), a.inventoryFlags(), policyFlags(), []cli.Flag{
			&cli.StringFlag{Name: "out", Value: "out", Usage: "write files into this `DIR`"},
			&cli.StringFlag{Name: "format", Value: token.FormatTctl, Usage: "of the files: tctl, terraform or kubernetes"},
			&cli.BoolFlag{Name: "diff", Usage: "show how the cluster differs, by host name; no file is written"},
			&cli.BoolFlag{Name: "apply", Usage: "apply with tctl what differs; with a PLAN just that, or nothing"},
			&cli.StringFlag{Name: "plan", Usage: "change nothing; write what would be applied to `FILE`, for --apply FILE"},
			&cli.BoolFlag{Name: "check", Usage: "write nothing; exit 4 when files (with --diff: the cluster) differ"},
			&cli.BoolFlag{Name: "adopt", Usage: "take over rules in the cluster that fleetctl did not write"},
			&cli.BoolFlag{Name: "prune", Usage: "remove rules in the cluster that fleetctl did not write"},
			&cli.BoolFlag{Name: "overwrite-roles", Usage: "give a bot that exists the roles of fleet.yaml"},
			&cli.BoolFlag{Name: "rebalance", Usage: "spread hosts over tokens anew; many then need a new tbot configuration"},
			&cli.Int64Flag{Name: "applied", Usage: "say that the files of this `EPOCH` were applied by somebody else"},
			&cli.StringSliceFlag{Name: "contract", Usage: "say that `HOST` is configured with its planned token alone: its other rules go"},
		}),
		Action: a.tokens,
	}
}

// inventoryFlags is for commands that want the inventory as a whole, and can do without.
func (a *app) inventoryFlags() []cli.Flag {
	return []cli.Flag{a.hostFlags()[0]}
}

func (a *app) tokens(c *cli.Context) error {
	p, err := a.printer(c)
	if err != nil {
		return err
	}
	opts, err := tokensOptions(c)
	if err != nil {
		return err
	}
	if opts.Proposal, err = proposalOf(c); err != nil {
		return err
	}
	n := needs{config: true, records: existingRecords}
	if opts.Diff || opts.Apply || opts.Adopt {
		n.cluster = always
	}
	s, err := a.session(c, n)
	if err != nil {
		return err
	}
	defer s.close()
	report, err := enroll.Tokens(c.Context, s.Fleet, opts)
	if plan := c.String("plan"); plan != "" && report.Diff != nil {
		if err := writePlan(plan, report.Set.Propose(*report.Diff)); err != nil {
			return err
		}
		a.say("%s is the plan: fleetctl tokens --apply %s does just that", plan, plan)
	}
	return show(tokensView{p}, report, err)
}

func tokensOptions(c *cli.Context) (enroll.TokensOptions, error) {
	o := enroll.TokensOptions{
		Out: c.String("out"), Format: c.String("format"), Diff: c.Bool("diff"), Apply: c.Bool("apply"), Check: c.Bool("check"),
		Adopt: c.Bool("adopt"), Prune: c.Bool("prune"), Roles: c.Bool("overwrite-roles"), Rebalance: c.Bool("rebalance"),
		AcceptPolicy: c.Bool("accept-policy"), AllowRemovals: c.Int("allow-removals"), Applied: c.Int64("applied"),
		Contract: c.StringSlice("contract"),
	}
	if c.IsSet("plan") {
		o.Check, o.Diff = true, true
	}
	switch {
	case c.NArg() > 1 || c.Args().Present() && !o.Apply:
		return o, usage("tokens takes no arguments but a plan for --apply; name the inventory with -i")
	case c.IsSet("plan") && o.Apply:
		return o, usage("--plan and --apply exclude each other: make a plan first, look at it, then apply it")
	case o.Adopt && o.Prune:
		return o, usage("--adopt and --prune exclude each other")
	case o.Check && o.Apply:
		return o, usage("--check and --apply exclude each other")
	case o.Check && o.Applied > 0:
		return o, usage("--check and --applied exclude each other: what was applied is noted in the records")
	case o.Check && o.Adopt:
		return o, usage("--check and --adopt exclude each other: adopting changes the records")
	case o.Prune && !o.Diff && !o.Apply:
		return o, usage("--prune needs --diff or --apply")
	}
	switch o.Format {
	case token.FormatTctl, token.FormatTerraform, token.FormatKubernetes:
		return o, nil
	}
	return o, usage("--format %s: none of tctl, terraform, kubernetes", o.Format)
}

// proposalOf reads the plan that is to be applied; nil where none is named.
func proposalOf(c *cli.Context) (*token.Proposal, error) {
	if !c.Args().Present() {
		return nil, nil
	}
	data, err := os.ReadFile(c.Args().First())
	if err != nil {
		return nil, inputError(err)
	}
	p, err := token.ParseProposal(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Args().First(), err)
	}
	return p, nil
}

// writePlan writes a plan; a file that is there is replaced as a whole.
func writePlan(path string, p token.Proposal) error {
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return token.WriteFile(path, append(data, '\n'))
}
