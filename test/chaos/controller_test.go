package chaos

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/enrolltest/program"
)

// lingering is a fleet whose healthy hosts take their time, so that a run of it can be met in its middle.
func lingering(t *testing.T, n int) *fleet {
	t.Helper()
	f := newFleet(t, n, uint64(number(t, "CHAOS_SEED", 1)), quick())
	for _, m := range f.members {
		if m.fault == nil {
			m.Before = func(enrolltest.Event) error {
				time.Sleep(50 * time.Millisecond)
				return nil
			}
		}
	}
	return f
}

// met waits until some hosts have been asked.
func (f *fleet) met(n int) {
	f.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); f.server.Server().Stats().Authenticated < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatal("the scan doesn't begin")
		}
	}
}

// wantKnown wants the records to have the identity of every healthy host.
func (f *fleet) wantKnown(args ...string) {
	f.t.Helper()
	out, err := f.command(append([]string{"records", "export", "-o", "json"}, args...)...).Output()
	if err != nil {
		f.t.Fatal(err)
	}
	known := program.Identities(f.t, out)
	for name, m := range f.members {
		switch hash, ok := known[name]; {
		case ok && hash != m.TPM.EKHash():
			f.t.Errorf("%s has the EK %s, which is not its own", name, hash)
		case !ok && m.fault == nil:
			f.t.Errorf("%s is well, and not known", name)
		}
	}
}

// A controller that is killed loses nothing that it recorded, and the next scan goes on where it was.
func TestAScanThatIsKilledGoesOn(t *testing.T) {
	t.Parallel()
	f := lingering(t, 60)
	args := append([]string{"--forks", "8"}, inTime...)
	for i := range number(t, "CHAOS_KILLS", 3) {
		cmd := f.scanning(args...)
		began := f.server.Server().Stats().Authenticated
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		f.met(began + 1)
		time.Sleep(rand.N(400 * time.Millisecond))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if i == 0 {
			args = append(args, "--resume")
		}
	}
	r := f.scan(args...)
	f.check(r, asItShould)
	if out, err := f.scanning(args...).Output(); err != nil || !strings.HasSuffix(string(out), "\"hosts\": []\n}\n") {
		t.Errorf("something was left over: %v\n%s", err, out)
	}
	f.wantKnown()
}

// A controller that is stopped for a while, and goes on.
func TestAScanThatIsStoppedGoesOn(t *testing.T) {
	t.Parallel()
	f := lingering(t, 60)
	r := f.during(func(cmd *exec.Cmd) {
		f.met(3)
		_ = cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(2 * time.Second)
		_ = cmd.Process.Signal(syscall.SIGCONT)
	}, append([]string{"--forks", "8"}, inTime...)...)
	f.check(r, asItShould)
	f.wantKnown()
}

// The network is gone in the middle, and comes back: those who were lost say so, and are found again.
func TestTheNetworkIsGoneAndBack(t *testing.T) {
	t.Parallel()
	f := lingering(t, 60)
	down := func(is bool) {
		for _, m := range f.members {
			if m.fault == nil {
				m.With(func(s *enrolltest.State) { s.Down = is })
			}
		}
	}
	args := append([]string{"--forks", "8"}, inTime...)
	r := f.during(func(*exec.Cmd) {
		f.met(5)
		down(true)
		f.server.Server().Drop()
		time.Sleep(time.Second)
		down(false)
	}, args...)
	f.check(r, func(m *member, h row) bool {
		lost := h.Status == "disconnected" || m.fault != nil && m.fault.twin // whose other half may be lost
		return asItShould(m, h) || lost
	})
	f.check(f.scan(append(args, "--retry-failed")...), asItShould)
	f.wantKnown()
}

// The disk of the records is full in the middle: the run ends and says so, and goes on when there is space.
func TestTheDiskOfTheRecordsIsFull(t *testing.T) {
	t.Parallel()
	f := lingering(t, 60)
	disk := f.mkdir("disk")
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=12m"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI must be allowed to mount: %v", err)
		}
		t.Skipf("not allowed to mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	db := []string{"--db", filepath.Join(disk, "fleet.db")}
	cmd := f.scanning(append(append([]string{"--forks", "8"}, inTime...), db...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.met(3)
	fill(t, filepath.Join(disk, "ballast"))
	err := cmd.Wait()
	if err == nil || !strings.Contains(stderr.String(), "no space left for the records") {
		t.Errorf("%v\n%s", err, tail(stderr.String()))
	}
	if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
		t.Fatal(err)
	}
	if out, err := f.scanning(append(append([]string{"--resume"}, inTime...), db...)...).CombinedOutput(); err != nil && !strings.Contains(err.Error(), "status 3") {
		t.Errorf("%v\n%s", err, tail(string(out)))
	}
	f.wantKnown(db...)
}

// fill writes until there is no space.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for size := 64 << 10; size >= 1; {
		if _, err := io.WriteString(file, strings.Repeat("x", size)); err != nil {
			size /= 2
		}
	}
}
