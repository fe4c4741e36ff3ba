package tokens

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fleetctl/enroll/enrolltest"
)

// smallDisk is a directory on a file system of its own; it needs root.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI must be allowed to mount: %v", err)
		}
		t.Skipf("not allowed to mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestFullDiskKeepsTheOldFiles(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t)
	in := input(enrolltest.Accepted("a", 1))
	in.Policy.MaxRules = 5000
	in.Policy.MaxBytes = 1 << 20
	if _, err := plan(t, in).Write(dir); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, "fleet.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		in.Records = append(in.Records, enrolltest.Accepted(strings.Repeat("x", 60)+enrolltest.Hash(i), i+2))
	}
	_, err = plan(t, in).Write(dir)
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "fleet.yaml stays as it was") {
		t.Errorf("got %v", err)
	}
	after, err := os.ReadFile(filepath.Join(dir, "fleet.yaml"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the old file is gone: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
