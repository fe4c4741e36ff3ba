package host

import (
	"fmt"
	"path"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/sh"
	"fleetctl/remote"
)

// deviceFacts are of the TPM.
type deviceFacts struct {
	path  string // "" when there is none
	typ   string // char, socket or other
	mode  uint32 // permission bits
	owner string
	group string
	opens string // what opening it as tbot's user says: "ok", "denied", "busy", "failed"; "" not tried
	sysfs bool   // the kernel knows a TPM 2.0
	tpm12 bool   // it knows one, and it is a 1.2

	others string // the first thing on the way to it that others than root can change, and how it is
	gives  given  // what udev's rules make of it, once ours are there
}

// tpmFacts are of the device and of who gives it to whom. They come after those of the account.
var tpmFacts = factsOf{
	vars:   func(d Desired) []shellVar { return []shellVar{{"DEV", d.device}, {"RULES", rulesPath}} },
	script: deviceScript + rulesScript,
	set: map[string]func(*Facts, string) error{
		"rules":       func(f *Facts, v string) error { return setPath(v, &f.rules) },
		"device.path": func(f *Facts, v string) error { return setPath(v, &f.device.path) },
		"device.type": func(f *Facts, v string) error { return setWord(v, &f.device.typ, "char", "socket", "other") },
		"device.stat": func(f *Facts, v string) error {
			return setStat(v, &f.device.mode, &f.device.owner, &f.device.group, nil)
		},
		"device.opens":  func(f *Facts, v string) error { return setWord(v, &f.device.opens, "ok", "denied", "busy", "failed") },
		"device.sysfs":  func(f *Facts, v string) error { return setTruth(v, &f.device.sysfs) },
		"device.tpm12":  func(f *Facts, v string) error { return setTruth(v, &f.device.tpm12) },
		"device.others": func(f *Facts, v string) error { return setShut(v, &f.device.others) },
		"device.gives":  func(f *Facts, v string) error { return f.device.gives.set(v) },
	},
}

const deviceScript = sh.TPMDevice + `
set --
for c in /etc/udev/rules.d/*.rules /run/udev/rules.d/*.rules /usr/lib/udev/rules.d/*.rules /lib/udev/rules.d/*.rules; do
  if [ -f "$c" ] && [ "${c##*/}" != 60-fleetctl-tpm.rules ]; then set -- "$@" "$c"; fi
done
if [ $# -gt 0 ]; then
  c=$(grep -l "^[^#]*KERNEL==\"tpmrm.*GROUP=\"$A\"" "$@" 2>/dev/null | head -n 1)
  if [ -n "$c" ]; then kv rules "$c"; fi
fi
tpm_find
if [ "$tpm_by" = sysfs ]; then echo device.sysfs=1; elif [ -n "$tpm_old" ]; then echo device.tpm12=1; fi
[ -n "$DEV" ] || DEV=$tpm
if [ -n "$DEV" ] && [ -e "$DEV" ]; then
  kv device.path "$DEV"
  if [ -c "$DEV" ]; then echo device.type=char; elif [ -S "$DEV" ]; then echo device.type=socket
  else echo device.type=other; fi
  kv device.stat "$(stat -L -c '%a %U %G' "$DEV")"
  up "$DEV"
  d=$(changeable "$up")
  if [ -n "$d" ]; then kv device.others "$d"; fi
  if [ -n "$e" ] && [ -c "$DEV" ]; then kv device.opens "$(opens "$DEV")"; fi
fi
`

// udevOwns says whether udev sets the device's permissions: it runs, and the kernel has told it of a TPM.
func (f *Facts) udevOwns() bool { return f.udev && f.device.sysfs }

// tpmGroup is the group that may open the TPM: that of the TPM2 software stack, unless a udev rule of the site has given the
// device to another one. Such a rule may come after ours, so that it wins at the next boot; and whoever wrote it needs it.
func (f *Facts) tpmGroup() string {
	dev := f.device
	if f.udevOwns() && dev.typ == "char" && dev.mode&0o060 == 0o060 && dev.group != "root" {
		return dev.group
	}
	return accessGroup
}

// tpmAccess gives the TPM to a tbot that is not root, the way the TPM2 software stack does it: the group tss may open
// the resource manager, by a udev rule. Where no udev runs (containers), the node is changed directly, and a drop-in of
// the unit does the same before each start.
func (p *planner) tpmAccess() {
	if p.d.Tbot.User == "root" {
		p.done("TPM access", "tbot runs as root")
		return
	}
	if group := p.f.tpmGroup(); group != accessGroup {
		p.siteAccess(group)
		return
	}
	p.group(accessGroup, p.f.access)
	p.member()
	switch dev := p.f.device; {
	case dev.typ == "socket":
		p.done("TPM access", "%s is a socket: its permissions are its owner's business", dev.path)
		return
	case dev.typ != "char":
		p.problem("TPM access", outcome.NoTPM, dev.path+" is no character device", "correct tpm_device in the inventory")
		return
	case dev.others != "": // the unit changes it as root, too, before each start
		p.problem("TPM access", outcome.UnsafePath,
			fmt.Sprintf("others than root can change %s, on the way to %s", dev.others, dev.path), "")
		return
	}
	if p.ruledOut() {
		return
	}
	p.udevRules()
	p.deviceNode()
}

// brokenDevice is a device that fails for whoever opens it.
func (p *planner) brokenDevice(name string) {
	p.problem(name, outcome.TPMError, p.f.device.path+" can't be opened, and not for want of permission", "look at dmesg on the host")
}

// siteAccess leaves the TPM to the group that the site gave it to. Whether tbot's user may be in there is the site's to say:
// the group may be one with other rights.
func (p *planner) siteAccess(group string) {
	const name = "TPM access"
	dev, user := p.f.device, p.d.Tbot.User
	switch {
	case dev.opens == "ok" || dev.opens == "busy":
		p.done(name, "a udev rule of the site gives %s to group %s, and user %s can open it", dev.path, group, user)
	case dev.opens == "failed":
		p.brokenDevice(name)
	default:
		p.problem(name, outcome.TPMPermission,
			fmt.Sprintf("a udev rule of the site gives %s to group %s, and user %s can't open it", dev.path, group, user),
			fmt.Sprintf("make it a member of that group, or let the rule say GROUP=%q", accessGroup))
	}
}

// udevRules are ours only where no package brought any.
func (p *planner) udevRules() {
	const name = "udev rules"
	switch {
	case p.f.rules != "":
		p.done(name, "%s has them", p.f.rules)
		return
	case !p.f.udevOwns():
		p.done(name, "no udev here that knows the TPM")
		return
	}
	if p.file(name, remote.File{Path: rulesPath, Content: p.files.rules, Mode: 0o644, Owner: "root", Group: "root"}, false) {
		p.undo(p.last(), action{script: "udevadm control --reload-rules || :"})
	}
}

// deviceNode makes sure that tbot's user can open the device, now.
func (p *planner) deviceNode() {
	dev := p.f.device
	name := "TPM device " + dev.path
	granted := dev.group == accessGroup && dev.mode&0o060 == 0o060
	switch {
	case dev.opens == "ok" || dev.opens == "busy":
		p.done(name, "user %s can open it", p.d.Tbot.User)
	case dev.opens == "failed":
		p.brokenDevice(name)
	case granted && p.f.inAccessGroup():
		p.problem(name, outcome.TPMPermission,
			fmt.Sprintf("user %s may not open %s, though its group %s may", p.d.Tbot.User, dev.path, accessGroup), p.macHint())
	default:
		reason := fmt.Sprintf("it is %#o %s:%s", dev.mode, dev.owner, dev.group)
		if granted {
			reason = "user " + p.d.Tbot.User + " is not in its group yet"
		}
		step := p.do(name, reason, action{script: p.grantScript(granted)})
		if !granted {
			step.Makes = Thing{kind: thingDevice, name: dev.path, mode: dev.mode, owner: dev.owner, group: dev.group}
			p.undo(step, action{script: step.Makes.back()})
		}
	}
}

// grantScript lets udev apply its rules and, where that gave nothing, changes the node; then it opens the device as
// tbot's user, which is what counts.
func (p *planner) grantScript(granted bool) string {
	var b strings.Builder
	dev := remote.Quote(p.f.device.path)
	fmt.Fprintf(&b, "U=%s A=%s\n", remote.Quote(p.d.Tbot.User), accessGroup)
	if !granted && p.f.udevOwns() {
		b.WriteString(`udevadm control --reload-rules || exit 1
udevadm trigger --action=change --subsystem-match=tpm --subsystem-match=tpmrm
udevadm settle --timeout=10
`)
	}
	switch {
	case !granted && p.f.udevOwns(): // what another rule takes away again at the next boot is no access
		fmt.Fprintf(&b, `g=$(stat -L -c '%%G %%a' %[1]s)
case $g in "%[2]s "*[67]?) ;; *)
  echo "a udev rule wins over %[3]s: after it "%[1]s" is of group ${g%% *} with mode ${g#* }" >&2; exit 1;;
esac
`, dev, accessGroup, path.Base(rulesPath))
	case !granted:
		fmt.Fprintf(&b, `alone %[3]s
if [ "$(stat -L -c %%G %[1]s)" != %[2]s ]; then chgrp %[2]s %[1]s && chmod 0660 %[1]s || exit 1; fi
`, dev, accessGroup, remote.Quote(path.Dir(p.f.device.path)))
	}
	fmt.Fprintf(&b, `o=$(opens %[1]s)
case $o in ok|busy) ;; *)
  echo "user $U can't open "%[1]s": $o; "%[2]s >&2; exit 1;;
esac`, dev, remote.Quote(p.macHint()))
	return b.String()
}

// macHint says which mandatory access control may be in the way.
func (p *planner) macHint() string {
	switch {
	case p.f.selinux == "Enforcing":
		return "SELinux is enforcing here: look for a denial with ausearch -m avc -ts recent"
	case p.f.appArmor:
		return "AppArmor is on here: look for DENIED in journalctl -k"
	}
	return "look for an access control list (getfacl) or another security module"
}

// deviceAway gives the device back to root where we had given it away, and takes our rules.
func (p *removal) deviceAway() {
	rules := p.f.files[rulesPath].ours()
	p.fileAway("udev rules", rulesPath)
	dev := p.f.device
	if !rules && !p.f.files[devicePath].ours() || dev.typ != "char" || dev.group != accessGroup || p.f.rules != "" {
		return
	}
	if _, known := find(p.d.made, thingDevice, dev.path); !known && p.modern() {
		return // it was so before
	}
	script := p.deviceBefore()
	if p.f.udev {
		script = "udevadm control --reload-rules\nudevadm trigger --action=change --subsystem-match=tpm --subsystem-match=tpmrm\n" +
			"udevadm settle --timeout=10 || :\n" + script
	}
	p.do("TPM device "+dev.path, "it gets back the owner and mode that it had", action{script: script})
}

// deviceBefore gives the device the owner and mode that it had, as far as is known; root's alone otherwise, as the
// kernel makes it.
func (p *removal) deviceBefore() string {
	was, known := find(p.d.made, thingDevice, p.f.device.path)
	if !known {
		was = Thing{name: p.f.device.path, mode: 0o600, owner: "root", group: "root"}
	}
	return was.back()
}
