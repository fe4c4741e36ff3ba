package remote_test

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// swapper is what a local user of a host runs: when a helper was summed it puts another program in its place. In the
// host's namespace sha256sum waits for that, so that nothing depends on who is faster.
const swapper = `
real=$(command -v sha256sum); cp "$(readlink -f "$real")" DIR/sha256sum.real
cat >DIR/sha256sum <<'E'
#!/bin/sh
DIR/sha256sum.real "$@"; code=$?
: >DIR/summed/now
n=0; while [ ! -e DIR/swapped ] && [ $n -lt 40 ]; do sleep 0.05; n=$((n+1)); done
exit $code
E
chmod 755 DIR/sha256sum DIR/sha256sum.real
mkdir -m 777 DIR/summed
mount --bind DIR/sha256sum "$(readlink -f "$real")"
cat >DIR/swap <<'E'
#!/bin/sh
trap 'exit 0' TERM
while [ ! -e DIR/summed/now ]; do sleep 0.02; done
for d in PLACES; do
  [ -d "$d" ] || continue
  mv "$d" "$d.away" || exit 0
  for f in $d/helper $d/.cache/fleetctl/helper-SUM $(cd "$d.away" && ls -d .fleetctl-* | sed "s:.*:$d/&/helper:"); do
    mkdir -p "$(dirname "$f")"
    printf '#!/bin/sh\necho swapped\n' >"$f"
    chmod 755 "$f"
  done
done
: >DIR/swapped
E
chmod 755 DIR/swap
(setpriv --reuid=ATTACKER --regid=65534 --clear-groups timeout 60 sh DIR/swap </dev/null >/dev/null 2>&1 &)
`

// What was summed is what runs, whatever other users of the host may write to.
func TestNobodySwapsThePayloadBetweenSumAndStart(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	remotetest.NeedPeer(t, "setpriv")
	for _, tt := range []struct {
		name, mounts, places string
		keep                 bool
	}{
		{"a /tmp without its sticky bit", "mount -t tmpfs -o mode=0777 none /tmp", "/tmp/.fleetctl-*", false},
		{"a /tmp that belongs to another user", "mount -t tmpfs -o mode=1777,uid=ATTACKER none /tmp", "/tmp/.fleetctl-*", false},
		{"a home below a directory that anybody may write to",
			"mount -t tmpfs -o noexec,mode=1777 none /tmp; chmod 777 $(dirname HOME)", "HOME", false},
		{"a cache below such a directory", "chmod 777 $(dirname HOME)", "HOME", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			user, home := remotetest.NewUser(t, remotetest.UserConfig{Base: "/run"})
			dir := filepath.Join(filepath.Dir(home), "attack")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			evil, _ := remotetest.NewUser(t, remotetest.UserConfig{})
			uid := strconv.Itoa(uidOf(t, evil))
			p := big(10)
			p.Keep = tt.keep
			sum := hex.EncodeToString(p.SHA256[:])
			if err := os.Chmod(home, 0o755); err != nil {
				t.Fatal(err)
			}
			keepPayload(t, filepath.Join(home, ".cache", "fleetctl", "helper-"+sum), p, uidOf(t, user))
			// Whoever may write to the home's directory may write to that of the attack: it is all his.
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			script := strings.NewReplacer("DIR", dir, "PLACES", tt.places, "ATTACKER", uid, "HOME", home, "SUM", sum).
				Replace(tt.mounts + "\n" + strings.ReplaceAll(swapper, "PLACES", tt.places))
			server := remotetest.StartSSHDInNamespace(t, script)
			target := server.Target()
			target.User = user
			c := dialTest(t, remote.Options{}, target)
			out, err := where(t, c, p)
			if strings.Contains(out, "swapped") {
				t.Fatal("another user's program ran")
			}
			t.Logf("%q, %v", out, err)
			if err == nil && !strings.HasSuffix(out, "/helper") && !tt.keep {
				t.Errorf("it ran as %q", out)
			}
		})
	}
}

// keepPayload puts a payload where one that is kept would lie.
func keepPayload(t *testing.T, file string, p remote.Payload, uid int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, p.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Dir(filepath.Dir(file)), filepath.Dir(file), file} {
		if err := os.Chown(path, uid, -1); err != nil {
			t.Fatal(err)
		}
	}
}

func uidOf(t *testing.T, name string) int {
	t.Helper()
	for _, line := range strings.Split(readFile(t, "/etc/passwd"), "\n") {
		if f := strings.Split(line, ":"); f[0] == name {
			n, err := strconv.Atoi(f[2])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no user %s", name)
	return 0
}

// The shell around a payload may be killed: by an administrator, or because the host has no memory left.
func TestAKilledShellLeavesNothing(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t)
	for _, become := range []bool{false, true} {
		t.Run(fmt.Sprintf("become %v", become), func(t *testing.T) {
			t.Parallel()
			target := loginAs(t, server, remotetest.UserConfig{Sudoers: "USER ALL=(ALL) NOPASSWD: ALL"})
			c := dialTest(t, remote.Options{}, target)
			p, err := c.StartPayload(t.Context(), payload("#!/bin/sh\necho $0 $PPID\ncat >/dev/null\n", become))
			if err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 300)
			n, err := p.Stdout.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			var path string
			var shell int
			if _, err := fmt.Sscan(string(buf[:n]), &path, &shell); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(shell, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			waitGone(t, filepath.Dir(path))
			_, _, err = p.Wait()
			t.Logf("%v", err)
			_ = p.Close()
			if !eventually(func() bool { return len(remotetest.Processes(target.User)) <= 1 }) { // sshd's own
				t.Errorf("%s still runs %v", target.User, remotetest.Processes(target.User))
			}
		})
	}
}

// linker is what a user does in a directory of his own while root writes a file there: when its content was summed he
// puts links to a file of root's in the place of whatever root has there.
const linker = `
real=$(command -v sha256sum); cp "$(readlink -f "$real")" DIR/sha256sum.real
cat >DIR/sha256sum <<'E'
#!/bin/sh
DIR/sha256sum.real "$@"; code=$?
for f in OWN/.fleetctl-*; do
  if [ -d "$f" ]; then mv "$f" "$f.away"; mkdir "$f"; ln -s DIR/secret "$f/file"
  else rm -f "$f"; ln -s DIR/secret "$f"; fi
done
exit $code
E
chmod 755 DIR/sha256sum DIR/sha256sum.real
mount --bind DIR/sha256sum "$(readlink -f "$real")"
`

// The mode and the owner of a file are those of the file that was written, whoever may write to its directory.
func TestNobodyRedirectsTheModeOfAFile(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	evil, home := remotetest.NewUser(t, remotetest.UserConfig{Base: "/run"})
	dir := filepath.Dir(home)
	secret := filepath.Join(dir, "secret")
	writeFile(t, secret, "root's own")
	server := remotetest.StartSSHDInNamespace(t, strings.NewReplacer("DIR", dir, "OWN", home).Replace(linker))
	c := dialTest(t, remote.Options{}, server.Target())
	err := c.WriteFile(t.Context(), remote.File{Path: filepath.Join(home, "file"), Content: []byte("x"), Mode: 0o666, Owner: evil}, false)
	t.Logf("%v", err)
	st, statErr := os.Stat(secret)
	if statErr != nil {
		t.Fatal(statErr)
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); st.Mode().Perm() != 0o600 || !ok || sys.Uid != 0 {
		t.Errorf("the file of root has become %v", st.Mode())
	}
}
