package tpm_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-tpm/tpm2/transport"

	"fleetctl/test/swtpm"
)

// need skips the test where a program is not installed; under CI=true it fails.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	lacks(t, "%s is not installed", program)
	return ""
}

// lacks skips a test that this machine can't run, or fails it where CI says that everything is there.
func lacks(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Which TPM a test starts from.
type base string

const (
	certified base = "certified" // EK certificate at 0x01C00002, EK at 0x81010001
	bare      base = "bare"      // neither
	rsa3072   base = "rsa3072"   // EK and certificate of RSA-3072 at their own handles
	stranger  base = "stranger"  // another certified one
)

// world is what the tests of a run share: TPMs as they come from the factory, the helper, our own CA.
type world struct {
	mu     sync.Mutex
	root   string
	ca     *swtpm.CA
	states map[base]string
	built  string
}

var shared world

func TestMain(m *testing.M) {
	if os.Getenv(referenceEnv) != "" {
		referenceMain()
		return
	}
	root, err := os.MkdirTemp("", "tpm-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shared.root, shared.states = root, map[base]string{}
	code := m.Run()
	os.RemoveAll(root)
	os.Exit(code)
}

// manufacture makes the state of a TPM, once.
func (w *world) manufacture(t testing.TB, b base) string {
	t.Helper()
	need(t, "swtpm")
	need(t, "swtpm_setup")
	w.mu.Lock()
	defer w.mu.Unlock()
	if dir := w.states[b]; dir != "" {
		return dir
	}
	var err error
	if w.ca == nil {
		if w.ca, err = swtpm.NewCA(filepath.Join(w.root, "ca")); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(w.root, string(b))
	switch b {
	case bare:
		err = swtpm.MakeBare(t.Context(), dir)
	case rsa3072:
		err = w.ca.Make(t.Context(), dir, string(b), "--rsa-keysize", "3072")
	default:
		err = w.ca.Make(t.Context(), dir, string(b))
	}
	if err != nil {
		t.Fatal(err)
	}
	w.states[b] = dir
	return dir
}

// helper builds the real helper, once.
func (w *world) helper(t testing.TB) string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.built != "" {
		return w.built
	}
	path := filepath.Join(w.root, "identify")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "fleetctl/cmd/identify")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.built = path
	return path
}

// emulator is a running TPM.
type emulator struct{ *swtpm.TPM }

// start runs a copy of a manufactured TPM until the test ends.
func start(t testing.TB, b base) *emulator {
	t.Helper()
	state := shared.manufacture(t, b)
	dir, err := os.MkdirTemp("", "swtpm-") // short: a socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := swtpm.Clone(state, dir); err != nil {
		t.Fatal(err)
	}
	tpm, err := swtpm.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tpm.Stop)
	return &emulator{tpm}
}

// with hands fn a go-tpm transport to the emulator, which serves one connection after the other.
func (e *emulator) with(t testing.TB, fn func(transport.TPM)) {
	t.Helper()
	c, err := net.Dial("unix", e.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fn(transport.FromReadWriter(c))
}

// process is a running helper or shell.
type process struct {
	*exec.Cmd
	In     io.WriteCloser
	Out    io.Reader
	Stderr *bytes.Buffer
}

func startHelper(t testing.TB, args ...string) *process {
	t.Helper()
	return startProcess(t, exec.Command(shared.helper(t), args...))
}

func startProcess(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd, Stderr: &bytes.Buffer{}}
	var err error
	if p.In, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if p.Out, err = p.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	p.Cmd.Stderr = p.Stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.In.Close()
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	return p
}
