package vm

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

//go:embed image.sh
var imageScript string

// image is what every machine starts from.
type image struct{ kernel, initrd, root string }

// imageAge is how long an image that nobody uses is kept: other checkouts may have other recipes.
const imageAge = 14 * 24 * time.Hour

// findImage returns the image. It is made once, outside the repository: in $XDG_CACHE_HOME/fleetctl or ~/.cache/fleetctl,
// under a name that changes with its recipe.
func findImage() (image, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return image{}, err
	}
	suite, err := exec.Command("sh", "-c", `. /etc/os-release && printf %s "$VERSION_CODENAME"`).Output()
	if err != nil {
		return image{}, fmt.Errorf("which release is this? %w", err)
	}
	parent := filepath.Join(cache, "fleetctl")
	recipe := sha256.Sum256([]byte(imageScript))
	dir := filepath.Join(parent, fmt.Sprintf("vm-%s-%s", suite, hex.EncodeToString(recipe[:6])))
	found := image{
		kernel: filepath.Join(dir, "vmlinuz"), initrd: filepath.Join(dir, "initrd.gz"), root: filepath.Join(dir, "root.tar.zst"),
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return found, err
	}
	unlock, err := lock(filepath.Join(parent, "vm.lock"))
	if err != nil {
		return found, err
	}
	defer unlock()
	if now := time.Now(); os.Chtimes(dir, now, now) == nil { // it is there, and in use
		return found, nil
	}
	return found, makeImage(dir, string(suite))
}

// makeImage makes the image. What a run that was killed has left is removed; old images are too.
func makeImage(dir, suite string) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("the image is made of amd64 packages, on a machine of that architecture; this one is %s", runtime.GOARCH)
	}
	begin := time.Now()
	fmt.Fprintf(os.Stderr, "vm: making the image (once, about a minute): %s\n", dir)
	work := filepath.Join(filepath.Dir(dir), "vm-work")
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	cmd := exec.Command("sh", "-c", imageScript, "image.sh", work, suite)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	// debootstrap mounts in the new root; with mounts of its own nothing can stay mounted.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("image.sh: %w", err)
	}
	old, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), "vm-*-*"))
	for _, path := range old {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > imageAge {
			_ = os.RemoveAll(path)
		}
	}
	fmt.Fprintf(os.Stderr, "vm: the image took %.0f s: %s\n", time.Since(begin).Seconds(), sizes(work))
	return os.Rename(work, dir)
}

// sizes lists a directory's files with their sizes.
func sizes(dir string) string {
	entries, _ := os.ReadDir(dir)
	var list []string
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			list = append(list, fmt.Sprintf("%s %.1f MB", e.Name(), float64(info.Size())/1e6))
		}
	}
	return strings.Join(list, ", ")
}

// lock takes a lock that other processes take too.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}
