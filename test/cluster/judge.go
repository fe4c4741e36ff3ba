package cluster

import (
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
			return EK{}, &Refusal{ErrEK, err}
		}
		ek = EK{Public: cert.PublicKey, Cert: cert, Serial: Serial(cert.SerialNumber)}
	} else {
		key, err := x509.ParsePKIXPublicKey(a.EKKey)
		if err != nil {
			return EK{}, &Refusal{ErrEK, err}
		}
		ek = EK{Public: key}
	}
	der, err := x509.MarshalPKIXPublicKey(ek.Public)
	if err != nil {
		return EK{}, &Refusal{ErrEK, err}
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
		return &Refusal{Why: ErrNoEKCert}
	}
	roots := x509.NewCertPool()
	for i, ca := range allowedCAs {
		block, _ := pem.Decode([]byte(ca))
		if block == nil {
			return &Refusal{ErrCA, fmt.Errorf("ekcert_allowed_cas[%d] holds no PEM block", i)}
		}
		root, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return &Refusal{ErrCA, fmt.Errorf("ekcert_allowed_cas[%d]: %w", i, err)}
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
		return &Refusal{ErrCA, err}
	}
	return nil
}

// activate proves that the TPM holds the EK: it encrypts a secret to the EK and the AK's name, which only that TPM can
// open.
func activate(ek crypto.PublicKey, a Attestation) error {
	params := attest.ActivationParameters{EK: ek, AK: a.AK}
	secret, challenge, err := params.Generate()
	if err != nil {
		return &Refusal{ErrActivation, err}
	}
	if a.Activate == nil {
		return &Refusal{ErrActivation, errors.New("nobody to solve it")}
	}
	solution, err := a.Activate(*challenge)
	if err != nil {
		return &Refusal{ErrActivation, err}
	}
	if subtle.ConstantTimeCompare(secret, solution) != 1 {
		return &Refusal{Why: ErrSolution}
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
	return -1, &Refusal{Why: ErrNoRule}
}
