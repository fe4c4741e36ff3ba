package tpm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/google/go-tpm/tpm2"

	"fleetctl/enroll/tpm/wire"
)

// identify decides which EK tbot presents, as go-attestation's EKs does on Linux: the key of the certificate at
// 0x01C00002 where that parses, else the key of the default RSA-2048 template.
func (e *examination) identify(ctx context.Context) (Identity, error) {
	if cert, _, err := parseEKCert(e.raw.EKCert.Data); err == nil {
		return certifiedIdentity(cert)
	}
	if err := e.derive(ctx); err != nil {
		return Identity{}, err
	}
	key := e.raw.Derived.Key
	if key.Code != 0 {
		return Identity{}, fmt.Errorf("derive the EK: %w",
			&wire.CommandError{Command: wire.CCCreatePrimary, Code: key.Code})
	}
	public, err := parsePublic(key.Public)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: derived key: %w", ErrIdentity, err)
	}
	if _, isRSA := public.key.(*rsa.PublicKey); !isRSA {
		return Identity{}, fmt.Errorf("%w: the derived key is not an RSA key", ErrIdentity)
	}
	return keyIdentity(public.key)
}

// maxSerial bounds the serial number of an EK certificate, in bytes. It shall have 20 at most (RFC 5280, section 4.1.2.2). Teleport
// takes any, and chips were made with a few more; kilobytes of it would stand in records, tokens and tables.
const maxSerial = 64

func certifiedIdentity(cert *x509.Certificate) (Identity, error) {
	id, err := keyIdentity(cert.PublicKey)
	if cert.PublicKey == nil {
		err = fmt.Errorf("%w: tbot cannot read the key in the EK certificate (%s)", ErrIdentity, keyAlgorithm(cert))
	}
	if n := (cert.SerialNumber.BitLen() + 7) / 8; n > maxSerial {
		return Identity{}, fmt.Errorf("%w: the serial number of the EK certificate has %d bytes: more than %d", ErrIdentity, n, maxSerial)
	}
	id.Serial = Serial(cert.SerialNumber)
	id.CertDER = cert.Raw
	id.Certificate = cert
	return id, err
}

// keyIdentity is the identity of a bare key. For a key that Go cannot encode, tbot ends with an error as well.
func keyIdentity(key crypto.PublicKey) (Identity, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	hash := sha256.Sum256(der)
	return Identity{Hash: hex.EncodeToString(hash[:]), PublicDER: der, KeyType: KeyType(key)}, nil
}

// KeyType names a public key's algorithm and size: "RSA-2048", "ECC-P256".
func KeyType(key crypto.PublicKey) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECC-" + strings.ReplaceAll(k.Curve.Params().Name, "-", "")
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "unknown"
}

// Serial writes a certificate's serial number as tbot does: big-endian lower-case hex in pairs with ":" between, padded
// to an even length (256 is "01:00").
func Serial(n *big.Int) string {
	digits := n.Text(16)
	if len(digits)%2 == 1 {
		digits = "0" + digits
	}
	pairs := make([]string, 0, len(digits)/2)
	for i := 0; i < len(digits); i += 2 {
		pairs = append(pairs, digits[i:i+2])
	}
	return strings.Join(pairs, ":")
}

// public is a TPM's public area with the key in it.
type public struct {
	area tpm2.TPMTPublic
	key  crypto.PublicKey
	der  []byte // PKIX
}

// parsePublic parses a TPMT_PUBLIC strictly: what it holds must encode to the same bytes, which the name is made of.
func parsePublic(b []byte) (*public, error) {
	area, err := tpm2.Unmarshal[tpm2.TPMTPublic](b)
	if err != nil {
		return nil, fmt.Errorf("malformed public area: %w", err)
	}
	if !bytes.Equal(tpm2.Marshal(area), b) {
		return nil, errors.New("malformed public area: not in its canonical encoding")
	}
	key, err := tpm2.Pub(*area)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	return &public{area: *area, key: key, der: der}, nil
}
