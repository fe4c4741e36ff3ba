package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
	"fleetctl/enroll/work"
	"fleetctl/remote"
	"fleetctl/remote/sshfp"
)

func (a *app) knownHostsCommand() *cli.Command {
	return &cli.Command{
		Name:      "known-hosts",
		Usage:     "collect the host keys of hosts that are not known, and show or record them",
		ArgsUsage: "[INVENTORY]",
		Flags: slices.Concat(a.commonFlags(), a.hostFlags(), a.connectFlags(), []cli.Flag{
			&cli.StringFlag{Name: "fingerprints", Usage: "a `FILE` with hosts and fingerprints: only keys that it has are recorded"},
			&cli.BoolFlag{Name: "sshfp", Value: true, Usage: "ask DNS for SSHFP records, too"},
			&cli.BoolFlag{Name: "write", Usage: "add the keys of new hosts to known_hosts, after a yes"},
			&cli.BoolFlag{Name: "yes", Usage: "with --write: don't ask; without --fingerprints this is trust on first use"},
		}),
		Action: a.knownHosts,
	}
}

func (a *app) knownHosts(c *cli.Context) error {
	if c.Bool("yes") && !c.Bool("write") {
		return usage("--yes goes with --write")
	}
	p, err := a.printer(c)
	if err != nil {
		return err
	}
	opts := enroll.KnownHostsOptions{Write: c.Bool("write"), Yes: c.Bool("yes")}
	if path := c.String("fingerprints"); path != "" {
		if opts.Fingerprints, err = enroll.ReadFingerprints(path); err != nil {
			return inputError(fmt.Errorf("--fingerprints: %w", err))
		}
	}
	if c.Bool("sshfp") {
		if resolver, err := sshfp.System(); err == nil { // without one, there are no records
			opts.DNS = resolver.Lookup
		}
	}
	s, err := a.session(c, needs{hosts: true})
	if err != nil {
		return err
	}
	defer s.close()
	dialer, err := a.lookWith(c, s, &opts)
	if err != nil {
		return err
	}
	defer func() { _ = dialer.Close() }()
	hosts, err := enroll.KnownHosts(c.Context, s.Fleet, opts)
	return errors.Join(printKeys(p, hosts), err)
}

// lookWith is what asks hosts for their keys. Nobody is asked for a password: it comes to no login, but to jump hosts.
func (a *app) lookWith(c *cli.Context, s session, opts *enroll.KnownHostsOptions) (*remote.Dialer, error) {
	ansible, err := a.ansibleConfig(c)
	if err == nil {
		err = checkAccess(c)
	}
	if err != nil {
		return nil, err
	}
	dialer, err := remote.NewDialer(a.dialOptions(c, ansible))
	if err != nil {
		return nil, inputError(err)
	}
	n, err := forks(c, s.Config, ansible)
	if err != nil {
		return nil, errors.Join(err, dialer.Close())
	}
	opts.Keys = dialer
	opts.Reach = work.Reach{
		Dialer: dialer, Forks: a.holdForks(n, true), Timeout: c.Duration("timeout"), Short: a.short(),
	}
	return dialer, nil
}

// printKeys prints hosts with their keys; a row a key where rows are cells.
func printKeys(p *printer, hosts []enroll.KnownHost) error {
	if !p.tabular() {
		return write(p, knownHostsShape, nothing{}, nil, hosts, nil)
	}
	type row struct {
		host enroll.KnownHost
		key  enroll.KnownKey
	}
	var rows []row
	for _, h := range hosts {
		for _, k := range h.Keys {
			rows = append(rows, row{h, k})
		}
		if len(h.Keys) == 0 {
			rows = append(rows, row{host: h})
		}
	}
	header := []string{"HOST", "ADDRESS", "STATUS", "TYPE", "FINGERPRINT", "VOUCHED", "MESSAGE"}
	return p.table(header, len(rows), func(i int) []string {
		h, k := rows[i].host, rows[i].key
		status := h.Status
		if h.Written {
			status = "added"
		}
		vouched := k.Vouched
		if k.Against {
			vouched = "no"
		}
		cells := []string{h.Host, h.Address, status, k.Type, k.Fingerprint, vouched, cmp.Or(k.Note, h.Message)}
		for i, cell := range cells {
			cells[i] = remote.Clean(cell)
		}
		return cells
	})
}

// keyText is a key that is about to be trusted.
func keyText(h enroll.KnownHost, k enroll.KnownKey) string {
	return fmt.Sprintf("%s %s %s: %s", h.Address, k.Type, k.Fingerprint, cmp.Or(k.Vouched, "trusted on first use"))
}
