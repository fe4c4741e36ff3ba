// Package program runs the fleetctl that make build made, for tests that look at it from outside.
package program

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Fleetctl is the absolute path of the program under test: what the environment's FLEETCTL names, else bin/fleetctl of the
// repository that the working directory is in. Where it is missing the test is skipped, and fails in CI.
func Fleetctl(tb testing.TB) string {
	tb.Helper()
	path, err := fleetctl()
	if err == nil {
		_, err = os.Stat(path)
	}
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		tb.Fatalf("run make build: %v", err)
	default:
		tb.Skipf("run make build: %v", err)
	}
	return path
}

func fleetctl() (string, error) {
	if path := os.Getenv("FLEETCTL"); path != "" {
		return filepath.Abs(path)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if raw, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && bytes.HasPrefix(raw, []byte("module fleetctl\n")) {
			return filepath.Join(dir, "bin", "fleetctl"), nil
		}
	}
	return "", errors.New("the working directory is in no repository of fleetctl")
}

// Run runs a command, and says how much memory it held at most, in bytes: VmHWM of proc_pid_status(5), which is read until
// the process ends. (The ru_maxrss of wait4(2) counts what the process was before it executed the program: this one.)
func Run(cmd *exec.Cmd) (peak int64, err error) {
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended, read := make(chan struct{}), make(chan int64)
	go func() { read <- watch(cmd.Process.Pid, ended) }()
	err = cmd.Wait()
	close(ended)
	return <-read, err
}

// watch reads the peak of a process, which never falls, until it has ended.
func watch(pid int, ended <-chan struct{}) (peak int64) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		peak = max(peak, highWater(pid))
		select {
		case <-ended:
			return peak
		case <-tick.C:
		}
	}
}

// highWater is a process's VmHWM in bytes; 0 when it has ended.
func highWater(pid int) int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(raw)); lines.Scan(); {
		var kib int64
		if n, _ := fmt.Sscanf(lines.Text(), "VmHWM: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}
