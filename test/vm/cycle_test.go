//go:build vm

package vm

import (
	"slices"
	"strings"
	"testing"

	"fleetctl/test/vm/held"
)

// cycle is what the parts of a test hand on to each other.
type cycle struct {
	hash, serial string
	offline      held.Contents // of the TPM, before the first boot
	live         held.Contents // after it
	files        map[string]string
}

type part struct {
	name string
	run  func(*cycle, fleet)
}

// TestTIS takes a host with a TIS interface through its life. The parts build on each other.
func TestTIS(t *testing.T) {
	live(t, TIS,
		part{"scans by helper and by shell see what go-attestation sees", (*cycle).scans},
		part{"enroll, and the group's access survives udev", (*cycle).enrolls},
		part{"a second enroll changes nothing", (*cycle).enrollsAgain},
		part{"scans beside tbot and another user of the TPM", (*cycle).scansAtOnce},
		part{"the resource manager flushes for a helper that is killed", (*cycle).killsHelper},
		part{"a TPM that somebody holds", (*cycle).busy},
		part{"after a reboot tbot joins by itself", (*cycle).reboots},
		part{"remove leaves nothing", (*cycle).removes},
		part{"nor after a reboot", (*cycle).staysRemoved},
	)
}

// TestCRB takes a host with a CRB interface from scan to remove.
func TestCRB(t *testing.T) {
	live(t, CRB,
		part{"scans by helper and by shell see what go-attestation sees", (*cycle).scans},
		part{"enroll, and the group's access survives udev", (*cycle).enrolls},
		part{"a second enroll changes nothing", (*cycle).enrollsAgain},
		part{"scans beside tbot and another user of the TPM", (*cycle).scansAtOnce},
		part{"remove leaves nothing", (*cycle).removes},
	)
}

// live boots a machine, runs the parts and, once the machine is off, checks that its TPM holds what it held.
func live(t *testing.T, interfaceName string, parts ...part) {
	f := newFleet(t, interfaceName)
	c := &cycle{}
	var err error
	if c.offline, err = f.Contents(); err != nil {
		t.Fatal(err)
	}
	c.hash, c.serial = f.identity()
	f.boot(c, strings.ReplaceAll(interfaceName, "-", "_"))
	for _, p := range parts {
		if !t.Run(p.name, func(t *testing.T) { p.run(c, f.on(t)) }) {
			t.FailNow()
		}
	}
	if err := f.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := f.Contents()
	if err != nil {
		t.Fatal(err)
	}
	if want := withSRK(c.offline); !after.Equal(want) {
		t.Errorf("the TPM holds %+v, want %+v", after, want)
	}
}

// srk is where go-attestation, and so tbot, makes a storage root key persistent when it first needs one (TCG TPM v2.0
// Provisioning Guidance, section 7.8). It is tbot's, and stays like one of any other program.
const srk = 0x81000001

// withSRK is what a TPM holds once a tbot has joined with it.
func withSRK(c held.Contents) held.Contents {
	if !slices.Contains(c.Persistent, srk) {
		c.Persistent = append([]uint32{srk}, c.Persistent...) // in the TPM's order
	}
	return c
}

// boot starts the machine and looks at what the kernel made of the TPM.
func (f fleet) boot(c *cycle, driver string) {
	f.t.Helper()
	took, err := f.Start(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Logf("sshd answered after %.1f s: %s", took.Seconds(), f.root("uname -r"))
	got := f.root("basename $(readlink -f /sys/class/tpm/tpm0/device/driver); cat /sys/class/tpm/tpm0/tpm_version_major")
	if got != driver+"\n2" {
		f.t.Errorf("the kernel's driver and version are %q, want %s", got, driver)
	}
	f.deviceIs(rootsAlone)
	c.live, c.files = f.within(), f.files()
}

// nothingNew checks that neither the TPM nor the machine's memory has anything of a fleetctl that is through.
func (c *cycle) nothingNew(f fleet) {
	f.t.Helper()
	if now := f.within(); !now.Equal(c.live) {
		f.t.Errorf("the TPM holds %+v, before it held %+v", now, c.live)
	}
	left := f.root(`find /tmp /var/tmp /dev/shm /run /home -xdev \( -path /run/systemd -o -path /run/udev \) -prune \
-o \( -name '*fleetctl*' -o -name '*identify*' \) -print; pgrep -a 'fleetctl|identify' || :`)
	if left != "" {
		f.t.Errorf("left behind:\n%s", left)
	}
}

func (c *cycle) check(f fleet, r result) {
	f.t.Helper()
	if r.Outcome != "ok" || r.Hash != c.hash || r.Serial != c.serial || !r.Proven {
		f.t.Errorf("%+v, go-attestation says %s %s", r, c.hash, c.serial)
	}
}

func (c *cycle) scans(f fleet) {
	c.check(f, f.fleetctl(exitOK, "scan", "--db", "helper.db"))
	c.check(f, f.fleetctl(exitOK, "scan", "--db", "shell.db", "--identify-with", "shell"))
	f.deviceIs(rootsAlone)
	if diff := different(c.files, f.files()); len(diff) > 0 {
		f.t.Errorf("the disk is not as it was:\n%s", strings.Join(diff, "\n"))
	}
	c.nothingNew(f)
}

func (c *cycle) enrolls(f fleet) {
	if r := f.fleetctl(exitOK, "enroll"); r.Outcome != "changed" || !slices.Contains(r.changed(), "udev rules") {
		f.t.Errorf("%+v", r)
	}
	f.ready()
	f.deviceIs(groups)
	if got := f.joined(); !slices.Equal(got, []string{c.hash}) {
		f.t.Errorf("%v have joined, want %s", got, c.hash)
	}
	c.live = withSRK(c.live)
	for _, action := range []string{"change", "add"} {
		f.root("udevadm trigger --action=" + action + " && udevadm settle")
		f.deviceIs(groups)
	}
	c.nothingNew(f)
}

// unchanged runs an enroll that finds nothing to do.
func (c *cycle) unchanged(f fleet) {
	f.t.Helper()
	const service = "systemctl show -p MainPID,NRestarts,ActiveState tbot"
	files, state := f.files(), f.root(service)
	if r := f.fleetctl(exitOK, "enroll"); r.Outcome != "ok" || len(r.changed()) > 0 {
		f.t.Errorf("changed %q: %+v", r.changed(), r)
	}
	if diff := different(files, f.files()); len(diff) > 0 {
		f.t.Errorf("the disk is not as it was:\n%s", strings.Join(diff, "\n"))
	}
	if now := f.root(service); now != state {
		f.t.Errorf("the service was\n%s\nand is\n%s", state, now)
	}
	if r := f.fleetctl(exitOK, "status"); r.State != "healthy" {
		f.t.Errorf("%+v", r)
	}
}

func (c *cycle) enrollsAgain(f fleet) { c.unchanged(f) }

func (c *cycle) reboots(f fleet) {
	took, err := f.Reboot(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Logf("sshd answered %.1f s after the reboot was asked for", took.Seconds())
	f.ready()
	f.deviceIs(groups)
	c.unchanged(f)
	c.nothingNew(f)
}

// kept are the copies that the account tools keep of their files.
var kept = []string{"/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-"}

func (c *cycle) removes(f fleet) {
	f.fleetctl(exitOK, "remove", "--yes", "vm")
	f.deviceIs(rootsAlone)
	c.gone(f)
	if got := f.root("systemctl is-active tbot || :"); got != "inactive" {
		f.t.Errorf("tbot is %s", got)
	}
}

// gone checks that nothing is left of an enroll.
func (c *cycle) gone(f fleet) {
	f.t.Helper()
	for _, line := range different(c.files, f.files()) {
		path, _, _ := strings.Cut(strings.Fields(line)[1], "#")
		if !slices.Contains(kept, path) {
			f.t.Errorf("remove left: %s", line)
		}
	}
	c.nothingNew(f)
}

func (c *cycle) staysRemoved(f fleet) {
	if _, err := f.Reboot(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	f.deviceIs(rootsAlone)
	c.gone(f)
}
