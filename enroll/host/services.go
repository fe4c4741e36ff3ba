package host

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/versions"
	"fleetctl/inventory"
)

// services refuses what this tbot would refuse, before anything is changed, and says what it would leave out without a
// word. What no tbot knows is for Warnings.
func (p *planner) services() {
	v := p.version()
	var left []string
	for i, s := range p.d.Tbot.Services {
		at := fmt.Sprintf("tbot.services[%d]", i)
		typ, _ := s["type"].(string)
		if versions.ServiceType(typ, v) == versions.TypeTooNew {
			p.problem("services", outcome.ServiceTooNew, fmt.Sprintf("%s: tbot %s has no services of type %s: they came with %s",
				at, v, typ, versions.Needs(versions.TypeCapability(typ))), "")
			continue
		}
		if _, ok := s["roles"]; ok && versions.RefusesRoles(v) {
			p.problem("services", outcome.RolesRefused, fmt.Sprintf("%s: tbot %s refuses a service with roles", at, v), "")
		}
		left = append(left, ignoredKeys(at, typ, s, v)...)
	}
	if len(left) > 0 {
		p.done("services", "tbot %s leaves out what came later: %s", v, strings.Join(left, ", "))
	}
}

// version is that of the tbot that will run: the one that the plan installs, else the one that is there.
func (p *planner) version() versions.Version {
	if p.steps.Installation() >= 0 {
		return p.d.install.version
	}
	return p.f.tbot.version
}

// ignoredKeys are the keys of a service and of its destination that a tbot is too old for. It says nothing of them.
func ignoredKeys(at, typ string, s map[string]any, v versions.Version) []string {
	var out []string
	for _, m := range []struct {
		at, typ string
		keys    map[string]any
	}{{at, typ, s}, destinationOf(at, s)} {
		for _, key := range slices.Sorted(maps.Keys(m.keys)) {
			if c := versions.KeyCapability(m.typ, key); c != "" && key != "roles" && versions.Has(c, v) == versions.No {
				out = append(out, fmt.Sprintf("%s.%s (%s)", m.at, key, versions.Needs(c)))
			}
		}
	}
	return out
}

// destinationOf is where a service writes to; without keys where that is no mapping.
func destinationOf(at string, s map[string]any) (d struct {
	at, typ string
	keys    map[string]any
}) {
	d.at = at + ".destination"
	d.keys, _ = s["destination"].(map[string]any)
	d.typ, _ = d.keys["type"].(string)
	return d
}

// Warnings are what tbot would ignore or refuse in the services of any of these hosts, by the place where it stands. From
// 17.2.8 on tbot ignores a mistyped key anywhere without a word, and inside services every tbot did
// (lib/tbot/config/config.go@bae8e6f9, @018e587b). What every host has from fleet.yaml is said once. A host whose
// variables can't be read has none: Check says what is wrong there.
func Warnings(hosts []inventory.Host, cfg config.Config) []outcome.Warning {
	out := serviceWarnings("", cfg.Tbot.Services)
	for _, h := range hosts {
		vars, err := config.Host(h)
		if err != nil {
			continue
		}
		if t, err := vars.Tbot(cfg.Tbot); err == nil && !reflect.DeepEqual(t.Services, cfg.Tbot.Services) {
			out = append(out, serviceWarnings(h.Name+": ", t.Services)...)
		}
	}
	return out
}

// Strict makes an error of warnings, for whoever wants none. It is an outcome.ErrInput and names the first 20; nil for none.
func Strict(warnings []outcome.Warning) error {
	var errs []error
	for _, w := range warnings[:min(len(warnings), 20)] {
		errs = append(errs, &outcome.InputError{Msg: w.Message, Hint: w.Hint})
	}
	return errors.Join(errs...)
}

func serviceWarnings(whose string, services []map[string]any) []outcome.Warning {
	var out []outcome.Warning
	warn := func(code outcome.Code, format string, args ...any) {
		out = append(out, outcome.Warning{Reason: outcome.Because(code, whose+fmt.Sprintf(format, args...))})
	}
	for i, s := range services {
		at := fmt.Sprintf("tbot.services[%d]", i)
		typ, _ := s["type"].(string)
		known := versions.KnownServiceKeys(typ)
		if known == nil {
			warn(outcome.UnknownService, "%s: no tbot that is known has services of type %q", at, typ)
			continue
		}
		for _, key := range unknownKeys(s, known) {
			warn(outcome.UnknownKey, "%s.%s: no tbot reads that in a service of type %s", at, key, typ)
		}
		d := destinationOf(at, s)
		if d.keys == nil {
			continue
		}
		if known = versions.KnownDestinationKeys(d.typ); known == nil {
			warn(outcome.UnknownKey, "%s: no tbot has destinations of type %q", d.at, d.typ)
			continue
		}
		for _, key := range unknownKeys(d.keys, known) {
			warn(outcome.UnknownKey, "%s.%s: no tbot reads that in a destination of type %s", d.at, key, d.typ)
		}
	}
	return out
}

func unknownKeys(m map[string]any, known []string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(known, key) {
			out = append(out, key)
		}
	}
	return out
}
