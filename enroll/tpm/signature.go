package tpm

import (
	"crypto"
	"crypto/ecdsa"
	_ "crypto/md5" // to recognise who signed with it, not to accept it
	"crypto/rsa"
	_ "crypto/sha1" // likewise
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
)

// insecure are the algorithms that crypto/x509 knows and refuses.
func insecure(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1:
		return true
	}
	return false
}

// unsupported are the algorithms that crypto/x509 cannot check at all.
func unsupported(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.UnknownSignatureAlgorithm, x509.MD2WithRSA, x509.DSAWithSHA1, x509.DSAWithSHA256:
		return true
	}
	return false
}

// signed says whether issuer's key signed cert.
func signed(issuer, cert *x509.Certificate) bool { return signedBy(issuer.PublicKey, cert) }

// signedBy says whether the key signed cert. Other than crypto/x509 it recognises SHA-1 and MD5, so that the finding can
// be "signed with SHA-1" instead of "issuer unknown".
func signedBy(key crypto.PublicKey, cert *x509.Certificate) bool {
	issuer := x509.Certificate{PublicKey: key}
	err := issuer.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
	var refused x509.InsecureAlgorithmError
	if !errors.As(err, &refused) {
		return err == nil
	}
	hash := crypto.SHA1
	if cert.SignatureAlgorithm == x509.MD5WithRSA {
		hash = crypto.MD5
	}
	h := hash.New()
	h.Write(cert.RawTBSCertificate)
	switch key := key.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, hash, h.Sum(nil), cert.Signature) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, h.Sum(nil), cert.Signature)
	}
	return false
}

// signatureName names a certificate's signature algorithm (RFC 5280, section 4.1.1.2), by its number where crypto/x509
// has no name for it.
func signatureName(cert *x509.Certificate) string {
	if cert.SignatureAlgorithm != x509.UnknownSignatureAlgorithm {
		return cert.SignatureAlgorithm.String()
	}
	var outer struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(cert.Raw, &outer); err != nil {
		return "unknown"
	}
	return outer.Algorithm.Algorithm.String()
}

// keyAlgorithm names the algorithm of a certificate's key (RFC 5280, section 4.1.2.7), by its number where it is not
// one of those that are met with.
func keyAlgorithm(cert *x509.Certificate) string {
	var key struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if cert.PublicKeyAlgorithm != x509.UnknownPublicKeyAlgorithm {
		return cert.PublicKeyAlgorithm.String()
	}
	if _, err := asn1.Unmarshal(cert.RawSubjectPublicKeyInfo, &key); err != nil {
		return "unknown key type"
	}
	switch oid := key.Algorithm.Algorithm.String(); oid {
	case "1.2.840.113549.1.1.7": // RFC 4055, section 4.1; TCG 1.2 EK certificates have it
		return "key type RSAES-OAEP"
	case "1.2.840.113549.1.1.10": // RFC 4055, section 3.1
		return "key type RSASSA-PSS"
	default:
		return "key type " + oid
	}
}
