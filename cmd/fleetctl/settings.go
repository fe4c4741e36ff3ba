package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// config reads fleet.yaml. A command that can do without it gets the defaults when there is none and -f names none.
func (a *app) config(c *cli.Context, needed bool) (config.Config, error) {
	path := c.String("file")
	if !needed && !c.IsSet("file") {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return config.Default(), nil
		}
	}
	return config.Load(path)
}

// inputError marks an error as something that the user has to correct (exit 2).
func inputError(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w%w", err, quiet{outcome.ErrInput})
}

// quiet is an error for errors.Is that adds nothing to the text.
type quiet struct{ error }

func (quiet) Error() string   { return "" }
func (q quiet) Unwrap() error { return q.error }

// open opens the records.
func (a *app) open(c *cli.Context) (store.Store, error) {
	st, err := store.OpenWith(c.Context, c.String("db"), store.Options{Wait: c.Duration("wait")})
	if err != nil {
		return nil, fmt.Errorf("records %s: %w", c.String("db"), err)
	}
	return st, nil
}

// cas loads the EK certificate authorities of fleet.yaml, and says what in them could not be used; nil when there are
// none.
func (a *app) cas(cfg config.Config) (*tpm.CASet, error) {
	if len(cfg.Token.EKCertCAs) == 0 {
		return nil, nil
	}
	set, err := tpm.LoadCAs(cfg.Token.EKCertCAs...)
	if err != nil {
		return nil, inputError(fmt.Errorf("token.ekcert_cas: %w", err))
	}
	for _, why := range set.Skipped() {
		a.say("token.ekcert_cas: left out: %s", why)
	}
	return set, nil
}

// access is how hosts are reached.
type access struct {
	dialer   *remote.Dialer
	become   work.Become
	password string
}

// access asks for the secrets, once and before any host is contacted, and makes the dialer.
func (a *app) access(c *cli.Context, hosts []inventory.Host) (access, error) {
	var acc access
	var err error
	acc.become = work.Become{Method: c.String("become-method"), User: c.String("become-user")}
	if acc.password, err = a.sshPassword(c); err != nil {
		return access{}, err
	}
	if acc.become.Password, err = a.becomePassword(c); err != nil {
		return access{}, err
	}
	opts := remote.Options{
		HostKeyChecking: c.String("host-key-checking"),
		ConnectTimeout:  c.Duration("connect-timeout"),
		SSHConfig:       c.String("ssh-config"),
		User:            c.String("user"),
		PrivateKey:      c.String("private-key"),
		Passphrase:      a.passphrase,
		Accepted:        func(host, key string) { a.say("accepted the host key of %s: %s", host, key) },
	}
	if c.Bool("verbose") {
		opts.Logf = a.say
	}
	if acc.dialer, err = remote.NewDialer(opts); err != nil {
		return access{}, inputError(err)
	}
	work.LoadKeys(c.Context, acc.dialer, hosts, acc.become, acc.password)
	return acc, nil
}

func forks(c *cli.Context, cfg config.Config) (int, error) {
	n := cfg.Rollout.Forks
	if c.IsSet("forks") {
		n = c.Int("forks")
	}
	if n < 1 || n > 10000 {
		return 0, usage("--forks %d: not between 1 and 10000", n)
	}
	return n, nil
}
