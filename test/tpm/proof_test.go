package tpm_test

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"fleetctl/enroll/tpm"
	"fleetctl/enroll/tpm/wire"
)

// meddler stands between a controller and an honest helper, as a host may.
type meddler struct {
	tpm.Link
	facts     func(*tpm.Raw)
	derived   func(*wire.Derived)
	challenge func(*tpm.Challenge)
	answer    func(*wire.Answer)
	activate  tpm.Link // who is asked instead
}

func (m *meddler) Read(ctx context.Context, object bool) (*tpm.Raw, error) {
	raw, err := m.Link.Read(ctx, object)
	if err == nil && m.facts != nil {
		m.facts(raw)
	}
	return raw, err
}

func (m *meddler) Derive(ctx context.Context) (wire.Derived, []wire.Timing, error) {
	d, timings, err := m.Link.Derive(ctx)
	if err == nil && m.derived != nil {
		m.derived(&d)
	}
	return d, timings, err
}

func (m *meddler) Activate(ctx context.Context, c tpm.Challenge) (wire.Answer, error) {
	if m.challenge != nil {
		m.challenge(&c)
	}
	link := m.Link
	if m.activate != nil {
		link = m.activate
	}
	answer, err := link.Activate(ctx, c)
	if err == nil && m.answer != nil {
		m.answer(&answer)
	}
	return answer, err
}

// helperLink is a link to the real helper on a TPM.
func helperLink(t testing.TB, e *emulator) tpm.Link {
	t.Helper()
	p := startHelper(t, "-device", e.Socket)
	return tpm.HelperLink(p.In, p.Out)
}

// rename gives a public area the name that belongs to it, as one who forges knows how to.
func rename(k *wire.Key) {
	sum := sha256.Sum256(k.Public)
	k.Name = append([]byte{0, 0x0b}, sum[:]...)
}

// edit changes the public area of a key and its name.
func edit(t testing.TB, k *wire.Key, change func(*tpm2.TPMTPublic)) {
	t.Helper()
	area := must[*tpm2.TPMTPublic](t)(tpm2.Unmarshal[tpm2.TPMTPublic](k.Public))
	change(area)
	k.Public = tpm2.Marshal(area)
	rename(k)
}

func TestProofRefusesEveryLie(t *testing.T) {
	other := start(t, stranger)
	var replay []byte
	tests := []struct {
		name string
		from base
		lie  func(testing.TB, *meddler)
		code string
	}{
		{"another TPM activates", certified, func(t testing.TB, m *meddler) {
			m.activate = helperLink(t, other)
		}, "integrity"},
		{"the answer to the challenge before, replayed", certified, func(t testing.TB, m *meddler) {
			before := &meddler{Link: helperLink(t, other), answer: func(a *wire.Answer) { replay = a.Secret }}
			if report, err := tpm.Examine(t.Context(), before, tpm.ExamineOptions{Proof: true}); err != nil || !report.Proven {
				t.Fatal(err)
			}
			m.answer = func(a *wire.Answer) { a.Secret = replay }
		}, "secret"},
		{"a truncated answer", certified, func(_ testing.TB, m *meddler) {
			m.answer = func(a *wire.Answer) { a.Secret = a.Secret[:16] }
		}, "secret-length"},
		{"an empty answer", certified, func(_ testing.TB, m *meddler) {
			m.answer = func(a *wire.Answer) { a.Secret = nil }
		}, "secret-length"},
		{"an answer with more behind it", certified, func(_ testing.TB, m *meddler) {
			m.answer = func(a *wire.Answer) { a.Secret = append(a.Secret, 0) }
		}, "secret-length"},
		{"a challenge altered in flight", certified, func(_ testing.TB, m *meddler) {
			m.challenge = func(c *tpm.Challenge) { c.ObjectID[len(c.ObjectID)-1] ^= 1 }
		}, "integrity"},
		{"an encrypted seed altered in flight", certified, func(_ testing.TB, m *meddler) {
			m.challenge = func(c *tpm.Challenge) { c.Encrypted[0] ^= 1 }
		}, "integrity"},
		{"the certificate of another TPM", certified, func(t testing.TB, m *meddler) {
			cert, err := other.ReadCert()
			if err != nil {
				t.Fatal(err)
			}
			m.facts = func(r *tpm.Raw) { r.EKCert.Data = cert }
		}, "ekcert-mismatch"},
		{"the certificate and the EK of another TPM, which this one cannot use", certified, func(t testing.TB, m *meddler) {
			cert, err := other.ReadCert()
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := helperLink(t, other).Read(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			m.facts = func(r *tpm.Raw) { r.EKCert.Data, r.EK = cert, theirs.EK }
		}, "integrity"},
		{"an EK edited in flight, its name left", bare, func(_ testing.TB, m *meddler) {
			m.derived = func(d *wire.Derived) { d.Key.Public[len(d.Key.Public)-1] ^= 2 }
		}, "name"},
		{"an EK edited in flight with its name", bare, func(_ testing.TB, m *meddler) {
			m.derived = func(d *wire.Derived) {
				d.Key.Public[len(d.Key.Public)-1] ^= 2
				rename(&d.Key)
			}
		}, "integrity"},
		{"an EK that is no restricted key", bare, func(t testing.TB, m *meddler) {
			m.derived = func(d *wire.Derived) {
				edit(t, &d.Key, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Restricted = false })
			}
		}, "ek-not-restricted"},
		{"an EK that signs", bare, func(t testing.TB, m *meddler) {
			m.derived = func(d *wire.Derived) {
				edit(t, &d.Key, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SignEncrypt = true })
			}
		}, "ek-not-restricted"},
		{"an EK that can leave its TPM", bare, func(t testing.TB, m *meddler) {
			m.derived = func(d *wire.Derived) {
				edit(t, &d.Key, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false })
			}
		}, "ek-not-fixed"},
		{"an EK of 1024 bits", bare, func(t testing.TB, m *meddler) {
			m.derived = func(d *wire.Derived) {
				edit(t, &d.Key, func(p *tpm2.TPMTPublic) {
					n := bytes.Repeat([]byte{0xff}, 128)
					p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: n})
				})
			}
		}, "ek-size"},
		{"an object with a wrong name", certified, func(_ testing.TB, m *meddler) {
			m.facts = func(r *tpm.Raw) { r.Object.Name[5] ^= 1 }
		}, "name"},
		{"an object's public area altered", certified, func(_ testing.TB, m *meddler) {
			m.facts = func(r *tpm.Raw) { r.Object.Public[len(r.Object.Public)-1] ^= 1 }
		}, "object-malformed"},
		{"an object that the TPM does not hold", certified, func(t testing.TB, m *meddler) {
			theirs, err := helperLink(t, other).Read(t.Context(), true)
			if err != nil {
				t.Fatal(err)
			}
			m.facts = func(r *tpm.Raw) { r.Object = theirs.Object }
		}, "integrity"},
		{"an object that can leave its TPM", certified, func(t testing.TB, m *meddler) {
			m.facts = func(r *tpm.Raw) {
				edit(t, &r.Object, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false })
			}
		}, "object-not-fixed"},
		{"no object", certified, func(_ testing.TB, m *meddler) {
			m.facts = func(r *tpm.Raw) { r.Object = wire.Key{} }
		}, "object"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := start(t, test.from)
			before := e.contents(t)
			p := startHelper(t, "-device", e.Socket)
			m := &meddler{Link: tpm.HelperLink(p.In, p.Out)}
			test.lie(t, m)
			report, err := tpm.Examine(t.Context(), m, tpm.ExamineOptions{Proof: true})
			var refusal *tpm.ProofError
			if !errors.As(err, &refusal) || !errors.Is(err, tpm.ErrProof) || refusal.Code != test.code {
				t.Errorf("got %v, want a refusal with code %q", err, test.code)
			}
			if report == nil || report.Proven {
				t.Errorf("report %+v", report)
			}
			t.Log(err)
			p.In.Close()
			if err := p.Wait(); err != nil {
				t.Error(err)
			}
			e.unchanged(t, before)
		})
	}
}

// What a host's owner can really do with a TPM: another kind of key at the EK's place, with a certificate for it.
func TestProofRefusesKeysThatAreNoEK(t *testing.T) {
	unrestricted := tpm2.RSAEKTemplate
	unrestricted.ObjectAttributes.Restricted = false
	unrestricted.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: 2048})
	withPassword := tpm2.RSAEKTemplate
	withPassword.ObjectAttributes.AdminWithPolicy, withPassword.ObjectAttributes.UserWithAuth = false, true
	withPassword.AuthPolicy = tpm2.TPM2BDigest{}
	tests := []struct {
		name     string
		template tpm2.TPMTPublic
		code     string
		finding  string
	}{
		{"a decryption key that is not restricted", unrestricted, "ek-not-restricted", "ek-parameters"},
		{"a storage key without the EK's policy", withPassword, "ek-policy", "ek-parameters"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := state{from: bare, change: func(t testing.TB, tpm transport.TPM) {
				persist(t, tpm, tpm2.TPMRHEndorsement, test.template, handleEK)
				public := must[*tpm2.ReadPublicResponse](t)(tpm2.ReadPublic{ObjectHandle: handleEK}.Execute(tpm))
				area := must[*tpm2.TPMTPublic](t)(public.OutPublic.Contents())
				key := must[any](t)(tpm2.Pub(*area)).(*rsa.PublicKey)
				define(t, tpm, index{handle: indexEKCert, data: issue(t, key, nil), attrs: readable()})
			}}
			report, err := examine(t, s.start(t), tpm.ExamineOptions{Proof: true, Now: func() time.Time { return now }})
			var refusal *tpm.ProofError
			if !errors.As(err, &refusal) || refusal.Code != test.code {
				t.Errorf("got %v, want a refusal with code %q", err, test.code)
			}
			if len(report.Findings) != 1 || report.Findings[0].Code != test.finding {
				t.Errorf("findings %+v", report.Findings)
			}
			verdict := s.start(t).reference(t, errand{Join: true, Rule: report.Identity.Hash, Now: now})
			if verdict.Refused == "" {
				t.Error("the server admits it")
			}
			t.Log(verdict.Refused)
		})
	}
}

func TestProofCostsNoKeyGenerationWhereTheCertificateIsForThePersistentEK(t *testing.T) {
	e := start(t, certified)
	report, err := examine(t, e, tpm.ExamineOptions{Proof: true})
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	for _, timing := range report.Timings {
		if timing.Command == "TPM2_CreatePrimary" {
			made++
		}
		if timing.Took <= 0 {
			t.Errorf("%s took %v", timing.Command, timing.Took)
		}
	}
	if made != 1 { // the object of the proof: ECC
		t.Errorf("%d keys were made", made)
	}
	report, err = examine(t, e, tpm.ExamineOptions{})
	if err != nil || report.Proven {
		t.Fatalf("%v, %+v", err, report)
	}
	for _, timing := range report.Timings {
		if timing.Command == "TPM2_CreatePrimary" {
			t.Error("a key was made without a proof")
		}
	}
}
