package tpm_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2/transport"

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

func (s state) start(t testing.TB) *emulator {
	t.Helper()
	e := start(t, s.from)
	if s.change != nil {
		e.with(t, func(tpm transport.TPM) { s.change(t, tpm) })
	}
	return e
}

// The acceptance of the whole package: for every state, through the real helper, the identity is what go-attestation
// finds, the proof is what it should be, the forecast is what the server says, and the TPM is left as it was.
func TestEveryStateOfATPM(t *testing.T) {
	states := slices.Concat(certificateStates(), indexStates(), keyStates())
	if len(states) < 25 {
		t.Fatalf("only %d states", len(states))
	}
	for _, s := range states {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			e := s.start(t)
			before := e.contents(t)
			want := e.reference(t, errand{})
			e.unchanged(t, before)
			got, err := examine(t, e, tpm.ExamineOptions{Proof: true, CAs: bundle(t), Now: func() time.Time { return now }})
			if got == nil {
				t.Fatal(err)
			}
			e.unchanged(t, before)
			checkIdentity(t, s, got, want, err)
			checkProof(t, s, got, err)
			checkFindings(t, s, got)
			checkText(t, s, e, want)
			checkJSON(t, e, got)
			e.unchanged(t, before)
			checkForecast(t, s, got)
		})
	}
}

// bundle is the manufacturer's certificates, and swtpm's.
func bundle(t testing.TB) *tpm.CASet {
	t.Helper()
	shared.manufacture(t, certified)
	set, err := tpm.LoadCAs(shared.ca.Issuer(), shared.ca.Root())
	if err != nil {
		t.Fatal(err)
	}
	a, err := manufacturer()
	if err != nil {
		t.Fatal(err)
	}
	return tpm.NewCASet(append(set.Certificates(), a.Root, a.Issuer)...)
}

func checkIdentity(t *testing.T, s state, got *tpm.Report, want reference, err error) {
	t.Helper()
	if s.noEK {
		if want.Error == "" || err == nil || got.Identity.Hash != "" {
			t.Errorf("identity %+v, %v; go-attestation says %+v", got.Identity, err, want)
		}
		t.Log(err)
		return
	}
	if want.Error != "" || got.Identity.Hash != want.Hash || got.Identity.Serial != want.Serial ||
		(got.Identity.Certificate != nil) != want.Cert {
		t.Errorf("got %s, serial %q; go-attestation says %+v", got.Identity.Hash, got.Identity.Serial, want)
	}
}

func checkProof(t *testing.T, s state, got *tpm.Report, err error) {
	t.Helper()
	var refusal *tpm.ProofError
	switch {
	case s.noEK:
	case s.noProof == "" && (err != nil || !got.Proven):
		t.Errorf("not proven: %v", err)
	case s.noProof != "" && (!errors.As(err, &refusal) || refusal.Code != s.noProof || got.Proven || !errors.Is(err, tpm.ErrProof)):
		t.Errorf("proof: got %v, want code %s", err, s.noProof)
	}
}

func checkFindings(t *testing.T, s state, got *tpm.Report) {
	t.Helper()
	var codes []string
	for _, f := range got.Findings {
		if !f.CA {
			codes = append(codes, f.Code)
		}
		if f.Message == "" || f.Hint == "" {
			t.Errorf("finding without words: %+v", f)
		}
	}
	if !slices.Equal(codes, s.findings) {
		t.Errorf("findings %q, want %q", codes, s.findings)
	}
}

// checkText compares identify -text with go-attestation, by the parser of tbot's output.
func checkText(t *testing.T, s state, e *emulator, want reference) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(shared.helper(t), "-device", e.Socket, "-text")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if s.noEK {
		if err == nil {
			t.Errorf("-text prints\n%s", out)
		}
		return
	}
	if err != nil {
		if bytes.Contains(stderr.Bytes(), []byte("only fleetctl can judge")) {
			t.Logf("-text: %s", stderr.String())
			return
		}
		t.Errorf("-text: %v\n%s", err, stderr.String())
		return
	}
	id, err := tpm.ParseIdentifyText(out)
	if err != nil || id.Hash != want.Hash || id.Serial != want.Serial {
		t.Errorf("-text prints %v\n%s", err, out)
	}
}

// checkJSON reads the same identity and the same forecast out of identify -json.
func checkJSON(t *testing.T, e *emulator, want *tpm.Report) {
	t.Helper()
	out, err := exec.Command(shared.helper(t), "-device", e.Socket, "-json").Output()
	if err != nil {
		t.Errorf("-json: %v", err)
		return
	}
	facts, err := tpm.ParseIdentifyJSON(out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, _ := tpm.Judge(facts.Raw, tpm.ExamineOptions{Now: func() time.Time { return now }})
	if got.Identity.Hash != want.Identity.Hash || got.Identity.Serial != want.Identity.Serial || got.Proven ||
		got.Properties != want.Properties {
		t.Errorf("-json says %+v, the protocol %+v", got, want)
	}
}

// checkForecast has a TPM in the same state join, with a token without CAs and with one that holds the direct issuer.
func checkForecast(t *testing.T, s state, got *tpm.Report) {
	t.Helper()
	var fatal, fatalCA []string
	for _, f := range got.Findings {
		if f.Fatal && !f.CA {
			fatal = append(fatal, f.Code)
		}
		if f.Fatal {
			fatalCA = append(fatalCA, f.Code)
		}
	}
	plain := s.start(t).reference(t, errand{Join: true, Rule: got.Identity.Hash, Now: now})
	if refused := plain.Error + plain.Refused; (refused != "") != (len(fatal) > 0) {
		t.Errorf("forecast %q, but the server says %q", fatal, refused)
	}
	cas := []string{pemOf(someIssuer(t, got.Identity.Certificate))}
	checked := s.start(t).reference(t, errand{Join: true, Rule: got.Identity.Hash, CAs: cas, Now: now})
	if refused := checked.Error + checked.Refused; (refused != "") != (len(fatalCA) > 0) {
		t.Errorf("forecast with CAs %q, but the server says %q", fatalCA, refused)
	}
}

// someIssuer is the direct issuer or, where there is no certificate, any.
func someIssuer(t testing.TB, cert *x509.Certificate) *x509.Certificate {
	t.Helper()
	if cert != nil {
		if issuer := bundle(t).IssuerAt(cert, now); issuer != nil {
			return issuer
		}
	}
	return bundle(t).Certificates()[0]
}
