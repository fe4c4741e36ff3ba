package work

import (
	"cmp"
	"context"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// Dialer connects to hosts; *remote.Dialer is one.
type Dialer interface {
	Dial(ctx context.Context, t remote.Target) (*remote.Conn, error)
}

// Reach says how hosts are reached: what the command line adds to the inventory, and how many at once.
type Reach struct {
	Dialer   Dialer
	Become   Become
	Password string        // for SSH, where the inventory has none
	Forks    int           // hosts at once
	Timeout  time.Duration // for one host, all in all; 0: none
}

// Become says what the command line adds to the inventory's become variables.
type Become struct {
	Method   string
	User     string
	Password string
}

// Dial connects to a host.
func (r Reach) Dial(ctx context.Context, h inventory.Host) (*remote.Conn, error) {
	t, err := r.Target(h)
	if err != nil {
		return nil, err
	}
	return r.Dialer.Dial(ctx, t)
}

// Preload loads the keys of all hosts, so that passphrases are asked before the run. What goes wrong with a host is
// reported when the host is dialled.
func (r Reach) Preload(ctx context.Context, d *remote.Dialer, hosts []inventory.Host) {
	for _, h := range hosts {
		if t, err := r.Target(h); err == nil {
			_ = d.Preload(ctx, []remote.Target{t})
		}
	}
}

// Target turns a host of the inventory into what remote needs to reach it.
func (r Reach) Target(h inventory.Host) (remote.Target, error) {
	c, err := h.Connection()
	if err != nil {
		return remote.Target{}, config.HostError(h, err)
	}
	return remote.Target{
		Name:           h.Name,
		Host:           c.Host,
		Port:           c.Port,
		User:           c.User,
		Password:       cmp.Or(c.Password, r.Password),
		PrivateKeyFile: c.PrivateKeyFile,
		SSHArgs:        c.SSHArgs,
		Become: remote.Become{
			Method:   cmp.Or(c.BecomeMethod, r.Become.Method, "sudo"),
			User:     cmp.Or(c.BecomeUser, r.Become.User, "root"),
			Password: cmp.Or(c.BecomePassword, r.Become.Password),
			Exe:      c.BecomeExe,
			Flags:    c.BecomeFlags,
		},
	}, nil
}
