package tbot

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"fleetctl/test/cluster/cli"
	"fleetctl/test/cluster/versions"
)

// Config is tbot.yaml, version v2, as far as the stand-in plays it (versions.md, B).
type Config struct {
	Version         string        `yaml:"version"`
	ProxyServer     string        `yaml:"proxy_server"`
	AuthServer      string        `yaml:"auth_server"`
	Onboarding      Onboarding    `yaml:"onboarding"`
	Storage         *Destination  `yaml:"storage"`
	Services        []Service     `yaml:"services"`
	Outputs         []Service     `yaml:"outputs"`
	Debug           bool          `yaml:"debug"`
	CredentialTTL   time.Duration `yaml:"credential_ttl"`
	CertificateTTL  time.Duration `yaml:"certificate_ttl"`
	RenewalInterval time.Duration `yaml:"renewal_interval"`
	Oneshot         bool          `yaml:"oneshot"`
	FIPS            bool          `yaml:"fips"`
	DiagAddr        string        `yaml:"diag_addr"`
	JoinURI         string        `yaml:"join_uri"`
	Scoped          bool          `yaml:"scoped"`

	ttl, renewal time.Duration // of the bot's own identity, by whichever key
}

// Onboarding says how to join.
type Onboarding struct {
	Token      string   `yaml:"token"` // its name, or the path of a file with its name
	JoinMethod string   `yaml:"join_method"`
	CAPath     string   `yaml:"ca_path"`
	CAPins     []string `yaml:"ca_pins"`

	token string // its name
}

// Service is one of the services or outputs. Keys that are not here are dropped, as every version does.
type Service struct {
	Type            string        `yaml:"type"`
	Name            string        `yaml:"name"`
	Roles           []string      `yaml:"roles"`
	Destination     *Destination  `yaml:"destination"`
	CredentialTTL   time.Duration `yaml:"credential_ttl"`
	RenewalInterval time.Duration `yaml:"renewal_interval"`
}

// Destination is a place for secrets: also tbot's own storage.
type Destination struct {
	Type     string `yaml:"type"`
	Path     string `yaml:"path"`
	Symlinks string `yaml:"symlinks"`
	ACLs     string `yaml:"acls"`
}

// UnmarshalYAML takes a bare string for the path of a directory.
func (d *Destination) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		d.Type, d.Path = "directory", node.Value
		return nil
	}
	type plain Destination
	return node.Decode((*plain)(d))
}

// What is not configured.
const (
	defaultTTL     = time.Hour
	defaultRenewal = 20 * time.Minute
	defaultStorage = "/var/lib/teleport/bot"
)

// loadConfig reads and checks the configuration that the flags name and change.
func (t *tool) loadConfig(given cli.Given) (*Config, error) {
	c := &Config{}
	if path := given.Text("config"); path != "" { // there is no default path
		data, err := os.ReadFile(path)
		if err == nil {
			c, err = t.parseConfig(data)
		}
		if err != nil {
			return nil, cli.Wrap(plainPath(err), "loading bot config from path %s", path)
		}
	} else {
		c.Version = "v2"
	}
	if err := c.override(given); err != nil {
		return nil, err
	}
	return c, t.check(c)
}

// plainPath is an error of the file system in the kernel's words.
func plainPath(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p
	}
	return err
}

// parseConfig decodes tbot.yaml. Up to 17.2.7 keys that the version does not know are refused, at the top and in
// onboarding (lib/tbot/config/config.go@018e587b, @bae8e6f9).
func (t *tool) parseConfig(data []byte) (*Config, error) {
	var doc yaml.Node
	c := &Config{}
	err := yaml.Unmarshal(data, &doc)
	if err == nil && len(doc.Content) > 0 {
		err = t.decode(doc.Content[0], c)
	}
	if err != nil && !cli.IsUnscripted(err) {
		err = errors.New("failed parsing config file: " + strings.ReplaceAll(err.Error(), "\n", ""))
	}
	return c, err
}

func (t *tool) decode(top *yaml.Node, c *Config) error {
	if top.Kind == yaml.MappingNode {
		t.dropNewKeys(top)
	}
	if err := t.unknownKeys(top); err != nil {
		return err
	}
	if err := top.Decode(c); err != nil {
		return err
	}
	return t.listedTypes(c)
}

// override takes over what flags say.
func (c *Config) override(given cli.Given) error {
	for flag, to := range map[string]*string{
		"auth-server": &c.AuthServer, "proxy-server": &c.ProxyServer, "token": &c.Onboarding.Token,
		"join-method": &c.Onboarding.JoinMethod, "diag-addr": &c.DiagAddr,
	} {
		if given.Has(flag) {
			*to = given.Text(flag)
		}
	}
	if given.Has("data-dir") {
		c.Storage = &Destination{Type: "directory", Path: given.Text("data-dir")}
	}
	c.Oneshot = c.Oneshot || given.True("oneshot")
	c.FIPS = c.FIPS || given.True("fips")
	for flag, to := range map[string]*time.Duration{
		"certificate-ttl": &c.CertificateTTL, "renewal-interval": &c.RenewalInterval,
	} {
		if !given.Has(flag) {
			continue
		}
		var err error
		if *to, err = given.Duration(flag); err != nil {
			return err
		}
	}
	return nil
}

// Server is where to join, host:port. The stand-in's auth service takes the part of the proxy too.
func (c *Config) Server() string {
	if c.AuthServer != "" {
		return c.AuthServer
	}
	return c.ProxyServer
}

// dropNewKeys takes keys out that the version does not know yet, so that nothing comes of them. Where it is strict they
// stay, to be refused.
func (t *tool) dropNewKeys(top *yaml.Node) {
	if versions.Has("config.strict_top_level", t.V) {
		return
	}
	var kept []*yaml.Node
	for i := 0; i+1 < len(top.Content); i += 2 {
		path := "config.keys." + top.Content[i].Value
		if versions.Heard(path) && versions.Has(path, t.V) {
			kept = append(kept, top.Content[i], top.Content[i+1])
		}
	}
	top.Content = kept
}
