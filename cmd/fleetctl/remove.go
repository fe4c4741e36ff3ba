package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/token"
	"fleetctl/inventory"
)

func (a *app) removeCommand() *cli.Command {
	return &cli.Command{
		Name:      "remove",
		Usage:     "take hosts out: the rule, then the service and its state, then the record",
		ArgsUsage: "HOST…",
		Flags: concat(a.commonFlags(), a.hostFlags(), a.connectFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "offline", Usage: "the hosts are lost: only the rules and the records"},
			&cli.BoolFlag{Name: "check", Usage: "change nothing; say what would be done; exit 4"},
			&cli.BoolFlag{Name: "diff", Usage: "show what changes in files, with secrets masked"},
			&cli.StringFlag{Name: "out", Value: "out", Usage: "write the tokens' files to `DIR`"},
		}),
		Action: a.remove,
	}
}

func (a *app) remove(c *cli.Context) error {
	r := &removal{enrollment: enrollment{app: a, c: c, results: map[string]outcome.Result{}}}
	if err := r.prepare(); err != nil {
		return err
	}
	tctl, err := a.tctl(c, r.cfg)
	if err != nil {
		return err
	}
	r.tctl = &tctl
	st, err := a.open(c)
	if err != nil {
		return err
	}
	defer st.Close() // every record is committed when it is put
	r.st = st
	if err := r.choose(); err != nil {
		return err
	}
	if c.Bool("check") {
		return r.check()
	}
	if r.run, err = st.BeginRun(c.Context, "remove", len(r.names)); err != nil {
		return err
	}
	err = r.do()
	return errors.Join(err, endRun(c.Context, st, r.run, err))
}

// removal is one run of the command.
type removal struct {
	enrollment
	names []string
	made  map[string][]string // host → what enroll made there
	known []string            // those of names that the records have
}

// prepare reads fleet.yaml and the inventory. Arguments are hosts here, so the inventory is fleet.yaml's or -i.
func (r *removal) prepare() (err error) {
	if r.names = sortedUnique(r.c.Args().Slice()); len(r.names) == 0 {
		return usage("%v", errNoHosts)
	}
	if r.printer, err = r.app.printer(r.c); err != nil {
		return err
	}
	if r.cfg, err = r.app.config(r.c, true); err != nil {
		return err
	}
	r.all, err = r.app.wholeInventory(r.c, r.cfg)
	return err
}

func sortedUnique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// choose finds the hosts in the inventory and in the records. One that is in neither is a mistake; one that only the
// records have can be removed without its host alone.
func (r *removal) choose() error {
	r.made = map[string][]string{}
	for _, name := range r.names {
		rec, err := r.st.Record(r.c.Context, name)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err == nil {
			r.known = append(r.known, name)
			if rec.Installed != nil {
				r.made[name] = rec.Installed.Made
			}
		}
		i := slices.IndexFunc(r.all, func(h inventory.Host) bool { return h.Name == name })
		switch {
		case i >= 0:
			r.hosts = append(r.hosts, r.all[i])
		case err != nil:
			return inputError(fmt.Errorf("%s is neither in the inventory nor in the records", name))
		case !r.c.Bool("offline"):
			return inputError(fmt.Errorf("%s is not in the inventory, only in the records: remove it with --offline", name))
		}
	}
	return nil
}

// tokensWithout are the tokens of a fleet that has lost the hosts.
func (r *removal) tokensWithout() (*token.Set, error) {
	return token.Make(r.c.Context, enroll.WithoutHosts(r.st, r.names...), r.cfg, token.Options{Inventory: r.all})
}

// showDiff says what changes in the cluster when the hosts go.
func (r *removal) showDiff() error {
	set, err := r.tokensWithout()
	if err != nil {
		return err
	}
	d, err := set.Diff(r.c.Context, *r.tctl, token.DiffOptions{})
	if err != nil {
		return err
	}
	return d.WriteText(r.app.stderr)
}

// check says what would be done, and does nothing.
func (r *removal) check() error {
	if err := r.showDiff(); err != nil {
		return err
	}
	if !r.c.Bool("offline") {
		if err := r.hostsAway(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%d hosts to remove: %w", len(r.names), outcome.ErrChanges)
}

// do removes the rules, then what is on the hosts. The records forget a host first: whatever happens after that, no
// later run gives it its rule back.
func (r *removal) do() error {
	if err := r.showDiff(); err != nil {
		return err
	}
	joins := r.joins()
	hashes := r.hashes()
	if len(r.known) > 0 {
		if err := r.st.Forget(r.c.Context, r.known...); err != nil {
			return err
		}
	}
	if err := r.applyTokens(); err != nil {
		return err
	}
	r.tellCredentials(hashes, joins)
	if r.c.Bool("offline") {
		for _, name := range r.names {
			r.app.say("%s: its rule and its record are gone; the host itself was not contacted", name)
		}
		return nil
	}
	return r.hostsAway()
}

func (r *removal) applyTokens() error {
	set, err := token.Make(r.c.Context, r.st, r.cfg, token.Options{Inventory: r.all, Persist: true})
	if err != nil {
		return err
	}
	changed, err := set.Write(r.c.String("out"))
	if err != nil {
		return err
	}
	for _, name := range changed {
		r.app.say("wrote %s", filepath.Join(r.c.String("out"), name))
	}
	done, err := set.Apply(r.c.Context, *r.tctl, token.ApplyOptions{Store: r.st})
	for _, what := range done.Changed {
		r.app.say("applied %s", what)
	}
	if err != nil {
		return fmt.Errorf("the rules may still be in the cluster (fleetctl tokens --apply takes them out): %w", err)
	}
	return nil
}

// hostsAway takes what enroll put on the hosts away.
func (r *removal) hostsAway() (err error) {
	if r.access, err = r.app.access(r.c, r.hosts); err != nil {
		return err
	}
	defer r.access.dialer.Close() // shared connections; the hosts' own are closed
	opts, err := r.options()
	if err != nil {
		return err
	}
	bar := r.app.bar(r.c, len(r.hosts), "remove")
	opts.OnResult = bar.result
	results, err := enroll.Remove(r.c.Context, r.hosts, enroll.RemoveOptions{
		EnrollOptions: opts, Made: func(host string) []string { return r.made[host] },
	})
	bar.finish()
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	summary := outcome.Summarize(r.run, results)
	if perr := r.printer.enrolled(results, summary, true); perr != nil {
		return perr
	}
	r.app.say("%s", summary)
	return errors.Join(err, summary.Err())
}

func (r *removal) joins() map[string]tctl.Join {
	bots, err := enroll.BotNames(r.c.Context, r.st, r.cfg)
	if err != nil {
		return nil // what the records are missing is told elsewhere
	}
	joins, err := r.tctl.Joins(r.c.Context, bots...)
	if err != nil {
		return nil // an old cluster, or no right to: the hint is less exact then
	}
	return joins
}

func (r *removal) hashes() map[string]string {
	hashes := map[string]string{}
	for _, name := range r.known {
		if rec, err := r.st.Record(r.c.Context, name); err == nil && rec.Accepted != nil {
			hashes[name] = rec.Accepted.EKHash
		}
	}
	return hashes
}

// tellCredentials says how long what was issued lives on, and how to end it now.
func (r *removal) tellCredentials(hashes map[string]string, joins map[string]tctl.Join) {
	ttl := r.cfg.Tbot.CredentialTTL
	if ttl == "" {
		ttl = "1h (tbot's default)"
	}
	r.app.say("credentials that were issued live on for up to %s after the last renewal; to end them now:", ttl)
	for _, name := range r.names {
		if j, ok := joins[hashes[name]]; ok && j.Instance != "" {
			r.app.say("  tctl lock --bot-instance-id=%s   # %s (Teleport 18 and later)", j.Instance, name)
		}
	}
	r.app.say("  tctl lock --user=bot-%s --ttl=1h   # the bot with all of its hosts", r.cfg.Bot.Name)
}
