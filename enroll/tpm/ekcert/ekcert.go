// Package ekcert is the little of X.509 that the helper needs to print an identity by itself (identify -text):
// crypto/x509 would add a megabyte to what is pushed to every host. It must say exactly what crypto/x509 says on the
// controller, which is what tbot presents; where it cannot be sure it says so instead. The controller never uses it.
package ekcert

import (
	"bytes"
	"errors"
)

// Why a certificate gives no identity here.
var (
	// ErrUnparseable: crypto/x509 refuses it, so tbot presents the bare EK, as without a certificate.
	ErrUnparseable = errors.New("not a certificate that tbot can parse")
	// ErrKeyUnreadable: crypto/x509 parses it without understanding the key. tbot fails.
	ErrKeyUnreadable = errors.New("tbot cannot read the key in the EK certificate")
	// ErrUnsure: it takes crypto/x509 to tell.
	ErrUnsure = errors.New("the EK certificate has parts that only fleetctl can judge")
)

// Certificate is what an identity is made of.
type Certificate struct {
	PublicDER []byte // PKIX DER of the RSA key
	Serial    []byte // big-endian, without leading zeros, at least one byte
}

// Parse parses the content of NV index 0x01C00002 as go-attestation does: a 5-byte header is taken off, and what stands
// behind the first element is ignored.
func Parse(nv []byte) (*Certificate, error) {
	if len(nv) > 5 && bytes.HasPrefix(nv, []byte{0x10, 0x01, 0x00}) {
		size := int(nv[3])<<8 | int(nv[4])
		if len(nv)-5 < size {
			return nil, ErrUnparseable
		}
		nv = nv[5 : 5+size]
	}
	in := der{buf: nv}
	p := parser{}
	c := p.certificate(in.get(tagSequence))
	switch {
	case in.bad || p.bad:
		return nil, ErrUnparseable
	case p.unsure:
		return nil, ErrUnsure
	case c.PublicDER == nil:
		return nil, ErrKeyUnreadable
	}
	return c, nil
}

// RSAPublicDER is the PKIX DER of an RSA key: modulus big-endian without leading zeros, as crypto/x509 writes it
// (RFC 3279, section 2.3.1).
func RSAPublicDER(modulus []byte, exponent uint32) []byte {
	e := trim([]byte{byte(exponent >> 24), byte(exponent >> 16), byte(exponent >> 8), byte(exponent)})
	return rsaPublicDER(integer(trim(modulus)), integer(e))
}

func rsaPublicDER(n, e []byte) []byte {
	algorithm := element(tagSequence, element(tagOID, []byte(oidRSA)), []byte{tagNull, 0})
	key := element(tagSequence, element(tagInteger, n), element(tagInteger, e))
	return element(tagSequence, algorithm, element(tagBitString, []byte{0}, key))
}

// integer puts a zero before a number whose first bit would make it negative.
func integer(b []byte) []byte {
	if b[0]&0x80 != 0 {
		return append([]byte{0}, b...)
	}
	return b
}

func trim(b []byte) []byte {
	for len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	if len(b) == 0 {
		return []byte{0}
	}
	return b
}

// element is a DER element: tag, minimal length, content.
func element(tag byte, parts ...[]byte) []byte {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	out := []byte{tag}
	switch {
	case size < 0x80:
		out = append(out, byte(size))
	case size < 0x100:
		out = append(out, 0x81, byte(size))
	default:
		out = append(out, 0x82, byte(size>>8), byte(size))
	}
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}
