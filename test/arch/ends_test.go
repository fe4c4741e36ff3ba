package arch

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-tpm/tpm2/transport"

	"fleetctl/enroll/tpm"
	"fleetctl/test/vm/held"
)

// process is a helper that runs.
type process struct {
	*exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	stderr *bytes.Buffer
}

func startProcess(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd, stderr: &bytes.Buffer{}}
	var err error
	if p.in, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if p.out, err = p.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	p.Cmd.Stderr = p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.in.Close()
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	return p
}

// An end is a way in which a helper's work ends before it is done.
type end struct {
	name  string
	do    func(*process) error
	exit  int            // code; -1: it was killed
	stays bool           // what was made stays in a TPM without resource manager
	says  string         // on standard error
	sig   syscall.Signal // that killed it
}

var ends = []end{
	{name: "stdin ends", do: func(p *process) error { return p.in.Close() }},
	{name: "SIGTERM", do: func(p *process) error { return p.Process.Signal(syscall.SIGTERM) }, exit: 128 + 15},
	{name: "SIGHUP", do: func(p *process) error { return p.Process.Signal(syscall.SIGHUP) }, exit: 128 + 1},
	{name: "garbage on stdin", do: func(p *process) error {
		_, err := io.WriteString(p.in, "GET / HTTP/1.0\r\n\r\n") // its length would be 0x4554202f
		return err
	}, exit: 1, says: "identify: "},
	{name: "an unknown request on stdin", do: func(p *process) error {
		_, err := io.WriteString(p.in, "\x7f\x00\x00\x00\x00")
		return err
	}, exit: 1, says: "identify: "},
	{name: "SIGKILL", do: func(p *process) error { return p.Process.Kill() }, exit: -1, stays: true, sig: syscall.SIGKILL},
}

// Every architecture's helper is ended while two keys and a session of its are in the TPM.
func TestNothingStaysInTheTPMHoweverTheHelperEnds(t *testing.T) {
	for _, end := range ends {
		t.Run(end.name, func(t *testing.T) {
			everyArch(t, func(t *testing.T, arch string) { end.test(t, arch) })
		})
	}
}

func (d end) test(t *testing.T, arch string) {
	e := start(t, bare)
	before := contents(t, e)
	g := behindGate(t, e, activateCredential)
	p := startProcess(t, helper(t, arch, "-device", g.socket))
	examined := make(chan error, 1)
	go func() {
		_, err := tpm.Examine(t.Context(), tpm.HelperLink(p.in, p.out), tpm.ExamineOptions{Proof: true})
		examined <- err
	}()
	select {
	case <-g.reached:
	case err := <-examined:
		t.Fatalf("it never came to the middle: %v\n%s", err, p.stderr)
	}
	if c := contents(t, e); len(c.Transient) != 2 || len(c.Loaded) != 1 {
		t.Errorf("in the middle the TPM holds %+v", c)
	}
	if err := d.do(p); err != nil {
		t.Fatal(err)
	}
	close(g.goOn)
	if err := <-examined; err != nil { // not so where the helper answered before it ended
		t.Log(err)
	}
	d.checkExit(t, p)
	if after := contents(t, e); d.stays && !after.Lasting().Equal(before.Lasting()) {
		t.Errorf("the TPM holds %+v, before it held %+v", after, before)
	}
	if d.stays { // what the kernel's resource manager does for a process that is gone
		with(t, e, func(tpm transport.TPM) {
			if err := held.Flush(tpm); err != nil {
				t.Error(err)
			}
		})
	}
	unchanged(t, e, before)
	if report := examine(t, e, arch); !report.Proven {
		t.Errorf("the next one says %+v", report)
	}
}

func (d end) checkExit(t *testing.T, p *process) {
	t.Helper()
	err := p.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	status := p.ProcessState.Sys().(syscall.WaitStatus)
	if p.ProcessState.ExitCode() != d.exit || status.Signaled() && status.Signal() != d.sig {
		t.Errorf("it ended with %v, want %d\n%s", p.ProcessState, d.exit, p.stderr)
	}
	if said := p.stderr.String(); !strings.HasPrefix(said, d.says) || d.says == "" && said != "" {
		t.Errorf("it said %q, want %q", said, d.says)
	}
}
