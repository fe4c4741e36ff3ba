package tpm

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/tpm/wire"
)

// redated is a certificate with another notAfter, as it stands there. Its signature fits no more.
func redated(t *testing.T, cert *x509.Certificate, notAfter string) []byte {
	t.Helper()
	parts := func(der []byte) (all []asn1.RawValue) {
		if _, err := asn1.Unmarshal(der, &all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	join := func(all []asn1.RawValue) asn1.RawValue {
		der, err := asn1.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return asn1.RawValue{FullBytes: der}
	}
	whole := parts(cert.Raw)
	tbs := parts(whole[0].FullBytes)
	dates := parts(tbs[4].FullBytes)
	dates[1] = asn1.RawValue{Tag: asn1.TagGeneralizedTime, Bytes: []byte(notAfter)}
	tbs[4] = join(dates)
	whole[0] = join(tbs)
	return join(whole).FullBytes
}

// TestEveryDateCanBeRecorded: dates with an offset lead out of the years that JSON has.
func TestEveryDateCanBeRecorded(t *testing.T) {
	ek := newEntity(t, "", nil, asEK(nil))
	for notAfter, want := range map[string]string{
		"99991231235959Z":     "9999-12-31T23:59:59Z",
		"99991231235959-1400": "9999-12-31T23:59:59Z",
		"00000101000000+1400": "0000-01-01T00:00:00Z",
		"20300101000000+0100": "2029-12-31T23:00:00Z",
	} {
		report, err := Judge(&Raw{EKCert: wire.Area{Defined: true, Data: redated(t, ek.cert, notAfter)}}, ExamineOptions{})
		if err != nil {
			t.Fatal(notAfter, err)
		}
		raw, err := json.Marshal(Details{Properties: report.Properties, Findings: report.Findings})
		if err != nil || !strings.Contains(string(raw), `"`+want+`"`) {
			t.Errorf("%s: %v %s", notAfter, err, raw)
		}
	}
	if d := Date(time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)); d.Year() != 9999 {
		t.Errorf("got %s", d)
	}
}

func TestASerialHasABound(t *testing.T) {
	for bytes, ok := range map[int]bool{1: true, 20: true, 21: true, maxSerial: true, maxSerial + 1: false, 16000: false} {
		serial := new(big.Int).Lsh(big.NewInt(1), uint(8*bytes-1))
		id, err := certifiedIdentity(&x509.Certificate{SerialNumber: serial, PublicKey: newEntity(t, "", nil, nil).cert.PublicKey})
		if ok != (err == nil) || !ok && !errors.Is(err, ErrIdentity) || ok && (!ValidSerial(id.Serial) || !validSerial(id.Serial)) {
			t.Errorf("%d bytes: %q, %v", bytes, id.Serial, err)
		}
		if text := Serial(serial); ValidSerial(text) != ok || validSerial(text) != ok {
			t.Errorf("%d bytes: as text it is something else", bytes)
		}
	}
}
