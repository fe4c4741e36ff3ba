package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"fleetctl/enroll/outcome"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// hostError is what somebody wrote wrongly about a host.
func HostError(h inventory.Host, err error) error {
	e := &outcome.InputError{File: h.Pos.File, Line: h.Pos.Line, Msg: h.Name + ": " + err.Error()}
	if he := (*outcome.HintError)(nil); errors.As(err, &he) {
		e.Hint = he.Hint
	}
	return e
}

func StringVar(h inventory.Host, name string) (string, error) {
	v, ok := h.Vars[name]
	if !ok || v == nil {
		return "", nil
	}
	s, ok := v.(string)
	if !ok || !CleanPath(s) {
		return "", fmt.Errorf("%w: %s: %v is not a clean absolute path", outcome.ErrInventory, name, v)
	}
	return s, nil
}

// overrideTbot lays a "tbot:" variable of the inventory over fleet.yaml's. Every key that the variable has replaces the
// fleet's; a list or a map is replaced as a whole, as Ansible does it. Unknown keys are errors.
func OverrideTbot(base Tbot, override any) (Tbot, error) {
	if override == nil {
		return base, nil
	}
	if _, ok := override.(map[string]any); !ok {
		return base, fmt.Errorf("is not a mapping, but %T", override)
	}
	raw, err := yaml.Marshal(override)
	if err != nil {
		return base, err
	}
	base.Services = slices.Clone(base.Services)
	base.Install.Files, base.Install.SHA256 = maps.Clone(base.Install.Files), maps.Clone(base.Install.SHA256)
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(&base); err != nil {
		return base, errors.New(strings.ReplaceAll(err.Error(), "\n", " "))
	}
	return base, nil
}

func CheckPaths(t Tbot) error {
	for key, path := range map[string]string{"config": t.Config, "storage": t.Storage, "binary": t.Binary} {
		if (path != "" || key != "binary") && !CleanPath(path) {
			return fmt.Errorf("%s: %q is not a clean absolute path", key, path)
		}
	}
	if !UnixName.MatchString(t.User) || !UnixName.MatchString(t.Group) {
		return fmt.Errorf("user %q or group %q is no Linux account name", t.User, t.Group)
	}
	return nil
}

// cleanPath says whether a path is absolute, clean and fit for a unit file: systemd splits words at blanks and expands
// %, $ and quotes.
func CleanPath(p string) bool {
	return strings.HasPrefix(p, "/") && filepath.Clean(p) == p && p != "/" &&
		!strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`%$"'\;`, r) })
}

// publicVars leaves out what says how to reach the host: passwords are among it.
func PublicVars(vars map[string]any) map[string]any {
	out := make(map[string]any, len(vars))
	for k, v := range vars {
		if !strings.HasPrefix(k, "ansible_") {
			out[k] = v
		}
	}
	return out
}

// sameMachines tells whether the inventory says that hosts are one machine (host variable fleetctl_same_as: NAME).
func SameMachines(hosts []inventory.Host) func([]string) bool {
	canonical := map[string]string{}
	for _, h := range hosts {
		if name, ok := h.Vars["fleetctl_same_as"].(string); ok {
			canonical[h.Name] = name
		}
	}
	root := func(name string) string {
		for range len(canonical) + 1 { // a cycle ends somewhere in it, the same place for all of its hosts or not: refused
			next, ok := canonical[name]
			if !ok {
				return name
			}
			name = next
		}
		return name
	}
	return func(names []string) bool {
		for _, n := range names[1:] {
			if root(n) != root(names[0]) {
				return false
			}
		}
		return true
	}
}

// deviceOf reads the host variable tpm_device: a character device or a unix socket; "" lets the helper choose.
func DeviceOf(h inventory.Host) (string, error) {
	v, ok := h.Vars["tpm_device"]
	if !ok || v == nil {
		return "", nil
	}
	path, ok := v.(string)
	if !ok || len(path) < 2 || path[0] != '/' || path != remote.Clean(path) {
		return "", fmt.Errorf("%w: tpm_device: %s is not an absolute path", outcome.ErrInventory, remote.Clean(fmt.Sprintf("%#v", v)))
	}
	return path, nil
}

func BotOf(v any, def Bot) (Bot, error) {
	switch v := v.(type) {
	case string:
		if v == def.Name {
			return def, nil
		}
		return Bot{Name: v, Roles: def.Roles}, nil
	case map[string]any:
		return botFromMap(v, def)
	}
	return Bot{}, errors.New("is neither a name nor a mapping with name and roles")
}

func botFromMap(v map[string]any, def Bot) (Bot, error) {
	bot := Bot{Roles: def.Roles}
	for key, value := range v {
		var ok bool
		switch key {
		case "name":
			bot.Name, ok = value.(string)
		case "roles":
			bot.Roles, ok = stringList(value)
		default:
			return bot, fmt.Errorf("unknown key %q", key)
		}
		if !ok {
			return bot, fmt.Errorf("%s: %v is not what is wanted there", key, value)
		}
	}
	if bot.Name == "" {
		return bot, errors.New("has no name")
	}
	return bot, nil
}

func stringList(v any) ([]string, bool) {
	if list, ok := v.([]string); ok {
		return list, true
	}
	items, ok := v.([]any)
	var list []string
	for _, item := range items {
		s, isString := item.(string)
		ok = ok && isString && strings.TrimSpace(s) != ""
		list = append(list, s)
	}
	return list, ok
}
