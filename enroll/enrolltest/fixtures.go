package enrolltest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/store"
)

// Config is a fleet.yaml as people have it.
func Config() config.Config {
	c := config.Default()
	c.Version = "v1"
	c.Cluster.ProxyServer = "teleport.example.com:443"
	c.Bot = config.Bot{Name: "fleet", Roles: []string{"access"}}
	return c
}

// Store is an empty store in a file that goes with the test.
func Store(t testing.TB) store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "fleet.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// See records that the proven EK of a host is number n.
func See(t testing.TB, st store.Store, host string, n int) {
	t.Helper()
	o := store.Observation{Host: host, Run: 1, At: Time, Outcome: "ok", Identity: Accepted(host, n).Accepted,
		TPM: json.RawMessage(`{"manufacturer":"IFX","vendor":"=SLB"}`)}
	if _, err := st.Put(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// Authority is a TPM manufacturer's CA.
type Authority struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes a CA of that name.
func NewAuthority(t testing.TB, name string) *Authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: Time.AddDate(-1, 0, 0), NotAfter: Time.AddDate(9, 0, 0), KeyUsage: x509.KeyUsageCertSign,
		SubjectKeyId: []byte(name),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &Authority{cert, key}
}

// Leaf makes an EK certificate in DER that is valid for years from Time.
func (a *Authority) Leaf(t testing.TB, serial int64, years int) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "TPM"},
		NotBefore: Time.AddDate(-9, 0, 0), NotAfter: Time.AddDate(years, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// Time is when the tests' certificates were made.
var Time = time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)

// Hash is an EKPub hash: number n.
func Hash(n int) string { return fmt.Sprintf("%064x", n) }

// Accepted is the record of a host whose proven EK is number n.
func Accepted(host string, n int) store.Record {
	return store.Record{Host: host, Accepted: &store.Identity{EKHash: Hash(n), Proven: true, Via: "helper"}}
}

// Assigned is a record with a token that was assigned for its EK.
func Assigned(host string, n int, token string) store.Record {
	r := Accepted(host, n)
	r.Token, r.TokenEK = token, Hash(n)
	return r
}
