package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
	"fleetctl/enroll/host"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/token"
	"fleetctl/templates"
)

func (a *app) statusCommand() *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "say how every host is: healthy, drifted, never joined; exit 3 when one is not well, 4 for drift",
		ArgsUsage: "[INVENTORY]",
		Flags: concat(a.commonFlags(), a.hostFlags(), a.connectFlags(), []cli.Flag{
			&cli.StringFlag{Name: "templates", Usage: "take templates from `DIR` in place of the built-in ones"},
			&cli.BoolFlag{Name: "no-cluster", Usage: "don't ask the cluster with tctl"},
		}),
		Action: a.status,
	}
}

func (a *app) status(c *cli.Context) error {
	e := &enrollment{app: a, c: c}
	if err := e.prepare(); err != nil {
		return err
	}
	st, err := a.open(c)
	if err != nil {
		return err
	}
	defer st.Close() // it is only read
	e.st = st
	if e.access, err = a.access(c, e.hosts); err != nil {
		return err
	}
	defer e.access.dialer.Close() // shared connections; the hosts' own are closed
	opts, err := e.statusOptions()
	if err != nil {
		return err
	}
	bar := a.bar(c, len(e.hosts), "status")
	bar.quiet = true // the table says it all
	opts.OnResult = bar.result
	report, err := enroll.Status(c.Context, e.hosts, opts)
	bar.finish()
	if err != nil {
		return err
	}
	if err := e.printer.status(report); err != nil {
		return err
	}
	a.say("%s", strings.TrimSpace(countsOf(report)))
	return statusError(report)
}

// prepare reads what enroll, status and remove need before they open anything.
func (e *enrollment) prepare() (err error) {
	if e.printer, err = e.app.printer(e.c); err != nil {
		return err
	}
	if e.cfg, err = e.app.config(e.c, true); err != nil {
		return err
	}
	if e.templates, err = templates.Load(e.c.String("templates")); err != nil {
		return inputError(err)
	}
	if err := e.readInventory(); err != nil {
		return err
	}
	return host.Check(e.hosts, e.cfg, e.templates)
}

func (e *enrollment) statusOptions() (enroll.StatusOptions, error) {
	opts := enroll.StatusOptions{Inventory: e.all}
	e.tokens = e.recordedToken
	var err error
	if opts.EnrollOptions, err = e.options(); err != nil || e.c.Bool("no-cluster") {
		return opts, err
	}
	tctl, err := e.app.tctl(e.c, e.cfg)
	if err != nil {
		e.app.say("the cluster is not asked: %v", err)
		return opts, nil
	}
	opts.Tctl = &tctl
	if opts.RuleDrift, err = e.ruleDrift(tctl); err != nil {
		e.app.say("tokens are not compared with the cluster's: %v", err)
	}
	return opts, nil
}

// ruleDrift says for hosts how their rules in the cluster differ from the records.
func (e *enrollment) ruleDrift(tctl tctl.Tctl) (map[string]string, error) {
	set, err := token.Make(e.c.Context, e.st, e.cfg, token.Options{Inventory: e.all})
	if err != nil {
		return nil, err
	}
	d, err := set.Diff(e.c.Context, tctl, token.DiffOptions{})
	if err != nil {
		return nil, err
	}
	drift := map[string]string{}
	for _, t := range d.Tokens {
		for _, host := range t.Added {
			drift[host] = "there is none in token " + t.Name
		}
		for _, r := range t.Changed {
			drift[r.Host] = r.What
		}
	}
	return drift, nil
}

// statusError decides the exit code: a host that is not well weighs more than drift.
func statusError(r enroll.StatusReport) error {
	drifted := r.Counts[outcome.StateDrifted]
	bad := len(r.Hosts) - r.Counts[outcome.StateHealthy] - drifted
	switch {
	case bad > 0:
		return fmt.Errorf("%d of %d hosts are not well: %w", bad, len(r.Hosts), outcome.ErrHostsFailed)
	case drifted > 0 || len(r.Strange) > 0:
		return fmt.Errorf("%d of %d hosts drifted: %w", drifted, len(r.Hosts), outcome.ErrChanges)
	}
	return nil
}

func countsOf(r enroll.StatusReport) string {
	var b strings.Builder
	for _, state := range []outcome.Code{outcome.StateHealthy, outcome.StateDrifted, outcome.StateNeverJoined, outcome.StateUnhealthy,
		outcome.StateUnfinished, outcome.StateNotEnrolled, outcome.StateBroken, outcome.StateUnreachable} {
		if n := r.Counts[state]; n > 0 || state == outcome.StateHealthy {
			fmt.Fprintf(&b, "%s=%d ", state, n)
		}
	}
	if n := len(r.Strange); n > 0 {
		fmt.Fprintf(&b, "joined-but-not-in-the-inventory=%d", n)
	}
	return b.String()
}

// status writes a row a host, and the strange joins below.
func (p *printer) status(r enroll.StatusReport) error {
	header := []string{"HOST", "STATE", "TBOT", "TOKEN", "SERVICE", "JOINED", "DRIFT", "MESSAGE"}
	err := p.write(header, len(r.Hosts), func(i int) (any, []string) {
		h := r.Hosts[i]
		joined := ""
		if h.Joined != nil {
			joined = h.Joined.UTC().Format(time.RFC3339)
		}
		return h, []string{h.Host, string(h.State), h.Tbot, h.Token, h.Service, joined, strings.Join(h.Drift, ", "), h.Message}
	}, func() any { return r })
	if err != nil || p.format != "table" {
		return err
	}
	for _, s := range r.Strange {
		whose := "no host of the records"
		if s.Host != "" {
			whose = "host " + s.Host + " of the records, which the inventory doesn't have"
		}
		if _, err := fmt.Fprintf(p.w, "joined but not in the inventory: EK %s, bot %s, %s, calls itself %q: %s\n",
			s.EKHash, s.Bot, s.At.UTC().Format(time.RFC3339), s.Hostname, whose); err != nil {
			return err
		}
	}
	return nil
}

var errNoHosts = errors.New("which hosts? Name them, as the inventory does")
