package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
	"fleetctl/enroll/config"
	"fleetctl/enroll/host"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/token"
	"fleetctl/inventory"
	"fleetctl/templates"
)

func (a *app) enrollCommand() *cli.Command {
	return &cli.Command{
		Name:      "enroll",
		Usage:     "all of it: scan, bot and tokens, then tbot on every host, verified",
		ArgsUsage: "[INVENTORY]",
		Flags: concat(a.commonFlags(), a.hostFlags(), a.connectFlags(), scanFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "check", Usage: "change nothing; print the plans; exit 4 when there is something to do"},
			&cli.BoolFlag{Name: "diff", Usage: "show what changes in files, with secrets masked"},
			&cli.StringFlag{Name: "out", Value: "out", Usage: "write the bot's and the tokens' files to `DIR`"},
			&cli.BoolFlag{Name: "prune", Usage: "take rules that somebody else wrote out of the tokens"},
			&cli.BoolFlag{Name: "tokens-only", Usage: "stop after the bot and the tokens"},
			&cli.BoolFlag{Name: "install-only", Usage: "no scan and no tokens: only the hosts"},
			&cli.BoolFlag{Name: "adopt", Usage: "replace a configuration or a unit that somebody else wrote"},
			&cli.BoolFlag{Name: "no-rollback", Usage: "leave changed files as they are when a host fails"},
			&cli.BoolFlag{Name: "resume", Usage: "go on with the last enroll: only hosts that it did not finish"},
			&cli.StringFlag{Name: "templates", Usage: "take templates from `DIR` in place of the built-in ones"},
			&cli.DurationFlag{Name: "join-timeout", Value: 90 * time.Second, Usage: "how long a tbot may take to join"},
		}),
		Action: a.enroll,
	}
}

func (a *app) enroll(c *cli.Context) error {
	if c.Bool("tokens-only") && c.Bool("install-only") {
		return usage("--tokens-only and --install-only exclude each other")
	}
	e := &enrollment{app: a, c: c}
	if err := e.prepare(); err != nil {
		return err
	}
	if err := e.findTctl(); err != nil {
		return err
	}
	st, err := a.open(c)
	if err != nil {
		return err
	}
	defer st.Close() // every record is committed when it is put
	acc, err := a.access(c, e.hosts)
	if err != nil {
		return err
	}
	defer acc.dialer.Close() // shared connections; the hosts' own are closed
	e.st, e.access = st, acc
	return e.do()
}

// enrollment is one run of the command.
type enrollment struct {
	app       *app
	c         *cli.Context
	cfg       config.Config
	st        store.Store
	templates *templates.Set
	all       []inventory.Host // the whole inventory: tokens are made of it
	hosts     []inventory.Host // those that --limit selects
	tctl      *tctl.Tctl       // nil: there is none, and this run can do without
	printer   *printer
	access    access

	tokens  func(host string) string
	run     int64
	changes bool // of bot or tokens, with --check
	results map[string]outcome.Result
}

// readInventory loads the inventory once (standard input can't be read twice) and selects.
func (e *enrollment) readInventory() error {
	inv, err := e.app.loadInventory(e.c, e.cfg)
	if err != nil {
		return err
	}
	if e.all, err = inv.Select("all"); err != nil {
		return inputError(err)
	}
	e.hosts = e.all
	if limit := e.c.String("limit"); limit != "" {
		if e.hosts, err = inv.Select("all", limit); err != nil {
			return inputError(err)
		}
	}
	if len(e.hosts) == 0 {
		return inputError(errors.New("no host matches: look at \"fleetctl inventory\" and --limit"))
	}
	return nil
}

// findTctl looks for tctl before anything is done, so that a run that needs it doesn't stop half-way.
func (e *enrollment) findTctl() error {
	if e.c.Bool("install-only") {
		return nil
	}
	t, err := e.app.tctl(e.c, e.cfg)
	if err != nil {
		if e.c.Bool("check") {
			e.app.say("bot and tokens are not compared with the cluster's: %v", err)
			return nil
		}
		return err
	}
	e.tctl = &t
	return nil
}

// do goes through the stages: scan, tokens, hosts. A host that a stage refuses takes no part in the next one.
func (e *enrollment) do() error {
	e.results = map[string]outcome.Result{}
	if err := e.narrow(); err != nil {
		return err
	}
	if len(e.hosts) == 0 {
		e.app.say("nothing to do: the last enroll finished all of these hosts")
		return nil
	}
	if !e.c.Bool("install-only") {
		scanned, err := e.scan()
		if err != nil {
			return err
		}
		for _, r := range scanned {
			e.results[r.Host] = r
		}
	}
	if err := e.begin(); err != nil {
		return err
	}
	err := e.makeTokens()
	if err == nil && !e.c.Bool("tokens-only") {
		err = e.rollOut()
	}
	return errors.Join(e.report(err), endRun(e.c.Context, e.st, e.run, err))
}

func (e *enrollment) scan() ([]outcome.Result, error) {
	opts, err := e.app.scanOptions(e.c, e.cfg)
	if err != nil {
		return nil, err
	}
	opts.Store = e.st
	return e.app.scanOver(e.c, e.access, &opts, e.hosts)
}

// makeTokens derives the bot and the tokens from the records and applies them. From then on e.tokens says which token
// each host joins with.
func (e *enrollment) makeTokens() error {
	check := e.c.Bool("check")
	opts := token.Options{Inventory: e.all, Persist: !check && !e.c.Bool("install-only")}
	set, err := token.Make(e.c.Context, e.st, e.cfg, opts)
	if err != nil {
		return err
	}
	e.tokens = set.TokenOf
	e.refuse(set.Refused)
	switch {
	case e.c.Bool("install-only"):
		e.tokens = e.recordedToken
		return nil
	case check:
		return e.compareTokens(set)
	}
	changed, err := set.Write(e.c.String("out"))
	if err != nil {
		return err
	}
	for _, name := range changed {
		e.app.say("wrote %s", filepath.Join(e.c.String("out"), name))
	}
	done, err := set.Apply(e.c.Context, *e.tctl, token.ApplyOptions{Prune: e.c.Bool("prune"), Store: e.st})
	for _, what := range done.Changed {
		e.app.say("applied %s", what)
	}
	for _, what := range done.Kept {
		e.app.say("%s", what)
	}
	return err
}

// recordedToken is the token that a host was assigned to by an earlier run, which put its rule there.
func (e *enrollment) recordedToken(host string) string {
	r, err := e.st.Record(e.c.Context, host)
	if err != nil || r.Accepted == nil || r.TokenEK != r.Accepted.EKHash {
		return ""
	}
	return r.Token
}

// compareTokens says what would change in the cluster.
func (e *enrollment) compareTokens(set *token.Set) error {
	if e.tctl == nil {
		return nil
	}
	d, err := set.Diff(e.c.Context, *e.tctl, token.DiffOptions{Prune: e.c.Bool("prune")})
	if err != nil { // the hosts' plans are worth having all the same
		e.app.say("bot and tokens are not compared with the cluster's: %v", err)
		return nil
	}
	e.changes = !d.Empty(false)
	return d.WriteText(e.app.stderr)
}

// refuse notes hosts that get no rule.
func (e *enrollment) refuse(refused []token.Refusal) {
	selected := map[string]bool{}
	for _, h := range e.hosts {
		selected[h.Name] = true
	}
	for _, f := range refused {
		if selected[f.Host] && e.results[f.Host].Outcome != outcome.Failed {
			e.results[f.Host] = outcome.Result{Host: f.Host, Outcome: outcome.Failed, Reason: f.Reason}
		}
	}
}

// narrow leaves only hosts that the last enroll did not finish, for --resume.
func (e *enrollment) narrow() error {
	if !e.c.Bool("resume") {
		return nil
	}
	runs, err := e.st.Runs(e.c.Context, 1000)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(runs, func(r store.Run) bool { return r.Command == "enroll" })
	if i < 0 {
		return inputError(errors.New("there is no earlier enroll in these records"))
	}
	e.run = runs[i].ID
	var rest []inventory.Host
	for _, h := range e.hosts {
		rec, err := e.st.Record(e.c.Context, h.Name)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if in := rec.Installed; in == nil || in.Run != e.run || in.State != "" {
			rest = append(rest, h)
		}
	}
	e.hosts = rest
	return nil
}

// begin begins a run in the records, or goes on with the one that --resume found.
func (e *enrollment) begin() (err error) {
	if e.run != 0 {
		return e.st.ResumeRun(e.c.Context, e.run)
	}
	e.run, err = e.st.BeginRun(e.c.Context, "enroll", len(e.hosts))
	return err
}

// rollOut does the hosts that nothing has refused so far.
func (e *enrollment) rollOut() error {
	var hosts []inventory.Host
	for _, h := range e.hosts {
		if r, ok := e.results[h.Name]; !ok || r.Outcome == outcome.OK {
			hosts = append(hosts, h)
		}
	}
	opts, err := e.options()
	if err != nil {
		return err
	}
	opts.Stop = e.app.interrupts.drain()
	bar := e.app.bar(e.c, len(hosts), "enroll")
	opts.OnResult = bar.result
	results, err := enroll.Enroll(e.c.Context, hosts, opts)
	bar.finish()
	for _, r := range results {
		seen := e.results[r.Host]
		r.EKHash, r.Serial, r.Proven, r.Warnings = seen.EKHash, seen.Serial, seen.Proven, seen.Warnings
		e.results[r.Host] = r
	}
	return err
}

func (e *enrollment) options() (enroll.EnrollOptions, error) {
	n, err := forks(e.c, e.cfg)
	if err != nil {
		return enroll.EnrollOptions{}, err
	}
	opts := enroll.EnrollOptions{
		Config: e.cfg, Dialer: e.access.dialer, Store: e.st, TokenOf: e.tokens, Templates: e.templates,
		Run: e.run, Tctl: e.tctl, Check: e.c.Bool("check"), Diff: e.c.Bool("diff"), Adopt: e.c.Bool("adopt"),
		NoRollback: e.c.Bool("no-rollback"),
		Forks:      n, Timeout: e.c.Duration("timeout"), Become: e.access.become, Password: e.access.password,
		Verify: host.VerifyOptions{Limit: e.c.Duration("join-timeout")},
	}
	if e.c.Bool("verbose") {
		opts.Logf = e.app.say
	}
	return opts, nil
}

// report prints the results in inventory order and decides how the run ended; err is what ended it early.
func (e *enrollment) report(err error) error {
	results := make([]outcome.Result, 0, len(e.hosts))
	for _, h := range e.hosts {
		if r, ok := e.results[h.Name]; ok {
			results = append(results, r)
		}
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	summary := outcome.Summarize(0, results)
	steps := e.c.Bool("check") || e.c.Bool("diff") || e.c.Bool("verbose")
	if perr := e.printer.enrolled(results, summary, steps); perr != nil {
		return errors.Join(err, perr)
	}
	e.app.say("%s", summary)
	switch {
	case err != nil:
		return err
	case summary.Counts[outcome.Canceled] > 0:
		return context.Canceled
	case summary.Err() != nil:
		return summary.Err()
	case e.c.Bool("check") && (e.changes || summary.Counts[outcome.Changed] > 0):
		return fmt.Errorf("%d of %d hosts: %w", summary.Counts[outcome.Changed], summary.Hosts, outcome.ErrChanges)
	}
	return nil
}

// enrolled writes the results of enroll: as a table, what changed; with steps, the plan of every host below it.
func (p *printer) enrolled(results []outcome.Result, s outcome.Summary, steps bool) error {
	if p.format != "table" && p.format != "csv" {
		return p.results(results, s)
	}
	header := []string{"HOST", "OUTCOME", "STATUS", "CHANGES", "MESSAGE"}
	err := p.write(header, len(results), func(i int) (any, []string) {
		r := results[i]
		return r, []string{r.Host, string(r.Outcome), string(r.Code), changesOf(r), note(r)}
	}, nil)
	if err != nil || !steps || p.format == "csv" {
		return err
	}
	for _, r := range results {
		if err := p.steps(r); err != nil {
			return err
		}
	}
	return nil
}

// changesOf names the steps that change something, or says how many they are.
func changesOf(r outcome.Result) string {
	var names []string
	for _, s := range r.Steps {
		if s.Changed {
			names = append(names, s.Step)
		}
	}
	if len(names) > 4 {
		return fmt.Sprintf("%d of %d steps", len(names), len(r.Steps))
	}
	return strings.Join(names, ", ")
}

// steps writes a host's plan: "+" is done or would be, "=" is as it should be.
func (p *printer) steps(r outcome.Result) error {
	if len(r.Steps) == 0 && len(r.Log) == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s:\n", r.Host)
	for _, s := range r.Steps {
		mark := "="
		if s.Changed {
			mark = "+"
		}
		fmt.Fprintf(&b, "  %s %s: %s\n", mark, s.Step, s.Reason)
		for line := range strings.Lines(s.Diff) {
			fmt.Fprintf(&b, "      %s", line)
		}
	}
	for _, l := range r.Log {
		fmt.Fprintf(&b, "  journal: %s\n", l)
	}
	_, err := fmt.Fprint(p.w, b.String())
	return err
}
