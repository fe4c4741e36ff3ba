//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// TestMain lets the test binary be fleetsim, its keeper and its hosts when it is started under their names.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "fleetsim", keeperName, hostsName:
		os.Exit(run(os.Args, os.Stderr))
	}
	os.Exit(m.Run())
}

// need skips the test when a program is not there, and fails it in CI.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed", p)
		}
		t.Skipf("%s is not installed", p)
	}
}

// command is fleetsim, not yet started.
func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "fleetsim"
	cmd.Env = append(os.Environ(), "GOCOVERDIR="+t.TempDir(), "GORACE=atexit_sleep_ms=0")
	return cmd
}

// sim is a fleet that runs for a test.
type sim struct {
	dir string
	pid int // of fleetsim
	inv inventoryYAML
}

// inventoryYAML is what the tests need of inventory.yaml.
type inventoryYAML struct {
	All struct {
		Vars struct {
			Port   int    `yaml:"ansible_port"`
			Device string `yaml:"tpm_device"`
		}
		Children map[string]struct {
			Hosts map[string]struct {
				Host   string `yaml:"ansible_host"`
				Port   int    `yaml:"ansible_port"`
				Device string `yaml:"tpm_device"`
			}
		}
	}
}

// boot starts a fleet in a directory of its own and waits until it is ready. It is stopped at the end of the test.
func boot(t testing.TB, args ...string) *sim {
	t.Helper()
	dir, err := os.MkdirTemp("", "sim") // t.TempDir's are too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cmd := command(t, append([]string{"-dir", dir}, args...)...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}))
	awaitLine(t, stderr, "fleetsim: inventory: ")
	s := &sim{dir: dir, pid: cmd.Process.Pid}
	text, err := os.ReadFile(filepath.Join(dir, "inventory.yaml"))
	if err == nil {
		err = yaml.Unmarshal(text, &s.inv)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// awaitLine reads until a line that starts so, and then goes on reading in the background.
func awaitLine(t testing.TB, r io.Reader, prefix string) {
	t.Helper()
	lines := bufio.NewScanner(r)
	var seen bytes.Buffer
	for lines.Scan() {
		fmt.Fprintln(&seen, lines.Text())
		if strings.HasPrefix(lines.Text(), prefix) {
			go func() { _, _ = io.Copy(io.Discard, r) }()
			return
		}
	}
	t.Fatalf("fleetsim ended early:\n%s", &seen)
}

// names returns the hosts' names.
func (s *sim) names() []string {
	var names []string
	for _, g := range s.inv.All.Children {
		for name := range g.Hosts {
			names = append(names, name)
		}
	}
	return names
}

// ssh is an OpenSSH client that runs a command on a host.
func (s *sim) ssh(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	for _, g := range s.inv.All.Children {
		h, ok := g.Hosts[name]
		if !ok {
			continue
		}
		port := s.inv.All.Vars.Port
		if h.Port != 0 {
			port = h.Port
		}
		return exec.Command("ssh", append([]string{
			"-F", "/dev/null", "-q", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes",
			"-o", "UserKnownHostsFile=" + filepath.Join(s.dir, "known_hosts"), "-i", filepath.Join(s.dir, "id_ed25519"),
			"-p", fmt.Sprint(port), "root@" + h.Host}, args...)...)
	}
	t.Fatalf("no host %s", name)
	return nil
}

// run runs a script on a host, which must succeed, and returns its output without the last newline.
func (s *sim) run(t testing.TB, name, script string) string {
	t.Helper()
	cmd := s.ssh(t, name, "exec sh -s")
	cmd.Stdin = strings.NewReader(script)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%s%s", name, err, script, out, &stderr)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// processes counts the fleet's processes, and others that have the marker in their arguments.
func (s *sim) processes(t testing.TB, marker string) (found []string) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		env, _ := os.ReadFile(filepath.Join(dir, "environ"))
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		state, _ := os.ReadFile(filepath.Join(dir, "stat"))
		if bytes.Contains(state, []byte(") Z ")) {
			continue
		}
		if bytes.Contains(env, []byte("FLEETSIM_DIR="+s.dir+"\x00")) || bytes.Contains(args, []byte(marker)) {
			found = append(found, filepath.Base(dir)+" "+string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
		}
	}
	return found
}

// awaitGone waits until none of the fleet's processes is left; the test's deadline is the limit.
func (s *sim) awaitGone(t testing.TB, marker string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		left := s.processes(t, marker)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still there: %q", left)
		}
		time.Sleep(5 * time.Millisecond) // nothing to wait on: they are no children of ours
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}
