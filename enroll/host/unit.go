package host

import (
	"cmp"
	"fmt"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/remote"
)

// serviceFacts are what systemd says of tbot.service.
type serviceFacts struct {
	load    string // loaded, not-found, masked…
	active  string // active, inactive, failed, activating…
	enabled string // enabled, disabled, masked…
	header  string // the first line of the unit file in use, where that is not unitPath
	start   string // what it starts, likewise
	reload  bool   // daemon-reload is due

	fragment string // the file that systemd has read; "" for none
	user     string // who it runs as, drop-ins and all
	command  string // what it runs, likewise
}

// unitFacts are of the service and of tbot's health.
var unitFacts = factsOf{
	vars: func(d Desired) []shellVar {
		host, port := d.diagAddr()
		return []shellVar{{"UNIT", unitPath}, {"PENDING", pendingPath}, {"DIAGHOST", host}, {"DIAGPORT", port}}
	},
	script: unitScript,
	set: map[string]func(*Facts, string) error{
		"service.load":     func(f *Facts, v string) error { f.service.load = v; return nil },
		"service.active":   func(f *Facts, v string) error { f.service.active = v; return nil },
		"service.enabled":  func(f *Facts, v string) error { f.service.enabled = v; return nil },
		"service.header":   func(f *Facts, v string) error { f.service.header = v; return nil },
		"service.start":    func(f *Facts, v string) error { f.service.start = v; return nil },
		"service.fragment": func(f *Facts, v string) error { return setPath(v, &f.service.fragment) },
		"service.user":     func(f *Facts, v string) error { f.service.user = v; return nil },
		"service.command":  func(f *Facts, v string) error { f.service.command = v; return nil },
		"service.reload":   func(f *Facts, v string) error { f.service.reload = v == "yes"; return nil },
		"ready":            setReady,
		"ready.body":       func(f *Facts, v string) error { f.ready.body = v; return nil },
		"pending":          func(f *Facts, v string) error { return setTruth(v, &f.pending) },
	},
	long: "ready.body",
}

const unitScript = `if [ -e "$PENDING" ]; then echo pending=1; fi
if [ -d /run/systemd/system ] && has systemctl; then
  systemctl show tbot.service -p LoadState -p ActiveState -p UnitFileState -p FragmentPath -p NeedDaemonReload -p User \
    -p ExecStart 2>/dev/null |
  while IFS='=' read -r k v; do
    case $k in
      LoadState) kv service.load "$v";;
      ActiveState) kv service.active "$v";;
      UnitFileState) kv service.enabled "$v";;
      NeedDaemonReload) kv service.reload "$v";;
      User) if [ -n "$v" ]; then kv service.user "$v"; fi;;
      ExecStart) kv service.command "$(printf '%s' "$v" | sed -e 's/.*argv\[\]=//' -e 's/ ; .*//')";;
      FragmentPath)
        if [ -n "$v" ]; then kv service.fragment "$v"; fi
        if [ -n "$v" ] && [ "$v" != "$UNIT" ] && [ -f "$v" ]; then
          kv service.header "$(head -n 1 "$v")"
          kv service.start "$(sed -n 's/^ExecStart=//p' "$v" | tail -n 1)"
        fi;;
    esac
  done
  r=
  if [ -n "$DIAGPORT" ]; then r=$(http "$DIAGHOST" "$DIAGPORT" /readyz); fi
  if [ -n "$r" ]; then
    kv ready "$(printf '%s\n' "$r" | head -n 1)"
    printf 'ready.body=%s\n' "$(printf '%s\n' "$r" | tail -n +2 | tr -s '\n\t ' ' ' | tr -cd ' -~')"
  fi
fi
`

// Active is what systemd says of the service: active, inactive, failed, activating…; "" when there is none.
func (f *Facts) Active() string { return f.service.active }

// service is the unit, its drop-ins, and that it is enabled and runs what was planned.
func (p *planner) service() {
	if p.f.Systemd == 0 {
		p.done("service", "systemd doesn't run here: tbot is configured, and starting it is left to you")
		return
	}
	if p.f.service.load == "masked" || p.f.service.enabled == "masked" {
		p.problem("service", outcome.UnitMasked, UnitName+" is masked", "systemctl unmask "+UnitName)
		return
	}
	p.foreignService()
	p.dropIns()
	if p.f.updaterOwns() {
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

func (p *planner) unitFile(name, path string, content []byte) {
	if p.file(name, remote.File{Path: path, Content: content, Mode: 0o644, Owner: "root", Group: "root"}, false) {
		p.reload = true
		p.restart = append(p.restart, name)
		if u := p.foreignUnit(); u != (Thing{}) && (path == unitPath || path == updaterPath) {
			p.last().also = append(p.last().also, u)
		}
	}
}

func (p *planner) hardening() {
	const name = "hardening drop-in"
	if p.d.Tbot.Hardening == nil || *p.d.Tbot.Hardening {
		p.unitFile(name, hardeningPath, p.files.hardening)
		return
	}
	if p.gone(name, hardeningPath, "it is switched off") {
		p.reload = true
		p.restart = append(p.restart, name)
		return
	}
	p.done(name, "it is switched off")
}

// deviceDropIn keeps the TPM open to the group where no udev does.
func (p *planner) deviceDropIn() {
	const name = "TPM drop-in"
	if p.d.Tbot.User != "root" && !p.f.udevOwns() && p.f.device.typ == "char" {
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
		p.do(name, "unit files change", action{script: "systemctl daemon-reload"})
	case p.f.service.reload:
		p.do(name, "systemd hasn't read the unit files since they changed", action{script: "systemctl daemon-reload"})
		p.restart = append(p.restart, "the unit")
	case p.f.pending:
		p.do(name, "an earlier run may not have got to it", action{script: "systemctl daemon-reload"})
	default:
		p.done(name, "no unit file changes")
	}
}

func (p *planner) enable() {
	if p.f.service.enabled == "enabled" {
		p.done("enable", "%s is enabled", UnitName)
		return
	}
	step := p.do("enable", UnitName+" is "+cmp.Or(p.f.service.enabled, "not enabled"),
		action{script: "systemctl enable --quiet " + UnitName})
	p.undo(step, action{script: "systemctl disable --quiet " + UnitName})
}

// restartScript starts tbot anew, also where systemd has given up starting it.
const restartScript = "systemctl reset-failed " + UnitName + " 2>/dev/null || :\nsystemctl restart " + UnitName

// run is the running tbot. tbot reads its configuration at the start alone (SIGHUP makes it renew early), so a changed
// one means a restart.
func (p *planner) run() {
	s := p.f.service
	switch {
	case s.active != "active":
		p.do("start", fmt.Sprintf("%s is %s", UnitName, cmp.Or(s.active, "inactive")), action{script: restartScript, start: true})
	case len(p.restart) > 0:
		p.do("restart", "changed: "+strings.Join(p.restart, ", "), action{script: restartScript, start: true})
	case p.f.pending:
		p.do("restart", "something changed since it started", action{script: restartScript, start: true})
	default:
		p.done("service", "active and running what is planned")
	}
}

// serviceAway stops the service where it is ours, then takes care that it is not started again: what cannot be written must
// not keep it running. Whoever's service was enabled before finds it so.
func (p *removal) serviceAway(ours bool) {
	s := p.f.service
	units := ofKind(p.d.made, thingUnit)
	stays := len(units) > 0 && units[0].enabled == "enabled"
	switch {
	case p.f.Systemd == 0:
		p.done("service", "systemd doesn't run here")
	case s.enabled == "masked" && p.wasMade(thingNew, unitPath):
		p.do("service", "somebody masked it: what enabled it goes", action{script: disable})
	case !ours && p.f.pending:
		p.do("service", "an enroll began here", action{script: "rm -f " + pendingPath})
	case !ours:
		p.done("service", "%s is not there, or not ours", UnitName)
	case s.active == "inactive" && (s.enabled != "enabled" || stays):
		p.done("service", "it is stopped and disabled")
	default:
		script := fmt.Sprintf("systemctl stop %[1]s\nsystemctl reset-failed %[1]s 2>/dev/null || :\nrm -f %[2]s", UnitName, pendingPath)
		if !stays {
			script += "\n" + disable
		}
		p.do("service", fmt.Sprintf("it is %s and %s", cmp.Or(s.active, "unknown"), cmp.Or(s.enabled, "not enabled")),
			action{script: script})
	}
}

// disable also takes the link of a unit whose file is gone or masked, which systemd does not.
const disable = "if [ -f " + unitPath + " ]; then systemctl disable --quiet " + UnitName + "\n" +
	"else rm -f /etc/systemd/system/multi-user.target.wants/" + UnitName + "; fi"

// unitAway takes the unit and its drop-ins.
func (p *removal) unitAway() {
	changed := p.fileAway("hardening drop-in", hardeningPath)
	changed = p.fileAway("TPM drop-in", devicePath) || changed
	changed = p.fileAway("drop-in for the updater's unit", updaterPath) || changed
	changed = p.fileAway("unit", unitPath) || changed
	if (changed || p.f.service.reload) && p.f.Systemd > 0 {
		script := "systemctl daemon-reload"
		if !p.modern() { // records of an older fleetctl don't say whether it was there
			script = "rmdir " + dropInDir + " 2>/dev/null || :\n" + script
		}
		p.do("daemon-reload", "unit files change", action{script: script})
	}
}
