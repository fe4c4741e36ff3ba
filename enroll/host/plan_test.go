package host

import (
	"flag"
	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/versions"
	"fleetctl/inventory"
	"fleetctl/templates"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// planCase is a host's facts and what is wanted of it; the golden plan lies beside.
type planCase struct {
	name   string
	facts  func(*Facts)
	config func(*config.Config)
	vars   map[string]any
	adopt  bool
	token  string // "-": none
}

// version is a version that a test knows to be one.
func version(s string) versions.Version {
	v, ok := versions.Parse(s)
	if !ok {
		panic(s)
	}
	return v
}

// debian is a Debian 12 as it comes, with a TPM and a tbot.
func debian() *Facts {
	return &Facts{
		ulimit: -1, arch: "amd64", Now: 1763900000, Systemd: 252, udev: true,
		tbot:    tbotFacts{path: "/usr/local/bin/tbot", version: version("17.2.1")},
		device:  deviceFacts{path: "/dev/tpmrm0", typ: "char", mode: 0o600, owner: "root", group: "root", sysfs: true},
		files:   fileSet{},
		service: serviceFacts{load: "not-found", active: "inactive"},
	}
}

// enrolled is debian after an apply with that configuration.
func enrolled(d Desired) *Facts {
	f := debian()
	f.user = &userFacts{uid: 998, groups: []string{"teleport", "tss"}, comment: userComment}
	f.group, f.access = true, true
	f.device.group, f.device.mode, f.device.opens = "tss", 0o660, "ok"
	f.storage = storageFacts{dirFacts: dirFacts{"dir", 0o700, "teleport", "teleport"}}
	f.service = serviceFacts{load: "loaded", active: "active", enabled: "enabled"}
	r, err := d.render(f)
	if err != nil {
		panic(err)
	}
	put := func(path string, content []byte, mode uint32, group string) {
		f.files[path] = fileFacts{typ: "file", mode: mode, owner: "root", group: group, size: int64(len(content)), content: string(content)}
	}
	put(string(d.Tbot.Config), r.config, 0o640, "teleport")
	put(unitPath, r.unit, 0o644, "root")
	put(hardeningPath, r.hardening, 0o644, "root")
	put(rulesPath, r.rules, 0o644, "root")
	return f
}

func TestPlan(t *testing.T) {
	for _, c := range []planCase{
		{name: "a fresh Debian gets everything"},
		{name: "tpm-udev's rules are enough", facts: func(f *Facts) {
			f.access, f.rules = true, "/usr/lib/udev/rules.d/60-tpm-udev.rules"
			f.device.group, f.device.mode = "tss", 0o660
		}},
		{name: "a site's udev rule is left alone", facts: func(f *Facts) {
			f.device.group, f.device.mode = "monitor", 0o660
		}},
		{name: "a site's udev rule that lets tbot's user in is enough", facts: func(f *Facts) {
			f.device.group, f.device.mode, f.device.opens = "monitor", 0o660, "ok"
			f.user = &userFacts{uid: 998, groups: []string{"teleport", "monitor"}}
			f.group = true
		}},
		{name: "a container without udev gets a drop-in", facts: func(f *Facts) { f.udev, f.device.sysfs = false, false }},
		{name: "a tbot that runs as root needs no TPM access", config: func(c *config.Config) { c.Tbot.User, c.Tbot.Group = "root", "root" }},
		{name: "systemd 219 gets only what it knows", facts: func(f *Facts) { f.Systemd = 219 }},
		{name: "without systemd all but the service", facts: func(f *Facts) { f.Systemd = 0; f.service = serviceFacts{} }},
		{name: "no tbot is a problem", facts: func(f *Facts) { f.tbot = tbotFacts{} }},
		{name: "a tbot without the tpm method is a problem", facts: func(f *Facts) { f.tbot.version = version("15.2.4") }},
		{name: "no TPM is a problem", facts: func(f *Facts) { f.device = deviceFacts{} }},
		{name: "no token is a problem", token: "-"},
		{name: "not being root is a problem", facts: func(f *Facts) { f.uid = 1000 }},
		{name: "a storage that is a link is a problem", facts: func(f *Facts) { f.storage.typ = "link" }},
		{name: "a foreign configuration and unit are problems", facts: foreign},
		{name: "a foreign configuration and unit are adopted", facts: foreign, adopt: true},
		{name: "the updater's unit is left alone", facts: func(f *Facts) {
			f.files[unitPath] = fileFacts{typ: "file", mode: 0o644, owner: "root", group: "root", content: "# teleport-update (17.2.1)\n[Unit]\n"}
		}},
		{name: "the updater's unit of 18.4 keeps what it watches", facts: updaters},
		{name: "an updater's tbot with another storage", facts: updaters, config: func(c *config.Config) { c.Tbot.Storage = "/var/lib/tbot" }},
		{name: "an updater's tbot that is too old to be watched", facts: func(f *Facts) {
			updaters(f)
			f.tbot.version = version("18.3.2")
		}},
		{name: "a masked unit is a problem", facts: func(f *Facts) { f.service.load, f.service.enabled = "masked", "masked" }},
		{name: "hardening is switched off by the inventory", vars: map[string]any{"tbot": map[string]any{"hardening": false}}},
		{name: "tbot 15 calls services outputs", facts: func(f *Facts) { f.tbot.version = version("15.4.0") }, config: withService},
		{name: "an output in tmp and one in home open the sandbox", config: func(c *config.Config) {
			c.Tbot.Services = []map[string]any{identityIn("/tmp/id"), identityIn("/home/deploy/id")}
		}},
		{name: "a program that leads into a home opens the sandbox", facts: func(f *Facts) { f.tbot.link = "/home/deploy/bin/tbot" }},
		{name: "a Teleport agent's data directory shuts tbot out", facts: func(f *Facts) {
			f.user = &userFacts{uid: 998, groups: []string{"teleport"}}
			f.ways = map[int]wayFacts{wayStorage: {shut: "/var/lib/teleport (0700 root:root)"}}
		}},
		{name: "SELinux is named when the group is not enough", facts: func(f *Facts) {
			f.user, f.group, f.access = &userFacts{uid: 998, groups: []string{"tss"}}, true, true
			f.device.group, f.device.mode, f.device.opens, f.selinux = "tss", 0o660, "denied", "Enforcing"
		}},
		{name: "the simulated fleet's TPM is a socket", facts: func(f *Facts) {
			f.device = deviceFacts{path: "/run/tpm.sock", typ: "socket", mode: 0o600, owner: "sim", group: "sim"}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := c.desired(t)
			f := debian()
			if c.facts != nil {
				c.facts(f)
			}
			golden(t, c.name, printPlan(Plan(f, d)))
		})
	}
}

func (c planCase) desired(t *testing.T) Desired {
	t.Helper()
	cfg := enrolltest.Config()
	if c.config != nil {
		c.config(&cfg)
	}
	d := testDesired(t, cfg, inventory.Host{Name: "web-01", Vars: c.vars})
	d.Adopt = c.adopt
	if c.token == "-" {
		d.token = ""
	}
	return d
}

func foreign(f *Facts) {
	f.files["/etc/tbot.yaml"] = fileFacts{typ: "file", mode: 0o600, owner: "root", group: "root",
		content: "version: v2\nonboarding:\n  join_method: token\n  token: 0123456789abcdef\n"}
	f.files[unitPath] = fileFacts{typ: "file", mode: 0o644, owner: "root", group: "root", content: "[Unit]\nDescription=mine\n"}
}

// updaters is a host of Teleport's updater, which wrote the unit.
func updaters(f *Facts) {
	unit, err := os.ReadFile("testdata/tbot.service.teleport-update-18.4")
	if err != nil {
		panic(err)
	}
	f.tbot.version = version("18.4.0")
	f.files[unitPath] = fileFacts{typ: "file", mode: 0o644, owner: "root", group: "root", content: string(unit)}
}

func identityIn(path string) map[string]any {
	return map[string]any{"type": "identity", "destination": map[string]any{"type": "directory", "path": path}}
}

func withService(c *config.Config) { c.Tbot.Services = []map[string]any{identityIn("/opt/machine-id")} }

func TestPlanOfAnEnrolledHost(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*Facts)
		config  func(*config.Config)
		changes []string
	}{
		{name: "changes nothing"},
		{name: "a changed service rewrites the configuration and restarts", config: withService,
			changes: []string{"output directory /opt/machine-id", "/etc/tbot.yaml", "hardening drop-in", "daemon-reload", "restart"}},
		{name: "a changed address restarts only", config: func(c *config.Config) { c.Cluster.ProxyServer = "other.example.com:443" },
			changes: []string{"/etc/tbot.yaml", "restart"}},
		{name: "a stopped tbot is started", change: func(f *Facts) { f.service.active = "failed" }, changes: []string{"start"}},
		{name: "a disabled unit is enabled", change: func(f *Facts) { f.service.enabled = "disabled" }, changes: []string{"enable"}},
		{name: "a restart that an earlier run did not reach", change: func(f *Facts) { f.pending = true }, changes: []string{"daemon-reload", "restart"}},
		{name: "a unit that systemd has not read", change: func(f *Facts) { f.service.reload = true }, changes: []string{"daemon-reload", "restart"}},
		{name: "a mode that somebody changed", change: func(f *Facts) { f.storage.mode = 0o755 }, changes: []string{"storage /var/lib/teleport/bot"}},
		{name: "a configuration that somebody made readable", change: func(f *Facts) {
			ff := f.files["/etc/tbot.yaml"]
			ff.mode = 0o644
			f.files["/etc/tbot.yaml"] = ff
		}, changes: []string{"/etc/tbot.yaml", "restart"}},
		{name: "a device that lost its group", change: func(f *Facts) { f.device.group, f.device.mode, f.device.opens = "root", 0o600, "denied" },
			changes: []string{"TPM device /dev/tpmrm0"}},
		{name: "a TPM that tbot holds is fine", change: func(f *Facts) { f.device.opens = "busy" }},
		{name: "a tbot that is alive but not ready stays alone", change: func(f *Facts) { f.ready.status = "503" }},
		{name: "a newer tbot that is alive but not ready, too", change: func(f *Facts) { f.ready.status, f.tbot.version = "503", version("17.5.4") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := inventory.Host{Name: "web-01"}
			f := enrolled(testDesired(t, enrolltest.Config(), h))
			cfg := enrolltest.Config()
			if c.config != nil {
				c.config(&cfg)
			}
			if c.change != nil {
				c.change(f)
			}
			var got []string
			for _, s := range Plan(f, testDesired(t, cfg, h)) {
				if s.problem != nil || s.Reason == "" {
					t.Errorf("%+v", s)
				}
				if s.Changes() {
					got = append(got, s.Name)
				}
			}
			if strings.Join(got, ",") != strings.Join(c.changes, ",") {
				t.Errorf("changes %q, want %q", got, c.changes)
			}
		})
	}
}

func TestPlanNotesAStorageWithoutACLs(t *testing.T) {
	t.Parallel()
	h := inventory.Host{Name: "web-01"}
	desired := testDesired(t, enrolltest.Config(), h)
	f := enrolled(desired)
	f.storage.acl = "none"
	for _, s := range Plan(f, desired) {
		if s.Name == "storage /var/lib/teleport/bot" {
			if s.Changes() || !strings.Contains(s.Reason, "no ACLs") {
				t.Errorf("%+v", s)
			}
			return
		}
	}
	t.Error("the plan has no step for the storage")
}

// printPlan writes a plan down, with the content of every file.
func printPlan(steps Steps) string {
	var b strings.Builder
	for _, s := range steps {
		switch {
		case s.problem != nil:
			fmt.Fprintf(&b, "! %s [%s]: %s (%s)\n", s.Name, s.problem.Code, s.problem.Message, s.problem.Hint)
		case !s.Changes():
			fmt.Fprintf(&b, "= %s: %s\n", s.Name, s.Reason)
		default:
			fmt.Fprintf(&b, "+ %s: %s\n", s.Name, s.Reason)
		}
		for _, a := range s.actions {
			indented(&b, "    $ ", a.script)
			if a.file != nil {
				fmt.Fprintf(&b, "    > %s %04o %s:%s\n", a.file.Path, a.file.Mode, a.file.Owner, a.file.Group)
				indented(&b, "    | ", string(a.file.Content))
			}
		}
		if strings.Contains("\n"+s.Diff, "\n-") { // else it is the whole file, which stands above
			indented(&b, "    diff ", s.Diff)
		}
	}
	return b.String()
}

func indented(b *strings.Builder, prefix, text string) {
	for line := range strings.Lines(text) {
		b.WriteString(prefix + strings.TrimSuffix(line, "\n") + "\n")
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "plan", strings.NewReplacer(" ", "-", "'", "").Replace(name)+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the plan differs from %s (refresh with -update):\n%s", path, got)
	}
}

func TestTemplatesAreMarked(t *testing.T) {
	f := enrolled(testDesired(t, enrolltest.Config(), inventory.Host{Name: "web-01"}))
	for path, ff := range f.files {
		if !ff.ours() || !strings.HasPrefix(ff.content, templates.Marker) {
			t.Errorf("%s has no marker", path)
		}
	}
}
