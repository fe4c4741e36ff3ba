package main

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/urfave/cli/v2"
	"gopkg.in/yaml.v3"

	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/setup"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/token"
	"fleetctl/inventory/ansiblecfg"
	"fleetctl/remote"
)

// initFleet is the template of the file that "fleetctl init" writes.
//
//go:embed init/fleet.yaml
var initFleet string

func (a *app) initCommand() *cli.Command {
	return &cli.Command{
		Name:  "init",
		Usage: "write a fleet.yaml of what is found here",
		Description: "It looks for an Ansible inventory or ansible.cfg near by, the profile of tsh, and the cluster that tctl is " +
			"logged in to. It asks nothing, writes fleet.yaml alone, and never over one that is there.",
		Flags: slices.Concat(a.commonFlags()[:1], []cli.Flag{
			&cli.StringFlag{Name: "inventory", Aliases: []string{"i"}, Usage: "the inventory `SOURCE`: a file, a directory or a program"},
			&cli.StringFlag{Name: "proxy", Usage: "the cluster's proxy, `HOST:PORT`"},
			&cli.StringFlag{Name: "bot", Usage: "the `NAME` of the bot that hosts join as"},
			&cli.StringSliceFlag{Name: "role", Usage: "a `ROLE` of the bot; again for more"},
			&cli.StringFlag{Name: "token", Usage: "the `NAME` of the join token, and of the fleet"},
			&cli.BoolFlag{Name: "no-ansible-config", Usage: "read neither ansible.cfg nor ANSIBLE_* of the environment"},
		}),
		Action: a.init,
	}
}

func (a *app) init(c *cli.Context) error {
	if c.Args().Present() {
		return usage("init takes no arguments; --inventory names an inventory")
	}
	path := c.String("file")
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return isThere(path)
	}
	if err := checkSource(c.String("inventory")); err != nil {
		return err
	}
	if _, err := config.New(append(wholeFleet(), fleetValues(c)...)...); err != nil {
		return err // flags that no fleet.yaml may have
	}
	found := setup.Look(c.Context, a.setupOptions(c, filepath.Dir(path)))
	if err := context.Cause(c.Context); err != nil {
		return err
	}
	d := newDraft(c, found)
	content, err := d.render()
	if err == nil {
		_, err = config.Parse(path, content) // what nobody could read is not written
	}
	if err == nil {
		err = writeNew(path, content)
	}
	if err != nil {
		return err
	}
	a.sayDraft(path, d, found)
	return nil
}

// wholeFleet has every value that a configuration needs, so that what flags say of some can be checked.
func wholeFleet() []config.Override {
	return []config.Override{
		{Key: config.KeyProxy, Values: []string{config.Placeholder + ":443"}}, {Key: config.KeyBot, Values: []string{config.Placeholder}},
		{Key: config.KeyRoles, Values: []string{config.Placeholder}},
	}
}

// checkSource refuses an inventory that is not there; a list of hosts is one.
func checkSource(source string) error {
	if _, err := os.Stat(source); source != "" && !strings.Contains(source, ",") && errors.Is(err, fs.ErrNotExist) {
		return &outcome.InputError{Msg: fmt.Sprintf("--inventory: there is no %s", source)}
	}
	return nil
}

func isThere(path string) error {
	return &outcome.InputError{File: path, Msg: "is there already: nothing was written",
		Hint: "\"fleetctl doctor\" looks at it; -f writes another one"}
}

// setupOptions say where to look. What keeps Ansible's settings or tctl from being asked is said, and the search goes on.
func (a *app) setupOptions(c *cli.Context, dir string) setup.Options {
	opts := setup.Options{Dir: dir, Tsh: setup.TshHome(os.LookupEnv)}
	ansible, err := a.ansibleConfig(c)
	if err != nil {
		a.say("warning: %v", err)
	}
	if s, ok := ansible.Get(ansiblecfg.Inventory); ok {
		opts.Ansible, opts.AnsibleSource = a.ansibleSources(c), s.Source
	}
	if a.tctl != nil {
		opts.Tctl = &tctl.Tctl{Runner: a.tctl}
	} else if t, err := tctl.New(config.Default()); err == nil {
		opts.Tctl = &t
	}
	return opts
}

// draft is what the template is filled with.
type draft struct {
	Fleet, Inventory, Proxy, Bot, Roles, Token field
	Tctl                                       []string // notes
}

// field is a value of the file with where it is from.
type field struct {
	key   string
	Text  string // as YAML
	Notes []string
	from  string // in short; "" for a value that nobody needs to hear of
}

// String is what stands behind the key; an example, where there is no value.
func (f field) String() string { return cmp.Or(f.Text, "inventory.yaml") }

// hole says whether somebody has to write the value.
func (f field) hole() bool { return strings.Contains(f.Text, config.Placeholder) }

func newDraft(c *cli.Context, found setup.Found) draft {
	name := cmp.Or(c.String("token"), "fleet")
	d := draft{
		Inventory: inventoryField(c, found),
		Proxy:     flagOr(c, config.KeyProxy, "proxy", found.Proxy),
		Bot:       flagOr(c, config.KeyBot, "bot", setup.Value{Text: "fleet", From: "any name does", Guess: true}),
		Roles:     flagOr(c, config.KeyRoles, "role", setup.Value{}),
		Token:     flagOr(c, config.KeyToken, "token", setup.Value{Text: name, From: "any name does", Guess: true}),
		Fleet:     field{Text: scalar(name)},
	}
	if d.Proxy.hole() {
		d.Proxy.Text = config.Placeholder + ":443"
	}
	switch {
	case found.TctlErr != nil:
		d.Tctl = []string{"It did not answer when this file was written."}
	case found.Tctl:
		d.Tctl = []string{remote.Escape(fmt.Sprintf("It speaks to cluster %s, version %s.", cmp.Or(found.Cluster, "(no name)"),
			cmp.Or(found.Version.String(), "unknown")))}
	}
	return d
}

// flagOr is the value of a flag, else what was found, else a placeholder.
func flagOr(c *cli.Context, key, flag string, v setup.Value) field {
	list := key == config.KeyRoles
	if c.IsSet(flag) {
		text := scalar(c.String(flag))
		if list {
			text = scalars(c.StringSlice(flag))
		}
		return field{key: key, Text: text, from: "--" + flag}
	}
	f := field{key: key, Text: scalar(v.Text), from: v.From}
	switch {
	case v.Text == "":
		f.Text, f.from = config.Placeholder, "nothing here tells it"
		f.Notes = []string{config.Placeholder + ": nothing here tells it. Write it here before \"fleetctl enroll\"."}
		if list {
			f.Text = "[" + config.Placeholder + "]"
		}
	case v.Guess:
		f.from = "guessed: " + v.From
		f.Notes = []string{"Guessed: " + remote.Escape(v.From) + "."}
	default:
		f.Notes = []string{"From " + remote.Escape(v.From) + "."}
	}
	return f
}

// inventoryField is the inventory. Without one, it may be named on every command line.
func inventoryField(c *cli.Context, found setup.Found) field {
	f := field{key: "inventory"}
	switch {
	case c.IsSet("inventory"):
		return field{key: f.key, Text: scalar(setup.Relative(filepath.Dir(c.String("file")), c.String("inventory"))), from: "--inventory"}
	case found.Inventory.Text != "":
		f = flagOr(c, f.key, "inventory", found.Inventory)
	default:
		f.Notes = []string{"None was found here. Without this key commands read what -i or their argument names, else Ansible's own."}
	}
	if len(found.Others) > 0 {
		f.Notes = append(f.Notes, "There are also: "+remote.Escape(strings.Join(found.Others, ", ")))
	}
	return f
}

// scalar writes a text as YAML on one line.
func scalar(text string) string {
	out, err := yaml.Marshal(text)
	if err != nil || bytes.Count(out, []byte("\n")) > 1 {
		return fmt.Sprintf("%q", text)
	}
	return strings.TrimSpace(string(out))
}

func scalars(texts []string) string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = scalar(t)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func (d draft) render() ([]byte, error) {
	t, err := template.New("fleet.yaml").Parse(initFleet)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, d)
	return out.Bytes(), err
}

// sayDraft says where each value is from, and what comes next.
func (a *app) sayDraft(path string, d draft, found setup.Found) {
	a.say("wrote %s:", path)
	var holes []string
	for _, f := range []field{d.Inventory, d.Proxy, d.Bot, d.Roles, d.Token} {
		switch {
		case f.Text == "":
			a.say("  no inventory was found: name it there, or on each command line")
			continue
		case f.hole():
			holes = append(holes, f.key)
		}
		a.say("  %s: %s (%s)", f.key, f.Text, f.from)
	}
	if found.TctlErr != nil {
		a.say("warning: tctl does not answer: %s", remote.Line(found.TctlErr.Error()))
	}
	if found.Cluster != "" {
		a.say("  the cluster is %s, version %s", found.Cluster, cmp.Or(found.Version.String(), "unknown"))
	}
	if len(holes) > 0 {
		a.say("next: replace %s at %s in %s, then \"fleetctl doctor\"", config.Placeholder, strings.Join(holes, " and "), path)
		return
	}
	a.say("next: look through %s, then \"fleetctl doctor\" says whether everything is there, and \"fleetctl scan\" begins", path)
}

// writeNew writes a file that is not there yet: as a whole, and never over another one. The name is taken first, by a file
// that is empty for a moment.
func writeNew(path string, content []byte) (err error) {
	taken, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return isThere(path)
	}
	if err != nil {
		return inputError(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	if err := taken.Close(); err != nil {
		return err
	}
	return token.WriteFile(path, content)
}
