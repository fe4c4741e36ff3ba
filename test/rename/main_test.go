package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheRenamedRepositoryIsWhole renames a copy and has everything in it compiled, its tests too, and the house held.
func TestTheRenamedRepositoryIsWhole(t *testing.T) {
	dir := copyRepository(t, "../..")
	if err := rename(dir, "example.com/somebody/fleetctl"); err != nil {
		t.Fatal(err)
	}
	said, err := run(dir, "git", "grep", "-nE", `"fleetctl/|pkg: fleetctl|^module fleetctl|^replace fleetctl`)
	for line := range strings.Lines(said) {
		if !strings.HasPrefix(line, "test/rename/") && !strings.Contains(line, `/v1`) && !strings.Contains(line, `"schema"`) {
			t.Errorf("it is not renamed: %s", line)
		}
	}
	if err != nil && said != "" {
		t.Fatal(err)
	}
	goCommand(t, dir, "vet", "./...")
	goCommand(t, filepath.Join(dir, "test"), "vet", "-tags", "vm", "./...")
	goCommand(t, dir, "test", "-run", "HouseAllows", "./cmd/fleetctl")
}

func TestPathsThatNoModuleCanHave(t *testing.T) {
	dir := copyRepository(t, "../..")
	for _, path := range []string{"", "with blank", "/absolute", "example.com/x/v2"} {
		if err := rename(dir, path); err == nil {
			t.Errorf("%q was taken", path)
		}
	}
	if said, err := run(dir, "git", "status", "--porcelain"); err != nil || said != "" {
		t.Errorf("something changed: %s %v", said, err)
	}
}

func TestOnlyOurPathsAreRenamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "enroll", "scan"), 0o755); err != nil {
		t.Fatal(err)
	}
	x := tree{dir, "fleetctl", "example.com/f"}
	for value, want := range map[string]string{
		"fleetctl/enroll/scan": "example.com/f/enroll/scan",
		"fleetctl/enroll/":     "example.com/f/enroll/",
		"fleetctl/...":         "example.com/f/...",
		"fleetctl/":            "example.com/f/",
		"module fleetctl\n":    "module example.com/f\n",
		"fleetctl":             "fleetctl", // the program
		"fleetctl/scan/v1":     "fleetctl/scan/v1",
		"x/fleetctl/enroll":    "x/fleetctl/enroll",
	} {
		if got := x.literal(value); got != want {
			t.Errorf("%q became %q, want %q", value, got, want)
		}
	}
}

// copyRepository copies what git knows of the repository, as it lies there now, into a repository of its own.
func copyRepository(t *testing.T, from string) string {
	t.Helper()
	dir := t.TempDir()
	files, err := run(from, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(files, "\x00"), "\x00") {
		copyFile(t, filepath.Join(from, name), filepath.Join(dir, name))
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {
		"-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "-qm", "all",
	}} {
		if _, err := run(dir, "git", args...); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Lstat(from)
	if os.IsNotExist(err) {
		return // git knows it, and somebody has removed it
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if info.Mode()&os.ModeSymlink != 0 {
		target, err := os.Readlink(from)
		if err == nil {
			err = os.Symlink(target, to)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	raw, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, raw, info.Mode().Perm())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func goCommand(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
