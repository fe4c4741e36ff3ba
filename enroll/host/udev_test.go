package host

import (
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/inventory"
	"strings"
	"testing"
)

func TestWhatUdevsRulesGive(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, setup string // in /etc/udev/rules.d
		want        given
	}{
		{"ours alone", "", given{"-", "tss", "0660", ""}},
		{"another one before", `echo 'KERNEL=="tpmrm[0-9]*", GROUP="monitor", MODE="0640"' >50-site.rules`, given{"-", "tss", "0660", ""}},
		{"another one behind", `echo 'KERNEL=="tpmrm[0-9]*", GROUP="root", MODE="0600"' >90-site.rules`,
			given{"-", "root", "0600", "/etc/udev/rules.d/90-site.rules"}},
		{"one before that is final", `echo 'KERNEL=="tpmrm0", GROUP:="root"' >50-site.rules`, given{"-", "root", "0660", "/etc/udev/rules.d/50-site.rules"}},
		{"one of the subsystem", `echo 'SUBSYSTEM=="tpmrm", OWNER="tpm", MODE="0600"' >99-x.rules`, given{"tpm", "tss", "0600", "/etc/udev/rules.d/99-x.rules"}},
		{"one over several lines", "printf 'KERNEL==\"tpmrm*\", \\\\\\n\\tGROUP=\"wheel\"\\n' >99-x.rules", given{"-", "wheel", "0660", "/etc/udev/rules.d/99-x.rules"}},
		{"one of several devices", `echo 'KERNEL=="random|tpmrm?", GROUP="wheel"' >99-x.rules`, given{"-", "wheel", "0660", "/etc/udev/rules.d/99-x.rules"}},
		{"one of the device without a resource manager", `echo 'KERNEL=="tpm[0-9]*", GROUP="wheel"' >99-x.rules`, given{"-", "tss", "0660", ""}},
		{"a comment", `echo '# KERNEL=="tpmrm0", GROUP="wheel"' >99-x.rules`, given{"-", "tss", "0660", ""}},
		{"a comparison", `echo 'KERNEL=="tpmrm0", GROUP=="wheel", TAG+="x"' >99-x.rules`, given{"-", "tss", "0660", ""}},
		{"a package's, hidden by a link to nothing", `mkdir -p /usr/lib/udev/rules.d; echo 'KERNEL=="tpmrm0", GROUP="wheel"' >/usr/lib/udev/rules.d/99-x.rules; ln -s /dev/null 99-x.rules`,
			given{"-", "tss", "0660", ""}},
		{"a package's, behind ours", `mkdir -p /usr/lib/udev/rules.d; echo 'KERNEL=="tpmrm[0-9]*", TAG+="systemd", MODE="0660", GROUP="tss"' >/usr/lib/udev/rules.d/60-tpm-udev.rules`,
			given{"-", "tss", "0660", "/usr/lib/udev/rules.d/60-tpm-udev.rules"}},
	} {
		for _, shell := range shells {
			t.Run(c.name+", "+shell[0], func(t *testing.T) {
				t.Parallel()
				host := enrolltest.NewChroot(t, shell...)
				host.Sh("mkdir -p /run/udev /etc/udev/rules.d; : >/run/udev/control; cd /etc/udev/rules.d; rm -f /usr/lib/udev/rules.d/*tpm*\n" + c.setup)
				if f := gather(t, host, testDesired(t, enrolltest.Config(), inventory.Host{Name: "web-01"})); f.device.gives != c.want {
					t.Errorf("got %+v, want %+v", f.device.gives, c.want)
				}
			})
		}
	}
}

func TestARuleThatWinsIsNamedUnlessItLetsTbotIn(t *testing.T) {
	const site = "/etc/udev/rules.d/90-site.rules"
	for _, c := range []struct {
		name    string
		gives   given
		refused bool
	}{
		{"root alone", given{"-", "root", "0600", site}, true},
		{"the group, which may not write", given{"-", "tss", "0640", site}, true},
		{"the group", given{"root", "tss", "0660", site}, false},
		{"tbot's user", given{"teleport", "root", "0600", site}, false},
		{"everybody", given{"-", "root", "0666", site}, false},
		{"ours", given{"-", "tss", "0660", ""}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := debian()
			f.device.gives = c.gives
			problems := Plan(f, testDesired(t, enrolltest.Config(), inventory.Host{Name: "web-01"})).Problems()
			if refused := len(problems) == 1 && problems[0].Code == outcome.TPMPermission && strings.Contains(problems[0].Message, site); refused != c.refused {
				t.Errorf("problems %+v", problems)
			}
		})
	}
}
