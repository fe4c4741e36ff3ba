package host

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"gopkg.in/yaml.v3"

	"fleetctl/enroll/versions"
	"fleetctl/remote"
	"fleetctl/templates"
)

// tbotFile is /etc/tbot.yaml, configuration version v2.
type tbotFile struct {
	Version     string         `yaml:"version"`
	ProxyServer string         `yaml:"proxy_server,omitempty"`
	AuthServer  string         `yaml:"auth_server,omitempty"`
	Onboarding  tbotOnboarding `yaml:"onboarding"`
	Storage     tbotStorage    `yaml:"storage"`
	TTL         string         `yaml:"credential_ttl,omitempty"`
	Renewal     string         `yaml:"renewal_interval,omitempty"`
	DiagAddr    string         `yaml:"diag_addr,omitempty"`

	Services []map[string]any `yaml:"services,omitempty"`
	Outputs  []map[string]any `yaml:"outputs,omitempty"` // the name of services up to 15.x
}

type tbotOnboarding struct {
	JoinMethod string `yaml:"join_method"`
	Token      string `yaml:"token"`
}

type tbotStorage struct {
	Type string `yaml:"type"`
	Path string `yaml:"path"`
}

// tbotYAML makes tbot.yaml for a tbot of the given version ("" when it is not known) and parses it back.
func (d Desired) tbotYAML(version string) ([]byte, error) {
	f := tbotFile{
		Version:     "v2",
		ProxyServer: d.Cluster.ProxyServer, AuthServer: d.Cluster.AuthServer,
		Onboarding: tbotOnboarding{JoinMethod: "tpm", Token: d.Token},
		Storage:    tbotStorage{Type: "directory", Path: string(d.Tbot.Storage)},
		TTL:        string(d.Tbot.CredentialTTL), Renewal: string(d.Tbot.RenewalInterval),
		DiagAddr: d.Tbot.DiagAddr,
	}
	if versions.Major(version) == 15 {
		f.Outputs = d.Tbot.Services
	} else {
		f.Services = d.Tbot.Services
	}
	raw, err := yaml.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("tbot.yaml: %w", err)
	}
	var back tbotFile
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(&back); err != nil {
		return nil, fmt.Errorf("tbot.yaml: does not parse back: %w", err)
	}
	if again, err := yaml.Marshal(back); err != nil || !bytes.Equal(again, raw) {
		return nil, errors.New("tbot.yaml: a service is not the same after it was written and read")
	}
	return raw, nil
}

// checkTbotYAML makes sure that a rendered tbot.yaml (a template may be the user's) is one document that still joins
// as this host should.
func (d Desired) checkTbotYAML(raw []byte) error {
	var f struct {
		Version    string         `yaml:"version"`
		Onboarding tbotOnboarding `yaml:"onboarding"`
		Storage    tbotStorage    `yaml:"storage"`
	}
	if err := yaml.Unmarshal(raw, &f); err != nil {
		return fmt.Errorf("templates: %s: the result is no YAML: %w", templates.TbotConfig, err)
	}
	want := f
	want.Version = "v2"
	want.Onboarding = tbotOnboarding{JoinMethod: "tpm", Token: d.Token}
	want.Storage = tbotStorage{Type: "directory", Path: string(d.Tbot.Storage)}
	if !reflect.DeepEqual(f, want) {
		return fmt.Errorf("templates: %s: the result has another version, onboarding or storage than it must have",
			templates.TbotConfig)
	}
	return nil
}

// config is the file, on the host.
func (p *planner) config() {
	path := string(p.d.Tbot.Config)
	f := remote.File{Path: path, Content: p.files.config, Mode: 0o640, Owner: "root", Group: p.d.Tbot.Group}
	if p.file(path, f, true) {
		p.restart = append(p.restart, path)
	}
}
