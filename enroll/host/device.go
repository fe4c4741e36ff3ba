package host

import (
	"fmt"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/remote"
)

// DeviceFacts are of the TPM.
type DeviceFacts struct {
	Path   string `json:"path,omitempty"` // "" when there is none
	Type   string `json:"type,omitempty"` // char, socket or other
	Mode   uint32 `json:"mode,omitempty"` // permission bits
	Owner  string `json:"owner,omitempty"`
	Group  string `json:"group,omitempty"`
	Opens  string `json:"opens,omitempty"`  // what opening it as tbot's user says: "ok", "denied", "busy", "failed"; "" not tried
	Sysfs  bool   `json:"sysfs,omitempty"`  // the kernel knows a TPM
	TPM12  bool   `json:"tpm12,omitempty"`  // and it is 1.2
	Driver string `json:"driver,omitempty"` // major number's name in /proc/devices, "tpm" for a real one
}

// tpmAccess gives the TPM to a tbot that is not root, the way the TPM2 software stack does it: the group tss may open
// the resource manager, by a udev rule. Where no udev runs (containers), the node is changed directly, and a drop-in of
// the unit does the same before each start.
func (p *planner) tpmAccess() {
	if p.d.Tbot.User == "root" {
		p.done("TPM access", "tbot runs as root")
		return
	}
	p.accessGroup()
	switch dev := p.f.Device; {
	case dev.Type == "socket":
		p.done("TPM access", "%s is a socket: its permissions are its owner's business", dev.Path)
		return
	case dev.Type != "char":
		p.problem("TPM access", outcome.NoTPM, dev.Path+" is no character device", "correct tpm_device in the inventory")
		return
	}
	p.udevRules()
	p.deviceNode()
}

// accessGroup is the group, and tbot's user in it.
func (p *planner) accessGroup() {
	user := p.d.Tbot.User
	if p.f.Access {
		p.done("group "+accessGroup, "it exists")
	} else {
		p.do("group "+accessGroup, "it doesn't exist", Action{Script: addGroup(accessGroup)}).Makes = Thing{Kind: ThingGroup, Name: accessGroup}
	}
	name := fmt.Sprintf("user %s in group %s", user, accessGroup)
	if p.f.User != nil && slices.Contains(p.f.User.Groups, accessGroup) {
		p.done(name, "it is a member")
		return
	}
	script := fmt.Sprintf("if has usermod; then usermod -a -G %[2]s %[1]s; else addgroup %[1]s %[2]s; fi",
		remote.Quote(user), accessGroup)
	p.do(name, "it is no member", Action{Script: script}).Makes = Thing{Kind: ThingMember, Name: accessGroup}
	p.restart = append(p.restart, "group "+accessGroup)
}

// udevOwns says whether udev sets the device's permissions: it runs, and the kernel has told it of a TPM.
func (p *planner) udevOwns() bool { return p.f.Udev && p.f.Device.Sysfs }

// udevRules are ours only where no package brought any.
func (p *planner) udevRules() {
	const name = "udev rules"
	switch {
	case p.f.Rules != "":
		p.done(name, "%s has them", p.f.Rules)
		return
	case !p.udevOwns():
		p.done(name, "no udev here that knows the TPM")
		return
	}
	p.file(name, remote.File{Path: rulesPath, Content: p.files.rules, Mode: 0o644, Owner: "root", Group: "root"}, false)
}

// deviceNode makes sure that tbot's user can open the device, now.
func (p *planner) deviceNode() {
	dev := p.f.Device
	name := "TPM device " + dev.Path
	granted := dev.Group == accessGroup && dev.Mode&0o060 == 0o060
	switch {
	case dev.Opens == "ok" || dev.Opens == "busy":
		p.done(name, "user %s can open it", p.d.Tbot.User)
	case dev.Opens == "failed":
		p.problem(name, outcome.TPMError, dev.Path+" can't be opened, and not for want of permission", "look at dmesg on the host")
	case granted && p.f.User != nil && slices.Contains(p.f.User.Groups, accessGroup):
		p.problem(name, outcome.TPMPermission,
			fmt.Sprintf("user %s may not open %s, though its group %s may", p.d.Tbot.User, dev.Path, accessGroup), p.macHint())
	default:
		reason := fmt.Sprintf("it is %#o %s:%s", dev.Mode, dev.Owner, dev.Group)
		if granted {
			reason = "user " + p.d.Tbot.User + " is not in its group yet"
		}
		step := p.do(name, reason, Action{Script: p.grantScript(granted)})
		if !granted {
			step.Makes = Thing{Kind: ThingDevice, Name: dev.Path, Mode: dev.Mode, Owner: dev.Owner, Group: dev.Group}
		}
	}
}

// grantScript lets udev apply its rules and, where that gave nothing, changes the node; then it opens the device as
// tbot's user, which is what counts.
func (p *planner) grantScript(granted bool) string {
	var b strings.Builder
	dev := remote.Quote(p.f.Device.Path)
	fmt.Fprintf(&b, "U=%s\n", remote.Quote(p.d.Tbot.User))
	if !granted && p.udevOwns() {
		b.WriteString(`udevadm control --reload-rules || exit 1
udevadm trigger --action=change --subsystem-match=tpm --subsystem-match=tpmrm
udevadm settle --timeout=10
`)
	}
	if !granted {
		fmt.Fprintf(&b, `if [ "$(stat -L -c %%G %[1]s)" != %[2]s ]; then chgrp %[2]s %[1]s && chmod 0660 %[1]s || exit 1; fi
`, dev, accessGroup)
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
	case p.f.SELinux == "Enforcing":
		return "SELinux is enforcing here: look for a denial with ausearch -m avc -ts recent"
	case p.f.AppArmor:
		return "AppArmor is on here: look for DENIED in journalctl -k"
	}
	return "look for an access control list (getfacl) or another security module"
}
