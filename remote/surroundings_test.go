package remote_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// shellHost is a host whose login shell has that environment and runs start first, as a start file's line.
func shellHost(t *testing.T, start string, env ...string) *remote.Conn {
	t.Helper()
	dir := t.TempDir()
	login := filepath.Join(dir, "login")
	writeFile(t, login, "#!/bin/sh\nshift\n"+start+"\neval \"$1\"\n")
	if err := os.Chmod(login, 0o700); err != nil {
		t.Fatal(err)
	}
	hosts := startFleet(t, 1, func(h *remotetest.Host) {
		h.Handler = remotetest.Shell(remotetest.ShellConfig{Dir: dir, Shell: login, Env: env})
	})
	return dialTest(t, remote.Options{}, hosts.target(0))
}

func TestScriptsCarryTheirOwnPATH(t *testing.T) {
	t.Parallel()
	for _, env := range []string{"PATH=/opt/empty", "PATH=", "NOPATH=1"} {
		t.Run(env, func(t *testing.T) {
			t.Parallel()
			c := shellHost(t, ":", env, "HOME=/")
			out, err := c.Run(t.Context(), remote.Cmd{Script: "id -u >/dev/null && uname -s; case :$PATH: in *::*) echo the directory itself;; esac"})
			if err != nil || string(out.Stdout) != "Linux\n" || out.ExitCode != 0 {
				t.Errorf("a script: %q, %q, %d, %v", out.Stdout, out.Stderr, out.ExitCode, err)
			}
			at, err := where(t, c, big(8))
			if err != nil {
				t.Errorf("a payload: %v", err)
			}
			if _, err := os.Stat(filepath.Dir(at)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is still there: %v", at, err)
			}
			f := remote.File{Path: filepath.Join(t.TempDir(), "file"), Content: []byte("x"), Mode: 0o600}
			if err := c.WriteFile(t.Context(), f, false); err != nil {
				t.Errorf("a file: %v", err)
			}
		})
	}
}

func TestASoftLimitOfFileSizesIsLifted(t *testing.T) {
	t.Parallel()
	if _, err := where(t, shellHost(t, "ulimit -S -f 1"), big(100)); err != nil {
		t.Error(err)
	}
}

func TestAHardLimitOfAUsersFileSizesIsNamed(t *testing.T) {
	t.Parallel()
	remotetest.NeedRoot(t)
	server := remotetest.StartSSHD(t)
	for limit, named := range map[string]bool{"0": true, "20": true, "100000": false} {
		target := server.Target()
		name, home := remotetest.NewUser(t, remotetest.UserConfig{Shell: "/bin/bash"})
		target.User = name
		writeFile(t, filepath.Join(home, ".bashrc"), "ulimit -f "+limit+"\n")
		_, err := where(t, dialTest(t, remote.Options{}, target), big(100))
		if got := errors.Is(err, remote.ErrNoExecDir) && strings.Contains(err.Error(), "ulimit -f"); got != named || !named && err != nil {
			t.Errorf("ulimit -f %s: %v", limit, err)
		}
	}
}

func TestStartFilesThatNeverReturn(t *testing.T) {
	t.Parallel()
	for start, said := range map[string]string{
		"exec true": "status 0", "exec false": "status 1", "exit 7": "status 7", "echo go away >&2; exec false": "go away",
	} {
		t.Run(start, func(t *testing.T) {
			t.Parallel()
			for _, become := range []bool{false, true} {
				_, err := shellHost(t, start).Run(t.Context(), remote.Cmd{Script: "echo", Become: become})
				if !errors.Is(err, remote.ErrLoginShell) || !strings.Contains(err.Error(), said) {
					t.Errorf("become %t: %v, want %q", become, err, said)
				}
			}
		})
	}
}
