package work

import (
	"cmp"
	"context"

	"fleetctl/enroll/config"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// Dialer is what enroll needs of remote.Dialer; tests put their own there.
type Dialer interface {
	Dial(ctx context.Context, t remote.Target) (*remote.Conn, error)
}

// LoadKeys loads the keys of all hosts, so that passphrases are asked before the run. What goes wrong with a host is
// reported when the host is dialled.
func LoadKeys(ctx context.Context, d *remote.Dialer, hosts []inventory.Host, become Become, password string) {
	for _, h := range hosts {
		if t, err := Target(h, become, password); err == nil {
			_ = d.Preload(ctx, []remote.Target{t})
		}
	}
}

// Become says what the command line adds to the inventory's become variables.
type Become struct {
	Method   string
	User     string
	Password string // from --ask-become-pass, a file or the environment
}

// Target turns a host of the inventory into what remote needs to reach it.
func Target(h inventory.Host, become Become, password string) (remote.Target, error) {
	c, err := h.Connection()
	if err != nil {
		return remote.Target{}, config.HostError(h, err)
	}
	return remote.Target{
		Name:           h.Name,
		Host:           c.Host,
		Port:           c.Port,
		User:           c.User,
		Password:       cmp.Or(c.Password, password),
		PrivateKeyFile: c.PrivateKeyFile,
		SSHArgs:        c.SSHArgs,
		Become: remote.Become{
			Method:   cmp.Or(c.BecomeMethod, become.Method, "sudo"),
			User:     cmp.Or(c.BecomeUser, become.User, "root"),
			Password: cmp.Or(c.BecomePassword, become.Password),
			Exe:      c.BecomeExe,
			Flags:    c.BecomeFlags,
		},
	}, nil
}

func HostNames(hosts []inventory.Host) []string {
	names := make([]string, len(hosts))
	for i := range hosts {
		names[i] = hosts[i].Name
	}
	return names
}
