package host

import (
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/inventory"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestWhoHasTbotsAddressIsNamedBeforeAnythingIsChanged(t *testing.T) {
	t.Parallel()
	inEach(t, func(t *testing.T, shell []string) {
		for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
			l, err := net.Listen("tcp", at)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			host := enrolltest.NewChroot(t, shell...)
			host.Outer("mkdir -p proc run/systemd/system; mount -t proc proc proc; printf '#!/bin/sh\\necho MainPID=0\\n' >usr/local/bin/systemctl; chmod 755 usr/local/bin/systemctl")
			cfg := enrolltest.Config()
			cfg.Tbot.DiagAddr = l.Addr().String()
			d := testDesired(t, cfg, inventory.Host{Name: "web-01"})
			f := gather(t, host, d)
			pid, _, _ := strings.Cut(f.holder, " ")
			if pid != strconv.Itoa(os.Getpid()) {
				t.Errorf("%s: held by %q, want process %d", at, f.holder, os.Getpid())
			}
			if !refuses(Plan(f, d), outcome.AddressInUse, cfg.Tbot.DiagAddr+" is taken by host.test (process "+pid+")") {
				t.Errorf("%s: %s", at, printPlan(Plan(f, d)))
			}
			host.Sh("printf '#!/bin/sh\\necho MainPID=" + pid + "\\n' >/usr/local/bin/systemctl")
			if f := gather(t, host, d); f.holder != "" {
				t.Errorf("%s: tbot itself is taken for somebody else: %s", at, f.holder)
			}
		}
	})
}

// refuses says whether a plan has a problem of a code, with a text.
func refuses(steps Steps, code outcome.Code, says string) bool {
	for _, p := range steps.Problems() {
		if p.Code == code && strings.Contains(p.Message, says) {
			return true
		}
	}
	return false
}

func TestAccountsOfADirectoryService(t *testing.T) {
	t.Parallel()
	// getent and id as a directory service would have them answer; what changes accounts looks into the files alone.
	const group = `printf '#!/bin/sh\n[ "$*" != "group tss" ] || { echo tss:x:4242:; exit; }\nexec /usr/bin/getent "$@"\n' >/usr/local/bin/getent; chmod 755 /usr/local/bin/getent` + "\n"
	const user = `useradd --system --user-group teleport; grep teleport /etc/passwd >/tmp/u; sed -i /^teleport:/d /etc/passwd
printf '#!/bin/sh\n[ "$*" != "passwd teleport" ] || exec cat /tmp/u\nexec /usr/bin/getent "$@"\n' >/usr/local/bin/getent; chmod 755 /usr/local/bin/getent` + "\n"
	inEach(t, func(t *testing.T, shell []string) {
		for name, c := range map[string]struct{ setup, want string }{
			"a group that no file has": {group, "= user teleport in group tss: a directory service has them"},
			"a user that no file has":  {user, "= user teleport in group tss: a directory service has them"},
			"accounts of files":        {"groupadd --system tss; useradd --system --user-group teleport\n", "+ user teleport in group tss: it is no member"},
		} {
			host := enrolltest.NewChroot(t, shell...)
			host.Sh(c.setup)
			d := testDesired(t, enrolltest.Config(), inventory.Host{Name: "web-01"})
			if got := printPlan(Plan(gather(t, host, d), d)); !strings.Contains(got, c.want) {
				t.Errorf("%s: want %q in\n%s", name, c.want, got)
			}
		}
	})
}

// TestTheUnitsGroupIsEnoughToOpenTheTPM has a user who is no member of the group that may open the device.
func TestTheUnitsGroupIsEnoughToOpenTheTPM(t *testing.T) {
	t.Parallel()
	inEach(t, func(t *testing.T, shell []string) {
		host := enrolltest.NewChroot(t, shell...)
		host.Sh("groupadd --system tss; useradd --system --user-group teleport; chgrp tss /dev/tpmrm0; chmod 0660 /dev/tpmrm0")
		if f := gather(t, host, testDesired(t, enrolltest.Config(), inventory.Host{Name: "web-01"})); f.device.opens != "ok" {
			t.Errorf("opening it says %q", f.device.opens)
		}
		host.Sh("chgrp daemon /dev/tpmrm0")
		if f := gather(t, host, testDesired(t, enrolltest.Config(), inventory.Host{Name: "web-01"})); f.device.opens != "denied" {
			t.Errorf("of another group, opening it says %q", f.device.opens)
		}
	})
}
