package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
)

func (a *app) removeCommand() *cli.Command {
	return &cli.Command{
		Name:      "remove",
		Usage:     "take machines out: the rules, then the service and its state, then the record",
		ArgsUsage: "HOST…",
		Description: "HOST is a name of the inventory or of the records, or a pattern, group or @file as --limit takes it. Whom a\n" +
			"pattern chooses, a terminal asks to be counted, and a script has to say: --yes --allow-removals N.",
		Flags: slices.Concat(a.commonFlags(), a.fleetFlags(), a.hostFlags(), a.connectFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "offline", Usage: "contact no host: only the rules; what enroll made there waits for --resume"},
			&cli.BoolFlag{Name: "resume", Usage: "complete removals that could not reach their hosts, or failed there"},
			&cli.BoolFlag{Name: "lock", Usage: "end the credentials that were issued at once (Teleport 18 and later)"},
			&cli.BoolFlag{Name: "yes", Usage: "do not ask"},
			&cli.IntFlag{Name: "allow-removals", Usage: "with --yes: exactly `N` machines are chosen by patterns"},
			&cli.BoolFlag{Name: "check", Usage: "change nothing; say what would be done; exit 4"},
			&cli.BoolFlag{Name: "diff", Usage: "show what changes in files, with secrets masked"},
			&cli.StringFlag{Name: "out", Value: "out", Usage: "write the tokens' files to `DIR`"},
		}),
		Action: a.remove,
	}
}

func (a *app) remove(c *cli.Context) error {
	names, err := removalNames(c)
	if err != nil {
		return err
	}
	v, err := a.changesViewOf(c, true)
	if err != nil {
		return err
	}
	v.mark = "-"
	// Arguments are hosts here, so the inventory is fleet.yaml's or -i.
	s, err := a.session(c, needs{config: true, records: existingRecords, cluster: always})
	if err != nil {
		return err
	}
	defer s.close()
	s.Watcher = v.printer.lined(s.Watcher)
	opts := enroll.RemoveOptions{
		Names: names, Resume: c.Bool("resume"), Offline: c.Bool("offline"), Check: c.Bool("check"), Diff: c.Bool("diff"),
		Lock: c.Bool("lock"), Out: c.String("out"), Yes: c.Bool("yes"), Removals: c.Int("allow-removals"),
	}
	if a.interactive {
		opts.Ask = a.askRemoval
	}
	report, err := enroll.Remove(c.Context, s.Fleet, opts)
	return show(v, report, err)
}

// removalNames are the hosts that shall go. --limit chooses them where none is named.
func removalNames(c *cli.Context) ([]string, error) {
	names := c.Args().Slice()
	switch {
	case c.Bool("resume") && (len(names) > 0 || c.IsSet("limit")):
		return nil, usage("--resume completes what is left of all earlier removals: name no hosts")
	case c.Bool("resume") && c.Bool("offline"):
		return nil, usage("--resume contacts hosts, and --offline none")
	case c.Bool("resume"):
		return nil, nil
	case c.IsSet("limit") && len(names) > 0:
		return nil, usage("--limit does not narrow a removal: name the hosts that shall go, or choose them by --limit alone")
	case c.IsSet("limit"):
		return []string{c.String("limit")}, nil
	case len(names) == 0:
		return nil, usage("which hosts? Name them, as the inventory does")
	}
	return names, nil
}

// askRemoval asks at the terminal. Where a pattern chose machines it wants their number: whoever types it has looked.
func (a *app) askRemoval(ctx context.Context, q enroll.RemovalQuestion) (bool, error) {
	if q.Chosen == 0 {
		answer, err := a.question(ctx, fmt.Sprintf("remove %d machines? [y/N]", q.Machines))
		return slices.Contains([]string{"y", "yes"}, strings.ToLower(answer)), err
	}
	text := fmt.Sprintf("remove %d machines, %d of them chosen by a pattern? Type that number", q.Machines, q.Chosen)
	answer, err := a.question(ctx, text)
	return answer == strconv.Itoa(q.Chosen), err
}
