package host

import (
	"os/exec"
	"strings"
	"testing"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/remote"
)

// TestSystemdAcceptsTheDropInForTheUpdatersUnit lets systemd read the updater's unit of 18.4 with our drop-ins.
func TestSystemdAcceptsTheDropInForTheUpdatersUnit(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		enrolltest.SkipOrFail(t, err.Error())
	}
	for name, storage := range map[string]config.Path{"in the storage": "/var/lib/teleport/bot", "elsewhere": "/var/lib/tbot"} {
		t.Run("a socket "+name, func(t *testing.T) {
			t.Parallel()
			d := planCase{config: func(c *config.Config) { c.Tbot.Storage = storage }}.desired(t)
			f := debian()
			updaters(f)
			c := enrolltest.NewChroot(t)
			c.Sh("mkdir -p " + dropInDir)
			files := []remote.File{{Path: unitPath, Content: []byte(f.files[unitPath].content), Mode: 0o644, Owner: "root", Group: "root"}}
			for _, s := range Plan(f, d) {
				for _, a := range s.actions {
					if a.file != nil && strings.HasPrefix(a.file.Path, dropInDir) {
						files = append(files, *a.file)
					}
				}
			}
			for _, file := range files {
				if err := c.WriteFile(t.Context(), file, true); err != nil {
					t.Fatal(err)
				}
			}
			if len(files) != 3 {
				t.Errorf("%d files", len(files))
			}
			for line := range strings.Lines(c.Sh("systemd-analyze verify --man=no " + unitPath + " 2>&1 || echo failed")) {
				if strings.Contains(line, "tbot") { // other units of this machine are not ours to judge
					t.Error(line)
				}
			}
		})
	}
}

func TestTheUpdatersCommandIsFoundWhereverItsUnitLies(t *testing.T) {
	f := &Facts{Systemd: 252, service: serviceFacts{header: "# teleport-update 18.4.0", start: "/usr/local/bin/tbot start --pid-file=/run/tbot.pid"}}
	d := Desired{Tbot: config.Tbot{Storage: "/var/lib/teleport/bot"}}
	if flags, links := d.updaterNeeds(f); strings.Join(flags, " ") != "--pid-file=/run/tbot/tbot.pid" || len(links) != 1 || links[0].At != "/run/tbot.pid" {
		t.Errorf("got %q, %v", flags, links)
	}
	for name, change := range map[string]func(*Facts){
		"it is nobody's unit":           func(f *Facts) { f.service.header = "[Unit]" },
		"systemd is too old":            func(f *Facts) { f.Systemd = 230 },
		"this tbot knows no flag":       func(f *Facts) { f.tbot.version = version("16.4.7") },
		"a path that a unit can't hold": func(f *Facts) { f.service.start = `tbot start --pid-file=/run/$x` },
	} {
		other := *f
		change(&other)
		if flags, links := d.updaterNeeds(&other); flags != nil || links != nil {
			t.Errorf("%s: got %q, %v", name, flags, links)
		}
	}
}
