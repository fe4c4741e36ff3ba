package store_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"fleetctl/enroll/store"
)

const benchHosts = 100_000

// realistic is an observation as large as one of a TPM with a certificate.
func realistic(i int) store.Observation {
	rnd := rand.New(rand.NewPCG(uint64(i), 0)) //nolint:gosec // sizes matter here, not secrecy
	bytes := func(n int) []byte {
		b := make([]byte, n)
		for j := range b {
			b[j] = byte(rnd.Uint32())
		}
		return b
	}
	o := ok(fmt.Sprintf("host-%06d.example.com", i), &store.Identity{
		EKHash: fmt.Sprintf("%064x", i), EKSerial: "5e:cd:5f:8e:01:02:03:04", EKPub: bytes(294), EKCert: bytes(1150),
		Proven: true, Via: "helper",
	})
	o.TPM = fmt.Appendf(nil, `{"manufacturer":"IFX","vendor":"SLB9670","firmware":"7.85.4555","spec_revision":"1.38",`+
		`"device":"/dev/tpmrm0","key_type":"RSA-2048","ek_certificate_issuer":"CN=Infineon OPTIGA(TM) TPM 2.0 RSA CA %d",`+
		`"ek_certificate_not_after":"2035-01-01T00:00:00Z"}`, i%40)
	return o
}

// putAll records hosts from n to m with 50 at once, as a scan does.
func putAll(b *testing.B, s store.Store, from, to int) {
	b.Helper()
	var wg sync.WaitGroup
	next := make(chan int)
	for range 50 {
		wg.Go(func() {
			for i := range next {
				if _, err := s.Put(b.Context(), realistic(i)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := from; i < to; i++ {
		next <- i
	}
	close(next)
	wg.Wait()
}

// BenchmarkPut is the time of one observation with 50 Puts at once, durable on the disk of the temporary directory.
func BenchmarkPut(b *testing.B) {
	s := openNew(b)
	b.ResetTimer()
	putAll(b, s, 0, b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "hosts/s")
}

// BenchmarkHundredThousandHosts records 100,000 hosts and lists them.
func BenchmarkHundredThousandHosts(b *testing.B) {
	path := filepath.Join(b.TempDir(), "fleet.db")
	s := open(b, path)
	b.Run("put", func(b *testing.B) {
		for range b.N {
			putAll(b, s, 0, benchHosts)
		}
		b.ReportMetric(float64(benchHosts*b.N)/b.Elapsed().Seconds(), "hosts/s")
	})
	b.Run("list", func(b *testing.B) {
		for range b.N {
			n := 0
			for _, err := range s.Records(b.Context()) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			b.ReportMetric(float64(n), "records")
		}
	})
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("open", func(b *testing.B) {
		for range b.N {
			s, err := store.Open(b.Context(), path)
			if err != nil {
				b.Fatal(err)
			}
			_ = s.Close()
		}
		if info, err := os.Stat(path); err == nil {
			b.ReportMetric(float64(info.Size())/1e6, "MB")
		}
	})
}
