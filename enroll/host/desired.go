package host

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"fleetctl/enroll/config"
	"fleetctl/enroll/store"
	"fleetctl/enroll/versions"
	"fleetctl/inventory"
	"fleetctl/templates"
)

// Where the files of tbot's service live. They are ours by these names alone; whether the contents are ours is what
// templates.Marker says.
const (
	UnitName     = "tbot.service"
	unitPath     = "/etc/systemd/system/tbot.service"
	dropInDir    = "/etc/systemd/system/tbot.service.d"
	hardeningDir = dropInDir + "/10-fleetctl-hardening.conf"
	devicePath   = dropInDir + "/10-fleetctl-tpm.conf"
	updaterPath  = dropInDir + "/20-fleetctl.conf"
	rulesPath    = "/etc/udev/rules.d/60-fleetctl-tpm.rules"
	pendingPath  = "/run/fleetctl-tbot.pending" // there while a restart is due; gone after a reboot, as the need is
	accessGroup  = "tss"                        // who may open the TPM: the TPM2 software stack's group
)

// Desired is what a host should be like. It is computed from fleet.yaml, the inventory and the host's token alone;
// what depends on the host itself (its tbot's and systemd's version) is settled by Plan.
type Desired struct {
	Host    inventory.Host
	Cluster config.Cluster
	Tbot    config.Tbot // overrides of groups and of the host applied
	Token   string      // the token the host joins with
	Device  string      // tpm_device of the inventory; "" for the one tbot would take
	Adopt   bool        // replace a configuration or a unit that somebody else wrote
	Version string      // of the cluster; "" when it isn't known
	Install *Installer  // where tbot comes from; nil when it must be there

	templates *templates.Set
}

// Check finds what is wrong with overrides, services and templates of any host, before one is contacted. It names up to
// 20 hosts.
func Check(hosts []inventory.Host, cfg config.Config, set *templates.Set) error {
	var errs []error
	for _, h := range hosts {
		if _, err := Desire(h, cfg, "", set); err != nil && len(errs) < 20 {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Desire computes what a host should be like and renders everything once, so that a bad override, service or template
// is found before any host is touched. A host without a token is refused by Plan.
func Desire(h inventory.Host, cfg config.Config, token string, set *templates.Set) (Desired, error) {
	vars, err := config.Host(h)
	if err != nil {
		return Desired{}, err
	}
	tbot, err := vars.Tbot(cfg.Tbot)
	if err != nil {
		return Desired{}, err
	}
	d := Desired{
		Host: h, Cluster: cfg.Cluster, Tbot: tbot, Token: cmp.Or(token, "none"), Device: string(vars.Device), templates: set,
	}
	for _, f := range []Facts{{Systemd: 219}, {Systemd: 257, Tbot: TbotFacts{Path: "/usr/local/bin/tbot", Version: "18.0.0"}}} {
		if _, err := d.render(&f); err != nil {
			return Desired{}, config.HostError(h, err)
		}
	}
	d.Token = token
	return d, nil
}

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

// rendered is the content of every file that a host may need.
type rendered struct {
	config, unit, hardening, device, updater, rules []byte
}

// render makes every file for a host of which these facts are known.
func (d Desired) render(f *Facts) (*rendered, error) {
	body, err := d.tbotYAML(f.Tbot.Version)
	if err != nil {
		return nil, err
	}
	data := templates.Data{
		Header: templates.Marker + ": changes made here are taken back by its next run.",
		Host:   d.Host.Name, Groups: d.Host.Groups, Vars: config.PublicVars(d.Host.Vars), Token: d.Token,
		User: d.Tbot.User, Group: d.Tbot.Group,
		Binary: cmp.Or(string(d.Tbot.Binary), f.Tbot.Path, "/usr/local/bin/tbot"),
		Config: string(d.Tbot.Config), Storage: string(d.Tbot.Storage), DiagAddr: d.Tbot.DiagAddr,
		TbotYAML: strings.TrimRight(string(body), "\n"), Outputs: outputDirs(d.Tbot.Services),
		PIDFile: versions.Major(f.Tbot.Version) >= 16, Systemd: f.Systemd,
	}
	if f.Device.Type == "char" || f.Device.Type == "" {
		data.Device = cmp.Or(d.Device, f.Device.Path, "/dev/tpmrm0")
	}
	if !data.Root() {
		data.Access = accessGroup
	}
	r := &rendered{}
	for name, to := range map[string]*[]byte{
		templates.TbotConfig: &r.config, templates.Unit: &r.unit, templates.Hardening: &r.hardening,
		templates.Device: &r.device, templates.UpdaterUnit: &r.updater, templates.UdevRules: &r.rules,
	} {
		if *to, err = d.templates.Render(name, data); err != nil {
			return nil, err
		}
	}
	return r, d.checkTbotYAML(r.config)
}

// Installed is what the records keep of a host that is as it should be; when and in which run is the caller's to add.
func (d Desired) Installed(f *Facts) (store.Installed, error) {
	files, err := d.render(f)
	if err != nil {
		return store.Installed{}, err
	}
	return store.Installed{
		Token: d.Token, TbotVersion: f.Tbot.Version, ConfigSHA256: hexSum(files.config), UnitSHA256: hexSum(files.unit),
		User: d.Tbot.User, Config: string(d.Tbot.Config), Storage: string(d.Tbot.Storage),
	}, nil
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// outputDirs finds the directories that services write to: the path of every destination of type directory, sorted.
func outputDirs(services []map[string]any) []string {
	var dirs []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if path, ok := v["path"].(string); ok && v["type"] == "directory" && cleanPath(path) {
				dirs = append(dirs, path)
			}
			for _, e := range v {
				walk(e)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	for _, s := range services {
		walk(s)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}
