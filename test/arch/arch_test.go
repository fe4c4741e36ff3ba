package arch

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"fleetctl/test/swtpm"
)

// emulators run a program of an architecture; Debian's qemu-user-static calls them so, with "-static" behind.
var emulators = map[string]string{
	"386": "qemu-i386", "amd64": "qemu-x86_64", "arm": "qemu-arm", "arm64": "qemu-aarch64",
	"ppc64le": "qemu-ppc64le", "riscv64": "qemu-riscv64", "s390x": "qemu-s390x",
}

// native says whether the machine runs the architecture's programs by itself. amd64 does so with 386; qemu-i386 crashes
// in Go's signal handling.
func native(arch string) bool {
	return arch == runtime.GOARCH || arch == "386" && runtime.GOARCH == "amd64"
}

// executes says whether the kernel takes a program at all (ENOEXEC, execve(2)).
func executes(program string) bool {
	return !errors.Is(exec.Command(program, "-version").Run(), syscall.ENOEXEC)
}

// world is what the tests share.
var world struct {
	dir     string
	helpers map[string]string // programs by architecture

	mu   sync.Mutex
	made map[string]bool // TPMs as they come from the factory, by kind
}

// Kinds of TPM.
const (
	certified = "certified" // EK certificate at 0x01C00002, EK at 0x81010001
	bare      = "bare"      // neither
)

func TestMain(m *testing.M) {
	var err error
	if world.dir, err = os.MkdirTemp("", "arch-test-"); err == nil {
		err = unpackHelpers(world.dir)
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(world.dir)
	os.Exit(code)
}

// unpackHelpers has make build the helpers that fleetctl embeds, where they are not up to date, and unpacks them.
func unpackHelpers(dir string) error {
	const root = "../.."
	cmd := exec.Command("make", "-s", "-C", root, "helpers")
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make helpers: %w\n%s", err, out)
	}
	packed, err := filepath.Glob(filepath.Join(root, "cmd/fleetctl/helpers/identify-linux-*.gz"))
	if err != nil {
		return err
	}
	world.helpers = map[string]string{}
	for _, from := range packed {
		name := strings.TrimSuffix(filepath.Base(from), ".gz")
		to := filepath.Join(dir, name)
		if err := unpack(from, to); err != nil {
			return err
		}
		world.helpers[strings.TrimPrefix(name, "identify-linux-")] = to
	}
	return nil
}

func unpack(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	program, err := io.ReadAll(z)
	if err != nil {
		return err
	}
	return os.WriteFile(to, program, 0o755)
}

// lacks skips a test that this machine can't run, or fails it under CI, where everything has to be there.
func lacks(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// everyArch runs a test for each architecture that a helper is embedded for.
func everyArch(t *testing.T, test func(t *testing.T, arch string)) {
	for arch := range emulators {
		t.Run(arch, func(t *testing.T) {
			t.Parallel()
			if world.helpers[arch] == "" {
				t.Fatal("make helpers built none")
			}
			if native(arch) && !executes(world.helpers[arch]) {
				t.Skip("this kernel has no room for programs of 386 (CONFIG_IA32_EMULATION, or a hypervisor that has none), and nothing " +
					"that can be installed makes it: arm is the other architecture of 32 bits")
			}
			test(t, arch)
		})
	}
	if len(world.helpers) != len(emulators) {
		t.Errorf("there are helpers %v, and emulators %v", world.helpers, emulators)
	}
}

// helper makes the command that runs an architecture's helper.
func helper(t *testing.T, arch string, args ...string) *exec.Cmd {
	t.Helper()
	if native(arch) {
		return exec.Command(world.helpers[arch], args...)
	}
	for _, name := range []string{emulators[arch] + "-static", emulators[arch]} {
		if path, err := exec.LookPath(name); err == nil {
			return exec.Command(path, append([]string{world.helpers[arch]}, args...)...)
		}
	}
	lacks(t, "%s is not installed (apt-get install qemu-user-static)", emulators[arch]+"-static")
	return nil
}

// manufacture makes the state of a TPM, once.
func manufacture(t *testing.T, kind string) (dir string) {
	t.Helper()
	if err := swtpm.Find(); err != nil {
		lacks(t, "%v", err)
	}
	world.mu.Lock()
	defer world.mu.Unlock()
	dir = filepath.Join(world.dir, kind)
	if world.made[kind] {
		return dir
	}
	var err error
	if kind == bare {
		err = swtpm.MakeBare(t.Context(), dir)
	} else {
		var ca *swtpm.CA
		if ca, err = swtpm.NewCA(filepath.Join(world.dir, "ca")); err == nil {
			err = ca.Make(t.Context(), dir, kind)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if world.made == nil {
		world.made = map[string]bool{}
	}
	world.made[kind] = true
	return dir
}

// start runs a TPM fresh from the factory until the test ends.
func start(t *testing.T, kind string) *swtpm.TPM {
	t.Helper()
	dir, err := os.MkdirTemp("", "swtpm-") // short: a socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := swtpm.Clone(manufacture(t, kind), dir); err != nil {
		t.Fatal(err)
	}
	tpm, err := swtpm.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tpm.Stop)
	return tpm
}
