package host

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"fleetctl/remote"
)

// aTree has everything in D that makes a removal go wrong: what lies outside stays.
const aTree = `set -e; mkdir -p "$D" "$D/../outside"; cd "$D"; : >../outside/f; mkdir -p sub/deep .hid ./-rf 'a b' ..odd; : >sub/deep/f; : >.hid/f; : >'-rf/-f'
: >'a b/c
d'; ln -s ../outside link; ln -s ../../outside sub/link; ln -s nowhere dangling; : >...; mkfifo sub/pipe; mkdir -m 0000 closed; mkdir closed/x
mkdir -m 0700 .fleetctl-gone .fleetctl-gone/e1 .fleetctl-gone/e1/x; : >.fleetctl-gone/e2
p=n; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do p=$p/n; done; mkdir -p "$p"; chown -R -h daemon:daemon sub .hid ./-rf n
`

func TestATreeIsTakenWithoutFollowingAnything(t *testing.T) {
	t.Parallel()
	needRoot(t)
	inEach(t, func(t *testing.T, shell []string) {
		vars := "D=" + remote.Quote(t.TempDir()+"/up/bot") + "\n"
		run := func(script string) string {
			t.Helper()
			return runIn(t, shell, vars+scriptPrelude+placeFunctions+"set -e\n"+script)
		}
		runIn(t, shell, vars+aTree)
		run(`chown daemon "$D"; empty "$D"`)
		if got := run(`ls -A "$D"; stat -c %U "$D"; ls -A "${D%/*}/outside"`); got != "daemon\nf" {
			t.Errorf("emptied, it has %q", got)
		}
		runIn(t, shell, vars+"rm -rf \"$D\"\n"+aTree)
		run(`tree "$D"; tree "$D"; gone "$D/../nothing" || :`)
		if got := run(`ls -A "${D%/*}"; ls -A "${D%/*}/outside"`); got != "outside\nf" {
			t.Errorf("taken, there is %q", got)
		}
		run(`makedir "$D/x/y z" 0750 daemon daemon; : >"$D/x/f"; rmfile "$D/x/f" "$D/x/not there"; rmfile "$D/nowhere/f"`)
		if got := run(`cd "$D"; stat -c '%a %U:%G' . x 'x/y z'; ls x`); got != "755 root:root\n755 root:root\n750 daemon:daemon\ny z" {
			t.Errorf("made: %q", got)
		}
		run(`own "$D/x/y z" 0700 root daemon; ln -s "${D%/*}/outside" "$D/l"; ! makedir "$D/l" 0700 daemon daemon 2>/dev/null; ! empty "$D/l" 2>/dev/null`)
		if got := run(`stat -c '%a %U:%G' "$D/x/y z" "${D%/*}/outside"`); got != "700 root:daemon\n755 root:root" {
			t.Errorf("owned: %q", got)
		}
	})
}

// TestNobodyLeadsARemovalElsewhere has daemon swap what it can all the while, in shells whose tools no shim can reach.
func TestNobodyLeadsARemovalElsewhere(t *testing.T) {
	t.Parallel()
	needRoot(t)
	inEach(t, func(t *testing.T, shell []string) {
		top := t.TempDir()
		if err := os.Chmod(top, 0o755); err != nil {
			t.Fatal(err)
		}
		vars := "T=" + top + "\n"
		runIn(t, shell, vars+`mkdir "$T/outside" "$T/home"; cd "$T/outside"; for i in 1 2 3 4 5 6 7 8 9; do mkdir d$i; : >d$i/f; done; chown daemon "$T/home"`)
		swap := exec.Command("sh", "-c", `cd "$1"; while :; do
mkdir -p bot/a/b; mv bot/a bot/c; ln -s ../../outside bot/a; rm bot/a; mv bot/c bot/a; mv bot bat; ln -s ../outside bot; rm bot; mv bat bot; done 2>/dev/null`, "sh", top+"/home")
		swap.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1, Gid: 1}, Setpgid: true}
		if err := swap.Start(); err != nil {
			t.Fatal(err)
		}
		for range 8 {
			runIn(t, shell, vars+scriptPrelude+placeFunctions+`tree "$T/home/bot" 2>/dev/null || :; makedir "$T/home/bot" 0750 bin bin 2>/dev/null || :; own "$T/home/bot" 0700 daemon daemon 2>/dev/null || :`)
		}
		_ = syscall.Kill(-swap.Process.Pid, syscall.SIGKILL)
		_ = swap.Wait() // it was killed
		if got := runIn(t, shell, vars+`cd "$T/outside"; ls | wc -l; ls d*/f | wc -l; stat -c %U . d1`); got != "9\n9\nroot\nroot" {
			t.Errorf("outside is %q", got)
		}
	})
}
