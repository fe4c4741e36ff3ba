package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// Our own variables in the inventory.
const (
	varDevice = "tpm_device"
	varSameAs = "fleetctl_same_as"
	varBot    = "fleetctl_bot"
	varExpect = "fleetctl_expect"
	varUntil  = "fleetctl_expect_until"
	varTbot   = "tbot"
)

// HostVars are our own variables of one host, read.
type HostVars struct {
	Device Path        // tpm_device: a character device or a unix socket; "" for the one that tbot would take
	SameAs string      // fleetctl_same_as: the name that the host is another name of; "" for none
	Expect Expectation // fleetctl_expect and fleetctl_expect_until
	Bot    *Bot        // fleetctl_bot: whom the host joins as, without roles those of fleet.yaml; nil: the bot of fleet.yaml

	host   inventory.Host
	tbot   any
	secret bool // some of tbot is encrypted where it was written
}

// Host reads our variables of a host. Every command reads them here, so that all of them take and refuse the same. The
// error is an ErrInventory and an *outcome.InputError with the host's place. What the variable "tbot" holds is checked
// by HostVars.Tbot.
func Host(h inventory.Host) (HostVars, error) {
	v := HostVars{host: h}
	var errs []error
	fail := func(name, hint string, err error) {
		errs = append(errs, HostError(h, outcome.WithHint(fmt.Errorf("%s: %w", name, err), "%s", hint)))
	}
	get := func(name string) inventory.Resolved {
		r, err := h.Var(name)
		if err != nil {
			fail(name, "", err)
		}
		return r
	}
	if r := get(varDevice); r.Value != nil {
		text, _ := r.Value.(string)
		if v.Device = Path(text); v.Device.Check() != nil {
			fail(varDevice, "an absolute path: /dev/tpmrm0", fmt.Errorf("%s is not a clean absolute path that a unit can hold", shown(r)))
		}
	}
	if r := get(varSameAs); r.Value != nil {
		var ok bool
		if v.SameAs, ok = r.Value.(string); !ok {
			fail(varSameAs, "the name of another host", errors.New("is not the name of a host"))
		}
	}
	if r := get(varBot); r.Value != nil {
		bot, err := botOf(r.Value)
		if err != nil && r.Secret {
			err = errors.New("is neither a name nor a mapping with name and roles")
		}
		if err != nil {
			fail(varBot, "fleetctl_bot: {name: db, roles: [db-access]}", err)
		}
		v.Bot = &bot
	}
	expect, until := get(varExpect), get(varUntil)
	if err := v.Expect.read(expect.Value, until.Value); err != nil {
		fail(varExpect, "down or unenrolled; fleetctl_expect_until: 2026-12-31", err)
	}
	r := get(varTbot)
	v.tbot, v.secret = r.Value, r.Secret
	return v, errors.Join(errs...)
}

// shown is a value for people.
func shown(r inventory.Resolved) string {
	if r.Secret {
		return "what was decrypted"
	}
	return remote.Clean(fmt.Sprintf("%#v", r.Value))
}

// HostError is what somebody wrote wrongly about a host, with the place where it was first written.
func HostError(h inventory.Host, err error) error {
	in := &outcome.InputError{File: h.Pos.File, Line: h.Pos.Line, Column: h.Pos.Column, Msg: h.Name + ": " + err.Error()}
	if e := (*outcome.HintError)(nil); errors.As(err, &e) {
		in.Hint = e.Hint
	}
	return &outcome.Error{Reason: outcome.Reason{Code: outcome.InventoryError, Hint: in.Hint}, Err: in}
}

// BotOr is the bot that the host joins as; def is that of fleet.yaml.
func (v HostVars) BotOr(def Bot) Bot {
	switch {
	case v.Bot == nil || v.Bot.Roles == nil && v.Bot.Name == def.Name:
		return def
	case v.Bot.Roles == nil:
		return Bot{Name: v.Bot.Name, Roles: def.Roles}
	}
	return *v.Bot
}

// Tbot lays the variable "tbot" over the settings of fleet.yaml. Every key that the variable has replaces the fleet's; a
// list or a map is replaced as a whole, as Ansible does it. Unknown keys are errors, as in fleet.yaml.
func (v HostVars) Tbot(base Tbot) (Tbot, error) {
	t, err := override(base, v.tbot)
	if err != nil && v.secret { // the words of the YAML parser have values in them
		err = errors.New("cannot be read as settings of a tbot; some of it is encrypted, so that no more is said")
	}
	if err != nil {
		return base, HostError(v.host, fmt.Errorf("%s: %w", varTbot, err))
	}
	if t.User == "root" && t.Group == Default().Tbot.Group {
		t.Group = "root" // whoever runs tbot as root need not name root's group, too
	}
	var errs []error
	t.check(func(key, hint, message string) {
		if v.secret {
			message = "is refused; some of the variable is encrypted, so that no more is said"
		}
		errs = append(errs, HostError(v.host, outcome.WithHint(fmt.Errorf("%s: %s: %s", varTbot, key, message), "%s", hint)))
	})
	return t, errors.Join(errs...)
}

func override(base Tbot, over any) (Tbot, error) {
	if over == nil {
		return base, nil
	}
	keys, ok := over.(map[string]any)
	if !ok {
		return base, errors.New("is not a mapping")
	}
	base.Services = slices.Clone(base.Services)
	install, _ := keys["install"].(map[string]any)
	if _, ok := install["files"]; ok { // decoding would add to a map that is there
		base.Install.Files = nil
	}
	if _, ok := install["sha256"]; ok {
		base.Install.SHA256 = nil
	}
	return base, decodeOver(over, &base)
}

// PublicVars leaves out what says how to reach the host, as passwords are among it, and what is encrypted.
func PublicVars(vars map[string]any) map[string]any {
	out := make(map[string]any, len(vars))
	for k, v := range vars {
		if !strings.HasPrefix(k, "ansible_") && !inventory.Hidden(v) {
			out[k] = v
		}
	}
	return out
}

// botOf reads a bot's name, or a mapping with name and roles.
func botOf(v any) (Bot, error) {
	switch v := v.(type) {
	case string:
		return Bot{Name: v}, nil
	case map[string]any:
		return botFromMap(v)
	}
	return Bot{}, errors.New("is neither a name nor a mapping with name and roles")
}

// botFromMap takes texts alone: a number as a name is a mistake more often than a name.
func botFromMap(v map[string]any) (bot Bot, err error) {
	if err := decodeOver(v, &bot); err != nil {
		return bot, err
	}
	switch name := v["name"].(type) {
	case string:
	case nil:
		return bot, errors.New("has no name")
	default:
		return bot, fmt.Errorf("name: expected a text, found %v", name)
	}
	roles, _ := v["roles"].([]any)
	for i, r := range roles {
		if text, ok := r.(string); !ok || strings.TrimSpace(text) == "" {
			return bot, fmt.Errorf("roles[%d]: expected the name of a role, found \"%v\"", i, r)
		}
	}
	if bot.Name == "" {
		return bot, errors.New("has no name")
	}
	return bot, nil
}
