// Package tpm owns the TPM's identity: reading what a TPM 2.0 holds, deciding which endorsement key (EK) tbot would
// present, proving by credential activation that the TPM holds it, and judging EK certificates as Teleport's server
// does. It holds both ends of the helper's protocol. It knows no SSH and no inventory.
package tpm

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"time"

	"github.com/google/go-tpm/tpm2/transport"
)

// Why a TPM cannot be used. They survive the helper's protocol: errors.Is works on the controller.
var (
	ErrNoTPM      = errors.New("no TPM")                    // no chip in sysfs and no device
	ErrTPM12      = errors.New("TPM 1.2 only")              // tbot needs 2.0
	ErrPermission = errors.New("TPM device: no permission") // become root
	ErrBusy       = errors.New("TPM is in use")             // EBUSY, TPM_RC_RETRY for too long
	ErrLockout    = errors.New("TPM is in lockout")
	ErrTPM        = errors.New("TPM failed")       // any other failure of the TPM or its driver
	ErrProtocol   = errors.New("helper protocol")  // version, framing, size, encoding
	ErrProof      = errors.New("EK is not proven") // the TPM did not show that it holds the EK
)

// Raw is what was read from a TPM, unjudged. Everything in it is the host's word.
type Raw struct {
	// to be filled by the package's owner: EK certificate bytes from NV, EK public area, properties, auth flags…
}

// Challenge is what credential activation sends to the TPM (TPM 2.0 Part 3, TPM2_ActivateCredential).
type Challenge struct{}

// Link is the controller's end of one host's TPM: through the helper, or command by command.
type Link interface {
	Read(ctx context.Context) (*Raw, error)
	Activate(ctx context.Context, c Challenge) ([]byte, error)
}

// HelperLink talks to cmd/identify over its stdin and stdout.
func HelperLink(stdin io.Writer, stdout io.Reader) Link { return nil }

// TPMLink runs the same reading code here, over a transport to the host's TPM.
func TPMLink(t transport.TPM) Link { return nil }

// ExamineOptions of Examine.
type ExamineOptions struct {
	Proof bool   // prove the EK by credential activation
	CAs   *CASet // judge the EK certificate against these; nil: token without ekcert_allowed_cas
}

// Identity is what tbot presents when it joins: the EK and, where the TPM has a readable one, its certificate.
type Identity struct {
	Hash        string            // EKPub hash: hex(SHA-256(PKIX DER)), 64 lower-case digits
	Serial      string            // EKCert serial, big-endian lower-case hex pairs joined by ":"; "" without certificate
	PublicDER   []byte            // PKIX DER of the EK
	CertDER     []byte            // the EKCert as tbot presents it; nil without
	Certificate *x509.Certificate `json:"-"`
	KeyType     string            // "RSA-2048", "ECC-P256"…
}

// Properties describe the chip.
type Properties struct {
	Manufacturer string // "IFX", "INTC", "AMD", "STM", "NTC", "IBM"…
	Vendor       string // the vendor strings, joined
	Firmware     string // major.minor[.build]
	SpecRevision string // "1.38"
	Device       string // "/dev/tpmrm0"
}

// Finding is one reason why a join will or may fail.
type Finding struct {
	Code    string `json:"code"` // stable, e.g. "ekcert-mismatch", "owner-auth", "no-ekcert", "issuer-unknown"
	Fatal   bool   `json:"fatal"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// Report is what is known of one TPM after Examine.
type Report struct {
	Identity   Identity
	Proven     bool
	Properties Properties
	Findings   []Finding // forecast of the join; empty: tbot will join
	Timings    []Timing  // what each TPM command took
}

// Timing is the time that one TPM command took on the host.
type Timing struct {
	Command string
	Took    time.Duration
}

// Examine reads a TPM, decides its identity, proves it and forecasts the join. With an error that is ErrProof the
// report still says what the host claimed.
func Examine(ctx context.Context, link Link, opts ExamineOptions) (*Report, error) {
	return nil, errors.New("tpm: not built yet")
}

// CASet is a bundle of TPM manufacturers' certificates, roots and intermediates mixed.
type CASet struct{}

// LoadCAs reads PEM files, DER files and directories of them.
func LoadCAs(paths ...string) (*CASet, error) { return nil, errors.New("tpm: not built yet") }

// Issuer returns the certificate that directly issued cert (by signature, not by name alone), or nil.
func (s *CASet) Issuer(cert *x509.Certificate) *x509.Certificate { return nil }

// VerifyAsTeleport runs the very check that Teleport's server runs at a join: roots only, no intermediates, any EKU,
// the subject alternative name taken out of the unhandled critical extensions.
func VerifyAsTeleport(cert *x509.Certificate, roots []*x509.Certificate, now time.Time) error {
	return errors.New("tpm: not built yet")
}
