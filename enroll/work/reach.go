package work

import (
	"cmp"
	"context"
	"math/rand/v2"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/inventory"
	"fleetctl/remote"
	"fleetctl/remote/fault"
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
	Short    func(error)   // hears that this machine lacks something, often; nil: nobody does
}

// Become says what the command line adds to the inventory's become variables.
type Become struct {
	Method   string
	User     string
	Password string
	Prompt   string // a regular expression; see remote.Become
}

// Dial connects to a host. What this machine is short of (descriptors, ports, processes) is waited for.
func (r Reach) Dial(ctx context.Context, h inventory.Host) (*remote.Conn, error) {
	t, err := r.Target(h)
	if err != nil {
		return nil, err
	}
	At(ctx, Connecting)
	var conn *remote.Conn
	err = r.Patiently(ctx, func() (err error) {
		conn, err = r.Dialer.Dial(ctx, t)
		return err
	})
	return conn, err
}

// Patiently does something that can be done again. As long as this machine is short of what it takes (descriptors, ports,
// processes), it waits and tries again, and the item's time stands still.
func (r Reach) Patiently(ctx context.Context, do func() error) error {
	for {
		err := do()
		if !fault.Short(err) {
			return err
		}
		if r.Short != nil {
			r.Short(err)
		}
		if err := waitForMore(ctx); err != nil {
			return err
		}
	}
}

// waitForMore waits a moment for what this machine lacks. The host's time stands still.
func waitForMore(ctx context.Context) error {
	defer remote.StandStill(ctx)()
	timer := time.NewTimer(250*time.Millisecond + rand.N(500*time.Millisecond))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
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
		KeyPlace:       "ansible_ssh_private_key_file of " + h.Name + ", " + h.Pos.String(),
		SSHArgs:        c.SSHArgs,
		Timeout:        c.Timeout,
		Become: remote.Become{
			Method:   cmp.Or(c.BecomeMethod, r.Become.Method, "sudo"),
			User:     cmp.Or(c.BecomeUser, r.Become.User, "root"),
			Password: cmp.Or(c.BecomePassword, r.Become.Password),
			Exe:      c.BecomeExe,
			Flags:    c.BecomeFlags,
			Prompt:   cmp.Or(c.BecomePrompt, r.Become.Prompt),
		},
	}, nil
}
