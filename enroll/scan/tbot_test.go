package scan

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRootDoesNotAskATbotOfSomebodys: what lies in PATH may be somebody's on the host.
func TestRootDoesNotAskATbotOfSomebodys(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("/var/lib", "fleetctl-test-") // nobody but root can change what is above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	tbot := filepath.Join(dir, "tbot")
	if err := os.WriteFile(tbot, []byte("#!/bin/sh\necho asked\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ask := func() (string, int) {
		cmd := exec.Command("sh", "-c", tbotScript)
		cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin"}
		out, _ := cmd.CombinedOutput() // the exit code says it
		return string(out), cmd.ProcessState.ExitCode()
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, code := ask(); code != 0 || out != "asked\n" {
		t.Errorf("root's: %d %q", code, out)
	}
	for what, owner := range map[string]int{tbot: 1, dir: 1} {
		if err := os.Chown(what, owner, 0); err != nil {
			t.Fatal(err)
		}
		if out, code := ask(); code != exitOthersTbot || !strings.Contains(out, dir) || strings.Contains(out, "asked") {
			t.Errorf("%s of somebody's: %d %q", what, code, out)
		}
		if err := os.Chown(what, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
}
