// Package tpm owns the TPM's identity: reading what a TPM 2.0 holds, deciding which endorsement key (EK) tbot would
// present, proving by credential activation that the TPM holds it, and judging EK certificates as Teleport's server
// does. It holds the controller's end of the helper's protocol; package wire is the protocol, package device the host's
// end. It knows no SSH and no inventory.
package tpm

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"fleetctl/enroll/tpm/wire"
)

// Why a TPM cannot be used. They survive the helper's protocol: errors.Is works on the controller.
var (
	ErrNoTPM      = wire.ErrNoTPM      // no chip in sysfs and no device
	ErrTPM12      = wire.ErrTPM12      // tbot needs 2.0
	ErrPermission = wire.ErrPermission // become root
	ErrBusy       = wire.ErrBusy       // EBUSY, TPM_RC_RETRY for too long
	ErrLockout    = wire.ErrLockout
	ErrTPM        = wire.ErrTPM      // any other failure of the TPM or its driver
	ErrProtocol   = wire.ErrProtocol // version, framing, size, encoding

	// ErrProof: the TPM did not show that it holds the EK. Errors of this kind are *ProofError.
	ErrProof = errors.New("EK is not proven")
	// ErrIdentity: there is a TPM, but nothing in it that tbot could present. The report's findings say why.
	ErrIdentity = errors.New("no EK that tbot could present")
)

// Raw is what was read from a TPM, unjudged. Everything in it is the host's word.
type Raw = wire.Raw

// Challenge is what credential activation sends to the TPM (TPM 2.0 Part 3, TPM2_ActivateCredential).
type Challenge = wire.Challenge

// ExamineOptions of Examine.
type ExamineOptions struct {
	Proof bool             // prove the EK by credential activation
	CAs   *CASet           // judge the EK certificate against these; nil: token without ekcert_allowed_cas
	Now   func() time.Time // the time that certificates are judged at; nil: time.Now
}

// Time is when certificates have to be valid.
func (o ExamineOptions) Time() time.Time {
	if o.Now == nil {
		return time.Now()
	}
	return o.Now()
}

// Identity is what tbot presents when it joins: the EK and, where the TPM has a readable one, its certificate.
type Identity struct {
	Hash        string            `json:"ek_public_hash"`                  // hex(SHA-256(PKIX DER)), 64 lower-case digits
	Serial      string            `json:"ek_certificate_serial,omitempty"` // big-endian lower-case hex pairs, ":" between
	PublicDER   []byte            `json:"ek_public,omitempty"`             // PKIX DER of the EK
	CertDER     []byte            `json:"ek_certificate,omitempty"`        // the EKCert as tbot presents it; nil without
	Certificate *x509.Certificate `json:"-"`
	KeyType     string            `json:"key_type,omitempty"` // "RSA-2048", "ECC-P256"…
}

// Report is what is known of one TPM after Examine.
type Report struct {
	Identity   Identity   `json:"identity"`
	Proven     bool       `json:"proven"`
	Properties Properties `json:"properties"`
	Findings   []Finding  `json:"findings,omitempty"` // forecast of the join; empty: tbot will join
	Timings    []Timing   `json:"-"`                  // what each TPM command took
}

// Timing is the time that one TPM command took on the host.
type Timing struct {
	Command string // "TPM2_CreatePrimary"
	Took    time.Duration
}

// Examine reads a TPM, decides its identity, proves it and forecasts the join. Whenever the TPM could be read there is
// a report, also beside an error: ErrProof means that Report.Identity is only what the host claims, ErrIdentity that
// there is none. The TPM is left as it was; the link is of no use afterwards.
func Examine(ctx context.Context, link Link, opts ExamineOptions) (*Report, error) {
	defer link.Release()
	raw, err := link.Read(ctx, opts.Proof)
	if err != nil {
		return nil, err
	}
	e := examination{link: link, raw: raw}
	identity, err := e.identify(ctx)
	var proof error
	if err == nil && opts.Proof {
		proof = e.prove(ctx, identity)
	}
	report := newReport(raw, identity, err, opts)
	report.Proven = err == nil && proof == nil && opts.Proof
	return report, errors.Join(err, proof)
}

// Judge does what Examine does with facts that were read earlier and elsewhere: nothing is proven.
func Judge(raw *Raw, opts ExamineOptions) (*Report, error) {
	e := examination{link: deadLink{}, raw: raw}
	identity, err := e.identify(context.Background())
	return newReport(raw, identity, err, opts), err
}

func newReport(raw *Raw, identity Identity, identityErr error, opts ExamineOptions) *Report {
	r := &Report{Identity: identity, Properties: newProperties(raw, identity), Timings: newTimings(raw.Timings)}
	r.Findings = forecast(raw, identity, identityErr)
	if opts.CAs != nil && identity.Hash != "" {
		r.Findings = append(r.Findings, opts.CAs.Judge(identity.Certificate, opts.Time())...)
	}
	return r
}

func newTimings(in []wire.Timing) []Timing {
	out := make([]Timing, len(in))
	for i, t := range in {
		out[i] = Timing{Command: wire.CommandName(t.Command), Took: t.Took}
	}
	return out
}

// examination is one Examine under way.
type examination struct {
	link Link
	raw  *Raw // what Derive and Activate bring is added to it
}

// derive has the EK of the default template made, once.
func (e *examination) derive(ctx context.Context) error {
	if e.raw.Derived.Key.Code != 0 || len(e.raw.Derived.Key.Public) > 0 {
		return nil
	}
	d, timings, err := e.link.Derive(ctx)
	if err != nil {
		return fmt.Errorf("derive the EK: %w", err)
	}
	e.raw.Derived = d
	e.raw.Timings = append(e.raw.Timings, timings...)
	return nil
}
