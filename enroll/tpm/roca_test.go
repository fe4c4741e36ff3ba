package tpm

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"slices"
	"testing"

	"fleetctl/enroll/tpm/wire"
)

// primorial is the product of the first n primes.
func primorial(n int) *big.Int {
	m := big.NewInt(1)
	for p := int64(2); n > 0; p++ {
		if big.NewInt(p).ProbablyPrime(0) {
			m.Mul(m, big.NewInt(p))
			n--
		}
	}
	return m
}

// rocaPrime makes a prime as the faulty library does: k*M + (65537^a mod M).
func rocaPrime(t testing.TB, bits uint, m *big.Int) *big.Int {
	t.Helper()
	for {
		a, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 60))
		if err != nil {
			t.Fatal(err)
		}
		k := new(big.Int).Div(new(big.Int).Lsh(big.NewInt(1), bits-1), m)
		p := k.Mul(k.Add(k, new(big.Int).Rsh(a, 45)), m)
		p.Add(p, new(big.Int).Exp(big.NewInt(rocaGenerator), a, m))
		if p.ProbablyPrime(20) {
			return p
		}
	}
}

func TestROCAKeysAreRecognised(t *testing.T) {
	// How many primes M has for a modulus of so many bits: the paper's table 1.
	for bits, primes := range map[uint]int{512: 39, 1024: 71, 2048: 126} {
		m := primorial(primes)
		n := new(big.Int).Mul(rocaPrime(t, bits/2, m), rocaPrime(t, bits/2, m))
		if !isROCA(&rsa.PublicKey{N: n, E: 65537}) {
			t.Errorf("a key of %d bits is not recognised: %x", bits, n)
		}
		if isROCA(&rsa.PublicKey{N: new(big.Int).Add(n, big.NewInt(2)), E: 65537}) {
			t.Errorf("a neighbour of a key of %d bits is taken for one", bits)
		}
	}
}

func TestOtherKeysAreNoROCAKeys(t *testing.T) {
	for range 500 {
		p, err := rand.Prime(rand.Reader, 128)
		if err != nil {
			t.Fatal(err)
		}
		q, err := rand.Prime(rand.Reader, 128)
		if err != nil {
			t.Fatal(err)
		}
		if isROCA(&rsa.PublicKey{N: p.Mul(p, q), E: 65537}) {
			t.Errorf("%x is taken for one", p)
		}
	}
	m := primorial(39)
	prime := rocaPrime(t, 256, m)
	ordinary, err := rand.Prime(rand.Reader, 256)
	if err != nil {
		t.Fatal(err)
	}
	cert, _, err := parseEKCert(fixture(t, "swtpm-ekcert.der"))
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]any{
		"one prime of the library alone": &rsa.PublicKey{N: new(big.Int).Mul(prime, ordinary), E: 65537},
		"an EK of swtpm":                 cert.PublicKey,
		"an ordinary RSA key":            testRSAKey(t).Public(),
		"no RSA key":                     newEntity(t, "EK", nil, nil).key.Public(),
		"an empty RSA key":               &rsa.PublicKey{},
		"zero":                           &rsa.PublicKey{N: new(big.Int)},
		"no key":                         nil,
		"a power modulo every prime, but not modulo their product": &rsa.PublicKey{N: localPower(m)},
	} {
		if isROCA(key) {
			t.Errorf("%s is taken for one", name)
		}
	}
}

// localPower is 65537 modulo every prime of M but 163, and modulo that its square: once in 2^27 a random modulus is a
// power modulo every prime, which is too often for a large fleet.
func localPower(m *big.Int) *big.Int {
	p := big.NewInt(163)
	rest := new(big.Int).Div(m, p)
	difference := new(big.Int).Mod(big.NewInt(rocaGenerator*rocaGenerator-rocaGenerator), p)
	step := difference.Mul(difference, new(big.Int).ModInverse(rest, p))
	return step.Add(step.Mul(step.Mod(step, p), rest), big.NewInt(rocaGenerator))
}

func TestAROCAKeyIsAWarning(t *testing.T) {
	m := primorial(126)
	key := &rsa.PublicKey{N: new(big.Int).Mul(rocaPrime(t, 1024, m), rocaPrime(t, 1024, m)), E: 65537}
	issuer := newEntity(t, "EK CA", nil, nil)
	template := *newEntity(t, "", issuer, asEK(nil)).cert
	der, err := x509.CreateCertificate(rand.Reader, &template, issuer.cert, key, issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	raw := &Raw{}
	raw.EKCert = wire.Area{Defined: true, Data: der}
	report, err := Judge(raw, ExamineOptions{})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(report.Findings, func(f Finding) bool { return f.Code == "roca" })
	if i < 0 || report.Findings[i].Fatal || report.Findings[i].CA || report.Findings[i].Hint == "" {
		t.Errorf("findings %+v", report.Findings)
	}
}
