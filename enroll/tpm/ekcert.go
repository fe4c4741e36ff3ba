package tpm

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
)

// errNotPresented says that there is an EK certificate in a form that tbot does not recognise: it presents the bare EK.
var errNotPresented = errors.New("tbot does not recognise the EK certificate")

// Lengths of what may stand before the certificate: TCG_PCCLIENT_STORED_CERT is a tag (10 01), a type (00: a full
// certificate) and a length; TCG_FULL_CERT in it begins with a tag of its own (10 02), which the length includes (TCG PC
// Client Specific Implementation Specification for Conventional BIOS, for TPM 1.2, section 7.3.2).
const (
	storedCertHeader = 5
	fullCertTag      = 2
)

// parseEKCert parses the content of NV index 0x01C00002, or such a certificate from elsewhere, as a scan does, which is
// what go-attestation's EKs and ParseEKCertificate do (attest/tpm.go), and so tbot:
//
//   - the 5-byte header of a TCG_PCCLIENT_STORED_CERT is taken off; one that promises more than there is is an error;
//   - what crypto/x509 refuses is tried again without what stands behind the first ASN.1 element: NV indices are often
//     larger than the certificate and filled with 0x00, 0xff or anything else;
//   - any key will do, on any curve that crypto/x509 knows (P-384), at this index too. A key of another type, namely
//     RSAES-OAEP (RFC 4055, section 4.1), gives a certificate without PublicKey and no error: see EKCertIdentity.
//
// With the 7-byte header, of which TCG_FULL_CERT's tag is a part, the error is ErrNotPresented, and the certificate comes
// beside it: go-attestation leaves the tag where it is and reads nothing. der is the certificate without header and
// padding; it is there, cert being nil, also where crypto/x509 refuses it (a negative serial, for instance).
func parseEKCert(nv []byte) (cert *x509.Certificate, der []byte, err error) {
	nv, err = trimStoredCert(nv)
	if err != nil {
		return nil, nil, err
	}
	if rest, ok := bytes.CutPrefix(nv, []byte{0x10, 0x02}); ok {
		cert, der, err = parseFirst(rest)
		if err == nil {
			err = fmt.Errorf("%w: it has the 7-byte header of a TPM 1.2 (tag 10 02)", errNotPresented)
		}
		return cert, der, err
	}
	return parseFirst(nv)
}

// trimStoredCert takes the 5-byte header off.
func trimStoredCert(nv []byte) ([]byte, error) {
	if len(nv) <= storedCertHeader || !bytes.HasPrefix(nv, []byte{0x10, 0x01, 0x00}) {
		return nv, nil
	}
	size, rest := int(binary.BigEndian.Uint16(nv[3:])), nv[storedCertHeader:]
	if len(rest) < size {
		return nil, fmt.Errorf("EKCert: header promises %d bytes, there are %d", size, len(rest))
	}
	return rest[:size], nil
}

func parseFirst(b []byte) (*x509.Certificate, []byte, error) {
	cert, err := x509.ParseCertificate(b)
	if err == nil {
		return cert, cert.Raw, nil
	}
	var first struct{ Raw asn1.RawContent }
	if _, asn1Err := asn1.Unmarshal(b, &first); asn1Err != nil {
		return nil, nil, fmt.Errorf("EKCert: %w", err)
	}
	if cert, err = x509.ParseCertificate(first.Raw); err != nil {
		return nil, first.Raw, fmt.Errorf("EKCert: %w", err)
	}
	return cert, cert.Raw, nil
}

// EKCertIdentity is the identity that a scan finds on a TPM with this content of NV index 0x01C00002: the certificate's
// key and serial. The error is ErrIdentity where Go cannot read the key, so that tbot ends; every other error means that
// tbot presents the bare EK, which this certificate does not tell.
func EKCertIdentity(nv []byte) (Identity, error) {
	cert, _, err := parseEKCert(nv)
	if err != nil {
		return Identity{}, err
	}
	return certifiedIdentity(cert)
}
