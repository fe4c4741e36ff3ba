package host

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/remote"
)

// PlanRemoval plans to take away what enroll put on a host: the service, files that carry our mark, tbot's state, and
// of accounts and directories only what enroll made (made, as store.Installed has it, or an account's comment). It is
// pure. Files of somebody else that were adopted come back.
func PlanRemoval(f *Facts, d Desired, made []Thing) []Step {
	p := &removal{planner: planner{f: f, d: d}, made: made}
	if f.UID != 0 {
		p.problem("root", outcome.BecomeFailed, fmt.Sprintf("the plan was made as user %d, not as root", f.UID),
			"let fleetctl become root on the host: ansible_become")
		return p.steps
	}
	ourUnit := Ours(f.Files[unitPath]) || Ours(f.Files[updaterPath])
	ourConfig := Ours(f.Files[string(d.Tbot.Config)])
	p.stop(ourUnit)
	p.unitFiles()
	p.fileAway("configuration", string(d.Tbot.Config))
	p.state(ourConfig || ourUnit)
	p.tpm()
	p.accounts()
	p.binary()
	return p.steps
}

type removal struct {
	planner
	made []Thing
}

func (p *removal) wasMade(kind ThingKind, name string) bool {
	return slices.Contains(p.made, Thing{Kind: kind, Name: name})
}

func (p *removal) stop(our bool) {
	s := p.f.Service
	switch {
	case p.f.Systemd == 0:
		p.done("service", "systemd doesn't run here")
	case !our:
		p.done("service", "%s is not there, or not ours", UnitName)
	case s.Active == "inactive" && s.Enabled != "enabled":
		p.done("service", "it is stopped and disabled")
	default:
		p.do("service", fmt.Sprintf("it is %s and %s", cmp.Or(s.Active, "unknown"), cmp.Or(s.Enabled, "not enabled")),
			Action{Script: fmt.Sprintf("systemctl disable --now --quiet %[1]s\nsystemctl stop %[1]s\n"+
				"systemctl reset-failed %[1]s 2>/dev/null || :\nrm -f %[2]s", UnitName, pendingPath)})
	}
}

func (p *removal) unitFiles() {
	changed := p.fileAway("hardening drop-in", hardeningDir)
	changed = p.fileAway("TPM drop-in", devicePath) || changed
	changed = p.fileAway("drop-in for the updater's unit", updaterPath) || changed
	changed = p.fileAway("unit", unitPath) || changed
	if changed && p.f.Systemd > 0 {
		p.do("daemon-reload", "unit files change", Action{Script: "rmdir " + dropInDir + " 2>/dev/null || :\nsystemctl daemon-reload"})
	}
}

// fileAway plans that a file of ours goes, with what was kept beside it; an adopted file comes back.
func (p *removal) fileAway(name, file string) bool {
	got, there := p.f.Files[file]
	switch {
	case !there:
		return false
	case !Ours(got):
		p.done(name, "%s is not ours: it stays", file)
		return false
	}
	q := remote.Quote(file)
	step := p.do(name, "fleetctl wrote "+file, Action{
		Script: fmt.Sprintf("if [ -e %[1]s.orig ]; then mv -f %[1]s.orig %[1]s; else rm -f %[1]s; fi\nrm -f %[1]s.previous", q)})
	step.Diff = p.diff(got.Content, "")
	return true
}

// state is tbot's storage and the directories of its outputs: credentials are in there.
func (p *removal) state(ourService bool) {
	dir := string(p.d.Tbot.Storage)
	name := "storage " + dir
	switch s := p.f.Storage; {
	case s.Type == "":
		p.done(name, "it is not there")
	case s.Type != "dir":
		p.done(name, "it is no directory: it stays")
	case !ourService && !p.wasMade(ThingDir, dir):
		p.done(name, "nothing says that enroll made it: it stays")
	default:
		p.do(name, "tbot's state goes with it", Action{Script: removeTree(dir)})
	}
	for i, out := range outputDirs(p.d.Tbot.Services) {
		if _, there := p.f.Dirs[i]; there && p.wasMade(ThingDir, out) {
			p.do("output directory "+out, "enroll made it", Action{Script: removeTree(out)})
		}
	}
}

// sharedDirs belong to the system: they stay, however empty they are.
var sharedDirs = []string{"/", "/etc", "/home", "/mnt", "/opt", "/root", "/run", "/srv", "/tmp", "/usr", "/usr/local",
	"/usr/local/bin", "/usr/local/lib", "/var", "/var/lib", "/var/opt", "/var/tmp", "/var/cache"}

// removeTree removes a directory, and those above it that are empty then and don't belong to the system.
func removeTree(dir string) string {
	q := remote.Quote(dir)
	var b strings.Builder
	fmt.Fprintf(&b, "[ ! -L %[1]s ] || exit 1\nrm -rf --one-file-system %[1]s 2>/dev/null || rm -rf %[1]s", q)
	for up := path.Dir(dir); !slices.Contains(sharedDirs, up); up = path.Dir(up) {
		fmt.Fprintf(&b, "\nrmdir %s 2>/dev/null || exit 0", remote.Quote(up))
	}
	return b.String()
}

// tpm gives the device back to root where we had given it away, and takes our rules.
func (p *removal) tpm() {
	rules := Ours(p.f.Files[rulesPath])
	p.fileAway("udev rules", rulesPath)
	dev := p.f.Device
	if !rules && !Ours(p.f.Files[devicePath]) || dev.Type != "char" || dev.Group != accessGroup || p.f.Rules != "" {
		return
	}
	script := p.deviceBefore()
	if p.f.Udev {
		script = "udevadm control --reload-rules\nudevadm trigger --action=change --subsystem-match=tpm --subsystem-match=tpmrm\n" +
			"udevadm settle --timeout=10 || :\n" + script
	}
	p.do("TPM device "+dev.Path, "it gets back the owner and mode that it had", Action{Script: script})
}

// deviceBefore gives the device the owner and mode that it had, as far as is known; root's alone otherwise, as the
// kernel makes it.
func (p *removal) deviceBefore() string {
	dev := p.f.Device.Path
	was := Thing{Mode: 0o600, Owner: "root", Group: "root"}
	if i := slices.IndexFunc(p.made, func(t Thing) bool { return t.Kind == ThingDevice && t.Name == dev }); i >= 0 {
		was = p.made[i]
	}
	q := remote.Quote(dev)
	return fmt.Sprintf("chown %s:%s %s\nchmod %04o %s", was.Owner, was.Group, q, was.Mode, q)
}

func (p *removal) accounts() {
	user := p.d.Tbot.User
	u := p.f.User
	userGoes := user != "root" && u != nil && (p.wasMade(ThingUser, user) || u.Comment == userComment)
	switch {
	case user == "root" || u == nil:
	case userGoes:
		script := fmt.Sprintf("if has userdel; then userdel %[1]s; else deluser %[1]s; fi", remote.Quote(user))
		p.do("user "+user, "enroll made it", Action{Script: script})
	case p.wasMade(ThingMember, accessGroup) && slices.Contains(u.Groups, accessGroup):
		p.do(fmt.Sprintf("user %s in group %s", user, accessGroup), "enroll put it there", Action{Script: fmt.Sprintf(
			"if has gpasswd; then gpasswd -d %[1]s %[2]s >/dev/null; else delgroup %[1]s %[2]s; fi", remote.Quote(user), accessGroup)})
	default:
		p.done("user "+user, "it was there before: it stays")
	}
	for _, g := range []struct {
		name  string
		there bool
	}{{p.d.Tbot.Group, p.f.Group}, {accessGroup, p.f.Access}} {
		if g.there && p.wasMade(ThingGroup, g.name) {
			p.do("group "+g.name, "enroll made it", Action{Script: fmt.Sprintf( // userdel may have taken it along
				"if grep -q '^%[1]s:' /etc/group; then if has groupdel; then groupdel %[1]s; else delgroup %[1]s; fi; fi", g.name)})
		}
	}
}

// binary is a tbot that was not there before enroll brought it.
func (p *removal) binary() {
	for _, t := range p.made {
		if t.Kind == ThingFile {
			q := remote.Quote(t.Name)
			p.do("tbot", "enroll brought it", Action{Script: fmt.Sprintf("rm -f %[1]s %[1]s.previous %[1]s.fleetctl-part", q)})
		}
	}
}
