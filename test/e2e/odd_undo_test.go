package e2e

import "fleetctl/test/lab"

// undoOddities are about what enroll undoes, what is ours, drop-ins, and what remove takes.
func undoOddities() []oddity {
	return []oddity{
		{name: "a healthy host", every: true},
		{name: "tbot runs as root", every: true, vars: asUser("root", "root"),
			holds: map[stage]string{enrolled: "[ $(ps -o user= -C tbot) = root ]"}},
		{name: "the tss rules of the distribution are there", every: true, spec: lab.Spec{TSS: true}},
		{name: "there is no udev", every: true, spec: lab.Spec{NoUdev: true}},
		{name: "the unit is masked", every: true, setup: "systemctl mask tbot.service",
			says: map[stage]string{checked: "failed unit-masked", enrolled: "failed unit-masked", again: "failed unit-masked", seen: "-", removed: "ok"}},
		{name: "proc hides processes of others", setup: "mount -o remount,hidepid=2 /proc"},
		{name: "root's umask is 077", setup: "sed -i 's/^UMASK.*/UMASK 077/' /etc/login.defs; echo umask 077 >>/root/.bashrc; echo umask 077 >>/etc/profile",
			every: true},
		{name: "the user and the group are there already", every: true,
			setup: "groupadd --system teleport; useradd --system -g teleport teleport"},
		{name: "the configuration is somebody else's", every: true, setup: "echo 'version: v2' >/etc/tbot.yaml",
			says: map[stage]string{checked: "failed not-ours: /etc/tbot.yaml", enrolled: "failed not-ours", again: "failed not-ours", seen: "-", removed: "ok"}},
		{name: "the configuration of somebody else is adopted", every: true, adopt: true, setup: "echo 'version: v2' >/etc/tbot.yaml; chmod 0604 /etc/tbot.yaml"},
	}
}

// asUser is a host's tbot with a user and a group, from the start.
func asUser(user, group string) map[stage]map[string]any {
	return map[stage]map[string]any{scanned: {"user": user, "group": group}}
}
