package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// proxyOf serves Teleport's ping with a certificate of those dates.
func proxyOf(t *testing.T, from, to time.Time, date, body string) (addr string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: to, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/webapi/ping" {
			w.Header().Set("Date", date)
			_, _ = io.WriteString(w, body)
		}
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}} //nolint:gosec // a test
	s.StartTLS()
	t.Cleanup(s.Close)
	roots = x509.NewCertPool()
	roots.AddCert(cert)
	return s.Listener.Addr().String(), roots
}

func TestAProxyTellsTheTime(t *testing.T) {
	t.Parallel()
	long := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	const date = "Fri, 02 Jan 2026 03:04:05 GMT"
	addr, roots := proxyOf(t, long, long.AddDate(1, 0, 0), date, "not found") // expired, by a clock that nobody trusts
	if at, err := clock(t.Context(), addr, roots); err != nil || !at.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("%v, %v", at, err)
	}
	if _, err := clock(t.Context(), strings.Replace(addr, "127.0.0.1", "localhost", 1), roots); err == nil {
		t.Error("the name of its certificate is not checked")
	}
	if _, err := Time(t.Context(), addr); err == nil {
		t.Error("nobody trusts its certificate")
	}
	addr, roots = proxyOf(t, long, long.AddDate(1, 0, 0), "yesterday", "{}")
	if _, err := clock(t.Context(), addr, roots); !errors.Is(err, errNoDate) {
		t.Errorf("no date: %v", err)
	}
}

func TestAProxyTellsOfItsCluster(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, tt := range []struct {
		body, version, cluster, edition string
		fips                            bool
		err                             error
	}{
		{`{"server_version":"18.4.0","cluster_name":"example.com","edition":"ent","fips":true,"proxy":{}}`, "18.4.0", "example.com", "ent", true, nil},
		{`{"server_version":"17.0.1","cluster_name":"example.com"}`, "17.0.1", "example.com", "", false, nil},
		{`{"server_version":"18.4.0","cluster_name":"a\u001b[31mb"}`, "18.4.0", `a\x1b[31mb`, "", false, nil},
		{`{"status":"ok"}`, "", "", "", false, ErrNoTeleport},
		{"<html>", "", "", "", false, ErrNoTeleport},
	} {
		addr, roots := proxyOf(t, now.Add(-time.Hour), now.Add(time.Hour), now.UTC().Format(http.TimeFormat), tt.body)
		a, err := ask(t.Context(), addr, roots)
		if !errors.Is(err, tt.err) || a.Version.String() != tt.version || a.Cluster != tt.cluster || a.Edition != tt.edition || a.FIPS != tt.fips {
			t.Errorf("%s: %+v, %v", tt.body, a, err)
		}
	}
}
