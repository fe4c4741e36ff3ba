package host

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// An attacker is daemon (uid 1) on the host, with a home of its own. It acts at the worst moment: right before the N-th command
// that root's script runs, for every N.

// tripwires put a shim before each command of root's that looks at files or changes them.
const tripwires = `mkdir -p /trip
for c in chown chmod chgrp mkdir rmdir rm mv cp stat ls readlink cat tar sha256sum; do
  cat >/usr/local/sbin/$c <<SHIM
#!/bin/sh
if [ -e /trip/armed ] && [ "\$(/usr/bin/id -u)" = 0 ]; then
  n=\$((\$(/bin/cat /trip/n) + 1)); echo \$n >/trip/n
  if [ \$n -ge "\$(/bin/cat /trip/at)" ]; then
    /bin/rm /trip/armed; : >/trip/sprung
    PATH=/bin:/usr/bin setpriv --reuid=1 --regid=1 --clear-groups /bin/sh /trip/attack >/dev/null 2>&1
  fi
fi
exec $(command -v $c) "\$@"
SHIM
  chmod 0755 /usr/local/sbin/$c
done
`

// victim is what is root's, and how it looks.
const (
	makeVictim = "/bin/rm -rf /srv/victim; mkdir -m 0700 /srv/victim /srv/victim/sub; echo secret >/srv/victim/sub/f; echo secret >/srv/victim/f; chmod 0600 /srv/victim/f /srv/victim/sub/f\n"
	seeVictim  = `cd /srv/victim 2>/dev/null || cd /srv/home/bot && find . -exec /usr/bin/stat -c '%n %U:%G %a %s' {} + | sort; cat f`
)

// lure is one way to make root act elsewhere.
type lure struct {
	name   string
	config func(*config.Config)
	setup  string // before the plan, as root
	lived  bool   // an enroll has been there, and it is a removal that is attacked
	attack string // as daemon, right before one of root's commands
}

// swap puts a link to the victim in the place of something that lies in a directory of daemon's.
func swap(what string) string {
	return fmt.Sprintf("/bin/mv %[1]s %[1]s.was; ln -s /srv/victim %[1]s\n", what)
}

const daemonsHome = "/bin/rm -rf /srv/home; mkdir -m 0755 /srv/home; chown daemon:daemon /srv/home\n"

var lures = []lure{
	{name: "an output in somebody's home", config: output("/srv/home/id"), setup: daemonsHome, attack: swap("/srv/home/id")},
	{name: "an output below a directory of somebody's", config: output("/srv/home/a/id"), setup: daemonsHome + "mkdir /srv/home/a; chown daemon:daemon /srv/home/a\n",
		attack: swap("/srv/home/a")},
	{name: "an output whose parents are made", config: output("/srv/home/a/b/id"), setup: daemonsHome, attack: swap("/srv/home/a") + swap("/srv/home/a/b")},
	{name: "an output that daemon has made first", config: output("/srv/home/sub"), setup: daemonsHome, attack: "ln -s /srv/victim/sub /srv/home/sub"},
	{name: "a storage in somebody's home", config: storageIn("/srv/home/bot"), setup: daemonsHome, attack: swap("/srv/home/bot")},
	{name: "a storage that changes its owner", config: storageIn("/srv/home/bot"), setup: daemonsHome + "mkdir /srv/home/bot; chown daemon:daemon /srv/home/bot\n", attack: swap("/srv/home/bot")},
	{name: "a storage in whose place is what root has there", config: storageIn("/srv/home/bot"),
		setup:  daemonsHome + "mkdir /srv/home/bot; chown daemon:daemon /srv/home/bot; /bin/rm -rf /srv/victim; mkdir -m 0700 /srv/home/roots; echo secret >/srv/home/roots/f; ln -s /srv/home/roots /srv/victim\n",
		attack: "/bin/mv /srv/home/bot /srv/home/was; /bin/mv /srv/home/roots /srv/home/bot"},
	{name: "an output that goes", config: output("/srv/home/id"), lived: true, setup: daemonsHome, attack: swap("/srv/home/id")},
	{name: "an output whose parents go", config: output("/srv/home/a/id"), lived: true, setup: daemonsHome, attack: swap("/srv/home/a")},
	{name: "a storage in somebody's home that goes", config: storageIn("/srv/home/bot"), lived: true, setup: daemonsHome, attack: swap("/srv/home/bot")},
	{name: "a tree in a storage that goes", config: func(c *config.Config) { c.Tbot.User, c.Tbot.Group = "daemon", "daemon" }, lived: true,
		attack: "cd /var/lib/teleport/bot || cd /var/lib/teleport/bot/.fleetctl-gone; " + swap("./tree") + swap("./tree.was/sub") + swap("./.fleetctl-gone")},
}

// places are the steps that make, give away or take directories: the others are the same in every lure, and on paths of root's.
func places(steps Steps) (some Steps) {
	for _, s := range steps {
		if strings.HasPrefix(s.Name, "storage") || strings.Contains(s.Name, "director") {
			some = append(some, s)
		}
	}
	return some
}

// plans are what a lure has root do: an enroll, or a removal after it. apply comes first.
func (l lure) plans(t *testing.T, c *enrolltest.Chroot) (before, attacked Steps) {
	t.Helper()
	c.Sh(cleared + makeVictim + l.setup)
	cfg := enrolltest.Config()
	if l.config != nil {
		l.config(&cfg)
	}
	d := testDesired(t, cfg, inventory.Host{Name: "web-01"})
	steps := Plan(gather(t, c, d), d)
	if p := steps.Problems(); len(p) > 0 {
		t.Fatalf("%s: %v", l.name, p)
	}
	if !l.lived {
		return nil, places(steps)
	}
	if _, err := Apply(t.Context(), c, places(steps), ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	d = d.Knowing(made(steps))
	return places(steps), places(PlanRemoval(gather(t, c, d), d))
}

const cleared = "/bin/rm -rf /trip/armed /trip/sprung /srv/home /srv/victim /var/lib/teleport\n"

// run has root do it once more, with an attack before its command number at. It may fail, but it touches nothing of the victim's.
func (l lure) run(t *testing.T, c *enrolltest.Chroot, before, attacked Steps, at int) (sprung bool) {
	t.Helper()
	c.Sh(cleared + makeVictim + l.setup)
	if _, err := Apply(t.Context(), c, before, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	was := c.Sh("d=/var/lib/teleport/bot; if [ -d $d ]; then mkdir -p $d/tree/sub/deep; : >$d/tree/sub/f; chown -R daemon:daemon $d; fi; [ ! -d /srv/home/id ] || : >/srv/home/id/f\n" +
		fmt.Sprintf("cat >/trip/attack <<'EOF'\n%s\nEOF\necho 0 >/trip/n; echo %d >/trip/at\n", l.attack, at) + seeVictim + "; : >/trip/armed")
	_, err := Apply(t.Context(), c, attacked, ApplyOptions{})
	got, sprang, _ := strings.Cut(c.Sh("/bin/rm -f /trip/armed\n"+seeVictim+"; echo =; /bin/ls /trip"), "=")
	if strings.TrimSpace(got) != was {
		t.Errorf("%s, before command %d (%v): root was led to\n%s\nwhich was\n%s", l.name, at, err, got, was)
	}
	if sprung = strings.Contains(sprang, "sprung"); !sprung && err != nil {
		t.Errorf("%s, without an attack: %v", l.name, err)
	}
	return sprung
}

func made(steps Steps) (all []Thing) {
	for _, s := range steps {
		all = append(all, s.Things()...)
	}
	return all
}

func TestNobodyLeadsRootElsewhere(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for _, l := range lures {
		for _, shell := range shells[:1] { // busybox ash runs tools of its own, which no shim sees; bash does the same as dash
			t.Run(l.name+", "+shell[0], func(t *testing.T) {
				t.Parallel()
				c := enrolltest.NewChroot(t, shell...)
				c.Sh(tripwires + "mkdir -p /srv; chmod 0755 /srv; groupadd -f --system tss; groupadd -f --system teleport; useradd --system --gid teleport -G tss --no-create-home teleport; usermod -a -G tss daemon; chgrp tss /dev/tpmrm0; chmod 0660 /dev/tpmrm0")
				before, attacked := l.plans(t, c)
				at := 1
				for ; l.run(t, c, before, attacked, at) && at < 200; at += 1 + at/6 {
					if t.Failed() {
						return
					}
				}
				if at < 4 {
					t.Errorf("the attack came at %d moments: nothing was tried", at)
				}
			})
		}
	}
}

func TestWhatOthersCanChangeIsNotWrittenByRoot(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for _, c := range []struct {
		name   string
		config func(*config.Config)
		setup  string
	}{
		{"a configuration in somebody's home", func(c *config.Config) { c.Tbot.Config = "/srv/home/tbot.yaml" }, daemonsHome},
		{"a configuration below it", func(c *config.Config) { c.Tbot.Config = "/srv/home/a/b/tbot.yaml" }, daemonsHome},
		{"a configuration in /tmp", func(c *config.Config) { c.Tbot.Config = "/srv/tmp/tbot.yaml" }, "mkdir -m 1777 /srv/tmp"},
		{"a configuration over a link of somebody's", func(c *config.Config) { c.Tbot.Config = "/srv/tmp/x/tbot.yaml" },
			"mkdir -m 1777 /srv/tmp; mkdir -m 0755 /srv/home; ln -s /srv/home /srv/tmp/x; chown -h daemon /srv/tmp/x"},
		{"a configuration where a group may write", func(c *config.Config) { c.Tbot.Config = "/srv/g/tbot.yaml" },
			"mkdir -m 0775 /srv/g; groupadd -f ops; usermod -a -G ops daemon; chgrp ops /srv/g"},
		{"a tbot of somebody's that root would run", func(c *config.Config) { c.Tbot.Binary, c.Tbot.User, c.Tbot.Group = "/srv/home/tbot", "root", "root" },
			daemonsHome + "cp /usr/local/bin/tbot /srv/home/tbot"},
		{"a TPM's node that the unit would give away at each start", func(*config.Config) {}, daemonsHome + "mknod /srv/home/tpm c 1 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			host := enrolltest.NewChroot(t)
			host.Sh("chmod 0755 /srv\n" + c.setup)
			cfg := enrolltest.Config()
			c.config(&cfg)
			h := inventory.Host{Name: "web-01"}
			if strings.Contains(c.name, "TPM") {
				h.Vars = map[string]any{"tpm_device": "/srv/home/tpm"}
			}
			d := testDesired(t, cfg, h)
			found := false
			steps := Plan(gather(t, host, d), d)
			for _, p := range steps.Problems() {
				found = found || p.Code == outcome.UnsafePath && strings.Contains(p.Message, "/srv/")
			}
			if !found {
				t.Errorf("got\n%s", printPlan(steps))
			}
		})
	}
	t.Run("a group that nobody is in is nobody", func(t *testing.T) {
		t.Parallel()
		host := enrolltest.NewChroot(t)
		host.Sh("chmod 0755 /srv; mkdir -m 2775 /srv/g; groupadd ops; chgrp ops /srv/g")
		cfg := enrolltest.Config()
		cfg.Tbot.Config = "/srv/g/tbot.yaml"
		d := testDesired(t, cfg, inventory.Host{Name: "web-01"})
		if _, err := Apply(t.Context(), host, Plan(gather(t, host, d), d), ApplyOptions{}); err != nil {
			t.Error(err)
		}
	})
	t.Run("a directory that was given away after the plan", func(t *testing.T) {
		t.Parallel()
		host := enrolltest.NewChroot(t)
		host.Sh("chmod 0755 /srv; mkdir /srv/c; echo secret >/root/secret")
		cfg := enrolltest.Config()
		cfg.Tbot.Config = "/srv/c/tbot.yaml"
		d := testDesired(t, cfg, inventory.Host{Name: "web-01"})
		steps := Plan(gather(t, host, d), d)
		host.Sh("chown daemon /srv/c")
		if _, err := Apply(t.Context(), host, steps, ApplyOptions{}); err == nil || !strings.Contains(err.Error(), "others than root can change /srv/c") {
			t.Errorf("got %v", err)
		}
	})
}

func TestATbotOfSomebodysIsNotRunByRoot(t *testing.T) {
	t.Parallel()
	needRoot(t)
	c := enrolltest.NewChroot(t)
	c.Sh("chmod 0755 /srv; mkdir -m 1777 /srv/said\n" + daemonsHome +
		`printf '#!/bin/sh\nid -u >>/srv/said/$(id -u)\necho "Teleport v17.2.1 git:v17.2.1-0-g1 go1.23.4"\n' >/srv/home/tbot; chmod 0755 /srv/home/tbot; chown daemon /srv/home/tbot
rm /usr/local/bin/tbot; ln -s /srv/home/tbot /usr/local/bin/tbot`)
	d := testDesired(t, enrolltest.Config(), inventory.Host{Name: "web-01"})
	if v := gather(t, c, d).TbotVersion(); v.String() != "17.2.1" {
		t.Errorf("its version is %q", v)
	}
	if _, err := Record(t.Context(), c, d); err != nil {
		t.Error(err)
	}
	if got := c.Sh("ls /srv/said"); got != "1" {
		t.Errorf("it was run by %q", got)
	}
}

// TestARecordHasNoSecretsOfRoots: a bundle is given to others.
func TestARecordHasNoSecretsOfRoots(t *testing.T) {
	t.Parallel()
	needRoot(t)
	c := enrolltest.NewChroot(t)
	c.Sh("chmod 0755 /srv; echo root-only >/root/secret; chmod 0600 /root/secret\n" + daemonsHome + "ln -s /root/secret /srv/home/link.yaml; ln /root/secret /srv/home/tbot.yaml")
	for _, file := range []config.Path{"/srv/home/link.yaml", "/srv/home/tbot.yaml"} {
		cfg := enrolltest.Config()
		cfg.Tbot.Config = file
		d := testDesired(t, cfg, inventory.Host{Name: "web-01"})
		r, err := Record(t.Context(), c, d)
		if err != nil || strings.Contains(r["tbot.yaml"], "root-only") {
			t.Errorf("%s: %v %q", file, err, r["tbot.yaml"])
		}
		if content := gather(t, c, d).files[string(file)].content; content != "" {
			t.Errorf("the facts of %s have %q", file, content)
		}
	}
}

// swappingConn lets daemon act between root's commands.
type swappingConn struct {
	*enrolltest.Chroot
	between string
}

func (c swappingConn) Run(ctx context.Context, cmd remote.Cmd) (remote.Output, error) {
	c.Sh("setpriv --reuid=1 --regid=1 --clear-groups /bin/sh -c " + remote.Quote(c.between) + " >/dev/null 2>&1 || :")
	return c.Chroot.Run(ctx, cmd)
}

// TestAPackageThatSomebodySwapsIsNotInstalled: packages are public, so that everybody knows what is pushed, and under which name.
func TestAPackageThatSomebodySwapsIsNotInstalled(t *testing.T) {
	t.Parallel()
	needRoot(t)
	good, evil := buildDeb(t, "18.4.0", "good"), buildDeb(t, "18.4.0", "evil")
	c := enrolltest.NewChroot(t)
	in := prepared(t, config.Install{From: "file", Files: map[string]string{"amd64": good, "arm64": good}}, nil)
	for name, file := range map[string]string{"good": good, "evil": evil} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.WriteFile(t.Context(), remote.File{Path: "/srv/" + name + ".deb", Content: raw, Mode: 0o644, Owner: "root", Group: "root"}, true); err != nil {
			t.Fatal(err)
		}
	}
	c.Sh("chmod 0755 /srv")
	sum := in.ByArch["amd64"].SHA256
	between := strings.NewReplacer("SUM", sum[:16]).Replace(`cd /var/tmp
for d in /var/tmp /tmp /dev/shm /var/lib; do mkdir -m 0777 $d/.fleetctl-install; for p in $d/fleetctl-SUM.deb $d/.fleetctl-install/SUM.deb; do
  if [ -e $p ]; then cat /srv/evil.deb >$p || { rm -f $p; cp /srv/evil.deb $p; }; else cp /srv/good.deb $p; fi
done; done`)
	conn := swappingConn{c, between}
	d := installing(t, in)
	steps := Plan(gather(t, c, d), d)
	_, err := Apply(t.Context(), conn, steps[:steps.Installation()+1], ApplyOptions{})
	if got := c.Sh("tbot version"); strings.Contains(got, "evil") || err == nil && !strings.Contains(got, "good") {
		t.Errorf("on the host: %s (%v)", got, err)
	}
	if got := c.Sh("ls -A /var/lib/.fleetctl-install 2>&1 || :"); !strings.Contains(got, "No such file") {
		t.Errorf("left behind: %s", got)
	}
}

// TestAPackageIsSummedWhereItIsUsed: what was pushed is not what is installed.
func TestAPackageIsSummedWhereItIsUsed(t *testing.T) {
	t.Parallel()
	needRoot(t)
	c := enrolltest.NewChroot(t)
	in := prepared(t, config.Install{From: "file", Files: map[string]string{"amd64": buildDeb(t, "18.4.0", "good"), "arm64": buildDeb(t, "18.4.0", "good")}}, nil)
	d := installing(t, in)
	steps := Plan(gather(t, c, d), d)
	step := steps[steps.Installation()]
	for i, a := range step.actions {
		if i == len(step.actions)-1 {
			c.Sh("for f in $(find / -xdev -name '*.deb' -newer /dev/null 2>/dev/null); do echo evil >>$f; done")
		}
		if err := applyAction(t.Context(), c, a, 0); i == len(step.actions)-1 && (err == nil || !strings.Contains(err.Error(), "is not the package")) {
			t.Errorf("got %v", err)
		}
	}
	if got := c.Sh("tbot version"); strings.Contains(got, "good") {
		t.Errorf("on the host: %s", got)
	}
}

// buildDeb makes a package with a tbot that says a word.
func buildDeb(t *testing.T, version, word string) string {
	t.Helper()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		enrolltest.SkipOrFail(t, err.Error())
	}
	tree := t.TempDir()
	for name, content := range map[string]string{
		"DEBIAN/control": "Package: teleport-ent-test\nVersion: " + version + "\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\n" +
			"Description: a package for a test\n",
		"usr/local/bin/tbot": "#!/bin/sh\necho \"Teleport v" + version + " git:" + word + " go1.23\"\n",
	} {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	deb := filepath.Join(t.TempDir(), "teleport-ent_"+version+"_amd64.deb")
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "--build", tree, deb).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return deb
}
