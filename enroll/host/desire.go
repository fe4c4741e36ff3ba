package host

import (
	"cmp"
	"errors"
	"fleetctl/enroll/config"
	"fleetctl/enroll/host/origin"
	"fleetctl/enroll/store"
	"fleetctl/enroll/versions"
	"fleetctl/inventory"
	"fleetctl/templates"
	"strings"
)

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
		host: h, cluster: cfg.Cluster, Tbot: tbot, token: cmp.Or(token, "none"), device: string(vars.Device), templates: set,
	}
	newest, _ := versions.Parse("18.4.0")
	for _, f := range []Facts{{Systemd: 219}, {Systemd: 257, tbot: tbotFacts{path: defaultBinary, version: newest}}} {
		if _, err := d.render(&f); err != nil {
			return Desired{}, config.HostError(h, err)
		}
	}
	d.token = token
	return d, nil
}

// render makes every file for a host of which these facts are known.
func (d Desired) render(f *Facts) (*rendered, error) {
	body, err := d.tbotYAML(f.tbot.version)
	if err != nil {
		return nil, err
	}
	data := templates.Data{
		Header: templates.Marker + ": changes made here are taken back by its next run.",
		Host:   d.host.Name, Groups: d.host.Groups, Vars: config.PublicVars(d.host.Vars), Token: d.token,
		User: d.Tbot.User, Group: d.Tbot.Group,
		Binary: cmp.Or(string(d.Tbot.Binary), f.tbot.path, "/usr/local/bin/tbot"),
		Config: string(d.Tbot.Config), Storage: string(d.Tbot.Storage), DiagAddr: d.Tbot.DiagAddr,
		TbotYAML: strings.TrimRight(string(body), "\n"), Outputs: outputDirs(d.Tbot.Services),
		Program: f.tbot.link, Systemd: f.Systemd,
	}
	data.UpdaterFlags, data.UpdaterLinks = d.updaterNeeds(f)
	if f.device.typ == "char" || f.device.typ == "" {
		data.Device = cmp.Or(d.device, f.device.path, "/dev/tpmrm0")
	}
	if !data.Root() {
		data.Access = f.tpmGroup()
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
		Token: d.token, TbotVersion: f.tbot.version.String(),
		ConfigSHA256: origin.SHA256(files.config), UnitSHA256: origin.SHA256(files.unit),
		User: d.Tbot.User, Config: string(d.Tbot.Config), Storage: string(d.Tbot.Storage),
	}, nil
}
