package sh_test

import (
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll/sh"
)

// worldOf makes files of daemon's (uid 1) and of root's.
const worldOf = `set -e; cd "$1"; chmod 0755 .
mkdir a a/b; : >a/b/f; mkdir -m 0755 daemons; chown 1 daemons; mkdir daemons/x
ln -s daemons/x rel; ln -s "$1"/daemons/x abs; ln -s a/b fine; ln -s loop loop
mkdir -m 1777 sticky; mkdir sticky/roots sticky/daemons; chown 1 sticky/daemons; ln -s ../a sticky/rootslink; ln -s ../a sticky/daemonslink; chown -h 1 sticky/daemonslink
mkdir -m 2775 nobodys; chgrp 54321 nobodys; mkdir -m 0775 bins; chgrp 2 bins; mkdir -m 0757 worlds
: >writable; chmod 0666 writable; : >daemonsfile; chown 1 daemonsfile`

func TestWhatOthersCanChange(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("/var/lib", "fleetctl-test-") // nobody but root can change what is above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if out, err := exec.Command("sh", "-c", worldOf, "sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, shell := range [][]string{{"dash"}, {"bash", "--posix"}, {"busybox", "ash"}} {
		if _, err := exec.LookPath(shell[0]); err != nil {
			continue
		}
		wants := map[string]string{
			"": "", "a/b/f": "", "a/none/of/it": "", "fine/f": "", "a/./b/../b//f": "", "a/../daemons/x/f": "daemons",
			"daemons": "daemons", "daemons/x/f": "daemons", "rel/f": "daemons", "abs/f": "daemons", "abs": "daemons",
			"loop/f": "loop", "sticky/roots/f": "", "sticky/rootslink/b": "", "sticky/daemons/f": "sticky/daemons", "sticky/daemonslink/b": "sticky/daemonslink",
			"sticky/new": "sticky", "sticky": "sticky", "nobodys/f": "", "worlds/f": "worlds", "writable": "writable", "daemonsfile": "daemonsfile",
		}
		paths := slices.Sorted(maps.Keys(wants))
		args := append(shell[1:], "-c", sh.Changeable+`for p in "$@"; do echo "$(changeable "$D/$p")"; done`, "sh")
		cmd := exec.Command(shell[0], append(args, paths...)...)
		cmd.Env = []string{"PATH=/usr/bin:/bin", "D=" + dir}
		out, err := cmd.CombinedOutput()
		lines := strings.Split(string(out), "\n")
		if err != nil || len(lines) != len(paths)+1 {
			t.Fatalf("%s: %v: %s", shell[0], err, out)
		}
		for i, path := range paths {
			want := wants[path]
			if want != "" {
				want = dir + "/" + want
			}
			if got, _, _ := strings.Cut(lines[i], " "); strings.TrimSuffix(got, "/") != want {
				t.Errorf("%s: %s: got %q, want %q", shell[0], path, lines[i], want)
			}
		}
	}
}
