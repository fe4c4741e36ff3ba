package main

import (
	"cmp"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"fleetctl/inventory"
	"fleetctl/inventory/ansiblecfg"
	"fleetctl/remote"
)

// Flags that say how much Ansible's own settings count.
func (a *app) ansibleFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.BoolFlag{Name: "no-ansible", Usage: "never run ansible-inventory for what only Ansible can read"},
		&cli.BoolFlag{Name: "no-ansible-config", Usage: "read neither ansible.cfg nor ANSIBLE_* of the environment"},
	}, a.vaultFlags()...)
}

// ansibleConfig is what ansible.cfg and the environment say, read once; nil where the command line doesn't want it.
func (a *app) ansibleConfig(c *cli.Context) (*ansiblecfg.Config, error) {
	if a.ansible != nil || c.Bool("no-ansible-config") {
		return a.ansible, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	a.ansible, err = ansiblecfg.Read(dir, os.LookupEnv)
	if err != nil {
		return nil, inputError(err)
	}
	for _, w := range a.ansible.Warnings {
		a.say("warning: %s", w)
	}
	return a.ansible, nil
}

// inventoryOptions are how an inventory is read.
func (a *app) inventoryOptions(c *cli.Context) (inventory.Options, error) {
	opts := inventory.Options{
		Stdin: a.stdin, IgnoreVault: c.Bool("ignore-vault"), NoAnsible: c.Bool("no-ansible"), Trace: c.IsSet("why"),
		Defaults: map[string]any{},
	}
	for _, name := range []string{"vault-id", "vault-password-file"} {
		for _, value := range c.StringSlice(name) {
			opts.AnsibleArgs = append(opts.AnsibleArgs, "--"+name, value)
		}
	}
	if c.Bool("verbose") {
		opts.Logf = a.say
	}
	cfg, err := a.ansibleConfig(c)
	if err != nil {
		return opts, err
	}
	for name, setting := range map[string]string{
		"ansible_port": ansiblecfg.RemotePort, "ansible_ssh_args": ansiblecfg.SSHArgs,
		"ansible_ssh_common_args": ansiblecfg.SSHCommonArgs, "ansible_ssh_extra_args": ansiblecfg.SSHExtraArgs,
	} {
		if s, ok := cfg.Get(setting); ok {
			opts.Defaults[name] = s.Value
		}
	}
	if n := cfg.Int(ansiblecfg.Timeout); n > 0 {
		opts.Defaults["ansible_timeout"] = n
	}
	for _, method := range ansiblecfg.Methods {
		for _, setting := range []string{ansiblecfg.BecomeExe(method), ansiblecfg.BecomeFlags(method)} {
			if s, ok := cfg.Get(setting); ok {
				opts.Defaults[setting] = s.Value
			}
		}
	}
	if method := cmp.Or(c.String("become-method"), cfg.Text(ansiblecfg.BecomeMethod)); method != "" {
		opts.Defaults["ansible_become_method"] = method
	}
	opts.IgnoredExtensions = cfg.List(ansiblecfg.IgnoredExtensions)
	opts.IgnoredPatterns = cfg.List(ansiblecfg.IgnoredPatterns)
	opts.Vault, err = a.keyring(c, cfg)
	return opts, err
}

// ansibleSources are the inventories that Ansible would read where nothing else names one.
func (a *app) ansibleSources(c *cli.Context) []string {
	cfg, err := a.ansibleConfig(c)
	if err != nil {
		return nil // whoever reads the inventory meets it again
	}
	sources := cfg.List(ansiblecfg.Inventory)
	if len(sources) == 1 && sources[0] == workDir() { // what an empty variable stands for
		return nil
	}
	return sources
}

// hostKeyChecking is the flag's, whatever Ansible's settings say: they never make it weaker.
func (a *app) hostKeyChecking(c *cli.Context, cfg *ansiblecfg.Config) string {
	s, ok := cfg.Get(ansiblecfg.HostKeyChecking)
	if ok && s.Value == false && !c.IsSet("host-key-checking") {
		a.say("warning: %s turns host key checking off; fleetctl checks host keys all the same, unless --host-key-checking says otherwise",
			s.Source)
	}
	return c.String("host-key-checking")
}

// settingRow is a setting of Ansible as --show-config shows it.
type settingRow struct {
	Setting string `json:"setting"`
	Value   any    `json:"value"`
	Source  string `json:"source"`
	Effect  string `json:"effect"`
}

// effects say what becomes of settings that don't simply stand in for a flag or a variable.
var effects = map[string]string{
	ansiblecfg.HostKeyChecking: "none: host keys are checked unless --host-key-checking says otherwise",
	ansiblecfg.Forks:           "with --forks ansible",
	ansiblecfg.Become:          "none: fleetctl becomes root where a step needs it",
}

// whyRow is a place where a variable of a host is set.
type whyRow struct {
	Scope string `json:"scope"`
	Place string `json:"place"`
	Value string `json:"value"` // as JSON
	Wins  bool   `json:"wins"`
}

// why prints where a variable of a host is set, what counts, and what becomes of it.
func (a *app) why(c *cli.Context, p *printer) error {
	args := c.Args().Slice()
	if len(args) == 0 {
		return usage("--why %s of which host? Name it as the last argument", c.String("why"))
	}
	cfg, err := a.config(c, false)
	if err != nil {
		return err
	}
	name, host := c.String("why"), args[len(args)-1]
	sources := append(c.StringSlice("inventory"), args[:len(args)-1]...)
	if len(sources) == 0 {
		sources = a.usualSources(c, cfg)
	}
	inv, err := a.loadInventory(c, sources, false)
	if err != nil {
		return err
	}
	hosts, err := inv.Select(host)
	if err == nil && len(hosts) != 1 {
		err = fmt.Errorf("%q selects %d hosts, not one", host, len(hosts))
	}
	if err != nil {
		return inputError(err)
	}
	origins, err := inv.Why(name, hosts[0])
	if err != nil {
		return err
	}
	a.sayResolved(name, hosts[0], len(origins))
	rows := make([]whyRow, len(origins))
	for i, o := range origins {
		rows[i] = whyRow{o.Scope, o.Place, inventory.Shown(o.Value), i == len(origins)-1}
	}
	return write(p, whyShape, nothing{}, []string{"SCOPE", "PLACE", "VALUE", ""}, rows, func(r whyRow) []string {
		mark := "overridden"
		if r.Wins {
			mark = "counts"
		}
		return []string{r.Scope, r.Place, remote.Clean(r.Value), mark}
	})
}

// sayResolved says what a variable is once it is evaluated.
func (a *app) sayResolved(name string, h inventory.Host, places int) {
	if places == 0 {
		a.say("nothing sets %s of %s", name, h.Name)
		return
	}
	switch v, err := h.Var(name); {
	case err != nil:
		a.say("%s of %s %v", name, h.Name, err)
	case v.Secret:
		a.say("%s of %s is encrypted, and can be decrypted", name, h.Name)
	default:
		if text := inventory.Shown(v.Value); text != inventory.Shown(h.Vars[name]) && h.Vars[name] != nil {
			a.say("%s of %s is %s", name, h.Name, remote.Clean(text))
		}
	}
}

// showConfig prints the settings of Ansible that count here, and where they come from.
func (a *app) showConfig(c *cli.Context, p *printer) error {
	cfg, err := a.ansibleConfig(c)
	if err != nil {
		return err
	}
	rows := []settingRow{}
	if cfg != nil {
		for _, s := range cfg.Settings {
			effect := cmp.Or(effects[s.Name], "used where no flag and no variable says otherwise")
			rows = append(rows, settingRow{s.Name, s.Value, s.Source, effect})
		}
		if cfg.File == "" {
			a.say("there is no ansible.cfg: not in ANSIBLE_CONFIG, this directory, the home or /etc/ansible")
		}
	}
	return write(p, settingsShape, nothing{}, []string{"SETTING", "VALUE", "SOURCE", "EFFECT"}, rows, func(r settingRow) []string {
		return []string{r.Setting, ansiblecfg.Setting{Value: r.Value}.Text(), r.Source, r.Effect}
	})
}
