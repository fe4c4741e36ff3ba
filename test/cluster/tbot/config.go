package tbot

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"gopkg.in/yaml.v3"
)

// Config is tbot.yaml, version v2. Keys that are not here are refused, as tbot does.
type Config struct {
	Version         string        `yaml:"version"`
	ProxyServer     string        `yaml:"proxy_server,omitempty"`
	AuthServer      string        `yaml:"auth_server,omitempty"`
	Onboarding      Onboarding    `yaml:"onboarding,omitempty"`
	Storage         Storage       `yaml:"storage,omitempty"`
	Services        []Service     `yaml:"services,omitempty"`
	Outputs         []Service     `yaml:"outputs,omitempty"`
	Debug           bool          `yaml:"debug,omitempty"`
	CredentialTTL   time.Duration `yaml:"credential_ttl,omitempty"`
	CertificateTTL  time.Duration `yaml:"certificate_ttl,omitempty"` // the older name of credential_ttl
	RenewalInterval time.Duration `yaml:"renewal_interval,omitempty"`
	Oneshot         bool          `yaml:"oneshot,omitempty"`
	FIPS            bool          `yaml:"fips,omitempty"`
	DiagAddr        string        `yaml:"diag_addr,omitempty"`
}

// Onboarding says how to join.
type Onboarding struct {
	Token      string   `yaml:"token,omitempty"`
	JoinMethod string   `yaml:"join_method,omitempty"`
	CAPath     string   `yaml:"ca_path,omitempty"`
	CAPins     []string `yaml:"ca_pins,omitempty"`
}

// Storage is where tbot keeps its identity.
type Storage struct {
	Type     string `yaml:"type"`
	Path     string `yaml:"path,omitempty"`
	Symlinks string `yaml:"symlinks,omitempty"`
	ACLs     string `yaml:"acls,omitempty"`
}

// Service is one of the services or outputs. The stand-in runs "identity" and takes the others as given.
type Service struct {
	Type        string         `yaml:"type"`
	Destination *Storage       `yaml:"destination,omitempty"`
	Rest        map[string]any `yaml:",inline"`
}

// serviceTypes are those of Teleport 17.
var serviceTypes = map[string]bool{
	"identity": true, "application": true, "application-tunnel": true, "database": true, "database-tunnel": true,
	"kubernetes": true, "kubernetes/v2": true, "ssh_host": true, "ssh-multiplexer": true, "spiffe-svid": true,
	"spiffe-workload-api": true, "workload-identity-api": true, "workload-identity-x509": true,
	"workload-identity-jwt": true, "unstable-client-credential": true, "example": true,
}

const (
	defaultTTL     = time.Hour
	defaultRenewal = 20 * time.Minute
)

// LoadConfig reads and checks a configuration file.
func LoadConfig(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("loading bot config from path %s: %w", path, err)
	}
	defer f.Close()
	var c Config
	dec := yaml.NewDecoder(f)
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("failed parsing config file %s: %w", path, err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("validating merged bot config: %w", err)
	}
	return &c, nil
}

func (c *Config) check() error {
	if c.Version != "v2" {
		return fmt.Errorf("configuration version %q is not supported: expected \"v2\"", c.Version)
	}
	if err := c.checkServer(); err != nil {
		return err
	}
	if c.Onboarding.JoinMethod != "tpm" {
		return fmt.Errorf("the stand-in joins by method tpm only, not %q", c.Onboarding.JoinMethod)
	}
	if c.Onboarding.Token == "" {
		return errors.New("onboarding: token must be set")
	}
	if c.Storage.Type == "" {
		c.Storage = Storage{Type: "directory", Path: "/var/lib/teleport/bot"}
	}
	if err := c.Storage.check("storage"); err != nil {
		return err
	}
	c.Services = append(c.Services, c.Outputs...)
	for i, s := range c.Services {
		if err := s.check(); err != nil {
			return fmt.Errorf("services[%d]: %w", i, err)
		}
	}
	return c.checkTimes()
}

func (c *Config) checkServer() error {
	if (c.ProxyServer == "") == (c.AuthServer == "") {
		return errors.New("one of auth_server and proxy_server must be set, and not both")
	}
	if _, _, err := net.SplitHostPort(c.Server()); err != nil {
		return fmt.Errorf("invalid server address: %w", err)
	}
	return nil
}

func (c *Config) checkTimes() error {
	if c.CredentialTTL == 0 {
		c.CredentialTTL = c.CertificateTTL
	}
	if c.CredentialTTL == 0 {
		c.CredentialTTL = defaultTTL
	}
	if c.RenewalInterval == 0 {
		c.RenewalInterval = defaultRenewal
	}
	if c.RenewalInterval >= c.CredentialTTL {
		return fmt.Errorf("renewal_interval (%v) must be lower than credential_ttl (%v)", c.RenewalInterval, c.CredentialTTL)
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

func (s *Service) check() error {
	if !serviceTypes[s.Type] {
		return fmt.Errorf("unrecognized service type %q", s.Type)
	}
	if s.Type != "identity" {
		return nil
	}
	if s.Destination == nil {
		return errors.New("destination: must be set")
	}
	for key := range s.Rest {
		switch key {
		case "name", "roles", "cluster", "ssh_config", "allow_reissue", "credential_ttl", "renewal_interval":
		default:
			return fmt.Errorf("field %s not found", key)
		}
	}
	return s.Destination.check("destination")
}

func (s *Storage) check(what string) error {
	switch s.Type {
	case "memory":
		return nil
	case "directory":
		if s.Path == "" {
			return fmt.Errorf("%s: destination path must not be empty", what)
		}
		return nil
	}
	return fmt.Errorf("%s: unrecognized destination type %q", what, s.Type)
}
