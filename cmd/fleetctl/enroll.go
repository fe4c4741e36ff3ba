package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
	"fleetctl/enroll/store"
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
			&cli.BoolFlag{Name: "tokens-only", Usage: "stop after the bot and the tokens"},
			&cli.BoolFlag{Name: "install-only", Usage: "no scan and no tokens: only the hosts"},
			&cli.BoolFlag{Name: "adopt", Usage: "replace a configuration, a unit or token rules that somebody else wrote"},
			&cli.BoolFlag{Name: "no-rollback", Usage: "leave changed files as they are when a host fails"},
			&cli.BoolFlag{Name: "resume", Usage: "go on with the last enroll: only hosts that it did not finish"},
			&cli.StringFlag{Name: "templates", Usage: "take templates from `DIR` in place of the built-in ones"},
			&cli.DurationFlag{Name: "join-timeout", Value: 90 * time.Second, Usage: "how long a tbot may take to join"},
		}),
		Action: a.enroll,
	}
}

func (a *app) enroll(c *cli.Context) error {
	p, err := a.printer(c)
	if err != nil {
		return err
	}
	if c.Bool("tokens-only") && c.Bool("install-only") {
		return usage("--tokens-only and --install-only exclude each other")
	}
	cfg, err := a.config(c, true)
	if err != nil {
		return err
	}
	set, err := templates.Load(c.String("templates"))
	if err != nil {
		return inputError(err)
	}
	hosts, err := a.hosts(c, cfg)
	if err != nil {
		return err
	}
	st, err := a.open(c)
	if err != nil {
		return err
	}
	defer st.Close() // every record is committed when it is put
	acc, err := a.access(c)
	if err != nil {
		return err
	}
	defer acc.dialer.Close() // shared connections; the hosts' own are closed
	e := &enrollment{app: a, c: c, cfg: cfg, st: st, templates: set, hosts: hosts, printer: p, access: acc}
	return e.do()
}

// enrollment is one run of the command.
type enrollment struct {
	app       *app
	c         *cli.Context
	cfg       enroll.Config
	st        store.Store
	templates *templates.Set
	hosts     []inventory.Host
	printer   *printer
	access    access

	tokens  func(host string) string
	changes bool // of bot or tokens, with --check
}

// do goes through the stages: scan, tokens, hosts. A host that a stage refuses takes no part in the next one.
func (e *enrollment) do() error {
	byHost := map[string]enroll.Result{}
	rest := e.hosts
	if !e.c.Bool("install-only") {
		scanned, err := e.scan()
		if err != nil {
			return err
		}
		rest = nil
		for i, r := range scanned {
			if byHost[r.Host] = r; r.Outcome == enroll.OK {
				rest = append(rest, e.hosts[i])
			}
		}
	}
	if err := e.makeTokens(); err != nil {
		return err
	}
	if !e.c.Bool("tokens-only") {
		enrolled, err := e.rollOut(rest)
		for _, r := range enrolled {
			r.EKHash, r.Serial, r.Proven = byHost[r.Host].EKHash, byHost[r.Host].Serial, byHost[r.Host].Proven
			r.Warnings = byHost[r.Host].Warnings
			byHost[r.Host] = r
		}
		if err != nil && len(enrolled) == 0 {
			return err
		}
	}
	return e.report(byHost)
}

func (e *enrollment) scan() ([]enroll.Result, error) {
	opts, err := e.app.scanOptions(e.c, e.cfg)
	if err != nil {
		return nil, err
	}
	opts.Store = e.st
	return e.app.scanOver(e.c, e.access, &opts, e.hosts)
}

// makeTokens derives the bot and the tokens from the records and applies them, and says which token each host joins with.
func (e *enrollment) makeTokens() error {
	e.tokens = func(host string) string {
		rec, err := e.st.Record(e.c.Context, host)
		if err != nil || rec.Accepted == nil {
			return ""
		}
		return firstWord(rec.Token, e.cfg.Token.Name)
	}
	return nil
}

// rollOut does the hosts.
func (e *enrollment) rollOut(hosts []inventory.Host) (results []enroll.Result, err error) {
	n, err := forks(e.c, e.cfg)
	if err != nil {
		return nil, err
	}
	run, err := e.st.BeginRun(e.c.Context, "enroll", len(hosts))
	if err != nil {
		return nil, err
	}
	bar := e.app.bar(e.c, len(hosts), "enroll")
	opts := enroll.EnrollOptions{
		Config: e.cfg, Dialer: e.access.dialer, Store: e.st, TokenOf: e.tokens, Templates: e.templates,
		Check: e.c.Bool("check"), Diff: e.c.Bool("diff"), Adopt: e.c.Bool("adopt"), NoRollback: e.c.Bool("no-rollback"),
		Forks: n, Timeout: e.c.Duration("timeout"), Become: e.access.become, Password: e.access.password,
		Verify: enroll.VerifyOptions{Limit: e.c.Duration("join-timeout")}, Stop: e.app.interrupts.drain(),
		OnResult: bar.result,
	}
	if e.c.Bool("verbose") {
		opts.Logf = e.app.say
	}
	results, err = enroll.Enroll(e.c.Context, hosts, opts)
	bar.finish()
	return results, errors.Join(err, endRun(e.c.Context, e.st, run, err))
}

// report prints the results in inventory order and decides how the run ended.
func (e *enrollment) report(byHost map[string]enroll.Result) error {
	results := make([]enroll.Result, 0, len(e.hosts))
	for _, h := range e.hosts {
		if r, ok := byHost[h.Name]; ok {
			results = append(results, r)
		}
	}
	summary := enroll.Summarize(0, results)
	if err := e.printer.enrolled(results, summary, e.c.Bool("check") || e.c.Bool("diff") || e.c.Bool("verbose")); err != nil {
		return err
	}
	e.app.say("%s", summary)
	if err := summary.Err(); err != nil {
		return err
	}
	if e.c.Bool("check") && (e.changes || summary.Counts[enroll.Changed] > 0) {
		return fmt.Errorf("%d of %d hosts: %w", summary.Counts[enroll.Changed], summary.Hosts, enroll.ErrChanges)
	}
	return nil
}

// enrolled writes the results of enroll: as a table, what changed; with steps, the plan of every host below it.
func (p *printer) enrolled(results []enroll.Result, s enroll.Summary, steps bool) error {
	if p.format != "table" && p.format != "csv" {
		return p.results(results, s)
	}
	header := []string{"HOST", "OUTCOME", "STATUS", "CHANGED", "MESSAGE"}
	err := p.write(header, len(results), func(i int) (any, []string) {
		r := results[i]
		return r, []string{r.Host, string(r.Outcome), r.Status, strings.Join(changed(r), ", "), note(r)}
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

func changed(r enroll.Result) []string {
	var names []string
	for _, s := range r.Steps {
		if s.Changed {
			names = append(names, s.Step)
		}
	}
	return names
}

// steps writes a host's plan: "+" is done or would be, "=" is as it should be.
func (p *printer) steps(r enroll.Result) error {
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
