package host

import (
	"testing"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/inventory"
	"fleetctl/templates"
)

// testDesired is what a host should be like by a configuration.
func testDesired(t *testing.T, cfg config.Config, h inventory.Host) Desired {
	t.Helper()
	set, err := templates.Load("")
	if err != nil {
		t.Fatal(err)
	}
	d, err := Desire(h, cfg, "fleet", set)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestPlanAndApplyInAChroot(t *testing.T) {
	t.Parallel()
	for _, shell := range [][]string{{"dash"}, {"bash", "--posix"}, {"busybox", "ash"}} {
		t.Run(shell[0], func(t *testing.T) {
			t.Parallel()
			c := enrolltest.NewChroot(t, shell...)
			cfg := enrolltest.Config()
			cfg.Tbot.Services = []map[string]any{{"type": "identity", "destination": map[string]any{"type": "directory", "path": "/opt/machine-id"}}}
			h := inventory.Host{Name: "web-01"}
			d := testDesired(t, cfg, h)
			f := gather(t, c, d)
			steps := Plan(f, d)
			if _, err := Apply(t.Context(), c, steps, ApplyOptions{}); err != nil {
				t.Fatal(err)
			}
			for script, want := range map[string]string{
				"stat -c '%a %U %G' /etc/tbot.yaml /var/lib/teleport/bot /opt/machine-id /dev/tpmrm0": "640 root teleport\n700 teleport teleport\n750 teleport teleport\n660 root tss",
				"id -nG teleport":                        "teleport tss",
				"getent passwd teleport | cut -d: -f5,7": "tbot, made by fleetctl:/usr/sbin/nologin",
				"stat -c %a /var/lib/teleport":           "755",
			} {
				if got := c.Sh(script); got != want {
					t.Errorf("%s: got %q, want %q", script, got, want)
				}
			}
			c.Runs = 0
			again := Plan(gather(t, c, d), d)
			for _, s := range again {
				if s.Changes() || s.problem != nil || s.Reason == "" {
					t.Errorf("second plan: %+v", s)
				}
			}
			if c.Runs != 1 {
				t.Errorf("facts took %d round trips", c.Runs)
			}
		})
	}
}

func gather(t *testing.T, c Conn, d Desired) *Facts {
	t.Helper()
	f, err := GatherFacts(t.Context(), c, d)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
