package tpm

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"sync"
)

// The library in Infineon's chips made primes of the form k*M + (65537^a mod M), M being the product of the first primes
// (CVE-2017-15361). So a modulus of two of them is a power of 65537 modulo M, and of a random key that is true once in
// 2^154 times at most. See Nemec, Sýs, Švenda, Klinec, Matyáš: The Return of Coppersmith's Attack, ACM CCS 2017,
// section 2. Every M of the library is a multiple of the one for the shortest
// keys, with the 39 primes up to 167.
const (
	rocaGenerator = 65537
	rocaLastPrime = 167
)

// rocaGroup is the group of the powers of 65537 modulo M.
type rocaGroup struct {
	m, order *big.Int
	parts    []rocaPart
}

// rocaPart is the part of the group whose order is one power of a prime: all its elements, in decimal.
type rocaPart struct {
	cofactor *big.Int
	members  map[string]bool
}

var roca = sync.OnceValue(newROCAGroup)

func newROCAGroup() rocaGroup {
	g := rocaGroup{m: big.NewInt(1), order: big.NewInt(1)}
	for p := int64(2); p <= rocaLastPrime; p++ {
		if big.NewInt(p).ProbablyPrime(0) { // exact for small numbers
			g.m.Mul(g.m, big.NewInt(p))
			g.order = lcm(g.order, orderModulo(p))
		}
	}
	for p := int64(2); p <= rocaLastPrime; p++ {
		if size := primePower(g.order, p); size > 1 && big.NewInt(p).ProbablyPrime(0) {
			g.parts = append(g.parts, g.part(size))
		}
	}
	return g
}

func (g rocaGroup) part(size int64) rocaPart {
	p := rocaPart{cofactor: new(big.Int).Div(g.order, big.NewInt(size)), members: map[string]bool{}}
	generator := new(big.Int).Exp(big.NewInt(rocaGenerator), p.cofactor, g.m)
	x := big.NewInt(1)
	for range size {
		p.members[x.String()] = true
		x.Mod(x.Mul(x, generator), g.m)
	}
	return p
}

// holds says whether n has a discrete logarithm to the base 65537 modulo M. It looks for one in every part of the group,
// as the method of Pohlig and Hellman does, without putting it together.
func (g rocaGroup) holds(n *big.Int) bool {
	n = new(big.Int).Mod(n, g.m)
	if new(big.Int).Exp(n, g.order, g.m).Cmp(big.NewInt(1)) != 0 {
		return false
	}
	for _, p := range g.parts {
		if !p.members[new(big.Int).Exp(n, p.cofactor, g.m).String()] {
			return false
		}
	}
	return true
}

// orderModulo is the order of 65537 modulo the prime p.
func orderModulo(p int64) *big.Int {
	n := int64(1)
	for x := int64(rocaGenerator) % p; x != 1; x = x * rocaGenerator % p {
		n++
	}
	return big.NewInt(n)
}

func lcm(a, b *big.Int) *big.Int {
	gcd := new(big.Int).GCD(nil, nil, a, b)
	return gcd.Mul(new(big.Int).Div(a, gcd), b)
}

// primePower is the highest power of p that divides n.
func primePower(n *big.Int, p int64) int64 {
	power := int64(1)
	for new(big.Int).Mod(n, big.NewInt(power*p)).Sign() == 0 {
		power *= p
	}
	return power
}

// isROCA says whether a key is an RSA key of the faulty library (CVE-2017-15361).
func isROCA(key crypto.PublicKey) bool {
	k, ok := key.(*rsa.PublicKey)
	return ok && k.N != nil && k.N.Sign() > 0 && roca().holds(k.N)
}

// keyFindings are warnings about the EK itself (PKIX DER): a join does not look at such things.
func keyFindings(publicDER []byte) []Finding {
	key, err := x509.ParsePKIXPublicKey(publicDER)
	if err != nil || !isROCA(key) {
		return nil
	}
	return []Finding{{
		Code:    "roca",
		Message: "the EK was made by Infineon's faulty library (ROCA, CVE-2017-15361): its private key can be computed from the public one",
		Hint:    "whoever has done so can join in this host's name; ask the manufacturer for a firmware update, or use another join method",
	}}
}
