package enrolltest

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/tpm"
	"fleetctl/remote"
)

// askShell examines a host's TPM through the script for hosts where nothing may execute.
func askShell(t *testing.T, c *remote.Conn, become bool) (*tpm.Report, error) {
	t.Helper()
	p, err := c.Start(t.Context(), remote.Cmd{Script: tpm.ShellScript(""), Stdin: strings.NewReader(""), Become: become})
	if err != nil {
		t.Fatal(err)
	}
	report, err := tpm.Examine(t.Context(), tpm.ShellLink(p.Stdin, p.Stdout), tpm.ExamineOptions{Proof: true})
	_ = p.Stdin.Close()
	_, _, waitErr := p.Wait()
	return report, errors.Join(err, waitErr)
}

func TestAHostWhereNothingMayExecute(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "18.4.0")
	h.s.NoExec = true
	c := dial(t, h, nil)
	data := []byte("helper")
	_, err := c.StartPayload(t.Context(), remote.Payload{Name: "identify", Data: data, SHA256: sha256.Sum256(data)})
	if !errors.Is(err, remote.ErrNoExecDir) {
		t.Errorf("the helper: %v", err)
	}
	report, err := askShell(t, c, true)
	if err != nil || !report.Proven || report.Identity.Hash != h.TPM.EKHash() {
		t.Errorf("%+v, %v", report, err)
	}
	if h.TPM.Left() != 0 {
		t.Errorf("%d handles are left", h.TPM.Left())
	}
	if _, err := askShell(t, c, false); !errors.Is(err, tpm.ErrPermission) {
		t.Errorf("as admin: %v", err)
	}
	h.With(func(s *State) { s.TPM12 = true })
	if _, err := askShell(t, c, true); !errors.Is(err, tpm.ErrTPM12) {
		t.Errorf("with a TPM 1.2: %v", err)
	}
}

func TestHostsThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*State)
		want   error
	}{
		"down":   {func(s *State) { s.Down = true }, remote.ErrDisconnected},
		"silent": {func(s *State) { s.Silent = true }, remote.ErrTimeout},
	} {
		h, _ := newHost(t, "18.4.0")
		h.With(tt.change)
		_, targets := Serve(t, h)
		d, err := remote.NewDialer(remote.Options{SSH: "none", Retries: -1, HandshakeTimeout: 200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Dial(t.Context(), targets[0]); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		_ = d.Close()
	}
}

func TestAnOutputThatCannotBeWrittenIsUnhealthy(t *testing.T) {
	t.Parallel()
	h, _ := newHost(t, "18.4.0")
	c := dial(t, h, nil)
	replay(t, c, "enroll.txt")
	run(t, c, "chown root:root /opt/machine-id/app")
	write(t, c, "/etc/tbot.yaml", plainYAML+"diag_addr: 127.0.0.1:3001\nservices: [{type: identity, destination: {type: directory, path: /opt/machine-id/app}}]\n")
	run(t, c, "set -e\nmkdir /var/lib/bot\nchown -- teleport:teleport /var/lib/bot\nsystemctl restart tbot.service")
	facts := strings.NewReplacer("DIAGHOST=''", "DIAGHOST=127.0.0.1", "DIAGPORT=''", "DIAGPORT=3001").Replace(fixture(t, "facts.sh"))
	needs(t, run(t, c, facts), "service.active=active", "ready=503")
}
