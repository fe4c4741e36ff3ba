//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Everything here runs in the fleet's own user, mount and process namespaces, with DIR/hosts as the working directory. All
// paths there are relative: its parents may be closed to the fleet's user.

// base is the file system that all hosts share; what a host has of its own is mounted over it.
const base = ".base"

// ownDirs are the directories that each host has of its own.
var ownDirs = []string{"etc", "home", "opt", "root", "run", "srv", "tmp", "var", "usr/local"}

// machineFiles are files of this machine that programs of /usr need to find in /etc.
var machineFiles = []string{
	"alternatives", "ssl", "pki", "crypto-policies", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "login.defs",
}

// buildBase mounts what hosts share.
func buildBase() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("fleetsim", base, "tmpfs", unix.MS_NODEV, "size=4m,mode=755"); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	for _, dir := range ownDirs {
		if dir == "usr/local" {
			continue
		}
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			return err
		}
	}
	for _, build := range []func() error{buildUsr, buildDev, buildMachineFiles, buildShims} {
		if err := build(); err != nil {
			return err
		}
	}
	if err := os.Mkdir(base+"/sys", 0o755); err != nil {
		return err
	}
	return bind("/proc", base+"/proc")
}

// readOnly makes a mount and those below it read-only. Kernels before 5.12 can't; there the ids that the hosts run with
// keep them from writing, except for a container's own root.
func readOnly(path string) error {
	err := unix.MountSetattr(unix.AT_FDCWD, path, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if err != nil && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("make %s read-only: %w", path, err)
	}
	return nil
}

// buildUsr takes the programs over from this machine: /usr, and /bin, /lib… as the links or directories that they are.
func buildUsr() error {
	if err := bind("/usr", base+"/usr"); err != nil {
		return err
	}
	if err := readOnly(base + "/usr"); err != nil {
		return err
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "gnu"} {
		if err := takeOver("/"+name, filepath.Join(base, name)); err != nil {
			return err
		}
	}
	return nil
}

// takeOver copies a link, or binds a file or a directory; what is not there is left out.
func takeOver(from, to string) error {
	link, err := os.Readlink(from)
	if err == nil {
		return os.Symlink(link, to)
	}
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := bind(from, to); err != nil {
		return err
	}
	return readOnly(to)
}

func buildDev() error {
	if err := os.MkdirAll(base+"/dev/shm", 0o1777); err != nil {
		return err
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := bind("/dev/"+name, base+"/dev/"+name); err != nil {
			return err
		}
	}
	for link, to := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(to, base+"/dev/"+link); err != nil {
			return err
		}
	}
	return nil
}

// buildMachineFiles puts machineFiles where the hosts' /etc has links to.
func buildMachineFiles() error {
	if err := os.MkdirAll(base+"/.machine", 0o755); err != nil {
		return err
	}
	for _, name := range machineFiles {
		if _, err := os.Stat("/etc/" + name); err != nil {
			continue
		}
		if err := bind("/etc/"+name, base+"/.machine/"+name); err != nil {
			return err
		}
		if err := readOnly(base + "/.machine/" + name); err != nil {
			return err
		}
	}
	return nil
}

// buildShims puts the stand-ins in place of the programs that this machine has; hosts find the others in
// /usr/local/bin.
func buildShims() error {
	if err := writeShims(hostShims, base+"/.shims"); err != nil {
		return err
	}
	for _, name := range shimNames(hostShims) {
		for _, dir := range []string{"usr/bin", "usr/sbin", "bin", "sbin"} {
			program := filepath.Join(base, dir, name)
			if info, err := os.Lstat(program); err != nil || info.IsDir() {
				continue
			}
			if err := bindOver(base+"/.shims/"+name, program); err != nil {
				return err
			}
		}
	}
	return nil
}

// bindOver binds a file over another, whose links are followed inside base.
func bindOver(from, to string) error {
	if link, err := os.Readlink(to); err == nil {
		if filepath.IsAbs(link) {
			return bindOver(from, filepath.Join(base, link))
		}
		return bindOver(from, filepath.Join(filepath.Dir(to), link))
	}
	return bind(from, to)
}

// bind binds a file or directory, making what it is bound on.
func bind(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
		if info.IsDir() {
			err = os.MkdirAll(to, 0o755)
		} else {
			err = os.WriteFile(to, nil, 0o644)
		}
		if err != nil {
			return err
		}
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", from, to, err)
	}
	return nil
}

// startInHost starts a command in mount and UTS namespaces made for it, in which it sees the host's file system. They
// take 0.4 ms and end with the last process in them, so there is nothing to keep a host.
func startInHost(name string, cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		// The thread is not unlocked: it ends with this goroutine, since no other may run in its namespaces.
		runtime.LockOSThread()
		err := enterHost(name)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	return <-started
}

// enterHost moves the calling thread into new namespaces.
func enterHost(name string) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	for _, dir := range ownDirs {
		if err := bind(filepath.Join(name, dir), filepath.Join(base, dir)); err != nil {
			return err
		}
	}
	if err := unix.Chdir(base); err != nil {
		return fmt.Errorf("chdir: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the machine's root: %w", err)
	}
	return nil
}
