package host

import (
	"bytes"
	"errors"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/versions"
	"fleetctl/remote"
	"fleetctl/templates"
	"fmt"
	"reflect"

	"gopkg.in/yaml.v3"
)

// tbotFile is tbot.yaml, configuration version v2. How some of it is spelt depends on the version of tbot: versions.TTLKey,
// versions.ListKey.
type tbotFile struct {
	Version     string         `yaml:"version"`
	ProxyServer string         `yaml:"proxy_server,omitempty"`
	AuthServer  string         `yaml:"auth_server,omitempty"`
	Onboarding  tbotOnboarding `yaml:"onboarding"`
	Storage     tbotStorage    `yaml:"storage"`
	OldTTL      string         `yaml:"certificate_ttl,omitempty"`
	TTL         string         `yaml:"credential_ttl,omitempty"`
	Renewal     string         `yaml:"renewal_interval,omitempty"`
	DiagAddr    string         `yaml:"diag_addr,omitempty"`

	Services []map[string]any `yaml:"services,omitempty"`
	Outputs  []map[string]any `yaml:"outputs,omitempty"` // where older versions want those types that began as outputs
}

type tbotOnboarding struct {
	JoinMethod string `yaml:"join_method"`
	Token      string `yaml:"token"`
}

type tbotStorage struct {
	Type string `yaml:"type"`
	Path string `yaml:"path"`
}

// tbotYAML makes tbot.yaml for a tbot of the given version and parses it back.
func (d Desired) tbotYAML(version versions.Version) ([]byte, error) {
	f := tbotFile{
		Version:     "v2",
		ProxyServer: d.cluster.ProxyServer, AuthServer: d.cluster.AuthServer,
		Onboarding: tbotOnboarding{JoinMethod: "tpm", Token: d.token},
		Storage:    tbotStorage{Type: "directory", Path: string(d.Tbot.Storage)},
		Renewal:    string(d.Tbot.RenewalInterval),
		DiagAddr:   d.Tbot.DiagAddr,
	}
	if versions.TTLKey(version) == "credential_ttl" {
		f.TTL = string(d.Tbot.CredentialTTL)
	} else {
		f.OldTTL = string(d.Tbot.CredentialTTL)
	}
	for _, s := range d.Tbot.Services {
		typ, _ := s["type"].(string)
		if versions.ListKey(typ, version) == versions.OutputsList {
			f.Outputs = append(f.Outputs, s)
		} else {
			f.Services = append(f.Services, s)
		}
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

// ConfiguredToken is the token that the tbot.yaml on the host names; "" for none, or a file that cannot be read.
func (f *Facts) ConfiguredToken(d Desired) string {
	var config struct {
		Onboarding struct {
			Token string `yaml:"token"`
		} `yaml:"onboarding"`
	}
	file := f.files[string(d.Tbot.Config)]
	if yaml.Unmarshal([]byte(file.content), &config) != nil {
		return ""
	}
	return config.Onboarding.Token
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
	want.Onboarding = tbotOnboarding{JoinMethod: "tpm", Token: d.token}
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
	if p.blocked(path, wayConfig, outcome.PermissionDenied, "open that directory to it, or set tbot.config") ||
		p.othersMayChange(path, wayConfig, "tbot.config") {
		return
	}
	f := remote.File{Path: path, Content: p.files.config, Mode: 0o640, Owner: "root", Group: p.d.Tbot.Group}
	if !p.file(path, f, true) {
		return
	}
	p.restart = append(p.restart, path)
	storage := string(p.d.Tbot.Storage)
	step := p.last()
	step.also = append(step.also, Thing{kind: thingConfig, name: path}, Thing{kind: thingStorage, name: storage})
	for i, dir := range outputDirs(p.d.Tbot.Services) {
		if _, there := p.f.dirs[i]; there {
			step.also = append(step.also, Thing{kind: thingOutput, name: dir})
		}
	}
	if p.f.storage.filled && !p.knownStorage() {
		step.also = append(step.also, Thing{kind: thingForeign, name: storage})
	}
}
