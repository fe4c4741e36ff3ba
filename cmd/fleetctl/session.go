package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/proxy"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
	"fleetctl/inventory/ansiblecfg"
	"fleetctl/remote"
	"fleetctl/templates"
)

// needs says what a command cannot do without.
type needs struct {
	config  bool // fleet.yaml; without it, the defaults do
	hosts   bool // hosts of the inventory, chosen by --limit; else the whole inventory, which may be absent
	cluster need // tctl
	records recordsNeed
}

// need says how much something is needed.
type need int

const (
	never    need = iota
	byTheWay      // without it nothing is said: fleet.yaml may name no cluster, and tctl may be elsewhere
	ifThere
	always
)

// recordsNeed says what a command does with records. Only commands that look at TPMs, or take over what was seen of them, make a
// file: to all others one that is missing would be a fleet without hosts, whose rules have to go.
type recordsNeed int

const (
	noRecords recordsNeed = iota
	existingRecords
	makeRecords
)

// session is a command line at work: the fleet, and what has to be closed.
type session struct {
	enroll.Fleet
	close func()
}

// session reads what a command needs, in the order in which people want to hear of mistakes: flags, fleet.yaml, the
// inventory, tctl, the records.
func (a *app) session(c *cli.Context, n needs) (s session, err error) {
	s.close = func() {}
	if s.Watcher, err = a.logged(c, a.console(c)); err != nil {
		return s, err
	}
	if a.interactive {
		s.Confirm = func(question string) bool {
			answer, err := a.question(c.Context, question+" [y/N]")
			return err == nil && (answer == "y" || answer == "yes")
		}
	}
	if s.Config, err = a.config(c, n.config); err != nil {
		return s, err
	}
	if s.Templates, err = templates.Load(c.String("templates")); err != nil {
		return s, inputError(err)
	}
	if err := a.readInventory(c, &s.Fleet, n.hosts); err != nil {
		return s, err
	}
	switch s.Cluster, err = a.cluster(c, s.Config, n.cluster); {
	case err == nil, n.cluster == byTheWay:
	case n.cluster == always:
		return s, err
	default:
		s.Unasked = err
		s.Watcher.Note(enroll.ClusterSilent{About: enroll.AboutAll, Err: err})
	}
	if a.tctl == nil && n.cluster != never && s.Config.Cluster.ProxyServer != "" {
		s.ClusterTime = func(ctx context.Context) (time.Time, error) { return proxy.Time(ctx, s.Config.Cluster.ProxyServer) }
	}
	s.Access = func(ctx context.Context, hosts []inventory.Host) (work.Reach, func(), error) {
		return a.access(ctx, c, s.Config, hosts)
	}
	if n.records != noRecords {
		st, err := a.open(c, n.records == existingRecords)
		if err != nil {
			return s, err
		}
		s.Store, s.close = st, func() { _ = st.Close() } // every change is committed when it is made
	}
	return s, nil
}

// fleetFlags say what else stands in fleet.yaml, and win over it.
func (a *app) fleetFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "proxy", Usage: "the cluster's proxy, `HOST:PORT`, in place of fleet.yaml's"},
		&cli.StringFlag{Name: "bot", Usage: "the `NAME` of the bot that hosts join as, in place of fleet.yaml's"},
		&cli.StringSliceFlag{Name: "role", Usage: "a `ROLE` of the bot, in place of fleet.yaml's; again for more"},
		&cli.StringFlag{Name: "token", Usage: "the `NAME` of the join token, in place of fleet.yaml's"},
	}
}

// fleetValues are what fleetFlags say, by the keys of fleet.yaml.
func fleetValues(c *cli.Context) (over []config.Override) {
	for _, f := range []struct{ flag, key string }{
		{"proxy", config.KeyProxy}, {"bot", config.KeyBot}, {"role", config.KeyRoles}, {"token", config.KeyToken},
	} {
		if !c.IsSet(f.flag) {
			continue
		}
		values := []string{c.String(f.flag)}
		if f.key == config.KeyRoles {
			values = c.StringSlice(f.flag)
		}
		over = append(over, config.Override{Key: f.key, Values: values, By: "--" + f.flag})
	}
	return over
}

// config reads fleet.yaml, under what flags say. A command that can do without it gets the defaults when there is none and -f
// names none; one that can't may have all that it needs from flags.
func (a *app) config(c *cli.Context, needed bool) (config.Config, error) {
	path, over := c.String("file"), fleetValues(c)
	_, err := os.Stat(path)
	switch none := errors.Is(err, fs.ErrNotExist) && !c.IsSet("file"); {
	case none && needed:
		return withoutFile(c, over)
	case none:
		return config.Default(), nil
	}
	cfg, err := config.Load(path, over...)
	if err == nil && needed {
		err = cfg.Filled()
	}
	return cfg, err
}

// withoutFile is the configuration by flags alone, of a command that needs one.
func withoutFile(c *cli.Context, over []config.Override) (config.Config, error) {
	var missing []string
	for _, f := range []struct{ flag, key string }{
		{"--proxy teleport.example.com:443", config.KeyProxy}, {"--bot fleet", config.KeyBot}, {"--role fleet-access", config.KeyRoles},
	} {
		if !slices.ContainsFunc(over, func(o config.Override) bool { return o.Key == f.key }) {
			missing = append(missing, f.flag)
		}
	}
	if len(missing) == 0 {
		return config.New(over...)
	}
	return config.Config{}, &outcome.InputError{
		Msg: fmt.Sprintf("there is no fleet.yaml: %s needs to know the cluster's proxy, the bot that hosts join as, and its roles",
			c.Command.Name),
		Hint: "\"fleetctl init\" writes one of what it finds here; -f names yours; or say, for example, " + strings.Join(missing, " "),
	}
}

// readInventory loads the inventory (-i, arguments where they are one, or fleet.yaml's) once, since standard input can't
// be read twice, and chooses hosts. Without a need for hosts there may be no inventory: hosts keep what they have.
func (a *app) readInventory(c *cli.Context, f *enroll.Fleet, needed bool) error {
	sources := c.StringSlice("inventory")
	if needed {
		sources = a.sources(c, f.Config)
	} else if len(sources) == 0 {
		sources = a.usualSources(c, f.Config)
	}
	if len(sources) == 0 && !needed {
		return nil
	}
	inv, err := a.loadInventory(c, sources, needed)
	if err != nil {
		return err
	}
	if f.Inventory, err = inv.Select("all"); err != nil {
		return inputError(err)
	}
	f.Groups, f.Hosts, f.Select = inv.Groups(), f.Inventory, inv.Select
	if limit := c.String("limit"); needed && limit != "" {
		if f.Hosts, err = inv.Select("all", limit); err != nil {
			return inputError(err)
		}
	}
	if needed && len(f.Hosts) == 0 {
		return inputError(errors.New("no host matches: look at \"fleetctl inventory\" and --limit"))
	}
	return nil
}

// sources are where the inventory is read from, for commands whose arguments are inventories.
func (a *app) sources(c *cli.Context, cfg config.Config) []string {
	sources := append(c.StringSlice("inventory"), c.Args().Slice()...)
	if len(sources) == 0 {
		sources = a.usualSources(c, cfg)
	}
	return sources
}

// usualSources are where the inventory is read from when the command line names none.
func (a *app) usualSources(c *cli.Context, cfg config.Config) []string {
	if cfg.Inventory != "" {
		return []string{cfg.Inventory}
	}
	return a.ansibleSources(c)
}

// loadInventory loads sources and says what was skipped in them.
func (a *app) loadInventory(c *cli.Context, sources []string, warn bool) (*inventory.Inventory, error) {
	opts, err := a.inventoryOptions(c)
	if err != nil {
		return nil, err
	}
	if len(sources) == 0 {
		return nil, usage("which inventory? Name it as an argument, with -i, or as \"inventory:\" in fleet.yaml")
	}
	inv, err := inventory.Load(c.Context, sources, opts)
	if err != nil {
		return nil, inputError(err)
	}
	if !warn {
		return inv, nil
	}
	const most = 20
	warnings := inv.Warnings()
	for _, w := range warnings[:min(most, len(warnings))] {
		a.say("warning: %s", remote.Clean(w))
	}
	if more := len(warnings) - most; more > 0 {
		a.say("warning: and %d more like these", more)
	}
	return inv, nil
}

// cluster finds tctl before anything is done, so that a run that needs it doesn't stop half-way. Prompts of it reach the
// user.
func (a *app) cluster(c *cli.Context, cfg config.Config, n need) (*tctl.Tctl, error) {
	if n == never || n == byTheWay && cmp.Or(cfg.Cluster.ProxyServer, cfg.Cluster.AuthServer) == "" {
		return nil, nil
	}
	if a.tctl != nil {
		return &tctl.Tctl{Runner: a.tctl}, nil
	}
	t, err := tctl.New(cfg)
	if err != nil {
		return nil, err
	}
	t.Stderr = a.forChildren()
	if f, ok := a.stdin.(*os.File); ok && isTerminal(f) {
		t.Stdin = f
	}
	if c.Bool("verbose") {
		t.Logf = a.say
	}
	return &t, nil
}

// open opens the records.
func (a *app) open(c *cli.Context, existing bool) (store.Store, error) {
	st, err := store.OpenWith(c.Context, c.String("db"), store.Options{
		Wait: c.Duration("wait"), Existing: existing, Actor: a.actor(c),
	})
	if errors.Is(err, store.ErrNoRecords) {
		return nil, &outcome.InputError{Msg: fmt.Sprintf("there are no records at %s", c.String("db")),
			Hint: "\"fleetctl scan\" makes them; if there have been some, name their file with --db or bring it back from a backup"}
	}
	if err != nil {
		return nil, fmt.Errorf("records %s: %w", c.String("db"), err)
	}
	return st, nil
}

// access asks for the secrets, once and before any host is contacted, and makes the dialer.
func (a *app) access(ctx context.Context, c *cli.Context, cfg config.Config, hosts []inventory.Host) (work.Reach, func(), error) {
	ansible, err := a.ansibleConfig(c)
	if err == nil {
		err = checkAccess(c)
	}
	if err != nil {
		return work.Reach{}, nil, err
	}
	reach := work.Reach{
		Become: work.Become{
			Method: cmp.Or(c.String("become-method"), ansible.Text(ansiblecfg.BecomeMethod)),
			User:   cmp.Or(c.String("become-user"), ansible.Text(ansiblecfg.BecomeUser)),
			Prompt: c.String("become-prompt"),
		},
		Timeout: c.Duration("timeout"),
	}
	if reach.Forks, err = forks(c, cfg, ansible); err != nil {
		return reach, nil, err
	}
	if reach.Password, err = a.sshPassword(c, ansible); err != nil {
		return reach, nil, err
	}
	if reach.Become.Password, err = a.becomePassword(c, ansible); err != nil {
		return reach, nil, err
	}
	dialer, err := remote.NewDialer(a.dialOptions(c, ansible))
	if err != nil {
		return reach, nil, inputError(err)
	}
	reach.Dialer = dialer
	reach.Preload(ctx, dialer, hosts)
	reach.Forks, reach.Short = a.holdForks(reach.Forks, dialer.Commands()), a.short()
	return reach, func() { _ = dialer.Close() }, nil // shared connections; the hosts' own are closed
}

func (a *app) dialOptions(c *cli.Context, ansible *ansiblecfg.Config) remote.Options {
	opts := remote.Options{
		HostKeyChecking: a.hostKeyChecking(c, ansible),
		ConnectTimeout:  c.Duration("connect-timeout"),
		AuthTimeout:     c.Duration("auth-timeout"),
		SSHConfig:       c.String("ssh-config"),
		User:            cmp.Or(c.String("user"), ansible.Text(ansiblecfg.RemoteUser)),
		PrivateKey:      cmp.Or(c.String("private-key"), ansible.Text(ansiblecfg.PrivateKeyFile)),
		Passphrase:      func(file string) (string, error) { return a.prompt(c.Context, "passphrase of "+file) },
		Warn:            func(text string) { a.say("warning: %s", text) },
		Accepted:        func(host, key string) { a.say("accepted the host key of %s: %s", host, key) },
	}
	if c.Bool("verbose") {
		opts.Logf = a.say
	}
	if a.verbose > 1 {
		opts.Debugf = a.say
	}
	opts.KeyPlace = "--private-key"
	if s, ok := ansible.Get(ansiblecfg.PrivateKeyFile); ok && c.String("private-key") == "" {
		opts.KeyPlace = s.Source
	}
	return opts
}

// checkAccess refuses flags about access that cannot be meant, before anybody is asked for a password.
func checkAccess(c *cli.Context) error {
	if key := c.String("private-key"); key != "" {
		if err := remote.CheckKey(key); err != nil {
			return inputError(fmt.Errorf("--private-key %w", err))
		}
	}
	if _, err := regexp.Compile(c.String("become-prompt")); err != nil {
		return usage("--become-prompt: %s", strings.Replace(err.Error(), "error parsing regexp", "no regular expression", 1))
	}
	return nil
}

func forks(c *cli.Context, cfg config.Config, ansible *ansiblecfg.Config) (int, error) {
	n, given := cfg.Rollout.Forks, c.String("forks")
	switch {
	case given == "ansible":
		n = cmp.Or(ansible.Int(ansiblecfg.Forks), ansibleForks)
	case c.IsSet("forks"):
		n, _ = strconv.Atoi(given)
	default:
		given = strconv.Itoa(n)
	}
	if n < 1 || n > 10000 {
		return 0, usage("--forks %s: not between 1 and 10000, and not \"ansible\"", given)
	}
	return n, nil
}

// ansibleForks is what Ansible does at once where nobody says otherwise.
const ansibleForks = 5

// inputError marks an error as something that the user has to correct (exit 2).
func inputError(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return outcome.Mark(err, outcome.ErrInput)
}
