package delivery

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheRPMIsInstalledRunAndRemoved installs the rpm into an empty root, runs what is in it there, and removes it without a trace.
func TestTheRPMIsInstalledRunAndRemoved(t *testing.T) {
	t.Parallel()
	file := built(t, "../../bin/dist/*_linux_amd64.rpm")
	if _, err := exec.LookPath("rpm"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("run make deps: %v", err)
		}
		t.Skipf("run make deps: %v", err)
	}
	root := t.TempDir()
	// Nothing else is in that root: neither ssh, which is only recommended, nor the directories of a distribution.
	for _, dir := range distribution {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	rpm := func(args ...string) string {
		t.Helper()
		args = append([]string{"--root", root, "--dbpath", "/var/lib/rpm"}, args...)
		out, err := exec.CommandContext(t.Context(), "rpm", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("rpm %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	before := under(t, root)

	rpm("--install", file)
	rpm("--verify", "fleetctl")
	out, err := exec.CommandContext(t.Context(), filepath.Join(root, "usr/bin/fleetctl"), "--version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "-snapshot") {
		t.Errorf("fleetctl --version says %q, %v", out, err)
	}
	for _, name := range []string{
		"usr/share/man/man1/fleetctl.1.gz", "usr/share/bash-completion/completions/fleetctl",
		"usr/share/zsh/site-functions/_fleetctl", "usr/share/fish/vendor_completions.d/fleetctl.fish",
		"usr/share/doc/fleetctl/copyright", "usr/share/doc/fleetctl/docs/getting-started.md",
	} {
		if len(read(t, filepath.Join(root, name))) == 0 {
			t.Errorf("%s is empty", name)
		}
	}

	rpm("--erase", "fleetctl")
	if after := under(t, root); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// distribution are the directories that every distribution with rpm has.
var distribution = []string{
	"usr/bin", "usr/share/doc", "usr/share/man/man1", "usr/share/bash-completion/completions",
	"usr/share/zsh/site-functions", "usr/share/fish/vendor_completions.d", "var/lib/rpm",
}

// under are the names of all that is below a directory, a line each, but for the records of rpm.
func under(t *testing.T, root string) string {
	t.Helper()
	var names strings.Builder
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && name == "var/lib/rpm" {
			return fs.SkipDir
		}
		names.WriteString(name + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names.String()
}
