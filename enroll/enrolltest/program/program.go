// Package program runs the fleetctl that make build made, for tests that look at it from outside.
package program

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	if err != nil {
		Skip(tb, "run make build: %v", err)
	}
	return path
}

// Skip skips a test that this machine can't run, or fails it under CI, where everything has to be there.
func Skip(tb testing.TB, format string, args ...any) {
	tb.Helper()
	if os.Getenv("CI") != "" {
		tb.Fatalf(format, args...)
	}
	tb.Skipf(format, args...)
}

// Fleet starts a fleet of the fleetsim at path, until the test ends: that tells through its command when the fleet is ready, and
// ends with that command's stdin. A machine that has no file systems for hosts skips the test.
func Fleet(tb testing.TB, path string, args ...string) {
	tb.Helper()
	cmd := exec.Command(path, append(args, "--", "sh", "-c", "echo ready; cat")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, len("ready"))); err == nil {
		return
	}
	_ = cmd.Wait()
	if os.Getuid() != 0 || strings.Contains(stderr.String(), "no file systems of their own") {
		Skip(tb, "fleetsim: %s", &stderr)
	}
	tb.Fatalf("fleetsim: %s", &stderr)
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

// Identities are the accepted EKs, by host, of what "fleetctl records export -o json" wrote.
func Identities(tb testing.TB, exported []byte) map[string]string {
	tb.Helper()
	var doc struct {
		Records []struct {
			Host     string
			Accepted *struct {
				Hash string `json:"ek_public_hash"`
			}
		}
	}
	if err := json.Unmarshal(exported, &doc); err != nil {
		tb.Fatal(err)
	}
	all := map[string]string{}
	for _, r := range doc.Records {
		if r.Accepted != nil {
			all[r.Host] = r.Accepted.Hash
		}
	}
	return all
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
