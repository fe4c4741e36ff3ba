package host

import (
	"cmp"
	"fmt"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/versions"
	"fleetctl/remote"
)

// ServiceFacts are what systemd says of tbot.service.
type ServiceFacts struct {
	Load     string `json:"load,omitempty"`     // loaded, not-found, masked…
	Active   string `json:"active,omitempty"`   // active, inactive, failed, activating…
	Sub      string `json:"sub,omitempty"`      // running, auto-restart…
	Enabled  string `json:"enabled,omitempty"`  // enabled, disabled, masked…
	Fragment string `json:"fragment,omitempty"` // the unit file in use
	Header   string `json:"header,omitempty"`   // its first line, where it is not unitPath
	Reload   bool   `json:"reload,omitempty"`   // daemon-reload is due
	Restarts int    `json:"restarts,omitempty"`
	Result   string `json:"result,omitempty"` // success, exit-code…
	ExitCode int    `json:"exit_code,omitempty"`
}

// updaterHeader begins the units of Teleport's own updater; those are never overwritten.
const updaterHeader = "# teleport-update"

// service is the unit, its drop-ins, and that it is enabled and runs what was planned.
func (p *planner) service() {
	if p.f.Systemd == 0 {
		p.done("service", "systemd doesn't run here: tbot is configured, and starting it is left to you")
		return
	}
	if p.f.Service.Load == "masked" || p.f.Service.Enabled == "masked" {
		p.problem("service", outcome.UnitMasked, UnitName+" is masked", "systemctl unmask "+UnitName)
		return
	}
	if p.updaterOwns() {
		p.done("unit", "it belongs to Teleport's updater: a drop-in says what is different")
		p.unitFile("drop-in for the updater's unit", updaterPath, p.files.updater)
	} else {
		p.unitFile("unit", unitPath, p.files.unit)
		p.reload = p.gone("drop-in for the updater's unit", updaterPath, "the unit is ours") || p.reload
	}
	p.hardening()
	p.deviceDropIn()
	p.daemonReload()
	p.enable()
	p.run()
}

func (p *planner) updaterOwns() bool {
	first, _, _ := strings.Cut(p.f.Files[unitPath].Content, "\n")
	return strings.HasPrefix(first, updaterHeader) || strings.HasPrefix(p.f.Service.Header, updaterHeader)
}

func (p *planner) unitFile(name, path string, content []byte) {
	if p.file(name, remote.File{Path: path, Content: content, Mode: 0o644, Owner: "root", Group: "root"}, false) {
		p.reload = true
		p.restart = append(p.restart, name)
	}
}

func (p *planner) hardening() {
	const name = "hardening drop-in"
	if p.d.Tbot.Hardening == nil || *p.d.Tbot.Hardening {
		p.unitFile(name, hardeningDir, p.files.hardening)
		return
	}
	if p.gone(name, hardeningDir, "it is switched off") {
		p.reload = true
		p.restart = append(p.restart, name)
		return
	}
	p.done(name, "it is switched off")
}

// deviceDropIn keeps the TPM open to the group where no udev does.
func (p *planner) deviceDropIn() {
	const name = "TPM drop-in"
	if p.d.Tbot.User != "root" && !p.udevOwns() && p.f.Device.Type == "char" {
		p.unitFile(name, devicePath, p.files.device)
		return
	}
	if p.gone(name, devicePath, "udev takes care of the device") {
		p.reload = true
	}
}

func (p *planner) daemonReload() {
	const name = "daemon-reload"
	switch {
	case p.reload:
		p.do(name, "unit files change", Action{Script: "systemctl daemon-reload"})
	case p.f.Service.Reload:
		p.do(name, "systemd hasn't read the unit files since they changed", Action{Script: "systemctl daemon-reload"})
		p.restart = append(p.restart, "the unit")
	case p.f.Pending:
		p.do(name, "an earlier run may not have got to it", Action{Script: "systemctl daemon-reload"})
	default:
		p.done(name, "no unit file changes")
	}
}

func (p *planner) enable() {
	if p.f.Service.Enabled == "enabled" {
		p.done("enable", "%s is enabled", UnitName)
		return
	}
	p.do("enable", UnitName+" is "+cmp.Or(p.f.Service.Enabled, "not enabled"), Action{Script: "systemctl enable --quiet " + UnitName})
}

// run is the running tbot. tbot reads its configuration at the start alone (SIGHUP makes it renew early), so a changed
// one means a restart.
func (p *planner) run() {
	s := p.f.Service
	start := fmt.Sprintf("systemctl reset-failed %[1]s 2>/dev/null || :\nsystemctl restart %[1]s", UnitName)
	switch {
	case s.Active != "active":
		p.do("start", fmt.Sprintf("%s is %s", UnitName, cmp.Or(s.Active, "inactive")), Action{Script: start, Start: true})
	case len(p.restart) > 0:
		p.do("restart", "changed: "+strings.Join(p.restart, ", "), Action{Script: start, Start: true})
	case p.f.Pending:
		p.do("restart", "something changed since it started", Action{Script: start, Start: true})
	case p.f.Ready != "" && p.f.Ready != "200" && versions.Major(p.f.Tbot.Version) >= 17:
		p.do("restart", "/readyz says "+p.f.Ready, Action{Script: start, Start: true})
	default:
		p.done("service", "active and running what is planned")
	}
}
