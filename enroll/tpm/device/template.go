package device

import "fleetctl/enroll/tpm/wire"

// Object attributes (TPM 2.0 Part 2, section 8.3).
const (
	attrFixedTPM            = 1 << 1
	attrFixedParent         = 1 << 4
	attrSensitiveDataOrigin = 1 << 5
	attrUserWithAuth        = 1 << 6
	attrAdminWithPolicy     = 1 << 7
	attrNoDA                = 1 << 10
	attrRestricted          = 1 << 16
	attrDecrypt             = 1 << 17
	attrSign                = 1 << 18

	ekModulus = 256 // bytes
)

// policyA is TPM2_PolicySecret(TPM_RH_ENDORSEMENT) (EK Credential Profile, section B.6.2).
const policyA = "\x83\x71\x97\x67\x44\x84\xB3\xF8\x1A\x90\xCC\x8D\x46\xA5\xD7\x24" +
	"\xFD\x52\xD7\x6E\x06\x52\x0B\x64\xF2\xA1\xDA\x1B\x33\x14\x69\xAA"

// ekTemplate is template L-1, RSA-2048 (EK Credential Profile, section B.3.3). The nonce, where there is one, goes to the
// front of unique and is cut to its size.
func ekTemplate(nonce []byte) []byte {
	unique := make([]byte, ekModulus)
	copy(unique, nonce)
	var w writer
	w.u16(algRSA)
	w.u16(algSHA256)
	w.u32(attrFixedTPM | attrFixedParent | attrSensitiveDataOrigin | attrAdminWithPolicy | attrRestricted | attrDecrypt)
	w.tpm2b([]byte(policyA))
	w.u16(algAES) // symmetric: AES-128-CFB
	w.u16(128)
	w.u16(algCFB)
	w.u16(algNull) // scheme
	w.u16(8 * ekModulus)
	w.u32(0) // exponent: 65537
	w.tpm2b(unique)
	return w
}

// objectTemplate is a restricted ECDSA P-256 signing key: the kind of key that credential activation is for, and the
// cheapest one to make. Its hierarchy is the null one, so that it cannot outlive a restart.
func objectTemplate() []byte {
	var w writer
	w.u16(algECC)
	w.u16(algSHA256)
	w.u32(attrFixedTPM | attrFixedParent | attrSensitiveDataOrigin | attrUserWithAuth | attrNoDA | attrRestricted | attrSign)
	w.tpm2b(nil)   // authPolicy
	w.u16(algNull) // symmetric
	w.u16(algECDSA)
	w.u16(algSHA256)
	w.u16(curveP256)
	w.u16(algNull) // kdf
	w.tpm2b(nil)   // x
	w.tpm2b(nil)   // y
	return w
}

// RSAKey takes the key out of the TPMT_PUBLIC of an RSA key that was made from ekTemplate: modulus, big-endian, and
// exponent.
func RSAKey(public []byte) (modulus []byte, exponent uint32, err error) {
	r := reader{buf: public}
	kind := r.u16()
	r.u16()   // nameAlg
	r.u32()   // attributes
	r.tpm2b() // authPolicy
	if symmetric := r.u16(); symmetric != algNull {
		r.u16() // bits
		r.u16() // mode
	}
	scheme := r.u16()
	r.u16() // bits
	if exponent = r.u32(); exponent == 0 {
		exponent = 65537
	}
	modulus = r.tpm2b()
	if r.bad || len(r.buf) != 0 || kind != algRSA || scheme != algNull || len(modulus) == 0 {
		return nil, 0, wire.NewError(wire.ErrTPM, "the derived EK is not an RSA key of the default template")
	}
	return modulus, exponent, nil
}
