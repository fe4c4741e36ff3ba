package softtpm

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"sync"
)

// primesText holds 1024-bit primes, in base 62, one a line. Any two make an RSA-2048 key: making a key of one's own
// takes a hundred milliseconds, and a fleet has hundreds of hosts.
//
//go:embed testdata/primes.txt
var primesText string

const ekExponent = 65537

var primes = sync.OnceValue(func() []*big.Int {
	var all []*big.Int
	for _, line := range strings.Fields(primesText) {
		p, ok := new(big.Int).SetString(line, 62)
		if !ok {
			panic("enrolltest: primes.txt is damaged")
		}
		all = append(all, p)
	}
	return all
})

// MaxEKs is how many different EKs there are: pairs of primes.
func MaxEKs() int { return len(primes()) * (len(primes()) - 1) / 2 }

// EkPrimes are the primes of the EK with that number.
func EkPrimes(n int) (p, q *big.Int) {
	all := primes()
	for second := 1; second < len(all); second++ {
		if n < second {
			return all[n], all[second]
		}
		n -= second
	}
	panic("enrolltest: no EK with that number: see MaxEKs")
}

// EkKey is the EK with that number, the same in every run.
func EkKey(n int) (*rsa.PrivateKey, error) {
	p, q := EkPrimes(n)
	one := big.NewInt(1)
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: ekExponent},
		D:         new(big.Int).ModInverse(big.NewInt(ekExponent), phi),
		Primes:    []*big.Int{p, q},
	}
	key.Precompute()
	if err := key.Validate(); err != nil {
		return nil, fmt.Errorf("enrolltest: EK %d: %w", n, err)
	}
	return key, nil
}

// hashOf is what Teleport calls the EKPub hash: hex(SHA-256(PKIX DER)), 64 lower-case digits.
func hashOf(key *rsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("enrolltest: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}
