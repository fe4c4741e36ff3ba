package tpm_test

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fleetctl/enroll/tpm"
)

func TestTheHelperSaysWhatIsWrongWithTheDevice(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	deaf := filepath.Join(t.TempDir(), "deaf")
	l, err := net.Listen("unix", deaf)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	tests := []struct {
		name, device string
		want         error
		words        string
	}{
		{"nothing is there", "/nowhere/tpmrm0", tpm.ErrNoTPM, "/nowhere/tpmrm0: no such file"},
		{"a regular file", file, tpm.ErrNoTPM, "neither a character device nor a unix socket"},
		{"nobody listens", deaf, tpm.ErrNoTPM, "connection refused"},
		{"a character device that is no TPM", "/dev/null", tpm.ErrTPM, "ended in the middle of an answer"},
		{"a path that no socket can have", "/" + strings.Repeat("x", 200), tpm.ErrNoTPM, "no such file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := startHelper(t, "-device", test.device)
			_, err := tpm.Examine(t.Context(), tpm.HelperLink(p.In, p.Out), tpm.ExamineOptions{})
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.words) {
				t.Errorf("got %v, want %v with %q", err, test.want, test.words)
			}
			out, err := exec.Command(shared.helper(t), "-text", "-device", test.device).CombinedOutput()
			if err == nil || !strings.HasPrefix(string(out), "identify: "+test.want.Error()) {
				t.Errorf("-text: %v, %s", err, out)
			}
		})
	}
}

func TestTheHelperSaysThatItMayNotOpenTheDevice(t *testing.T) {
	if os.Getuid() != 0 {
		lacks(t, "needs root to become somebody else")
	}
	e := start(t, bare)
	device := e.characterDevice(t)
	if err := os.Chmod(device, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(device, 0, 0); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "identify-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "identify")
	copyExecutable(t, shared.helper(t), binary)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-device", device)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	p := startProcess(t, cmd)
	_, err = tpm.Examine(t.Context(), tpm.HelperLink(p.In, p.Out), tpm.ExamineOptions{})
	if !errors.Is(err, tpm.ErrPermission) {
		t.Errorf("got %v", err)
	}
	t.Log(err)
}

func copyExecutable(t testing.TB, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestTheHelperWorksOnACharacterDevice(t *testing.T) {
	for _, b := range []base{certified, bare} {
		e := start(t, b)
		before := e.contents(t)
		p := startHelper(t, "-device", e.characterDevice(t))
		report, err := tpm.Examine(t.Context(), tpm.HelperLink(p.In, p.Out), tpm.ExamineOptions{Proof: true})
		if err != nil || !report.Proven {
			t.Errorf("%s: %v", b, err)
		}
		e.unchanged(t, before)
	}
}

// A TPM 1.2 does not know the tag of 2.0 commands and says so in its own format.
func TestATPM12IsRecognised(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := readFrame(c); err == nil {
				_, _ = c.Write([]byte{0x00, 0xC4, 0, 0, 0, 10, 0, 0, 0, 0x1E})
			}
			c.Close()
		}
	}()
	p := startHelper(t, "-device", socket)
	_, err = tpm.Examine(t.Context(), tpm.HelperLink(p.In, p.Out), tpm.ExamineOptions{})
	if !errors.Is(err, tpm.ErrTPM12) || errors.Is(err, tpm.ErrTPM) {
		t.Errorf("got %v", err)
	}
}

// What hosts send instead of the helper's frames.
func TestNoiseInsteadOfTheHelperIsAProtocolError(t *testing.T) {
	tests := map[string]string{
		"nothing":              "",
		"a message of the day": "Welcome to web-01!\n",
		"one byte":             "\x01",
		"a huge frame":         "\x01\xff\xff\xff\xff",
		"another version":      "\x01\x00\x00\x00\x18\x00\x00\x00\x10fleetctl-identify\x00\x00\x00\x02",
		"another program":      "\x01\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x01",
	}
	for name, noise := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := tpm.Examine(t.Context(), tpm.HelperLink(io.Discard, strings.NewReader(noise)), tpm.ExamineOptions{})
			if !errors.Is(err, tpm.ErrProtocol) {
				t.Errorf("got %v", err)
			}
			t.Log(err)
		})
	}
}

func TestTheHelperRefusesWrongArguments(t *testing.T) {
	for _, args := range [][]string{{"-text", "-json"}, {"-device"}, {"-device", ""}, {"x"}, {"-json", "-json"}, {"--help"}} {
		cmd := exec.Command(shared.helper(t), args...)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "usage: identify") {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
}
