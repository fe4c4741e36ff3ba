package e2e

import (
	"fleetctl/test/lab"
	"slices"
)

// planOddities are about what a plan foresees, the TPM, scripts on odd hosts, and warnings.
func planOddities() []oddity {
	return slices.Concat(closedWays(), noRoom(), changedUsers(), oddTPMs(), oddLogins(), oddSayings())
}

// outputIn is a tbot that writes an identity to a directory; more are keys of the destination.
func outputIn(dir string, more ...string) map[string]any {
	destination := map[string]any{"type": "directory", "path": dir}
	for i := 0; i < len(more); i += 2 {
		destination[more[i]] = more[i+1]
	}
	return map[string]any{"services": []any{map[string]any{"type": "identity", "destination": destination}}}
}

const (
	agent    = "mkdir -m 0700 /var/lib/teleport; echo uuid >/var/lib/teleport/host_uuid\n" // a Teleport agent's host
	moveTbot = "mkdir -p /home/ops/bin; chmod 0755 /home/ops; mv /usr/local/bin/tbot /home/ops/bin/tbot\n"
	account  = "groupadd --system teleport; useradd --system -g teleport teleport\n"
)

// closedWays are directories that tbot's user can't go through, links, and programs that it can't execute.
func closedWays() []oddity {
	return []oddity{
		{name: "a Teleport agent runs there", every: true, setup: agent,
			holds: map[stage]string{enrolled: works + "; [ $(stat -c %a:%U /var/lib/tbot) = 700:teleport ]; [ $(stat -c %a:%U /var/lib/teleport) = 700:root ]",
				removed: "[ ! -e /var/lib/tbot ]; [ -e /var/lib/teleport/host_uuid ]"}},
		{name: "a Teleport agent runs there, and tbot is root", setup: agent, vars: always(map[string]any{"user": "root", "group": "root"}),
			holds: map[stage]string{enrolled: "[ -d /var/lib/teleport/bot ]"}},
		{name: "a Teleport agent runs there, and the storage was chosen", every: true, setup: agent, vars: always(map[string]any{"storage": "/var/lib/teleport/machine"}),
			says: refusedAs("storage-denied", "/var/lib/teleport (0700 root:root) is closed to it")},
		{name: "a Teleport agent comes later", before: map[stage]string{again: "chmod 0700 /var/lib/teleport"}, says: map[stage]string{again: "changed"},
			holds: map[stage]string{again: works + "; [ $(stat -c %a:%U /var/lib/tbot) = 700:teleport ]"}},
		{name: "the storage lies below a link", setup: "mkdir /srv/real; ln -s /srv/real /srv/link", vars: always(map[string]any{"storage": "/srv/link/bot"}),
			says: refusedAs("storage-link", "write where it leads to: tbot.storage: /srv/real/bot")},
		{name: "an output lies below a link", setup: "mkdir /srv/real; ln -s /srv/real /srv/link", vars: always(outputIn("/srv/link/id")),
			says: refusedAs("storage-link", "/srv/link is a symbolic link")},
		{name: "an output is a link", setup: "mkdir -m 0777 /srv/real; ln -s real /srv/id", vars: always(outputIn("/srv/id")),
			says: refusedAs("storage-link", "/srv/id is a symbolic link")},
		{name: "an output is a link, and may be", setup: "mkdir -m 0777 /srv/real; ln -s /srv/real /srv/id", vars: always(outputIn("/srv/id", "symlinks", "insecure")),
			holds: map[stage]string{enrolled: works + "; [ -s /srv/real/identity ]"}, left: []string{"/srv/real/"}},
		{name: "the storage is there with 0500", setup: account + "mkdir -p /var/lib/teleport/bot; chown teleport:teleport /var/lib/teleport/bot; chmod 0500 /var/lib/teleport/bot",
			holds: map[stage]string{enrolled: works + "; [ $(stat -c %a /var/lib/teleport/bot) = 700 ]"}},
		{name: "an output lies in root's home", every: true, vars: always(outputIn("/root/id")), says: refusedAs("permission", "/root (0700 root:root) is closed to it")},
		{name: "an output belongs to somebody else", setup: "mkdir -m 0755 /srv/id", vars: always(outputIn("/srv/id")),
			says: refusedAs("permission", "can't write to /srv/id (0755 root:root)")},
		{name: "the configuration lies in a closed directory", setup: "mkdir -m 0700 /etc/closed", vars: always(map[string]any{"config": "/etc/closed/tbot.yaml"}),
			says: refusedAs("permission", "/etc/closed (0700 root:root) is closed to it")},
		{name: "tbot lies in root's home", every: true, setup: "mv /usr/local/bin/tbot /root/tbot", vars: always(map[string]any{"binary": "/root/tbot"}),
			says: refusedAs("exec-failed", "/root (0700 root:root) is closed to it")},
		{name: "tbot lies in an open home", every: true, setup: moveTbot, vars: always(map[string]any{"binary": "/home/ops/bin/tbot"}),
			holds: map[stage]string{enrolled: "/home/ops/bin/" + works}},
		{name: "tbot is a link into a home", setup: moveTbot + "ln -s /home/ops/bin/tbot /usr/local/bin/tbot", holds: map[stage]string{enrolled: works}},
		{name: "tbot is for root alone", setup: "chmod 0700 /usr/local/bin/tbot", says: refusedAs("exec-failed", "may not execute /usr/local/bin/tbot")},
		{name: "tbot is of another architecture", setup: `printf '\177ELF\002\001\001\0\0\0\0\0\0\0\0\0\002\0\267\0' >/usr/local/bin/tbot`,
			says: refusedAs("exec-failed", "/usr/local/bin/tbot doesn't run on this host")},
		{name: "tbot lies on a file system that may not execute", setup: "mkdir /srv/x; mount -t tmpfs -o noexec,mode=0755 tmpfs /srv/x; cp /usr/local/bin/tbot /srv/x/tbot",
			vars: always(map[string]any{"binary": "/srv/x/tbot"}), says: refusedAs("exec-failed", "lets nobody execute it")},
	}
}

// noRoom are directories that nothing can be written to.
func noRoom() []oddity {
	readOnly := func(dir string) string {
		return "mount --bind " + dir + " " + dir + "; mount -o remount,bind,ro " + dir
	}
	return []oddity{
		{name: "/etc is read-only", every: true, setup: readOnly("/etc"), says: refusedAs("read-only", "/etc is read-only")},
		{name: "/var/lib is read-only", setup: readOnly("/var/lib"), says: refusedAs("read-only", "/var/lib is read-only")},
		{name: "the directory of units is read-only", setup: readOnly("/etc/systemd/system"), says: refusedAs("read-only", "/etc/systemd/system is read-only")},
		{name: "/etc becomes read-only once tbot runs", before: map[stage]string{again: readOnly("/etc"), removed: "umount /etc"}, says: map[stage]string{again: "ok"}},
		{name: "the storage's disk is full", setup: "mkdir /srv/small; mount -t tmpfs -o size=64k tmpfs /srv/small", vars: always(map[string]any{"storage": "/srv/small/bot"}),
			says: refusedAs("no-space", "/srv/small is full: ")},
		{name: "the storage's disk has no inodes", setup: "mkdir /srv/small; mount -t tmpfs -o nr_inodes=5 tmpfs /srv/small", vars: always(map[string]any{"storage": "/srv/small/bot"}),
			says: refusedAs("no-space", "inodes are free")},
		{name: "an output's disk is full", setup: "mkdir /srv/small; mount -t tmpfs -o size=64k tmpfs /srv/small", vars: always(outputIn("/srv/small/id")),
			says: refusedAs("no-space", "/srv/small is full: ")},
	}
}

// changedUsers are hosts whose tbot gets another user.
func changedUsers() []oddity {
	with := func(user string, keys map[string]any) map[string]any {
		return map[string]any{"user": user, "group": user, "services": keys["services"]}
	}
	out := outputIn("/opt/app/id")
	changed := map[stage]string{again: "changed"}
	return []oddity{
		{name: "tbot gets another user, with an output", every: true, vars: vars{scanned: out, again: with("other", out)}, says: changed,
			before: map[stage]string{again: "echo mine >/opt/app/id/mine; ln -s /etc/shadow /opt/app/id/link; cp -p /opt/app/id/identity /opt/app/id/named-twice; ln /opt/app/id/named-twice /srv/second"},
			holds: map[stage]string{again: works + `; [ $(ps -o user= -C tbot) = other ]; [ "$(stat -c %U:%a /opt/app/id)" = other:750 ]
[ "$(stat -c %U /opt/app/id/mine)" = root ]; [ "$(stat -c %U:%G /etc/shadow)" = root:shadow ]; [ "$(stat -c %U /srv/second)" = teleport ]
[ -z "$(find /var/lib/teleport/bot ! -user other)" ]`}, left: []string{"/srv/second"}},
		{name: "tbot becomes root, with an output", vars: vars{scanned: out, again: with("root", out)}, says: changed,
			holds: map[stage]string{again: works + "; [ $(ps -o user= -C tbot) = root ]"}},
		{name: "tbot was root", vars: vars{scanned: with("root", map[string]any{"services": []any{}}), again: with("teleport", map[string]any{"services": []any{}})}, says: changed,
			holds: map[stage]string{again: works + "; [ $(ps -o user= -C tbot) = teleport ]; [ -z \"$(find /var/lib/teleport/bot ! -user teleport)\" ]"}},
		{name: "tbot was root, with an output that root made", setup: "mkdir -m 0755 /srv/id", vars: vars{scanned: with("root", outputIn("/srv/id")), again: with("teleport", outputIn("/srv/id"))},
			says: map[stage]string{again: "failed permission: can't write to /srv/id (0755 root:root)", seen: "-"}, left: []string{"/srv/id/"}},
	}
}

// oddTPMs are about the device: whose it is, and which one it is.
func oddTPMs() []oddity {
	rule := func(file, text string) string {
		return "mkdir -p /etc/udev/rules.d; echo '" + text + "' >/etc/udev/rules.d/" + file + "; udevadm trigger\n"
	}
	chips := "mkdir -p /run/chips/tpm0 /run/chips/tpm1/device/tpmrm/tpmrm0; : >/run/chips/tpm0/caps; echo 2 >/run/chips/tpm0/tpm_version_major\n"
	old := map[stage]string{scanned: "failed tpm-1.2", checked: "failed tpm-1.2", enrolled: "failed tpm-1.2", again: "failed tpm-1.2", seen: "-", removed: "-"}
	return []oddity{
		{name: "a udev rule of the site wins over ours", every: true, setup: rule("90-site.rules", `KERNEL=="tpmrm[0-9]*", OWNER="root", GROUP="root", MODE="0600"`),
			says: refusedAs("tpm-permission", "/etc/udev/rules.d/90-site.rules wins")},
		{name: "a udev rule before ours is final", setup: rule("10-site.rules", `KERNEL=="tpmrm0", GROUP:="root"`),
			says: refusedAs("tpm-permission", "/etc/udev/rules.d/10-site.rules wins")},
		{name: "a udev rule behind ours lets the group in", setup: "groupadd --system tss\n" + rule("90-site.rules", `KERNEL=="tpmrm[0-9]*", GROUP="tss", MODE="0660"`),
			holds: map[stage]string{enrolled: works}},
		{name: "a udev rule of the site lets everybody in", setup: rule("90-site.rules", `KERNEL=="tpmrm[0-9]*", MODE="0666"`), holds: map[stage]string{enrolled: works}},
		{name: "a udev rule comes that wins over ours", before: map[stage]string{again: rule("90-site.rules", `KERNEL=="tpmrm[0-9]*", GROUP="root", MODE="0600"`),
			removed: "rm /etc/udev/rules.d/90-site.rules; udevadm trigger"},
			says: map[stage]string{again: "failed tpm-permission: 90-site.rules", seen: "-"}},
		{name: "the first of two TPMs is a 1.2", setup: chips + "mount --bind /run/chips /sys/class/tpm", holds: map[stage]string{enrolled: works}},
		{name: "the only TPM is a 1.2", setup: chips + "rm -r /run/chips/tpm1; mount --bind /run/chips /sys/class/tpm", says: old},
	}
}

// oddLogins are login users, shells and programs on which scripts have to get by.
func oddLogins() []oddity {
	start := func(line string) string { return "sed -i '1i " + line + "' /home/ops/.bashrc\n" }
	never := func(status string) map[stage]string {
		failed := "failed " + status
		return map[stage]string{scanned: failed, checked: failed, enrolled: failed, again: failed, seen: "-", removed: "-", repeated: "-"}
	}
	return []oddity{
		{name: "sudo gives an empty PATH", every: true, setup: "echo 'Defaults secure_path=/opt/empty' >>/etc/sudoers.d/lab"},
		{name: "the login user has an empty PATH", every: true, setup: start("PATH=/opt/empty; export PATH")},
		{name: "neither has a PATH", setup: start("unset PATH") + "echo 'Defaults secure_path=\"\"' >>/etc/sudoers.d/lab"},
		{name: "the login user may write no file", setup: start("ulimit -f 0"), // root may lift it, where it has all capabilities
			says: map[stage]string{scanned: "ok: asked-through-shell", checked: "-", enrolled: "-", again: "-", seen: "-", removed: "-"}},
		{name: "the login user may write no large file", setup: start("ulimit -f 100"), says: map[stage]string{scanned: "ok: asked-through-shell"}},
		{name: "the login shell execs something else", setup: start("exec false"), says: never("login-shell: it ended with status 1")},
		{name: "the login shell ends", setup: start("echo maintenance >&2; exit 0"), says: never("login-shell: maintenance")},
		{name: "uname says nothing", every: true, setup: `printf '#!/bin/sh\nexit 1\n' >/usr/bin/uname`, says: never("bad-output: what kind of host it is")},
	}
}

// oddSayings are about messages: who has an address, and warnings.
func oddSayings() []oddity {
	const socket = `printf '[Socket]\nListenStream=` + lab.DiagAddr + `\n' >/etc/systemd/system/other.socket
printf '[Service]\nExecStart=/bin/sleep infinity\n' >/etc/systemd/system/other.service
systemctl daemon-reload; systemctl start other.socket
`
	return []oddity{
		{name: "tbot's address is taken", every: true, setup: socket, says: refusedAs("address-in-use", lab.DiagAddr+" is taken by systemd (process 1)")},
		{name: "tbot's address was taken while it was stopped", before: map[stage]string{again: "systemctl stop tbot.service\n" + socket,
			removed: "systemctl stop other.socket; rm /etc/systemd/system/other.*; systemctl daemon-reload"},
			says: map[stage]string{again: "failed address-in-use: systemd (process 1)", seen: "-"}},
		{name: "tbot is two versions behind", every: true, spec: lab.Spec{Tbot: "16.4.7"}, says: map[stage]string{
			enrolled: "changed: version-skew", again: "ok: version-skew", seen: "healthy: version-skew"}},
	}
}
