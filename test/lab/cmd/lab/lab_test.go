package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// build builds the command once for the tests below.
func build(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "the lab needs root")
	}
	if _, err := exec.LookPath("systemd-nspawn"); err != nil {
		skip(t, err.Error())
	}
	path := filepath.Join(t.TempDir(), "lab")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func skip(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// running is a lab that runs until something ends it.
type running struct {
	cmd     *exec.Cmd
	tmp     string // its TMPDIR
	inner   int    // PID 1 of its namespaces, as seen from outside
	watcher int
	pidns   string // its PID namespace
}

// start boots a lab of one host and waits until it is up.
func start(t *testing.T, lab, tmp string) *running {
	t.Helper()
	cmd := exec.Command(lab, "-hosts", "web-01", "--", "sh", "-c", "echo up; exec sleep infinity")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "up\n" {
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait()
		t.Fatalf("%v: the lab did not start:\n%s", err, stderr.String())
	}
	r := &running{cmd: cmd, tmp: tmp}
	for _, child := range children(cmd.Process.Pid) {
		ns, _ := os.Readlink("/proc/" + strconv.Itoa(child) + "/ns/pid")
		if own, _ := os.Readlink("/proc/self/ns/pid"); ns == own {
			r.watcher = child
		} else {
			r.inner, r.pidns = child, ns
		}
	}
	if r.inner == 0 || r.watcher == 0 {
		t.Fatalf("children: %d %d", r.inner, r.watcher)
	}
	return r
}

// children lists the children of all threads of a process.
func children(pid int) []int {
	var list []int
	tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	for _, path := range tasks {
		data, _ := os.ReadFile(path)
		for field := range strings.FieldsSeq(string(data)) {
			if child, err := strconv.Atoi(field); err == nil {
				list = append(list, child)
			}
		}
	}
	return list
}

// left lists what is left of a lab: processes, cgroups, scratch files, mounts.
func (r *running) left() []string {
	var left []string
	all, _ := filepath.Glob("/proc/[0-9]*/ns/pid")
	for _, path := range all {
		if ns, _ := os.Readlink(path); ns == r.pidns {
			left = append(left, "process "+path)
		}
	}
	if _, err := os.Stat("/proc/" + strconv.Itoa(r.watcher)); err == nil {
		left = append(left, "watcher")
	}
	files, _ := filepath.Glob(filepath.Join(r.tmp, "fleetctl-lab-*"))
	left = append(left, files...)
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "/run/lab") || strings.Contains(line, "/run/netns") {
			left = append(left, "mount "+line)
		}
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			for _, file := range files {
				if _, err := os.Stat(filepath.Join(f[1], filepath.Base(file))); err == nil {
					left = append(left, "cgroup of "+file)
				}
			}
		}
	}
	return left
}

// cgroups lists the cgroups of all labs.
func cgroups() []string {
	for _, pattern := range []string{"/sys/fs/cgroup/fleetctl-lab-*", "/sys/fs/cgroup/unified/fleetctl-lab-*"} {
		if list, _ := filepath.Glob(pattern); len(list) > 0 {
			return list
		}
	}
	return nil
}

func TestNothingIsLeftBehind(t *testing.T) {
	lab := build(t)
	for _, c := range []struct {
		name string
		end  func(*running)
	}{
		{"the outer process gets SIGKILL", func(r *running) { _ = r.cmd.Process.Kill() }},
		{"the outer process gets SIGTERM", func(r *running) { _ = r.cmd.Process.Signal(syscall.SIGTERM) }},
		{"the inner process gets SIGKILL", func(r *running) { _ = syscall.Kill(r.inner, syscall.SIGKILL) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, lab, t.TempDir())
			mine := cgroupOf(t, r)
			c.end(r)
			_ = r.cmd.Wait()
			r.waitGone(t, mine)
		})
	}
}

// cgroupOf returns the cgroup directory of a lab that runs.
func cgroupOf(t *testing.T, r *running) string {
	t.Helper()
	scratch, _ := filepath.Glob(filepath.Join(r.tmp, "fleetctl-lab-*"))
	for _, dir := range cgroups() {
		if len(scratch) == 1 && filepath.Base(dir) == filepath.Base(scratch[0]) {
			return dir
		}
	}
	t.Fatalf("no cgroup of %v among %v", scratch, cgroups())
	return ""
}

// waitGone waits until nothing of a lab is left; what stays for 30 s is reported.
func (r *running) waitGone(t *testing.T, cgroup string) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		left = r.left()
		if _, err := os.Stat(cgroup); !errors.Is(err, os.ErrNotExist) {
			left = append(left, cgroup)
		}
		if len(left) == 0 {
			return
		}
	}
	t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
}

func TestTheNextLabCleansUpAfterOneWhoseWatcherWasKilledToo(t *testing.T) {
	lab, tmp := build(t), t.TempDir()
	first := start(t, lab, tmp)
	mine := cgroupOf(t, first)
	_ = syscall.Kill(first.watcher, syscall.SIGKILL)
	_ = first.cmd.Process.Kill()
	_ = first.cmd.Wait()
	if !slices.Contains(cgroups(), mine) {
		t.Error("the cgroup has gone by itself: this test shows nothing")
	}
	second := start(t, lab, tmp)
	_ = second.cmd.Process.Signal(syscall.SIGTERM)
	_ = second.cmd.Wait()
	second.waitGone(t, mine)
	if left := first.left(); len(left) > 0 {
		t.Errorf("left behind of the first: %v", left)
	}
}

func TestTheCommandsExitCodeIsTheLabs(t *testing.T) {
	lab := build(t)
	cmd := exec.Command(lab, "-hosts", "web-01", "--", "sh", "-c", "test -s inventory.yaml && tctl version && exit 7")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 7 || !strings.Contains(string(out), "Teleport v") {
		t.Errorf("%v\n%s", err, out)
	}
}
