package host

import (
	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/inventory"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// shells are those that hosts have for /bin/sh.
var shells = [][]string{{"dash"}, {"bash", "--posix"}, {"busybox", "ash"}}

// inEach runs a test in every shell that this machine has.
func inEach(t *testing.T, test func(t *testing.T, shell []string)) {
	t.Helper()
	for _, shell := range shells {
		t.Run(shell[0], func(t *testing.T) {
			if _, err := exec.LookPath(shell[0]); err != nil {
				enrolltest.SkipOrFail(t, err.Error())
			}
			test(t, shell)
		})
	}
}

// runIn runs a script as root in a shell and returns what it says.
func runIn(t *testing.T, shell []string, script string) string {
	t.Helper()
	cmd := exec.Command(shell[0], append(shell[1:], "-c", script)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, out, script)
	}
	return strings.TrimSpace(string(out))
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		enrolltest.SkipOrFail(t, "needs root")
	}
}

// who lists a tree: its names with owner, group and mode.
const who = `cd "$D" && find . ../outside -exec stat -c '%n %U:%G %a' {} + | sort`

func TestWhatAnEarlierUserLeftChangesHands(t *testing.T) {
	needRoot(t)
	inEach(t, func(t *testing.T, shell []string) {
		top := t.TempDir()
		if err := os.Chmod(top, 0o755); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(top, "bot")
		vars := "D=" + dir + "\nset -e\n"
		runIn(t, shell, vars+`mkdir -m 0755 "${D%/*}/outside"; echo secret >"${D%/*}/outside/root"
mkdir -m 0750 "$D"; cd "$D"; mkdir -m 0700 sub .hid; : >lock; : >sub/key; : >.hid/x; chmod 0600 lock sub/key
ln -s ../outside/root link; : >admins; ln ../outside/root second; : >../outside/daemons; ln ../outside/daemons named-twice
chown -R -h daemon:daemon .; chown -h daemon ../outside/daemons; chown root:root admins second ../outside/root; mkdir -m 0700 roots; : >roots/daemons; chown daemon roots/daemons`)
		hand := vars + scriptPrelude + handFunction + "handover " + dir + " daemon bin bin\n"
		runIn(t, shell, hand)
		want := `. bin:bin 750
../outside root:root 755
../outside/daemons daemon:daemon 644
../outside/root root:root 644
./.hid bin:bin 700
./.hid/x bin:bin 644
./admins root:root 644
./link bin:bin 777
./lock bin:bin 600
./named-twice daemon:daemon 644
./roots root:root 700
./roots/daemons daemon:root 644
./second root:root 644
./sub bin:bin 700
./sub/key bin:bin 600`
		if got := runIn(t, shell, vars+who); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		runIn(t, shell, vars+`cd "$D"; chown -h daemon:daemon lock sub/key; chown root:root . sub; chmod 1750 .; chmod 1700 sub`) // it was cut off
		runIn(t, shell, hand)
		if got := runIn(t, shell, vars+who); got != want {
			t.Errorf("taken up again, got\n%s\nwant\n%s", got, want)
		}
		runIn(t, shell, vars+scriptPrelude+handFunction+"handover "+dir+" bin daemon ''")
		if got, want := runIn(t, shell, vars+who), strings.ReplaceAll(want, "bin:bin", "daemon:daemon"); got != want {
			t.Errorf("given back, got\n%s\nwant\n%s", got, want)
		}
	})
}

// TestWhoHadADirectoryCantMakeRootGiveAwayMore lets the earlier user swap directories for links all the while.
func TestWhoHadADirectoryCantMakeRootGiveAwayMore(t *testing.T) {
	needRoot(t)
	inEach(t, func(t *testing.T, shell []string) {
		top := t.TempDir()
		if err := os.Chmod(top, 0o755); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(top, "bot")
		vars := "D=" + dir + "\n"
		runIn(t, shell, vars+`mkdir "${D%/*}/outside"; cd "${D%/*}/outside"; for i in 1 2 3 4 5; do : >f$i; done; mkdir -m 0700 "$D"; chown daemon:daemon "$D"`)
		swap := exec.Command("sh", "-c", `cd "$1" || exit; while :; do
mkdir a 2>/dev/null; : >a/f1; mv a b 2>/dev/null; ln -s ../outside a 2>/dev/null; rm -f a; mv b a 2>/dev/null; done 2>/dev/null`, "sh", dir)
		swap.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1, Gid: 1}, Setpgid: true}
		if err := swap.Start(); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			runIn(t, shell, vars+scriptPrelude+handFunction+"handover "+dir+" daemon bin bin || :\nhandover "+dir+" bin daemon daemon || :\n")
		}
		_ = syscall.Kill(-swap.Process.Pid, syscall.SIGKILL)
		_ = swap.Wait() // it was killed
		if got := runIn(t, shell, vars+`find "${D%/*}/outside" ! -user root`); got != "" {
			t.Errorf("given away: %s", got)
		}
	})
}

func TestWhoseFilesChangeHands(t *testing.T) {
	for _, c := range []struct {
		name, last string
		left       int
		made       []Thing
		want       bool
	}{
		{"nothing is left", "other", -1, nil, false},
		{"of a user, in the storage", "other", wayStorage, nil, true},
		{"of a user, in an output", "other", wayOutputs, nil, true},
		{"of root, in the storage", "root", wayStorage, nil, true},
		{"of root, in an output that somebody made", "root", wayOutputs, nil, false},
		{"of root, in an output that enroll made", "root", wayOutputs, []Thing{{kind: thingDir, name: "/opt/machine-id"}}, true},
	} {
		d := testDesired(t, func() (cfg config.Config) { cfg = enrolltest.Config(); withService(&cfg); return cfg }(), inventory.Host{Name: "web-01"})
		f := enrolled(d)
		f.last, f.ways = c.last, map[int]wayFacts{c.left: {left: true}}
		got := false
		for _, s := range Plan(f, d.Knowing(c.made)) {
			got = got || s.Changes() && strings.HasPrefix(s.Name, "files in ")
		}
		if got != c.want {
			t.Errorf("%s: changes hands: %t, want %t", c.name, got, c.want)
		}
	}
}
