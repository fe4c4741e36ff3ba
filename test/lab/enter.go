package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Packages of Debian that the lab needs.
var Packages = []string{
	"debootstrap", "iproute2", "openssh-client", "swtpm", "swtpm-tools", "systemd-container", "util-linux", "zstd",
}

// How a process of the lab knows its part, and what it is told.
const (
	envRole   = "FLEETCTL_LAB"        // inside, watch or skip; unset: the outermost process
	envReason = "FLEETCTL_LAB_REASON" // with skip: why there is no lab
	envBase   = "FLEETCTL_LAB_BASE"   // the base image, a zstd tar
	envBin    = "FLEETCTL_LAB_BIN"    // directory with tctl and tbot
	envCgroup = "FLEETCTL_LAB_CGROUP" // directory of the lab in the v2 hierarchy
)

// Main runs a package's tests inside the lab's namespaces. Where the lab cannot run, Up skips the tests with the
// reason, unless CI is set: then they fail.
func Main(m *testing.M) {
	switch os.Getenv(envRole) {
	case "inside":
		if err := settle(); err != nil {
			fatal(err)
		}
		os.Exit(m.Run())
	case "watch":
		watch()
	}
	code, err := enter()
	if errors.Is(err, errCannot) && os.Getenv("CI") == "" {
		os.Setenv(envRole, "skip")
		os.Setenv(envReason, err.Error())
		os.Exit(m.Run())
	}
	if err != nil {
		fatal(err)
	}
	os.Exit(code)
}

// Run runs fn inside the lab's namespaces and exits with what it returns. Like Main, it starts the program again.
func Run(fn func() int) {
	switch os.Getenv(envRole) {
	case "inside":
		if err := settle(); err != nil {
			fatal(err)
		}
		os.Exit(fn())
	case "watch":
		watch()
	}
	code, err := enter()
	if err != nil {
		fatal(err)
	}
	os.Exit(code)
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "lab:", err)
	os.Exit(1)
}

// errCannot means that this machine cannot run the lab.
var errCannot = errors.New("the lab cannot run here")

func prerequisites() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: it needs root", errCannot)
	}
	for _, name := range []string{
		"debootstrap", "ip", "ssh-keygen", "swtpm", "swtpm_setup", "systemd-nspawn", "nsenter", "tar", "zstd",
	} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%w: %w (apt-get install --no-install-recommends %s)", errCannot, err, strings.Join(Packages, " "))
		}
	}
	return nil
}

// enter prepares what needs the network and the machine, then starts this program again in namespaces of its own and
// waits for it. When this process dies, the kernel kills the other, and with that PID 1 everything in the namespaces.
func enter() (int, error) {
	if err := prerequisites(); err != nil {
		return 0, err
	}
	image, err := baseImage()
	if err != nil {
		return 0, err
	}
	scratch, cgroup, unlock, err := newPlaces()
	if err != nil {
		return 0, err
	}
	defer unlock()
	cleanUp, err := startWatch(scratch, cgroup)
	if err != nil {
		return 0, err
	}
	defer cleanUp()
	if err := buildPrograms(scratch); err != nil {
		return 0, err
	}
	if err := os.Setenv("FLEETCTL", Fleetctl()); err != nil {
		return 0, err
	}
	return inNamespaces(envRole+"=inside", envBase+"="+image, envBin+"="+scratch, envCgroup+"="+cgroup)
}

// inNamespaces starts this program again and returns its exit code.
func inNamespaces(env ...string) (int, error) {
	runtime.LockOSThread() // the child gets its SIGKILL when the thread that started it ends
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("%w: namespaces: %w", errCannot, err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		for sig := range signals {
			if sig != os.Interrupt { // a terminal sends that to the child too
				_ = cmd.Process.Kill()
			}
		}
	}()
	err := cmd.Wait()
	signal.Stop(signals)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if exit.ExitCode() < 0 {
			return 1, nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// settle makes the namespaces ready: mounts of their own, /proc of the PID namespace, an empty /run, the loopback.
func settle() error {
	steps := []func() error{
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
		func() error {
			return unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		},
		func() error { return unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID, "mode=0755") },
		func() error { return os.MkdirAll(labDir, 0o755) },
		func() error { return unix.Mount("tmpfs", labDir, "tmpfs", 0, "mode=0755") },
		func() error { return os.MkdirAll(filepath.Join(labDir, "tmp"), 0o1777) },
		func() error { return os.Setenv("TMPDIR", filepath.Join(labDir, "tmp")) },
		func() error { return command("ip", "link", "set", "lo", "up") },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("namespaces: %w", err)
		}
	}
	raiseLimit("/proc/sys/fs/inotify/max_user_instances", 1024)
	return nil
}

// raiseLimit raises a limit of the kernel, which every systemd uses some of; the old value would do for about 20 hosts.
func raiseLimit(path string, least int) {
	data, err := os.ReadFile(path)
	var now int
	if _, scanErr := fmt.Sscan(string(data), &now); err == nil && scanErr == nil && now < least {
		_ = os.WriteFile(path, fmt.Appendln(nil, least), 0o644)
	}
}

// startWatch starts a process that waits for the end of this one, whatever ends it, and then removes what namespaces do
// not: the lab's cgroups and the scratch directory. The function that it returns has that done and waits for it.
func startWatch(scratch, cgroup string) (cleanUp func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"lab-watch", scratch, cgroup}
	cmd.Env = append(os.Environ(), envRole+"=watch")
	cmd.Stdin, cmd.Stderr = r, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() {
		_ = w.Close()
		_ = cmd.Wait()
	}, nil
}

// watch is what the process of startWatch does.
func watch() {
	_, _ = os.Stdin.Read(make([]byte, 1)) // returns at the end of the process that holds the other end
	scratch, cgroup := os.Args[1], os.Args[2]
	removeCgroup(cgroup)
	_ = os.RemoveAll(scratch)
	os.Exit(0)
}

// prefix of the lab's scratch directory and, with the same random rest, of its cgroup.
const prefix = "fleetctl-lab-"

// newPlaces makes what a lab has outside its namespaces: a scratch directory, which stays locked as long as the lab
// lives, and a directory in the v2 hierarchy. Those of labs whose watcher was killed too are removed.
func newPlaces() (scratch, cgroup string, unlock func(), err error) {
	root, err := cgroupRoot()
	if err != nil {
		return "", "", nil, err
	}
	sweep(root)
	if scratch, err = os.MkdirTemp("", prefix); err != nil {
		return "", "", nil, err
	}
	if unlock, err = lockFile(lockIn(scratch), 0); err != nil {
		return "", "", nil, err
	}
	cgroup = filepath.Join(root, filepath.Base(scratch))
	if err := os.Mkdir(cgroup, 0o755); err != nil {
		unlock()
		_ = os.RemoveAll(scratch)
		return "", "", nil, fmt.Errorf("%w: %w", errCannot, err)
	}
	return scratch, cgroup, unlock, nil
}

func lockIn(scratch string) string { return filepath.Join(scratch, ".lock") }

// sweep removes the places of labs that are no more: nobody holds their locks.
func sweep(root string) {
	all, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, scratch := range all {
		if _, err := os.Stat(lockIn(scratch)); err != nil {
			continue
		}
		if unlock, err := lockFile(lockIn(scratch), unix.LOCK_NB); err == nil {
			removeCgroup(filepath.Join(root, filepath.Base(scratch)))
			_ = os.RemoveAll(scratch)
			unlock()
		}
	}
}

// cgroupRoot finds where the v2 hierarchy is mounted.
func cgroupRoot() (string, error) {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return f[1], nil
		}
	}
	return "", fmt.Errorf("%w: no cgroup2 file system is mounted", errCannot)
}

// removeCgroup kills what is in a cgroup and removes it with all below it.
func removeCgroup(dir string) {
	_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0o644)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		var dirs []string
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			_ = os.Remove(dirs[i])
		}
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(10 * time.Millisecond) // until the kernel has buried the dead
	}
}

// command runs a program; its output is part of the error.
func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
