package e2e

import (
	"fmt"

	"fleetctl/test/lab"
)

// undoOddities are about what enroll undoes, what is ours, drop-ins of others, and what remove takes.
func undoOddities() []oddity {
	var all []oddity
	for _, table := range [][]oddity{ordinary(), undone(), foreign(), dropIns(), takenBack()} {
		all = append(all, table...)
	}
	return all
}

// vars are a host's "tbot:" from a stage on.
type vars = map[stage]map[string]any

func always(keys map[string]any) vars { return vars{scanned: keys} }

// refusedAs is what is said of a host that is refused with a code and a text, before anything is done.
func refusedAs(code, text string) map[stage]string {
	failed := "failed " + code + ": " + text
	return map[stage]string{checked: failed, enrolled: failed, again: failed, seen: "-", removed: "ok"}
}

// bot is a service of somebody else: it joins nothing, and writes when it was started.
func bot(path, more string) string {
	return fmt.Sprintf(`mkdir -p "$(dirname %[1]s)"
cat >%[1]s <<'END'
[Unit]
Description=the bot of somebody else
[Service]
ExecStart=/bin/sleep infinity
%[2]s
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable --now tbot.service 2>&1
`, path, more)
}

// Where units of packages lie, and where an administrator's do.
const (
	vendor = "/usr/lib/systemd/system/tbot.service"
	local  = "/etc/systemd/system/tbot.service"
)

// sleeps says that the bot of somebody else runs, and nothing else does.
const sleeps = `systemctl is-active -q tbot.service
[ "$(readlink /proc/$(systemctl show tbot.service -p MainPID --value)/exe)" = /usr/bin/sleep ]`

// badService is a service that every tbot refuses.
var badService = []any{map[string]any{"type": "no-such-service"}}

// works says that tbot of an enrolled host has joined.
const works = "tbot wait --diag-addr " + lab.DiagAddr + " --timeout 20s"

// ordinary are hosts on which everything goes well, however odd they are.
func ordinary() []oddity {
	return []oddity{
		{name: "a healthy host", every: true},
		{name: "tbot runs as root", vars: always(map[string]any{"user": "root", "group": "root"}),
			holds: map[stage]string{enrolled: "[ $(ps -o user= -C tbot) = root ]"}},
		{name: "the rules of tpm-udev are there", spec: lab.Spec{TSS: true}},
		{name: "there is no udev", spec: lab.Spec{NoUdev: true}},
		{name: "systemd is old", spec: lab.Spec{OldSystemd: true}},
		{name: "the unit is masked", setup: "systemctl mask tbot.service 2>&1", says: refusedAs("unit-masked", "systemctl unmask")},
		{name: "proc hides the processes of others", setup: "mount -o remount,hidepid=2 /proc"},
		{name: "root's umask is 077",
			setup: "sed -i 's/^UMASK.*/UMASK 077/' /etc/login.defs; for f in /root/.bashrc /root/.profile /etc/profile /etc/bash.bashrc; do echo umask 077 >>$f; done",
			holds: map[stage]string{enrolled: "[ $(stat -c %a /var/lib/teleport) = 755 ]"}},
		{name: "the user and the group are there already",
			setup: "groupadd --system teleport; useradd --system -g teleport -c 'of the site' teleport",
			holds: map[stage]string{removed: "id teleport"}},
		{name: "the group is there already, with somebody in it", setup: "groupadd --system teleport; usermod -a -G teleport careful"},
		{name: "the group tss is there, with somebody in it", setup: "groupadd --system tss; usermod -a -G tss careful"},
		{name: "the user is a member of tss already", setup: "groupadd --system tss; groupadd --system teleport; useradd --system -g teleport -G tss teleport",
			holds: map[stage]string{removed: "id -nG teleport | grep -q tss"}},
		{name: "the language of root is another one", setup: "echo LANG=de_DE.UTF-8 >/etc/default/locale; echo 'export LANG=de_DE.UTF-8 LC_ALL=tr_TR.UTF-8' >>/etc/bash.bashrc"},
		{name: "every temporary directory is noexec", setup: "for d in /tmp /var/tmp /dev/shm /run/user; do mkdir -p $d; mount -t tmpfs -o noexec,mode=1777 tmpfs $d; done"},
		{name: "the directory above the storage is there, and empty", setup: "mkdir /var/lib/teleport; chmod 0711 /var/lib/teleport"},
		{name: "the directory of drop-ins is there, and empty", setup: "mkdir /etc/systemd/system/tbot.service.d"},
		{name: "there is no directory of udev rules", setup: "rm -rf /etc/udev"},
		{name: "the host reboots in between", reboot: []stage{again, removed}, before: map[stage]string{again: works}},
		{name: "a host without udev reboots in between", spec: lab.Spec{NoUdev: true}, reboot: []stage{again}, before: map[stage]string{again: works}},
		{name: "tbot was restarted", before: map[stage]string{again: "systemctl restart tbot.service; " + works}},
		{name: "tbot was killed", before: map[stage]string{again: "systemctl kill -s KILL tbot.service; sleep 6; " + works}},
		{name: "outputs lie in directories that are there and in new ones", every: true,
			setup: "mkdir /opt/app; echo mine >/opt/app/mine; chmod 0777 /opt/app",
			vars: always(map[string]any{"services": []any{
				map[string]any{"type": "identity", "destination": map[string]any{"type": "directory", "path": "/opt/app"}},
				map[string]any{"type": "identity", "destination": map[string]any{"type": "directory", "path": "/opt/new/deep/id"}}}})},
	}
}

// undone are hosts on which an enroll fails, and the bot that was there must run as before.
func undone() []oddity {
	fails := func(text string) map[stage]string {
		return map[stage]string{again: "failed -: " + text, seen: "-"}
	}
	return []oddity{
		{name: "a new user who cannot reach the cluster", every: true,
			before: map[stage]string{
				again:   "groupadd -r other; useradd -r -g other other; ip rule add uidrange $(id -u other)-$(id -u other) unreachable pref 1",
				removed: "ip rule del pref 1; userdel other"},
			vars: vars{again: {"user": "other", "group": "other"}},
			says: fails("the previous files are back, and tbot was restarted with them and has joined"),
			holds: map[stage]string{again: works + "; [ $(stat -c %U:%G /var/lib/teleport/bot) = teleport:teleport ]" +
				"; [ $(stat -c %U /var/lib/teleport/bot/*identity*) = teleport ]" +
				"; [ $(stat -c %G:%a /etc/tbot.yaml) = teleport:640 ]; ! id -nG other | grep -q tss"}},
		{name: "a new user that is made, and a service that tbot refuses",
			vars:  vars{again: {"user": "newbot", "group": "newbot", "services": badService}},
			says:  fails("the previous files are back, and tbot was restarted with them and has joined"),
			holds: map[stage]string{again: works + "; ! id newbot 2>/dev/null; ! getent group newbot"}},
		{name: "a new storage, and a service that tbot refuses",
			vars:  vars{again: {"storage": "/var/lib/other/bot", "services": badService}},
			says:  fails("has joined"),
			holds: map[stage]string{again: works + "; [ ! -e /var/lib/other ]"}},
		{name: "a new configuration file, and a service that tbot refuses",
			vars:  vars{again: {"config": "/etc/tbot/bot.yaml", "services": badService}},
			says:  fails("with them"),
			holds: map[stage]string{again: works + "; [ ! -e /etc/tbot ]"}},
		{name: "the configuration was given to everybody, and a service that tbot refuses",
			before: map[stage]string{again: "chmod 0644 /etc/tbot.yaml"},
			vars:   vars{again: {"services": badService}},
			says:   fails("has joined"),
			holds:  map[stage]string{again: works + "; [ $(stat -c %a /etc/tbot.yaml) = 644 ]"}},
		{name: "the sandbox comes back, and a service that tbot refuses",
			vars:  vars{scanned: {"hardening": false}, again: {"services": badService}},
			says:  fails("has joined"),
			holds: map[stage]string{again: works + "; [ ! -e /etc/systemd/system/tbot.service.d ]"}},
		{name: "tbot becomes root, and a service that tbot refuses",
			vars:  vars{again: {"user": "root", "group": "root", "services": badService}},
			says:  fails("has joined"),
			holds: map[stage]string{again: works + "; [ $(ps -o user= -C tbot) = teleport ]"}},
		{name: "the unit is disabled by hand, and a service that tbot refuses",
			before: map[stage]string{again: "systemctl disable tbot.service 2>&1"},
			vars:   vars{again: {"services": badService}},
			says:   fails("has joined"),
			holds:  map[stage]string{again: works + "; [ $(systemctl is-enabled tbot.service) = disabled ]"}},
		{name: "a package's bot is adopted, and ours does not join", adopt: true, every: true,
			setup: bot(vendor, ""), works: sleeps, vars: always(map[string]any{"services": badService}),
			says: map[stage]string{enrolled: "failed bad-config: the service that was there runs", again: "failed bad-config", seen: "-", removed: "-"}},
		{name: "a site's bot is adopted, and ours does not join", adopt: true,
			setup: bot(local, "User=careful"), works: sleeps, vars: always(map[string]any{"services": badService}),
			says: map[stage]string{enrolled: "failed bad-config: the service that was there runs", again: "failed bad-config", seen: "-", removed: "-"}},
		{name: "a bot that is not enabled is adopted, and ours does not join", adopt: true,
			setup: bot(vendor, "") + "systemctl disable tbot.service 2>&1", works: sleeps, vars: always(map[string]any{"services": badService}),
			says: map[stage]string{enrolled: "failed bad-config: the service that was there runs", again: "failed bad-config", seen: "-", removed: "-"}},
		{name: "a package's bot and its storage are adopted, and ours does not join", adopt: true,
			setup: "groupadd -r old; useradd -r -g old old; install -d -m 0750 -o old -g old /var/lib/teleport /var/lib/teleport/bot; echo key >/var/lib/teleport/bot/key; chown old:old /var/lib/teleport/bot/key\n" +
				"chmod 0755 /var/lib/teleport\n" + bot(vendor, "User=old"), works: sleeps + "\n[ $(stat -c %U:%a /var/lib/teleport/bot) = old:750 ]",
			vars: always(map[string]any{"services": badService}),
			says: map[stage]string{enrolled: "failed bad-config: the service that was there runs", again: "failed bad-config", seen: "-", removed: "-"}},
	}
}

// foreign are hosts where something that looks like ours is somebody else's.
func foreign() []oddity {
	return []oddity{
		{name: "the configuration is somebody else's", setup: "echo 'version: v2' >/etc/tbot.yaml", says: refusedAs("not-ours", "/etc/tbot.yaml")},
		{name: "the configuration of somebody else is adopted", adopt: true, setup: "echo 'version: v2' >/etc/tbot.yaml; chmod 0604 /etc/tbot.yaml; chown careful /etc/tbot.yaml"},
		{name: "the unit is somebody else's", setup: bot(local, ""), works: sleeps, says: refusedAs("not-ours", local)},
		{name: "the unit of somebody else is adopted", adopt: true, setup: bot(local, "User=careful"), works: sleeps},
		{name: "a package's bot runs", every: true, setup: bot(vendor, ""), works: sleeps, says: refusedAs("not-ours", "lib/systemd/system/tbot.service starts")},
		{name: "a package's bot is adopted", adopt: true, every: true, setup: bot(vendor, "User=careful"), works: sleeps},
		{name: "a package's bot that runs and is not enabled is adopted", adopt: true,
			setup: bot(vendor, "") + "systemctl disable tbot.service 2>&1", works: sleeps},
		{name: "a package's bot that is enabled and does not run is adopted", adopt: true,
			setup: bot(vendor, "") + "systemctl stop tbot.service", works: "! systemctl is-active -q tbot.service; systemctl is-enabled -q tbot.service"},
		{name: "a package's unit that nobody uses is hidden", setup: bot(vendor, "") + "systemctl disable --now tbot.service 2>&1",
			works: "! systemctl is-active -q tbot.service; [ $(systemctl is-enabled tbot.service) = disabled ]"},
		{name: "a unit of /run runs", setup: bot("/run/systemd/system/tbot.service", ""), works: sleeps,
			says: refusedAs("not-ours", "/run/systemd/system/tbot.service starts")},
		{name: "a transient unit runs", setup: "systemd-run --unit tbot.service sleep infinity 2>&1", works: sleeps,
			says: refusedAs("not-ours", "comes before")},
		{name: "a package's bot is a dynamic user's", setup: bot(vendor, "DynamicUser=yes\nStateDirectory=somebody"), works: sleeps,
			says: refusedAs("not-ours", "lib/systemd/system/tbot.service starts"), left: []string{"/var/lib/private/", "/var/lib/somebody"}},
		{name: "the unit of another bot runs beside", setup: "cp /bin/sleep /opt/sleeper; " + `cat >/etc/systemd/system/other.service <<'END'
[Service]
ExecStart=/opt/sleeper infinity
END
systemctl start other.service`, works: "systemctl is-active -q other.service"},
		{name: "the storage holds what somebody else put there", every: true,
			setup: "mkdir -p /var/lib/teleport/bot; echo secret >/var/lib/teleport/bot/key", works: "grep -q secret /var/lib/teleport/bot/key",
			says: refusedAs("not-ours", "/var/lib/teleport/bot")},
		{name: "the storage that holds what somebody else put there is adopted", adopt: true,
			setup: "mkdir -p /var/lib/teleport/bot; echo secret >/var/lib/teleport/bot/key; chown careful /var/lib/teleport/bot/key",
			works: "grep -q secret /var/lib/teleport/bot/key", left: []string{"/var/lib/teleport/bot/"}},
		{name: "a tbot was started by hand on the storage", every: true, setup: holdsStorage, works: "pgrep -x tbot", says: refusedAs("not-ours", "did not start")},
		{name: "a tbot was started by hand on the storage, and adopting does not help", adopt: true, setup: holdsStorage, works: "pgrep -x tbot",
			says: refusedAs("not-ours", "did not start")},
		{name: "a tbot runs by hand with another storage", setup: otherTbot, works: "pgrep -f /var/lib/mine", left: []string{"/var/lib/mine/"}},
		{name: "the unit is the updater's, and nobody has started it", setup: updaters},
		{name: "there is a copy called .orig already", setup: "echo other >/etc/tbot.yaml.orig", works: "grep -q other /etc/tbot.yaml.orig"},
		{name: "there is a copy called .orig, and another file to adopt", adopt: true,
			setup: "echo other >/etc/tbot.yaml.orig; echo 'version: v2' >/etc/tbot.yaml",
			works: "grep -q other /etc/tbot.yaml.orig; grep -q v2 /etc/tbot.yaml", says: refusedAs("not-ours", "move it away")},
	}
}

// holdsStorage is a tbot that waits for its cluster with the storage locked, of nobody's service.
const holdsStorage = `mkdir -p /var/lib/teleport/bot
cp /usr/bin/flock /opt/tbot
mkdir /opt/hand; mv /opt/tbot /opt/hand/tbot
systemd-run --unit byhand /opt/hand/tbot /var/lib/teleport/bot/lock sleep infinity 2>&1
until [ -e /var/lib/teleport/bot/lock ]; do sleep 0.1; done`

// updaters is the unit that Teleport's updater writes.
const updaters = `cat >/etc/systemd/system/tbot.service <<'END'
# teleport-update
# DO NOT EDIT THIS FILE
[Unit]
Description=tbot - Teleport Machine & Workload Identity Service
[Service]
ExecStart=/usr/local/bin/tbot start -c /etc/tbot.yaml --pid-file=/run/tbot.pid
PIDFile=/run/tbot.pid
Restart=always
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload; systemctl enable tbot.service 2>&1`

// otherTbot is a process called tbot with a storage of its own.
const otherTbot = `mkdir -p /var/lib/mine /opt/hand
cp /usr/bin/flock /opt/hand/tbot
systemd-run --unit byhand /opt/hand/tbot /var/lib/mine/lock sleep infinity 2>&1
until [ -e /var/lib/mine/lock ]; do sleep 0.1; done`

// dropIn is a drop-in of somebody else.
func dropIn(path, text string) string {
	return fmt.Sprintf("mkdir -p \"$(dirname %[1]s)\"\nprintf '%%b' '%[2]s' >%[1]s\nsystemctl daemon-reload\n", path, text)
}

// dropIns are hosts on which somebody else has a say in tbot.service.
func dropIns() []oddity {
	const override = "/etc/systemd/system/tbot.service.d/override.conf"
	return []oddity{
		{name: "a drop-in starts another program", every: true, setup: dropIn(override, `[Service]\nExecStart=\nExecStart=/bin/sleep infinity\n`),
			says: refusedAs("drop-in", override+" sets ExecStart=/bin/sleep infinity")},
		{name: "a drop-in has a second command", setup: dropIn(override, `[Service]\nExecStart=/bin/true\n`), says: refusedAs("drop-in", override)},
		{name: "a drop-in has another user", setup: dropIn(override, `[Service]\nUser=careful\n`), says: refusedAs("drop-in", override+" sets User=careful")},
		{name: "a drop-in has the same user", setup: dropIn(override, `[Service]\nUser=teleport\n`)},
		{name: "a drop-in hides the TPM", setup: dropIn(override, `[Service]\nPrivateDevices=yes\n`), says: refusedAs("drop-in", "PrivateDevices=yes")},
		{name: "a drop-in makes the user a dynamic one", setup: dropIn(override, `[Service]\nDynamicUser=true\n`), says: refusedAs("drop-in", "DynamicUser=true")},
		{name: "a drop-in has another configuration in the environment", setup: dropIn(override, `[Service]\nEnvironment=TBOT_CONFIG_PATH=/etc/other.yaml\n`),
			says: refusedAs("drop-in", "TBOT_CONFIG_PATH")},
		{name: "a drop-in has a proxy in the environment", setup: dropIn(override, `[Service]\nEnvironment=HTTP_PROXY=\n`)},
		{name: "a drop-in limits memory", setup: dropIn(override, `[Service]\nMemoryMax=512M\nNice=5\n`),
			holds: map[stage]string{enrolled: "[ $(systemctl show tbot -p Nice --value) = 5 ]"}},
		{name: "a drop-in for all services hides devices", setup: dropIn("/etc/systemd/system/service.d/50-site.conf", `[Service]\nPrivateDevices=yes\n`) +
			"systemctl daemon-reload", says: refusedAs("drop-in", "/etc/systemd/system/service.d/50-site.conf")},
		{name: "a drop-in of a package hides the storage", setup: dropIn("/usr/lib/systemd/system/tbot.service.d/10-lock.conf", `[Service]\nInaccessiblePaths=/var/lib/teleport\n`),
			says: refusedAs("drop-in", "10-lock.conf")},
		{name: "a drop-in comes after the enroll", before: map[stage]string{again: dropIn(override, `[Service]\nUser=careful\n`), removed: "rm " + override + "; systemctl daemon-reload"},
			says: map[stage]string{again: "failed drop-in: " + override, seen: "-"}},
		{name: "a drop-in of an adopted unit stays", adopt: true, setup: bot(vendor, "") + dropIn(override, `[Service]\nNice=5\n`), works: sleeps},
	}
}

// takenBack are hosts that are removed in odd circumstances.
func takenBack() []oddity {
	return []oddity{
		{name: "the storage changed after the enroll", vars: vars{again: {"storage": "/var/lib/second/bot"}}, says: map[stage]string{again: "changed"}},
		{name: "the storage changed in fleet.yaml alone", vars: vars{removed: {"storage": "/var/lib/second/bot"}}},
		{name: "the configuration changed its place after the enroll", vars: vars{again: {"config": "/etc/tbot/bot.yaml"}}, says: map[stage]string{again: "changed"}},
		{name: "the configuration changed its place in fleet.yaml alone", vars: vars{removed: {"config": "/etc/tbot/bot.yaml"}}},
		{name: "the user changed after the enroll", vars: vars{again: {"user": "second", "group": "second"}}, says: map[stage]string{again: "changed"}},
		{name: "the user changed in fleet.yaml alone", vars: vars{removed: {"user": "second", "group": "second"}}},
		{name: "the user became root in fleet.yaml alone", vars: vars{removed: {"user": "root", "group": "root"}}},
		{name: "the outputs are gone from fleet.yaml", vars: vars{
			scanned: {"services": identityIn("/opt/machine-id/one")}, removed: {"services": []any{}}}},
		{name: "all of it changed in fleet.yaml", every: true, vars: vars{
			scanned: {"services": identityIn("/opt/machine-id/one"), "storage": "/var/lib/one/bot", "config": "/etc/one/tbot.yaml", "user": "one", "group": "one"},
			removed: {"services": []any{}}}},
		{name: "the storage is a mount point", every: true,
			setup: "mkdir -p /var/lib/teleport/bot; mount -t tmpfs tmpfs /var/lib/teleport/bot; chmod 0700 /var/lib/teleport/bot",
			holds: map[stage]string{removed: "[ -z \"$(ls -A /var/lib/teleport/bot)\" ]; mountpoint -q /var/lib/teleport/bot"}},
		{name: "something was mounted on the storage after the enroll",
			before: map[stage]string{again: "systemctl stop tbot.service; mount -t tmpfs -o mode=0700 tmpfs /var/lib/teleport/bot; chown teleport:teleport /var/lib/teleport/bot",
				repeated: "umount /var/lib/teleport/bot"},
			says:  map[stage]string{again: "changed"},
			holds: map[stage]string{removed: "[ -z \"$(ls -A /var/lib/teleport/bot)\" ]; umount /var/lib/teleport/bot; rm -rf /var/lib/teleport"}},
		{name: "something is mounted below the storage", before: map[stage]string{
			removed:  "mkdir /var/lib/teleport/bot/data; mount -t tmpfs tmpfs /var/lib/teleport/bot/data; touch /var/lib/teleport/bot/data/keep",
			repeated: "[ -e /var/lib/teleport/bot/data/keep ]; umount /var/lib/teleport/bot/data"},
			says: map[stage]string{removed: "failed step-failed: is mounted there"}},
		{name: "etc is read-only at the removal", every: true, before: map[stage]string{
			removed: "mount --bind /etc /etc; mount -o remount,ro,bind /etc", repeated: "umount /etc"},
			says:  map[stage]string{removed: "failed step-failed"},
			holds: map[stage]string{removed: "! systemctl is-active -q tbot.service"}},
		{name: "a file cannot be changed at the removal", before: map[stage]string{
			removed: "chattr +i /etc/tbot.yaml", repeated: "chattr -i /etc/tbot.yaml"},
			says: map[stage]string{removed: "failed step-failed"}},
		{name: "the account is in use at the removal", before: map[stage]string{
			removed:  "setsid setpriv --reuid teleport --regid teleport --clear-groups sleep 1000 >/dev/null 2>&1 </dev/null &",
			repeated: "pkill -u teleport sleep; sleep 1"},
			says: map[stage]string{removed: "failed step-failed: user teleport"}},
		{name: "somebody else has joined tss since", before: map[stage]string{removed: "usermod -a -G tss careful"},
			holds: map[stage]string{removed: "id -nG careful | grep -q tss; gpasswd -d careful tss; groupdel tss"}},
		{name: "a package brought the user tss since", before: map[stage]string{removed: "useradd --system -g tss tss"},
			holds: map[stage]string{removed: "getent group tss; userdel tss; groupdel tss 2>/dev/null || :"}},
		{name: "owner and mode of the storage were changed", before: map[stage]string{again: "chown careful:careful /var/lib/teleport/bot; chmod 0777 /var/lib/teleport/bot"},
			says: map[stage]string{again: "changed"}},
		{name: "the storage was there before, with another owner", setup: "install -d -m 0750 -o careful -g careful /var/lib/teleport /var/lib/teleport/bot; chmod 0755 /var/lib/teleport"},
		{name: "the storage was there before, as it should be", setup: "groupadd -r teleport; useradd -r -g teleport teleport; install -d -o teleport -g teleport -m 0700 /var/lib/teleport /var/lib/teleport/bot; chmod 0755 /var/lib/teleport"},
		{name: "the unit was disabled by hand", before: map[stage]string{removed: "systemctl disable tbot.service 2>&1"}},
		{name: "the unit was masked by hand since", before: map[stage]string{
			removed: "systemctl stop tbot.service; rm /etc/systemd/system/tbot.service; systemctl mask tbot.service 2>&1"},
			holds: map[stage]string{removed: "[ -L /etc/systemd/system/tbot.service ]; systemctl unmask tbot.service 2>&1; systemctl daemon-reload"}},
		{name: "the configuration was deleted by hand", before: map[stage]string{removed: "rm /etc/tbot.yaml"}},
		{name: "the unit was deleted by hand", before: map[stage]string{removed: "rm /etc/systemd/system/tbot.service"}},
		{name: "the user was deleted by hand", before: map[stage]string{removed: "systemctl stop tbot.service; userdel teleport"}},
		{name: "everything was deleted by hand", before: map[stage]string{removed: `systemctl disable --now tbot.service 2>&1
rm -rf /etc/tbot.yaml /etc/systemd/system/tbot.service /etc/systemd/system/tbot.service.d /var/lib/teleport /etc/udev/rules.d/60-fleetctl-tpm.rules
userdel teleport; groupdel tss; systemctl daemon-reload; chown root:root /dev/tpmrm0; chmod 0600 /dev/tpmrm0`}, says: map[stage]string{removed: "ok"}},
		{name: "the device's node was given to somebody else since", before: map[stage]string{removed: "chgrp careful /dev/tpmrm0"},
			holds: map[stage]string{removed: "[ $(stat -c %G /dev/tpmrm0) = careful ]; chgrp root /dev/tpmrm0; chmod 0600 /dev/tpmrm0"}},
		{name: "the service crash-loops at the removal", before: map[stage]string{removed: "echo nonsense: [ >>/etc/tbot.yaml; systemctl restart tbot.service; sleep 1"}},
	}
}
