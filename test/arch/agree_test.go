package arch

import (
	"bytes"
	"encoding/json"
	"net"
	"os/exec"
	"reflect"
	"runtime"
	"testing"

	"github.com/google/go-tpm/tpm2/transport"

	"fleetctl/enroll/tpm"
	"fleetctl/test/swtpm"
	"fleetctl/test/vm/held"
)

// with hands fn a go-tpm transport to a TPM.
func with(t *testing.T, e *swtpm.TPM, fn func(transport.TPM)) {
	t.Helper()
	conn, err := net.Dial("unix", e.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fn(transport.FromReadWriter(conn))
}

func contents(t *testing.T, e *swtpm.TPM) (c held.Contents) {
	t.Helper()
	with(t, e, func(tpm transport.TPM) {
		var err error
		if c, err = held.Read(tpm); err != nil {
			t.Fatal(err)
		}
	})
	return c
}

func unchanged(t *testing.T, e *swtpm.TPM, before held.Contents) {
	t.Helper()
	if after := contents(t, e); !after.Equal(before) {
		t.Errorf("the TPM holds %+v, before it held %+v", after, before)
	}
}

// output runs a helper that prints and ends.
func output(t *testing.T, cmd *exec.Cmd) []byte {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, stderr.String())
	}
	return out
}

// facts is what -json prints, without what is never twice the same.
func facts(t *testing.T, printed []byte) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(printed, &doc); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	if _, ok := doc["timings_us"]; !ok {
		t.Errorf("no timings in %s", printed)
	}
	delete(doc, "timings_us")
	return doc
}

// Every architecture's helper prints of one TPM what this machine's own does.
func TestEveryArchitecturePrintsTheSame(t *testing.T) {
	for _, kind := range []string{certified, bare} {
		t.Run(kind, func(t *testing.T) {
			everyArch(t, func(t *testing.T, arch string) {
				e := start(t, kind)
				before := contents(t, e)
				text := output(t, helper(t, arch, "-text", "-device", e.Socket))
				if want := output(t, helper(t, runtime.GOARCH, "-text", "-device", e.Socket)); !bytes.Equal(text, want) {
					t.Errorf("prints\n%s\nthis machine's\n%s", text, want)
				}
				got := facts(t, output(t, helper(t, arch, "-json", "-device", e.Socket)))
				want := facts(t, output(t, helper(t, runtime.GOARCH, "-json", "-device", e.Socket)))
				for key := range want {
					if !reflect.DeepEqual(got[key], want[key]) {
						t.Errorf("%s is\n%v\nthis machine's\n%v", key, got[key], want[key])
					}
				}
				if len(got) != len(want) {
					t.Errorf("%d facts, this machine's has %d", len(got), len(want))
				}
				unchanged(t, e, before)
			})
		})
	}
}

// Every architecture's helper goes the whole way of a scan: facts, a derived EK where there is no certificate, proof.
func TestEveryArchitectureSpeaksTheProtocol(t *testing.T) {
	for _, kind := range []string{certified, bare} {
		t.Run(kind, func(t *testing.T) {
			everyArch(t, func(t *testing.T, arch string) {
				e := start(t, kind)
				before := contents(t, e)
				got, want := examine(t, e, arch), examine(t, e, runtime.GOARCH)
				if !got.Proven || len(got.Identity.Hash) != 64 || (got.Identity.Serial != "") != (kind == certified) {
					t.Errorf("%+v", got)
				}
				if commands(got) != commands(want) {
					t.Errorf("sends the TPM %s, this machine's %s", commands(got), commands(want))
				}
				got.Timings, want.Timings = nil, nil
				if !reflect.DeepEqual(got, want) {
					t.Errorf("says %+v, this machine's %+v", got, want)
				}
				unchanged(t, e, before)
			})
		})
	}
}

// examine takes a helper through a whole examination and has it end.
func examine(t *testing.T, e *swtpm.TPM, arch string) *tpm.Report {
	t.Helper()
	p := startProcess(t, helper(t, arch, "-device", e.Socket))
	report, err := tpm.Examine(t.Context(), tpm.HelperLink(p.in, p.out), tpm.ExamineOptions{Proof: true})
	if err != nil {
		t.Fatalf("%s: %v\n%s", arch, err, p.stderr)
	}
	_ = p.in.Close()
	if err := p.Wait(); err != nil || p.stderr.Len() > 0 {
		t.Errorf("%s: %v\n%s", arch, err, p.stderr)
	}
	return report
}

// commands lists the TPM commands of an examination, in their order.
func commands(r *tpm.Report) string {
	var list bytes.Buffer
	for _, timing := range r.Timings {
		list.WriteString(timing.Command + " ")
	}
	return list.String()
}
