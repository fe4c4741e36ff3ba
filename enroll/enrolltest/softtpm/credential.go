package softtpm

import (
	"crypto"
	"crypto/aes"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"fleetctl/enroll/tpm/wire"
)

// nameOf is an object's name: the algorithm and the digest of its public area (TPM 2.0 Part 1, section 16).
func nameOf(public []byte) []byte {
	sum := sha256.Sum256(public)
	return append([]byte{0x00, 0x0B}, sum[:]...)
}

// open undoes TPM2_MakeCredential with the private EK (TPM 2.0 Part 1, section 24): the seed from RSA-OAEP, two keys
// from the seed, the integrity of the identity and its name, then the identity itself.
func (t *TPM) open(name, credential, encrypted []byte) ([]byte, error) {
	seed, err := t.Key.Decrypt(nil, encrypted, &rsa.OAEPOptions{Hash: crypto.SHA256, Label: []byte("IDENTITY\x00")})
	if err != nil {
		return nil, refuse(wire.RC1Value + 0x240) // the second parameter: another key's
	}
	blob := Reader{Buf: credential}
	mac, identity := blob.bytes(), blob.Buf
	if blob.bad {
		return nil, refuse(rcSize + 0x140)
	}
	check := hmac.New(sha256.New, tpm2.KDFa(crypto.SHA256, seed, "INTEGRITY", nil, nil, 256))
	check.Write(identity)
	check.Write(name)
	if subtle.ConstantTimeCompare(check.Sum(nil), mac) != 1 {
		return nil, refuse(wire.RC1Integrity + 0x140)
	}
	plain, err := decryptCFB(tpm2.KDFa(crypto.SHA256, seed, "STORAGE", name, nil, 128), identity)
	if err != nil {
		return nil, err
	}
	inner := Reader{Buf: plain}
	secret := inner.bytes()
	if inner.bad {
		return nil, refuse(rcSize + 0x140)
	}
	return secret, nil
}

// decryptCFB is AES-CFB with an IV of zeros. The standard library's is deprecated, for being unauthenticated: here the
// HMAC around it is what authenticates.
func decryptCFB(key, data []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("enrolltest: %w", err)
	}
	out, stream := make([]byte, len(data)), make([]byte, aes.BlockSize)
	for begin := 0; begin < len(data); begin += aes.BlockSize {
		end := min(begin+aes.BlockSize, len(data))
		block.Encrypt(stream, stream)
		subtle.XORBytes(out[begin:end], data[begin:end], stream)
		copy(stream, data[begin:end])
	}
	return out, nil
}
