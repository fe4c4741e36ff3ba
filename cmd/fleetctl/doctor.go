package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
	"fleetctl/enroll/config"
	"fleetctl/enroll/doctor"
	"fleetctl/enroll/proxy"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
	"fleetctl/remote"
)

func (a *app) doctorCommand() *cli.Command {
	return &cli.Command{
		Name:      "doctor",
		Usage:     "say whether everything is there: tctl and its rights, cluster, keys, records",
		ArgsUsage: "[INVENTORY]",
		Description: "It changes nothing, connects to no host, and gives each check its time. Exit code 1 says that something has " +
			"to be done before hosts can be enrolled.",
		Flags: slices.Concat([]cli.Flag{
			&cli.DurationFlag{Name: "check-timeout", Value: 30 * time.Second, Usage: "for one check"},
		}, a.commonFlags(), a.fleetFlags(), a.hostFlags(), a.connectFlags()),
		Action: a.doctor,
	}
}

func (a *app) doctor(c *cli.Context) error {
	p, err := a.printer(c)
	if err != nil {
		return err
	}
	opts, closeDialer, err := a.doctorOptions(c)
	if err != nil {
		return err
	}
	defer closeDialer()
	checks, err := doctor.Examine(c.Context, opts)
	if err != nil {
		return err
	}
	if err := p.checks(checks); err != nil {
		return err
	}
	if n := doctor.Count(checks, doctor.Error); n > 0 {
		return fmt.Errorf("%d of %d checks say that something has to be done", n, len(checks))
	}
	return nil
}

// checks writes a line a check for people, with what to do below it.
func (p *printer) checks(checks []doctor.Check) error {
	if p.format != "table" {
		return write(p, checksShape, nothing{}, []string{"CHECK", "STATE", "MESSAGE", "HINT"}, checks, func(k doctor.Check) []string {
			return []string{k.Check, string(k.State), k.Message, k.Hint}
		})
	}
	var b strings.Builder
	for _, k := range checks {
		p.line(&b, "%-7s  %s: %s", k.State, k.Check, k.Message)
		if k.Hint != "" {
			p.line(&b, "         → %s", k.Hint)
		}
	}
	_, err := io.WriteString(p.w, b.String())
	return err
}

// doctorOptions gathers what is looked at. What is wrong with it is for the doctor to say, but for the flags.
func (a *app) doctorOptions(c *cli.Context) (o doctor.Options, closeDialer func(), err error) {
	o = doctor.Options{
		Ask: proxy.Ask, Agent: remote.AgentKeys, Helpers: a.helpers, Records: c.String("db"), Now: time.Now,
		Limit: c.Duration("check-timeout"),
	}
	if o.Config, o.ConfigErr = a.config(c, true); o.Config.Version == "" { // nothing of it could be read
		o.Config = config.Default()
	}
	ansible, err := a.ansibleConfig(c)
	if err != nil {
		return o, nil, err
	}
	f := enroll.Fleet{Config: o.Config}
	o.InventoryErr = a.readInventory(c, &f, true)
	o.Hosts = f.Hosts
	o.Tctl, o.TctlErr = a.cluster(c, o.Config, always)
	if o.Forks, err = forks(c, o.Config, ansible); err != nil {
		return o, nil, err
	}
	o.Allowed = hostsFor(o.Forks, openFiles(), filesPerHost)
	dialer, err := remote.NewDialer(a.dialOptions(c, ansible))
	if err != nil {
		return o, nil, inputError(err)
	}
	o.Knows = func(ctx context.Context, h inventory.Host) (bool, error) {
		t, err := work.Reach{}.Target(h)
		if err != nil {
			return false, err
		}
		return dialer.KnowsHost(ctx, t)
	}
	return o, func() { _ = dialer.Close() }, nil // it connected to nobody
}
