package cluster

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/google/go-attestation/attest"
	"github.com/gravitational/teleport/api/types"
)

// Why a join is refused; the texts around them are for people.
var (
	ErrNoToken    = errors.New("token expired or not found")
	ErrMethod     = errors.New("join method does not match the token")
	ErrEK         = errors.New("parsing EK")
	ErrNoEKCert   = errors.New("tpm did not provide an EKCert to validate against allowed CAs")
	ErrCA         = errors.New("validating EKCert against allowed CAs")
	ErrActivation = errors.New("solving credential activation challenge")
	ErrNoRule     = errors.New("validated tpm attributes did not match any allow rules")
)

// Attestation is what a TPM presents when it joins.
type Attestation struct {
	EKCert []byte // DER of the EK certificate; nil: the TPM has none that tbot can read, then EKKey is set
	EKKey  []byte // PKIX DER of the EK
	AK     attest.AttestationParameters

	// Activate has the TPM solve a credential activation challenge (TPM 2.0 Part 3, TPM2_ActivateCredential).
	Activate func(attest.EncryptedCredential) ([]byte, error)
}

// Verdict is what the server knows of a TPM that may join.
type Verdict struct {
	EKPubHash  string // hex(SHA-256(PKIX DER)), lower case
	EKSerial   string // of the EKCert; "" without
	EKVerified bool   // the EKCert was verified against the token's CAs
	Rule       int    // index of the allow rule that matched first
}

// Judge decides whether a TPM may join with a token, in the server's order: parse the EK, check the certificate
// against the token's CAs if it has any, credential activation, allow rules.
func Judge(token *types.ProvisionTokenV2, a Attestation, now time.Time) (Verdict, error) {
	if token.Spec.JoinMethod != types.JoinMethodTPM || token.Spec.TPM == nil {
		return Verdict{}, fmt.Errorf("%w: token %q is for method %q", ErrMethod, token.GetName(), token.Spec.JoinMethod)
	}
	ek, err := ParseEK(a)
	if err != nil {
		return Verdict{}, err
	}
	v := Verdict{EKPubHash: ek.Hash, EKSerial: ek.Serial}
	if cas := token.Spec.TPM.EKCertAllowedCAs; len(cas) > 0 {
		if err := VerifyEKCert(ek.Cert, cas, now); err != nil {
			return v, err
		}
		v.EKVerified = true
	}
	if err := activate(ek.Public, a); err != nil {
		return v, err
	}
	v.Rule, err = MatchRule(token.Spec.TPM.Allow, v.EKPubHash, v.EKSerial)
	return v, err
}

// EK is a TPM's endorsement key as it was presented.
type EK struct {
	Public crypto.PublicKey
	Cert   *x509.Certificate // nil without
	Hash   string
	Serial string
}

// ParseEK reads the identity that an attestation claims: the certificate's key where there is one, else the bare key.
func ParseEK(a Attestation) (EK, error) {
	var ek EK
	if len(a.EKCert) > 0 {
		cert, err := attest.ParseEKCertificate(a.EKCert)
		if err != nil {
			return EK{}, fmt.Errorf("%w: %w", ErrEK, err)
		}
		ek = EK{Public: cert.PublicKey, Cert: cert, Serial: Serial(cert.SerialNumber)}
	} else {
		key, err := x509.ParsePKIXPublicKey(a.EKKey)
		if err != nil {
			return EK{}, fmt.Errorf("%w: %w", ErrEK, err)
		}
		ek = EK{Public: key}
	}
	der, err := x509.MarshalPKIXPublicKey(ek.Public)
	if err != nil {
		return EK{}, fmt.Errorf("%w: %w", ErrEK, err)
	}
	sum := sha256.Sum256(der)
	ek.Hash = hex.EncodeToString(sum[:])
	return ek, nil
}

// Serial writes a serial number as rules have it: big-endian lower-case hex in pairs joined by colons.
func Serial(n *big.Int) string {
	digits := n.Text(16)
	if len(digits)%2 == 1 {
		digits = "0" + digits
	}
	var pairs []string
	for pair := range slices.Chunk([]byte(digits), 2) {
		pairs = append(pairs, string(pair))
	}
	return strings.Join(pairs, ":")
}

var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// VerifyEKCert checks an EK certificate against the CAs of a token (PEM, the first block counts): they are the only
// roots, there are no intermediates, any extended key usage will do, and a critical subject alternative name, which
// TPM certificates have by specification, does not count as unhandled.
func VerifyEKCert(cert *x509.Certificate, allowedCAs []string, now time.Time) error {
	if cert == nil {
		return ErrNoEKCert
	}
	roots := x509.NewCertPool()
	for i, ca := range allowedCAs {
		block, _ := pem.Decode([]byte(ca))
		if block == nil {
			return fmt.Errorf("%w: ekcert_allowed_cas[%d] holds no PEM block", ErrCA, i)
		}
		root, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("%w: ekcert_allowed_cas[%d]: %w", ErrCA, i, err)
		}
		roots.AddCert(root)
	}
	checked := *cert
	checked.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(cert.UnhandledCriticalExtensions),
		func(oid asn1.ObjectIdentifier) bool { return oid.Equal(oidSubjectAltName) })
	_, err := checked.Verify(x509.VerifyOptions{
		Roots:       roots,
		CurrentTime: now,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCA, err)
	}
	return nil
}

// activate proves that the TPM holds the EK: it encrypts a secret to the EK and the AK's name, which only that TPM can
// open.
func activate(ek crypto.PublicKey, a Attestation) error {
	params := attest.ActivationParameters{EK: ek, AK: a.AK}
	secret, challenge, err := params.Generate()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrActivation, err)
	}
	if a.Activate == nil {
		return fmt.Errorf("%w: nobody to solve it", ErrActivation)
	}
	solution, err := a.Activate(*challenge)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrActivation, err)
	}
	if subtle.ConstantTimeCompare(secret, solution) != 1 {
		return fmt.Errorf("%w: wrong solution", ErrActivation)
	}
	return nil
}

// MatchRule returns the index of the first allow rule that matches. What a rule sets must be equal, byte for byte.
func MatchRule(rules []*types.ProvisionTokenSpecV2TPM_Rule, hash, serial string) (int, error) {
	for i, rule := range rules {
		if rule.EKPublicHash != "" && rule.EKPublicHash != hash {
			continue
		}
		if rule.EKCertificateSerial != "" && rule.EKCertificateSerial != serial {
			continue
		}
		return i, nil
	}
	var said bytes.Buffer
	fmt.Fprintf(&said, "ek_public_hash %s", hash)
	if serial != "" {
		fmt.Fprintf(&said, ", ek_certificate_serial %s", serial)
	}
	return -1, fmt.Errorf("%w: %s", ErrNoRule, said.String())
}
