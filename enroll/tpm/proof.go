package tpm

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"fleetctl/enroll/tpm/wire"
)

// secretSize is the length of the secret of a challenge, in bytes.
const secretSize = 32

// ProofError is one reason why an EK is not proven.
type ProofError struct {
	Code    string // stable, e.g. "ekcert-mismatch", "integrity", "secret"
	Message string
	Err     error // the cause; may be nil
}

func (e *ProofError) Error() string {
	if e.Err == nil {
		return ErrProof.Error() + ": " + e.Message
	}
	return ErrProof.Error() + ": " + e.Message + ": " + e.Err.Error()
}

// Unwrap gives ErrProof and the cause.
func (e *ProofError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrProof}
	}
	return []error{ErrProof, e.Err}
}

// prove has the TPM open a credential that only the holder of the EK's private key can open, for an object that the same
// TPM holds (TPM 2.0 Part 1, section 24). It relies on, and checks in this order:
//
//  1. The challenged EK is the identity: same PKIX DER.
//  2. The EK is a restricted decryption key that never leaves its TPM, at least RSA-2048 or ECC P-256.
//  3. The object's name is the digest of its public area; the credential is bound to it.
//  4. The TPM opens the credential: a key that is not the EK cannot.
//  5. What came out is the secret, fresh for this challenge, compared in constant time.
func (e *examination) prove(ctx context.Context, id Identity) error {
	which, ek, err := e.challengedEK(ctx, id)
	if err != nil {
		return err
	}
	if err := checkEK(ek.area); err != nil {
		return err
	}
	name, err := objectName(e.raw.Object)
	if err != nil {
		return err
	}
	secret := make([]byte, secretSize)
	if _, err := rand.Read(secret); err != nil {
		return err
	}
	challenge, err := newChallenge(which, ek, name, secret)
	if err != nil {
		return err
	}
	answer, err := e.link.Activate(ctx, challenge)
	if err != nil {
		return activationError(err)
	}
	e.raw.Timings = append(e.raw.Timings, answer.Timings...)
	return checkSecret(answer.Secret, secret)
}

// challengedEK finds the identity's key in the TPM: at 0x81010001, where using it costs nothing, else as the derived EK.
func (e *examination) challengedEK(ctx context.Context, id Identity) (uint8, *public, error) {
	if key := e.raw.EK; len(key.Public) > 0 {
		ek, err := parsePublic(key.Public)
		if err == nil && bytes.Equal(ek.der, id.PublicDER) {
			return wire.KeyPersistent, ek, checkName(key, "EK at 0x81010001")
		}
	}
	if err := e.derive(ctx); err != nil {
		return 0, nil, err
	}
	key := e.raw.Derived.Key
	if key.Code != 0 {
		cause := &wire.CommandError{Command: wire.CCCreatePrimary, Code: key.Code}
		return 0, nil, &ProofError{Code: "derive", Message: "the TPM does not make its EK", Err: cause}
	}
	ek, err := parsePublic(key.Public)
	if err != nil {
		return 0, nil, &ProofError{Code: "ek-malformed", Message: "derived EK", Err: err}
	}
	if !bytes.Equal(ek.der, id.PublicDER) {
		return 0, nil, &ProofError{Code: "ekcert-mismatch",
			Message: "the EK certificate is not for an EK of this TPM (neither at 0x81010001 nor derived)"}
	}
	return wire.KeyDerived, ek, checkName(key, "derived EK")
}

// checkEK checks that a key is what an EK must be (EK Credential Profile, section B.3).
func checkEK(area tpm2.TPMTPublic) error {
	a := area.ObjectAttributes
	switch {
	case !a.Restricted || !a.Decrypt || a.SignEncrypt:
		return &ProofError{Code: "ek-not-restricted", Message: "the EK is not a restricted decryption key"}
	case !a.FixedTPM || !a.FixedParent || !a.SensitiveDataOrigin:
		return &ProofError{Code: "ek-not-fixed", Message: "the EK can leave its TPM or was not made by it"}
	}
	if err := checkEKSize(area); err != nil {
		return err
	}
	return nil
}

func checkEKSize(area tpm2.TPMTPublic) error {
	key, err := tpm2.Pub(area)
	if err != nil {
		return &ProofError{Code: "ek-malformed", Message: "EK", Err: err}
	}
	if k, ok := key.(*rsa.PublicKey); ok && k.N.BitLen() < 2048 {
		return &ProofError{Code: "ek-size", Message: fmt.Sprintf("the EK has %d bits, fewer than 2048", k.N.BitLen())}
	}
	return nil // ECC: no curve below P-256 is parsed
}

// objectName checks the object that is to be activated and returns its name.
func objectName(key wire.Key) ([]byte, error) {
	if key.Code != 0 {
		cause := &wire.CommandError{Command: wire.CCCreatePrimary, Code: key.Code}
		return nil, &ProofError{Code: "object", Message: "the TPM makes no ECC P-256 key to activate", Err: cause}
	}
	if len(key.Public) == 0 {
		return nil, &ProofError{Code: "object", Message: "the host shows no key to activate"}
	}
	object, err := parsePublic(key.Public)
	if err != nil {
		return nil, &ProofError{Code: "object-malformed", Message: "object to activate", Err: err}
	}
	if a := object.area.ObjectAttributes; !a.FixedTPM || !a.FixedParent || !a.SensitiveDataOrigin {
		return nil, &ProofError{Code: "object-not-fixed", Message: "the object to activate can leave its TPM"}
	}
	return key.Name, checkName(key, "object to activate")
}

// checkName checks that a name is the digest of the public area that came with it (TPM 2.0 Part 1, section 16).
func checkName(key wire.Key, what string) error {
	area, err := tpm2.Unmarshal[tpm2.TPMTPublic](key.Public)
	if err != nil {
		return &ProofError{Code: "name", Message: what, Err: err}
	}
	name, err := tpm2.ObjectName(area)
	if err != nil {
		return &ProofError{Code: "name", Message: what, Err: err}
	}
	if !bytes.Equal(name.Buffer, key.Name) {
		return &ProofError{Code: "name", Message: what + ": its name is not the digest of its public area"}
	}
	return nil
}

func newChallenge(which uint8, ek *public, name, secret []byte) (Challenge, error) {
	encapsulation, err := tpm2.ImportEncapsulationKey(&ek.area)
	if err != nil {
		return Challenge{}, &ProofError{Code: "ek-parameters", Message: "EK", Err: err}
	}
	object, encrypted, err := tpm2.CreateCredential(rand.Reader, encapsulation, name, secret)
	if err != nil {
		return Challenge{}, &ProofError{Code: "ek-parameters", Message: "EK", Err: err}
	}
	return Challenge{Key: which, ObjectID: object, Encrypted: encrypted}, nil
}

// activationError says what a TPM's refusal means. What is not a refusal stays as it is: the connection may have ended.
func activationError(err error) error {
	var command *wire.CommandError
	if !errors.As(err, &command) {
		return err
	}
	refusal := &ProofError{Code: "activate", Message: "the TPM refused to activate the credential", Err: err}
	base := wire.BaseCode(command.Code)
	switch command.Command {
	case wire.CCPolicySecret:
		if base == wire.RC1BadAuth || base == wire.RC1AuthFail {
			refusal.Code, refusal.Message = "endorsement-auth", "the endorsement hierarchy has a password"
		}
	case wire.CCActivateCredential:
		switch base {
		case wire.RC1Integrity, wire.RC1Value, wire.RC1Size, wire.RCFailure: // the last where swtpm cannot decrypt
			refusal.Code = "integrity"
			refusal.Message = "the TPM cannot open the credential: it does not hold the EK, or the challenge was altered"
		case wire.RC1Policy, wire.RCAuthType, wire.RC1AuthFail, wire.RC1BadAuth:
			refusal.Code, refusal.Message = "ek-policy", "the EK wants another authorization than the default EK's"
		case wire.RCLockout:
			refusal.Code, refusal.Message = "lockout", "the TPM is in lockout"
		}
	}
	return refusal
}

func checkSecret(got, want []byte) error {
	if len(got) != len(want) {
		return &ProofError{Code: "secret-length",
			Message: fmt.Sprintf("the answer has %d bytes, the secret %d", len(got), len(want))}
	}
	if subtle.ConstantTimeCompare(got, want) != 1 {
		return &ProofError{Code: "secret", Message: "the answer is not the secret of this challenge"}
	}
	return nil
}
