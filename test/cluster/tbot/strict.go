package tbot

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"fleetctl/test/cluster/cli"
	"fleetctl/test/cluster/versions"
)

// unknownKeys refuses keys as yaml.v3's decoder with KnownFields does, in versions that decode so: sample
// journal-config-strict.txt.
func (t *tool) unknownKeys(top *yaml.Node) error {
	if !versions.Has("config.strict_top_level", t.V) {
		return nil
	}
	var known []string
	for _, key := range versions.Keys("config.keys") {
		if versions.Has("config.keys."+key, t.V) {
			known = append(known, key)
		}
	}
	lines := unknownIn(top, known, "config.BotConfig")
	for i := 0; i+1 < len(top.Content); i += 2 {
		if top.Content[i].Value == "onboarding" {
			lines = append(lines, unknownIn(top.Content[i+1], versions.List("config.keys.onboarding.keys"), "config.OnboardingConfig")...)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return errors.New("yaml: unmarshal errors:\n" + strings.Join(lines, "\n"))
}

func unknownIn(node *yaml.Node, known []string, typ string) []string {
	var lines []string
	for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
		if key := node.Content[i]; !slices.Contains(known, key.Value) {
			lines = append(lines, fmt.Sprintf("  line %d: field %s not found in type %s", key.Line, key.Value, typ))
		}
	}
	return lines
}

// The types that each list takes where they take different ones: 15 before 15.4.9 (inferred) and 16 before 16.1.0
// (versions.md, B: id 248374576, config.go@018e587b).
var (
	serviceTypes = []string{"spiffe-workload-api", "database-tunnel", "ssh-multiplexer", "application-tunnel"}
	outputTypes  = []string{"identity", "application", "database", "kubernetes", "ssh_host", "spiffe-svid"}
)

// listedTypes refuses services whose type this version does not take in their list: sample journal-service-16.0.txt.
func (t *tool) listedTypes(c *Config) error {
	both := versions.Has("config.services_list_takes_outputs", t.V)
	for _, list := range []struct {
		services []Service
		takes    []string
	}{{c.Services, serviceTypes}, {c.Outputs, outputTypes}} {
		for _, s := range list.services {
			if err := t.knows(s.Type); err != nil {
				return err
			}
			if !both && !slices.Contains(list.takes, s.Type) {
				return unrecognized(s.Type)
			}
		}
	}
	c.Services, c.Outputs = append(c.Services, c.Outputs...), nil
	return nil
}

func (t *tool) knows(typ string) error {
	path := "config.service_types." + typ
	switch {
	case typ == "example" || typ == "unstable-client-credential":
		return cli.Unscripted("a service of type %s", typ)
	case !versions.Heard(path) || !versions.Has(path, t.V):
		return unrecognized(typ)
	}
	return nil
}

func unrecognized(typ string) error { return fmt.Errorf("unrecognized service type (%s)", typ) }
