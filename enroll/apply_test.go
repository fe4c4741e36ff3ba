package enroll

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/host"
	"fleetctl/enroll/host/diff"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/work"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// systemdStub plays systemd in a chroot: units are enabled and started by name, and a tbot whose configuration says
// "broken" ends at once, every time. What is asked of it stands in /run/stub/log.
const systemdStub = `mkdir -p /run/systemd/system /run/stub /usr/local/sbin
cat >/usr/local/sbin/systemctl <<'EOS'
#!/bin/sh
d=/run/stub; echo "$*" >>$d/log
cmd=$1
case $cmd in
  --version) echo 'systemd 252 (252.1)';;
  daemon-reload) rm -f $d/dirty; [ -e /etc/systemd/system/tbot.service ] && : >$d/loaded || rm -f $d/loaded;;
  enable) [ -e /etc/systemd/system/tbot.service ] || exit 1
    mkdir -p /etc/systemd/system/multi-user.target.wants
    ln -sf ../tbot.service /etc/systemd/system/multi-user.target.wants/tbot.service;;
  disable) rm -f /etc/systemd/system/multi-user.target.wants/tbot.service; rm -f $d/active;;
  stop) rm -f $d/active;;
  restart) [ -e $d/loaded ] || exit 5
    echo $(( $(cat $d/pid 2>/dev/null || echo 100) + 1 )) >$d/pid
    if grep -q broken /etc/tbot.yaml; then rm -f $d/active; : >$d/failing
      echo 'ERROR: failed parsing config file: field broken not found in type config.Service' >$d/journal
    else : >$d/active; rm -f $d/failing; echo 'INFO [TBOT:IDENTITY] Fetched new bot identity identity:x' >$d/journal; fi;;
  show)
    if [ -e $d/active ]; then echo ActiveState=active; echo SubState=running
    elif [ -e $d/failing ]; then echo ActiveState=activating; echo SubState=auto-restart
      echo $(( $(cat $d/pid) + 1 )) >$d/pid
    else echo ActiveState=inactive; echo SubState=dead; fi
    echo "MainPID=$(cat $d/pid 2>/dev/null || echo 0)"
    if [ -e $d/loaded ]; then echo LoadState=loaded; echo FragmentPath=/etc/systemd/system/tbot.service; else echo LoadState=not-found; fi
    if [ -e /etc/systemd/system/multi-user.target.wants/tbot.service ]; then echo UnitFileState=enabled; else echo UnitFileState=disabled; fi
    echo NeedDaemonReload=no; echo NRestarts=0; echo Result=success; echo ExecMainStatus=0;;
esac
exit 0
EOS
printf '#!/bin/sh\ncat /run/stub/journal\n' >/usr/local/sbin/journalctl
chmod 0755 /usr/local/sbin/systemctl /usr/local/sbin/journalctl`

// enrollChroot is a run of Enroll over one host: the chroot.
type enrollChroot struct {
	t    *testing.T
	host *enrolltest.Chroot
	st   store.Store
	cfg  config.Config
}

const simulatorHash = "1b5bbe2e96054f7bc34ebe7ba9a4a9eac5611c6879285ceff6094fa556af485c"

func newEnrollChroot(t *testing.T) *enrollChroot {
	t.Helper()
	e := &enrollChroot{t: t, host: enrolltest.NewChroot(t), cfg: enrolltest.Config()}
	e.host.Sh(systemdStub)
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "fleet.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() }) // a test's
	_, err = st.Put(t.Context(), store.Observation{Host: "web-01", At: time.Now(), Outcome: "ok",
		Identity: &store.Identity{EKHash: simulatorHash, Proven: true, Via: "helper"}})
	if err != nil {
		t.Fatal(err)
	}
	e.st = st
	return e
}

// fleet is the chroot as the only host of a fleet.
func (e *enrollChroot) fleet() Fleet {
	hosts := []inventory.Host{{Name: "web-01"}}
	return Fleet{
		Config: e.cfg, Inventory: hosts, Hosts: hosts, Store: e.st, Watcher: silent{},
		Access: func(context.Context, []inventory.Host) (work.Reach, func(), error) {
			return work.Reach{Forks: 1}, nil, nil
		},
		Dial: func(context.Context, remote.Target) (host.Conn, error) { return e.host, nil },
	}
}

// silent is a watcher that nobody listens to.
type silent struct{}

func (silent) Run(int64)             {}
func (silent) Begin(Stage, int)      {}
func (silent) Host(outcome.Result)   {}
func (silent) End()                  {}
func (silent) Note(Note)             {}
func (silent) At(string, work.Doing) {}
func (silent) Pace(work.Pace)        {}
func (silent) Logf(string, ...any)   {}

// enroll takes the host from a token to a verified tbot, as the last stage of Enroll does.
func (e *enrollChroot) enroll(change func(*EnrollOptions)) outcome.Result {
	e.t.Helper()
	opts := EnrollOptions{InstallOnly: true}
	if change != nil {
		change(&opts)
	}
	f := e.fleet()
	crew, err := f.newCrew(func(string) string { return "fleet" })
	if err != nil {
		e.t.Fatal(err)
	}
	defer crew.close()
	crew.adopt, crew.showDiff = opts.Adopt, opts.Diff
	crew.at(0, work.Reach{Forks: 1})
	in := &installation{crew: crew, check: opts.Check, noRollback: opts.NoRollback,
		verifying: host.VerifyOptions{Watch: time.Second, Limit: 8 * time.Second}}
	results, err := in.rollOut(e.t.Context(), f.Hosts)
	if err != nil {
		e.t.Fatal(err)
	}
	return results[0]
}

// remove takes from the host what an enroll made there.
func (e *enrollChroot) remove(made []string) outcome.Result {
	e.t.Helper()
	crew, err := e.fleet().newCrew(func(string) string { return "" })
	if err != nil {
		e.t.Fatal(err)
	}
	defer crew.close()
	return crew.remove(e.t.Context(), inventory.Host{Name: "web-01"}, host.ParseMade(made), false)
}

// tree is everything on the host that differs from the machine that it is a view of (names, modes, owners, contents),
// but for locks and for the copies that the account tools keep of their files.
func (e *enrollChroot) tree() string {
	e.t.Helper()
	return e.host.Outer(`cd ../upper
find . ! -path './usr/local/sbin*' ! -name '*-' ! -name '*.lock' ! -name 'sub[ug]id' ! -name lastlog ! -type d -printf '%p %y %m %u %g ' \
  \( -type f -exec sh -c 'sha256sum <"$1"' sh '{}' \; -o -printf '\n' \) | sort
find . -type d ! -path './usr/local/sbin*' | sort | while read -r d; do [ -d "/$d" ] || stat -c '%n %a %U %G' "$d"; done
cd ../root; ls -A run; stat -c '%n %a %U %G' dev/tpmrm0`)
}

func TestEnrollTwiceThenRemove(t *testing.T) {
	t.Parallel()
	e := newEnrollChroot(t)
	e.cfg.Tbot.Services = []map[string]any{identityIn("/opt/machine-id/app")}
	before := e.tree()
	if r := e.enroll(nil); r.Outcome != outcome.Changed || r.Joined != "journal" {
		t.Fatalf("first run: %+v", r)
	}
	if r := e.enroll(func(o *EnrollOptions) { o.Check = true }); r.Outcome != outcome.OK {
		t.Errorf("check after the first run: %+v", r)
	}
	if r := e.enroll(nil); r.Outcome != outcome.OK || slices.ContainsFunc(r.Steps, func(s outcome.StepResult) bool { return s.Changed || s.Reason == "" }) {
		t.Errorf("second run: %+v", r)
	}
	if got := e.host.Sh("ls /run"); strings.Contains(got, "pending") {
		t.Errorf("left on the host: %s", got)
	}
	rec, err := e.st.Record(t.Context(), "web-01")
	if err != nil || rec.Installed == nil || rec.Installed.State != "" || rec.Installed.Token != "fleet" {
		t.Errorf("record: %+v, %v", rec.Installed, err)
	}
	if r := e.remove(rec.Installed.Made); r.Outcome != outcome.Changed {
		t.Fatalf("remove: %+v", r)
	}
	if after := e.tree(); after != before {
		t.Errorf("the removal left something:\n%s", diff.Unified(before, after))
	}
	if r := e.remove(rec.Installed.Made); r.Outcome != outcome.OK {
		t.Errorf("second removal: %+v", r)
	}
}

func TestCheckChangesNothing(t *testing.T) {
	t.Parallel()
	e := newEnrollChroot(t)
	before := e.tree()
	r := e.enroll(func(o *EnrollOptions) { o.Check, o.Diff = true, true })
	if r.Outcome != outcome.Changed || len(r.Steps) < 10 {
		t.Errorf("got %+v", r)
	}
	if after := e.tree(); after != before {
		t.Errorf("it changed the host:\n%s", diff.Unified(before, after))
	}
}

func TestABadConfigurationIsTakenBack(t *testing.T) {
	t.Parallel()
	e := newEnrollChroot(t)
	if r := e.enroll(nil); r.Outcome != outcome.Changed {
		t.Fatalf("%+v", r)
	}
	before := e.host.Sh("cat /etc/tbot.yaml /etc/systemd/system/tbot.service")
	good := e.cfg
	e.cfg.Tbot.Services = []map[string]any{{"type": "broken"}}
	r := e.enroll(nil)
	if r.Outcome != outcome.Failed || r.Code != "bad-config" || !strings.Contains(r.Message, "previous files are back") || len(r.Log) == 0 {
		t.Errorf("got %+v", r)
	}
	if after := e.host.Sh("cat /etc/tbot.yaml /etc/systemd/system/tbot.service"); after != before {
		t.Errorf("not taken back:\n%s", diff.Unified(before, after))
	}
	if got := e.host.Sh("systemctl show | head -1"); got != "ActiveState=active" {
		t.Errorf("the old tbot doesn't run: %s", got)
	}
	rec, err := e.st.Record(t.Context(), "web-01")
	if err != nil || rec.Installed.State != "failed" {
		t.Errorf("record: %+v, %v", rec.Installed, err)
	}
	e.cfg = good
	if r := e.enroll(nil); r.Outcome != outcome.OK {
		t.Errorf("after the correction: %+v", r)
	}
	e.cfg.Tbot.Services = []map[string]any{{"type": "broken"}}
	if r := e.enroll(func(o *EnrollOptions) { o.NoRollback = true }); r.Outcome != outcome.Failed || strings.Contains(r.Message, "back") {
		t.Errorf("without rollback: %+v", r)
	}
	if got := e.host.Sh("cat /etc/tbot.yaml; ls /run/fleetctl-tbot.pending"); !strings.Contains(got, "broken") {
		t.Errorf("without rollback: %s", got)
	}
	e.cfg = good
	if r := e.enroll(nil); r.Outcome != outcome.Changed {
		t.Errorf("after the correction: %+v", r)
	}
}

func TestAnAdoptedConfigurationComesBackAfterRemoval(t *testing.T) {
	t.Parallel()
	e := newEnrollChroot(t)
	e.host.Sh("echo 'version: v2 # mine' >/etc/tbot.yaml; chmod 0600 /etc/tbot.yaml")
	if r := e.enroll(nil); r.Outcome != outcome.Failed || r.Code != "not-ours" {
		t.Errorf("without --adopt: %+v", r)
	}
	if r := e.enroll(func(o *EnrollOptions) { o.Adopt = true }); r.Outcome != outcome.Changed {
		t.Fatalf("with --adopt: %+v", r)
	}
	if got := e.host.Sh("cat /etc/tbot.yaml.orig; stat -c %a /etc/tbot.yaml.orig"); got != "version: v2 # mine\n600" {
		t.Errorf("kept: %s", got)
	}
	if r := e.enroll(nil); r.Outcome != outcome.OK {
		t.Errorf("second run: %+v", r)
	}
	e.remove(nil)
	if got := e.host.Sh("cat /etc/tbot.yaml; ls /etc/tbot.yaml*"); got != "version: v2 # mine\n/etc/tbot.yaml" {
		t.Errorf("after the removal: %s", got)
	}
}

// TestEveryFaultIsCompletedByTheNextRun breaks the connection, fills the disk or lets sudo expire: at every call of an
// enroll one of them.
func TestEveryFaultIsCompletedByTheNextRun(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes a chroot for each of 20 faults")
	}
	faults := []error{
		&remote.Error{Kind: remote.ErrDisconnected}, &remote.Error{Kind: remote.ErrNoSpace}, &remote.Error{Kind: remote.ErrBecomeNeedsPass},
	}
	whole := newEnrollChroot(t)
	calls := 0
	whole.host.Fail = func(string) error {
		calls++
		return nil
	}
	if r := whole.enroll(nil); r.Outcome != outcome.Changed {
		t.Fatalf("without a fault: %+v", r)
	}
	step := 2 // a chroot and three enrolls for each: EVERY_FAULT=1 takes them all
	if os.Getenv("EVERY_FAULT") != "" {
		step = 1
	}
	for n := 0; n < calls; n += step {
		t.Run(fmt.Sprintf("call %d", n), func(t *testing.T) { faultAt(t, n, faults[n%len(faults)]) })
	}
}

func faultAt(t *testing.T, n int, fault error) {
	e := newEnrollChroot(t)
	calls := 0
	e.host.Fail = func(string) error {
		if calls++; calls == n+1 {
			return fault
		}
		return nil
	}
	first := e.enroll(nil)
	e.host.Fail = nil
	if first.Outcome == outcome.Changed {
		t.Errorf("the fault was not noticed, in %d calls: %+v", calls, first)
	}
	if got := e.host.Sh("ls -A /etc /etc/systemd/system /etc/systemd/system/tbot.service.d 2>/dev/null | grep -c '\\.tmp$' || :"); got != "0" {
		t.Errorf("half-written files: %s", got)
	}
	if second := e.enroll(nil); second.Outcome != outcome.Changed && second.Outcome != outcome.OK {
		t.Fatalf("the next run: %+v", second)
	}
	if third := e.enroll(nil); third.Outcome != outcome.OK {
		t.Errorf("the run after it: %+v", third)
	}
	if got := e.host.Sh("systemctl show | head -1; ls /run; tail -n 3 /run/stub/log"); !strings.HasPrefix(got, "ActiveState=active") || strings.Contains(got, "pending") {
		t.Errorf("on the host: %s", got)
	}
	rec, err := e.st.Record(t.Context(), "web-01")
	if err != nil || rec.Installed == nil || rec.Installed.State != "" {
		t.Errorf("record: %+v, %v", rec.Installed, err)
	}
}

// TestSystemdAcceptsTheUnit lets systemd itself read the unit and the drop-ins that a host gets.
func TestSystemdAcceptsTheUnit(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		enrolltest.SkipOrFail(t, err.Error())
	}
	for _, c := range []struct{ name, user string }{{"tbot as a user", "teleport"}, {"tbot as root", "root"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := newEnrollChroot(t)
			e.cfg.Tbot.User = c.user
			e.cfg.Tbot.Services = []map[string]any{identityIn("/opt/machine-id")}
			if r := e.enroll(nil); r.Outcome != outcome.Changed {
				t.Fatalf("%+v", r)
			}
			out := e.host.Sh("systemd-analyze verify --man=no /etc/systemd/system/tbot.service 2>&1 || echo failed")
			for line := range strings.Lines(out) {
				if strings.Contains(line, "tbot") { // other units of this machine are not ours to judge
					t.Error(line)
				}
			}
			score := e.host.Sh("systemd-analyze security --offline=yes --no-pager /etc/systemd/system/tbot.service 2>&1 | tail -n 1")
			t.Log(score)
			if !strings.Contains(score, "OK") && !strings.Contains(score, "MEDIUM") {
				t.Errorf("exposure: %s", score)
			}
		})
	}
}

func TestHooksGetTheHostAndCanStopIt(t *testing.T) {
	t.Parallel()
	e := newEnrollChroot(t)
	dir := t.TempDir()
	e.cfg.Rollout.Hooks = config.Hooks{
		BeforeRun: "cat >" + dir + "/before_run", AfterRun: "cat >" + dir + "/after_run",
		BeforeHost: "cat >" + dir + "/before_host; echo the load balancer says no >&2; exit 3", AfterHost: "cat >" + dir + "/after_host",
	}
	before := e.tree()
	if r := e.enroll(nil); r.Outcome != outcome.Failed || r.Code != "hook" || !strings.Contains(r.Message, "load balancer says no") {
		t.Errorf("got %+v", r)
	}
	if after := e.tree(); after != before {
		t.Errorf("the host was changed:\n%s", diff.Unified(before, after))
	}
	e.cfg.Rollout.Hooks.BeforeHost = "cat >" + dir + "/before_host"
	if r := e.enroll(nil); r.Outcome != outcome.Changed {
		t.Errorf("got %+v", r)
	}
	for name, want := range map[string]string{
		"before_run": `"hosts":["web-01"]`, "before_host": `"step":"/etc/tbot.yaml"`, "after_host": `"outcome":"changed"`,
		"after_run": `"changed":1`,
	} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(raw), want) {
			t.Errorf("%s: %v: %s", name, err, raw)
		}
	}
	raw, _ := os.ReadFile(filepath.Join(dir, "before_host"))
	if !strings.Contains(string(raw), simulatorHash) {
		t.Errorf("without the host's record: %s", raw)
	}
	e.cfg.Rollout.Hooks.BeforeHost = "false" // nothing will be changed: nothing has to be drained
	if r := e.enroll(nil); r.Outcome != outcome.OK {
		t.Errorf("got %+v", r)
	}
}

func identityIn(path string) map[string]any {
	return map[string]any{"type": "identity", "destination": map[string]any{"type": "directory", "path": path}}
}
