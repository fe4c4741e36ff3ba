package lab

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed base.sh
var baseScript string

// baseImage returns the zstd tar with the hosts' file system. It is made once, outside the repository: in
// $XDG_CACHE_HOME/fleetctl or ~/.cache/fleetctl, under a name that changes with its recipe.
func baseImage() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "fleetctl")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	suite, mirror, err := aptSource()
	if err != nil {
		return "", err
	}
	recipe := sha256.Sum256([]byte(baseScript + suite))
	name := fmt.Sprintf("base-%s-%s-%s.tar.zst", suite, runtime.GOARCH, hex.EncodeToString(recipe[:6]))
	image := filepath.Join(dir, name)
	unlock, err := lockFile(filepath.Join(dir, "lock"), 0)
	if err != nil {
		return "", err
	}
	defer unlock()
	if now := time.Now(); os.Chtimes(image, now, now) == nil { // it is there, and in use
		return image, nil
	}
	fmt.Fprintf(os.Stderr, "lab: making the hosts' file system with debootstrap (once, about a minute): %s\n", image)
	return image, buildBase(dir, image, suite, mirror)
}

// imageAge is how long an image that nobody uses is kept: other checkouts may have other recipes.
const imageAge = 14 * 24 * time.Hour

// buildBase makes the image. What a run that was killed has left is removed; old images are too.
func buildBase(dir, image, suite, mirror string) error {
	work := filepath.Join(dir, "work")
	root := filepath.Join(work, "base")
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, args := range [][]string{
		{"sh", "-c", baseScript, "base.sh", root, suite, mirror},
		{"tar", "--zstd", "--numeric-owner", "--xattrs", "-cf", image + ".new", "-C", root, "."},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		// debootstrap mounts in the new root; with mounts of its own nothing can stay mounted.
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Unshareflags: unix.CLONE_NEWNS}
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("making the hosts' file system: %s: %w", args[0], err)
		}
	}
	old, _ := filepath.Glob(filepath.Join(dir, "base-*.tar.zst"))
	for _, path := range old {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > imageAge {
			_ = os.Remove(path)
		}
	}
	return os.Rename(image+".new", image)
}

// aptSource returns this machine's release and where apt gets its packages from.
func aptSource() (suite, mirror string, err error) {
	out, err := exec.Command("sh", "-c", `. /etc/os-release && echo "$VERSION_CODENAME"`).Output()
	if err != nil {
		return "", "", fmt.Errorf("%w: which release is this? %w", errCannot, err)
	}
	suite = strings.TrimSpace(string(out))
	out, err = exec.Command("apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)",
		"Created-By: Packages").Output()
	if err != nil {
		return "", "", fmt.Errorf("%w: apt-get indextargets: %w", errCannot, err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == suite && f[1] == "main" {
			return suite, f[2], nil
		}
	}
	return "", "", fmt.Errorf("%w: apt has no source for %s main", errCannot, suite)
}

// lockFile takes a lock that other processes take too; it waits for it unless flags has LOCK_NB.
func lockFile(path string, flags int) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|flags); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

// buildPrograms puts tctl and tbot into dir: the real ones that TCTL and TBOT name, else the stand-ins.
func buildPrograms(dir string) error {
	for name, env := range map[string]string{"tctl": "TCTL", "tbot": "TBOT"} {
		dest := filepath.Join(dir, name)
		if path := os.Getenv(env); path != "" {
			if err := command("cp", "--dereference", path, dest); err != nil {
				return fmt.Errorf("%s: %w", env, err)
			}
			continue
		}
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dest, "fleetctl/test/cluster/cmd/"+name)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building the stand-in for %s: %w\n%s", name, err, out)
		}
	}
	return nil
}
