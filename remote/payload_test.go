package remote_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// big is a payload that says where it lies, with some size.
func big(kib int) remote.Payload {
	data := []byte("#!/bin/sh\necho $0\nexit 0\n#" + strings.Repeat("x", kib<<10))
	return remote.Payload{Name: "helper", Data: data, SHA256: sha256.Sum256(data)}
}

// where runs a payload and returns its path.
func where(t *testing.T, c *remote.Conn, p remote.Payload) (string, error) {
	t.Helper()
	proc, err := c.StartPayload(t.Context(), p)
	if err != nil {
		return "", err
	}
	_ = proc.Stdin.Close()
	out, err := io.ReadAll(proc.Stdout)
	if err != nil {
		return "", err
	}
	code, stderr, err := proc.Wait()
	if err == nil && code != 0 {
		err = fmt.Errorf("status %d: %s", code, stderr)
	}
	return strings.TrimSpace(string(out)), err
}

const everythingNoexec = "for d in /tmp /var/tmp /dev/shm; do mount -t tmpfs -o noexec,mode=1777 none $d; done\n"

func TestPayloadsFindADirectoryThatMayExecute(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	for _, tt := range []struct {
		name   string
		mounts string // HOME is the user's
		in     string // prefix of the payload's path; HOME is the user's
		want   error
		say    string
	}{
		{"/tmp in general", "", "/tmp/", nil, ""},
		{"the home when /tmp is noexec", "mount -t tmpfs -o noexec,mode=1777 none /tmp", "HOME/", nil, ""},
		{"the home when /tmp is read-only", "mount -t tmpfs -o ro none /tmp", "HOME/", nil, ""},
		{"the home when /tmp is full", "mount -t tmpfs -o size=64k,mode=1777 none /tmp", "HOME/", nil, ""},
		{"/var/tmp when the home is noexec as well",
			"mount -t tmpfs -o noexec,mode=1777 none /tmp; mount -t tmpfs -o noexec,mode=1777 none HOME", "/var/tmp/", nil, ""},
		{"/dev/shm in the end", everythingNoexec + "umount /dev/shm; mount -t tmpfs -o exec,mode=1777 none /dev/shm;" +
			"mount -t tmpfs -o noexec,mode=1777 none HOME", "/dev/shm/", nil, ""},
		{"a quota that shows only when it is hit", "mount -t tmpfs -o size=64k,mode=1777 none /tmp\n" +
			"printf '#!/bin/sh\\necho h\\necho f 999999 0 999999 0%% /\\n' > HOME/df; chmod 755 HOME/df; mount --bind HOME/df /usr/bin/df",
			"HOME/", nil, ""},
		{"nowhere when all are noexec", everythingNoexec + "mount -t tmpfs -o noexec,mode=1777 none HOME", "",
			remote.ErrNoExecDir, "/tmp:noexec"},
		{"nowhere when all are full", strings.ReplaceAll(everythingNoexec, "noexec", "size=64k") +
			"mount -t tmpfs -o size=64k,mode=1777 none HOME", "", remote.ErrNoSpace, "/var/tmp:full"},
		{"nowhere when all are read-only", strings.ReplaceAll(everythingNoexec, "noexec", "ro") +
			"mount -t tmpfs -o ro none HOME", "", remote.ErrNoExecDir, "/tmp:read-only"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			user, home := remotetest.NewUser(t, remotetest.UserConfig{Base: "/run"})
			server := remotetest.StartSSHDInNamespace(t, strings.ReplaceAll(tt.mounts, "HOME", home))
			target := server.Target()
			target.User = user
			c := dialTest(t, remote.Options{}, target)
			path, err := where(t, c, big(500))
			if !errors.Is(err, tt.want) || (tt.want == nil && err != nil) || !strings.Contains(fmt.Sprint(err), tt.say) {
				t.Fatalf("got %v, want %v with %q", err, tt.want, tt.say)
			}
			if !strings.HasPrefix(path, strings.ReplaceAll(tt.in, "HOME", home)) {
				t.Errorf("it ran as %s", path)
			}
			left, err := c.Run(t.Context(), remote.Cmd{Script: "ls -d /tmp/.fleetctl-* ~/.fleetctl-* /var/tmp/.fleetctl-* " +
				"/dev/shm/.fleetctl-* 2>/dev/null | while read -r f; do [ -O \"$f\" ] && echo \"$f\"; done"})
			if err != nil || len(left.Stdout) > 0 {
				t.Errorf("left behind: %s, %v", left.Stdout, err)
			}
		})
	}
}

func TestKeptPayloadsArePushedOnce(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	user, home := remotetest.NewUser(t, remotetest.UserConfig{})
	server := remotetest.StartSSHD(t)
	target := server.Target()
	target.User = user
	c := dialTest(t, remote.Options{}, target)
	p := big(10)
	p.Keep = true
	var first os.FileInfo
	var path string
	for i := range 3 {
		var err error
		if path, err = where(t, c, p); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(path, filepath.Join(home, ".cache", "fleetctl")) {
			t.Fatalf("kept as %s", path)
		}
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = st
		} else if !os.SameFile(first, st) {
			t.Errorf("pushed again in round %d", i)
		}
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho evil\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := where(t, c, p); err != nil || got != path {
		t.Errorf("a cached file that was changed: %q, %v", got, err)
	}
}

// leaver tells how a run is left.
type leaver func(t *testing.T, c *remote.Conn, p *remote.Process)

func TestNothingIsLeftHoweverAPayloadEnds(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t)
	for name, leave := range map[string]leaver{
		"the process is closed":    func(t *testing.T, _ *remote.Conn, p *remote.Process) { closeIt(t, p) },
		"the connection is closed": func(t *testing.T, c *remote.Conn, _ *remote.Process) { closeIt(t, c) },
	} {
		for _, become := range []bool{false, true} {
			for _, user := range []remotetest.UserConfig{
				{Sudoers: "USER ALL=(ALL) NOPASSWD: ALL"},
				{Sudoers: "Defaults:USER use_pty\nUSER ALL=(ALL) NOPASSWD: ALL"},
			} {
				t.Run(fmt.Sprintf("%s, become %v, %s", name, become, user.Sudoers[:4]), func(t *testing.T) {
					t.Parallel()
					checkLeavesNothing(t, loginAs(t, server, user), become, leave)
				})
			}
		}
	}
}

func closeIt(t *testing.T, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func checkLeavesNothing(t *testing.T, target remote.Target, become bool, leave leaver) {
	t.Helper()
	c := dialTest(t, remote.Options{}, target)
	// It ignores what a stubborn helper could ignore, and starts a child.
	p, err := c.StartPayload(t.Context(), payload("#!/bin/sh\ntrap '' TERM HUP PIPE\nsleep 1000 &\necho $0 $! $$\nwhile :; do sleep 1000; done\n", become))
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 300)
	n, err := p.Stdout.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	var path, child, self string
	if _, err := fmt.Sscan(string(buf[:n]), &path, &child, &self); err != nil {
		t.Fatal(err)
	}
	leave(t, c, p)
	waitGone(t, filepath.Dir(path))
	waitGone(t, "/proc/"+self)
	waitGone(t, "/proc/"+child)
	_ = c.Close()
	if !eventually(func() bool { return len(remotetest.Processes(target.User)) == 0 }) {
		t.Errorf("%s still runs %v", target.User, remotetest.Processes(target.User))
	}
}

func eventually(ok func() bool) bool {
	for start := time.Now(); time.Since(start) < time.Minute; time.Sleep(20 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}
