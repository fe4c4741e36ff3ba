package enrolltest

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"testing"

	"fleetctl/enroll/enrolltest/softtpm"
	"fleetctl/enroll/tpm"
	"fleetctl/enroll/tpm/device"
)

func newTPM(t *testing.T, number int) *softtpm.TPM {
	t.Helper()
	v, err := softtpm.NewTPM(number)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// examine runs the helper's code on a TPM and the controller's on the other end.
func examine(t *testing.T, v *softtpm.TPM, opts tpm.ExamineOptions) (*tpm.Report, error) {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- device.Serve(t.Context(), inR, outW, func(context.Context) (*device.Session, error) {
			return device.NewSession(v, "/dev/tpmrm0", "sysfs"), v.Err
		})
		_ = outW.Close()
	}()
	report, err := tpm.Examine(t.Context(), tpm.HelperLink(inW, outR), opts)
	_ = inW.Close()
	if serveErr := <-done; serveErr != nil {
		t.Errorf("the helper: %v", serveErr)
	}
	if v.Left() != 0 {
		t.Errorf("%d handles are left", v.Left())
	}
	return report, err
}

func TestTPMProvesItsEK(t *testing.T) {
	t.Parallel()
	ca, err := softtpm.NewCA("Maker")
	if err != nil {
		t.Fatal(err)
	}
	set := tpm.NewCASet(ca.Cert)
	for _, tt := range []struct {
		name   string
		change func(*softtpm.TPM)
		serial string
		code   string // of the proof's error
	}{
		{name: "a bare EK", change: func(*softtpm.TPM) {}},
		{name: "a persistent EK", change: func(v *softtpm.TPM) { v.Persistent = true }},
		{name: "a certified EK", change: func(v *softtpm.TPM) { _ = ca.Certify(v) }, serial: "10:03"},
		{name: "another TPM's EK", change: func(v *softtpm.TPM) { v.Claims = newTPM(t, 4) }, code: "integrity"},
		{name: "a wrong secret", change: func(v *softtpm.TPM) { v.WrongSecret = true }, code: "secret"},
		{name: "an endorsement password", change: func(v *softtpm.TPM) { v.Persistent, v.Permanent = true, 2; _ = ca.Certify(v) },
			serial: "10:03", code: "endorsement-auth"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := newTPM(t, 3)
			tt.change(v)
			report, err := examine(t, v, tpm.ExamineOptions{Proof: true, CAs: set})
			var proof *tpm.ProofError
			if errors.As(err, &proof) != (tt.code != "") || proof != nil && proof.Code != tt.code || report == nil {
				t.Fatalf("%+v, %v", report, err)
			}
			if report.Identity.Hash != v.EKHash() || report.Identity.Serial != tt.serial || report.Proven != (tt.code == "") {
				t.Errorf("%+v", report)
			}
			if _, isCert := x509.ParseCertificate(v.Cert); (isCert == nil) && tt.code == "" && len(report.Findings) > 0 {
				t.Errorf("findings: %+v", report.Findings)
			}
		})
	}
}

func TestTPMThatDoesNotOpen(t *testing.T) {
	t.Parallel()
	for _, want := range []error{tpm.ErrNoTPM, tpm.ErrTPM12, tpm.ErrPermission, tpm.ErrBusy} {
		v := newTPM(t, 0)
		v.Err = want
		if _, err := examine(t, v, tpm.ExamineOptions{Proof: true}); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

func TestEKsDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for n := range softtpm.MaxEKs() {
		p, q := softtpm.EkPrimes(n)
		key := p.String() + q.String()
		if other, dup := seen[key]; dup || p.Cmp(q) == 0 {
			t.Fatalf("EKs %d and %d are the same", n, other)
		}
		seen[key] = n
	}
	if len(seen) < 1000 {
		t.Errorf("only %d EKs", len(seen))
	}
}
