package tpm_test

import (
	"testing"

	"fleetctl/enroll/tpm"
)

// examine runs the helper on a TPM as a scan does.
func examine(t testing.TB, e *emulator, opts tpm.ExamineOptions) (*tpm.Report, error) {
	t.Helper()
	p := startHelper(t, "-device", e.Socket)
	report, err := tpm.Examine(t.Context(), tpm.HelperLink(p.In, p.Out), opts)
	p.In.Close()
	if werr := p.Wait(); werr != nil {
		t.Errorf("helper: %v\n%s", werr, p.Stderr)
	}
	return report, err
}

func TestIdentityIsTheOneThatGoAttestationFinds(t *testing.T) {
	tests := []struct {
		name  string
		state []string
		cert  bool
	}{
		{name: "certificate and EK as manufactured", state: []string{"--create-ek-cert", "--lock-nvram"}, cert: true},
		{name: "no certificate", state: []string{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := start(t, manufacture(t, test.state...))
			want := e.reference(t)
			got, err := examine(t, e, tpm.ExamineOptions{Proof: true})
			if err != nil {
				t.Fatal(err)
			}
			if got.Identity.Hash != want.Hash || got.Identity.Serial != want.Serial || want.Cert != test.cert {
				t.Errorf("got %s %s, go-attestation says %+v", got.Identity.Hash, got.Identity.Serial, want)
			}
			if !got.Proven || len(got.Findings) != 0 {
				t.Errorf("got %+v", got)
			}
			t.Logf("%+v %v", got.Properties, got.Timings)
		})
	}
}
