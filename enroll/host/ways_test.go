package host

import (
	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/inventory"
	"strings"
	"testing"
)

// oddWay is something about the directories of a host, and what a plan says of it before anything is changed.
type oddWay struct {
	name   string
	config func(*config.Config)
	setup  string // as root in the host
	limit  string // in every script
	outer  string // in the machine that it lies on, in the host's root directory
	code   outcome.Code
	says   string // of the problem, or of a step where there is none
}

// output gives tbot one service that writes to a directory.
func output(dir string, more ...string) func(*config.Config) {
	return func(c *config.Config) {
		d := map[string]any{"type": "directory", "path": dir}
		for i := 0; i < len(more); i += 2 {
			d[more[i]] = more[i+1]
		}
		c.Tbot.Services = []map[string]any{{"type": "identity", "destination": d}}
	}
}

func storageIn(dir string) func(*config.Config) {
	return func(c *config.Config) { c.Tbot.Storage = config.Path(dir) }
}

// account makes tbot's user before the plan: then it is really tried.
const account = "groupadd --system teleport; useradd --system --gid teleport --no-create-home --shell /bin/false teleport\n"

var oddWays = []oddWay{
	{name: "nothing is odd", says: "storage /var/lib/teleport/bot: it doesn't exist"},
	{name: "a Teleport agent's data directory, and somebody chose it", config: storageIn("/var/lib/teleport/tbot"), setup: "mkdir -p -m 0700 /var/lib/teleport",
		code: outcome.StorageDenied, says: "can't reach /var/lib/teleport/tbot: /var/lib/teleport (0700 root:root) is closed to it"},
	{name: "a Teleport agent's data directory", setup: "mkdir -p -m 0700 /var/lib/teleport", says: "storage /var/lib/tbot: it doesn't exist"},
	{name: "a Teleport agent's data directory that the group may search", setup: "groupadd --system teleport; mkdir -p -m 0710 /var/lib/teleport; chgrp teleport /var/lib/teleport",
		says: "storage /var/lib/teleport/bot: it doesn't exist"},
	{name: "storage below a closed directory", config: storageIn("/srv/a/b/c"), setup: "mkdir -p /srv/a/b; chmod 0750 /srv/a",
		code: outcome.StorageDenied, says: "/srv/a (0750 root:root) is closed to it"},
	{name: "storage below a directory of its own user that it can't search", config: storageIn("/srv/a/b"), setup: account + "mkdir -m 0600 /srv/a; chown teleport /srv/a",
		code: outcome.StorageDenied, says: "/srv/a (0600 teleport:root) is closed to it"},
	{name: "storage below a link", config: storageIn("/srv/a/bot"), setup: "mkdir /srv/real; ln -s /srv/real /srv/a",
		code: outcome.StorageLink, says: "/srv/a is a symbolic link, and tbot follows none on the way to /srv/a/bot"},
	{name: "storage below a link to nowhere", config: storageIn("/srv/a/bot"), setup: "ln -s /srv/nowhere /srv/a", code: outcome.StorageLink, says: "/srv/a is a symbolic link"},
	{name: "storage below a file", config: storageIn("/srv/a/bot"), setup: ": >/srv/a", code: outcome.StorageNotDir, says: "/srv/a is no directory"},
	{name: "a storage of 0500 is repaired", setup: account + "mkdir -p /var/lib/teleport/bot; chown teleport:teleport /var/lib/teleport/bot; chmod 0500 /var/lib/teleport/bot",
		says: "storage /var/lib/teleport/bot: it is 0500 teleport:teleport, not 0700 teleport:teleport"},
	{name: "a storage of 0500 below an agent's directory", config: storageIn("/var/lib/teleport/tbot"),
		setup: account + "mkdir -p /var/lib/teleport/tbot; chown teleport:teleport /var/lib/teleport/tbot; chmod 0500 /var/lib/teleport/tbot; chmod 0700 /var/lib/teleport",
		code:  outcome.StorageDenied, says: "/var/lib/teleport (0700 root:root) is closed"},
	{name: "an output below a closed directory", config: output("/root/id/x"), setup: "chmod 0700 /root",
		code: outcome.PermissionDenied, says: "can't reach /root/id/x: /root (0700 root:root) is closed to it"},
	{name: "an output that belongs to somebody else", config: output("/srv/id"), setup: account + "mkdir -m 0755 /srv/id",
		code: outcome.PermissionDenied, says: "can't write to /srv/id (0755 root:root)"},
	{name: "an output that belongs to somebody else, before there is a user", config: output("/srv/id"), setup: "mkdir -m 0755 /srv/id",
		code: outcome.PermissionDenied, says: "can't write to /srv/id (0755 root:root)"},
	{name: "an output that its group may write to", config: output("/srv/id"), setup: account + "mkdir -m 0770 /srv/id; chgrp teleport /srv/id",
		says: "output directory /srv/id: it exists, 0770 root:teleport"},
	{name: "an output that is a link", config: output("/srv/id"), setup: "mkdir -m 0777 /srv/real; ln -s /srv/real /srv/id",
		code: outcome.StorageLink, says: "/srv/id is a symbolic link"},
	{name: "an output that is a link, and may be", config: output("/srv/id", "symlinks", "insecure"), setup: "mkdir -m 0777 /srv/real; ln -s /srv/real /srv/id",
		says: "output directory /srv/id: it exists"},
	{name: "an output below a link", config: output("/srv/a/id"), setup: "mkdir -m 0777 /srv/real; ln -s /srv/real /srv/a",
		code: outcome.StorageLink, says: "/srv/a is a symbolic link"},
	{name: "an output that is a file", config: output("/srv/id"), setup: ": >/srv/id", code: outcome.StorageNotDir, says: "/srv/id is there, but no directory"},
	{name: "a configuration that can't be reached", config: func(c *config.Config) { c.Tbot.Config = "/srv/a/tbot.yaml" }, setup: "mkdir -m 0700 /srv/a",
		code: outcome.PermissionDenied, says: "can't reach /srv/a/tbot.yaml: /srv/a (0700 root:root) is closed"},
	{name: "a program in root's home", config: func(c *config.Config) { c.Tbot.Binary = "/root/tbot" }, setup: "cp /usr/local/bin/tbot /root/tbot; chmod 0700 /root",
		code: outcome.ExecFailed, says: "can't execute /root/tbot: /root (0700 root:root) is closed"},
	{name: "a program that leads into root's home", setup: "mv /usr/local/bin/tbot /root/tbot; ln -s /root/tbot /usr/local/bin/tbot; chmod 0700 /root",
		code: outcome.ExecFailed, says: "can't execute /root/tbot"},
	{name: "a program for root alone", setup: account + "chmod 0700 /usr/local/bin/tbot", code: outcome.ExecFailed, says: "may not execute /usr/local/bin/tbot"},
	{name: "a program for root alone, before there is a user", setup: "chmod 0700 /usr/local/bin/tbot", code: outcome.ExecFailed, says: "may not execute /usr/local/bin/tbot"},
	{name: "a program that lacks what it is linked with", setup: "printf '#!/bin/sh\\necho \"tbot: error while loading shared libraries: libx.so\" >&2; exit 127\\n' >/usr/local/bin/tbot",
		code: outcome.ExecFailed, says: "exit code 127: tbot: error while loading shared libraries"},
	{name: "a program of another architecture", setup: "printf '\\177ELF\\002\\001\\001\\0\\0\\0\\0\\0\\0\\0\\0\\0\\002\\0\\267\\0' >/usr/local/bin/tbot",
		code: outcome.ExecFailed, says: "/usr/local/bin/tbot doesn't run on this host"},
	{name: "a program that nobody may execute", config: func(c *config.Config) { c.Tbot.Binary = "/srv/tbot" }, setup: "cp /usr/local/bin/tbot /srv/tbot; chmod 0644 /srv/tbot",
		code: outcome.ExecFailed, says: "lets nobody execute it"},
	{name: "a read-only /etc", outer: "mount --bind etc etc; mount -o remount,bind,ro etc; mkdir -p proc; mount -t proc proc proc",
		code: outcome.ReadOnly, says: "/etc is read-only, and"},
	{name: "an immutable /etc", setup: `printf '#!/bin/sh\ncase $2 in /etc) echo "----i---------e------- $2";; *) echo "--------------e------- $2";; esac\n' >/usr/local/bin/lsattr; chmod 0755 /usr/local/bin/lsattr`,
		code: outcome.ReadOnly, says: "/etc is read-only, and"},
	{name: "a read-only /var", outer: "mount --bind var var; mount -o remount,bind,ro var; mount -t proc proc proc",
		code: outcome.ReadOnly, says: "/var/lib is read-only, and /var/lib/teleport/bot has to be written"},
	{name: "a read-only unit directory", outer: "mkdir -p etc/systemd/system; mount -t tmpfs -o ro none etc/systemd/system; mkdir -p run/systemd/system; mount -t proc proc proc",
		code: outcome.ReadOnly, says: "/etc/systemd/system is read-only"},
	{name: "a limit of file sizes", limit: "ulimit -f 8; ", code: outcome.NoSpace, says: "no file may be larger than 8 blocks"},
	{name: "a full disk below the storage", config: storageIn("/srv/full/bot"), outer: "mkdir srv/full; mount -t tmpfs -o size=64k none srv/full; mount -t proc proc proc",
		code: outcome.NoSpace, says: "/srv/full is full: "},
	{name: "no inodes below an output", config: output("/srv/full/id"), outer: "mkdir srv/full; mount -t tmpfs -o nr_inodes=5 none srv/full; mount -t proc proc proc",
		code: outcome.NoSpace, says: "inodes are free, and /srv/full/id has to be written"},
}

func TestWhatAPlanForesees(t *testing.T) {
	t.Parallel()
	for _, c := range oddWays {
		for _, shell := range shells {
			t.Run(c.name+", "+shell[0], func(t *testing.T) {
				t.Parallel()
				host := enrolltest.NewChroot(t, shell...)
				if c.outer != "" {
					host.Outer("set -e\n" + c.outer)
				}
				host.First = c.limit
				if c.setup != "" {
					host.Sh(c.setup)
				}
				cfg := enrolltest.Config()
				if c.config != nil {
					c.config(&cfg)
				}
				d, f, err := Look(t.Context(), host, testDesired(t, cfg, inventory.Host{Name: "web-01"}))
				if err != nil {
					t.Fatal(err)
				}
				steps := Plan(f, d)
				checkForeseen(t, c, steps)
				if c.code != "" {
					return
				}
				if _, err := Apply(t.Context(), host, steps, ApplyOptions{}); err != nil {
					t.Errorf("apply: %v", err)
				}
				if d, f, err = Look(t.Context(), host, d); err != nil || Plan(f, d).Changes() || len(Plan(f, d).Problems()) > 0 {
					t.Errorf("the second plan: %v\n%s", err, printPlan(Plan(f, d)))
				}
			})
		}
	}
}

func checkForeseen(t *testing.T, c oddWay, steps Steps) {
	t.Helper()
	for _, p := range steps.Problems() {
		if c.code == p.Code && strings.Contains(p.Message, c.says) {
			return
		}
	}
	if c.code == "" && len(steps.Problems()) == 0 && strings.Contains(printPlan(steps), c.says) {
		return
	}
	t.Errorf("want %q: %q; got\n%s", c.code, c.says, printPlan(steps))
}
