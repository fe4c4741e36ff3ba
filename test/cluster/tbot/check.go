package tbot

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"

	"fleetctl/test/cluster/cli"
	"fleetctl/test/cluster/versions"
)

// rolesWords are what 19 says of roles: lib/tbot/internal/deprecated_roles.go@cee0411a, sample journal-roles-19.txt.
const rolesWords = "the roles field is no longer supported and must be removed from your configuration. See " +
	"https://goteleport.com/docs/reference/machine-workload-identity/v19-upgrade-guide/ for further information."

// check is what tbot checks of a configuration that it could read. Where a text stands in no row of versions.md and in no
// sample, it is ours.
func (t *tool) check(c *Config) error {
	switch {
	case c.Version != "v2":
		return cli.Unscripted("tbot.yaml of version %q", c.Version)
	case c.JoinURI != "" || c.Scoped:
		return cli.Unscripted("join_uri or scoped in tbot.yaml")
	case c.FIPS:
		return errors.New("fips mode enabled but binary was not compiled with boringcrypto")
	}
	if err := c.checkServer(); err != nil {
		return err
	}
	if err := c.Onboarding.check(); err != nil {
		return err
	}
	if c.Storage == nil || c.Storage.Type == "" {
		c.Storage = &Destination{Type: "directory", Path: defaultStorage}
	}
	if err := c.Storage.check(); err != nil {
		return cli.Wrap(err, "validating storage")
	}
	if err := t.checkServices(c.Services); err != nil {
		return err
	}
	return c.checkTimes()
}

func (c *Config) checkServer() error {
	if c.ProxyServer == "" && c.AuthServer == "" {
		return errors.New("either a proxy or auth address must be set using --proxy, --auth-server or configuration")
	}
	if c.ProxyServer != "" && c.AuthServer != "" {
		return errors.New("auth_server and proxy_server can not both be set")
	}
	if _, _, err := net.SplitHostPort(c.Server()); err != nil {
		return cli.Wrap(err, "invalid server address")
	}
	return nil
}

func (o *Onboarding) check() error {
	o.token = o.Token
	if strings.HasPrefix(o.Token, "/") {
		data, err := os.ReadFile(o.Token)
		if err != nil {
			return err
		}
		o.token = strings.TrimSpace(string(data))
	}
	switch {
	case o.token == "":
		return errors.New("no existing identity found on disk or join token configured") // versions.md, D
	case o.JoinMethod != "tpm":
		return cli.Unscripted("join method %q", o.JoinMethod)
	case o.CAPath != "" || len(o.CAPins) > 0:
		return cli.Unscripted("ca_path or ca_pins in tbot.yaml")
	}
	return nil
}

// checkTimes settles how long identities live: certificate_ttl is read in every version (versions.md, B). That a renewal
// has to come before the end is a check of ours.
func (c *Config) checkTimes() error {
	c.ttl, c.renewal = defaultTTL, defaultRenewal
	if c.CertificateTTL != 0 {
		c.ttl = c.CertificateTTL
	}
	if c.CredentialTTL != 0 {
		c.ttl = c.CredentialTTL
	}
	if c.RenewalInterval != 0 {
		c.renewal = c.RenewalInterval
	}
	if c.renewal >= c.ttl {
		return fmt.Errorf("renewal_interval (%v) must be lower than credential_ttl (%v)", c.renewal, c.ttl)
	}
	return nil
}

func (t *tool) checkServices(services []Service) error {
	names := map[string]bool{}
	for i := range services {
		s := &services[i]
		if !versions.Has("config.service_name", t.V) {
			s.Name = ""
		}
		if err := t.checkService(s, names); err != nil {
			return cli.Wrap(err, "validating service[%d]", i)
		}
	}
	return nil
}

var urlSafe = regexp.MustCompile(`^[A-Za-z0-9._~-]+$`)

func (t *tool) checkService(s *Service, names map[string]bool) error {
	switch {
	case len(s.Roles) > 0 && !versions.Has("config.service_roles", t.V):
		return fmt.Errorf("roles: %s", rolesWords)
	case s.Name != "" && !urlSafe.MatchString(s.Name):
		return fmt.Errorf("name: %q may have letters, digits and -._~ only", s.Name)
	case names[s.Name] && s.Name != "":
		return fmt.Errorf("duplicate name: %q", s.Name)
	case versions.Has("config.service_ttl", t.V) && (s.CredentialTTL == 0) != (s.RenewalInterval == 0):
		return errors.New("credential_ttl and renewal_interval must both be specified if either is")
	case s.Type == "identity" && s.Destination == nil:
		return errors.New("destination: must be set")
	case s.Destination == nil:
		return nil
	}
	names[s.Name] = true
	return s.Destination.check()
}

func (d *Destination) check() error {
	switch {
	case d.Type == "kubernetes_secret":
		return cli.Unscripted("a destination of type %s", d.Type)
	case !slices.Contains(versions.Keys("config.destinations"), d.Type):
		return fmt.Errorf("unrecognized destination type (%s)", d.Type)
	case d.Type == "memory":
		return nil
	case d.Path == "":
		return errors.New("destination path must not be empty")
	}
	for _, option := range []struct{ name, value string }{{"symlinks", d.Symlinks}, {"acls", d.ACLs}} {
		if allowed := versions.List("config.destinations.directory." + option.name); option.value != "" &&
			!slices.Contains(allowed, option.value) {
			return fmt.Errorf("%s: %q is none of %v", option.name, option.value, allowed)
		}
	}
	if d.ACLs == "required" || d.ACLs == "try" {
		return cli.Unscripted("acls: %s", d.ACLs)
	}
	return nil
}

// describe is a destination in a line of the journal: sample journal-joined-18.txt.
func (d *Destination) describe() string {
	if d == nil {
		return "none"
	}
	if d.Type == "memory" {
		return "memory"
	}
	return d.Type + ": " + d.Path
}
