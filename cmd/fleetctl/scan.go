package main

import (
	"context"
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/scan"
	"fleetctl/enroll/store"
	"fleetctl/inventory"
)

func (a *app) scanCommand() *cli.Command {
	return &cli.Command{
		Name:      "scan",
		Usage:     "ask every host's TPM who it is, and record it",
		ArgsUsage: "[INVENTORY]",
		Flags: concat(a.commonFlags(), a.hostFlags(), a.connectFlags(), scanFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "resume", Usage: "go on with the last scan: only hosts that it did not finish"},
			&cli.BoolFlag{Name: "retry-failed", Usage: "only hosts that failed in the last scan"},
		}),
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

func concat(lists ...[]cli.Flag) []cli.Flag {
	var all []cli.Flag
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

func (a *app) scan(c *cli.Context) error {
	if c.Bool("resume") && c.Bool("retry-failed") {
		return usage("--resume and --retry-failed exclude each other")
	}
	p, err := a.printer(c)
	if err != nil {
		return err
	}
	cfg, err := a.config(c, false)
	if err != nil {
		return err
	}
	opts, err := a.scanOptions(c, cfg)
	if err != nil {
		return err
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
	opts.Store = st
	if hosts, opts.Run, err = chooseRun(c, st, hosts); err != nil {
		return err
	}
	if len(hosts) == 0 {
		a.say("nothing to do: the last scan finished all of these hosts")
		return nil
	}
	results, err := a.scanHosts(c, &opts, hosts)
	if results == nil {
		return err
	}
	summary := outcome.Summarize(opts.Run, results)
	perr := p.results(results, summary)
	a.say("%s", summary)
	if err = errors.Join(err, perr); err != nil {
		return err
	}
	return summary.Err()
}

// scanHosts connects, scans, shows how far it is, and closes the run in the records however it ends. Without results
// nothing was begun.
func (a *app) scanHosts(c *cli.Context, opts *scan.Options, hosts []inventory.Host) ([]outcome.Result, error) {
	acc, err := a.access(c, hosts)
	if err != nil {
		return nil, err
	}
	defer acc.dialer.Close() // shared connections; the hosts' own are closed
	return a.scanOver(c, acc, opts, hosts)
}

// scanOver is scanHosts with the connections of a run that has more to do with them.
func (a *app) scanOver(c *cli.Context, acc access, opts *scan.Options, hosts []inventory.Host,
) (results []outcome.Result, err error) {
	opts.Dialer, opts.Become, opts.Password = acc.dialer, acc.become, acc.password
	if opts.Run == 0 {
		opts.Run, err = opts.Store.BeginRun(c.Context, "scan", len(hosts))
	} else {
		err = opts.Store.ResumeRun(c.Context, opts.Run)
	}
	if err != nil {
		return nil, err
	}
	bar := a.bar(c, len(hosts), "scan")
	opts.OnResult = bar.result
	results, err = scan.Scan(c.Context, hosts, *opts)
	bar.finish()
	for _, r := range results {
		if r.Code == outcome.DuplicateEK { // known only when all hosts have been seen
			a.trouble(r)
		}
	}
	return results, errors.Join(err, endRun(c.Context, opts.Store, opts.Run, err))
}

func (a *app) scanOptions(c *cli.Context, cfg config.Config) (opts scan.Options, err error) {
	opts = scan.Options{
		Helpers: helperFiles(), Via: c.String("identify-with"), Compare: c.Bool("compare-with-tbot"),
		KeepHelper: c.Bool("keep-helper"), Proof: c.Bool("proof"), Timeout: c.Duration("timeout"),
		HashOnly: cfg.Token.WithoutEKCert == "hash-only",
	}
	switch opts.Via {
	case scan.ViaHelper, scan.ViaShell, scan.ViaTbot:
	default:
		return opts, usage("--identify-with %s: none of helper, shell, tbot", opts.Via)
	}
	if opts.Forks, err = forks(c, cfg); err != nil {
		return opts, err
	}
	if c.Bool("verbose") {
		opts.Logf = a.say
	}
	opts.CAs, err = a.cas(cfg)
	return opts, err
}

// chooseRun narrows the hosts for --resume and --retry-failed; run is 0 when a new one shall begin.
func chooseRun(c *cli.Context, st store.Store, hosts []inventory.Host) ([]inventory.Host, int64, error) {
	resume, retry := c.Bool("resume"), c.Bool("retry-failed")
	if !resume && !retry {
		return hosts, 0, nil
	}
	last, err := lastScan(c.Context, st)
	if err != nil {
		return nil, 0, err
	}
	seen, err := st.Seen(c.Context, last.ID)
	if err != nil {
		return nil, 0, err
	}
	var rest []inventory.Host
	for _, h := range hosts {
		ended, ok := seen[h.Name]
		failed := ended == string(outcome.Failed) || ended == string(outcome.Unreachable)
		if resume && !ok || retry && ok && failed {
			rest = append(rest, h)
		}
	}
	if retry {
		return rest, 0, nil
	}
	return rest, last.ID, nil
}

func lastScan(ctx context.Context, st store.Store) (store.Run, error) {
	runs, err := st.Runs(ctx, 1000)
	if err != nil {
		return store.Run{}, err
	}
	for _, r := range runs {
		if r.Command == "scan" {
			return r, nil
		}
	}
	return store.Run{}, inputError(errors.New("there is no earlier scan in these records"))
}

// endRun records how a run ended, also when the context is done already.
func endRun(ctx context.Context, st store.Store, run int64, err error) error {
	state := "done"
	switch {
	case ctx.Err() != nil:
		state = "interrupted"
	case err != nil:
		state = "failed"
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return st.EndRun(ctx, run, state)
}
