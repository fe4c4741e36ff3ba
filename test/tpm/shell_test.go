package tpm_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"fleetctl/enroll/tpm"
)

// shells are what hosts have for sh, dd and od.
func shells(t testing.TB) map[string][]string {
	t.Helper()
	busybox := need(t, "busybox")
	applets := t.TempDir() // nothing but busybox in PATH
	for _, name := range []string{"sh", "dd", "od", "sleep"} {
		if err := os.Symlink(busybox, filepath.Join(applets, name)); err != nil {
			t.Fatal(err)
		}
	}
	few := t.TempDir() // no od
	for _, name := range []string{"sh", "dd", "sleep"} {
		if err := os.Symlink(busybox, filepath.Join(few, name)); err != nil {
			t.Fatal(err)
		}
	}
	return map[string][]string{
		"dash with GNU tools":            {"PATH=" + os.Getenv("PATH"), need(t, "dash")},
		"dash with busybox's tools":      {"PATH=" + applets, need(t, "dash")},
		"busybox ash with GNU tools":     {"PATH=" + os.Getenv("PATH"), busybox, "ash"},
		"busybox ash with its own tools": {"PATH=" + applets, busybox, "ash"},
		"bash with GNU tools":            {"PATH=" + os.Getenv("PATH"), need(t, "bash")},
		"dash without od":                {"PATH=" + few, need(t, "dash")},
	}
}

// startShell runs the script for a device.
func startShell(t testing.TB, shell []string, device string) *process {
	t.Helper()
	args := append(append([]string{}, shell[2:]...), "-c", tpm.ShellScript(device))
	cmd := exec.Command(shell[1], args...)
	cmd.Env = []string{shell[0]}
	return startProcess(t, cmd)
}

func TestShellTransportSeesTheSameTPMAsTheHelper(t *testing.T) {
	for name, shell := range shells(t) {
		for _, b := range []base{certified, bare} {
			t.Run(name+", "+string(b), func(t *testing.T) {
				t.Parallel()
				e := start(t, b)
				before := e.contents(t)
				want, err := examine(t, e, tpm.ExamineOptions{Proof: true})
				if err != nil {
					t.Fatal(err)
				}
				device := e.characterDevice(t)
				p := startShell(t, shell, device)
				got, err := tpm.Examine(t.Context(), tpm.ShellLink(p.In, p.Out), tpm.ExamineOptions{Proof: true})
				if err != nil {
					t.Fatalf("%v\n%s", err, p.Stderr)
				}
				p.In.Close()
				if err := p.Wait(); err != nil || p.Stderr.Len() > 0 {
					t.Errorf("shell: %v\n%s", err, p.Stderr)
				}
				if got.Identity.Hash != want.Identity.Hash || got.Identity.Serial != want.Identity.Serial || !got.Proven {
					t.Errorf("got %+v\nthe helper says %+v", got.Identity, want.Identity)
				}
				if got.Properties.Device != device || got.Properties.Found != "option" {
					t.Errorf("properties %+v", got.Properties)
				}
				e.unchanged(t, before)
			})
		}
	}
}

// The connection dies after a key was made: the script flushes it, although there is no resource manager.
func TestShellFlushesWhatWasMadeWhenTheConnectionDies(t *testing.T) {
	for name, shell := range shells(t) {
		if name == "dash without od" {
			continue // it cannot: documented
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := start(t, bare)
			before := e.contents(t)
			p := startShell(t, shell, e.characterDevice(t))
			cut := &cutAfter{w: p.In, left: 12} // the EK and the object are made by then
			report, err := tpm.Examine(t.Context(), tpm.ShellLink(cut, p.Out), tpm.ExamineOptions{Proof: true})
			if err == nil {
				t.Fatalf("examined over a dead connection: %+v", report)
			}
			p.In.Close()
			if err := p.Wait(); err != nil {
				t.Errorf("shell: %v\n%s", err, p.Stderr)
			}
			e.unchanged(t, before)
		})
	}
}

// cutAfter lets so many writes pass and then breaks.
type cutAfter struct {
	w    io.Writer
	left int
}

func (c *cutAfter) Write(b []byte) (int, error) {
	if c.left == 0 {
		return 0, io.ErrClosedPipe
	}
	c.left--
	return c.w.Write(b)
}

func TestShellSaysWhatIsWrongWithTheDevice(t *testing.T) {
	shell := []string{"PATH=" + os.Getenv("PATH"), need(t, "dash")}
	e := start(t, bare)
	file := filepath.Join(t.TempDir(), "it's a file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, device string
		want         error
	}{
		{"a unix socket is out of a shell's reach", e.Socket, tpm.ErrTPM},
		{"a regular file is no TPM", file, tpm.ErrNoTPM},
		{"nothing is there", "/nowhere/tpm0", tpm.ErrNoTPM},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := startShell(t, shell, test.device)
			_, err := tpm.Examine(t.Context(), tpm.ShellLink(p.In, p.Out), tpm.ExamineOptions{})
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			t.Log(err)
		})
	}
}

func TestShellThatHangsIsLeftWhenTheContextEnds(t *testing.T) {
	in, _ := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := tpm.Examine(ctx, tpm.ShellLink(io.Discard, in), tpm.ExamineOptions{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
