package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
)

func (a *app) supportCommand() *cli.Command {
	return &cli.Command{
		Name:      "support-bundle",
		Usage:     "record what tctl and the hosts' tbots print, without secrets, for somebody who helps you",
		ArgsUsage: "[INVENTORY]",
		Flags: slices.Concat(a.commonFlags(), a.fleetFlags(), a.hostFlags(), a.connectFlags(), []cli.Flag{
			&cli.StringFlag{Name: "bundle", Value: "fleetctl-support.tar.gz", Usage: "write it to `FILE`, which must not be there"},
			&cli.BoolFlag{Name: "names", Usage: "leave the names of hosts, cluster, bots and tokens in it"},
			&cli.BoolFlag{Name: "no-cluster", Usage: "don't ask the cluster with tctl"},
		}),
		Action: a.support,
	}
}

func (a *app) support(c *cli.Context) (err error) {
	v, err := a.viewOf(c)
	if err != nil {
		return err
	}
	n := needs{config: true, hosts: true, records: existingRecords, cluster: ifThere}
	if c.Bool("no-cluster") {
		n.cluster = never
	}
	s, err := a.session(c, n)
	if err != nil {
		return err
	}
	defer s.close()
	path := c.String("bundle")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return inputError(err)
	}
	report, err := enroll.Support(c.Context, s.Fleet, f, enroll.SupportOptions{Names: c.Bool("names"), About: version})
	if cerr := f.Close(); cerr != nil || report.Results == nil || c.Context.Err() != nil {
		return errors.Join(err, cerr, os.Remove(path))
	}
	a.say("wrote %s: look through it before you give it to somebody", path)
	if err != nil {
		err = fmt.Errorf("%w; the others are in the bundle", err)
	}
	return show(v, report, err)
}
