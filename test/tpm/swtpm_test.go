package tpm_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2/transport"
)

// need skips the test where a program is not installed; under CI=true it fails.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed", program)
	}
	t.Skipf("%s is not installed", program)
	return ""
}

// manufactured are the states of TPMs that swtpm_setup made, each made once a test run and copied from then on.
var manufactured struct {
	sync.Mutex
	dirs map[string]string
	root string
}

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
	manufactured.dirs, manufactured.root = map[string]string{}, root
	code := m.Run()
	os.RemoveAll(root)
	os.Exit(code)
}

// manufacture makes the state of a TPM with swtpm_setup and an EK certificate authority of our own.
func manufacture(t testing.TB, args ...string) string {
	t.Helper()
	need(t, "swtpm")
	setup := need(t, "swtpm_setup")
	manufactured.Lock()
	defer manufactured.Unlock()
	key := fmt.Sprint(args)
	if dir := manufactured.dirs[key]; dir != "" {
		return dir
	}
	dir := filepath.Join(manufactured.root, fmt.Sprintf("state%d", len(manufactured.dirs)))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	all := append([]string{"--tpm2", "--tpmstate", dir, "--config", authority(t), "--overwrite"}, args...)
	if out, err := exec.Command(setup, all...).CombinedOutput(); err != nil {
		t.Fatalf("swtpm_setup: %v\n%s", err, out)
	}
	manufactured.dirs[key] = dir
	return dir
}

// authority configures swtpm's certificate authority to live in the test's directory.
func authority(t testing.TB) string {
	t.Helper()
	ca := filepath.Join(manufactured.root, "ca")
	setup := filepath.Join(ca, "setup.conf")
	if _, err := os.Stat(setup); err == nil {
		return setup
	}
	if err := os.MkdirAll(ca, 0o700); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"setup.conf": "create_certs_tool=/usr/bin/swtpm_localca\n" +
			"create_certs_tool_config=" + ca + "/localca.conf\ncreate_certs_tool_options=" + ca + "/localca.options\n",
		"localca.conf": "statedir = " + ca + "\nsigningkey = " + ca + "/signkey.pem\nissuercert = " + ca +
			"/issuercert.pem\ncertserial = " + ca + "/certserial\n",
		"localca.options": "--platform-manufacturer Lab\n--platform-version 2.0\n--platform-model Test\n",
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(ca, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return setup
}

// emulator is a running swtpm.
type emulator struct {
	Socket string
	State  string
}

// start runs a copy of a manufactured TPM until the test ends.
func start(t testing.TB, state string) *emulator {
	t.Helper()
	dir, err := os.MkdirTemp("", "swtpm-") // short: a socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if out, err := exec.Command("cp", "-a", state+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	e := &emulator{Socket: filepath.Join(dir, "s"), State: dir}
	e.run(t)
	return e
}

func (e *emulator) run(t testing.TB) {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(need(t, "swtpm"), "socket", "--tpm2", "--tpmstate", "dir="+e.State,
		"--server", "type=unixio,path="+e.Socket, "--flags", "startup-clear")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		if c, err := net.Dial("unix", e.Socket); err == nil {
			c.Close()
			return
		}
		select {
		case <-done:
			t.Fatalf("swtpm ended: %s", log.String())
		case <-ctx.Done():
			t.Fatalf("swtpm does not listen: %s", log.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// dial connects to the emulator, which serves one connection after the other.
func (e *emulator) dial(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", e.Socket)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// with hands fn a go-tpm transport to the emulator.
func (e *emulator) with(t testing.TB, fn func(transport.TPM)) {
	t.Helper()
	c := e.dial(t)
	defer c.Close()
	fn(transport.FromReadWriter(c))
}

var helperOnce struct {
	sync.Once
	path string
	err  error
}

// helper builds the real helper, once.
func helper(t testing.TB) string {
	t.Helper()
	helperOnce.Do(func() {
		helperOnce.path = filepath.Join(manufactured.root, "identify")
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", helperOnce.path, "fleetctl/cmd/identify")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			helperOnce.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if helperOnce.err != nil {
		t.Fatal(helperOnce.err)
	}
	return helperOnce.path
}

// process is a running helper.
type process struct {
	*exec.Cmd
	In     io.WriteCloser
	Out    io.Reader
	Stderr *bytes.Buffer
}

func startHelper(t testing.TB, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(helper(t), args...), Stderr: &bytes.Buffer{}}
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
