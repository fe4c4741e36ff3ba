//go:build vm

package vm

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestSiteRules has a site's own rule give the TPM to a group of its own, before and after fleetctl's in udev's order.
// Either fleetctl says so and changes nothing, or both groups' programs can use the TPM from then on, whatever udev does.
func TestSiteRules(t *testing.T) {
	f := newFleet(t, TIS)
	f.boot(&cycle{}, "tpm_tis")
	f.root("useradd --system --user-group monitor")
	for _, name := range []string{"50-site.rules", "90-site.rules"} {
		t.Run(name, func(t *testing.T) { f.on(t).siteRule("/etc/udev/rules.d/" + name) })
	}
}

func (f fleet) siteRule(path string) {
	const trigger = "udevadm trigger && udevadm settle"
	f.root(`echo 'KERNEL=="tpmrm[0-9]*", MODE="0660", GROUP="monitor"' >` + path + "; udevadm control --reload; " + trigger)
	defer func() {
		f.fleetctl(exitAny, "remove", "--yes", "vm")
		f.readmit() // the next rule finds it as new
		f.deviceIs(sites)
		f.root("rm " + path)
	}()
	f.deviceIs(sites)
	r := f.fleetctl(exitAny, "enroll")
	if r.Outcome == "failed" {
		if !strings.Contains(r.Message, "monitor") {
			f.t.Errorf("it does not say which group has the TPM: %+v", r)
		}
		f.deviceIs(sites)
		return
	}
	f.ready()
	f.root(trigger)
	f.opens("teleport")
	f.opens("monitor")
	if r := f.fleetctl(exitOK, "enroll"); r.Outcome != "ok" {
		f.t.Errorf("a second enroll changes %q", r.changed())
	}
	if _, err := f.Reboot(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	f.opens("teleport")
	f.opens("monitor")
}

// readmit takes back that the machine was removed.
func (f fleet) readmit() {
	f.t.Helper()
	cmd := exec.CommandContext(f.t.Context(), os.Getenv("FLEETCTL"), "records", "readmit", "vm")
	cmd.Dir = f.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		f.t.Errorf("records readmit: %v: %s", err, out)
	}
}

// sites is what device says once the site's rule gives the TPM to its group.
const sites = "600 root:root 660 root:monitor"

// opens checks that a user of the machine can open the TPM.
func (f fleet) opens(user string) {
	f.t.Helper()
	out, err := f.Run(f.t.Context(), "setpriv --reuid="+user+" --regid="+user+" --init-groups sh -c 'exec 3<>/dev/tpmrm0'")
	if err != nil {
		f.t.Errorf("%s cannot open the TPM, which is %s: %s %v", user, f.device(), out, err)
	}
}
